/*
 * Goal: the load generator counts an answer as what it is, wherever its bytes are cut: complete,
 * failed, incomplete; and takes its times and stamps from the right events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sim/load_answer.h"
#include "sim/load_request.h"

#define HEAD_CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define CHUNK(delta) "data: {\"choices\":[{\"delta\":" delta ",\"finish_reason\":null}]}\n\n"
#define ROLE CHUNK("{\"role\":\"assistant\",\"content\":\"\"}")
#define TEXT CHUNK("{\"content\":\" hi t00000000000003e8\"}")
#define LAST "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"
#define DONE "data: [DONE]\n\n"

static struct load_meter *meter;

static int setup(void **state)
{
	(void)state;
	meter = bb_alloc_zero(1, sizeof(*meter));
	if (meter)
		meter->is_on = true;
	return meter ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	BB_FREE(meter);
	return 0;
}

/* Feeds `text` in pieces of `piece` bytes, the first at 2000 ns and each 1 ns later. */
static int feed(struct load_answer *a, const char *text, size_t piece)
{
	const size_t len = strlen(text);
	char *copy = bb_strndup(text, len);
	uint64_t now_ns = 2000;
	int rc = 0;

	assert_non_null(copy);
	for (size_t at = 0; at < len && !rc; at += piece)
		rc = load_answer_feed(a, copy + at, len - at < piece ? len - at : piece, now_ns++,
				      meter);
	bb_free(copy);
	return rc;
}

static const char *chunked(const char *events)
{
	static char text[8192];

	snprintf(text, sizeof(text), HEAD_CHUNKED "%zx\r\n%s\r\n0\r\n\r\n", strlen(events), events);
	return text;
}

static void a_stream_in_pieces_of_any_size(void **state)
{
	const char *text = chunked(": hello\n\n" ROLE TEXT TEXT LAST DONE);
	struct load_answer a;

	load_answer_init(&a);
	for (size_t piece = 1; piece < strlen(text); piece++) {
		*meter = (struct load_meter){ .is_on = true };
		load_answer_begin(&a, 500);
		assert_int_equal(feed(&a, text, piece), 0);
		assert_true(a.is_complete && a.keeps_alive);
		assert_int_equal(meter->ok_count, 1);
		assert_int_equal(meter->chunk_count, 4);
		assert_int_equal(meter->times[LOAD_TTFT].count, 1);
		assert_int_equal(meter->times[LOAD_GAP].count, 1);
		assert_int_equal(meter->times[LOAD_HOP].count, 2);
		assert_true(meter->times[LOAD_HOP].max_ns >= 1000);
		assert_int_equal(meter->answering, 0);
		assert_int_equal(meter->answering_max, 1);
	}
	load_answer_fini(&a);
}

static void times_count_from_the_start(void **state)
{
	struct load_answer a;

	load_answer_init(&a);
	load_answer_begin(&a, 500);
	assert_int_equal(feed(&a, chunked(ROLE TEXT LAST DONE), 8192), 0);
	assert_int_equal(meter->times[LOAD_TTFB].max_ns, 1500);
	assert_int_equal(meter->times[LOAD_TTFT].max_ns, 1500);
	assert_int_equal(meter->times[LOAD_E2E].max_ns, 1500);
	assert_int_equal(meter->times[LOAD_HOP].max_ns, 1000);
	load_answer_fini(&a);
}

static void assert_error(const char *text, enum load_error which)
{
	struct load_answer a;

	load_answer_init(&a);
	load_answer_begin(&a, 500);
	assert_int_equal(feed(&a, text, 7), 0);
	assert_true(a.is_complete);
	assert_int_equal(meter->ok_count, 0);
	assert_int_equal(meter->ended_count, 1);
	assert_int_equal(meter->errors[which], 1);
	load_answer_fini(&a);
}

static void done_without_finish_is_incomplete(void **state)
{
	assert_error(chunked(ROLE TEXT DONE), LOAD_ERROR_INCOMPLETE);
}

static void an_error_event_is_incomplete(void **state)
{
	assert_error(chunked(ROLE TEXT LAST "data: {\"error\":{\"message\":\"x\"}}\n\n" DONE),
		     LOAD_ERROR_INCOMPLETE);
}

static void a_bad_status_is_counted_and_sampled(void **state)
{
	assert_error("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", LOAD_ERROR_STATUS);
	assert_int_equal(meter->status_last, 503);
	assert_true(meter->sample_len > 0 && memcmp(meter->sample, "busy", meter->sample_len) == 0);
}

static void a_whole_answer(void **state)
{
	static const char text[] =
		"HTTP/1.1 100 Continue\r\n\r\n"
		"HTTP/1.1 200 OK\r\nContent-Length: 42\r\nConnection: close\r\n\r\n"
		"{\"choices\":[{\"message\":{\"content\":\" a\"}}]}";
	struct load_answer a;

	load_answer_init(&a);
	for (size_t piece = 1; piece < sizeof(text); piece++) {
		*meter = (struct load_meter){ .is_on = true };
		load_answer_begin(&a, 0);
		assert_int_equal(feed(&a, text, piece), 0);
		assert_true(a.is_complete && !a.keeps_alive);
		assert_int_equal(meter->ok_count, 1);
		assert_int_equal(meter->times[LOAD_E2E].count, 1);
	}
	load_answer_fini(&a);
}

static void a_body_until_close(void **state)
{
	struct load_answer a;

	load_answer_init(&a);
	load_answer_begin(&a, 0);
	assert_int_equal(feed(&a, "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}", 5), 0);
	assert_false(a.is_complete);
	assert_true(load_answer_end(&a, 3000, meter));
	assert_int_equal(meter->ok_count, 1);
	load_answer_begin(&a, 0);
	assert_int_equal(feed(&a, HEAD_CHUNKED "5\r\nda", 5), 0);
	assert_false(load_answer_end(&a, 3000, meter)); /* cut */
	load_answer_abandon(&a, meter);
	assert_int_equal(meter->answering, 0);
	load_answer_fini(&a);
}

static void what_is_not_http_or_does_not_end(void **state)
{
	static char line[LOAD_CARRY_MAX + 4096];
	struct load_answer a;
	struct bb_buf text;

	load_answer_init(&a);
	load_answer_begin(&a, 0);
	assert_int_equal(feed(&a, "SSH-2.0-x\r\n", 3), -BB_EHTTP);
	load_answer_begin(&a, 0);
	assert_int_equal(feed(&a, "HTTP/1.1 204 No Content\r\n\r\nmore", 64), -BB_EHTTP);
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "data: ", 6);
	bb_buf_init(&text, 4 * LOAD_CARRY_MAX);
	bb_buf_printf(&text, HEAD_CHUNKED "%zx\r\n%s", sizeof(line), line);
	bb_buf_add(&text, "", 1);
	assert_int_equal(text.err, 0);
	load_answer_begin(&a, 0);
	assert_int_equal(feed(&a, text.p, 65536), -BB_ELIMIT);
	load_answer_abandon(&a, meter);
	assert_int_equal(meter->answering, 0);
	bb_buf_fini(&text);
	load_answer_fini(&a);
}

static void bodies_have_the_size_and_the_nonce(void **state)
{
	const struct load_body_shape shape = { .size = 1024, .max_tokens = 3, .stream = LOAD_STREAM,
					       .model = BB_STR("m\"x"), .prompt = BB_STR("[[itl=1]]") };
	struct load_request r;
	struct bb_buf body;

	bb_buf_init(&body, LOAD_BODY_MAX);
	load_request_init(&r);
	assert_int_equal(load_body_make(&body, &shape), 0);
	assert_int_equal(body.len, 1024);
	assert_int_equal(body.p[1023], '}');
	assert_true(bb_str_starts(bb_buf_str(&body), BB_STR("{\"model\":\"m\\\"x\",\"max_tokens\":3,"
							    "\"stream\":true,")));
	assert_int_equal(load_request_build(&r, BB_STR("h:1"), BB_STR("/p"), BB_STR("A: b\r\n"),
					    bb_buf_str(&body)), 0);
	assert_true(bb_str_starts(bb_buf_str(&r.bytes), BB_STR("POST /p HTTP/1.1\r\nHost: h:1\r\n")));
	assert_true(r.has_nonce);
	assert_memory_equal(r.bytes.p + r.nonce_at, "@@@@@@@@@@@@@@@@ [[itl=1]]", 26);
	bb_buf_fini(&body);
	load_request_fini(&r);
}

/* Where it is wanted, the text as it stands in JSON, and the usage. */
static void test_detail(void **state)
{
	static const char events[] =
		ROLE CHUNK("{\"content\":\"a\\\"b\\\\\"}") CHUNK("{\"content\":\" \\u00e9\"}") LAST
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\": 7,"
		"\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n" DONE;
	struct load_detail d = { 0 };
	struct load_answer a;
	struct bb_buf text;

	(void)state;
	for (size_t piece = 1; piece < 600; piece += 7) {
		bb_buf_init(&text, 1000);
		load_answer_init(&a);
		a.detail = &d;
		d.text = &text;
		load_answer_begin(&a, 1000);
		assert_int_equal(feed(&a, chunked(events), piece), 0);
		assert_true(a.is_complete && a.is_ok);
		assert_true(d.prompt_tokens == 12 && d.cached_tokens == 4 && d.output_tokens == 7);
		assert_true(d.events == 2 && d.first_ns >= 2000 && d.last_ns >= d.first_ns);
		assert_true(bb_str_eq(bb_buf_str(&text), BB_STR("a\\\"b\\\\ \\u00e9")));
		bb_buf_fini(&text);
		load_answer_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_stream_in_pieces_of_any_size, setup, teardown),
		cmocka_unit_test_setup_teardown(times_count_from_the_start, setup, teardown),
		cmocka_unit_test_setup_teardown(done_without_finish_is_incomplete, setup, teardown),
		cmocka_unit_test_setup_teardown(an_error_event_is_incomplete, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bad_status_is_counted_and_sampled, setup, teardown),
		cmocka_unit_test_setup_teardown(a_whole_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(a_body_until_close, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_http_or_does_not_end, setup, teardown),
		cmocka_unit_test(bodies_have_the_size_and_the_nonce),
		cmocka_unit_test_setup_teardown(test_detail, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
