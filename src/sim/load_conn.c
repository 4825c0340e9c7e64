#include "sim/load_conn.h"

#include "base/log.h"
#include "os/clock.h"

void load_conn_init(struct load_conn *c, struct load_shared *shared)
{
	*c = (struct load_conn){ .watch.fd = -1, .shared = shared };
	bb_list_init(&c->link);
	load_answer_init(&c->answer);
}

static void conn_close(struct load_conn *c)
{
	if (c->watch.fd < 0)
		return;
	c->shared->connecting_count -= c->state == LOAD_CONN_CONNECTING;
	load_answer_abandon(&c->answer, c->shared->meter);
	loop_fd_del(c->shared->loop, &c->watch);
	sock_close(c->watch.fd);
	c->watch.fd = -1;
	c->state = LOAD_CONN_CLOSED;
}

/* Open streams are reset: thousands of ports in TIME_WAIT would be in the way of the next run. */
void load_conn_fini(struct load_conn *c)
{
	if (c->watch.fd >= 0 && c->state == LOAD_CONN_BUSY) {
		loop_fd_del(c->shared->loop, &c->watch);
		sock_close_hard(c->watch.fd);
		c->watch.fd = -1;
	}
	conn_close(c);
	load_answer_fini(&c->answer);
}

static void conn_fail(struct load_conn *c, enum load_error why)
{
	struct load_meter *m = c->shared->meter;

	m->errors[why]++;
	c->error = why;
	if (c->state == LOAD_CONN_BUSY)
		m->ended_count++;
	conn_close(c);
	c->shared->ops->on_closed(c);
}

void load_conn_abort(struct load_conn *c, enum load_error why)
{
	conn_fail(c, why);
}

/* ---- sending ---- */

/* The request from its byte `c->sent` on: what is before the nonce, the nonce, the rest. */
static int unsent_parts(const struct load_conn *c, struct iovec parts[3])
{
	const struct load_request *r = c->request;
	const size_t nonce_end = r->nonce_at + LOAD_NONCE_SIZE;
	const struct bb_str whole[3] = {
		{ r->bytes.p, r->has_nonce ? r->nonce_at : r->bytes.len },
		{ c->nonce, r->has_nonce ? LOAD_NONCE_SIZE : 0 },
		{ r->bytes.p + nonce_end, r->has_nonce ? r->bytes.len - nonce_end : 0 },
	};
	size_t skip = c->sent;
	int count = 0;

	for (int i = 0; i < 3; i++) {
		const struct bb_str left = bb_str_skip(whole[i], skip);
		skip -= whole[i].len - left.len;
		if (left.len)
			parts[count++] = (struct iovec){ (void *)left.p, left.len };
	}
	return count;
}

/* False when the connection was closed over it. */
static bool conn_write(struct load_conn *c)
{
	struct iovec parts[3];

	while (c->sent < c->size) {
		size_t put = 0;
		const int count = unsent_parts(c, parts);
		switch (sock_writev(c->watch.fd, parts, count, &put)) {
		case IO_DONE: c->sent += put; break;
		case IO_AGAIN: return true; /* the loop tells when there is room */
		case IO_EOF:
		case IO_ERROR: conn_fail(c, LOAD_ERROR_CUT); return false;
		}
	}
	if (c->request && c->shared->ops->on_sent)
		c->shared->ops->on_sent(c);
	c->request = NULL;
	return true;
}

void load_conn_send(struct load_conn *c, const struct load_request *request, uint64_t nonce,
		    uint64_t start_ns)
{
	static const char hex[] = "0123456789abcdef";

	BB_ASSERT(c->state == LOAD_CONN_READY);
	for (int i = 0; i < LOAD_NONCE_SIZE; i++)
		c->nonce[i] = hex[nonce >> (4 * i) & 15];
	c->state = LOAD_CONN_BUSY;
	c->request = request;
	c->sent = 0;
	c->size = request->bytes.len;
	c->error = LOAD_ERROR_COUNT;
	c->shared->meter->started_count++;
	load_answer_begin(&c->answer, start_ns);
	conn_write(c);
}

/* ---- reading ---- */

static void conn_answered(struct load_conn *c)
{
	if (c->answer.keeps_alive && c->sent == c->size) {
		c->state = LOAD_CONN_READY;
		c->shared->ops->on_ready(c);
		return;
	}
	conn_close(c);
	c->shared->ops->on_closed(c);
}

static void conn_ended(struct load_conn *c, enum io how)
{
	if (how == IO_EOF && c->state == LOAD_CONN_BUSY &&
	    load_answer_end(&c->answer, clock_now_ns(), c->shared->meter)) {
		conn_answered(c);
	} else if (c->state == LOAD_CONN_BUSY) {
		conn_fail(c, LOAD_ERROR_CUT);
	} else { /* the peer is free to end an idle connection */
		conn_close(c);
		c->shared->ops->on_closed(c);
	}
}

/*
 * Reads until the kernel has no more; each answer that is complete may start the next request. A
 * read that fills less than the room has taken all there was, but the peer's end is told only by
 * one more.
 */
static void conn_read(struct load_conn *c, unsigned events)
{
	const bool has_end = events & (LOOP_PEER | LOOP_BROKEN);
	size_t got = LOAD_READ_SIZE;

	while (c->watch.fd >= 0 && (has_end || got == LOAD_READ_SIZE)) {
		const enum io how = sock_read(c->watch.fd, c->shared->room, LOAD_READ_SIZE, &got);
		if (how == IO_AGAIN)
			return;
		if (how != IO_DONE) {
			conn_ended(c, how);
			return;
		}
		const uint64_t now_ns = clock_now_ns();
		if (load_answer_feed(&c->answer, c->shared->room, got, now_ns, c->shared->meter)) {
			conn_fail(c, LOAD_ERROR_MALFORMED);
			return;
		}
		if (c->state == LOAD_CONN_BUSY && c->answer.is_complete)
			conn_answered(c);
	}
}

/* ---- connecting ---- */

static void conn_connected(struct load_conn *c)
{
	if (sock_connect_error(c->watch.fd)) {
		conn_fail(c, LOAD_ERROR_CONNECT);
		return;
	}
	c->shared->connecting_count--;
	c->state = LOAD_CONN_READY;
	c->shared->ops->on_ready(c);
}

static void on_event(struct loop_fd *w, unsigned events)
{
	struct load_conn *c = BB_CONTAINER(w, struct load_conn, watch);

	if (c->state == LOAD_CONN_CONNECTING) {
		if (events & (LOOP_WRITE | LOOP_BROKEN))
			conn_connected(c);
		return;
	}
	if (events & LOOP_WRITE && c->state == LOAD_CONN_BUSY && !conn_write(c))
		return;
	if (events & LOOP_READ)
		conn_read(c, events);
}

bool load_conn_open(struct load_conn *c, const struct sock_addr *to)
{
	BB_ASSERT(c->state == LOAD_CONN_CLOSED);
	const int fd = sock_connect(to);
	if (fd < 0)
		goto fail;
	c->watch = (struct loop_fd){ .fd = fd, .on_event = on_event };
	if (loop_fd_add(c->shared->loop, &c->watch))
		goto fail_close;
	c->state = LOAD_CONN_CONNECTING;
	c->error = LOAD_ERROR_COUNT;
	c->shared->connecting_count++;
	return true;

fail_close:
	sock_close(fd);
	c->watch.fd = -1;
fail:
	c->shared->meter->errors[LOAD_ERROR_CONNECT]++;
	return false;
}
