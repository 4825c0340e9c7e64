/*
 * Goal: figures of a report are those of its values; what is not known is null in JSON and left out
 * of the page; names from outside cannot break out of either; pages and plots of nothing, of one
 * point and of too many points are whole.
 */
#include "unit.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sim/report_html.h"
#include "sim/report_plot.h"
#include "wire/json.h"

static const struct report_run nothing = {
	.label = "none",
	.failed = 3,
	.cache_hit = NAN,
	.cache_hit_possible = NAN,
	.preemptions = REPORT_UNKNOWN,
	.oom = REPORT_UNKNOWN,
	.goodput = NAN,
	.load_cv = NAN,
	.gpu_seconds = NAN,
	.requests_per_s = NAN,
	.output_tokens_per_s = NAN,
};

static void test_figures(void **state)
{
	double values[200];
	struct report_point cdf[REPORT_CDF_POINTS];

	for (int i = 0; i < 200; i++)
		values[i] = 200 - i;
	const struct report_figures f = report_figures_of(values, 200);
	assert_true(f.count == 200 && f.mean == 100.5 && f.p50 == 100 && f.p90 == 180 &&
		    f.p99 == 198 && f.max == 200);
	assert_int_equal(report_cdf_of(values, 200, cdf), REPORT_CDF_POINTS);
	assert_true(cdf[0].x == 1 && cdf[50].x == 100 && cdf[50].y == 0.5 && cdf[100].x == 200);
	assert_int_equal(report_figures_of(values, 0).count, 0);
	assert_int_equal(report_cdf_of(values, 0, cdf), 0);
}

static void test_json(void **state)
{
	struct bb_buf out;
	struct json_member m;

	bb_buf_init(&out, 1 << 16);
	struct report_run r = nothing;
	report_json(&r, &out);
	assert_int_equal(json_check(bb_buf_str(&out), 4, NULL), 0);
	assert_true(json_get(bb_buf_str(&out), BB_STR("ttft_ms"), &m) && m.type == JSON_NULL);
	assert_true(json_get(bb_buf_str(&out), BB_STR("oom"), &m) && m.type == JSON_NULL);
	assert_true(json_get(bb_buf_str(&out), BB_STR("goodput"), &m) && m.type == JSON_NULL);
	bb_buf_clear(&out);
	r.label = "a\"b\n";
	r.ttft_ms = (struct report_figures){ 3, 1.5, 1, 2, 3, 3 };
	r.goodput = 0.25;
	report_json(&r, &out);
	assert_int_equal(json_check(bb_buf_str(&out), 4, NULL), 0);
	assert_true(json_get(bb_buf_str(&out), BB_STR("ttft_ms"), &m));
	assert_str(m.value,
		   "{\"mean\":1.500,\"p50\":1.000,\"p90\":2.000,\"p99\":3.000,\"max\":3.000}");
	bb_buf_fini(&out);
}

static bool has(const struct bb_buf *b, const char *text)
{
	return bb_str_find(bb_buf_str(b), bb_str_of(text)) >= 0;
}

static struct report_point points[5000];

static struct sim_report large_report(struct report_run runs[2], struct report_line *loads)
{
	static const struct report_fact facts[] = { { "seed", "<1>" } };

	for (int i = 0; i < 5000; i++)
		points[i] = (struct report_point){ i, i % 100 == 7 ? NAN : i * 0.5 };
	runs[0] = nothing;
	runs[1] = nothing;
	runs[0].ttft_ms = (struct report_figures){ 3, 100, 1, 2, 3, 3 };
	runs[1].ttft_ms = (struct report_figures){ 3, 70, 1, 2, 3, 3 };
	runs[1].label = "</td><script>\"&'\x01\xff";
	runs[1].ttft_cdf = runs[1].ttft_p50 = runs[1].ttft_p90 =
		(struct report_line){ points, 5000 };
	for (int i = 0; i < 70; i++)
		loads[i] = (struct report_line){ points, 3 };
	runs[1].engine_load = loads;
	runs[1].engine_count = 70;
	return (struct sim_report){ .title = "a & b",
				    .workload = "chat",
				    .slo_ttft_ms = 500,
				    .slo_itl_ms = 50,
				    .facts = facts,
				    .fact_count = 1,
				    .runs = runs,
				    .run_count = 2 };
}

static void test_page(void **state)
{
	struct report_run runs[2];
	struct report_line loads[70];
	struct bb_buf out;
	const struct sim_report report = large_report(runs, loads);

	bb_buf_init(&out, REPORT_HTML_MAX);
	report_html(&report, &out);
	assert_int_equal(out.err, 0);
	assert_true(has(&out, "&lt;/td&gt;&lt;script&gt;&quot;&amp;'??"));
	assert_true(has(&out, "-30.0 %") && has(&out, "&lt;1&gt;") && has(&out, "64 of 70"));
	assert_false(has(&out, "<script") || has(&out, "nan") || has(&out, "inf ") ||
		     has(&out, "cache hit"));
	assert_true(out.len < 300000); /* lines of 5,000 points are thinned */
	const size_t len = out.len;
	for (size_t max = 0; max < len; max += 997) {
		struct bb_buf small;
		bb_buf_init(&small, max);
		report_html(&report, &small);
		assert_int_equal(small.err, -BB_ELIMIT);
		bb_buf_fini(&small);
	}
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	struct bb_buf none;
	bb_buf_init(&none, REPORT_HTML_MAX);
	report_html(&report, &none);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(none.err, -BB_ENOMEM);
	bb_buf_fini(&none);
	bb_buf_fini(&out);
}

static void test_plots_of_little(void **state)
{
	static const struct report_point cases[][3] = {
		{ { 0, 0 }, { 0, 0 }, { 0, 0 } },
		{ { -1, 5 }, { NAN, 1 }, { INFINITY, 0 } },
		{ { 1e-9, 1e9 }, { 1e9, 0 }, { 1e9, 1e-9 } },
		{ { 5, 5 }, { 5, 5 }, { 5, 5 } },
		{ { 1e18, 1e300 }, { 1e18, 0 }, { 1e18, 0 } },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++)
		for (int scale = PLOT_LINEAR; scale <= PLOT_LOG; scale++) {
			const struct plot_line line = { { cases[i], 3 }, 9, PLOT_DASHED, "x" };
			const struct plot p = { .title = "t",
						.x_name = "x",
						.y_name = "y",
						.x_scale = (enum plot_scale)scale,
						.lines = &line,
						.line_count = 1 };
			struct bb_buf out;
			bb_buf_init(&out, 1 << 20);
			plot_write(&p, &out);
			assert_int_equal(out.err, 0);
			assert_false(has(&out, "nan") || has(&out, "inf"));
			bb_buf_fini(&out);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_page),
		cmocka_unit_test(test_plots_of_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
