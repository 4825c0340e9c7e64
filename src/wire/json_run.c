#include "wire/json_run.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* What each kind of run stops at, for one byte at a time. */
static inline bool is_plain(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\';
}

static inline bool is_flat(unsigned char c)
{
	return c != '"' && (c | 0x20) != '{' && (c | 0x20) != '}';
}

static size_t plain_scalar(const char *p, const char *end, bool *high)
{
	const char *at = p;
	unsigned char all = 0;

	while (at < end && is_plain((unsigned char)*at))
		all |= (unsigned char)*at++;
	*high |= all >= 0x80;
	return (size_t)(at - p);
}

static size_t string_scalar(const char *p, const char *end)
{
	const char *at = p;

	while (at < end && *at != '"' && *at != '\\')
		at++;
	return (size_t)(at - p);
}

static size_t flat_scalar(const char *p, const char *end)
{
	const char *at = p;

	while (at < end && is_flat((unsigned char)*at))
		at++;
	return (size_t)(at - p);
}

#if defined(__x86_64__)
/*
 * Each block of 16 or 32 bytes becomes a mask of the bytes to stop at. The unsigned test c < 0x20
 * is max(c, 0x1f) == 0x1f; brackets and braces differ in bit 0x20 only.
 */
static inline __m128i plain_stops16(__m128i v)
{
	const __m128i low =
		_mm_cmpeq_epi8(_mm_max_epu8(v, _mm_set1_epi8(0x1f)), _mm_set1_epi8(0x1f));
	const __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));

	return _mm_or_si128(_mm_or_si128(low, quote), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
}

static inline __m128i string_stops16(__m128i v)
{
	return _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
			    _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
}

static inline __m128i flat_stops16(__m128i v)
{
	const __m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20));
	const __m128i brackets = _mm_or_si128(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')),
					      _mm_cmpeq_epi8(folded, _mm_set1_epi8('}')));

	return _mm_or_si128(brackets, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
}

static size_t plain_sse2(const char *p, const char *end, bool *high)
{
	const char *at = p;
	__m128i all = _mm_setzero_si128();

	for (; end - at >= 16; at += 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)at);
		const unsigned stops = (unsigned)_mm_movemask_epi8(plain_stops16(v));
		if (stops) {
			const unsigned n = (unsigned)__builtin_ctz(stops);
			const unsigned bytes = (unsigned)_mm_movemask_epi8(v) & ((1u << n) - 1);
			*high |= bytes || _mm_movemask_epi8(all);
			return (size_t)(at - p) + n;
		}
		all = _mm_or_si128(all, v);
	}
	*high |= _mm_movemask_epi8(all) != 0;
	return (size_t)(at - p) + plain_scalar(at, end, high);
}

static size_t string_sse2(const char *p, const char *end)
{
	const char *at = p;

	for (; end - at >= 16; at += 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)at);
		const unsigned stops = (unsigned)_mm_movemask_epi8(string_stops16(v));
		if (stops)
			return (size_t)(at - p) + (unsigned)__builtin_ctz(stops);
	}
	return (size_t)(at - p) + string_scalar(at, end);
}

static size_t flat_sse2(const char *p, const char *end)
{
	const char *at = p;

	for (; end - at >= 16; at += 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)at);
		const unsigned stops = (unsigned)_mm_movemask_epi8(flat_stops16(v));
		if (stops)
			return (size_t)(at - p) + (unsigned)__builtin_ctz(stops);
	}
	return (size_t)(at - p) + flat_scalar(at, end);
}

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i plain_stops32(__m256i v)
{
	const __m256i edge = _mm256_set1_epi8(0x1f);
	const __m256i low = _mm256_cmpeq_epi8(_mm256_max_epu8(v, edge), edge);
	const __m256i quote = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('"'));

	return _mm256_or_si256(_mm256_or_si256(low, quote),
			       _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\')));
}

AVX2 static inline __m256i string_stops32(__m256i v)
{
	return _mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')),
			       _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\')));
}

AVX2 static inline __m256i flat_stops32(__m256i v)
{
	const __m256i folded = _mm256_or_si256(v, _mm256_set1_epi8(0x20));
	const __m256i brackets = _mm256_or_si256(_mm256_cmpeq_epi8(folded, _mm256_set1_epi8('{')),
						 _mm256_cmpeq_epi8(folded, _mm256_set1_epi8('}')));

	return _mm256_or_si256(brackets, _mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')));
}

AVX2 static inline uint64_t mask64(__m256i a, __m256i b)
{
	return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b)
							   << 32;
}

/* The loop of all three kinds: 64 bytes a step, then what is left by the 16-byte path. */
#define RUN_AVX2(stops32)                                                                          \
	for (; end - at >= 64; at += 64) {                                                         \
		const __m256i a = _mm256_loadu_si256((const __m256i *)at);                         \
		const __m256i b = _mm256_loadu_si256((const __m256i *)(at + 32));                  \
		const __m256i stop_a = stops32(a), stop_b = stops32(b);                            \
		const __m256i any = _mm256_or_si256(stop_a, stop_b);                               \
		if (!_mm256_testz_si256(any, any)) {                                               \
			const unsigned n = (unsigned)__builtin_ctzll(mask64(stop_a, stop_b));      \
			RUN_FOUND(a, b, n);                                                        \
			return (size_t)(at - p) + n;                                               \
		}                                                                                  \
		RUN_PASSED(a, b);                                                                  \
	}

AVX2 static size_t plain_avx2(const char *p, const char *end, bool *high)
{
	const char *at = p;
	__m256i all = _mm256_setzero_si256();

#define RUN_FOUND(a, b, n)                                                                         \
	*high |= (mask64(a, b) & (((uint64_t)1 << (n)) - 1)) || _mm256_movemask_epi8(all)
#define RUN_PASSED(a, b) all = _mm256_or_si256(all, _mm256_or_si256(a, b))
	RUN_AVX2(plain_stops32)
#undef RUN_FOUND
#undef RUN_PASSED
	*high |= _mm256_movemask_epi8(all) != 0;
	return (size_t)(at - p) + plain_sse2(at, end, high);
}

#define RUN_FOUND(a, b, n) (void)0
#define RUN_PASSED(a, b) (void)0
AVX2 static size_t string_avx2(const char *p, const char *end)
{
	const char *at = p;

	RUN_AVX2(string_stops32)
	return (size_t)(at - p) + string_sse2(at, end);
}

AVX2 static size_t flat_avx2(const char *p, const char *end)
{
	const char *at = p;

	RUN_AVX2(flat_stops32)
	return (size_t)(at - p) + flat_sse2(at, end);
}
#undef RUN_FOUND
#undef RUN_PASSED
#endif /* __x86_64__ */

struct paths {
	size_t (*plain)(const char *p, const char *end, bool *high);
	size_t (*string)(const char *p, const char *end);
	size_t (*flat)(const char *p, const char *end);
};

static const struct paths path_table[] = {
	[JSON_RUN_SCALAR] = { plain_scalar, string_scalar, flat_scalar },
#if defined(__x86_64__)
	[JSON_RUN_SSE2] = { plain_sse2, string_sse2, flat_sse2 },
	[JSON_RUN_AVX2] = { plain_avx2, string_avx2, flat_avx2 },
#endif
};

/* Chosen by the first call; several threads may do that at once and come to the same. */
static const struct paths *path_now;

enum json_run_path json_run_best(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx2") ? JSON_RUN_AVX2 : JSON_RUN_SSE2;
#else
	return JSON_RUN_SCALAR;
#endif
}

bool json_run_use(enum json_run_path path)
{
	if (path > json_run_best())
		return false;
	__atomic_store_n(&path_now, &path_table[path], __ATOMIC_RELAXED);
	return true;
}

static inline const struct paths *paths(void)
{
	const struct paths *now = __atomic_load_n(&path_now, __ATOMIC_RELAXED);

	if (__builtin_expect(!now, 0)) {
		now = &path_table[json_run_best()];
		__atomic_store_n(&path_now, now, __ATOMIC_RELAXED);
	}
	return now;
}

size_t json_run_plain(const char *p, const char *end, bool *high)
{
	return paths()->plain(p, end, high);
}

size_t json_run_string(const char *p, const char *end)
{
	return paths()->string(p, end);
}

size_t json_run_flat(const char *p, const char *end)
{
	return paths()->flat(p, end);
}
