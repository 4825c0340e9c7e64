#include "gateway/watch.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engines/prober.h"
#include "gateway/kv_watch.h"
#include "gateway/resolver.h"
#include "gateway/text_check.h"
#include "net/tls.h"
#include "os/clock.h"
#include "os/sandbox.h"

/* An engine that could not say how it tokenizes is asked again. */
#define CHECK_AGAIN_NS (60 * OS_SECOND)

/* One engine of the configuration in force. */
struct watched {
	struct watch *watch;
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
	/* Does it tokenize as we do? */
	struct text_check *check; /* under way */
	uint32_t model;           /* index of the model that is compared; UINT32_MAX: none has a text */
	uint64_t text_content;    /* of the text that it was compared with */
	uint64_t checked_ns;
	char text_detail[TEXT_DETAIL_SIZE];
	struct kv_watch *kv;
	bool is_ready;         /* as it reported last */
	uint32_t dp_ranks;
	uint32_t load_version; /* of what its answers told, seen last */
	struct engine_load pushed;
	struct loop_task push_task;
};

struct watch {
	struct gateway *gateway;
	struct loop *loop;
	struct resolver *resolver;
	struct snapshot *snapshot; /* in force; the control's */
	struct watched **list;
	uint32_t count;
	uint32_t feeds; /* of KV events */
};

static struct watched *watched_by_slot(const struct watch *c, uint32_t slot)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (c->list[i]->id.slot == slot)
			return c->list[i];
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

/* ---- does it tokenize as we do? ---- */

static enum text_verdict verdict_get(const struct watched *w)
{
	return __atomic_load_n(&w->watch->gateway->links[w->id.slot].text_verdict, __ATOMIC_ACQUIRE);
}

static void verdict_set(struct watched *w, enum text_verdict v)
{
	__atomic_store_n(&w->watch->gateway->links[w->id.slot].text_verdict, (uint8_t)v,
			 __ATOMIC_RELEASE);
}

/* ---- what its KV cache holds, and its load ---- */

static void kv_update(struct watched *w)
{
	struct engine_link *link = &w->watch->gateway->links[w->id.slot];
	const struct kv_watch_facts facts = {
		.is_ready = w->is_ready,
		.adapter = __atomic_load_n(&link->adapter, __ATOMIC_ACQUIRE),
		.addr = link->addr, /* only this thread writes it */
		.verdict = verdict_get(w),
		.dp_ranks = w->dp_ranks,
		.mirror_bytes = w->watch->snapshot->config->limits.kv_mirror,
	};

	kv_watch_update(w->kv, &facts);
}

static void on_pushed(struct loop_task *t)
{
	struct watched *w = BB_CONTAINER(t, struct watched, push_task);

	if (w->prober)
		prober_load(w->prober, &w->pushed);
}

/* At the end of the turn: a report may end the very feed that this comes from. */
static void on_load(void *user, const struct engine_load *load)
{
	struct watched *w = user;

	w->pushed = *load;
	loop_defer(w->watch->loop, &w->push_task);
}

/* What the engine told in the heads of its answers since the last time. */
static void told_load_take(struct watched *w)
{
	const struct engine_link *link = &w->watch->gateway->links[w->id.slot];
	const uint32_t version = __atomic_load_n(&link->load_version, __ATOMIC_ACQUIRE);

	if (version == w->load_version || !w->prober)
		return;
	w->load_version = version;
	const struct engine_load l = {
		.has_waiting = true,
		.has_usage = true,
		.waiting = __atomic_load_n(&link->load_waiting, __ATOMIC_RELAXED),
		.kv_usage = __atomic_load_n(&link->load_usage_ppm, __ATOMIC_RELAXED) / 1e6,
	};
	prober_load(w->prober, &l);
}

/* ---- does it tokenize as we do: the answer ---- */

static void on_checked(void *user, enum text_verdict verdict, const char *detail)
{
	struct watched *w = user;
	const struct config *config = w->watch->snapshot->config;
	const struct bb_str model =
		w->model < config->model_count ? config->models[w->model].name : BB_STR("?");

	w->check = NULL;
	w->checked_ns = loop_now_ns(w->watch->loop);
	bb_text_copy(w->text_detail, sizeof(w->text_detail), detail);
	verdict_set(w, verdict);
	kv_update(w);
	if (verdict == TEXT_SAME)
		BB_LOG(BB_LOG_INFO, "tokens", "%s: tokens of %.*s are exact: %s", w->url, BB_ARG(model),
		       detail);
	else if (verdict == TEXT_DIFFERENT)
		BB_LOG(BB_LOG_ERROR, "tokens",
		       "%s does not tokenize as the tokenizer of %.*s does: %s; until that is mended its "
		       "token counts are estimates: is models.%.*s.tokenizer (and chat_template) of the "
		       "same revision as the engine's?",
		       w->url, BB_ARG(model), detail, BB_ARG(model));
	else
		BB_LOG(BB_LOG_WARN, "tokens",
		       "%s: whether the tokens of %.*s are exact is not known: %s", w->url, BB_ARG(model),
		       detail);
}

/* The first model of an engine that has a tokenizer. */
static uint32_t model_to_check(const struct watched *w)
{
	const struct snapshot *s = w->watch->snapshot;

	for (uint32_t i = 0; i < s->config->model_count; i++) {
		const struct config_model *m = &s->config->models[i];
		for (uint32_t k = 0; s->texts.list[i] && k < m->engine_count; k++)
			if (engine_id_is(s->engines[m->engines[k]].id, w->id))
				return i;
	}
	return UINT32_MAX;
}

static void check_start(struct watched *w, const struct adapter *a)
{
	struct watch *c = w->watch;
	struct model_text *text = c->snapshot->texts.list[w->model];
	const struct sock_addr addr = c->gateway->links[w->id.slot].addr;
	const struct text_check_config tc = {
		.loop = c->loop,
		.addr = &addr,
		.host = bb_str_of(w->host_field),
		.base = bb_str_of(w->base),
		.api_key = bb_str_of(w->api_key),
		.tls = w->tls,
		.tls_name = w->tls_name,
		.adapter = a,
		.text = text,
		.served_name = c->snapshot->config->models[w->model].served_name,
		.user = w,
		.on_done = on_checked,
	};

	w->text_content = text->content;
	verdict_set(w, TEXT_PENDING);
	if (text_check_start(&tc, &w->check))
		BB_LOG(BB_LOG_ERROR, "tokens", "%s: no memory to compare its tokens", w->url);
}

/* Once it is ready, when its model's files are others, and again where it could not say. */
static void check_consider(struct watched *w, const struct engine_report *r, const struct adapter *a)
{
	const bool came_back = w->told != ENGINE_READY;

	if (r->state != ENGINE_READY || !a || w->check)
		return;
	w->model = model_to_check(w);
	if (w->model == UINT32_MAX) {
		verdict_set(w, TEXT_NONE);
		return;
	}
	const bool is_late = verdict_get(w) == TEXT_UNKNOWN &&
			     loop_now_ns(w->watch->loop) - w->checked_ns > CHECK_AGAIN_NS;
	const struct model_text *text = w->watch->snapshot->texts.list[w->model];
	if (came_back || is_late || w->text_content != text->content)
		check_start(w, a);
}

static void check_stop(struct watched *w)
{
	text_check_cancel(w->check);
	w->check = NULL;
}

static void on_report(void *user, const struct engine_report *r, const struct adapter *a)
{
	struct watched *w = user;
	struct gateway *g = w->watch->gateway;
	const uint64_t now_ns = loop_now_ns(w->watch->loop);

	if (a)
		__atomic_store_n(&g->links[w->id.slot].adapter, a, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < r->model_count; i++)
		if (r->models[i].is_adapter)
			__atomic_store_n(&g->has_adapters, true, __ATOMIC_RELAXED);
	gateway_lock(g);
	brain_engine_report(g->brain, now_ns, w->id, r);
	gateway_unlock(g);
	if (r->state != ENGINE_READY)
		check_stop(w);
	check_consider(w, r, a);
	log_state(w, r, a);
	w->is_ready = r->state == ENGINE_READY;
	w->dp_ranks = r->dp_ranks;
	kv_update(w);
}

/* Workers see the address from now on; the prober starts or moves to it. */
static void watched_set_addr(struct watched *w, const struct sock_addr *addr)
{
	struct watch *c = w->watch;
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
	struct engine_link *link = &w->watch->gateway->links[w->id.slot];

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
	check_stop(w);
	kv_watch_destroy(w->kv);
	loop_task_cancel(&w->push_task);
	prober_destroy(w->prober);
	resolve_job_cancel(w->job);
	bb_free(w->url);
	bb_free(w->host_field);
	bb_free(w->base);
	if (w->api_key)
		secret_wipe(w->api_key, strlen(w->api_key));
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

static struct watched *watched_create(struct watch *c, const struct config_engine *ce,
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
	loop_task_init(&w->push_task, on_pushed);
	w->watch = c;
	w->id = id;
	w->kind = kind_of(ce->kind);
	w->told = ENGINE_STARTING;
	w->model = UINT32_MAX;
	w->url = bb_strndup(ce->url.p, ce->url.len);
	w->host_field = bb_strndup(host, strlen(host));
	w->base = bb_strndup(url.base.len ? url.base.p : "", url.base.len);
	w->api_key = bb_strndup(ce->api_key.len ? ce->api_key.p : "", ce->api_key.len);
	if (w->api_key)
		secret_hide(w->api_key, ce->api_key.len);
	w->tls_name = bb_strndup(se->tls_name.p, se->tls_name.len);
	w->tls = tls_context_get(se->tls);
	if (!w->url || !w->host_field || !w->base || !w->api_key || !w->tls_name)
		goto fail;
	const struct kv_watch_config kc = {
		.gateway = c->gateway,
		.loop = c->loop,
		.id = id,
		.engine = ce,
		.url = w->url,
		.host_field = w->host_field,
		.base = w->base,
		.api_key = w->api_key,
		.tls_name = w->tls_name,
		.tls = w->tls,
		.feeds = &c->feeds,
		.user = w,
		.on_load = on_load,
	};
	if (kv_watch_create(&kc, &w->kv))
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
	       bb_str_eq(bb_str_of(w->api_key), ce->api_key) && w->kind == kind_of(ce->kind) &&
	       kv_watch_is(w->kv, ce);
}

/* Probers for the engines of the snapshot in force; those that stay go on undisturbed. */
int watch_engines(struct watch *c, struct snapshot *snapshot, enum watch_settings settings)
{
	c->snapshot = snapshot;
	const struct config *config = c->snapshot->config;
	struct watched **list = bb_alloc_zero(config->engine_count, sizeof(struct watched *));
	uint32_t count = 0;

	if (!list)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < config->engine_count; i++) {
		const struct engine_id id = c->snapshot->engines[i].id;
		struct watched *w = watched_by_slot(c, id.slot);
		if (!w || !is_same(w, &config->engines[i], id) || settings == WATCH_CHANGED)
			w = watched_create(c, &config->engines[i], &c->snapshot->engines[i]);
		if (!w) {
			BB_LOG(BB_LOG_ERROR, "engine", "no memory to watch %.*s",
			       BB_ARG(config->engines[i].url));
			continue;
		}
		w->in_config = true;
		list[count++] = w;
	}
	for (uint32_t i = 0; i < c->count; i++) {
		bool kept = false;
		for (uint32_t k = 0; k < count; k++)
			kept |= list[k] == c->list[i];
		if (!kept)
			watched_destroy(c->list[i]);
	}
	bb_free(c->list);
	c->list = list;
	c->count = count;
	return 0;
}

void watch_kick(struct watch *c, uint32_t slot)
{
	struct watched *w = watched_by_slot(c, slot);

	if (w && w->prober)
		prober_kick(w->prober);
}

const char *watch_text_detail(const struct watch *c, uint32_t slot)
{
	const struct watched *w = watched_by_slot(c, slot);

	return w ? w->text_detail : "";
}

bool watch_kv(const struct watch *c, uint32_t slot, struct kv_status *out,
	      struct engine_figures *figures)
{
	const struct watched *w = watched_by_slot(c, slot);

	if (!w)
		return false;
	kv_watch_status(w->kv, out);
	*figures = w->prober ? *prober_figures(w->prober) : (struct engine_figures){ 0 };
	return true;
}

void watch_second(struct watch *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		told_load_take(c->list[i]);
}

void watch_resolve(struct watch *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (c->list[i]->job)
			resolve_job_start(c->list[i]->job);
}

int watch_create(struct gateway *g, struct loop *loop, struct watch **out)
{
	struct watch *c = bb_alloc_zero(1, sizeof(*c));

	if (!c)
		return -BB_ENOMEM;
	c->gateway = g;
	c->loop = loop;
	const int rc = resolver_create(loop, &c->resolver);
	if (rc) {
		bb_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

struct resolver *watch_resolver(const struct watch *c)
{
	return c->resolver;
}

void watch_destroy(struct watch *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->count; i++)
		watched_destroy(c->list[i]);
	c->count = 0;
	BB_FREE(c->list);
	resolver_destroy(c->resolver); /* turns the loop once more */
	bb_free(c);
}
