/*
 * Goal: utf8 accepts exactly the sequences of RFC 3629, finds the first bad byte, and its block
 * path agrees with the scalar one wherever a sequence lies in a block.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "wire/utf8.h"

/* The definition: decode, then look at the code point. Returns the length, or 0. */
static size_t reference_len(const unsigned char *p, size_t left)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const size_t n = p[0] < 0x80	   ? 1
			 : p[0] >> 5 == 6  ? 2
			 : p[0] >> 4 == 14 ? 3
			 : p[0] >> 3 == 30 ? 4
					   : 0;

	if (!n || n > left)
		return 0;
	uint32_t point = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		point = point << 6 | (p[i] & 0x3f);
	}
	if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	return n;
}

static size_t reference_check(struct bb_str s)
{
	size_t i = 0;

	while (i < s.len) {
		const size_t n = reference_len((const unsigned char *)s.p + i, s.len - i);
		if (!n)
			break;
		i += n;
	}
	return i;
}

static void assert_same(struct bb_str s)
{
	const size_t expected = reference_check(s);

	assert_int_equal(utf8_check_scalar(s), expected);
	assert_int_equal(utf8_check(s), expected);
}

/* All two-byte beginnings with a few endings, once alone and once across a block's edge. */
static void all_beginnings(void **state)
{
	static const unsigned char ends[][2] = {
		{ 0x80, 0x80 }, { 0xbf, 0xbf }, { 'a', 'b' }, { 0xc3, 0xa4 }
	};
	char text[160];

	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			const unsigned char *end = ends[(a + b) % 4];
			const char four[4] = { (char)a, (char)b, (char)end[0], (char)end[1] };
			for (int e = 0; e < 4; e++) {
				const char s[4] = { (char)a, (char)b, (char)ends[e][0],
						    (char)ends[e][1] };
				assert_same((struct bb_str){ s, 4 });
			}
			memset(text, 'x', sizeof(text));
			memcpy(text + 60 + (a ^ b) % 8, four, 4);
			assert_same((struct bb_str){ text, sizeof(text) });
		}
	}
}

static void each_code_point_survives(void **state)
{
	char out[4];

	for (uint32_t point = 0; point <= 0x10ffff; point++) {
		if (point >= 0xd800 && point <= 0xdfff)
			continue;
		const size_t n = utf8_encode(point, out);
		const struct bb_str s = { out, n };
		assert_int_equal(utf8_check_scalar(s), n);
		assert_int_equal(reference_check(s), n);
		if (n > 1)
			assert_int_equal(utf8_check_scalar((struct bb_str){ out, n - 1 }), 0);
	}
}

static size_t random_text(struct bb_rng *rng, char *text, size_t max)
{
	size_t len = 0;

	while (len + 4 <= max) {
		static const uint32_t tops[] = { 0x80, 0x800, 0xd800, 0x110000 };
		uint32_t point = (uint32_t)bb_rng_below(rng, tops[bb_rng_below(rng, 4)]);
		if (point >= 0xd800 && point <= 0xdfff)
			point = 'a';
		len += utf8_encode(point, text + len);
	}
	return len;
}

static void random_texts_and_faults(void **state)
{
	struct bb_rng rng;
	char text[300];
	int good = 0;

	bb_rng_seed(&rng, 5);
	for (int i = 0; i < 40000; i++) {
		const size_t len =
			random_text(&rng, text, 4 + bb_rng_below(&rng, sizeof(text) - 3));
		struct bb_str s = { malloc(len), len };
		assert_non_null(s.p);
		memcpy((char *)s.p, text, len);
		assert_int_equal(utf8_check(s), len);
		/* cut anywhere, then with one byte changed */
		const struct bb_str cut = { s.p, bb_rng_below(&rng, len + 1) };
		assert_same(cut);
		((char *)s.p)[bb_rng_below(&rng, len)] = (char)bb_rng_next(&rng);
		assert_same(s);
		good += utf8_check(s) == len;
		free((char *)s.p);
	}
	assert_true(good > 1000 && good < 39000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_beginnings),
		cmocka_unit_test(each_code_point_survives),
		cmocka_unit_test(random_texts_and_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
