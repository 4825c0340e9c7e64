/*
 * access.h: access records: one line of JSON a request, written by the writer thread.
 *
 * For: gateway threads hand over finished lines without waiting; the writer thread gathers them
 * and writes them in batches.
 * Threads: each producer has a lane of its own (single producer, single consumer).
 * Memory: a lane is a ring of ACCESS_LANE_SIZE bytes; lines that find it full are dropped and
 * counted: a slow disk must not stop the gateway.
 * Errors: -BB_ESYSTEM when the file cannot be opened, -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define ACCESS_LANE_SIZE (1u << 20)
#define ACCESS_LANES_MAX 65

struct access_log;
struct access_lane;

/* `path`: "-" is standard output. Starts the writer thread. */
BB_MUST int access_log_create(const char *path, struct access_log **out);
/* Writes what is there and stops the thread. All producers must have stopped. */
void access_log_destroy(struct access_log *log);
/* Opens the file anew (log rotation). Any thread. */
void access_log_reopen(struct access_log *log);
/* A lane for one producer thread; NULL when there is no memory. Before the producer starts. */
struct access_lane *access_lane_create(struct access_log *log);
/* `line` ends with a newline. */
void access_lane_put(struct access_lane *lane, struct bb_str line);
uint64_t access_log_written(const struct access_log *log);
uint64_t access_log_dropped(const struct access_log *log);
