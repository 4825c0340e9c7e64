#include "gateway/worker.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "gateway/request.h"
#include "os/clock.h"

#define REQUESTS_KEEP 4096
#define TEXT_MAX (32u << 20)
#define BUFFERS_KEEP_MAX (16u << 20)
#define SWEEP_NS (1 * OS_SECOND)
#define DRAIN_POLL_NS (5 * OS_MS)

struct retired_pool {
	struct bb_list link;
	struct httpc_pool *pool;
};

struct snapshot_message {
	struct loop_message message;
	struct worker *worker;
	struct snapshot *snapshot;
};

struct drain_message {
	struct loop_message message;
	struct worker *worker;
	uint64_t deadline_ns;
};

/* Of all workers together an eighth of the budget, on top of it. */
static uint64_t buffers_keep(uint64_t buffers, uint32_t workers)
{
	const uint64_t keep = buffers / 8 / workers;

	return keep < BUFFERS_KEEP_MAX ? keep : BUFFERS_KEEP_MAX;
}

static void httpd_limits_of(const struct config *c, uint32_t workers, struct httpd_limits *l)
{
	const struct config_limits *cl = &c->limits;

	*l = (struct httpd_limits){
		.head_size_max = (uint32_t)cl->head_size,
		.url_size_max = (uint32_t)cl->url_size,
		.body_size_max = cl->body_size,
		.buffers_keep = buffers_keep(cl->buffers, workers),
		.connections_max = cl->connections ? (cl->connections + workers - 1) / workers : 0,
		.per_address_max = cl->connections_per_address,
		.body_rate_min = cl->body_rate,
		.head_timeout_ns = cl->header_timeout_ns,
		.body_timeout_ns = cl->body_timeout_ns,
		.keepalive_ns = cl->keepalive_ns,
		.write_timeout_ns = cl->write_timeout_ns,
		.requests_max = cl->requests_per_connection,
	};
}

static void httpc_limits_of(const struct config *c, struct httpc_limits *l)
{
	const struct config_upstream *u = &c->upstream;

	httpc_limits_default(l);
	l->idle_max = u->idle_connections;
	l->connect_timeout_ns = u->connect_timeout_ns;
	l->head_timeout_ns = u->first_byte_timeout_ns;
	l->read_timeout_ns = u->read_timeout_ns;
	l->write_timeout_ns = u->write_timeout_ns;
	l->idle_timeout_ns = u->idle_timeout_ns;
}

/* ---- pools of connections to engines ---- */

static void pool_retire(struct worker *w, struct worker_pool *p)
{
	if (!p->pool)
		return;
	httpc_pool_flush(p->pool);
	if (httpc_pool_busy_count(p->pool)) {
		p->place->pool = p->pool;
		bb_list_append(&w->retired, &p->place->link);
	} else {
		httpc_pool_destroy(p->pool);
		bb_free(p->place);
	}
	*p = (struct worker_pool){ 0 };
}

struct httpc_pool *worker_pool(struct worker *w, struct engine_id id)
{
	struct engine_link *link = &w->gateway->links[id.slot];
	struct worker_pool *p = &w->pools[id.slot];
	const uint32_t version = __atomic_load_n(&link->addr_version, __ATOMIC_ACQUIRE);

	if (p->pool && p->generation == id.generation && p->addr_version == version)
		return p->pool;
	pool_retire(w, p);
	if (version == 0)
		return NULL;
	struct httpc_limits limits;
	httpc_limits_of(w->snapshot->config, &limits);
	gateway_lock(w->gateway);
	const struct sock_addr addr = link->addr;
	const uint32_t now_version = __atomic_load_n(&link->addr_version, __ATOMIC_ACQUIRE);
	/* Its slot may have gone to another engine since the choice was made. */
	const bool is_its_own =
		__atomic_load_n(&link->generation, __ATOMIC_ACQUIRE) == id.generation;
	gateway_unlock(w->gateway);
	if (!is_its_own)
		return NULL;
	/* How an engine is spoken to (TLS, and who it must be) stands in the configuration only. */
	const struct snapshot_engine *e = snapshot_engine(w->snapshot, id);
	if (!e)
		return NULL;
	p->place = bb_alloc(sizeof(*p->place));
	if (!p->place || httpc_pool_create(w->loop, &addr, &limits, &p->pool)) {
		BB_FREE(p->place);
		return NULL;
	}
	if (e->tls && httpc_pool_set_tls(p->pool, e->tls, e->tls_name.p)) {
		httpc_pool_destroy(p->pool);
		p->pool = NULL;
		BB_FREE(p->place);
		return NULL;
	}
	p->generation = id.generation;
	p->addr_version = now_version;
	return p->pool;
}

static void on_sweep(struct loop_timer *t)
{
	struct worker *w = BB_CONTAINER(t, struct worker, sweep);
	uint64_t idle = 0;

	BB_LIST_EACH (it, safe, &w->retired) {
		struct retired_pool *r = BB_CONTAINER(it, struct retired_pool, link);
		if (httpc_pool_busy_count(r->pool))
			continue;
		httpc_pool_destroy(r->pool);
		bb_list_remove(&r->link);
		bb_free(r);
	}
	for (uint32_t i = 0; i < GATEWAY_ENGINES_MAX; i++)
		if (w->pools[i].pool)
			idle += httpc_pool_idle_count(w->pools[i].pool);
	__atomic_store_n(&w->metrics->upstream_idle, idle, __ATOMIC_RELAXED);
	__atomic_store_n(&w->metrics->connections, httpd_connection_count(w->httpd),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&w->metrics->refused, httpd_refused_count(w->httpd), __ATOMIC_RELAXED);
	if (w->draining)
		return;
	loop_timer_arm(&w->sweep, loop_now_ns(w->loop) + SWEEP_NS);
}

/* ---- messages ---- */

/* Pools of engines that left, whose certificates were read again, or whose limits are others now.
 */
static void pools_renew(struct worker *w, const struct snapshot *old)
{
	const bool same_limits = memcmp(&old->config->upstream, &w->snapshot->config->upstream,
					sizeof(old->config->upstream)) == 0;

	for (uint32_t i = 0; i < GATEWAY_ENGINES_MAX; i++) {
		struct worker_pool *p = &w->pools[i];
		const struct snapshot_engine *e =
			snapshot_engine(w->snapshot, (struct engine_id){ i, p->generation });
		if (p->pool && (!same_limits || !e || e->tls))
			pool_retire(w, p);
	}
}

static void on_snapshot(struct loop_message *m)
{
	struct snapshot_message *sm = BB_CONTAINER(m, struct snapshot_message, message);
	struct worker *w = sm->worker;
	struct httpd_limits limits;

	struct snapshot *old = w->snapshot;
	w->snapshot = sm->snapshot;
	bb_free(sm);
	if (!w->httpd) {
		snapshot_put(old);
		return;
	}
	httpd_limits_of(w->snapshot->config, w->gateway->worker_count, &limits);
	bb_budget_set(&w->gateway->buffers, w->snapshot->config->limits.buffers);
	httpd_set_limits(w->httpd, &limits);
	httpd_set_tls(w->httpd, w->snapshot->listen_tls);
	pools_renew(w, old);
	text_work_forget(w->texts);
	snapshot_put(old);
}

int worker_set_snapshot(struct worker *w, struct snapshot *s)
{
	struct snapshot_message *sm = bb_alloc_zero(1, sizeof(*sm));

	if (!sm)
		return -BB_ENOMEM;
	sm->message.run = on_snapshot;
	sm->worker = w;
	sm->snapshot = snapshot_get(s);
	loop_post(w->loop, &sm->message);
	return 0;
}

static void on_drain_poll(struct loop_timer *t)
{
	struct worker *w = BB_CONTAINER(t, struct worker, sweep);

	if (httpd_connection_count(w->httpd) == 0) {
		loop_stop(w->loop);
		return;
	}
	loop_timer_arm(&w->sweep, loop_now_ns(w->loop) + DRAIN_POLL_NS);
}

static void on_drain_deadline(struct loop_timer *t)
{
	struct worker *w = BB_CONTAINER(t, struct worker, deadline);

	BB_LOG(BB_LOG_WARN, "drain", "%u requests were cut at the end of shutdown.grace",
	       httpd_exchange_count(w->httpd));
	loop_stop(w->loop);
}

static void on_drain(struct loop_message *m)
{
	struct drain_message *dm = BB_CONTAINER(m, struct drain_message, message);
	struct worker *w = dm->worker;
	const uint64_t deadline_ns = dm->deadline_ns;

	bb_free(dm);
	if (!w->httpd)
		return;
	w->draining = true;
	httpd_drain(w->httpd);
	w->sweep.on_timer = on_drain_poll;
	loop_timer_arm(&w->sweep, loop_now_ns(w->loop));
	loop_timer_arm(&w->deadline, deadline_ns);
}

void worker_drain(struct worker *w, uint64_t deadline_ns)
{
	struct drain_message *dm = bb_alloc_zero(1, sizeof(*dm));

	if (!dm) {
		loop_stop(w->loop);
		return;
	}
	dm->message.run = on_drain;
	dm->worker = w;
	dm->deadline_ns = deadline_ns;
	loop_post(w->loop, &dm->message);
}

/* ---- life ---- */

static void worker_run(void *arg)
{
	struct worker *w = arg;

	loop_run(w->loop);
	/* Whoever is left is cut; their requests release what they hold while the loop is still
	 * ours. */
	httpd_destroy(w->httpd);
	w->httpd = NULL;
	__atomic_store_n(&w->has_ended, true, __ATOMIC_RELEASE);
}

/* Of limits.explain, rounded up. */
static uint32_t explain_share(const struct gateway *g, const struct config *c)
{
	return (c->limits.explain + g->worker_count - 1) / g->worker_count;
}

int worker_create(struct gateway *g, uint32_t index, struct snapshot *snapshot,
		  const int *listen_fds, uint32_t listen_count, struct worker **out)
{
	struct worker *w = bb_alloc_zero(1, sizeof(*w));
	uint32_t taken = 0;
	int rc = -BB_ENOMEM;

	if (!w)
		goto fail_listen;
	w->gateway = g;
	w->index = index;
	w->snapshot = snapshot_get(snapshot);
	bb_list_init(&w->retired);
	bb_pool_init(&w->requests, request_size(), REQUESTS_KEEP);
	bb_buf_init(&w->text, TEXT_MAX);
	entropy_fill(&w->id_prefix, sizeof(w->id_prefix));
	w->metrics = metrics_create();
	if (!w->metrics)
		goto fail;
	rc = explain_ring_init(&w->explained, explain_share(g, snapshot->config), g->block_secret);
	if (rc)
		goto fail;
	rc = token_gate_create(&w->tokens);
	if (rc)
		goto fail;
	rc = text_work_create(&w->texts);
	if (rc)
		goto fail;
	rc = -BB_ENOMEM;
	if (g->access) {
		w->lane = line_lane_create(g->access);
		if (!w->lane)
			goto fail;
	}
	rc = loop_create(&w->loop);
	if (rc)
		goto fail;
	rc = loop_timer_init(w->loop, &w->sweep, on_sweep);
	if (rc)
		goto fail;
	rc = loop_timer_init(w->loop, &w->deadline, on_drain_deadline);
	if (rc)
		goto fail;
	struct httpd_config hc = { .loop = w->loop,
				   .ops = &request_ops,
				   .buffers = &g->buffers,
				   .peers = g->peers,
				   .user = w };
	httpd_limits_of(snapshot->config, g->worker_count, &hc.limits);
	rc = httpd_create(&hc, &w->httpd);
	if (rc)
		goto fail;
	httpd_set_tls(w->httpd, snapshot->listen_tls);
	for (; taken < listen_count; taken++) {
		rc = httpd_listen(w->httpd, listen_fds[taken]);
		if (rc)
			goto fail;
	}
	loop_timer_arm(&w->sweep, loop_now_ns(w->loop) + SWEEP_NS);
	*out = w;
	return 0;

fail:
	worker_destroy(w);
fail_listen:
	while (taken < listen_count)
		sock_close(listen_fds[taken++]);
	return rc;
}

int worker_start(struct worker *w)
{
	w->thread = (struct thread){ .name = "busbar-worker", .run = worker_run, .arg = w };
	return thread_start(&w->thread);
}

void worker_join(struct worker *w)
{
	thread_join(&w->thread);
}

void worker_destroy(struct worker *w)
{
	if (!w)
		return;
	httpd_destroy(w->httpd);
	w->httpd = NULL;
	for (uint32_t i = 0; i < GATEWAY_ENGINES_MAX; i++)
		pool_retire(w, &w->pools[i]);
	BB_LIST_EACH (it, safe, &w->retired) {
		struct retired_pool *r = BB_CONTAINER(it, struct retired_pool, link);
		httpc_pool_destroy(r->pool);
		bb_free(r);
	}
	bb_pool_fini(&w->requests);
	explain_ring_fini(&w->explained);
	bb_buf_fini(&w->text);
	token_gate_destroy(w->tokens);
	text_work_destroy(w->texts);
	loop_timer_fini(&w->sweep);
	loop_timer_fini(&w->deadline);
	if (w->loop)
		loop_turn(w->loop, 0); /* messages that came after its end are freed */
	loop_destroy(w->loop);
	metrics_destroy(w->metrics);
	snapshot_put(w->snapshot);
	bb_free(w);
}
