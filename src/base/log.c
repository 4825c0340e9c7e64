#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static bb_log_sink *log_sink;
static enum bb_log_level log_level = BB_LOG_INFO;
static bool (*log_flush)(void); /* atomic */
static uint64_t check_count;

void bb_log_set(bb_log_sink *sink, enum bb_log_level most_verbose)
{
	log_sink = sink;
	log_level = most_verbose;
}

void bb_log_set_flush(bool (*flush)(void))
{
	__atomic_store_n(&log_flush, flush, __ATOMIC_RELEASE);
}

bool bb_log_is_on(enum bb_log_level level)
{
	return log_sink && level <= log_level;
}

void bb_log_write(enum bb_log_level level, const char *event, const char *format, ...)
{
	char line[BB_LOG_LINE_MAX];
	va_list ap;

	if (!bb_log_is_on(level))
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	log_sink(level, event, line);
}

const char *bb_log_level_name(enum bb_log_level level)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };

	return names[level];
}

_Noreturn void bb_assert_failed(const char *file, int line, const char *text)
{
	bool (*const flush)(void) = __atomic_load_n(&log_flush, __ATOMIC_ACQUIRE);

	/* Straight to stderr: the sink may be what is broken. */
	if (!flush || flush())
		fprintf(stderr, "busbar: assertion failed at %s:%d: %s\n", file, line, text);
	abort();
}

bool bb_check_failed(struct bb_check_site *site, const char *what)
{
	const int64_t minute = (int64_t)time(NULL) / 60;
	const uint64_t count = __atomic_add_fetch(&site->count, 1, __ATOMIC_RELAXED);

	__atomic_add_fetch(&check_count, 1, __ATOMIC_RELAXED);
	if (__atomic_exchange_n(&site->logged_minute, minute, __ATOMIC_RELAXED) != minute)
		BB_LOG(BB_LOG_WARN, "check", "%s (%s:%d, %llu times so far)", what, site->file,
		       site->line, (unsigned long long)count);
	return false;
}

uint64_t bb_check_count(void)
{
	return __atomic_load_n(&check_count, __ATOMIC_RELAXED);
}
