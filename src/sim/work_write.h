/*
 * work_write.h: workloads as files for other programs, a line for each request.
 *
 * For: `busbar sim workload`. Mooncake's format as work_read.h reads it: times in whole
 * milliseconds, hash_ids in the order in which blocks appear first. A request that follows another
 * has "after", the number of that one's line from 0, and "delay" instead of a timestamp. Or OpenAI
 * chat requests: {"due_ms", or "after" and "delay_ms"; "body"}, answers in prompts being invented.
 * Threads: one owner. Memory: a number for each block of the workload.
 * Errors: -BB_ENOMEM, -BB_ELIMIT.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "sim/load_prompt.h"
#include "sim/workload.h"

struct work_writer {
	const struct workload *work;
	struct bb_map ids; /* by the block's hash */
	uint64_t *hashes;  /* of one request */
	uint32_t hashes_room, id_next;
};

void work_writer_init(struct work_writer *w, const struct workload *work);
void work_writer_fini(struct work_writer *w);
/* Appends the line of a request; to be called for all of them in order. */
BB_MUST int work_write_mooncake(struct work_writer *w, uint32_t request, struct bb_buf *out);
BB_MUST int work_write_openai(const struct load_prompt *p, uint32_t request, struct bb_buf *out);
