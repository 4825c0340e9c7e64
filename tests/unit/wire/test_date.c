/* Goal: dates are read and written by the calendar, each day of it, and nothing else is a date. */
#include "unit.h"

#include "wire/date.h"

static uint64_t parse(const char *text)
{
	uint64_t unix_s = UINT64_MAX;

	assert_int_equal(date_parse(bb_str_of(text), &unix_s), 0);
	return unix_s;
}

static void test_known(void **state)
{
	assert_int_equal(parse("1970-01-01"), 0);
	assert_int_equal(parse("2000-02-29"), 951782400);
	assert_int_equal(parse("2026-12-31T18:00:00Z"), 1798740000);
	assert_int_equal(parse("2026-12-31T18:00:00+01:00"), 1798740000 - 3600);
	assert_int_equal(parse("2026-12-31T18:00:00-05:30"), 1798740000 + 19800);
	assert_int_equal(parse("9999-12-31T23:59:59Z"), 253402300799);
}

static void test_wrong(void **state)
{
	static const char *const wrong[] = {
		"",
		"2026",
		"2026-1-1",
		"2026-13-01",
		"2026-00-01",
		"2026-01-00",
		"2026-01-32",
		"2026-02-29",
		"2100-02-29",
		"2026-04-31",
		"1969-12-31",
		"2026-01-01 ",
		" 2026-01-01",
		"2026-01-01T",
		"2026-01-01T10",
		"2026-01-01T10:00",
		"2026-01-01T10:00:00",
		"2026-01-01T24:00:00Z",
		"2026-01-01T10:60:00Z",
		"2026-01-01T10:00:60Z",
		"2026-01-01T10:00:00Zx",
		"2026-01-01T10:00:00+1:00",
		"2026-01-01T10:00:00+24:00",
		"2026-01-01t10:00:00z",
		"1970-01-01T00:00:00+00:01",
		"12026-01-01",
		"+2026-01-01",
	};
	uint64_t unix_s = 77;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(date_parse(bb_str_of(wrong[i]), &unix_s), -BB_EINVALID);
		assert_int_equal(unix_s, 77);
	}
}

/* A plain count of days against the formula, up to the year 2800: all kinds of centuries. */
static void test_each_day(void **state)
{
	static const unsigned days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	uint64_t at_s = 0;

	for (unsigned year = 1970; year < 2800; year++) {
		const bool is_leap = (year % 4 == 0 && year % 100) || year % 400 == 0;
		for (unsigned month = 0; month < 12; month++) {
			const unsigned count = days[month] + (month == 1 && is_leap);
			assert_int_equal(date_month_begin(year * 12 + month), at_s);
			for (unsigned day = 1; day <= count; day++, at_s += 86400) {
				char text[40];
				snprintf(text, sizeof(text), "%04u-%02u-%02u", year, month + 1,
					 day);
				assert_int_equal(parse(text), at_s);
				assert_int_equal(date_month(at_s), year * 12 + month);
				assert_int_equal(date_month(at_s + 86399), year * 12 + month);
			}
		}
	}
}

static void test_write(void **state)
{
	static const char *const texts[] = { "1970-01-01", "2026-12-31", "2026-12-31T18:00:00Z",
					     "2096-02-29T00:00:01Z", "9999-12-31T23:59:59Z" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct bb_buf out;
		bb_buf_init(&out, 100);
		date_write(parse(texts[i]), &out);
		assert_true(bb_str_eq(bb_buf_str(&out), bb_str_of(texts[i])));
		bb_buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_each_day),
		cmocka_unit_test(test_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
