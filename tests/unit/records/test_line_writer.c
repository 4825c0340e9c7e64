/*
 * Goal: every line that is put into a lane stands in the file once, whole and in its lane's order,
 * also around the ring's end and across a rotation; what does not fit is dropped as a whole line and
 * counted; and a producer never waits for the disk.
 */
#include "unit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "os/clock.h"
#include "os/process.h"
#include "records/line_writer.h"

static char folder[64];
static char path[128];

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/busbar-access-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/access.log", folder);
	return 0;
}

static int tear_down(void **state)
{
	char old[160];

	snprintf(old, sizeof(old), "%s.old", path);
	unlink(path);
	unlink(old);
	assert_int_equal(rmdir(folder), 0);
	return 0;
}

static void put(struct line_lane *lane, const char *text)
{
	line_lane_put(lane, bb_str_of(text));
}

/* The whole file; empty when there is none yet. */
static char *contents(const char *name)
{
	char *text = NULL;
	size_t len;

	if (file_read(name, 64u << 20, &text, &len)) {
		text = bb_strndup("", 0);
		assert_non_null(text);
	}
	return text;
}

static void wait_for(const char *name, const char *text)
{
	const uint64_t stop_ns = clock_now_ns() + 10 * OS_SECOND;

	for (;;) {
		char *got = contents(name);
		const bool there = strstr(got, text) != NULL;
		bb_free(got);
		if (there)
			return;
		if (clock_now_ns() > stop_ns)
			fail_msg("\"%s\" did not come into %s", text, name);
		usleep(500);
	}
}

static void test_lines_are_written(void **state)
{
	struct line_writer *log;

	assert_int_equal(line_writer_create(path, LINE_RECORDS, &log), 0);
	struct line_lane *lane = line_lane_create(log);
	assert_non_null(lane);
	put(lane, "one\n");
	wait_for(path, "one\n"); /* without a push from us */
	put(lane, "two\n");
	put(lane, "three\n");
	wait_for(path, "three\n");
	put(lane, "last\n"); /* what is there at the end is written too */
	assert_true(line_writer_destroy(log, 10 * OS_SECOND));
	char *got = contents(path);
	assert_string_equal(got, "one\ntwo\nthree\nlast\n");
	bb_free(got);
}

static void test_appends(void **state)
{
	struct line_writer *log;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(line_writer_create(path, LINE_RECORDS, &log), 0);
		struct line_lane *lane = line_lane_create(log);
		put(lane, i ? "second run\n" : "first run\n");
		assert_true(line_writer_destroy(log, 10 * OS_SECOND));
	}
	char *got = contents(path);
	assert_string_equal(got, "first run\nsecond run\n");
	bb_free(got);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07, 0); /* nothing for others */
}

/* Lines of all lengths over the end of the ring, many times round. */
static void test_around_the_ring(void **state)
{
	struct line_writer *log;
	char line[5001];
	const unsigned lines = 3000; /* of 2.5 KB on average: seven times round */
	unsigned put_count = 0;

	assert_int_equal(line_writer_create(path, LINE_RECORDS, &log), 0);
	struct line_lane *lane = line_lane_create(log);
	for (unsigned i = 0; i < lines; i++) {
		const size_t len = 20 + i * 7919 % 4980;
		memset(line, 'a' + (int)(i % 26), len);
		const int n = snprintf(line, sizeof(line), "%u:%zu:", i, len);
		line[n] = 'x';
		line[len - 1] = '\n';
		line[len] = '\0';
		const uint64_t dropped = line_writer_dropped(log);
		put(lane, line);
		if (line_writer_dropped(log) == dropped)
			put_count++;
		else
			i--; /* the writer is behind: the same once more */
	}
	assert_int_equal(put_count, lines);
	assert_true(line_writer_destroy(log, 10 * OS_SECOND));
	char *got = contents(path), *at = got;
	for (unsigned i = 0; i < lines; i++) {
		unsigned number;
		size_t len;
		assert_int_equal(sscanf(at, "%u:%zu:", &number, &len), 2);
		assert_int_equal(number, i);
		assert_int_equal(len, 20 + i * 7919 % 4980);
		assert_ptr_equal(strchr(at, '\n'), at + len - 1);
		assert_int_equal(at[len - 2], len > 40 ? 'a' + (int)(i % 26) : at[len - 2]);
		at += len;
	}
	assert_int_equal(*at, '\0');
	bb_free(got);
}

struct producer {
	struct thread thread;
	struct line_lane *lane;
	unsigned number;
	unsigned lines;
};

static void produce(void *arg)
{
	struct producer *p = arg;
	char line[64];

	for (unsigned i = 0; i < p->lines; i++) {
		const int n = snprintf(line, sizeof(line), "%u %u\n", p->number, i);
		line_lane_put(p->lane, (struct bb_str){ line, (size_t)n });
	}
}

static void test_many_producers(void **state)
{
	struct line_writer *log;
	struct producer producers[4];
	unsigned next[4] = { 0 };

	assert_int_equal(line_writer_create(path, LINE_RECORDS, &log), 0);
	for (unsigned i = 0; i < 4; i++) {
		producers[i] = (struct producer){ .number = i, .lines = 20000,
						  .lane = line_lane_create(log) };
		producers[i].thread = (struct thread){ .name = "producer", .run = produce,
						       .arg = &producers[i] };
		assert_non_null(producers[i].lane);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(thread_start(&producers[i].thread), 0);
	for (unsigned i = 0; i < 4; i++)
		thread_join(&producers[i].thread);
	const uint64_t dropped = line_writer_dropped(log);
	assert_true(line_writer_destroy(log, 10 * OS_SECOND));
	char *got = contents(path);
	unsigned lines = 0;
	for (char *at = got; *at; at = strchr(at, '\n') + 1) {
		unsigned number, i;
		assert_int_equal(sscanf(at, "%u %u\n", &number, &i), 2);
		assert_true(number < 4 && i >= next[number]); /* in order; a gap is a dropped line */
		next[number] = i + 1;
		lines++;
	}
	assert_int_equal(lines + dropped, 4 * 20000);
	bb_free(got);
}

struct drain {
	struct thread thread;
	int fd;
	size_t total;
};

static void drain(void *arg)
{
	struct drain *d = arg;
	static char room[65536];
	ssize_t n;

	while ((n = read(d->fd, room, sizeof(room))) > 0)
		d->total += (size_t)n;
}

/* A pipe that nobody reads stands for a disk that does not answer. */
static void test_slow_disk_costs_lines(void **state)
{
	struct line_writer *log;
	struct drain d = { .thread = { .name = "drain", .run = drain, .arg = &d } };
	char line[4096];
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	const int out = dup(STDOUT_FILENO);
	assert_true(dup2(ends[1], STDOUT_FILENO) >= 0);
	close(ends[1]);
	int rc = line_writer_create("-", LINE_RECORDS, &log);
	struct line_lane *lane = rc ? NULL : line_lane_create(log);
	memset(line, 'l', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	const uint64_t from_ns = clock_now_ns();
	for (int i = 0; lane && i < 2000; i++)
		line_lane_put(lane, (struct bb_str){ line, sizeof(line) });
	const bool waited = clock_now_ns() - from_ns > 2 * OS_SECOND;
	const uint64_t dropped = lane ? line_writer_dropped(log) : 0;
	/* The disk is back: what was kept is written, and the writer can end. */
	d.fd = ends[0];
	rc = rc ? rc : thread_start(&d.thread);
	if (!rc)
		assert_true(line_writer_destroy(log, 10 * OS_SECOND));
	dup2(out, STDOUT_FILENO);
	close(out);
	assert_int_equal(rc, 0);
	thread_join(&d.thread);
	close(ends[0]);
	assert_false(waited);
	assert_true(dropped > 1000);
	assert_int_equal(d.total, (2000 - dropped) * sizeof(line));
}

static void test_a_line_larger_than_a_lane(void **state)
{
	struct line_writer *log;
	char *line = malloc(LINE_LANE_SIZE + 2);

	assert_non_null(line);
	memset(line, 'z', LINE_LANE_SIZE + 2);
	assert_int_equal(line_writer_create(path, LINE_RECORDS, &log), 0);
	struct line_lane *lane = line_lane_create(log);
	line_lane_put(lane, (struct bb_str){ line, LINE_LANE_SIZE + 1 });
	assert_int_equal(line_writer_dropped(log), 1);
	put(lane, "small\n");
	assert_true(line_writer_destroy(log, 10 * OS_SECOND));
	char *got = contents(path);
	assert_string_equal(got, "small\n");
	bb_free(got);
	free(line);
}

static void test_rotation(void **state)
{
	struct line_writer *log;
	char old[160];

	snprintf(old, sizeof(old), "%s.old", path);
	assert_int_equal(line_writer_create(path, LINE_RECORDS, &log), 0);
	struct line_lane *lane = line_lane_create(log);
	put(lane, "before\n");
	wait_for(path, "before\n");
	/* Often, for the moment in which the writer falls asleep is short. */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(rename(path, old), 0);
		line_writer_reopen(log);
		const uint64_t stop_ns = clock_now_ns() + 10 * OS_SECOND;
		while (access(path, F_OK) != 0) {
			assert_true(clock_now_ns() < stop_ns); /* also when no line comes */
			usleep(200);
		}
	}
	put(lane, "after\n");
	wait_for(path, "after\n");
	/* Where the new file cannot be opened the old one goes on. */
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	line_writer_reopen(log);
	put(lane, "still\n");
	wait_for(old, "after\nstill\n");
	assert_int_equal(rmdir(path), 0);
	assert_true(line_writer_written(log) > 0);
	assert_true(line_writer_destroy(log, 10 * OS_SECOND));
}

static void test_what_cannot_be_opened(void **state)
{
	struct line_writer *log = NULL;

	assert_int_equal(line_writer_create("/nowhere/access.log", LINE_RECORDS, &log), -BB_ESYSTEM);
	assert_null(log);
	assert_true(line_writer_destroy(NULL, 10 * OS_SECOND));
}

static void test_lanes_are_counted(void **state)
{
	struct line_writer *log;

	assert_int_equal(line_writer_create(path, LINE_RECORDS, &log), 0);
	for (int i = 0; i < LINE_LANES_MAX; i++)
		assert_non_null(line_lane_create(log));
	assert_null(line_lane_create(log));
	assert_true(line_writer_destroy(log, 10 * OS_SECOND));
}

static void test_without_memory(void **state)
{
	struct line_writer *log = NULL;
	const uint64_t fds = process_fd_count();
	uint64_t nth = 1;

	for (;; nth++) {
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = line_writer_create(path, LINE_RECORDS, &log);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (!rc)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
		assert_null(log);
		assert_int_equal(process_fd_count(), fds);
	}
	assert_true(nth > 3);
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_null(line_lane_create(log));
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_true(line_writer_destroy(log, 10 * OS_SECOND));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines_are_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_appends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_around_the_ring, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_producers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_slow_disk_costs_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_line_larger_than_a_lane, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rotation, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_opened, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lanes_are_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
