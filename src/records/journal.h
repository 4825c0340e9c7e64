/*
 * journal.h: the brain's events, written to files of a folder by a thread of their own.
 *
 * For: the gateway. journal_put is the brain's brain_record_fn: it copies and returns. Files are
 * `busbar-TIME-NUMBER.journal`; a file that has reached its size is followed by another, which
 * begins with a checkpoint, and of all files in the folder only the newest are kept.
 * Threads: journal_put one at a time (the brain's lock); the thread calls `checkpoint` outside of
 * its own lock, and that takes the brain's.
 * Memory: two buffers, each as large as what comes between two writes, at most JOURNAL_BUFFER_MAX.
 * Errors: -BB_ESYSTEM (the folder or the first file cannot be made; errno), -BB_ENOMEM. Later: what
 * cannot be written is lost, counted, told by a log line, and followed by a checkpoint.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define JOURNAL_BUFFER_MAX (24u << 20)
#define JOURNAL_SIZE_MIN (64u << 10)
#define JOURNAL_SUFFIX ".journal"

struct journal;

enum journal_more { JOURNAL_MORE, JOURNAL_DONE, JOURNAL_AGAIN_LATER };
/* One step of a checkpoint of the brain (brain_checkpoint), with at most so many bytes of index. */
typedef enum journal_more journal_checkpoint_fn(void *user, uint64_t index_bytes_max);

struct journal_config {
	const char *folder;
	uint64_t file_size;  /* at least JOURNAL_SIZE_MIN; a file may become twice as large */
	uint32_t file_count; /* at least 2 */
	const char *version, *commit, *variant;
	journal_checkpoint_fn *checkpoint;
	void *user;
};

BB_MUST int journal_create(const struct journal_config *config, struct journal **out);
/* Starts the thread; before, what is put is kept. */
BB_MUST int journal_start(struct journal *j);
/* Writes what is there and stops the thread. NULL does nothing. */
void journal_destroy(struct journal *j);
/* False: there is no room. */
bool journal_put(void *journal, struct bb_str event);

struct journal_stats {
	uint64_t bytes, files, events_lost, write_errors;
};
void journal_stats(const struct journal *j, struct journal_stats *out);
