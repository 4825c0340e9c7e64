/*
 * Goal: SGLang's load report is read as its own struct wrote it, written the same way again, and
 * shorter, longer and odd ones do no harm.
 */
#include "capture.h"

#include "wire/load_stat.h"
#include "wire/msgpack.h"

static void as_sglang_writes_it(void **state)
{
	const struct bb_str text = load("struct-sglang-0.5.23-loadstat.msgpack");
	struct load_stat s;
	struct bb_buf again;

	assert_int_equal(load_stat_decode(text, &s), 0);
	assert_int_equal(s.running, 3);
	assert_int_equal(s.waiting, 2);
	assert_int_equal(s.tokens, 4096);
	assert_int_equal(s.tokens_max, 65536);
	assert_int_equal(s.rank, 0);
	assert_int_equal(s.waiting_uncached, 700);
	assert_int_equal(s.tokens_total, 5000);
	assert_int_equal(s.running_max, 64);
	assert_int_equal(s.prefill_uncached, 123456);
	assert_int_equal(s.prefill_busy_us, 987654);
	bb_buf_init(&again, 256);
	load_stat_encode(&again, &s);
	assert_int_equal(again.err, 0);
	assert_int_equal(again.len, text.len);
	assert_memory_equal(again.p, text.p, text.len);
	for (size_t len = 0; len < text.len; len++)
		assert_int_equal(load_stat_decode((struct bb_str){ text.p, len }, &s), -BB_ESYNTAX);
	bb_buf_fini(&again);
}

static void report_make(struct bb_buf *b, uint32_t numbers, const char *tag)
{
	bb_buf_clear(b);
	msgpack_add_array(b, 1 + numbers);
	msgpack_add_str(b, bb_str_of(tag));
	for (uint32_t i = 0; i < numbers; i++)
		msgpack_add_uint(b, 10 + i);
}

static void shorter_and_longer(void **state)
{
	struct load_stat s;
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	report_make(&b, 4, "LoadStat");
	assert_int_equal(load_stat_decode(bb_buf_str(&b), &s), 0);
	assert_int_equal(s.running, 10);
	assert_int_equal(s.tokens_max, 13);
	assert_int_equal(s.waiting_uncached, 0);
	report_make(&b, 40, "LoadStat");
	assert_int_equal(load_stat_decode(bb_buf_str(&b), &s), 0);
	assert_int_equal(s.prefill_busy_us, 19);
	report_make(&b, 3, "LoadStat");
	assert_int_equal(load_stat_decode(bb_buf_str(&b), &s), -BB_ESYNTAX);
	report_make(&b, 65, "LoadStat");
	assert_int_equal(load_stat_decode(bb_buf_str(&b), &s), -BB_ESYNTAX);
	report_make(&b, 10, "KVEvent");
	assert_int_equal(load_stat_decode(bb_buf_str(&b), &s), -BB_ESYNTAX);
	bb_buf_fini(&b);
}

static void odd_numbers(void **state)
{
	struct load_stat s;
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	msgpack_add_array(&b, 6);
	msgpack_add_str(&b, BB_STR("LoadStat"));
	msgpack_add_uint(&b, UINT64_MAX);
	msgpack_add_int(&b, -5);
	msgpack_add_double(&b, 1e30);
	msgpack_add_array(&b, 1); /* a container where a number should be */
	msgpack_add_uint(&b, 3);
	msgpack_add_nil(&b);
	assert_int_equal(load_stat_decode(bb_buf_str(&b), &s), 0);
	assert_int_equal(s.running, UINT32_MAX);
	assert_int_equal(s.waiting, 0);
	assert_int_equal(s.tokens, 1000000000000000000ull);
	assert_int_equal(s.tokens_max, 0);
	assert_int_equal(s.rank, 0);
	bb_buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_sglang_writes_it),
		cmocka_unit_test(shorter_and_longer),
		cmocka_unit_test(odd_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
