/*
 * Goal: a prompt goes where its beginning is held: told by events, promised by a request on its way,
 * or assumed because it was sent there; as far as that has proved true. What is known goes away with
 * the engine, the mode, or what engines report.
 */
#include "world.h"

#include "base/hash.h"

#include "brain/index.h"
#include "brain/kv_lane.h"
#include "brain/kv_mirror.h"

#define BLOCKS 100u

static uint64_t hashes[BLOCKS];

static void hashes_of(uint64_t prompt)
{
	for (uint64_t i = 0; i < BLOCKS; i++) {
		const uint64_t name[2] = { prompt, i };
		hashes[i] = bb_hash(name, sizeof(name), 11);
	}
}

static struct decision ask_hashed(enum prompt_hashes hashed, uint32_t blocks)
{
	struct decision d;
	const struct brain_request r = { .model = BB_STR("m"),
					 .api = CHAT,
					 .prompt_tokens = blocks * BRAIN_BLOCK_TOKENS + 5,
					 .output_tokens_max = 10,
					 .hashed = hashed,
					 .hashes = hashes,
					 .hash_count = blocks,
					 .teaches = true };

	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.action, DECISION_DISPATCH);
	return d;
}

static void end(struct request_id id, uint64_t cached, bool has_cached)
{
	const struct request_result r = { .outcome = OUTCOME_OK,
					  .output_tokens = 10,
					  .cached_tokens = cached,
					  .has_cached = has_cached };

	now_ns += 1000000;
	brain_first_token(brain, now_ns, id);
	now_ns += 1000000;
	brain_request_ended(brain, now_ns, id, &r);
}

static void tell(struct engine_id id, enum kv_change_kind kind, uint32_t from, uint32_t count)
{
	const struct kv_change c = { .kind = kind,
				     .tier = INDEX_DEVICE,
				     .depth = from,
				     .hashes = hashes + from,
				     .count = count };

	brain_kv_change(brain, ++now_ns, id, 0, &c);
}

static void events_lead_to_who_holds_it(void **state)
{
	world_open(NULL);
	world_ready(4);
	for (int i = 0; i < 4; i++)
		brain_kv_mode(brain, now_ns, ids[i], 0, KV_EXACT);
	hashes_of(1);
	struct decision d = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_int_equal(d.reason, REASON_COLD);
	assert_true(d.cached_tokens == 0 && d.possible_tokens == 0);
	end(d.request, 0, true);
	tell(ids[2], KV_CHANGE_STORE, 0, 60);
	tell(ids[1], KV_CHANGE_STORE, 0, 20);
	d = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_true(engine_id_is(d.engine, ids[2]));
	assert_int_equal(d.reason, REASON_WARM);
	assert_int_equal(d.cached_tokens, 60 * BRAIN_BLOCK_TOKENS);
	assert_int_equal(d.possible_tokens, 60 * BRAIN_BLOCK_TOKENS);
	assert_int_equal(d.best_count, DECISION_BEST_MAX);
	assert_true(engine_id_is(d.best[0].engine, ids[2]));
	assert_true(engine_id_is(d.best[1].engine, ids[1]));
	assert_int_equal(d.best[1].cached_tokens, 20 * BRAIN_BLOCK_TOKENS);
	assert_true(d.best[0].ttft_ms > 0 && d.best[0].ttft_ms < d.best[1].ttft_ms);
	end(d.request, 60 * BRAIN_BLOCK_TOKENS, true);
	tell(ids[2], KV_CHANGE_REMOVE, 10, 50);
	d = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_true(engine_id_is(d.engine, ids[1]));
	end(d.request, 20 * BRAIN_BLOCK_TOKENS, true);
	tell(ids[1], KV_CHANGE_CLEAR, 0, 0);
	d = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_int_equal(d.possible_tokens, 10 * BRAIN_BLOCK_TOKENS);
	end(d.request, 0, false);
	const struct engine_view v = world_view(ids[2]);
	assert_int_equal(v.kv_mode, KV_EXACT);
	assert_int_equal(v.index_blocks, 10);
}

static void the_last_token_is_always_computed(void **state)
{
	world_open(NULL);
	world_ready(1);
	brain_kv_mode(brain, now_ns, ids[0], 0, KV_EXACT);
	hashes_of(1);
	tell(ids[0], KV_CHANGE_STORE, 0, BLOCKS);
	struct decision d;
	const struct brain_request r = { .model = BB_STR("m"),
					 .prompt_tokens = BLOCKS * BRAIN_BLOCK_TOKENS,
					 .hashed = HASHES_TOKENS,
					 .hashes = hashes,
					 .hash_count = BLOCKS };
	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.cached_tokens, BLOCKS * BRAIN_BLOCK_TOKENS - 1);
	assert_int_equal(d.reason, REASON_ONLY);
}

static void what_is_on_its_way_counts_as_held(void **state)
{
	world_open(NULL);
	world_ready(4);
	for (int i = 0; i < 4; i++)
		brain_kv_mode(brain, now_ns, ids[i], 0, KV_EXACT);
	hashes_of(2);
	const struct decision first = ask_hashed(HASHES_TOKENS, BLOCKS);
	const struct decision second = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_int_equal(second.possible_tokens, BLOCKS * BRAIN_BLOCK_TOKENS);
	/* It broke off: the promise is gone. */
	world_end(first.request, OUTCOME_BROKEN);
	world_end(second.request, OUTCOME_BROKEN);
	const struct decision third = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_int_equal(third.possible_tokens, 0);
	world_end(third.request, OUTCOME_CANCELED);
	struct index_stats s;
	brain_index_stats(brain, &s);
	assert_int_equal(s.pairs, 0);
}

static void without_events_it_is_where_it_was_sent(void **state)
{
	world_open(NULL);
	world_ready(4);
	hashes_of(3);
	const struct decision first = ask_hashed(HASHES_TEXT, BLOCKS);
	end(first.request, 0, true);
	for (int i = 0; i < 5; i++) {
		const struct decision d = ask_hashed(HASHES_TEXT, BLOCKS);
		assert_true(engine_id_is(d.engine, first.engine));
		assert_int_equal(d.reason, REASON_WARM);
		assert_true(d.cached_tokens > BLOCKS * BRAIN_BLOCK_TOKENS * 8 / 10);
		end(d.request, BLOCKS * BRAIN_BLOCK_TOKENS, true);
	}
	assert_true(world_view(first.engine).trust > 0.93);
	assert_int_equal(world_view(first.engine).kv_mode, KV_APPROXIMATE);
}

static void trust_follows_what_engines_report(void **state)
{
	world_open(NULL);
	world_ready(1);
	hashes_of(4);
	brain_kv_mode(brain, now_ns, ids[0], 0, KV_EXACT);
	tell(ids[0], KV_CHANGE_STORE, 0, BLOCKS);
	assert_true(world_view(ids[0]).trust == 1);
	for (int i = 0; i < 20; i++) { /* it says that it holds it, and computes it again */
		const struct decision d = ask_hashed(HASHES_TOKENS, BLOCKS);
		end(d.request, 0, true);
		tell(ids[0], KV_CHANGE_STORE, 0, 1);
	}
	const double low = world_view(ids[0]).trust;
	assert_true(low > 0 && low < 0.15);
	struct decision d = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_true(d.cached_tokens < BLOCKS * BRAIN_BLOCK_TOKENS * 15 / 100);
	end(d.request, 0, false); /* nothing was reported: nothing is learned */
	assert_true(world_view(ids[0]).trust == low);
	for (int i = 0; i < 20; i++) { /* it was mended */
		d = ask_hashed(HASHES_TOKENS, BLOCKS);
		end(d.request, BLOCKS * BRAIN_BLOCK_TOKENS - 16, true);
	}
	assert_true(world_view(ids[0]).trust > 0.85);
	/* Another mode: what was known of it is gone. */
	brain_kv_mode(brain, now_ns, ids[0], 0, KV_APPROXIMATE);
	assert_int_equal(world_view(ids[0]).index_blocks, 0);
	brain_kv_mode(brain, now_ns, ids[0], 0, KV_EXACT);
	assert_true(world_view(ids[0]).trust == 1);
}

static void an_engine_that_falls_silent_is_one_without_events(void **state)
{
	world_open(NULL);
	world_ready(1);
	brain_kv_mode(brain, now_ns++, ids[0], 0, KV_EXACT);
	for (uint64_t i = 0; i < KV_SILENT_MAX; i++) {
		assert_false(world_view(ids[0]).is_silent);
		hashes_of(100 + i);
		const struct decision d = ask_hashed(HASHES_TOKENS, BLOCKS);
		end(d.request, 0, true);
	}
	assert_true(world_view(ids[0]).is_silent);
	hashes_of(200);
	struct decision d = ask_hashed(HASHES_TOKENS, BLOCKS);
	end(d.request, 0, true);
	d = ask_hashed(HASHES_TOKENS, BLOCKS); /* assumed, since nothing tells */
	assert_true(d.cached_tokens > 0);
	end(d.request, d.cached_tokens, true);
	tell(ids[0], KV_CHANGE_STORE, 0, 1);
	assert_false(world_view(ids[0]).is_silent);
}

static void ranks_are_lanes_of_their_own(void **state)
{
	const struct engine_report two = { .state = ENGINE_READY, .dp_ranks = 2, .sequences_max = 8 };

	world_open(NULL);
	world_ready(1);
	brain_engine_report(brain, now_ns, ids[0], &two);
	brain_kv_mode(brain, now_ns, ids[0], 1, KV_EXACT);
	hashes_of(5);
	const struct kv_change c = { .kind = KV_CHANGE_STORE,
				     .tier = INDEX_DEVICE,
				     .hashes = hashes,
				     .count = BLOCKS };
	brain_kv_change(brain, now_ns, ids[0], 1, &c);
	brain_kv_change(brain, now_ns, ids[0], 2, &c); /* there is no such rank */
	struct decision d = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_int_equal(d.rank, 1);
	assert_int_equal(d.ranks, 2);
	assert_int_equal(d.candidates, 2);
	hashes_of(6);
	const struct decision e = ask_hashed(HASHES_TOKENS, BLOCKS);
	assert_int_equal(e.rank, 0);
	assert_int_equal(world_view(ids[0]).requests, 2);
	end(d.request, 0, false);
	end(e.request, 0, false);
	assert_int_equal(world_view(ids[0]).ranks, 2);
}

static struct decision ask_model(const char *model)
{
	struct decision d;
	const struct brain_request r = { .model = bb_str_of(model),
					 .api = CHAT,
					 .prompt_tokens = 100,
					 .output_tokens_max = 10,
					 .teaches = true };

	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.action, DECISION_DISPATCH);
	return d;
}

static void adapters_go_where_they_are_resident(void **state)
{
	const struct report_model listed[] = { { .name = BB_STR("m") },
					       { .name = BB_STR("a"), .is_adapter = true },
					       { .name = BB_STR("b"), .is_adapter = true } };
	const struct engine_report r = { .state = ENGINE_READY,
					 .has_models = true,
					 .models = listed,
					 .model_count = 3 };
	char name[BRAIN_NAME_MAX + 1];

	world_open(NULL);
	world_ready(4);
	for (int i = 0; i < 4; i++)
		brain_engine_report(brain, now_ns, ids[i], &r);
	assert_false(brain_model_adapter(brain, BB_STR("m"), name));
	assert_false(brain_model_adapter(brain, BB_STR("none"), name));
	assert_true(brain_model_adapter(brain, BB_STR("a"), name));
	assert_string_equal(name, "a");
	const struct decision first = ask_model("a");
	end(first.request, 0, false);
	const struct decision other = ask_model("b");
	end(other.request, 0, false);
	for (int i = 0; i < 20; i++) { /* all idle: where it is resident it begins at once */
		const struct decision d = ask_model(i % 2 ? "a" : "b");
		assert_true(engine_id_is(d.engine, i % 2 ? first.engine : other.engine));
		end(d.request, 0, false);
	}
}

/* Any order of everything; in the end nothing is left but what was told. */
static void nothing_is_left_over(void **state)
{
	struct request_id open[64] = { 0 };
	struct bb_rng rng;

	assert_int_equal(world_open_with(3, NULL, WORLD_LIMITS(16, 16, 64)), 0);
	world_ready(6);
	bb_rng_seed(&rng, 9);
	for (int i = 0; i < 200000; i++) {
		const uint32_t slot = (uint32_t)bb_rng_below(&rng, 64);
		const uint32_t who = (uint32_t)bb_rng_below(&rng, 6);
		hashes_of(bb_rng_below(&rng, 20));
		now_ns += bb_rng_below(&rng, 3000000);
		switch (bb_rng_below(&rng, 8)) {
		case 0: brain_kv_mode(brain, now_ns, ids[who], 0, bb_rng_below(&rng, 2) ? KV_EXACT : KV_APPROXIMATE); break;
		case 1: tell(ids[who], KV_CHANGE_STORE, 0, 1 + (uint32_t)bb_rng_below(&rng, BLOCKS)); break;
		case 2: tell(ids[who], KV_CHANGE_REMOVE, 50, 50); break;
		case 3: brain_first_token(brain, now_ns, open[slot]); break;
		case 4: brain_tick(brain, now_ns); break;
		case 5: brain_progress(brain, now_ns, open[slot], bb_rng_below(&rng, 50)); break;
		default:
			if (open[slot].generation) {
				const struct request_result r = {
					.outcome = (enum request_outcome)bb_rng_below(&rng, 3),
					.cached_tokens = bb_rng_below(&rng, 1600),
					.has_cached = bb_rng_below(&rng, 2),
					.output_tokens = bb_rng_below(&rng, 30),
				};
				brain_request_ended(brain, now_ns, open[slot], &r);
				open[slot] = (struct request_id){ 0 };
				world_report(ids[who], ENGINE_READY, "m");
			} else {
				const struct decision d = ask_hashed(
					(enum prompt_hashes)bb_rng_below(&rng, 3),
					1 + (uint32_t)bb_rng_below(&rng, BLOCKS));
				open[slot] = d.request;
			}
		}
	}
	for (int i = 0; i < 64; i++)
		world_end(open[i], OUTCOME_CANCELED);
	for (int i = 0; i < 6; i++) {
		brain_kv_mode(brain, now_ns, ids[i], 0, KV_EXACT);
		brain_kv_mode(brain, now_ns, ids[i], 0, KV_APPROXIMATE);
		const struct engine_view v = world_view(ids[i]);
		assert_true(v.requests == 0 && v.tokens == 0 && v.pending_prefill == 0);
		assert_int_equal(v.index_blocks, 0);
	}
	assert_int_equal(brain_requests_in_flight(brain), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(events_lead_to_who_holds_it, world_close),
		cmocka_unit_test_teardown(the_last_token_is_always_computed, world_close),
		cmocka_unit_test_teardown(what_is_on_its_way_counts_as_held, world_close),
		cmocka_unit_test_teardown(without_events_it_is_where_it_was_sent, world_close),
		cmocka_unit_test_teardown(trust_follows_what_engines_report, world_close),
		cmocka_unit_test_teardown(an_engine_that_falls_silent_is_one_without_events, world_close),
		cmocka_unit_test_teardown(ranks_are_lanes_of_their_own, world_close),
		cmocka_unit_test_teardown(adapters_go_where_they_are_resident, world_close),
		cmocka_unit_test_teardown(nothing_is_left_over, world_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
