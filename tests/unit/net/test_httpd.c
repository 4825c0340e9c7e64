/*
 * Goal: whatever a client sends, at whatever pace, a request is handed over once and whole or is
 * refused with an answer that the client can read; and every connection, timer and buffer is given
 * back when the client leaves.
 */
#include "site.h"

#include <sys/resource.h>

static struct site site;
static struct peer peer;

static struct httpd_limits limits(void)
{
	struct httpd_limits l;

	httpd_limits_default(&l);
	return l;
}

static void begin(const struct httpd_limits *l)
{
	site_open(&site, l);
	peer_connect(&peer, &site.addr, 0);
}

static void end(void)
{
	peer_close(&peer);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	site_close(&site);
}

/* ---- requests ---- */

static void test_one_request(void **state)
{
	begin(NULL);
	peer_say(&peer, "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /a?b=c>"));
	assert_string_equal(site.seen, "GET /a?b=c host=h []\n");
	assert_true(peer_has(&peer, "HTTP/1.1 200 OK\r\nDate: "));
	assert_true(peer_has(&peer, "Content-Type: text/plain\r\n"));
	assert_true(peer_has(&peer, "Content-Length: 12\r\n"));
	assert_false(peer_has(&peer, "Connection:"));
	assert_int_equal(site.bytes_out, peer.len);
	peer_clear(&peer);
	peer_say(&peer, "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /2>"));
	assert_string_equal(site.seen, "GET /a?b=c host=h []\nPOST /2 host=h [body]\n");
	assert_int_equal(site.closed, 2);
	assert_int_equal(site.gone, 0);
	assert_int_equal(httpd_connection_count(site.httpd), 1);
	/* An idle connection holds no buffer. */
	assert_int_equal(site.httpd->buffers.live_bytes, 0);
	end();
}

static void test_every_split(void **state)
{
	static const char *const messages[] = {
		"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
		"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nTrailer: t\r\n\r\n",
	};

	begin(NULL);
	for (size_t m = 0; m < UNIT_COUNT(messages); m++) {
		for (size_t at = 1; at < strlen(messages[m]); at++) {
			site.seen[0] = '\0';
			peer_clear(&peer);
			peer_send(&peer, messages[m], at);
			peers_turn(site.loop);
			peer_say(&peer, messages[m] + at);
			PEER_UNTIL(site.loop, peer_has(&peer, "<POST /x>"));
			assert_string_equal(site.seen, "POST /x host=h [hello]\n");
		}
		/* And a byte at a time. */
		site.seen[0] = '\0';
		peer_clear(&peer);
		for (size_t i = 0; i < strlen(messages[m]); i++) {
			peer_send(&peer, messages[m] + i, 1);
			peers_turn(site.loop);
		}
		PEER_UNTIL(site.loop, peer_has(&peer, "<POST /x>"));
		assert_string_equal(site.seen, "POST /x host=h [hello]\n");
	}
	end();
}

static void test_pipelined_in_order(void **state)
{
	begin(NULL);
	peer_say(&peer, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
			"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
			"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"
			"\r\n"
			"GET /4 HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /4>"));
	assert_string_equal(site.seen, "GET /1 host=h []\nPOST /2 host=h [abc]\n"
				       "POST /3 host=h [xyz]\nGET /4 host=h []\n");
	end();
}

/* Nothing of the second request is looked at before the first one is answered. */
static void test_pipelined_waits(void **state)
{
	begin(NULL);
	site.way = SITE_LATER;
	peer_say(&peer, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, site.x);
	peers_settle(site.loop);
	assert_int_equal(site.requests, 1);
	assert_int_equal(httpd_exchange_count(site.httpd), 1);
	struct exchange *x = site.x;
	site.x = NULL;
	exchange_reply(x, 200, BB_STR(""), BB_STR(""), BB_STR("one"));
	PEER_UNTIL(site.loop, site.x);
	assert_int_equal(site.requests, 2);
	exchange_reply(site.x, 200, BB_STR(""), BB_STR(""), BB_STR("two"));
	PEER_UNTIL(site.loop, peer_has(&peer, "two"));
	end();
}

/*
 * A pipelined request behind a blank line, whose body comes later: its head moves in the buffer in
 * which it waited, and what there is of the body must move with it.
 */
static void test_blank_line_before_half_a_request(void **state)
{
	char body[301], expected[400];

	for (size_t i = 0; i < sizeof(body) - 1; i++)
		body[i] = (char)('a' + i % 26);
	body[sizeof(body) - 1] = '\0';
	snprintf(expected, sizeof(expected), "GET /1 host=h []\nPOST /2 host=h [%s]\n", body);
	begin(NULL);
	peer_say(&peer, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\r\n\r\n"
			"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 300\r\n\r\n");
	peer_send(&peer, body, 250);
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /1>"));
	peers_settle(site.loop);
	peer_say(&peer, body + 250);
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /2>"));
	assert_string_equal(site.seen, expected);
	end();
}

static void test_large_bodies(void **state)
{
	const size_t size = 5u << 20; /* more than is believed of a Content-Length at first */
	char *data = malloc(size), head[128];

	assert_non_null(data);
	memset(data, 'a', size);
	begin(NULL);
	site.way = SITE_LATER;
	for (int chunked = 0; chunked < 2; chunked++) {
		snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nHost: h\r\n%s: %s\r\n\r\n",
			 chunked ? "Transfer-Encoding" : "Content-Length",
			 chunked ? "chunked" : "5242880");
		peer_say(&peer, head);
		for (size_t at = 0; at < size; at += 65536) {
			if (chunked)
				peer_say(&peer, "10000\r\n");
			peer_send(&peer, data + at, 65536);
			if (chunked)
				peer_say(&peer, "\r\n");
			peers_turn(site.loop);
		}
		if (chunked)
			peer_say(&peer, "0\r\n\r\n");
		PEER_UNTIL(site.loop, site.x);
		assert_int_equal(site.x->body_len, size);
		assert_memory_equal(site.x->body, data, size);
		exchange_drop_body(site.x);
		assert_null(site.x->body);
		exchange_reply(site.x, 204, BB_STR(""), BB_STR(""), BB_STR(""));
		PEER_UNTIL(site.loop, !site.x);
	}
	free(data);
	end();
}

static void test_http_1_0(void **state)
{
	begin(NULL);
	peer_say(&peer, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /a>"));
	assert_true(peer_has(&peer, "Connection: keep-alive\r\n"));
	peer_say(&peer, "GET /b HTTP/1.0\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /b>"));
	assert_true(peer_has(&peer, "Connection: close\r\n"));
	PEER_UNTIL(site.loop, peer.has_ended);
	end();
}

static void test_connection_close(void **state)
{
	begin(NULL);
	peer_say(&peer, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "Connection: close\r\n"));
	assert_true(peer_has(&peer, "<GET /a>"));
	end();
}

static void test_continue(void **state)
{
	begin(NULL);
	peer_say(&peer, "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "HTTP/1.1 100 Continue\r\n\r\n"));
	peer_say(&peer, "ok");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /a>"));
	/* Not when the body is there already, and not to HTTP/1.0 (RFC 9110 §10.1.1). */
	peer_clear(&peer);
	peer_say(&peer, "POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /b>"));
	assert_false(peer_has(&peer, "100 Continue"));
	peer_clear(&peer);
	peer_say(&peer, "POST /c HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	peers_settle(site.loop);
	peer_say(&peer, "ok");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /c>"));
	assert_false(peer_has(&peer, "100 Continue"));
	end();
}

/* A client that offers another protocol gets HTTP/1.1 (RFC 9110 §7.8); Java's client always offers h2c. */
static void test_upgrade_is_ignored(void **state)
{
	begin(NULL);
	peer_say(&peer, "POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
			"Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\nContent-Length: 2\r\n\r\nok");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /a>"));
	peer_say(&peer, "POST /b HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
			"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /b>"));
	assert_string_equal(site.seen, "POST /a host=h [ok]\nPOST /b host=h [ok]\n");
	peer_say(&peer, "GET /c HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /c>"));
	peer_say(&peer, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "HTTP/1.1 400 "));
	assert_int_equal(site.requests, 3);
	end();
}

/* ---- refusals ---- */

struct refusal {
	const char *text;
	const char *status;
};

static void test_malformed(void **state)
{
	static const struct refusal cases[] = {
		{ "what is this\r\n\r\n", "HTTP/1.1 400 " },
		{ "GET / HTTP/2.0\r\nHost: h\r\n\r\n", "HTTP/1.1 400 " },
		{ "GET / HTTP/1.1\r\nHost: h\r\nA B: c\r\n\r\n", "HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1x\r\n\r\n", "HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		  "HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "2\r\nokXX",
		  "HTTP/1.1 400 " },
	};

	site_open(&site, NULL);
	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		peer_connect(&peer, &site.addr, 0);
		peer_say(&peer, cases[i].text);
		PEER_UNTIL(site.loop, peer.has_ended || peer.is_reset);
		assert_false(peer.is_reset);
		assert_int_equal(strncmp(peer.text, cases[i].status, strlen(cases[i].status)), 0);
		assert_true(peer_has(&peer, "{\"error\":{\"message\":"));
		assert_true(peer_has(&peer, "Connection: close\r\n"));
		peer_close(&peer);
		assert_int_equal(httpd_refused_count(site.httpd), i + 1);
	}
	assert_int_equal(site.requests, 0);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	site_close(&site);
}

/* What comes before the garbage is answered. */
static void test_pipelined_garbage(void **state)
{
	begin(NULL);
	peer_say(&peer, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGARBAGE\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "<GET /1>"));
	assert_true(peer_has(&peer, "HTTP/1.1 400 "));
	assert_int_equal(site.requests, 1);
	end();
}

static void test_head_too_large(void **state)
{
	struct httpd_limits l = limits();
	char field[512];

	l.head_size_max = 4096;
	begin(&l);
	memset(field, 'a', sizeof(field));
	memcpy(field, "X: ", 3);
	memcpy(field + sizeof(field) - 3, "\r\n", 3);
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: h\r\n");
	for (int i = 0; i < 20; i++) {
		peer_say(&peer, field);
		peers_turn(site.loop);
	}
	/* The client still sends: it must read the answer all the same and not a reset. */
	PEER_UNTIL(site.loop, peer.has_ended || peer.is_reset);
	assert_false(peer.is_reset);
	assert_true(peer_has(&peer, "HTTP/1.1 431 "));
	end();
}

static void test_too_many_fields(void **state)
{
	char text[8192];
	size_t n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: h\r\n");

	for (int i = 0; i < HTTP_HEADERS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "F%d: v\r\n", i);
	snprintf(text + n, sizeof(text) - n, "\r\n");
	site_open(&site, NULL);
	for (int split = 0; split < 2; split++) {
		peer_connect(&peer, &site.addr, 0);
		peer_send(&peer, text, split ? 100 : 0);
		peers_settle(site.loop);
		peer_say(&peer, text + (split ? 100 : 0));
		PEER_UNTIL(site.loop, peer.has_ended);
		assert_true(peer_has(&peer, "HTTP/1.1 431 "));
		peer_close(&peer);
	}
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	site_close(&site);
}

/* A body that is too large is refused by its head, or as soon as it is; the client can read why. */
static void test_body_too_large(void **state)
{
	struct httpd_limits l = limits();
	static char data[65536];

	l.body_size_max = 1000;
	site_open(&site, &l);
	for (int chunked = 0; chunked < 2; chunked++) {
		peer_connect(&peer, &site.addr, 0);
		peer_say(&peer, chunked ? "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n"
					: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n");
		for (int i = 0; i < 16 && !peer.has_ended; i++) {
			peer_send(&peer, data, sizeof(data));
			peers_turn(site.loop);
		}
		PEER_UNTIL(site.loop, peer.has_ended || peer.is_reset);
		assert_false(peer.is_reset);
		assert_true(peer_has(&peer, "HTTP/1.1 413 "));
		assert_true(peer_has(&peer, "limits.body_size"));
		peer_close(&peer);
	}
	assert_int_equal(site.requests, 0);
	/* Exactly as large as allowed is fine. */
	peer_connect(&peer, &site.addr, 0);
	peer_say(&peer, "POST /ok HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
	peer_send(&peer, data, 1000);
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /ok>"));
	end();
}

static void test_buffers_are_capped(void **state)
{
	struct httpd_limits l = limits();
	struct peer holder;

	l.buffers_max = 64u << 10;
	site_open(&site, &l);
	peer_connect(&holder, &site.addr, 0);
	peer_say(&holder, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\nbegins");
	peers_settle(site.loop);
	peer_connect(&peer, &site.addr, 0);
	peer_say(&peer, "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\nbegins");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "HTTP/1.1 503 "));
	assert_true(peer_has(&peer, "Retry-After: 1\r\n"));
	peer_close(&peer);
	peer_close(&holder);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	/* The same fits again. */
	peer_connect(&peer, &site.addr, 0);
	peer_say(&peer, "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nagain");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /2>"));
	end();
}

/* Announcing a body costs the server little before the body comes. */
static void test_announced_is_not_believed(void **state)
{
	struct httpd_limits l = limits();

	l.body_size_max = 1u << 30;
	begin(&l);
	peer_say(&peer, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\nbegins");
	PEER_UNTIL(site.loop, site.httpd->buffers.live_bytes > 0);
	peers_settle(site.loop);
	assert_in_range(site.httpd->buffers.live_bytes, 1, 2u << 20);
	end();
}

static void test_connections_are_capped(void **state)
{
	struct httpd_limits l = limits();
	struct peer second;

	l.connections_max = 1;
	begin(&l);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 1);
	peer_connect(&second, &site.addr, 0);
	PEER_UNTIL(site.loop, second.is_reset);
	assert_int_equal(httpd_refused_count(site.httpd), 1);
	peer_close(&second);
	peer_say(&peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /a>"));
	end();
}

static void test_requests_are_capped(void **state)
{
	struct httpd_limits l = limits();

	l.requests_max = 2;
	begin(&l);
	peer_say(&peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /a>"));
	assert_false(peer_has(&peer, "Connection: close"));
	/* The third is not answered: its client was told by the second one's answer. */
	peer_say(&peer, "GET /b HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "Connection: close\r\n"));
	assert_true(peer_has(&peer, "<GET /b>"));
	assert_int_equal(site.requests, 2);
	end();
}

static void test_refused_in_on_head(void **state)
{
	begin(NULL);
	site.way = SITE_REFUSES_HEAD;
	peer_say(&peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_count_of(&peer, "pay first") == 2);
	/* With a body on its way the connection cannot go on. */
	peer_say(&peer, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nxxx");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_int_equal(peer_count_of(&peer, "HTTP/1.1 402 "), 3);
	assert_int_equal(site.heads, 3);
	assert_int_equal(site.closed, 3);
	assert_int_equal(site.requests, 0);
	peer_close(&peer);
	peer_connect(&peer, &site.addr, 0);
	site.way = SITE_ABORTS_HEAD;
	peer_say(&peer, "POST /d HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nxxx");
	PEER_UNTIL(site.loop, peer.has_ended || peer.is_reset);
	assert_int_equal(peer.len, 0);
	assert_int_equal(site.closed, 4);
	assert_int_equal(site.gone, 1);
	end();
}

static void write_teapot(struct exchange *x, int err, const char *what, struct bb_buf *body,
			 struct bb_str *content_type)
{
	*content_type = BB_STR("text/teapot");
	bb_buf_printf(body, "%s|%s", bb_error_info(err)->name, what ? what : "-");
}

static void test_own_error_shape(void **state)
{
	static const struct httpd_ops ops = { .on_request = site_on_request,
					      .write_error = write_teapot };
	begin(NULL);
	site.httpd->ops = &ops;
	peer_say(&peer, "nonsense\r\n\r\n");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "Content-Type: text/teapot\r\n"));
	assert_true(peer_has(&peer, "HTTP|"));
	end();
}

/* ---- time ---- */

static void test_slow_head(void **state)
{
	struct httpd_limits l = limits();

	l.head_timeout_ns = 40 * OS_MS;
	begin(&l);
	const uint64_t from_ns = clock_now_ns();
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: ");
	while (!peer.has_ended) { /* a byte now and then does not buy time */
		(void)!send(peer.fd, "h", 1, MSG_NOSIGNAL);
		peers_turn(site.loop);
		assert_true(clock_now_ns() < from_ns + 5 * OS_SECOND);
	}
	assert_true(clock_now_ns() >= from_ns + 40 * OS_MS);
	assert_true(peer_has(&peer, "HTTP/1.1 408 "));
	end();
}

/* A connection on which nothing comes, or blank lines only, is closed without a word. */
static void test_silent_connection(void **state)
{
	struct httpd_limits l = limits();

	l.head_timeout_ns = 30 * OS_MS;
	site_open(&site, &l);
	for (int blank = 0; blank < 2; blank++) {
		peer_connect(&peer, &site.addr, 0);
		if (blank)
			peer_say(&peer, "\r\n\r\n");
		PEER_UNTIL(site.loop, peer.has_ended);
		assert_int_equal(peer.len, 0);
		peer_close(&peer);
	}
	site_close(&site);
}

static void test_slow_body(void **state)
{
	struct httpd_limits l = limits();

	l.body_timeout_ns = 30 * OS_MS;
	begin(&l);
	peer_say(&peer, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "HTTP/1.1 408 "));
	assert_int_equal(site.requests, 0);
	end();
}

static void test_idle_connection(void **state)
{
	struct httpd_limits l = limits();

	l.keepalive_ns = 30 * OS_MS;
	begin(&l);
	peer_say(&peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "<GET /a>"));
	assert_false(peer_has(&peer, "408"));
	end();
}

/* 0 is no limit, and not "at once". */
static void test_no_limits_of_time(void **state)
{
	struct httpd_limits l = limits();

	l.head_timeout_ns = l.body_timeout_ns = l.keepalive_ns = l.write_timeout_ns = 0;
	begin(&l);
	peers_settle(site.loop);
	peer_say(&peer, "POST /a HTTP/1.1\r\nHo");
	peers_settle(site.loop);
	peer_say(&peer, "st: h\r\nContent-Length: 4\r\n\r\nab");
	peers_settle(site.loop);
	peer_say(&peer, "cd");
	PEER_UNTIL(site.loop, peer_has(&peer, "<POST /a>"));
	peers_settle(site.loop);
	peer_say(&peer, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /b>"));
	assert_string_equal(site.seen, "POST /a host=h [abcd]\nGET /b host=h []\n");
	end();
}

static void test_limits_change(void **state)
{
	struct httpd_limits l = limits();

	begin(NULL);
	l.body_size_max = 3;
	httpd_set_limits(site.httpd, &l);
	peer_say(&peer, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "HTTP/1.1 413 "));
	end();
}

/* ---- clients that leave ---- */

static void test_leaves_in_the_middle(void **state)
{
	static const char *const texts[] = {
		"",
		"GET / HT",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	};

	site_open(&site, NULL); /* with time-outs of seconds: nothing may wait for them */
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		for (int how = 0; how < 4; how++) {
			peer_connect(&peer, &site.addr, 0);
			peer_say(&peer, texts[i]);
			if (how & 1) { /* else text and end arrive together */
				PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 1);
				peers_settle(site.loop);
			}
			if (how & 2)
				peer_reset(&peer);
			else
				peer_close(&peer);
			const uint64_t from_ns = clock_now_ns();
			peers_turn(site.loop);
			PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
			assert_true(clock_now_ns() < from_ns + 2 * OS_SECOND);
		}
	}
	assert_int_equal(site.requests, 0);
	assert_int_equal(site.closed, 0);
	site_close(&site);
}

/* Request and end arrive together: answered where that is possible at once, and closed at once. */
static void test_asks_and_leaves(void **state)
{
	begin(NULL);
	peer_say(&peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
	const uint64_t from_ns = clock_now_ns();
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(clock_now_ns() < from_ns + 2 * OS_SECOND);
	assert_true(peer_has(&peer, "<GET /a>"));
	assert_int_equal(httpd_connection_count(site.httpd), 0);
	end();
}

static void test_leaves_while_it_waits(void **state)
{
	site_open(&site, NULL);
	site.way = SITE_LATER;
	for (int reset = 0; reset < 2; reset++) {
		peer_connect(&peer, &site.addr, 0);
		peer_say(&peer, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
		PEER_UNTIL(site.loop, site.x);
		if (reset)
			peer_reset(&peer);
		else
			peer_close(&peer);
		PEER_UNTIL(site.loop, !site.x);
		assert_int_equal(site.gone, reset + 1);
		assert_int_equal(httpd_connection_count(site.httpd), 0);
		assert_int_equal(httpd_exchange_count(site.httpd), 0);
	}
	site_close(&site);
}

/* A client that never stops sending after a refusal is cut after a while, not read for ever. */
static void test_linger_is_bounded(void **state)
{
	static char data[65536];
	struct httpd_limits l = limits();

	l.body_size_max = 1000;
	begin(&l);
	peer_say(&peer, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000000\r\n\r\n");
	const uint64_t from_ns = clock_now_ns();
	while (httpd_connection_count(site.httpd) || site.httpd->refused == 0) {
		(void)!send(peer.fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
		peers_turn(site.loop);
		assert_true(clock_now_ns() < from_ns + 8 * OS_SECOND);
	}
	assert_true(peer_has(&peer, "HTTP/1.1 413 "));
	end();
}

/* ---- ends ---- */

static void test_drain(void **state)
{
	struct peer idle, fresh;

	begin(NULL);
	peer_connect(&idle, &site.addr, 0);
	peer_connect(&fresh, &site.addr, 0);
	peer_say(&idle, "GET /idle HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&idle, "<GET /idle>"));
	site.way = SITE_LATER;
	peer_say(&peer, "GET /busy HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, site.x);
	httpd_drain(site.httpd);
	PEER_UNTIL(site.loop, idle.has_ended && fresh.has_ended);
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&site.addr.storage, site.addr.len), -1);
	close(fd);
	assert_false(peer.has_ended);
	exchange_reply(site.x, 200, BB_STR(""), BB_STR(""), BB_STR("done"));
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_true(peer_has(&peer, "Connection: close\r\n"));
	assert_true(peer_has(&peer, "done"));
	peer_close(&idle);
	peer_close(&fresh);
	end();
}

/* Requests that are in the kernel when the drain begins are answered, on old and on new connections. */
static void test_drain_with_requests_on_their_way(void **state)
{
	struct peer fresh;

	begin(NULL);
	peer_say(&peer, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /1>"));
	peer_say(&peer, "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
	peer_connect(&fresh, &site.addr, 0);
	peer_say(&fresh, "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
	httpd_drain(site.httpd);
	PEER_UNTIL(site.loop, peer.has_ended && fresh.has_ended);
	assert_true(peer_has(&peer, "<GET /2>"));
	assert_true(peer_has(&fresh, "<GET /3>"));
	assert_int_equal(peer_count_of(&peer, "Connection: close\r\n"), 1);
	peer_close(&fresh);
	end();
}

static void test_destroy_with_everything_open(void **state)
{
	struct peer half, busy, streaming;

	begin(NULL);
	site.way = SITE_LATER;
	peer_connect(&half, &site.addr, 0);
	peer_connect(&busy, &site.addr, 0);
	peer_connect(&streaming, &site.addr, 0);
	peer_say(&half, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab");
	peer_say(&busy, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
	PEER_UNTIL(site.loop, site.requests == 1);
	peer_say(&streaming, "GET /s HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, site.requests == 2);
	exchange_begin(site.x, 200, BB_STR("text/plain"), BB_STR(""), EXCHANGE_CHUNKED);
	assert_int_equal(exchange_write(site.x, BB_STR("part")), IO_DONE);
	httpd_destroy(site.httpd);
	site.httpd = NULL;
	assert_int_equal(site.closed, 2);
	assert_int_equal(site.gone, 2);
	PEER_UNTIL(site.loop, (half.has_ended || half.is_reset) && (busy.has_ended || busy.is_reset) &&
				      (streaming.has_ended || streaming.is_reset));
	assert_false(peer_has(&streaming, "0\r\n\r\n"));
	peer_close(&half);
	peer_close(&busy);
	peer_close(&streaming);
	peer_close(&peer);
	site_close(&site);
}

static void test_out_of_descriptors(void **state)
{
	struct rlimit old, low;

	begin(NULL);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 1);
	struct peer second;
	peer_connect(&second, &site.addr, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)second.fd + 1; /* no number is left */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	peers_settle(site.loop);
	peer_say(&peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&peer, "<GET /a>")); /* others are served */
	assert_int_equal(httpd_connection_count(site.httpd), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	peer_say(&second, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, peer_has(&second, "<GET /b>")); /* it had only to wait */
	peer_close(&second);
	end();
}

/* ---- no memory ---- */

/* All kinds of requests on connections of their own; every one ends somehow. */
static void mix(void)
{
	static const char *const texts[] = {
		"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /d HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\nGET /f HTTP/1.1\r\n\r\n",
		"bad\r\n\r\n",
	};

	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		for (int split = 0; split < 2; split++) {
			struct peer p;
			peer_connect(&p, &site.addr, 0);
			const size_t len = strlen(texts[i]), at = split && len > 20 ? 20 : 0;
			peer_send(&p, texts[i], at);
			peers_settle(site.loop);
			(void)!send(p.fd, texts[i] + at, len - at, MSG_NOSIGNAL);
			(void)!shutdown(p.fd, SHUT_WR);
			PEER_UNTIL(site.loop, p.has_ended || p.is_reset);
			peer_close(&p);
		}
	}
}

static void test_nth_allocation_fails(void **state)
{
	uint64_t nth = 0;
	bool failed;

	do {
		nth++;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		site_open(&site, NULL); /* cold: nothing is pooled yet */
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const uint64_t before = bb_alloc_failed_count();
		mix();
		failed = bb_alloc_failed_count() > before;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_int_equal(site.closed, site.requests);
		site.seen[0] = '\0';
		peer_connect(&peer, &site.addr, 0);
		peer_say(&peer, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n");
		PEER_UNTIL(site.loop, peer_has(&peer, "<GET /after>"));
		end();
	} while (failed);
	assert_true(nth > 5);
}

static void test_create_without_memory(void **state)
{
	struct httpd_config c = { .ops = &site_ops };
	struct httpd *s = NULL;
	struct sock_addr a;

	httpd_limits_default(&c.limits);
	assert_int_equal(loop_create(&c.loop), 0);
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_int_equal(httpd_create(&c, &s), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(httpd_create(&c, &s), 0);
	const int fd = peer_listen(&a);
	for (uint64_t n = 1; n <= 2; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		assert_int_equal(httpd_listen(s, fd), -BB_ENOMEM);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(httpd_listen(s, fd), 0); /* after a failure it is still the caller's */
	httpd_destroy(s);
	httpd_destroy(NULL);
	loop_destroy(c.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_request),
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_pipelined_in_order),
		cmocka_unit_test(test_pipelined_waits),
		cmocka_unit_test(test_blank_line_before_half_a_request),
		cmocka_unit_test(test_large_bodies),
		cmocka_unit_test(test_http_1_0),
		cmocka_unit_test(test_connection_close),
		cmocka_unit_test(test_continue),
		cmocka_unit_test(test_upgrade_is_ignored),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_pipelined_garbage),
		cmocka_unit_test(test_head_too_large),
		cmocka_unit_test(test_too_many_fields),
		cmocka_unit_test(test_body_too_large),
		cmocka_unit_test(test_buffers_are_capped),
		cmocka_unit_test(test_announced_is_not_believed),
		cmocka_unit_test(test_connections_are_capped),
		cmocka_unit_test(test_requests_are_capped),
		cmocka_unit_test(test_refused_in_on_head),
		cmocka_unit_test(test_own_error_shape),
		cmocka_unit_test(test_slow_head),
		cmocka_unit_test(test_silent_connection),
		cmocka_unit_test(test_slow_body),
		cmocka_unit_test(test_idle_connection),
		cmocka_unit_test(test_no_limits_of_time),
		cmocka_unit_test(test_limits_change),
		cmocka_unit_test(test_leaves_in_the_middle),
		cmocka_unit_test(test_asks_and_leaves),
		cmocka_unit_test(test_leaves_while_it_waits),
		cmocka_unit_test(test_linger_is_bounded),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_drain_with_requests_on_their_way),
		cmocka_unit_test(test_destroy_with_everything_open),
		cmocka_unit_test(test_out_of_descriptors),
		cmocka_unit_test(test_nth_allocation_fails),
		cmocka_unit_test(test_create_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
