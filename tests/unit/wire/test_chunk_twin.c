/* Goal: an event is taken for a twin exactly when it differs from the learned one in its text only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "wire/chunk.h"
#include "wire/chunk_twin.h"
#include "wire/sse.h"

#define BEFORE "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\""
#define BEHIND "\"},\"finish_reason\":null}]}\n\n"

static void learn(struct chunk_twin *t, struct bb_arena *arena, const char *event)
{
	struct bb_str rest = bb_str_of(event);
	struct sse_event e;
	struct openai_chunk c = { 0 };

	assert_int_equal(sse_next(&rest, &e), 1);
	assert_int_equal(openai_chunk_scan(API_CHAT, e.event, e.data, &c), 0);
	assert_true(c.has_content && c.text.len > 0);
	chunk_twin_learn(t, arena, e.raw, c.text);
}

static void test_match(void **state)
{
	struct bb_arena arena;
	struct chunk_twin t = { 0 };
	char longer[256];

	bb_arena_init(&arena, 65536);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "x" BEHIND)), 0);
	learn(&t, &arena, BEFORE " hello" BEHIND);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "x" BEHIND)), strlen(BEFORE "x" BEHIND));
	/* more events behind it */
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "abc" BEHIND BEFORE "y" BEHIND)),
			 strlen(BEFORE "abc" BEHIND));
	/* other letters */
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "\u00e9\u20ac" BEHIND)),
			 strlen(BEFORE "\u00e9\u20ac" BEHIND));
	/* escapes, right or wrong, and bytes that are no UTF-8 are for the scan */
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "\\\"" BEHIND)), 0);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "\\x" BEHIND)), 0);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "\xff" BEHIND)), 0);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "\xe2\x82" BEHIND)), 0);
	/* no text, cut anywhere, another behind, a control byte, too long */
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE BEHIND)), 0);
	const char whole[] = BEFORE "abc" BEHIND;
	for (size_t n = 0; n < strlen(whole); n++)
		assert_int_equal(chunk_twin_match(&t, (struct bb_str){ whole, n }), 0);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "a\"},\"finish_reason\":\"stop\"}]}\n\n")),
			 0);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "a\nb" BEHIND)), 0);
	snprintf(longer, sizeof(longer), "%s%0100d%s", BEFORE, 0, BEHIND);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(longer)), 0);
	bb_arena_fini(&arena);
}

/* A text that tries to look like the end of its own event. */
static void test_hostile_text(void **state)
{
	struct bb_arena arena;
	struct chunk_twin t = { 0 };

	bb_arena_init(&arena, 65536);
	learn(&t, &arena, BEFORE "a" BEHIND);
	const char *event = BEFORE "\\\"},\\\"finish_reason\\\":null}]}" BEHIND;
	assert_int_equal(chunk_twin_match(&t, bb_str_of(event)), 0);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "a\\" BEHIND)), 0);
	bb_arena_fini(&arena);
}

/* Two members with something in them are no single text. */
static void test_only_single_text(void **state)
{
	struct openai_chunk c = { 0 };

	assert_int_equal(
		openai_chunk_scan(API_CHAT, BB_STR(""),
				  BB_STR("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\","
					 "\"reasoning\":\"b\"},\"finish_reason\":null}]}"),
				  &c),
		0);
	assert_true(c.has_content);
	assert_int_equal(c.text.len, 0);
	c = (struct openai_chunk){ 0 };
	assert_int_equal(openai_chunk_scan(API_COMPLETIONS, BB_STR(""),
					   BB_STR("{\"choices\":[{\"index\":0,\"text\":\"abc\"}]}"), &c),
			 0);
	assert_int_equal(c.text.len, 3);
}

static void test_no_memory(void **state)
{
	struct bb_arena arena;
	struct chunk_twin t = { 0 };

	bb_arena_init(&arena, 16);
	learn(&t, &arena, BEFORE "a" BEHIND);
	assert_null(t.bytes);
	assert_int_equal(chunk_twin_match(&t, bb_str_of(BEFORE "a" BEHIND)), 0);
	bb_arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_only_single_text),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
