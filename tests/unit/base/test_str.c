/* Goal: slices compare, search, cut and match rightly at their edges; numbers are never guessed. */
#include "unit.h"

#include <math.h>

static void slices_compare(void **state)
{
	const struct bb_str none = { 0 };

	assert_true(bb_str_eq(none, BB_STR("")));
	assert_true(bb_str_eq(BB_STR("a\0b"), BB_STR("a\0b")));
	assert_false(bb_str_eq(BB_STR("a\0b"), BB_STR("a\0c")));
	assert_false(bb_str_eq(BB_STR("a"), BB_STR("ab")));
	assert_true(bb_str_eq_nocase(BB_STR("Content-Type"), BB_STR("cONTENT-tYPE")));
	assert_false(bb_str_eq_nocase(BB_STR("["), BB_STR("{"))); /* differ in the case bit only */
	assert_false(bb_str_eq_nocase(BB_STR("a"), BB_STR("ab")));
	assert_int_equal(bb_str_of(NULL).len, 0);
}

/* Whatever the length, every byte counts, and nothing else does. */
static void every_byte_is_compared_without_case(void **state)
{
	static const char upper[] = "X-RATELIMIT-REMAINING-TOKENS";
	char other[sizeof(upper)];

	for (size_t len = 0; len < sizeof(upper); len++) {
		memset(other, '!', sizeof(other));
		for (size_t i = 0; i < len; i++)
			other[i] = (char)(upper[i] == '-' ? '-' : upper[i] | 0x20);
		assert_true(bb_str_eq_nocase((struct bb_str){ upper, len },
					     (struct bb_str){ other, len }));
		for (size_t i = 0; i < len; i++) {
			const char was = other[i];
			other[i] = '*';
			assert_false(bb_str_eq_nocase((struct bb_str){ upper, len },
						      (struct bb_str){ other, len }));
			other[i] = was;
		}
	}
}

static void prefixes_suffixes_and_skips(void **state)
{
	assert_true(bb_str_starts(BB_STR("unix:/x"), BB_STR("unix:")));
	assert_false(bb_str_starts(BB_STR("uni"), BB_STR("unix:")));
	assert_true(bb_str_starts(BB_STR("a"), BB_STR("")));
	assert_true(bb_str_ends(BB_STR("file.yaml"), BB_STR(".yaml")));
	assert_false(bb_str_ends(BB_STR("aml"), BB_STR(".yaml")));
	assert_str(bb_str_skip(BB_STR("abc"), 1), "bc");
	assert_str(bb_str_skip(BB_STR("abc"), 99), "");
}

static void searching(void **state)
{
	assert_int_equal(bb_str_find(BB_STR("hello"), BB_STR("lo")), 3);
	assert_int_equal(bb_str_find(BB_STR("hello"), BB_STR("hello!")), -1);
	assert_int_equal(bb_str_find(BB_STR("hello"), BB_STR("")), 0);
	assert_int_equal(bb_str_find((struct bb_str){ 0 }, BB_STR("a")), -1);
	assert_int_equal(bb_str_find(BB_STR("a\0b\0c"), BB_STR("\0c")), 3);
}

static void trimming(void **state)
{
	assert_str(bb_str_trim(BB_STR(" \t a b \r\n")), "a b");
	assert_str(bb_str_trim(BB_STR(" \n ")), "");
	assert_str(bb_str_trim((struct bb_str){ 0 }), "");
}

static void cutting(void **state)
{
	struct bb_str rest = BB_STR("a,,b");

	assert_str(bb_str_cut(&rest, ','), "a");
	assert_str(bb_str_cut(&rest, ','), "");
	assert_str(bb_str_cut(&rest, ','), "b");
	assert_int_equal(rest.len, 0);
	assert_str(bb_str_cut(&rest, ','), "");
	rest = BB_STR("tail,");
	assert_str(bb_str_cut(&rest, ','), "tail");
	assert_int_equal(rest.len, 0);
}

static void patterns(void **state)
{
	static const struct {
		const char *text, *pattern;
		bool matches;
	} cases[] = {
		{ "", "", true },        { "", "*", true },           { "a", "", false },
		{ "eu-fr", "eu-*", true }, { "us-eu-1", "eu-*", false }, { "eu-", "eu-*", true },
		{ "abc", "*c", true },   { "abcd", "*c", false },     { "aXbXc", "a*b*c", true },
		{ "ab", "a**b", true },  { "a*b", "a*b", true },      { "ab", "A*", false },
		{ "mississippi", "m*iss*pi", true }, { "mississippi", "m*issi*ss*ss*", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++)
		if (bb_str_matches(bb_str_of(cases[i].text), bb_str_of(cases[i].pattern)) !=
		    cases[i].matches)
			fail_msg("%s against %s", cases[i].text, cases[i].pattern);
}

/* A pattern that would be exponential in a matcher that recurses. */
static void a_hostile_pattern_ends(void **state)
{
	char text[2001], pattern[2001];

	memset(text, 'a', 2000);
	for (int i = 0; i < 2000; i += 2)
		memcpy(pattern + i, "*a", 2);
	pattern[1999] = 'b';
	assert_false(bb_str_matches((struct bb_str){ text, 2000 }, (struct bb_str){ pattern, 2000 }));
}

static void whole_numbers(void **state)
{
	uint64_t n = 7;

	assert_int_equal(bb_parse_u64(BB_STR("0"), &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(bb_parse_u64(BB_STR("18446744073709551615"), &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(bb_parse_u64(BB_STR("18446744073709551616"), &n), -BB_ELIMIT);
	assert_int_equal(bb_parse_u64(BB_STR("99999999999999999999999"), &n), -BB_ELIMIT);
	assert_true(n == UINT64_MAX); /* untouched */
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "1a", "0x1", "1.0", "1e3" };
	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		assert_int_equal(bb_parse_u64(bb_str_of(bad[i]), &n), -BB_EINVALID);
	assert_int_equal(bb_parse_u64(BB_STR("1\0"), &n), -BB_EINVALID);
}

static void numbers_with_a_fraction(void **state)
{
	double d = 7;

	assert_int_equal(bb_parse_double(BB_STR("-1.5e2"), &d), 0);
	assert_true(d == -150);
	static const char *const bad[] = { "", "nan", "inf", "0x10", "1,5", "1..2", "e", "+", "1e", "--1" };
	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		assert_int_equal(bb_parse_double(bb_str_of(bad[i]), &d), -BB_EINVALID);
	assert_int_equal(bb_parse_double(BB_STR("1e999"), &d), -BB_ELIMIT);
	assert_int_equal(bb_parse_double(BB_STR("-1e999"), &d), -BB_ELIMIT);
	assert_int_equal(bb_parse_double(BB_STR("1e-999"), &d), 0); /* zero is near enough */
	assert_true(d == 0 && isfinite(d));
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "0", 0 },          { "0s", 0 },      { "250us", 250000 }, { "20ms", 20000000 },
		{ "1.5s", 1500000000 }, { "10m", 600000000000 }, { "2h", 7200000000000 },
		{ "1d", 86400000000000 }, { "7ns", 7 }, { "5 s", 5000000000 },
	};
	static const char *const bad[] = { "", "5", "s", "-1s", "1sec", "1 2s", ".", "1.2.3s", "1e3s", "1S" };
	uint64_t ns = 42;

	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		if (bb_parse_duration_ns(bb_str_of(bad[i]), &ns) != -BB_EINVALID || ns != 42)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(bb_parse_duration_ns(BB_STR("999999999d"), &ns), -BB_ELIMIT);
	for (size_t i = 0; i < UNIT_COUNT(good); i++) {
		assert_int_equal(bb_parse_duration_ns(bb_str_of(good[i].text), &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },        { "64", 64 },          { "64B", 64 },        { "16KiB", 16384 },
		{ "10KB", 10000 }, { "1.5MiB", 1572864 }, { "2GiB", 1ull << 31 }, { "1TiB", 1ull << 40 },
	};
	static const char *const bad[] = { "", "KiB", "16kib", "16K", "-1", "1e3", "1 MiB x" };
	uint64_t n = 42;

	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		assert_int_equal(bb_parse_size(bb_str_of(bad[i]), &n), -BB_EINVALID);
	assert_int_equal(bb_parse_size(BB_STR("99999999999TiB"), &n), -BB_ELIMIT);
	assert_int_equal(n, 42);
	for (size_t i = 0; i < UNIT_COUNT(good); i++) {
		assert_int_equal(bb_parse_size(bb_str_of(good[i].text), &n), 0);
		assert_int_equal(n, good[i].bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_compare),
		cmocka_unit_test(every_byte_is_compared_without_case),
		cmocka_unit_test(prefixes_suffixes_and_skips),
		cmocka_unit_test(searching),
		cmocka_unit_test(trimming),
		cmocka_unit_test(cutting),
		cmocka_unit_test(patterns),
		cmocka_unit_test(a_hostile_pattern_ends),
		cmocka_unit_test(whole_numbers),
		cmocka_unit_test(numbers_with_a_fraction),
		cmocka_unit_test(durations),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
