/* exchange.c: the answering half of httpd.h. */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "net/httpd_conn.h"
#include "net/stream_io.h"
#include "os/clock.h"

#define OUT_MAX (4u << 20)      /* what may be added while a client is being waited for */
#define REPLY_COPY_MAX 16384    /* bodies up to this size are sent in one piece with their head */

void conn_out_drop(struct httpd_conn *c)
{
	bb_bufpool_put(&c->x.server->buffers, c->out, c->out_cap);
	c->out = NULL;
	c->out_at = c->out_len = c->out_cap = 0;
}

/* Keeps bytes that the kernel did not take. False: no memory. */
static bool out_keep(struct httpd_conn *c, const char *data, size_t len)
{
	struct bb_bufpool *pool = &c->x.server->buffers;

	if (len == 0)
		return true;
	if (c->out_at && c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	if (c->out_len + len > c->out_cap) {
		size_t cap;
		const size_t waiting = c->out_len - c->out_at;
		char *grown = bb_bufpool_get(pool, waiting + len, &cap, BB_SHARE_RUNNING);
		if (!grown)
			return false;
		if (waiting)
			memcpy(grown, c->out + c->out_at, waiting);
		bb_bufpool_put(pool, c->out, c->out_cap);
		c->out = grown;
		c->out_cap = cap;
		c->out_at = 0;
		c->out_len = waiting;
	}
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	return true;
}

void conn_arm_write(struct httpd_conn *c)
{
	const uint64_t ns = c->x.server->limits.write_timeout_ns;

	if (!ns)
		return;
	c->unsent = sock_unsent(c->watch.fd);
	loop_timer_arm(&c->timer, loop_now_ns(c->x.server->loop) + ns);
}

enum io conn_out_flush(struct httpd_conn *c)
{
	while (c->out_at < c->out_len) {
		size_t put;
		const enum io io = stream_write(c->watch.fd, c->tls, c->out + c->out_at,
					      c->out_len - c->out_at, &put);
		if (io != IO_DONE)
			return io;
		c->out_at += put;
		c->x.bytes_out += put;
		if (c->out_at < c->out_len)
			conn_arm_write(c);
	}
	conn_out_drop(c);
	return IO_DONE;
}

/* What waits in `out`, then the parts: one system call; what is left over is kept. */
static enum io out_send(struct httpd_conn *c, const struct iovec *parts, int count)
{
	struct iovec all[8];
	int n = 0;
	size_t total = 0, put = 0;

	if (c->x.gone)
		return IO_ERROR;
	if (c->out_at < c->out_len)
		all[n++] = (struct iovec){ c->out + c->out_at, c->out_len - c->out_at };
	for (int i = 0; i < count; i++)
		if (parts[i].iov_len)
			all[n++] = parts[i];
	for (int i = 0; i < n; i++)
		total += all[i].iov_len;
	if (total == 0)
		return IO_DONE;
	enum io io = IO_AGAIN;
	const bool was_waiting = c->wants_room;
	/* One write is kept whatever its size; a producer that goes on without room is stopped. */
	if (was_waiting && total > OUT_MAX) {
		(void)BB_CHECK(false, "a client's unsent bytes are over their limit");
		conn_gone(c);
		return IO_ERROR;
	}
	if (!was_waiting) {
		io = n == 1 ? stream_write(c->watch.fd, c->tls, all[0].iov_base, all[0].iov_len, &put)
			    : stream_writev(c->watch.fd, c->tls, all, n, &put);
		if (io == IO_ERROR) {
			conn_gone(c);
			return IO_ERROR;
		}
	}
	c->x.bytes_out += put;
	if (put == total) {
		if (c->out)
			conn_out_drop(c);
		return IO_DONE;
	}
	/* First what had been waiting, then the unsent ends of the parts. */
	int i = 0;
	if (c->out_at < c->out_len) {
		const size_t k = put < all[0].iov_len ? put : all[0].iov_len;
		c->out_at += k;
		put -= k;
		i = 1;
	}
	for (; i < n; i++) {
		const size_t k = put < all[i].iov_len ? put : all[i].iov_len;
		put -= k;
		if (!out_keep(c, (char *)all[i].iov_base + k, all[i].iov_len - k)) {
			(void)BB_CHECK(false, "no memory for what a client has not read yet");
			conn_gone(c);
			return IO_ERROR;
		}
	}
	/* Only what the client takes gives it more time, not what is added. */
	if (!was_waiting)
		conn_arm_write(c);
	c->wants_room = true;
	return IO_AGAIN;
}

/* ---- heads ---- */

static struct bb_str date_line(struct httpd *s)
{
	const uint64_t second = clock_wall_ns() / OS_SECOND;

	if (second != s->date_second) {
		const time_t t = (time_t)second;
		struct tm tm;
		gmtime_r(&t, &tm);
		s->date_len = strftime(s->date, sizeof(s->date),
				       "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
		s->date_second = second;
	}
	return (struct bb_str){ s->date, s->date_len };
}

/* Status line and fields into the server's head_out. */
static void head_compose(struct httpd_conn *c, int status, struct bb_str type, struct bb_str headers,
			 uint64_t length)
{
	struct httpd *s = c->x.server;
	struct bb_buf *b = &s->head_out;
	const struct bb_str text = bb_str_of(http_status_text(status));

	BB_ASSERT(!c->answered);
	c->answered = true;
	if (s->draining || (s->limits.requests_max && c->requests >= s->limits.requests_max))
		c->must_close = true;
	bb_buf_clear(b);
	bb_buf_lit(b, "HTTP/1.1 ");
	bb_buf_add_u64(b, (uint64_t)status);
	bb_buf_lit(b, " ");
	bb_buf_add_str(b, text);
	bb_buf_lit(b, "\r\n");
	bb_buf_add_str(b, date_line(s));
	if (type.len) {
		bb_buf_lit(b, "Content-Type: ");
		bb_buf_add_str(b, type);
		bb_buf_lit(b, "\r\n");
	}
	bb_buf_add_str(b, headers);
	if (status == 204 || status == 304 || status / 100 == 1) {
		c->out_framing = OUT_NONE;
	} else if (length != EXCHANGE_CHUNKED) {
		c->out_framing = OUT_LENGTH;
		c->out_left = length;
		bb_buf_lit(b, "Content-Length: ");
		bb_buf_add_u64(b, length);
		bb_buf_lit(b, "\r\n");
	} else if (c->x.minor == 0) {
		c->out_framing = OUT_UNTIL_CLOSE;
		c->must_close = true;
	} else {
		c->out_framing = OUT_CHUNKED;
		bb_buf_lit(b, "Transfer-Encoding: chunked\r\n");
	}
	if (c->must_close)
		bb_buf_lit(b, "Connection: close\r\n");
	else if (c->x.minor == 0)
		bb_buf_lit(b, "Connection: keep-alive\r\n");
	bb_buf_lit(b, "\r\n");
}

static void answer_done(struct httpd_conn *c)
{
	c->ended = true;
	conn_finish_soon(c);
}

void exchange_reply(struct exchange *x, int status, struct bb_str type, struct bb_str headers,
		    struct bb_str body)
{
	struct httpd_conn *c = exchange_conn(x);
	struct bb_buf *b = &x->server->head_out;

	head_compose(c, status, type, headers, body.len);
	if (x->is_head_method || c->out_framing == OUT_NONE)
		body.len = 0;
	if (body.len && body.len <= REPLY_COPY_MAX && bb_buf_add_str(b, body) == 0)
		body.len = 0;
	if (b->err) { /* the head itself did not fit in memory */
		conn_gone(c);
		return;
	}
	const struct iovec parts[2] = {
		{ b->p, b->len },
		{ (void *)body.p, body.len },
	};
	if (out_send(c, parts, 2) != IO_ERROR) {
		c->out_left = 0;
		answer_done(c);
	}
}

void exchange_begin(struct exchange *x, int status, struct bb_str type, struct bb_str headers,
		    uint64_t length)
{
	struct httpd_conn *c = exchange_conn(x);
	struct bb_buf *b = &x->server->head_out;

	head_compose(c, status, type, headers, length);
	if (b->err || !out_keep(c, b->p, b->len))
		conn_gone(c);
}

void exchange_flush(struct exchange *x)
{
	struct httpd_conn *c = exchange_conn(x);

	if (out_send(c, NULL, 0) == IO_DONE)
		c->wants_room = false;
}

/* ---- bodies ---- */

/* "1f4\r\n" so that it ends at `end`; returns its first byte. */
static char *chunk_header_before(char *end, size_t len)
{
	static const char hex[] = "0123456789abcdef";

	*--end = '\n';
	*--end = '\r';
	do {
		*--end = hex[len & 15];
		len >>= 4;
	} while (len);
	return end;
}

static void count_length(struct httpd_conn *c, size_t len)
{
	if (c->out_framing != OUT_LENGTH)
		return;
	BB_ASSERT(len <= c->out_left);
	c->out_left -= len;
}

enum io exchange_write(struct exchange *x, struct bb_str data)
{
	struct httpd_conn *c = exchange_conn(x);
	char room[EXCHANGE_HEADROOM];

	BB_ASSERT(c->answered && !c->ended);
	count_length(c, data.len);
	if (data.len == 0 || x->is_head_method || c->out_framing == OUT_NONE)
		return x->gone ? IO_ERROR : IO_DONE;
	if (c->out_framing != OUT_CHUNKED) {
		const struct iovec part = { (void *)data.p, data.len };
		return out_send(c, &part, 1);
	}
	char *header = chunk_header_before(room + sizeof(room), data.len);
	const struct iovec parts[3] = {
		{ header, (size_t)(room + sizeof(room) - header) },
		{ (void *)data.p, data.len },
		{ (char *)"\r\n", 2 },
	};
	return out_send(c, parts, 3);
}

enum io exchange_write_inplace(struct exchange *x, char *data, size_t len, enum body_part part)
{
	struct httpd_conn *c = exchange_conn(x);
	const bool is_last = part == BODY_LAST;
	enum io io = IO_DONE;

	BB_ASSERT(c->answered && !c->ended);
	count_length(c, len);
	if (c->out_framing == OUT_CHUNKED && !x->is_head_method) {
		char *from = data, *end = data + len;
		if (len) {
			from = chunk_header_before(data, len);
			*end++ = '\r';
			*end++ = '\n';
		}
		if (is_last) {
			memcpy(end, "0\r\n\r\n", 5);
			end += 5;
		}
		data = from;
		len = (size_t)(end - from);
	}
	if (x->is_head_method || c->out_framing == OUT_NONE)
		len = 0;
	const struct iovec whole = { data, len };
	io = out_send(c, &whole, 1);
	if (is_last && io != IO_ERROR) {
		if (c->out_framing == OUT_LENGTH && c->out_left && !x->is_head_method) {
			exchange_abort(x);
			return IO_ERROR;
		}
		answer_done(c);
	}
	return io;
}

void exchange_put(struct exchange *x, struct bb_str data)
{
	struct httpd_conn *c = exchange_conn(x);
	char room[EXCHANGE_HEADROOM];
	bool kept;

	BB_ASSERT(c->answered && !c->ended);
	count_length(c, data.len);
	if (data.len == 0 || x->gone || x->is_head_method || c->out_framing == OUT_NONE)
		return;
	if (c->out_framing == OUT_CHUNKED) {
		const char *header = chunk_header_before(room + sizeof(room), data.len);
		kept = out_keep(c, header, (size_t)(room + sizeof(room) - header)) &&
		       out_keep(c, data.p, data.len) && out_keep(c, "\r\n", 2);
	} else {
		kept = out_keep(c, data.p, data.len);
	}
	if (!kept)
		conn_gone(c);
}

void exchange_end(struct exchange *x)
{
	struct httpd_conn *c = exchange_conn(x);

	if (x->gone || c->ended)
		return;
	BB_ASSERT(c->answered);
	if (c->out_framing == OUT_LENGTH && c->out_left && !x->is_head_method) {
		exchange_abort(x); /* shorter than promised: only a cut tells the client */
		return;
	}
	const struct iovec part = { (char *)"0\r\n\r\n",
				    c->out_framing == OUT_CHUNKED && !x->is_head_method ? 5 : 0 };
	if (out_send(c, &part, 1) != IO_ERROR)
		answer_done(c);
}

void exchange_abort(struct exchange *x)
{
	conn_gone(exchange_conn(x));
}

void exchange_drop_body(struct exchange *x)
{
	bb_bufpool_put(&x->server->buffers, x->body, x->body_cap);
	x->body = NULL;
	x->body_len = x->body_cap = 0;
}

size_t exchange_peer(const struct exchange *x, char out[SOCK_TEXT_SIZE])
{
	return sock_peer_text(&BB_CONTAINER(x, struct httpd_conn, x)->peer, out);
}
