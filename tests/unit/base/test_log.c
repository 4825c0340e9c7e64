/* Goal: lines reach the sink at their level and cut at the limit; BB_CHECK counts and yields; BB_ASSERT ends the process. */
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

static unsigned lines;
static char last_event[64];
static char last_text[2 * BB_LOG_LINE_MAX];
static enum bb_log_level last_level;

static void sink(enum bb_log_level level, const char *event, const char *text)
{
	lines++;
	last_level = level;
	snprintf(last_event, sizeof(last_event), "%s", event);
	snprintf(last_text, sizeof(last_text), "%s", text);
}

static int reset(void **state)
{
	lines = 0;
	bb_log_set(sink, BB_LOG_INFO);
	return 0;
}

static void levels(void **state)
{
	BB_LOG(BB_LOG_INFO, "engine_up", "%s is ready after %d s", "a", 3);
	assert_int_equal(lines, 1);
	assert_string_equal(last_event, "engine_up");
	assert_string_equal(last_text, "a is ready after 3 s");
	assert_int_equal(last_level, BB_LOG_INFO);
	BB_LOG(BB_LOG_DEBUG, "quiet", "x");
	bb_log_write(BB_LOG_DEBUG, "quiet", "x");
	assert_int_equal(lines, 1);
	bb_log_set(sink, BB_LOG_DEBUG);
	BB_LOG(BB_LOG_DEBUG, "loud", "x");
	assert_int_equal(lines, 2);
	bb_log_set(NULL, BB_LOG_DEBUG);
	BB_LOG(BB_LOG_ERROR, "nowhere", "x");
	assert_false(bb_log_is_on(BB_LOG_ERROR));
	assert_string_equal(bb_log_level_name(BB_LOG_WARN), "warn");
}

/* What is not logged is not computed either. */
static void arguments_of_a_silent_line_are_not_evaluated(void **state)
{
	int evaluated = 0;

	BB_LOG(BB_LOG_DEBUG, "quiet", "%d", ++evaluated);
	assert_int_equal(evaluated, 0);
}

static void long_lines_are_cut(void **state)
{
	BB_LOG(BB_LOG_ERROR, "long", "%*d", 5000, 1);
	assert_int_equal(strlen(last_text), BB_LOG_LINE_MAX - 1);
}

static bool checked(int value)
{
	return BB_CHECK(value == 1, "the value is odd");
}

static void checks_yield_count_and_speak_once(void **state)
{
	const uint64_t before = bb_check_count();

	assert_true(checked(1));
	assert_int_equal(bb_check_count(), before);
	for (int i = 0; i < 100; i++)
		assert_false(checked(2));
	assert_int_equal(bb_check_count(), before + 100);
	assert_in_range(lines, 1, 2); /* two when a minute began in between */
	assert_non_null(strstr(last_text, "the value is odd"));
	assert_int_equal(last_level, BB_LOG_WARN);
}

static void an_assertion_ends_the_process(void **state)
{
	int status = 0;
	const pid_t child = fork();

	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		fclose(stderr);
		BB_ASSERT(1 + 1 == 3);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(levels, reset),
		cmocka_unit_test_setup(arguments_of_a_silent_line_are_not_evaluated, reset),
		cmocka_unit_test_setup(long_lines_are_cut, reset),
		cmocka_unit_test_setup(checks_yield_count_and_speak_once, reset),
		cmocka_unit_test_setup(an_assertion_ends_the_process, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
