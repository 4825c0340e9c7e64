/*
 * Goal: heads that two parsers could read differently are refused, with the right words and status;
 * chunks and trailers are bounded; and what is unambiguous passes.
 */
#include "unit.h"

#include "wire/http1.h"

#define TEXT_MAX (256u << 10)

static char text[TEXT_MAX];
static struct http_head head;
static struct http1 parser;

/* 1, or the error. The head is cut into pieces of `step` bytes. */
static int feed(enum http1_kind kind, const char *bytes, size_t step)
{
	size_t at = 0, used = 0, len = strlen(bytes);
	int rc = 0;

	assert_true(len < sizeof(text));
	memcpy(text, bytes, len);
	memset(&head, 0, sizeof(head));
	http1_init(&parser, kind);
	while (rc == 0 && at < len) {
		const size_t n = step < len - at ? step : len - at;
		rc = http1_feed_head(&parser, &head, text + at, n, &used);
		at += n;
	}
	return rc;
}

static void assert_fault(enum http1_kind kind, const char *bytes, int status, const char *why)
{
	for (size_t step = 1; step < 1000; step += 333) {
		assert_int_equal(feed(kind, bytes, step), -BB_EHTTP);
		if (!strstr(http1_reason(&parser), why))
			fail_msg("\"%s\" is not \"%s\"", http1_reason(&parser), why);
		assert_int_equal(http1_status(&parser), status);
	}
}

static void requests_with_two_meanings_are_refused(void **state)
{
	static const struct {
		const char *bytes, *why;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", "without Host" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "more than one Host" },
		{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: [/]\r\n\r\n", "a Host that is none" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
		  "more than one Authorization" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nx-api-key: a\r\nX-API-Key: b\r\n\r\n",
		  "more than one x-api-key" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nContent-Type: a\r\nContent-Type: a\r\n\r\n",
		  "more than one Content-Type" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nContent-Encoding: a\r\nContent-Encoding:\r\n\r\n",
		  "more than one Content-Encoding" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		  "other than chunked" },
		{ "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "other than chunked" },
		{ "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "a request line that is not" },
		{ "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "a request line that is not" },
		{ "GET / RTSP/1.0\r\nHost: a\r\n\r\n", "not HTTP/1" },
		{ "SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", "not HTTP/1" },
		{ "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", "no URI has" },
		{ "GET /\\ HTTP/1.1\r\nHost: a\r\n\r\n", "no URI has" },
		{ "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "no URI has" },
		{ "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "begin with a slash" },
		{ "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "begin with a slash" },
		{ "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "another host" },
		{ "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "another host" },
		{ "GET http:///x HTTP/1.1\r\nHost:\r\n\r\n", "" },
		{ "GET http://a/ HTTP/1.0\r\n\r\n", "another host" },
		{ "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", "without a path" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++)
		assert_fault(HTTP1_REQUEST, cases[i].bytes, 400, cases[i].why);
	assert_fault(HTTP1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417,
		     "Expect");
}

static void requests_with_one_meaning_pass(void **state)
{
	static const char *const cases[] = {
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.0\r\nExpect: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a-b_c.d~e%20:65535\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:80\r\n\r\n",
		"GET /?a[]=b&c='(!$)*+,;=:@/? HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
		"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\nCookie: a\r\nCookie: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\t Chunked\r\n\r\n",
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++)
		for (size_t step = 1; step < 1000; step += 333)
			if (feed(HTTP1_REQUEST, cases[i], step) != 1)
				fail_msg("%s: %s", cases[i], http1_reason(&parser));
}

static void absolute_targets_become_paths(void **state)
{
	assert_int_equal(feed(HTTP1_REQUEST,
			      "GET http://A.b:80/p/q?r=s HTTP/1.1\r\nHost: a.B:80\r\n\r\n", 9),
			 1);
	assert_str(head.target, "/p/q?r=s");
	assert_str(head.path, "/p/q");
	assert_str(head.query, "r=s");
	assert_int_equal(feed(HTTP1_REQUEST, "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 9), 1);
	assert_str(head.target, "/");
}

static void the_target_is_measured_while_it_comes(void **state)
{
	size_t used;

	http1_init(&parser, HTTP1_REQUEST);
	assert_int_equal(http1_feed_head(&parser, NULL, "GET /12345", 10, &used), 0);
	assert_int_equal(parser.target_len, 6);
	assert_int_equal(http1_feed_head(&parser, NULL, "6789", 4, &used), 0);
	assert_int_equal(parser.target_len, 10);
}

static void values_lose_the_blanks_around_them(void **state)
{
	assert_int_equal(feed(HTTP1_REQUEST,
			      "GET / HTTP/1.1\r\nHost: \t a \t \r\nX: \t \r\nY:\t1 2\t\r\n\r\n", 1),
			 1);
	assert_str(http_head_get(&head, BB_STR("host")), "a");
	assert_str(http_head_get(&head, BB_STR("x")), "");
	assert_non_null(http_head_get(&head, BB_STR("x")).p);
	assert_str(http_head_get(&head, BB_STR("y")), "1 2");
}

static void answers_with_two_meanings_are_refused(void **state)
{
	static const struct {
		const char *bytes, *why;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		  "other than chunked" },
		{ "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "other than chunked" },
		{ "HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n",
		  "more than one Content-Type" },
		{ "RTSP/1.0 200 OK\r\n\r\n", "not HTTP/1" },
		{ "HTTP/1.1 200 a\x1b[2J\r\n\r\n", "control characters" },
		{ "HTTP/1.1 099 OK\r\n\r\n", "a status that does not exist" },
		{ "HTTP/1.1 600 OK\r\n\r\n", "a status that does not exist" },
		{ "HTTP/1.1 999 OK\r\n\r\n", "a status that does not exist" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++)
		assert_fault(HTTP1_RESPONSE, cases[i].bytes, 400, cases[i].why);
	assert_int_equal(feed(HTTP1_RESPONSE, "HTTP/1.1 200 OK\r\nHost: a\r\nHost: b\r\n\r\n", 5),
			 -BB_EHTTP);
	assert_int_equal(feed(HTTP1_RESPONSE, "HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", 5), 1);
}

/* ---- bodies ---- */

#define CHUNKED "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

/* The payload's length, or an error, of chunks fed `step` bytes at a time. */
static ptrdiff_t unframe(const char *chunks, size_t step)
{
	size_t at = 0, used, payload = 0, len = strlen(chunks);
	struct bb_str body;

	assert_int_equal(feed(HTTP1_REQUEST, CHUNKED, SIZE_MAX), 1);
	assert_true(len < sizeof(text));
	memcpy(text, chunks, len);
	while (at < len && !parser.message_done) {
		const size_t n = step < len - at ? step : len - at;
		const int rc = http1_feed_body(&parser, text + at, n, &body, &used);
		if (rc)
			return rc;
		payload += body.len;
		at += used;
	}
	return parser.message_done ? (ptrdiff_t)payload : -1000;
}

static void assert_unframes(const char *chunks, ptrdiff_t expected)
{
	static const size_t steps[] = { 1, 7, 1000, SIZE_MAX };

	for (size_t i = 0; i < UNIT_COUNT(steps); i++)
		assert_int_equal(unframe(chunks, steps[i]), expected);
	if (expected == -BB_EHTTP)
		assert_non_null(strstr(http1_reason(&parser), "extensions"));
}

static void small_chunks_and_extensions_pass(void **state)
{
	static char chunks[TEXT_MAX];
	size_t n = 0;

	for (int i = 0; i < 20000; i++)
		n += (size_t)snprintf(chunks + n, sizeof(chunks) - n, "1;a=b\r\nx\r\n");
	snprintf(chunks + n, sizeof(chunks) - n, "0\r\nX: y\r\n\r\n");
	assert_unframes(chunks, 20000);
}

static void overhead_is_bounded(void **state)
{
	static char chunks[TEXT_MAX];
	size_t n = (size_t)snprintf(chunks, sizeof(chunks), "1;");

	memset(chunks + n, 'a', 20000);
	snprintf(chunks + n + 20000, 100, "\r\nx\r\n0\r\n\r\n");
	assert_unframes(chunks, -BB_EHTTP);
	memset(chunks, '0', 20000);
	snprintf(chunks + 20000, 100, "1\r\nx\r\n0\r\n\r\n");
	assert_unframes(chunks, -BB_EHTTP);
	n = (size_t)snprintf(chunks, sizeof(chunks), "1\r\nx\r\n0\r\n");
	for (int i = 0; i < 2500; i++)
		n += (size_t)snprintf(chunks + n, sizeof(chunks) - n, "X: yyyy\r\n");
	snprintf(chunks + n, sizeof(chunks) - n, "\r\n");
	assert_unframes(chunks, -BB_EHTTP);
	n = 0;
	for (int i = 0; i < 1000; i++)
		n += (size_t)snprintf(chunks + n, sizeof(chunks) - n,
				      "1;aaaaaaaaaabbbbbbbbbbccccc\r\nx\r\n");
	snprintf(chunks + n, sizeof(chunks) - n, "0\r\n\r\n");
	assert_unframes(chunks, 1000);
	for (int i = 0; i < 1300; i++)
		n += (size_t)snprintf(chunks + n, sizeof(chunks) - n,
				      "1;aaaaaaaaaabbbbbbbbbbccccc\r\nx\r\n");
	snprintf(chunks + n, sizeof(chunks) - n, "0\r\n\r\n");
	assert_unframes(chunks, -BB_EHTTP);
}

/* ---- fields that stay on their connection ---- */

static void every_connection_field_counts(void **state)
{
	assert_int_equal(feed(HTTP1_REQUEST,
			      "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n"
			      "Connection: a , X-Hop\r\nX-Hop: 1\r\nX-On: 2\r\n\r\n",
			      8),
			 1);
	assert_true(http_stays_here(&head, BB_STR("x-hop")));
	assert_true(http_stays_here(&head, BB_STR("Connection")));
	assert_true(http_stays_here(&head, BB_STR("transfer-encoding")));
	assert_false(http_stays_here(&head, BB_STR("x-on")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_with_two_meanings_are_refused),
		cmocka_unit_test(requests_with_one_meaning_pass),
		cmocka_unit_test(absolute_targets_become_paths),
		cmocka_unit_test(the_target_is_measured_while_it_comes),
		cmocka_unit_test(values_lose_the_blanks_around_them),
		cmocka_unit_test(answers_with_two_meanings_are_refused),
		cmocka_unit_test(small_chunks_and_extensions_pass),
		cmocka_unit_test(overhead_is_bounded),
		cmocka_unit_test(every_connection_field_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
