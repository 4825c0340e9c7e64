/*
 * answer.h: one generation request on its way: sequences in, JSON or server-sent events out.
 *
 * For: api_generate makes it. News of the sequences are taken when the client's socket has room:
 * a slow reader gets fewer, larger chunks, and nothing grows beyond the answer itself.
 * Threads: the loop's thread.
 * Memory: hangs on the exchange and goes with it; when the client has left, the sequences are
 * cancelled. Errors: -BB_ENOMEM from answer_create; later failures are answered: before the first
 * byte as an HTTP error, after it as an error event without [DONE].
 */
#pragma once

#include "engine_api.h"
#include "request_params.h"
#include "sequence.h"

#define ANSWER_CHOICES_MAX 64

struct choice {
	struct sequence *sequence;
	struct sequence_news news; /* streams: what is being written; else: everything so far */
	uint32_t prompt_len;
	uint32_t text_offset; /* bytes of text before this piece, for logprobs of completions */
	bool has_news;
	bool has_begun; /* the chunk with the role was written */
	bool is_over;
};

struct answer {
	struct api_job job;
	struct engine_api *api;
	struct exchange *exchange;
	struct request_params *params;
	enum request_kind kind;
	uint64_t created_s;
	bool has_begun;	 /* the head of a stream was written */
	bool is_blocked; /* the socket takes no more */
	bool is_over;	 /* answered; on_closed is to come */
	struct bb_buf out;
	char request_id[REQUEST_ID_MAX + 1];
	char id[REQUEST_ID_MAX + 16];
	uint32_t choice_count;
	struct choice choices[ANSWER_CHOICES_MAX];
};

BB_MUST int answer_create(struct api_request *r, struct request_params *params,
			  enum request_kind kind, struct answer **out);
/* One more choice, with the prompt's tokens. */
BB_MUST int answer_add(struct answer *a, const struct sequence_config *config);
/* Hands the sequences to the scheduler and the answer to the exchange. On failure the caller
 * destroys it. */
BB_MUST int answer_start(struct answer *a);
void answer_destroy(struct answer *a);

/* answer_json.c: appends to a->out. */
void answer_write_whole(struct answer *a);
void answer_write_chunk(struct answer *a, struct choice *c);
void answer_write_usage_chunk(struct answer *a);
