/* httpd.c: listeners, connections and the reading half of httpd.h. */
#include "net/httpd.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/httpd_conn.h"
#include "net/peer_counts.h"
#include "net/stream_io.h"
#include "os/clock.h"

#define ACCEPT_BATCH 64
#define ACCEPT_RETRY_NS (100 * OS_MS)
#define LINGER_NS (2 * OS_SECOND)
#define LINGER_BYTES (64u << 20)
#define CONN_POOL_KEEP 4096
#define BUFFERS_KEEP (16u << 20)
#define HEAD_OUT_MAX (128u << 10)
#define BODY_TRUST (1u << 20)

struct listener {
	struct loop_fd watch;
	struct loop_timer retry;
	struct httpd *server;
	struct bb_list link;
	bool is_local; /* a unix socket: no TLS, it does not leave the machine */
};

static void conn_process(struct httpd_conn *c);

void httpd_limits_default(struct httpd_limits *l)
{
	*l = (struct httpd_limits){
		.head_size_max = 32u << 10,
		.body_size_max = 32u << 20,
		.buffers_max = 1u << 30,
		.head_timeout_ns = 10 * OS_SECOND,
		.body_timeout_ns = 30 * OS_SECOND,
		.keepalive_ns = 75 * OS_SECOND,
		.write_timeout_ns = 60 * OS_SECOND,
	};
}

/* A time-out of 0 is none. */
static void arm_timer(struct httpd_conn *c, uint64_t timeout_ns)
{
	if (timeout_ns)
		loop_timer_arm(&c->timer, loop_now_ns(c->x.server->loop) + timeout_ns);
	else
		loop_timer_cancel(&c->timer);
}

/*
 * After a read of `got` bytes: may the kernel hold more? Events are edge-triggered, and the one
 * that brought the client's FIN has come: its end is still to be read.
 */
static void note_read(struct httpd_conn *c, size_t got, size_t size)
{
	c->readable = stream_may_have_more(c->tls, got, size) || c->peer_fin;
}

/* ---- ends of connections ---- */

static void in_drop(struct httpd_conn *c)
{
	bb_bufpool_put(&c->x.server->buffers, c->in, c->in_cap);
	c->in = NULL;
	c->in_len = c->in_cap = 0;
}

static void set_state(struct httpd_conn *c, enum httpd_conn_state state)
{
	struct httpd *s = c->x.server;

	s->busy_count += (state == CONN_BUSY) - (c->state == CONN_BUSY);
	c->state = (uint8_t)state;
}

static void conn_destroy(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;

	BB_ASSERT(c->magic == HTTPD_CONN_MAGIC && !c->was_handed);
	set_state(c, CONN_IDLE);
	loop_task_cancel(&c->finish);
	loop_fd_del(s->loop, &c->watch);
	loop_timer_fini(&c->timer);
	/* An answer that was broken off must not seem complete because the connection ends well. */
	tls_session_destroy(c->tls, c->answered && !c->ended ? TLS_CUT : TLS_GOODBYE);
	sock_close(c->watch.fd);
	if (s->peers)
		peer_counts_remove(s->peers, &c->peer);
	in_drop(c);
	conn_out_drop(c);
	exchange_drop_body(&c->x);
	bb_list_remove(&c->link);
	c->magic = 0;
	s->conn_count--;
	bb_pool_put(&s->conn_pool, c);
}

void conn_finish_soon(struct httpd_conn *c)
{
	loop_defer(c->x.server->loop, &c->finish);
}

void conn_gone(struct httpd_conn *c)
{
	c->x.gone = true;
	conn_finish_soon(c);
}

/* Tells the handler, once. */
static void conn_tell_closed(struct httpd_conn *c)
{
	if (!c->was_handed)
		return;
	c->was_handed = false;
	if (c->x.server->ops->on_closed)
		c->x.server->ops->on_closed(&c->x);
}

/* Throws away what a client still sends after a refusal, so that the answer is not lost to a reset. */
static void conn_linger(struct httpd_conn *c)
{
	set_state(c, CONN_LINGER);
	c->answered = c->ended = false;
	in_drop(c);
	exchange_drop_body(&c->x);
	if (c->tls)
		tls_session_goodbye(c->tls);
	sock_shut_write(c->watch.fd);
	c->linger_left = LINGER_BYTES;
	arm_timer(c, LINGER_NS);
	conn_process(c);
}

static void conn_reset_exchange(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;

	exchange_drop_body(&c->x);
	c->x = (struct exchange){ .server = s };
	c->answered = c->ended = c->wants_room = c->head_split = false;
	c->out_framing = OUT_NONE;
	c->out_left = 0;
	http1_init(&c->parser, HTTP1_REQUEST);
}

static void on_finish(struct loop_task *t)
{
	struct httpd_conn *c = BB_CONTAINER(t, struct httpd_conn, finish);
	struct httpd *s = c->x.server;

	if (!c->x.gone && c->out_at < c->out_len)
		return; /* the rest is on its way: conn_write comes back here */
	conn_tell_closed(c);
	if (c->x.gone) {
		conn_destroy(c);
		return;
	}
	const bool body_unread = c->state == CONN_BODY;
	if (body_unread) {
		conn_linger(c);
		return;
	}
	if (c->must_close || s->draining) {
		if (c->in_len || c->readable)
			conn_linger(c);
		else
			conn_destroy(c);
		return;
	}
	conn_reset_exchange(c);
	set_state(c, CONN_IDLE);
	arm_timer(c, s->limits.keepalive_ns);
	if (c->in_len || c->readable)
		conn_process(c);
}

static void default_error(int err, const char *what, struct bb_buf *body)
{
	const struct bb_error_info *e = bb_error_info(err);

	bb_buf_lit(body, "{\"error\":{\"message\":");
	bb_buf_add_json(body, bb_str_of(what ? what : e->text));
	bb_buf_printf(body, ",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}", e->type, e->code);
}

void conn_refuse(struct httpd_conn *c, int err, const char *what)
{
	struct httpd *s = c->x.server;
	struct bb_buf body;
	struct bb_str type = BB_STR("application/json");

	s->refused++;
	c->must_close = true;
	bb_buf_init(&body, 4096);
	if (s->ops->write_error)
		s->ops->write_error(&c->x, err, what, &body, &type);
	else
		default_error(err, what, &body);
	const int status = err == -BB_ELIMIT && !c->parser.head_done ? 431
								     : bb_error_info(err)->http_status;
	exchange_reply(&c->x, status, type,
		       bb_error_info(err)->retryable ? BB_STR("Retry-After: 1\r\n") : BB_STR(""),
		       bb_buf_str(&body));
	bb_buf_fini(&body);
	/* Bytes of the refused request may still be on their way. */
	set_state(c, CONN_BODY);
}

/* ---- requests ---- */

static void hand_over(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;

	set_state(c, CONN_BUSY);
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
		in_drop(c);
		return true;
	}
	if (c->in && data >= c->in && data < c->in + c->in_cap) {
		memmove(c->in, data, len);
		c->in_len = (uint32_t)len;
		return true;
	}
	char *in = bb_bufpool_get(&c->x.server->buffers, len, &cap);
	if (!in)
		return false;
	memcpy(in, data, len);
	in_drop(c);
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
	char *body = bb_bufpool_get(&x->server->buffers, size, &cap);
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
 * BODY_TRUST, beyond it only as much again as has really come.
 */
static size_t body_room(const struct httpd_conn *c, uint64_t left)
{
	size_t more = c->x.body_len > BODY_TRUST ? c->x.body_len : BODY_TRUST;

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
		if (c->parser.framing == HTTP1_LENGTH)
			size = body_room(c, piece.len + c->parser.left);
		else if (size < x->body_cap * 2)
			size = x->body_cap * 2;
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
	/* An offer of another protocol (Upgrade) may be ignored (RFC 9110 §7.8): it never leaves here. */
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
				set_state(c, CONN_BODY);
			} else {
				set_state(c, CONN_BUSY);
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
			size_t put; /* a full socket buffer here means a client that sends without waiting */
			(void)!stream_write(c->watch.fd, c->tls, "HTTP/1.1 100 Continue\r\n\r\n", 25, &put);
		}
		/*
		 * The head is needed again when the body is there: its bytes stay in `in`, where
		 * body reading does not touch them, and are parsed once more then.
		 */
		c->x.head = NULL;
		set_state(c, CONN_BODY);
		arm_timer(c, s->limits.body_timeout_ns);
		return;
	}
	/* on_request may answer at once, and pipelined bytes must survive the call. */
	const bool rest_in_scratch = rest_len && !(c->in && rest >= c->in && rest < c->in + c->in_cap);
	if (rest_in_scratch && !keep_rest(c, rest, rest_len)) {
		conn_gone(c);
		return;
	}
	hand_over(c);
	if (!rest_in_scratch && !keep_rest(c, rest, rest_len))
		conn_gone(c);
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
			in_drop(c);
			return;
		}
		if (c->in && base != c->in) { /* heads that are kept begin at `in` */
			memmove(c->in, base, len);
			c->in_len = (uint32_t)len;
			base = c->in;
		}
		set_state(c, CONN_HEAD);
		c->x.begin_ns = loop_now_ns(s->loop);
		arm_timer(c, s->limits.head_timeout_ns);
	}
	s->head.count = 0;
	s->head.target = (struct bb_str){ 0 };
	int rc = http1_feed_head(&c->parser, c->head_split ? NULL : &s->head, base + from, len, &used);
	head_len = from + (rc == 1 ? used : len);
	if (rc < 0 || head_len > s->limits.head_size_max) {
		if (rc == -BB_ELIMIT || rc >= 0)
			conn_refuse(c, -BB_ELIMIT, "the request's head is too large or has too many fields");
		else
			conn_refuse(c, -BB_EHTTP, http1_reason(&c->parser));
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
		BB_ASSERT(rc == 1 || rc == -BB_ELIMIT);
		if (rc < 0) {
			conn_refuse(c, -BB_ELIMIT, "the request's head has too many fields");
			return;
		}
	}
	/* A body that is not all here yet: keep the head in `in` for on_request. */
	const size_t behind = from + len - head_len;
	const bool body_missing = !c->parser.message_done &&
				  (c->parser.framing == HTTP1_CHUNKED || c->parser.left > behind);
	if (body_missing && base != c->in) {
		size_t cap;
		char *in = bb_bufpool_get(&s->buffers, head_len, &cap);
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

/* Where the next bytes go: straight into the body when its length is known, else scratch or `in`. */
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
	arm_timer(c, s->limits.body_timeout_ns);
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
			rest = bb_bufpool_get(&s->buffers, rest_len, &cap);
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
		const enum io io = stream_read(c->watch.fd, c->tls, s->scratch, sizeof(s->scratch), &got);
		if (io == IO_DONE) {
			note_read(c, got, sizeof(s->scratch));
			head_feed(c, s->scratch, 0, got);
		}
		return io;
	}
	if (c->in_len == c->in_cap) {
		size_t cap;
		char *grown = bb_bufpool_get(&s->buffers, c->in_cap + 1, &cap);
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
		set_state(c, CONN_IDLE);
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
static void conn_process(struct httpd_conn *c)
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
	if (io == IO_AGAIN)
		c->readable = false;
	else if (io == IO_EOF || io == IO_ERROR)
		conn_destroy(c); /* nothing was asked, or the rest of a request never came */
}

static void conn_write(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;
	const enum io io = conn_out_flush(c);

	if (io == IO_ERROR) {
		conn_gone(c);
		return;
	}
	if (io == IO_AGAIN)
		return;
	loop_timer_cancel(&c->timer);
	const bool wanted = c->wants_room;
	c->wants_room = false;
	if (c->ended)
		conn_finish_soon(c);
	else if (wanted && s->ops->on_writable)
		s->ops->on_writable(&c->x);
}

static void on_conn_event(struct loop_fd *w, unsigned events)
{
	struct httpd_conn *c = BB_CONTAINER(w, struct httpd_conn, watch);

	BB_ASSERT(c->magic == HTTPD_CONN_MAGIC);
	/* TLS may have to write before it can read on: a key update. */
	if (events & LOOP_READ || (events & LOOP_WRITE && c->tls))
		c->readable = true;
	if (events & LOOP_PEER)
		c->peer_fin = true;
	if (events & LOOP_BROKEN && (c->answered || c->state == CONN_BUSY)) {
		conn_gone(c);
		return;
	}
	if (events & LOOP_WRITE && c->out_at < c->out_len)
		conn_write(c);
	if (c->x.gone)
		return;
	if (c->state == CONN_BUSY || c->answered) {
		if (c->peer_fin && !c->ended)
			conn_gone(c);
		return;
	}
	if (c->readable)
		conn_process(c);
}

static void on_conn_timer(struct loop_timer *t)
{
	struct httpd_conn *c = BB_CONTAINER(t, struct httpd_conn, timer);

	if (c->out_at < c->out_len) {
		/* The kernel says "writable" after a third of its buffer is free: a slow client takes long. */
		if (sock_unsent(c->watch.fd) < c->unsent) {
			conn_arm_write(c);
			return;
		}
		BB_LOG(BB_LOG_DEBUG, "write_timeout", "a client stopped reading; its request is cancelled");
		conn_gone(c);
		return;
	}
	switch ((enum httpd_conn_state)c->state) {
	case CONN_HANDSHAKE:
	case CONN_IDLE:
	case CONN_LINGER:
		conn_destroy(c);
		break;
	case CONN_HEAD:
	case CONN_BODY:
		if (!c->answered)
			conn_refuse(c, -BB_ETIMEOUT, NULL);
		break;
	case CONN_BUSY:
		break;
	}
}

/* ---- listeners ---- */

static int conn_create(struct httpd *s, struct tls_context *tls, int fd, const struct sock_addr *peer)
{
	struct httpd_conn *c = bb_pool_get(&s->conn_pool);

	if (!c)
		return -BB_ENOMEM;
	c->magic = HTTPD_CONN_MAGIC;
	c->x.server = s;
	c->peer = sock_peer_of(peer);
	c->watch.fd = fd;
	c->watch.on_event = on_conn_event;
	loop_task_init(&c->finish, on_finish);
	http1_init(&c->parser, HTTP1_REQUEST);
	c->state = tls ? CONN_HANDSHAKE : CONN_IDLE;
	int rc = loop_timer_init(s->loop, &c->timer, on_conn_timer);
	if (rc)
		goto fail_pool;
	if (tls) {
		rc = tls_session_create(tls, fd, NULL, &c->tls);
		if (rc)
			goto fail_timer;
	}
	rc = loop_fd_add(s->loop, &c->watch);
	if (rc)
		goto fail_tls;
	bb_list_append(&s->conns, &c->link);
	s->conn_count++;
	if (s->peers)
		peer_counts_add(s->peers, &c->peer);
	arm_timer(c, s->limits.head_timeout_ns);
	return 0;

fail_tls:
	tls_session_destroy(c->tls, TLS_CUT);
fail_timer:
	loop_timer_fini(&c->timer);
fail_pool:
	bb_pool_put(&s->conn_pool, c);
	return rc;
}

/* Has the server or this address its share of connections? */
static bool is_crowded(const struct httpd *s, const struct sock_addr *from)
{
	const struct sock_peer peer = sock_peer_of(from);

	if (s->limits.connections_max && s->conn_count >= s->limits.connections_max)
		return true;
	if (!s->peers || !s->limits.per_address_max || !peer.family)
		return false;
	const bool crowded = peer_counts_add(s->peers, &peer) > s->limits.per_address_max;
	peer_counts_remove(s->peers, &peer);
	return crowded;
}

static void listener_accept(struct listener *l)
{
	struct httpd *s = l->server;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sock_addr peer;
		const int fd = sock_accept(l->watch.fd, &peer);
		if (fd < 0) {
			if (errno == EAGAIN)
				return;
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			/* No descriptors or memory: those who wait are taken when some are free again. */
			(void)BB_CHECK(false, "accept failed: out of descriptors or memory");
			loop_timer_arm(&l->retry, loop_now_ns(s->loop) + ACCEPT_RETRY_NS);
			return;
		}
		if (is_crowded(s, &peer) || conn_create(s, l->is_local ? NULL : s->tls, fd, &peer)) {
			(void)BB_CHECK(false, "a connection was refused: limits.connections, "
					      "limits.connections_per_address or memory");
			s->refused++;
			sock_close_hard(fd);
		}
	}
	loop_timer_arm(&l->retry, loop_now_ns(s->loop)); /* let others run, then go on */
}

static void on_listener_event(struct loop_fd *w, unsigned events)
{
	listener_accept(BB_CONTAINER(w, struct listener, watch));
}

static void on_listener_retry(struct loop_timer *t)
{
	listener_accept(BB_CONTAINER(t, struct listener, retry));
}

int httpd_create(const struct httpd_config *config, struct httpd **out)
{
	struct httpd *s = bb_alloc_zero(1, sizeof(*s));

	if (!s)
		return -BB_ENOMEM;
	s->loop = config->loop;
	s->ops = config->ops;
	s->limits = config->limits;
	s->user = config->user;
	s->peers = config->peers;
	bb_list_init(&s->listeners);
	bb_list_init(&s->conns);
	bb_pool_init(&s->conn_pool, sizeof(struct httpd_conn), CONN_POOL_KEEP);
	bb_bufpool_init(&s->buffers, s->limits.buffers_max, BUFFERS_KEEP);
	bb_buf_init(&s->head_out, HEAD_OUT_MAX);
	*out = s;
	return 0;
}

int httpd_listen(struct httpd *s, int listen_fd)
{
	struct listener *l = bb_alloc_zero(1, sizeof(*l));

	if (!l)
		return -BB_ENOMEM;
	l->server = s;
	l->watch.fd = listen_fd;
	l->watch.on_event = on_listener_event;
	struct sock_addr self;
	l->is_local = sock_local_addr(listen_fd, &self) == 0 && self.storage.ss_family == AF_UNIX;
	int rc = loop_timer_init(s->loop, &l->retry, on_listener_retry);
	if (rc)
		goto fail_free;
	rc = loop_fd_add(s->loop, &l->watch);
	if (rc)
		goto fail_timer;
	bb_list_append(&s->listeners, &l->link);
	return 0;

fail_timer:
	loop_timer_fini(&l->retry);
fail_free:
	bb_free(l);
	return rc;
}

static void close_listeners(struct httpd *s)
{
	BB_LIST_EACH(it, safe, &s->listeners) {
		struct listener *l = BB_CONTAINER(it, struct listener, link);
		loop_fd_del(s->loop, &l->watch);
		loop_timer_fini(&l->retry);
		sock_close(l->watch.fd);
		bb_list_remove(&l->link);
		bb_free(l);
	}
}

void httpd_drain(struct httpd *s)
{
	s->draining = true;
	close_listeners(s);
	BB_LIST_EACH(it, safe, &s->conns) {
		struct httpd_conn *c = BB_CONTAINER(it, struct httpd_conn, link);
		if (c->state == CONN_HANDSHAKE || (c->state == CONN_IDLE && !c->in_len))
			conn_destroy(c);
	}
}

void httpd_destroy(struct httpd *s)
{
	if (!s)
		return;
	close_listeners(s);
	BB_LIST_EACH(it, safe, &s->conns) {
		struct httpd_conn *c = BB_CONTAINER(it, struct httpd_conn, link);
		c->x.gone = true;
		conn_tell_closed(c);
		conn_destroy(c);
	}
	tls_context_put(s->tls);
	bb_buf_fini(&s->head_out);
	bb_pool_fini(&s->conn_pool);
	bb_bufpool_fini(&s->buffers);
	bb_free(s);
}

void httpd_set_tls(struct httpd *s, struct tls_context *tls)
{
	struct tls_context *old = s->tls;

	s->tls = tls_context_get(tls);
	tls_context_put(old);
}

void *httpd_user(const struct httpd *s)
{
	return s->user;
}

struct loop *httpd_loop(const struct httpd *s)
{
	return s->loop;
}

uint32_t httpd_connection_count(const struct httpd *s)
{
	return s->conn_count;
}

uint32_t httpd_exchange_count(const struct httpd *s)
{
	return s->busy_count;
}

void httpd_set_limits(struct httpd *s, const struct httpd_limits *l)
{
	s->limits = *l;
	s->buffers.live_max = l->buffers_max;
}

uint64_t httpd_refused_count(const struct httpd *s)
{
	return s->refused;
}
