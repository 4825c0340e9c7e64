/*
 * Goal: usage objects of every engine mean the same counts, and the tap finds in pieces exactly
 * what a full parse finds in the whole, for any bytes and any splitting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/buf.h"
#include "base/hash.h"
#include "wire/json_run.h"
#include "wire/usage.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CAPTURE "tests/data/vllm-http/http_chatA.txt"

static void forms(void **state)
{
	static const struct {
		const char *text;
		struct usage u;
	} cases[] = {
		{ "{\"prompt_tokens\":33,\"total_tokens\":39,\"completion_tokens\":6,\"prompt_"
		  "tokens_details\":"
		  "{\"cached_tokens\":32,\"created_cache_tokens\":1},\"completion_tokens_details\":"
		  "{\"reasoning_tokens\":4}}",
		  { 33, 6, 32, 4, true, true } },
		{ "{\"prompt_tokens\":3,\"completion_tokens\":1,\"prompt_tokens_details\":null,"
		  "\"reasoning_tokens\":1}",
		  { 3, 1, 0, 1, true, false } },
		{ "{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":8},\"output_"
		  "tokens\":5,"
		  "\"output_tokens_details\":{\"reasoning_tokens\":2},\"total_tokens\":15}",
		  { 10, 5, 8, 2, true, true } },
		{ "{\"input_tokens\":2,\"cache_read_input_tokens\":8,\"cache_creation_input_"
		  "tokens\":4,\"output_tokens\":5}",
		  { 14, 5, 8, 0, true, true } },
		{ "{\"prompt_tokens\":7,\"total_tokens\":7}", { 7, 0, 0, 0, true, false } },
		{ "{\"total_tokens\":7}", { 7, 0, 0, 0, true, false } },
		{ "{\"output_tokens\":9}", { 0, 9, 0, 0, true, false } },
		{ "{}", { 0, 0, 0, 0, false, false } },
		{ "{\"prompt_tokens\":null,\"completion_tokens\":\"5\",\"cached\":{\"prompt_"
		  "tokens\":1}}",
		  { 0, 0, 0, 0, false, false } },
		{ "{\"prompt_tokens\":-1,\"completion_tokens\":1.5}", { 0, 0, 0, 0, false, false } },
		{ "{\"prompt_tokens\":9007199254740993,\"completion_tokens\":2}",
		  { 0, 2, 0, 0, true, false } },
		{ "{\"prompt_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":0}}",
		  { 3, 0, 0, 0, true, true } },
		{ " { \"prompt_tokens\" : 3.0 } ", { 3, 0, 0, 0, true, false } },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct usage u;
		assert_int_equal(usage_parse(bb_str_of(cases[i].text), &u), 0);
		const struct usage *e = &cases[i].u;
		if (u.prompt != e->prompt || u.completion != e->completion ||
		    u.cached != e->cached || u.reasoning != e->reasoning || u.known != e->known ||
		    u.has_cached != e->has_cached)
			fail_msg("%s", cases[i].text);
	}
	struct usage u = { .prompt = 77 };
	assert_int_equal(usage_parse(BB_STR("null"), &u), -BB_ESYNTAX);
	assert_int_equal(usage_parse(BB_STR(""), &u), -BB_ESYNTAX);
	assert_int_equal(usage_parse(BB_STR("{\"prompt_tokens\":3"), &u), -BB_ESYNTAX);
	assert_int_equal(u.prompt, 77);
}

static void merging(void **state)
{
	struct usage total = { 5, 1, 2, 0, true, true };
	const struct usage later = { 0, 9, 0, 3, true, false }, nothing = { 0, 0, 0, 0, false, false };

	usage_merge(&total, &later);
	usage_merge(&total, &nothing);
	assert_true(total.prompt == 5 && total.completion == 9 && total.cached == 2 &&
		    total.reasoning == 3);
	assert_true(total.known);
}

static int tap(struct bb_str text, struct usage *u, bool *has_error)
{
	static struct usage_tap t;

	usage_tap_init(&t);
	usage_tap_feed(&t, text.p, text.len);
	*has_error = t.has_error;
	return usage_tap_end(&t, u);
}

static void tap_finds_top_level_only(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t prompt;
		bool has_error;
	} cases[] = {
		{ "{\"usage\":{\"prompt_tokens\":3}}", 0, 3, false },
		{ " \n{ \"a\" : \"\\\"usage\\\":{\" , \"usage\" : { \"prompt_tokens\" : 3 , "
		  "\"x\":\"}\" } , \"b\":[1] }",
		  0, 3, false },
		{ "{\"a\":{\"usage\":{\"prompt_tokens\":3}},\"b\":[{\"usage\":{\"prompt_tokens\":4}"
		  "}]}",
		  -BB_EABSENT, 0, false },
		{ "{\"usage\":null}", -BB_EABSENT, 0, false },
		{ "{\"usage\": null }", -BB_EABSENT, 0, false },
		{ "{\"usage\":5}", -BB_ESYNTAX, 0, false },
		{ "{\"usage\":\"x\"}", -BB_ESYNTAX, 0, false },
		{ "{\"usage\":{\"prompt_tokens\":3},\"usage\":{\"prompt_tokens\":4}}", 0, 4,
		  false },
		{ "{\"usage\":{\"prompt_tokens\":3}", 0, 3, false },
		{ "{\"usage\":{\"prompt_tokens\":3", -BB_EABSENT, 0, false },
		{ "{\"error\":{\"message\":\"x\"}}", -BB_EABSENT, 0, true },
		{ "{\"error\":null,\"usage\":{\"prompt_tokens\":3}}", 0, 3, false },
		{ "{\"a\":{\"error\":1},\"usage_\":{},\"usag\":{},\"errors\":1,\"a very long key "
		  "indeed\":1}",
		  -BB_EABSENT, 0, false },
		{ "[{\"usage\":{\"prompt_tokens\":3}}]", -BB_EABSENT, 0, false },
		{ "\"usage\"", -BB_EABSENT, 0, false },
		{ "", -BB_EABSENT, 0, false },
		{ "{\"a\":[[[[\"]\",{\"b\":\"\\\\\"}]]]],\"usage\":{\"prompt_tokens\":3}}", 0, 3,
		  false },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct usage u = { .prompt = 0 };
		bool has_error;
		const int rc = tap(bb_str_of(cases[i].text), &u, &has_error);
		if (rc != cases[i].rc || has_error != cases[i].has_error ||
		    u.prompt != cases[i].prompt)
			fail_msg("%s: %d", cases[i].text, rc);
	}
}

static void tap_is_bounded(void **state)
{
	struct bb_buf b;
	struct usage u;
	bool has_error;

	for (size_t extra = 0; extra < 2; extra++) {
		bb_buf_init(&b, 10000);
		bb_buf_lit(&b, "{\"usage\":{\"prompt_tokens\":3,\"x\":\"");
		const size_t before = b.len - strlen("{\"usage\":");
		for (size_t i = before; i < USAGE_RAW_MAX - 2 + extra; i++)
			bb_buf_lit(&b, "y");
		bb_buf_lit(&b, "\"}}");
		assert_int_equal(tap(bb_buf_str(&b), &u, &has_error), extra ? -BB_ELIMIT : 0);
		bb_buf_fini(&b);
	}
}

/* What a whole parse says of "usage": the object's text, or NULL. */
static char *whole_parse(struct bb_str text, bool *has_error)
{
	yyjson_doc *doc = yyjson_read(text.p, text.len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc), *usage = NULL, *key;
	yyjson_obj_iter iter = yyjson_obj_iter_with(root);

	assert_non_null(doc);
	*has_error = false;
	while ((key = yyjson_obj_iter_next(&iter))) {
		yyjson_val *value = yyjson_obj_iter_get_val(key);
		if (yyjson_equals_str(key, "usage"))
			usage = value;
		if (yyjson_equals_str(key, "error"))
			*has_error |= !yyjson_is_null(value);
	}
	char *out = yyjson_is_obj(usage) ? yyjson_val_write(usage, 0, NULL) : NULL;
	yyjson_doc_free(doc);
	return out;
}

static void random_value(struct bb_rng *rng, struct bb_buf *b, int depth);

static void random_string(struct bb_rng *rng, struct bb_buf *b)
{
	static const char *const pieces[] = { "a",
					      "usage",
					      "error",
					      "\\\"",
					      "\\\\",
					      "{",
					      "}",
					      "]",
					      ",",
					      ":",
					      "\\n",
					      "\xc3\xa4",
					      " and more text than one block holds, " };

	bb_buf_lit(b, "\"");
	for (uint64_t n = bb_rng_below(rng, 5); n; n--)
		bb_buf_add_str(b, bb_str_of(pieces[bb_rng_below(rng, COUNT(pieces))]));
	bb_buf_lit(b, "\"");
}

static void random_object(struct bb_rng *rng, struct bb_buf *b, int depth)
{
	static const char *const keys[] = { "\"usage\"", "\"error\"", "\"x\"", "\"usage \"",
					    "\"prompt_tokens\"" };

	bb_buf_lit(b, "{");
	for (uint64_t n = bb_rng_below(rng, 4), i = 0; i < n; i++) {
		if (i)
			bb_buf_lit(b, " ,");
		if (bb_rng_below(rng, 4))
			bb_buf_add_str(b, bb_str_of(keys[bb_rng_below(rng, COUNT(keys))]));
		else
			random_string(rng, b);
		bb_buf_add_str(b, bb_rng_below(rng, 2) ? BB_STR(":") : BB_STR(" :\n "));
		random_value(rng, b, depth - 1);
	}
	bb_buf_lit(b, "}");
}

/* Recursion is bounded by `depth`. */
static void random_value(struct bb_rng *rng, struct bb_buf *b, int depth)
{
	switch (bb_rng_below(rng, depth > 0 ? 8 : 5)) {
	case 0: bb_buf_lit(b, "null"); break;
	case 1: bb_buf_add_u64(b, bb_rng_below(rng, 1000)); break;
	case 2: bb_buf_lit(b, "true"); break;
	case 3:
	case 4: random_string(rng, b); break;
	case 5:
		bb_buf_lit(b, "[");
		random_value(rng, b, depth - 1);
		bb_buf_lit(b, ",");
		random_value(rng, b, depth - 1);
		bb_buf_lit(b, "]");
		break;
	default: random_object(rng, b, depth); break;
	}
}

static void feed_in_pieces(struct usage_tap *t, struct bb_str text, struct bb_rng *rng)
{
	usage_tap_init(t);
	while (text.len) {
		size_t n = 1 + bb_rng_below(rng, 30);
		if (n > text.len)
			n = text.len;
		char *piece = malloc(n);
		assert_non_null(piece);
		memcpy(piece, text.p, n);
		usage_tap_feed(t, piece, n);
		free(piece);
		text = bb_str_skip(text, n);
	}
}

static void tap_equals_whole_parse(void **state)
{
	static struct usage_tap t;
	struct bb_rng rng;
	struct bb_buf b;
	int found = 0, errors = 0;

	bb_rng_seed(&rng, 13);
	bb_buf_init(&b, 1 << 16);
	for (int i = 0; i < 20000; i++) {
		json_run_use(i % 3 ? json_run_best() : JSON_RUN_SCALAR);
		bb_buf_clear(&b);
		random_object(&rng, &b, 4);
		bool has_error;
		char *raw = whole_parse(bb_buf_str(&b), &has_error);
		feed_in_pieces(&t, bb_buf_str(&b), &rng);
		struct usage expected, got;
		const int rc = usage_tap_end(&t, &got);
		if ((rc == 0) != (raw != NULL) || t.has_error != has_error)
			fail_msg("%.*s: %d", (int)b.len, b.p, rc);
		if (raw) {
			assert_int_equal(usage_parse(bb_str_of(raw), &expected), 0);
			assert_memory_equal(&expected, &got, offsetof(struct usage, known) + 1);
			found++;
		}
		errors += has_error;
		free(raw);
	}
	bb_buf_fini(&b);
	json_run_use(json_run_best());
	if (found < 500 || errors < 500)
		fail_msg("only %d usages and %d errors were made", found, errors);
}

static void captured_answer(void **state)
{
	static char bytes[65536];
	static struct usage_tap t;
	FILE *f = fopen(CAPTURE, "rb");
	struct usage u;

	assert_non_null(f);
	const size_t len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	const struct bb_str all = { bytes, len };
	const ptrdiff_t at = bb_str_find(all, BB_STR("{\"id\":"));
	assert_true(at > 0);
	const struct bb_str body = bb_str_skip(all, (size_t)at);
	for (size_t split = 0; split <= body.len; split++) {
		usage_tap_init(&t);
		usage_tap_feed(&t, body.p, split);
		usage_tap_feed(&t, body.p + split, body.len - split);
		assert_int_equal(usage_tap_end(&t, &u), 0);
		assert_true(u.prompt == 159 && u.completion == 40 && u.cached == 0 && !t.has_error);
	}
}

static void tap_survives_any_bytes(void **state)
{
	static struct usage_tap t;
	struct bb_rng rng;
	struct usage u;
	char bytes[200];

	bb_rng_seed(&rng, 17);
	for (int i = 0; i < 20000; i++) {
		static const char some[] = "{}[]\",:\\ usage";
		const size_t len = bb_rng_below(&rng, sizeof(bytes));
		for (size_t k = 0; k < len; k++)
			bytes[k] = some[bb_rng_below(&rng, sizeof(some))];
		if (len > 10)
			memcpy(bytes, "{\"usage\":", 9);
		feed_in_pieces(&t, (struct bb_str){ bytes, len }, &rng);
		const int rc = usage_tap_end(&t, &u);
		assert_true(rc == 0 || rc == -BB_EABSENT || rc == -BB_ESYNTAX);
	}
}

static void assert_string_equal_len(struct bb_str got, const char *want)
{
	assert_int_equal(got.len, strlen(want));
	assert_memory_equal(got.p, want, got.len);
}

/* usage_find takes the outermost object's usage only, wherever it stands and whatever looks like it. */
static void test_find(void **state)
{
	struct bb_str found;

	assert_true(usage_find(BB_STR("{\"id\":\"a\",\"usage\":{\"prompt_tokens\":7},\"x\":null}"), &found));
	assert_string_equal_len(found, "{\"prompt_tokens\":7}");
	assert_true(usage_find(BB_STR("{\"usage\":{\"prompt_tokens\":7},\"x\":{\"usage\":{\"prompt_tokens\":8}}}"), &found));
	assert_string_equal_len(found, "{\"prompt_tokens\":7}");
	assert_true(usage_find(BB_STR("{ \"usage\" : {\"a\":1} }\n"), &found));
	assert_string_equal_len(found, "{\"a\":1}");
	assert_false(usage_find(BB_STR("{\"text\":\"\\\"usage\\\":{}\"}"), &found));
	assert_false(usage_find(BB_STR("{\"x\":{\"usage\":{\"a\":1}}}"), &found));
	assert_false(usage_find(BB_STR("{\"usage\":null}"), &found));
	assert_false(usage_find(BB_STR(""), &found));
	assert_false(usage_find(BB_STR("\"usage\":"), &found));
	assert_false(usage_find(BB_STR("{\"usage\":{\"a\":1"), &found));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(forms),
		cmocka_unit_test(merging),
		cmocka_unit_test(tap_finds_top_level_only),
		cmocka_unit_test(tap_is_bounded),
		cmocka_unit_test(tap_equals_whole_parse),
		cmocka_unit_test(captured_answer),
		cmocka_unit_test(tap_survives_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
