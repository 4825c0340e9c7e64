/*
 * Goal: HTTP/1.1 heads and bodies are read as RFC 9112 says, the same however the bytes arrive,
 * and every form of message that has been used to smuggle requests is refused.
 */
#include "unit.h"

#include "base/err.h"
#include "wire/http1.h"

#define TEXT_MAX 65536

struct parsed {
	struct http_head head;
	int rc;            /* 1: the head is there and the body was read as far as it came */
	bool done;         /* the message is complete */
	bool done_at_eof;
	size_t used;       /* bytes of the first message */
	char body[TEXT_MAX];
	size_t body_len;
	char text[TEXT_MAX]; /* what the head points into */
};

static struct parsed result;

enum answers { ANSWERS_OTHER, ANSWERS_HEAD };

/* Parses the first message of `bytes`, given in pieces of `step` bytes. */
static struct parsed *parse_as(enum http1_kind kind, enum answers answers, struct bb_str bytes,
			       size_t step)
{
	struct parsed *r = &result;
	struct http1 p;
	size_t at = 0, used;

	memset(r, 0, sizeof(*r));
	assert_true(bytes.len < TEXT_MAX);
	memcpy(r->text, bytes.p, bytes.len);
	http1_init(&p, kind);
	p.answers_head = answers == ANSWERS_HEAD;
	while (!p.head_done && at < bytes.len) {
		const size_t n = step < bytes.len - at ? step : bytes.len - at;
		r->rc = http1_feed_head(&p, &r->head, r->text + at, n, &used);
		if (r->rc < 0)
			return r;
		at += r->rc ? used : n;
	}
	while (p.head_done && !p.message_done && at < bytes.len) {
		const size_t n = step < bytes.len - at ? step : bytes.len - at;
		struct bb_str body;
		const int rc = http1_feed_body(&p, r->text + at, n, &body, &used);
		if (rc) {
			r->rc = rc;
			return r;
		}
		memcpy(r->body + r->body_len, body.p, body.len);
		r->body_len += body.len;
		at += used;
	}
	r->done = p.message_done;
	r->done_at_eof = http1_is_complete_at_eof(&p);
	r->used = at;
	return r;
}

static struct parsed *parse_request(const char *text)
{
	return parse_as(HTTP1_REQUEST, ANSWERS_OTHER, bb_str_of(text), SIZE_MAX);
}

static struct parsed *parse_response(const char *text)
{
	return parse_as(HTTP1_RESPONSE, ANSWERS_OTHER, bb_str_of(text), SIZE_MAX);
}

static void assert_body(const struct parsed *r, const char *expected)
{
	assert_str((struct bb_str){ r->body, r->body_len }, expected);
}

#define POST "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* ---- requests ---- */

static void request_line_and_fields(void **state)
{
	const struct parsed *r = parse_request("GET /v1/models?limit=2&a=%20 HTTP/1.1\r\n"
					       "Host: localhost:8080\r\naccept:  */* \r\n\r\n");

	assert_int_equal(r->rc, 1);
	assert_int_equal(r->head.method, HTTP_GET);
	assert_str(r->head.target, "/v1/models?limit=2&a=%20");
	assert_str(r->head.path, "/v1/models");
	assert_str(r->head.query, "limit=2&a=%20");
	assert_int_equal(r->head.count, 2);
	assert_str(http_head_get(&r->head, BB_STR("HOST")), "localhost:8080");
	assert_int_equal(r->head.minor, 1);
	assert_true(r->head.keep_alive);
	assert_true(r->done); /* no body */
}

static void request_with_length(void **state)
{
	const struct parsed *r = parse_request(POST "Content-Length: 5\r\n\r\nhelloNEXT");

	assert_int_equal(r->rc, 1);
	assert_true(r->head.has_length);
	assert_int_equal(r->head.length, 5);
	assert_body(r, "hello");
	assert_true(r->done);
	assert_int_equal(r->used, strlen(POST "Content-Length: 5\r\n\r\nhello"));
}

static void request_with_length_zero_is_complete(void **state)
{
	const struct parsed *r = parse_request(POST "Content-Length: 0\r\n\r\n");

	assert_true(r->done);
	assert_true(r->head.has_length);
}

static void request_with_chunks(void **state)
{
	const struct parsed *r = parse_request(CHUNKED "5\r\nhello\r\nA;name=\"v\"\r\n, world...\r\n"
						       "0\r\nX-Trailer: 1\r\n\r\nGET");

	assert_int_equal(r->rc, 1);
	assert_true(r->head.chunked);
	assert_false(r->head.has_length);
	assert_body(r, "hello, world...");
	assert_true(r->done);
	assert_int_equal(r->head.count, 2); /* trailers are not fields of the head */
}

static void a_body_that_is_cut_is_not_complete(void **state)
{
	assert_false(parse_request(POST "Content-Length: 5\r\n\r\nhell")->done_at_eof);
	assert_false(parse_request(CHUNKED "5\r\nhello\r\n")->done_at_eof);
	assert_false(parse_request(CHUNKED "5\r\nhello\r\n0\r\n")->done_at_eof);
	assert_false(parse_request("GET / HTTP/1.1\r\nHost: a\r\n")->done_at_eof);
}

static void pipelined_requests_are_told_apart(void **state)
{
	static const char text[] = POST "Content-Length: 2\r\n\r\n{}"
				   "GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n";
	const size_t first = parse_request(text)->used;

	assert_body(&result, "{}");
	const struct parsed *r = parse_request(text + first);
	assert_str(r->head.path, "/healthz");
	assert_int_equal(first + r->used, sizeof(text) - 1);
}

static void expect_continue_is_seen(void **state)
{
	assert_true(parse_request(POST "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
			    ->head.expects_continue);
	assert_false(parse_request(POST "Content-Length: 3\r\n\r\n")->head.expects_continue);
}

static void keep_alive_follows_version_and_connection(void **state)
{
	assert_true(parse_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n")->head.keep_alive);
	assert_false(parse_request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			     ->head.keep_alive);
	assert_false(parse_request("GET / HTTP/1.0\r\n\r\n")->head.keep_alive);
	assert_true(parse_request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")->head.keep_alive);
}

static void upgrades_are_marked(void **state)
{
	assert_true(parse_request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
				  "Upgrade: websocket\r\n\r\n")
			    ->head.is_upgrade);
	assert_true(parse_request("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")->head.is_upgrade);
}

static void empty_values_do_not_join_names(void **state)
{
	const struct parsed *r = parse_request("GET / HTTP/1.1\r\nHost:\r\nA:  \r\nB: b\r\n\r\n");

	assert_int_equal(r->rc, 1);
	assert_int_equal(r->head.count, 3);
	assert_str(http_head_get(&r->head, BB_STR("host")), "");
	assert_non_null(http_head_get(&r->head, BB_STR("a")).p);
	assert_str(http_head_get(&r->head, BB_STR("b")), "b");
	assert_null(http_head_get(&r->head, BB_STR("c")).p);
}

static void repeated_fields_are_counted(void **state)
{
	const struct parsed *r =
		parse_request("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\n\r\n");

	assert_int_equal(http_head_count(&r->head, BB_STR("X")), 2);
	assert_str(http_head_get(&r->head, BB_STR("x")), "1");
}

static void field_count_has_a_limit(void **state)
{
	static char text[TEXT_MAX];

	for (int extra = 0; extra < 2; extra++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
		for (int i = 1; i < HTTP_HEADERS_MAX + extra; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "X-%d: v\r\n", i);
		snprintf(text + n, sizeof(text) - n, "\r\n");
		assert_int_equal(parse_request(text)->rc, extra ? -BB_ELIMIT : 1);
	}
}

/* ---- answers ---- */

static void response_with_length(void **state)
{
	const struct parsed *r = parse_response("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}");

	assert_int_equal(r->rc, 1);
	assert_int_equal(r->head.status, 404);
	assert_body(r, "{}");
	assert_true(r->done);
}

static void response_until_close(void **state)
{
	const struct parsed *r = parse_response("HTTP/1.1 200 OK\r\n\r\neverything");

	assert_body(r, "everything");
	assert_false(r->done);
	assert_true(r->done_at_eof);
}

static void chunked_response_needs_its_end(void **state)
{
	const struct parsed *r =
		parse_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");

	assert_body(r, "abc");
	assert_false(r->done_at_eof);
}

static void no_body_for_204_304_1xx_and_head(void **state)
{
	static const char *const heads[] = {
		"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\nHTTP/1.",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nHTTP/1.",
		"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		const struct parsed *r = parse_response(heads[i]);
		assert_int_equal(r->rc, 1);
		assert_true(r->done);
		assert_int_equal(r->body_len, 0);
		assert_int_equal(r->used, strstr(heads[i], "\r\n\r\n") + 4 - heads[i]);
	}
	const struct parsed *r = parse_as(HTTP1_RESPONSE, ANSWERS_HEAD,
					  BB_STR("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP"),
					  SIZE_MAX);
	assert_true(r->done);
	assert_int_equal(r->head.length, 9);
	assert_int_equal(r->body_len, 0);
}

/* ---- splits ---- */

static void every_step_gives_the_same(void **state)
{
	static const struct {
		enum http1_kind kind;
		const char *text;
	} cases[] = {
		{ HTTP1_REQUEST, POST "X: a b\r\nEmpty:\r\nContent-Length: 11\r\n\r\nhello world" },
		{ HTTP1_REQUEST, CHUNKED "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nT: 1\r\n\r\n" },
		{ HTTP1_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
				  "Transfer-Encoding: chunked\r\n\r\n"
				  "9\r\ndata: a\n\n\r\n12\r\ndata: \x80\xff\r\n\r\n[DONE]" },
		{ HTTP1_RESPONSE, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end" },
	};
	static struct parsed whole;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct bb_str text = bb_str_of(cases[i].text);
		whole = *parse_as(cases[i].kind, ANSWERS_OTHER, text, SIZE_MAX);
		assert_int_equal(whole.rc, 1);
		for (size_t step = 1; step < text.len; step++) {
			const struct parsed *r = parse_as(cases[i].kind, ANSWERS_OTHER, text, step);
			assert_int_equal(r->rc, 1);
			assert_int_equal(r->used, whole.used);
			assert_int_equal(r->done, whole.done);
			assert_int_equal(r->body_len, whole.body_len);
			assert_memory_equal(r->body, whole.body, whole.body_len);
			assert_int_equal(r->head.count, whole.head.count);
			for (uint32_t k = 0; k < r->head.count; k++) {
				/* Both point into the same buffer, which holds the same text again. */
				assert_true(bb_str_eq(r->head.headers[k].name,
						      whole.head.headers[k].name));
				assert_true(bb_str_eq(r->head.headers[k].value,
						      whole.head.headers[k].value));
			}
		}
	}
}

static void a_head_can_be_checked_first_and_collected_after(void **state)
{
	static const char text[] = POST "X: y\r\n\r\n";
	struct http1 p;
	struct http_head head = { 0 };
	size_t used = 0;

	http1_init(&p, HTTP1_REQUEST);
	for (size_t i = 0; i + 1 < sizeof(text) - 1; i++)
		assert_int_equal(http1_feed_head(&p, NULL, text + i, 1, &used), 0);
	assert_int_equal(http1_feed_head(&p, NULL, text + sizeof(text) - 2, 1, &used), 1);
	assert_int_equal(used, 1);
	http1_init(&p, HTTP1_REQUEST);
	assert_int_equal(http1_feed_head(&p, &head, text, sizeof(text) - 1, &used), 1);
	assert_int_equal(used, sizeof(text) - 1);
	assert_str(http_head_get(&head, BB_STR("x")), "y");
}

/* ---- what must be refused ---- */

static const struct {
	const char *name, *text;
} probes[] = {
	{ "space before the colon", POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" },
	{ "bare LF at line ends", "GET / HTTP/1.1\nHost: a\n\n" },
	{ "obs-fold in Transfer-Encoding", POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" },
	{ "chunk extension ended by a bare LF", CHUNKED "2;x\nab\r\n0\r\n\r\n" },
	{ "empty field name", POST ": x\r\n\r\n" },
	{ "length and chunked", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
	{ "two lengths", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!" },
	{ "signed length", POST "Content-Length: +4\r\n\r\nabcd" },
	{ "chunked is not the last coding", POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" },
	{ "bare CR at line ends", "GET / HTTP/1.1\rHost: a\r\r" },
	{ "CR inside Transfer-Encoding", POST "Transfer-Encoding: chun\rked\r\n\r\n0\r\n\r\n" },
	{ "control character in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01" "b\r\n\r\n" },
	{ "no CRLF behind a chunk", CHUNKED "2\r\nabX0\r\n\r\n" },
	{ "chunk size over 64 bits", CHUNKED "1ffffffffffffffff\r\nab" },
};

static void the_14_smuggling_probes_are_refused(void **state)
{
	assert_int_equal(sizeof(probes) / sizeof(probes[0]), 14);
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		const struct bb_str text = bb_str_of(probes[i].text);
		for (size_t step = 1; step <= text.len; step++)
			if (parse_as(HTTP1_REQUEST, ANSWERS_OTHER, text, step)->rc != -BB_EHTTP)
				fail_msg("accepted in steps of %zu: %s", step, probes[i].name);
	}
}

static void other_malformed_messages_are_refused(void **state)
{
	static const char *const requests[] = {
		"GET / HTTP/9.9\r\n\r\n",
		"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
		"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
		"GET /\r\n\r\n",
		"GET /\nHost: a\r\n\r\n",
		"GET /a b HTTP/1.1\r\n\r\n",
		"NOPE / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost a\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\x16\x03\x01\x02",
		POST "Content-Length: 99999999999999999999\r\n\r\n",
		POST "Content-Length: 1,1\r\n\r\na",
		POST "Content-Length: 0x1\r\n\r\na",
		POST "Content-Length: -1\r\n\r\na",
		POST "Transfer-Encoding: gzip\r\n\r\nabc",
		POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		CHUNKED "-1\r\nab",
		CHUNKED "0x2\r\nab\r\n",
		CHUNKED " 2\r\nab\r\n",
		CHUNKED "\r\n",
		CHUNKED "G\r\n",
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (parse_request(requests[i])->rc != -BB_EHTTP)
			fail_msg("accepted: %s", requests[i]);
	assert_int_equal(parse_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab")->rc,
			 -BB_EHTTP);
	assert_int_equal(parse_response("HTTP/1.1 20 OK\r\n\r\n")->rc, -BB_EHTTP);
	assert_int_equal(parse_response("ICY 200 OK\r\n\r\n")->rc, -BB_EHTTP);
}

static void a_refusal_has_a_reason(void **state)
{
	struct http1 p;
	size_t used;

	http1_init(&p, HTTP1_REQUEST);
	assert_int_equal(http1_feed_head(&p, NULL, "GET /\x01", 6, &used), -BB_EHTTP);
	assert_true(p.failed);
	assert_true(strlen(http1_reason(&p)) > 5);
	assert_false(http1_is_complete_at_eof(&p));
}

/* ---- small helpers ---- */

static void hop_by_hop_fields(void **state)
{
	assert_true(http_is_hop_by_hop(BB_STR("Connection")));
	assert_true(http_is_hop_by_hop(BB_STR("TRANSFER-ENCODING")));
	assert_true(http_is_hop_by_hop(BB_STR("content-length")));
	assert_false(http_is_hop_by_hop(BB_STR("authorization")));
	assert_false(http_is_hop_by_hop(BB_STR("")));
}

static void tokens_of_a_list(void **state)
{
	assert_true(http_list_has(BB_STR("keep-alive, Close"), BB_STR("close")));
	assert_true(http_list_has(BB_STR(",,close"), BB_STR("close")));
	assert_false(http_list_has(BB_STR("closed"), BB_STR("close")));
	assert_false(http_list_has(BB_STR(""), BB_STR("close")));
}

/* Each status that the gateway itself answers, and those of engines as RFC 9110 §15 names them. */
static void status_texts(void **state)
{
	static const struct {
		int status;
		const char *text;
	} known[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 103, "Early Hints" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" },
		{ 424, "Failed Dependency" },
		{ 425, "Too Early" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 451, "Unavailable For Legal Reasons" },
		{ 499, "Client Closed Request" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
	};
	size_t at = 0;

	for (int status = -1; status < 1000; status++) {
		const bool is_known = at < UNIT_COUNT(known) && known[at].status == status;
		assert_string_equal(http_status_text(status), is_known ? known[at++].text : "Unknown");
	}
	assert_int_equal(at, UNIT_COUNT(known));
	for (int code = 1; code < BB_E_COUNT; code++)
		assert_string_not_equal(http_status_text(bb_error_info(code)->http_status), "Unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_line_and_fields),
		cmocka_unit_test(request_with_length),
		cmocka_unit_test(request_with_length_zero_is_complete),
		cmocka_unit_test(request_with_chunks),
		cmocka_unit_test(a_body_that_is_cut_is_not_complete),
		cmocka_unit_test(pipelined_requests_are_told_apart),
		cmocka_unit_test(expect_continue_is_seen),
		cmocka_unit_test(keep_alive_follows_version_and_connection),
		cmocka_unit_test(upgrades_are_marked),
		cmocka_unit_test(empty_values_do_not_join_names),
		cmocka_unit_test(repeated_fields_are_counted),
		cmocka_unit_test(field_count_has_a_limit),
		cmocka_unit_test(response_with_length),
		cmocka_unit_test(response_until_close),
		cmocka_unit_test(chunked_response_needs_its_end),
		cmocka_unit_test(no_body_for_204_304_1xx_and_head),
		cmocka_unit_test(every_step_gives_the_same),
		cmocka_unit_test(a_head_can_be_checked_first_and_collected_after),
		cmocka_unit_test(the_14_smuggling_probes_are_refused),
		cmocka_unit_test(other_malformed_messages_are_refused),
		cmocka_unit_test(a_refusal_has_a_reason),
		cmocka_unit_test(hop_by_hop_fields),
		cmocka_unit_test(tokens_of_a_list),
		cmocka_unit_test(status_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
