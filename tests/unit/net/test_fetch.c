/*
 * Goal: a whole answer or one error comes for each request, in time, within its size, also over
 * kept connections that the peer closes, and nothing given can end a line of the head.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/alloc.h"
#include "net/fetch.h"
#include "net/httpd.h"
#include "os/clock.h"

static struct loop *loop;
static struct httpd *server;
static struct httpc_pool *pool;
static struct sock_addr addr;

/* ---- a server that echoes what it was asked ---- */

static void on_request(struct exchange *x)
{
	char text[512];
	const struct http_head *h = x->head;

	if (bb_str_eq(h->path, BB_STR("/hang")))
		return;
	if (bb_str_eq(h->path, BB_STR("/cut"))) {
		exchange_begin(x, 200, BB_STR("text/plain"), BB_STR(""), 100);
		exchange_write(x, BB_STR("half"));
		exchange_abort(x);
		return;
	}
	if (bb_str_eq(h->path, BB_STR("/chunks"))) {
		exchange_begin(x, 200, BB_STR("text/plain"), BB_STR(""), EXCHANGE_CHUNKED);
		for (int i = 0; i < 10; i++)
			exchange_write(x, BB_STR("0123456789"));
		exchange_end(x);
		return;
	}
	if (bb_str_eq(h->path, BB_STR("/empty"))) {
		exchange_reply(x, 204, BB_STR(""), BB_STR(""), BB_STR(""));
		return;
	}
	const int len = snprintf(text, sizeof(text), "%s %.*s host=%.*s auth=%.*s x=%.*s body=%.*s",
				 llhttp_method_name(h->method), BB_ARG(h->target),
				 BB_ARG(http_head_get(h, BB_STR("Host"))),
				 BB_ARG(http_head_get(h, BB_STR("Authorization"))),
				 BB_ARG(http_head_get(h, BB_STR("X-One"))), (int)x->body_len,
				 x->body ? x->body : "");
	exchange_reply(x, 200, BB_STR("text/plain; charset=utf-8"), BB_STR(""),
		       (struct bb_str){ text, (size_t)len });
}

static void on_closed(struct exchange *x)
{
}

static void server_start(void)
{
	static const struct httpd_ops ops = { .on_request = on_request, .on_closed = on_closed };
	struct httpd_config c = { .loop = loop, .ops = &ops };
	const char *why;

	httpd_limits_default(&c.limits);
	assert_int_equal(httpd_create(&c, &server), 0);
	const int fd = sock_listen(&addr, SOCK_EXCLUSIVE, 16, &why);
	assert_true(fd >= 0);
	assert_int_equal(sock_local_addr(fd, &addr), 0);
	assert_int_equal(httpd_listen(server, fd), 0);
}

static int setup(void **state)
{
	struct httpc_limits limits;
	const char *why;

	httpc_limits_default(&limits);
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &addr, &why), 0);
	server_start();
	return httpc_pool_create(loop, &addr, &limits, &pool);
}

static int teardown(void **state)
{
	httpc_pool_destroy(pool);
	httpd_destroy(server);
	server = NULL;
	loop_destroy(loop);
	return 0;
}

/* ---- a caller that turns the loop itself ---- */

struct result {
	int calls, err, status;
	char type[64], body[512];
	size_t body_len;
};

static void on_done(void *user, const struct fetch_answer *a)
{
	struct result *r = user;

	r->calls++;
	r->err = a->err;
	r->status = a->status;
	r->body_len = a->body.len;
	assert_true(!a->err == !a->why);
	snprintf(r->type, sizeof(r->type), "%.*s", BB_ARG(a->type));
	snprintf(r->body, sizeof(r->body), "%.*s", (int)a->body.len, a->body.len ? a->body.p : "");
}

static struct fetch_request request_for(const char *method, const char *target, struct result *r)
{
	*r = (struct result){ 0 };
	return (struct fetch_request){
		.loop = loop,
		.method = method,
		.host = BB_STR("h:1"),
		.target = bb_str_of(target),
		.body_size_max = 1000,
		.timeout_ns = 5 * OS_SECOND,
		.user = r,
		.on_done = on_done,
	};
}

static void run(const struct fetch_request *q)
{
	struct result *r = q->user;
	struct fetch *f;
	const uint64_t end_ns = clock_now_ns() + 10 * OS_SECOND;

	assert_int_equal(fetch_start(pool, q, &f), 0);
	assert_int_equal(r->calls, 0);
	while (!r->calls && clock_now_ns() < end_ns)
		loop_turn(loop, OS_MS);
	assert_int_equal(r->calls, 1);
}

static void test_get(void **state)
{
	struct result r;
	struct fetch_request q = request_for("GET", "/a?b=c", &r);

	q.bearer = BB_STR("sk-1");
	q.headers = BB_STR("X-One: 1\r\n");
	run(&q);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.type, "text/plain; charset=utf-8");
	assert_string_equal(r.body, "GET /a?b=c host=h:1 auth=Bearer sk-1 x=1 body=");
	assert_int_equal(httpc_pool_idle_count(pool), 1);
	q = request_for("GET", "/empty", &r);
	run(&q);
	assert_int_equal(r.status, 204);
	assert_int_equal(r.body_len, 0);
}

static void test_post(void **state)
{
	struct result r;
	struct fetch_request q = request_for("POST", "/drain", &r);

	q.body = BB_STR("{\"engine\":1}");
	run(&q);
	assert_int_equal(r.err, 0);
	assert_string_equal(r.body, "POST /drain host=h:1 auth= x= body={\"engine\":1}");
	q = request_for("DELETE", "/x", &r);
	run(&q);
	assert_string_equal(r.body, "DELETE /x host=h:1 auth= x= body=");
}

static void test_sizes(void **state)
{
	struct result r;
	struct fetch_request q = request_for("GET", "/chunks", &r);

	q.body_size_max = 100;
	run(&q);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.body_len, 100);
	q = request_for("GET", "/chunks", &r);
	q.body_size_max = 99;
	run(&q);
	assert_int_equal(r.err, -BB_ELIMIT);
	assert_int_equal(r.body_len, 0);
	q = request_for("GET", "/with-a-length", &r);
	q.body_size_max = 10;
	run(&q);
	assert_int_equal(r.err, -BB_ELIMIT);
	assert_int_equal(r.status, 200);
}

static void test_failures(void **state)
{
	struct result r;
	struct fetch_request q = request_for("GET", "/hang", &r);

	q.timeout_ns = 20 * OS_MS;
	run(&q);
	assert_int_equal(r.err, -BB_EUPTIMEOUT);
	q = request_for("GET", "/cut", &r);
	run(&q);
	assert_int_equal(r.err, -BB_EUPSTREAM);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.body_len, 0);
}

static void test_nobody_there(void **state)
{
	struct result r;
	const struct fetch_request q = request_for("GET", "/", &r);
	struct fetch *f;
	const uint64_t end_ns = clock_now_ns() + 10 * OS_SECOND;

	httpd_destroy(server);
	server = NULL;
	/* Known at once on some systems, a turn later on others. */
	int rc = fetch_start(pool, &q, &f);
	while (!rc && !r.calls && clock_now_ns() < end_ns)
		loop_turn(loop, OS_MS);
	assert_int_equal(rc ? rc : r.err, -BB_ECONNECT);
	assert_int_equal(r.calls, rc ? 0 : 1);
}

/* The server is replaced while a connection is kept: a GET goes through all the same. */
static void test_stale_connection(void **state)
{
	struct result r;
	struct fetch_request q = request_for("GET", "/first", &r);

	run(&q);
	assert_int_equal(httpc_pool_idle_count(pool), 1);
	httpd_destroy(server); /* its FIN is there, but the client's loop has not seen it yet */
	server_start();
	q = request_for("GET", "/second", &r);
	run(&q);
	assert_int_equal(r.err, 0);
	assert_string_equal(r.body, "GET /second host=h:1 auth= x= body=");
}

static void test_lines_cannot_be_ended(void **state)
{
	struct result r;
	struct fetch_request q = request_for("GET", "/a\r\nX-One: 1", &r);
	struct fetch *f;

	assert_int_equal(fetch_start(pool, &q, &f), -BB_EINVALID);
	q = request_for("GET", "/", &r);
	q.bearer = BB_STR("k\nX: y");
	assert_int_equal(fetch_start(pool, &q, &f), -BB_EINVALID);
	q = request_for("GET", "/", &r);
	q.host = BB_STR("h\r\n");
	assert_int_equal(fetch_start(pool, &q, &f), -BB_EINVALID);
	assert_int_equal(r.calls, 0);
}

static void test_cancel(void **state)
{
	struct result r;
	const struct fetch_request q = request_for("GET", "/hang", &r);
	struct fetch *f;

	assert_int_equal(fetch_start(pool, &q, &f), 0);
	fetch_cancel(f);
	assert_int_equal(fetch_start(pool, &q, &f), 0);
	for (int i = 0; i < 20; i++)
		loop_turn(loop, OS_MS);
	fetch_cancel(f);
	fetch_cancel(NULL);
	assert_int_equal(r.calls, 0);
	assert_int_equal(httpc_pool_busy_count(pool), 0);
}

static void test_without_memory(void **state)
{
	for (uint64_t n = 1; n < 12; n++) {
		struct result r;
		const struct fetch_request q = request_for("GET", "/a", &r);
		struct fetch *f;
		const uint64_t end_ns = clock_now_ns() + 10 * OS_SECOND;
		httpc_pool_flush(pool);
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		const int rc = fetch_start(pool, &q, &f);
		while (!rc && !r.calls && clock_now_ns() < end_ns)
			loop_turn(loop, OS_MS);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_int_equal(r.calls, rc ? 0 : 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_get, setup, teardown),
		cmocka_unit_test_setup_teardown(test_post, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lines_cannot_be_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
