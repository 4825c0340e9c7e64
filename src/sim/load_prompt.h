/*
 * load_prompt.h: a workload's request as the body of an OpenAI chat request.
 *
 * For: `busbar bench run`, `busbar sim workload`. Prompts are made of short common words, each
 * about one token; word i of a stream is the same wherever it appears, so that what two prompts
 * have in common is common text. Spans of answers become messages of the assistant, all else
 * messages of the user. Threads: pure; the words are constant once made. Memory: the caller's
 * buffer. Errors: -BB_ELIMIT (over the buffer's maximum), -BB_ENOMEM, kept in the buffer.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "sim/sim_text.h"
#include "sim/workload.h"

/* How a server's tokens come out of words. */
struct load_scale {
	double words_per_token; /* 1 where each word is a token */
	uint32_t extra_tokens;	/* that its chat template adds to a prompt of one message */
};

struct load_prompt {
	const struct workload *work;
	struct sim_words words;
	struct load_scale scale;
	uint64_t salt; /* with another one, no two prompts have their words in common */
	const struct bb_str *models; /* that of adapter n, n = 0: the model itself */
	uint32_t model_count;	     /* adapters beyond them are taken modulo it */
	bool ignores_eos;	     /* asks for answers of just their length ("ignore_eos") */
	/*
	 * What a request was answered, as the inside of a JSON string; p == NULL: words are
	 * invented. May be NULL.
	 */
	struct bb_str (*answer)(void *user, uint32_t request);
	void *user;
};

/* Scale 1, no adapters, ignore_eos; `model` outlives it. */
void load_prompt_init(struct load_prompt *p, const struct workload *work,
		      const struct bb_str *model);
int load_prompt_write(const struct load_prompt *p, uint32_t request, struct bb_buf *out);
