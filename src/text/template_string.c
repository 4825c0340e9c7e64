#include "text/template_string.h"

#include "wire/json_escape.h"
#include "wire/utf8.h"

/* `digits` hex digits at p, or -1. */
static int64_t hex_value(const char *p, const char *end, int digits)
{
	int64_t value = 0;

	if (end - p < digits)
		return -1;
	for (int i = 0; i < digits; i++) {
		const int d = json_hex_value(p[i]);
		if (d < 0)
			return -1;
		value = value << 4 | d;
	}
	return value;
}

static const char *octal_value(const char *p, const char *end, int64_t *value)
{
	*value = 0;
	for (int i = 0; i < 3 && p < end && *p >= '0' && *p <= '7'; i++)
		*value = *value << 3 | (*p++ - '0');
	return p;
}

static char plain_escape(char c)
{
	switch (c) {
	case 'a': return '\a';
	case 'b': return '\b';
	case 'f': return '\f';
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	case 'v': return '\v';
	case '\\':
	case '\'':
	case '"': return c;
	default: return 0;
	}
}

/* p is behind the backslash; NULL with a reason when the escape is malformed. */
static const char *unescape_one(const char *p, const char *end, char **out, const char **why)
{
	const char c = *p;
	int64_t code = -1;

	if (c == '\n')
		return p + 1;
	if (plain_escape(c)) {
		*(*out)++ = plain_escape(c);
		return p + 1;
	}
	if (c >= '0' && c <= '7') {
		p = octal_value(p, end, &code);
	} else if (c == 'x' || c == 'u' || c == 'U') {
		const int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
		code = hex_value(p + 1, end, digits);
		p += 1 + digits;
	} else if (c == 'N') {
		*why = "\\N{...} escapes are not supported; write the character itself";
		return NULL;
	} else {
		*(*out)++ = '\\';
		return p;
	}
	if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
		*why = "a string has a malformed escape";
		return NULL;
	}
	*out += utf8_encode((uint32_t)code, *out);
	return p;
}

int string_unescape(struct bb_str inner, struct tmem *m, struct bb_str *out, const char **why)
{
	const char *p = inner.p, *const end = p + inner.len;

	*out = inner;
	if (!inner.len || !memchr(inner.p, '\\', inner.len))
		return 0;
	/* Only an octal escape can grow, from two bytes to two: \7 is one, \377 is two. */
	char *const begin = tmem_alloc(m, inner.len + 4);
	char *to = begin;
	if (!begin)
		return -BB_ENOMEM;
	while (p && p < end) {
		if (*p != '\\' || p + 1 == end)
			*to++ = *p++;
		else
			p = unescape_one(p + 1, end, &to, why);
	}
	if (!p)
		return -BB_ESYNTAX;
	*out = (struct bb_str){ begin, (size_t)(to - begin) };
	return 0;
}
