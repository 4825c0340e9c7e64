#include "records/line_writer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/loop.h"
#include "os/process.h"

/* How long the writer waits to gather records: a crash of the machine loses no more than these. */
#define GATHER_NS (20 * OS_MS)
#define LOOK_NS OS_MS /* between two looks at a thread that is being waited for */
#define STDOUT_FD 1
#define STDERR_FD 2

struct line_lane {
	struct line_writer *writer;
	uint64_t head; /* atomic; bytes ever put */
	uint64_t dropped; /* atomic; lines */
	char apart[64]; /* the two ends are written by two threads */
	uint64_t tail;  /* atomic; bytes ever taken */
	char ring[LINE_LANE_SIZE];
};

struct line_writer {
	enum line_kind kind;
	char *path; /* NULL: standard output or error */
	int fd;
	struct loop *loop;
	struct thread thread;
	struct loop_timer gather;
	struct loop_message wake;
	bool awake; /* atomic; the writer will look at the lanes by itself */
	bool reopen; /* atomic */
	bool has_ended; /* atomic */
	uint64_t written; /* atomic; lines are not counted, bytes are */
	uint64_t dropped_told;
	uint32_t lane_count;
	struct line_lane *lanes[LINE_LANES_MAX];
};

static void wake_writer(struct line_writer *w)
{
	if (!__atomic_exchange_n(&w->awake, true, __ATOMIC_ACQ_REL))
		loop_post(w->loop, &w->wake);
}

static void write_out(struct line_writer *w, const char *p, size_t len)
{
	if (fd_write_all(w->fd, p, len) == 0)
		__atomic_store_n(&w->written, w->written + len, __ATOMIC_RELAXED);
	else if (w->kind == LINE_RECORDS)
		(void)BB_CHECK(false, "access records cannot be written");
}

/* True when there was something. */
static bool lane_drain(struct line_writer *w, struct line_lane *lane)
{
	const uint64_t head = __atomic_load_n(&lane->head, __ATOMIC_ACQUIRE);
	uint64_t tail = lane->tail;
	const bool any = tail < head;

	while (tail < head) {
		const size_t at = tail % LINE_LANE_SIZE;
		size_t n = (size_t)(head - tail);
		if (n > LINE_LANE_SIZE - at)
			n = LINE_LANE_SIZE - at;
		write_out(w, lane->ring + at, n);
		tail += n;
	}
	__atomic_store_n(&lane->tail, tail, __ATOMIC_RELEASE);
	return any;
}

static void open_anew(struct line_writer *w)
{
	const int fd = file_open_append(w->path);

	if (fd < 0) {
		BB_LOG(BB_LOG_ERROR, "access_log", "%s cannot be opened anew; going on with the old file",
		       w->path);
		return;
	}
	file_close(w->fd);
	w->fd = fd;
}

/* The lanes have room again. */
static void tell_dropped(struct line_writer *w)
{
	const uint64_t dropped = line_writer_dropped(w);
	const unsigned long long lines = dropped - w->dropped_told;

	if (!lines)
		return;
	w->dropped_told = dropped;
	if (w->kind == LINE_LOG)
		BB_LOG(BB_LOG_WARN, "log", "%llu log lines were dropped: standard error was not read", lines);
	else
		BB_LOG(BB_LOG_WARN, "access_log", "%llu access records were dropped: %s takes them too slowly",
		       lines, w->path ? w->path : "standard output");
}

static bool drain_all(struct line_writer *w)
{
	bool any = false;

	if (__atomic_exchange_n(&w->reopen, false, __ATOMIC_ACQ_REL) && w->path)
		open_anew(w);
	for (uint32_t i = 0; i < w->lane_count; i++)
		any |= lane_drain(w, w->lanes[i]);
	tell_dropped(w);
	return any;
}

static bool is_empty(const struct line_writer *w)
{
	for (uint32_t i = 0; i < w->lane_count; i++)
		if (__atomic_load_n(&w->lanes[i]->head, __ATOMIC_SEQ_CST) !=
		    __atomic_load_n(&w->lanes[i]->tail, __ATOMIC_SEQ_CST))
			return false;
	return true;
}

static void on_gather(struct loop_timer *t)
{
	struct line_writer *w = BB_CONTAINER(t, struct line_writer, gather);

	if (drain_all(w) && w->kind == LINE_RECORDS) {
		loop_timer_arm(&w->gather, loop_now_ns(w->loop) + GATHER_NS);
		return;
	}
	/* Quiet: sleep until someone wakes us; look once more for who came in between. */
	__atomic_store_n(&w->awake, false, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&w->reopen, __ATOMIC_SEQ_CST) || !is_empty(w))
		wake_writer(w);
}

static void on_wake(struct loop_message *m)
{
	struct line_writer *w = BB_CONTAINER(m, struct line_writer, wake);

	if (w->kind == LINE_LOG)
		on_gather(&w->gather);
	else
		loop_timer_arm(&w->gather, loop_now_ns(w->loop) + GATHER_NS);
}

static void writer_run(void *arg)
{
	struct line_writer *w = arg;

	loop_run(w->loop);
	while (drain_all(w))
		;
	__atomic_store_n(&w->has_ended, true, __ATOMIC_RELEASE);
}

static int file_get(struct line_writer *w, const char *path)
{
	if (strcmp(path, "-") == 0 || strcmp(path, LINE_STDERR) == 0) {
		w->fd = path[0] == '-' ? STDOUT_FD : STDERR_FD;
		return 0;
	}
	w->path = bb_strndup(path, strlen(path));
	if (!w->path)
		return -BB_ENOMEM;
	w->fd = file_open_append(path);
	return w->fd < 0 ? -BB_ESYSTEM : 0;
}

int line_writer_create(const char *path, enum line_kind kind, struct line_writer **out)
{
	struct line_writer *w = bb_alloc_zero(1, sizeof(*w));

	if (!w)
		return -BB_ENOMEM;
	w->kind = kind;
	int rc = file_get(w, path);
	if (rc)
		goto fail_path;
	rc = loop_create(&w->loop);
	if (rc)
		goto fail_close;
	rc = loop_timer_init(w->loop, &w->gather, on_gather);
	if (rc)
		goto fail_loop;
	w->wake.run = on_wake;
	w->thread = (struct thread){ .name = kind == LINE_LOG ? "busbar-log" : "busbar-writer",
				     .run = writer_run,
				     .arg = w };
	rc = thread_start(&w->thread);
	if (rc)
		goto fail_loop;
	*out = w;
	return 0;

fail_loop:
	loop_destroy(w->loop);
fail_close:
	if (w->path)
		file_close(w->fd);
fail_path:
	bb_free(w->path);
	bb_free(w);
	return rc;
}

static bool has_ended(const struct line_writer *w)
{
	return __atomic_load_n(&w->has_ended, __ATOMIC_ACQUIRE);
}

static bool wait_for(const struct line_writer *w, bool (*condition)(const struct line_writer *w),
		     uint64_t patience_ns)
{
	const uint64_t until_ns = clock_now_ns() + patience_ns;

	while (!condition(w)) {
		if (clock_now_ns() >= until_ns)
			return false;
		clock_sleep_ns(LOOK_NS);
	}
	return true;
}

bool line_writer_flush(struct line_writer *w, uint64_t patience_ns)
{
	wake_writer(w);
	return wait_for(w, is_empty, patience_ns);
}

bool line_writer_destroy(struct line_writer *w, uint64_t patience_ns)
{
	if (!w)
		return true;
	loop_stop(w->loop);
	if (!wait_for(w, has_ended, patience_ns))
		return false;
	thread_join(&w->thread);
	for (uint32_t i = 0; i < w->lane_count; i++)
		bb_free(w->lanes[i]);
	loop_destroy(w->loop);
	if (w->path)
		file_close(w->fd);
	bb_free(w->path);
	bb_free(w);
	return true;
}

void line_writer_reopen(struct line_writer *w)
{
	__atomic_store_n(&w->reopen, true, __ATOMIC_RELEASE);
	wake_writer(w);
}

struct line_lane *line_lane_create(struct line_writer *w)
{
	if (w->lane_count == LINE_LANES_MAX)
		return NULL;
	struct line_lane *lane = bb_alloc_zero(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->writer = w;
	w->lanes[w->lane_count++] = lane;
	return lane;
}

void line_lane_put(struct line_lane *lane, struct bb_str line)
{
	const uint64_t tail = __atomic_load_n(&lane->tail, __ATOMIC_ACQUIRE);
	const size_t at = lane->head % LINE_LANE_SIZE;

	if (line.len > LINE_LANE_SIZE - (size_t)(lane->head - tail)) {
		__atomic_store_n(&lane->dropped, lane->dropped + 1, __ATOMIC_RELAXED);
		wake_writer(lane->writer);
		return;
	}
	size_t first = LINE_LANE_SIZE - at;
	if (first > line.len)
		first = line.len;
	memcpy(lane->ring + at, line.p, first);
	memcpy(lane->ring, line.p + first, line.len - first);
	__atomic_store_n(&lane->head, lane->head + line.len, __ATOMIC_SEQ_CST);
	/* Read before exchanging: at high rates the writer is awake and this stays a shared read. */
	if (!__atomic_load_n(&lane->writer->awake, __ATOMIC_SEQ_CST))
		wake_writer(lane->writer);
}

uint64_t line_writer_written(const struct line_writer *w)
{
	return __atomic_load_n(&w->written, __ATOMIC_RELAXED);
}

uint64_t line_writer_dropped(const struct line_writer *w)
{
	uint64_t dropped = 0;

	for (uint32_t i = 0; i < w->lane_count; i++)
		dropped += __atomic_load_n(&w->lanes[i]->dropped, __ATOMIC_RELAXED);
	return dropped;
}
