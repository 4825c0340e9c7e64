/*
 * Goal: each log line leaves in one write, in the form that was asked for: text for people, one JSON
 * object a line for machines, whatever the text holds; and levels are heeded.
 */
#include "unit.h"

#include <unistd.h>
#include <yyjson.h>

#include "base/alloc.h"
#include "records/log_sink.h"

static char text[65536];

/* What `say` wrote to standard error. */
static void heard(void (*say)(void))
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	const int old = dup(STDERR_FILENO);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	close(ends[1]);
	say();
	assert_true(dup2(old, STDERR_FILENO) >= 0);
	close(old);
	size_t len = 0;
	ssize_t n;
	while ((n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(ends[0]);
}

static void say_odd(void)
{
	BB_LOG(BB_LOG_WARN, "odd", "a \"quote\", a \\ and a\nline, %s", "\001 and é");
}

static void test_json(void **state)
{
	log_sink_start(BB_LOG_INFO, LOG_FORMAT_JSON);
	heard(say_odd);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	assert_non_null(doc);
	yyjson_val *root = yyjson_doc_get_root(doc);
	assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "level")), "warn");
	assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "event")), "odd");
	assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "text")),
			    "a \"quote\", a \\ and a\nline, \001 and é");
	const char *time = yyjson_get_str(yyjson_obj_get(root, "time"));
	assert_int_equal(strlen(time), 24);
	assert_int_equal(time[10], 'T');
	assert_int_equal(time[23], 'Z');
	yyjson_doc_free(doc);
}

static void say_plain(void)
{
	BB_LOG(BB_LOG_ERROR, "first", "one");
	BB_LOG(BB_LOG_INFO, "second", "two");
	BB_LOG(BB_LOG_DEBUG, "third", "three");
}

static void test_text(void **state)
{
	log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
	heard(say_plain);
	assert_non_null(strstr(text, "error first: one\n"));
	assert_non_null(strstr(text, "info  second: two\n"));
	assert_null(strstr(text, "third"));
	assert_null(strstr(text, "\033")); /* no colours where no one sees them */
	assert_int_equal(text[2], ':');
	log_sink_start(BB_LOG_DEBUG, LOG_FORMAT_TEXT);
	heard(say_plain);
	assert_non_null(strstr(text, "debug third: three\n"));
	log_sink_start(BB_LOG_ERROR, LOG_FORMAT_TEXT);
	heard(say_plain);
	assert_null(strstr(text, "second"));
}

/* Standard error is a pipe here: machines read it. */
static void start_auto(void)
{
	log_sink_start(BB_LOG_INFO, LOG_FORMAT_AUTO);
	say_plain();
}

static void test_auto(void **state)
{
	heard(start_auto);
	assert_int_equal(text[0], '{');
}

static void say_long(void)
{
	char line[5000];

	memset(line, '"', sizeof(line) - 1); /* each takes two bytes in JSON */
	line[sizeof(line) - 1] = '\0';
	BB_LOG(BB_LOG_INFO, "long", "%s", line);
}

static void test_long_lines_are_cut(void **state)
{
	log_sink_start(BB_LOG_INFO, LOG_FORMAT_JSON);
	heard(say_long);
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	assert_non_null(doc);
	yyjson_doc_free(doc);
	assert_int_equal(text[strlen(text) - 1], '\n');
	log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
	heard(say_long);
	assert_true(strlen(text) <= BB_LOG_LINE_MAX + 128);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

/* A line that cannot be made is dropped; nothing else happens. */
static void say_without_memory(void)
{
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	say_plain();
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	say_plain();
}

static void test_without_memory(void **state)
{
	log_sink_start(BB_LOG_INFO, LOG_FORMAT_JSON);
	heard(say_without_memory);
	yyjson_doc *doc;
	int lines = 0;
	for (char *at = text; *at; lines++) {
		char *end = strchr(at, '\n');
		assert_non_null(end);
		doc = yyjson_read(at, (size_t)(end - at), 0);
		assert_non_null(doc);
		yyjson_doc_free(doc);
		at = end + 1;
	}
	assert_int_equal(lines, 2);
}

/* Nobody listens any more. */
static void test_closed_stderr(void **state)
{
	int ends[2];

	log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
	assert_int_equal(pipe(ends), 0);
	const int old = dup(STDERR_FILENO);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	close(ends[1]);
	close(STDERR_FILENO);
	say_plain();
	assert_true(dup2(old, STDERR_FILENO) >= 0);
	close(old);
	close(ends[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),		  cmocka_unit_test(test_text),
		cmocka_unit_test(test_auto),		  cmocka_unit_test(test_long_lines_are_cut),
		cmocka_unit_test(test_without_memory),	  cmocka_unit_test(test_closed_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
