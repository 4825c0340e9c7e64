/*
 * explanation_write.h: explanations as JSON and as a sentence.
 *
 * For: settle.c (the member "decision" of access records), explain.c (the same for /admin/explain),
 * relay.c (the header x-busbar-reason), and `busbar explain`, which has the facts from JSON.
 * The members stand in docs/decisions.md.
 * Threads: pure, but for the look-up of names. Memory: the buffer's. Errors: as bb_buf's.
 */
#pragma once

#include "base/buf.h"
#include "gateway/explanation.h"

/* What an engine is called; empty: not known any more. */
typedef struct bb_str engine_name_fn(void *user, struct engine_id id);

struct engine_names {
	engine_name_fn *get;
	void *user;
};

/* {"policy":…} */
void explanation_write(struct bb_buf *out, const struct explanation *e,
		       const struct engine_names *names);

struct reason_candidate {
	struct bb_str engine;
	double ttft_ms, total_ms; /* 0: not predicted */
};

struct reason_facts {
	struct bb_str reason; /* decision_reason_name */
	struct bb_str policy;
	uint64_t prompt_tokens, cached, possible;
	uint32_t best_count;
	struct reason_candidate best[2]; /* the chosen one and the next */
};

/* One short sentence without its full stop: "warm: 7,936 of 8,192 prompt tokens cached there; …" */
void reason_write(struct bb_buf *out, const struct reason_facts *f);
void explanation_reason(struct bb_buf *out, const struct explanation *e,
			const struct engine_names *names);
