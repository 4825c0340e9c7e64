/* Fields of a width, numbers in a format: template_format.h. */
#include <math.h>
#include <stdio.h>

#include "text/template_chars.h"
#include "text/template_format.h"
#include "text/template_number.h"

#define FIELD_MAX (1 << 24) /* characters of a field, digits behind a point: 16 M, 300 */
#define PRECISION_MAX 300

static void put_fill(struct trun *r, const struct format_spec *spec, int64_t count)
{
	while (count-- > 0 && !r->out->err)
		bb_buf_add_str(r->out, spec->fill);
}

bool format_field(struct trun *r, struct bb_str text, const struct format_spec *spec, char align)
{
	const int64_t length = tv_str_len(tv_str(text));
	const int64_t space = spec->width > length ? spec->width - length : 0;
	/* str.center(): the odd one goes left when the width is odd. */
	const int64_t left = align == '<'   ? 0
			     : align == '>' ? space
			     : align == 'c' ? space / 2 + (space & spec->width & 1)
					    : space / 2;

	if (spec->width > FIELD_MAX) {
		run_fail(r, -BB_ELIMIT, "a field of more than %d characters", FIELD_MAX);
		return false;
	}
	if (!run_charge(r, (uint64_t)space) || !run_charge_bytes(r, text.len))
		return false;
	put_fill(r, spec, left);
	bb_buf_add_str(r->out, text);
	put_fill(r, spec, space - left);
	return true;
}

/* ---- numbers ---- */

struct digits {
	char sign;
	const char *prefix;
	struct bb_str whole, rest; /* "1234", ".5e+3" */
};

static size_t grouped(struct bb_str whole, char mark, int every, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < whole.len; i++) {
		if (i && mark && (whole.len - i) % (size_t)every == 0)
			out[n++] = mark;
		out[n++] = whole.p[i];
	}
	return n;
}

static bool put_digits(struct trun *r, const struct digits *d, const struct format_spec *spec)
{
	char text[2 * NUMBER_DIGITS_MAX + 1024];
	const bool is_hex =
		spec->type == 'x' || spec->type == 'X' || spec->type == 'b' || spec->type == 'o';
	const char sign = d->sign == '-'			   ? '-'
			  : spec->sign == '+' || spec->sign == ' ' ? spec->sign
								   : 0;
	size_t n = 0;

	if (d->whole.len > NUMBER_DIGITS_MAX || d->rest.len > 900)
		return run_fail(r, -BB_ELIMIT, "a number that is too long"), false;
	if (sign)
		text[n++] = sign;
	for (const char *p = d->prefix; *p; p++)
		text[n++] = *p;
	const size_t head = n;
	n += grouped(d->whole, spec->grouping, is_hex ? 4 : 3, text + n);
	memcpy(text + n, d->rest.p, d->rest.len);
	n += d->rest.len;
	const char align = spec->align ? spec->align : spec->is_zero ? '=' : '>';
	if (align != '=')
		return format_field(r, (struct bb_str){ text, n }, spec, align);
	/* The padding goes between the sign and the digits. */
	bb_buf_put(r->out, text, head);
	struct format_spec inner = *spec;
	inner.width -= (int32_t)head;
	if (spec->is_zero)
		inner.fill = BB_STR("0");
	return format_field(r, (struct bb_str){ text + head, n - head }, &inner, '>');
}

static bool put_float(struct trun *r, double f, const struct format_spec *spec)
{
	char text[800], format[8] = "%.*";
	const bool is_percent = spec->type == '%';
	const char type = is_percent ? 'f' : spec->type;

	if (spec->precision > PRECISION_MAX)
		return run_fail(r, -BB_ELIMIT, "more than %d digits", PRECISION_MAX), false;
	if (!run_charge(r, RUN_FLOAT_STEPS + (spec->precision > 0 ? spec->precision : 0)))
		return false;
	const double size = fabs(is_percent ? f * 100 : f);
	if (!type && spec->precision < 0) {
		number_repr(size, text);
	} else {
		size_t n = strlen(format);
		if (spec->is_alternate) {
			memcpy(format, "%#.*", 4);
			n = 4;
		}
		format[n] = type ? type : 'g';
		format[n + 1] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), format, spec->precision < 0 ? 6 : spec->precision,
			 size);
#pragma GCC diagnostic pop
		if (!type && !strpbrk(text, ".en"))
			strncat(text, ".0", sizeof(text) - strlen(text) - 1);
	}
	if (is_percent)
		strncat(text, "%", sizeof(text) - strlen(text) - 1);
	const size_t whole = strspn(text, "0123456789");
	const struct digits d = { .sign = signbit(f) && !isnan(f) ? '-' : 0,
				  .prefix = "",
				  .whole = { text, whole ? whole : strlen(text) },
				  .rest = bb_str_of(whole ? text + whole : "") };
	return put_digits(r, &d, spec);
}

static size_t radix_digits(uint64_t value, unsigned base, int upper, char out[65])
{
	char reversed[65];
	size_t n = 0;

	do {
		reversed[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
		value /= base;
	} while (value);
	for (size_t i = 0; i < n; i++)
		out[i] = reversed[n - 1 - i];
	return n;
}

static bool put_int(struct trun *r, struct tvalue v, const struct format_spec *spec)
{
	char text[65];
	struct digits d = { .prefix = "", .rest = BB_STR_INIT("") };
	unsigned base = 10;

	if (spec->type == 'x' || spec->type == 'X')
		base = 16;
	else if (spec->type == 'o')
		base = 8;
	else if (spec->type == 'b')
		base = 2;
	if (spec->is_alternate && base != 10)
		d.prefix = spec->type == 'x'   ? "0x"
			   : spec->type == 'X' ? "0X"
			   : base == 8	       ? "0o"
					       : "0b";
	if (v.type == TV_BIG) {
		const size_t sign = v.p[0] == '-';
		if (base != 10)
			return run_fail(r, -BB_ELIMIT, "an integer of more than 64 bits"), false;
		d.sign = sign ? '-' : 0;
		d.whole = bb_str_skip(tv_text(v), sign);
		return put_digits(r, &d, spec);
	}
	d.sign = v.i < 0 ? '-' : 0;
	d.whole.p = text;
	d.whole.len = radix_digits(v.i < 0 ? 0 - (uint64_t)v.i : (uint64_t)v.i, base,
				   spec->type == 'X', text);
	return put_digits(r, &d, spec);
}

static bool bad_type(struct trun *r, struct tvalue v, const struct format_spec *spec)
{
	if (spec->type)
		run_invalid(r, "Unknown format code '%c' for object of type '%s'", spec->type,
			    tv_type_name(v.type));
	else
		run_invalid(r, "unsupported format string passed to %s.__format__",
			    tv_type_name(v.type));
	return false;
}

static bool put_str(struct trun *r, struct tvalue s, const struct format_spec *spec)
{
	struct bb_str text = tv_text(s);

	if (spec->precision >= 0)
		text.len = chars_offset(text, (size_t)spec->precision);
	return format_field(r, text, spec, spec->align ? spec->align : '<');
}

static bool is_plain_spec(const struct format_spec *s)
{
	return !s->align && !s->sign && !s->type && !s->grouping && !s->is_alternate &&
	       !s->is_zero && s->width <= 0 && s->precision < 0;
}

bool format_value(struct trun *r, struct tvalue v, const struct format_spec *spec)
{
	const char type = spec->type;

	if (is_plain_spec(spec))
		return format_str(r, v);
	if (v.type == TV_STR)
		return type && type != 's' ? bad_type(r, v, spec) : put_str(r, v, spec);
	if (!tv_is_number(v))
		return bad_type(r, v, spec);
	if (type && strchr("eEfFgG%", type))
		return put_float(r, tv_double(v), spec);
	if (v.type == TV_FLOAT)
		return type ? bad_type(r, v, spec) : put_float(r, v.f, spec);
	if (v.type == TV_BOOL && !type)
		return put_str(r, v.i ? tv_lit("True") : tv_lit("False"), spec);
	return type && !strchr("dnxXob", type) ? bad_type(r, v, spec) : put_int(r, v, spec);
}

/* ---- % ---- */

struct percent {
	struct trun *r;
	const char *p, *end;
	struct tvalue value;
	uint32_t used; /* of a tuple's items, or 1 of a single value */
	bool has_keys;
};

static struct tvalue next_value(struct percent *x)
{
	if (x->value.type == TV_TUPLE) {
		if (x->used < x->value.seq->count)
			return run_at(x->r, &x->value.seq->items[x->used++]);
	} else if (!x->used++) {
		return x->value;
	}
	return run_invalid(x->r, "not enough arguments for format string");
}

/* "(key)" at p. */
static struct tvalue keyed_value(struct percent *x)
{
	const char *const close = memchr(x->p, ')', (size_t)(x->end - x->p));

	if (!close)
		return run_invalid(x->r, "incomplete format key");
	if (x->value.type != TV_DICT)
		return run_invalid(x->r, "format requires a mapping");
	const struct bb_str key = { x->p + 1, (size_t)(close - x->p - 1) };
	struct tvalue *const v = tdict_find_str(x->value.dict, key);
	x->p = close + 1;
	x->has_keys = true;
	return v ? run_at(x->r, v) : run_invalid(x->r, "there is no key '%.*s'", BB_ARG(key));
}

/* A number, or '*', which takes one of the values. */
static bool read_size(struct percent *x, int32_t *out)
{
	int64_t n = 0;

	if (x->p < x->end && *x->p == '*') {
		const struct tvalue v = next_value(x);
		x->p++;
		if (!tv_is_integer(v) || v.i > FIELD_MAX || v.i < -FIELD_MAX)
			return run_invalid(x->r, "* wants int"), false;
		*out = (int32_t)v.i;
		return true;
	}
	for (; x->p < x->end && *x->p >= '0' && *x->p <= '9'; x->p++)
		if ((n = n * 10 + (*x->p - '0')) > FIELD_MAX)
			return run_fail(x->r, -BB_ELIMIT, "a field that is too wide"), false;
	*out = (int32_t)n;
	return true;
}

static bool read_percent(struct percent *x, struct format_spec *spec)
{
	for (; x->p < x->end && strchr("-+ #0", *x->p) && *x->p; x->p++) {
		if (*x->p == '-')
			spec->align = '<';
		else if (*x->p == '#')
			spec->is_alternate = true;
		else if (*x->p == '0')
			spec->is_zero = true;
		else if (spec->sign != '+')
			spec->sign = *x->p;
	}
	if (!read_size(x, &spec->width))
		return false;
	if (spec->width < 0) {
		spec->align = '<';
		spec->width = -spec->width;
	}
	if (x->p < x->end && *x->p == '.') {
		x->p++;
		if (!read_size(x, &spec->precision))
			return false;
	}
	while (x->p < x->end && (*x->p == 'h' || *x->p == 'l' || *x->p == 'L'))
		x->p++;
	if (x->p >= x->end)
		return run_invalid(x->r, "incomplete format"), false;
	spec->type = *x->p++;
	if (spec->align)
		spec->is_zero = false;
	return true;
}

static bool percent_text(struct percent *x, struct tvalue v, struct format_spec *spec)
{
	struct tvalue s;
	const size_t mark = run_mark(x->r);

	if (spec->type == 's') {
		if (!run_str(x->r, v, &s))
			return false;
	} else {
		if (!format_repr(x->r, v))
			return false;
		s = run_take(x->r, mark);
		if (is_fail(s))
			return false;
	}
	spec->type = 0;
	spec->align = spec->align ? spec->align : '>';
	return put_str(x->r, s, spec);
}

static bool percent_number(struct percent *x, struct tvalue v, struct format_spec *spec)
{
	struct tvalue whole = v;

	if (!tv_is_number(v))
		return run_invalid(x->r, "%%%c format: a real number is required, not %s",
				   spec->type, tv_type_name(v.type)),
		       false;
	if (strchr("eEfFgG", spec->type))
		return put_float(x->r, tv_double(v), spec);
	if (v.type == TV_FLOAT && number_of_double(&x->r->mem, trunc(v.f), &whole))
		return run_invalid(x->r, "cannot convert float to integer"), false;
	if (spec->type == 'i' || spec->type == 'u')
		spec->type = 'd';
	return put_int(x->r, whole, spec);
}

static bool percent_one(struct percent *x)
{
	struct format_spec spec = { .fill = BB_STR_INIT(" "), .precision = -1 };
	struct tvalue v = TV(TV_MISSING);

	if (x->p < x->end && *x->p == '(') {
		v = keyed_value(x);
		if (is_fail(v))
			return false;
	}
	if (!read_percent(x, &spec))
		return false;
	if (spec.type == '%') {
		bb_buf_lit(x->r->out, "%");
		return true;
	}
	if (v.type == TV_MISSING)
		v = next_value(x);
	if (is_fail(v))
		return false;
	if (spec.type == 's' || spec.type == 'r')
		return percent_text(x, v, &spec);
	if (strchr("diuxXoeEfFgG", spec.type))
		return percent_number(x, v, &spec);
	return run_invalid(x->r, "unsupported format character '%c'", spec.type), false;
}

struct tvalue format_percent(struct trun *r, struct tvalue format, struct tvalue v)
{
	struct percent x = { .r = r, .p = format.p, .end = format.p + format.len, .value = v };
	const size_t mark = run_mark(r);

	while (x.p < x.end) {
		const char *at = memchr(x.p, '%', (size_t)(x.end - x.p));
		at = at ? at : x.end;
		bb_buf_put(r->out, x.p, (size_t)(at - x.p));
		x.p = at + 1;
		if (at < x.end && !percent_one(&x))
			return TV(TV_FAIL);
		if (!run_charge(r, 1))
			return TV(TV_FAIL);
	}
	const bool is_rest = v.type == TV_TUPLE ? x.used < v.seq->count : !x.used;
	/* Python takes what can be subscribed for a mapping, of which nothing need be used. */
	const bool is_mapping = v.type == TV_DICT || v.type == TV_LIST || v.type == TV_RANGE ||
				v.type == TV_UNDEFINED;
	if (is_rest && !x.has_keys && !is_mapping)
		return run_invalid(r, "not all arguments converted during string formatting");
	return run_take(r, mark);
}
