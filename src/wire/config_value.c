#include "wire/config_value.h"

#define NANO 1000000000ull
#define NANO_DIGITS 9
#define TOKENS_MAX 1000000000000000000ull
#define MONEY_MAX 1000000000ull /* of the currency's unit */

/* "12.50": thousand-millionths of one. */
static int parse_nano(struct bb_str text, uint64_t *out)
{
	uint64_t whole, part = 0;
	struct bb_str decimals = text;
	const struct bb_str units = bb_str_cut(&decimals, '.');

	if (bb_parse_u64(units, &whole) || whole > MONEY_MAX || decimals.len > NANO_DIGITS)
		return -BB_EINVALID;
	if (units.len < text.len && bb_parse_u64(decimals, &part))
		return -BB_EINVALID;
	for (size_t i = decimals.len; i < NANO_DIGITS; i++)
		part *= 10;
	*out = whole * NANO + part;
	return 0;
}

static bool is_currency(struct bb_str s)
{
	if (s.len != 3)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < 'A' || s.p[i] > 'Z')
			return false;
	return true;
}

int config_budget_parse(struct bb_str text, struct config_budget *out, const char **why)
{
	struct config_budget b = { 0 };
	struct bb_str rest = text;
	const struct bb_str amount = bb_str_cut(&rest, ' ');
	const struct bb_str unit = bb_str_cut(&rest, '/');
	int rc;

	*why = "a budget is like '2000000 tokens/month' or '500 EUR/month'";
	if (!bb_str_eq(rest, BB_STR("month")))
		return -BB_EINVALID;
	if (bb_str_eq(unit, BB_STR("tokens"))) {
		b.kind = CONFIG_BUDGET_TOKENS;
		rc = bb_parse_u64(amount, &b.amount);
		if (rc || b.amount > TOKENS_MAX)
			return -BB_EINVALID;
	} else if (is_currency(unit)) {
		b.kind = CONFIG_BUDGET_MONEY;
		memcpy(b.currency, unit.p, unit.len);
		rc = parse_nano(amount, &b.amount);
		if (rc)
			return rc;
	} else {
		return -BB_EINVALID;
	}
	if (b.amount == 0) {
		*why = "a budget of nothing lets nothing through; remove the tenant's keys instead";
		return -BB_EINVALID;
	}
	*out = b;
	return 0;
}

void config_budget_print(const struct config_budget *b, struct bb_buf *out)
{
	if (b->kind == CONFIG_BUDGET_TOKENS) {
		bb_buf_add_u64(out, b->amount);
		bb_buf_lit(out, " tokens/month");
	} else if (b->kind == CONFIG_BUDGET_MONEY) {
		bb_buf_add_u64(out, b->amount / NANO);
		if (b->amount % NANO)
			bb_buf_printf(out, ".%09llu", (unsigned long long)(b->amount % NANO));
		bb_buf_printf(out, " %s/month", b->currency);
	}
}
