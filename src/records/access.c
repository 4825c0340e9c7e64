#include "records/access.h"

#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/loop.h"
#include "os/process.h"

/* How long the writer waits to gather lines: a crash of the machine loses no more than these. */
#define GATHER_NS (20 * OS_MS)
#define STDOUT_FD 1

struct access_lane {
	struct access_log *log;
	uint64_t head; /* atomic; bytes ever put */
	uint64_t dropped; /* atomic */
	char apart[64]; /* the two ends are written by two threads */
	uint64_t tail;  /* atomic; bytes ever taken */
	char ring[ACCESS_LANE_SIZE];
};

struct access_log {
	char *path; /* NULL: standard output */
	int fd;
	struct loop *loop;
	struct thread thread;
	struct loop_timer gather;
	struct loop_message wake;
	bool awake; /* atomic; the writer will look at the lanes by itself */
	bool reopen; /* atomic */
	uint64_t written; /* atomic; lines are not counted, bytes are */
	uint32_t lane_count;
	struct access_lane *lanes[ACCESS_LANES_MAX];
};

static void wake_writer(struct access_log *log)
{
	if (!__atomic_exchange_n(&log->awake, true, __ATOMIC_ACQ_REL))
		loop_post(log->loop, &log->wake);
}

static void write_out(struct access_log *log, const char *p, size_t len)
{
	if (fd_write_all(log->fd, p, len) == 0)
		__atomic_store_n(&log->written, log->written + len, __ATOMIC_RELAXED);
	else
		(void)BB_CHECK(false, "access records cannot be written");
}

/* True when there was something. */
static bool lane_drain(struct access_log *log, struct access_lane *lane)
{
	const uint64_t head = __atomic_load_n(&lane->head, __ATOMIC_ACQUIRE);
	uint64_t tail = lane->tail;
	const bool any = tail < head;

	while (tail < head) {
		const size_t at = tail % ACCESS_LANE_SIZE;
		size_t n = (size_t)(head - tail);
		if (n > ACCESS_LANE_SIZE - at)
			n = ACCESS_LANE_SIZE - at;
		write_out(log, lane->ring + at, n);
		tail += n;
	}
	__atomic_store_n(&lane->tail, tail, __ATOMIC_RELEASE);
	return any;
}

static bool drain_all(struct access_log *log)
{
	bool any = false;

	if (__atomic_exchange_n(&log->reopen, false, __ATOMIC_ACQ_REL) && log->path) {
		const int fd = file_open_append(log->path);
		if (fd >= 0) {
			file_close(log->fd);
			log->fd = fd;
		} else {
			BB_LOG(BB_LOG_ERROR, "access_log", "%s cannot be opened anew; going on with the old file",
			       log->path);
		}
	}
	for (uint32_t i = 0; i < log->lane_count; i++)
		any |= lane_drain(log, log->lanes[i]);
	return any;
}

static void on_gather(struct loop_timer *t)
{
	struct access_log *log = BB_CONTAINER(t, struct access_log, gather);

	if (drain_all(log)) {
		loop_timer_arm(&log->gather, loop_now_ns(log->loop) + GATHER_NS);
		return;
	}
	/* Quiet: sleep until someone wakes us; look once more for who came in between. */
	__atomic_store_n(&log->awake, false, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&log->reopen, __ATOMIC_SEQ_CST))
		wake_writer(log);
	for (uint32_t i = 0; i < log->lane_count; i++)
		if (__atomic_load_n(&log->lanes[i]->head, __ATOMIC_SEQ_CST) != log->lanes[i]->tail)
			wake_writer(log);
}

static void on_wake(struct loop_message *m)
{
	struct access_log *log = BB_CONTAINER(m, struct access_log, wake);

	loop_timer_arm(&log->gather, loop_now_ns(log->loop) + GATHER_NS);
}

static void writer_run(void *arg)
{
	struct access_log *log = arg;

	loop_run(log->loop);
}

int access_log_create(const char *path, struct access_log **out)
{
	struct access_log *log = bb_alloc_zero(1, sizeof(*log));
	int rc = -BB_ENOMEM;

	if (!log)
		return rc;
	log->fd = STDOUT_FD;
	if (strcmp(path, "-") != 0) {
		log->path = bb_strndup(path, strlen(path));
		if (!log->path)
			goto fail_free;
		log->fd = file_open_append(path);
		if (log->fd < 0) {
			rc = -BB_ESYSTEM;
			goto fail_path;
		}
	}
	rc = loop_create(&log->loop);
	if (rc)
		goto fail_close;
	rc = loop_timer_init(log->loop, &log->gather, on_gather);
	if (rc)
		goto fail_loop;
	log->wake.run = on_wake;
	log->thread = (struct thread){ .name = "busbar-writer", .run = writer_run, .arg = log };
	rc = thread_start(&log->thread);
	if (rc)
		goto fail_loop;
	*out = log;
	return 0;

fail_loop:
	loop_destroy(log->loop);
fail_close:
	if (log->path)
		file_close(log->fd);
fail_path:
	bb_free(log->path);
fail_free:
	bb_free(log);
	return rc;
}

void access_log_destroy(struct access_log *log)
{
	if (!log)
		return;
	loop_stop(log->loop);
	thread_join(&log->thread);
	drain_all(log);
	for (uint32_t i = 0; i < log->lane_count; i++)
		bb_free(log->lanes[i]);
	loop_destroy(log->loop);
	if (log->path)
		file_close(log->fd);
	bb_free(log->path);
	bb_free(log);
}

void access_log_reopen(struct access_log *log)
{
	__atomic_store_n(&log->reopen, true, __ATOMIC_RELEASE);
	wake_writer(log);
}

struct access_lane *access_lane_create(struct access_log *log)
{
	if (log->lane_count == ACCESS_LANES_MAX)
		return NULL;
	struct access_lane *lane = bb_alloc_zero(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->log = log;
	log->lanes[log->lane_count++] = lane;
	return lane;
}

void access_lane_put(struct access_lane *lane, struct bb_str line)
{
	const uint64_t tail = __atomic_load_n(&lane->tail, __ATOMIC_ACQUIRE);
	const size_t at = lane->head % ACCESS_LANE_SIZE;

	if (line.len > ACCESS_LANE_SIZE - (size_t)(lane->head - tail)) {
		__atomic_store_n(&lane->dropped, lane->dropped + 1, __ATOMIC_RELAXED);
		wake_writer(lane->log);
		return;
	}
	size_t first = ACCESS_LANE_SIZE - at;
	if (first > line.len)
		first = line.len;
	memcpy(lane->ring + at, line.p, first);
	memcpy(lane->ring, line.p + first, line.len - first);
	__atomic_store_n(&lane->head, lane->head + line.len, __ATOMIC_SEQ_CST);
	/* Read before exchanging: at high rates the writer is awake and this stays a shared read. */
	if (!__atomic_load_n(&lane->log->awake, __ATOMIC_SEQ_CST))
		wake_writer(lane->log);
}

uint64_t access_log_written(const struct access_log *log)
{
	return __atomic_load_n(&log->written, __ATOMIC_RELAXED);
}

uint64_t access_log_dropped(const struct access_log *log)
{
	uint64_t dropped = 0;

	for (uint32_t i = 0; i < log->lane_count; i++)
		dropped += __atomic_load_n(&log->lanes[i]->dropped, __ATOMIC_RELAXED);
	return dropped;
}
