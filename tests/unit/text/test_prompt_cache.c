/*
 * Goal: whatever is in the cache, whatever collides and however little room there is, what comes
 * out is what tokenizing the whole gives; turns of a conversation are found; owners do not share;
 * memory stays below the limit.
 */
#include "unit.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "text/prompt_cache.h"

#define MARK "<|turn|>"

static struct tokenizer *tokenizer;
static struct tokenizer_work *work;

/* A code point as UTF-8 inside of a JSON string. */
static void point_add(struct bb_buf *b, unsigned point)
{
	if (point == '"' || point == '\\')
		bb_buf_printf(b, "\\%c", point);
	else if (point < 0x80)
		bb_buf_printf(b, "%c", point);
	else
		bb_buf_printf(b, "%c%c", 0xc0 | point >> 6, 0x80 | (point & 63));
}

/* The bytes of GPT-2's alphabet, three merges, one special token. */
static void json_make(struct bb_buf *b)
{
	unsigned next = 256;

	bb_buf_lit(
		b,
		"{\"added_tokens\":[{\"id\":259,\"content\":\"" MARK
		"\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
		"\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
		"\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
		"\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
		"\"model\":{\"type\":\"BPE\",\"vocab\":{");
	for (unsigned i = 0; i < 256; i++) {
		const bool plain = (i >= 33 && i <= 126) || (i >= 161 && i != 173);
		bb_buf_add(b, ",\"", i ? 2 : 0);
		if (!i)
			bb_buf_lit(b, "\"");
		point_add(b, plain ? i : next++);
		bb_buf_printf(b, "\":%u", i);
	}
	bb_buf_lit(b,
		   ",\"th\":256,\"the\":257,\"in\":258},\"merges\":[\"t h\",\"th e\",\"i n\"]}}");
	assert_int_equal(b->err, 0);
}

static int group_setup(void **state)
{
	struct text_error e = { "" };
	struct bb_buf json;

	bb_buf_init(&json, 1u << 20);
	json_make(&json);
	const int rc = tokenizer_create_json(bb_buf_str(&json), &tokenizer, &e);
	if (rc)
		fail_msg("%s", e.message);
	bb_buf_fini(&json);
	return tokenizer_work_create(tokenizer, &work);
}

static int group_teardown(void **state)
{
	tokenizer_work_destroy(work);
	tokenizer_destroy(tokenizer);
	return 0;
}

static struct prompt_cache *cache_of(size_t size)
{
	struct prompt_cache *c = NULL;

	assert_int_equal(prompt_cache_create(size, 99, &c), 0);
	return c;
}

/* Encodes through the cache and compares with the whole; returns what was reused. */
static size_t expect_same(struct prompt_cache *c, uint64_t owner, struct bb_str text,
			  unsigned flags)
{
	struct token_list got, want;
	size_t reused = 77;

	token_list_init(&got, 10000000, TOKEN_IDS);
	token_list_init(&want, 10000000, TOKEN_IDS);
	assert_int_equal(prompt_cache_encode(c, tokenizer, work, owner, text, flags, &got, &reused),
			 0);
	assert_int_equal(tokenizer_encode(tokenizer, work, text, flags, &want), 0);
	assert_int_equal(got.count, want.count);
	assert_memory_equal(got.ids, want.ids, want.count * sizeof(*want.ids));
	token_list_fini(&got);
	token_list_fini(&want);
	assert_true(reused <= text.len);
	return reused;
}

/* "<|turn|>words of turn n …" */
static void turn_add(struct bb_buf *b, unsigned n, size_t size)
{
	struct bb_rng rng;

	bb_rng_seed(&rng, n);
	bb_buf_lit(b, MARK);
	for (size_t i = 0; i < size; i += 4)
		bb_buf_add(b, &"the in and thin "[bb_rng_below(&rng, 12)], 4);
}

static void next_turns_are_found(void **state)
{
	struct prompt_cache *c = cache_of(1u << 20);
	struct prompt_cache_stats s;
	struct bb_buf text;

	bb_buf_init(&text, 1u << 20);
	for (unsigned turn = 0; turn < 20; turn++) {
		const size_t before = text.len;
		turn_add(&text, turn, 700);
		const size_t reused = expect_same(c, 1, bb_buf_str(&text), 0);
		/* All before the turn that came last the time before; that one was the text's end.
		 */
		if (turn >= 2)
			assert_true(reused >= before - 708);
		if (turn >= 3)
			assert_true(reused > 0);
	}
	assert_true(expect_same(c, 1, bb_buf_str(&text), 0) >= text.len - 708);
	assert_int_equal(expect_same(c, 2, bb_buf_str(&text), 0), 0); /* another owner */
	assert_int_equal(expect_same(c, 1, bb_buf_str(&text), TOKENIZER_CONTINUES), 0);
	prompt_cache_stats(c, &s);
	assert_true(s.entries > 20 && s.bytes < s.bytes_max && s.reused_bytes < s.text_bytes);
	assert_int_equal(s.evictions, 0);
	bb_buf_fini(&text);
	prompt_cache_destroy(c);
}

/* Small messages are put together; marks that are none, or at the very ends, change nothing. */
static void odd_shapes(void **state)
{
	static const char *const texts[] = {
		"",	  MARK,		 MARK MARK,	    "a",	  "<|turn", "<|turn|",
		"x" MARK, MARK "x" MARK, "<|turn|<|turn|>", "<<|turn|>>",
	};
	struct prompt_cache *c = cache_of(1u << 20);
	struct bb_buf text;

	bb_buf_init(&text, 1u << 20);
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
			expect_same(c, 1, bb_str_of(texts[i]), 0);
	for (int i = 0; i < 2000; i++) {
		bb_buf_lit(&text, MARK "hi the");
		if (i % 97 == 0)
			expect_same(c, 1, bb_buf_str(&text), 0);
	}
	assert_true(expect_same(c, 1, bb_buf_str(&text), 0) > text.len - 2000);
	bb_buf_fini(&text);
	prompt_cache_destroy(c);
}

/* Many conversations in little room: the limit holds, and nothing is ever wrong. */
static void little_room(void **state)
{
	struct prompt_cache *c = cache_of(PROMPT_CACHE_MIN);
	struct prompt_cache_stats s;
	struct bb_buf text;
	struct bb_rng rng;

	bb_rng_seed(&rng, 5);
	bb_buf_init(&text, 1u << 20);
	for (int i = 0; i < 600; i++) {
		const unsigned talk = (unsigned)bb_rng_below(&rng, 9) * 1000;
		const unsigned turns = 1 + (unsigned)bb_rng_below(&rng, 12);
		bb_buf_clear(&text);
		for (unsigned t = 0; t < turns; t++)
			turn_add(&text, talk + t, 300 + 900 * (t % 5));
		expect_same(c, talk % 2, bb_buf_str(&text), 0);
		prompt_cache_stats(c, &s);
		assert_true(s.bytes <= s.bytes_max);
	}
	assert_true(s.evictions > 100 && s.reused_bytes > 0);
	/* One prompt that is larger than all of it. */
	bb_buf_clear(&text);
	for (unsigned t = 0; t < 200; t++)
		turn_add(&text, t, 1000);
	expect_same(c, 3, bb_buf_str(&text), 0);
	expect_same(c, 3, bb_buf_str(&text), 0);
	prompt_cache_stats(c, &s);
	assert_true(s.bytes <= s.bytes_max);
	bb_buf_fini(&text);
	prompt_cache_destroy(c);
}

/* Each allocation fails once: an error or the right tokens, and the cache stays whole. */
static void no_memory(void **state)
{
	struct bb_buf text;

	bb_buf_init(&text, 1u << 20);
	for (unsigned t = 0; t < 80; t++)
		turn_add(&text, t, 300);
	for (uint64_t nth = 1;; nth++) {
		struct prompt_cache *c = cache_of(1u << 20);
		struct token_list got;
		token_list_init(&got, 1000000, TOKEN_IDS);
		const uint64_t failed_before = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = prompt_cache_encode(c, tokenizer, work, 1, bb_buf_str(&text), 0,
						   &got, NULL);
		const bool failed = bb_alloc_failed_count() != failed_before;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		if (rc)
			assert_int_equal(got.count, 0);
		token_list_fini(&got);
		expect_same(c, 1, bb_buf_str(&text), 0);
		expect_same(c, 1, bb_buf_str(&text), 0);
		prompt_cache_destroy(c);
		if (!failed)
			break;
		assert_true(nth < 1000);
	}
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	struct prompt_cache *none = NULL;
	assert_int_equal(prompt_cache_create(1u << 20, 1, &none), -BB_ENOMEM);
	bb_alloc_fail_at(2, BB_FAIL_FOREVER);
	assert_int_equal(prompt_cache_create(1u << 20, 1, &none), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	bb_buf_fini(&text);
}

static void a_limit_of_the_list_is_told(void **state)
{
	struct prompt_cache *c = cache_of(1u << 20);
	struct token_list got;
	struct bb_buf text;

	bb_buf_init(&text, 1u << 20);
	for (unsigned t = 0; t < 8; t++)
		turn_add(&text, t, 600);
	for (size_t max = 0; max < 1500; max += 100) {
		token_list_init(&got, max, TOKEN_IDS);
		assert_int_equal(prompt_cache_encode(c, tokenizer, work, 1, bb_buf_str(&text), 0,
						     &got, NULL),
				 -BB_ELIMIT);
		assert_int_equal(got.count, 0);
		token_list_fini(&got);
	}
	expect_same(c, 1, bb_buf_str(&text), 0);
	bb_buf_fini(&text);
	prompt_cache_destroy(c);
}

/* ---- threads ---- */

static struct prompt_cache *shared;

static void *talk(void *arg)
{
	struct tokenizer_work *own;
	struct token_list got, want;
	struct bb_buf text;
	struct bb_rng rng;
	uintptr_t wrong = 0;

	if (tokenizer_work_create(tokenizer, &own))
		return (void *)1;
	bb_rng_seed(&rng, (uintptr_t)arg);
	bb_buf_init(&text, 1u << 20);
	token_list_init(&got, 1000000, TOKEN_IDS);
	token_list_init(&want, 1000000, TOKEN_IDS);
	for (int i = 0; i < 200; i++) {
		const unsigned talk = (unsigned)bb_rng_below(&rng, 4) * 1000;
		bb_buf_clear(&text);
		for (unsigned t = 0; t < 1 + bb_rng_below(&rng, 10); t++)
			turn_add(&text, talk + t, 400);
		got.count = want.count = 0;
		if (prompt_cache_encode(shared, tokenizer, own, 0, bb_buf_str(&text), 0, &got,
					NULL) ||
		    tokenizer_encode(tokenizer, own, bb_buf_str(&text), 0, &want) ||
		    got.count != want.count ||
		    memcmp(got.ids, want.ids, want.count * sizeof(*want.ids)) != 0)
			wrong++;
	}
	token_list_fini(&got);
	token_list_fini(&want);
	bb_buf_fini(&text);
	tokenizer_work_destroy(own);
	return (void *)wrong;
}

static void threads_share_it(void **state)
{
	pthread_t threads[4];

	shared = cache_of(PROMPT_CACHE_MIN);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, talk, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	prompt_cache_destroy(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(next_turns_are_found),
		cmocka_unit_test(odd_shapes),
		cmocka_unit_test(little_room),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(a_limit_of_the_list_is_told),
		cmocka_unit_test(threads_share_it),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
