/*
 * work_trace.h: the readers of single formats.
 *
 * For: work_read, which tells them apart. Threads: pure. Memory: the workload's, and what a reader
 * needs meanwhile. Errors: a code, and in `why` a sentence that says where; the workload is then
 * for workload_fini. It is not sealed here.
 */
#pragma once

#include <stdbool.h>

#include "base/map.h"
#include "sim/work_read.h"

BB_MUST int work_mooncake(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE]);

/* Does the first line name Azure's columns? */
bool work_is_azure(struct bb_str text);
BB_MUST int work_azure(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE]);

/* A journal may be of several files: a request ends in another one than it arrived in. */
struct work_journal {
	struct workload *w;
	struct bb_map running;	/* by request_id: index of the request */
	struct bb_map sessions; /* by the session's hash: its number */
	uint32_t arrived;	/* the request whose decision comes next; WORK_NONE */
	uint32_t files;
	int64_t first_wall_ns, wall_ns; /* when times of the first file, of this one, were 0 */
};

void work_journal_init(struct work_journal *j, struct workload *w);
void work_journal_fini(struct work_journal *j);
BB_MUST int work_journal_file(struct work_journal *j, struct bb_str bytes, char why[WORK_WHY_SIZE]);
