#include <math.h>

#include "base/log.h"
#include "os/clock.h"
#include "scheduler_impl.h"

/* Tokens that are known and not yet in the KV cache. One: the last drawn, or a prompt's last. */
static uint32_t pending(const struct scheduler *s, const struct sequence *q)
{
	return q->token_count - kv_token_count(s->kv, q->slot);
}

static void batch_add(struct scheduler *s, int32_t token, uint32_t position, uint32_t slot,
		      bool has_output)
{
	struct llama_batch *b = &s->batch;
	const int32_t i = b->n_tokens++;

	BB_ASSERT((uint32_t)i < s->model.batch_tokens);
	b->token[i] = token;
	b->pos[i] = (llama_pos)position;
	b->n_seq_id[i] = 1;
	b->seq_id[i][0] = (llama_seq_id)slot;
	b->logits[i] = has_output;
}

/* The next `count` tokens of the sequence; the logits of its last token are wanted. */
static void part_add(struct scheduler *s, struct sequence *q, uint32_t count)
{
	const uint32_t from = kv_token_count(s->kv, q->slot);
	const bool is_end = from + count == q->token_count;

	for (uint32_t i = 0; i < count; i++)
		batch_add(s, q->tokens[from + i], from + i, q->slot, is_end && i == count - 1);
	s->parts[s->part_count++] = (struct batch_part){
		.sequence = q,
		.count = count,
		.output_index = is_end ? s->batch.n_tokens - 1 : -1,
	};
}

/*
 * Room for one more token of each sequence that generates. One that has outgrown its promise may
 * find none: then the youngest without promise, maybe itself, goes back to the queue.
 */
static void take_room(struct scheduler *s)
{
	struct bb_list *l = s->running.next;

	while (l != &s->running) {
		struct bb_list *before = l->prev;
		struct sequence *q = BB_CONTAINER(l, struct sequence, link);
		if (pending(s, q) > 1 || kv_take(s->kv, q->slot, 1) == 0) {
			l = l->next;
			continue;
		}
		if (!scheduler_preempt_youngest(s)) {
			BB_LOG(BB_LOG_ERROR, "kv_full", "a request with promised room found none");
			scheduler_finish(s, q, FINISH_ERROR, KV_KEEP);
		}
		if (q->slot == KV_NO_SLOT)
			l = before->next;
	}
}

/* Every sequence that generates, then prompts in order of arrival as far as the batch goes. */
static void build(struct scheduler *s)
{
	s->batch.n_tokens = 0;
	s->part_count = 0;
	take_room(s);
	BB_LIST_EACH (l, next, &s->running) {
		struct sequence *q = BB_CONTAINER(l, struct sequence, link);
		if (pending(s, q) == 1)
			part_add(s, q, 1);
	}
	BB_LIST_EACH (l, next, &s->running) {
		struct sequence *q = BB_CONTAINER(l, struct sequence, link);
		const uint32_t left = s->model.batch_tokens - (uint32_t)s->batch.n_tokens;
		const uint32_t wanted = pending(s, q);
		if (wanted == 1)
			continue;
		const uint32_t count = wanted < left ? wanted : left;
		if (count == 0)
			break;
		if (kv_take(s->kv, q->slot, count)) {
			BB_LOG(BB_LOG_ERROR, "kv_full", "a prompt with promised room found none");
			scheduler_finish(s, q, FINISH_ERROR, KV_KEEP);
			continue;
		}
		part_add(s, q, count);
	}
}

/* libllama could not go on: its state for these sequences is unknown. */
static void fail_batch(struct scheduler *s, int rc)
{
	BB_LOG(BB_LOG_ERROR, "decode_failed", "libllama failed with code %d: %u requests end", rc,
	       s->part_count);
	for (uint32_t i = 0; i < s->part_count; i++)
		scheduler_finish(s, s->parts[i].sequence, FINISH_ERROR, KV_FORGET);
}

/*
 * Our count says that there is room, libllama says no. Everything that is only cached goes, and if
 * that is not enough, somebody is put back or, as the last resort, ended with an error.
 */
static int decode_again(struct scheduler *s)
{
	(void)BB_CHECK(false, "libllama found no room in the KV cache that we have counted");
	kv_drop_cached(s->kv);
	const int rc = llama_decode(s->model.ctx, s->batch);
	if (rc != 1)
		return rc;
	if (!scheduler_preempt_youngest(s)) {
		struct sequence *q = s->parts[s->part_count - 1].sequence;
		BB_LOG(BB_LOG_ERROR, "kv_full",
		       "the KV cache is full: a request ends with an error");
		scheduler_finish(s, q, FINISH_ERROR, KV_FORGET);
	}
	return 1;
}

static void count_token(struct scheduler *s, struct sequence *q)
{
	const uint64_t now_ns = clock_now_ns();

	metric_add(&s->config.metrics->generation_tokens, 1);
	if (q->last_token_ns)
		metrics_inter_token(s->config.metrics, now_ns - q->last_token_ns);
	else
		metrics_first_token(s->config.metrics, now_ns - q->arrived_ns);
	q->last_token_ns = now_ns;
}

static int draw(struct scheduler *s, struct sequence *q, float *logits, enum finish_reason *finish)
{
	struct token_logprob logprobs[1 + LOGPROBS_MAX];
	struct logprob_scale scale = { 0 };
	uint32_t logprob_count = 0;
	const bool may_end = sequence_answer_len(q) >= q->params->min_tokens;

	if (!q->has_sampler) {
		const int rc = sampler_init(&q->sampler, q->params, q->seed, &s->model, q->tokens,
					    q->prompt_len);
		if (rc)
			return rc;
		q->has_sampler = true;
	}
	if (q->params->logprobs != LOGPROBS_OFF) {
		scale = logprob_scale(logits, s->model.vocab_size);
		logprob_count = 1 + (uint32_t)q->params->logprobs;
		logprob_top(logits, s->model.vocab_size, scale, logprobs + 1, logprob_count - 1);
		/* The draw changes the logits; what it is drawn from must be kept. */
		memcpy(s->raw_logits, logits, s->model.vocab_size * sizeof(*logits));
	}
	const int32_t token = sampler_pick(&q->sampler, q->params, &s->model, logits, s->candidates,
					   may_end ? SAMPLER_MAY_END : SAMPLER_MUST_GO_ON);
	if (logprob_count)
		logprobs[0] = (struct token_logprob){
			.token = token,
			.logprob = logprob_of(scale, s->raw_logits[token]),
		};
	return sequence_accept(q, &s->model, token, logprobs, logprob_count, finish);
}

static void sample(struct scheduler *s, const struct batch_part *part)
{
	struct sequence *q = part->sequence;
	enum finish_reason finish = FINISH_NOT_YET;
	float *logits = llama_get_logits_ith(s->model.ctx, part->output_index);

	if (!logits || draw(s, q, logits, &finish)) {
		BB_LOG(BB_LOG_ERROR, "sampling_failed",
		       "no next token could be drawn: a request ends");
		scheduler_finish(s, q, FINISH_ERROR, KV_KEEP);
		return;
	}
	count_token(s, q);
	if (finish == FINISH_NOT_YET)
		sequence_publish(q);
	else
		scheduler_finish(s, q, finish, KV_KEEP);
}

void step_generate(struct scheduler *s)
{
	build(s);
	if (s->part_count == 0)
		return;
	int rc = llama_decode(s->model.ctx, s->batch);
	if (rc == 1)
		rc = decode_again(s);
	if (rc == 1)
		return; /* somebody has left: the next step is smaller */
	if (rc) {
		fail_batch(s, rc);
		return;
	}
	for (uint32_t i = 0; i < s->part_count; i++) {
		const struct sequence *q = s->parts[i].sequence;
		kv_filled(s->kv, q->slot, q->tokens + kv_token_count(s->kv, q->slot),
			  s->parts[i].count);
	}
	for (uint32_t i = 0; i < s->part_count; i++)
		if (s->parts[i].output_index >= 0)
			sample(s, &s->parts[i]);
}

/* ---- embeddings ---- */

/* OpenAI's embeddings have length 1. */
static int give_embedding(struct scheduler *s, struct sequence *q, uint32_t slot)
{
	float *values = llama_get_embeddings_seq(s->model.ctx, (llama_seq_id)slot);
	double sum = 0;

	if (!values)
		return -BB_ESYSTEM;
	for (uint32_t i = 0; i < s->model.embd_size; i++)
		sum += (double)values[i] * (double)values[i];
	const float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
	for (uint32_t i = 0; i < s->model.embd_size; i++)
		values[i] *= scale;
	return sequence_give_embedding(q, values, s->model.embd_size);
}

void step_embed(struct scheduler *s)
{
	llama_memory_t memory = llama_get_memory(s->model.ctx);

	if (memory)
		llama_memory_clear(memory, false);
	s->batch.n_tokens = 0;
	s->part_count = 0;
	BB_LIST_EACH (l, next, &s->running) {
		struct sequence *q = BB_CONTAINER(l, struct sequence, link);
		if ((uint32_t)s->batch.n_tokens + q->prompt_len > s->model.batch_tokens)
			continue;
		for (uint32_t i = 0; i < q->prompt_len; i++)
			batch_add(s, q->tokens[i], i, s->part_count, true);
		s->parts[s->part_count++] = (struct batch_part){ .sequence = q };
	}
	if (s->part_count == 0)
		return;
	const int rc = llama_decode(s->model.ctx, s->batch);
	if (rc) {
		fail_batch(s, rc);
		return;
	}
	for (uint32_t i = 0; i < s->part_count; i++) {
		struct sequence *q = s->parts[i].sequence;
		const bool is_given = give_embedding(s, q, i) == 0;
		metric_add(&s->config.metrics->prompt_tokens, q->prompt_len);
		scheduler_finish(s, q, is_given ? FINISH_STOP : FINISH_ERROR, KV_FORGET);
	}
}
