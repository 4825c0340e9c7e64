#include "engines/kv_sequence.h"

#include "base/log.h"

void kv_sequence_init(struct kv_sequence *s, enum kv_replay replay)
{
	*s = (struct kv_sequence){ .can_replay = replay == KV_REPLAY_OFFERED };
}

void kv_sequence_forget(struct kv_sequence *s)
{
	s->has_last = s->has_held = false;
	s->rounds = 0;
	s->state = s->state == KV_SEQUENCE_REPLAYING ? KV_SEQUENCE_LIVE : s->state;
}

static bool replay_is_possible(const struct kv_sequence *s, uint64_t now_ns)
{
	return s->can_replay && now_ns >= s->cool_until_ns && s->rounds < KV_SEQUENCE_ROUNDS_MAX;
}

static unsigned replay_begin(struct kv_sequence *s)
{
	s->state = KV_SEQUENCE_REPLAYING;
	s->replay_from = s->has_last ? s->last : 0;
	s->is_verified = !s->has_last;
	s->replays++;
	s->rounds++;
	return KV_STEP_REPLAY;
}

static unsigned apply(struct kv_sequence *s, uint64_t sequence, uint64_t hash)
{
	s->has_last = true;
	s->last = sequence;
	s->last_hash = hash;
	return KV_STEP_APPLY;
}

static unsigned hold(struct kv_sequence *s, uint64_t sequence)
{
	s->has_held = true;
	s->held_last = sequence;
	return KV_STEP_HOLD;
}

/* What is missing cannot be had. */
static unsigned give_up(struct kv_sequence *s, uint64_t now_ns)
{
	s->lost++;
	if (s->rounds >= KV_SEQUENCE_ROUNDS_MAX)
		s->cool_until_ns = now_ns + KV_SEQUENCE_COOL_NS;
	s->rounds = 0;
	s->has_last = false;
	return KV_STEP_CLEAR;
}

/* Another engine, or the same one started anew: all that it has from its beginning is wanted. */
static unsigned restarted(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash)
{
	s->restarts++;
	s->has_last = s->has_held = false;
	if (sequence > 0 && replay_is_possible(s, now_ns))
		return KV_STEP_CLEAR | KV_STEP_DROP | replay_begin(s) | hold(s, sequence);
	s->state = KV_SEQUENCE_LIVE;
	return KV_STEP_CLEAR | KV_STEP_DROP | apply(s, sequence, hash);
}

unsigned kv_sequence_up(struct kv_sequence *s, uint64_t now_ns)
{
	s->state = KV_SEQUENCE_LIVE;
	s->has_held = false;
	s->rounds = 0;
	return replay_is_possible(s, now_ns) ? replay_begin(s) : 0;
}

unsigned kv_sequence_down(struct kv_sequence *s)
{
	s->state = KV_SEQUENCE_DOWN;
	s->has_held = false;
	return 0;
}

static unsigned gap(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash)
{
	s->gaps++;
	if (replay_is_possible(s, now_ns))
		return replay_begin(s) | hold(s, sequence);
	const unsigned steps = give_up(s, now_ns);
	return steps | apply(s, sequence, hash);
}

/* In state LIVE and with a number that is higher than all before. */
static unsigned advance(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash)
{
	if (s->has_last && sequence - s->last != 1)
		return gap(s, now_ns, sequence, hash);
	return apply(s, sequence, hash);
}

unsigned kv_sequence_live(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash)
{
	if (s->state == KV_SEQUENCE_REPLAYING) {
		if (s->has_held && sequence <= s->held_last)
			return restarted(s, now_ns, sequence, hash);
		return hold(s, sequence);
	}
	if (s->has_last && sequence == s->last && hash == s->last_hash)
		return 0;
	if (s->has_last && sequence <= s->last)
		return restarted(s, now_ns, sequence, hash);
	const unsigned steps = advance(s, now_ns, sequence, hash);
	if (steps == KV_STEP_APPLY)
		s->rounds = 0;
	return steps;
}

/* The first batch of a replay that began at the last one that was applied. */
static unsigned verify(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash)
{
	if (sequence < s->last)
		return 0; /* more than was asked for */
	s->is_verified = true;
	if (sequence == s->last && hash == s->last_hash)
		return 0;
	if (sequence > s->last) {
		/* Older ones are gone, be it the same engine or not. */
		s->lost++;
		return KV_STEP_CLEAR | apply(s, sequence, hash);
	}
	/* Live batches that are held stay: they are of the new connection, so the new engine's. */
	s->restarts++;
	s->has_last = false;
	if (replay_is_possible(s, now_ns))
		return KV_STEP_CLEAR | replay_begin(s);
	return KV_STEP_CLEAR | apply(s, sequence, hash);
}

unsigned kv_sequence_replayed(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence,
			      uint64_t hash)
{
	if (s->state != KV_SEQUENCE_REPLAYING)
		return 0;
	if (!s->is_verified)
		return verify(s, now_ns, sequence, hash);
	if (!s->has_last) {
		/* What an engine had before its oldest batch is not known, and does no harm. */
		return apply(s, sequence, hash);
	}
	if (sequence <= s->last)
		return 0;
	if (sequence - s->last == 1)
		return apply(s, sequence, hash);
	s->lost++;
	return KV_STEP_CLEAR | apply(s, sequence, hash);
}

unsigned kv_sequence_replay_ended(struct kv_sequence *s, uint64_t now_ns, int err)
{
	if (s->state != KV_SEQUENCE_REPLAYING)
		return 0;
	s->state = KV_SEQUENCE_LIVE;
	if (err) {
		s->replays_failed++;
		s->cool_until_ns = now_ns + KV_SEQUENCE_COOL_NS;
	}
	if (s->is_verified)
		return 0;
	/* Nothing shows that what is known is still so. */
	if (err)
		return give_up(s, now_ns);
	/* It answered, and has not come to that number: it is another one. */
	s->restarts++;
	s->has_last = false;
	return KV_STEP_CLEAR | (replay_is_possible(s, now_ns) ? replay_begin(s) : 0);
}

unsigned kv_sequence_held(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash)
{
	BB_ASSERT(s->state == KV_SEQUENCE_LIVE);
	if (s->has_last && sequence <= s->last)
		return 0; /* the replay had it as well */
	return advance(s, now_ns, sequence, hash);
}

unsigned kv_sequence_drained(struct kv_sequence *s, uint64_t now_ns)
{
	const bool is_missing = s->has_held && (!s->has_last || s->held_last > s->last);

	s->has_held = false;
	if (!is_missing)
		return 0;
	s->gaps++;
	return replay_is_possible(s, now_ns) ? replay_begin(s) : give_up(s, now_ns);
}
