/*
 * Goal: a call ends exactly once, with the whole answer or with an error that says what happened;
 * connections are reused only where that is safe; and nothing is read that the owner does not want
 * yet.
 */
#include "peer.h"

#include "base/alloc.h"
#include "net/httpc.h"
#include "net/httpd.h"

/* An owner of calls and what it was told. */
struct owner {
	struct call call; /* first: call_ops get back to the owner by it */
	struct iovec parts[4];
	int heads, ends, failures;
	int status;
	int err;
	char why[128];
	char header[128];
	char body[1 << 20];
	size_t len;
	bool had_last;
	enum { DO_NOTHING, DO_PAUSE, DO_CANCEL, DO_CANCEL_IN_HEAD, DO_AGAIN } how;
};

static struct loop *loop;
static struct httpc_pool *pool;
static struct sock_addr addr;
static int listen_fd;
static struct peer engine;
static struct owner owner;

static bool is_over(const struct owner *o)
{
	return o->ends + o->failures > 0;
}

static void start(struct owner *o, enum call_conn which);

static void over(struct owner *o)
{
	assert_false(call_is_active(&o->call));
	if (o->how == DO_AGAIN) {
		o->how = DO_NOTHING;
		start(o, CALL_ANY_CONN);
	}
}

static void on_head(struct call *c, const struct http_head *h)
{
	struct owner *o = (struct owner *)c;
	const struct bb_str x = http_head_get(h, BB_STR("x-test"));

	o->heads++;
	o->status = h->status;
	snprintf(o->header, sizeof(o->header), "%.*s", BB_ARG(x));
	if (o->how == DO_CANCEL_IN_HEAD)
		call_cancel(c);
}

static void on_body(struct call *c, char *data, size_t len, enum body_part part)
{
	struct owner *o = (struct owner *)c;

	assert_true(len > 0);
	assert_true(o->len + len < sizeof(o->body));
	memcpy(o->body + o->len, data, len);
	o->len += len;
	/* What httpd.h promises for writes in place. */
	memset(data - EXCHANGE_HEADROOM, '#', EXCHANGE_HEADROOM + len + EXCHANGE_TAILROOM);
	if (part == BODY_LAST) {
		o->had_last = true;
		o->ends++;
		over(o);
	} else if (o->how == DO_PAUSE) {
		call_pause(c);
	} else if (o->how == DO_CANCEL) {
		call_cancel(c);
	}
}

static void on_end(struct call *c)
{
	struct owner *o = (struct owner *)c;

	o->ends++;
	over(o);
}

static void on_failed(struct call *c, int err, const char *why)
{
	struct owner *o = (struct owner *)c;

	o->failures++;
	o->err = err;
	snprintf(o->why, sizeof(o->why), "%s", why);
	over(o);
}

static const struct call_ops ops = {
	.on_head = on_head, .on_body = on_body, .on_end = on_end, .on_failed = on_failed,
};

static const char request_head[] = "POST /x HTTP/1.1\r\nHost: e\r\nContent-Length: 4\r\n\r\n";

static void prepare(struct owner *o)
{
	o->call.ops = &ops;
	o->call.parts = o->parts;
	o->call.parts[0] = (struct iovec){ (char *)request_head, sizeof(request_head) - 1 };
	o->call.parts[1] = (struct iovec){ (char *)"body", 4 };
	o->call.part_count = 2;
	o->heads = o->ends = o->failures = o->status = o->err = 0;
	o->had_last = false;
	o->len = 0;
	o->why[0] = o->header[0] = '\0';
}

static void start(struct owner *o, enum call_conn which)
{
	prepare(o);
	assert_int_equal(call_start(&o->call, pool, which), 0);
}

static void begin(const struct httpc_limits *limits)
{
	struct httpc_limits l;

	httpc_limits_default(&l);
	memset(&owner, 0, sizeof(owner));
	assert_int_equal(loop_create(&loop), 0);
	listen_fd = peer_listen(&addr);
	assert_int_equal(httpc_pool_create(loop, &addr, limits ? limits : &l, &pool), 0);
	engine.fd = -1;
}

/* The engine's end of the connection that was just made. */
static void engine_accept(struct peer *p)
{
	struct sock_addr from;
	int fd = -1;

	PEER_UNTIL(loop, (fd = sock_accept(listen_fd, &from)) >= 0);
	peer_open(p, fd);
}

/* A call whose request has come to the engine. */
static void ask(void)
{
	start(&owner, CALL_ANY_CONN);
	if (engine.fd < 0)
		engine_accept(&engine);
	peer_clear(&engine);
	PEER_UNTIL(loop, peer_has(&engine, "\r\n\r\nbody"));
	assert_true(call_is_sent(&owner.call));
}

static void end(void)
{
	peer_close(&engine);
	httpc_pool_destroy(pool);
	loop_turn(loop, 0);
	loop_destroy(loop);
	sock_close(listen_fd);
}

/* ---- answers ---- */

static void test_answers(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *body;
		uint32_t idle; /* connections kept afterwards */
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nX-Test: t\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 1 },
		{ "HTTP/1.1 200 OK\r\nX-Test: t\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
		  200, "hello", 1 },
		{ "HTTP/1.1 200 OK\r\nX-Test: t\r\nContent-Length: 0\r\n\r\n", 200, "", 1 },
		{ "HTTP/1.1 204 No Content\r\nX-Test: t\r\n\r\n", 204, "", 1 },
		{ "HTTP/1.1 304 Not Modified\r\nX-Test: t\r\nContent-Length: 9\r\n\r\n", 304, "", 1 },
		{ "HTTP/1.1 200 OK\r\nX-Test: t\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", 200,
		  "hello", 0 },
		{ "HTTP/1.0 200 OK\r\nX-Test: t\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 0 },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Test: no\r\n\r\n"
		  "HTTP/1.1 200 OK\r\nX-Test: t\r\nContent-Length: 2\r\n\r\nok",
		  200, "ok", 1 },
		/* Bytes that nobody asked for: the answer is good, the connection is not. */
		{ "HTTP/1.1 200 OK\r\nX-Test: t\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", 200, "ok",
		  0 },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		/* In one piece, and a byte at a time. */
		for (int split = 0; split < 2; split++) {
			begin(NULL);
			ask();
			for (const char *p = cases[i].text; split && *p; p++) {
				if (is_over(&owner))
					break;
				peer_send(&engine, p, 1);
				peers_turn(loop);
			}
			if (!split)
				peer_say(&engine, cases[i].text);
			PEER_UNTIL(loop, is_over(&owner));
			assert_int_equal(owner.ends, 1);
			assert_int_equal(owner.failures, 0);
			assert_int_equal(owner.heads, 1);
			assert_int_equal(owner.status, cases[i].status);
			assert_string_equal(owner.header, "t");
			assert_int_equal(owner.len, strlen(cases[i].body));
			assert_memory_equal(owner.body, cases[i].body, owner.len);
			peers_settle(loop);
			if (!split || i != UNIT_COUNT(cases) - 1)
				assert_int_equal(httpc_pool_idle_count(pool), cases[i].idle);
			assert_int_equal(httpc_pool_busy_count(pool), 0);
			end();
		}
	}
}

static void test_until_close(void **state)
{
	begin(NULL);
	ask();
	peer_say(&engine, "HTTP/1.0 200 OK\r\n\r\nhel");
	PEER_UNTIL(loop, owner.len == 3);
	peer_say(&engine, "lo");
	peer_close(&engine);
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.ends, 1);
	assert_memory_equal(owner.body, "hello", 5);
	assert_false(owner.had_last);
	end();
}

static void test_head_request(void **state)
{
	begin(NULL);
	owner.call.is_head_method = true;
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.ends, 1);
	assert_int_equal(owner.len, 0);
	assert_int_equal(httpc_pool_idle_count(pool), 1);
	end();
}

/* The last bytes come with the end, so that an answer can be finished in one write. */
static void test_end_comes_with_the_last_bytes(void **state)
{
	begin(NULL);
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n");
	PEER_UNTIL(loop, owner.len == 2);
	assert_false(owner.had_last);
	peer_say(&engine, "3\r\nllo\r\n0\r\n\r\n");
	PEER_UNTIL(loop, is_over(&owner));
	assert_true(owner.had_last);
	end();
}

/* ---- failures ---- */

static void test_bad_answers(void **state)
{
	static const struct {
		const char *text;
		int heads;
		const char *why;
	} cases[] = {
		{ "", 0, "without an answer" },
		{ "HTTP/1.1 200", 0, "before the end" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", 1, "before the end" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 1, "before the end" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", 1, "before the end" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 1, "before the end" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 1, "not valid" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0,
		  "not valid" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0, "not valid" },
		{ "SSH-2.0-OpenSSH_9.2\r\n", 0, "not valid" },
		{ "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 0,
		  "switched protocols" },
		{ "HTTP/1.1 100 Continue\r\n\r\n", 0, "before the end" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		begin(NULL);
		ask();
		peer_say(&engine, cases[i].text);
		peers_settle(loop);
		peer_close(&engine);
		PEER_UNTIL(loop, is_over(&owner));
		assert_int_equal(owner.failures, 1);
		assert_int_equal(owner.ends, 0);
		assert_int_equal(owner.err, -BB_EUPSTREAM);
		assert_int_equal(owner.heads, cases[i].heads);
		if (!strstr(owner.why, cases[i].why))
			fail_msg("case %zu: \"%s\" is not about \"%s\"", i, owner.why, cases[i].why);
		assert_int_equal(owner.call.has_answer, cases[i].text[0] != '\0');
		assert_int_equal(httpc_pool_idle_count(pool), 0);
		end();
	}
}

static void test_head_too_large(void **state)
{
	struct httpc_limits l;
	char text[9000];

	httpc_limits_default(&l);
	l.head_size_max = 4096;
	for (int fields = 0; fields < 2; fields++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n");
		if (fields) {
			l.head_size_max = 16384;
			for (int i = 0; i <= HTTP_HEADERS_MAX; i++)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "F%d: v\r\n", i);
		} else {
			memset(text + n, 'X', 8000);
			n += 8000;
			n += (size_t)snprintf(text + n, sizeof(text) - n, ": y\r\n");
		}
		snprintf(text + n, sizeof(text) - n, "\r\n");
		for (int split = 0; split < 2; split++) {
			begin(&l);
			ask();
			peer_send(&engine, text, split ? 50 : 0);
			peers_settle(loop);
			peer_say(&engine, text + (split ? 50 : 0));
			PEER_UNTIL(loop, is_over(&owner));
			assert_int_equal(owner.failures, 1);
			assert_int_equal(owner.err, -BB_EUPSTREAM);
			assert_non_null(strstr(owner.why, fields ? "too many" : "too large"));
			end();
		}
	}
}

/* A head that never ends is not collected for ever. */
static void test_endless_head(void **state)
{
	begin(NULL);
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < 100000 && !is_over(&owner); i++) {
		(void)!send(engine.fd, "X-Field: value\r\n", 16, MSG_NOSIGNAL | MSG_DONTWAIT);
		peers_turn(loop);
	}
	assert_int_equal(owner.failures, 1);
	end();
}

static void test_nobody_listens(void **state)
{
	begin(NULL);
	sock_close(listen_fd);
	prepare(&owner);
	const int rc = call_start(&owner.call, pool, CALL_ANY_CONN);
	if (rc == 0) {
		PEER_UNTIL(loop, is_over(&owner));
		assert_int_equal(owner.err, -BB_ECONNECT);
		assert_int_equal(owner.call.connected_ns, 0);
	} else {
		assert_int_equal(rc, -BB_ECONNECT);
	}
	assert_false(call_is_active(&owner.call));
	listen_fd = peer_listen(&addr);
	end();
}

static void test_reset(void **state)
{
	begin(NULL);
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	PEER_UNTIL(loop, owner.len == 4);
	peer_reset(&engine);
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.err, -BB_EUPSTREAM);
	end();
}

/* ---- time ---- */

static void test_timeouts(void **state)
{
	struct httpc_limits l;

	httpc_limits_default(&l);
	l.head_timeout_ns = l.read_timeout_ns = 40 * OS_MS;
	for (int head = 0; head < 2; head++) {
		begin(&l);
		ask();
		if (head) {
			peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
			PEER_UNTIL(loop, owner.len == 4);
		}
		PEER_UNTIL(loop, is_over(&owner));
		assert_int_equal(owner.err, -BB_EUPTIMEOUT);
		assert_non_null(strstr(owner.why, head ? "silent" : "in time"));
		PEER_UNTIL(loop, engine.has_ended || engine.is_reset); /* the engine learns it */
		end();
	}
}

/* Each piece of the body gives more time. */
static void test_slow_answer_is_fine(void **state)
{
	struct httpc_limits l;

	httpc_limits_default(&l);
	l.read_timeout_ns = 100 * OS_MS;
	begin(&l);
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n");
	const uint64_t from_ns = clock_now_ns();
	uint64_t sent = 0;
	while (!is_over(&owner)) {
		while (sent < 300 && clock_now_ns() - from_ns > sent * OS_MS) {
			peer_say(&engine, "x");
			sent++;
		}
		peers_turn(loop);
		assert_true(clock_now_ns() < from_ns + 10 * OS_SECOND);
	}
	assert_int_equal(owner.ends, 1);
	assert_int_equal(owner.len, 300);
	end();
}

static void test_engine_that_does_not_read(void **state)
{
	static char big[8 << 20];
	struct httpc_limits l;
	char head[128];

	httpc_limits_default(&l);
	l.write_timeout_ns = 50 * OS_MS;
	begin(&l);
	prepare(&owner);
	snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", sizeof(big));
	owner.call.parts = owner.parts;
	owner.call.parts[0] = (struct iovec){ head, strlen(head) };
	owner.call.parts[1] = (struct iovec){ big, sizeof(big) };
	assert_int_equal(call_start(&owner.call, pool, CALL_ANY_CONN), 0);
	engine_accept(&engine);
	engine.is_deaf = true;
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.err, -BB_EUPTIMEOUT);
	assert_false(call_is_sent(&owner.call));
	end();
}

static void test_large_request(void **state)
{
	static char big[8 << 20];
	char head[128];

	memset(big, 'q', sizeof(big));
	begin(NULL);
	prepare(&owner);
	snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", sizeof(big));
	owner.call.parts = owner.parts;
	owner.call.parts[0] = (struct iovec){ head, strlen(head) };
	owner.call.parts[1] = (struct iovec){ big, sizeof(big) / 2 };
	owner.call.parts[2] = (struct iovec){ big + sizeof(big) / 2, sizeof(big) / 2 };
	owner.call.part_count = 3;
	assert_int_equal(call_start(&owner.call, pool, CALL_ANY_CONN), 0);
	engine_accept(&engine);
	PEER_UNTIL(loop, engine.len == strlen(head) + sizeof(big));
	assert_true(call_is_sent(&owner.call));
	assert_memory_equal(engine.text + strlen(head), big, sizeof(big));
	peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.ends, 1);
	assert_int_equal(httpc_pool_idle_count(pool), 1);
	end();
}

/* ---- answers before the request was sent ---- */

static void test_early_answer(void **state)
{
	static char big[16 << 20];
	char head[128];

	for (int way = 0; way < 2; way++) { /* stays, or closes */
		begin(NULL);
		prepare(&owner);
		snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nContent-Length: %zu\r\n\r\n",
			 sizeof(big));
		owner.call.parts = owner.parts;
		owner.call.parts[0] = (struct iovec){ head, strlen(head) };
		owner.call.parts[1] = (struct iovec){ big, sizeof(big) };
		assert_int_equal(call_start(&owner.call, pool, CALL_ANY_CONN), 0);
		engine_accept(&engine);
		engine.is_deaf = true;
		peers_settle(loop);
		peer_say(&engine, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
		if (way)
			peer_close(&engine); /* with unread bytes: the kernel sends RST */
		PEER_UNTIL(loop, is_over(&owner));
		assert_int_equal(owner.ends, 1);
		assert_int_equal(owner.status, 413);
		assert_memory_equal(owner.body, "big", 3);
		assert_int_equal(httpc_pool_idle_count(pool), 0); /* the rest was never sent */
		end();
	}
}

/* ---- the pool ---- */

static void answer(void)
{
	peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.ends, 1);
}

static void test_reuse(void **state)
{
	begin(NULL);
	ask();
	assert_false(owner.call.was_reused);
	answer();
	for (int i = 0; i < 3; i++) {
		ask(); /* on the same connection: engine_accept was not called again */
		assert_true(owner.call.was_reused);
		assert_int_equal(httpc_pool_busy_count(pool), 1);
		assert_int_equal(httpc_pool_idle_count(pool), 0);
		answer();
	}
	/* A fresh one when that is wanted. */
	struct peer first = engine;
	peer_count = 0;
	peers[peer_count++] = &first;
	engine.fd = -1;
	start(&owner, CALL_FRESH_CONN);
	engine_accept(&engine);
	assert_false(owner.call.was_reused);
	PEER_UNTIL(loop, peer_has(&engine, "body"));
	answer();
	assert_int_equal(httpc_pool_idle_count(pool), 2);
	httpc_pool_flush(pool);
	assert_int_equal(httpc_pool_idle_count(pool), 0);
	PEER_UNTIL(loop, first.has_ended && engine.has_ended);
	peer_close(&first);
	end();
}

static void test_call_from_inside_of_the_end(void **state)
{
	begin(NULL);
	owner.how = DO_AGAIN;
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	peer_clear(&engine);
	PEER_UNTIL(loop, peer_has(&engine, "\r\n\r\nbody"));
	assert_true(owner.call.was_reused);
	answer();
	/* And after a failure. */
	owner.how = DO_AGAIN;
	ask();
	peer_close(&engine);
	engine.fd = -1;
	engine_accept(&engine);
	PEER_UNTIL(loop, peer_has(&engine, "\r\n\r\nbody"));
	assert_false(owner.call.was_reused);
	answer();
	end();
}

static void test_engine_closes_idle_connection(void **state)
{
	begin(NULL);
	ask();
	answer();
	assert_int_equal(httpc_pool_idle_count(pool), 1);
	peer_close(&engine);
	PEER_UNTIL(loop, httpc_pool_idle_count(pool) == 0);
	/* Unasked bytes end it as well. */
	engine.fd = -1;
	ask();
	answer();
	peer_say(&engine, "HTTP/1.1 408 Request Timeout\r\n\r\n");
	PEER_UNTIL(loop, httpc_pool_idle_count(pool) == 0);
	end();
}

/* It closes as we write: the caller can tell that no one has begun to answer. */
static void test_stale_connection(void **state)
{
	begin(NULL);
	ask();
	answer();
	peer_close(&engine); /* the loop has not turned: the pool does not know */
	prepare(&owner);
	const int rc = call_start(&owner.call, pool, CALL_ANY_CONN);
	if (rc == 0)
		PEER_UNTIL(loop, is_over(&owner));
	else
		assert_int_equal(rc, -BB_EUPSTREAM);
	assert_true(owner.call.was_reused);
	assert_false(owner.call.has_answer);
	assert_false(call_is_active(&owner.call));
	engine.fd = -1;
	start(&owner, CALL_FRESH_CONN);
	engine_accept(&engine);
	PEER_UNTIL(loop, peer_has(&engine, "body"));
	answer();
	end();
}

static void test_idle_limits(void **state)
{
	struct httpc_limits l;

	httpc_limits_default(&l);
	l.idle_max = 0;
	begin(&l);
	ask();
	answer();
	assert_int_equal(httpc_pool_idle_count(pool), 0);
	end();
	httpc_limits_default(&l);
	l.idle_timeout_ns = 30 * OS_MS;
	begin(&l);
	ask();
	answer();
	assert_int_equal(httpc_pool_idle_count(pool), 1);
	PEER_UNTIL(loop, engine.has_ended);
	assert_int_equal(httpc_pool_idle_count(pool), 0);
	end();
}

/* ---- pull ---- */

static void test_pause(void **state)
{
	static char piece[65536];
	struct httpc_limits l;

	httpc_limits_default(&l);
	l.read_timeout_ns = 30 * OS_MS; /* must not run while the owner does not want to read */
	begin(&l);
	owner.how = DO_PAUSE;
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
	PEER_UNTIL(loop, owner.len > 0);
	peer_say(&engine, "6\r\nsecond\r\n0\r\n\r\n");
	const uint64_t from_ns = clock_now_ns();
	while (clock_now_ns() < from_ns + 60 * OS_MS)
		peers_turn(loop);
	assert_memory_equal(owner.body, "first", owner.len);
	assert_false(is_over(&owner));
	owner.how = DO_NOTHING;
	call_resume(&owner.call);
	assert_int_equal(owner.len, 5); /* not from inside of the call */
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.ends, 1);
	assert_memory_equal(owner.body, "firstsecond", 11);
	/* The engine is held back while its socket is full. */
	owner.how = DO_PAUSE;
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\n\r\n");
	size_t sent = 0;
	for (int i = 0; i < 400; i++) {
		const ssize_t n = send(engine.fd, piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		peers_turn(loop);
	}
	assert_true(sent < 16u << 20);
	assert_in_range(owner.len, 1, 65536);
	call_cancel(&owner.call);
	end();
}

/* An engine that dies while the owner pauses: what it had sent is delivered first. */
static void test_death_while_paused(void **state)
{
	begin(NULL);
	owner.how = DO_PAUSE;
	ask();
	peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst");
	PEER_UNTIL(loop, owner.len > 0);
	peer_say(&engine, "second");
	peer_close(&engine);
	peers_settle(loop);
	assert_false(is_over(&owner));
	owner.how = DO_NOTHING;
	call_resume(&owner.call);
	PEER_UNTIL(loop, is_over(&owner));
	assert_int_equal(owner.ends, 1);
	assert_memory_equal(owner.body, "firstsecond", 11);
	end();
}

static void test_cancel(void **state)
{
	begin(NULL);
	call_cancel(&owner.call); /* nothing under way */
	for (int way = 0; way < 4; way++) {
		owner.how = way == 2 ? DO_CANCEL_IN_HEAD : way == 3 ? DO_CANCEL : DO_NOTHING;
		if (way == 0) { /* while it connects */
			start(&owner, CALL_ANY_CONN);
			call_cancel(&owner.call);
			engine_accept(&engine);
		} else {
			ask();
			if (way == 1)
				call_cancel(&owner.call);
			else
				peer_say(&engine, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
		}
		PEER_UNTIL(loop, engine.has_ended || engine.is_reset);
		peers_settle(loop);
		assert_false(is_over(&owner)); /* no callback after it */
		assert_false(call_is_active(&owner.call));
		assert_int_equal(httpc_pool_busy_count(pool), 0);
		assert_int_equal(httpc_pool_idle_count(pool), 0);
		peer_close(&engine);
		engine.fd = -1;
	}
	end();
}

/* ---- no memory ---- */

static void test_nth_allocation_fails(void **state)
{
	struct httpc_limits l;
	bool failed = true;

	httpc_limits_default(&l);
	for (uint64_t nth = 1; failed; nth++) {
		begin(NULL);
		prepare(&owner);
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const uint64_t before = bb_alloc_failed_count();
		if (call_start(&owner.call, pool, CALL_ANY_CONN) == 0) {
			engine_accept(&engine);
			PEER_UNTIL(loop, peer_has(&engine, "body") || is_over(&owner));
			const char *const text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
			for (const char *p = text; *p && !is_over(&owner); p++) { /* a split head is collected */
				peer_send(&engine, p, 1);
				peers_turn(loop);
			}
			PEER_UNTIL(loop, is_over(&owner));
		}
		failed = bb_alloc_failed_count() > before;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_int_equal(httpc_pool_busy_count(pool), 0);
		assert_int_equal(owner.ends, failed ? 0 : 1);
		end();
		struct httpc_pool *p = NULL;
		bb_alloc_fail_at(1, BB_FAIL_ONCE);
		struct loop *unused = NULL;
		assert_int_equal(httpc_pool_create(unused, &addr, &l, &p), -BB_ENOMEM);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
	}
	httpc_pool_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_until_close),
		cmocka_unit_test(test_head_request),
		cmocka_unit_test(test_end_comes_with_the_last_bytes),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_head_too_large),
		cmocka_unit_test(test_endless_head),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_slow_answer_is_fine),
		cmocka_unit_test(test_engine_that_does_not_read),
		cmocka_unit_test(test_large_request),
		cmocka_unit_test(test_early_answer),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_call_from_inside_of_the_end),
		cmocka_unit_test(test_engine_closes_idle_connection),
		cmocka_unit_test(test_stale_connection),
		cmocka_unit_test(test_idle_limits),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_death_while_paused),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_nth_allocation_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
