/*
 * Goal: whatever bytes a message quotes, the body is JSON that an SDK can read, in the form of each
 * protocol and for each code; a letter is never cut in half; a buffer that is too small is said.
 */
#include "unit.h"

#include "base/err.h"
#include "wire/errorbody.h"
#include "wire/json.h"

static struct bb_buf b;

/* The message of a body in OpenAI's form, as it stands in the JSON. */
static struct bb_str message_of(struct bb_str body)
{
	struct json_member error, message;

	assert_int_equal(json_check(body, JSON_DEPTH_MAX, NULL), 0);
	assert_true(json_get(body, BB_STR("error"), &error));
	assert_true(json_get(error.value, BB_STR("message"), &message));
	assert_int_equal(message.type, JSON_STRING);
	return json_string_inner(message.value);
}

static struct bb_str written(struct bb_str message)
{
	bb_buf_clear(&b);
	openai_error_write(&b, FAMILY_OPENAI, -BB_EINVALID, message, NULL);
	assert_int_equal(b.err, 0);
	return message_of(bb_buf_str(&b));
}

static void every_code_in_every_form(void **state)
{
	static const enum family families[] = { FAMILY_OPENAI, FAMILY_ANTHROPIC, FAMILY_RESPONSES };
	struct json_member type;

	for (int code = 1; code < BB_E_COUNT; code++) {
		for (size_t i = 0; i < UNIT_COUNT(families); i++) {
			bb_buf_clear(&b);
			openai_error_write(&b, families[i], -code, BB_STR(""), NULL);
			/* Without a message of its own it has the code's. */
			assert_str(message_of(bb_buf_str(&b)), bb_error_info(code)->text);
			if (families[i] != FAMILY_ANTHROPIC)
				continue;
			assert_true(json_get(bb_buf_str(&b), BB_STR("type"), &type));
			assert_str(type.value, "\"error\"");
		}
	}
}

static void bytes_that_are_no_letters(void **state)
{
	assert_str(written(BB_STR("model `\xff\xfe` is unknown")), "model `??` is unknown");
	assert_str(written(BB_STR("\xed\xa0\x80")), "???"); /* a surrogate */
	assert_str(written(BB_STR("ends in half of one \xe2\x82")), "ends in half of one ??");
	assert_str(written(BB_STR("\xc3\xa9 \x80 \xe2\x82\xac")), "\xc3\xa9 ? \xe2\x82\xac");
}

/* Only what has to be repaired is cut; what is good is never. */
static void long_messages(void **state)
{
	char text[4096];

	memset(text, 'x', sizeof(text));
	assert_int_equal(written((struct bb_str){ text, sizeof(text) }).len, sizeof(text));
	text[0] = '\xff';
	assert_int_equal(written((struct bb_str){ text, sizeof(text) }).len, 1024);
	/* A letter of three bytes at each place around the cut. */
	for (size_t at = 1018; at <= 1025; at++) {
		memset(text, 'x', sizeof(text));
		text[0] = '\xff';
		memcpy(text + at, "\xe2\x82\xac", 3);
		const struct bb_str got = written((struct bb_str){ text, sizeof(text) });
		assert_true(got.len >= 1022 && got.len <= 1024);
		assert_int_equal(got.p[0], '?');
	}
	memset(text, '\x80', sizeof(text));
	assert_int_equal(written((struct bb_str){ text, sizeof(text) }).len, 1024);
}

static void a_buffer_that_is_too_small(void **state)
{
	struct bb_buf small;

	bb_buf_init(&small, 40);
	openai_error_write(&small, FAMILY_OPENAI, -BB_EINVALID, BB_STR("\xff and more words"), "model");
	assert_int_equal(small.err, -BB_ELIMIT);
	bb_buf_fini(&small);
}

static void statuses_of_anthropic(void **state)
{
	assert_string_equal(anthropic_error_type(400), "invalid_request_error");
	assert_string_equal(anthropic_error_type(403), "permission_error");
	assert_string_equal(anthropic_error_type(413), "request_too_large");
	assert_string_equal(anthropic_error_type(429), "rate_limit_error");
	assert_string_equal(anthropic_error_type(502), "api_error");
	assert_string_equal(anthropic_error_type(503), "overloaded_error");
}

static int begin(void **state)
{
	bb_buf_init(&b, 65536);
	return 0;
}

static int end(void **state)
{
	bb_buf_fini(&b);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_in_every_form),
		cmocka_unit_test(bytes_that_are_no_letters),
		cmocka_unit_test(long_messages),
		cmocka_unit_test(a_buffer_that_is_too_small),
		cmocka_unit_test(statuses_of_anthropic),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
