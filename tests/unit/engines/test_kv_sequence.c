/*
 * Goal: whatever a publisher does with its numbers, batches are applied in order and once, what
 * cannot be trusted any more is forgotten, and a replay is asked for when it can help, and only
 * then. Each case is a table: what happens, what has to be done about it.
 */
#include "unit.h"

#include "base/err.h"
#include "base/hash.h"
#include "engines/kv_sequence.h"

enum happening { UP, DOWN, LIVE, REPLAYED, ENDED, FAILED, HELD, DRAINED, WAIT };

#define CLEAR KV_STEP_CLEAR
#define DROP KV_STEP_DROP
#define REPLAY KV_STEP_REPLAY
#define HOLD KV_STEP_HOLD
#define APPLY KV_STEP_APPLY

struct row {
	enum happening what;
	uint64_t sequence;
	unsigned expected;
	uint64_t from;	 /* of a replay */
	uint64_t engine; /* which one speaks: the same number is another batch there */
};

static unsigned happen(struct kv_sequence *s, uint64_t *now_ns, const struct row *r)
{
	const uint64_t hash = r->sequence * 31 + r->engine * 1000003;

	switch (r->what) {
	case UP: return kv_sequence_up(s, *now_ns);
	case DOWN: return kv_sequence_down(s);
	case LIVE: return kv_sequence_live(s, *now_ns, r->sequence, hash);
	case REPLAYED: return kv_sequence_replayed(s, *now_ns, r->sequence, hash);
	case ENDED: return kv_sequence_replay_ended(s, *now_ns, 0);
	case FAILED: return kv_sequence_replay_ended(s, *now_ns, -BB_ECONNECT);
	case HELD: return kv_sequence_held(s, *now_ns, r->sequence, hash);
	case DRAINED: return kv_sequence_drained(s, *now_ns);
	case WAIT: *now_ns += KV_SEQUENCE_COOL_NS; return 0;
	}
	return 0;
}

static struct kv_sequence play(enum kv_replay replay, const struct row *rows, size_t count)
{
	struct kv_sequence s;
	uint64_t now_ns = 5;

	kv_sequence_init(&s, replay);
	for (size_t i = 0; i < count; i++) {
		const unsigned steps = happen(&s, &now_ns, &rows[i]);
		if (steps != rows[i].expected)
			fail_msg("row %zu: steps are %u, not %u", i, steps, rows[i].expected);
		if (steps & REPLAY && s.replay_from != rows[i].from)
			fail_msg("row %zu: replay from %llu", i, (unsigned long long)s.replay_from);
	}
	return s;
}
#define PLAY(replay, rows) play(KV_REPLAY_##replay, rows, UNIT_COUNT(rows))

static void start_with_replay(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 }, { REPLAYED, 0, APPLY, 0, 0 }, { REPLAYED, 1, APPLY, 0, 0 },
		{ LIVE, 2, HOLD, 0, 0 }, { REPLAYED, 2, APPLY, 0, 0 }, { LIVE, 3, HOLD, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },	 { HELD, 2, 0, 0, 0 },	       { HELD, 3, APPLY, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 }, { LIVE, 4, APPLY, 0, 0 },     { LIVE, 4, 0, 0, 0 },
	};
	const struct kv_sequence s = PLAY(OFFERED, rows);

	assert_int_equal(s.last, 4);
	assert_int_equal(s.replays, 1);
	assert_int_equal(s.gaps + s.lost + s.restarts + s.replays_failed, 0);
}

static void an_empty_engine(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ LIVE, 0, APPLY, 0, 0 },
	};

	PLAY(OFFERED, rows);
}

static void replay_begins_late(void **state)
{
	/* The engine keeps only its last batches. */
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },	{ REPLAYED, 700, APPLY, 0, 0 },
		{ REPLAYED, 701, APPLY, 0, 0 }, { ENDED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },	{ LIVE, 702, APPLY, 0, 0 },
	};

	assert_int_equal(PLAY(OFFERED, rows).lost, 0);
}

static void gap_is_filled(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },      { REPLAYED, 0, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },	      { DRAINED, 0, 0, 0, 0 },
		{ LIVE, 1, APPLY, 0, 0 },     { LIVE, 4, REPLAY | HOLD, 1, 0 },
		{ LIVE, 5, HOLD, 0, 0 },      { REPLAYED, 1, 0, 0, 0 },
		{ REPLAYED, 2, APPLY, 0, 0 }, { REPLAYED, 3, APPLY, 0, 0 },
		{ REPLAYED, 4, APPLY, 0, 0 }, { ENDED, 0, 0, 0, 0 },
		{ HELD, 4, 0, 0, 0 },	      { HELD, 5, APPLY, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },      { LIVE, 6, APPLY, 0, 0 },
	};
	const struct kv_sequence s = PLAY(OFFERED, rows);

	assert_int_equal(s.gaps, 1);
	assert_int_equal(s.lost, 0);
}

static void gap_without_replay(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, 0, 0, 0 },
		{ LIVE, 17, APPLY, 0, 0 },
		{ LIVE, 18, APPLY, 0, 0 },
		{ LIVE, 20, CLEAR | APPLY, 0, 0 },
		{ LIVE, 21, APPLY, 0, 0 },
		/* A new connection: the same engine with nothing lost goes on. */
		{ DOWN, 0, 0, 0, 0 },
		{ UP, 0, 0, 0, 0 },
		{ LIVE, 22, APPLY, 0, 0 },
		{ DOWN, 0, 0, 0, 0 },
		{ UP, 0, 0, 0, 0 },
		{ LIVE, 25, CLEAR | APPLY, 0, 0 },
	};
	const struct kv_sequence s = PLAY(NONE, rows);

	assert_int_equal(s.gaps, 2);
	assert_int_equal(s.lost, 2);
	assert_int_equal(s.replays, 0);
}

static void gap_older_than_what_is_kept(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },
		{ REPLAYED, 0, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ LIVE, 9, REPLAY | HOLD, 0, 0 },
		{ REPLAYED, 6, CLEAR | APPLY, 0, 0 },
		{ REPLAYED, 7, APPLY, 0, 0 },
		{ REPLAYED, 8, APPLY, 0, 0 },
		{ REPLAYED, 9, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
		{ HELD, 9, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ LIVE, 10, APPLY, 0, 0 },
	};

	assert_int_equal(PLAY(OFFERED, rows).lost, 1);
}

static void replay_has_a_hole(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },
		{ REPLAYED, 0, APPLY, 0, 0 },
		{ REPLAYED, 2, CLEAR | APPLY, 0, 0 },
		{ REPLAYED, 1, 0, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
	};

	assert_int_equal(PLAY(OFFERED, rows).lost, 1);
}

static void failed_replay_cools_down(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },
		{ FAILED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ LIVE, 5, APPLY, 0, 0 },
		{ LIVE, 7, CLEAR | APPLY, 0, 0 },
		{ WAIT, 0, 0, 0, 0 },
		{ LIVE, 9, REPLAY | HOLD, 7, 0 },
		{ REPLAYED, 7, 0, 0, 0 },
		{ REPLAYED, 8, APPLY, 0, 0 },
		/* It breaks off: what came is good, and the held one follows on it. */
		{ FAILED, 0, 0, 0, 0 },
		{ HELD, 9, APPLY, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ LIVE, 10, APPLY, 0, 0 },
	};
	const struct kv_sequence s = PLAY(OFFERED, rows);

	assert_int_equal(s.replays_failed, 2);
	assert_int_equal(s.lost, 1);
}

static void replay_fails_before_it_shows_anything(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },  { REPLAYED, 0, APPLY, 0, 0 }, { ENDED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },  { DOWN, 0, 0, 0, 0 },		{ UP, 0, REPLAY, 0, 0 },
		{ LIVE, 40, HOLD, 0, 0 }, { FAILED, 0, CLEAR, 0, 0 },	{ HELD, 40, APPLY, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
	};

	assert_int_equal(PLAY(OFFERED, rows).lost, 1);
}

static void reconnected_to_the_same(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 }, { REPLAYED, 0, APPLY, 0, 0 }, { REPLAYED, 1, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },	 { DRAINED, 0, 0, 0, 0 },      { DOWN, 0, 0, 0, 0 },
		{ UP, 0, REPLAY, 1, 0 }, { REPLAYED, 1, 0, 0, 0 },     { REPLAYED, 2, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },	 { DRAINED, 0, 0, 0, 0 },      { LIVE, 3, APPLY, 0, 0 },
	};
	const struct kv_sequence s = PLAY(OFFERED, rows);

	assert_int_equal(s.lost + s.restarts + s.gaps, 0);
}

static void restarted_with_fewer_batches(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },
		{ REPLAYED, 0, APPLY, 0, 0 },
		{ REPLAYED, 1, APPLY, 0, 0 },
		{ REPLAYED, 2, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ DOWN, 0, 0, 0, 0 },
		{ UP, 0, REPLAY, 2, 1 },
		/* It has only its batches 0 and 1 as yet: nothing comes. */
		{ ENDED, 0, CLEAR | REPLAY, 0, 1 },
		{ REPLAYED, 0, APPLY, 0, 1 },
		{ REPLAYED, 1, APPLY, 0, 1 },
		{ ENDED, 0, 0, 0, 1 },
		{ DRAINED, 0, 0, 0, 1 },
		{ LIVE, 2, APPLY, 0, 1 },
	};
	const struct kv_sequence s = PLAY(OFFERED, rows);

	assert_int_equal(s.restarts, 1);
	assert_int_equal(s.lost, 0);
}

static void restarted_with_more_batches(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },
		{ REPLAYED, 0, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ DOWN, 0, 0, 0, 0 },
		{ UP, 0, REPLAY, 0, 1 },
		{ LIVE, 9, HOLD, 0, 1 },
		/* The same number, another batch. */
		{ REPLAYED, 0, CLEAR | REPLAY, 0, 1 },
		{ REPLAYED, 0, APPLY, 0, 1 },
		{ REPLAYED, 1, APPLY, 0, 1 },
		{ ENDED, 0, 0, 0, 1 },
		{ HELD, 9, REPLAY, 1, 1 },
	};
	struct row last[UNIT_COUNT(rows)];

	memcpy(last, rows, sizeof(rows));
	last[UNIT_COUNT(rows) - 1].expected = REPLAY | HOLD;
	assert_int_equal(play(KV_REPLAY_OFFERED, last, UNIT_COUNT(last)).restarts, 1);
}

static void restarted_on_the_same_connection(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, 0, 0, 0 },
		{ LIVE, 0, APPLY, 0, 0 },
		{ LIVE, 1, APPLY, 0, 0 },
		{ LIVE, 0, CLEAR | DROP | APPLY, 0, 1 },
		{ LIVE, 1, APPLY, 0, 1 },
		/* The same number as before and another batch. */
		{ LIVE, 1, CLEAR | DROP | APPLY, 0, 2 },
	};

	assert_int_equal(PLAY(NONE, rows).restarts, 2);
}

static void restarted_during_a_replay(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },      { REPLAYED, 0, APPLY, 0, 0 },
		{ LIVE, 8, HOLD, 0, 0 },      { LIVE, 2, CLEAR | DROP | REPLAY | HOLD, 0, 1 },
		{ REPLAYED, 0, APPLY, 0, 1 }, { REPLAYED, 1, APPLY, 0, 1 },
		{ REPLAYED, 2, APPLY, 0, 1 }, { ENDED, 0, 0, 0, 1 },
		{ HELD, 2, 0, 0, 1 },	      { DRAINED, 0, 0, 0, 1 },
		{ LIVE, 3, APPLY, 0, 1 },
	};
	const struct kv_sequence s = PLAY(OFFERED, rows);

	assert_int_equal(s.restarts, 1);
	assert_int_equal(s.last, 3);
}

static void no_room_for_held_ones(void **state)
{
	static const struct row rows[] = {
		{ UP, 0, REPLAY, 0, 0 },
		{ LIVE, 1, HOLD, 0, 0 },
		{ LIVE, 2, HOLD, 0, 0 },
		{ REPLAYED, 0, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
		/* There was room for the first one only. */
		{ HELD, 1, APPLY, 0, 0 },
		{ DRAINED, 0, REPLAY, 1, 0 },
		{ REPLAYED, 1, 0, 0, 0 },
		{ REPLAYED, 2, APPLY, 0, 0 },
		{ ENDED, 0, 0, 0, 0 },
		{ DRAINED, 0, 0, 0, 0 },
		{ LIVE, 3, APPLY, 0, 0 },
	};

	assert_int_equal(PLAY(OFFERED, rows).lost, 0);
}

static void replays_never_catch_up(void **state)
{
	struct kv_sequence s;
	unsigned steps;
	uint64_t n = 0;

	kv_sequence_init(&s, KV_REPLAY_OFFERED);
	assert_int_equal(kv_sequence_up(&s, 5), REPLAY);
	for (int round = 1; round < KV_SEQUENCE_ROUNDS_MAX; round++) {
		const uint64_t next = s.has_last ? s.last + 1 : 0;
		assert_int_equal(kv_sequence_replayed(&s, 5, next, next), APPLY);
		assert_int_equal(kv_sequence_replay_ended(&s, 5, 0), 0);
		n += 10;
		assert_int_equal(kv_sequence_held(&s, 5, n, n), REPLAY | HOLD);
		(void)kv_sequence_replayed(&s, 5, s.last, s.last_hash);
	}
	(void)kv_sequence_replay_ended(&s, 5, 0);
	steps = kv_sequence_held(&s, 5, n, n);
	assert_int_equal(steps, CLEAR | APPLY);
	assert_int_equal(s.lost, 1);
	assert_int_equal(kv_sequence_live(&s, 5, n + 5, 1), CLEAR | APPLY);
	assert_int_equal(kv_sequence_live(&s, 5 + KV_SEQUENCE_COOL_NS, n + 9, 1), REPLAY | HOLD);
}

/* Any order of events: no batch is applied after a higher one without a CLEAR in between. */
static void order_holds_whatever_happens(void **state)
{
	struct bb_rng rng;
	struct kv_sequence s;
	uint64_t applied = 0, now_ns = 1;
	bool has = false;

	bb_rng_seed(&rng, 7);
	kv_sequence_init(&s, KV_REPLAY_OFFERED);
	for (int i = 0; i < 2000000; i++) {
		struct row r = { (enum happening)bb_rng_below(&rng, WAIT + 1),
				 bb_rng_below(&rng, 12), 0, 0, bb_rng_below(&rng, 20) == 0 };
		if (r.what == WAIT && bb_rng_below(&rng, 30))
			continue;
		if (r.what == HELD && s.state != KV_SEQUENCE_LIVE)
			continue;
		if (r.what == LIVE && s.state == KV_SEQUENCE_DOWN)
			continue;
		const unsigned steps = happen(&s, &now_ns, &r);
		if (steps & CLEAR)
			has = false;
		if (steps & APPLY) {
			assert_true(!has || r.sequence == applied + 1);
			has = true;
			applied = r.sequence;
		}
		assert_false(steps & APPLY && steps & HOLD);
		assert_true(!(steps & REPLAY) || s.state == KV_SEQUENCE_REPLAYING);
	}
}

static void forgetting(void **state)
{
	struct kv_sequence s;

	kv_sequence_init(&s, KV_REPLAY_OFFERED);
	(void)kv_sequence_up(&s, 1);
	(void)kv_sequence_replayed(&s, 1, 4, 4);
	kv_sequence_forget(&s);
	assert_int_equal(kv_sequence_live(&s, 1, 2, 2), APPLY);
	assert_int_equal(kv_sequence_down(&s), 0);
	kv_sequence_forget(&s);
	assert_int_equal(kv_sequence_up(&s, 1), REPLAY);
	assert_int_equal(s.replay_from, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_with_replay),
		cmocka_unit_test(an_empty_engine),
		cmocka_unit_test(replay_begins_late),
		cmocka_unit_test(gap_is_filled),
		cmocka_unit_test(gap_without_replay),
		cmocka_unit_test(gap_older_than_what_is_kept),
		cmocka_unit_test(replay_has_a_hole),
		cmocka_unit_test(failed_replay_cools_down),
		cmocka_unit_test(replay_fails_before_it_shows_anything),
		cmocka_unit_test(reconnected_to_the_same),
		cmocka_unit_test(restarted_with_fewer_batches),
		cmocka_unit_test(restarted_with_more_batches),
		cmocka_unit_test(restarted_on_the_same_connection),
		cmocka_unit_test(restarted_during_a_replay),
		cmocka_unit_test(no_room_for_held_ones),
		cmocka_unit_test(replays_never_catch_up),
		cmocka_unit_test(order_holds_whatever_happens),
		cmocka_unit_test(forgetting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
