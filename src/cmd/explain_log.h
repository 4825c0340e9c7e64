/*
 * explain_log.h: a request's record out of access logs.
 *
 * For: explain_table.c. Looks into a file and those that it was rotated to (FILE.*, FILE-*), or
 * standard input. Compressed ones are left out, and said so.
 * Threads: the main thread. Memory: one line at a time, up to EXPLAIN_LINE_MAX; the answer is in
 * the caller's buffer. Errors: told on stderr; the exit code.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

#define EXPLAIN_LINE_MAX (1u << 20) /* longer lines are passed over */

struct explain_found {
	struct bb_buf *line; /* the latest record; initialised by the caller */
	char time[40];	     /* of it, as it stands there */
	uint32_t count;	     /* records of that id */
	uint32_t files;	     /* that were read */
	uint32_t compressed; /* that were not */
};

/* `path` "-" is standard input. 0, also when nothing is found, or 1 after a message. */
BB_MUST int explain_log_find(const char *path, const char *id, struct explain_found *out);
