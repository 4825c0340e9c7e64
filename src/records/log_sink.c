#include "records/log_sink.h"

#include <pthread.h>
#include <stdio.h>

#include "base/buf.h"
#include "os/clock.h"
#include "os/process.h"
#include "records/line_writer.h"

#define STDERR_FD 2
#define PATIENCE_NS OS_SECOND

static enum log_format sink_format;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER; /* the lane has one producer at a time */
static struct line_writer *queue; /* NULL: lines are written by who has them */
static struct line_lane *queue_lane;

static void put_out(const char *line, size_t len)
{
	if (!queue) {
		(void)!fd_write_all(STDERR_FD, line, len);
		return;
	}
	pthread_mutex_lock(&queue_lock);
	line_lane_put(queue_lane, (struct bb_str){ line, len });
	pthread_mutex_unlock(&queue_lock);
}

static void write_text(enum bb_log_level level, const char *event, const char *text)
{
	static const char *const colours[] = { "\033[31m", "\033[33m", "", "\033[2m" };
	char time[CLOCK_ISO_SIZE], line[BB_LOG_LINE_MAX + 128];
	const bool coloured = stderr_is_terminal();

	clock_iso(clock_wall_ns(), time);
	int n = snprintf(line, sizeof(line), "%.8s %s%-5s%s %s: %s\n", time + 11,
			 coloured ? colours[level] : "", bb_log_level_name(level),
			 coloured ? "\033[0m" : "", event, text);
	if (n >= (int)sizeof(line))
		n = (int)sizeof(line) - 1;
	put_out(line, (size_t)n);
}

static void write_json(enum bb_log_level level, const char *event, const char *text)
{
	char time[CLOCK_ISO_SIZE];
	struct bb_buf b;

	bb_buf_init(&b, 8 * BB_LOG_LINE_MAX);
	clock_iso(clock_wall_ns(), time);
	bb_buf_printf(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"text\":", time,
		      bb_log_level_name(level), event);
	bb_buf_add_json(&b, bb_str_of(text));
	bb_buf_lit(&b, "}\n");
	if (!b.err)
		put_out(b.p, b.len);
	bb_buf_fini(&b);
}

static void sink(enum bb_log_level level, const char *event, const char *text)
{
	if (sink_format == LOG_FORMAT_JSON)
		write_json(level, event, text);
	else
		write_text(level, event, text);
}

void log_sink_start(enum bb_log_level level, enum log_format format)
{
	if (format == LOG_FORMAT_AUTO)
		format = stderr_is_terminal() ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
	sink_format = format;
	bb_log_set(sink, level);
}

static bool queue_flush(void)
{
	return line_writer_flush(queue, PATIENCE_NS / 2);
}

int log_sink_queue(void)
{
	struct line_writer *w;

	BB_ASSERT(!queue);
	const int rc = line_writer_create(LINE_STDERR, LINE_LOG, &w);
	if (rc)
		return rc;
	queue_lane = line_lane_create(w);
	if (!queue_lane) {
		(void)line_writer_destroy(w, PATIENCE_NS);
		return -BB_ENOMEM;
	}
	queue = w;
	bb_log_set_flush(queue_flush);
	return 0;
}

void log_sink_end(void)
{
	if (!queue)
		return;
	bb_log_set_flush(NULL);
	if (!line_writer_destroy(queue, PATIENCE_NS))
		bb_log_set(NULL, BB_LOG_ERROR); /* to write would be to wait */
	queue = NULL;
	queue_lane = NULL;
}

uint64_t log_sink_dropped(void)
{
	return queue ? line_writer_dropped(queue) : 0;
}
