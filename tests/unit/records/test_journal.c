/*
 * Goal: what is put into a journal stands in its files, in order and once; files follow one another
 * at checkpoints and the oldest go; what cannot be kept is counted, and a new beginning asked for.
 */
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "brain/event.h"
#include "os/clock.h"
#include "os/folder.h"
#include "os/process.h"
#include "records/journal.h"
#include "records/journal_files.h"
#include "records/journal_form.h"

static char folder[64];
static struct journal *journal;
static pthread_mutex_t brain_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t checkpoints, checkpoint_steps;

static bool put_kind(uint8_t kind, uint32_t number, uint32_t size)
{
	char event[4096] = { (char)kind };

	memcpy(event + 1, &number, sizeof(number));
	memset(event + 5, 'x', size - 5);
	return journal_put(journal, (struct bb_str){ event, size });
}

static enum journal_more checkpoint(void *user, uint64_t index_bytes_max)
{
	enum journal_more more = JOURNAL_MORE;

	pthread_mutex_lock(&brain_lock);
	if (checkpoint_steps++ % 3 == 0)
		put_kind(EVENT_CHECKPOINT | EVENT_ABSOLUTE, 0, 8);
	if (checkpoint_steps % 3 == 0) {
		__atomic_add_fetch(&checkpoints, 1, __ATOMIC_RELAXED);
		more = JOURNAL_DONE;
	}
	pthread_mutex_unlock(&brain_lock);
	return more;
}

static int folder_open(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/busbar-journal-XXXXXX");
	checkpoints = checkpoint_steps = 0;
	return mkdtemp(folder) ? 0 : -1;
}

static int folder_close(void **state)
{
	journal_files_trim(folder, 0);
	journal = NULL;
	return rmdir(folder);
}

static int create(uint64_t file_size, uint32_t file_count)
{
	const struct journal_config c = { .folder = folder,
					  .file_size = file_size,
					  .file_count = file_count,
					  .version = "1",
					  .commit = "c",
					  .variant = "v",
					  .checkpoint = checkpoint };

	return journal_create(&c, &journal);
}

static void end(void)
{
	journal_destroy(journal);
	journal = NULL;
}

struct seen {
	uint32_t files, events, next, holes;
	bool all_begin_well; /* but the first, with a checkpoint */
};

static void read_one(const char *path, struct seen *s)
{
	struct journal_reader r;
	struct bb_str event;
	enum journal_step step;
	char *bytes;
	size_t len;
	bool is_first = true;

	assert_int_equal(file_read(path, 64u << 20, &bytes, &len), 0);
	assert_int_equal(journal_open(&r, (struct bb_str){ bytes, len }), 0);
	assert_str(r.head.build, "1");
	assert_str(r.head.variant, "v");
	while ((step = journal_read(&r, &event)) == JOURNAL_EVENT) {
		const bool is_beginning =
			(uint8_t)event.p[0] == (EVENT_CHECKPOINT | EVENT_ABSOLUTE);
		uint32_t number;
		memcpy(&number, event.p + 1, sizeof(number));
		if (is_first && s->files && !is_beginning)
			s->all_begin_well = false;
		is_first = false;
		if (is_beginning)
			continue;
		s->holes += number != s->next;
		s->next = number + 1;
		s->events++;
	}
	assert_int_equal(step, JOURNAL_END);
	s->files++;
	bb_free(bytes);
}

static struct seen read_all(void)
{
	struct seen s = { .all_begin_well = true };
	struct journal_files f;
	char path[JOURNAL_PATH_MAX];

	assert_int_equal(journal_files_list(folder, &f), 0);
	for (uint32_t i = 0; i < f.count; i++) {
		assert_int_equal(journal_file_path(folder, f.names[i], path), 0);
		read_one(path, &s);
	}
	journal_files_free(&f);
	return s;
}

static void put_many(uint32_t from, uint32_t count, uint32_t size)
{
	for (uint32_t i = from; i < from + count; i++) {
		pthread_mutex_lock(&brain_lock);
		assert_true(put_kind(EVENT_TICK, i, size));
		pthread_mutex_unlock(&brain_lock);
	}
}

static bool wait_for_files(uint64_t count)
{
	struct journal_stats s;

	for (int i = 0; i < 10000; i++) {
		journal_stats(journal, &s);
		if (s.files >= count)
			return true;
		clock_sleep_ns(OS_MS);
	}
	return false;
}

static void everything_in_order(void **state)
{
	assert_int_equal(create(1u << 20, 8), 0);
	put_many(0, 10, 100); /* before there is a thread */
	assert_int_equal(journal_start(journal), 0);
	put_many(10, 5000, 37);
	end();
	const struct seen s = read_all();
	assert_int_equal(s.files, 1);
	assert_int_equal(s.events, 5010);
	assert_int_equal(s.holes, 0);
}

static void files_follow_and_go(void **state)
{
	assert_int_equal(create(JOURNAL_SIZE_MIN, 4), 0);
	assert_int_equal(journal_start(journal), 0);
	for (uint32_t i = 0; i < 8; i++) {
		put_many(i * 200, 200, 400);
		assert_true(wait_for_files(i + 2));
	}
	end();
	const struct seen s = read_all();
	assert_int_equal(s.files, 4);
	assert_true(s.all_begin_well);
	assert_int_equal(s.holes, 1); /* the first that is left is not the first that was put */
	assert_int_equal(checkpoints, 8);
}

/* No room: false, and counted; then a checkpoint is made in the same file. */
static void more_than_there_is_room(void **state)
{
	struct journal_stats stats;
	uint32_t n = 0;

	assert_int_equal(create(64u << 20, 4), 0);
	while (put_kind(EVENT_TICK, n, 4000))
		n++;
	assert_true(n > 5000);
	journal_stats(journal, &stats);
	assert_int_equal(stats.events_lost, 1);
	assert_int_equal(journal_start(journal), 0);
	for (int i = 0; i < 10000 && __atomic_load_n(&checkpoints, __ATOMIC_RELAXED) == 0; i++)
		clock_sleep_ns(OS_MS);
	end();
	assert_true(checkpoints > 0);
	const struct seen s = read_all();
	assert_int_equal(s.files, 1);
	assert_int_equal(s.events, n);
}

/* A disk that takes no more: the file is left, and another begun with a checkpoint. */
static void a_disk_that_is_full(void **state)
{
	const struct rlimit small = { 150000, RLIM_INFINITY };
	struct rlimit before;
	struct journal_stats stats;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(create(1u << 20, 4), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(journal_start(journal), 0);
	put_many(0, 100, 4000);
	for (int i = 0; i < 5000; i++) {
		put_many(100 + (uint32_t)i, 1, 50);
		clock_sleep_ns(OS_MS);
		journal_stats(journal, &stats);
		if (stats.write_errors && stats.files > 1)
			break;
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(stats.write_errors > 0);
	assert_true(stats.files > 1);
	end();
}

static void without_memory(void **state)
{
	for (uint64_t nth = 1;; nth++) {
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = create(1u << 20, 4);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (rc == 0)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
	}
	end();
}

static void a_folder_that_is_none(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file", folder);
	const int fd = file_create(path);
	assert_true(fd >= 0);
	file_close(fd);
	assert_int_equal(file_create(path), -BB_EEXIST);
	const struct journal_config c = { .folder = path,
					  .file_size = 1u << 20,
					  .file_count = 4,
					  .version = "",
					  .commit = "",
					  .variant = "" };
	assert_int_equal(journal_create(&c, &journal), -BB_ESYSTEM);
	assert_int_equal(file_remove(path), 0);
}

/* Each byte of a file changed, and each length: what is read is what was written, or refused. */
static void spoiled_files(void **state)
{
	const struct journal_head head = { .version = JOURNAL_VERSION,
					   .process = 7,
					   .file = 1,
					   .build = BB_STR("b"),
					   .commit = BB_STR("c"),
					   .variant = BB_STR("v") };
	struct bb_buf file, events;
	uint8_t frame[16];
	struct journal_reader r;
	struct bb_str event;

	bb_buf_init(&file, 1u << 20);
	bb_buf_init(&events, 1u << 20);
	assert_int_equal(journal_write_head(&file, &head), 0);
	const size_t head_len = file.len;
	for (uint32_t n = 0; n < 2; n++) {
		char text[300];
		memset(text, 'a' + (int)n, sizeof(text));
		bb_buf_clear(&events);
		assert_int_equal(journal_add_event(&events, (struct bb_str){ text, 1 }), 0);
		assert_int_equal(journal_add_event(&events, (struct bb_str){ text, 300 }), 0);
		journal_frame_head(frame, n + 1, bb_buf_str(&events));
		bb_buf_add(&file, frame, sizeof(frame));
		bb_buf_add_str(&file, bb_buf_str(&events));
	}
	for (size_t cut = 0; cut <= file.len; cut++) {
		const int rc = journal_open(&r, (struct bb_str){ file.p, cut });
		assert_int_equal(rc, cut < head_len ? -BB_ESYNTAX : 0);
		enum journal_step step = JOURNAL_END;
		while (!rc && (step = journal_read(&r, &event)) == JOURNAL_EVENT)
			;
		if (!rc)
			assert_true(step == JOURNAL_CUT_OFF || step == JOURNAL_END);
	}
	for (size_t i = 0; i < file.len; i++) {
		file.p[i] ^= 4;
		enum journal_step step = JOURNAL_BAD;
		if (journal_open(&r, bb_buf_str(&file)) == 0)
			while ((step = journal_read(&r, &event)) == JOURNAL_EVENT)
				;
		assert_true(step == JOURNAL_BAD || step == JOURNAL_CUT_OFF);
		assert_true(step == JOURNAL_CUT_OFF || r.why != NULL);
		file.p[i] ^= 4;
	}
	bb_buf_fini(&file);
	bb_buf_fini(&events);
}

#define T(f) cmocka_unit_test_setup_teardown(f, folder_open, folder_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(everything_in_order), T(files_follow_and_go), T(more_than_there_is_room),
		T(a_disk_that_is_full), T(without_memory),	T(a_folder_that_is_none),
		T(spoiled_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
