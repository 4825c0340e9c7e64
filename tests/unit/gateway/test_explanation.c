/*
 * Goal: explanations are found by their request's id as long as the ring has them, the latest of an
 * id wins, a request keeps its own for longer; and what is written is JSON with the right members,
 * and a sentence that is right.
 */
#include "unit.h"

#include "base/alloc.h"
#include "gateway/explanation_write.h"
#include "wire/json.h"

static struct bb_str id_of(uint32_t n)
{
	static char text[8][24];
	char *t = text[n % 8];

	snprintf(t, 24, "request-%u", n);
	return bb_str_of(t);
}

static struct explanation *begin(struct explain_ring *r, uint32_t n)
{
	explain_lock(r);
	struct explanation *e = explain_begin(r, id_of(n), 1000 + n);
	explain_unlock(r);
	return e;
}

static void put(struct explain_ring *r, struct explanation *e)
{
	explain_lock(r);
	explain_put(r, e);
	explain_unlock(r);
}

static void the_ring_keeps_the_last(void **state)
{
	struct explain_ring r;
	struct explanation found;

	assert_int_equal(explain_ring_init(&r, 4, 7), 0);
	assert_false(explain_find(&r, id_of(0), &found));
	struct explanation *held = begin(&r, 0);
	assert_non_null(held);
	for (uint32_t i = 1; i < 4; i++)
		put(&r, begin(&r, i));
	for (uint32_t i = 0; i < 4; i++) {
		assert_true(explain_find(&r, id_of(i), &found));
		assert_int_equal(found.wall_ns, 1000 + i);
	}
	for (uint32_t i = 4; i < 9; i++)
		put(&r, begin(&r, i));
	assert_false(explain_find(&r, id_of(0), &found));
	assert_false(explain_find(&r, id_of(4), &found));
	assert_true(explain_find(&r, id_of(5), &found) && explain_find(&r, id_of(8), &found));
	assert_int_equal(held->wall_ns, 1000); /* its request has it yet */
	put(&r, held);
	/* A client that uses an id twice: the latest. */
	put(&r, begin(&r, 8));
	struct explanation *again = begin(&r, 8);
	again->prompt_tokens = 77;
	assert_true(explain_find(&r, id_of(8), &found));
	assert_int_equal(found.prompt_tokens, 77);
	put(&r, again);
	assert_int_equal(r.pool.live, 4);
	explain_ring_fini(&r);
	explain_ring_fini(&r); /* of nothing */
}

static void no_ring_and_no_memory(void **state)
{
	struct explain_ring r;
	struct explanation found;

	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_int_equal(explain_ring_init(&r, 4, 7), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	explain_ring_fini(&r);
	assert_int_equal(explain_ring_init(&r, 0, 7), 0); /* limits.explain: 0 */
	struct explanation *e = begin(&r, 1);
	assert_non_null(e);
	assert_false(explain_find(&r, id_of(1), &found));
	put(&r, e);
	put(&r, NULL);
	assert_int_equal(r.pool.live, 0);
	explain_ring_fini(&r);
	assert_int_equal(explain_ring_init(&r, 4, 7), 0);
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_null(begin(&r, 1));
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_false(explain_find(&r, id_of(1), &found));
	explain_ring_fini(&r);
}

/* ---- what is written ---- */

static struct bb_str engine_name(void *user, struct engine_id id)
{
	static const char *const names[] = { "http://a", "http://b\"", "" };

	return bb_str_of(names[id.slot]);
}

static const struct engine_names names = { engine_name, NULL };

static struct decision decision(void)
{
	return (struct decision){
		.action = DECISION_DISPATCH,
		.policy = "lookahead",
		.reason = REASON_WARM,
		.held_ns = 1500000,
		.candidates = 4,
		.engines = 5,
		.ranks = 1,
		.cached_tokens = 7936,
		.possible_tokens = 7936,
		.best_count = 2,
		.best = { { .engine = { 0, 1 },
			    .cached_tokens = 7936,
			    .wait_ms = 1.25,
			    .prefill_ms = 8,
			    .ttft_ms = 9.25,
			    .total_ms = 100 },
			  { .engine = { 1, 1 },
			    .requests = 3,
			    .pending = UINT64_MAX,
			    .ttft_ms = 421.4,
			    .prefill_ms = 400 } },
		.left_out = { [LEFT_OUT_NOT_READY] = 4 },
		.left_count = 1,
		.left = { { { 2, 1 }, LEFT_OUT_NOT_READY } },
	};
}

static void text_is(struct bb_buf *b, const char *want)
{
	char got[2048];

	snprintf(got, sizeof(got), "%.*s", (int)b->len, b->p);
	assert_string_equal(got, want);
	bb_buf_clear(b);
}

static void a_whole_one(void **state)
{
	struct explanation e = { .prompt_tokens = 8192,
				 .is_exact = true,
				 .hashed = HASHES_TOKENS,
				 .blocks = 512,
				 .has_session = true };
	const struct decision d = decision();
	struct json_error at;
	struct bb_buf b;

	bb_buf_init(&b, 65536);
	explanation_decide(&e, &d);
	assert_int_equal(e.state, EXPLAINED_SENT);
	explanation_fail(&e, (struct engine_id){ 1, 1 }, UPSTREAM_CUT);
	e.has_cached = true;
	e.reported_cached = 7900;
	e.first_ms = 12.3f;
	explanation_write(&b, &e, &names);
	assert_int_equal(json_check(bb_buf_str(&b), JSON_DEPTH_MAX, &at), 0);
	text_is(&b,
		"{\"policy\":\"lookahead\",\"reason\":\"warm\",\"held_ms\":1.5,\"prompt\":8192,"
		"\"exact\":true,\"hashed\":\"tokens\",\"blocks\":512,\"session\":true,"
		"\"cached\":7936,\"possible\":7936,\"reported\":7900,\"ttft_ms\":9.3,"
		"\"actual_ttft_ms\":12.3,\"engines\":5,\"of\":4,\"candidates\":["
		"{\"engine\":\"http://a\",\"cached\":7936,\"pending\":0,\"requests\":0,"
		"\"wait_ms\":1.3,\"prefill_ms\":8.0,\"limit_ms\":0.0,\"ttft_ms\":9.3,"
		"\"total_ms\":100.0},"
		"{\"engine\":\"http://b\\\"\",\"cached\":0,\"pending\":4294967295,\"requests\":3,"
		"\"wait_ms\":0.0,\"prefill_ms\":400.0,\"limit_ms\":0.0,\"ttft_ms\":421.4,"
		"\"total_ms\":0.0}],"
		"\"left_out\":[{\"engine\":\"unknown\",\"why\":\"not ready\"}],"
		"\"left_out_count\":4,\"failed\":[{\"engine\":\"http://b\\\"\",\"why\":\"cut\"}]}");
	explanation_reason(&b, &e, &names);
	text_is(&b, "warm: 7,936 of 8,192 prompt tokens cached there; next best http://b\" would "
		    "take 412 ms longer");
	bb_buf_fini(&b);
}

static void ranks_are_named(void **state)
{
	struct explanation e = { 0 };
	struct decision d = decision();
	struct bb_buf b;

	d.ranks = 2;
	d.best_count = 1;
	d.best[0].rank = 1;
	d.best[0].ttft_ms = 0; /* and a policy that predicts nothing */
	d.best[0].cost = 41.96;
	d.left_count = 0;
	d.left_out[LEFT_OUT_NOT_READY] = 0;
	bb_buf_init(&b, 65536);
	explanation_decide(&e, &d);
	explanation_write(&b, &e, &names);
	text_is(&b, "{\"policy\":\"lookahead\",\"reason\":\"warm\",\"held_ms\":1.5,\"prompt\":0,"
		    "\"exact\":false,\"hashed\":\"nothing\",\"cached\":7936,\"possible\":7936,"
		    "\"engines\":5,\"of\":4,\"candidates\":[{\"engine\":\"http://a\",\"rank\":1,"
		    "\"cached\":7936,\"pending\":0,\"requests\":0,\"cost\":42.0}]}");
	bb_buf_fini(&b);
	/* No room: the record is lost as a whole, and nothing is written beyond. */
	bb_buf_init(&b, 700);
	for (int i = 0; i < 3; i++)
		explanation_write(&b, &e, &names);
	assert_int_equal(b.err, -BB_ELIMIT);
	assert_true(b.len <= 700);
	bb_buf_fini(&b);
}

static void a_held_and_a_refused_one(void **state)
{
	struct explanation e = { 0 };
	struct decision d = { .action = DECISION_HOLD, .policy = "lookahead" };

	explanation_decide(&e, &d);
	assert_int_equal(e.state, EXPLAINED_HELD);
	d = (struct decision){ .action = DECISION_REJECT, .held_ns = 2000000 };
	explanation_decide(&e, &d);
	assert_int_equal(e.state, EXPLAINED_REFUSED);
	assert_true(e.held_ms > 1.9f && e.held_ms < 2.1f);
	for (uint32_t i = 0; i < 10; i++)
		explanation_fail(&e, (struct engine_id){ i, 1 }, UPSTREAM_CONNECT);
	assert_int_equal(e.failed_count, EXPLAINED_FAILED_MAX);
}

static void sentences(void **state)
{
	static const struct {
		struct reason_facts facts;
		const char *want;
	} cases[] = {
		{ { .reason = BB_STR_INIT("only"), .best_count = 1 },
		  "only: no other engine could take it" },
		{ { .reason = BB_STR_INIT("cold"), .prompt_tokens = 1234567 },
		  "cold: no engine holds any of 1,234,567 prompt tokens" },
		{ { .reason = BB_STR_INIT("policy"), .policy = BB_STR_INIT("random") },
		  "policy: chosen by random, which does not look at caches" },
		{ { .reason = BB_STR_INIT("none") }, "none: no engine was chosen" },
		{ { .reason = BB_STR_INIT("load"),
		    .prompt_tokens = 1000,
		    .cached = 0,
		    .possible = 999,
		    .best_count = 2,
		    .best = { { BB_STR_INIT("a"), 5, 50 }, { BB_STR_INIT("b"), 5.2, 62 } } },
		  "load: 0 of 1,000 prompt tokens cached there, an engine with 999 is busier; next "
		  "best b would cost all requests together 12 ms more" },
		{ { .reason = BB_STR_INIT("cold"),
		    .prompt_tokens = 7,
		    .best_count = 2,
		    .best = { { BB_STR_INIT("a"), 5, 50 }, { BB_STR_INIT("b"), 5, 50 } } },
		  "cold: no engine holds any of 7 prompt tokens; next best b is as good" },
	};
	struct bb_buf b;

	bb_buf_init(&b, 65536);
	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		reason_write(&b, &cases[i].facts);
		text_is(&b, cases[i].want);
	}
	bb_buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ring_keeps_the_last),
		cmocka_unit_test(no_ring_and_no_memory),
		cmocka_unit_test(a_whole_one),
		cmocka_unit_test(ranks_are_named),
		cmocka_unit_test(a_held_and_a_refused_one),
		cmocka_unit_test(sentences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
