/*
 * Goal: what is written is valid exposition text whatever stands in a label; what is read is read
 * as the format says; hostile text is passed over line by line and never beyond its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "wire/prometheus.h"

static void assert_text(const struct bb_buf *b, const char *expected)
{
	assert_int_equal(b->err, 0);
	assert_int_equal(b->len, strlen(expected));
	assert_memory_equal(b->p, expected, b->len);
}

static void test_family_and_samples(void **state)
{
	struct bb_buf b;
	const struct prom_label labels[] = { { "model", BB_STR("m") }, { "engine", BB_STR("e") } };

	bb_buf_init(&b, 4096);
	prom_family(&b, "busbar_requests_total", "Requests.", PROM_COUNTER);
	prom_sample_u64(&b, "busbar_requests_total", labels, 2, UINT64_MAX);
	prom_sample_u64(&b, "busbar_requests_total", NULL, 0, 0);
	prom_family(&b, "busbar_kv_usage_ratio", "One \\ two\nthree.", PROM_GAUGE);
	prom_sample(&b, "busbar_kv_usage_ratio", labels, 1, 0.1);
	assert_text(&b, "# HELP busbar_requests_total Requests.\n"
			"# TYPE busbar_requests_total counter\n"
			"busbar_requests_total{model=\"m\",engine=\"e\"} 18446744073709551615\n"
			"busbar_requests_total 0\n"
			"# HELP busbar_kv_usage_ratio One \\\\ two\\nthree.\n"
			"# TYPE busbar_kv_usage_ratio gauge\n"
			"busbar_kv_usage_ratio{model=\"m\"} 0.1\n");
	bb_buf_fini(&b);
}

static void test_values(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{ 0, "x 0\n" },
		{ -3, "x -3\n" },
		{ 1e15, "x 1000000000000000\n" },
		{ 1e300, "x 1e+300\n" },
		{ 0.1 + 0.2, "x 0.30000000000000004\n" },
		{ 0.5128205128205128, "x 0.5128205128205128\n" },
		{ NAN, "x NaN\n" },
		{ INFINITY, "x +Inf\n" },
		{ -INFINITY, "x -Inf\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bb_buf b;
		struct bb_str rest;
		struct prom_sample s;
		bb_buf_init(&b, 256);
		prom_sample(&b, "x", NULL, 0, cases[i].value);
		rest = bb_buf_str(&b);
		assert_true(prom_next(&rest, &s));
		assert_true(s.value == cases[i].value || (isnan(s.value) && isnan(cases[i].value)));
		assert_text(&b, cases[i].text);
		bb_buf_fini(&b);
	}
}

static void test_labels_are_escaped(void **state)
{
	struct bb_buf b;
	const struct prom_label odd[] = {
		{ "a", BB_STR("q\"b\\n\nl") },	 { "b", BB_STR("caf\xc3\xa9") },
		{ "c", BB_STR("caf\xe9 \xff") }, { "d", BB_STR("") },
		{ "e", { "x\0y", 3 } },		 { "f", { NULL, 0 } },
	};
	struct prom_sample s;
	struct bb_str value;

	bb_buf_init(&b, 4096);
	prom_sample(&b, "x", odd, 6, 1);
	struct bb_str rest = bb_buf_str(&b);
	assert_true(prom_next(&rest, &s));
	assert_true(prom_label(s.labels, "a", &value));
	assert_true(bb_str_eq(value, BB_STR("q\\\"b\\\\n\\nl")));
	assert_true(prom_label(s.labels, "b", &value));
	assert_true(bb_str_eq(value, BB_STR("caf\xc3\xa9")));
	assert_true(prom_label(s.labels, "c", &value));
	assert_true(bb_str_eq(value, BB_STR("caf? ?")));
	assert_true(prom_label(s.labels, "d", &value) && value.len == 0);
	assert_true(prom_label(s.labels, "e", &value) && value.len == 3);
	assert_true(prom_label(s.labels, "f", &value) && value.len == 0);
	assert_false(prom_label(s.labels, "g", &value));
	assert_false(prom_next(&rest, &s));
	bb_buf_fini(&b);
}

static void test_histogram(void **state)
{
	static const double bounds[] = { 0.01, 0.1, 1 };
	static const uint64_t counts[] = { 1, 2, 0, 4 };
	const struct prom_histogram h = { bounds, 3, counts, 12.5 };
	const struct prom_label label = { "model", BB_STR("m") };
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	prom_histogram(&b, "t_seconds", &label, 1, &h);
	prom_histogram(&b, "t_seconds", NULL, 0, &h);
	assert_text(&b, "t_seconds_bucket{model=\"m\",le=\"0.01\"} 1\n"
			"t_seconds_bucket{model=\"m\",le=\"0.1\"} 3\n"
			"t_seconds_bucket{model=\"m\",le=\"1\"} 3\n"
			"t_seconds_bucket{model=\"m\",le=\"+Inf\"} 7\n"
			"t_seconds_sum{model=\"m\"} 12.5\n"
			"t_seconds_count{model=\"m\"} 7\n"
			"t_seconds_bucket{le=\"0.01\"} 1\n"
			"t_seconds_bucket{le=\"0.1\"} 3\n"
			"t_seconds_bucket{le=\"1\"} 3\n"
			"t_seconds_bucket{le=\"+Inf\"} 7\n"
			"t_seconds_sum 12.5\n"
			"t_seconds_count 7\n");
	bb_buf_fini(&b);
}

static void test_writing_into_a_full_buffer(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 40);
	prom_family(&b, "busbar_requests_total", "Requests.", PROM_COUNTER);
	assert_int_equal(b.err, -BB_ELIMIT);
	bb_buf_fini(&b);
	bb_buf_init(&b, 4096);
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	prom_sample(&b, "x", NULL, 0, 1);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(b.err, -BB_ENOMEM);
	bb_buf_fini(&b);
}

static void test_lines_that_are_read(void **state)
{
	struct bb_str rest = BB_STR("# HELP a A.\n"
				    "\n"
				    "a 1\r\n"
				    "  b{} \t 2.5 1700000000000\n"
				    "c{x=\"}{,\\\"\",y=\"2\",} -Inf\n"
				    "d{x=\"1\"}+Inf\n"
				    "e_bucket{le=\"0.1\"} 3 # {trace_id=\"abc\"} 0.05 1.5\n"
				    "f NaN\n"
				    "# EOF\n"
				    "g 7");
	struct prom_sample s;
	struct bb_str value;

	assert_true(prom_next(&rest, &s));
	assert_true(bb_str_eq(s.name, BB_STR("a")) && s.value == 1 && s.labels.len == 0);
	assert_true(prom_next(&rest, &s));
	assert_true(bb_str_eq(s.name, BB_STR("b")) && s.value == 2.5 && s.labels.len == 0);
	assert_true(prom_next(&rest, &s));
	assert_true(bb_str_eq(s.name, BB_STR("c")) && s.value == -INFINITY);
	assert_true(prom_label(s.labels, "x", &value));
	assert_true(bb_str_eq(value, BB_STR("}{,\\\"")));
	assert_true(prom_label(s.labels, "y", &value) && bb_str_eq(value, BB_STR("2")));
	assert_false(prom_label(s.labels, "", &value));
	assert_true(prom_next(&rest, &s) && s.value == INFINITY);
	assert_true(prom_next(&rest, &s) && s.value == 3);
	assert_true(prom_label(s.labels, "le", &value) && bb_str_eq(value, BB_STR("0.1")));
	assert_true(prom_next(&rest, &s) && isnan(s.value));
	assert_true(prom_next(&rest, &s) && s.value == 7);
	assert_false(prom_next(&rest, &s));
	assert_false(prom_next(&rest, &s));
}

static void test_lines_that_are_passed_over(void **state)
{
	struct bb_str rest =
		BB_STR("{x=\"1\"} 1\n"
		       "a\n"
		       "a \n"
		       "a one\n"
		       "a{ 1\n"
		       "a{x=\"1} 1\n"
		       "a{x=\"\\\n"
		       "a 0x10\n"
		       "a 1e\n"
		       "a 99999999999999999999999999999999999999999999999999999999999999999999\n"
		       "<html>404</html>\n"
		       "last 1\n");
	struct prom_sample s;

	assert_true(prom_next(&rest, &s));
	assert_true(bb_str_eq(s.name, BB_STR("last")));
	assert_false(prom_next(&rest, &s));
}

static void test_labels_that_are_malformed(void **state)
{
	static const struct bb_str cases[] = {
		BB_STR_INIT("a"),     BB_STR_INIT("a="),       BB_STR_INIT("a=1"),
		BB_STR_INIT("a=\"1"), BB_STR_INIT("a=\"\\\""), BB_STR_INIT(",,,"),
		BB_STR_INIT("=\"\""), BB_STR_INIT(""),
	};
	struct bb_str value;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_false(prom_label(cases[i], "a", &value));
}

static void test_names_are_told_apart(void **state)
{
	static const struct bb_str names[] = { BB_STR_INIT("up"), BB_STR_INIT("up_total") };
	struct bb_str rest =
		BB_STR("upper 1\nup_total 2\n# TYPE up gauge\nup{a=\"b\"} 3\nup bad\nup");
	struct prom_sample s;

	assert_int_equal(prom_next_of(&rest, names, 2, &s), 1);
	assert_true(s.value == 2);
	assert_int_equal(prom_next_of(&rest, names, 2, &s), 0);
	assert_true(s.value == 3);
	assert_int_equal(prom_next_of(&rest, names, 2, &s), -1);
}

/* Each beginning of a text is read without going past its end (checked by AddressSanitizer). */
static void test_every_truncation(void **state)
{
	static const char text[] =
		"# HELP a b\nab{x=\"y\\\"z\",k=\"v\"} 1.5e3 17 # {t=\"u\"} 1\nab 2\n";
	static const struct bb_str name = BB_STR_INIT("ab");

	for (size_t n = 0; n < sizeof(text); n++) {
		char *copy = bb_alloc(n ? n : 1);
		struct prom_sample s;
		struct bb_str value;
		assert_non_null(copy);
		memcpy(copy, text, n);
		struct bb_str rest = { copy, n };
		int found = 0;
		while (prom_next(&rest, &s)) {
			found++;
			(void)prom_label(s.labels, "k", &value);
		}
		rest = (struct bb_str){ copy, n };
		while (prom_next_of(&rest, &name, 1, &s) >= 0)
			found--;
		assert_int_equal(found, 0);
		bb_free(copy);
	}
}

/* A scrape of vLLM 0.32 with two requests running and six waiting. */
static void test_a_real_scrape(void **state)
{
	static const struct bb_str names[] = { BB_STR_INIT("vllm:num_requests_running"),
					       BB_STR_INIT("vllm:num_requests_waiting"),
					       BB_STR_INIT("vllm:cache_config_info") };
	static char text[1 << 17];
	FILE *f = fopen("tests/data/vllm-http/metrics_2running_6waiting.txt", "rb");
	struct prom_sample s;
	struct bb_str value;
	uint32_t count = 0;

	assert_non_null(f);
	const size_t len = fread(text, 1, sizeof(text), f);
	fclose(f);
	struct bb_str rest = { text, len };
	while (prom_next(&rest, &s))
		count++;
	rest = (struct bb_str){ text, len };
	uint32_t lines = 0;
	while (rest.len) {
		const struct bb_str line = bb_str_cut(&rest, '\n');
		lines += line.len && line.p[0] != '#';
	}
	assert_int_equal(count, lines);
	assert_true(count > 500);
	rest = (struct bb_str){ text, len };
	assert_int_equal(prom_next_of(&rest, names, 3, &s), 0);
	assert_true(s.value == 2);
	assert_int_equal(prom_next_of(&rest, names, 3, &s), 1);
	assert_true(s.value == 6);
	assert_int_equal(prom_next_of(&rest, names, 3, &s), 2);
	assert_true(prom_label(s.labels, "num_gpu_blocks", &value));
	assert_true(bb_str_eq(value, BB_STR("40")));
	assert_int_equal(prom_next_of(&rest, names, 3, &s), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_family_and_samples),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_labels_are_escaped),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_writing_into_a_full_buffer),
		cmocka_unit_test(test_lines_that_are_read),
		cmocka_unit_test(test_lines_that_are_passed_over),
		cmocka_unit_test(test_labels_that_are_malformed),
		cmocka_unit_test(test_names_are_told_apart),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_a_real_scrape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
