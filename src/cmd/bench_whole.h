/*
 * bench_whole.h: whole decisions of the brain, for `busbar bench decision --whole`.
 *
 * For: bench_decision.c. Threads: the main thread. Memory: none is left.
 * Errors: -BB_ENOMEM, -BB_ELIMIT, -BB_EINVALID (a request was not placed).
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct whole_plan {
	uint32_t engines;
	uint32_t tokens;  /* of the prompt */
	uint32_t streams; /* at each engine, on average */
	uint64_t rounds;
	const char *policy;
};

/* Fills in ns[rounds]: filters, look-up of the prefix index, choice, reservation, reasons. */
BB_MUST int bench_whole(const struct whole_plan *plan, uint64_t *ns);
