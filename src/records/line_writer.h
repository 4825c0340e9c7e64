/*
 * line_writer.h: lines (access records, log messages) written by a thread of their own.
 *
 * For: threads that must not wait for a disk or a pipe hand over finished lines; the writer thread
 * writes them. Records are gathered and written in batches, log messages leave at once.
 * Threads: each lane has one producer at a time and one consumer, the writer.
 * Memory: a lane is a ring of LINE_LANE_SIZE bytes. Lines that find it full are dropped and counted,
 * which a log line says once what was there has been written.
 * Errors: -BB_ESYSTEM when the file cannot be opened, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define LINE_LANE_SIZE (1u << 20)
#define LINE_LANES_MAX 65
#define LINE_STDERR "/dev/stderr"

struct line_writer;
struct line_lane;

enum line_kind {
	LINE_RECORDS, /* written within 20 ms, many at once */
	LINE_LOG,     /* written at once; what cannot be written is not said, for there is no one to hear it */
};

/* `path`: "-" is standard output, LINE_STDERR standard error. Starts the writer thread. */
BB_MUST int line_writer_create(const char *path, enum line_kind kind, struct line_writer **out);
/*
 * Writes what is there and stops the thread. All producers must have stopped. When nobody takes the
 * lines for `patience_ns` they are lost, and thread and memory are left behind: false.
 */
bool line_writer_destroy(struct line_writer *w, uint64_t patience_ns);
/* Waits until everything that was put is written; false when that takes longer. Any thread. */
bool line_writer_flush(struct line_writer *w, uint64_t patience_ns);
/* Opens the file anew (log rotation). Any thread. */
void line_writer_reopen(struct line_writer *w);
/* A lane for one producer thread; NULL when there is no memory. Before the producer starts. */
struct line_lane *line_lane_create(struct line_writer *w);
/* `line` ends with a newline. */
void line_lane_put(struct line_lane *lane, struct bb_str line);
uint64_t line_writer_written(const struct line_writer *w);
uint64_t line_writer_dropped(const struct line_writer *w);
