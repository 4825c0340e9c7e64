#include "base/str.h"

#include <math.h>
#include <stdlib.h>

static unsigned char lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* Eight bytes at once: 0x20 is set in those from 'A' to 'Z'. */
static uint64_t lower8(const char *p)
{
	const uint64_t ones = 0x0101010101010101u;
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	const uint64_t low7 = x & 0x7f * ones;
	const uint64_t from_a = low7 + (0x80 - 'A') * ones;
	const uint64_t above_z = low7 + (0x7f - 'Z') * ones;
	return x | ((from_a ^ above_z) & ~x & 0x80 * ones) >> 2;
}

bool bb_str_eq_nocase(struct bb_str a, struct bb_str b)
{
	if (a.len != b.len)
		return false;
	if (a.len < 8) {
		for (size_t i = 0; i < a.len; i++)
			if (lower(a.p[i]) != lower(b.p[i]))
				return false;
		return true;
	}
	/* Eight at a time; the last eight may have bytes again that were compared before. */
	for (size_t i = 0; i + 8 < a.len; i += 8)
		if (lower8(a.p + i) != lower8(b.p + i))
			return false;
	return lower8(a.p + a.len - 8) == lower8(b.p + b.len - 8);
}

ptrdiff_t bb_str_find(struct bb_str s, struct bb_str needle)
{
	if (needle.len == 0)
		return 0;
	const char *hit = s.len ? memmem(s.p, s.len, needle.p, needle.len) : NULL;
	return hit ? hit - s.p : -1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct bb_str bb_str_trim(struct bb_str s)
{
	while (s.len && is_blank(s.p[0]))
		s = bb_str_skip(s, 1);
	while (s.len && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

struct bb_str bb_str_cut(struct bb_str *rest, char sep)
{
	struct bb_str head = *rest;
	const char *hit = rest->len ? memchr(rest->p, sep, rest->len) : NULL;

	if (!hit) {
		*rest = (struct bb_str){ rest->p + rest->len, 0 };
		return head;
	}
	head.len = (size_t)(hit - head.p);
	*rest = bb_str_skip(*rest, head.len + 1);
	return head;
}

bool bb_str_matches(struct bb_str s, struct bb_str pattern)
{
	size_t i = 0, k = 0, star = SIZE_MAX, mark = 0;

	while (i < s.len) {
		if (k < pattern.len && pattern.p[k] == '*') {
			star = k++;
			mark = i;
		} else if (k < pattern.len && pattern.p[k] == s.p[i]) {
			i++;
			k++;
		} else if (star != SIZE_MAX) {
			k = star + 1;
			i = ++mark;
		} else {
			return false;
		}
	}
	while (k < pattern.len && pattern.p[k] == '*')
		k++;
	return k == pattern.len;
}

void bb_text_copy(char *out, size_t size, const char *text)
{
	const size_t len = strnlen(text, size - 1);

	memcpy(out, text, len);
	out[len] = '\0';
}

int bb_parse_u64(struct bb_str s, uint64_t *out)
{
	uint64_t value = 0;

	if (s.len == 0)
		return -BB_EINVALID;
	size_t i = 0;
	/* So many digits cannot be too much. */
	for (; i < s.len && i < 19; i++) {
		const unsigned digit = (unsigned char)(s.p[i] - '0');
		if (digit > 9)
			return -BB_EINVALID;
		value = value * 10 + digit;
	}
	for (; i < s.len; i++) {
		const char c = s.p[i];
		if (c < '0' || c > '9')
			return -BB_EINVALID;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(c - '0'), &value))
			return -BB_ELIMIT;
	}
	*out = value;
	return 0;
}

int bb_parse_double(struct bb_str s, double *out)
{
	char text[64], *end;

	if (s.len == 0 || s.len >= sizeof(text))
		return -BB_EINVALID;
	for (size_t i = 0; i < s.len; i++)
		if (!strchr("0123456789+-.eE", s.p[i]) || s.p[i] == '\0')
			return -BB_EINVALID;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	const double value = strtod(text, &end);
	if (*end || end == text)
		return -BB_EINVALID;
	if (!isfinite(value))
		return -BB_ELIMIT;
	*out = value;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* number (with an optional fraction) followed by one of `units` */
static int parse_with_unit(struct bb_str s, const struct unit *units, size_t count, uint64_t *out)
{
	size_t n = 0;
	double value;

	while (n < s.len && ((s.p[n] >= '0' && s.p[n] <= '9') || s.p[n] == '.'))
		n++;
	int rc = bb_parse_double((struct bb_str){ s.p, n }, &value);
	if (rc)
		return rc;
	const struct bb_str unit = bb_str_trim(bb_str_skip(s, n));
	for (size_t i = 0; i < count; i++) {
		if (!bb_str_eq(unit, bb_str_of(units[i].name)))
			continue;
		const double product = value * (double)units[i].factor;
		if (product >= 1.8e19)
			return -BB_ELIMIT;
		*out = (uint64_t)(product + 0.5);
		return 0;
	}
	return -BB_EINVALID;
}

int bb_parse_duration_ns(struct bb_str s, uint64_t *out)
{
	static const struct unit units[] = {
		{ "ns", 1 },
		{ "us", 1000 },
		{ "ms", 1000000 },
		{ "s", 1000000000 },
		{ "m", 60000000000 },
		{ "h", 3600000000000 },
		{ "d", 86400000000000 },
	};

	if (bb_str_eq(s, BB_STR("0"))) {
		*out = 0;
		return 0;
	}
	return parse_with_unit(s, units, sizeof(units) / sizeof(units[0]), out);
}

int bb_parse_size(struct bb_str s, uint64_t *out)
{
	static const struct unit units[] = {
		{ "", 1 },	     { "B", 1 },	   { "KB", 1000 },
		{ "MB", 1000000 },   { "GB", 1000000000 }, { "KiB", 1u << 10 },
		{ "MiB", 1u << 20 }, { "GiB", 1u << 30 },  { "TiB", 1ull << 40 },
	};

	return parse_with_unit(s, units, sizeof(units) / sizeof(units[0]), out);
}
