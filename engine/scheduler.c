#include "scheduler.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "scheduler_impl.h"

/* Room that a sequence without max_tokens gets before it starts; more as it grows. */
#define ANSWER_PROMISED_DEFAULT 128

static void share_cells(void *user, uint32_t from, uint32_t to, uint32_t token_count)
{
	struct scheduler *s = user;

	llama_memory_seq_cp(llama_get_memory(s->model.ctx), (llama_seq_id)from, (llama_seq_id)to, 0,
			    (llama_pos)token_count);
}

static void drop_cells(void *user, uint32_t slot, uint32_t token_from)
{
	struct scheduler *s = user;
	const llama_pos from = token_from ? (llama_pos)token_from : -1;

	llama_memory_seq_rm(llama_get_memory(s->model.ctx), (llama_seq_id)slot, from, -1);
}

static void ignore_stored(void *user, const uint64_t *hashes, uint32_t count, const int32_t *tokens,
			  const uint64_t *parent, struct bb_str salt)
{
}

static void ignore_removed(void *user, uint64_t hash)
{
}

int scheduler_create(const struct scheduler_config *config, struct scheduler **out)
{
	struct scheduler *s = bb_alloc_zero(1, sizeof(*s));

	if (!s)
		return -BB_ENOMEM;
	s->config = *config;
	bb_list_init(&s->waiting);
	bb_list_init(&s->running);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	*out = s;
	return 0;
}

/* What needs the model's facts. */
static int prepare(struct scheduler *s)
{
	const struct engine_options *o = s->config.options;
	const struct kv_config kv = {
		.block_count = s->model.ctx_tokens / o->block_size,
		.block_size = o->block_size,
		.slot_count = s->model.slot_count,
		.sharing = s->model.shares_prefixes ? KV_SHARED : KV_NEVER_SHARED,
		.cells = { .user = s, .share = share_cells, .drop = drop_cells },
		.sink = s->config.publisher ? kv_publisher_sink(s->config.publisher)
					    : (struct kv_sink){ .stored = ignore_stored,
								.removed = ignore_removed },
	};

	if (!s->model.embeds) {
		const int rc = kv_blocks_create(&kv, &s->kv);
		if (rc)
			return rc;
	}
	s->parts = bb_alloc_zero(o->parallel, sizeof(*s->parts));
	s->candidates = bb_alloc_zero(s->model.vocab_size, sizeof(*s->candidates));
	s->raw_logits = bb_alloc_zero(s->model.vocab_size, sizeof(*s->raw_logits));
	s->batch = llama_batch_init((int32_t)s->model.batch_tokens, 0, 1);
	s->has_batch = true;
	return s->parts && s->candidates && s->raw_logits && s->batch.token ? 0 : -BB_ENOMEM;
}

void scheduler_destroy(struct scheduler *s)
{
	if (!s)
		return;
	BB_ASSERT(!s->has_thread);
	if (s->has_batch)
		llama_batch_free(s->batch);
	kv_blocks_destroy(s->kv);
	if (s->model.llama)
		model_unload(&s->model);
	bb_free(s->parts);
	bb_free(s->candidates);
	bb_free(s->raw_logits);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	bb_free(s);
}

/* ---- the loop's side ---- */

int scheduler_submit(struct scheduler *s, struct sequence *const *sequences, uint32_t count)
{
	const uint64_t now_ns = clock_now_ns();
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	/* Sequences that can start at once are not waiting; the queue counts those beyond. */
	const uint64_t running = metric_get(&s->config.metrics->running);
	const uint32_t parallel = s->config.options->parallel;
	const uint32_t idle = running < parallel ? parallel - (uint32_t)running : 0;
	if (s->is_stopping)
		rc = -BB_EDRAINING;
	else if (count > s->config.options->queue_max + parallel)
		rc = -BB_ELIMIT;
	else if (s->waiting_count + count > s->config.options->queue_max + idle)
		rc = -BB_EBUSY;
	for (uint32_t i = 0; !rc && i < count; i++) {
		sequence_hold(sequences[i]);
		sequences[i]->arrived_ns = now_ns;
		sequences[i]->place = PLACE_WAITING;
		bb_list_append(&s->waiting, &sequences[i]->link);
		s->waiting_count++;
	}
	metric_set(&s->config.metrics->waiting, s->waiting_count);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void scheduler_cancel(struct scheduler *s, struct sequence *sequence)
{
	bool was_waiting = false;

	__atomic_store_n(&sequence->is_cancelled, true, __ATOMIC_RELEASE);
	pthread_mutex_lock(&s->lock);
	if (sequence->place == PLACE_WAITING) {
		bb_list_remove(&sequence->link);
		sequence->place = PLACE_OVER;
		s->waiting_count--;
		metric_set(&s->config.metrics->waiting, s->waiting_count);
		was_waiting = true;
	}
	pthread_mutex_unlock(&s->lock);
	if (was_waiting)
		sequence_put(sequence);
}

void scheduler_reset_cache(struct scheduler *s)
{
	pthread_mutex_lock(&s->lock);
	s->resets_cache = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void scheduler_stop(struct scheduler *s)
{
	pthread_mutex_lock(&s->lock);
	__atomic_store_n(&s->is_stopping, true,
			 __ATOMIC_RELAXED); /* the load looks without the lock */
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	if (s->has_thread)
		thread_join(&s->thread);
	s->has_thread = false;
}

/* ---- the engine thread's side ---- */

static void publish_gauges(struct scheduler *s)
{
	metric_set(&s->config.metrics->running, s->running_count);
	if (s->kv)
		metric_set(&s->config.metrics->blocks_running, kv_blocks_running(s->kv));
}

void scheduler_finish(struct scheduler *s, struct sequence *q, enum finish_reason why,
		      enum kv_keep keep)
{
	if (q->slot != KV_NO_SLOT && s->kv)
		kv_finish(s->kv, q->slot, keep);
	q->slot = KV_NO_SLOT;
	bb_list_remove(&q->link);
	s->running_count--;
	publish_gauges(s); /* before the client hears of it and looks at them */
	metric_add(&s->config.metrics->finished[why], 1);
	if (why == FINISH_STOP || why == FINISH_LENGTH)
		metrics_end_to_end(s->config.metrics, clock_now_ns() - q->arrived_ns);
	pthread_mutex_lock(&s->lock);
	q->place = PLACE_OVER;
	pthread_mutex_unlock(&s->lock);
	sequence_end(q, why);
	sequence_put(q);
}

bool scheduler_preempt_youngest(struct scheduler *s)
{
	struct sequence *q = NULL;

	for (struct bb_list *l = s->running.prev; l != &s->running && !q; l = l->prev) {
		struct sequence *candidate = BB_CONTAINER(l, struct sequence, link);
		if (!candidate->params->has_max_tokens)
			q = candidate;
	}
	if (!q)
		return false;
	kv_finish(s->kv, q->slot, KV_KEEP);
	q->slot = KV_NO_SLOT;
	bb_list_remove(&q->link);
	s->running_count--;
	metric_add(&s->config.metrics->preemptions, 1);
	pthread_mutex_lock(&s->lock);
	q->place = PLACE_WAITING;
	bb_list_push(&s->waiting, &q->link);
	s->waiting_count++;
	pthread_mutex_unlock(&s->lock);
	return true;
}

static void end_cancelled(struct scheduler *s)
{
	BB_LIST_EACH (l, next, &s->running) {
		struct sequence *q = BB_CONTAINER(l, struct sequence, link);
		if (__atomic_load_n(&q->is_cancelled, __ATOMIC_ACQUIRE))
			scheduler_finish(s, q, FINISH_ABORT, KV_KEEP);
	}
}

/* Will a running sequence soon have computed more of this one's prompt than is there now? */
static bool is_worth_waiting(const struct scheduler *s, const struct sequence *q)
{
	const uint32_t size = s->config.options->block_size;
	const struct bb_str salt = { q->salt, q->salt_len };
	const uint32_t have = kv_match(s->kv, q->tokens, q->token_count, salt);

	BB_LIST_EACH (l, next, &s->running) {
		const struct sequence *r = BB_CONTAINER(l, struct sequence, link);
		const uint32_t done = kv_token_count(s->kv, r->slot);
		const uint32_t end = have + size;
		if (done >= r->prompt_len || r->prompt_len < end || q->token_count <= end ||
		    !bb_str_eq(salt, (struct bb_str){ r->salt, r->salt_len }))
			continue;
		if (memcmp(r->tokens, q->tokens, end * sizeof(*q->tokens)) == 0)
			return true;
	}
	return false;
}

/* Gives the sequence its room in the cache. */
static int admit_kv(struct scheduler *s, struct sequence *q)
{
	struct engine_metrics *m = s->config.metrics;
	uint32_t shared = 0;
	const uint32_t left = q->answer_max - sequence_answer_len(q);
	const uint32_t grown = q->params->has_max_tokens || left < ANSWER_PROMISED_DEFAULT
				       ? left
				       : ANSWER_PROMISED_DEFAULT;

	if (s->model.shares_prefixes && is_worth_waiting(s, q))
		return -BB_EBUSY;
	const int rc = kv_admit(s->kv, q->tokens, q->token_count, q->token_count + grown,
				(struct bb_str){ q->salt, q->salt_len }, &q->slot, &shared);
	if (rc || q->was_admitted)
		return rc;
	q->cached_tokens = shared;
	metric_add(&m->prompt_tokens, q->prompt_len);
	metric_add(&m->prompt_tokens_cached, shared);
	metric_add(&m->prefix_cache_queries, q->prompt_len);
	metric_add(&m->prefix_cache_hits, shared);
	return 0;
}

/* In order: one that must wait holds up those behind it, so that long ones are not starved. */
static void admit(struct scheduler *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->running_count < s->config.options->parallel && !bb_list_is_empty(&s->waiting)) {
		struct sequence *q = BB_CONTAINER(s->waiting.next, struct sequence, link);
		if (s->kv && admit_kv(s, q))
			break;
		bb_list_remove(&q->link);
		s->waiting_count--;
		bb_list_append(&s->running, &q->link);
		s->running_count++;
		q->place = PLACE_RUNNING;
		if (!q->was_admitted)
			metrics_queue_time(s->config.metrics, clock_now_ns() - q->arrived_ns);
		q->was_admitted = true;
	}
	metric_set(&s->config.metrics->waiting, s->waiting_count);
	metric_set(&s->config.metrics->running, s->running_count);
	pthread_mutex_unlock(&s->lock);
}

/*
 * Nothing runs, and the first in the queue was not admitted: with an empty cache that cannot be.
 * It ends with an error, so that the thread does not turn in circles and the rest goes on.
 */
static void refuse_first(struct scheduler *s)
{
	struct sequence *q = NULL;

	pthread_mutex_lock(&s->lock);
	if (!bb_list_is_empty(&s->waiting)) {
		q = BB_CONTAINER(s->waiting.next, struct sequence, link);
		bb_list_remove(&q->link);
		q->place = PLACE_OVER;
		s->waiting_count--;
	}
	pthread_mutex_unlock(&s->lock);
	if (!q)
		return;
	BB_LOG(BB_LOG_ERROR, "admission", "a request was not admitted to an empty cache and ends");
	sequence_end(q, FINISH_ERROR);
	sequence_put(q);
}

/* Waits until there is something to do. False: stop. */
static bool wait_for_work(struct scheduler *s)
{
	bool resets_cache;

	pthread_mutex_lock(&s->lock);
	while (!s->is_stopping && !s->resets_cache && s->running_count == 0 &&
	       s->waiting_count == 0)
		pthread_cond_wait(&s->wake, &s->lock);
	const bool goes_on = !s->is_stopping;
	resets_cache = s->resets_cache;
	s->resets_cache = false;
	pthread_mutex_unlock(&s->lock);
	if (resets_cache && s->kv) {
		kv_drop_cached(s->kv);
		if (s->running_count == 0 && s->config.publisher)
			kv_publisher_cleared(s->config.publisher);
	}
	return goes_on;
}

static void publish_state(struct scheduler *s)
{
	if (s->config.publisher)
		kv_publisher_flush(s->config.publisher);
	publish_gauges(s);
}

static void end_all(struct scheduler *s)
{
	BB_LIST_EACH (l, next, &s->running)
		scheduler_finish(s, BB_CONTAINER(l, struct sequence, link), FINISH_ERROR,
				 KV_FORGET);
	pthread_mutex_lock(&s->lock);
	BB_LIST_EACH (l, next, &s->waiting) {
		struct sequence *q = BB_CONTAINER(l, struct sequence, link);
		bb_list_remove(&q->link);
		q->place = PLACE_OVER;
		sequence_end(q, FINISH_ERROR);
		sequence_put(q);
	}
	s->waiting_count = 0;
	pthread_mutex_unlock(&s->lock);
}

static void on_loaded(struct loop_message *m)
{
	struct scheduler *s = BB_CONTAINER(m, struct scheduler, loaded);

	s->config.on_loaded(s->config.user, s->why[0] ? NULL : &s->model,
			    s->why[0] ? s->why : NULL);
}

static void engine_thread(void *arg)
{
	struct scheduler *s = arg;
	int rc = model_load(s->config.options, &s->is_stopping, &s->model, s->why);

	if (!rc && prepare(s)) {
		rc = -BB_ENOMEM;
		snprintf(s->why, sizeof(s->why), "there is no memory for the scheduler");
	}
	s->loaded.run = on_loaded;
	loop_post(s->config.loop, &s->loaded);
	while (!rc && wait_for_work(s)) {
		end_cancelled(s);
		admit(s);
		if (s->running_count == 0)
			refuse_first(s);
		else if (s->model.embeds)
			step_embed(s);
		else
			step_generate(s);
		publish_state(s);
	}
	end_all(s);
	publish_state(s);
}

int scheduler_start(struct scheduler *s)
{
	s->thread = (struct thread){ .name = "engine", .run = engine_thread, .arg = s };
	const int rc = thread_start(&s->thread);

	s->has_thread = rc == 0;
	return rc;
}
