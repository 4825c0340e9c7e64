#include "cmd/admin_call.h"

#include <stdio.h>

#include "base/log.h"
#include "net/fetch.h"
#include "net/tls.h"
#include "os/clock.h"

#define TIMEOUT_NS (10 * OS_SECOND)
#define ANSWER_MAX (64u << 20)
#define HOST_SIZE 256

struct waiting {
	bool done;
	int err;
	int status;
	char why[TLS_REASON_SIZE];
	struct bb_buf *answer;
};

/* Where the target is, in the forms that the layers below want. */
struct place {
	struct sock_addr addr;
	struct tls_context *tls; /* NULL: plain */
	char host[HOST_SIZE];    /* whom its certificate must name */
};

bool admin_option(struct admin_target *t, int option, const char *value)
{
	switch (option) {
	case ADMIN_OPT_ADDR: t->addr = value; return true;
	case ADMIN_OPT_CA: t->ca = value; return true;
	case ADMIN_OPT_CERT: t->cert = value; return true;
	case ADMIN_OPT_KEY: t->key = value; return true;
	default: return false;
	}
}

static const char *addr_of(const struct admin_target *t)
{
	return t->addr ? t->addr : ADMIN_DEFAULT;
}

static void on_done(void *user, const struct fetch_answer *a)
{
	struct waiting *w = user;

	w->done = true;
	w->err = a->err;
	w->status = a->status;
	bb_text_copy(w->why, sizeof(w->why), a->why ? a->why : "");
	bb_buf_add_str(w->answer, a->body);
}

/* 0, or the exit code after a message. */
static int place_secure(const char *command, const struct admin_target *t, struct place *p)
{
	const struct tls_client_config config = { .ca_path = t->ca,
						  .cert_path = t->cert,
						  .key_path = t->key };
	struct sock_url url;
	const char *why = "";
	char reason[TLS_REASON_SIZE];

	if (!t->cert != !t->key) {
		fprintf(stderr, "busbar %s: --cert and --key belong together\n", command);
		return 2;
	}
	if (sock_url_parse(bb_str_of(addr_of(t)), &url, &why) ||
	    sock_resolve(url.host, url.port, &p->addr, &why)) {
		fprintf(stderr, "busbar %s: --admin %s: %s\n", command, addr_of(t), why);
		return 2;
	}
	snprintf(p->host, sizeof(p->host), "%.*s", BB_ARG(url.host));
	if (tls_client_create(&config, &p->tls, reason)) {
		fprintf(stderr, "busbar %s: %s\n", command, reason);
		return 2;
	}
	return 0;
}

static int place_find(const char *command, const struct admin_target *t, struct place *p)
{
	const struct bb_str addr = bb_str_of(addr_of(t));
	const char *why = "";

	*p = (struct place){ .host = "localhost" };
	if (bb_str_starts(addr, BB_STR("https://")))
		return place_secure(command, t, p);
	if (t->ca || t->cert || t->key) {
		fprintf(stderr,
			"busbar %s: --ca, --cert and --key are for an admin listener with TLS: --admin https://HOST:PORT\n",
			command);
		return 2;
	}
	if (sock_addr_parse(addr, &p->addr, &why)) {
		fprintf(stderr, "busbar %s: --admin %s: %s\n", command, addr_of(t), why);
		return 2;
	}
	return 0;
}

/* One request and its answer into `w`; w->err tells how it went. */
static void call_and_wait(struct loop *loop, const struct place *p, const char *method,
			  const char *path, struct waiting *w)
{
	struct httpc_pool *pool;
	struct httpc_limits limits;
	struct fetch *f;
	const struct fetch_request r = {
		.loop = loop,
		.method = method,
		.host = bb_str_of(p->host),
		.target = bb_str_of(path),
		.body_size_max = ANSWER_MAX,
		.timeout_ns = TIMEOUT_NS,
		.user = w,
		.on_done = on_done,
	};

	httpc_limits_default(&limits);
	w->err = httpc_pool_create(loop, &p->addr, &limits, &pool);
	if (w->err)
		return;
	if (p->tls)
		w->err = httpc_pool_set_tls(pool, p->tls, p->host);
	if (!w->err)
		w->err = fetch_start(pool, &r, &f);
	while (!w->err && !w->done)
		loop_turn(loop, UINT64_MAX);
	httpc_pool_destroy(pool);
}

int admin_call(const char *command, const struct admin_target *target, const char *method,
	       const char *path, int *status, struct bb_buf *answer)
{
	struct waiting w = { .answer = answer };
	struct place place;
	struct loop *loop;
	int rc = place_find(command, target, &place);

	if (rc)
		return rc;
	w.err = loop_create(&loop);
	if (!w.err) {
		call_and_wait(loop, &place, method, path, &w);
		loop_destroy(loop);
	}
	tls_context_put(place.tls);
	if (w.err) {
		fprintf(stderr,
			"busbar %s: no answer from %s (%s); is the gateway running, and is this its admin address (--admin)?\n",
			command, addr_of(target), w.why[0] ? w.why : bb_error_info(w.err)->text);
		return 1;
	}
	if (!place.tls && w.status == 400) {
		fprintf(stderr, "busbar %s: %s seems to speak TLS (admin_tls): --admin https://%s\n",
			command, addr_of(target), addr_of(target));
		return 1;
	}
	*status = w.status;
	return 0;
}
