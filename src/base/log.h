/*
 * log.h: log lines and assertions.
 *
 * For: `BB_LOG(level, "event", "format", …)` makes one log line: an event name from a closed set
 * of words ("engine_up"), then a sentence. `BB_ASSERT` is a programmer's error: it is on in
 * releases and ends the process. `BB_CHECK(cond, "what")` is a peer that did something odd: it is
 * counted, logged at most once a minute at each place, and yields the condition's value so that
 * the caller can take the safe path.
 * Threads: any. The sink must be thread-safe; it is set once at start.
 * Memory: a line is formatted on the stack and cut at BB_LOG_LINE_MAX bytes.
 * Errors: none; a log line that cannot be written is dropped.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BB_LOG_LINE_MAX 1024

enum bb_log_level { BB_LOG_ERROR, BB_LOG_WARN, BB_LOG_INFO, BB_LOG_DEBUG };

/* What takes the lines: `event` is a static string, `text` is NUL-terminated UTF-8. */
typedef void bb_log_sink(enum bb_log_level level, const char *event, const char *text);

void bb_log_set(bb_log_sink *sink, enum bb_log_level most_verbose);
/*
 * What brings out lines that the sink has not written yet, before an assertion ends the process;
 * false when nobody takes them, where standard error is not to be waited for either. NULL: none.
 */
void bb_log_set_flush(bool (*flush)(void));
bool bb_log_is_on(enum bb_log_level level);
void bb_log_write(enum bb_log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
const char *bb_log_level_name(enum bb_log_level level);

#define BB_LOG(level, event, ...)                                                                  \
	do {                                                                                       \
		if (bb_log_is_on(level))                                                           \
			bb_log_write((level), (event), __VA_ARGS__);                               \
	} while (0)

_Noreturn void bb_assert_failed(const char *file, int line, const char *text);

#define BB_ASSERT(cond)                                                                            \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			bb_assert_failed(__FILE__, __LINE__, #cond);                               \
	} while (0)

struct bb_check_site {
	const char *file;
	int line;
	uint64_t count;        /* atomic */
	int64_t logged_minute; /* atomic; the minute of the last line */
};

bool bb_check_failed(struct bb_check_site *site, const char *what);
/* How often any BB_CHECK has failed in this process. */
uint64_t bb_check_count(void);

#define BB_CHECK(cond, what)                                                                       \
	(__builtin_expect(!!(cond), 1) || ({                                                       \
		static struct bb_check_site bb_site = { .file = __FILE__, .line = __LINE__ };      \
		bb_check_failed(&bb_site, (what));                                                 \
	}))
