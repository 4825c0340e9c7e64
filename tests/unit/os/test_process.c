/* Goal: threads, signals, limits, entropy and files do what net, gateway and cmd rely on. */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "os/clock.h"
#include "os/process.h"

struct thread_report {
	char name[16];
	bool has_signals_blocked;
};

static void report(void *arg)
{
	struct thread_report *r = arg;
	sigset_t set;

	prctl(PR_GET_NAME, r->name);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	r->has_signals_blocked = sigismember(&set, SIGTERM) && sigismember(&set, SIGINT);
}

static void threads_have_names_and_no_signals(void **state)
{
	struct thread_report r = { 0 };
	struct thread t = { .name = "gateway-3", .run = report, .arg = &r };

	assert_int_equal(thread_start(&t), 0);
	thread_join(&t);
	assert_string_equal(r.name, "gateway-3");
	assert_true(r.has_signals_blocked);
	t.name = "a-name-of-more-than-fifteen-bytes";
	assert_int_equal(thread_start(&t), 0);
	thread_join(&t);
	assert_string_equal(r.name, "a-name-of-more-");
}

static int last_signal, signals;

static void on_signal(struct signal_watch *w, int number)
{
	last_signal = number;
	signals++;
}

static void signals_are_events_of_the_loop(void **state)
{
	struct loop *loop;
	struct signal_watch w;
	sigset_t old;

	pthread_sigmask(SIG_SETMASK, NULL, &old);
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(signal_watch_init(loop, &w, (const int[]){ SIGHUP, SIGUSR1 }, 2, on_signal), 0);
	kill(getpid(), SIGUSR1);
	for (int i = 0; i < 100 && !signals; i++)
		loop_turn(loop, 100 * OS_MS);
	assert_int_equal(signals, 1);
	assert_int_equal(last_signal, SIGUSR1);
	kill(getpid(), SIGHUP);
	for (int i = 0; i < 100 && signals < 2; i++)
		loop_turn(loop, 100 * OS_MS);
	assert_int_equal(last_signal, SIGHUP);
	signal_watch_fini(&w);
	loop_destroy(loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void figures_of_the_process(void **state)
{
	assert_in_range(process_core_count(), 1, 4096);
	assert_true(process_raise_fd_limit() >= 256);
	const uint64_t open = process_fd_count();
	const int fd = dup(1);
	assert_int_equal(process_fd_count(), open + 1);
	close(fd);
	assert_true(process_rss_bytes() > 100 * 1024);
	assert_true(process_cpu_ns() > 0);
	assert_int_equal(process_id(), getpid());
}

static void entropy_differs(void **state)
{
	unsigned char a[1000] = { 0 }, b[1000] = { 0 };
	unsigned zeros = 0;

	entropy_fill(a, sizeof(a));
	entropy_fill(b, sizeof(b));
	entropy_fill(a, 0);
	assert_memory_not_equal(a, b, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		zeros += a[i] == 0;
	assert_true(zeros < 40);
}

static char path[64];

static int make_file(void **state)
{
	snprintf(path, sizeof(path), "/tmp/busbar-file-XXXXXX");
	const int fd = mkstemp(path);

	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int remove_file(void **state)
{
	return unlink(path);
}

static void files_are_read_whole_and_within_bounds(void **state)
{
	static char block[50000];
	char *text = NULL;
	size_t len = 99;

	assert_int_equal(file_read(path, 10, &text, &len), 0);
	assert_int_equal(len, 0);
	assert_string_equal(text, "");
	BB_FREE(text);
	memset(block, 'x', sizeof(block));
	const int fd = file_open_append(path);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, block, sizeof(block)), 0);
	assert_int_equal(fd_write_all(fd, "!", 1), 0);
	assert_int_equal(fd_write_all(fd, "", 0), 0);
	file_close(fd);
	assert_int_equal(file_read(path, sizeof(block), &text, &len), -BB_ELIMIT);
	assert_null(text);
	assert_int_equal(file_read(path, sizeof(block) + 1, &text, &len), 0);
	assert_int_equal(len, sizeof(block) + 1);
	assert_int_equal(text[len - 1], '!');
	assert_int_equal(text[len], '\0');
	BB_FREE(text);
	for (size_t max = 16383; max < sizeof(block) + 3; max += 11207) {
		assert_int_equal(file_read_head(path, max, &text, &len), 0);
		assert_int_equal(len, max < sizeof(block) + 1 ? max : sizeof(block) + 1);
		assert_int_equal(text[len], '\0');
		BB_FREE(text);
	}
}

static void files_that_cannot_be_read(void **state)
{
	char *text = NULL;
	size_t len = 0;

	assert_int_equal(file_read_head("/no/such/file", 10, &text, &len), -BB_ESYSTEM);
	assert_int_equal(file_read("/no/such/file", 10, &text, &len), -BB_ESYSTEM);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(file_read("/tmp", 10, &text, &len), -BB_ESYSTEM);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(file_open_append("/no/such/file"), -BB_ESYSTEM);
	assert_int_equal(fd_write_all(-1, "x", 1), -BB_ESYSTEM);
	const int fds = (int)process_fd_count();
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_int_equal(file_read(path, 10, &text, &len), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(process_fd_count(), fds); /* nothing stays open */
	assert_null(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_have_names_and_no_signals),
		cmocka_unit_test(signals_are_events_of_the_loop),
		cmocka_unit_test(figures_of_the_process),
		cmocka_unit_test(entropy_differs),
		cmocka_unit_test_setup_teardown(files_are_read_whole_and_within_bounds, make_file,
						remove_file),
		cmocka_unit_test_setup_teardown(files_that_cannot_be_read, make_file, remove_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
