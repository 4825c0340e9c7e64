#include "engines/kv_feed.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "engines/kv_poll.h"
#include "engines/load_push.h"
#include "net/fetch.h"
#include "os/clock.h"
#include "os/sandbox.h"

#define ANSWER_MAX ((size_t)4 << 20) /* SGLang's /server_info holds its whole configuration */
#define ANSWER_TIMEOUT_NS (10 * OS_SECOND)
#define AGAIN_MIN_NS (2 * OS_SECOND)
#define AGAIN_MAX_NS (60 * OS_SECOND)
#define PATHS_MAX 2

struct kv_feed {
	struct kv_feed_config config; /* its texts are copies */
	struct httpc_pool *pool;
	struct fetch *fetch;
	struct loop_timer timer;
	uint64_t again_ns; /* the next pause */
	uint32_t path;
	struct kv_budget budget;
	struct kv_rank *ranks[KV_RANKS_MAX];
	uint32_t rank_count; /* 0: none has been found (yet) */
	struct kv_poll *poll;
	struct load_push *push;
	char why[KV_WHY_SIZE]; /* while there is neither rank nor poll */
};

typedef int discover_fn(struct bb_str body, const struct sock_addr *engine, struct kv_sources *out);

/* Where kinds of engines tell where their events are. */
static const struct asking {
	enum engine_kind kind;
	struct bb_str paths[PATHS_MAX];
	discover_fn *read;
} askings[] = {
	{ ENGINE_KIND_VLLM, { BB_STR_INIT("/kv_event_sources") }, kv_discover_sources },
	{ ENGINE_KIND_BUSBAR, { BB_STR_INIT("/kv_event_sources") }, kv_discover_sources },
	{ ENGINE_KIND_SGLANG,
	  { BB_STR_INIT("/server_info"), BB_STR_INIT("/get_server_info") },
	  kv_discover_server_info },
};

static const struct asking *asking_of(enum engine_kind kind)
{
	for (size_t i = 0; i < sizeof(askings) / sizeof(*askings); i++)
		if (askings[i].kind == kind)
			return &askings[i];
	return NULL;
}

static void tell_why(struct kv_feed *f, const char *why)
{
	const bool is_new = strcmp(f->why, why) != 0;

	bb_text_copy(f->why, sizeof(f->why), why);
	if (is_new)
		f->config.on_mode(f->config.user, 0, KV_APPROXIMATE, f->why);
}

static void try_again(struct kv_feed *f)
{
	loop_timer_arm(&f->timer, loop_now_ns(f->config.loop) + f->again_ns);
	f->again_ns = f->again_ns > AGAIN_MAX_NS / 2 ? AGAIN_MAX_NS : 2 * f->again_ns;
}

/* ---- the ranks ---- */

static void on_changes(void *user, uint32_t rank, const struct kv_change *list, uint32_t count)
{
	struct kv_feed *f = user;

	f->config.on_changes(f->config.user, rank, list, count);
}

static void on_mode(void *user, uint32_t rank, enum kv_mode mode, const char *why)
{
	struct kv_feed *f = user;

	f->config.on_mode(f->config.user, rank, mode, why);
}

static void on_load(void *user, const struct engine_load *load)
{
	struct kv_feed *f = user;

	f->config.on_load(f->config.user, load);
}

static void ranks_stop(struct kv_feed *f)
{
	for (uint32_t i = 0; i < f->rank_count; i++)
		kv_rank_destroy(f->ranks[i]);
	f->rank_count = 0;
}

static int ranks_start(struct kv_feed *f, const struct kv_sources *s)
{
	const size_t share = f->config.mirror_bytes / s->count;
	int rc = 0;

	for (uint32_t i = 0; i < s->count && !rc; i++) {
		const struct kv_rank_config c = {
			.loop = f->config.loop,
			.name = f->config.name,
			.rank = i,
			.source = &s->items[i],
			.topic = s->topic,
			.mirror_bytes = share > KV_MIRROR_BYTES_MIN ? share : KV_MIRROR_BYTES_MIN,
			.block_tokens = f->config.block_tokens,
			.secret = f->config.secret,
			.budget = &f->budget,
			.user = f,
			.on_changes = on_changes,
			.on_mode = on_mode,
		};
		rc = kv_rank_create(&c, &f->ranks[i]);
		if (!rc)
			f->rank_count++;
	}
	if (rc)
		ranks_stop(f);
	return rc;
}

static void push_start(struct kv_feed *f, const struct kv_sources *s)
{
	const struct load_push_config c = {
		.loop = f->config.loop,
		.addrs = s->load,
		.count = s->load_count,
		.topic = s->load_topic,
		.user = f,
		.on_load = on_load,
	};

	if (s->load_count && !f->push && load_push_create(&c, &f->push))
		BB_LOG(BB_LOG_WARN, "kv_events", "%s: no memory for the load that it pushes",
		       f->config.name);
}

/* ---- asking ---- */

static int ask(struct kv_feed *f);

static void sources_take(struct kv_feed *f, const struct asking *a, struct bb_str body)
{
	struct kv_sources *s = bb_alloc(sizeof(*s));

	if (!s) {
		try_again(f);
		return;
	}
	if (a->read(body, &f->config.addr, s)) {
		tell_why(f, "what it says of its KV events cannot be read");
		try_again(f);
	} else {
		push_start(f, s);
		if (s->count == 0 || ranks_start(f, s)) {
			tell_why(f, s->count ? "there is no memory for its events" : s->why);
			try_again(f);
		}
	}
	bb_free(s);
}

static void on_answer(void *user, const struct fetch_answer *answer)
{
	struct kv_feed *f = user;
	const struct asking *a = asking_of(f->config.kind);
	char why[KV_WHY_SIZE];

	f->fetch = NULL;
	if (!answer->err && answer->status == 200) {
		sources_take(f, a, answer->body);
		return;
	}
	const bool is_absent =
		answer->status == 404 || answer->status == 405 || answer->status == 501;
	if (is_absent && f->path + 1 < PATHS_MAX && a->paths[f->path + 1].len) {
		f->path++;
		if (ask(f))
			try_again(f);
		return;
	}
	if (is_absent)
		snprintf(why, sizeof(why), "it has no %.*s: name its events by kv_events",
			 BB_ARG(a->paths[f->path]));
	else
		snprintf(why, sizeof(why), "asking where its events are failed: %s (status %d)",
			 answer->why ? answer->why : "it answers with an error", answer->status);
	f->path = 0;
	if (is_absent)
		f->again_ns = AGAIN_MAX_NS;
	tell_why(f, why);
	try_again(f);
}

static int ask(struct kv_feed *f)
{
	const struct asking *a = asking_of(f->config.kind);
	struct bb_buf target;

	bb_buf_init(&target, 4096);
	bb_buf_add_str(&target, f->config.base);
	bb_buf_add_str(&target, a->paths[f->path]);
	const struct fetch_request r = {
		.loop = f->config.loop,
		.method = "GET",
		.host = f->config.host,
		.target = bb_buf_str(&target),
		.bearer = f->config.api_key,
		.body_size_max = ANSWER_MAX,
		.timeout_ns = ANSWER_TIMEOUT_NS,
		.user = f,
		.on_done = on_answer,
	};
	const int rc = target.err ? target.err : fetch_start(f->pool, &r, &f->fetch);
	bb_buf_fini(&target);
	return rc;
}

static int poll_start(struct kv_feed *f)
{
	const struct kv_poll_config c = {
		.loop = f->config.loop,
		.pool = f->pool,
		.name = f->config.name,
		.host = f->config.host,
		.base = f->config.base,
		.api_key = f->config.api_key,
		.mirror_bytes = f->config.mirror_bytes,
		.block_tokens = f->config.block_tokens,
		.secret = f->config.secret,
		.budget = &f->budget,
		.user = f,
		.on_changes = on_changes,
		.on_mode = on_mode,
	};

	return kv_poll_create(&c, &f->poll);
}

static void begin(struct kv_feed *f)
{
	if (f->config.from == KV_FEED_POLL) {
		if (poll_start(f))
			try_again(f);
		return;
	}
	if (asking_of(f->config.kind)) {
		if (ask(f))
			try_again(f);
		return;
	}
	tell_why(f, f->config.kind == ENGINE_KIND_TRTLLM
			    ? "its events can be taken by one reader only: kv_events: poll makes "
			      "it this "
			      "gateway"
			    : "this kind of engine publishes no KV events");
}

static void on_timer(struct loop_timer *t)
{
	begin(BB_CONTAINER(t, struct kv_feed, timer));
}

/* ---- life ---- */

static int text_copy(struct bb_str *s)
{
	char *copy = bb_strndup(s->len ? s->p : "", s->len);

	s->p = copy;
	return copy ? 0 : -BB_ENOMEM;
}

static int texts_copy(struct kv_feed_config *c)
{
	const int host = text_copy(&c->host), base = text_copy(&c->base),
		  key = text_copy(&c->api_key);

	if (!key)
		secret_hide(c->api_key.p, c->api_key.len);
	return host ? host : base ? base : key;
}

static int pool_make(struct kv_feed *f)
{
	const struct kv_feed_config *c = &f->config;
	struct httpc_limits limits;

	httpc_limits_default(&limits);
	limits.idle_max = 1;
	const int rc = httpc_pool_create(c->loop, &c->addr, &limits, &f->pool);
	return !rc && c->tls ? httpc_pool_set_tls(f->pool, c->tls, c->tls_name) : rc;
}

static int endpoints_start(struct kv_feed *f)
{
	struct kv_sources *s = bb_alloc(sizeof(*s));

	if (!s)
		return -BB_ENOMEM;
	int rc = kv_discover_configured(&f->config.endpoints, &f->config.addr, s);
	if (!rc)
		rc = ranks_start(f, s);
	bb_free(s);
	return rc;
}

int kv_feed_create(const struct kv_feed_config *config, struct kv_feed **out)
{
	struct kv_feed *f = bb_alloc_zero(1, sizeof(*f));

	if (!f)
		return -BB_ENOMEM;
	f->config = *config;
	f->budget.feeds = config->feeds;
	f->again_ns = AGAIN_MIN_NS;
	bb_text_copy(f->why, sizeof(f->why), "it is asked for its KV events");
	int rc = texts_copy(&f->config);
	if (!rc)
		rc = loop_timer_init(config->loop, &f->timer, on_timer);
	if (!rc)
		rc = pool_make(f);
	if (!rc && config->from == KV_FEED_ENDPOINTS)
		rc = endpoints_start(f);
	else if (!rc)
		loop_timer_arm(&f->timer, loop_now_ns(config->loop));
	f->config.endpoints = (struct kv_configured){ 0 }; /* the caller's */
	if (rc) {
		kv_feed_destroy(f);
		return rc;
	}
	*out = f;
	return 0;
}

void kv_feed_destroy(struct kv_feed *f)
{
	if (!f)
		return;
	ranks_stop(f);
	kv_poll_destroy(f->poll);
	load_push_destroy(f->push);
	fetch_cancel(f->fetch);
	loop_timer_fini(&f->timer);
	httpc_pool_destroy(f->pool);
	bb_free((char *)f->config.host.p);
	bb_free((char *)f->config.base.p);
	if (f->config.api_key.p)
		secret_wipe((char *)f->config.api_key.p, f->config.api_key.len);
	bb_free((char *)f->config.api_key.p);
	bb_free(f);
}

enum kv_mode kv_feed_mode(const struct kv_feed *f, const char **why)
{
	enum kv_mode mode = KV_APPROXIMATE;

	*why = f->why;
	if (f->poll)
		return kv_poll_mode(f->poll, why);
	for (uint32_t i = 0; i < f->rank_count; i++) {
		mode = kv_rank_mode(f->ranks[i], why);
		if (mode != KV_EXACT)
			break;
	}
	return mode;
}

uint32_t kv_feed_ranks(const struct kv_feed *f)
{
	return f->poll ? 1 : f->rank_count;
}

void kv_feed_figures(const struct kv_feed *f, struct kv_figures *out)
{
	*out = (struct kv_figures){ .throttled = f->budget.throttled };
	if (f->poll)
		kv_poll_figures(f->poll, out);
	for (uint32_t i = 0; i < f->rank_count; i++)
		kv_rank_figures(f->ranks[i], out);
}
