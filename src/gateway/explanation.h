/*
 * explanation.h: why a request went where it went, and what became of it; the last of them are
 * kept.
 *
 * For: request_send.c begins one with a request's first decision; settle.c completes it and writes
 * it into the access record; explain.c answers `busbar explain` with it.
 * Each worker has a ring of the last decisions. An explanation belongs to its request and to the
 * ring: a long stream still has its own for the record when the ring has gone on.
 * Threads: a worker writes its own, under the ring's lock; any thread may look for one.
 * Memory: objects of one size, at most limits.explain of them and one for each request under way.
 * No prompt, key or client's text is in there: a request's id is known by its hash.
 * Errors: without memory a request has no explanation (NULL), and goes on.
 */
#pragma once

#include <pthread.h>

#include "base/pool.h"
#include "base/str.h"
#include "brain/brain.h"
#include "gateway/metrics.h"

#define EXPLAINED_BEST_MAX DECISION_BEST_MAX
#define EXPLAINED_LEFT_MAX DECISION_LEFT_MAX
#define EXPLAINED_FAILED_MAX 3

/* An engine that could have taken it; struct decision_candidate in less room. */
struct explained_candidate {
	struct engine_id engine;
	uint32_t rank;
	uint32_t requests;
	uint32_t pending, cached; /* tokens */
	float wait_ms, prefill_ms, limit_ms, ttft_ms, total_ms;
	float cost; /* of policies that do not predict times */
};

struct explained_engine {
	struct engine_id engine;
	uint32_t why; /* enum decision_left_out, or enum upstream_error */
};

enum explained_state { EXPLAINED_HELD, EXPLAINED_SENT, EXPLAINED_REFUSED, EXPLAINED_OVER };

struct explanation {
	uint64_t id_hash;
	uint64_t wall_ns;   /* when it was decided first */
	const char *policy; /* constant text */
	uint32_t refs;
	uint32_t model;	 /* of the brain */
	uint32_t tenant; /* of the ledger; UINT32_MAX: nobody asks */
	uint32_t prompt_tokens, blocks;
	uint32_t cached, possible; /* tokens, when it was decided */
	float held_ms;
	uint16_t candidates, engines;
	uint16_t left_out[LEFT_OUT_COUNT];
	uint8_t best_count, left_count, failed_count;
	uint8_t state;	   /* enum explained_state */
	uint8_t reason;	   /* enum decision_reason */
	uint8_t hashed;	   /* enum prompt_hashes */
	uint8_t api;	   /* enum api */
	bool is_exact : 1; /* prompt_tokens was counted and not estimated */
	bool has_session : 1;
	bool has_ranks : 1; /* the chosen engine has more than one */
	bool has_usage : 1, has_cached : 1;
	/* what became of it */
	uint8_t attempts, class;
	int16_t status;
	int16_t error;	/* 0 or -BB_E… */
	float first_ms; /* from the latest decision to the first token; 0: not seen */
	float duration_ms;
	uint32_t reported_prompt, reported_cached, output_tokens;
	struct explained_candidate best[EXPLAINED_BEST_MAX]; /* the chosen one first */
	struct explained_engine left[EXPLAINED_LEFT_MAX];
	struct explained_engine failed[EXPLAINED_FAILED_MAX]; /* attempts, in order */
};

struct explain_ring {
	pthread_mutex_t lock;
	struct bb_pool pool;
	uint64_t key; /* of the hashes of ids */
	uint32_t capacity, next;
	struct explanation **slots; /* NULL where there is none yet */
};

BB_MUST int explain_ring_init(struct explain_ring *r, uint32_t capacity, uint64_t key);
/* No request may hold an explanation any more. */
void explain_ring_fini(struct explain_ring *r);

static inline void explain_lock(struct explain_ring *r)
{
	pthread_mutex_lock(&r->lock);
}

static inline void explain_unlock(struct explain_ring *r)
{
	pthread_mutex_unlock(&r->lock);
}

/* A new one, in the ring and held by the caller; under the lock. */
struct explanation *explain_begin(struct explain_ring *r, struct bb_str id,
				  uint64_t wall_ns) BB_MUST;
/* The request holds it no more; under the lock. NULL is fine. */
void explain_put(struct explain_ring *r, struct explanation *e);
/* The latest of that id, copied; takes the lock. Any thread. */
bool explain_find(struct explain_ring *r, struct bb_str id, struct explanation *out);

/* Under the lock: takes over what the brain has decided. */
void explanation_decide(struct explanation *e, const struct decision *d);
/* Under the lock: an attempt has failed. */
void explanation_fail(struct explanation *e, struct engine_id engine, enum upstream_error why);

/* Of the prediction for the chosen engine; 0: its policy predicts nothing. */
static inline float explanation_ttft_ms(const struct explanation *e)
{
	return e->best_count ? e->best[0].ttft_ms : 0;
}
