#include "gateway/kv_watch.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"

#define LINES_A_MINUTE 4 /* about one engine: its events may come and go */
#define MINUTE_NS (60 * OS_SECOND)

struct kv_watch {
	struct kv_watch_config config;
	enum config_kv_events from;
	struct bb_str live[KV_RANKS_MAX], replay[KV_RANKS_MAX]; /* own copies */
	uint32_t live_count, replay_count;
	struct bb_str topic;

	struct kv_feed *feed; /* NULL: the engine is not ready, or its events are not wanted */
	struct kv_watch_facts facts; /* that the feed was made for */
	bool is_exact[KV_RANKS_MAX]; /* as the brain was told */
	char why[KV_WHY_SIZE];	     /* while there is no feed, or its events are of no use */
	enum kv_mode said_mode;
	char said[KV_WHY_SIZE];
	uint64_t minute_ns;
	uint32_t lines;
};

/* ---- what the brain is told ---- */

static void tell_mode(struct kv_watch *w, uint32_t rank, enum kv_mode mode)
{
	struct gateway *g = w->config.gateway;

	if (w->is_exact[rank] == (mode == KV_EXACT))
		return;
	w->is_exact[rank] = mode == KV_EXACT;
	gateway_lock(g);
	brain_kv_mode(g->brain, loop_now_ns(w->config.loop), w->config.id, rank, mode);
	gateway_unlock(g);
}

static void on_changes(void *user, uint32_t rank, const struct kv_change *list, uint32_t count)
{
	struct kv_watch *w = user;
	struct gateway *g = w->config.gateway;
	const uint64_t now_ns = loop_now_ns(w->config.loop);

	if (!w->is_exact[rank])
		return;
	gateway_lock(g);
	for (uint32_t i = 0; i < count; i++)
		brain_kv_change(g->brain, now_ns, w->config.id, rank, &list[i]);
	gateway_unlock(g);
}

/* ---- what people are told ---- */

static bool tokens_are_ours(const struct kv_watch *w)
{
	return w->facts.verdict == TEXT_SAME;
}

static enum kv_mode mode_get(const struct kv_watch *w, const char **why)
{
	*why = w->why;
	if (!w->feed || !tokens_are_ours(w)) /* without that its events are of no use */
		return KV_APPROXIMATE;
	return kv_feed_mode(w->feed, why);
}

static void say(struct kv_watch *w)
{
	const uint64_t now_ns = loop_now_ns(w->config.loop);
	const char *why;
	const enum kv_mode mode = mode_get(w, &why);

	if (mode == w->said_mode && strcmp(why, w->said) == 0)
		return;
	if (now_ns - w->minute_ns >= MINUTE_NS) {
		w->minute_ns = now_ns;
		w->lines = 0;
	}
	if (w->lines++ >= LINES_A_MINUTE)
		return;
	w->said_mode = mode;
	bb_text_copy(w->said, sizeof(w->said), why);
	if (mode == KV_EXACT)
		BB_LOG(BB_LOG_INFO, "kv_events", "%s: what its KV cache holds is known exactly: %s",
		       w->config.url, why);
	else
		BB_LOG(BB_LOG_INFO, "kv_events", "%s: what its KV cache holds is assumed: %s",
		       w->config.url, why);
}

static void on_mode(void *user, uint32_t rank, enum kv_mode mode, const char *why)
{
	struct kv_watch *w = user;

	tell_mode(w, rank, tokens_are_ours(w) ? mode : KV_APPROXIMATE);
	say(w);
}

static void on_load(void *user, const struct engine_load *load)
{
	struct kv_watch *w = user;

	w->config.on_load(w->config.user, load);
}

/* ---- the feed ---- */

static void feed_stop(struct kv_watch *w)
{
	if (!w->feed)
		return;
	kv_feed_destroy(w->feed);
	w->feed = NULL;
	--*w->config.feeds;
	for (uint32_t i = 0; i < KV_RANKS_MAX; i++)
		tell_mode(w, i, KV_APPROXIMATE);
}

static enum kv_feed_from feed_from(const struct kv_watch *w)
{
	return w->from == CONFIG_KV_POLL	? KV_FEED_POLL
	       : w->from == CONFIG_KV_ENDPOINTS ? KV_FEED_ENDPOINTS
						: KV_FEED_ASK;
}

static void feed_start(struct kv_watch *w)
{
	const struct kv_watch_config *c = &w->config;
	const struct kv_feed_config fc = {
		.loop = c->loop,
		.addr = w->facts.addr,
		.name = c->url,
		.host = bb_str_of(c->host_field),
		.base = bb_str_of(c->base),
		.api_key = bb_str_of(c->api_key),
		.tls = c->tls,
		.tls_name = c->tls_name,
		.kind = w->facts.adapter->kind,
		.from = feed_from(w),
		.endpoints = { w->live, w->replay_count ? w->replay : NULL, w->live_count,
			       w->topic },
		.mirror_bytes = w->facts.mirror_bytes,
		.block_tokens = BRAIN_BLOCK_TOKENS,
		.secret = c->gateway->block_secret,
		.feeds = c->feeds,
		.user = w,
		.on_changes = on_changes,
		.on_mode = on_mode,
		.on_load = on_load,
	};

	if (kv_feed_create(&fc, &w->feed))
		bb_text_copy(w->why, sizeof(w->why), "there is no memory to follow its events");
	else
		++*c->feeds;
}

static const char *verdict_reason(enum text_verdict v)
{
	switch (v) {
	case TEXT_NONE:
		return "no tokenizer is configured for what it serves, so that prompts cannot be "
		       "matched";
	case TEXT_PENDING: return "whether it tokenizes as the gateway does is not known yet";
	case TEXT_DIFFERENT: return "it does not tokenize as the gateway does";
	case TEXT_UNKNOWN: return "whether it tokenizes as the gateway does cannot be found out";
	case TEXT_SAME:
	case TEXT_VERDICT_COUNT: break;
	}
	return "";
}

/* Anything for which what was told so far must be forgotten and told anew. */
static bool needs_another_feed(const struct kv_watch *w, const struct kv_watch_facts *f)
{
	const struct kv_watch_facts *old = &w->facts;

	return !w->feed || old->adapter != f->adapter || !sock_addr_eq(&old->addr, &f->addr) ||
	       (old->verdict == TEXT_SAME) != (f->verdict == TEXT_SAME) ||
	       old->dp_ranks != f->dp_ranks;
}

void kv_watch_update(struct kv_watch *w, const struct kv_watch_facts *f)
{
	if (!f->is_ready || !f->adapter) {
		feed_stop(w);
		w->facts = *f;
		bb_text_copy(w->why, sizeof(w->why), "it is not ready");
		return;
	}
	if (w->from == CONFIG_KV_OFF) {
		w->facts = *f;
		bb_text_copy(w->why, sizeof(w->why), "kv_events is off");
		say(w);
		return;
	}
	if (f->verdict == TEXT_PENDING)
		return; /* it will be known in a moment */
	const bool is_new = needs_another_feed(w, f);
	if (is_new)
		feed_stop(w);
	w->facts = *f;
	bb_text_copy(w->why, sizeof(w->why), verdict_reason(f->verdict));
	if (is_new)
		feed_start(w);
	if (!is_new || !w->feed || !tokens_are_ours(w)) /* else there is nothing to say yet */
		say(w);
}

void kv_watch_status(const struct kv_watch *w, struct kv_status *out)
{
	*out = (struct kv_status){ .has_figures = w->feed && kv_feed_ranks(w->feed) };
	out->mode = mode_get(w, &out->why);
	if (w->feed)
		kv_feed_figures(w->feed, &out->figures);
}

/* ---- life ---- */

static void texts_free(struct bb_str *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		bb_free((char *)list[i].p);
}

static int texts_copy(const struct config_texts *from, struct bb_str *list, uint32_t *count)
{
	for (*count = 0; *count < from->count && *count < KV_RANKS_MAX; ++*count) {
		const struct bb_str s = from->items[*count].text;
		const char *copy = bb_strndup(s.p, s.len);
		if (!copy)
			return -BB_ENOMEM;
		list[*count] = (struct bb_str){ copy, s.len };
	}
	return 0;
}

static bool texts_eq(const struct config_texts *a, const struct bb_str *list, uint32_t count)
{
	bool same = a->count == count;

	for (uint32_t i = 0; same && i < count; i++)
		same = bb_str_eq(a->items[i].text, list[i]);
	return same;
}

bool kv_watch_is(const struct kv_watch *w, const struct config_engine *engine)
{
	return texts_eq(&engine->kv_events, w->live, w->live_count) &&
	       texts_eq(&engine->kv_replay, w->replay, w->replay_count) &&
	       bb_str_eq(engine->kv_topic, w->topic);
}

int kv_watch_create(const struct kv_watch_config *config, struct kv_watch **out)
{
	struct kv_watch *w = bb_alloc_zero(1, sizeof(*w));
	const struct config_engine *e = config->engine;

	if (!w)
		return -BB_ENOMEM;
	w->config = *config;
	w->config.engine = NULL; /* the caller's */
	w->from = config_engine_kv_events(e);
	bb_text_copy(w->why, sizeof(w->why), "it is not ready");
	int rc = texts_copy(&e->kv_events, w->live, &w->live_count);
	if (!rc)
		rc = texts_copy(&e->kv_replay, w->replay, &w->replay_count);
	const char *topic =
		rc ? NULL : bb_strndup(e->kv_topic.len ? e->kv_topic.p : "", e->kv_topic.len);
	if (!topic) {
		kv_watch_destroy(w);
		return -BB_ENOMEM;
	}
	w->topic = (struct bb_str){ topic, e->kv_topic.len };
	*out = w;
	return 0;
}

void kv_watch_destroy(struct kv_watch *w)
{
	if (!w)
		return;
	feed_stop(w);
	texts_free(w->live, w->live_count);
	texts_free(w->replay, w->replay_count);
	bb_free((char *)w->topic.p);
	bb_free(w);
}
