#include "net/fetch.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "os/sandbox.h"

#define FETCH_REQUEST_MAX (4u << 20)
#define FETCH_TYPE_MAX 128

struct fetch {
	struct iovec part;
	struct call call;
	struct httpc_pool *pool;
	struct loop_timer timer;
	struct bb_buf request; /* head and body, ready framed */
	struct bb_buf body;    /* of the answer */
	void *user;
	void (*on_done)(void *user, const struct fetch_answer *a);
	int status;
	bool is_get;
	bool was_sent_again;
	char type[FETCH_TYPE_MAX];
	size_t type_len;
};

static void fetch_free(struct fetch *f)
{
	loop_timer_fini(&f->timer);
	if (f->request.len)
		secret_wipe(f->request.p, f->request.len); /* it may hold a key */
	bb_buf_fini(&f->request);
	bb_buf_fini(&f->body);
	bb_free(f);
}

static void fetch_finish(struct fetch *f, int err, const char *why)
{
	const struct fetch_answer a = {
		.err = err,
		.why = err ? why : NULL,
		.status = f->status,
		.type = { f->type, f->type_len },
		.body = err ? BB_STR("") : bb_buf_str(&f->body),
	};

	BB_ASSERT(!call_is_active(&f->call));
	f->on_done(f->user, &a);
	fetch_free(f);
}

static void fetch_break(struct fetch *f, int err, const char *why)
{
	call_cancel(&f->call);
	fetch_finish(f, err, why);
}

/* ---- the call ---- */

static void on_head(struct call *c, const struct http_head *head)
{
	struct fetch *f = BB_CONTAINER(c, struct fetch, call);
	const struct bb_str type = http_head_get(head, BB_STR("Content-Type"));

	f->status = head->status;
	f->type_len = type.len < FETCH_TYPE_MAX ? type.len : FETCH_TYPE_MAX;
	if (f->type_len)
		memcpy(f->type, type.p, f->type_len);
	if (head->has_length && head->length > f->body.max)
		fetch_break(f, -BB_ELIMIT, "the answer is too large");
}

static void on_body(struct call *c, char *data, size_t len, enum body_part part)
{
	struct fetch *f = BB_CONTAINER(c, struct fetch, call);
	const int rc = bb_buf_add(&f->body, data, len);

	if (rc)
		fetch_break(f, rc, rc == -BB_ELIMIT ? "the answer is too large" : "out of memory");
	else if (part == BODY_LAST)
		fetch_finish(f, 0, NULL);
}

static void on_end(struct call *c)
{
	fetch_finish(BB_CONTAINER(c, struct fetch, call), 0, NULL);
}

static void on_failed(struct call *c, int err, const char *why)
{
	struct fetch *f = BB_CONTAINER(c, struct fetch, call);

	/* The peer may have closed a kept connection at the moment of sending. */
	if (f->is_get && c->was_reused && !c->has_answer && err == -BB_EUPSTREAM &&
	    !f->was_sent_again) {
		f->was_sent_again = true;
		err = call_start(c, f->pool, CALL_FRESH_CONN);
		if (!err)
			return;
		why = "no connection could be made";
	}
	fetch_finish(f, err, why);
}

static const struct call_ops fetch_ops = {
	.on_head = on_head,
	.on_body = on_body,
	.on_end = on_end,
	.on_failed = on_failed,
};

static void on_timer(struct loop_timer *t)
{
	fetch_break(BB_CONTAINER(t, struct fetch, timer), -BB_EUPTIMEOUT,
		    "the answer was not complete in time");
}

/* ---- the request ---- */

/* Text for a line of the head: nothing in it may end the line. */
static bool is_line_text(struct bb_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}

static int request_write(const struct fetch_request *r, struct bb_buf *b)
{
	if (!is_line_text(r->target) || !is_line_text(r->host) || !is_line_text(r->bearer))
		return -BB_EINVALID;
	/* In one piece, so that growing leaves no copy of the key behind. */
	if (bb_buf_reserve(b, 256 + r->target.len + r->host.len + r->bearer.len + r->headers.len +
				      r->body.len))
		return -BB_ENOMEM;
	bb_buf_add_str(b, bb_str_of(r->method));
	bb_buf_lit(b, " ");
	bb_buf_add_str(b, r->target);
	bb_buf_lit(b, " HTTP/1.1\r\nHost: ");
	bb_buf_add_str(b, r->host);
	bb_buf_lit(b, "\r\nUser-Agent: busbar\r\n");
	if (r->bearer.len) {
		bb_buf_lit(b, "Authorization: Bearer ");
		bb_buf_add_str(b, r->bearer);
		bb_buf_lit(b, "\r\n");
	}
	bb_buf_add_str(b, r->headers);
	if (strcmp(r->method, "GET") != 0) {
		bb_buf_lit(b, "Content-Length: ");
		bb_buf_add_u64(b, r->body.len);
		bb_buf_lit(b, "\r\n");
	}
	bb_buf_lit(b, "\r\n");
	if (strcmp(r->method, "GET") != 0)
		bb_buf_add_str(b, r->body);
	return b->err;
}

/* A call on a kept connection can find it closed while it sends; that one says so at once. */
static int call_begin(struct fetch *f)
{
	int rc = call_start(&f->call, f->pool, f->is_get ? CALL_ANY_CONN : CALL_FRESH_CONN);

	if (rc && f->is_get && f->call.was_reused) {
		f->was_sent_again = true;
		rc = call_start(&f->call, f->pool, CALL_FRESH_CONN);
	}
	return rc;
}

int fetch_start(struct httpc_pool *pool, const struct fetch_request *r, struct fetch **out)
{
	struct fetch *f = bb_alloc_zero(1, sizeof(*f));
	int rc;

	if (!f)
		return -BB_ENOMEM;
	rc = loop_timer_init(r->loop, &f->timer, on_timer);
	if (rc) {
		bb_free(f);
		return rc;
	}
	f->pool = pool;
	f->user = r->user;
	f->on_done = r->on_done;
	f->is_get = strcmp(r->method, "GET") == 0;
	bb_buf_init(&f->request, FETCH_REQUEST_MAX);
	bb_buf_init(&f->body, r->body_size_max);
	rc = request_write(r, &f->request);
	if (rc)
		goto fail_free;
	f->call.ops = &fetch_ops;
	f->part = (struct iovec){ f->request.p, f->request.len };
	f->call.parts = &f->part;
	f->call.part_count = 1;
	rc = call_begin(f);
	if (rc)
		goto fail_free;
	if (r->timeout_ns)
		loop_timer_arm(&f->timer, loop_now_ns(r->loop) + r->timeout_ns);
	*out = f;
	return 0;

fail_free:
	fetch_free(f);
	return rc;
}

void fetch_cancel(struct fetch *f)
{
	if (!f)
		return;
	call_cancel(&f->call);
	fetch_free(f);
}
