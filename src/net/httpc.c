/* httpc.c: see httpc.h. */
#include "net/httpc.h"

#include "net/httpc_conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/pool.h"
#include "net/httpd.h"
#include "net/stream_io.h"
#include "os/clock.h"


void httpc_limits_default(struct httpc_limits *l)
{
	*l = (struct httpc_limits){
		.head_size_max = 32u << 10,
		.idle_max = 1024,
		.connect_timeout_ns = 2 * OS_SECOND,
		.head_timeout_ns = 600 * OS_SECOND,
		.read_timeout_ns = 300 * OS_SECOND,
		.write_timeout_ns = 60 * OS_SECOND,
		.idle_timeout_ns = 4 * OS_SECOND,
	};
}

/* ---- connections ---- */

static void list_leave(struct httpc_conn *c)
{
	if (c->state == HTTPC_IDLE)
		c->pool->idle_count--;
	else
		c->pool->busy_count--;
	bb_list_remove(&c->link);
}

void httpc_conn_close(struct httpc_conn *c)
{
	BB_ASSERT(c->magic == HTTPC_CONN_MAGIC);
	if (c->call) {
		c->call->conn = NULL;
		c->call = NULL;
	}
	list_leave(c);
	loop_task_cancel(&c->again);
	loop_fd_del(c->pool->loop, &c->watch);
	loop_timer_fini(&c->timer);
	tls_session_destroy(c->tls, TLS_GOODBYE);
	sock_close(c->watch.fd);
	bb_buf_fini(&c->head);
	if (c->closed)
		*c->closed = true;
	c->magic = 0;
	bb_free(c);
}

/* Detaches the call and closes the connection, then tells the owner, who may start anew. */
void httpc_conn_fail(struct httpc_conn *c, int err, const char *why)
{
	struct call *call = c->call;

	httpc_conn_close(c);
	if (call)
		call->ops->on_failed(call, err, why);
}

/* Does the peer say more than was asked? It would look like the start of the next answer. */
static bool has_more(const struct httpc_conn *c)
{
	char byte[1];
	size_t got;

	if (!c->readable || !c->tls)
		return c->readable;
	/* There may be a ticket, or nothing. */
	return tls_read(c->tls, byte, sizeof(byte), &got) != IO_AGAIN;
}

/* The answer is complete: the connection goes back to the pool or is closed; the call is detached. */
void httpc_conn_release(struct httpc_conn *c)
{
	struct httpc_pool *p = c->pool;

	c->call->conn = NULL;
	c->call = NULL;
	const bool sent = c->part_at == UINT8_MAX;
	if (!c->keep_alive || !sent || c->peer_fin || p->idle_count >= p->limits.idle_max ||
	    has_more(c)) {
		httpc_conn_close(c);
		return;
	}
	list_leave(c);
	c->state = HTTPC_IDLE;
	bb_list_push(&p->idle, &c->link);
	p->idle_count++;
	bb_buf_fini(&c->head);
	loop_timer_arm(&c->timer, loop_now_ns(p->loop) + p->limits.idle_timeout_ns);
}

/* ---- sending ---- */

void httpc_arm_for_answer(struct httpc_conn *c)
{
	const struct httpc_limits *l = &c->pool->limits;
	const uint64_t now = loop_now_ns(c->pool->loop);

	if (c->call->is_paused)
		loop_timer_cancel(&c->timer);
	else
		loop_timer_arm(&c->timer,
			       now + (c->head_told ? l->read_timeout_ns : l->head_timeout_ns));
}

/* Sends what it can of the request. 0, also when some is left; or an error. */
static int conn_push(struct httpc_conn *c)
{
	struct call *call = c->call;

	while (c->part_at < call->part_count) {
		struct iovec parts[CALL_PARTS_MAX];
		int n = 0;
		size_t put, total = 0;
		for (int i = c->part_at; i < call->part_count; i++) {
			parts[n] = call->parts[i];
			if (i == c->part_at) {
				parts[n].iov_base = (char *)parts[n].iov_base + c->part_off;
				parts[n].iov_len -= c->part_off;
			}
			total += parts[n++].iov_len;
		}
		const enum io io = n == 1 ? stream_write(c->watch.fd, c->tls, parts[0].iov_base,
							 parts[0].iov_len, &put)
					  : stream_writev(c->watch.fd, c->tls, parts, n, &put);
		if (io == IO_AGAIN || (io == IO_DONE && put < total)) {
			c->writable = false;
			loop_timer_arm(&c->timer, loop_now_ns(c->pool->loop) +
							  c->pool->limits.write_timeout_ns);
		}
		if (io == IO_AGAIN)
			return 0;
		if (io != IO_DONE)
			return -BB_EUPSTREAM;
		while (c->part_at < call->part_count) {
			const size_t left = call->parts[c->part_at].iov_len - c->part_off;
			if (put < left) {
				c->part_off += put;
				break;
			}
			put -= left;
			c->part_at++;
			c->part_off = 0;
		}
		if (!c->writable && c->part_at < call->part_count)
			return 0;
	}
	c->part_at = UINT8_MAX;
	call->sent_ns = loop_now_ns(c->pool->loop);
	httpc_arm_for_answer(c);
	return 0;
}

/* ---- events ---- */

/* Bytes on an idle connection are an error, its end is the peer's right; TLS may send tickets. */
static void on_idle_event(struct httpc_conn *c, unsigned events)
{
	size_t got;

	if (!(events & (LOOP_READ | LOOP_BROKEN)))
		return;
	if (c->tls && !(events & (LOOP_PEER | LOOP_BROKEN)) &&
	    tls_read(c->tls, httpc_scratch.bytes, SCRATCH_SIZE, &got) == IO_AGAIN)
		return;
	httpc_conn_close(c);
}

/* Probes and requests come again and again: what they fail on is said once, until it changes. */
static void handshake_fail(struct httpc_conn *c, enum io io)
{
	struct httpc_pool *p = c->pool;
	char why[TLS_REASON_SIZE], addr[SOCK_TEXT_SIZE];

	/* It may reach clients, who need not know our engines' names. */
	snprintf(why, sizeof(why), "TLS failed: %s",
		 io == IO_EOF ? "it closed the connection" : tls_reason(c->tls));
	if (strcmp(why, p->tls_told) != 0) {
		bb_text_copy(p->tls_told, sizeof(p->tls_told), why);
		sock_addr_text(&p->addr, addr);
		BB_LOG(BB_LOG_WARN, "tls", "%s at %s: %s", p->tls_name, addr, why);
	}
	httpc_conn_fail(c, -BB_ECONNECT, why);
}

/* The connection stands and may carry the request. False: it failed and is gone, or waits. */
static bool conn_establish(struct httpc_conn *c, unsigned events)
{
	struct httpc_pool *p = c->pool;

	if (c->state == HTTPC_CONNECTING) {
		if (!(events & (LOOP_WRITE | LOOP_BROKEN)))
			return false;
		const int err = sock_connect_error(c->watch.fd);
		if (err || events & LOOP_BROKEN) {
			httpc_conn_fail(c, -BB_ECONNECT, strerror(err ? err : ECONNREFUSED));
			return false;
		}
		if (p->tls && tls_session_create(p->tls, c->watch.fd, p->tls_name, &c->tls)) {
			httpc_conn_fail(c, -BB_ECONNECT, "no memory for TLS");
			return false;
		}
		c->state = p->tls ? HTTPC_HANDSHAKE : HTTPC_BUSY;
	}
	if (c->state == HTTPC_HANDSHAKE) {
		const enum io io = tls_handshake(c->tls);
		if (io == IO_AGAIN)
			return false;
		if (io != IO_DONE) {
			handshake_fail(c, io);
			return false;
		}
		p->tls_told[0] = '\0';
		c->state = HTTPC_BUSY;
		c->writable = true;
	}
	c->call->connected_ns = loop_now_ns(p->loop);
	return true;
}

static void on_event(struct loop_fd *w, unsigned events)
{
	struct httpc_conn *c = BB_CONTAINER(w, struct httpc_conn, watch);

	BB_ASSERT(c->magic == HTTPC_CONN_MAGIC);
	/* TLS may have to write before it can read on: a key update. */
	if (events & LOOP_READ || (events & LOOP_WRITE && c->tls))
		c->readable = true;
	if (events & LOOP_PEER)
		c->peer_fin = true;
	if (c->state == HTTPC_IDLE) {
		on_idle_event(c, events);
		return;
	}
	if (c->state != HTTPC_BUSY && !conn_establish(c, events))
		return;
	if (events & LOOP_WRITE)
		c->writable = true;
	if (c->part_at != UINT8_MAX && (c->writable || c->tls) && !c->send_failed && conn_push(c)) {
		/* A server that refuses a body answers and closes: its words matter more than our error. */
		c->send_failed = true;
		c->readable = true;
	}
	if (c->readable)
		httpc_conn_read(c);
}

static void on_timer(struct loop_timer *t)
{
	struct httpc_conn *c = BB_CONTAINER(t, struct httpc_conn, timer);

	if (c->state == HTTPC_IDLE)
		httpc_conn_close(c);
	else if (c->state == HTTPC_CONNECTING)
		httpc_conn_fail(c, -BB_ECONNECT, "connecting took too long");
	else if (c->state == HTTPC_HANDSHAKE)
		httpc_conn_fail(c, -BB_ECONNECT, "the TLS handshake took too long");
	else if (c->part_at != UINT8_MAX)
		httpc_conn_fail(c, -BB_EUPTIMEOUT, "the engine does not take the request");
	else
		httpc_conn_fail(c, -BB_EUPTIMEOUT, c->head_told ? "the engine fell silent"
							  : "the engine did not answer in time");
}

/* Failures of ours must not look like failures of the peer. */
static int connect_error(void)
{
	switch (errno) {
	case ENOMEM:
	case ENOBUFS: return -BB_ENOMEM;
	case EMFILE:
	case ENFILE:
	case EADDRNOTAVAIL: return -BB_EBUSY;
	default: return -BB_ECONNECT;
	}
}

static struct httpc_conn *conn_create(struct httpc_pool *p, int *err)
{
	const int fd = sock_connect(&p->addr);

	*err = -BB_ENOMEM;
	if (fd < 0) {
		*err = connect_error();
		return NULL;
	}
	struct httpc_conn *c = bb_alloc_zero(1, sizeof(*c));
	if (!c)
		goto fail_close;
	c->magic = HTTPC_CONN_MAGIC;
	c->pool = p;
	c->state = HTTPC_CONNECTING;
	c->watch.fd = fd;
	c->watch.on_event = on_event;
	loop_task_init(&c->again, httpc_on_again);
	bb_buf_init(&c->head, p->limits.head_size_max);
	if (loop_timer_init(p->loop, &c->timer, on_timer))
		goto fail_free;
	if (loop_fd_add(p->loop, &c->watch))
		goto fail_timer;
	bb_list_push(&p->busy, &c->link);
	p->busy_count++;
	return c;

fail_timer:
	loop_timer_fini(&c->timer);
fail_free:
	bb_free(c);
fail_close:
	sock_close(fd);
	return NULL;
}

/* ---- the public part ---- */

int httpc_pool_create(struct loop *loop, const struct sock_addr *addr,
		      const struct httpc_limits *limits, struct httpc_pool **out)
{
	struct httpc_pool *p = bb_alloc_zero(1, sizeof(*p));

	if (!p)
		return -BB_ENOMEM;
	p->loop = loop;
	p->addr = *addr;
	p->limits = *limits;
	bb_list_init(&p->idle);
	bb_list_init(&p->busy);
	*out = p;
	return 0;
}

void httpc_pool_flush(struct httpc_pool *p)
{
	BB_LIST_EACH(it, safe, &p->idle)
		httpc_conn_close(BB_CONTAINER(it, struct httpc_conn, link));
}

void httpc_pool_destroy(struct httpc_pool *p)
{
	if (!p)
		return;
	BB_ASSERT(p->busy_count == 0);
	httpc_pool_flush(p);
	tls_context_put(p->tls);
	bb_free(p->tls_name);
	bb_free(p);
}

int httpc_pool_set_tls(struct httpc_pool *p, struct tls_context *tls, const char *name)
{
	BB_ASSERT(!p->tls && p->busy_count == 0 && p->idle_count == 0);
	p->tls_name = bb_strndup(name, strlen(name));
	if (!p->tls_name)
		return -BB_ENOMEM;
	p->tls = tls_context_get(tls);
	return 0;
}

uint32_t httpc_pool_idle_count(const struct httpc_pool *p)
{
	return p->idle_count;
}

uint32_t httpc_pool_busy_count(const struct httpc_pool *p)
{
	return p->busy_count;
}

int call_start(struct call *call, struct httpc_pool *p, enum call_conn which)
{
	struct httpc_conn *c;

	BB_ASSERT(!call->conn && call->part_count > 0 && call->part_count <= CALL_PARTS_MAX);
	call->is_paused = call->has_answer = call->was_reused = false;
	call->connected_ns = call->sent_ns = 0;
	if (which == CALL_ANY_CONN && !bb_list_is_empty(&p->idle)) {
		c = BB_CONTAINER(p->idle.next, struct httpc_conn, link);
		list_leave(c);
		bb_list_push(&p->busy, &c->link);
		p->busy_count++;
		c->state = HTTPC_BUSY;
		c->writable = true;
		c->readable = false;
		call->was_reused = true;
		call->connected_ns = loop_now_ns(p->loop);
	} else {
		int err;
		c = conn_create(p, &err);
		if (!c)
			return err;
	}
	c->call = call;
	call->conn = c;
	c->part_at = 0;
	c->part_off = 0;
	c->head_told = c->send_failed = false;
	c->interims = 0;
	c->keep_alive = false;
	httpc_parse_reset(c, call);
	if (c->state == HTTPC_CONNECTING) {
		loop_timer_arm(&c->timer, loop_now_ns(p->loop) + p->limits.connect_timeout_ns);
		return 0;
	}
	int rc = conn_push(c);
	if (rc)
		httpc_conn_close(c); /* no callback: the owner is still inside of call_start */
	return rc;
}

bool call_is_sent(const struct call *c)
{
	return c->sent_ns != 0;
}

void call_pause(struct call *c)
{
	c->is_paused = true;
	if (c->conn && c->conn->part_at == UINT8_MAX)
		loop_timer_cancel(&c->conn->timer);
}

void call_resume(struct call *c)
{
	c->is_paused = false;
	if (!c->conn || c->conn->state != HTTPC_BUSY)
		return;
	if (c->conn->part_at == UINT8_MAX)
		httpc_arm_for_answer(c->conn);
	if (c->conn->readable)
		loop_defer(c->conn->pool->loop, &c->conn->again);
}

void call_cancel(struct call *c)
{
	if (c->conn)
		httpc_conn_close(c->conn);
}
