/* sim_answer.c: one generated answer: from its request through the engine to its end. */
#include "sim/sim_core.h"

#include "base/log.h"
#include "os/clock.h"

#define ARENA_MAX (1u << 20)

/* ---- the end of an answer ---- */

void sim_answer_drop(struct sim_answer *a)
{
	struct sim_server *s = a->server;

	for (uint32_t i = 0; i < a->choice_count; i++) {
		if (a->choices[i].engine_id)
			sim_engine_abort(s->engine, loop_now_ns(s->loop), a->choices[i].engine_id);
		a->choices[i].engine_id = 0;
	}
}

void sim_answer_destroy(struct sim_answer *a)
{
	loop_task_cancel(&a->again);
	bb_list_remove(&a->link);
	bb_list_remove(&a->due);
	bb_arena_fini(&a->arena);
	bb_pool_put(&a->server->answer_pool, a);
}

void sim_answer_closed(struct exchange *x)
{
	struct sim_answer *a = x->user;

	if (!a)
		return;
	struct sim_server *s = a->server;
	const bool is_unfinished = a->over_count < a->choice_count;
	x->user = NULL;
	a->x = NULL;
	if (is_unfinished)
		s->aborted_count++;
	else
		s->finished_count++;
	if (is_unfinished && sim_is(s, SIM_LLAMACPP) && !a->stream && !a->is_dead)
		return; /* llama-server does not notice before it has the whole answer */
	sim_answer_drop(a);
	sim_answer_destroy(a);
	sim_server_settle(s);
}

/* ---- what the engine says ---- */

static void mark_due(struct sim_answer *a)
{
	if (bb_list_is_empty(&a->due))
		bb_list_append(&a->server->due, &a->due);
}

static void on_scheduled(void *ctx, void *user, uint64_t at_ns, uint32_t cached)
{
	struct sim_server *s = ctx;
	struct sim_choice *c = user;

	if (c->is_scheduled)
		return; /* again, after a preemption */
	c->is_scheduled = true;
	c->cached_tokens = cached;
	c->answer->scheduled_ns = at_ns;
	sim_histogram_add(&s->metrics.queue, (double)(at_ns - c->answer->arrived_ns) / 1e9, 1);
}

static void on_tokens(void *ctx, void *user, uint64_t at_ns, uint32_t first, uint32_t count)
{
	struct sim_server *s = ctx;
	struct sim_choice *c = user;
	struct sim_answer *a = c->answer;

	c->made = first + count;
	if (first == 0) {
		a->first_ns = at_ns;
		sim_histogram_add(&s->metrics.ttft, (double)(at_ns - a->arrived_ns) / 1e9, 1);
		sim_histogram_add(&s->metrics.prefill, (double)(at_ns - a->scheduled_ns) / 1e9, 1);
		sim_histogram_add(&s->metrics.itl, 0, count - 1);
	} else {
		sim_histogram_add(&s->metrics.itl, (double)(at_ns - c->last_ns) / 1e9 / count,
				  count);
	}
	c->last_ns = at_ns;
	mark_due(a);
}

static void on_finished(void *ctx, void *user, uint64_t at_ns, enum sim_finish reason)
{
	struct sim_server *s = ctx;
	struct sim_choice *c = user;
	struct sim_answer *a = c->answer;

	c->is_over = true;
	c->engine_id = 0;
	c->reason = reason;
	a->over_count++;
	a->last_ns = at_ns;
	if (c->made == 0)
		a->first_ns = at_ns;
	sim_histogram_add(&s->metrics.e2e, (double)(at_ns - a->arrived_ns) / 1e9, 1);
	sim_histogram_add(&s->metrics.decode, (double)(at_ns - a->first_ns) / 1e9, 1);
	mark_due(a);
}

static void on_stored(void *ctx, void *user, const struct sim_stored *stored)
{
	const struct sim_answer *a = ((const struct sim_choice *)user)->answer;

	sim_events_stored(ctx, a, stored);
}

static void on_removed(void *ctx, uint64_t hash)
{
	sim_events_removed(ctx, hash);
}

const struct sim_engine_ops sim_engine_events = {
	.on_scheduled = on_scheduled,
	.on_tokens = on_tokens,
	.on_finished = on_finished,
	.on_stored = on_stored,
	.on_removed = on_removed,
};

/* ---- the beginning of an answer ---- */

static struct bb_str dup_buf(struct sim_answer *a, const struct bb_buf *b)
{
	return b->err ? (struct bb_str){ NULL, 0 } : bb_arena_dup(&a->arena, bb_buf_str(b));
}

/* Names and texts that outlive the request's body. */
static bool keep_texts(struct sim_answer *a, struct exchange *x, const struct sim_request *r,
		       uint32_t model)
{
	struct sim_server *s = a->server;
	struct bb_buf *b = &s->scratch[0];
	char room[SIM_ID_MAX];

	a->request_id = bb_arena_dup(&a->arena, sim_request_id(x, room));
	bb_buf_clear(b);
	bb_buf_add_str(b, bb_str_of(a->shape->id_prefix));
	bb_buf_add_str(b, a->request_id);
	a->id = dup_buf(a, b);
	bb_buf_clear(b);
	bb_buf_add_json(b, sim_server_model(s, model));
	a->model = dup_buf(a, b);
	a->cache_salt = bb_arena_dup(&a->arena, r->cache_salt.p ? r->cache_salt : BB_STR(""));
	if (model >= s->config.model_count)
		a->lora = sim_server_model(s, model);
	return a->request_id.p && a->id.p && a->model.p && a->cache_salt.p;
}

static bool prepare_choice(struct sim_answer *a, struct sim_choice *c, uint32_t index,
			   uint32_t prompt)
{
	struct sim_server *s = a->server;
	struct bb_buf *prefix = &s->scratch[0], *suffix = &s->scratch[1];

	c->answer = a;
	c->index = index;
	c->prompt_tokens = s->reader.prompts[prompt].count;
	bb_buf_clear(prefix);
	bb_buf_clear(suffix);
	a->shape->around(a, c, prefix, suffix);
	c->prefix = dup_buf(a, prefix);
	c->suffix = dup_buf(a, suffix);
	const size_t chunk_max = 2 * (c->prefix.len + c->suffix.len) + 1024;
	if (chunk_max > SIM_OUT_SIZE / 4)
		return false;
	if (chunk_max > a->chunk_max)
		a->chunk_max = (uint32_t)chunk_max;
	return c->prefix.p && c->suffix.p;
}

/* Hands one choice to the engine. */
static int arrive(struct sim_answer *a, struct sim_choice *c, const struct sim_request *r)
{
	struct sim_server *s = a->server;
	const struct sim_prompt *p = &s->reader.prompts[c->index / a->choices_per_prompt];
	const uint32_t room = s->config.model_len_max - p->count;
	uint32_t natural = r->hints.tokens;

	sim_writer_init(&c->begin, s->config.seed, &s->words);
	c->begin.variant = c->index % a->choices_per_prompt;
	const uint32_t own = sim_writer_read(&c->begin, s->reader.tokens.ids + p->first, p->count);
	c->writer = c->begin;
	if (natural == UINT32_MAX && r->max_tokens == SIM_ABSENT)
		natural = s->config.output_tokens;
	if (natural != UINT32_MAX) /* what it has said already is part of it */
		natural = own < natural ? natural - own : 0;
	const struct sim_engine_request in = {
		.tokens = s->reader.tokens.ids + p->first,
		.token_count = p->count,
		.natural_count = natural,
		.output_max = r->max_tokens < room ? r->max_tokens : room,
		.writer = c->begin,
		.cache_key = bb_hash(a->cache_salt.p, a->cache_salt.len,
				     bb_hash(a->lora.p ? a->lora.p : "", a->lora.len, 0)),
		.ttft_ns = r->hints.ttft_ns,
		.itl_ns = r->hints.itl_ns,
		.slowness = sim_fault_is(&a->faults, SIM_FAULT_SLOW) ? a->faults.arg[SIM_FAULT_SLOW]
								     : 1,
		.user = c,
	};
	c->output_count = in.natural_count < in.output_max ? in.natural_count : in.output_max;
	return sim_engine_arrive(s->engine, a->arrived_ns, &in, &c->engine_id);
}

static struct sim_answer *answer_create(struct sim_server *s, struct exchange *x,
					const struct sim_request *r, uint32_t model,
					const struct sim_fault_draw *faults)
{
	struct sim_answer *a = bb_pool_get(&s->answer_pool);

	if (!a)
		return NULL;
	a->x = x;
	a->server = s;
	a->api = r->api;
	a->shape = sim_shape_of(r->api);
	bb_list_append(&s->answers, &a->link);
	bb_list_init(&a->due);
	loop_task_init(&a->again, sim_answer_again);
	bb_arena_init(&a->arena, ARENA_MAX);
	a->created_s = clock_wall_ns() / OS_SECOND;
	a->arrived_ns = loop_now_ns(s->loop);
	a->max_tokens = r->max_tokens;
	a->choices_per_prompt = r->n;
	a->choice_count = s->reader.prompt_count * r->n;
	a->stream = r->stream;
	a->include_usage = r->include_usage;
	a->load_format = sim_load_format(x);
	a->faults = *faults;
	a->choices = bb_arena_alloc(&a->arena, a->choice_count * sizeof(*a->choices));
	if (!a->choices || !keep_texts(a, x, r, model))
		goto fail;
	memset(a->choices, 0, a->choice_count * sizeof(*a->choices));
	for (uint32_t i = 0; i < a->choice_count; i++)
		if (!prepare_choice(a, &a->choices[i], i, i / r->n))
			goto fail;
	return a;

fail:
	sim_answer_destroy(a);
	return NULL;
}

static void begin_stream(struct sim_answer *a)
{
	exchange_begin(a->x, 200, BB_STR("text/event-stream; charset=utf-8"), sim_answer_headers(a),
		       EXCHANGE_CHUNKED);
	/* vLLM sends the head at once; llama-server with the first token. */
	if (!sim_is(a->server, SIM_LLAMACPP))
		exchange_flush(a->x);
}

void sim_generate(struct exchange *x, enum api api, const struct sim_fault_draw *faults)
{
	struct sim_server *s = httpd_user(x->server);
	struct sim_request r;
	uint32_t model;

	if (!sim_read(x, api, &r) || !sim_check(x, &r, &model))
		return;
	if (r.n > SIM_CHOICES_MAX || s->reader.prompt_count > SIM_CHOICES_MAX / r.n) {
		sim_reply_error(x, 400, "BadRequestError", "n", "too many choices or prompts");
		return;
	}
	struct sim_answer *a = answer_create(s, x, &r, model, faults);
	if (!a) {
		sim_reply_error(x, 500, "InternalServerError", NULL, "out of memory");
		return;
	}
	for (uint32_t i = 0; i < a->choice_count; i++) {
		const int rc = arrive(a, &a->choices[i], &r);
		if (rc) {
			sim_answer_drop(a);
			sim_answer_destroy(a);
			sim_reply_error(
				x, 503, "ServiceUnavailableError", NULL,
				"The engine is currently busy. Please retry on another instance.");
			sim_server_settle(s);
			return;
		}
	}
	sim_answer_choose_fault(a);
	x->user = a;
	exchange_drop_body(x);
	if (a->stream)
		begin_stream(a);
	sim_server_settle(s);
}
