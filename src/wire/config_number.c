#include "wire/config_number.h"

#include "base/log.h"
#include "wire/spelling.h"

bool config_number_is_type(enum config_key_type type)
{
	switch (type) {
	case CONFIG_KEY_COUNT:
	case CONFIG_KEY_NUMBER:
	case CONFIG_KEY_DURATION:
	case CONFIG_KEY_SIZE:
	case CONFIG_KEY_CHOICE: return true;
	case CONFIG_KEY_POLICY:
	case CONFIG_KEY_TEXT:
	case CONFIG_KEY_SWITCHED:
	case CONFIG_KEY_TEXTS:
	case CONFIG_KEY_POLICIES:
	case CONFIG_KEY_DATE:
	case CONFIG_KEY_BUDGET:
	case CONFIG_KEY_KEYS:
	case CONFIG_KEY_MODELS:
	case CONFIG_KEY_ENGINES:
	case CONFIG_KEY_TENANTS:
	case CONFIG_KEY_SNIS: return false;
	}
	return false;
}

/* ---- parsing ---- */

static int parse_choice(const struct config_key *key, struct bb_str text, uint64_t *out,
			struct bb_buf *why)
{
	struct spelling s;

	spelling_init(&s, text);
	for (uint64_t i = 0; key->choices[i]; i++) {
		if (bb_str_eq(text, bb_str_of(key->choices[i]))) {
			*out = i;
			return 0;
		}
		spelling_offer(&s, bb_str_of(key->choices[i]));
	}
	bb_buf_printf(why, "'%.*s' is none of", BB_ARG(text));
	for (uint64_t i = 0; key->choices[i]; i++)
		bb_buf_printf(why, "%s %s", i ? "," : "", key->choices[i]);
	if (s.best.p)
		bb_buf_printf(why, " (did you mean '%.*s'?)", BB_ARG(s.best));
	return -BB_EINVALID;
}

static int parse_unit(const struct config_key *key, struct bb_str text, uint64_t *out)
{
	if (key->type == CONFIG_KEY_DURATION)
		return bb_parse_duration_ns(text, out);
	if (key->type == CONFIG_KEY_SIZE)
		return bb_parse_size(text, out);
	return bb_parse_u64(text, out);
}

static void explain(const struct config_key *key, struct bb_str text, int rc, struct bb_buf *why)
{
	uint64_t bare;

	if (rc == -BB_ELIMIT) {
		bb_buf_printf(why, "'%.*s' is too large", BB_ARG(text));
	} else if (key->type == CONFIG_KEY_DURATION) {
		bb_buf_printf(why, "'%.*s' is not a duration like 250ms, 30s, 10m, 2h or 1d",
			      BB_ARG(text));
		if (bb_parse_u64(text, &bare) == 0)
			bb_buf_printf(why, " (did you mean '%.*ss'?)", BB_ARG(text));
	} else if (key->type == CONFIG_KEY_SIZE) {
		bb_buf_printf(why, "'%.*s' is not a size like 65536, 32KiB, 16MiB or 1GiB",
			      BB_ARG(text));
	} else {
		bb_buf_printf(why, "'%.*s' is not a number", BB_ARG(text));
	}
}

int config_number_parse(const struct config_key *key, struct bb_str text, uint64_t *out,
			struct bb_buf *why)
{
	uint64_t value;

	if (key->type == CONFIG_KEY_CHOICE)
		return parse_choice(key, text, out, why);
	const int rc = parse_unit(key, text, &value);
	if (rc) {
		explain(key, text, rc, why);
		return -BB_EINVALID;
	}
	if ((value == 0 && key->flags & CONFIG_KEY_ZERO) ||
	    (value >= key->min && value <= key->max)) {
		*out = value;
		return 0;
	}
	bb_buf_printf(why, "%.*s is outside of ", BB_ARG(text));
	config_number_print(key, key->min, why);
	bb_buf_lit(why, " to ");
	config_number_print(key, key->max, why);
	if (key->flags & CONFIG_KEY_ZERO)
		bb_buf_lit(why, " and is not 0");
	return -BB_EINVALID;
}

/* ---- printing ---- */

struct unit {
	uint64_t factor;
	const char *name;
};

static void print_unit(uint64_t value, const struct unit *units, struct bb_buf *out)
{
	while (units->factor > 1 && value % units->factor)
		units++;
	bb_buf_add_u64(out, value / units->factor);
	bb_buf_add_str(out, bb_str_of(units->name));
}

void config_number_print(const struct config_key *key, uint64_t value, struct bb_buf *out)
{
	static const struct unit durations[] = {
		{ 86400000000000, "d" },
		{ 3600000000000, "h" },
		{ 60000000000, "m" },
		{ 1000000000, "s" },
		{ 1000000, "ms" },
		{ 1000, "us" },
		{ 1, "ns" },
	};
	static const struct unit sizes[] = {
		{ 1ull << 40, "TiB" },
		{ 1ull << 30, "GiB" },
		{ 1ull << 20, "MiB" },
		{ 1ull << 10, "KiB" },
		{ 1, "" },
	};

	if (key->type == CONFIG_KEY_CHOICE)
		bb_buf_add_str(out, bb_str_of(key->choices[value]));
	else if (key->type == CONFIG_KEY_DURATION && value)
		print_unit(value, durations, out);
	else if (key->type == CONFIG_KEY_SIZE && value)
		print_unit(value, sizes, out);
	else
		bb_buf_add_u64(out, value);
}

/* ---- members ---- */

static bool is_wide(const struct config_key *key)
{
	BB_ASSERT(config_number_is_type(key->type));
	return key->type != CONFIG_KEY_COUNT && key->type != CONFIG_KEY_CHOICE;
}

uint64_t config_number_load(const struct config_key *key, const void *base)
{
	const char *at = (const char *)base + key->offset;
	uint64_t wide;
	uint32_t narrow;

	if (is_wide(key)) {
		memcpy(&wide, at, sizeof(wide));
		return wide;
	}
	memcpy(&narrow, at, sizeof(narrow));
	return narrow;
}

void config_number_store(const struct config_key *key, void *base, uint64_t value)
{
	char *at = (char *)base + key->offset;
	const uint32_t narrow = (uint32_t)value;

	if (is_wide(key)) {
		memcpy(at, &value, sizeof(value));
		return;
	}
	BB_ASSERT(narrow == value);
	memcpy(at, &narrow, sizeof(narrow));
}
