#include "engines/kv_rank.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "engines/kv_changes.h"
#include "engines/kv_held.h"
#include "engines/kv_lag.h"
#include "engines/kv_sequence.h"
#include "net/zmq_sub.h"
#include "os/clock.h"

#define FLUSH_AT 256 /* hashes: a lock is worth taking */
#define SAY_AGAIN_NS (60 * OS_SECOND)

struct kv_rank {
	struct kv_rank_config config;
	struct sock_addr replay_addr;
	struct kv_mirror *mirror;
	struct zmq_sub *sub;
	struct zmq_replay *replay; /* NULL: none runs */
	struct kv_sequence sequence;
	struct kv_held held;
	struct kv_changes changes;
	struct loop_task task;	 /* the end of a slice */
	struct loop_timer again; /* the next window of the budget */
	struct loop_timer grace; /* it has been unreachable for so long */
	uint64_t slice_ns;	 /* spent in this turn of the loop */
	bool is_paused;
	bool is_up;
	enum kv_mode mode;
	char why[KV_WHY_SIZE];
	struct kv_lag lag;
	uint64_t batches, odd, last_event_ns;
	uint64_t said_odd_ns, said_throttled_ns, said_lost_ns;
};

/* ---- exact or not ---- */

static void mode_set(struct kv_rank *r, enum kv_mode mode, const char *why)
{
	const bool is_new = mode != r->mode || strcmp(why, r->why) != 0;

	r->mode = mode;
	bb_text_copy(r->why, sizeof(r->why), why);
	if (is_new)
		r->config.on_mode(r->config.user, r->config.rank, mode, r->why);
}

/* The first block that could be told: its events are of use. */
static void on_flush(void *user, const struct kv_change *list, uint32_t count)
{
	struct kv_rank *r = user;

	if (r->mode == KV_APPROXIMATE && r->changes.told)
		mode_set(r, KV_EXACT, "its events are followed");
	if (r->mode == KV_EXACT)
		r->config.on_changes(r->config.user, r->config.rank, list, count);
}

static void on_change(void *user, const struct kv_change *change)
{
	kv_changes_add(&((struct kv_rank *)user)->changes, change);
}

/* Why nothing could be told although events have come. */
static void explain_silence(struct kv_rank *r)
{
	struct kv_mirror_stats s;
	char why[KV_WHY_SIZE];

	kv_mirror_stats(r->mirror, &s);
	if (r->changes.told && !s.is_mismatched)
		return;
	if (s.is_mismatched)
		snprintf(why, sizeof(why),
			 "its blocks of %u tokens are neither a multiple nor a divisor of %u",
			 s.block_tokens, r->config.block_tokens);
	else if (r->batches && s.passed_over)
		snprintf(why, sizeof(why),
			 "none of the blocks in its events can be used (%llu passed over)",
			 (unsigned long long)s.passed_over);
	else
		snprintf(why, sizeof(why), "none of its events has told of a block yet");
	mode_set(r, KV_APPROXIMATE, why);
}

/* Everything is forgotten, here and there. */
static void rank_clear(struct kv_rank *r)
{
	kv_mirror_clear(r->mirror);
	kv_changes_flush(&r->changes);
}

/* ---- the time that it takes ---- */

static void rank_pause(struct kv_rank *r)
{
	r->is_paused = true;
	zmq_sub_pause(r->sub);
	if (r->replay)
		zmq_replay_pause(r->replay);
}

static void held_drain(struct kv_rank *r);

static void rank_resume(struct kv_rank *r)
{
	r->is_paused = false;
	r->slice_ns = 0;
	if (r->replay)
		zmq_replay_resume(r->replay);
	else
		held_drain(r);
	if (!r->is_paused)
		zmq_sub_resume(r->sub);
}

static void on_window(struct loop_timer *t)
{
	rank_resume(BB_CONTAINER(t, struct kv_rank, again));
}

/* The end of the turn: changes go out, and what was left for the next turn may go on. */
static void on_turn_end(struct loop_task *t)
{
	struct kv_rank *r = BB_CONTAINER(t, struct kv_rank, task);

	kv_changes_flush(&r->changes);
	r->slice_ns = 0;
	if (r->is_paused && !loop_timer_is_armed(&r->again))
		rank_resume(r);
}

static void rank_spend(struct kv_rank *r, uint64_t ns)
{
	const uint64_t now_ns = loop_now_ns(r->config.loop);
	const bool is_left = kv_budget_spend(r->config.budget, now_ns, ns);

	r->slice_ns += ns > KV_BUDGET_MESSAGE_NS ? ns : KV_BUDGET_MESSAGE_NS;
	loop_defer(r->config.loop, &r->task);
	if (!is_left) {
		loop_timer_arm(&r->again, r->config.budget->window_ns + KV_BUDGET_WINDOW_NS);
		if (now_ns >= r->said_throttled_ns) {
			r->said_throttled_ns = now_ns + SAY_AGAIN_NS;
			BB_LOG(BB_LOG_WARN, "kv_events",
			       "%s: rank %u: its events take more than %llu ms a second: they are "
			       "read slower, "
			       "and some may be lost",
			       r->config.name, r->config.rank,
			       (unsigned long long)(kv_budget_limit_ns(r->config.budget) / OS_MS));
		}
	}
	if (!is_left || r->slice_ns >= KV_BUDGET_SLICE_NS)
		rank_pause(r);
}

static void rank_say_odd(struct kv_rank *r, const char *what)
{
	const uint64_t now_ns = loop_now_ns(r->config.loop);

	r->odd++;
	if (now_ns < r->said_odd_ns)
		return;
	r->said_odd_ns = now_ns + SAY_AGAIN_NS;
	BB_LOG(BB_LOG_WARN, "kv_events", "%s: rank %u: %s (%llu so far)", r->config.name,
	       r->config.rank, what, (unsigned long long)r->odd);
}

/* ---- batches ---- */

enum when { WHEN_LIVE, WHEN_LATER };

static void rank_apply(struct kv_rank *r, struct bb_str payload, enum when when)
{
	const uint64_t now_ns = loop_now_ns(r->config.loop);
	double ts;

	if (kv_mirror_apply(r->mirror, payload, &ts)) {
		rank_say_odd(r, "a message that is no batch of KV events");
		return;
	}
	r->batches++;
	r->last_event_ns = now_ns;
	if (when == WHEN_LIVE)
		kv_lag_add(&r->lag, now_ns, ts, (double)clock_wall_ns() / 1e9);
	if (r->changes.hash_count >= FLUSH_AT)
		kv_changes_flush(&r->changes);
	explain_silence(r);
}

static void replay_stop(struct kv_rank *r)
{
	zmq_replay_destroy(r->replay);
	r->replay = NULL;
}

static int replay_start(struct kv_rank *r);

/* What the sequence says has to be done about a batch; for one that is held already, `held`. */
enum source { SOURCE_NEW, SOURCE_HELD };

static void rank_do(struct kv_rank *r, unsigned steps, const struct zmq_batch *b, enum when when,
		    enum source source)
{
	if (steps & KV_STEP_CLEAR)
		rank_clear(r);
	if (steps & KV_STEP_DROP) {
		replay_stop(r);
		kv_held_clear(&r->held);
	}
	if (steps & KV_STEP_HOLD && source == SOURCE_NEW)
		kv_held_add(&r->held, b);
	if (steps & KV_STEP_REPLAY) {
		replay_stop(r);
		const int rc = replay_start(r);
		if (rc) /* it cools down now, so that no further one is asked for */
			rank_do(r,
				kv_sequence_replay_ended(&r->sequence, loop_now_ns(r->config.loop),
							 rc),
				NULL, when, source);
	}
	if (steps & KV_STEP_APPLY)
		rank_apply(r, b->payload, when);
}

static void say_lost(struct kv_rank *r, uint64_t lost_before)
{
	const uint64_t now_ns = loop_now_ns(r->config.loop);

	if (r->sequence.lost == lost_before || now_ns < r->said_lost_ns)
		return;
	r->said_lost_ns = now_ns + SAY_AGAIN_NS;
	BB_LOG(BB_LOG_WARN, "kv_events",
	       "%s: rank %u: events were lost for good (%llu times so far): what it holds is "
	       "learned anew%s",
	       r->config.name, r->config.rank, (unsigned long long)r->sequence.lost,
	       r->sequence.can_replay ? ""
				      : "; a replay endpoint at the engine would fill such gaps");
}

/* Once the replay is over; what does not fit into this turn goes on in the next. */
static void held_drain(struct kv_rank *r)
{
	const uint64_t lost = r->sequence.lost, now_ns = loop_now_ns(r->config.loop);
	struct zmq_batch b;

	while (r->sequence.state == KV_SEQUENCE_LIVE && !r->is_paused &&
	       kv_held_first(&r->held, &b)) {
		const uint64_t begin_ns = clock_now_ns();
		const unsigned steps = kv_sequence_held(&r->sequence, now_ns, b.sequence,
							bb_hash(b.payload.p, b.payload.len, 0));
		rank_do(r, steps, &b, WHEN_LATER, SOURCE_HELD);
		if (!(steps & KV_STEP_HOLD))
			kv_held_pop(&r->held);
		rank_spend(r, clock_now_ns() - begin_ns);
	}
	if (r->sequence.state == KV_SEQUENCE_LIVE && !kv_held_first(&r->held, &b))
		rank_do(r, kv_sequence_drained(&r->sequence, now_ns), NULL, WHEN_LATER,
			SOURCE_HELD);
	say_lost(r, lost);
}

/* ---- the replay ---- */

static void on_replay_batch(struct zmq_replay *z, void *user, const struct zmq_batch *b)
{
	struct kv_rank *r = user;
	const uint64_t begin_ns = clock_now_ns(), lost = r->sequence.lost;
	const unsigned steps =
		kv_sequence_replayed(&r->sequence, loop_now_ns(r->config.loop), b->sequence,
				     bb_hash(b->payload.p, b->payload.len, 0));

	rank_do(r, steps, b, WHEN_LATER, SOURCE_NEW);
	say_lost(r, lost);
	rank_spend(r, clock_now_ns() - begin_ns);
}

static void on_replay_end(struct zmq_replay *z, void *user, int err)
{
	struct kv_rank *r = user;
	const uint64_t lost = r->sequence.lost;

	r->replay = NULL;
	if (err)
		BB_LOG(BB_LOG_INFO, "kv_events", "%s: rank %u: a replay of its events failed: %s",
		       r->config.name, r->config.rank, bb_error_info(err)->text);
	rank_do(r, kv_sequence_replay_ended(&r->sequence, loop_now_ns(r->config.loop), err), NULL,
		WHEN_LATER, SOURCE_HELD);
	say_lost(r, lost);
	if (!r->is_paused)
		held_drain(r);
}

static int replay_start(struct kv_rank *r)
{
	static const struct zmq_replay_ops ops = { on_replay_batch, on_replay_end };
	const struct zmq_replay_config c = {
		.loop = r->config.loop,
		.addr = r->replay_addr,
		.start = r->sequence.replay_from,
		.ops = &ops,
		.user = r,
		.message_max = KV_RANK_MESSAGE_MAX,
	};
	const int rc = zmq_replay_create(&c, &r->replay);

	if (!rc && r->is_paused)
		zmq_replay_pause(r->replay);
	return rc;
}

/* ---- the subscription ---- */

static void on_batch(struct zmq_sub *z, void *user, const struct zmq_batch *b)
{
	struct kv_rank *r = user;
	const uint64_t begin_ns = clock_now_ns(), lost = r->sequence.lost;
	const unsigned steps =
		kv_sequence_live(&r->sequence, loop_now_ns(r->config.loop), b->sequence,
				 bb_hash(b->payload.p, b->payload.len, 0));

	rank_do(r, steps, b, WHEN_LIVE, SOURCE_NEW);
	say_lost(r, lost);
	rank_spend(r, clock_now_ns() - begin_ns);
}

static void on_odd(struct zmq_sub *z, void *user)
{
	rank_say_odd(user, "a message that has not the three parts of KV events");
	rank_spend(user, 0);
}

static void on_up(struct zmq_sub *z, void *user)
{
	struct kv_rank *r = user;

	r->is_up = true;
	loop_timer_cancel(&r->grace);
	kv_held_clear(&r->held);
	if (r->mode == KV_APPROXIMATE)
		mode_set(r, KV_APPROXIMATE, "none of its events has told of a block yet");
	rank_do(r, kv_sequence_up(&r->sequence, loop_now_ns(r->config.loop)), NULL, WHEN_LATER,
		SOURCE_HELD);
}

static void on_down(struct zmq_sub *z, void *user, int err)
{
	struct kv_rank *r = user;
	char why[KV_WHY_SIZE];

	replay_stop(r);
	kv_held_clear(&r->held);
	(void)kv_sequence_down(&r->sequence);
	if (err == -BB_ELIMIT || err == -BB_ESYNTAX || err == -BB_EUPSTREAM)
		rank_say_odd(
			r,
			"its events' connection was closed: what came is not ZeroMQ, or too large");
	if (r->mode == KV_APPROXIMATE) {
		snprintf(why, sizeof(why), "its events cannot be reached: %s",
			 bb_error_info(err)->text);
		mode_set(r, KV_APPROXIMATE, why);
	} else if (r->is_up) {
		loop_timer_arm(&r->grace, loop_now_ns(r->config.loop) + KV_RANK_GRACE_NS);
	}
	r->is_up = false;
}

/* What it holds by now is anybody's guess. */
static void on_grace(struct loop_timer *t)
{
	struct kv_rank *r = BB_CONTAINER(t, struct kv_rank, grace);

	kv_sequence_forget(&r->sequence);
	rank_clear(r);
	r->changes.told = 0;
	mode_set(r, KV_APPROXIMATE, "its events have not been reachable for 5 s");
}

/* ---- life ---- */

static int sub_start(struct kv_rank *r)
{
	static const struct zmq_sub_ops ops = {
		.on_batch = on_batch, .on_up = on_up, .on_down = on_down, .on_odd = on_odd
	};
	const struct zmq_sub_config c = {
		.loop = r->config.loop,
		.addr = r->config.source->live,
		.topic_prefix = bb_str_of(r->config.topic),
		.ops = &ops,
		.user = r,
		.message_max = KV_RANK_MESSAGE_MAX,
	};

	return zmq_sub_create(&c, &r->sub);
}

int kv_rank_create(const struct kv_rank_config *config, struct kv_rank **out)
{
	struct kv_rank *r = bb_alloc_zero(1, sizeof(*r));

	if (!r)
		return -BB_ENOMEM;
	r->config = *config;
	r->replay_addr = config->source->replay;
	bb_text_copy(r->why, sizeof(r->why), "connecting to its events");
	kv_sequence_init(&r->sequence,
			 config->source->has_replay ? KV_REPLAY_OFFERED : KV_REPLAY_NONE);
	kv_changes_init(&r->changes, on_flush, r);
	kv_held_init(&r->held);
	loop_task_init(&r->task, on_turn_end);
	const struct kv_mirror_config mc = {
		.block_tokens = config->block_tokens,
		.secret = config->secret,
		.bytes_max = config->mirror_bytes,
		.on_change = on_change,
		.user = r,
	};
	int rc = kv_mirror_create(&mc, &r->mirror);
	if (rc)
		goto fail;
	rc = loop_timer_init(config->loop, &r->again, on_window);
	if (rc)
		goto fail_mirror;
	rc = loop_timer_init(config->loop, &r->grace, on_grace);
	if (rc)
		goto fail_again;
	rc = sub_start(r);
	if (rc)
		goto fail_grace;
	r->config.source = NULL; /* the caller's, and not needed any more */
	r->config.topic = NULL;
	*out = r;
	return 0;

fail_grace:
	loop_timer_fini(&r->grace);
fail_again:
	loop_timer_fini(&r->again);
fail_mirror:
	kv_mirror_destroy(r->mirror);
fail:
	bb_free(r);
	return rc;
}

void kv_rank_destroy(struct kv_rank *r)
{
	if (!r)
		return;
	replay_stop(r);
	zmq_sub_destroy(r->sub);
	loop_task_cancel(&r->task);
	loop_timer_fini(&r->grace);
	loop_timer_fini(&r->again);
	kv_mirror_destroy(r->mirror);
	kv_held_clear(&r->held);
	bb_free(r);
}

enum kv_mode kv_rank_mode(const struct kv_rank *r, const char **why)
{
	*why = r->why;
	return r->mode;
}

void kv_rank_figures(const struct kv_rank *r, struct kv_figures *f)
{
	struct kv_mirror_stats s;
	const double lag = kv_lag_median(&r->lag), lag_max = kv_lag_max(&r->lag);

	kv_mirror_stats(r->mirror, &s);
	f->batches += r->batches;
	f->stored += s.stored;
	f->removed += s.removed;
	f->cleared += s.cleared;
	f->blocks += s.blocks;
	f->told_blocks += r->changes.told;
	f->block_tokens = s.block_tokens ? s.block_tokens : f->block_tokens;
	f->bytes += s.bytes;
	f->refused += s.refused;
	f->passed_over += s.passed_over;
	f->orphans += s.orphans;
	f->odd += r->odd + s.odd;
	f->gaps += r->sequence.gaps;
	f->lost_gaps += r->sequence.lost;
	f->replays += r->sequence.replays;
	f->replays_failed += r->sequence.replays_failed;
	f->restarts += r->sequence.restarts;
	f->last_event_ns =
		r->last_event_ns > f->last_event_ns ? r->last_event_ns : f->last_event_ns;
	f->lag_s = lag > f->lag_s ? lag : f->lag_s;
	f->lag_max_s = lag_max > f->lag_max_s ? lag_max : f->lag_max_s;
}
