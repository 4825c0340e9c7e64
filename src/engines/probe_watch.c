/* The watch lane of a prober: detection, health, the list of models; it alone sets the state. */
#include "base/hash.h"
#include "base/log.h"
#include "engines/identify.h"
#include "engines/probe.h"

#define MODELS_EVERY 10 /* probes */

static void watch_ask_models(struct prober *p);

/* ---- when the next probe is due ---- */

static void watch_arm(struct prober *p, uint64_t delay_ns)
{
	const uint64_t now = loop_now_ns(p->config.loop);
	const uint64_t at = p->watch.begin_ns + delay_ns;

	loop_timer_arm(&p->watch.timer, at > now ? at : now);
}

/* A refusal costs nothing: first after an eighth of the interval, then each time twice that. */
static uint64_t refused_delay_ns(const struct prober *p)
{
	const uint32_t shift = p->failed_in_row < 3 ? p->failed_in_row : 3;

	return p->config.interval_ns >> (3 - shift);
}

/* So that probes of many engines that came up together do not go out together. */
static uint64_t first_delay_ns(const struct prober *p)
{
	const uint64_t half = p->config.interval_ns / 2;
	const struct sock_addr *addr = &p->config.addr;

	return half + (half ? bb_hash(&addr->storage, addr->len, 0) % half : 0);
}

/* ---- states ---- */

static void watch_set_state(struct prober *p, enum engine_state state, const char *why)
{
	const bool is_new = state != p->state || !p->has_reported;

	if (state != ENGINE_READY) {
		p->phase = WATCH_MODELS;
		p->lacks_health = false;
		lane_stop(&p->study);
		if (state == ENGINE_DOWN)
			httpc_pool_flush(p->pool);
	}
	p->state = state;
	if (is_new) {
		/* Whoever gets the report tells that it is ready; why it is not, is known only here. */
		BB_LOG(state == ENGINE_READY ? BB_LOG_DEBUG : BB_LOG_INFO, "engine_probed",
		       "%.*s is %s: %s", BB_ARG(p->config.host), engine_state_name(state), why);
		probe_report(p);
	}
}

/* A whole round went well. */
static void watch_ok(struct prober *p)
{
	const bool was_ready = p->state == ENGINE_READY;
	const bool is_new = !was_ready || p->is_changed;

	p->has_answered = true;
	p->failed_in_row = 0;
	p->phase = WATCH_READY;
	watch_arm(p, was_ready ? p->config.interval_ns : first_delay_ns(p));
	if (!was_ready)
		watch_set_state(p, ENGINE_READY, p->adapter->name);
	else if (p->is_changed)
		probe_report(p);
	if (is_new)
		study_begin(p);
}

/* `status` 0: no answer came, and `err` says why. */
static void watch_failed(struct prober *p, int err, int status, const char *why)
{
	const bool is_refused = err == -BB_ECONNECT;
	const bool is_loading = status == 503 && (p->state != ENGINE_READY ||
						  (p->adapter && p->adapter->loads_in_503));

	if (err == -BB_ENOMEM || err == -BB_EBUSY) { /* ours, not the engine's */
		watch_arm(p, p->config.interval_ns);
		return;
	}
	p->failed_in_row++;
	if (status)
		p->has_answered = true;
	watch_arm(p, is_refused ? refused_delay_ns(p) : p->config.interval_ns);
	BB_LOG(BB_LOG_DEBUG, "probe_failed", "%.*s: %s (status %d)", BB_ARG(p->config.host),
	       why ? why : "an answer that is no good", status);
	const bool is_out = is_refused || p->failed_in_row >= p->config.unhealthy_after;
	if (is_loading && (is_out || p->state != ENGINE_READY))
		watch_set_state(p, ENGINE_STARTING, "it is loading");
	else if (is_out && p->has_answered)
		watch_set_state(p, ENGINE_DOWN, why ? why : "it answers with errors");
	else if (p->state != ENGINE_READY)
		watch_set_state(p, p->state, why ? why : "it is not ready");
}

/* ---- health ---- */

static void on_health(struct prober *p, const struct fetch_answer *a)
{
	if (a->err) {
		watch_failed(p, a->err, 0, a->why);
		return;
	}
	switch (a->status) {
	case 200:
	case 204:
	case 401: /* whoever refuses a key is alive */
	case 403: watch_ok(p); return;
	case 404:
	case 405:
		/* Another program at this address? If it is the same, then without this path. */
		if (p->phase == WATCH_HEALTH) {
			p->lacks_health = true;
			watch_ok(p);
			return;
		}
		p->phase = WATCH_MODELS;
		watch_ask_models(p);
		return;
	default: watch_failed(p, 0, a->status, a->why);
	}
}

static void watch_ask_health(struct prober *p)
{
	lane_get(&p->watch, p->adapter->health, PROBE_HEALTH_SIZE_MAX, p->config.timeout_ns,
		 on_health);
}

/* ---- detection ---- */

static void watch_adopt(struct prober *p, enum engine_kind kind)
{
	const struct adapter *a = adapter_find(kind);

	if (a != p->adapter || p->state != ENGINE_READY) {
		p->adapter = a;
		p->figures = (struct engine_figures){ 0 };
		p->api_mask = a->api_mask;
		p->is_changed = true;
		p->lacks_health = false;
		p->ticks = 0;
	}
	p->phase = WATCH_HEALTH;
	if (a->health.len && !p->lacks_health)
		watch_ask_health(p);
	else
		watch_ok(p);
}

static void on_clue(struct prober *p, const struct fetch_answer *a)
{
	if (a->err == -BB_ECONNECT) {
		watch_failed(p, a->err, 0, a->why);
		return;
	}
	const enum engine_kind kind = identify_clue(p->clue, a->err ? 0 : a->status, a->body);
	if (kind != ENGINE_KIND_AUTO) {
		watch_adopt(p, kind);
		return;
	}
	p->clue++;
	lane_get(&p->watch, identify_clue_path(p->clue), PROBE_TEXT_SIZE_MAX, p->config.timeout_ns,
		 on_clue);
}

static void watch_identify(struct prober *p)
{
	enum engine_kind kind = p->config.kind;

	if (kind == ENGINE_KIND_AUTO && p->has_models)
		kind = identify_owner(bb_str_of(p->models.owner));
	if (kind != ENGINE_KIND_AUTO) {
		watch_adopt(p, kind);
		return;
	}
	p->phase = WATCH_CLUES;
	p->clue = 0;
	lane_get(&p->watch, identify_clue_path(0), PROBE_TEXT_SIZE_MAX, p->config.timeout_ns,
		 on_clue);
}

/* ---- the list of models ---- */

/* True when the answer tells something; else the probe has failed. */
static bool models_take(struct prober *p, const struct fetch_answer *a)
{
	if (a->err) {
		watch_failed(p, a->err, 0, a->why);
		return false;
	}
	if (a->status == 404 || a->status == 405 || a->status == 501) {
		/* A server for one model may have no list; the configuration names it then. */
		p->is_changed |= p->has_models;
		p->has_models = false;
		return true;
	}
	if (a->status != 200) {
		const bool is_refused = a->status == 401 || a->status == 403;
		watch_failed(p, 0, a->status, is_refused ? "it refuses the API key" : NULL);
		return false;
	}
	const int changed = model_list_read(&p->models, a->body);
	if (changed < 0) {
		watch_failed(p, changed, a->status, "its list of models cannot be read");
		return false;
	}
	p->is_changed |= changed == 1 || !p->has_models;
	p->has_models = true;
	return true;
}

static void on_models(struct prober *p, const struct fetch_answer *a)
{
	if (!models_take(p, a))
		return;
	if (p->phase == WATCH_READY && !p->is_changed)
		watch_ok(p);
	else
		watch_identify(p);
}

static void watch_ask_models(struct prober *p)
{
	lane_get(&p->watch, BB_STR("/v1/models"), PROBE_MODELS_SIZE_MAX, p->config.timeout_ns,
		 on_models);
}

void watch_tick(struct loop_timer *t)
{
	struct prober *p = BB_CONTAINER(t, struct lane, timer)->prober;

	if (p->phase != WATCH_READY) {
		p->phase = WATCH_MODELS;
		watch_ask_models(p);
		return;
	}
	p->ticks++;
	if (p->adapter->health.len && !p->lacks_health && p->ticks % MODELS_EVERY)
		watch_ask_health(p);
	else
		watch_ask_models(p);
}
