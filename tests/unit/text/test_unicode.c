/* Goal: categories as Unicode 16 has them; malformed bytes counted as decoders count them. */
#include <utf8proc.h>

#include "base/alloc.h"
#include "text/unicode.h"
#include "text/unicode_sets.h"
#include "unit.h"
#include "wire/utf8.h"

static void test_categories(void **state)
{
	unicode_init();
	assert_int_equal(unicode_category('A'), UNICODE_LU);
	assert_int_equal(unicode_category(0x4e2d), UNICODE_LO);
	assert_int_equal(unicode_category(0x301), UNICODE_MN);
	assert_int_equal(unicode_category(0x1c89), UNICODE_LU); /* new in Unicode 16 */
	assert_true(unicode_is('7', UNICODE_N) && unicode_is(0xbd, UNICODE_N));
	assert_true(unicode_is('-', UNICODE_P) && !unicode_is('+', UNICODE_P));
	assert_true(unicode_is_space(0x3000) && unicode_is_space(0x85) &&
		    !unicode_is_space(0x200b));
	assert_true(unicode_is_word('_') && unicode_is_word(0x301) && !unicode_is_word('-'));
	assert_int_equal(unicode_category(UNICODE_END - 1), UNICODE_CN);
}

static uint8_t known_category(uint32_t cp)
{
	for (size_t i = 0; i < unicode_late_count; i++)
		if (cp >= unicode_lates[i].first && cp <= unicode_lates[i].last)
			return (uint8_t)unicode_lates[i].category;
	return (uint8_t)utf8proc_category((utf8proc_int32_t)cp);
}

/* Whole planes are filled without a look at each character; here each is compared. */
static void test_every_character(void **state)
{
	const uint32_t words = UNICODE_L | UNICODE_M | UNICODE_BIT(UNICODE_ND) |
			       UNICODE_BIT(UNICODE_NL) | UNICODE_BIT(UNICODE_PC);

	unicode_init();
	for (uint32_t cp = 0; cp < UNICODE_END; cp++) {
		assert_int_equal(unicode_category(cp), known_category(cp));
		if (unicode_is(cp, words))
			assert_true(unicode_is_word(cp));
	}
}

static void test_walking(void **state)
{
	const char *p = "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80", *const begin = p;
	size_t len;

	assert_int_equal(unicode_next(&p), 'a');
	assert_int_equal(unicode_next(&p), 0xe9);
	assert_int_equal(unicode_before(begin, p, &len), 0xe9);
	assert_int_equal(len, 2);
	assert_int_equal(unicode_next(&p), 0x4e2d);
	assert_int_equal(unicode_next(&p), 0x1f600);
	assert_int_equal(unicode_before(begin, p, &len), 0x1f600);
	assert_int_equal(len, 4);
}

static void test_malformed(void **state)
{
	static const struct {
		const char *text, *replaced;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "\xff", "?" },
		{ "a\xc3", "a?" },
		{ "\xe2\x96", "?" },
		{ "\xe2\x96x", "?x" },
		{ "\xf0\x9f\x98", "?" },
		{ "\xed\xa0\x80", "???" },
		{ "\xc0\x80", "??" },
		{ "\xf5\x80", "??" },
		{ "\xf4\x90\x80\x80", "????" },
		{ "\xe0\x80\x80", "???" },
		{ "\x80"
		  "a\x80",
		  "?a?" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct bb_buf out, expected;
		bb_buf_init(&out, 100);
		bb_buf_init(&expected, 100);
		assert_int_equal(unicode_add_replaced(&out, bb_str_of(cases[i].text)), 0);
		for (const char *p = cases[i].replaced; *p; p++)
			bb_buf_add(&expected, *p == '?' ? "\xef\xbf\xbd" : p, *p == '?' ? 3 : 1);
		assert_true(bb_str_eq(bb_buf_str(&out), bb_buf_str(&expected)));
		bb_buf_fini(&out);
		bb_buf_fini(&expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_categories),
		cmocka_unit_test(test_every_character),
		cmocka_unit_test(test_walking),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
