/*
 * lane.h: what this gateway has at one engine (or one data-parallel rank of it), request by
 * request.
 *
 * For: brain.c keeps it, policies read it. A request waits for its first token in the lane's FIFO,
 * then generates until it ends. Everything is counted here at the moment of the decision; what
 * engines report corrects limits and the share of KV tokens that requests have in common.
 * A policy reads a thousand lanes for one decision: all that it needs is a sum kept up to date, and
 * no list is walked.
 * Threads: as the brain. Memory: none of its own; requests are rows of the brain's table, linked by
 * index. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "brain/rates.h"

#define LANE_NONE UINT32_MAX
#define LANE_STEP_TOKENS 8192  /* a step's token budget where the engine does not say it */
#define LANE_LENGTHS 16	       /* log2 buckets of tokens generated so far */
#define LANE_BUCKETS 14	       /* log2 buckets of tokens that are expected to come */
#define LANE_OUTPUT_TOKENS 256 /* an answer's length before one has been seen */

/* A request at a lane: a part of the brain's row. */
struct lane_request {
	/* set by who adds it */
	uint32_t prompt_tokens;
	uint32_t uncached; /* tokens of the prompt that must be computed */
	uint32_t pinned;   /* tokens of the prompt that are counted as its own in the KV cache: all,
			    * or, where lane_hold tells what it shares, the uncached ones */
	uint32_t output_max; /* UINT32_MAX: not limited */
	bool is_odd;	     /* moved, or a kind of request that teaches nothing */
	bool is_blind;	     /* its first token is not seen (an answer in one piece) */
	/* filled in here */
	bool is_generating;  /* has had its first token */
	bool was_at_limit;   /* when it was sent: its first token teaches nothing */
	uint32_t next, prev; /* in the FIFO of those that wait; LANE_NONE: end */
	uint32_t generated;
	uint32_t residual;	 /* tokens expected to come, when last looked at */
	uint32_t drops;		 /* lane.drops when it was sent */
	uint32_t mark_generated; /* a gap is measured from here */
	uint64_t mark_ns;
	uint64_t sent_ns, first_ns;
	double ahead;  /* uncached tokens ahead when it was sent, its own included */
	double gap_ms; /* predicted at that time */
};

/*
 * How long answers are: shared by the lanes of a model. Of each log2 bucket of tokens generated so
 * far: how many answers ended in it, after how many tokens of it, and how many went on beyond it.
 * These are counted when they leave the bucket: a mean of answers that have ended would be that of
 * the short ones, which end first. From the last bucket down this gives what is still to come.
 */
struct lane_lengths {
	double ends[LANE_LENGTHS], end_tokens[LANE_LENGTHS], passes[LANE_LENGTHS];
	double further[LANE_LENGTHS]; /* tokens expected of an answer that has 2^i − 1 */
	uint64_t samples;	      /* ends */
};

/*
 * What a decision reads of each of a thousand candidates: made anew after each event of the lane,
 * in one place, on one cache line, and without a branch left to do.
 */
struct lane_view {
	double pending; /* uncached tokens of those that wait for a first token */
	double steps_per_token;
	double gap_ms; /* between tokens of the streams; 0: there are none */
	double room;   /* tokens that fit without meeting a limit; −∞: near that of sequences */
	uint64_t last_first_ns; /* when the last first token came, or the lane became busy */
	const struct rates *rates;
	float factor, gap_factor; /* of rates, for first tokens and for gaps */
	uint32_t head_uncached;	  /* of the prefill that is running; 0: time is no progress */
	uint32_t is_off;	  /* 1: predictions have failed (rates_are_off), or 0 */
};

struct lane {
	struct lane_view view;
	/* counted here; what a candidate that comes into question is judged by stands first */
	uint64_t kv_tokens;	  /* prompts and generated tokens of all in flight */
	uint64_t waiting_prompts; /* of these the prompts of those that wait */
	uint64_t residual;	  /* tokens expected from all that generate */
	uint32_t requests;	  /* in flight */
	uint32_t generating;	  /* of these */
	/* as far as the engine says (lane_set_limits); 0: unknown */
	uint32_t sequences_max;
	uint32_t step_tokens;	      /* LANE_STEP_TOKENS when unknown */
	struct lane_lengths *lengths; /* of its model; never NULL */
	struct rate_factors factors;
	struct rates *rates; /* of its kind (lane_set_rates); never NULL */
	uint64_t kv_tokens_max;
	double kv_free;	  /* tokens until the KV cache overflows, growth reserved; as the view */
	double kv_scale;  /* KV tokens in use as reported ÷ unique_tokens; 1 at start */
	uint64_t pending; /* uncached tokens of those that wait for a first token */
	uint64_t unique_tokens; /* pinned prompts and generated tokens: what lies in the KV cache */
	uint64_t shared_tokens; /* of these what several requests may hold in common */
	uint64_t generated;	/* by those in flight */
	uint32_t head_uncached; /* of the FIFO's head; 0: none */
	uint32_t drops;		/* requests that left without a first token */
	uint32_t waiting_head, waiting_tail; /* FIFO: no first token yet */
	/* those that generate, by log2 of the tokens that are expected to come */
	uint32_t bucket_count[LANE_BUCKETS];
	uint64_t bucket_residual[LANE_BUCKETS];
	double freed_per_ms;	  /* KV tokens, running average */
	uint64_t last_prefill_ns; /* when a prefill was last pending: gaps since then are clean */
	uint64_t last_end_ns;
	uint64_t padding;
};
/* Whole cache lines, and an odd number: views of many lanes do not meet in a few sets of a cache.
 */
_Static_assert(sizeof(struct lane) % 128 == 64, "lane");

/* Gives a row of the brain's table of requests. */
typedef struct lane_request *lane_row_fn(void *table, uint32_t row);
struct lane_table {
	lane_row_fn *row;
	void *table;
};

/* Limits are unknown. */
void lane_init(struct lane *l, struct rates *rates, struct lane_lengths *lengths);
/* At any time; 0: unknown. */
void lane_set_limits(struct lane *l, uint32_t sequences_max, uint64_t kv_tokens_max,
		     uint32_t step_tokens);
/* Another kind: what was in flight before teaches the new one. */
void lane_set_rates(struct lane *l, struct rates *rates);
void lane_lengths_init(struct lane_lengths *n);
/* Expected further tokens of an answer of which `generated` have come; at least 1. */
double lane_residual(const struct lane_lengths *n, uint32_t generated, uint32_t output_max);

/* The first group of the row's members is set; the rest is filled in here. */
void lane_add(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns);
void lane_first_token(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns);
/*
 * Of blind requests at the FIFO's head a first token is assumed when it is due, and when a later
 * request has had its own. Every event of the lane does this; between events a tick now and then.
 */
void lane_settle(struct lane *l, const struct lane_table *t, uint64_t now_ns);
/* So many tokens have been generated by now; told every so often. */
void lane_progress(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns,
		   uint32_t generated);
/* Only the length of an answer that was finished teaches how long answers are. */
enum lane_end { LANE_FINISHED, LANE_BROKEN_OFF };
void lane_remove(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns,
		 enum lane_end how);
/* Tokens that its requests hold in common came or went (shares.h), beside what is pinned. */
void lane_hold(struct lane *l, int64_t tokens);
/* The engine says how many tokens its KV cache holds for running requests. */
void lane_report_kv(struct lane *l, double kv_tokens_used);

/* ---- views: inline, for a decision asks a thousand lanes ---- */

#define LANE_MS_NS 1e6
/* Requests below the sequence limit from which on one has to wait now and then: 20, but not more
 * than a twelfth. */
#define LANE_SLOT_MARGIN 20
#define LANE_SLOT_MARGIN_SHARE 12

#define LANE_PROGRESS_MAX 0.95 /* of a prefill whose first token has not come */

/* Uncached tokens still to be computed: pending less the progress of the running prefill. */
static inline double lane_view_pending(const struct lane_view *v, uint64_t now_ns)
{
	if (v->head_uncached == 0)
		return v->pending;
	const int64_t elapsed_ns = (int64_t)(now_ns - v->last_first_ns);
	const double most = LANE_PROGRESS_MAX * v->head_uncached;
	const double done = (double)(elapsed_ns > 0 ? elapsed_ns : 0) /
			    (v->rates->token_ms * v->factor * LANE_MS_NS);

	return v->pending - (done < most ? done : most);
}

static inline double lane_pending(const struct lane *l, uint64_t now_ns)
{
	return lane_view_pending(&l->view, now_ns);
}

/* Between two tokens of a stream, as the lane is now; also when nothing generates. */
static inline double lane_gap_ms(const struct lane *l)
{
	return rates_gap_ms(l->rates, l->factors.gap_used,
			    (double)(int64_t)(l->kv_tokens - l->waiting_prompts));
}

/* KV tokens in use, those that requests share counted once. */
static inline double lane_kv_used(const struct lane *l)
{
	return (double)(int64_t)l->unique_tokens * l->kv_scale;
}

/* From so many requests on the sequence limit is near. */
static inline uint32_t lane_slots_near(const struct lane *l)
{
	const uint32_t share = l->sequences_max / LANE_SLOT_MARGIN_SHARE;

	if (!l->sequences_max)
		return UINT32_MAX;
	return l->sequences_max - (share < LANE_SLOT_MARGIN ? share : LANE_SLOT_MARGIN);
}

/* At its sequence limit. */
static inline bool lane_is_full(const struct lane *l)
{
	return l->sequences_max && l->requests >= l->sequences_max;
}

/*
 * Late binding: may a request with so many uncached tokens go there now? An engine must not stand
 * still until the next request has come, and what waits there cannot go elsewhere any more. So: behind
 * the running prefill wait less than one step's budget or 10 ms of work, for a sequence at most one in
 * 64 and one, and the KV cache has room for it and what the others will generate. A lane where nothing
 * is in flight is open.
 */
bool lane_is_open(const struct lane *l, uint64_t now_ns, uint32_t uncached);
