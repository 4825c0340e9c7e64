/*
 * workload.h: what clients ask for, and when: the input of simulated and of real runs.
 *
 * For: `busbar replay`, `busbar bench run`, `busbar sim workload`, tests. work_read.h fills it from
 * a trace, work_make.h by a generator. A prompt has no text: it is a concatenation of spans, and
 * token i of a stream is the same wherever it appears, so that what two prompts have in common is
 * known to the token. The answer of request r is the stream work_answer(r); the next turn of a
 * conversation contains it. Threads: one owner while it is built, then any number of readers.
 * Memory: owned by the workload, 48 bytes a request and 16 a span; at most WORK_REQUESTS_MAX and
 * WORK_SPANS_MAX of them. Errors: -BB_ENOMEM, -BB_ELIMIT.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define WORK_NONE UINT32_MAX
#define WORK_REQUESTS_MAX 20000000u
#define WORK_SPANS_MAX 400000000u
#define WORK_TOKENS_MAX (1u << 24) /* of one prompt or one answer */
#define WORK_NAME_SIZE 64
#define WORK_DUE_MAX_NS (1ull << 61) /* 73 years */

/* Streams below this are for traces and generators to number. */
#define WORK_STREAM_MAX (1ull << 62)

/* Tokens from … from+count−1 of an endless stream of tokens. */
struct work_span {
	uint64_t stream;
	uint32_t from, count;
};

struct work_request {
	uint64_t due_ns;  /* since the start; for one that follows another, since that one's end */
	uint32_t after;	  /* index of the request whose end it waits for, less than its own; or
			     WORK_NONE */
	uint32_t tenant;  /* from 0 */
	uint32_t session; /* from 0: a conversation, a client or an agent's task */
	uint32_t adapter; /* 0: the model itself; from 1: a LoRA adapter */
	uint32_t prompt_tokens, output_tokens; /* at least 1 of each */
	uint32_t span_first, span_count; /* the prompt; their counts add up to prompt_tokens */
};

struct workload {
	char name[WORK_NAME_SIZE]; /* of the generator or the file */
	struct work_request
		*requests; /* once sealed in the order of their times, as far as known */
	struct work_span *spans;
	uint32_t count, span_count;
	uint32_t requests_room, spans_room;
	uint32_t tenant_count, session_count,
		adapter_count; /* adapters: without the model itself */
	uint32_t open_span;    /* where the prompt in work begins */
	uint64_t grain_ns;     /* of arrivals as they were recorded; 0: they are exact */
	uint64_t prompt_tokens, output_tokens; /* of all requests */
};

/* The answer of a request, and tokens that only its prompt has, as streams. */
static inline uint64_t work_answer(uint32_t request)
{
	return 1ull << 63 | request;
}
static inline uint64_t work_own(uint32_t request)
{
	return 1ull << 62 | request;
}

void workload_init(struct workload *w);
void workload_fini(struct workload *w);

/* ---- building: spans of a prompt, then its request; sealed at the end ---- */

/* One more span of the prompt in work; one that continues the last is joined with it. */
BB_MUST int workload_span(struct workload *w, uint64_t stream, uint32_t from, uint32_t count);
/* The whole prompt of an earlier request and its answer: what its next turn begins with. */
BB_MUST int workload_turns(struct workload *w, uint32_t request);
/* Tokens of the prompt in work so far. */
uint64_t workload_open_tokens(const struct workload *w);
/*
 * The prompt in work becomes a request; of `r` its tokens of the prompt and its spans are set here.
 * -BB_ELIMIT: more than WORK_TOKENS_MAX, none, or too many requests.
 */
BB_MUST int workload_add(struct workload *w, const struct work_request *r);
/* Forgets the spans of the prompt in work. */
void workload_drop(struct workload *w);
/*
 * Orders requests by when they are due, a follower as if answers took no time, and counts. What is
 * due together stays in the order in which it was added.
 */
BB_MUST int workload_seal(struct workload *w);

/* ---- a sealed workload ---- */

/*
 * Moves each request that follows none later by an even share of [0, grain); sealed again.
 * Recorders round times: when most arrivals share theirs with another, grain_ns is the median step
 * between times, else 0. Found by workload_seal; after jitter there is none.
 */
BB_MUST int workload_jitter(struct workload *w, uint64_t grain_ns, uint64_t seed);
/* Arrivals `speed` times as fast; the time between an answer and what follows it stays. */
void workload_speed(struct workload *w, double speed);
/* The time between an answer and what follows it `factor` times as long. */
void workload_think(struct workload *w, double factor);
/* Only the first `count` requests. */
void workload_limit(struct workload *w, uint32_t count);
/* The last arrival of those that follow none, and how many these are. */
uint64_t workload_length_ns(const struct workload *w);
uint32_t workload_arrivals(const struct workload *w);

/*
 * Chained hashes of the whole blocks of a request's prompt and the first `answer_tokens` of its
 * answer (0: of the prompt alone, as the router sees it); equal only where all tokens up to the
 * block's end are. `key` is mixed into the first: a tenant's salt, or one number for all.
 * `out` has room for `out_max`; what is beyond is left out. How many there are is returned.
 */
uint32_t work_hashes(const struct workload *w, uint32_t request, uint32_t answer_tokens,
		     uint32_t block_tokens, uint64_t key, uint64_t *out, uint32_t out_max);
