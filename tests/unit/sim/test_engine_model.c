/*
 * Goal: the engine model keeps its promises on virtual time: when tokens come, who waits, what is
 * cached and evicted, who is preempted, that nothing of an aborted request is left, and that the
 * same calls always give the same events, also when memory runs out in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "sim/engine_model.h"

static const struct sim_words *words(void)
{
	static struct sim_words list;

	sim_words_init(&list);
	return &list;
}

#define MS 1000000ull

/* What the engine said, one line each, and what a router would know of its cache. */
struct journal {
	struct bb_buf text;
	uint32_t stored, removed;
	uint64_t known[64];
	uint32_t known_count;
};

static uint64_t *find_known(struct journal *j, uint64_t hash)
{
	for (uint32_t i = 0; i < j->known_count; i++)
		if (j->known[i] == hash)
			return &j->known[i];
	return NULL;
}

static void on_scheduled(void *ctx, void *user, uint64_t at_ns, uint32_t cached)
{
	struct journal *j = ctx;

	bb_buf_printf(&j->text, "%llu %s scheduled cached=%u\n", (unsigned long long)(at_ns / MS),
		      (const char *)user, cached);
}

static void on_tokens(void *ctx, void *user, uint64_t at_ns, uint32_t first, uint32_t count)
{
	struct journal *j = ctx;

	bb_buf_printf(&j->text, "%llu %s tokens %u+%u\n", (unsigned long long)(at_ns / MS),
		      (const char *)user, first, count);
}

static void on_finished(void *ctx, void *user, uint64_t at_ns, enum sim_finish reason)
{
	struct journal *j = ctx;

	bb_buf_printf(&j->text, "%llu %s %s\n", (unsigned long long)(at_ns / MS),
		      (const char *)user, reason == SIM_FINISH_STOP ? "stop" : "length");
}

static void on_stored(void *ctx, void *user, const struct sim_stored *s)
{
	struct journal *j = ctx;

	assert_true(s->hash_count > 0);
	for (uint32_t i = 0; i < s->hash_count; i++) {
		assert_null(find_known(j, s->hashes[i]));
		assert_true(j->known_count < 64);
		j->known[j->known_count++] = s->hashes[i];
	}
	j->stored += s->hash_count;
}

static void on_removed(void *ctx, uint64_t hash)
{
	struct journal *j = ctx;
	uint64_t *known = find_known(j, hash);

	assert_non_null(known);
	*known = j->known[--j->known_count];
	j->removed++;
}

static const struct sim_engine_ops ops = {
	.on_scheduled = on_scheduled,
	.on_tokens = on_tokens,
	.on_finished = on_finished,
	.on_stored = on_stored,
	.on_removed = on_removed,
};

/* 10 ms, then 2 ms a token; 10 usable blocks of 4 tokens. */
static const struct sim_engine_params small = {
	.ttft_ns = 10 * MS,
	.itl_ns = 2 * MS,
	.kv_blocks = 11,
	.block_size = 4,
	.seqs_max = 4,
	.requests_max = 8,
};

static struct sim_engine *engine_create(const struct sim_engine_params *p, struct journal *j)
{
	struct sim_engine *e;

	*j = (struct journal){ 0 };
	bb_buf_init(&j->text, 1 << 20);
	assert_int_equal(sim_engine_create(p, &ops, j, &e), 0);
	return e;
}

static void engine_destroy(struct sim_engine *e, struct journal *j)
{
	sim_engine_destroy(e);
	bb_buf_fini(&j->text);
}

/* A prompt of `count` tokens that begins like every other prompt with the same `base`. */
static int arrive(struct sim_engine *e, uint64_t now_ns, const char *name, uint32_t base,
		  uint32_t count, uint32_t output, uint64_t *id)
{
	uint32_t tokens[64];
	struct sim_engine_request r = {
		.tokens = tokens,
		.token_count = count,
		.natural_count = UINT32_MAX,
		.output_max = output,
		.ttft_ns = SIM_ENGINE_TIME,
		.itl_ns = SIM_ENGINE_TIME,
		.slowness = 1,
		.user = (void *)(uintptr_t)name,
	};
	uint64_t unused;

	assert_true(count <= 64);
	for (uint32_t i = 0; i < count; i++)
		tokens[i] = base + i;
	sim_writer_init(&r.writer, 7, words());
	sim_writer_read(&r.writer, tokens, count);
	return sim_engine_arrive(e, now_ns, &r, id ? id : &unused);
}

/* Lets it run to its end, in steps of its own. */
static void run_out(struct sim_engine *e)
{
	for (uint64_t next = sim_engine_next_ns(e); next != UINT64_MAX;
	     next = sim_engine_next_ns(e))
		sim_engine_advance(e, next);
}

static void assert_journal(struct journal *j, const char *expected)
{
	bb_buf_add(&j->text, "", 1);
	assert_int_equal(j->text.err, 0);
	assert_string_equal(j->text.p, expected);
}

static void test_timing(void **state)
{
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);

	assert_true(sim_engine_next_ns(e) == UINT64_MAX);
	assert_int_equal(arrive(e, 100 * MS, "a", 1000, 5, 3, NULL), 0);
	assert_true(sim_engine_next_ns(e) == 110 * MS);
	sim_engine_advance(e, 109 * MS);
	run_out(e);
	assert_journal(&j, "100 a scheduled cached=0\n"
			   "110 a tokens 0+1\n"
			   "112 a tokens 1+1\n"
			   "114 a tokens 2+1\n"
			   "114 a length\n");
	engine_destroy(e, &j);
}

static void test_late_clock_catches_up(void **state)
{
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);

	assert_int_equal(arrive(e, 0, "a", 1000, 5, 10, NULL), 0);
	sim_engine_advance(e, 15 * MS);
	assert_true(sim_engine_next_ns(e) == 16 * MS); /* a late look does not shift what follows */
	assert_journal(&j, "0 a scheduled cached=0\n14 a tokens 0+3\n");
	engine_destroy(e, &j);
}

static void test_tokens_without_interval_come_together(void **state)
{
	struct sim_engine_params p = small;
	struct journal j;
	p.itl_ns = 0;
	struct sim_engine *e = engine_create(&p, &j);

	assert_int_equal(arrive(e, 0, "a", 1000, 5, 30, NULL), 0);
	run_out(e);
	assert_journal(&j, "0 a scheduled cached=0\n10 a tokens 0+30\n10 a length\n");
	engine_destroy(e, &j);
}

static void test_prefill_rate_and_cache(void **state)
{
	struct sim_engine_params p = small;
	struct journal j;
	p.prefill_tokens_per_s = 1000; /* 1 ms a token */
	struct sim_engine *e = engine_create(&p, &j);

	assert_int_equal(arrive(e, 0, "a", 1000, 12, 1, NULL), 0);
	run_out(e);
	/* The whole prompt is cached, but its last token is computed, and so its last block. */
	assert_int_equal(arrive(e, 100 * MS, "b", 1000, 12, 1, NULL), 0);
	run_out(e);
	/* The same beginning, then something else. */
	assert_int_equal(arrive(e, 200 * MS, "c", 1000, 13, 1, NULL), 0);
	run_out(e);
	assert_int_equal(arrive(e, 300 * MS, "d", 5000, 12, 1, NULL), 0);
	run_out(e);
	assert_journal(&j, "0 a scheduled cached=0\n22 a tokens 0+1\n22 a length\n"
			   "100 b scheduled cached=8\n114 b tokens 0+1\n114 b length\n"
			   "200 c scheduled cached=12\n211 c tokens 0+1\n211 c length\n"
			   "300 d scheduled cached=0\n322 d tokens 0+1\n322 d length\n");
	assert_int_equal(j.stored, 6); /* the two prompts' three blocks each, once */
	engine_destroy(e, &j);
}

static void test_answer_is_cached_too(void **state)
{
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);
	struct sim_writer w;
	uint32_t tokens[12];

	for (uint32_t i = 0; i < 6; i++)
		tokens[i] = 1000 + i;
	sim_writer_init(&w, 7, words());
	sim_writer_read(&w, tokens, 6);
	const struct sim_writer before = w;
	for (uint32_t i = 6; i < 12; i++)
		sim_writer_next(&w, &tokens[i]);
	assert_int_equal(arrive(e, 0, "a", 1000, 6, 6, NULL), 0);
	run_out(e);
	/* The last token's KV was never computed: 11 tokens make two full blocks. */
	assert_int_equal(j.stored, 2);
	const struct sim_engine_request again = {
		.tokens = tokens,
		.token_count = 12,
		.natural_count = 0,
		.output_max = 5,
		.writer = before,
		.ttft_ns = SIM_ENGINE_TIME,
		.itl_ns = SIM_ENGINE_TIME,
		.slowness = 2,
		.user = (void *)(uintptr_t) "b",
	};
	uint64_t id;
	bb_buf_clear(&j.text);
	assert_int_equal(sim_engine_arrive(e, 100 * MS, &again, &id), 0);
	run_out(e);
	/* It has said all it had to say: no token, after twice the normal time. */
	assert_journal(&j, "100 b scheduled cached=8\n120 b stop\n");
	engine_destroy(e, &j);
}

static void test_cache_keys_do_not_mix(void **state)
{
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);
	const uint32_t tokens[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct sim_engine_request r = {
		.tokens = tokens,
		.token_count = 8,
		.natural_count = 1,
		.output_max = 1,
		.slowness = 1,
		.user = (void *)(uintptr_t) "x",
	};
	uint64_t id;

	sim_writer_init(&r.writer, 0, words());
	for (r.cache_key = 0; r.cache_key < 2; r.cache_key++) {
		assert_int_equal(sim_engine_arrive(e, 0, &r, &id), 0);
		run_out(e);
	}
	struct sim_engine_stats s;
	sim_engine_stats(e, &s);
	assert_int_equal(s.prompt_tokens, 16);
	assert_int_equal(s.prompt_tokens_cached, 0);
	engine_destroy(e, &j);
}

static void test_waiting_in_order(void **state)
{
	struct sim_engine_params p = small;
	struct sim_engine_stats s;
	struct journal j;
	p.seqs_max = 1;
	struct sim_engine *e = engine_create(&p, &j);

	assert_int_equal(arrive(e, 0, "a", 1000, 4, 2, NULL), 0);
	assert_int_equal(arrive(e, 1 * MS, "b", 2000, 4, 1, NULL), 0);
	assert_int_equal(arrive(e, 2 * MS, "c", 3000, 4, 1, NULL), 0);
	sim_engine_stats(e, &s);
	assert_int_equal(s.running, 1);
	assert_int_equal(s.waiting, 2);
	sim_engine_advance(e, 1000 * MS); /* one look, long after everything */
	assert_journal(&j, "0 a scheduled cached=0\n12 a tokens 0+2\n12 a length\n"
			   "12 b scheduled cached=0\n22 b tokens 0+1\n22 b length\n"
			   "22 c scheduled cached=0\n32 c tokens 0+1\n32 c length\n");
	engine_destroy(e, &j);
}

static void test_waiting_for_blocks(void **state)
{
	struct sim_engine_stats s;
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);

	assert_int_equal(arrive(e, 0, "a", 1000, 32, 1, NULL), 0); /* 8 of 10 blocks */
	assert_int_equal(arrive(e, 0, "b", 2000, 12, 1, NULL), 0); /* needs 3 */
	assert_int_equal(arrive(e, 0, "c", 3000, 4, 1, NULL), 0);  /* would fit, but is behind b */
	sim_engine_stats(e, &s);
	assert_int_equal(s.running, 1);
	assert_int_equal(s.waiting, 2);
	assert_int_equal(s.blocks, 10);
	assert_int_equal(s.blocks_held, 8);
	run_out(e);
	assert_journal(&j, "0 a scheduled cached=0\n10 a tokens 0+1\n10 a length\n"
			   "10 b scheduled cached=0\n10 c scheduled cached=0\n"
			   "20 b tokens 0+1\n20 b length\n20 c tokens 0+1\n20 c length\n");
	sim_engine_stats(e, &s);
	assert_int_equal(s.blocks_held, 0);
	engine_destroy(e, &j);
}

static void test_eviction_takes_the_oldest(void **state)
{
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);

	assert_int_equal(arrive(e, 0, "a", 1000, 16, 1, NULL), 0);
	run_out(e);
	assert_int_equal(arrive(e, 100 * MS, "b", 2000, 16, 1, NULL), 0);
	run_out(e);
	assert_int_equal(j.removed, 0);
	/* 2 nameless blocks are free; 2 more are taken from the end of a's chain. */
	assert_int_equal(arrive(e, 200 * MS, "c", 3000, 16, 1, NULL), 0);
	run_out(e);
	assert_int_equal(j.stored, 12);
	assert_int_equal(j.removed, 2);
	bb_buf_clear(&j.text);
	assert_int_equal(arrive(e, 300 * MS, "a", 1000, 16, 1, NULL), 0);
	run_out(e);
	assert_journal(&j, "300 a scheduled cached=8\n310 a tokens 0+1\n310 a length\n");
	engine_destroy(e, &j);
}

static void test_preemption(void **state)
{
	struct sim_engine_stats s;
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);

	/* 5 blocks each: nothing is left to grow into. */
	assert_int_equal(arrive(e, 0, "a", 1000, 20, 6, NULL), 0);
	assert_int_equal(arrive(e, 0, "b", 2000, 20, 6, NULL), 0);
	run_out(e);
	sim_engine_stats(e, &s);
	assert_int_equal(s.preemptions, 1);
	assert_int_equal(s.finished[SIM_FINISH_LENGTH], 2);
	assert_int_equal(s.generation_tokens, 12); /* nothing is generated twice */
	assert_int_equal(s.prompt_tokens, 40);
	assert_int_equal(s.blocks_held, 0);
	/* b loses its blocks when a needs a sixth; a takes two of them, b finds the other three
	 * again. */
	assert_journal(
		&j, "0 a scheduled cached=0\n0 b scheduled cached=0\n"
		    "10 a tokens 0+1\n10 b tokens 0+1\n"
		    "12 a tokens 1+1\n14 a tokens 2+1\n16 a tokens 3+1\n18 a tokens 4+1\n"
		    "20 a tokens 5+1\n20 a length\n"
		    "20 b scheduled cached=12\n30 b tokens 1+1\n32 b tokens 2+1\n34 b tokens 3+1\n"
		    "36 b tokens 4+1\n38 b tokens 5+1\n38 b length\n");
	engine_destroy(e, &j);
}

static void test_abort(void **state)
{
	struct sim_engine_stats s;
	struct journal j;
	struct sim_engine_params p = small;
	p.seqs_max = 1;
	struct sim_engine *e = engine_create(&p, &j);
	uint64_t a, b, c;

	assert_int_equal(arrive(e, 0, "a", 1000, 8, 5, &a), 0);
	assert_int_equal(arrive(e, 0, "b", 2000, 8, 5, &b), 0);
	assert_int_equal(arrive(e, 0, "c", 3000, 8, 1, &c), 0);
	sim_engine_abort(e, 5 * MS, b); /* waits */
	sim_engine_abort(e, 6 * MS, a); /* runs: c begins at once */
	sim_engine_abort(e, 6 * MS, a); /* again: nothing happens */
	sim_engine_abort(e, 6 * MS, 0);
	sim_engine_abort(e, 6 * MS, UINT64_MAX);
	run_out(e);
	sim_engine_abort(e, 20 * MS, c); /* over already */
	assert_journal(&j, "0 a scheduled cached=0\n6 c scheduled cached=0\n"
			   "16 c tokens 0+1\n16 c length\n");
	sim_engine_stats(e, &s);
	assert_int_equal(s.aborted, 2);
	assert_int_equal(s.running + s.waiting + s.blocks_held, 0);
	engine_destroy(e, &j);
}

static void test_limits(void **state)
{
	struct journal j;
	struct sim_engine *e = engine_create(&small, &j);

	assert_int_equal(sim_engine_tokens_max(e), 40);
	assert_int_equal(arrive(e, 0, "a", 1000, 40, 1, NULL), -BB_ELIMIT);
	for (int i = 0; i < 8; i++)
		assert_int_equal(arrive(e, 0, "b", 1000, 4, 30, NULL), 0);
	assert_int_equal(arrive(e, 0, "c", 1000, 4, 1, NULL), -BB_EBUSY);
	assert_int_equal(sim_engine_reset_cache(e), -BB_EBUSY);
	run_out(e);
	assert_int_equal(sim_engine_reset_cache(e), 0);
	bb_buf_clear(&j.text);
	assert_int_equal(arrive(e, 500 * MS, "d", 1000, 16, 1, NULL), 0);
	assert_journal(&j, "500 d scheduled cached=0\n");
	engine_destroy(e, &j); /* with one under way */
}

/* A few thousand random arrivals and departures; everything that happens, as one text. */
static void run_random(struct sim_engine *e, uint64_t seed)
{
	uint64_t ids[16] = { 0 }, now_ns = 0;
	struct sim_engine_stats s;
	struct bb_rng rng;

	bb_rng_seed(&rng, seed);
	for (int i = 0; i < 4000; i++) {
		uint64_t *id = &ids[bb_rng_below(&rng, 16)];
		now_ns += bb_rng_below(&rng, 3 * MS);
		sim_engine_advance(e, now_ns);
		if (bb_rng_below(&rng, 3) == 0)
			sim_engine_abort(e, now_ns, *id);
		else
			(void)!arrive(e, now_ns, "r", (uint32_t)bb_rng_below(&rng, 4) * 1000,
				      1 + (uint32_t)bb_rng_below(&rng, 24),
				      (uint32_t)bb_rng_below(&rng, 16), id);
		sim_engine_stats(e, &s);
		assert_true(s.blocks_held <= s.blocks);
		assert_true(s.running <= 4 && s.running + s.waiting <= 8);
		assert_true(s.running > 0 || s.waiting == 0); /* it is never stuck */
	}
	run_out(e);
	sim_engine_stats(e, &s);
	assert_int_equal(s.blocks_held + s.running + s.waiting, 0);
	assert_true(s.preemptions > 0 && s.prompt_tokens_cached > 0 && s.aborted > 0);
}

static void test_same_calls_same_events(void **state)
{
	struct journal one, other;
	struct sim_engine *e = engine_create(&small, &one);
	struct sim_engine *f = engine_create(&small, &other);

	run_random(e, 3);
	run_random(f, 3);
	assert_int_equal(one.text.err, 0);
	assert_int_equal(one.text.len, other.text.len);
	assert_memory_equal(one.text.p, other.text.p, one.text.len);
	assert_int_equal(one.stored, other.stored);
	assert_int_equal(one.removed, other.removed);
	engine_destroy(e, &one);
	engine_destroy(f, &other);
}

static void test_no_memory(void **state)
{
	struct journal j = { 0 };
	struct sim_engine *e = NULL;
	int failures = 0;

	bb_buf_init(&j.text, 4096);
	for (uint64_t n = 1; !e; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		if (sim_engine_create(&small, &ops, &j, &e))
			failures++;
	}
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_int_equal(arrive(e, 0, "a", 1000, 4, 1, NULL), -BB_ENOMEM);
	bb_alloc_fail_at(2, BB_FAIL_ONCE);
	assert_int_equal(arrive(e, 0, "a", 1000, 4, 1, NULL), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(arrive(e, 0, "a", 1000, 4, 1, NULL), 0);
	assert_true(failures >= 5);
	engine_destroy(e, &j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timing),
		cmocka_unit_test(test_late_clock_catches_up),
		cmocka_unit_test(test_tokens_without_interval_come_together),
		cmocka_unit_test(test_prefill_rate_and_cache),
		cmocka_unit_test(test_answer_is_cached_too),
		cmocka_unit_test(test_cache_keys_do_not_mix),
		cmocka_unit_test(test_waiting_in_order),
		cmocka_unit_test(test_waiting_for_blocks),
		cmocka_unit_test(test_eviction_takes_the_oldest),
		cmocka_unit_test(test_preemption),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_same_calls_same_events),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
