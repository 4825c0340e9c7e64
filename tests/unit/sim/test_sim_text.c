/*
 * Goal: texts fall into the same tokens however they are put together at word boundaries, every
 * answer comes back as the tokens it was made of, an answer can be continued from any point, and
 * hints are read only where they are meant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sim/sim_text.h"

static const struct sim_words *words(void)
{
	static struct sim_words list;

	sim_words_init(&list);
	return &list;
}

static void assert_tokens(const char *text, const char *const *pieces)
{
	struct bb_str rest = bb_str_of(text);

	for (; *pieces; pieces++) {
		assert_true(rest.len > 0);
		const size_t len = sim_token_len(rest);
		assert_int_equal(len, strlen(*pieces));
		assert_memory_equal(rest.p, *pieces, len);
		rest = bb_str_skip(rest, len);
	}
	assert_int_equal(rest.len, 0);
}

#define ASSERT_TOKENS(text, ...) assert_tokens((text), (const char *const[]){ __VA_ARGS__, NULL })

static void test_token_boundaries(void **state)
{
	ASSERT_TOKENS("a", "a");
	ASSERT_TOKENS("Hello world", "Hello", " world");
	ASSERT_TOKENS("extraordinary", "extrao", "rdinar", "y");
	ASSERT_TOKENS("x=12;\n y", "x", "=", "12", ";", "\n", " y");
	ASSERT_TOKENS("  a", " ", " a");
	ASSERT_TOKENS("a ", "a", " ");
	ASSERT_TOKENS(" \n", " ", "\n");
	ASSERT_TOKENS("<|im_start|>user\n", "<|", "im", "_", "start", "|>", "user", "\n");
	/* Characters of several bytes are not cut: 3 bytes each, then 2, then 4. */
	ASSERT_TOKENS("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\xe6\x97\xa5\xe6\x9c\xac",
		      "\xe8\xaa\x9e");
	ASSERT_TOKENS("abcde\xc3\xa9", "abcde", "\xc3\xa9");
	ASSERT_TOKENS("abc\xf0\x9f\x99\x82", "abc", "\xf0\x9f\x99\x82");
}

static void test_broken_utf8_ends(void **state)
{
	char text[64];

	for (int c = 0; c < 256; c++) {
		memset(text, c, sizeof(text));
		struct bb_str rest = { text, sizeof(text) };
		while (rest.len) {
			const size_t len = sim_token_len(rest);
			assert_true(len >= 1 && len <= SIM_TOKEN_BYTES && len <= rest.len);
			rest = bb_str_skip(rest, len);
		}
	}
}

static void add_words(struct bb_buf *text, struct sim_writer *w, uint32_t *ids, int count)
{
	for (int i = 0; i < count; i++)
		bb_buf_add_str(text, sim_writer_next(w, ids ? &ids[i] : NULL));
}

static void test_answer_is_its_tokens(void **state)
{
	struct sim_tokens t;
	struct sim_writer w;
	struct bb_buf text;
	uint32_t ids[2000];

	sim_tokens_init(&t, 10000);
	bb_buf_init(&text, 1 << 20);
	sim_writer_init(&w, 1, words());
	add_words(&text, &w, ids, 2000);
	assert_int_equal(sim_tokens_add_text(&t, bb_buf_str(&text)), 0);
	assert_int_equal(t.count, 2000);
	assert_memory_equal(t.ids, ids, sizeof(ids));
	for (int i = 0; i < 2000; i++)
		assert_true(ids[i] <= INT32_MAX);
	bb_buf_fini(&text);
	sim_tokens_fini(&t);
}

/* The answer to `prompt` + the first `k` words of the answer is the rest of the answer. */
static void test_continuation(void **state)
{
	const struct bb_str prompt = BB_STR("<|im_start|>assistant\n");
	struct sim_tokens t;
	struct sim_writer w;
	struct bb_buf whole;

	sim_tokens_init(&t, 10000);
	bb_buf_init(&whole, 1 << 20);
	assert_int_equal(sim_tokens_add_text(&t, prompt), 0);
	sim_writer_init(&w, 5, words());
	assert_int_equal(sim_writer_read(&w, t.ids, t.count), 0);
	bb_buf_add_str(&whole, prompt);
	add_words(&whole, &w, NULL, 40);
	for (uint32_t k = 0; k < 40; k++) {
		struct bb_buf text;
		bb_buf_init(&text, 1 << 20);
		sim_writer_init(&w, 5, words());
		sim_writer_read(&w, t.ids, t.count);
		bb_buf_add_str(&text, prompt);
		add_words(&text, &w, NULL, (int)k);
		struct sim_tokens again;
		sim_tokens_init(&again, 10000);
		assert_int_equal(sim_tokens_add_text(&again, bb_buf_str(&text)), 0);
		sim_writer_init(&w, 5, words());
		assert_int_equal(sim_writer_read(&w, again.ids, again.count), k);
		add_words(&text, &w, NULL, 40 - (int)k);
		assert_int_equal(text.len, whole.len);
		assert_memory_equal(text.p, whole.p, whole.len);
		sim_tokens_fini(&again);
		bb_buf_fini(&text);
	}
	bb_buf_fini(&whole);
	sim_tokens_fini(&t);
}

static void test_answers_differ(void **state)
{
	struct sim_writer a, b, c;
	const uint32_t one = 1, two = 2;
	int same_prompt = 0, same_seed = 0;

	for (uint32_t i = 0; i < 200; i++) {
		sim_writer_init(&a, i, words());
		sim_writer_init(&b, i, words());
		sim_writer_init(&c, i + 1, words());
		sim_writer_read(&a, &one, 1);
		sim_writer_read(&b, &two, 1);
		sim_writer_read(&c, &one, 1);
		const struct bb_str first = sim_writer_next(&a, NULL);
		same_prompt += bb_str_eq(first, sim_writer_next(&b, NULL));
		same_seed += bb_str_eq(first, sim_writer_next(&c, NULL));
	}
	assert_true(same_prompt < 20 && same_seed < 20);
}

static void test_tokens_maximum(void **state)
{
	struct sim_tokens t;

	sim_tokens_init(&t, 3);
	assert_int_equal(sim_tokens_add_text(&t, BB_STR("a b c d")), -BB_ELIMIT);
	assert_int_equal(t.count, 3);
	sim_tokens_fini(&t);
}

static void test_vocabulary(void **state)
{
	struct sim_vocabulary *v = calloc(1, sizeof(*v));
	const struct bb_str text = BB_STR("Unheard-of words: \xe6\x97\xa5!");
	struct bb_buf back;
	struct sim_tokens t;

	sim_tokens_init(&t, 100);
	bb_buf_init(&back, 1000);
	assert_int_equal(sim_tokens_add_text(&t, text), 0);
	sim_vocabulary_init(v);
	assert_null(sim_vocabulary_text(v, t.ids[0]).p);
	sim_vocabulary_learn(v, text);
	for (uint32_t i = 0; i < t.count; i++)
		bb_buf_add_str(&back, sim_vocabulary_text(v, t.ids[i]));
	assert_int_equal(back.len, text.len);
	assert_memory_equal(back.p, text.p, text.len);
	sim_tokens_fini(&t);
	bb_buf_fini(&back);
	free(v);
}

static void test_hints(void **state)
{
	struct sim_hints h;
	static char far[5000];

	sim_hints_read(BB_STR("{\"prompt\":\"[[ttft=1500 itl=20]] and [[tokens=7]]\"}"), &h);
	assert_true(h.ttft_ns == 1500000 && h.itl_ns == 20000 && h.tokens == 7);
	sim_hints_read(BB_STR("{\"prompt\":[[1,2],[3]],\"x\":\"[[itl=0]]\"}"), &h);
	assert_true(h.ttft_ns == UINT64_MAX && h.itl_ns == 0 && h.tokens == UINT32_MAX);
	sim_hints_read(BB_STR("[[ttft=]] [[tokens=5x]] [[tokens=99999999999]] [[itl=3"), &h);
	assert_true(h.ttft_ns == UINT64_MAX && h.itl_ns == UINT64_MAX && h.tokens == UINT32_MAX);
	memset(far, 'x', sizeof(far));
	memcpy(far + 4090, "[[tokens=7]]", 12);
	sim_hints_read((struct bb_str){ far, sizeof(far) }, &h);
	assert_true(h.tokens == UINT32_MAX);
	sim_hints_read((struct bb_str){ NULL, 0 }, &h);
	assert_true(h.tokens == UINT32_MAX);
}

static void test_fractions(void **state)
{
	double sum = 0;

	for (uint64_t i = 0; i < 1000; i++) {
		const double f = sim_fraction(1, 2, i);
		assert_true(f >= 0 && f < 1);
		assert_true(f == sim_fraction(1, 2, i)); /* exactly */
		sum += f;
	}
	assert_true(sum > 450 && sum < 550);
	assert_true(sim_fraction(1, 2, 3) != sim_fraction(1, 3, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token_boundaries),
		cmocka_unit_test(test_broken_utf8_ends),
		cmocka_unit_test(test_answer_is_its_tokens),
		cmocka_unit_test(test_continuation),
		cmocka_unit_test(test_answers_differ),
		cmocka_unit_test(test_tokens_maximum),
		cmocka_unit_test(test_vocabulary),
		cmocka_unit_test(test_hints),
		cmocka_unit_test(test_fractions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
