#include "text/template_number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_chars.h"
#include "wire/json_escape.h"

static int keep_big(struct tmem *m, struct bb_str digits, int is_negative, struct tvalue *out)
{
	while (digits.len > 1 && digits.p[0] == '0')
		digits = bb_str_skip(digits, 1);
	if (digits.len > NUMBER_DIGITS_MAX)
		return -BB_ELIMIT;
	char *const p = tmem_alloc(m, digits.len + 1);
	if (!p)
		return -BB_ENOMEM;
	p[0] = '-';
	memcpy(p + is_negative, digits.p, digits.len);
	*out = TV(TV_BIG, .len = (uint32_t)(digits.len + (size_t)is_negative), .p = p);
	return 0;
}

/* Decimal digits, any number of them. */
static int parse_decimal(struct tmem *m, struct bb_str digits, int is_negative, struct tvalue *out)
{
	uint64_t value = 0;
	bool is_big = false;

	for (size_t i = 0; i < digits.len; i++)
		is_big |= __builtin_mul_overflow(value, 10, &value) ||
			  __builtin_add_overflow(value, (uint64_t)(digits.p[i] - '0'), &value);
	if (is_big || value > (uint64_t)INT64_MAX + (uint64_t)is_negative)
		return keep_big(m, digits, is_negative, out);
	*out = tv_int(is_negative ? (int64_t)(0 - value) : (int64_t)value);
	return 0;
}

/* Digits of another base; what needs more than 63 bits is refused. */
static int parse_radix(struct bb_str digits, int base, int is_negative, struct tvalue *out)
{
	int64_t value = 0;

	if (!digits.len)
		return -BB_EINVALID;
	for (size_t i = 0; i < digits.len; i++) {
		const char c = (char)(digits.p[i] | 0x20);
		const int d = c >= '0' && c <= '9'   ? c - '0'
			      : c >= 'a' && c <= 'z' ? c - 'a' + 10
						     : 99;
		if (d >= base)
			return -BB_EINVALID;
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, d, &value))
			return -BB_ELIMIT;
	}
	*out = tv_int(is_negative ? -value : value);
	return 0;
}

static int base_of_prefix(struct bb_str s)
{
	if (s.len < 2 || s.p[0] != '0')
		return 0;
	const char c = (char)(s.p[1] | 0x20);
	return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
}

/* Without underscores between digits; false where they may not be. */
static bool drop_underscores(struct bb_str s, char *out, size_t size, size_t *len)
{
	*len = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '_') {
			if (i == 0 || i + 1 == s.len || json_hex_value(s.p[i - 1]) < 0 ||
			    json_hex_value(s.p[i + 1]) < 0)
				return false;
			continue;
		}
		if (*len + 1 >= size)
			return false;
		out[(*len)++] = s.p[i];
	}
	out[*len] = '\0';
	return true;
}

/* strtod of decimal digits, all of the text; hexadecimal and words are refused. */
static int parse_float(const char *text, double *out)
{
	char *end = NULL;

	for (const char *p = text; *p; p++)
		if ((*p < '0' || *p > '9') && *p != '.' && *p != '-' && *p != '+' &&
		    (*p | 0x20) != 'e')
			return -BB_EINVALID;
	*out = strtod(text, &end);
	return end == text || *end ? -BB_EINVALID : 0;
}

int number_literal(struct tmem *m, struct bb_str text, int is_float, struct tvalue *out)
{
	char plain[NUMBER_DIGITS_MAX + 8];
	size_t len;
	double value;

	/* The lexer has looked at where the underscores are; "0x_1" is one of them. */
	size_t n = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == '_')
			continue;
		if (n + 1 >= sizeof(plain))
			return -BB_ELIMIT;
		plain[n++] = text.p[i];
	}
	plain[n] = '\0';
	len = n;
	const struct bb_str s = { plain, len };
	if (is_float) {
		if (parse_float(plain, &value))
			return -BB_EINVALID;
		*out = tv_float(value);
		return 0;
	}
	const int base = base_of_prefix(s);
	return base ? parse_radix(bb_str_skip(s, 2), base, 0, out) : parse_decimal(m, s, 0, out);
}

int number_json(struct tmem *m, struct bb_str text, struct tvalue *out)
{
	char plain[512];
	double value;

	if (!memchr(text.p, '.', text.len) && !memchr(text.p, 'e', text.len) &&
	    !memchr(text.p, 'E', text.len)) {
		const int is_negative = text.p[0] == '-';
		return parse_decimal(m, bb_str_skip(text, (size_t)is_negative), is_negative, out);
	}
	if (text.len >= sizeof(plain))
		return -BB_ELIMIT;
	memcpy(plain, text.p, text.len);
	plain[text.len] = '\0';
	if (parse_float(plain, &value))
		return -BB_EINVALID;
	*out = tv_float(value);
	return 0;
}

int number_int(struct tmem *m, struct bb_str text, int base, struct tvalue *out)
{
	char plain[NUMBER_DIGITS_MAX + 8];
	size_t len;

	text = chars_strip_right(chars_strip_left(text));
	const int is_negative = text.len && text.p[0] == '-';
	if (text.len && (text.p[0] == '-' || text.p[0] == '+'))
		text = bb_str_skip(text, 1);
	if (!text.len || !drop_underscores(text, plain, sizeof(plain), &len))
		return -BB_EINVALID;
	struct bb_str s = { plain, len };
	const int prefix = base_of_prefix(s);
	if (prefix && (base == prefix || base == 0))
		return parse_radix(bb_str_skip(s, 2), prefix, is_negative, out);
	if (base == 0 && len > 1 && plain[0] == '0' && strspn(plain, "0") != len)
		return -BB_EINVALID;
	if (base != 10 && base != 0)
		return base < 2 || base > 36 ? -BB_EINVALID
					     : parse_radix(s, base, is_negative, out);
	for (size_t i = 0; i < len; i++)
		if (plain[i] < '0' || plain[i] > '9')
			return -BB_EINVALID;
	return parse_decimal(m, s, is_negative, out);
}

int number_float(struct bb_str text, double *out)
{
	char plain[512];
	size_t len;

	text = chars_strip_right(chars_strip_left(text));
	if (!text.len || !drop_underscores(text, plain, sizeof(plain), &len))
		return -BB_EINVALID;
	const char *word = plain + (plain[0] == '-' || plain[0] == '+');
	if (strcasecmp(word, "inf") == 0 || strcasecmp(word, "infinity") == 0)
		*out = plain[0] == '-' ? -INFINITY : INFINITY;
	else if (strcasecmp(word, "nan") == 0)
		*out = NAN;
	else
		return parse_float(plain, out);
	return 0;
}

/* The digits and the exponent of value: d.ddd * 10^exponent; the fewest that read back. */
static int shortest(double value, char digits[32], int *exponent)
{
	char text[64];

	for (int precision = 0; precision < 17; precision++) {
		snprintf(text, sizeof(text), "%.*e", precision, value);
		if (strtod(text, NULL) == value)
			break;
	}
	const char *const e = strchr(text, 'e');
	int n = 0;
	for (const char *p = text; p < e; p++)
		if (*p >= '0' && *p <= '9')
			digits[n++] = *p;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	digits[n] = '\0';
	*exponent = (int)strtol(e + 1, NULL, 10);
	return n;
}

void number_repr(double value, char out[NUMBER_REPR_SIZE])
{
	char digits[32];
	int exponent = 0;

	if (isnan(value) || isinf(value)) {
		snprintf(out, NUMBER_REPR_SIZE, "%s",
			 isnan(value) ? "nan"
			 : value < 0  ? "-inf"
				      : "inf");
		return;
	}
	const char *const sign = signbit(value) ? "-" : "";
	const int n = shortest(fabs(value), digits, &exponent);
	if (exponent < -4 || exponent >= 16)
		snprintf(out, NUMBER_REPR_SIZE, "%s%c%s%.20se%c%02d", sign, digits[0],
			 n > 1 ? "." : "", digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
	else if (exponent < 0)
		snprintf(out, NUMBER_REPR_SIZE, "%s0.%.*s%.20s", sign, -exponent - 1, "0000",
			 digits);
	else if (n <= exponent + 1)
		snprintf(out, NUMBER_REPR_SIZE, "%s%.20s%.*s.0", sign, digits, exponent + 1 - n,
			 "0000000000000000");
	else
		snprintf(out, NUMBER_REPR_SIZE, "%s%.*s.%.20s", sign, exponent + 1, digits,
			 digits + exponent + 1);
}

void number_put(struct bb_buf *out, struct tvalue v)
{
	char text[NUMBER_REPR_SIZE];

	if (v.type == TV_BIG) {
		bb_buf_put(out, v.p, v.len);
	} else if (v.type == TV_FLOAT) {
		number_repr(v.f, text);
		bb_buf_put(out, text, strlen(text));
	} else {
		if (v.i < 0)
			bb_buf_lit(out, "-");
		bb_buf_add_u64(out, v.i < 0 ? 0 - (uint64_t)v.i : (uint64_t)v.i);
	}
}

int number_of_double(struct tmem *m, double value, struct tvalue *out)
{
	char text[512];

	if (isnan(value) || isinf(value))
		return -BB_EINVALID;
	if (value > -9.2e18 && value < 9.2e18) {
		*out = tv_int((int64_t)value);
		return 0;
	}
	const int n = snprintf(text, sizeof(text), "%.0f", trunc(value));
	const struct bb_str s = { text, (size_t)n };
	const int is_negative = value < 0;
	return parse_decimal(m, bb_str_skip(s, (size_t)is_negative), is_negative, out);
}
