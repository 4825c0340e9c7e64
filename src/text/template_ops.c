/* Arithmetic and comparisons: template_run.h. */
#include <math.h>

#include "text/template_format.h"
#include "text/template_run.h"

/* ---- arithmetic ---- */

static struct tvalue unsupported(struct trun *r, const char *op, struct tvalue a, struct tvalue b)
{
	if (a.type == TV_UNDEFINED || b.type == TV_UNDEFINED)
		return run_undefined(r, a.type == TV_UNDEFINED ? a : b);
	if (a.type == TV_STR && *op == '+')
		return run_invalid(r, "can only concatenate str (not \"%s\") to str",
				   tv_type_name(b.type));
	return run_invalid(r, "unsupported operand type(s) for %s: '%s' and '%s'", op,
			   tv_type_name(a.type), tv_type_name(b.type));
}

static struct tvalue too_big(struct trun *r)
{
	return run_fail(r, -BB_ELIMIT,
			"an integer is larger than the 64 bits that can be "
			"calculated with");
}

static struct tvalue concat_strings(struct trun *r, struct tvalue a, struct tvalue b)
{
	struct tvalue v = run_append(r, a, tv_text(b));

	if (!is_fail(v))
		v.flags = a.flags & b.flags & TV_ASCII;
	return v;
}

/* One of them is marked as safe HTML: the other is escaped first, as Python's Markup does. */
static struct tvalue concat_markup(struct trun *r, struct tvalue a, struct tvalue b)
{
	const size_t mark = run_mark(r);

	if (!((a.flags & TV_MARKUP) ? format_str(r, a) : format_escaped(r, tv_text(a))) ||
	    !((b.flags & TV_MARKUP) ? format_str(r, b) : format_escaped(r, tv_text(b))))
		return TV(TV_FAIL);
	struct tvalue v = run_take(r, mark);
	v.flags |= TV_MARKUP;
	return v;
}

static struct tvalue concat_lists(struct trun *r, struct tvalue a, struct tvalue b)
{
	struct tseq *const s = run_seq(r, (size_t)a.seq->count + b.seq->count);

	if (!s)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < a.seq->count; i++)
		s->items[s->count++] = a.seq->items[i];
	for (uint32_t i = 0; i < b.seq->count; i++)
		s->items[s->count++] = b.seq->items[i];
	return TV(a.type, .seq = s);
}

static struct tvalue number_op(struct trun *r, enum binary_op op, struct tvalue a, struct tvalue b);

struct tvalue op_add(struct trun *r, struct tvalue a, struct tvalue b)
{
	if (a.type == TV_STR && b.type == TV_STR)
		return (a.flags | b.flags) & TV_MARKUP ? concat_markup(r, a, b)
						       : concat_strings(r, a, b);
	if (tv_is_number(a) && tv_is_number(b))
		return number_op(r, OP_ADD, a, b);
	if ((a.type == TV_LIST || a.type == TV_TUPLE) && a.type == b.type)
		return concat_lists(r, a, b);
	return unsupported(r, "+", a, b);
}

static struct tvalue repeat(struct trun *r, struct tvalue v, int64_t times)
{
	const uint64_t count = times > 0 ? (uint64_t)times : 0;

	if (v.type == TV_STR) {
		uint64_t size;
		if (__builtin_mul_overflow(count, (uint64_t)v.len, &size) || size >= UINT32_MAX)
			return run_too_large(r);
		char *const p = run_alloc(r, size + 1);
		if (!p || !run_charge_bytes(r, size) || !run_charge(r, v.len ? count >> 3 : 0))
			return TV(TV_FAIL);
		for (uint64_t at = 0; at < size; at += v.len)
			memcpy(p + at, v.p, v.len);
		return run_part(v, (struct bb_str){ p, size });
	}
	uint64_t total;
	if (__builtin_mul_overflow(count, (uint64_t)v.seq->count, &total))
		return run_too_large(r);
	struct tseq *const s = run_seq(r, total);
	if (!s)
		return TV(TV_FAIL);
	while (s->count < total) {
		s->items[s->count] = v.seq->items[s->count % v.seq->count];
		s->count++;
	}
	return TV(v.type, .seq = s);
}

static struct tvalue op_multiply(struct trun *r, struct tvalue a, struct tvalue b)
{
	if (tv_is_number(a) && tv_is_number(b))
		return number_op(r, OP_MUL, a, b);
	if (tv_is_integer(a)) {
		const struct tvalue swap = a;
		a = b;
		b = swap;
	}
	if (tv_is_integer(b) && (a.type == TV_STR || a.type == TV_LIST || a.type == TV_TUPLE))
		return repeat(r, a, b.i);
	return unsupported(r, "*", a, b);
}

static struct tvalue int_power(struct trun *r, int64_t base, int64_t exponent)
{
	int64_t result = 1;

	if (exponent < 0)
		return base == 0 ? run_invalid(r, "0 cannot be raised to a negative power")
				 : tv_float(pow((double)base, (double)exponent));
	while (exponent) {
		if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
			return too_big(r);
		exponent >>= 1;
		if (exponent && __builtin_mul_overflow(base, base, &base))
			return too_big(r);
	}
	return tv_int(result);
}

static struct tvalue float_op(struct trun *r, enum binary_op op, double a, double b)
{
	if (b == 0 && (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD))
		return run_invalid(r, "division by zero");
	switch (op) {
	case OP_ADD: return tv_float(a + b);
	case OP_SUB: return tv_float(a - b);
	case OP_MUL: return tv_float(a * b);
	case OP_DIV: return tv_float(a / b);
	case OP_POW:
		if (a < 0 && b != floor(b))
			return run_invalid(r, "complex numbers are not supported");
		if (a == 0 && b < 0)
			return run_invalid(r, "0 cannot be raised to a negative power");
		return tv_float(pow(a, b));
	default: break;
	}
	double rest = fmod(a, b);
	double quotient = (a - rest) / b;
	if (rest != 0 && (b < 0) != (rest < 0)) {
		rest += b;
		quotient -= 1;
	}
	if (op == OP_MOD)
		return tv_float(rest == 0 ? copysign(0.0, b) : rest);
	if (quotient == 0)
		return tv_float(copysign(0.0, a / b));
	const double whole = floor(quotient);
	return tv_float(quotient - whole > 0.5 ? whole + 1 : whole);
}

static struct tvalue int_divide(struct trun *r, enum binary_op op, int64_t a, int64_t b)
{
	if (b == 0)
		return run_invalid(r, op == OP_DIV ? "division by zero"
						   : "integer division or modulo by zero");
	if (op == OP_DIV)
		return tv_float((double)a / (double)b);
	if (b == -1)
		return op == OP_MOD ? tv_int(0) : a == INT64_MIN ? too_big(r) : tv_int(-a);
	const int64_t rest = a % b;
	const int64_t is_off = rest != 0 && (rest < 0) != (b < 0);
	return tv_int(op == OP_MOD ? rest + is_off * b : a / b - is_off);
}

static struct tvalue number_op(struct trun *r, enum binary_op op, struct tvalue a, struct tvalue b)
{
	int64_t result;

	if (a.type == TV_FLOAT || b.type == TV_FLOAT)
		return float_op(r, op, tv_double(a), tv_double(b));
	if (a.type == TV_BIG || b.type == TV_BIG)
		return too_big(r);
	switch (op) {
	case OP_ADD: return __builtin_add_overflow(a.i, b.i, &result) ? too_big(r) : tv_int(result);
	case OP_SUB: return __builtin_sub_overflow(a.i, b.i, &result) ? too_big(r) : tv_int(result);
	case OP_MUL: return __builtin_mul_overflow(a.i, b.i, &result) ? too_big(r) : tv_int(result);
	case OP_POW: return int_power(r, a.i, b.i);
	default: return int_divide(r, op, a.i, b.i);
	}
}

struct tvalue op_binary(struct trun *r, enum binary_op op, struct tvalue a, struct tvalue b)
{
	static const char *const signs[] = {
		[OP_SUB] = "-", [OP_MUL] = "*",	 [OP_DIV] = "/", [OP_FLOORDIV] = "//",
		[OP_MOD] = "%", [OP_POW] = "**", [OP_ADD] = "+"
	};

	if (op == OP_MUL)
		return op_multiply(r, a, b);
	if (op == OP_MOD && a.type == TV_STR)
		return format_percent(r, a, b);
	if (tv_is_number(a) && tv_is_number(b))
		return number_op(r, op, a, b);
	return unsupported(r, signs[op], a, b);
}

static struct tvalue big_negate(struct trun *r, struct tvalue v)
{
	if (v.p[0] == '-')
		return TV(TV_BIG, .len = v.len - 1, .p = v.p + 1);
	char *const p = run_alloc(r, (size_t)v.len + 1);
	if (!p)
		return TV(TV_FAIL);
	p[0] = '-';
	memcpy(p + 1, v.p, v.len);
	return TV(TV_BIG, .len = v.len + 1, .p = p);
}

struct tvalue op_negate(struct trun *r, struct tvalue v)
{
	if (v.type == TV_FLOAT)
		return tv_float(-v.f);
	if (tv_is_integer(v))
		return v.i == INT64_MIN ? too_big(r) : tv_int(-v.i);
	if (v.type == TV_BIG)
		return big_negate(r, v);
	if (v.type == TV_UNDEFINED)
		return run_undefined(r, v);
	return run_invalid(r, "bad operand type for unary -: '%s'", tv_type_name(v.type));
}

/* ---- comparing ---- */

int op_in(struct trun *r, struct tvalue item, struct tvalue container)
{
	struct tseq items;

	if (container.type == TV_STR) {
		if (item.type != TV_STR) {
			run_invalid(r, "'in <string>' requires string as left operand, not %s",
				    tv_type_name(item.type));
			return -1;
		}
		if (!run_charge_find(r, container.len, item.len))
			return -1;
		return bb_str_find(tv_text(container), tv_text(item)) >= 0;
	}
	if (container.type == TV_DICT) {
		if (item.type == TV_STR && !run_charge_bytes(r, item.len))
			return -1;
		if (tv_is_hashable(item))
			return tdict_find(container.dict, item) != NULL;
		run_invalid(r, "unhashable type: '%s'", tv_type_name(item.type));
		return -1;
	}
	if (!run_items(r, container, &items))
		return -1;
	for (uint32_t i = 0; i < items.count; i++) {
		const int same = tv_equal(&r->mem, items.items[i], item, 0);
		if (same < 0)
			run_charge(r, 0), run_fail(r, -BB_ELIMIT,
						   "values are nested too deeply to be compared");
		if (same)
			return same;
	}
	return 0;
}

int op_compare(struct trun *r, enum binary_op op, struct tvalue a, struct tvalue b)
{
	static const char *const signs[] = {
		[OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">="
	};
	int order = 0;

	if (!run_charge(r, 0))
		return -1;
	if (op == OP_IN || op == OP_NOT_IN) {
		const int in = op_in(r, a, b);
		return in < 0 ? in : in == (op == OP_IN);
	}
	if (op == OP_EQ || op == OP_NE) {
		const int same = tv_equal(&r->mem, a, b, 0);
		if (same < 0)
			run_charge(r, 0), run_fail(r, -BB_ELIMIT,
						   "values are nested too deeply to be compared");
		return same < 0 ? same : same == (op == OP_EQ);
	}
	if (a.type == TV_UNDEFINED || b.type == TV_UNDEFINED) {
		run_undefined(r, a.type == TV_UNDEFINED ? a : b);
		return -1;
	}
	if (!tv_order(&r->mem, a, b, 0, &order)) {
		if (tv_is_number(a) && tv_is_number(b))
			return 0; /* not a number: in no order */
		run_invalid(r, "'%s' not supported between instances of '%s' and '%s'", signs[op],
			    tv_type_name(a.type), tv_type_name(b.type));
		return -1;
	}
	return op == OP_LT   ? order < 0
	       : op == OP_LE ? order <= 0
	       : op == OP_GT ? order > 0
			     : order >= 0;
}
