#include "engines/kv_poll.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "engines/kv_changes.h"
#include "net/fetch.h"
#include "os/clock.h"
#include "wire/json.h"

#define ANSWER_MAX ((size_t)8 << 20)
#define ANSWER_TIMEOUT_NS (10 * OS_SECOND) /* it waits for two itself */
#define PAUSE_NS (50 * OS_MS)
#define IDLE_PAUSE_NS (250 * OS_MS)
#define FAILED_PAUSE_NS (5 * OS_SECOND)
#define DEPTH_MAX 16

struct kv_poll {
	struct kv_poll_config config;
	struct kv_mirror *mirror;
	struct kv_changes changes;
	struct fetch *fetch;
	struct loop_timer timer;
	uint64_t next; /* the number that is expected; 0: any */
	enum kv_mode mode;
	char why[KV_WHY_SIZE];
	uint64_t batches, odd, gaps, restarts, last_event_ns;
};

static void mode_set(struct kv_poll *p, enum kv_mode mode, const char *why)
{
	const bool is_new = mode != p->mode || strcmp(why, p->why) != 0;

	p->mode = mode;
	bb_text_copy(p->why, sizeof(p->why), why);
	if (is_new)
		p->config.on_mode(p->config.user, 0, mode, p->why);
}

static void on_flush(void *user, const struct kv_change *list, uint32_t count)
{
	struct kv_poll *p = user;

	if (p->mode == KV_APPROXIMATE && p->changes.told)
		mode_set(p, KV_EXACT, "its events are polled");
	if (p->mode == KV_EXACT)
		p->config.on_changes(p->config.user, 0, list, count);
}

static void on_change(void *user, const struct kv_change *change)
{
	kv_changes_add(&((struct kv_poll *)user)->changes, change);
}

int kv_poll_look(struct bb_str body, struct kv_poll_answer *out)
{
	struct json_pull j;
	struct json_member m;
	struct bb_str event;
	enum json_type type;
	uint64_t id, rank;

	*out = (struct kv_poll_answer){ 0 };
	if (json_check(body, DEPTH_MAX, NULL))
		return -BB_ESYNTAX;
	json_pull_init(&j, body);
	if (!json_pull_array(&j))
		return -BB_ESYNTAX;
	while (json_pull_more(&j) && json_pull_value(&j, &event, &type)) {
		if (json_get(event, BB_STR("attention_dp_rank"), &m) && !json_u64(m.value, &rank) &&
		    rank != 0)
			continue;
		if (!json_get(event, BB_STR("event_id"), &m) || json_u64(m.value, &id))
			continue;
		if (out->count++ == 0)
			out->first = id;
		else
			out->holes += id != out->last + 1;
		out->last = id;
	}
	return 0;
}

/* What goes on from here has no more to do with what is known. */
static void forget(struct kv_poll *p)
{
	p->next = 0;
	kv_mirror_clear(p->mirror);
	kv_changes_flush(&p->changes);
}

static void explain_silence(struct kv_poll *p)
{
	struct kv_mirror_stats s;
	char why[KV_WHY_SIZE];

	kv_mirror_stats(p->mirror, &s);
	if (p->changes.told && !s.is_mismatched)
		return;
	if (s.is_mismatched)
		snprintf(why, sizeof(why),
			 "its blocks of %u tokens are neither a multiple nor a divisor of %u",
			 s.block_tokens, p->config.block_tokens);
	else
		snprintf(why, sizeof(why), "none of its events has told of a block yet");
	mode_set(p, KV_APPROXIMATE, why);
}

static void count_breaks(struct kv_poll *p, const struct kv_poll_answer *a)
{
	const bool is_broken = p->next && a->first != p->next;

	p->gaps += a->holes;
	if (!is_broken && !a->holes)
		return;
	p->restarts += is_broken && a->first < p->next;
	p->gaps += is_broken && a->first > p->next;
	BB_LOG(BB_LOG_WARN, "kv_events",
	       "%s: event %llu was expected and %llu came: what it holds is learned anew; does "
	       "somebody "
	       "else poll its /kv_cache_events?",
	       p->config.name, (unsigned long long)p->next, (unsigned long long)a->first);
}

/* True when the answer held events. */
static bool answer_take(struct kv_poll *p, struct bb_str body)
{
	struct kv_poll_answer a;

	if (kv_poll_look(body, &a)) {
		p->odd++;
		forget(p); /* whatever it was, it is gone from the engine */
		p->changes.told = 0;
		mode_set(p, KV_APPROXIMATE, "what it answers as events cannot be read");
		return false;
	}
	if (a.count == 0) {
		explain_silence(p);
		return false;
	}
	count_breaks(p, &a);
	if (kv_mirror_apply_json(p->mirror, body, &p->next)) {
		p->odd++;
		forget(p);
		return false;
	}
	p->batches++;
	p->last_event_ns = loop_now_ns(p->config.loop);
	kv_changes_flush(&p->changes);
	explain_silence(p);
	return true;
}

static void on_done(void *user, const struct fetch_answer *a)
{
	struct kv_poll *p = user;
	const uint64_t begin_ns = clock_now_ns(), now_ns = loop_now_ns(p->config.loop);
	char why[KV_WHY_SIZE];

	p->fetch = NULL;
	if (a->err || a->status != 200) {
		/* Events may have been in an answer that did not come. */
		forget(p);
		snprintf(why, sizeof(why), "asking for its events failed: %s (status %d)",
			 a->why ? a->why : "it answers with an error", a->status);
		p->changes.told = 0;
		mode_set(p, KV_APPROXIMATE, why);
		loop_timer_arm(&p->timer, now_ns + FAILED_PAUSE_NS);
		return;
	}
	const bool had_events = answer_take(p, a->body);
	uint64_t pause_ns = had_events ? PAUSE_NS : IDLE_PAUSE_NS;
	if (!kv_budget_spend(p->config.budget, now_ns, clock_now_ns() - begin_ns))
		pause_ns = KV_BUDGET_WINDOW_NS;
	loop_timer_arm(&p->timer, now_ns + pause_ns);
}

static int ask(struct kv_poll *p)
{
	struct bb_buf target;

	bb_buf_init(&target, 4096);
	bb_buf_add_str(&target, p->config.base);
	bb_buf_lit(&target, "/kv_cache_events");
	const struct fetch_request r = {
		.loop = p->config.loop,
		.method = "POST",
		.host = p->config.host,
		.target = bb_buf_str(&target),
		.bearer = p->config.api_key,
		.body_size_max = ANSWER_MAX,
		.timeout_ns = ANSWER_TIMEOUT_NS,
		.user = p,
		.on_done = on_done,
	};
	const int rc = target.err ? target.err : fetch_start(p->config.pool, &r, &p->fetch);
	bb_buf_fini(&target);
	return rc;
}

static void on_timer(struct loop_timer *t)
{
	struct kv_poll *p = BB_CONTAINER(t, struct kv_poll, timer);

	if (ask(p))
		loop_timer_arm(t, loop_now_ns(p->config.loop) + FAILED_PAUSE_NS);
}

int kv_poll_create(const struct kv_poll_config *config, struct kv_poll **out)
{
	struct kv_poll *p = bb_alloc_zero(1, sizeof(*p));

	if (!p)
		return -BB_ENOMEM;
	p->config = *config;
	bb_text_copy(p->why, sizeof(p->why), "asking for its events");
	kv_changes_init(&p->changes, on_flush, p);
	const struct kv_mirror_config mc = {
		.block_tokens = config->block_tokens,
		.secret = config->secret,
		.bytes_max = config->mirror_bytes,
		.on_change = on_change,
		.user = p,
	};
	int rc = kv_mirror_create(&mc, &p->mirror);
	if (rc) {
		bb_free(p);
		return rc;
	}
	rc = loop_timer_init(config->loop, &p->timer, on_timer);
	if (rc) {
		kv_mirror_destroy(p->mirror);
		bb_free(p);
		return rc;
	}
	loop_timer_arm(&p->timer, loop_now_ns(config->loop));
	*out = p;
	return 0;
}

void kv_poll_destroy(struct kv_poll *p)
{
	if (!p)
		return;
	fetch_cancel(p->fetch);
	loop_timer_fini(&p->timer);
	kv_mirror_destroy(p->mirror);
	bb_free(p);
}

enum kv_mode kv_poll_mode(const struct kv_poll *p, const char **why)
{
	*why = p->why;
	return p->mode;
}

void kv_poll_figures(const struct kv_poll *p, struct kv_figures *f)
{
	struct kv_mirror_stats s;

	kv_mirror_stats(p->mirror, &s);
	f->batches += p->batches;
	f->stored += s.stored;
	f->removed += s.removed;
	f->cleared += s.cleared;
	f->blocks += s.blocks;
	f->told_blocks += p->changes.told;
	f->block_tokens = s.block_tokens;
	f->bytes += s.bytes;
	f->refused += s.refused;
	f->passed_over += s.passed_over;
	f->orphans += s.orphans;
	f->odd += p->odd + s.odd;
	f->gaps += p->gaps;
	f->lost_gaps += p->gaps;
	f->restarts += p->restarts;
	f->last_event_ns = p->last_event_ns;
}
