/*
 * Goal: normalizers give the texts and origins of `tokenizers` (the many comparisons are in
 * tests/system/test_tokenizer_parts.py; here are places that must not move), refuse what they do
 * not know by name, and give everything back when memory runs out at any allocation.
 */
#include "exhaust.h"

#include "text/normalize.h"

static struct normalizer *make(const char *json)
{
	struct text_error e = { 0 };
	struct normalizer *n = NULL;

	if (normalizer_create(bb_str_of(json), &n, &e))
		print_error("%s\n", e.message);
	return n;
}

static void check(const char *json, const char *text, const char *expected)
{
	struct normalizer *const n = make(json);
	struct bb_buf out;

	assert_non_null(n);
	bb_buf_init(&out, 4096);
	assert_int_equal(normalizer_run(n, bb_str_of(text), &out, NULL), 0);
	assert_str(bb_buf_str(&out), expected);
	if (normalizer_keeps(n, bb_str_of(text)))
		assert_string_equal(text, expected);
	bb_buf_fini(&out);
	normalizer_destroy(n);
}

static void texts(void **state)
{
	check("{\"type\":\"NFC\"}", "e\u0301 \u1100\u1161\u11a8", "\u00e9 \uac01");
	check("{\"type\":\"NFD\"}", "\u00e9\u1e69", "e\u0301s\u0323\u0307");
	check("{\"type\":\"NFKC\"}", "\ufb01\u2460", "fi1");
	/* A class below comes before one above, and equal ones keep their order. */
	check("{\"type\":\"NFC\"}", "q\u0307\u0323", "q\u0323\u0307");
	/* U+0B55 came after Unicode 9: it is a mark for others, not here. */
	check("{\"type\":\"NFC\"}", "a\u0301\u0b55\u0323", "\u00e1\u0b55\u0323");
	check("{\"type\":\"Lowercase\"}", "A\u0130\u03a3", "ai\u0307\u03c3");
	check("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}", " \u3000a ", "a ");
	check("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"content\":\"_\"}",
	      "a \u2003b", "a_b");
	check("{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
	      "\"strip_accents\":null,\"lowercase\":true}",
	      "\u00c9\x01\t\u4e2d", "e  \u4e2d ");
	check("{\"type\":\"Sequence\",\"normalizers\":[]}", "x", "x");
	check("{\"type\":\"ByteLevel\"}", "\u00e9 \n", "\u00c3\u00a9\u0120\u010a");
}

static void origins(void **state)
{
	struct normalizer *const n =
		make("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
		     "\"prepend\":\"_\"},{\"type\":\"NFC\"}]}");
	struct bb_buf out;
	struct text_origins o;

	bb_buf_init(&out, 64);
	text_origins_init(&o);
	assert_int_equal(normalizer_run(n, BB_STR("ae\u0301b"), &out, &o), 0);
	assert_str(bb_buf_str(&out), "_a\u00e9b");
	assert_int_equal(o.count, out.len);
	static const struct text_origin expected[] = {
		{ 0, 1 }, { 0, 1 }, { 1, 2 }, { 1, 2 }, { 4, 5 },
	};
	for (size_t i = 0; i < o.count; i++) {
		assert_int_equal(o.at[i].begin, expected[i].begin);
		assert_int_equal(o.at[i].end, expected[i].end);
	}
	text_origins_fini(&o);
	bb_buf_fini(&out);
	normalizer_destroy(n);
}

static void refusals(void **state)
{
	static const struct {
		const char *json, *said;
	} cases[] = {
		{ "{\"type\":\"Upper\"}", "'Upper' is not supported" },
		{ "{\"type\":\"Strip\"}", "'strip_left' is missing" },
		{ "{\"type\":\"Prepend\",\"prepend\":7}", "'prepend' must be a string" },
		{ "[]", "an object with a type was expected" },
		{ "{\"type\":\"Replace\",\"pattern\":{},\"content\":\"\"}", "'pattern' must be" },
		{ "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}",
		  "precompiled_charsmap" },
		{ "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!!!!\"}", "not base64" },
		{ "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Replace\",\"pattern\":{"
		  "\"Regex\":"
		  "\"^\"},\"content\":\"x\"},{\"type\":\"NFC\"}]}",
		  "only as the last step" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct text_error e = { 0 };
		struct normalizer *n = NULL;
		assert_int_equal(normalizer_create(bb_str_of(cases[i].json), &n, &e), -BB_EINVALID);
		if (!strstr(e.message, cases[i].said))
			fail_msg("\"%s\" does not say \"%s\"", e.message, cases[i].said);
	}
}

static void nested(void **state)
{
	struct text_error e;
	struct normalizer *n;
	struct bb_buf json;

	bb_buf_init(&json, 1 << 16);
	for (int i = 0; i < 40; i++)
		bb_buf_lit(&json, "{\"type\":\"Sequence\",\"normalizers\":[");
	for (int i = 0; i < 40; i++)
		bb_buf_lit(&json, "]}");
	assert_int_equal(normalizer_create(bb_buf_str(&json), &n, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "chains in chains"));
	bb_buf_fini(&json);
}

/* A long row of marks takes time and memory in proportion to its length. */
static void marks(void **state)
{
	struct normalizer *const n = make("{\"type\":\"NFC\"}");
	struct bb_buf text, out;

	bb_buf_init(&text, 1 << 20);
	bb_buf_init(&out, 1 << 20);
	bb_buf_lit(&text, "a");
	for (int i = 0; i < 100000; i++)
		bb_buf_add_str(&text, i % 2 ? BB_STR("\u0301") : BB_STR("\u0323"));
	assert_int_equal(normalizer_run(n, bb_buf_str(&text), &out, NULL), 0);
	assert_true(bb_str_starts(bb_buf_str(&out), BB_STR("\u1ea1\u0323\u0323")));
	assert_true(bb_str_ends(bb_buf_str(&out), BB_STR("\u0301\u0301")));
	bb_buf_fini(&text);
	bb_buf_fini(&out);
	normalizer_destroy(n);
}

static int all(void)
{
	struct normalizer *n;
	struct bb_buf out;
	struct text_origins o;
	const struct bb_str json = BB_STR(
		"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Replace\","
		"\"pattern\":{\"Regex\":\"b+\"},\"content\":\"c\"},{\"type\":\"Lowercase\"}]}");
	int rc = normalizer_create(json, &n, NULL);

	if (rc)
		return rc;
	bb_buf_init(&out, 4096);
	text_origins_init(&o);
	rc = normalizer_run(n, BB_STR("ABbb\ufb01 e\u0301\u0323\u0301"), &out, &o);
	if (!rc)
		assert_str(bb_buf_str(&out), "abcfi \u1eb9\u0301\u0301");
	bb_buf_fini(&out);
	text_origins_fini(&o);
	normalizer_destroy(n);
	return rc;
}

static void exhausted(void **state)
{
	exhaust(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts),  cmocka_unit_test(origins), cmocka_unit_test(refusals),
		cmocka_unit_test(nested), cmocka_unit_test(marks),   cmocka_unit_test(exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
