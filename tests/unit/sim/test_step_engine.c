/*
 * Goal: an engine's steps are those of the scheduler that is modelled: prompts in chunks, shared
 * prefixes, who waits for memory, who is preempted; and no token is lost or made twice, whatever
 * comes, leaves or fails.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "sim/step_engine.h"

#define B 16
#define JOBS 64

struct world;

struct item {
	struct step_job job;
	struct world *w;
	uint64_t hashes[256];
	uint64_t first_ns, end_ns;
	uint32_t generated, ends, progress;
};

struct world {
	struct step_engine *e;
	struct item items[JOBS];
	uint64_t now_ns;
	uint64_t stored, removed, digest;
};

static struct item *item_of(struct step_job *j)
{
	return (struct item *)j;
}

static void digest(struct world *w, uint64_t a, uint64_t b)
{
	const uint64_t v[3] = { w->digest, a, b };

	w->digest = bb_hash(v, sizeof(v), 1);
}

static void on_first(void *ctx, struct step_job *j, uint64_t at_ns)
{
	struct item *i = item_of(j);

	assert_int_equal(i->first_ns, 0);
	i->first_ns = at_ns;
	digest(ctx, (uint64_t)(i - i->w->items), at_ns);
}

static void on_progress(void *ctx, struct step_job *j, uint64_t at_ns, uint32_t generated)
{
	struct item *i = item_of(j);

	assert_true(generated > i->progress && generated < j->output_tokens);
	i->progress = generated;
	digest(ctx, generated, at_ns);
}

static void on_end(void *ctx, struct step_job *j, uint64_t at_ns, uint32_t generated)
{
	struct item *i = item_of(j);

	assert_int_equal(i->ends++, 0);
	assert_true(generated <= j->output_tokens && generated >= i->progress);
	i->end_ns = at_ns;
	i->generated = generated;
	digest(ctx, (uint64_t)(i - i->w->items) + 1000, at_ns);
}

static void on_stored(void *ctx, uint64_t at_ns, uint32_t depth, const uint64_t *hashes,
		      uint32_t count)
{
	struct world *w = ctx;

	assert_true(count > 0);
	w->stored += count;
	digest(w, depth, hashes[count - 1] + at_ns);
}

static void on_removed(void *ctx, uint64_t at_ns, uint64_t hash)
{
	struct world *w = ctx;

	w->removed++;
	digest(w, hash, at_ns);
}

static const struct step_ops ops = { on_first, on_progress, on_end, on_stored, on_removed };

/* A step of 10 ms and 0.01 ms for each new token of a prompt. */
static struct step_params plain(uint32_t blocks)
{
	return (struct step_params){
		.cost = { .kind = STEP_ROOFLINE,
			  .roofline = { .flops_token = 1,
					.flops_ms = 100,
					.bytes_ms = 1,
					.step_ms = 10 } },
		.block_tokens = B,
		.blocks = blocks,
		.sequences_max = 8,
		.step_tokens = 100,
	};
}

static struct world *world_create(const struct step_params *p)
{
	struct world *w = test_calloc(1, sizeof(*w));

	assert_int_equal(step_engine_create(p, &ops, w, &w->e), 0);
	return w;
}

static void world_destroy(struct world *w)
{
	step_engine_destroy(w->e);
	test_free(w);
}

/* Prompts of one `family` share their first `shared` tokens. */
static struct item *make(struct world *w, uint32_t n, uint32_t family, uint32_t shared,
			 uint32_t prompt, uint32_t output)
{
	struct item *i = &w->items[n];
	uint64_t chain = 1;

	*i = (struct item){ .w = w };
	for (uint32_t k = 0; k < 256; k++) {
		const uint64_t own = (k + 1) * B <= shared ? family : 1000000 + n;
		const uint64_t v[3] = { chain, own, k };
		i->hashes[k] = chain = bb_hash(v, sizeof(v), 7);
	}
	i->job = (struct step_job){ .hashes = i->hashes,
				    .hash_count = (prompt + output - 1) / B,
				    .prompt_tokens = prompt,
				    .output_tokens = output };
	return i;
}

static struct item *arrive(struct world *w, uint32_t n, uint32_t family, uint32_t shared,
			   uint32_t prompt, uint32_t output)
{
	struct item *i = make(w, n, family, shared, prompt, output);

	assert_int_equal(step_engine_arrive(w->e, w->now_ns, &i->job), 0);
	return i;
}

static void run_until(struct world *w, uint64_t until_ns)
{
	while (step_engine_next_ns(w->e) <= until_ns) {
		w->now_ns = step_engine_next_ns(w->e);
		step_engine_advance(w->e, w->now_ns);
		assert_true(step_engine_is_sound(w->e));
	}
	if (until_ns != STEP_NEVER - 1)
		w->now_ns = until_ns;
}

static void run(struct world *w)
{
	run_until(w, STEP_NEVER - 1);
}

#define MS 1000000ull

static void test_one(void **state)
{
	const struct step_params p = plain(100);
	struct world *w = world_create(&p);
	struct item *i = arrive(w, 0, 0, 0, 50, 11);

	run(w);
	/* 50 tokens and 10 ms, then ten steps of 10.01 ms. */
	assert_int_equal(i->first_ns, 10 * MS + 500000);
	assert_int_equal(i->end_ns, i->first_ns + 10 * (10 * MS + 10000));
	assert_int_equal(i->generated, 11);
	assert_int_equal(w->stored, 3);
	assert_int_equal(w->removed, 0);
	world_destroy(w);
}

static void test_chunks(void **state)
{
	const struct step_params p = plain(100);
	struct world *w = world_create(&p);
	struct item *a = arrive(w, 0, 0, 0, 250, 1), *b = arrive(w, 1, 0, 0, 30, 1);

	run(w);
	/* 100 + 100 + 50 of the first, 30 of the second beside its last. */
	assert_int_equal(a->first_ns, 30 * MS + 280 * 10000);
	assert_int_equal(b->first_ns, a->first_ns);
	assert_int_equal(a->end_ns, a->first_ns);
	world_destroy(w);
}

static void test_arrival_among_streams(void **state)
{
	const struct step_params p = plain(100);
	struct world *w = world_create(&p);
	struct item *a = arrive(w, 0, 0, 0, 10, 40), *b;

	run_until(w, 100 * MS);
	b = arrive(w, 1, 0, 0, 20, 1);
	run(w);
	/* It waits for the step under way: 10.1 ms, then the ninth of 10.01 ms ends at 100.19. */
	assert_int_equal(b->first_ns, 100190000 + 10 * MS + 21 * 10000);
	assert_int_equal(a->generated, 40);
	assert_int_equal(a->end_ns, 10100000 + 39 * 10010000 + 20 * 10000);
	world_destroy(w);
}

static void test_prefix(void **state)
{
	const struct step_params p = plain(100);
	struct world *w = world_create(&p);

	arrive(w, 0, 5, 64, 70, 3);
	/* In the same step, and later; never the whole prompt. */
	struct item *b = arrive(w, 1, 5, 64, 80, 3);
	run(w);
	assert_int_equal(b->job.cached, 64);
	struct item *c = arrive(w, 2, 5, 64, 64, 3);
	run(w);
	assert_int_equal(c->job.cached, 48);
	/* What an answer has filled is found as well. */
	arrive(w, 3, 0, 0, 30, 20);
	run(w);
	struct item *d = &w->items[4];
	*d = (struct item){ .w = w };
	memcpy(d->hashes, w->items[3].hashes, sizeof(d->hashes));
	d->job = (struct step_job){
		.hashes = d->hashes, .hash_count = 4, .prompt_tokens = 60, .output_tokens = 2
	};
	assert_int_equal(step_engine_arrive(w->e, w->now_ns, &d->job), 0);
	run(w);
	assert_int_equal(d->job.cached, 48);
	world_destroy(w);
}

static void test_tails_go_first(void **state)
{
	const struct step_params p = plain(8);
	struct world *w = world_create(&p);

	arrive(w, 0, 5, 64, 64, 1);
	run(w);
	arrive(w, 1, 6, 80, 80, 1);
	run(w);
	assert_int_equal(w->removed, 1);
	struct item *c = arrive(w, 2, 5, 64, 65, 1);
	run(w);
	assert_int_equal(c->job.cached, 48);
	world_destroy(w);
}

static void test_preemption(void **state)
{
	const struct step_params p = plain(8);
	struct world *w = world_create(&p);
	struct item *a = arrive(w, 0, 0, 0, 32, 60), *b = arrive(w, 1, 0, 0, 32, 60);

	run(w);
	assert_int_equal(a->job.preemptions, 0);
	assert_true(b->job.preemptions > 0);
	assert_int_equal(a->generated, 60);
	assert_int_equal(b->generated, 60);
	assert_true(a->end_ns < b->end_ns);
	struct step_stats s;
	step_engine_stats(w->e, &s);
	assert_int_equal(s.preemptions, b->job.preemptions);
	assert_int_equal(s.generated_tokens, 120);
	assert_int_equal(s.blocks_held, 0);
	world_destroy(w);
}

static void test_no_preemption_of_trtllm(void **state)
{
	struct step_params p = plain(8);

	p.variant = STEP_TRTLLM;
	struct world *w = world_create(&p);
	struct item *a = arrive(w, 0, 0, 0, 32, 60), *b = arrive(w, 1, 0, 0, 32, 60);
	run(w);
	assert_int_equal(b->job.preemptions, 0);
	assert_true(b->job.started_ns >= a->end_ns);
	world_destroy(w);
}

static void test_sglang_stops_streams(void **state)
{
	struct step_params p = plain(100);

	p.variant = STEP_SGLANG;
	struct world *w = world_create(&p);
	struct item *a = arrive(w, 0, 0, 0, 10, 3);
	run_until(w, 5 * MS);
	arrive(w, 1, 0, 0, 50, 1);
	run(w);
	/* 10.1, then 10.5 for the other's prompt, then two steps of its own. */
	assert_int_equal(a->end_ns, 10100000 + 10500000 + 2 * 10010000);
	world_destroy(w);
}

static void test_limits(void **state)
{
	const struct step_params p = plain(8);
	struct world *w = world_create(&p);
	struct item *i = make(w, 0, 0, 0, 100, 30);

	assert_int_equal(step_engine_arrive(w->e, 0, &i->job), -BB_ELIMIT);
	i = make(w, 0, 0, 0, 100, 29);
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_int_equal(step_engine_arrive(w->e, 0, &i->job), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(step_engine_arrive(w->e, 0, &i->job), 0);
	run(w);
	assert_int_equal(i->generated, 29);
	world_destroy(w);
}

static void test_create_fails(void **state)
{
	const struct step_params p = plain(8);
	struct step_engine *e;
	int rc = -BB_ENOMEM;

	for (uint64_t n = 1; rc; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		rc = step_engine_create(&p, &ops, NULL, &e);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
	}
	step_engine_destroy(e);
}

static void test_abort_and_crash(void **state)
{
	const struct step_params p = plain(100);
	struct world *w = world_create(&p);
	struct item *a = arrive(w, 0, 0, 0, 30, 200), *b = arrive(w, 1, 0, 0, 250, 50);
	struct item *c = arrive(w, 2, 0, 0, 30, 50);

	step_engine_abort(w->e, 0, &c->job);
	assert_int_equal(c->ends, 1);
	run_until(w, 60 * MS);
	step_engine_abort(w->e, w->now_ns, &a->job);
	assert_int_equal(a->ends, 0);
	run_until(w, 75 * MS);
	assert_int_equal(a->ends, 1);
	assert_true(a->generated > 1 && a->generated < 8);
	arrive(w, 3, 0, 0, 30, 50);
	step_engine_crash(w->e, w->now_ns);
	assert_int_equal(b->ends + w->items[3].ends, 2);
	assert_true(step_engine_is_sound(w->e));
	/* Nothing is left of its cache. */
	struct item *d = make(w, 4, 0, 0, 250, 2);
	memcpy(d->hashes, b->hashes, sizeof(b->hashes));
	assert_int_equal(step_engine_arrive(w->e, w->now_ns, &d->job), 0);
	run(w);
	assert_int_equal(d->job.cached, 0);
	assert_int_equal(d->generated, 2);
	world_destroy(w);
}

static void test_stall_and_slowness(void **state)
{
	const struct step_params p = plain(100);
	struct world *w = world_create(&p);
	struct item *a = arrive(w, 0, 0, 0, 10, 2);

	step_engine_stall(w->e, 50 * MS);
	step_engine_set_slowness(w->e, 2);
	run(w);
	assert_int_equal(a->first_ns, 50 * MS);
	assert_int_equal(a->end_ns, 70 * MS + 20000);
	world_destroy(w);
}

/* Random jobs, departures, stalls and crashes; the same twice. */
static uint64_t random_run(uint64_t seed)
{
	static const enum step_variant variants[] = { STEP_VLLM, STEP_SGLANG, STEP_TRTLLM };
	struct bb_rng rng;
	struct world *w;

	bb_rng_seed(&rng, seed);
	struct step_params p = plain(20 + (uint32_t)bb_rng_below(&rng, 60));
	p.variant = variants[seed % 3];
	p.watermark = seed % 2 ? 0.05 : 0;
	p.cost.roofline.kv_bytes = 0.001;
	p.sequences_max = 1 + (uint32_t)bb_rng_below(&rng, 12);
	w = world_create(&p);
	for (uint32_t n = 0; n < JOBS; n++) {
		const uint32_t shared = (uint32_t)bb_rng_below(&rng, 8) * B;
		const uint32_t prompt = 1 + shared + (uint32_t)bb_rng_below(&rng, 100);
		const uint32_t output = 1 + (uint32_t)bb_rng_below(&rng, 80);
		run_until(w, w->now_ns + bb_rng_below(&rng, 200) * MS);
		arrive(w, n, (uint32_t)bb_rng_below(&rng, 3), shared, prompt, output);
		const uint32_t other = (uint32_t)bb_rng_below(&rng, n + 1);
		if (bb_rng_below(&rng, 8) == 0)
			step_engine_abort(w->e, w->now_ns, &w->items[other].job);
		if (bb_rng_below(&rng, 30) == 0)
			step_engine_crash(w->e, w->now_ns);
		if (bb_rng_below(&rng, 30) == 0)
			step_engine_stall(w->e, w->now_ns + 30 * MS);
	}
	run(w);
	struct step_stats s;
	step_engine_stats(w->e, &s);
	assert_int_equal(s.ended + s.aborted, JOBS);
	assert_int_equal(s.running + s.waiting + s.blocks_held, 0);
	assert_true(w->removed <= w->stored);
	if (p.variant == STEP_TRTLLM)
		assert_int_equal(s.preemptions, 0);
	for (uint32_t n = 0; n < JOBS; n++)
		assert_int_equal(w->items[n].ends, 1);
	const uint64_t digest_all = w->digest;
	world_destroy(w);
	return digest_all;
}

static void test_random(void **state)
{
	for (uint64_t seed = 0; seed < UNIT_ROUNDS(300); seed++)
		assert_int_equal(random_run(seed), random_run(seed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_arrival_among_streams),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_tails_go_first),
		cmocka_unit_test(test_preemption),
		cmocka_unit_test(test_no_preemption_of_trtllm),
		cmocka_unit_test(test_sglang_stops_streams),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_abort_and_crash),
		cmocka_unit_test(test_stall_and_slowness),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
