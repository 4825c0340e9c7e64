/*
 * Goal: decoders give the text of `tokenizers` token by token, in whole characters, and all of it
 * together whatever was held back; unknown ones are refused by name; memory may run out.
 */
#include "exhaust.h"

#include "text/decoder.h"

#define SHOWN_SIZE 512
#define LLAMA                                                                                      \
	"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"      \
	"\"\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"          \
	"{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
#define BYTE_LEVEL "{\"type\":\"ByteLevel\"}"

/* Pushes tokens separated by |, and writes what comes out after each, and at the end, with |. */
static int steps(const char *json, const char *tokens, char *shown)
{
	struct decoder *d;
	struct decoder_run *r = NULL;
	struct bb_buf out;
	int rc = decoder_create(bb_str_of(json), &d, NULL);

	if (rc)
		return rc;
	bb_buf_init(&out, 4096);
	rc = decoder_run_create(d, &out, &r);
	*shown = 0;
	for (const char *p = tokens; !rc && *p;) {
		const char *const end = strchrnul(p, '|');
		rc = decoder_run_push(r, (struct bb_str){ p, (size_t)(end - p) });
		snprintf(shown + strlen(shown), SHOWN_SIZE - strlen(shown), "%.*s|", (int)out.len,
			 out.len ? out.p : "");
		bb_buf_clear(&out);
		p = *end ? end + 1 : end;
	}
	if (!rc)
		rc = decoder_run_end(r);
	if (!rc)
		snprintf(shown + strlen(shown), SHOWN_SIZE - strlen(shown), "%.*s", (int)out.len,
			 out.len ? out.p : "");
	bb_buf_fini(&out);
	decoder_run_destroy(r);
	decoder_destroy(d);
	return rc;
}

static void check(const char *json, const char *tokens, const char *expected)
{
	char shown[SHOWN_SIZE];

	assert_int_equal(steps(json, tokens, shown), 0);
	assert_string_equal(shown, expected);
}

static void streams(void **state)
{
	check(LLAMA, "\u2581Hi|\u2581you|<0xE6>|<0x97>|<0xA5>|!", "Hi| you||||\u65e5!|");
	check(LLAMA, "<0xFF>|<0x41>", "||\ufffd\ufffd");
	check(LLAMA, "\u2581\u2581a", " a|");
	/* The bytes of U+1F600 in two tokens, then a byte that begins nothing, then half a
	 * character. */
	check(BYTE_LEVEL, "\u00f0\u0141\u013a|\u0122a|\u0122|\u00e6\u0139",
	      "|\U0001f600a|\ufffd||\ufffd");
	check("{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}", "un|##able|to|.",
	      "un|able| to|.|");
	check("{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}", "a</w>|b</w>", "|a |b");
	check("{\"type\":\"Metaspace\",\"replacement\":\"_\"}", "_a|_b", "a| b|");
	check("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Replace\","
	      "\"pattern\":{\"Regex\":\"ab\"},\"content\":\"c\"}]}",
	      "a|b", "||c");
	check("null", "a|b", "a| b|");
}

static void refusals(void **state)
{
	static const struct {
		const char *json, *said;
	} cases[] = {
		{ "{\"type\":\"Foo\"}", "'Foo' is not supported" },
		{ "{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}",
		  "one character" },
		{ "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":"
		  "\"ByteLevel\"}]}",
		  "ByteLevel behind" },
		{ "{\"type\":\"Sequence\"}", "'decoders' is missing" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct text_error e = { 0 };
		struct decoder *d = NULL;
		assert_int_equal(decoder_create(bb_str_of(cases[i].json), &d, &e), -BB_EINVALID);
		if (!strstr(e.message, cases[i].said))
			fail_msg("\"%s\" does not say \"%s\"", e.message, cases[i].said);
	}
}

static int all(void)
{
	char shown[SHOWN_SIZE];
	int rc = steps(LLAMA, "\u2581a|<0xE6>|b", shown);

	if (!rc)
		rc = steps(BYTE_LEVEL, "\u0120a|\u00e6", shown);
	if (!rc)
		rc = steps("{\"type\":\"CTC\",\"pad_token\":\"_\",\"word_delimiter_token\":\"/\","
			   "\"cleanup\":true}",
			   "a|a|_|/|b", shown);
	return rc;
}

static void exhausted(void **state)
{
	exhaust(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams),
		cmocka_unit_test(refusals),
		cmocka_unit_test(exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
