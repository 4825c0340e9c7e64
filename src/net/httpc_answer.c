/* httpc_answer.c: the receiving half of httpc.h: heads and bodies of answers. */
#include "net/httpc_conn.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "net/stream_io.h"
#include "os/clock.h"

#define READS_A_TURN 4
#define INTERIMS_MAX 16

_Thread_local struct httpc_scratch httpc_scratch;

void httpc_parse_reset(struct httpc_conn *c, struct call *call)
{
	http1_init(&c->parser, HTTP1_RESPONSE);
	c->parser.answers_head = call->is_head_method;
	c->head_split = false;
	bb_buf_clear(&c->head);
}

static void head_reset(void)
{
	httpc_scratch.head.count = 0;
	httpc_scratch.head.target = (struct bb_str){ 0 };
}

enum head_result { HEAD_MORE, HEAD_DONE, HEAD_FAILED };

/*
 * Takes head bytes from `data`. On HEAD_DONE httpc_scratch.head is filled in and *used says where the
 * body begins. On HEAD_FAILED the connection is gone.
 */
static enum head_result head_take(struct httpc_conn *c, const char *data, size_t len, size_t *used)
{
	head_reset();
	int rc = http1_feed_head(&c->parser, c->head_split ? NULL : &httpc_scratch.head, data, len, used);
	const size_t mine = rc == 1 ? *used : len;

	if (rc < 0) {
		httpc_conn_fail(c, -BB_EUPSTREAM, rc == -BB_ELIMIT ? "the engine's answer has too many header fields"
							     : "the engine's answer is not valid HTTP");
		return HEAD_FAILED;
	}
	if (rc == 1 && !c->head_split && mine <= c->pool->limits.head_size_max)
		return HEAD_DONE;
	if (c->head.len + mine > c->pool->limits.head_size_max || bb_buf_add(&c->head, data, mine)) {
		httpc_conn_fail(c, -BB_EUPSTREAM, "the head of the engine's answer is too large");
		return HEAD_FAILED;
	}
	c->head_split = true;
	if (rc == 0)
		return HEAD_MORE;
	struct http1 whole;
	size_t ignored;
	http1_init(&whole, HTTP1_RESPONSE);
	whole.answers_head = c->parser.answers_head;
	head_reset();
	rc = http1_feed_head(&whole, &httpc_scratch.head, c->head.p, c->head.len, &ignored);
	if (rc != 1) {
		httpc_conn_fail(c, -BB_EUPSTREAM, "the engine's answer has too many header fields");
		return HEAD_FAILED;
	}
	c->parser = whole;
	return HEAD_DONE;
}

/* Works on bytes read into httpc_scratch. False: this connection must not be touched any more. */
static bool conn_take(struct httpc_conn *c, char *data, size_t len)
{
	struct call *call = c->call;

	call->has_answer = true;
	while (!c->head_told) {
		size_t used = 0;
		const enum head_result r = head_take(c, data, len, &used);
		if (r == HEAD_FAILED)
			return false;
		if (r == HEAD_MORE)
			return true;
		data += used;
		len -= used;
		if (httpc_scratch.head.status / 100 == 1) {
			if (httpc_scratch.head.status == 101) {
				httpc_conn_fail(c, -BB_EUPSTREAM, "the engine switched protocols unasked");
				return false;
			}
			if (++c->interims > INTERIMS_MAX) {
				httpc_conn_fail(c, -BB_EUPSTREAM, "the engine sends 1xx without end");
				return false;
			}
			httpc_parse_reset(c, call);
			if (len == 0)
				return true;
			continue;
		}
		c->head_told = true;
		c->keep_alive = httpc_scratch.head.keep_alive;
		bool closed = false;
		c->closed = &closed;
		call->ops->on_head(call, &httpc_scratch.head);
		if (closed)
			return false;
		c->closed = NULL;
	}
	struct bb_str body;
	size_t used = 0;
	if (!c->parser.message_done && http1_feed_body(&c->parser, data, len, &body, &used)) {
		httpc_conn_fail(c, -BB_EUPSTREAM, "the body of the engine's answer is not valid HTTP");
		return false;
	}
	if (c->parser.message_done) {
		const bool has_data = used && body.len;
		if (used < len)
			c->keep_alive = false; /* bytes that nobody asked for */
		httpc_conn_release(c);
		if (has_data)
			call->ops->on_body(call, (char *)body.p, body.len, BODY_LAST);
		else
			call->ops->on_end(call);
		return false;
	}
	if (used && body.len) {
		bool closed = false;
		c->closed = &closed;
		call->ops->on_body(call, (char *)body.p, body.len, BODY_MORE);
		if (closed)
			return false;
		c->closed = NULL;
	}
	return true;
}

static void conn_eof(struct httpc_conn *c)
{
	struct call *call = c->call;

	c->peer_fin = true;
	if (c->head_told && http1_is_complete_at_eof(&c->parser)) {
		c->keep_alive = false;
		httpc_conn_release(c);
		call->ops->on_end(call);
		return;
	}
	httpc_conn_fail(c, -BB_EUPSTREAM,
		  call->has_answer ? "the engine closed the connection before the end of its answer"
				   : "the engine closed the connection without an answer");
}

/* With TLS 1.3 an engine refuses our certificate, or that we have none, only now. */
static void conn_broke(struct httpc_conn *c)
{
	char why[TLS_REASON_SIZE] = "the engine reset the connection";

	if (c->tls)
		snprintf(why, sizeof(why), "the TLS connection to the engine broke: %s",
			 tls_reason(c->tls));
	httpc_conn_fail(c, -BB_EUPSTREAM, why);
}

void httpc_conn_read(struct httpc_conn *c)
{
	char *const room = httpc_scratch.bytes + SCRATCH_HEADROOM;

	for (int i = 0; i < READS_A_TURN; i++) {
		size_t got;
		if (c->call->is_paused)
			return;
		const enum io io = stream_read(c->watch.fd, c->tls, room, SCRATCH_SIZE, &got);
		if (io == IO_AGAIN && c->send_failed) {
			httpc_conn_fail(c, -BB_EUPSTREAM, "the connection broke while the request was sent");
			return;
		}
		if (io == IO_AGAIN) {
			c->readable = false;
			return;
		}
		if (io == IO_EOF) {
			conn_eof(c);
			return;
		}
		if (io == IO_ERROR) {
			conn_broke(c);
			return;
		}
		c->readable = stream_may_have_more(c->tls, got, SCRATCH_SIZE) || c->peer_fin ||
			      c->send_failed;
		if (!conn_take(c, room, got))
			return;
		if (c->part_at == UINT8_MAX)
			httpc_arm_for_answer(c);
		if (!c->readable)
			return;
	}
	loop_defer(c->pool->loop, &c->again); /* others first */
}

void httpc_on_again(struct loop_task *t)
{
	struct httpc_conn *c = BB_CONTAINER(t, struct httpc_conn, again);

	if (c->state == HTTPC_BUSY && c->readable)
		httpc_conn_read(c);
}

