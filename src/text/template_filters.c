/* Filters on one value: template_filters.h. */
#include "text/template_filters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/template_chars.h"
#include "text/template_format.h"
#include "text/template_methods.h"
#include "text/template_number.h"

/* ---- arguments ---- */

bool arg_int(struct trun *r, struct tvalue arg, int64_t fallback, int64_t *out)
{
	*out = fallback;
	if (tv_is_integer(arg))
		*out = arg.i;
	else if (arg.type != TV_MISSING)
		run_invalid(r, "'%s' object cannot be interpreted as an integer",
			    tv_type_name(arg.type));
	return !r->rc;
}

bool arg_str(struct trun *r, struct tvalue arg, struct bb_str *out)
{
	if (arg.type != TV_STR) {
		run_invalid(r, "a string is needed, not '%s'", tv_type_name(arg.type));
		return false;
	}
	*out = tv_text(arg);
	return true;
}

/* ---- cases and white space ---- */

typedef void case_writer(struct bb_str s, struct bb_buf *out);

static struct tvalue write_case(struct trun *r, struct tvalue v, case_writer *write)
{
	const size_t mark = run_mark(r);
	struct tvalue s;

	if (!run_str(r, v, &s) || !run_charge(r, s.len >> 1))
		return TV(TV_FAIL);
	write(tv_text(s), r->out);
	struct tvalue out = run_take(r, mark);
	out.flags |= s.flags & (TV_MARKUP | TV_ASCII);
	return out;
}

static struct tvalue filter_upper(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return write_case(r, v, chars_write_upper);
}

static struct tvalue filter_lower(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return write_case(r, v, chars_write_lower);
}

static struct tvalue filter_capitalize(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return write_case(r, v, chars_write_capital);
}

static bool begins_word(uint32_t c)
{
	return chars_is_space(c) || (c < 0x80 && strchr("-({[<", (int)c));
}

/* Jinja's own: a word begins behind white space and - ( { [ <, nothing else. */
static void write_title(struct bb_str s, struct bb_buf *out)
{
	const char *p = s.p, *const end = s.p + s.len;

	while (p < end) {
		const char *word = p, *at = p;
		while (at < end && begins_word(chars_next(&at, end)))
			word = at;
		bb_buf_put(out, p, (size_t)(word - p));
		p = at = word;
		const char *first_end = p;
		while (at < end) {
			const char *const before = at;
			if (begins_word(chars_next(&at, end))) {
				at = before;
				break;
			}
			if (before == p)
				first_end = at;
		}
		chars_write_upper((struct bb_str){ p, (size_t)(first_end - p) }, out);
		chars_write_lower((struct bb_str){ first_end, (size_t)(at - first_end) }, out);
		p = at;
	}
}

static struct tvalue filter_title(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return write_case(r, v, write_title);
}

static struct tvalue call_method(struct trun *r, struct tvalue v, const char *name,
				 const struct tvalue *args, uint32_t count)
{
	const struct targs given = { .list = args, .count = count };
	struct tvalue s;

	if (!run_str(r, v, &s))
		return TV(TV_FAIL);
	return call_function(r, method_find(TV_STR, bb_str_of(name)), s, &given);
}

static struct tvalue filter_trim(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue s;

	return run_str(r, v, &s) ? method_strip(r, s, args) : TV(TV_FAIL);
}

static struct tvalue filter_center(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const struct tvalue width = arg_or(args[0], tv_int(80));

	return call_method(r, v, "center", &width, 1);
}

static struct tvalue filter_replace(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue texts[3];

	if (!run_str(r, args[0], &texts[0]) || !run_str(r, args[1], &texts[1]))
		return TV(TV_FAIL);
	const bool has_count = args[2].type != TV_MISSING && args[2].type != TV_NONE;
	texts[2] = args[2];
	/* str(v): nothing is marked as safe any more. */
	v.flags &= v.type == TV_STR ? (uint8_t)~TV_MARKUP : v.flags;
	texts[0].flags &= (uint8_t)~TV_MARKUP;
	texts[1].flags &= (uint8_t)~TV_MARKUP;
	return call_method(r, v, "replace", texts, has_count ? 3 : 2);
}

static struct tvalue filter_string(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue s;

	return run_str(r, v, &s) ? s : TV(TV_FAIL);
}

static struct tvalue filter_safe(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue s;

	if (!run_str(r, v, &s))
		return TV(TV_FAIL);
	s.flags |= TV_MARKUP;
	return s;
}

static struct tvalue filter_escape(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const size_t mark = run_mark(r);
	struct tvalue s;

	if (v.type == TV_STR && (v.flags & TV_MARKUP))
		return v;
	if (!run_str(r, v, &s) || !format_escaped(r, tv_text(s)))
		return TV(TV_FAIL);
	struct tvalue out = run_take(r, mark);
	out.flags |= TV_MARKUP;
	return out;
}

static struct tvalue filter_forceescape(struct trun *r, struct tvalue v, struct tvalue *args)
{
	v.flags &= v.type == TV_STR ? (uint8_t)~TV_MARKUP : v.flags;
	return filter_escape(r, v, args);
}

static struct tvalue filter_wordcount(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue s;
	int64_t count = 0;
	bool in_word = false;

	if (!run_str(r, v, &s) || !run_charge(r, s.len >> 3))
		return TV(TV_FAIL);
	for (const char *p = s.p, *const end = p + s.len; p < end;) {
		const bool is_word = chars_is_word(chars_next(&p, end));
		count += is_word && !in_word;
		in_word = is_word;
	}
	return tv_int(count);
}

/* One line, indented when it is not empty or blank lines are indented too. */
static void put_line(struct bb_buf *out, struct bb_str line, struct bb_str indent, int always)
{
	if (line.len || always)
		bb_buf_put_str(out, indent);
	bb_buf_put_str(out, line);
}

static struct tvalue filter_indent(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const struct tvalue newline = tv_lit("\n");
	struct tvalue indent = arg_or(args[0], tv_int(4));
	const bool first = tv_truth(args[1]), blank = tv_truth(args[2]);
	struct tseq lines;

	if (indent.type != TV_STR)
		indent = op_binary(r, OP_MUL, tv_lit(" "), indent);
	if (v.type != TV_STR)
		return op_add(r, v, newline);
	const struct tvalue text = op_add(r, v, newline);
	const struct tvalue list =
		is_fail(text) ? text : call_method(r, text, "splitlines", NULL, 0);
	if (is_fail(list) || is_fail(indent) || !run_items(r, list, &lines))
		return TV(TV_FAIL);
	const size_t mark = run_mark(r);
	for (uint32_t i = 0; i < lines.count; i++) {
		if (i)
			bb_buf_lit(r->out, "\n");
		/* The first line of all has its own rule. */
		put_line(r->out, tv_text(lines.items[i]), i ? tv_text(indent) : BB_STR(""), blank);
	}
	const struct tvalue body = run_take(r, mark);
	return first && !is_fail(body) ? op_add(r, indent, body) : body;
}

static struct tvalue filter_truncate(struct trun *r, struct tvalue v, struct tvalue *args)
{
	int64_t length, leeway;
	struct tvalue end = arg_or(args[2], tv_lit("..."));
	const struct tvalue size = length_of(r, v);
	struct bb_str text;

	if (is_fail(size) || !arg_str(r, end, &text) || !arg_int(r, args[0], 255, &length) ||
	    !arg_int(r, args[3].type == TV_NONE ? TV(TV_MISSING) : args[3], 5, &leeway))
		return TV(TV_FAIL);
	const int64_t end_len = tv_str_len(end);
	if (length < end_len || leeway < 0)
		return run_invalid(r, "truncate() needs a length that its end fits into");
	if (size.i <= length + leeway)
		return v;
	if (!arg_str(r, v, &text))
		return TV(TV_FAIL);
	const struct tvalue bounds[3] = { TV(TV_MISSING), tv_int(length - end_len),
					  TV(TV_MISSING) };
	struct tvalue kept = op_slice(r, v, bounds);
	if (!is_fail(kept) && !tv_truth(args[1])) {
		const char *const space = kept.len ? memrchr(kept.p, ' ', kept.len) : NULL;
		if (space)
			kept.len = (uint32_t)(space - kept.p);
	}
	return is_fail(kept) ? kept : op_add(r, kept, end);
}

static struct tvalue filter_format(struct trun *r, struct tvalue v, const struct targs *given)
{
	struct tvalue s;

	if (!run_str(r, v, &s))
		return TV(TV_FAIL);
	if (given->count && given->keyword_count)
		return run_invalid(r, "format() takes arguments by place or by name, not both");
	if (given->keyword_count) {
		struct tdict *const d = run_dict(r, given->keyword_count);
		for (uint32_t i = 0; d && i < given->keyword_count; i++)
			if (!run_put(r, d, tv_str(given->keywords[i].name),
				     given->keywords[i].value))
				return TV(TV_FAIL);
		return d ? format_percent(r, s, TV(TV_DICT, .dict = d)) : TV(TV_FAIL);
	}
	struct tseq *const t = run_seq(r, given->count);
	if (!t)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < given->count; i++)
		t->items[t->count++] = given->list[i];
	return format_percent(r, s, TV(TV_TUPLE, .seq = t));
}

/* ---- numbers ---- */

static struct tvalue filter_int(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const struct tvalue fallback = arg_or(args[0], tv_int(0));
	struct tvalue out;
	int64_t base;
	double f;

	if (!arg_int(r, args[1], 10, &base))
		return TV(TV_FAIL);
	if (v.type == TV_STR) {
		if (number_int(&r->mem, tv_text(v), (int)base, &out) == 0)
			return out;
		r->steps += RUN_FLOAT_STEPS;
		if (number_float(tv_text(v), &f) == 0 && number_of_double(&r->mem, f, &out) == 0)
			return out;
		return fallback;
	}
	if (v.type == TV_UNDEFINED)
		return run_undefined(r, v);
	if (v.type == TV_FLOAT)
		return number_of_double(&r->mem, v.f, &out) ? fallback : out;
	return v.type == TV_BIG ? v : tv_is_integer(v) ? tv_int(v.i) : fallback;
}

static struct tvalue filter_float(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const struct tvalue fallback = arg_or(args[0], tv_float(0));
	double f;

	if (v.type == TV_UNDEFINED)
		return run_undefined(r, v);
	if (v.type == TV_STR) {
		r->steps += RUN_FLOAT_STEPS;
		return number_float(tv_text(v), &f) ? fallback : tv_float(f);
	}
	return tv_is_number(v) ? tv_float(tv_double(v)) : fallback;
}

static struct tvalue filter_abs(struct trun *r, struct tvalue v, struct tvalue *args)
{
	if (v.type == TV_FLOAT)
		return tv_float(fabs(v.f));
	if (v.type == TV_BIG)
		return v.p[0] == '-' ? TV(TV_BIG, .len = v.len - 1, .p = v.p + 1) : v;
	if (tv_is_integer(v))
		return v.i < 0 ? op_negate(r, v) : tv_int(v.i);
	if (v.type == TV_UNDEFINED)
		return run_undefined(r, v);
	return run_invalid(r, "bad operand type for abs(): '%s'", tv_type_name(v.type));
}

/* round(value, digits), as Python: by decimal digits, halves to even. */
static double round_common(double value, int64_t digits)
{
	char text[400];

	if (digits >= 0) {
		if (digits > 300 || isinf(value) || isnan(value))
			return value;
		snprintf(text, sizeof(text), "%.*f", (int)digits, value);
		return strtod(text, NULL);
	}
	const double scale = pow(10, (double)-digits);
	return isinf(scale) ? copysign(0.0, value) : rint(value / scale) * scale;
}

static struct tvalue filter_round(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const struct tvalue method = arg_or(args[1], tv_lit("common"));
	int64_t digits;

	if (!arg_int(r, args[0], 0, &digits))
		return TV(TV_FAIL);
	if (v.type == TV_UNDEFINED)
		return run_undefined(r, v);
	if (!tv_is_number(v) || method.type != TV_STR)
		return run_invalid(r, "'%s' object cannot be rounded", tv_type_name(v.type));
	if (bb_str_eq(tv_text(method), BB_STR("common"))) {
		if (v.type == TV_FLOAT)
			return tv_float(round_common(v.f, digits));
		if (v.type == TV_BIG || digits >= 0)
			return v.type == TV_BOOL ? tv_int(v.i) : v;
		return tv_int((int64_t)round_common((double)v.i, digits));
	}
	const bool is_ceil = bb_str_eq(tv_text(method), BB_STR("ceil"));
	if (!is_ceil && !bb_str_eq(tv_text(method), BB_STR("floor")))
		return run_invalid(r, "method must be common, ceil or floor");
	const double scale = pow(10, (double)digits);
	const double scaled = tv_double(v) * scale;
	return tv_float((is_ceil ? ceil(scaled) : floor(scaled)) / scale);
}

/* ---- all kinds ---- */

static struct tvalue filter_default(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const bool is_wanted = v.type == TV_UNDEFINED || (tv_truth(args[1]) && !tv_truth(v));

	return is_wanted ? arg_or(args[0], tv_lit("")) : v;
}

static struct tvalue filter_attr(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct bb_str name;

	if (!arg_str(r, args[0], &name))
		return TV(TV_FAIL);
	/* Not the items of a dict: only what is an attribute in Python. */
	if (v.type == TV_DICT && !method_find(TV_DICT, name))
		return TV(TV_UNDEFINED, .aux = v.type, .len = (uint32_t)name.len, .p = name.p);
	return op_attr_named(r, v, name);
}

static bool json_separators(struct trun *r, struct tvalue v, struct json_style *style)
{
	struct tseq pair;

	if (v.type == TV_MISSING || v.type == TV_NONE)
		return true;
	if (!run_items(r, v, &pair))
		return false;
	if (pair.count != 2) {
		run_invalid(r, "tojson's separators are two");
		return false;
	}
	return arg_str(r, pair.items[0], &style->item_separator) &&
	       arg_str(r, pair.items[1], &style->key_separator);
}

static struct tvalue filter_tojson(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue indent = args[1];
	struct json_style style = { .item_separator = BB_STR_INIT(", "),
				    .key_separator = BB_STR_INIT(": "),
				    .ensure_ascii = tv_truth(args[0]),
				    .sort_keys = tv_truth(args[3]) };

	if (tv_is_integer(indent)) {
		indent = op_binary(r, OP_MUL, tv_lit(" "), indent);
		style.is_blank = true;
	}
	if (indent.type != TV_MISSING && indent.type != TV_NONE) {
		if (!arg_str(r, indent, &style.indent))
			return TV(TV_FAIL);
		style.item_separator = BB_STR(",");
	}
	const size_t mark = run_mark(r);
	if (!json_separators(r, args[2], &style) || !format_json(r, v, &style))
		return TV(TV_FAIL);
	return run_take(r, mark);
}

static const struct tfilter rows[] = {
	{ { "abs", "", 0, 0, filter_abs, NULL } },
	{ { "attr", "name", 1, 1, filter_attr, NULL } },
	{ { "capitalize", "", 0, 0, filter_capitalize, NULL } },
	{ { "center", "width", 0, 1, filter_center, NULL } },
	{ { "d", "default_value boolean", 0, 2, filter_default, NULL } },
	{ { "default", "default_value boolean", 0, 2, filter_default, NULL } },
	{ { "e", "", 0, 0, filter_escape, NULL } },
	{ { "escape", "", 0, 0, filter_escape, NULL } },
	{ { "float", "default", 0, 1, filter_float, NULL } },
	{ { "forceescape", "", 0, 0, filter_forceescape, NULL } },
	{ { "format", NULL, 0, 0, NULL, filter_format } },
	{ { "indent", "width first blank", 0, 3, filter_indent, NULL } },
	{ { "int", "default base", 0, 2, filter_int, NULL } },
	{ { "lower", "", 0, 0, filter_lower, NULL } },
	{ { "replace", "old new count", 2, 3, filter_replace, NULL } },
	{ { "round", "precision method", 0, 2, filter_round, NULL } },
	{ { "safe", "", 0, 0, filter_safe, NULL } },
	{ { "string", "", 0, 0, filter_string, NULL } },
	{ { "title", "", 0, 0, filter_title, NULL } },
	{ { "tojson", "ensure_ascii indent separators sort_keys", 0, 4, filter_tojson, NULL } },
	{ { "trim", "chars", 0, 1, filter_trim, NULL } },
	{ { "truncate", "length killwords end leeway", 0, 4, filter_truncate, NULL } },
	{ { "upper", "", 0, 0, filter_upper, NULL } },
	{ { "wordcount", "", 0, 0, filter_wordcount, NULL } },
};
const struct filter_table filters_text = { rows, sizeof(rows) / sizeof(rows[0]) };

const struct tfilter *filter_find(struct bb_str name)
{
	const struct filter_table *const tables[] = { &filters_text, &filters_seq,
						      &filters_choose };

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		const struct tfilter *const f =
			call_find(tables[i]->rows, tables[i]->count, sizeof(struct tfilter), name);
		if (f)
			return f;
	}
	return NULL;
}
