/*
 * Goal: whichever allocation fails, the simulated engine starts or says why not, answers a request
 * with an answer or an error or a closed connection, and serves the next one as if nothing had
 * been.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "os/clock.h"
#include "sim/sim_server.h"

struct bench {
	struct loop *loop;
	struct sim_server *server;
	struct sock_addr addr;
};

static void config_init(struct sim_config *c)
{
	sim_config_default(c);
	c->models[c->model_count++] = BB_STR("m");
	c->engine.ttft_ns = 0;
	c->engine.itl_ns = 0;
	c->engine.requests_max = 64;
	c->kv_events = BB_STR("tcp://127.0.0.1:0");
	c->kv_replay = BB_STR("tcp://127.0.0.1:0");
}

static int set_up(void **state)
{
	static struct bench b;
	struct sim_config config;
	const char *why;

	config_init(&config);
	assert_int_equal(loop_create(&b.loop), 0);
	assert_int_equal(sim_server_create(&config, b.loop, &b.server, &why), 0);
	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &b.addr, &why), 0);
	const int fd = sock_listen(&b.addr, SOCK_EXCLUSIVE, 16, &why);
	assert_true(fd >= 0);
	assert_int_equal(sock_local_addr(fd, &b.addr), 0);
	assert_int_equal(sim_server_listen(b.server, fd), 0);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	sim_server_destroy(b->server);
	loop_destroy(b->loop);
	return 0;
}

/* Sends it on a connection of its own and turns the loop until that ends. `nth` as in
 * bb_alloc_fail_at. */
static void talk(struct bench *b, const char *path, const char *body, uint64_t nth,
		 struct bb_buf *answer)
{
	const uint64_t give_up_ns = clock_now_ns() + 10 * OS_SECOND;
	struct bb_buf request;
	char piece[4096];
	size_t got = 0;

	bb_buf_init(&request, 65536);
	bb_buf_printf(
		&request,
		"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		path, strlen(body), body);
	/* The client's own buffers are in the same process: they are made before. */
	assert_int_equal(bb_buf_reserve(answer, 65536), 0);
	const int fd = sock_connect(&b->addr);
	assert_true(fd >= 0);
	bb_alloc_fail_at(nth, BB_FAIL_ONCE);
	bool is_sent = false;
	for (;;) {
		assert_true(clock_now_ns() < give_up_ns);
		if (!is_sent && sock_write(fd, request.p, request.len, &got) == IO_DONE)
			is_sent = true;
		loop_turn(b->loop, OS_MS);
		const enum io io = sock_read(fd, piece, sizeof(piece), &got);
		if (io == IO_DONE)
			bb_buf_add(answer, piece, got);
		else if (io != IO_AGAIN)
			break;
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	sock_close(fd);
	bb_buf_fini(&request);
}

static int status_of(const struct bb_buf *answer)
{
	const struct bb_str text = bb_buf_str(answer);
	uint64_t status;

	if (text.len < 12 || !bb_str_starts(text, BB_STR("HTTP/1.1 ")) ||
	    bb_parse_u64((struct bb_str){ text.p + 9, 3 }, &status))
		return 0;
	return (int)status;
}

static void test_create_without_memory(void **state)
{
	struct sim_config config;
	struct sim_server *s = NULL;
	struct loop *loop;
	const char *why;
	int failures = 0;

	config_init(&config);
	assert_int_equal(loop_create(&loop), 0);
	for (uint64_t n = 1; !s; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		const int rc = sim_server_create(&config, loop, &s, &why);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		failures += rc != 0;
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_true(failures > 8);
	sim_server_destroy(s);
	loop_destroy(loop);
}

/* Fails each allocation of a request in turn; returns how many there were. */
static int torture(struct bench *b, const char *path, const char *body)
{
	int failures = 0;

	for (uint64_t n = 1; n <= 400; n++) {
		struct bb_buf answer;
		bb_buf_init(&answer, 1 << 20);
		const uint64_t failed_before = bb_alloc_failed_count();
		talk(b, path, body, n, &answer);
		const bool has_failed = bb_alloc_failed_count() > failed_before;
		const int status = status_of(&answer);
		assert_true(status == 200 || (has_failed && (status == 0 || status >= 500)));
		bb_buf_fini(&answer);
		failures += has_failed;
		if (!has_failed)
			break;
	}
	assert_true(failures < 400);
	return failures;
}

static void test_requests_without_memory(void **state)
{
	const char *chat =
		"{\"messages\":[{\"role\":\"user\",\"content\":"
		"\"The quick brown fox jumps over the lazy dog, and once again it does.\"}],"
		"\"max_tokens\":40,\"n\":2}";
	const char *stream = "{\"prompt\":\"x\",\"max_tokens\":40,\"stream\":true}";

	/* The first one meets a cold server, whose buffers and pools are all to be made. */
	assert_true(torture(*state, "/v1/chat/completions", chat) > 4);
	torture(*state, "/v1/completions", stream);
	torture(*state, "/v1/embeddings", "{\"input\":[\"a\",\"b\"]}");
	torture(*state, "/v1/rerank", "{\"query\":\"a\",\"documents\":[\"b\",\"c\"]}");
}

static void test_still_in_order_afterwards(void **state)
{
	struct bb_buf answer;

	torture(*state, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":4}");
	bb_buf_init(&answer, 1 << 20);
	talk(*state, "/sim/state", "", 0, &answer);
	assert_int_equal(status_of(&answer), 200);
	assert_true(bb_str_find(bb_buf_str(&answer), BB_STR("{\"running\":0,\"waiting\":0,")) > 0);
	assert_true(bb_str_find(bb_buf_str(&answer), BB_STR("\"kv_blocks_held\":0,")) > 0);
	bb_buf_fini(&answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_without_memory),
		cmocka_unit_test_setup_teardown(test_requests_without_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_still_in_order_afterwards, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
