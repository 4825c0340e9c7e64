/*
 * Goal: the distance between words is what the definition says, and a guess is offered when, and
 * only when, something is near.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "wire/spelling.h"

static uint32_t distance(const char *a, const char *b)
{
	const uint32_t there = spelling_distance(bb_str_of(a), bb_str_of(b));

	assert_int_equal(there, spelling_distance(bb_str_of(b), bb_str_of(a)));
	return there;
}

static void test_distance(void **state)
{
	static const char too_long[] =
		"1234567890123456789012345678901234567890123456789012345678901234";

	assert_int_equal(distance("", ""), 0);
	assert_int_equal(distance("", "abc"), 3);
	assert_int_equal(distance("abc", "abc"), 0);
	assert_int_equal(distance("kitten", "sitting"), 3);
	assert_int_equal(distance("retires", "retries"), 1); /* a swap */
	assert_int_equal(distance("ca", "abc"), 3);	     /* no letter is touched twice */
	assert_int_equal(distance("Head-Size", "head_size"), 0);
	assert_int_equal(distance("replcas", "replicas"), 1);
	assert_int_equal(distance(too_long, "a"), UINT32_MAX);
	assert_int_equal(distance(too_long + 1, ""), SPELLING_LEN_MAX);
}

static const char *guess(const char *word)
{
	static const char *const words[] = { "threads", "aliases", "url", "engines", "trtllm" };
	struct spelling s;

	spelling_init(&s, bb_str_of(word));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		spelling_offer(&s, bb_str_of(words[i]));
	return s.best.p ? s.best.p : "";
}

static void test_guess(void **state)
{
	assert_string_equal(guess("thread"), "threads");
	assert_string_equal(guess("alias"), "aliases");
	assert_string_equal(guess("urls"), "url");
	assert_string_equal(guess("enigne"), "engines");
	assert_string_equal(guess("trt_llm"), "trtllm");
	assert_string_equal(guess("uri"), "url");
	assert_string_equal(guess("xyz"), "");
	assert_string_equal(guess("a"), "");
	assert_string_equal(guess(""), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_guess),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
