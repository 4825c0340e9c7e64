#include "sampling.h"

#include <math.h>

#include "base/alloc.h"
#include "base/log.h"

static int chain_add(struct llama_sampler *chain, struct llama_sampler *link)
{
	if (!link)
		return -BB_ENOMEM;
	llama_sampler_chain_add(chain, link);
	return 0;
}

static uint32_t fold_seed(uint64_t seed)
{
	const uint32_t folded = (uint32_t)(seed ^ (seed >> 32));

	return folded == LLAMA_DEFAULT_SEED ? 0 : folded; /* the default means "a random one" */
}

static int make_chain(struct sampler *s, const struct request_params *p, uint64_t seed)
{
	struct llama_sampler_chain_params chain_params = llama_sampler_chain_default_params();
	int rc = 0;

	chain_params.no_perf = true;
	s->chain = llama_sampler_chain_init(chain_params);
	if (!s->chain)
		return -BB_ENOMEM;
	if (p->top_k != TOP_K_OFF)
		rc = chain_add(s->chain, llama_sampler_init_top_k(p->top_k));
	if (!rc)
		rc = chain_add(s->chain, llama_sampler_init_temp(p->temperature));
	if (!rc && p->min_p > 0)
		rc = chain_add(s->chain, llama_sampler_init_min_p(p->min_p, 1));
	if (!rc && p->top_p < 1)
		rc = chain_add(s->chain, llama_sampler_init_top_p(p->top_p, 1));
	if (!rc)
		rc = chain_add(s->chain, llama_sampler_init_dist(fold_seed(seed)));
	return rc;
}

static bool has_penalties(const struct request_params *p)
{
	return p->repetition_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

int sampler_init(struct sampler *s, const struct request_params *p, uint64_t seed,
		 const struct model *m, const int32_t *prompt, uint32_t prompt_len)
{
	int rc = 0;

	*s = (struct sampler){ 0 };
	if (p->temperature > 0)
		rc = make_chain(s, p, seed);
	if (!rc && has_penalties(p)) {
		s->answer_counts = bb_alloc_zero(m->vocab_size, sizeof(*s->answer_counts));
		s->in_prompt = bb_alloc_zero(m->vocab_size, sizeof(*s->in_prompt));
		if (!s->answer_counts || !s->in_prompt)
			rc = -BB_ENOMEM;
	}
	if (rc) {
		sampler_fini(s);
		return rc;
	}
	for (uint32_t i = 0; s->in_prompt && i < prompt_len; i++)
		s->in_prompt[prompt[i]] = 1;
	return 0;
}

void sampler_fini(struct sampler *s)
{
	if (s->chain)
		llama_sampler_free(s->chain);
	s->chain = NULL;
	BB_FREE(s->answer_counts);
	BB_FREE(s->in_prompt);
}

static void penalize(const struct sampler *s, const struct request_params *p, uint32_t count,
		     float *logits)
{
	for (uint32_t t = 0; t < count; t++) {
		const uint16_t n = s->answer_counts[t];
		if (!n && !s->in_prompt[t])
			continue;
		if (logits[t] > 0)
			logits[t] /= p->repetition_penalty;
		else
			logits[t] *= p->repetition_penalty;
		if (n)
			logits[t] -= (float)n * p->frequency_penalty + p->presence_penalty;
	}
}

static int32_t most_likely(const float *logits, uint32_t count)
{
	uint32_t best = 0;

	for (uint32_t t = 1; t < count; t++)
		if (logits[t] > logits[best])
			best = t;
	return (int32_t)best;
}

static int32_t draw(struct sampler *s, const float *logits, uint32_t count,
		    struct llama_token_data *room)
{
	struct llama_token_data_array all = { .data = room, .size = count, .selected = -1 };

	for (uint32_t t = 0; t < count; t++)
		room[t] = (struct llama_token_data){ .id = (int32_t)t, .logit = logits[t] };
	llama_sampler_apply(s->chain, &all);
	BB_ASSERT(all.selected >= 0 && (size_t)all.selected < all.size);
	return all.data[all.selected].id;
}

int32_t sampler_pick(struct sampler *s, const struct request_params *p, const struct model *m,
		     float *logits, struct llama_token_data *room, enum sampler_end end)
{
	if (end == SAMPLER_MUST_GO_ON) {
		for (uint32_t i = 0; i < m->eog_count; i++)
			logits[m->eog[i]] = -INFINITY;
		for (uint32_t i = 0; i < p->stop_token_count; i++)
			logits[p->stop_tokens[i]] = -INFINITY;
	}
	if (s->answer_counts)
		penalize(s, p, m->vocab_size, logits);
	const int32_t token = s->chain ? draw(s, logits, m->vocab_size, room)
				       : most_likely(logits, m->vocab_size);
	if (s->answer_counts && s->answer_counts[token] < UINT16_MAX)
		s->answer_counts[token]++;
	return token;
}

struct logprob_scale logprob_scale(const float *logits, uint32_t count)
{
	struct logprob_scale scale = { .max = logits[0] };
	double sum = 0;

	for (uint32_t t = 1; t < count; t++)
		if (logits[t] > scale.max)
			scale.max = logits[t];
	for (uint32_t t = 0; t < count; t++)
		sum += exp((double)(logits[t] - scale.max));
	scale.log_sum = (float)log(sum);
	return scale;
}

void logprob_top(const float *logits, uint32_t count, struct logprob_scale scale,
		 struct token_logprob *top, uint32_t top_count)
{
	uint32_t have = 0;

	for (uint32_t t = 0; t < count; t++) {
		const float value = logprob_of(scale, logits[t]);
		if (have == top_count && (have == 0 || value <= top[have - 1].logprob))
			continue;
		uint32_t at = have < top_count ? have++ : have - 1;
		for (; at > 0 && top[at - 1].logprob < value; at--)
			top[at] = top[at - 1];
		top[at] = (struct token_logprob){ .token = (int32_t)t, .logprob = value };
	}
	for (; have < top_count; have++) /* a vocabulary smaller than the wish */
		top[have] = (struct token_logprob){ .token = 0, .logprob = -INFINITY };
}
