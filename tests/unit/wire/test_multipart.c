/*
 * Goal: a form's field is found as an exact span of the body, what could be read in two ways is
 * refused, and no cut or damage of a body is read beyond its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "wire/multipart.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TYPE "multipart/form-data; boundary=XyZ"
#define PART(name, value)                                                                          \
	"--XyZ\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define END "--XyZ--\r\n"

static int field(const char *type, const char *body, const char *name, const char *expected)
{
	const struct bb_str b = bb_str_of(body);
	struct bb_str value = { NULL, 0 };
	const int rc = multipart_field(bb_str_of(type), b, bb_str_of(name), &value);

	if (rc == 0) {
		assert_true(value.p >= b.p && value.p + value.len <= b.p + b.len);
		if (!bb_str_eq(value, bb_str_of(expected)))
			fail_msg("%s is \"%.*s\"", name, BB_ARG(value));
	}
	return rc;
}

static void finds_fields(void **state)
{
	static const char body[] = "a preamble\r\n" PART(
		"model",
		"whisper-1") "--XyZ  \r\ncontent-type: audio/wav\r\nCONTENT-DISPOSITION:form-data; "
			     "filename=\"a;b\\\".wav\" ;name=file\r\n\r\n"
			     "RIFF\0binary\r\n--XyZZ\r\n--Xy\r\n" PART("stream", "true")
				     PART("empty", "") PART("a\\\"b", "quoted")
					     PART("two", "line one\r\nline two") END "an epilogue";

	assert_int_equal(field(TYPE, body, "nothing", ""),
			 -BB_ESYNTAX); /* strlen ends at the NUL */
	const struct bb_str b = { body, sizeof(body) - 1 };
	static const char *const expected[][2] = {
		{ "model", "whisper-1" },
		{ "stream", "true" },
		{ "empty", "" },
		{ "a\"b", "quoted" },
		{ "two", "line one\r\nline two" },
	};
	for (size_t i = 0; i < COUNT(expected); i++) {
		struct bb_str value = { NULL, 0 };
		assert_int_equal(
			multipart_field(BB_STR(TYPE), b, bb_str_of(expected[i][0]), &value), 0);
		assert_true(bb_str_eq(value, bb_str_of(expected[i][1])));
		assert_true(value.p > b.p && value.p < b.p + b.len);
	}
	struct bb_str value;
	assert_int_equal(multipart_field(BB_STR(TYPE), b, BB_STR("mode"), &value), -BB_EABSENT);
	assert_int_equal(multipart_field(BB_STR(TYPE), b, BB_STR("model2"), &value), -BB_EABSENT);
	assert_int_equal(multipart_field(BB_STR(TYPE), b, BB_STR("file"), &value), -BB_EINVALID);
}

static void content_types(void **state)
{
	static const struct {
		const char *type;
		int rc;
	} cases[] = {
		{ "multipart/form-data; boundary=XyZ", 0 },
		{ "Multipart/Form-Data;charset=utf-8; BOUNDARY=\"XyZ\"", 0 },
		{ " multipart/form-data ; boundary = XyZ ; x=\"a;b\"", 0 },
		{ "multipart/form-data", -BB_ESYNTAX },
		{ "multipart/form-data; boundary=", -BB_ESYNTAX },
		{ "multipart/form-data; boundary=\"XyZ", -BB_ESYNTAX },
		{ "multipart/form-data; boundary=\"X\\yZ\"", -BB_ESYNTAX },
		{ "multipart/form-data; boundary=XyZ; boundary=abc", -BB_ESYNTAX },
		{ "multipart/form-data; boundary", -BB_ESYNTAX },
		{ "multipart/form-data; boundary=X{Z", -BB_ESYNTAX },
		{ "multipart/mixed; boundary=XyZ", -BB_ESYNTAX },
		{ "application/json", -BB_ESYNTAX },
		{ "", -BB_ESYNTAX },
		{ "multipart/form-data; "
		  "boundary="
		  "1234567890123456789012345678901234567890123456789012345678901234567890x",
		  -BB_ESYNTAX },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		const int rc = field(cases[i].type, PART("model", "m") END, "model", "m");
		if (rc != cases[i].rc)
			fail_msg("%s: %d", cases[i].type, rc);
	}
	assert_true(multipart_is(BB_STR("multipart/form-data; boundary=x")));
	assert_false(multipart_is(BB_STR("multipart/form-data2")));
}

static void refused(void **state)
{
	static const struct {
		const char *body;
		int rc;
	} cases[] = {
		{ "", -BB_ESYNTAX },
		{ END, -BB_EABSENT },
		{ "--XyZ", -BB_ESYNTAX },
		{ PART("model", "m"), -BB_ESYNTAX },
		{ PART("model", "m") "--XyZ\r\n", -BB_ESYNTAX },
		{ PART("model", "a") PART("model", "b") END, -BB_EINVALID },
		{ "--XyZ\r\nContent-Disposition: form-data; "
		  "name=model\r\nContent-Transfer-Encoding: base64\r\n\r\nbQ==\r\n" END,
		  -BB_EINVALID },
		{ "--XyZ\r\nContent-Disposition: form-data; name=model; name=x\r\n\r\nm\r\n" END,
		  -BB_ESYNTAX },
		{ "--XyZ\r\nContent-Disposition: form-data\r\n\r\nm\r\n" END, -BB_ESYNTAX },
		{ "--XyZ\r\nContent-Disposition: attachment; name=model\r\n\r\nm\r\n" END,
		  -BB_ESYNTAX },
		{ "--XyZ\r\nContent-Disposition form-data; name=model\r\n\r\nm\r\n" END,
		  -BB_ESYNTAX },
		{ "--XyZ\r\nContent-Disposition: form-data; name=\"model\r\n\r\nm\r\n" END,
		  -BB_ESYNTAX },
		{ "--XyZ\r\nContent-Disposition: form-data; name=\"model\"x\r\n\r\nm\r\n" END,
		  -BB_ESYNTAX },
		{ "--XyZ\r\n\r\nm\r\n" END, -BB_ESYNTAX },
		{ "--XyZ\nContent-Disposition: form-data; name=model\n\nm\n--XyZ--\n",
		  -BB_ESYNTAX },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		const int rc = field(TYPE, cases[i].body, "model", "m");
		if (rc != cases[i].rc)
			fail_msg("case %zu: %d", i, rc);
	}
}

static void limits(void **state)
{
	struct bb_buf b;
	struct bb_str value;

	for (int parts = MULTIPART_PARTS_MAX; parts <= MULTIPART_PARTS_MAX + 1; parts++) {
		bb_buf_init(&b, 1 << 20);
		for (int i = 1; i < parts; i++)
			bb_buf_lit(&b, PART("x", "y"));
		bb_buf_lit(&b, PART("model", "m") END);
		assert_int_equal(
			multipart_field(BB_STR(TYPE), bb_buf_str(&b), BB_STR("model"), &value),
			parts > MULTIPART_PARTS_MAX ? -BB_ELIMIT : 0);
		bb_buf_fini(&b);
	}
	bb_buf_init(&b, 1 << 20);
	bb_buf_lit(&b, "--XyZ\r\nX: ");
	for (int i = 0; i < MULTIPART_HEAD_MAX; i++)
		bb_buf_lit(&b, "y");
	bb_buf_lit(&b, "\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n" END);
	assert_int_equal(multipart_field(BB_STR(TYPE), bb_buf_str(&b), BB_STR("model"), &value),
			 -BB_ELIMIT);
	bb_buf_fini(&b);
}

static void cut_and_damaged(void **state)
{
	static const char body[] = PART("model", "m") PART("stream", "true") END;
	struct bb_rng rng;
	struct bb_str value;
	int found = 0;

	bb_rng_seed(&rng, 2);
	for (int i = 0; i < 20000; i++) {
		const size_t len = i < (int)sizeof(body) ? (size_t)i
							 : 1 + bb_rng_below(&rng, sizeof(body) - 1);
		char *copy = malloc(len ? len : 1);
		assert_non_null(copy);
		memcpy(copy, body, len);
		if (i >= (int)sizeof(body))
			copy[bb_rng_below(&rng, len)] = "\r\n-;\"=\\ X"[bb_rng_below(&rng, 9)];
		const int rc = multipart_field(BB_STR(TYPE), (struct bb_str){ copy, len },
					       BB_STR("model"), &value);
		if (rc == 0) {
			assert_true(value.p >= copy && value.p + value.len <= copy + len);
			found++;
		}
		/* without the end mark nothing is believed */
		if (i < (int)sizeof(body) - 5)
			assert_int_equal(rc, -BB_ESYNTAX);
		free(copy);
	}
	assert_true(found > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_fields),	   cmocka_unit_test(content_types),
		cmocka_unit_test(refused),	   cmocka_unit_test(limits),
		cmocka_unit_test(cut_and_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
