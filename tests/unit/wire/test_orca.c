/*
 * Goal: the load in an answer's head is read in both of its forms, as far as it is told, and
 * nothing else is taken for it; cut or odd fields do no harm.
 */
#include "unit.h"

#include "wire/orca.h"

static int read(const char *text, struct orca_load *l)
{
	*l = (struct orca_load){ 0 };
	return orca_read(bb_str_of(text), l);
}

static void both_forms(void **state)
{
	struct orca_load l;

	/* As vLLM 0.32 sent it. */
	assert_int_equal(read("JSON {\"named_metrics\": {\"num_requests_waiting\": 3.0, "
			      "\"kv_cache_usage_perc\": 0.25}}",
			      &l),
			 0);
	assert_true(l.has_waiting && l.has_usage && !l.has_running);
	assert_int_equal(l.waiting, 3);
	assert_true(l.kv_usage == 0.25);
	assert_int_equal(read("TEXT named_metrics.num_requests_waiting=7.0, "
			      "named_metrics.kv_cache_usage_perc=0.5,cpu_utilization=0.1, "
			      "named_metrics.num_requests_running = 2",
			      &l),
			 0);
	assert_true(l.has_waiting && l.has_usage && l.has_running);
	assert_int_equal(l.waiting, 7);
	assert_int_equal(l.running, 2);
	assert_true(l.kv_usage == 0.5);
}

static void values_are_clamped(void **state)
{
	struct orca_load l;

	assert_int_equal(read("json {\"named_metrics\":{\"num_requests_waiting\":1e300,"
			      "\"kv_cache_usage_perc\":7,\"num_requests_running\":-4}}",
			      &l),
			 0);
	assert_int_equal(l.waiting, UINT32_MAX);
	assert_int_equal(l.running, 0);
	assert_true(l.kv_usage == 1);
	assert_int_equal(read("TEXT named_metrics.kv_cache_usage_perc=-0.5", &l), 0);
	assert_true(l.kv_usage == 0);
}

static void others_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"JSON",
		"JSON {",
		"JSON {}",
		"JSON []",
		"JSON {\"named_metrics\":7}",
		"JSON {\"named_metrics\":{}}",
		"JSON {\"named_metrics\":{\"num_requests_waiting\":\"3\"}}",
		"JSON {\"named_metrics\":{\"num_requests_waiting\":3}} trailing",
		"TEXT",
		"TEXT =,=,,",
		"TEXT num_requests_waiting=3",
		"TEXT named_metrics.num_requests_waiting=many",
		"BIN AAAA",
		"named_metrics.num_requests_waiting=3",
	};
	struct orca_load l;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		l = (struct orca_load){ .waiting = 99 };
		assert_int_equal(orca_read(bb_str_of(texts[i]), &l), -BB_ESYNTAX);
		assert_int_equal(l.waiting, 99);
	}
}

static void every_cut_is_harmless(void **state)
{
	static const char *const texts[] = {
		"JSON {\"named_metrics\": {\"num_requests_waiting\": 3.0, \"kv_cache_usage_perc\": "
		"0.2}}",
		"TEXT named_metrics.num_requests_waiting=3.0, "
		"named_metrics.kv_cache_usage_perc=0.2",
	};
	struct orca_load l;

	for (size_t i = 0; i < 2; i++)
		for (size_t len = 0; len < strlen(texts[i]); len++)
			(void)!orca_read((struct bb_str){ texts[i], len }, &l);
	static char big[ORCA_SIZE_MAX + 2];
	memset(big, ' ', sizeof(big));
	memcpy(big, "TEXT named_metrics.num_requests_waiting=3.0,", 44);
	assert_int_equal(orca_read((struct bb_str){ big, ORCA_SIZE_MAX }, &l), 0);
	assert_int_equal(orca_read((struct bb_str){ big, ORCA_SIZE_MAX + 1 }, &l), -BB_ESYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_forms),
		cmocka_unit_test(values_are_clamped),
		cmocka_unit_test(others_are_refused),
		cmocka_unit_test(every_cut_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
