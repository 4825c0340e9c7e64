/*
 * Goal: every sequence of bytes has one text that is taken, and no other text is: no padding, no
 * foreign digits, no bits left over.
 */
#include "jwt_maker.h"

#include "wire/base64url.h"

static void test_round_trip(void **state)
{
	static struct maker_text text;
	uint8_t bytes[256], back[256];
	size_t len;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t size = 0; size <= sizeof(bytes); size++) {
		text.len = 0;
		maker_base64url(bytes, size, &text);
		assert_int_equal(BASE64URL_SIZE(text.len), size);
		assert_int_equal(
			base64url_decode((struct bb_str){ text.p, text.len }, back, size, &len), 0);
		assert_int_equal(len, size);
		assert_memory_equal(back, bytes, size);
		if (size)
			assert_int_equal(base64url_decode((struct bb_str){ text.p, text.len }, back,
							  size - 1, &len),
					 -BB_ELIMIT);
	}
}

/* The other alphabet takes its own two digits and not those of the first. */
static void test_plain_alphabet(void **state)
{
	uint8_t out[4];
	size_t len = 77;

	assert_int_equal(base64_decode(BB_STR("+/+/"), out, sizeof(out), &len), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(out, "\xfb\xff\xbf", 3);
	assert_int_equal(base64_decode(BB_STR("-_-_"), out, sizeof(out), &len), -BB_EINVALID);
	assert_int_equal(base64url_decode(BB_STR("+/+/"), out, sizeof(out), &len), -BB_EINVALID);
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "A",	   "AAAAA", "QQ==", "QUI=", "A+AA", "A/AA",
					   "A AA", "AA\nA", "QR",   "QUJ",  "AA.A", "AAA\x80" };
	uint8_t out[16];
	size_t len = 77;

	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		assert_int_equal(base64url_decode(bb_str_of(bad[i]), out, sizeof(out), &len),
				 -BB_EINVALID);
	assert_int_equal(base64url_decode((struct bb_str){ "AA\0A", 4 }, out, sizeof(out), &len),
			 -BB_EINVALID);
	assert_int_equal(len, 77);
}

/* Of all texts of two digits, one in 16 says a byte and nothing more. */
static void test_only_one_text(void **state)
{
	unsigned taken = 0, seen[256] = { 0 };
	uint8_t out[2];
	size_t len;

	for (int a = 0; a < 256; a++)
		for (int b = 0; b < 256; b++) {
			const char text[2] = { (char)a, (char)b };
			if (base64url_decode((struct bb_str){ text, 2 }, out, 1, &len))
				continue;
			assert_int_equal(len, 1);
			seen[out[0]]++;
			taken++;
		}
	assert_int_equal(taken, 256);
	for (int i = 0; i < 256; i++)
		assert_int_equal(seen[i], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_plain_alphabet),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_only_one_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
