#include "gateway/control.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "gateway/admit.h"
#include "gateway/jwks_source.h"
#include "gateway/watch.h"
#include "gateway/worker.h"
#include "os/clock.h"

#define SAMPLES 11 /* one a second: rates are over ten */
#define PLAN_MAX (32u << 20)
/* How exactly a request's time in the queue is kept. */
#define TICK_NS (100 * OS_MS)
#define DRAIN_POLL_NS (5 * OS_MS)
#define RESOLVE_AGAIN_NS (30 * OS_SECOND)
/* How exactly a request's time in the queue is kept. */
#define TICK_NS (100 * OS_MS)
#define TRIM_ABOVE (8u << 20)

struct sample {
	uint64_t at_ns;
	uint64_t requests[GATEWAY_ENGINES_MAX];
	uint64_t output_tokens[GATEWAY_ENGINES_MAX];
};

struct control {
	struct gateway *gateway;
	struct loop *loop;
	struct snapshot *snapshot;
	struct signal_watch signals;
	struct admin *admin;
	struct watch *watch;
	struct jwks_source *token_keys; /* NULL: no tokens are taken */
	struct loop_timer second;
	struct loop_timer tick;
	uint64_t buffers_high; /* the most that was taken since memory was given back */
	struct loop_timer drain_poll;
	gateway_reload_fn *reload;
	void *user;
	uint32_t sample_at;
	uint32_t sample_count;
	uint64_t resolved_ns;
	struct sample samples[SAMPLES];
};

/* ---- failures seen by traffic ---- */

static void on_kick(struct loop_message *m)
{
	struct engine_link *link = BB_CONTAINER(m, struct engine_link, kick);
	__atomic_store_n(&link->kick_pending, false, __ATOMIC_RELEASE);
	struct control *c = link->control;
	if (c->watch)
		watch_kick(c->watch, (uint32_t)(link - c->gateway->links));
}

void control_kick(struct gateway *g, struct engine_id id)
{
	struct engine_link *link = &g->links[id.slot];

	if (__atomic_exchange_n(&link->kick_pending, true, __ATOMIC_ACQ_REL))
		return;
	loop_post(g->control->loop, &link->kick);
}

/* ---- configurations ---- */

static int shadows_apply(struct brain *b, const struct config *config)
{
	const char *names[BRAIN_SHADOWS_MAX];

	BB_ASSERT(config->shadow.count <= BRAIN_SHADOWS_MAX);
	for (uint32_t i = 0; i < config->shadow.count; i++)
		names[i] = config->shadow.items[i].text.p;
	return brain_set_shadows(b, names, config->shadow.count);
}

static int configure_brain(struct control *c, struct snapshot *s)
{
	struct bb_arena scratch;
	struct plan plan;
	struct engine_id *ids = bb_alloc_zero(s->config->engine_count, sizeof(*ids));

	if (!ids)
		return -BB_ENOMEM;
	bb_arena_init(&scratch, PLAN_MAX);
	int rc = admit_prepare(c->gateway, s);
	if (!rc)
		rc = snapshot_plan(s, &scratch, &plan);
	if (!rc) {
		gateway_lock(c->gateway);
		rc = shadows_apply(c->gateway->brain, s->config);
		if (!rc)
			rc = brain_configure(c->gateway->brain, clock_now_ns(), &plan, ids);
		gateway_unlock(c->gateway);
	}
	if (!rc)
		rc = snapshot_set_ids(s, ids);
	if (!rc)
		admit_enforce(c->gateway, s);
	bb_arena_fini(&scratch);
	bb_free(ids);
	return rc;
}

/*
 * The source of the keys that a configuration's tokens are checked with, tied to its snapshot: the
 * one that there is, or a new one; NULL when it takes no tokens.
 */
static int token_keys_of(struct control *c, struct snapshot *s, struct jwks_source **out,
			 char why[SNAPSHOT_WHY_SIZE])
{
	const struct bb_str where = s->config->jwt.jwks;
	const struct jwks_source_config sc = { c->loop, watch_resolver(c->watch), where };
	char what[JWKS_SOURCE_WHY_SIZE];

	*out = NULL;
	if (!where.len)
		return 0;
	const bool is_kept = c->token_keys && jwks_source_is(c->token_keys, where);
	struct jwks_source *source = c->token_keys;
	const int rc = is_kept ? jwks_source_again(source, what)
			       : jwks_source_create(&sc, &source, what);
	if (rc) {
		struct bb_str rest = where;
		const struct bb_str shown = bb_str_cut(&rest, '?'); /* a query may hold a secret */
		snprintf(why, SNAPSHOT_WHY_SIZE, "auth.jwt.jwks: %.*s: %.130s",
			 (int)(shown.len > 100 ? 100 : shown.len), shown.p, what);
		return rc;
	}
	if (!s->config->jwt.audience.len || !s->config->jwt.issuer.len)
		BB_LOG(BB_LOG_WARN, "token_keys",
		       "auth.jwt: without 'issuer' and 'audience', tokens that were made for other "
		       "applications are taken as well");
	auth_accept_tokens(s->auth, jwks_source_ring(source));
	*out = source;
	return 0;
}

/* From the first configuration with a tokenizer on. Its size is fixed then. */
static void prompts_prepare(struct control *c, const struct snapshot *s)
{
	struct gateway *g = c->gateway;
	const uint64_t size = s->config->limits.prompt_cache;
	struct prompt_cache *made;
	uint64_t secret;

	if (g->prompts || !size || !model_texts_any(&s->texts))
		return;
	entropy_fill(&secret, sizeof(secret));
	if (prompt_cache_create(size, secret, &made))
		BB_LOG(BB_LOG_ERROR, "tokens", "no memory for limits.prompt_cache: prompts are tokenized whole");
	else
		__atomic_store_n(&g->prompts, made, __ATOMIC_RELEASE);
}

/* Said aloud: how the prompts of each model are counted. */
static void tell_about_tokens(const struct snapshot *s)
{
	for (uint32_t i = 0; i < s->config->model_count; i++) {
		const struct model_text *m = s->texts.list[i];
		const struct bb_str name = s->config->models[i].name;
		if (!m)
			BB_LOG(BB_LOG_INFO, "tokens",
			       "%.*s: prompts are estimated from their bytes; models.%.*s.tokenizer makes "
			       "them exact",
			       BB_ARG(name), BB_ARG(name));
		else
			BB_LOG(BB_LOG_INFO, "tokens", "%.*s: %s tokenizer of %u tokens, split by %s, %.1f MB%s",
			       BB_ARG(name), m->facts.model, m->facts.vocab_count, m->facts.split,
			       (double)m->facts.bytes / 1e6,
			       m->chat ? "" : "; no chat template: chats are estimated");
	}
}

static bool texts_eq(const struct config_texts *a, const struct config_texts *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!bb_str_eq(a->items[i].text, b->items[i].text))
			return false;
	return true;
}

/* Keys that only a restart can change. */
static void warn_fixed(const struct config *old, const struct config *new)
{
	const struct {
		const char *key;
		bool same;
	} fixed[] = {
		{ "listen", texts_eq(&old->listen, &new->listen) },
		{ "admin", bb_str_eq(old->admin, new->admin) },
		{ "threads", old->threads == new->threads },
		{ "seed", old->seed == new->seed },
		{ "access_log.path", bb_str_eq(old->access_log_path, new->access_log_path) },
		{ "journal.path", bb_str_eq(old->journal.path, new->journal.path) },
		{ "journal.size", old->journal.size == new->journal.size },
		{ "journal.files", old->journal.files == new->journal.files },
		{ "log.format", old->log.format == new->log.format },
		{ "limits.explain", old->limits.explain == new->limits.explain },
		{ "limits.index", old->limits.index == new->limits.index },
		{ "queue.max", old->queue.max == new->queue.max },
		{ "queue.wait", old->queue.wait_ns == new->queue.wait_ns },
		{ "limits.prompt_cache", old->limits.prompt_cache == new->limits.prompt_cache },
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (!fixed[i].same)
			BB_LOG(BB_LOG_WARN, "reload", "%s has changed; it takes effect with a restart",
			       fixed[i].key);
}

static int adopt(struct control *c, struct config *config, struct bb_buf *report)
{
	struct snapshot *s;
	struct gateway *g = c->gateway;
	char why[SNAPSHOT_WHY_SIZE];
	int rc = gateway_check_listeners(config, c->snapshot->config, why, sizeof(why));

	if (!rc)
		rc = snapshot_create(config, c->snapshot, &s, why);
	if (rc) {
		config_free(config);
		bb_buf_printf(report, "%s\n", why);
		goto fail;
	}
	struct jwks_source *token_keys;
	rc = token_keys_of(c, s, &token_keys, why);
	if (rc) {
		bb_buf_printf(report, "%s\n", why);
		snapshot_put(s);
		goto fail;
	}
	rc = configure_brain(c, s);
	if (rc) {
		if (token_keys != c->token_keys)
			jwks_source_destroy(token_keys);
		snapshot_put(s);
		goto fail;
	}
	if (token_keys != c->token_keys)
		jwks_source_destroy(c->token_keys);
	c->token_keys = token_keys;
	struct snapshot *old = c->snapshot;
	warn_fixed(old->config, s->config);
	const bool probe_changed =
		memcmp(&old->config->probe, &s->config->probe, sizeof(old->config->probe)) != 0;
	c->snapshot = s;
	prompts_prepare(c, s);
	tell_about_tokens(s);
	if (c->admin)
		admin_set_tls(c->admin, s->admin_tls);
	for (uint32_t i = 0; i < g->worker_count; i++)
		if (worker_set_snapshot(g->workers[i], s))
			BB_LOG(BB_LOG_ERROR, "reload", "worker %u keeps the old settings: no memory", i);
	rc = watch_engines(c->watch, s, probe_changed ? WATCH_CHANGED : WATCH_SAME);
	snapshot_put(old);
	return rc;

fail:
	bb_buf_printf(report, "the configuration cannot be put into force: %s\n",
		      bb_error_info(rc)->text);
	return rc;
}

int control_reload(struct control *c, struct bb_buf *report)
{
	struct gateway *g = c->gateway;
	struct config *config = c->reload ? c->reload(c->user, report) : NULL;
	int rc = config ? adopt(c, config, report) : -BB_EINVALID;

	if (rc) {
		__atomic_add_fetch(&g->reloads_failed, 1, __ATOMIC_RELAXED);
		BB_LOG(BB_LOG_ERROR, "reload", "refused; the old configuration stays in force:\n%.*s",
		       (int)report->len, report->p ? report->p : "");
		return rc;
	}
	__atomic_add_fetch(&g->reloads, 1, __ATOMIC_RELAXED);
	BB_LOG(BB_LOG_INFO, "reload", "the new configuration is in force: %u models, %u engines",
	       c->snapshot->config->model_count, c->snapshot->config->engine_count);
	return 0;
}

/* ---- time ---- */

static void sample_take(struct control *c)
{
	struct gateway *g = c->gateway;
	struct sample *s = &c->samples[c->sample_at];

	memset(s, 0, sizeof(*s));
	s->at_ns = loop_now_ns(c->loop);
	for (uint32_t i = 0; i < g->worker_count; i++) {
		const struct metrics *m = g->workers[i]->metrics;
		const uint32_t count = __atomic_load_n(&m->series_count, __ATOMIC_ACQUIRE);
		for (uint32_t k = 0; k < count; k++) {
			const struct series *series = m->series[k];
			const uint32_t slot = series->engine.slot;
			if (slot >= GATEWAY_ENGINES_MAX)
				continue;
			s->output_tokens[slot] +=
				__atomic_load_n(&series->output_tokens, __ATOMIC_RELAXED);
			for (int a = 0; a < API_COUNT * STATUS_CLASSES; a++)
				s->requests[slot] += __atomic_load_n((const uint64_t *)series->requests + a,
								     __ATOMIC_RELAXED);
		}
	}
	c->sample_at = (c->sample_at + 1) % SAMPLES;
	if (c->sample_count < SAMPLES)
		c->sample_count++;
}

struct engine_rate control_rate(const struct control *c, uint32_t slot)
{
	if (c->sample_count < 2 || slot >= GATEWAY_ENGINES_MAX)
		return (struct engine_rate){ 0 };
	const struct sample *last = &c->samples[(c->sample_at + SAMPLES - 1) % SAMPLES];
	const struct sample *first =
		&c->samples[(c->sample_at + SAMPLES - c->sample_count) % SAMPLES];
	const double seconds = (double)(last->at_ns - first->at_ns) / 1e9;
	return (struct engine_rate){
		.requests = (double)(last->requests[slot] - first->requests[slot]) / seconds,
		.output_tokens =
			(double)(last->output_tokens[slot] - first->output_tokens[slot]) / seconds,
	};
}

/* After a flood of large bodies the heap has much that nobody needs any more. */
static void memory_settle(struct control *c)
{
	const uint64_t used = bb_budget_used(&c->gateway->buffers);

	if (used > c->buffers_high)
		c->buffers_high = used;
	if (c->buffers_high < TRIM_ABOVE || used > c->buffers_high / 4)
		return;
	c->buffers_high = used;
	process_trim_memory();
}

/* Time goes by for the brain: nobody waits for longer than was said. */
static void on_tick(struct loop_timer *t)
{
	struct control *c = BB_CONTAINER(t, struct control, tick);
	const uint64_t now_ns = loop_now_ns(c->loop);

	gateway_lock(c->gateway);
	brain_tick(c->gateway->brain, now_ns);
	gateway_unlock(c->gateway);
	loop_timer_arm(t, now_ns + TICK_NS);
}

static void on_second(struct loop_timer *t)
{
	struct control *c = BB_CONTAINER(t, struct control, second);
	const uint64_t now_ns = loop_now_ns(c->loop);

	sample_take(c);
	memory_settle(c);
	watch_second(c->watch);
	if (now_ns - c->resolved_ns > RESOLVE_AGAIN_NS) {
		c->resolved_ns = now_ns;
		watch_resolve(c->watch);
	}
	loop_timer_arm(&c->second, now_ns + OS_SECOND);
}

/* ---- signals ---- */

static void on_drain_poll(struct loop_timer *t)
{
	struct control *c = BB_CONTAINER(t, struct control, drain_poll);
	struct gateway *g = c->gateway;

	for (uint32_t i = 0; i < g->worker_count; i++)
		if (!__atomic_load_n(&g->workers[i]->has_ended, __ATOMIC_ACQUIRE)) {
			loop_timer_arm(t, loop_now_ns(c->loop) + DRAIN_POLL_NS);
			return;
		}
	loop_stop(c->loop);
}

static void shut_down(struct control *c)
{
	struct gateway *g = c->gateway;
	const uint64_t now_ns = loop_now_ns(c->loop);
	const bool again = __atomic_exchange_n(&g->draining, true, __ATOMIC_ACQ_REL);
	const uint64_t grace_ns = again ? 0 : c->snapshot->config->shutdown_grace_ns;

	BB_LOG(BB_LOG_INFO, "shutdown", again ? "at once" : "draining for up to %.0f s",
	       (double)grace_ns / 1e9);
	for (uint32_t i = 0; i < g->worker_count; i++)
		worker_drain(g->workers[i], now_ns + grace_ns);
	loop_timer_arm(&c->drain_poll, now_ns + DRAIN_POLL_NS);
}

static void on_signal(struct signal_watch *w, int number)
{
	struct control *c = BB_CONTAINER(w, struct control, signals);
	struct bb_buf report;

	switch (number) {
	case SIGHUP:
		bb_buf_init(&report, 1u << 20);
		(void)!control_reload(c, &report);
		bb_buf_fini(&report);
		break;
	case SIGUSR1:
		if (c->gateway->access)
			line_writer_reopen(c->gateway->access);
		break;
	default: shut_down(c);
	}
}

/* ---- life ---- */

int control_create(struct gateway *g, const struct gateway_options *options, struct control **out)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	struct control *c = bb_alloc_zero(1, sizeof(*c));

	if (!c) {
		config_free(options->config);
		return -BB_ENOMEM;
	}
	c->gateway = g;
	c->reload = options->reload;
	c->user = options->user;
	char why[SNAPSHOT_WHY_SIZE];
	int rc = snapshot_create(options->config, NULL, &c->snapshot, why);
	if (rc) {
		BB_LOG(BB_LOG_ERROR, "start", "%s", why);
		config_free(options->config);
		goto fail;
	}
	rc = loop_create(&c->loop);
	if (rc)
		goto fail;
	rc = loop_timer_init(c->loop, &c->second, on_second);
	if (rc)
		goto fail;
	rc = loop_timer_init(c->loop, &c->tick, on_tick);
	if (rc)
		goto fail;
	rc = loop_timer_init(c->loop, &c->drain_poll, on_drain_poll);
	if (rc)
		goto fail;
	rc = signal_watch_init(c->loop, &c->signals, signals, 4, on_signal);
	if (rc)
		goto fail;
	rc = watch_create(g, c->loop, &c->watch);
	if (rc)
		goto fail;
	rc = token_keys_of(c, c->snapshot, &c->token_keys, why);
	if (rc) {
		BB_LOG(BB_LOG_ERROR, "start", "%s", why);
		goto fail;
	}
	rc = configure_brain(c, c->snapshot);
	if (rc)
		goto fail;
	prompts_prepare(c, c->snapshot);
	tell_about_tokens(c->snapshot);
	for (uint32_t i = 0; i < GATEWAY_ENGINES_MAX; i++) { /* before there are workers that kick */
		g->links[i].control = c;
		g->links[i].kick.run = on_kick;
	}
	*out = c;
	return 0;

fail:
	control_destroy(c);
	return rc;
}

int control_start(struct control *c)
{
	c->resolved_ns = loop_now_ns(c->loop);
	int rc = watch_engines(c->watch, c->snapshot, WATCH_SAME);
	if (!rc && c->snapshot->config->admin.len)
		rc = admin_create(c->gateway, c->loop, c->snapshot, &c->admin);
	loop_timer_arm(&c->second, loop_now_ns(c->loop));
	loop_timer_arm(&c->tick, loop_now_ns(c->loop));
	return rc;
}

void control_run(struct control *c)
{
	loop_run(c->loop);
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	/* The workers are gone by now, and the resolver turns the loop once more: nothing may be left in it. */
	admin_destroy(c->admin);
	if (c->signals.loop)
		signal_watch_fini(&c->signals);
	loop_timer_fini(&c->second);
	loop_timer_fini(&c->tick);
	loop_timer_fini(&c->drain_poll);
	jwks_source_destroy(c->token_keys);
	watch_destroy(c->watch);
	c->watch = NULL; /* a late kick finds nothing */
	snapshot_put(c->snapshot);
	loop_destroy(c->loop);
	bb_free(c);
}

struct snapshot *control_snapshot(const struct control *c)
{
	return c->snapshot;
}

const char *control_text_detail(const struct control *c, uint32_t engine_slot)
{
	return c->watch ? watch_text_detail(c->watch, engine_slot) : "";
}

bool control_kv(const struct control *c, uint32_t engine_slot, struct kv_status *out,
		struct engine_figures *figures)
{
	return c->watch && watch_kv(c->watch, engine_slot, out, figures);
}

struct loop *control_loop(const struct control *c)
{
	return c->loop;
}

const struct adapter *control_adapter(const struct control *c, struct engine_id id)
{
	const struct engine_link *link = &c->gateway->links[id.slot];

	return link->generation == id.generation
		       ? __atomic_load_n(&link->adapter, __ATOMIC_ACQUIRE)
		       : NULL;
}
