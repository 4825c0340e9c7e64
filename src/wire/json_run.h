/*
 * json_run.h: runs of uninteresting bytes inside JSON, skipped many at a time.
 *
 * For: json and usage, whose time is spent here. Each function returns how many bytes from the
 * start are plain. On x86-64 16 bytes a step (SSE2) and, where the processor has AVX2, 64; other
 * processors take the scalar path. All paths give the same results.
 * Threads: any; json_run_use is for tests, before other threads start. Memory: none; nothing is
 * read outside of [p, end). Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

/*
 * Bytes of a string that need no look: up to a quote, a backslash or a control byte (< 0x20).
 * Sets *high when a byte >= 0x80 was among them; never clears it.
 */
size_t json_run_plain(const char *p, const char *end, bool *high);
/* Up to a quote or a backslash, whatever else comes. */
size_t json_run_string(const char *p, const char *end);
/* Up to a quote or one of { } [ ]. */
size_t json_run_flat(const char *p, const char *end);

enum json_run_path { JSON_RUN_SCALAR, JSON_RUN_SSE2, JSON_RUN_AVX2 };
/* Forces a path; false when this processor does not have it. */
bool json_run_use(enum json_run_path path);
/* The best path that this processor has. */
enum json_run_path json_run_best(void);

/*
 * The same as json_run_plain and json_run_string for strings that are mostly short: the first 16
 * bytes are looked at on the spot. They return the place where the run ends.
 */
static inline const char *json_run_plain_inline(const char *p, const char *end, bool *high)
{
#if defined(__x86_64__)
	if (__builtin_expect(end - p >= 16, 1)) {
		/* As signed bytes those below 0x20 are the controls and everything from 0x80 on. */
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		const __m128i stops =
			_mm_or_si128(_mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(0x20)),
						  _mm_cmpeq_epi8(v, _mm_set1_epi8('"'))),
				     _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		const unsigned mask = (unsigned)_mm_movemask_epi8(stops);
		const unsigned n = mask ? (unsigned)__builtin_ctz(mask) : 16;
		if (n < 16 && (unsigned char)p[n] < 0x80)
			return p + n;
		p += n;
	}
#endif
	return p + json_run_plain(p, end, high);
}

/*
 * White space between JSON's parts: a blank, a line end and an indent, most often. Return the place
 * of the first byte that is none of these four; or, the second, that is above a blank.
 */
static inline const char *json_run_space_inline(const char *p, const char *end)
{
#if defined(__x86_64__)
	while (end - p >= 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		const __m128i spaces =
			_mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(' ')),
						  _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'))),
				     _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')),
						  _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'))));
		const unsigned n = (unsigned)__builtin_ctz(~(unsigned)_mm_movemask_epi8(spaces));
		p += n;
		if (n < 16)
			return p;
	}
#endif
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

static inline const char *json_run_low_inline(const char *p, const char *end)
{
#if defined(__x86_64__)
	const __m128i blank = _mm_set1_epi8(' ');

	while (end - p >= 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		const __m128i low = _mm_cmpeq_epi8(_mm_max_epu8(v, blank), blank);
		const unsigned n = (unsigned)__builtin_ctz(~(unsigned)_mm_movemask_epi8(low));
		p += n;
		if (n < 16)
			return p;
	}
#endif
	while (p < end && (unsigned char)*p <= ' ')
		p++;
	return p;
}

static inline const char *json_run_string_inline(const char *p, const char *end)
{
#if defined(__x86_64__)
	if (__builtin_expect(end - p >= 16, 1)) {
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		const __m128i stops = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
						   _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		const unsigned mask = (unsigned)_mm_movemask_epi8(stops);
		if (mask)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#endif
	return p + json_run_string(p, end);
}
