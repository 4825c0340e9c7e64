/*
 * Goal: the scanners cut the same without SIMD as with it. Processors that have neither SSE2 nor
 * NEON take this path, which nothing else would run here: the scanners are compiled a second time
 * for it.
 */
#define SPLIT_SCALAR 1
#define split_run_gpt2 scalar_gpt2
#define split_run_llama3 scalar_llama3
#define split_run_qwen2 scalar_qwen2
#define split_run_qwen35 scalar_qwen35
#define split_run_o200k scalar_o200k
#define split_run_tekken scalar_tekken
#define split_run_deepseek scalar_deepseek
#include "../../../src/text/split_cased.c"
#include "../../../src/text/split_deepseek.c"
#include "../../../src/text/split_words.c"

#ifdef SPLIT_SIMD
#error "this is to be the path without SIMD"
#endif

#include "base/hash.h"
#include "text/split_known.h"
#include "unit.h"

static size_t scalar_run(enum split_pattern pattern, struct bb_str text, size_t *at, size_t *ends,
			 size_t max)
{
	switch (pattern) {
	case SPLIT_GPT2: return scalar_gpt2(text, at, ends, max);
	case SPLIT_LLAMA3: return scalar_llama3(text, at, ends, max);
	case SPLIT_QWEN2: return scalar_qwen2(text, at, ends, max);
	case SPLIT_QWEN35: return scalar_qwen35(text, at, ends, max);
	case SPLIT_O200K: return scalar_o200k(text, at, ends, max);
	case SPLIT_TEKKEN: return scalar_tekken(text, at, ends, max);
	case SPLIT_DEEPSEEK_V3: return scalar_deepseek(text, at, ends, max);
	case SPLIT_NONE:
	case SPLIT_COUNT: break;
	}
	return 0;
}

static void assert_same_cuts(enum split_pattern pattern, struct bb_str text)
{
	size_t at = 0, scalar_at = 0, end = 0, scalar_end = 0;

	for (;;) {
		const size_t n = split_run(pattern, text, &at, &end, 1);
		assert_int_equal(scalar_run(pattern, text, &scalar_at, &scalar_end, 1), n);
		if (!n)
			return;
		assert_int_equal(scalar_end, end);
	}
}

/* Runs of letters of each length around 16 and 32, and what may end them, at each offset. */
static void test_runs(void **state)
{
	static const char *const ends[] = { "",	 " ",  "'s", "1",	 "@",	     "[",
					    "`", "{",  "\n", "\xc3\xa9", "\xcc\x81", "\xe4\xb8\xad",
					    "_", "\t", "S",  "\x7f" };
	char text[128];

	for (unsigned pattern = SPLIT_NONE + 1; pattern < SPLIT_COUNT; pattern++)
		for (size_t run = 0; run < 70; run++)
			for (size_t e = 0; e < sizeof(ends) / sizeof(ends[0]); e++) {
				memset(text, run & 1 ? 'z' : 'A', run);
				const int tail =
					snprintf(text + run, sizeof(text) - run, "%sab", ends[e]);
				const size_t len = run + (size_t)tail;
				for (size_t from = 0; from < 3 && from <= run; from++)
					assert_same_cuts(
						(enum split_pattern)pattern,
						(struct bb_str){ text + from, len - from });
			}
}

static void test_random(void **state)
{
	static const char *const pieces[] = { "a",
					      "Z",
					      "m",
					      "word",
					      " ",
					      "\n",
					      "'",
					      "re",
					      "9",
					      "-",
					      "{",
					      "@",
					      "[",
					      "\xc3\xa9",
					      "\t",
					      "`",
					      "\xcc\x81",
					      "\xe4\xb8\xad",
					      "\xf0\x9f\x98\x80",
					      "\r" };
	struct bb_rng rng;
	char text[600];

	bb_rng_seed(&rng, 5);
	for (int round = 0; round < 3000; round++) {
		size_t len = 0;
		while (len < 500) {
			const char *const p =
				pieces[bb_rng_below(&rng, sizeof(pieces) / sizeof(pieces[0]))];
			const size_t times = 1 + bb_rng_below(&rng, 20);
			for (size_t i = 0; i < times && len < 500; i++)
				len += (size_t)(stpcpy(text + len, p) - (text + len));
		}
		for (unsigned pattern = SPLIT_NONE + 1; pattern < SPLIT_COUNT; pattern++)
			assert_same_cuts((enum split_pattern)pattern, (struct bb_str){ text, len });
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
