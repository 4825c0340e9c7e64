/*
 * json_escape.h: the \u escapes of JSON strings.
 *
 * For: json's own files. Threads: pure functions. Memory: none. Errors: -1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline int json_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

/* The four hex digits at p, or -1. */
static inline int json_hex4(const char *p, const char *end)
{
	if (end - p < 4)
		return -1;
	const int a = json_hex_value(p[0]), b = json_hex_value(p[1]), c = json_hex_value(p[2]),
		  d = json_hex_value(p[3]);
	return (a | b | c | d) < 0 ? -1 : a << 12 | b << 8 | c << 4 | d;
}

static inline bool is_high_surrogate(int unit)
{
	return (unit & 0xfc00) == 0xd800;
}

static inline bool is_low_surrogate(int unit)
{
	return (unit & 0xfc00) == 0xdc00;
}

/* The code point written at p, behind "\u", and the bytes it takes there (4 or 10); -1: not one. */
static inline int32_t json_unicode_escape(const char *p, const char *end, size_t *len)
{
	const int unit = json_hex4(p, end);

	*len = 4;
	if (unit < 0 || is_low_surrogate(unit))
		return -1;
	if (!is_high_surrogate(unit))
		return unit;
	*len = 10;
	if (end - p < 10 || p[4] != '\\' || p[5] != 'u')
		return -1;
	const int low = json_hex4(p + 6, end);
	if (low < 0 || !is_low_surrogate(low))
		return -1;
	return 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
}
