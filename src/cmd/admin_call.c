#include "cmd/admin_call.h"

#include <stdio.h>

#include "base/log.h"
#include "net/fetch.h"
#include "os/clock.h"

#define TIMEOUT_NS (10 * OS_SECOND)
#define ANSWER_MAX (64u << 20)

struct waiting {
	bool done;
	int err;
	int status;
	const char *why;
	struct bb_buf *answer;
};

static void on_done(void *user, const struct fetch_answer *a)
{
	struct waiting *w = user;

	w->done = true;
	w->err = a->err;
	w->status = a->status;
	w->why = a->why;
	bb_buf_add_str(w->answer, a->body);
}

int admin_call(const char *command, const char *admin, const char *method, const char *path,
	       int *status, struct bb_buf *answer)
{
	struct sock_addr addr;
	const char *why = "";
	struct loop *loop;
	struct httpc_pool *pool;
	struct httpc_limits limits;
	struct fetch *f;
	struct waiting w = { .answer = answer };

	if (sock_addr_parse(bb_str_of(admin), &addr, &why)) {
		fprintf(stderr, "busbar %s: --admin %s: %s\n", command, admin, why);
		return 2;
	}
	if (loop_create(&loop))
		goto fail_memory;
	httpc_limits_default(&limits);
	if (httpc_pool_create(loop, &addr, &limits, &pool)) {
		loop_destroy(loop);
		goto fail_memory;
	}
	const struct fetch_request r = {
		.loop = loop,
		.method = method,
		.host = BB_STR("localhost"),
		.target = bb_str_of(path),
		.body_size_max = ANSWER_MAX,
		.timeout_ns = TIMEOUT_NS,
		.user = &w,
		.on_done = on_done,
	};
	w.err = fetch_start(pool, &r, &f);
	while (!w.err && !w.done)
		loop_turn(loop, UINT64_MAX);
	httpc_pool_destroy(pool);
	loop_destroy(loop);
	if (w.err) {
		fprintf(stderr,
			"busbar %s: no answer from %s (%s); is the gateway running, and is this its admin address (--admin)?\n",
			command, admin, w.why ? w.why : bb_error_info(w.err)->text);
		return 1;
	}
	*status = w.status;
	return 0;

fail_memory:
	fprintf(stderr, "busbar %s: out of memory\n", command);
	return 1;
}
