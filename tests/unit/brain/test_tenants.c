/*
 * Goal: limits are exact at their edges, any number of requests at once stays within them, what
 * was reserved and not used comes back, months turn, reloads keep what was used, and 100,000
 * random events break no invariant.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "brain/bucket.h"
#include "brain/tenants.h"
#include "wire/date.h"

#define SECOND 1000000000ull
#define MINUTE (60 * SECOND)
#define NOVEMBER_30 1796083199ull /* 2026-11-30T23:59:59Z */

static struct tenant_time at(uint64_t now_ns)
{
	return (struct tenant_time){ now_ns, NOVEMBER_30 - 86400 + now_ns / SECOND };
}

static uint32_t set(struct tenants *t, uint64_t now_ns, const char *name,
		    struct tenant_limits limits)
{
	uint32_t index = UINT32_MAX;

	assert_int_equal(tenants_add(t, bb_str_of(name), &index), 0);
	tenants_limit(t, index, now_ns, &limits);
	return index;
}

static struct tenants *make(struct tenant_limits limits)
{
	struct tenants *t;

	assert_int_equal(tenants_create(&t), 0);
	assert_int_equal(set(t, 0, "a", limits), 0);
	return t;
}

static int reserve(struct tenants *t, struct tenant_time time, uint64_t prompt, uint64_t output,
		   struct tenant_hold *hold, struct tenant_verdict *v)
{
	return tenants_reserve(t, 0, time, &(struct tenant_ask){ prompt, prompt, output }, hold, v);
}

static void settle(struct tenants *t, struct tenant_time time, struct tenant_hold *hold,
		   uint64_t prompt, uint64_t output)
{
	tenants_settle(t, time, hold, &(struct tenant_use){ TENANT_END_SERVED, prompt, output });
}

static void unserve(struct tenants *t, struct tenant_time time, struct tenant_hold *hold)
{
	tenants_settle(t, time, hold, &(struct tenant_use){ .end = TENANT_END_UNSERVED });
}

static void keep_view(void *user, const struct tenant_view *v)
{
	if (strcmp(v->name, "a") == 0)
		*(struct tenant_view *)user = *v;
}

static struct tenant_view view(const struct tenants *t)
{
	struct tenant_view v = { 0 };

	tenants_each(t, keep_view, &v);
	return v;
}

/* ---- buckets ---- */

static void test_bucket_edges(void **state)
{
	struct bucket b = { 0 };

	bucket_set(&b, 5 * SECOND, 7);
	assert_int_equal(bucket_left(&b), 7);
	assert_int_equal(bucket_reset_ns(&b), 0);
	for (int i = 0; i < 7; i++) {
		assert_int_equal(bucket_wait_ns(&b, 5 * SECOND, 1), 0);
		bucket_take(&b, 5 * SECOND, 1);
	}
	/* A seventh of a minute, rounded up to the nanosecond; not one earlier. */
	const uint64_t wait = bucket_wait_ns(&b, 5 * SECOND, 1);
	assert_int_equal(wait, 8571428572ull);
	assert_int_equal(bucket_wait_ns(&b, 5 * SECOND + wait - 1, 1), 1);
	assert_int_equal(bucket_wait_ns(&b, 5 * SECOND + wait, 1), 0);
	assert_int_equal(bucket_reset_ns(&b), MINUTE - wait);
	/* Time that goes backwards gives nothing. */
	assert_int_equal(bucket_wait_ns(&b, 0, 1), 0);
	bucket_take(&b, 0, 1);
	assert_int_equal(bucket_left(&b), 0);
	/* A year later it is full, and not more than full. */
	assert_int_equal(bucket_wait_ns(&b, 525600 * MINUTE, 7), 0);
	assert_int_equal(bucket_left(&b), 7);
	bucket_give(&b, 525600 * MINUTE, 100);
	assert_int_equal(bucket_left(&b), 7);
}

/* Looked at at random times, in a day exactly as many come out as the rate says. */
static void test_bucket_long_run(void **state)
{
	static const uint64_t rates[] = { 1, 7, 60, 61, 999, 100003 };
	struct bb_rng rng;

	bb_rng_seed(&rng, 11);
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct bucket b = { 0 };
		uint64_t now_ns = 0, taken = 0;
		bucket_set(&b, 0, rates[i]);
		bucket_take(&b, 0, rates[i]);
		while (now_ns < 100 * MINUTE) {
			now_ns += bb_rng_below(&rng, 3 * MINUTE / rates[i]) + 1;
			while (bucket_wait_ns(&b, now_ns, 1) == 0) {
				bucket_take(&b, now_ns, 1);
				taken++;
			}
		}
		const uint64_t due = (uint64_t)((unsigned __int128)now_ns * rates[i] / MINUTE);
		/* The smallest rate can be full between two looks and then loses what drops. */
		if (rates[i] > 7)
			assert_int_equal(taken, due);
		assert_true(taken <= due);
	}
}

static void test_bucket_debt(void **state)
{
	struct bucket b = { 0 };

	bucket_set(&b, 0, 60);
	bucket_take(&b, 0, 180);
	assert_int_equal(b.level, -120);
	assert_int_equal(bucket_left(&b), 0);
	assert_int_equal(bucket_wait_ns(&b, 0, 1), 121 * SECOND);
	assert_int_equal(bucket_reset_ns(&b), 180 * SECOND);
	bucket_take(&b, 0, UINT64_MAX);
	bucket_take(&b, 0, UINT64_MAX);
	assert_true(b.level == -(int64_t)BUCKET_RATE_MAX);
	bucket_give(&b, 0, UINT64_MAX);
	assert_int_equal(b.level, 60);
}

static void test_bucket_rate_changes(void **state)
{
	struct bucket b = { 0 };

	bucket_take(&b, 0, 5); /* no limit: nothing is kept */
	assert_int_equal(bucket_wait_ns(&b, 0, UINT64_MAX), 0);
	bucket_set(&b, 0, 100);
	bucket_take(&b, 0, 30);
	bucket_set(&b, 0, 100);
	assert_int_equal(b.level, 70);
	bucket_set(&b, 0, 150);
	assert_int_equal(b.level, 120);
	bucket_set(&b, 0, 20);
	assert_int_equal(b.level, -10);
	bucket_set(&b, 0, 0);
	assert_int_equal(bucket_wait_ns(&b, 0, 1), 0);
	bucket_set(&b, 0, 20);
	assert_int_equal(b.level, 20);
}

/* ---- reserving ---- */

static void test_no_limits(void **state)
{
	struct tenants *t = make((struct tenant_limits){ 0 });
	struct tenant_verdict v;
	struct tenant_hold hold[2] = { 0 };

	for (int i = 0; i < 2; i++)
		assert_int_equal(reserve(t, at(0), UINT64_MAX, UINT64_MAX, &hold[i], &v), 0);
	assert_int_equal(v.requests.limit, 0);
	assert_int_equal(v.tokens.limit, 0);
	assert_int_equal(view(t).active, 2);
	settle(t, at(0), &hold[0], UINT64_MAX, UINT64_MAX);
	unserve(t, at(0), &hold[1]);
	unserve(t, at(0), &hold[1]); /* holds nothing any more */
	assert_int_equal(view(t).active, 0);
	tenants_destroy(t);
}

static void test_requests_per_minute(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .requests_per_minute = 60 });
	struct tenant_hold hold[60];
	struct tenant_hold none = { 0 };
	struct tenant_verdict v;

	for (uint64_t i = 0; i < 60; i++) {
		assert_int_equal(reserve(t, at(0), 10, 10, &hold[i], &v), 0);
		assert_int_equal(v.requests.limit, 60);
		assert_int_equal(v.requests.left, 59 - i);
		assert_int_equal(v.requests.reset_ns, (i + 1) * SECOND);
	}
	assert_int_equal(reserve(t, at(0), 10, 10, &none, &v), -BB_ERATE);
	assert_int_equal(v.refusal, TENANT_REFUSAL_REQUESTS);
	assert_int_equal(v.limit, 60);
	assert_int_equal(v.retry_after_ns, SECOND);
	assert_false(none.is_held);
	/* Served ones stay counted, the others come back. */
	settle(t, at(0), &hold[0], 1, 1);
	assert_int_equal(reserve(t, at(0), 10, 10, &none, &v), -BB_ERATE);
	unserve(t, at(0), &hold[1]);
	assert_int_equal(reserve(t, at(0), 10, 10, &none, &v), 0);
	assert_int_equal(reserve(t, at(SECOND - 1), 10, 10, &none, &v), -BB_ERATE);
	assert_int_equal(reserve(t, at(SECOND), 10, 10, &none, &v), 0);
	tenants_destroy(t);
}

static void test_tokens_per_minute(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .tokens_per_minute = 6000 });
	struct tenant_hold hold = { 0 }, other = { 0 };
	struct tenant_verdict v;

	/* The client says less than the guess: that is what is reserved. */
	assert_int_equal(reserve(t, at(0), 1000, 100, &hold, &v), 0);
	assert_int_equal(hold.tokens, 1100);
	assert_int_equal(v.tokens.left, 4900);
	/* It says nothing, or more: the guess. */
	assert_int_equal(reserve(t, at(0), 1000, UINT64_MAX, &other, &v), 0);
	assert_int_equal(other.tokens, 1256);
	assert_int_equal(v.tokens.left, 3644);
	/* 45 are missing at 100 a second. */
	struct tenant_hold refused = { 0 };
	assert_int_equal(reserve(t, at(0), 3644, 45, &refused, &v), -BB_ERATE);
	assert_int_equal(v.refusal, TENANT_REFUSAL_TOKENS);
	assert_int_equal(v.needed, 3689);
	assert_int_equal(v.retry_after_ns, 450000000);
	/* Less was used than reserved. */
	settle(t, at(0), &hold, 500, 20);
	assert_int_equal(view(t).tokens_level, 3644 + 580);
	/* More was used than reserved. */
	settle(t, at(0), &other, 1000, 5000);
	assert_int_equal(view(t).tokens_level, 3644 + 580 + 1256 - 6000);
	/* Never: the prompt alone is more than a minute holds. */
	assert_int_equal(reserve(t, at(0), 6001, 1, &refused, &v), -BB_ERATE);
	assert_int_equal(v.refusal, TENANT_REFUSAL_SIZE);
	assert_int_equal(v.retry_after_ns, 0);
	/* A prompt of a whole minute waits for a full bucket. */
	assert_int_equal(reserve(t, at(2 * MINUTE), 6000, 500, &refused, &v), 0);
	assert_int_equal(refused.tokens, 6000);
	tenants_destroy(t);
}

static void test_concurrent(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .concurrent = 3 });
	struct tenant_hold hold[3], none = { 0 };
	struct tenant_verdict v;

	for (int i = 0; i < 3; i++)
		assert_int_equal(reserve(t, at(0), 1, 1, &hold[i], &v), 0);
	assert_int_equal(reserve(t, at(MINUTE), 1, 1, &none, &v), -BB_ERATE);
	assert_int_equal(v.refusal, TENANT_REFUSAL_CONCURRENT);
	assert_int_equal(v.limit, 3);
	settle(t, at(MINUTE), &hold[1], 1, 1);
	assert_int_equal(reserve(t, at(MINUTE), 1, 1, &none, &v), 0);
	tenants_destroy(t);
}

static void test_a_refusal_takes_nothing(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .requests_per_minute = 10,
							 .tokens_per_minute = 1000,
							 .concurrent = 1,
							 .tokens_per_month = 1000000 });
	struct tenant_hold hold, none = { 0 };
	struct tenant_verdict v;

	assert_int_equal(reserve(t, at(0), 100, 1, &hold, &v), 0);
	const struct tenant_view before = view(t);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(reserve(t, at(0), 1, 1, &none, &v), -BB_ERATE);
		assert_int_equal(reserve(t, at(0), 1000, 1, &none, &v), -BB_ERATE);
		assert_int_equal(reserve(t, at(0), 1, 1000000, &none, &v), -BB_EQUOTA);
	}
	const struct tenant_view after = view(t);
	assert_memory_equal(&before, &after, sizeof(before));
	tenants_destroy(t);
}

/* ---- the month ---- */

static void test_budget(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .tokens_per_month = 1000 });
	struct tenant_hold hold[3] = { 0 };
	struct tenant_verdict v;
	const struct tenant_time now = { 0, NOVEMBER_30 };
	const struct tenant_time next = { SECOND, NOVEMBER_30 + 1 };

	assert_int_equal(reserve(t, now, 100, 400, &hold[0], &v), 0);
	assert_int_equal(reserve(t, now, 100, 400, &hold[1], &v), 0);
	assert_int_equal(reserve(t, now, 1, 0, &hold[2], &v), -BB_EQUOTA);
	assert_int_equal(v.refusal, TENANT_REFUSAL_BUDGET);
	assert_int_equal(v.retry_after_ns, SECOND); /* until December */
	settle(t, now, &hold[0], 100, 100);
	assert_int_equal(view(t).budget_used, 200);
	assert_int_equal(view(t).budget_reserved, 500);
	assert_int_equal(reserve(t, now, 100, 201, &hold[2], &v), -BB_EQUOTA);
	assert_int_equal(reserve(t, now, 100, 200, &hold[2], &v), 0);
	unserve(t, now, &hold[2]);
	assert_int_equal(view(t).budget_used, 200);
	/* The next month begins at nothing; what is still running counts there when it ends. */
	assert_int_equal(reserve(t, next, 500, 1, &hold[2], &v), -BB_EQUOTA);
	assert_int_equal(view(t).budget_used, 0);
	assert_int_equal(v.retry_after_ns, 31ull * 86400 * SECOND);
	settle(t, next, &hold[1], 100, 50);
	assert_int_equal(view(t).budget_used, 150);
	/* A wall clock that is set back does not turn it back. */
	assert_int_equal(reserve(t, now, 850, 0, &hold[2], &v), 0);
	assert_int_equal(view(t).budget_used, 150);
	assert_int_equal(reserve(t, next, 1, 0, &hold[0], &v), -BB_EQUOTA);
	tenants_destroy(t);
}

static void test_budget_at_once(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .tokens_per_month = 10000 });
	static struct tenant_hold hold[200];
	struct tenant_verdict v;
	int admitted = 0;

	for (int i = 0; i < 200; i++)
		admitted += reserve(t, at(0), 60, 40, &hold[i], &v) == 0;
	assert_int_equal(admitted, 100);
	for (int i = 0; i < 200; i++)
		settle(t, at(0), &hold[i], 60, 40);
	assert_int_equal(view(t).budget_used, 10000);
	assert_int_equal(view(t).active, 0);
	tenants_destroy(t);
}

/* Answers that are long are expected to be long. */
static void test_output_guess(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .tokens_per_minute = 1000000 });
	struct tenant_hold hold = { 0 };
	struct tenant_verdict v;

	for (int i = 0; i < 40; i++) {
		assert_int_equal(reserve(t, at(0), 0, UINT64_MAX, &hold, &v), 0);
		settle(t, at(0), &hold, 0, 4000);
	}
	assert_int_equal(reserve(t, at(0), 0, UINT64_MAX, &hold, &v), 0);
	assert_int_equal(hold.tokens, 4000);
	settle(t, at(0), &hold, 0, 0); /* says nothing about answers */
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(reserve(t, at(0), 0, UINT64_MAX, &hold, &v), 0);
		settle(t, at(0), &hold, 0, 10);
	}
	assert_int_equal(reserve(t, at(0), 0, UINT64_MAX, &hold, &v), 0);
	assert_in_range(hold.tokens, 10, 80);
	tenants_destroy(t);
}

/* ---- reloads, names, counts ---- */

static void test_reload_keeps(void **state)
{
	struct tenants *t = make((struct tenant_limits){ .requests_per_minute = 10 });
	struct tenant_hold hold;
	struct tenant_verdict v;

	for (int i = 0; i < 10; i++)
		assert_int_equal(reserve(t, at(0), 0, 0, &hold, &v), 0);
	assert_int_equal(set(t, 0, "b", (struct tenant_limits){ 0 }), 1);
	assert_int_equal(set(t, 0, "a", (struct tenant_limits){ .requests_per_minute = 12 }), 0);
	assert_int_equal(reserve(t, at(0), 0, 0, &hold, &v), 0);
	assert_int_equal(reserve(t, at(0), 0, 0, &hold, &v), 0);
	assert_int_equal(reserve(t, at(0), 0, 0, &hold, &v), -BB_ERATE);
	assert_int_equal(view(t).active, 12);
	tenants_destroy(t);
}

static void test_counts(void **state)
{
	struct tenants *t = make((struct tenant_limits){ 0 });

	tenants_count(t, 0, &(struct tenant_count){ 0, 10, 5, 3 });
	tenants_count(t, 0, &(struct tenant_count){ 1, 0, 0, 0 });
	tenants_count(t, 0, &(struct tenant_count){ 0, 1, 1, 1 });
	const struct tenant_view v = view(t);
	assert_int_equal(v.requests[0], 2);
	assert_int_equal(v.requests[1], 1);
	assert_int_equal(v.requests[2] + v.requests[3], 0);
	assert_int_equal(v.prompt_tokens, 11);
	assert_int_equal(v.cached_tokens, 6);
	assert_int_equal(v.output_tokens, 4);
	tenants_destroy(t);
}

static void test_no_memory(void **state)
{
	char name[16];

	for (uint64_t nth = 1; nth < 40; nth++) {
		struct tenants *t = NULL;
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		if (tenants_create(&t) == 0)
			for (uint32_t i = 0; i < 40; i++) {
				uint32_t index = UINT32_MAX;
				snprintf(name, sizeof(name), "t%u", i);
				/* A second try must find nothing half done. */
				if (tenants_add(t, bb_str_of(name), &index))
					assert_int_equal(tenants_add(t, bb_str_of(name), &index),
							 0);
				assert_int_equal(index, i);
			}
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		tenants_destroy(t);
	}
}

/* ---- anything may happen ---- */

struct play {
	struct tenants *t;
	struct bb_rng rng;
	struct tenant_limits limits;
	struct tenant_hold holds[64];
	struct tenant_time time;
	uint64_t active, reserved, month, used;
};

static void play_reserve(struct play *p, struct tenant_hold *hold)
{
	struct tenant_verdict v;
	const uint64_t prompt = bb_rng_below(&p->rng, 400);
	const uint64_t output = bb_rng_below(&p->rng, 3) ? bb_rng_below(&p->rng, 500) : UINT64_MAX;

	const int rc = reserve(p->t, p->time, prompt, output, hold, &v);
	if (date_month(p->time.unix_s) > p->month) {
		p->month = date_month(p->time.unix_s);
		p->used = 0;
	}
	if (rc) {
		assert_false(hold->is_held);
		assert_int_not_equal(v.refusal, TENANT_REFUSAL_NONE);
		return;
	}
	p->active++;
	p->reserved += hold->budget_tokens;
	assert_true(p->active <= p->limits.concurrent);
	assert_true(p->used + p->reserved <= p->limits.tokens_per_month);
	assert_true(v.tokens.left <= p->limits.tokens_per_minute);
}

static void play_settle(struct play *p, struct tenant_hold *hold)
{
	const bool is_served = bb_rng_below(&p->rng, 4);
	/* Never more than was reserved: then the budget must hold to the token. */
	const uint64_t used = bb_rng_below(&p->rng, hold->budget_tokens + 1);

	p->active--;
	p->reserved -= hold->budget_tokens;
	if (date_month(p->time.unix_s) > p->month) {
		p->month = date_month(p->time.unix_s);
		p->used = 0;
	}
	if (is_served)
		settle(p->t, p->time, hold, used / 2, used - used / 2);
	else
		unserve(p->t, p->time, hold);
	p->used += is_served ? used : 0;
	assert_false(hold->is_held);
}

static void test_random(void **state)
{
	struct play p = { .limits = { 600, 30000, 40, 100000 }, .time = { 0, NOVEMBER_30 } };

	p.t = make(p.limits);
	bb_rng_seed(&p.rng, 4242);
	for (int i = 0; i < 100000; i++) {
		struct tenant_hold *hold = &p.holds[bb_rng_below(&p.rng, 64)];
		if (hold->is_held)
			play_settle(&p, hold);
		else
			play_reserve(&p, hold);
		p.time.now_ns += bb_rng_below(&p.rng, SECOND / 2);
		if (bb_rng_below(&p.rng, 1000) == 0)
			p.time.unix_s += 86400 * bb_rng_below(&p.rng, 20);
		const struct tenant_view v = view(p.t);
		assert_int_equal(v.active, p.active);
		assert_int_equal(v.budget_reserved, p.reserved);
		assert_int_equal(v.budget_used, p.used);
		assert_true(v.requests_level <= 600 && v.requests_level >= 0);
		assert_true(v.tokens_level <= 30000);
	}
	for (int i = 0; i < 64; i++)
		if (p.holds[i].is_held)
			play_settle(&p, &p.holds[i]);
	assert_int_equal(view(p.t).active, 0);
	assert_int_equal(view(p.t).budget_reserved, 0);
	tenants_destroy(p.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket_edges),
		cmocka_unit_test(test_bucket_long_run),
		cmocka_unit_test(test_bucket_debt),
		cmocka_unit_test(test_bucket_rate_changes),
		cmocka_unit_test(test_no_limits),
		cmocka_unit_test(test_requests_per_minute),
		cmocka_unit_test(test_tokens_per_minute),
		cmocka_unit_test(test_concurrent),
		cmocka_unit_test(test_a_refusal_takes_nothing),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_budget_at_once),
		cmocka_unit_test(test_output_guess),
		cmocka_unit_test(test_reload_keeps),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
