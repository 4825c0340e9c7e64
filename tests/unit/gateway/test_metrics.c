/*
 * Goal: counts end up in the series of their model and engine, each pair has one series, sums over
 * threads lose nothing, and a full table or no memory sends counts to "other" and nowhere else.
 */
#include "unit.h"

#include "base/alloc.h"
#include "gateway/metrics.h"
#include "os/process.h"

static struct engine_id engine(uint32_t slot, uint32_t generation)
{
	return (struct engine_id){ .slot = slot, .generation = generation };
}

static struct series *series(struct metrics *m, uint32_t model, struct engine_id id, const char *name)
{
	char url[32];

	snprintf(url, sizeof(url), "http://e%u", id.slot);
	return metrics_series(m, model, id, bb_str_of(name), bb_str_of(url));
}

static void test_one_series_a_pair(void **state)
{
	struct metrics *m = metrics_create();

	assert_non_null(m);
	struct series *a = series(m, 0, engine(1, 1), "m");
	struct series *b = series(m, 0, engine(2, 1), "m");
	struct series *c = series(m, 1, engine(1, 1), "n");
	struct series *d = series(m, 0, engine(1, 2), "m"); /* another engine in the same slot */
	assert_true(a != b && a != c && a != d && b != c && b != d && c != d);
	assert_int_equal(m->series_count, 4);
	assert_ptr_equal(series(m, 0, engine(1, 1), "m"), a);
	assert_ptr_equal(series(m, 0, engine(1, 2), "m"), d);
	assert_int_equal(m->series_count, 4);
	assert_string_equal(a->model_name, "m");
	assert_string_equal(a->engine_name, "http://e1");
	/* Names that are not known have names all the same. */
	struct series *none = metrics_series(m, UINT32_MAX, engine(UINT32_MAX, 0), BB_STR(""), BB_STR(""));
	assert_string_equal(none->model_name, "other");
	assert_string_equal(none->engine_name, "none");
	metrics_destroy(m);
	metrics_destroy(NULL);
}

static void test_buckets(void **state)
{
	static const struct histogram_bounds bounds = { .count = 3, .ns = { 10, 20, 30 } };
	struct histogram h = { 0 };
	const uint64_t values[] = { 0, 10, 11, 20, 30, 31, UINT64_MAX / 2 };

	for (size_t i = 0; i < UNIT_COUNT(values); i++)
		histogram_add(&h, &bounds, values[i]);
	assert_int_equal(h.bucket[0], 2); /* upper bounds belong to their bucket */
	assert_int_equal(h.bucket[1], 2);
	assert_int_equal(h.bucket[2], 1);
	assert_int_equal(h.bucket[3], 2);
	assert_int_equal(h.sum_ns, 0 + 10 + 11 + 20 + 30 + 31 + UINT64_MAX / 2);
}

static void test_bounds_ascend(void **state)
{
	const struct histogram_bounds *all[] = { &bounds_ttft, &bounds_itl, &bounds_duration,
						 &bounds_stage };

	for (size_t k = 0; k < UNIT_COUNT(all); k++) {
		assert_in_range(all[k]->count, 1, METRICS_BUCKETS_MAX);
		for (uint32_t i = 1; i < all[k]->count; i++)
			assert_true(all[k]->ns[i] > all[k]->ns[i - 1]);
	}
}

/* Series are matched by their names: slots of two threads may differ after reloads. */
static void test_sum(void **state)
{
	struct metrics *a = metrics_create(), *b = metrics_create(), *sum = metrics_create();

	struct series *s = series(a, 0, engine(1, 1), "m");
	metric_add(&s->requests[API_CHAT][STATUS_2XX], 5);
	metric_add(&s->output_tokens, 100);
	metric_add(&s->retries, 1);
	histogram_add(&s->ttft, &bounds_ttft, 1);
	s = series(b, 7, engine(1, 9), "m");
	metric_add(&s->requests[API_CHAT][STATUS_2XX], 3);
	metric_add(&s->requests[API_CHAT][STATUS_5XX], 1);
	metric_add(&s->upstream_errors[UPSTREAM_CUT], 2);
	s = series(b, 7, engine(2, 1), "m");
	metric_add(&s->prompt_tokens, 9);
	metric_add(&b->chunks, 11);
	metric_add(&b->other.retries, 4);
	metric_add(&a->requests_in_flight, 2);
	metric_add(&a->requests_in_flight, (uint64_t)-1);
	metrics_sum(sum, a);
	metrics_sum(sum, b);
	assert_int_equal(sum->series_count, 2);
	const struct series *m1 = sum->series[0], *m2 = sum->series[1];
	assert_string_equal(m1->engine_name, "http://e1");
	assert_int_equal(m1->requests[API_CHAT][STATUS_2XX], 8);
	assert_int_equal(m1->requests[API_CHAT][STATUS_5XX], 1);
	assert_int_equal(m1->upstream_errors[UPSTREAM_CUT], 2);
	assert_int_equal(m1->output_tokens, 100);
	assert_int_equal(m1->retries, 1);
	assert_int_equal(m1->ttft.bucket[0], 1);
	assert_int_equal(m2->prompt_tokens, 9);
	assert_int_equal(sum->chunks, 11);
	assert_int_equal(sum->other.retries, 4);
	assert_int_equal(sum->requests_in_flight, 1);
	metrics_destroy(a);
	metrics_destroy(b);
	metrics_destroy(sum);
}

static void test_full_table(void **state)
{
	struct metrics *m = metrics_create();

	for (uint32_t i = 0; i < METRICS_SERIES_MAX; i++)
		assert_ptr_not_equal(series(m, i, engine(i % 7, 1), "m"), &m->other);
	assert_ptr_equal(series(m, METRICS_SERIES_MAX, engine(0, 1), "m"), &m->other);
	/* Those that are there are still found. */
	for (uint32_t i = 0; i < METRICS_SERIES_MAX; i++) {
		const struct series *s = series(m, i, engine(i % 7, 1), "m");
		assert_ptr_equal(s, m->series[i]);
		assert_int_equal(s->model, i);
	}
	/* The sum of a full one fits too. */
	struct metrics *sum = metrics_create();
	metric_add(&m->series[5]->retries, 3);
	metrics_sum(sum, m);
	uint64_t retries = sum->other.retries;
	for (uint32_t i = 0; i < sum->series_count; i++)
		retries += sum->series[i]->retries;
	assert_int_equal(retries, 3);
	metrics_destroy(sum);
	metrics_destroy(m);
}

static void test_without_memory(void **state)
{
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_null(metrics_create());
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	struct metrics *m = metrics_create();
	for (uint64_t n = 1; n <= 3; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		assert_ptr_equal(series(m, 0, engine(1, 1), "m"), &m->other);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(m->series_count, 0);
	struct series *s = series(m, 0, engine(1, 1), "m");
	assert_ptr_not_equal(s, &m->other);
	/* A scraper without memory loses labels, not counts. */
	metric_add(&s->retries, 2);
	struct metrics *sum = metrics_create();
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	metrics_sum(sum, m);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(sum->other.retries, 2);
	metrics_destroy(sum);
	metrics_destroy(m);
}

/* ---- one writes, another reads ---- */

#define WRITES 20000

static void write_many(void *arg)
{
	struct metrics *m = arg;

	for (uint32_t i = 0; i < WRITES; i++) {
		struct series *s = series(m, i % 50, engine(i % 20, 1), "m");
		metric_add(&s->requests[API_CHAT][STATUS_2XX], 1);
		histogram_add(&s->itl, &bounds_itl, i);
	}
}

static uint64_t requests_of(const struct metrics *m)
{
	uint64_t total = m->other.requests[API_CHAT][STATUS_2XX];

	for (uint32_t i = 0; i < m->series_count; i++)
		total += m->series[i]->requests[API_CHAT][STATUS_2XX];
	return total;
}

static void test_scrape_while_writing(void **state)
{
	struct metrics *m = metrics_create();
	struct thread writer = { .name = "writer", .run = write_many, .arg = m };
	uint64_t before = 0;

	assert_int_equal(thread_start(&writer), 0);
	for (int i = 0; i < 50; i++) {
		struct metrics *sum = metrics_create();
		metrics_sum(sum, m);
		for (uint32_t k = 0; k < sum->series_count; k++)
			assert_non_null(sum->series[k]->engine_name);
		const uint64_t now = requests_of(sum);
		assert_true(now >= before && now <= WRITES); /* counters never fall */
		before = now;
		metrics_destroy(sum);
	}
	thread_join(&writer);
	struct metrics *sum = metrics_create();
	metrics_sum(sum, m);
	assert_int_equal(requests_of(sum), WRITES);
	metrics_destroy(sum);
	metrics_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_series_a_pair), cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_bounds_ascend),	  cmocka_unit_test(test_sum),
		cmocka_unit_test(test_full_table),	  cmocka_unit_test(test_without_memory),
		cmocka_unit_test(test_scrape_while_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
