/*
 * sampling.h: the choice of the next token.
 *
 * For: the engine thread. Penalties as vLLM defines them (repetition over prompt and answer,
 * presence and frequency over the answer); then top_k, temperature, min_p, top_p and the draw by
 * libllama's samplers. With a seed the draws are the same in every run; the logits are, too, as
 * long as the batches have the same shape.
 * Threads: one owner. Memory: a chain, and 4 bytes a vocabulary entry where penalties are on.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include <llama.h>

#include "model.h"
#include "request_params.h"

struct sampler {
	struct llama_sampler *chain; /* NULL: the most likely token */
	uint16_t *answer_counts; /* NULL: no penalties. How often a token stands in the answer */
	uint8_t *in_prompt;
};

/* One token that was chosen, or could have been. */
struct token_logprob {
	int32_t token;
	float logprob;
};

BB_MUST int sampler_init(struct sampler *s, const struct request_params *p, uint64_t seed,
			 const struct model *m, const int32_t *prompt, uint32_t prompt_len);
void sampler_fini(struct sampler *s);

enum sampler_end { SAMPLER_MAY_END, SAMPLER_MUST_GO_ON };
/*
 * Chooses from `logits` (vocab_size floats, changed). `room` holds vocab_size entries.
 * SAMPLER_MUST_GO_ON: no token that ends the answer.
 */
int32_t sampler_pick(struct sampler *s, const struct request_params *p, const struct model *m,
		     float *logits, struct llama_token_data *room, enum sampler_end end);

/* Log-probabilities under the model itself, before penalties and temperature. */
struct logprob_scale {
	float max;
	float log_sum;
};
struct logprob_scale logprob_scale(const float *logits, uint32_t count);
/* The `top_count` most likely tokens, best first. */
void logprob_top(const float *logits, uint32_t count, struct logprob_scale scale,
		 struct token_logprob *top, uint32_t top_count);
static inline float logprob_of(struct logprob_scale s, float logit)
{
	return logit - s.max - s.log_sum;
}
