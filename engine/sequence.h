/*
 * sequence.h: one prompt and the answer that grows behind it.
 *
 * For: a request has one sequence for each prompt and choice. The loop's thread makes it and hands
 * it to the scheduler; the engine thread extends it; what is new is left in `fresh`, and a message
 * calls on_progress on the loop's thread, which takes it away. At most one message is under way.
 * Threads: as the groups of members say.
 * Memory: counted holders: who made it, the scheduler, the message under way. The tokens are one
 * array that doubles; `fresh` grows no larger than the answer.
 * Errors: -BB_ENOMEM; the sequence is then ended by the scheduler with FINISH_ERROR.
 */
#pragma once

#include <pthread.h>

#include "base/list.h"
#include "engine_metrics.h"
#include "kv_blocks.h"
#include "model.h"
#include "os/loop.h"
#include "request_params.h"
#include "sampling.h"
#include "token_text.h"

#define SEQUENCE_TEXT_MAX (16u << 20)
#define STOP_NONE (-1)

enum sequence_place { PLACE_OUTSIDE, PLACE_WAITING, PLACE_RUNNING, PLACE_OVER };

/* What the engine thread has made and nobody has taken yet. */
struct sequence_news {
	struct bb_buf text;	/* valid UTF-8; of an embedding: its floats */
	struct bb_buf logprobs; /* struct token_logprob: for each token itself, then alternatives */
	struct bb_buf token_ids; /* int32_t, where the request wants them */
	uint32_t answer_tokens;	 /* so far, all together */
	uint32_t cached_tokens;	 /* of the prompt */
	enum finish_reason finish;
	int32_t stop_string; /* index of the stop string that ended it, or STOP_NONE */
	int32_t stop_token;  /* one of the request's stop_token_ids, or STOP_NONE */
};

struct sequence {
	uint32_t holders;  /* atomic */
	bool is_cancelled; /* atomic */

	/* Constant once it is submitted. */
	struct request_params *params; /* NULL: an embedding is wanted */
	uint32_t prompt_len;
	uint32_t answer_max; /* tokens */
	uint64_t seed;
	uint32_t salt_len;
	char salt[KV_SALT_MAX];

	/* Under the scheduler's lock. */
	struct bb_list link;
	enum sequence_place place;

	/* The engine thread's. */
	int32_t *tokens; /* prompt and answer */
	uint32_t token_count;
	uint32_t token_room;
	uint32_t slot; /* KV_NO_SLOT unless running */
	uint32_t cached_tokens;
	bool was_admitted;
	bool has_sampler;
	struct sampler sampler;
	struct token_text text;
	struct bb_buf piece;
	uint64_t arrived_ns;
	uint64_t last_token_ns; /* 0: none yet */

	pthread_mutex_t lock; /* of `fresh` */
	struct sequence_news fresh;

	/* The loop's. */
	struct loop *loop;
	struct loop_message message;
	bool is_posted; /* atomic */
	void *owner;	/* NULL: nobody listens any more */
	uint32_t index; /* the owner's */
	void (*on_progress)(struct sequence *s);
};

struct sequence_config {
	struct loop *loop;
	struct request_params *params; /* a holder is added; NULL: an embedding */
	const int32_t *prompt;	       /* copied */
	uint32_t prompt_len;
	uint32_t answer_max;
	uint64_t seed;
	struct bb_str salt;
	void *owner;
	uint32_t index;
	void (*on_progress)(struct sequence *s);
};

BB_MUST int sequence_create(const struct sequence_config *config, struct sequence **out);
void sequence_hold(struct sequence *s);
void sequence_put(struct sequence *s);

/* Engine thread: one more token; decides whether it is the last. */
BB_MUST int sequence_accept(struct sequence *s, const struct model *m, int32_t token,
			    const struct token_logprob *logprobs, uint32_t logprob_count,
			    enum finish_reason *finish);
/* Engine thread: it ends without another token. */
void sequence_end(struct sequence *s, enum finish_reason why);
/* Engine thread, for an embedding: the result. */
BB_MUST int sequence_give_embedding(struct sequence *s, const float *values, uint32_t count);
/* Engine thread: tell the loop that there are news. */
void sequence_publish(struct sequence *s);
/* Tokens of the answer so far; engine thread. */
static inline uint32_t sequence_answer_len(const struct sequence *s)
{
	return s->token_count - s->prompt_len;
}

/* Loop's thread: moves what is new into `out`, whose buffers must be empty; both go on. */
void sequence_take(struct sequence *s, struct sequence_news *out);
void sequence_news_init(struct sequence_news *n);
void sequence_news_fini(struct sequence_news *n);
