/*
 * exposition_parts.h: what exposition.c, exposition_brain.c and exposition_kv.c share.
 *
 * Threads: the control thread. Memory: the buffer's. Errors: as bb_buf's.
 */
#pragma once

#include "gateway/gateway.h"
#include "gateway/metrics.h"
#include "wire/prometheus.h"

/* A family with one sample. */
void exposition_u64(struct bb_buf *out, const char *name, const char *help, enum prom_type type,
		    uint64_t value);
/* A sample of a family whose head is written. */
void exposition_histogram(struct bb_buf *out, const char *name,
			  const struct histogram_bounds *bounds, const struct histogram *h,
			  const struct prom_label *labels, uint32_t label_count);
/* exposition_brain.c: decisions, index, shadows. Takes the brain's lock. */
void exposition_brain(struct gateway *g, const struct metrics *m, struct bb_buf *out);
/* exposition_kv.c: KV events of engines. Takes the brain's lock. */
void exposition_kv(struct gateway *g, struct bb_buf *out);
