/*
 * Goal: each log line leaves in one write, in the form that was asked for: text for people, one JSON
 * object a line for machines, whatever the text holds; and levels are heeded.
 */
#include "unit.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/alloc.h"
#include "os/clock.h"
#include "os/process.h"
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

/* ---- the queue ---- */

static int stalled[2]; /* a pipe in stderr's place that nobody reads */
static int old_stderr;

static void stall(void)
{
	assert_int_equal(pipe(stalled), 0);
	old_stderr = dup(STDERR_FILENO);
	assert_true(dup2(stalled[1], STDERR_FILENO) >= 0);
	close(stalled[1]);
}

static void unstall(void)
{
	assert_true(dup2(old_stderr, STDERR_FILENO) >= 0);
	close(old_stderr);
	close(stalled[0]);
}

/* Lines come in their order, and those of the end too. */
static void say_queued(void)
{
	assert_int_equal(log_sink_queue(), 0);
	for (int i = 0; i < 100; i++)
		BB_LOG(BB_LOG_INFO, "n", "line %d.", i);
	log_sink_end();
	BB_LOG(BB_LOG_INFO, "n", "line 100."); /* and without the queue */
}

static void test_queue(void **state)
{
	char word[32];

	log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
	heard(say_queued);
	const char *at = text;
	for (int i = 0; i <= 100; i++) {
		snprintf(word, sizeof(word), "n: line %d.\n", i);
		at = strstr(at, word);
		assert_non_null(at);
	}
	assert_int_equal(log_sink_dropped(), 0);
}

struct drain {
	struct thread thread;
	char *got;
	size_t len;
};

static void drain(void *arg)
{
	struct drain *d = arg;
	ssize_t n;

	while ((n = read(stalled[0], d->got + d->len, (4u << 20) - d->len)) > 0)
		d->len += (size_t)n;
	d->got[d->len] = '\0';
}

/* Who logs does not wait; what did not fit is counted, and said when there is a reader again. */
static void test_nobody_reads(void **state)
{
	struct drain d = { .thread = { .name = "drain", .run = drain, .arg = &d } };
	const int lines = 30000;
	char word[64];

	log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
	stall();
	assert_int_equal(log_sink_queue(), 0);
	const uint64_t from_ns = clock_now_ns();
	for (int i = 0; i < lines; i++)
		BB_LOG(BB_LOG_INFO, "n", "line %d of many that are about as long as lines are", i);
	const uint64_t took_ns = clock_now_ns() - from_ns;
	const uint64_t dropped = log_sink_dropped();
	d.got = malloc((4u << 20) + 1);
	const int rc = thread_start(&d.thread);
	log_sink_end();
	dup2(old_stderr, STDERR_FILENO); /* the last writer: the reader sees the end */
	thread_join(&d.thread);
	unstall();
	assert_int_equal(rc, 0);
	assert_true(took_ns < 5 * OS_SECOND);
	assert_true(dropped > 1000);
	snprintf(word, sizeof(word), "%llu log lines were dropped", (unsigned long long)dropped);
	assert_non_null(strstr(d.got, word));
	int whole = 0;
	for (char *at = d.got; *at; at = strchr(at, '\n') + 1)
		whole += strstr(at, " lines are") != NULL && at[2] == ':';
	assert_int_equal(whole, lines - (int)dropped);
	free(d.got);
}

/* A process of its own, for it leaves a thread behind. */
static void end_unheard(void)
{
	log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
	if (log_sink_queue())
		_exit(1);
	for (int i = 0; i < 5000; i++)
		BB_LOG(BB_LOG_INFO, "n", "line %d of many that are about as long as lines are", i);
	const uint64_t from_ns = clock_now_ns();
	log_sink_end();
	BB_LOG(BB_LOG_ERROR, "n", "nobody hears this");
	const uint64_t took_ns = clock_now_ns() - from_ns;
	_exit(took_ns > OS_SECOND / 2 && took_ns < 5 * OS_SECOND ? 0 : 2);
}

/* The end does not wait for ever; afterwards nothing is written that would wait again. */
static void test_nobody_reads_to_the_end(void **state)
{
	int status;

	stall();
	const pid_t pid = fork();
	if (pid == 0)
		end_unheard();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	unstall();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* An assertion that fails brings the lines before it out, and ends although nobody reads. */
static void test_assertion(void **state)
{
	for (int is_read = 0; is_read <= 1; is_read++) {
		int ends[2], status;
		char got[4096];
		assert_int_equal(pipe(ends), 0);
		const pid_t pid = fork();
		if (pid == 0) {
			const struct rlimit none = { 0, 0 };
			setrlimit(RLIMIT_CORE, &none);
			signal(SIGABRT, SIG_DFL);
			dup2(ends[1], STDERR_FILENO);
			close(ends[0]);
			close(ends[1]);
			log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
			if (log_sink_queue())
				_exit(1);
			for (int i = 0; i < (is_read ? 10 : 5000); i++)
				BB_LOG(BB_LOG_INFO, "n", "line %d before the end of it all", i);
			BB_ASSERT(is_read > 1);
		}
		close(ends[1]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		if (is_read) {
			const ssize_t n = read(ends[0], got, sizeof(got) - 1);
			assert_true(n > 0);
			got[n] = '\0';
			const char *last = strstr(got, "line 9 before");
			assert_non_null(last);
			assert_non_null(strstr(last, "assertion failed"));
		}
		close(ends[0]);
	}
}

static void test_queue_without_memory(void **state)
{
	uint64_t nth = 1;
	int rc;

	log_sink_start(BB_LOG_INFO, LOG_FORMAT_TEXT);
	for (;; nth++) {
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = log_sink_queue();
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (!rc)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
		assert_int_equal(log_sink_dropped(), 0);
	}
	assert_true(nth > 3);
	log_sink_end();
	log_sink_end(); /* once is enough */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),		  cmocka_unit_test(test_text),
		cmocka_unit_test(test_auto),		  cmocka_unit_test(test_long_lines_are_cut),
		cmocka_unit_test(test_without_memory),	  cmocka_unit_test(test_closed_stderr),
		cmocka_unit_test(test_queue),		  cmocka_unit_test(test_nobody_reads),
		cmocka_unit_test(test_nobody_reads_to_the_end), cmocka_unit_test(test_assertion),
		cmocka_unit_test(test_queue_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
