#include "records/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "brain/event.h"
#include "os/clock.h"
#include "os/folder.h"
#include "os/loop.h"
#include "os/process.h"
#include "records/journal_files.h"
#include "records/journal_form.h"

#define GATHER_NS (50 * OS_MS)	   /* a crash of the process loses no more than these */
#define TRY_NS OS_SECOND	   /* between two checkpoints that failed */
#define KEEP_MAX ((size_t)1 << 20) /* of a buffer that is empty */

struct journal {
	struct journal_config config;
	char *folder;
	struct journal_head head;
	pthread_mutex_t lock;
	struct bb_buf in; /* under the lock: events behind their lengths */
	uint64_t lost;	  /* atomic */
	bool awake;	  /* atomic; the writer will look by itself */
	/* the writer's */
	struct loop *loop;
	struct thread thread;
	struct loop_timer gather;
	struct loop_message wake;
	struct bb_buf out;
	int fd; /* -1: none: what comes is dropped until a checkpoint begins a file */
	uint32_t frame;
	uint64_t file_bytes;
	bool wants_file; /* the next checkpoint begins one */
	uint64_t lost_seen;
	uint64_t try_ns;
	uint64_t bytes, files, write_errors; /* atomic */
	bool is_started;
};

/* ---- files ---- */

static void file_leave(struct journal *j)
{
	if (j->fd < 0)
		return;
	(void)!file_sync(j->fd);
	file_close(j->fd);
	j->fd = -1;
}

static bool put_out(struct journal *j, const void *p, size_t len)
{
	if (j->fd < 0)
		return false;
	if (fd_write_all(j->fd, p, len) == 0) {
		j->file_bytes += len;
		__atomic_store_n(&j->bytes, j->bytes + len, __ATOMIC_RELAXED);
		return true;
	}
	(void)BB_CHECK(false, "the journal cannot be written; it goes on with a new file");
	__atomic_store_n(&j->write_errors, j->write_errors + 1, __ATOMIC_RELAXED);
	file_leave(j);
	return false;
}

static int file_begin(struct journal *j)
{
	char path[JOURNAL_PATH_MAX];
	struct bb_buf head;

	file_leave(j);
	j->head.file++;
	const int fd = journal_file_create(j->folder, j->head.file, path);
	if (fd < 0)
		return fd;
	j->fd = fd;
	j->frame = 1;
	j->file_bytes = 0;
	j->wants_file = false;
	__atomic_store_n(&j->files, j->files + 1, __ATOMIC_RELAXED);
	bb_buf_init(&head, 8192);
	int rc = journal_write_head(&head, &j->head);
	if (!rc && !put_out(j, head.p, head.len))
		rc = -BB_ESYSTEM;
	bb_buf_fini(&head);
	if (rc) {
		file_leave(j);
		(void)!file_remove(path); /* it would be a journal without a head */
	} else {
		journal_files_trim(j->folder, j->config.file_count);
	}
	return rc;
}

/* ---- the writer ---- */

static void frame_out(struct journal *j, const char *from, const char *to)
{
	const struct bb_str payload = { from, (size_t)(to - from) };
	uint8_t head[16];

	if (payload.len == 0 || j->fd < 0)
		return;
	journal_frame_head(head, j->frame, payload);
	if (put_out(j, head, sizeof(head)) && put_out(j, payload.p, payload.len))
		j->frame++;
}

static bool is_checkpoint(struct bb_str event)
{
	return ((uint8_t)event.p[0] & ~(unsigned)EVENT_ABSOLUTE) == EVENT_CHECKPOINT;
}

/* A file that no checkpoint could follow on: it must end all the same. */
static bool is_overlong(const struct journal *j)
{
	return j->fd >= 0 && j->file_bytes >= 2 * j->config.file_size;
}

static void write_events(struct journal *j)
{
	struct bb_str rest = bb_buf_str(&j->out), event;
	const char *from = rest.p;

	for (;;) {
		const char *here = rest.p;
		if (!journal_next_event(&rest, &event))
			break;
		if (is_overlong(j) || (j->wants_file && is_checkpoint(event))) {
			frame_out(j, from, here);
			from = here;
			(void)BB_CHECK(file_begin(j) == 0,
				       "no new file of the journal can be made");
		}
		if (rest.p - from >= JOURNAL_FRAME_SIZE) {
			frame_out(j, from, rest.p);
			from = rest.p;
		}
	}
	frame_out(j, from, rest.p);
}

static void buffer_empty(struct bb_buf *b)
{
	if (b->cap > KEEP_MAX)
		bb_buf_fini(b);
	bb_buf_clear(b);
}

/* True when there was something. */
static bool drain(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	const struct bb_buf taken = j->in;
	j->in = j->out;
	j->out = taken;
	pthread_mutex_unlock(&j->lock);
	const bool any = j->out.len > 0;
	if (any)
		write_events(j);
	buffer_empty(&j->out);
	return any;
}

/* A full file, lost events, or no file at all: the stream needs a new beginning. */
static bool needs_checkpoint(struct journal *j)
{
	if (clock_now_ns() < j->try_ns)
		return false;
	return j->fd < 0 || j->file_bytes >= j->config.file_size ||
	       __atomic_load_n(&j->lost, __ATOMIC_RELAXED) != j->lost_seen;
}

static void checkpoint(struct journal *j)
{
	enum journal_more more;
	const uint64_t lost = __atomic_load_n(&j->lost, __ATOMIC_RELAXED);

	j->wants_file = j->fd < 0 || j->file_bytes >= j->config.file_size;
	do {
		more = j->config.checkpoint(j->config.user, j->config.file_size / 4);
		drain(j); /* others have the brain meanwhile */
	} while (more == JOURNAL_MORE);
	if (more == JOURNAL_DONE && j->fd >= 0)
		j->lost_seen = lost;
	else
		j->try_ns = clock_now_ns() + TRY_NS;
}

static bool is_empty(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	const bool empty = j->in.len == 0;
	pthread_mutex_unlock(&j->lock);
	return empty;
}

static void wake_writer(struct journal *j)
{
	if (!__atomic_exchange_n(&j->awake, true, __ATOMIC_ACQ_REL))
		loop_post(j->loop, &j->wake);
}

static void on_gather(struct loop_timer *t)
{
	struct journal *j = BB_CONTAINER(t, struct journal, gather);

	const bool any = drain(j);
	const bool needs = needs_checkpoint(j);

	if (needs)
		checkpoint(j);
	if (any || needs) {
		loop_timer_arm(&j->gather, loop_now_ns(j->loop) + GATHER_NS);
		return;
	}
	/* Quiet: sleep until someone wakes us; look once more for who came in between. */
	__atomic_store_n(&j->awake, false, __ATOMIC_SEQ_CST);
	if (!is_empty(j))
		wake_writer(j);
}

static void on_wake(struct loop_message *m)
{
	struct journal *j = BB_CONTAINER(m, struct journal, wake);

	loop_timer_arm(&j->gather, loop_now_ns(j->loop) + GATHER_NS);
}

static void writer_run(void *arg)
{
	struct journal *j = arg;

	loop_run(j->loop);
	while (drain(j))
		;
	file_leave(j);
}

/* ---- others ---- */

bool journal_put(void *journal, struct bb_str event)
{
	struct journal *j = journal;

	pthread_mutex_lock(&j->lock);
	const bool fits = journal_add_event(&j->in, event) == 0;
	j->in.err = 0;
	pthread_mutex_unlock(&j->lock);
	if (!fits)
		__atomic_store_n(&j->lost, j->lost + 1, __ATOMIC_RELAXED);
	/* Read before exchanging: at high rates the writer is awake and this stays a shared read.
	 */
	if (!__atomic_load_n(&j->awake, __ATOMIC_SEQ_CST))
		wake_writer(j);
	return fits;
}

static void forget(struct journal *j)
{
	file_leave(j);
	loop_destroy(j->loop);
	bb_buf_fini(&j->in);
	bb_buf_fini(&j->out);
	pthread_mutex_destroy(&j->lock);
	bb_free(j->folder);
	bb_free(j);
}

static int prepare(struct journal *j)
{
	j->folder = bb_strndup(j->config.folder, strlen(j->config.folder));
	if (!j->folder)
		return -BB_ENOMEM;
	int rc = loop_create(&j->loop);
	if (!rc)
		rc = loop_timer_init(j->loop, &j->gather, on_gather);
	if (!rc)
		rc = folder_make(j->folder);
	if (!rc)
		rc = file_begin(j);
	return rc;
}

int journal_create(const struct journal_config *config, struct journal **out)
{
	struct journal *j = bb_alloc_zero(1, sizeof(*j));

	if (!j)
		return -BB_ENOMEM;
	BB_ASSERT(config->file_size >= JOURNAL_SIZE_MIN && config->file_count >= 2);
	j->config = *config;
	j->fd = -1;
	j->wake.run = on_wake;
	j->head = (struct journal_head){
		.version = JOURNAL_VERSION,
		.wall_ns = (int64_t)(clock_wall_ns() - clock_now_ns()),
		.build = bb_str_of(config->version),
		.commit = bb_str_of(config->commit),
		.variant = bb_str_of(config->variant),
	};
	entropy_fill(&j->head.process, sizeof(j->head.process));
	pthread_mutex_init(&j->lock, NULL);
	bb_buf_init(&j->in, JOURNAL_BUFFER_MAX);
	bb_buf_init(&j->out, JOURNAL_BUFFER_MAX);
	const int rc = prepare(j);
	if (rc) {
		const int err = errno;
		forget(j);
		errno = err;
		return rc;
	}
	*out = j;
	return 0;
}

int journal_start(struct journal *j)
{
	j->thread = (struct thread){ .name = "busbar-journal", .run = writer_run, .arg = j };
	const int rc = thread_start(&j->thread);
	j->is_started = rc == 0;
	return rc;
}

void journal_destroy(struct journal *j)
{
	if (!j)
		return;
	if (j->is_started) {
		loop_stop(j->loop);
		thread_join(&j->thread);
	}
	forget(j);
}

void journal_stats(const struct journal *j, struct journal_stats *out)
{
	*out = (struct journal_stats){
		.bytes = __atomic_load_n(&j->bytes, __ATOMIC_RELAXED),
		.files = __atomic_load_n(&j->files, __ATOMIC_RELAXED),
		.events_lost = __atomic_load_n(&j->lost, __ATOMIC_RELAXED),
		.write_errors = __atomic_load_n(&j->write_errors, __ATOMIC_RELAXED),
	};
}
