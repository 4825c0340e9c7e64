/* httpd_input.c: the reading half of httpd.h: heads, bodies, pipelined requests. */
#include <string.h>

#include "base/log.h"
#include "net/httpd_conn.h"
#include "net/stream_io.h"
#include "os/clock.h"

#define BODY_TRUST (1u << 20)
#define BODY_TRUST_TIGHT (16u << 10)

/*
 * After a read of `got` bytes: may the kernel hold more? Events are edge-triggered, and the one
 * that brought the client's FIN has come: its end is still to be read.
 */
static void note_read(struct httpd_conn *c, size_t got, size_t size)
{
	c->readable = stream_may_have_more(c->tls, got, size) || c->peer_fin;
}

/* ---- requests ---- */

static void hand_over(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;

	conn_set_state(c, CONN_BUSY);
	loop_timer_cancel(&c->timer);
	c->was_handed = true;
	c->in_task = true;
	s->ops->on_request(&c->x);
	c->in_task = false;
	c->x.head = NULL;
	if (c->peer_fin && !c->ended)
		conn_gone(c);
}

/* Keeps bytes that belong to later requests. */
static bool keep_rest(struct httpd_conn *c, const char *data, size_t len)
{
	size_t cap;

	if (len == 0) {
		conn_in_drop(c);
		return true;
	}
	if (c->in && data >= c->in && data < c->in + c->in_cap) {
		memmove(c->in, data, len);
		c->in_len = (uint32_t)len;
		return true;
	}
	char *in = bb_bufpool_get(&c->x.server->buffers, len, &cap, BB_SHARE_NEW);
	if (!in)
		return false;
	memcpy(in, data, len);
	conn_in_drop(c);
	c->in = in;
	c->in_cap = (uint32_t)cap;
	c->in_len = (uint32_t)len;
	return true;
}

/* Room for `size` bytes of body in all. */
static bool body_reserve(struct httpd_conn *c, size_t size)
{
	struct exchange *x = &c->x;
	size_t cap;

	if (size <= x->body_cap)
		return true;
	char *body = bb_bufpool_get(&x->server->buffers, size, &cap, BB_SHARE_NEW);
	if (!body)
		return false;
	if (x->body_len)
		memcpy(body, x->body, x->body_len);
	bb_bufpool_put(&x->server->buffers, x->body, x->body_cap);
	x->body = body;
	x->body_cap = cap;
	return true;
}

/*
 * How much room to take when `left` bytes are announced: what is announced is believed up to
 * BODY_TRUST (less when memory is short), beyond it only as much again as has really come.
 */
static size_t body_room(const struct httpd_conn *c, uint64_t left)
{
	const size_t trust =
		bb_budget_is_tight(c->x.server->buffers.budget) ? BODY_TRUST_TIGHT : BODY_TRUST;
	const size_t more = c->x.body_len > trust ? c->x.body_len : trust;

	return c->x.body_len + (left < more ? (size_t)left : more);
}

/* Takes body bytes out of `data`; returns how many, or a negative error after a refusal. */
static ptrdiff_t body_take(struct httpd_conn *c, char *data, size_t len)
{
	struct exchange *x = &c->x;
	struct bb_str piece;
	size_t used;

	if (http1_feed_body(&c->parser, data, len, &piece, &used)) {
		conn_refuse(c, -BB_EHTTP, http1_reason(&c->parser));
		return -1;
	}
	if (piece.len == 0)
		return (ptrdiff_t)used;
	size_t size = x->body_len + piece.len;
	if (size > x->server->limits.body_size_max) {
		conn_refuse(c, -BB_ELIMIT, "the request body is larger than limits.body_size");
		return -1;
	}
	if (size > x->body_cap) {
		const size_t room = c->parser.framing == HTTP1_LENGTH
					    ? body_room(c, piece.len + c->parser.left)
					    : x->body_cap * 2;
		if (size < room)
			size = room;
		if (!body_reserve(c, size)) {
			conn_refuse(c, -BB_ENOMEM, NULL);
			return -1;
		}
	}
	memcpy(x->body + x->body_len, piece.p, piece.len);
	x->body_len += piece.len;
	return (ptrdiff_t)used;
}

/* The head is complete: checks it and asks the handler. False: refused or answered. */
static bool head_accept(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;
	const struct http_head *h = &s->head;

	c->requests++;
	c->x.head = h;
	c->x.minor = h->minor;
	c->x.is_head_method = h->method == HTTP_HEAD;
	c->must_close = !h->keep_alive;
	/* An offer of another protocol (Upgrade) may be ignored (RFC 9110 §7.8): it never leaves
	 * here. */
	if (h->method == HTTP_CONNECT) {
		conn_refuse(c, -BB_EHTTP, "CONNECT is not supported");
		return false;
	}
	if (h->has_length && h->length > s->limits.body_size_max) {
		conn_refuse(c, -BB_ELIMIT, "the request body is larger than limits.body_size");
		return false;
	}
	if (s->ops->on_head) {
		c->in_task = true;
		s->ops->on_head(&c->x);
		c->in_task = false;
		if (c->answered || c->x.gone) {
			c->was_handed = true;
			c->x.head = NULL;
			if (!c->parser.message_done) {
				c->must_close = true;
				conn_set_state(c, CONN_BODY);
			} else {
				conn_set_state(c, CONN_BUSY);
			}
			return false;
		}
	}
	return true;
}

/*
 * A complete head lies at `head_at`, `rest` are the bytes behind it. Takes what is there of the
 * body and hands the request over or goes on reading.
 */
static void head_done(struct httpd_conn *c, char *rest, size_t rest_len)
{
	struct httpd *s = c->x.server;

	if (!head_accept(c)) {
		if (c->state == CONN_BUSY && !keep_rest(c, rest, rest_len))
			conn_gone(c);
		return;
	}
	if (rest_len && !c->parser.message_done) {
		const ptrdiff_t used = body_take(c, rest, rest_len);
		if (used < 0)
			return;
		rest += used;
		rest_len -= (size_t)used;
	}
	if (!c->parser.message_done) {
		if (s->head.expects_continue && s->head.minor > 0 && c->x.body_len == 0) {
			size_t put; /* a full socket buffer here means a client that sends without
				       waiting */
			(void)!stream_write(c->watch.fd, c->tls, "HTTP/1.1 100 Continue\r\n\r\n",
					    25, &put);
		}
		/*
		 * The head is needed again when the body is there: its bytes stay in `in`, where
		 * body reading does not touch them, and are parsed once more then.
		 */
		c->x.head = NULL;
		conn_set_state(c, CONN_BODY);
		conn_arm_timer(c, s->limits.body_timeout_ns);
		return;
	}
	/* on_request may answer at once, and pipelined bytes must survive the call. */
	const bool rest_in_scratch =
		rest_len && !(c->in && rest >= c->in && rest < c->in + c->in_cap);
	if (rest_in_scratch && !keep_rest(c, rest, rest_len)) {
		conn_gone(c);
		return;
	}
	hand_over(c);
	if (!rest_in_scratch && !keep_rest(c, rest, rest_len))
		conn_gone(c);
}

static bool is_url_too_long(const struct httpd_conn *c)
{
	return c->parser.target_len > c->x.server->limits.url_size_max;
}

/* A head that is malformed (-BB_EHTTP) or too large (-BB_ELIMIT). */
static void refuse_head(struct httpd_conn *c, int err)
{
	if (is_url_too_long(c))
		conn_refuse_as(c, 414, -BB_ELIMIT,
			       "the request's target is longer than limits.url");
	else if (err == -BB_ELIMIT)
		conn_refuse_as(c, 431, err,
			       "the request's head is too large or has too many fields");
	else
		conn_refuse_as(c, http1_status(&c->parser), err, http1_reason(&c->parser));
}

/* Feeds `len` new bytes of a head that begins at `base` (new bytes at base + from). */
static void head_feed(struct httpd_conn *c, char *base, size_t from, size_t len)
{
	struct httpd *s = c->x.server;
	size_t used = 0, head_len;

	if (c->state == CONN_IDLE) {
		/* Blank lines before a request are allowed (RFC 9112 §2.2). */
		while (len && from == 0 && (*base == '\r' || *base == '\n')) {
			base++;
			len--;
		}
		if (len == 0) {
			conn_in_drop(c);
			return;
		}
		if (c->in && base != c->in) { /* heads that are kept begin at `in` */
			memmove(c->in, base, len);
			c->in_len = (uint32_t)len;
			base = c->in;
		}
		conn_set_state(c, CONN_HEAD);
		c->x.begin_ns = loop_now_ns(s->loop);
		conn_arm_timer(c, s->limits.head_timeout_ns);
	}
	s->head.count = 0;
	s->head.target = (struct bb_str){ 0 };
	int rc = http1_feed_head(&c->parser, c->head_split ? NULL : &s->head, base + from, len,
				 &used);
	head_len = from + (rc == 1 ? used : len);
	if (rc < 0 || head_len > s->limits.head_size_max || is_url_too_long(c)) {
		refuse_head(c, rc < 0 ? rc : -BB_ELIMIT);
		return;
	}
	if (rc == 0) {
		c->head_split = true;
		if (base != c->in && !keep_rest(c, base, from + len))
			conn_refuse(c, -BB_ENOMEM, NULL);
		return;
	}
	if (c->head_split) {
		http1_init(&c->parser, HTTP1_REQUEST);
		rc = http1_feed_head(&c->parser, &s->head, base, head_len, &used);
		BB_ASSERT(rc != 0);
		if (rc < 0) {
			refuse_head(c, rc);
			return;
		}
	}
	/* A body that is not all here yet: keep the head in `in` for on_request. */
	const size_t behind = from + len - head_len;
	const bool body_missing = !c->parser.message_done &&
				  (c->parser.framing == HTTP1_CHUNKED || c->parser.left > behind);
	if (body_missing && base != c->in) {
		size_t cap;
		char *in = bb_bufpool_get(&s->buffers, head_len, &cap, BB_SHARE_NEW);
		if (!in) {
			conn_refuse(c, -BB_ENOMEM, NULL);
			return;
		}
		memcpy(in, base, head_len);
		bb_bufpool_put(&s->buffers, c->in, c->in_cap);
		c->in = in;
		c->in_cap = (uint32_t)cap;
		c->in_len = (uint32_t)head_len;
	} else if (body_missing) {
		c->in_len = (uint32_t)head_len;
	}
	head_done(c, base + head_len, behind);
}

/* The body is complete: parse the kept head once more and hand over. */
static void body_done(struct httpd_conn *c, const char *rest, size_t rest_len)
{
	struct httpd *s = c->x.server;
	struct http1 again;
	size_t used;

	http1_init(&again, HTTP1_REQUEST);
	s->head.count = 0;
	s->head.target = (struct bb_str){ 0 };
	int rc = http1_feed_head(&again, &s->head, c->in, c->in_len, &used);
	BB_ASSERT(rc == 1);
	c->x.head = &s->head;
	hand_over(c);
	if (!keep_rest(c, rest, rest_len))
		conn_gone(c);
}

/* ---- reading ---- */

/* A client that drips its body byte by byte holds memory for as long as it likes. */
static bool is_body_slow(const struct httpd_conn *c, size_t got)
{
	const struct httpd *s = c->x.server;
	const uint64_t elapsed_ns = loop_now_ns(s->loop) - c->x.begin_ns;

	return s->limits.body_rate_min && elapsed_ns > HTTPD_BODY_RATE_GRACE_NS &&
	       (double)(c->x.body_len + got) * 1e9 <
		       (double)s->limits.body_rate_min * (double)elapsed_ns;
}

/* Where the next bytes go: straight into the body when its length is known, else scratch or `in`.
 */
static enum io conn_read_body(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;
	struct exchange *x = &c->x;
	size_t got;
	char *room = s->scratch;
	size_t size = sizeof(s->scratch);

	if (c->parser.framing == HTTP1_LENGTH) {
		if (x->body_len == x->body_cap && !body_reserve(c, body_room(c, c->parser.left))) {
			conn_refuse(c, -BB_ENOMEM, NULL);
			return IO_DONE;
		}
		room = x->body + x->body_len;
		size = x->body_cap - x->body_len;
		if (size > c->parser.left)
			size = (size_t)c->parser.left;
	}
	const enum io io = stream_read(c->watch.fd, c->tls, room, size, &got);
	if (io != IO_DONE)
		return io;
	note_read(c, got, size);
	conn_arm_timer(c, s->limits.body_timeout_ns);
	if (is_body_slow(c, got)) {
		conn_refuse(c, -BB_ETIMEOUT, "the body comes slower than limits.body_rate");
		return IO_DONE;
	}
	if (c->parser.framing == HTTP1_LENGTH) {
		x->body_len += got;
		c->parser.left -= got;
		c->parser.message_done = c->parser.left == 0;
		if (c->parser.message_done) {
			c->readable = true; /* we did not ask for more than the body */
			body_done(c, NULL, 0);
		}
		return IO_DONE;
	}
	const ptrdiff_t used = body_take(c, room, got);
	if (used >= 0 && c->parser.message_done) {
		/* Pipelined bytes sit in scratch, which the handler's work may reuse. */
		const size_t rest_len = got - (size_t)used;
		char *rest = NULL;
		size_t cap = 0;
		if (rest_len) {
			rest = bb_bufpool_get(&s->buffers, rest_len, &cap, BB_SHARE_NEW);
			if (!rest) {
				conn_refuse(c, -BB_ENOMEM, NULL);
				return IO_DONE;
			}
			memcpy(rest, room + used, rest_len);
		}
		body_done(c, rest, rest_len);
		bb_bufpool_put(&s->buffers, rest, cap);
	}
	return IO_DONE;
}

static enum io conn_read_head(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;
	size_t got;

	if (!c->in) {
		const enum io io =
			stream_read(c->watch.fd, c->tls, s->scratch, sizeof(s->scratch), &got);
		if (io == IO_DONE) {
			note_read(c, got, sizeof(s->scratch));
			head_feed(c, s->scratch, 0, got);
		}
		return io;
	}
	if (c->in_len == c->in_cap) {
		size_t cap;
		char *grown = bb_bufpool_get(&s->buffers, c->in_cap + 1, &cap, BB_SHARE_NEW);
		if (!grown) {
			conn_refuse(c, -BB_ENOMEM, NULL);
			return IO_DONE;
		}
		memcpy(grown, c->in, c->in_len);
		bb_bufpool_put(&s->buffers, c->in, c->in_cap);
		c->in = grown;
		c->in_cap = (uint32_t)cap;
	}
	const uint32_t from = c->in_len;
	const enum io io = stream_read(c->watch.fd, c->tls, c->in + from, c->in_cap - from, &got);
	if (io == IO_DONE) {
		note_read(c, got, c->in_cap - from);
		c->in_len += (uint32_t)got;
		head_feed(c, c->in, from, got);
	}
	return io;
}

static enum io conn_read_linger(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;
	size_t got;
	/* As it is, encrypted or not: nobody looks at it. */
	const enum io io = sock_read(c->watch.fd, s->scratch, sizeof(s->scratch), &got);

	if (io != IO_DONE)
		return io;
	if (got > c->linger_left)
		return IO_ERROR;
	c->linger_left -= got;
	return IO_DONE;
}

/* The first request's time is counted from the connection's beginning, the handshake included. */
static enum io conn_handshake(struct httpd_conn *c)
{
	const enum io io = tls_handshake(c->tls);

	if (io == IO_DONE) {
		conn_set_state(c, CONN_IDLE);
		c->readable = true; /* the request may have come with the handshake's end */
	}
	if (io != IO_ERROR)
		return io;
	BB_LOG(BB_LOG_DEBUG, "tls", "a handshake failed: %s", tls_reason(c->tls));
	if (!tls_is_plain_http(c->tls)) {
		c->x.server->refused++;
		return IO_ERROR;
	}
	tls_session_destroy(c->tls, TLS_CUT);
	c->tls = NULL;
	conn_refuse(c, -BB_EHTTP, "this port speaks TLS: the URL must begin with https://");
	return IO_DONE;
}

/* Reads and works until there is nothing to read or a request is with the handler. */
void conn_process(struct httpd_conn *c)
{
	enum io io = IO_DONE;

	/* Pipelined bytes first. */
	if (c->state == CONN_IDLE && c->in_len) {
		const size_t len = c->in_len;
		head_feed(c, c->in, 0, len);
	}
	for (int i = 0; io == IO_DONE; i++) {
		if (c->answered || c->state == CONN_BUSY || c->x.gone)
			return; /* what is readable waits; on_finish comes back here */
		if (i > 0 && !c->readable && c->state != CONN_LINGER)
			return;
		switch ((enum httpd_conn_state)c->state) {
		case CONN_HANDSHAKE: io = conn_handshake(c); break;
		case CONN_IDLE:
		case CONN_HEAD: io = conn_read_head(c); break;
		case CONN_BODY: io = conn_read_body(c); break;
		case CONN_LINGER: io = conn_read_linger(c); break;
		case CONN_BUSY: return;
		}
	}
	if (io == IO_AGAIN && c->state == CONN_IDLE && !c->in && c->x.server->draining)
		conn_destroy(c);
	else if (io == IO_AGAIN)
		c->readable = false;
	else if (io == IO_EOF || io == IO_ERROR)
		conn_destroy(c); /* nothing was asked, or the rest of a request never came */
}
