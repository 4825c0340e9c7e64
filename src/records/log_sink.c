#include "records/log_sink.h"

#include <stdio.h>

#include "base/buf.h"
#include "os/clock.h"
#include "os/process.h"

#define STDERR_FD 2

static enum log_format sink_format;

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
	(void)!fd_write_all(STDERR_FD, line, (size_t)n);
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
		(void)!fd_write_all(STDERR_FD, b.p, b.len);
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
