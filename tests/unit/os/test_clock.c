/* Goal: time only goes forward, and dates are written rightly over leap years and centuries. */
#include "unit.h"

#include "os/clock.h"

static void monotonic_time_goes_forward(void **state)
{
	uint64_t last = clock_now_ns();

	assert_true(last > 0);
	for (int i = 0; i < 10000; i++) {
		const uint64_t now = clock_now_ns();
		assert_true(now >= last);
		last = now;
	}
}

static void wall_time_is_of_this_century(void **state)
{
	assert_true(clock_wall_ns() > 1700000000 * OS_SECOND);
	assert_true(clock_wall_ns() < 4102444800 * OS_SECOND);
}

static void cpu_time_grows_with_work(void **state)
{
	const uint64_t before = clock_thread_cpu_ns();
	volatile unsigned sum = 0;

	for (unsigned i = 0; i < 20000000; i++)
		sum = sum + i;
	assert_true(clock_thread_cpu_ns() > before);
}

static void dates(void **state)
{
	static const struct {
		uint64_t seconds, ns;
		const char *text;
	} cases[] = {
		{ 0, 0, "1970-01-01T00:00:00.000Z" },
		{ 951782400, 0, "2000-02-29T00:00:00.000Z" },
		{ 1709210096, 789999999, "2024-02-29T12:34:56.789Z" },
		{ 4102444799, 999999999, "2099-12-31T23:59:59.999Z" },
		{ 4107542400, 1000000, "2100-03-01T00:00:00.001Z" }, /* no leap year */
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		char text[CLOCK_ISO_SIZE];
		assert_int_equal(clock_iso(cases[i].seconds * OS_SECOND + cases[i].ns, text), 24);
		assert_string_equal(text, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(monotonic_time_goes_forward),
		cmocka_unit_test(wall_time_is_of_this_century),
		cmocka_unit_test(cpu_time_grows_with_work),
		cmocka_unit_test(dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
