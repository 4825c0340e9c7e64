/*
 * trace_engines.h: what engines would hold while a trace of requests is served.
 *
 * For: bench_index_trace.c. Engines keep whole blocks and evict the one used longest ago, of one
 * request the deepest first. A request goes where most of it is held; where nothing but its first
 * block is, engines take turns.
 * Threads: the main thread. Memory: trace_ops_free. Errors: -BB_ESYSTEM (errno), -BB_ESYNTAX for a
 * file that is no such trace, -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

enum trace_kind { TRACE_FIND, TRACE_STORE, TRACE_REMOVE };

struct trace_op {
	uint32_t first, count; /* in `ids` */
	uint32_t depth;	       /* STORE: of the first */
	uint32_t parent;       /* STORE: the id before the first, when depth is not 0 */
	uint16_t engine;
	uint8_t kind;
};

struct trace_ops {
	struct trace_op *ops;
	uint32_t *ids;
	uint32_t count, id_count;
};

BB_MUST int trace_ops_make(const char *path, uint32_t engines, uint32_t blocks,
			   struct trace_ops *out);
void trace_ops_free(struct trace_ops *ops);
