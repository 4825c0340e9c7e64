/*
 * Goal: each hand-written scanner cuts as its pattern does (the cases were taken from the library's
 * own regular expressions), and the same however many pieces are asked for at once.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "text/split_known.h"
#include "text/unicode.h"
#include "unit.h"

/* Pieces are written with '|' between them. */
static void assert_cut(enum split_pattern pattern, const char *cut)
{
	char text[512], again[512];
	size_t len = 0, n = 0, at = 0, begin = 0, end;

	for (const char *p = cut; *p; p++)
		if (*p != '|')
			text[len++] = *p;
	while (split_run(pattern, (struct bb_str){ text, len }, &at, &end, 1)) {
		if (begin)
			again[n++] = '|';
		memcpy(again + n, text + begin, end - begin);
		n += end - begin;
		begin = end;
	}
	again[n] = '\0';
	assert_string_equal(again, cut);
}

static void test_gpt2(void **state)
{
	assert_cut(SPLIT_GPT2, "Hello|,| world|!|  | It|'s| 2026|'|LL|\n|\n|x");
	assert_cut(SPLIT_GPT2, "a|\t|b| |\t|c|   ");
	assert_cut(SPLIT_GPT2, " 12|ab| \xc3\xa9t\xc3\xa9|\xe2\x82\xac");
}

static void test_llama3(void **state)
{
	assert_cut(SPLIT_LLAMA3, "Hello|,| world|!| | It|'S|.x| |202|6|'LL|\n\n|  | y");
	assert_cut(SPLIT_LLAMA3, "a|\tb| ,,,|c|;;\r\n|d|   \n| |\te");
	assert_cut(SPLIT_LLAMA3, "'\xc5\xbf|x|\xc2\xa0"
				 "a|\xe2\x80\xa9\xe2\x80\xa8");
	assert_cut(SPLIT_QWEN2, "a|1|2|3|\xd9\xa3|\xd9\xa4");
	assert_cut(SPLIT_QWEN35, "e\xcc\x81|.\xcc\x81x|1");
}

static void test_cased(void **state)
{
	assert_cut(SPLIT_O200K, "HTTPServer's| camel|Case|Word'll|123|4|//\n/|x");
	assert_cut(SPLIT_TEKKEN, "HTTPServer|'s| camel|Case|Word|'ll|1|2|//\n/|x");
	assert_cut(SPLIT_O200K, "\xe6\x97\xa5\xe6\x9c\xac|ABC|.| \xcc\x81");
}

static void test_deepseek(void **state)
{
	assert_cut(SPLIT_DEEPSEEK_V3, "a|123|4|b| ++|\xe4\xb8\xad\xe3\x81\x82|ab|\x01\x02|\x01"
				      "c|.x|.,");
}

static void test_recognised(void **state)
{
	assert_int_equal(split_recognise(BB_STR("\\s+")), SPLIT_NONE);
	assert_int_equal(
		split_recognise(BB_STR("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
				       "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
				       "|\\s+(?!\\S)|\\s+")),
		SPLIT_LLAMA3);
	for (enum split_pattern p = SPLIT_NONE; p < SPLIT_COUNT; p++)
		assert_non_null(split_name(p));
}

static void test_batches(void **state)
{
	static const char *const parts[] = {
		"ab", "Z", " ",	       "  ",	       "\n",	   "'s",
		"12", ".", "\xc3\xa9", "\xe4\xb8\xad", "\xcc\x81", "abcdefghijklmnopqrstuvwxyz",
		"\t"
	};
	struct bb_rng r;

	bb_rng_seed(&r, 5);
	for (int round = 0; round < 2000; round++) {
		struct bb_buf text;
		size_t ends[256], at = 0, n, more;
		bb_buf_init(&text, 4096);
		for (int i = 0; i < 20; i++)
			bb_buf_add_str(&text,
				       bb_str_of(parts[bb_rng_below(&r, UNIT_COUNT(parts))]));
		const enum split_pattern p =
			1 + (enum split_pattern)bb_rng_below(&r, SPLIT_COUNT - 1);
		n = split_run(p, bb_buf_str(&text), &at, ends, 256);
		assert_int_equal(at, text.len);
		assert_int_equal(ends[n - 1], text.len);
		at = 0;
		for (size_t i = 0; i < n; i += more) {
			size_t some[3];
			more = split_run(p, bb_buf_str(&text), &at, some, 3);
			assert_true(more > 0 && memcmp(some, ends + i, more * sizeof(*some)) == 0);
		}
		bb_buf_fini(&text);
	}
}

/* Cut piece by piece, which goes from character to character, and all at once, by blocks. */
static void assert_same(enum split_pattern pattern, struct bb_str text)
{
	size_t all[512], at = 0, n = 0, one = 0, end, more;

	while (at < text.len) {
		more = split_run(pattern, text, &at, all + n, UNIT_COUNT(all) - n);
		assert_true(more > 0);
		n += more;
	}
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(split_run(pattern, text, &one, &end, 1), 1);
		if (end != all[i])
			fail_msg("%s: piece %zu of \"%.*s\" ends at %zu, by blocks at %zu",
				 split_name(pattern), i, BB_ARG(text), end, all[i]);
	}
	assert_int_equal(one, text.len);
}

/* Every text of up to 5 of these, before, at and behind the end of a block. */
static void test_blocks_all(void **state)
{
	static const char *const parts[] = { "a", "S", "1", " ", "\t", "\n", ".", "'", "/" };
	static const size_t pads[] = { 0, 57, 59, 60, 61, 62, 63 };
	char text[160];

	for (unsigned number = 0; number < 9 * 9 * 9 * 9 * 9; number++) {
		for (size_t k = 0; k < UNIT_COUNT(pads); k++) {
			size_t len = pads[k];
			memset(text, 'x', len);
			if (len)
				text[len - 1] = ' ';
			for (unsigned i = 0, rest = number; i < 5; i++, rest /= 9)
				text[len++] = parts[rest % 9][0];
			if (number & 1)
				text[len++] = 'y';
			const enum split_pattern p =
				1 + (enum split_pattern)((number + k) % (SPLIT_COUNT - 1));
			assert_same(p, (struct bb_str){ text, len });
		}
	}
}

static void test_blocks_random(void **state)
{
	static const char *const parts[] = {
		"a",
		"B",
		"re",
		"'s",
		"'S",
		"'ll",
		"'L",
		"'t",
		"'re",
		"'",
		"d",
		"s",
		" ",
		"  ",
		"\n",
		"\r\n",
		"\t",
		"\v",
		"/",
		"//",
		".",
		"..",
		";\n",
		"{",
		"1",
		"22",
		"333",
		"4444",
		"word",
		"Word",
		"WORD",
		"\x01",
		"\x7f",
		"\xc3\xa9",
		"\xe4\xb8\xad",
		"\xcc\x81",
		"\xc5\xbf",
		"\xc2\xa0",
		"\xd9\xa3",
		"\xe2\x80\xa9",
		"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnop",
		"                                                                    ",
	};
	struct bb_rng r;
	char text[4096];

	bb_rng_seed(&r, 7);
	for (int round = 0; round < 60000; round++) {
		const size_t kinds = 2 + bb_rng_below(&r, UNIT_COUNT(parts) - 2);
		const size_t first = bb_rng_below(&r, UNIT_COUNT(parts));
		size_t len = 0;
		for (uint64_t i = 3 + bb_rng_below(&r, 40); i > 0; i--) {
			const struct bb_str part = bb_str_of(
				parts[(first + bb_rng_below(&r, kinds)) % UNIT_COUNT(parts)]);
			memcpy(text + len, part.p, part.len);
			len += part.len;
		}
		for (enum split_pattern p = SPLIT_NONE + 1; p < SPLIT_COUNT; p++)
			assert_same(p, (struct bb_str){ text, len });
	}
}

static int setup(void **state)
{
	unicode_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gpt2),	   cmocka_unit_test(test_llama3),
		cmocka_unit_test(test_cased),	   cmocka_unit_test(test_deepseek),
		cmocka_unit_test(test_recognised), cmocka_unit_test(test_batches),
		cmocka_unit_test(test_blocks_all), cmocka_unit_test(test_blocks_random),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
