/*
 * Goal: sse cuts a stream into the same events however it arrives, with all three line ends, loses
 * no byte, and finds what a captured stream of vLLM holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "wire/sse.h"

#define CAPTURE "tests/data/vllm-http/stream_full.txt"

static struct sse_event one(const char *text)
{
	struct bb_str rest = bb_str_of(text);
	struct sse_event e;

	assert_int_equal(sse_next(&rest, &e), 1);
	assert_int_equal(rest.len, 0);
	assert_true(bb_str_eq(e.raw, bb_str_of(text)));
	return e;
}

static void fields(void **state)
{
	struct sse_event e = one("event: ping\ndata: {\"a\":1}\nid: 7\nretry: 5\n\n");

	assert_true(bb_str_eq(e.event, BB_STR("ping")));
	assert_true(bb_str_eq(e.data, BB_STR("{\"a\":1}")));
	assert_false(e.multi || e.is_comment);
	/* One space goes, no more; none is needed. */
	assert_true(bb_str_eq(one("data:  x \n\n").data, BB_STR(" x ")));
	assert_true(bb_str_eq(one("data:x:y\n\n").data, BB_STR("x:y")));
	/* Empty data is data; a field without a colon has an empty value. */
	e = one("data:\n\n");
	assert_true(e.data.p && e.data.len == 0 && !e.is_comment);
	e = one("data\n\n");
	assert_true(e.data.p && e.data.len == 0);
	/* Other names, names with other letters and comments are not data. */
	e = one("Data: x\ndatax: y\n data: z\n\n");
	assert_true(!e.data.p && e.is_comment);
	e = one(": ping\n\n");
	assert_true(!e.data.p && e.is_comment);
	e = one("\n");
	assert_true(!e.data.p && e.is_comment);
	e = one("event: error\n\n");
	assert_true(!e.data.p && !e.is_comment);
}

static void done_is_exact(void **state)
{
	struct sse_event e = one("data: [DONE]\n\n");

	assert_true(sse_is_done(&e));
	e = one("data: [DONE] \n\n");
	assert_false(sse_is_done(&e));
	e = one("data: \"[DONE]\"\n\n");
	assert_false(sse_is_done(&e));
	e = one("data: [DONE]\ndata: x\n\n");
	assert_false(sse_is_done(&e));
	e = one(": [DONE]\n\n");
	assert_false(sse_is_done(&e));
}

static void line_ends(void **state)
{
	static const char *const ends[] = { "\n", "\r\n", "\r" };

	for (size_t i = 0; i < 3; i++) {
		char text[100];
		struct sse_event e;
		snprintf(text, sizeof(text), "event: a%sdata: b%s%sdata: c%s%s:", ends[i], ends[i],
			 ends[i], ends[i], ends[i]);
		struct bb_str rest = bb_str_of(text);
		assert_int_equal(sse_next(&rest, &e), 1);
		assert_true(bb_str_eq(e.event, BB_STR("a")) && bb_str_eq(e.data, BB_STR("b")));
		assert_int_equal(sse_next(&rest, &e), 1);
		assert_true(bb_str_eq(e.event, BB_STR("")) && bb_str_eq(e.data, BB_STR("c")));
		assert_int_equal(sse_next(&rest, &e), 0);
		assert_true(bb_str_eq(rest, BB_STR(":")));
	}
	/* A \r at the end of what is there may have its \n still to come. */
	struct bb_str rest = BB_STR("data: x\r\n\r");
	struct sse_event e;
	assert_int_equal(sse_next(&rest, &e), 0);
	rest = BB_STR("data: x\n\r\ndata");
	assert_int_equal(sse_next(&rest, &e), 1);
	assert_true(bb_str_eq(rest, BB_STR("data")));
}

static void several_data_lines(void **state)
{
	struct bb_buf b;
	const struct sse_event e = one("data: one\n: no\ndata:\r\nevent: x\rdata:  three\n\n");

	assert_true(e.multi);
	assert_true(bb_str_eq(e.data, BB_STR("one")));
	bb_buf_init(&b, 100);
	assert_int_equal(sse_data_join(&e, &b), 0);
	assert_true(bb_str_eq(bb_buf_str(&b), BB_STR("one\n\n three")));
	bb_buf_fini(&b);
	bb_buf_init(&b, 5);
	assert_int_equal(sse_data_join(&e, &b), -BB_ELIMIT);
	bb_buf_fini(&b);
}

/* All events of a text that arrives in pieces of which `next` says the size; appended as digest. */
static void digest(struct bb_str text, size_t first, struct bb_rng *rng, struct bb_buf *out)
{
	size_t there = first < text.len ? first : text.len, taken = 0;

	for (;;) {
		/* Exactly the bytes that are there, so that reading beyond them is seen. */
		const size_t len = there - taken;
		char *copy = malloc(len ? len : 1);
		assert_non_null(copy);
		memcpy(copy, text.p + taken, len);
		struct bb_str rest = { copy, len };
		struct sse_event e;
		while (sse_next(&rest, &e)) {
			bb_buf_printf(out, "[%zu %d %d|", e.raw.len, e.multi, e.is_comment);
			bb_buf_add_str(out, e.event);
			bb_buf_lit(out, "|");
			bb_buf_add_str(out, e.data);
			bb_buf_lit(out, "]");
			taken += e.raw.len;
		}
		free(copy);
		if (there == text.len)
			break;
		there += rng ? 1 + bb_rng_below(rng, 40) : text.len - there;
		if (there > text.len)
			there = text.len;
	}
	bb_buf_printf(out, "left %zu", text.len - taken);
	assert_int_equal(out->err, 0);
}

static void splits_change_nothing(void **state)
{
	const struct bb_str text = BB_STR(
		"\n: hello\n\nevent: message_start\r\ndata: {\"type\":\"message_start\"}\r\n\r\n"
		"data: first\rdata: second\r\rdata: {\"a long enough line to fill more than one "
		"block\":1}\n\n"
		"id: 3\n\ndata: [DONE]\n\ndata: cut off");
	struct bb_buf whole, split;
	struct bb_rng rng;

	bb_rng_seed(&rng, 1);
	bb_buf_init(&whole, 10000);
	bb_buf_init(&split, 10000);
	digest(text, text.len, NULL, &whole);
	for (size_t at = 0; at <= text.len; at++) {
		bb_buf_clear(&split);
		digest(text, at, NULL, &split);
		assert_true(bb_str_eq(bb_buf_str(&whole), bb_buf_str(&split)));
	}
	for (int i = 0; i < 500; i++) {
		bb_buf_clear(&split);
		digest(text, 1, &rng, &split);
		assert_true(bb_str_eq(bb_buf_str(&whole), bb_buf_str(&split)));
	}
	bb_buf_fini(&whole);
	bb_buf_fini(&split);
}

static void captured_stream(void **state)
{
	static char bytes[65536];
	FILE *f = fopen(CAPTURE, "rb");

	assert_non_null(f);
	const size_t len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	/* The first line is the capture's own: the response's headers. */
	struct bb_str rest = { bytes, len }, head = bb_str_cut(&rest, '\n');
	assert_true(head.len > 100);
	const size_t total = rest.len;
	size_t raw = 0;
	int events = 0, done = 0;
	struct sse_event e;
	while (sse_next(&rest, &e)) {
		assert_false(e.multi || e.is_comment);
		assert_int_equal(done, 0);
		done += sse_is_done(&e);
		assert_true(done || e.data.p[0] == '{');
		raw += e.raw.len;
		events++;
	}
	assert_int_equal(events, 9);
	assert_int_equal(done, 1);
	assert_int_equal(raw + rest.len, total);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),
		cmocka_unit_test(done_is_exact),
		cmocka_unit_test(line_ends),
		cmocka_unit_test(several_data_lines),
		cmocka_unit_test(splits_change_nothing),
		cmocka_unit_test(captured_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
