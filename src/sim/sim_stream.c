/* sim_stream.c: what an answer writes, and how it goes wrong on the way. */
#include "sim/sim_core.h"

#include <stdlib.h>

#include "base/log.h"
#include "os/clock.h"

#define WRITES_PER_TURN 4 /* then other streams have their turn */
#define ENDLESS_BYTES 16384

/* Faults that strike in the middle of an answer; the first of them that was drawn does. */
static const enum sim_fault late_faults[] = {
	SIM_FAULT_CUT,   SIM_FAULT_DIE,     SIM_FAULT_ERROR_EVENT,
	SIM_FAULT_STALL, SIM_FAULT_BADJSON, SIM_FAULT_ENDLESS,
};

/* ---- faults ---- */

static void write_error_event(struct sim_answer *a)
{
	static const char event[] =
		"data: {\"error\":{\"message\":\"EngineCore encountered an issue. See stack trace "
		"(above) for the root cause.\",\"type\":\"InternalServerError\",\"param\":null,"
		"\"code\":500}}\n\ndata: [DONE]\n\n";

	if (exchange_write(a->x, BB_STR(event)) != IO_ERROR)
		exchange_end(a->x);
}

/* One more piece of a line that never ends. */
static void write_endless(struct sim_answer *a)
{
	char *piece = a->server->out + EXCHANGE_HEADROOM;

	memset(piece, 'a', ENDLESS_BYTES);
	const enum io io = exchange_write_inplace(a->x, piece, ENDLESS_BYTES, BODY_MORE);
	if (io == IO_DONE)
		loop_defer(a->server->loop, &a->again);
	a->is_blocked = io == IO_AGAIN;
}

/* The answer's fault, now. False: the answer goes on as if nothing had been. */
static bool strike(struct sim_answer *a)
{
	static const char broken[] =
		"data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"cont\n\n";

	a->fault_at = SIM_ABSENT;
	if (a->fault == SIM_FAULT_DIE)
		_Exit(70);
	if (a->fault == SIM_FAULT_BADJSON) {
		if (a->stream)
			(void)!exchange_write(a->x, BB_STR(broken));
		return false;
	}
	if (a->fault == SIM_FAULT_ENDLESS) {
		if (!a->stream)
			exchange_begin(a->x, 200, BB_STR("application/json"), BB_STR(""),
				       EXCHANGE_CHUNKED);
		(void)!exchange_write(a->x, a->stream ? BB_STR("data: {\"id\":\"")
						      : BB_STR("{\"id\":\""));
		a->fault_at = 0; /* goes on for ever */
		sim_answer_drop(a);
		write_endless(a);
		return true;
	}
	if (a->fault == SIM_FAULT_CUT)
		exchange_abort(a->x);
	else if (a->fault == SIM_FAULT_ERROR_EVENT && a->stream)
		write_error_event(a);
	else if (a->fault == SIM_FAULT_ERROR_EVENT)
		sim_reply_error(a->x, 500, "InternalServerError", NULL,
				"EngineCore encountered an issue.");
	/* and after a stall nothing more comes */
	a->is_dead = true;
	sim_answer_drop(a);
	return true;
}

void sim_answer_choose_fault(struct sim_answer *a)
{
	const uint32_t output = a->choices[0].output_count;

	a->fault_at = SIM_ABSENT;
	for (size_t i = 0; i < sizeof(late_faults) / sizeof(*late_faults); i++) {
		const enum sim_fault fault = late_faults[i];
		if (!sim_fault_is(&a->faults, fault))
			continue;
		const double arg = a->faults.arg[fault];
		a->fault = fault;
		if (fault == SIM_FAULT_BADJSON || fault == SIM_FAULT_ENDLESS)
			a->fault_at = 1;
		else if (arg >= 0)
			a->fault_at = (uint32_t)arg;
		else
			a->fault_at = (uint32_t)bb_rng_below(&a->server->rng, output ? output : 1);
		return;
	}
}

static bool is_struck(const struct sim_answer *a, const struct sim_choice *c)
{
	return c->index == 0 && c->sent == a->fault_at && c->sent < c->made;
}

/* ---- streams ---- */

static char *put(char *at, struct bb_str s)
{
	memcpy(at, s.p, s.len);
	return at + s.len;
}

static char *put_stamp(char *at)
{
	static const char hex[] = "0123456789abcdef";
	const uint64_t ns = clock_now_ns();

	*at++ = ' ';
	*at++ = 't';
	for (int shift = 60; shift >= 0; shift -= 4)
		*at++ = hex[ns >> shift & 15];
	return at;
}

static char *put_number(char *at, uint32_t n)
{
	char digits[10];
	int i = 0;

	do
		digits[i++] = (char)('0' + n % 10);
	while (n /= 10);
	while (i > 0)
		*at++ = digits[--i];
	return at;
}

/* No memory for a part of the stream: better no end than a wrong one. */
static void give_up(struct sim_answer *a)
{
	a->is_dead = true;
	exchange_abort(a->x);
}

/* The chunk of the next token, or (a choice without tokens) only of the end. */
static char *put_chunk(struct sim_answer *a, struct sim_choice *c, char *at)
{
	struct sim_server *s = a->server;
	const bool is_last = c->is_over && c->sent + 1 >= c->made;

	if (a->shape->numbered.p) {
		at = put(at, a->shape->numbered);
		at = put_number(at, a->event_count++);
	}
	at = put(at, c->prefix);
	if (c->sent < c->made) {
		at = put(at, sim_writer_next(&c->writer, NULL));
		if (s->config.stamp == SIM_STAMP_TOKENS)
			at = put_stamp(at);
		c->sent++;
		s->token_count++;
	}
	if (!is_last)
		return put(at, c->suffix);
	c->is_closed = true;
	a->closed_count++;
	if (sim_fault_is(&a->faults, SIM_FAULT_NODONE))
		return put(at, c->suffix);
	struct bb_buf *b = &s->scratch[0];
	bb_buf_clear(b);
	a->shape->last(a, c, b);
	if (!b->err)
		return put(at, bb_buf_str(b));
	give_up(a);
	return at;
}

static char *put_head(struct sim_answer *a, char *at)
{
	struct bb_buf *b = &a->server->body;

	a->is_begun = true;
	if (!a->shape->head)
		return at;
	bb_buf_clear(b);
	a->shape->head(a, b);
	if (!b->err && b->len <= SIM_OUT_SIZE - a->chunk_max)
		return put(at, bb_buf_str(b));
	give_up(a);
	return at;
}

/* As many chunks as there are and as fit; stops in front of a fault. Returns their bytes. */
static size_t fill(struct sim_answer *a, char *out, bool *struck)
{
	const char *end = out + SIM_OUT_SIZE - a->chunk_max;
	char *at = out;

	*struck = false;
	for (uint32_t i = 0; i < a->choice_count; i++) {
		struct sim_choice *c = &a->choices[i];
		while (!c->is_closed && at <= end && (c->sent < c->made || c->is_over)) {
			if (!a->is_begun)
				at = put_head(a, at);
			if (a->is_dead)
				return 0;
			if (is_struck(a, c)) {
				*struck = true;
				return (size_t)(at - out);
			}
			at = put_chunk(a, c, at);
		}
	}
	return (size_t)(at - out);
}

/* `len` bytes stand in the server's `out`; false: stop writing for now, or for ever. */
static bool write_out(struct sim_answer *a, size_t len)
{
	if (len == 0)
		return true;
	const enum io io =
		exchange_write_inplace(a->x, a->server->out + EXCHANGE_HEADROOM, len, BODY_MORE);
	a->is_blocked = io == IO_AGAIN;
	a->is_dead = io == IO_ERROR;
	return io == IO_DONE;
}

static void end_stream(struct sim_answer *a, size_t len)
{
	struct bb_buf *b = &a->server->body;
	char *out = a->server->out + EXCHANGE_HEADROOM;

	bb_buf_clear(b);
	if (!sim_fault_is(&a->faults, SIM_FAULT_NODONE))
		a->shape->tail(a, b);
	if (b->err) {
		give_up(a);
		return;
	}
	a->is_dead = true;
	if (len + b->len <= SIM_OUT_SIZE) {
		put(out + len, bb_buf_str(b));
		(void)!exchange_write_inplace(a->x, out, len + b->len, BODY_LAST);
		return;
	}
	if (exchange_write_inplace(a->x, out, len, BODY_MORE) == IO_ERROR ||
	    exchange_write(a->x, bb_buf_str(b)) == IO_ERROR)
		return;
	exchange_end(a->x);
}

static void pump_stream(struct sim_answer *a)
{
	for (int i = 0; i < WRITES_PER_TURN; i++) {
		bool struck;
		const size_t len = fill(a, a->server->out + EXCHANGE_HEADROOM, &struck);
		if (a->is_dead)
			return;
		if (a->closed_count == a->choice_count) {
			end_stream(a, len);
			return;
		}
		if (!write_out(a, len) || (len == 0 && !struck))
			return;
		if (struck && strike(a))
			return;
	}
	loop_defer(a->server->loop, &a->again);
}

/* ---- answers in one piece ---- */

struct bb_str sim_answer_headers(struct sim_answer *a)
{
	struct sim_server *s = a->server;
	const struct bb_str headers = sim_headers(s, a->request_id, a->load_format);

	if (!sim_fault_is(&a->faults, SIM_FAULT_LONGHEAD))
		return headers;
	for (int i = 0; i < 1024; i++)
		bb_buf_printf(&s->headers, "x-flood-%04d: %080d\r\n", i, i);
	return bb_buf_str(&s->headers);
}

static void reply_whole(struct sim_answer *a)
{
	struct sim_server *s = a->server;

	if (a->fault_at <= a->choices[0].output_count && strike(a))
		return;
	a->is_dead = true;
	bb_buf_clear(&s->body);
	a->shape->body(a, &s->body);
	if (s->body.err) {
		sim_reply_error(a->x, 500, "InternalServerError", NULL, "the answer is too long");
		return;
	}
	struct bb_str body = bb_buf_str(&s->body);
	if (sim_fault_is(&a->faults, SIM_FAULT_BADJSON))
		body.len /= 2;
	s->token_count += sim_answer_output_tokens(a);
	exchange_reply(a->x, 200, BB_STR("application/json"), sim_answer_headers(a), body);
}

void sim_answer_pump(struct sim_answer *a)
{
	if (!a->x) {
		if (a->over_count == a->choice_count)
			sim_answer_destroy(a);
		return;
	}
	if (a->is_dead || a->is_blocked)
		return;
	if (a->fault == SIM_FAULT_ENDLESS && a->fault_at == 0)
		write_endless(a);
	else if (a->stream)
		pump_stream(a);
	else if (a->over_count == a->choice_count)
		reply_whole(a);
}

void sim_answer_again(struct loop_task *t)
{
	struct sim_answer *a = BB_CONTAINER(t, struct sim_answer, again);
	struct sim_server *s = a->server;

	sim_answer_pump(a);
	sim_server_settle(s);
}
