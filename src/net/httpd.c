/* httpd.c: listeners, and connections from their beginning to their end. */
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
#define HANDSHAKES_A_TURN 4
#define ACCEPT_RETRY_NS (100 * OS_MS)
#define LINGER_NS (2 * OS_SECOND)
#define LINGER_BYTES (64u << 20)
#define CONN_POOL_KEEP 4096
#define HEAD_OUT_MAX (128u << 10)

struct listener {
	struct loop_fd watch;
	struct loop_timer retry;
	struct httpd *server;
	struct bb_list link;
	bool is_local; /* a unix socket: no TLS, it does not leave the machine */
};

void httpd_limits_default(struct httpd_limits *l)
{
	*l = (struct httpd_limits){
		.head_size_max = 32u << 10,
		.url_size_max = 8u << 10,
		.body_size_max = 32u << 20,
		.buffers_max = 1u << 30,
		.buffers_keep = 16u << 20,
		.head_timeout_ns = 10 * OS_SECOND,
		.body_timeout_ns = 30 * OS_SECOND,
		.keepalive_ns = 75 * OS_SECOND,
		.write_timeout_ns = 60 * OS_SECOND,
	};
}

/* A time-out of 0 is none. */
void conn_arm_timer(struct httpd_conn *c, uint64_t timeout_ns)
{
	if (timeout_ns)
		loop_timer_arm(&c->timer, loop_now_ns(c->x.server->loop) + timeout_ns);
	else
		loop_timer_cancel(&c->timer);
}

/* ---- ends of connections ---- */

void conn_in_drop(struct httpd_conn *c)
{
	bb_bufpool_put(&c->x.server->buffers, c->in, c->in_cap);
	c->in = NULL;
	c->in_len = c->in_cap = 0;
}

void conn_set_state(struct httpd_conn *c, enum httpd_conn_state state)
{
	struct httpd *s = c->x.server;

	s->busy_count += (state == CONN_BUSY) - (c->state == CONN_BUSY);
	c->state = (uint8_t)state;
}

void conn_destroy(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;

	BB_ASSERT(c->magic == HTTPD_CONN_MAGIC && !c->was_handed);
	conn_set_state(c, CONN_IDLE);
	loop_task_cancel(&c->finish);
	bb_list_remove(&c->shaking);
	loop_fd_del(s->loop, &c->watch);
	loop_timer_fini(&c->timer);
	/* An answer that was broken off must not seem complete because the connection ends well. */
	tls_session_destroy(c->tls, c->answered && !c->ended ? TLS_CUT : TLS_GOODBYE);
	sock_close(c->watch.fd);
	if (s->peers)
		peer_counts_remove(s->peers, &c->peer);
	conn_in_drop(c);
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
	conn_set_state(c, CONN_LINGER);
	c->answered = c->ended = false;
	conn_in_drop(c);
	exchange_drop_body(&c->x);
	if (c->tls)
		tls_session_goodbye(c->tls);
	sock_shut_write(c->watch.fd);
	c->linger_left = LINGER_BYTES;
	conn_arm_timer(c, LINGER_NS);
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
	conn_set_state(c, CONN_IDLE);
	conn_arm_timer(c, s->limits.keepalive_ns);
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

void conn_refuse_as(struct httpd_conn *c, int status, int err, const char *what)
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
	exchange_reply(&c->x, status, type,
		       bb_error_info(err)->retryable ? BB_STR("Retry-After: 1\r\n") : BB_STR(""),
		       bb_buf_str(&body));
	bb_buf_fini(&body);
	/* Bytes of the refused request may still be on their way. */
	conn_set_state(c, CONN_BODY);
}

void conn_refuse(struct httpd_conn *c, int err, const char *what)
{
	conn_refuse_as(c, bb_error_info(err)->http_status, err, what);
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

/* A handshake costs what some dozens of requests cost: when many come at once, others go between. */
static void on_shake(struct loop_task *t)
{
	struct httpd *s = BB_CONTAINER(t, struct httpd, shake);

	for (int i = 0; i < HANDSHAKES_A_TURN && !bb_list_is_empty(&s->shaking); i++) {
		struct httpd_conn *c = BB_CONTAINER(s->shaking.next, struct httpd_conn, shaking);
		bb_list_remove(&c->shaking);
		conn_process(c);
	}
	if (!bb_list_is_empty(&s->shaking))
		loop_defer(s->loop, t);
}

static void shake_soon(struct httpd_conn *c)
{
	struct httpd *s = c->x.server;

	if (!bb_list_is_empty(&c->shaking))
		return;
	bb_list_append(&s->shaking, &c->shaking);
	loop_defer(s->loop, &s->shake);
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
	if (c->readable && c->state == CONN_HANDSHAKE)
		shake_soon(c);
	else if (c->readable)
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
	bb_list_init(&c->shaking);
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
	conn_arm_timer(c, s->limits.head_timeout_ns);
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
	bb_list_init(&s->shaking);
	loop_task_init(&s->shake, on_shake);
	bb_pool_init(&s->conn_pool, sizeof(struct httpd_conn), CONN_POOL_KEEP);
	bb_budget_set(&s->own_buffers, s->limits.buffers_max);
	bb_bufpool_init(&s->buffers, config->buffers ? config->buffers : &s->own_buffers,
			s->limits.buffers_keep);
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
	/* Who stands at the door or has asked already is still served. */
	BB_LIST_EACH(it, safe, &s->listeners)
		listener_accept(BB_CONTAINER(it, struct listener, link));
	s->draining = true;
	close_listeners(s);
	BB_LIST_EACH(it, safe, &s->conns) {
		struct httpd_conn *c = BB_CONTAINER(it, struct httpd_conn, link);
		if (c->state == CONN_HANDSHAKE)
			conn_destroy(c);
		else if (c->state == CONN_IDLE)
			conn_process(c); /* closes it when nothing has come */
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
	loop_task_cancel(&s->shake);
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
	bb_budget_set(&s->own_buffers, l->buffers_max);
	s->buffers.keep_bytes = l->buffers_keep;
}

uint64_t httpd_refused_count(const struct httpd *s)
{
	return s->refused;
}
