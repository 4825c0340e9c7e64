/*
 * Goal: a workload keeps what follows what when it is put in order, moved and cut; hashes of blocks
 * are equal exactly where all tokens before are; generators and readers give what they are told to,
 * and a trace that is wrong is refused with the line; no allocation that fails harms.
 */
#include "unit.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "sim/gunzip.h"
#include "sim/work_make.h"
#include "sim/work_read.h"

#define TRACE "../shared/fixtures/traces/conversation_trace.jsonl.gz"

static void add(struct workload *w, uint64_t due_ns, uint32_t after, uint64_t stream, uint32_t n)
{
	const struct work_request r = { .due_ns = due_ns, .after = after, .output_tokens = 5 };

	if (after != WORK_NONE)
		assert_int_equal(workload_turns(w, after), 0);
	assert_int_equal(workload_span(w, stream, 0, n), 0);
	assert_int_equal(workload_add(w, &r), 0);
}

static void test_order(void **state)
{
	struct workload w;

	workload_init(&w);
	add(&w, 50, WORK_NONE, 1, 40);	/* will be 1 */
	add(&w, 10, 0, work_own(1), 7); /* at 60: 3 */
	add(&w, 20, WORK_NONE, 2, 10);	/* 0 */
	add(&w, 50, WORK_NONE, 3, 10);	/* 2: in the order of addition */
	assert_int_equal(workload_seal(&w), 0);
	assert_int_equal(w.count, 4);
	assert_int_equal(w.grain_ns, 30); /* two of three share a time */
	assert_int_equal(w.requests[0].due_ns, 20);
	assert_int_equal(w.requests[1].prompt_tokens, 40);
	assert_int_equal(w.requests[3].after, 1);
	assert_int_equal(w.requests[3].prompt_tokens, 40 + 5 + 7);
	const struct work_span *const s = &w.spans[w.requests[3].span_first];
	assert_int_equal(w.requests[3].span_count, 3);
	assert_true(s[0].stream == 1 && s[1].stream == work_answer(1) &&
		    s[2].stream == work_own(3));
	assert_int_equal(w.prompt_tokens, 40 + 52 + 10 + 10);
	assert_int_equal(workload_arrivals(&w), 3);
	workload_speed(&w, 2);
	assert_int_equal(w.requests[1].due_ns, 25);
	assert_int_equal(w.requests[3].due_ns, 10);
	workload_limit(&w, 2);
	assert_int_equal(workload_length_ns(&w), 25);
	assert_int_equal(w.output_tokens, 10);
	workload_fini(&w);
}

static void test_limits(void **state)
{
	struct workload w;
	const struct work_request r = { .after = WORK_NONE, .output_tokens = 1 };
	const struct work_request silent = { .after = WORK_NONE };

	workload_init(&w);
	assert_int_equal(workload_add(&w, &r), -BB_ELIMIT); /* no prompt */
	assert_int_equal(workload_span(&w, 1, 0, WORK_TOKENS_MAX + 1), -BB_ELIMIT);
	assert_int_equal(workload_span(&w, 1, UINT32_MAX, 1), -BB_ELIMIT);
	assert_int_equal(workload_span(&w, 1, 0, 0), 0);
	assert_int_equal(w.span_count, 0);
	assert_int_equal(workload_span(&w, 1, 0, WORK_TOKENS_MAX), 0);
	assert_int_equal(workload_add(&w, &silent), -BB_ELIMIT);
	assert_int_equal(workload_span(&w, 2, 0, 1), 0);
	assert_int_equal(workload_add(&w, &r), -BB_ELIMIT); /* too long */
	workload_drop(&w);
	assert_int_equal(workload_open_tokens(&w), 0);
	/* What follows on is one span, in a prompt of its own it is not. */
	assert_int_equal(workload_span(&w, 1, 4, 4), 0);
	assert_int_equal(workload_span(&w, 1, 8, 4), 0);
	assert_int_equal(w.span_count, 1);
	assert_int_equal(workload_add(&w, &r), 0);
	assert_int_equal(workload_span(&w, 1, 12, 4), 0);
	assert_int_equal(w.span_count, 2);
	workload_fini(&w);
}

/* Requests that are due together are spread over their grain; what follows stays behind. */
static void test_jitter(void **state)
{
	struct workload w;
	uint64_t below = 0;

	workload_init(&w);
	for (uint32_t i = 0; i < 2000; i++)
		add(&w, 3000 * (i / 100), i % 10 ? WORK_NONE : i ? i - 1 : WORK_NONE, i, 3);
	assert_int_equal(workload_seal(&w), 0);
	assert_int_equal(w.grain_ns, 3000);
	assert_int_equal(workload_jitter(&w, w.grain_ns, 7), 0);
	assert_int_equal(w.grain_ns, 0);
	for (uint32_t i = 0; i < w.count; i++) {
		const struct work_request *const r = &w.requests[i];
		assert_true(r->after == WORK_NONE || r->after < i);
		if (r->after == WORK_NONE)
			below += r->due_ns % 3000 < 1500;
	}
	assert_in_range(below, 850, 950); /* of 1,801 */
	workload_fini(&w);
}

/* ---- hashes ---- */

static void test_hashes(void **state)
{
	struct workload w;
	uint64_t a[16], b[16], c[16];

	workload_init(&w);
	add(&w, 0, WORK_NONE, 1, 40);
	add(&w, 1, 0, 2, 30); /* 40 of stream 1, the answer's 5, 30 of stream 2 */
	struct work_request r = { .due_ns = 2, .after = WORK_NONE, .output_tokens = 5 };
	assert_int_equal(workload_span(&w, 1, 0, 20), 0);
	assert_int_equal(workload_span(&w, 3, 0, 20), 0);
	assert_int_equal(workload_add(&w, &r), 0);
	r.due_ns = 3;
	r.adapter = 1;
	assert_int_equal(workload_span(&w, 1, 0, 40), 0);
	assert_int_equal(workload_add(&w, &r), 0);
	assert_int_equal(workload_seal(&w), 0);

	assert_int_equal(work_hashes(&w, 0, 0, 8, 9, a, 16), 5);
	assert_int_equal(work_hashes(&w, 1, 0, 8, 9, b, 16), 9);
	assert_memory_equal(a, b, 5 * sizeof(*a));
	/* With its answer the first turn has what the next begins with. */
	assert_int_equal(work_hashes(&w, 0, 5, 9, 9, a, 16), 5);
	assert_int_equal(work_hashes(&w, 1, 0, 9, 9, b, 16), 8);
	assert_memory_equal(a, b, 5 * sizeof(*a));
	/* They part inside of the third block, and never meet again. */
	assert_int_equal(work_hashes(&w, 0, 0, 8, 9, a, 16), 5);
	assert_int_equal(work_hashes(&w, 2, 0, 8, 9, b, 16), 5);
	assert_memory_equal(a, b, 2 * sizeof(*a));
	for (int i = 2; i < 5; i++)
		assert_true(a[i] != b[i]);
	/* Another adapter, another key: nothing in common. */
	assert_int_equal(work_hashes(&w, 3, 0, 8, 9, b, 16), 5);
	assert_int_equal(work_hashes(&w, 0, 0, 8, 8, c, 16), 5);
	for (int i = 0; i < 5; i++)
		assert_true(a[i] != b[i] && a[i] != c[i] && b[i] != c[i]);
	assert_int_equal(work_hashes(&w, 0, 0, 8, 9, b, 3), 3);
	assert_memory_equal(a, b, 3 * sizeof(*a));
	workload_fini(&w);
}

static int by_value(const void *x, const void *y)
{
	const uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

/* A million chained hashes of nearly equal blocks: all different, and each bit set half of the
 * time. */
static void test_hashes_spread(void **state)
{
	const uint32_t blocks = UNIT_ROUNDS(1000000u);
	uint64_t *const out = bb_alloc(blocks * sizeof(*out));
	struct workload w;

	workload_init(&w);
	add(&w, 0, WORK_NONE, 0, blocks);
	assert_int_equal(work_hashes(&w, 0, 0, 1, 0, out, blocks), blocks);
	for (int bit = 0; bit < 64; bit++) {
		uint32_t set = 0;
		for (uint32_t i = 0; i < blocks; i++)
			set += out[i] >> bit & 1;
		assert_in_range(set, blocks / 2 - blocks / 100, blocks / 2 + blocks / 100);
	}
	qsort(out, blocks, sizeof(*out), by_value);
	for (uint32_t i = 1; i < blocks; i++)
		assert_true(out[i] != out[i - 1]);
	workload_fini(&w);
	bb_free(out);
}

/* ---- readers ---- */

#define LINE1                                                                                      \
	"{\"timestamp\": 27000, \"input_length\": 1300, \"output_length\": 0, \"hash_ids\": [7, "  \
	"8, 9]}\n"
#define LINE2                                                                                      \
	"{\"timestamp\": 30000, \"input_length\": 1024, \"output_length\": 3, \"hash_ids\": [7, "  \
	"11, 12, 13]}"

static void test_mooncake(void **state)
{
	struct workload w;
	char why[WORK_WHY_SIZE];
	uint64_t a[8], b[8];

	assert_int_equal(work_read_text(BB_STR(LINE1 "\r\n" LINE2), &w, why), 0);
	assert_int_equal(w.count, 2);
	assert_int_equal(w.requests[0].due_ns, 0);
	assert_int_equal(w.requests[1].due_ns, 3000000000u);
	assert_int_equal(w.grain_ns, 0);
	assert_int_equal(w.requests[0].prompt_tokens, 1300);
	assert_int_equal(w.requests[0].output_tokens, 1);
	assert_int_equal(w.requests[1].prompt_tokens, 1024);
	assert_int_equal(work_hashes(&w, 0, 0, 512, 0, a, 8), 2);
	assert_int_equal(work_hashes(&w, 1, 0, 512, 0, b, 8), 2);
	assert_true(a[0] == b[0] && a[1] != b[1]);
	workload_fini(&w);
}

static void test_mooncake_sessions(void **state)
{
	struct workload w;
	char why[WORK_WHY_SIZE];
	static const char text[] =
		"{\"session_id\":\"a\",\"timestamp\":5,\"input_length\":600,\"output_length\":2,"
		"\"hash_ids\":[1],\"tenant\":3}\n"
		"{\"session_id\":\"b\",\"timestamp\":1,\"input_length\":600,\"output_length\":2}\n"
		"{\"session_id\":\"a\",\"delay\":1.5,\"input_length\":700,\"output_length\":2}\n"
		"{\"session_id\":\"a\",\"input_length\":700,\"output_length\":2,\"more\":[{}]}\n";

	assert_int_equal(work_read_text(bb_str_of(text), &w, why), 0);
	assert_int_equal(w.count, 4);
	assert_int_equal(w.requests[0].after, WORK_NONE);
	assert_int_equal(w.requests[1].due_ns, 4000000);
	assert_int_equal(w.requests[1].tenant, 3);
	assert_int_equal(w.requests[2].after, 1);
	assert_int_equal(w.requests[2].due_ns, 1500000);
	assert_int_equal(w.requests[3].after, 2);
	assert_int_equal(w.requests[3].session, w.requests[1].session);
	assert_int_equal(w.requests[1].span_count, 2); /* 512 of stream 1, 88 of its own */
	workload_fini(&w);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "no request" },
		{ " \n\n", "no request" },
		{ "hello", "neither" },
		{ LINE1 "{\"timestamp\": 1, \"input_length\": 1", "line 2, byte 35" },
		{ LINE1 "[1]", "line 2, byte 1" },
		{ LINE1 "{\"input_length\": 1, \"output_length\": 1}",
		  "line 2: timestamp is missing" },
		{ "{\"timestamp\": 1, \"output_length\": 1}", "line 1: input_length is missing" },
		{ "{\"timestamp\": 1, \"input_length\": 1}", "line 1: output_length is missing" },
		{ "{\"timestamp\":-1,\"input_length\":1,\"output_length\":1}",
		  "line 1: timestamp is not" },
		{ "{\"timestamp\":1e13,\"input_length\":1,\"output_length\":1}",
		  "line 1: timestamp is not" },
		{ "{\"timestamp\":\"1\",\"input_length\":1,\"output_length\":1}",
		  "line 1: timestamp" },
		{ "{\"timestamp\":1,\"input_length\":16777217,\"output_length\":1}",
		  "input_length is not" },
		{ "{\"timestamp\":1,\"input_length\":1.5,\"output_length\":1}",
		  "input_length is not" },
		{ "{\"timestamp\":1,\"input_length\":1,\"output_length\":-1}",
		  "output_length is not" },
		{ "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":3}",
		  "hash_ids" },
		{ "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[-3]}",
		  "hash_ids" },
		{ "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,"
		  "\"hash_ids\":[4611686018427387904]}",
		  "hash_ids" },
		{ "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"tenant\":70000}",
		  "tenant" },
		{ "{\"delay\":1,\"input_length\":1,\"output_length\":1}", "session_id is missing" },
		{ "\x1f\x8b", "gzip" },
		{ "\x1f\x8bnonsense that is long enough for a head", "gzip" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct workload w;
		char why[WORK_WHY_SIZE];
		assert_int_equal(work_read_text(bb_str_of(cases[i].text), &w, why), -BB_ESYNTAX);
		if (!strstr(why, cases[i].why))
			fail_msg("case %zu: %s", i, why);
		assert_null(w.requests);
	}
}

/* "ab" as gzip wraps it, twice. */
static const char packed[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x4b\x4c\x02\x00\x6d\x48"
			     "\x83\x9e\x02\x00\x00\x00";

static void test_gunzip(void **state)
{
	char twice[2 * (sizeof(packed) - 1)];
	struct bb_buf out;

	bb_buf_init(&out, 100);
	for (size_t i = 0; i < 2; i++)
		memcpy(twice + i * (sizeof(packed) - 1), packed, sizeof(packed) - 1);
	assert_int_equal(gunzip((struct bb_str){ twice, sizeof(twice) }, &out), 0);
	assert_str(bb_buf_str(&out), "abab");
	for (size_t len = 0; len < sizeof(packed) - 1; len++)
		assert_int_equal(gunzip((struct bb_str){ packed, len }, &out), -BB_ESYNTAX);
	twice[14] ^= 1; /* the check sum */
	assert_int_equal(gunzip((struct bb_str){ twice, sizeof(twice) }, &out), -BB_ESYNTAX);
	bb_buf_fini(&out);
	bb_buf_init(&out, 1);
	assert_int_equal(gunzip((struct bb_str){ packed, sizeof(packed) - 1 }, &out), -BB_ELIMIT);
	bb_buf_fini(&out);
}

static void test_published_trace(void **state)
{
	struct workload w;
	char why[WORK_WHY_SIZE];
	uint64_t *const out = bb_alloc(100000 * sizeof(*out));
	uint64_t blocks = 0;

	if (work_read_file(TRACE, &w, why) == -BB_ESYSTEM) {
		print_message("%s: %s\n", TRACE, why);
		bb_free(out);
		skip();
	}
	assert_int_equal(w.count, 12031);
	assert_string_equal(w.name, "conversation_trace");
	assert_int_equal(w.grain_ns, 3000000000u);
	for (uint32_t i = 0; i < w.count; i++)
		blocks += work_hashes(&w, i, 0, 16, 0, out, 100000);
	assert_in_range(blocks, w.prompt_tokens / 16 - w.count, w.prompt_tokens / 16);
	workload_fini(&w);
	bb_free(out);
}

/* ---- generators ---- */

static void test_cold(void **state)
{
	const struct work_options o = { .requests = 5000, .rate = 10, .seed = 3 };
	struct workload a, b;

	assert_int_equal(work_make(BB_STR("cold"), &o, &a), 0);
	assert_int_equal(work_make(BB_STR("cold"), &o, &b), 0);
	assert_int_equal(a.count, 5000);
	assert_memory_equal(a.requests, b.requests, a.count * sizeof(*a.requests));
	assert_in_range(workload_length_ns(&a) / 1000000000, 475, 525);
	assert_in_range(a.prompt_tokens / a.count, 1900, 2100);
	workload_fini(&a);
	workload_fini(&b);
	assert_int_equal(work_make(BB_STR("colder"), &o, &a), -BB_EABSENT);
	assert_null(a.requests);
}

/* ---- without memory ---- */

/* Reads, makes and unpacks; the first code that is not 0. */
static int use_memory(void)
{
	static const char session[] = "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,"
				      "\"session_id\":\"x\"}";
	const struct work_options o = { .requests = 3000 };
	struct workload w;
	struct bb_buf out;
	char why[WORK_WHY_SIZE];
	int rc = work_read_text(bb_str_of(session), &w, why);

	workload_fini(&w);
	if (!rc) {
		rc = work_make(BB_STR("cold"), &o, &w);
		workload_fini(&w);
	}
	if (!rc) {
		bb_buf_init(&out, 100);
		rc = gunzip((struct bb_str){ packed, sizeof(packed) - 1 }, &out);
		bb_buf_fini(&out);
	}
	return rc;
}

static void test_exhausted(void **state)
{
	int rc = -BB_ENOMEM;
	uint64_t n = 0;

	while (rc) {
		bb_alloc_fail_at(++n, BB_FAIL_ONCE);
		rc = use_memory();
		assert_true(rc == 0 || rc == -BB_ENOMEM);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_true(n > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_hashes_spread),
		cmocka_unit_test(test_mooncake),
		cmocka_unit_test(test_mooncake_sessions),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_gunzip),
		cmocka_unit_test(test_published_trace),
		cmocka_unit_test(test_cold),
		cmocka_unit_test(test_exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
