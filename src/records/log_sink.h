/*
 * log_sink.h: where log lines go: stderr, for people on a terminal, as JSON otherwise.
 *
 * Threads: any; a line is one write. Memory: a line is composed on the stack. Errors: none, a line
 * that cannot be written is dropped.
 */
#pragma once

#include "base/log.h"

enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Sets the sink of base/log.h. */
void log_sink_start(enum bb_log_level level, enum log_format format);
