/*
 * Goal: a workload keeps what follows what when it is put in order, moved and cut; hashes of blocks
 * are equal exactly where all tokens before are; generators and readers give what they are told to,
 * and a trace that is wrong is refused with the line; no allocation that fails harms.
 */
#include "unit.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "brain/event.h"
#include "records/journal_form.h"
#include "sim/gunzip.h"
#include "sim/work_make.h"
#include "sim/work_read.h"
#include "sim/work_write.h"
#include "wire/json.h"

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
	workload_think(&w, 0.5);
	assert_int_equal(w.requests[1].due_ns, 25);
	assert_int_equal(w.requests[3].due_ns, 5);
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

#define AZURE_HEAD "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"

static void test_azure(void **state)
{
	struct workload w;
	char why[WORK_WHY_SIZE];
	static const char text[] = "GeneratedTokens,more,TIMESTAMP,ContextTokens\n"
				   "44,x,2023-11-16 18:15:46.6805900,374\n"
				   "0,,2023-11-16T18:15:45.5Z,0\n"
				   "3,,2023-11-16 19:15:47.25+01:00,9";

	assert_int_equal(work_read_text(bb_str_of(text), &w, why), 0);
	assert_int_equal(w.count, 3);
	assert_int_equal(w.requests[0].due_ns, 0);
	assert_int_equal(w.requests[0].prompt_tokens, 1);
	assert_int_equal(w.requests[0].output_tokens, 1);
	assert_int_equal(w.requests[1].due_ns, 1180590000);
	assert_int_equal(w.requests[1].prompt_tokens, 374);
	assert_int_equal(w.requests[2].due_ns, 1750000000);
	workload_fini(&w);
}

/* ---- journals ---- */

static void put(struct bb_buf *frame, struct event_coder *coder, const struct brain_event *e)
{
	struct bb_buf bytes;

	bb_buf_init(&bytes, 1 << 16);
	assert_int_equal(brain_event_write(coder, e, &bytes), 0);
	assert_int_equal(journal_add_event(frame, bb_buf_str(&bytes)), 0);
	bb_buf_fini(&bytes);
}

static void put_request(struct bb_buf *frame, struct event_coder *coder, uint64_t now_ns,
			uint32_t slot, const struct brain_request *ask)
{
	const struct brain_event arrived = { .kind = EVENT_ARRIVED,
					     .now_ns = now_ns,
					     .arrived = { .ask = *ask } };
	const struct brain_event made = { .kind = EVENT_MADE,
					  .now_ns = now_ns,
					  .request = { slot, 1 },
					  .made = { .action = DECISION_DISPATCH } };

	put(frame, coder, &arrived);
	put(frame, coder, &made);
}

static void end_file(struct bb_buf *file, struct bb_buf *frame, uint32_t number)
{
	uint8_t head[16];

	journal_frame_head(head, number, bb_buf_str(frame));
	assert_int_equal(bb_buf_add(file, head, sizeof(head)), 0);
	assert_int_equal(bb_buf_add_str(file, bb_buf_str(frame)), 0);
	bb_buf_clear(frame);
}

static void make_journal(struct bb_buf *file)
{
	static const uint64_t one[] = { 11, 12, 13 }, other[] = { 11, 12, 99 };
	struct event_coder coder = { 0 };
	struct bb_buf frame;
	const struct journal_head head = { .version = JOURNAL_VERSION, .file = 1 };
	struct engine_id failed = { 0, 1 };
	struct brain_request ask = { .prompt_tokens = 50,
				     .hashed = HASHES_TOKENS,
				     .hashes = one,
				     .hash_count = 3,
				     .session = 5 };
	const struct brain_event ended = { .kind = EVENT_ENDED,
					   .now_ns = 900,
					   .request = { 0, 1 },
					   .result = { .output_tokens = 77 } };
	const struct brain_event progress = {
		.kind = EVENT_PROGRESS, .now_ns = 950, .request = { 1, 1 }, .generated = 8
	};

	bb_buf_init(&frame, 1 << 20);
	assert_int_equal(journal_write_head(file, &head), 0);
	put_request(&frame, &coder, 100, 0, &ask);
	ask.exclude = &failed;
	ask.exclude_count = 1;
	put_request(&frame, &coder, 200, 0, &ask); /* the same, once more */
	ask.exclude_count = 0;
	ask.hashes = other;
	put_request(&frame, &coder, 700, 1, &ask);
	put(&frame, &coder, &ended);
	put(&frame, &coder, &progress);
	end_file(file, &frame, 1);
	bb_buf_fini(&frame);
}

static void test_journal(void **state)
{
	struct workload w;
	struct bb_buf file;
	char why[WORK_WHY_SIZE] = "";
	uint64_t a[8], b[8];

	bb_buf_init(&file, 1 << 20);
	make_journal(&file);
	const int rc = work_read_text(bb_buf_str(&file), &w, why);
	if (rc)
		fail_msg("%s", why);
	assert_int_equal(w.count, 2);
	assert_int_equal(w.requests[1].due_ns, 600);
	assert_int_equal(w.requests[0].output_tokens, 77);
	assert_int_equal(w.requests[1].output_tokens, 8);
	assert_int_equal(w.requests[0].session, w.requests[1].session);
	assert_int_equal(w.requests[0].prompt_tokens, 50);
	assert_int_equal(work_hashes(&w, 0, 0, 16, 0, a, 8), 3);
	assert_int_equal(work_hashes(&w, 1, 0, 16, 0, b, 8), 3);
	assert_true(a[1] == b[1] && a[2] != b[2]);
	workload_fini(&w);
	/* Damaged: said where. Cut off: what is whole counts. */
	file.p[file.len - 1] ^= 1;
	assert_int_equal(work_read_text(bb_buf_str(&file), &w, why), -BB_ESYNTAX);
	assert_non_null(strstr(why, "at byte"));
	file.len--;
	assert_int_equal(work_read_text(bb_buf_str(&file), &w, why), -BB_ESYNTAX);
	assert_non_null(strstr(why, "no request"));
	bb_buf_fini(&file);
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
		{ "TIMESTAMP,ContextTokens\n", "line 1: there is no column GeneratedTokens" },
		{ AZURE_HEAD, "no request" },
		{ AZURE_HEAD "2023-11-16 18:15:46,3\n", "line 2: GeneratedTokens is not" },
		{ AZURE_HEAD "2023-11-16 18:15:46,,1\n", "line 2: ContextTokens is not" },
		{ AZURE_HEAD "2023-11-16 18:15:46,16777217,1\n", "line 2: ContextTokens is not" },
		{ AZURE_HEAD "\n1999-11-16 18:15:46,3,1\n", "line 3: TIMESTAMP is no time" },
		{ AZURE_HEAD "2023-11-31 18:15:46,3,1\n", "line 2: TIMESTAMP is no time" },
		{ AZURE_HEAD "2023-11-16+18:15:46,3,1\n", "line 2: TIMESTAMP is no time" },
		{ AZURE_HEAD "2023-11-16 18:15:46.x,3,1\n", "line 2: TIMESTAMP is no time" },
		{ "busbar\rnonsense", "neither" },
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

/* As a session is: its requests follow each other, and what is not of the first is behind it. */
static void check_sane(const struct workload *w)
{
	for (uint32_t i = 0; i < w->count; i++) {
		const struct work_request *const r = &w->requests[i];
		uint64_t tokens = 0;
		for (uint32_t k = 0; k < r->span_count; k++)
			tokens += w->spans[r->span_first + k].count;
		assert_true(tokens == r->prompt_tokens && tokens > 0 && r->output_tokens > 0);
		assert_true(r->after == WORK_NONE || r->after < i);
		if (r->after != WORK_NONE)
			assert_true(w->requests[r->after].tenant == r->tenant);
	}
}

static void test_every_generator(void **state)
{
	for (uint32_t n = 0; work_generator_name(n); n++) {
		const struct bb_str name = bb_str_of(work_generator_name(n));
		const struct work_options o = {
			.requests = 5000, .rate = 10, .seed = 3, .tenants = 5, .adapters = 2
		};
		struct workload a, b;
		assert_int_equal(work_make(name, &o, &a), 0);
		assert_int_equal(work_make(name, &o, &b), 0);
		assert_int_equal(a.count, 5000);
		assert_int_equal(a.tenant_count, 5);
		assert_int_equal(a.adapter_count, 2);
		assert_memory_equal(a.requests, b.requests, a.count * sizeof(*a.requests));
		assert_memory_equal(a.spans, b.spans, a.span_count * sizeof(*a.spans));
		check_sane(&a);
		const uint64_t seconds = workload_length_ns(&a) / 1000000000;
		const bool is_session =
			bb_str_eq(name, BB_STR("agent")) || bb_str_eq(name, BB_STR("chat"));
		if (bb_str_eq(name, BB_STR("burst")))
			assert_in_range(seconds, 75, 500); /* bursts are many of the requests */
		else
			assert_in_range(seconds, is_session ? 350 : 450, is_session ? 650 : 550);
		workload_fini(&a);
		workload_fini(&b);
	}
}

static double mean_of(struct workload *w, bool of_output)
{
	return (double)(of_output ? w->output_tokens : w->prompt_tokens) / w->count;
}

static void test_lengths(void **state)
{
	static const struct {
		const char *name;
		double prompt, output;
	} cases[] = {
		{ "cold", 2000, 250 }, { "decode", 250, 900 }, { "hot", 4396, 200 },
		{ "b2b", 7200, 1000 }, { "mixed", 2270, 290 },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		const struct work_options o = { .requests = 20000, .seed = i };
		struct workload w;
		assert_int_equal(work_make(bb_str_of(cases[i].name), &o, &w), 0);
		assert_true(mean_of(&w, false) > cases[i].prompt * 0.95);
		assert_true(mean_of(&w, false) < cases[i].prompt * 1.05);
		assert_true(mean_of(&w, true) > cases[i].output * 0.95);
		assert_true(mean_of(&w, true) < cases[i].output * 1.05);
		workload_fini(&w);
	}
}

/* Variance of the time between arrivals over the square of its mean: 1/shape. */
static double spread_of(const struct workload *w)
{
	double sum = 0, squares = 0;

	for (uint32_t i = 1; i < w->count; i++) {
		const double s = (double)(w->requests[i].due_ns - w->requests[i - 1].due_ns);
		sum += s;
		squares += s * s;
	}
	const double n = w->count - 1, mean = sum / n;
	return (squares / n - mean * mean) / (mean * mean);
}

static void test_arrivals(void **state)
{
	static const double shapes[] = { 0, 0.25, 1, 4 };

	for (size_t i = 0; i < UNIT_COUNT(shapes); i++) {
		const struct work_options o = {
			.requests = 20000, .rate = 50, .shape = shapes[i], .seed = 1
		};
		const double expected = shapes[i] > 0 ? 1 / shapes[i] : 1;
		struct workload w;
		assert_int_equal(work_make(BB_STR("decode"), &o, &w), 0);
		assert_in_range(workload_length_ns(&w) / 1000000000, 380, 420);
		assert_true(spread_of(&w) > expected * 0.9 && spread_of(&w) < expected * 1.1);
		workload_fini(&w);
	}
}

/* So many clients, each with one request at a time. */
static void test_closed_loop(void **state)
{
	const struct work_options o = { .requests = 600, .clients = 7 };
	struct workload w;
	uint32_t following = 0;

	assert_int_equal(work_make(BB_STR("cold"), &o, &w), 0);
	assert_int_equal(workload_arrivals(&w), 7);
	for (uint32_t i = 0; i < w.count; i++)
		following += w.requests[i].after != WORK_NONE;
	assert_int_equal(following, 593);
	assert_true(workload_length_ns(&w) < 1000000000);
	workload_fini(&w);
	assert_int_equal(work_make(BB_STR("week"), &o, &w), -BB_EINVALID);
}

/* Seven days, busy by day: more in the ten hours of a weekday than in all of the weekend. */
static void test_week(void **state)
{
	const struct work_options o = { .requests = 20000 };
	struct workload w;
	uint32_t days[7] = { 0 }, nights = 0;

	assert_int_equal(work_make(BB_STR("week"), &o, &w), 0);
	for (uint32_t i = 0; i < w.count; i++) {
		const uint64_t hour = w.requests[i].due_ns / 3600000000000u;
		nights += hour % 24 < 6;
		if (hour / 24 < 7)
			days[hour / 24]++;
	}
	assert_in_range(workload_length_ns(&w) / 3600000000000u, 160, 176);
	for (int d = 0; d < 5; d++)
		assert_true(days[d] > days[5] + days[6] && days[d] > 3000);
	assert_true(nights < 1000);
	workload_fini(&w);
}

static void test_options_refused(void **state)
{
	static const struct work_options cases[] = {
		{ .requests = WORK_REQUESTS_MAX + 1 },
		{ .rate = -1 },
		{ .rate = 1e8 },
		{ .shape = 0.001 },
		{ .clients = WORK_CLIENTS_MAX + 1 },
		{ .tenants = WORK_TENANTS_MAX + 1 },
		{ .adapters = 70000 },
	};
	struct workload w;

	for (size_t i = 0; i < UNIT_COUNT(cases); i++)
		assert_int_equal(work_make(BB_STR("cold"), &cases[i], &w), -BB_EINVALID);
	assert_int_equal(work_make(BB_STR("colder"), &cases[0], &w), -BB_EABSENT);
	assert_null(w.requests);
	assert_null(work_generator_text(1000));
}

/* ---- writing ---- */

static int write_all(const struct workload *w, struct bb_buf *out)
{
	struct work_writer writer;
	int rc = 0;

	work_writer_init(&writer, w);
	for (uint32_t i = 0; !rc && i < w->count; i++)
		rc = work_write_mooncake(&writer, i, out);
	work_writer_fini(&writer);
	return rc;
}

/* What is written reads back as the same where times are whole milliseconds, and shares the same
 * whole blocks. */
static void test_written_reads_back(void **state)
{
	static const char *const names[] = { "chat", "agent", "b2b" };

	for (size_t n = 0; n < UNIT_COUNT(names); n++) {
		const struct work_options o = {
			.requests = 400, .seed = 5, .tenants = 3, .adapters = 2
		};
		struct workload a, b;
		struct bb_buf text;
		char why[WORK_WHY_SIZE];
		uint64_t one[200], two[200], first_a[200] = { 0 }, first_b[200] = { 0 };
		bb_buf_init(&text, 1 << 24);
		assert_int_equal(work_make(bb_str_of(names[n]), &o, &a), 0);
		for (uint32_t i = 0; i < a.count; i++)
			a.requests[i].due_ns -= a.requests[i].due_ns % 1000000;
		assert_int_equal(workload_seal(&a), 0);
		assert_int_equal(write_all(&a, &text), 0);
		assert_int_equal(work_read_text(bb_buf_str(&text), &b, why), 0);
		assert_int_equal(a.count, b.count);
		for (uint32_t i = 0; i < a.count; i++) {
			const struct work_request *const x = &a.requests[i], *y = &b.requests[i];
			assert_true(x->after == y->after && x->tenant == y->tenant &&
				    x->adapter == y->adapter &&
				    x->prompt_tokens == y->prompt_tokens &&
				    x->output_tokens == y->output_tokens);
			const uint32_t count = work_hashes(&a, i, 0, 512, 0, one, 200);
			assert_int_equal(work_hashes(&b, i, 0, 512, 0, two, 200), count);
			for (uint32_t k = 0; k < count && i && x->adapter == a.requests[0].adapter;
			     k++)
				assert_int_equal(one[k] == first_a[k], two[k] == first_b[k]);
			if (i == 0) {
				memcpy(first_a, one, count * sizeof(*one));
				memcpy(first_b, two, count * sizeof(*two));
			}
		}
		workload_fini(&a);
		workload_fini(&b);
		bb_buf_fini(&text);
	}
}

/* ---- as OpenAI requests ---- */

static uint32_t words_in(struct bb_str text)
{
	uint32_t spaces = 0;

	for (size_t i = 0; i < text.len; i++)
		spaces += text.p[i] == ' ';
	return spaces;
}

static struct bb_str content_of(const struct bb_buf *body, uint32_t message)
{
	struct json_member m = { 0 };
	struct json_pull j;
	struct bb_str raw = { 0 };
	enum json_type type;

	assert_int_equal(json_check(bb_buf_str(body), 8, NULL), 0);
	assert_true(json_get(bb_buf_str(body), BB_STR("messages"), &m));
	json_pull_init(&j, m.value);
	assert_true(json_pull_array(&j));
	for (uint32_t i = 0; i <= message; i++)
		assert_true(json_pull_more(&j) && json_pull_value(&j, &raw, &type));
	assert_true(json_get(raw, BB_STR("content"), &m));
	return json_string_inner(m.value);
}

static struct bb_str said(void *user, uint32_t request)
{
	return request == 0 ? BB_STR("so \\u00e9t") : (struct bb_str){ 0 };
}

static void test_openai(void **state)
{
	const struct bb_str models[] = { BB_STR_INIT("m"), BB_STR_INIT("lo\"ra") };
	struct load_prompt p;
	struct bb_buf a, b;
	struct workload w;

	workload_init(&w);
	add(&w, 0, WORK_NONE, 1, 40);
	add(&w, 1, 0, 2, 30);
	w.requests[1].adapter = 1;
	load_prompt_init(&p, &w, models);
	p.model_count = 2;
	bb_buf_init(&a, 1 << 20);
	bb_buf_init(&b, 1 << 20);
	assert_int_equal(load_prompt_write(&p, 0, &a), 0);
	assert_int_equal(load_prompt_write(&p, 1, &b), 0);
	assert_int_equal(words_in(content_of(&a, 0)), 40);
	assert_true(bb_str_eq(content_of(&a, 0), content_of(&b, 0)));
	assert_int_equal(words_in(content_of(&b, 1)), 5);
	assert_int_equal(words_in(content_of(&b, 2)), 30);
	assert_true(bb_str_find(bb_buf_str(&b), BB_STR("\"model\":\"lo\\\"ra\"")) >= 0);
	/* The real answer; fewer words where they are more tokens; without the template's tokens.
	 */
	p.answer = said;
	p.scale = (struct load_scale){ 0.5, 8 };
	p.ignores_eos = false;
	bb_buf_clear(&b);
	assert_int_equal(load_prompt_write(&p, 1, &b), 0);
	assert_str(content_of(&b, 1), "so \\u00e9t");
	assert_int_equal(words_in(content_of(&b, 0)), 16);
	assert_int_equal(words_in(content_of(&b, 2)), 15);
	assert_true(bb_str_find(bb_buf_str(&b), BB_STR("ignore_eos")) < 0);
	p.scale.extra_tokens = 1000;
	bb_buf_clear(&b);
	assert_int_equal(load_prompt_write(&p, 1, &b), 0);
	assert_int_equal(content_of(&b, 0).len, 0);
	bb_buf_clear(&b);
	assert_int_equal(work_write_openai(&p, 1, &b), 0);
	assert_true(
		bb_str_starts(bb_buf_str(&b), BB_STR("{\"after\":0,\"delay_ms\":0,\"body\":{")));
	bb_buf_fini(&a);
	bb_buf_fini(&b);
	workload_fini(&w);
}

/* ---- without memory ---- */

/* Reads, makes and unpacks; the first code that is not 0. */
static int use_memory(const char *journal, size_t journal_len)
{
	static const char session[] = "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,"
				      "\"session_id\":\"x\"}";
	const struct work_options o = { .requests = 1100, .clients = 2 };
	struct workload w;
	struct bb_buf out;
	char why[WORK_WHY_SIZE];
	int rc = work_read_text(bb_str_of(session), &w, why);

	workload_fini(&w);
	if (!rc) {
		rc = work_read_text((struct bb_str){ journal, journal_len }, &w, why);
		workload_fini(&w);
	}
	if (!rc) {
		rc = work_make(BB_STR("chat"), &o, &w);
		bb_buf_init(&out, 1 << 24);
		if (!rc)
			rc = write_all(&w, &out);
		bb_buf_fini(&out);
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
	struct bb_buf journal;
	int rc = -BB_ENOMEM;
	uint64_t n = 0;

	bb_buf_init(&journal, 1 << 20);
	make_journal(&journal);
	while (rc) {
		bb_alloc_fail_at(++n, BB_FAIL_ONCE);
		rc = use_memory(journal.p, journal.len);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_true(n > 15);
	bb_buf_fini(&journal);
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
		cmocka_unit_test(test_azure),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_gunzip),
		cmocka_unit_test(test_published_trace),
		cmocka_unit_test(test_every_generator),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_arrivals),
		cmocka_unit_test(test_closed_loop),
		cmocka_unit_test(test_week),
		cmocka_unit_test(test_options_refused),
		cmocka_unit_test(test_written_reads_back),
		cmocka_unit_test(test_openai),
		cmocka_unit_test(test_exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
