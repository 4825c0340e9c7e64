/*
 * log_sink.h: where log lines go: stderr, for people on a terminal, as JSON otherwise.
 *
 * At first each line is a write of its own. From log_sink_queue on a thread writes them, so that a
 * stderr that nobody reads holds up no one: what does not fit into the queue is dropped and counted.
 * Threads: any; a line is written whole. Memory: a line is composed on the stack, the queue is one
 * lane of line_writer.h. Errors: none, a line that cannot be written is dropped.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/log.h"

enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Sets the sink of base/log.h. */
void log_sink_start(enum bb_log_level level, enum log_format format);
/* Starts the thread; what it may do was settled before. On failure lines are written as before. */
BB_MUST int log_sink_queue(void);
/*
 * Writes what is there and ends the thread; lines are written at once again. No other thread may log
 * any more. When stderr is not read within a second they are lost, and so is all that follows.
 */
void log_sink_end(void);
/* Lines that found the queue full. */
uint64_t log_sink_dropped(void);
