/*
 * Goal: what a brain says while anything at all happens to it makes another one decide the same,
 * bit for bit, from the beginning and from any checkpoint; and bytes that are no events do no harm.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "brain/brain.h"
#include "brain/kv_mirror.h"
#include "brain/record.h"
#include "brain/rerun.h"

#define ENGINES 6
#define ASKED_MAX 400
#define CHAINS 12
#define CHAIN_BLOCKS 64

struct play {
	struct brain *brain;
	struct bb_rng rng;
	uint64_t now_ns;
	struct engine_id ids[ENGINES];
	struct request_id asked[ASKED_MAX];
	uint32_t generated[ASKED_MAX];
	uint32_t asked_count;
	uint64_t chains[CHAINS][CHAIN_BLOCKS];
	struct bb_buf journal; /* each event behind its length */
	uint64_t lose_at;      /* event that is not taken; 0: none */
	uint64_t events;
	uint32_t held, decided;
	struct request_id told; /* released, and not fetched yet */
};

static bool take(void *user, struct bb_str event)
{
	struct play *p = user;
	const uint32_t len = (uint32_t)event.len;

	if (++p->events == p->lose_at)
		return false;
	bb_buf_add(&p->journal, &len, sizeof(len));
	bb_buf_add_str(&p->journal, event);
	assert_int_equal(p->journal.err, 0);
	return true;
}

static uint32_t below(struct play *p, uint32_t bound)
{
	return (uint32_t)bb_rng_below(&p->rng, bound);
}

static void play_open_at(struct play *p, uint64_t seed, size_t index_bytes, int *rc)
{
	const struct brain_config c = { .seed = seed,
					.limits = { .engines_max = 16,
						    .models_max = 16,
						    .requests_max = 500,
						    .held_max = 60,
						    .held_ns_max = 400000000,
						    .index_bytes = index_bytes } };

	memset(p, 0, sizeof(*p));
	bb_rng_seed(&p->rng, seed);
	p->now_ns = 5000000000;
	bb_buf_init(&p->journal, (size_t)1 << 30);
	assert_int_equal(bb_buf_reserve(&p->journal, 8u << 20),
			 0); /* memory fails the brain only */
	for (int i = 0; i < CHAINS; i++)
		for (int k = 0; k < CHAIN_BLOCKS; k++)
			p->chains[i][k] =
				k < 8 && i % 3 ? p->chains[i - 1][k] : bb_rng_next(&p->rng);
	*rc = brain_create(&c, &p->brain);
	if (*rc == 0)
		*rc = brain_record_to(p->brain, BRAIN_RECORD_ALL, take, p);
}

static void play_open(struct play *p, uint64_t seed)
{
	int rc;

	play_open_at(p, seed, 4u << 20, &rc);
	assert_int_equal(rc, 0);
}

static void play_close(struct play *p)
{
	brain_destroy(p->brain);
	bb_buf_fini(&p->journal);
}

static void configure(struct play *p)
{
	static const char *const names[] = { "http://a", "http://b", "http://c",
					     "http://d", "http://e", "http://f" };
	const struct bb_str aliases[] = { BB_STR("small"), BB_STR("*"), BB_STR("") };
	struct plan_engine engines[ENGINES];
	struct engine_id ids[ENGINES];
	uint32_t slots[ENGINES], which[ENGINES], count = 0;
	const bool has_model = below(p, 2);

	for (uint32_t i = 0; i < ENGINES; i++) {
		if (below(p, 8) == 0)
			continue;
		engines[count] = (struct plan_engine){ .name = bb_str_of(names[i]),
						       .serves_listed = below(p, 4) > 0 };
		which[count] = i;
		slots[count] = count;
		count++;
	}
	const struct plan_model m = { .name = BB_STR("m"),
				      .aliases = aliases,
				      .alias_count = 1 + below(p, 3),
				      .engines = slots,
				      .engine_count = count };
	const struct plan plan = { .engines = engines,
				   .engine_count = count,
				   .models = &m,
				   .model_count = has_model,
				   .policy = below(p, 2) ? NULL : policy_at(below(p, 14))->name };
	if (brain_configure(p->brain, p->now_ns, &plan, ids))
		return;
	for (uint32_t i = 0; i < count; i++)
		p->ids[which[i]] = ids[i];
}

static void report(struct play *p)
{
	const struct report_model models[] = {
		{ .name = BB_STR("m"), .context_tokens = 32768 },
		{ .name = BB_STR("n"), .context_tokens = 8192, .is_adapter = true },
		{ .name = BB_STR("") },
	};
	const uint32_t engine = below(p, ENGINES);
	const struct engine_report r = {
		.state = below(p, 10) ? ENGINE_READY : ENGINE_DOWN,
		.has_models = below(p, 2),
		.models = models,
		.model_count = 1 + below(p, 3),
		.api_mask = below(p, 3) ? 0 : 3,
		.sequences_max = below(p, 3) ? 0 : 4 + below(p, 12),
		.kv_tokens_max = below(p, 3) ? 0 : 8000 + below(p, 4) * 4000,
		.step_tokens = below(p, 2) * 2048,
		.dp_ranks = engine == 1 && below(p, 3) == 0 ? 2 : 1,
		.kind = engine % 2,
		.has_load = below(p, 2),
		.running = below(p, 20),
		.kv_usage = below(p, 100) / 100.0,
	};

	brain_engine_report(p->brain, p->now_ns, p->ids[engine], &r);
}

/* What an engine holds is prefix-closed: stores begin at a chain's root, removals go to its end. */
static void change(struct play *p)
{
	const uint32_t engine = below(p, ENGINES), depth = 8 + below(p, CHAIN_BLOCKS - 8);
	const uint64_t *chain = p->chains[below(p, CHAINS)];
	const bool is_store = below(p, 3) > 0;
	const struct kv_change c = {
		.kind = below(p, 30) == 0 ? KV_CHANGE_CLEAR
			: is_store	  ? KV_CHANGE_STORE
					  : KV_CHANGE_REMOVE,
		.tier = below(p, 5) ? INDEX_DEVICE : INDEX_HOST,
		.depth = is_store ? 0 : depth,
		.hashes = is_store ? chain : chain + depth,
		.count = is_store ? depth : CHAIN_BLOCKS - depth,
	};

	if (below(p, 40) == 0)
		brain_kv_mode(p->brain, p->now_ns, p->ids[engine], below(p, 2),
			      below(p, 4) ? KV_EXACT : KV_APPROXIMATE);
	else
		brain_kv_change(p->brain, p->now_ns, p->ids[engine], below(p, 8) == 0, &c);
}

static void add(struct play *p, struct request_id id)
{
	if (p->asked_count == ASKED_MAX)
		return;
	p->generated[p->asked_count] = 0;
	p->asked[p->asked_count++] = id;
}

static void arrive(struct play *p)
{
	static const char *const names[] = { "m", "small", "n", "", "whatever a client writes" };
	const struct engine_id excluded[] = { p->ids[below(p, ENGINES)], p->ids[0] };
	const uint32_t blocks = below(p, 4) ? below(p, CHAIN_BLOCKS) : 0;
	const struct brain_request r = {
		.model = bb_str_of(names[below(p, 16) ? below(p, 3) : below(p, 5)]),
		.api = below(p, 20) == 0,
		.prompt_tokens = blocks * 16 + below(p, 16) + 1,
		.output_tokens_max = below(p, 3) ? UINT64_MAX : below(p, 400),
		.exclude = excluded,
		.exclude_count = below(p, 10) ? 0 : 1 + below(p, 2),
		.hashed = blocks ? (below(p, 4) ? HASHES_TOKENS : HASHES_TEXT) : HASHES_NONE,
		.hashes = p->chains[below(p, CHAINS)],
		.hash_count = blocks,
		.session = below(p, 3) ? 0 : 1 + below(p, 9),
		.beginning = blocks ? 0 : below(p, 3),
		.teaches = below(p, 8) > 0,
		.can_wait = below(p, 4) > 0,
		.cookie = 7,
	};
	struct decision d;

	if (p->asked_count == ASKED_MAX)
		return;
	brain_request_arrived(p->brain, p->now_ns, &r, &d);
	if (d.action != DECISION_REJECT)
		add(p, d.request);
	p->held += d.action == DECISION_HOLD;
}

static void fetch(struct play *p)
{
	struct request_id id;
	struct decision d;
	uint64_t cookie;

	while (brain_released(p->brain, &id, &cookie)) {
		assert_int_equal(cookie, 7);
		if (below(p, 10) == 0) {
			p->told = id; /* it is fetched later, or ends before */
			continue;
		}
		p->decided += brain_request_decision(p->brain, id, &d);
	}
}

static void go_on(struct play *p)
{
	if (p->asked_count == 0)
		return;
	const uint32_t i = below(p, p->asked_count);
	const struct request_id id = p->asked[i];
	const struct request_result result = {
		.outcome = below(p, 12) ? OUTCOME_OK : (enum request_outcome)below(p, 5),
		.prompt_tokens = 100,
		.output_tokens = p->generated[i] + below(p, 3),
		.cached_tokens = below(p, 900),
		.has_cached = below(p, 2),
	};
	struct decision d;

	if (below(p, 8) == 0)
		(void)!brain_request_decision(p->brain, p->told, &d);
	switch (below(p, 5)) {
	case 0:
	case 1: brain_first_token(p->brain, p->now_ns, id); break;
	case 2:
		p->generated[i] += 1 + below(p, 30);
		brain_progress(p->brain, p->now_ns, id, p->generated[i]);
		break;
	default:
		brain_request_ended(p->brain, p->now_ns, id, &result);
		p->asked[i] = p->asked[--p->asked_count];
		p->generated[i] = p->generated[p->asked_count];
	}
}

/* One random call. */
static void step(struct play *p)
{
	const uint32_t what = below(p, 1000);

	/* Threads read the clock before they take the lock. */
	p->now_ns += below(p, 4000000);
	p->now_ns -= below(p, 3) == 0 ? below(p, 1000000) : 0;
	if (what < 2 || p->ids[0].generation == 0)
		configure(p);
	else if (what < 40)
		report(p);
	else if (what < 200)
		change(p);
	else if (what < 560)
		arrive(p);
	else if (what < 570)
		brain_tick(p->brain, p->now_ns);
	else if (what < 572)
		brain_engine_lacks(p->brain, p->ids[below(p, ENGINES)], 1);
	else
		go_on(p);
	if (below(p, 2))
		fetch(p);
}

/* ---- telling it again ---- */

static struct rerun_counts retold; /* of the latest */

static void on_decision(void *user, const struct rerun_decision *d)
{
	if (d->verdict != RERUN_DIFFERENT)
		return;
	const struct brain_event *a = d->recorded, *b = d->made;
	for (int side = 0; side < 2; side++, a = b)
		if (a)
			print_error("%s %llu: %d %d, engine %u, reason %d, cached %llu of %llu, "
				    "cost %.17g, next %.17g, digest %llx\n",
				    side ? "made" : "request",
				    (unsigned long long)d->request_number, a->made.action,
				    a->made.error, a->made.engine.slot, a->made.reason,
				    (unsigned long long)a->made.cached_tokens,
				    (unsigned long long)a->made.possible_tokens, a->made.cost,
				    a->made.next_cost, (unsigned long long)a->made.digest);
	fail_msg("a decision differs after %llu events", (unsigned long long)retold.events);
}

/* From an event on. */
static int retell_from(const struct play *p, uint64_t from)
{
	const struct rerun_config c = { .on_decision = on_decision };
	struct bb_str rest = bb_buf_str(&p->journal);
	struct rerun *r = NULL;
	int rc = rerun_create(&c, &r);

	for (uint64_t n = 0; !rc && rest.len; n++) {
		uint32_t len;
		memcpy(&len, rest.p, sizeof(len));
		if (n >= from)
			rc = rerun_event(r, (struct bb_str){ rest.p + sizeof(len), len });
		if (rc == -BB_ESYNTAX && n < from + 1)
			rc = 0; /* a time that refers to what was not read */
		rest = bb_str_skip(rest, sizeof(len) + len);
		if (!rc && n >= from)
			retold = *rerun_counts(r);
	}
	rerun_destroy(r);
	return rc;
}

static void many_random_events(void **state)
{
	struct play p;

	play_open(&p, 11);
	for (int i = 0; i < UNIT_ROUNDS(1000000); i++)
		step(&p);
	assert_true(p.held > 1000 && p.decided > 1000);
	assert_int_equal(retell_from(&p, 0), 0);
	assert_true(retold.decisions[RERUN_EQUAL] > UNIT_ROUNDS(150000));
	assert_int_equal(retold.decisions[RERUN_DIFFERENT], 0);
	assert_int_equal(retold.decisions[RERUN_BLIND], 0);
	print_message("%llu events, %llu decisions, %.1f bytes an event\n",
		      (unsigned long long)p.events,
		      (unsigned long long)retold.decisions[RERUN_EQUAL],
		      (double)p.journal.len / (double)p.events);
	play_close(&p);
}

/* Steps of a checkpoint between random calls; the number of the event that begins it. */
static uint64_t checkpoint(struct play *p, size_t index_bytes_max)
{
	const uint64_t first = p->events;
	enum checkpoint_step s;

	while ((s = brain_checkpoint(p->brain, p->now_ns, index_bytes_max)) == CHECKPOINT_MORE)
		for (int i = 0; i < 20; i++)
			step(p);
	assert_int_equal(s, CHECKPOINT_DONE);
	return first;
}

static void from_checkpoints(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t at[5];
		struct play p;
		play_open(&p, seed);
		for (int c = 0; c < 5; c++) {
			for (int i = 0; i < 3000; i++)
				step(&p);
			at[c] = checkpoint(&p, SIZE_MAX);
		}
		for (int i = 0; i < 3000; i++)
			step(&p);
		assert_int_equal(retell_from(&p, 0), 0);
		assert_int_equal(retold.states_equal, 5);
		assert_int_equal(retold.states_different, 0);
		for (int c = 0; c < 5; c++) {
			assert_int_equal(retell_from(&p, at[c]), 0);
			assert_int_equal(retold.checkpoints, 1);
			assert_int_equal(retold.states_equal, 4 - c);
			assert_int_equal(retold.states_different, 0);
			assert_true(retold.decisions[RERUN_EQUAL] > 500);
		}
		play_close(&p);
	}
}

/* Nothing is known in the middle, until a checkpoint comes. */
static void from_the_middle(void **state)
{
	struct play p;

	play_open(&p, 3);
	for (int i = 0; i < 3000; i++)
		step(&p);
	checkpoint(&p, SIZE_MAX);
	for (int i = 0; i < 1000; i++)
		step(&p);
	/* Times in between refer to what was before: only an absolute one can be read first. */
	assert_int_equal(retell_from(&p, 0), 0);
	const uint64_t all = retold.decisions[RERUN_EQUAL];
	play_close(&p);
	play_open(&p, 3);
	p.lose_at = 1500;
	for (int i = 0; i < 3000; i++)
		step(&p);
	checkpoint(&p, SIZE_MAX);
	for (int i = 0; i < 1000; i++)
		step(&p);
	assert_int_equal(retell_from(&p, 0), 0);
	assert_int_equal(retold.gaps[GAP_LOST], 1);
	assert_true(retold.decisions[RERUN_BLIND] > 100);
	assert_true(retold.decisions[RERUN_EQUAL] > 100);
	assert_true(retold.decisions[RERUN_EQUAL] < all);
	assert_int_equal(retold.checkpoints, 1);
	play_close(&p);
}

static void without_the_index(void **state)
{
	struct play p;

	play_open(&p, 4);
	for (int i = 0; i < 3000; i++)
		step(&p);
	const uint64_t at = checkpoint(&p, 0);
	for (int i = 0; i < 1000; i++)
		step(&p);
	assert_int_equal(retell_from(&p, 0), 0);
	assert_int_equal(retold.states_equal, 1);
	assert_int_equal(retell_from(&p, at), 0);
	assert_true(retold.decisions[RERUN_NO_INDEX] > 100);
	assert_int_equal(retold.decisions[RERUN_EQUAL], 0);
	play_close(&p);
}

/* Every allocation fails once: what is said to be comparable is equal all the same. */
static void without_memory(void **state)
{
	uint64_t gaps = 0, equal = 0;

	for (uint64_t nth = 1; nth < 1500; nth += 1 + nth / 40) {
		struct play p;
		int rc;
		play_open(&p, 5);
		for (int i = 0; i < 100; i++)
			step(&p);
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		for (int i = 0; i < 400; i++)
			step(&p);
		const enum checkpoint_step s = brain_checkpoint(p.brain, p.now_ns, SIZE_MAX);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (s == CHECKPOINT_MORE)
			brain_checkpoint_abandon(p.brain);
		for (int i = 0; i < 100; i++)
			step(&p);
		checkpoint(&p, SIZE_MAX);
		for (int i = 0; i < 100; i++)
			step(&p);
		assert_int_equal(retell_from(&p, 0), 0);
		gaps += retold.gaps[GAP_MEMORY] + retold.gaps[GAP_LOST];
		equal += retold.decisions[RERUN_EQUAL];
		/* And while it is told again: an error, never another decision. */
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = retell_from(&p, 0);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		play_close(&p);
	}
	assert_true(gaps > 20 && equal > 1000);
}

/* Events cut off anywhere, or with a byte changed, are refused or are other events: never a crash.
 */
static void spoiled_events(void **state)
{
	struct bb_arena arena;
	struct brain_event e;
	struct play p;
	struct bb_rng rng;

	play_open(&p, 6);
	for (int i = 0; i < 300; i++)
		step(&p);
	checkpoint(&p, SIZE_MAX);
	bb_rng_seed(&rng, 1);
	bb_arena_init(&arena, 64u << 20);
	for (struct bb_str rest = bb_buf_str(&p.journal); rest.len;) {
		struct event_coder c = { true, 0 };
		uint32_t len;
		char copy[2000];
		memcpy(&len, rest.p, sizeof(len));
		const struct bb_str whole = { rest.p + sizeof(len), len };
		assert_int_equal(brain_event_read(&c, whole, &arena, &e), 0);
		for (uint32_t cut = 0; cut < len; cut += 1 + cut / 16) {
			c = (struct event_coder){ true, 0 };
			assert_true(
				brain_event_read(&c, (struct bb_str){ whole.p, cut }, &arena, &e));
			bb_arena_fini(&arena);
		}
		for (int i = 0; i < 20 && len <= sizeof(copy); i++) {
			memcpy(copy, whole.p, len);
			copy[bb_rng_below(&rng, len)] ^= (char)(1u << bb_rng_below(&rng, 8));
			c = (struct event_coder){ true, 0 };
			(void)!brain_event_read(&c, (struct bb_str){ copy, len }, &arena, &e);
			bb_arena_fini(&arena);
		}
		rest = bb_str_skip(rest, sizeof(len) + len);
	}
	play_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_random_events), cmocka_unit_test(from_checkpoints),
		cmocka_unit_test(from_the_middle),    cmocka_unit_test(without_the_index),
		cmocka_unit_test(without_memory),     cmocka_unit_test(spoiled_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
