#include "net/zmq_conn.h"

#include "base/log.h"

#define READ_SIZE_MIN 4096
#define OUT_SIZE_MAX 4096
#define TICKS_MAX 3
#define COMMANDS_MAX 1024 /* between two ticks; a peer needs a handful */

static void refresh(struct zmq_conn *c)
{
	c->read_budget = ZMQ_CONN_BUDGET;
	c->write_budget = ZMQ_CONN_BUDGET;
}

static void on_event(struct loop_fd *w, unsigned events)
{
	struct zmq_conn *c = BB_CONTAINER(w, struct zmq_conn, watch);

	if (events & (LOOP_WRITE | LOOP_BROKEN))
		c->is_blocked = false;
	refresh(c);
	c->on_ready(c, events);
}

static void on_again(struct loop_task *t)
{
	struct zmq_conn *c = BB_CONTAINER(t, struct zmq_conn, again);

	refresh(c);
	c->on_ready(c, LOOP_READ | LOOP_WRITE);
}

void zmq_conn_init(struct zmq_conn *c, struct loop *loop,
		   void (*on_ready)(struct zmq_conn *c, unsigned events))
{
	*c = (struct zmq_conn){ .loop = loop, .watch.fd = -1, .on_ready = on_ready };
	loop_task_init(&c->again, on_again);
}

int zmq_conn_open(struct zmq_conn *c, int fd, enum zmtp_socket self, size_t message_max)
{
	BB_ASSERT(!zmq_conn_is_open(c));
	c->watch = (struct loop_fd){ .fd = fd, .on_event = on_event };
	int rc = loop_fd_add(c->loop, &c->watch);
	if (rc) {
		sock_close(fd);
		c->watch.fd = -1;
		return rc;
	}
	zmtp_session_init(&c->session, self, message_max);
	bb_buf_init(&c->in, message_max + ZMTP_PARTS_MAX * ZMTP_HEAD_SIZE_MAX + READ_SIZE_MIN);
	bb_buf_init(&c->out, OUT_SIZE_MAX);
	c->in_at = 0;
	c->is_blocked = false;
	c->tick_count = c->quiet_ticks = c->command_count = 0;
	refresh(c);
	zmtp_add_greeting(&c->out);
	if (c->out.err) {
		rc = c->out.err;
		zmq_conn_close(c);
	}
	return rc;
}

void zmq_conn_close(struct zmq_conn *c)
{
	if (!zmq_conn_is_open(c))
		return;
	loop_task_cancel(&c->again);
	loop_fd_del(c->loop, &c->watch);
	sock_close(c->watch.fd);
	c->watch.fd = -1;
	bb_buf_fini(&c->in);
	bb_buf_fini(&c->out);
}

static struct bb_str unread(const struct zmq_conn *c)
{
	if (c->in_at == c->in.len)
		return (struct bb_str){ 0 };
	return bb_str_skip(bb_buf_str(&c->in), c->in_at);
}

int zmq_conn_next(struct zmq_conn *c, struct zmtp_event *out)
{
	for (;;) {
		int rc = zmtp_session_take(&c->session, unread(c), out);
		if (rc)
			return rc;
		c->in_at += out->used;
		switch (out->kind) {
		case ZMTP_GREETED: zmtp_add_ready(&c->out, c->session.self); break;
		case ZMTP_PING:
		case ZMTP_IGNORED:
			if (++c->command_count > COMMANDS_MAX)
				return -BB_ELIMIT;
			if (out->kind == ZMTP_PING)
				zmtp_add_pong(&c->out, out->parts[0]);
			break;
		case ZMTP_NEED:
		case ZMTP_OPENED:
		case ZMTP_MESSAGE:
		case ZMTP_SUBSCRIBE:
		case ZMTP_CANCEL: return c->out.err;
		}
		if (c->out.err) /* a peer that asks and asks without reading our answers */
			return c->out.err;
	}
}

enum io zmq_conn_fill(struct zmq_conn *c)
{
	struct bb_buf *b = &c->in;
	size_t got;

	bb_buf_consume(b, c->in_at);
	c->in_at = 0;
	if (c->read_budget == 0) {
		loop_defer(c->loop, &c->again);
		return IO_AGAIN;
	}
	if (bb_buf_reserve(b, READ_SIZE_MIN))
		return IO_ERROR;
	const enum io io = sock_read(c->watch.fd, b->p + b->len, b->cap - b->len, &got);
	if (io == IO_DONE) {
		b->len += got;
		c->read_budget -= got < c->read_budget ? got : c->read_budget;
		c->quiet_ticks = 0;
	} else if (io == IO_AGAIN && b->len == 0) {
		bb_buf_fini(b);
	}
	return io;
}

enum io zmq_conn_write(struct zmq_conn *c, const char *data, size_t len, size_t *put)
{
	if (c->is_blocked)
		return IO_AGAIN;
	if (c->write_budget == 0) {
		loop_defer(c->loop, &c->again);
		return IO_AGAIN;
	}
	const enum io io = sock_write(c->watch.fd, data, len, put);
	if (io == IO_AGAIN)
		c->is_blocked = true;
	else if (io == IO_DONE)
		c->write_budget -= *put < c->write_budget ? *put : c->write_budget;
	return io;
}

enum io zmq_conn_flush(struct zmq_conn *c)
{
	size_t put;

	while (c->out.len) {
		const enum io io = zmq_conn_write(c, c->out.p, c->out.len, &put);
		if (io != IO_DONE)
			return io;
		bb_buf_consume(&c->out, put);
	}
	bb_buf_fini(&c->out);
	return IO_DONE;
}

void zmq_conn_again(struct zmq_conn *c)
{
	if (zmq_conn_is_open(c))
		loop_defer(c->loop, &c->again);
}

int zmq_conn_tick(struct zmq_conn *c)
{
	const bool is_ready = c->session.state == ZMTP_OPEN;
	const uint32_t patience = is_ready ? c->quiet_ticks++ : c->tick_count;

	c->tick_count++;
	c->command_count = 0;
	if (is_ready && c->session.peer_minor == 0)
		return 0;
	if (patience >= TICKS_MAX)
		return -BB_EUPTIMEOUT;
	/* While an earlier command is still queued, another one would only fill the queue. */
	if (is_ready && c->quiet_ticks > 1 && c->out.len == 0)
		zmtp_add_ping(&c->out, 0, (struct bb_str){ 0 });
	return c->out.err;
}
