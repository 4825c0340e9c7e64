#include "wire/utf8.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline bool is_continuation(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* Length of the sequence at p (2 to 4), or 0 when it is malformed or cut off. RFC 3629, table in 4.
 */
static inline size_t sequence_len(const unsigned char *p, size_t left)
{
	const unsigned char c = p[0];

	if (left >= 2 && c >= 0xc2 && c <= 0xdf)
		return is_continuation(p[1]) ? 2 : 0;
	if (left >= 3 && c >= 0xe0 && c <= 0xef) {
		const unsigned char low = c == 0xe0 ? 0xa0 : 0x80, high = c == 0xed ? 0x9f : 0xbf;
		return p[1] >= low && p[1] <= high && is_continuation(p[2]) ? 3 : 0;
	}
	if (left >= 4 && c >= 0xf0 && c <= 0xf4) {
		const unsigned char low = c == 0xf0 ? 0x90 : 0x80, high = c == 0xf4 ? 0x8f : 0xbf;
		return p[1] >= low && p[1] <= high && is_continuation(p[2]) && is_continuation(p[3])
			       ? 4
			       : 0;
	}
	return 0;
}

size_t utf8_check_scalar(struct bb_str s)
{
	const unsigned char *const p = (const unsigned char *)s.p;
	size_t i = 0;

	while (i < s.len) {
		uint64_t eight;
		if (s.len - i >= sizeof(eight)) {
			memcpy(&eight, p + i, sizeof(eight));
			if (!(eight & 0x8080808080808080u)) {
				i += sizeof(eight);
				continue;
			}
		}
		if (p[i] < 0x80) {
			i++;
			continue;
		}
		const size_t n = sequence_len(p + i, s.len - i);
		if (!n)
			return i;
		i += n;
	}
	return s.len;
}

#if defined(__x86_64__)
/*
 * The method of J. Keiser and D. Lemire, "Validating UTF-8 In Less Than One Instruction Per Byte"
 * (2020): each fault between two neighbouring bytes is a bit; three tables of 16, indexed by the
 * first byte's halves and the second byte's upper half, say which faults that half allows; a fault
 * is real where all three agree. Third and fourth bytes are compared with where the leads two and
 * three places before want a continuation.
 */
enum fault {
	TOO_SHORT = 1 << 0,	 /* 11______ 0_______ or 11______ 11______ */
	TOO_LONG = 1 << 1,	 /* 0_______ 10______ */
	OVERLONG_3 = 1 << 2,	 /* 11100000 100_____ */
	TOO_LARGE = 1 << 3,	 /* 11110100 1001____ and up */
	SURROGATE = 1 << 4,	 /* 11101101 101_____ */
	OVERLONG_2 = 1 << 5,	 /* 1100000_ 10______ */
	TOO_LARGE_1000 = 1 << 6, /* 11110101 1000____ and up; the same bit is an overlong of four */
	OVERLONG_4 = 1 << 6,	 /* 11110000 1000____ */
	TWO_CONTS = 1 << 7,	 /* 10______ 10______ */
};
#define CARRY (TOO_SHORT | TOO_LONG | TWO_CONTS)

#define TABLE16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                    \
	_mm256_setr_epi8((char)(a), (char)(b), (char)(c), (char)(d), (char)(e), (char)(f),         \
			 (char)(g), (char)(h), (char)(i), (char)(j), (char)(k), (char)(l),         \
			 (char)(m), (char)(n), (char)(o), (char)(p), (char)(a), (char)(b),         \
			 (char)(c), (char)(d), (char)(e), (char)(f), (char)(g), (char)(h),         \
			 (char)(i), (char)(j), (char)(k), (char)(l), (char)(m), (char)(n),         \
			 (char)(o), (char)(p))
#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i upper_half(__m256i v)
{
	return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
}

AVX2 static inline __m256i faults(__m256i now, __m256i before1)
{
	const __m256i first_upper =
		TABLE16(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
			TOO_LONG, TWO_CONTS, TWO_CONTS, TWO_CONTS, TWO_CONTS,
			TOO_SHORT | OVERLONG_2, TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
			TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4);
	const __m256i first_lower = TABLE16(
		CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4, CARRY | OVERLONG_2, CARRY, CARRY,
		CARRY | TOO_LARGE, CARRY | TOO_LARGE | TOO_LARGE_1000,
		CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000,
		CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000,
		CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000,
		CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000 | SURROGATE,
		CARRY | TOO_LARGE | TOO_LARGE_1000, CARRY | TOO_LARGE | TOO_LARGE_1000);
	const __m256i second_upper = TABLE16(
		TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
		TOO_SHORT,
		TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4,
		TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE,
		TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE,
		TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE, TOO_SHORT, TOO_SHORT,
		TOO_SHORT, TOO_SHORT);
	const __m256i a = _mm256_shuffle_epi8(first_upper, upper_half(before1));
	const __m256i b =
		_mm256_shuffle_epi8(first_lower, _mm256_and_si256(before1, _mm256_set1_epi8(0x0f)));
	const __m256i c = _mm256_shuffle_epi8(second_upper, upper_half(now));

	return _mm256_and_si256(_mm256_and_si256(a, b), c);
}

/* The block moved by n bytes, with the last bytes of the one before at its front. */
#define SHIFTED(now, before, n)                                                                    \
	_mm256_alignr_epi8((now), _mm256_permute2x128_si256((before), (now), 0x21), 16 - (n))

/* Not zero in each byte that is wrong, given the 32 bytes before. */
AVX2 static inline __m256i block_faults(__m256i now, __m256i before)
{
	const __m256i pairs = faults(now, SHIFTED(now, before, 1));
	/* 0x80 where the byte two places before is a lead of three or four, or three before of four
	 */
	const __m256i third = _mm256_subs_epu8(SHIFTED(now, before, 2), _mm256_set1_epi8(0x60));
	const __m256i fourth = _mm256_subs_epu8(SHIFTED(now, before, 3), _mm256_set1_epi8(0x70));
	const __m256i must_continue =
		_mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));

	/* TWO_CONTS is 0x80: it is right exactly where a third or fourth byte is wanted. */
	return _mm256_xor_si256(must_continue, pairs);
}

/* True when every whole block is well-formed as far as it goes; *checked bytes were looked at. */
AVX2 static bool blocks_ok(const char *p, size_t len, size_t *checked)
{
	__m256i before = _mm256_setzero_si256(), wrong = _mm256_setzero_si256();
	size_t i = 0;

	for (; len - i >= 32; i += 32) {
		const __m256i now = _mm256_loadu_si256((const __m256i *)(p + i));
		wrong = _mm256_or_si256(wrong, block_faults(now, before));
		before = now;
	}
	*checked = i;
	return _mm256_testz_si256(wrong, wrong);
}

#define BLOCKS_MIN 64

static size_t check_avx2(struct bb_str s)
{
	size_t done;

	if (!blocks_ok(s.p, s.len, &done))
		return utf8_check_scalar(s);
	/* A sequence may go over the last block's end: the rest is read from its first byte on. */
	for (int back = 0; back < 3 && done > 0 && is_continuation((unsigned char)s.p[done - 1]);
	     back++)
		done--;
	if (done > 0 && (unsigned char)s.p[done - 1] >= 0xc0)
		done--;
	const struct bb_str rest = bb_str_skip(s, done);
	return done + utf8_check_scalar(rest);
}
#endif

size_t utf8_check(struct bb_str s)
{
#if defined(__x86_64__)
	if (s.len >= BLOCKS_MIN && __builtin_cpu_supports("avx2"))
		return check_avx2(s);
#endif
	return utf8_check_scalar(s);
}

size_t utf8_encode(uint32_t code_point, char out[4])
{
	if (code_point < 0x80) {
		out[0] = (char)code_point;
		return 1;
	}
	if (code_point < 0x800) {
		out[0] = (char)(0xc0 | code_point >> 6);
		out[1] = (char)(0x80 | (code_point & 0x3f));
		return 2;
	}
	if (code_point < 0x10000) {
		out[0] = (char)(0xe0 | code_point >> 12);
		out[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code_point & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code_point >> 18);
	out[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code_point & 0x3f));
	return 4;
}
