#include "engines/prober.h"

#include "base/alloc.h"
#include "base/log.h"
#include "engines/probe.h"
#include "os/sandbox.h"

/* However often traffic asks for it. */
#define KICKS_AN_INTERVAL 10

/* ---- lanes ---- */

static void lane_on_done(void *user, const struct fetch_answer *a)
{
	struct lane *l = user;

	l->fetch = NULL;
	l->on_answer(l->prober, a);
}

static int lane_start(struct lane *l, struct bb_str path, size_t size_max, uint64_t timeout_ns)
{
	struct prober *p = l->prober;
	struct bb_buf target;

	bb_buf_init(&target, 4096);
	bb_buf_add_str(&target, p->config.base);
	bb_buf_add_str(&target, path);
	int rc = target.err;
	const struct fetch_request r = {
		.loop = p->config.loop,
		.method = "GET",
		.host = p->config.host,
		.target = bb_buf_str(&target),
		.bearer = p->config.api_key,
		.body_size_max = size_max,
		.timeout_ns = timeout_ns,
		.user = l,
		.on_done = lane_on_done,
	};
	if (!rc)
		rc = fetch_start(p->pool, &r, &l->fetch);
	bb_buf_fini(&target);
	return rc;
}

void lane_get(struct lane *l, struct bb_str path, size_t size_max, uint64_t timeout_ns,
	      void (*on_answer)(struct prober *p, const struct fetch_answer *a))
{
	BB_ASSERT(!l->fetch);
	loop_timer_cancel(&l->timer);
	l->begin_ns = loop_now_ns(l->prober->config.loop);
	l->on_answer = on_answer;
	const int rc = lane_start(l, path, size_max, timeout_ns);
	if (!rc)
		return;
	const struct fetch_answer none = { .err = rc, .why = bb_error_info(rc)->text };
	l->on_answer(l->prober, &none);
}

void lane_stop(struct lane *l)
{
	loop_timer_cancel(&l->timer);
	fetch_cancel(l->fetch);
	l->fetch = NULL;
}

/* ---- reports ---- */

/* What a model's context is: its own figure, the engine's, or what it was trained with. */
static uint64_t context_of(const struct prober *p, const struct listed_model *m)
{
	if (m->context_tokens)
		return m->context_tokens;
	if (p->figures.context_tokens)
		return p->figures.context_tokens;
	/* An adapter beside its base model: one engine of a known kind has one length. */
	if (p->adapter && p->adapter->kind != ENGINE_KIND_OPENAI)
		for (uint32_t i = 0; i < p->models.count; i++)
			if (p->models.items[i].context_tokens)
				return p->models.items[i].context_tokens;
	return m->trained_tokens;
}

void probe_report(struct prober *p)
{
	struct report_model *models = NULL;
	struct engine_report r = {
		.state = p->state,
		.has_models = p->has_models,
		.api_mask = p->api_mask,
		.sequences_max = p->figures.sequences_max,
		.kv_tokens_max = p->figures.kv_tokens_max,
		.step_tokens = p->figures.step_tokens,
		.block_tokens = p->figures.block_tokens,
		.dp_ranks = p->figures.dp_ranks,
		.has_load = p->figures.has_load && p->state == ENGINE_READY,
		.running = p->figures.running,
		.waiting = p->figures.waiting,
		.kv_usage = p->figures.kv_usage,
		.kind = p->adapter ? (uint32_t)p->adapter->kind : 0,
	};

	if (r.has_models && p->models.count) {
		models = bb_alloc_zero(p->models.count, sizeof(*models));
		r.has_models = BB_CHECK(models, "no memory to report an engine's models");
	}
	for (uint32_t i = 0; models && i < p->models.count; i++)
		models[i] = (struct report_model){
			.name = model_list_name(&p->models, i),
			.context_tokens = context_of(p, &p->models.items[i]),
			.is_adapter = p->models.items[i].is_adapter != 0,
		};
	r.models = models;
	r.model_count = models ? p->models.count : 0;
	p->has_reported = true;
	p->is_changed = false;
	p->figures.has_load = false; /* a reading is reported once */
	p->config.on_report(p->config.user, &r, p->adapter);
	bb_free(models);
}

/* ---- life ---- */

static int pool_create(const struct prober_config *c, const struct sock_addr *addr,
		       struct httpc_pool **out)
{
	struct httpc_limits limits;

	httpc_limits_default(&limits);
	limits.idle_max = 2; /* one for each lane */
	/* Each fetch has its own deadline; a connection that does not come is silence, not a
	 * refusal. */
	limits.connect_timeout_ns = limits.head_timeout_ns;
	int rc = httpc_pool_create(c->loop, addr, &limits, out);
	if (!rc && c->tls) {
		rc = httpc_pool_set_tls(*out, c->tls, c->tls_name);
		if (rc)
			httpc_pool_destroy(*out);
	}
	return rc;
}

static int text_copy(struct bb_str *s)
{
	char *copy = bb_strndup(s->len ? s->p : "", s->len);

	if (!copy) {
		*s = (struct bb_str){ 0 };
		return -BB_ENOMEM;
	}
	s->p = copy;
	return 0;
}

static void texts_free(struct prober_config *c)
{
	bb_free((char *)c->host.p);
	bb_free((char *)c->base.p);
	if (c->api_key.p)
		secret_wipe((char *)c->api_key.p, c->api_key.len);
	bb_free((char *)c->api_key.p);
}

/* All three are copies or NULL afterwards. */
static int texts_copy(struct prober_config *c)
{
	const int host = text_copy(&c->host);
	const int base = text_copy(&c->base);
	const int key = text_copy(&c->api_key);
	if (!key)
		secret_hide(c->api_key.p, c->api_key.len);

	return host ? host : base ? base : key;
}

int prober_create(const struct prober_config *config, struct prober **out)
{
	struct prober *p = bb_alloc_zero(1, sizeof(*p));
	int rc;

	BB_ASSERT(config->interval_ns > 0 && config->timeout_ns > 0 && config->unhealthy_after > 0);
	if (!p)
		return -BB_ENOMEM;
	p->config = *config;
	p->state = ENGINE_STARTING;
	p->watch.prober = p->study.prober = p;
	model_list_init(&p->models);
	rc = texts_copy(&p->config);
	if (rc)
		goto fail_texts;
	rc = pool_create(config, &config->addr, &p->pool);
	if (rc)
		goto fail_texts;
	rc = loop_timer_init(config->loop, &p->watch.timer, watch_tick);
	if (rc)
		goto fail_pool;
	rc = loop_timer_init(config->loop, &p->study.timer, study_tick);
	if (rc)
		goto fail_timer;
	loop_timer_arm(&p->watch.timer, loop_now_ns(config->loop));
	*out = p;
	return 0;

fail_timer:
	loop_timer_fini(&p->watch.timer);
fail_pool:
	httpc_pool_destroy(p->pool);
fail_texts:
	texts_free(&p->config);
	bb_free(p);
	return rc;
}

void prober_destroy(struct prober *p)
{
	if (!p)
		return;
	lane_stop(&p->watch);
	lane_stop(&p->study);
	loop_timer_fini(&p->watch.timer);
	loop_timer_fini(&p->study.timer);
	httpc_pool_destroy(p->pool);
	model_list_fini(&p->models);
	texts_free(&p->config);
	bb_free(p);
}

void prober_load(struct prober *p, const struct engine_load *l)
{
	struct engine_figures *f = &p->figures;

	if (p->state != ENGINE_READY)
		return;
	if (l->has_running)
		f->running = l->running;
	if (l->has_waiting)
		f->waiting = l->waiting;
	if (l->has_usage)
		f->kv_usage = l->kv_usage;
	f->waiting_tokens = l->waiting_tokens;
	f->has_load = true;
	p->loaded_ns = loop_now_ns(p->config.loop);
	p->is_pushed = l->has_all;
	probe_report(p);
}

const struct engine_figures *prober_figures(const struct prober *p)
{
	return &p->figures;
}

void prober_kick(struct prober *p)
{
	const uint64_t now = loop_now_ns(p->config.loop);
	const uint64_t at = p->watch.begin_ns + p->config.interval_ns / KICKS_AN_INTERVAL;

	if (!p->watch.fetch)
		loop_timer_arm(&p->watch.timer, at > now ? at : now);
}

int prober_set_addr(struct prober *p, const struct sock_addr *addr)
{
	struct httpc_pool *pool;
	const int rc = pool_create(&p->config, addr, &pool);

	if (rc)
		return rc;
	lane_stop(&p->watch);
	lane_stop(&p->study);
	httpc_pool_destroy(p->pool);
	p->pool = pool;
	p->config.addr = *addr;
	p->phase = WATCH_MODELS;
	p->failed_in_row = 0;
	p->lacks_health = false;
	loop_timer_arm(&p->watch.timer, loop_now_ns(p->config.loop));
	return 0;
}
