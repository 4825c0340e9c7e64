/*
 * Goal: pre-tokenizers cut as `tokenizers` cuts (the many comparisons are in
 * tests/system/test_tokenizer_parts.py), know when one hand-written scanner does it all, refuse
 * what they do not know by name, and give everything back when memory runs out.
 */
#include "exhaust.h"

#include "text/pretokenize.h"

#define OUT_SIZE 256
#define SPLIT(pattern, behavior)                                                                   \
	"{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"" behavior                     \
	"\",\"invert\":false}"
#define BYTE_LEVEL                                                                                 \
	"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":" \
	"false}"
#define SEQUENCE(a, b) "{\"type\":\"Sequence\",\"pretokenizers\":[" a "," b "]}"
#define QWEN2                                                                                      \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"           \
	" ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

/* The pieces with | between them. */
static int joined(const char *json, const char *text, enum pretokenize_place place, char *out)
{
	struct text_error e = { 0 };
	struct pretokenizer *p;
	struct piece_list l;
	int rc = pretokenizer_create(bb_str_of(json), &p, &e);

	if (rc)
		return rc;
	piece_list_init(&l, 4096);
	rc = pretokenizer_run(p, bb_str_of(text), NULL, place, PRETOKENIZE_PIECES_AND_ORIGINS, &l);
	*out = 0;
	for (size_t i = 0; !rc && i < l.count; i++)
		snprintf(out + strlen(out), OUT_SIZE - strlen(out), "%s%.*s", i ? "|" : "",
			 (int)(l.at[i].end - l.at[i].begin), l.text.p + l.at[i].begin);
	if (!rc)
		assert_int_equal(l.origins.count, l.text.len);
	piece_list_fini(&l);
	pretokenizer_destroy(p);
	return rc;
}

static void check(const char *json, const char *text, const char *expected)
{
	char out[OUT_SIZE];

	assert_int_equal(joined(json, text, PRETOKENIZE_START, out), 0);
	assert_string_equal(out, expected);
}

static void behaviors(void **state)
{
	const char *const text = "the-final--countdown";

	check(SPLIT("{\"String\":\"-\"}", "Removed"), text, "the|final|countdown");
	check(SPLIT("{\"String\":\"-\"}", "Isolated"), text, "the|-|final|-|-|countdown");
	check(SPLIT("{\"String\":\"-\"}", "MergedWithPrevious"), text, "the-|final-|-|countdown");
	check(SPLIT("{\"String\":\"-\"}", "MergedWithNext"), text, "the|-final|-|-countdown");
	check(SPLIT("{\"String\":\"-\"}", "Contiguous"), text, "the|-|final|--|countdown");
	check(SPLIT("{\"Regex\":\"-\"}", "Contiguous"), text, "the|-|final|--|countdown");
}

static void types(void **state)
{
	char out[OUT_SIZE];
	const char *const first =
		"{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":"
		"\"first\",\"split\":true}";

	check("{\"type\":\"Whitespace\"}", "ab, c\u00e9!?", "ab|,|c\u00e9|!?");
	check("{\"type\":\"BertPreTokenizer\"}", "ab,c d", "ab|,|c|d");
	check("{\"type\":\"Digits\",\"individual_digits\":true}", "a12", "a|1|2");
	check("{\"type\":\"FixedLength\",\"length\":2}", "a\u00e9bcd", "a\u00e9|bc|d");
	check(first, "a b", "_a|_b");
	assert_int_equal(joined(first, "a b", PRETOKENIZE_CONTINUES, out), 0);
	assert_string_equal(out, "a|_b");
	/* As Falcon: behind ByteLevel the bytes of U+00B2 are seen as characters, one a digit. */
	check(SEQUENCE("{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}",
		       "{\"type\":\"Digits\",\"individual_digits\":false}"),
	      "a12", " a|12");
}

static void patterns(void **state)
{
	struct pretokenizer *p;

	assert_int_equal(pretokenizer_create(BB_STR("null"), &p, NULL), 0);
	assert_null(p);
	assert_int_equal(pretokenizer_pattern(p), SPLIT_NONE);
	assert_string_equal(pretokenizer_engine(p), "none");

	const char *const qwen =
		SEQUENCE(SPLIT("{\"Regex\":\"" QWEN2 "\"}", "Isolated"), BYTE_LEVEL);
	assert_int_equal(pretokenizer_create(bb_str_of(qwen), &p, NULL), 0);
	assert_int_equal(pretokenizer_pattern(p), SPLIT_QWEN2);
	assert_true(pretokenizer_is_byte_level(p));
	pretokenizer_destroy(p);

	const char *const other = SEQUENCE(SPLIT("{\"Regex\":\"a+\"}", "Isolated"), BYTE_LEVEL);
	assert_int_equal(pretokenizer_create(bb_str_of(other), &p, NULL), 0);
	assert_int_equal(pretokenizer_pattern(p), SPLIT_NONE);
	assert_true(strncmp(pretokenizer_engine(p), "PCRE2", 5) == 0);
	pretokenizer_destroy(p);
}

static void refusals(void **state)
{
	static const struct {
		const char *json, *said;
	} cases[] = {
		{ "{\"type\":\"UnicodeScripts\"}", "'UnicodeScripts' is not supported" },
		{ SPLIT("{\"String\":\"\"}", "Isolated"), "an empty pattern" },
		{ SPLIT("{\"String\":\"a\"}", "Merged"), "behavior 'Merged' is not known" },
		{ SPLIT("{\"Regex\":\"[a\"}", "Isolated"), "a class is not closed" },
		{ SEQUENCE(BYTE_LEVEL, BYTE_LEVEL), "two of these" },
		{ "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", "must be one character" },
		{ "{\"type\":\"FixedLength\",\"length\":0}", "must not be 0" },
		{ "7", "an object" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct text_error e = { 0 };
		struct pretokenizer *p = NULL;
		assert_int_equal(pretokenizer_create(bb_str_of(cases[i].json), &p, &e),
				 -BB_EINVALID);
		if (!strstr(e.message, cases[i].said))
			fail_msg("\"%s\" does not say \"%s\"", e.message, cases[i].said);
	}
}

static int all(void)
{
	char out[OUT_SIZE];
	const int rc = joined(SEQUENCE(SPLIT("{\"Regex\":\"\\\\d\"}", "Isolated"),
				       "{\"type\":\"Metaspace\",\"replacement\":\"_\"}"),
			      "a1 b", PRETOKENIZE_START, out);

	if (!rc)
		assert_string_equal(out, "_a|_1|_b");
	return rc;
}

static void exhausted(void **state)
{
	exhaust(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(behaviors), cmocka_unit_test(types),
		cmocka_unit_test(patterns),  cmocka_unit_test(refusals),
		cmocka_unit_test(exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
