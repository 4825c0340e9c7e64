#include "gateway/control.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engines/prober.h"
#include "gateway/resolver.h"
#include "gateway/worker.h"
#include "net/tls.h"
#include "os/clock.h"

#define SAMPLES 11 /* one a second: rates are over ten */
#define PLAN_MAX (32u << 20)
#define DRAIN_POLL_NS (5 * OS_MS)
#define RESOLVE_AGAIN_NS (30 * OS_SECOND)

/* One engine of the configuration in force. */
struct watched {
	struct control *control;
	struct engine_id id;
	char *url;
	char *host_field;
	char *base;
	char *api_key;
	char *tls_name;
	struct tls_context *tls; /* what its prober uses: a change starts another one */
	enum engine_kind kind;
	struct prober *prober; /* NULL while its name is not resolved */
	struct resolve_job *job; /* NULL for numeric addresses */
	enum engine_state told;
	bool in_config;
};

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
	struct resolver *resolver;
	struct loop_timer second;
	struct loop_timer drain_poll;
	struct watched **watched;
	uint32_t watched_count;
	gateway_reload_fn *reload;
	void *user;
	uint32_t sample_at;
	uint32_t sample_count;
	uint64_t resolved_ns;
	struct sample samples[SAMPLES];
};

/* ---- engines ---- */

static struct watched *watched_by_slot(const struct control *c, uint32_t slot)
{
	for (uint32_t i = 0; i < c->watched_count; i++)
		if (c->watched[i]->id.slot == slot)
			return c->watched[i];
	return NULL;
}

static void log_state(struct watched *w, const struct engine_report *r, const struct adapter *a)
{
	char names[256] = "";
	size_t used = 0;

	if (r->state == w->told)
		return;
	w->told = r->state;
	if (r->state != ENGINE_READY) {
		BB_LOG(r->state == ENGINE_DOWN ? BB_LOG_WARN : BB_LOG_INFO, "engine", "%s is %s", w->url,
		       engine_state_name(r->state));
		return;
	}
	for (uint32_t i = 0; i < r->model_count && used < sizeof(names) - 1; i++) {
		const int n = snprintf(names + used, sizeof(names) - used, "%s%.*s", i ? ", " : "",
				       BB_ARG(r->models[i].name));
		used += n > 0 ? (size_t)n : 0;
	}
	BB_LOG(BB_LOG_INFO, "engine", "%s is ready: %s serving %s", w->url, a ? a->name : "engine",
	       names[0] ? names : "nothing");
}

static void on_report(void *user, const struct engine_report *r, const struct adapter *a)
{
	struct watched *w = user;
	struct gateway *g = w->control->gateway;
	const uint64_t now_ns = loop_now_ns(w->control->loop);

	if (a)
		__atomic_store_n(&g->links[w->id.slot].adapter, a, __ATOMIC_RELEASE);
	gateway_lock(g);
	brain_engine_report(g->brain, now_ns, w->id, r);
	gateway_unlock(g);
	log_state(w, r, a);
}

/* Workers see the address from now on; the prober starts or moves to it. */
static void watched_set_addr(struct watched *w, const struct sock_addr *addr)
{
	struct control *c = w->control;
	struct gateway *g = c->gateway;
	struct engine_link *link = &g->links[w->id.slot];
	const struct config_probe *p = &c->snapshot->config->probe;

	gateway_lock(g);
	link->addr = *addr;
	gateway_unlock(g);
	__atomic_store_n(&link->addr_version, link->addr_version + 1, __ATOMIC_RELEASE);
	if (w->prober) {
		if (prober_set_addr(w->prober, addr))
			BB_LOG(BB_LOG_ERROR, "engine", "%s: no memory to probe its new address", w->url);
		return;
	}
	const struct prober_config pc = {
		.loop = c->loop,
		.addr = *addr,
		.host = bb_str_of(w->host_field),
		.base = bb_str_of(w->base),
		.api_key = bb_str_of(w->api_key),
		.kind = w->kind,
		.interval_ns = p->interval_ns,
		.timeout_ns = p->timeout_ns,
		.metrics_interval_ns = p->metrics_interval_ns,
		.unhealthy_after = p->unhealthy_after,
		.tls = w->tls,
		.tls_name = w->tls_name,
		.user = w,
		.on_report = on_report,
	};
	if (prober_create(&pc, &w->prober))
		BB_LOG(BB_LOG_ERROR, "engine", "%s: no memory to probe it", w->url);
}

static void on_resolved(void *user, const struct sock_addr *addr, const char *why)
{
	struct watched *w = user;
	struct engine_link *link = &w->control->gateway->links[w->id.slot];

	if (!addr) {
		BB_LOG(BB_LOG_WARN, "engine", "%s: its name cannot be looked up: %s; trying again",
		       w->url, why);
		return;
	}
	if (!w->prober || !sock_addr_eq(&link->addr, addr))
		watched_set_addr(w, addr);
}

static void watched_destroy(struct watched *w)
{
	prober_destroy(w->prober);
	resolve_job_cancel(w->job);
	bb_free(w->url);
	bb_free(w->host_field);
	bb_free(w->base);
	bb_free(w->api_key);
	bb_free(w->tls_name);
	tls_context_put(w->tls);
	bb_free(w);
}

static enum engine_kind kind_of(enum config_engine_kind kind)
{
	static const enum engine_kind kinds[] = {
		[CONFIG_ENGINE_AUTO] = ENGINE_KIND_AUTO,
		[CONFIG_ENGINE_VLLM] = ENGINE_KIND_VLLM,
		[CONFIG_ENGINE_SGLANG] = ENGINE_KIND_SGLANG,
		[CONFIG_ENGINE_TRTLLM] = ENGINE_KIND_TRTLLM,
		[CONFIG_ENGINE_LLAMACPP] = ENGINE_KIND_LLAMACPP,
		[CONFIG_ENGINE_BUSBAR] = ENGINE_KIND_BUSBAR,
		[CONFIG_ENGINE_OPENAI] = ENGINE_KIND_OPENAI,
	};

	return kinds[kind];
}

static struct watched *watched_create(struct control *c, const struct config_engine *ce,
				      const struct snapshot_engine *se)
{
	const struct engine_id id = se->id;
	struct sock_url url;
	struct sock_addr addr;
	const char *why;
	char host[300];

	if (sock_url_parse(ce->url, &url, &why))
		return NULL;
	struct watched *w = bb_alloc_zero(1, sizeof(*w));
	if (!w)
		return NULL;
	if (url.unix_path.len)
		snprintf(host, sizeof(host), "localhost");
	else
		snprintf(host, sizeof(host),
			 memchr(url.host.p, ':', url.host.len) ? "[%.*s]:%u" : "%.*s:%u",
			 BB_ARG(url.host), url.port);
	w->control = c;
	w->id = id;
	w->kind = kind_of(ce->kind);
	w->told = ENGINE_STARTING;
	w->url = bb_strndup(ce->url.p, ce->url.len);
	w->host_field = bb_strndup(host, strlen(host));
	w->base = bb_strndup(url.base.len ? url.base.p : "", url.base.len);
	w->api_key = bb_strndup(ce->api_key.len ? ce->api_key.p : "", ce->api_key.len);
	w->tls_name = bb_strndup(se->tls_name.p, se->tls_name.len);
	w->tls = tls_context_get(se->tls);
	if (!w->url || !w->host_field || !w->base || !w->api_key || !w->tls_name)
		goto fail;
	struct engine_link *link = &c->gateway->links[id.slot];
	if (link->generation != id.generation) {
		__atomic_store_n(&link->adapter, NULL, __ATOMIC_RELEASE);
		__atomic_store_n(&link->generation, id.generation, __ATOMIC_RELEASE);
	}
	if (w->kind != ENGINE_KIND_AUTO)
		__atomic_store_n(&link->adapter, adapter_find(w->kind), __ATOMIC_RELEASE);
	if (url.unix_path.len ? sock_addr_parse(ce->url, &addr, &why) == 0
			      : resolver_is_numeric(url.host, url.port, &addr)) {
		watched_set_addr(w, &addr);
	} else {
		w->job = resolve_job_create(c->resolver, url.host, url.port, on_resolved, w);
		if (!w->job)
			goto fail;
		resolve_job_start(w->job);
	}
	return w;

fail:
	watched_destroy(w);
	return NULL;
}

/* Certificates may have changed under the same paths: TLS is always set up anew. */
static bool is_same(const struct watched *w, const struct config_engine *ce, struct engine_id id)
{
	return !w->tls && engine_id_is(w->id, id) && bb_str_eq(bb_str_of(w->url), ce->url) &&
	       bb_str_eq(bb_str_of(w->api_key), ce->api_key) && w->kind == kind_of(ce->kind);
}

/* Probers for the engines of the snapshot in force; those that stay go on undisturbed. */
static int watch_engines(struct control *c, bool probe_changed)
{
	const struct config *config = c->snapshot->config;
	struct watched **list = bb_alloc_zero(config->engine_count, sizeof(struct watched *));
	uint32_t count = 0;

	if (!list)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < config->engine_count; i++) {
		const struct engine_id id = c->snapshot->engines[i].id;
		struct watched *w = watched_by_slot(c, id.slot);
		if (!w || !is_same(w, &config->engines[i], id) || probe_changed)
			w = watched_create(c, &config->engines[i], &c->snapshot->engines[i]);
		if (!w) {
			BB_LOG(BB_LOG_ERROR, "engine", "no memory to watch %.*s",
			       BB_ARG(config->engines[i].url));
			continue;
		}
		w->in_config = true;
		list[count++] = w;
	}
	for (uint32_t i = 0; i < c->watched_count; i++) {
		bool kept = false;
		for (uint32_t k = 0; k < count; k++)
			kept |= list[k] == c->watched[i];
		if (!kept)
			watched_destroy(c->watched[i]);
	}
	bb_free(c->watched);
	c->watched = list;
	c->watched_count = count;
	return 0;
}

static void on_kick(struct loop_message *m)
{
	struct engine_link *link = BB_CONTAINER(m, struct engine_link, kick);
	struct control *c = NULL;
	struct watched *w;

	__atomic_store_n(&link->kick_pending, false, __ATOMIC_RELEASE);
	c = link->control;
	w = watched_by_slot(c, (uint32_t)(link - c->gateway->links));
	if (w && w->prober)
		prober_kick(w->prober);
}

void control_kick(struct gateway *g, struct engine_id id)
{
	struct engine_link *link = &g->links[id.slot];

	if (__atomic_exchange_n(&link->kick_pending, true, __ATOMIC_ACQ_REL))
		return;
	link->control = g->control;
	link->kick.run = on_kick;
	loop_post(g->control->loop, &link->kick);
}

/* ---- configurations ---- */

static int configure_brain(struct control *c, struct snapshot *s)
{
	struct bb_arena scratch;
	struct plan plan;
	struct engine_id *ids = bb_alloc_zero(s->config->engine_count, sizeof(*ids));

	if (!ids)
		return -BB_ENOMEM;
	bb_arena_init(&scratch, PLAN_MAX);
	int rc = snapshot_plan(s, &scratch, &plan);
	if (!rc) {
		gateway_lock(c->gateway);
		rc = brain_configure(c->gateway->brain, clock_now_ns(), &plan, ids);
		gateway_unlock(c->gateway);
	}
	if (!rc)
		rc = snapshot_set_ids(s, ids);
	bb_arena_fini(&scratch);
	bb_free(ids);
	return rc;
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
		{ "log.format", old->log.format == new->log.format },
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
	int rc = snapshot_create(config, &s, why);

	if (rc) {
		config_free(config);
		bb_buf_printf(report, "%s\n", why);
		goto fail;
	}
	rc = configure_brain(c, s);
	if (rc) {
		snapshot_put(s);
		goto fail;
	}
	struct snapshot *old = c->snapshot;
	warn_fixed(old->config, s->config);
	const bool probe_changed =
		memcmp(&old->config->probe, &s->config->probe, sizeof(old->config->probe)) != 0;
	c->snapshot = s;
	if (c->admin)
		admin_set_tls(c->admin, s->admin_tls);
	for (uint32_t i = 0; i < g->worker_count; i++)
		if (worker_set_snapshot(g->workers[i], s))
			BB_LOG(BB_LOG_ERROR, "reload", "worker %u keeps the old settings: no memory", i);
	rc = watch_engines(c, probe_changed);
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

static void on_second(struct loop_timer *t)
{
	struct control *c = BB_CONTAINER(t, struct control, second);
	const uint64_t now_ns = loop_now_ns(c->loop);

	sample_take(c);
	if (now_ns - c->resolved_ns > RESOLVE_AGAIN_NS) {
		c->resolved_ns = now_ns;
		for (uint32_t i = 0; i < c->watched_count; i++)
			if (c->watched[i]->job)
				resolve_job_start(c->watched[i]->job);
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
			access_log_reopen(c->gateway->access);
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
	int rc = snapshot_create(options->config, &c->snapshot, why);
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
	rc = loop_timer_init(c->loop, &c->drain_poll, on_drain_poll);
	if (rc)
		goto fail;
	rc = signal_watch_init(c->loop, &c->signals, signals, 4, on_signal);
	if (rc)
		goto fail;
	rc = resolver_create(c->loop, &c->resolver);
	if (rc)
		goto fail;
	rc = configure_brain(c, c->snapshot);
	if (rc)
		goto fail;
	*out = c;
	return 0;

fail:
	control_destroy(c);
	return rc;
}

int control_start(struct control *c)
{
	c->resolved_ns = loop_now_ns(c->loop);
	int rc = watch_engines(c, false);
	if (!rc && c->snapshot->config->admin.len)
		rc = admin_create(c->gateway, c->loop, c->snapshot, &c->admin);
	loop_timer_arm(&c->second, loop_now_ns(c->loop));
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
	loop_timer_fini(&c->drain_poll);
	for (uint32_t i = 0; i < c->watched_count; i++)
		watched_destroy(c->watched[i]);
	bb_free(c->watched);
	c->watched = NULL;
	c->watched_count = 0;
	resolver_destroy(c->resolver);
	snapshot_put(c->snapshot);
	loop_destroy(c->loop);
	bb_free(c);
}

struct snapshot *control_snapshot(const struct control *c)
{
	return c->snapshot;
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
