#include "text/template_chars.h"

#include <utf8proc.h>

#include "text/template_case.h"
#include "wire/utf8.h"

uint32_t chars_next(const char **p, const char *end)
{
	const unsigned char *const s = (const unsigned char *)*p;
	const size_t size = chars_size(**p);

	if (size == 1 || (size_t)(end - *p) < size) {
		(*p)++;
		return s[0];
	}
	*p += size;
	if (size == 2)
		return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
	if (size == 3)
		return (s[0] & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
	return (s[0] & 7u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

uint32_t chars_before(const char *begin, const char **end)
{
	const char *p = *end - 1;

	while (p > begin && ((unsigned char)*p & 0xc0) == 0x80)
		p--;
	const char *at = p;
	const uint32_t code = chars_next(&at, *end);
	*end = p;
	return code;
}

void chars_put(struct bb_buf *out, uint32_t code)
{
	char bytes[4];

	bb_buf_put(out, bytes, utf8_encode(code, bytes));
}

/* ---- what a character is ---- */

bool chars_is_space(uint32_t c)
{
	if (c < 0x80)
		return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
	return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
	       c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static int category(uint32_t c)
{
	return (int)utf8proc_category((utf8proc_int32_t)c);
}

bool chars_is_alpha(uint32_t c)
{
	const int k = category(c);

	return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool chars_is_decimal(uint32_t c)
{
	return category(c) == UTF8PROC_CATEGORY_ND;
}

/* Digits that are no decimals: superscripts, circled ones and their like (Unicode's Digit type). */
bool chars_is_digit(uint32_t c)
{
	static const struct {
		uint32_t from, to;
	} ranges[] = {
		{ 0xb2, 0xb3 },	      { 0xb9, 0xb9 },	    { 0x1369, 0x1371 },
		{ 0x19da, 0x19da },   { 0x2070, 0x2070 },   { 0x2074, 0x2079 },
		{ 0x2080, 0x2089 },   { 0x2460, 0x2468 },   { 0x2474, 0x247c },
		{ 0x2488, 0x2490 },   { 0x24ea, 0x24ea },   { 0x24f5, 0x24fd },
		{ 0x24ff, 0x24ff },   { 0x2776, 0x277e },   { 0x2780, 0x2788 },
		{ 0x278a, 0x2792 },   { 0x10a40, 0x10a43 }, { 0x10e60, 0x10e68 },
		{ 0x11052, 0x1105a }, { 0x1f100, 0x1f10a },
	};

	if (chars_is_decimal(c))
		return true;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (c >= ranges[i].from && c <= ranges[i].to)
			return true;
	return false;
}

bool chars_is_numeric(uint32_t c)
{
	const int k = category(c);

	return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool chars_is_word(uint32_t c)
{
	if (c < 0x80)
		return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		       c == '_';
	return chars_is_alpha(c) || chars_is_numeric(c);
}

bool chars_is_upper(uint32_t c)
{
	return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216f) ||
	       (c >= 0x24b6 && c <= 0x24cf);
}

bool chars_is_lower(uint32_t c)
{
	return category(c) == UTF8PROC_CATEGORY_LL || c == 0xaa || c == 0xba ||
	       (c >= 0x2170 && c <= 0x217f) || (c >= 0x24d0 && c <= 0x24e9);
}

bool chars_is_title(uint32_t c)
{
	return category(c) == UTF8PROC_CATEGORY_LT;
}

bool chars_is_printable(uint32_t c)
{
	if (c < 0x7f)
		return c >= 0x20;
	switch (category(c)) {
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CS:
	case UTF8PROC_CATEGORY_CO:
	case UTF8PROC_CATEGORY_CN:
	case UTF8PROC_CATEGORY_ZL:
	case UTF8PROC_CATEGORY_ZP:
	case UTF8PROC_CATEGORY_ZS: return false;
	default: return true;
	}
}

/* ---- ends and places ---- */

struct bb_str chars_strip_left(struct bb_str s)
{
	const char *p = s.p, *const end = s.p + s.len;

	while (p < end) {
		const char *next = p;
		if (!chars_is_space(chars_next(&next, end)))
			break;
		p = next;
	}
	return (struct bb_str){ p, (size_t)(end - p) };
}

struct bb_str chars_strip_right(struct bb_str s)
{
	const char *end = s.p + s.len;

	while (end > s.p) {
		const char *before = end;
		if (!chars_is_space(chars_before(s.p, &before)))
			break;
		end = before;
	}
	return (struct bb_str){ s.p, (size_t)(end - s.p) };
}

size_t chars_offset(struct bb_str s, size_t index)
{
	size_t i = 0;

	while (i < s.len && index--)
		i += chars_size(s.p[i]);
	return i < s.len ? i : s.len;
}

/* ---- cases ---- */

uint32_t chars_map(uint32_t c, enum chars_case to, uint32_t out[3])
{
	utf8proc_int32_t folded[8];
	uint32_t n = 0;
	int boundary = 0;

	switch (to) {
	case CHARS_UPPER:
		n = case_special(c, CASE_UPPER, out);
		out[0] = n ? out[0] : (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
		return n ? n : 1;
	case CHARS_TITLE:
		n = case_special(c, CASE_TITLE, out);
		out[0] = n ? out[0] : (uint32_t)utf8proc_totitle((utf8proc_int32_t)c);
		return n ? n : 1;
	case CHARS_LOWER:
		out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
		if (c == 0x130) {
			out[0] = 'i';
			out[1] = 0x307;
			return 2;
		}
		return 1;
	case CHARS_FOLD:
		n = (uint32_t)utf8proc_decompose_char((utf8proc_int32_t)c, folded, 8,
						      UTF8PROC_CASEFOLD, &boundary);
		if (n == 0 || n > 3) {
			out[0] = c;
			return 1;
		}
		for (uint32_t i = 0; i < n; i++)
			out[i] = (uint32_t)folded[i];
		return n;
	}
	return 0;
}

static void put_mapped(struct bb_buf *out, uint32_t c, enum chars_case to)
{
	uint32_t codes[3];
	const uint32_t n = chars_map(c, to, codes);

	for (uint32_t i = 0; i < n; i++)
		chars_put(out, codes[i]);
}

static bool is_cased(uint32_t c)
{
	return chars_is_upper(c) || chars_is_lower(c) || chars_is_title(c);
}

/* What Unicode's Final_Sigma looks through: marks, and signs inside of words. */
static bool is_case_ignorable(uint32_t c)
{
	const int k = category(c);

	return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME ||
	       k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_LM ||
	       k == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xb7 ||
	       c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027;
}

/* A capital sigma at the end of a word has a lower case of its own. */
static bool is_final_sigma(struct bb_str s, const char *at)
{
	const char *p = at, *const end = s.p + s.len;
	uint32_t c = 0;

	while (p > s.p && is_case_ignorable(c = chars_before(s.p, &p)))
		c = 0;
	if (!c || !is_cased(c))
		return false;
	p = at + 2;
	c = 0;
	while (p < end && is_case_ignorable(c = chars_next(&p, end)))
		c = 0;
	return !c || !is_cased(c);
}

static void put_lower(struct bb_buf *out, struct bb_str s, const char *at, uint32_t c)
{
	if (c < 0x80)
		chars_put(out, c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	else if (c == 0x3a3)
		chars_put(out, is_final_sigma(s, at) ? 0x3c2 : 0x3c3);
	else
		put_mapped(out, c, CHARS_LOWER);
}

void chars_write_lower(struct bb_str s, struct bb_buf *out)
{
	for (const char *p = s.p, *const end = p + s.len; p < end;) {
		const char *const at = p;
		put_lower(out, s, at, chars_next(&p, end));
	}
}

void chars_write_upper(struct bb_str s, struct bb_buf *out)
{
	for (const char *p = s.p, *const end = p + s.len; p < end;) {
		const uint32_t c = chars_next(&p, end);
		if (c < 0x80)
			chars_put(out, c >= 'a' && c <= 'z' ? c & ~0x20u : c);
		else
			put_mapped(out, c, CHARS_UPPER);
	}
}

void chars_write_folded(struct bb_str s, struct bb_buf *out)
{
	for (const char *p = s.p, *const end = p + s.len; p < end;)
		put_mapped(out, chars_next(&p, end), CHARS_FOLD);
}

void chars_write_title(struct bb_str s, struct bb_buf *out)
{
	bool in_word = false;

	for (const char *p = s.p, *const end = p + s.len; p < end;) {
		const char *const at = p;
		const uint32_t c = chars_next(&p, end);
		if (in_word)
			put_lower(out, s, at, c);
		else
			put_mapped(out, c, CHARS_TITLE);
		in_word = is_cased(c);
	}
}

void chars_write_capital(struct bb_str s, struct bb_buf *out)
{
	const char *p = s.p, *const end = p + s.len;

	if (p < end)
		put_mapped(out, chars_next(&p, end), CHARS_TITLE);
	while (p < end) {
		const char *const at = p;
		put_lower(out, s, at, chars_next(&p, end));
	}
}

void chars_write_swapped(struct bb_str s, struct bb_buf *out)
{
	for (const char *p = s.p, *const end = p + s.len; p < end;) {
		const char *const at = p;
		const uint32_t c = chars_next(&p, end);
		if (chars_is_upper(c))
			put_lower(out, s, at, c);
		else if (chars_is_lower(c))
			put_mapped(out, c, CHARS_UPPER);
		else
			chars_put(out, c);
	}
}
