/*
 * test_token_text.c: stop strings and whole characters.
 *
 * Goal: however a text is cut into pieces, what is shown is the same: everything before the first
 * stop string, as valid UTF-8, and no part of a stop string before it is known not to be one.
 */
#include "unit.h"

#include "base/hash.h"
#include "wire/utf8.h"

/* The engine is a program of its own: its objects are not linked here. */
#include "../../../engine/token_text.c"

#define FFFD "\xEF\xBF\xBD"

/* Feeds the text in pieces of at most `longest` bytes; checks what is shown at every moment. */
static void check(struct bb_str text, const struct token_stops *stops, uint64_t longest,
		  struct bb_str shown, int ends_by)
{
	struct token_text t;
	struct bb_buf out;
	struct bb_rng rng;
	int rc = 0;

	bb_rng_seed(&rng, longest * 31 + text.len);
	token_text_init(&t);
	bb_buf_init(&out, 1 << 20);
	for (size_t at = 0; at < text.len && rc == 0;) {
		size_t n = 1 + bb_rng_below(&rng, longest);
		if (n > text.len - at)
			n = text.len - at;
		rc = token_text_push(&t, stops, (struct bb_str){ text.p + at, n }, &out);
		assert_true(rc >= 0);
		assert_true(out.len == 0 || bb_str_starts(shown, bb_buf_str(&out)));
		assert_int_equal(utf8_check(bb_buf_str(&out)), out.len);
		at += n;
	}
	assert_int_equal(rc, ends_by);
	if (rc == 0)
		assert_int_equal(token_text_finish(&t, &out), 0);
	assert_int_equal(out.len, shown.len);
	assert_memory_equal(out.p, shown.p, shown.len);
	bb_buf_fini(&out);
	token_text_fini(&t);
}

static void check_all(struct bb_str text, const struct token_stops *stops, struct bb_str shown,
		      int ends_by)
{
	for (uint64_t longest = 1; longest <= text.len + 1; longest++)
		check(text, stops, longest, shown, ends_by);
}

static void characters(void **state)
{
	const struct token_stops none = { 0 };

	check_all(BB_STR("Gr\xC3\xBC\xC3\x9F"
			 "e \xE4\xB8\x96\xE7\x95\x8C \xF0\x9F\x9A\x80!"),
		  &none,
		  BB_STR("Gr\xC3\xBC\xC3\x9F"
			 "e \xE4\xB8\x96\xE7\x95\x8C \xF0\x9F\x9A\x80!"),
		  0);
	check_all(BB_STR("a\x80z"), &none, BB_STR("a" FFFD "z"), 0);
	check_all(BB_STR("a\xE4\xB8"), &none, BB_STR("a" FFFD), 0);
	check_all(BB_STR("\xC0\xAF|\xED\xA0\x80|\xF5"), &none,
		  BB_STR(FFFD FFFD "|" FFFD FFFD FFFD "|" FFFD), 0);
	check_all(BB_STR("\xC3("), &none, BB_STR(FFFD "("), 0);
}

static void stops(void **state)
{
	const struct bb_str strings[] = { BB_STR_INIT("STOP"), BB_STR_INIT("\n\n"),
					  BB_STR_INIT("\xE4\xB8\x96") };
	struct token_stops stops = { .strings = strings, .count = 3 };

	check_all(BB_STR("one STO STOP two"), &stops, BB_STR("one STO "), 1);
	check_all(BB_STR("SSTOSTSTOP"), &stops, BB_STR("SSTOST"), 1);
	check_all(BB_STR("a\nb\n\nc"), &stops, BB_STR("a\nb"), 2);
	check_all(BB_STR("x\xE4\xB8\x95\xE4\xB8\x96y"), &stops, BB_STR("x\xE4\xB8\x95"), 3);
	check_all(BB_STR("never STO"), &stops, BB_STR("never STO"), 0);
	check_all(BB_STR("cut \xE4STOP"), &stops, BB_STR("cut " FFFD), 1);
	stops.shown = STOP_SHOWN;
	check_all(BB_STR("one STO STOP"), &stops, BB_STR("one STO STOP"), 1);
}

/* Before min_tokens nothing ends the text, and what came then is no part of a stop string. */
static void not_yet(void **state)
{
	const struct bb_str strings[] = { BB_STR_INIT("ab") };
	const struct token_stops stops = { .strings = strings, .count = 1 };
	struct token_text t;
	struct bb_buf out;

	token_text_init(&t);
	bb_buf_init(&out, 1024);
	assert_int_equal(token_text_push(&t, NULL, BB_STR("xaba"), &out), 0);
	assert_int_equal(token_text_push(&t, &stops, BB_STR("b"), &out), 0);
	assert_int_equal(token_text_push(&t, &stops, BB_STR("-ab"), &out), 1);
	assert_true(bb_str_eq(bb_buf_str(&out), BB_STR("xabab-")));
	bb_buf_fini(&out);
	token_text_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(characters),
		cmocka_unit_test(stops),
		cmocka_unit_test(not_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
