/* site.h: a server under test: what it was handed is written into `seen`, and how it answers is the test's choice. */
#pragma once

#include "peer.h"

#include "base/alloc.h"
#include "net/httpd_conn.h"

enum site_way {
	SITE_AT_ONCE, /* 200 with the body "<METHOD target>" */
	SITE_LATER,   /* the exchange is kept in `x` for the test */
	SITE_REFUSES_HEAD, /* answered in on_head, with 402 */
	SITE_ABORTS_HEAD,
};

struct site {
	struct loop *loop;
	struct httpd *httpd;
	struct sock_addr addr;
	enum site_way way;
	struct exchange *x; /* the latest one that waits */
	int heads, requests, closed, gone, writable;
	void (*on_writable)(struct site *s);
	uint64_t bytes_out; /* of the latest exchange that is over */
	size_t left;        /* for the test's producers */
	char seen[65536];   /* "POST /x host=a [body]\n" for each request */
};

static inline void site_note(struct site *s, const struct exchange *x)
{
	const size_t at = strlen(s->seen);
	const struct bb_str method = bb_str_of(llhttp_method_name(x->head->method));
	const struct bb_str host = http_head_get(x->head, BB_STR("host"));
	const size_t body_len = x->body_len < 1000 ? x->body_len : 1000;

	snprintf(s->seen + at, sizeof(s->seen) - at, "%.*s %.*s host=%.*s [%.*s]\n",
		 BB_ARG(method), BB_ARG(x->head->target), BB_ARG(host), (int)body_len,
		 x->body_len ? x->body : "");
}

static inline void site_on_head(struct exchange *x)
{
	struct site *s = httpd_user(x->server);

	s->heads++;
	if (s->way == SITE_REFUSES_HEAD)
		exchange_reply(x, 402, BB_STR("text/plain"), BB_STR(""), BB_STR("pay first"));
	else if (s->way == SITE_ABORTS_HEAD)
		exchange_abort(x);
}

static inline void site_on_request(struct exchange *x)
{
	struct site *s = httpd_user(x->server);
	char text[256];

	s->requests++;
	site_note(s, x);
	if (s->way == SITE_LATER) {
		s->x = x;
		return;
	}
	const int n = snprintf(text, sizeof(text), "<%s %.*s>", llhttp_method_name(x->head->method),
			       BB_ARG(x->head->target));
	exchange_reply(x, 200, BB_STR("text/plain"), BB_STR(""),
		       (struct bb_str){ text, (size_t)n });
}

static inline void site_on_writable(struct exchange *x)
{
	struct site *s = httpd_user(x->server);

	s->writable++;
	if (s->on_writable)
		s->on_writable(s);
}

static inline void site_on_closed(struct exchange *x)
{
	struct site *s = httpd_user(x->server);

	s->closed++;
	s->gone += x->gone;
	s->bytes_out = x->bytes_out;
	if (s->x == x)
		s->x = NULL;
}

static const struct httpd_ops site_ops = {
	.on_head = site_on_head,
	.on_request = site_on_request,
	.on_writable = site_on_writable,
	.on_closed = site_on_closed,
};

static inline void site_open(struct site *s, const struct httpd_limits *limits)
{
	*s = (struct site){ 0 };
	assert_int_equal(loop_create(&s->loop), 0);
	struct httpd_config c = { .loop = s->loop, .ops = &site_ops, .user = s };
	if (limits)
		c.limits = *limits;
	else
		httpd_limits_default(&c.limits);
	assert_int_equal(httpd_create(&c, &s->httpd), 0);
	assert_int_equal(httpd_listen(s->httpd, peer_listen(&s->addr)), 0);
	assert_ptr_equal(httpd_loop(s->httpd), s->loop);
}

/* Every buffer has to be back by now. */
static inline void site_close(struct site *s)
{
	if (s->httpd && httpd_connection_count(s->httpd) == 0)
		assert_int_equal(s->httpd->buffers.live_bytes, 0);
	httpd_destroy(s->httpd);
	loop_destroy(s->loop);
}
