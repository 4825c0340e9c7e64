/*
 * work_trace.h: the readers of single formats.
 *
 * For: work_read, which tells them apart. Threads: pure. Memory: the workload's, and what a reader
 * needs meanwhile. Errors: a code, and in `why` a sentence that names the line; the workload is
 * then for workload_fini. It is not sealed here.
 */
#pragma once

#include "sim/work_read.h"

BB_MUST int work_mooncake(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE]);
