/*
 * fuzz_http1.c: HTTP/1.1 messages mean the same however the bytes are split.
 *
 * The first byte says what is parsed (bit 0: responses, bit 1: answers to HEAD); the rest is a
 * stream of messages. It is parsed three times: as one piece; in random pieces; and as net does it,
 * heads checked in pieces first and collected afterwards. Heads, payloads and errors must agree,
 * and every slice must lie inside of the input.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "wire/http1.h"

#define INPUT_MAX 65536
#define MESSAGES_MAX 64

enum splitting { SPLIT_NOT, SPLIT_RANDOM, SPLIT_CHECK_FIRST };

struct message {
	uint64_t digest; /* of everything that the head says */
	char *body;
	size_t body_len;
	bool done;
};

struct transcript {
	struct message messages[MESSAGES_MAX];
	uint32_t count;
	int err;
	bool complete_at_eof;
	size_t used;
};

struct run {
	enum splitting how;
	enum http1_kind kind;
	bool answers_head;
	struct bb_rng rng;
	char *data;
	size_t len;
	size_t at;
	struct http_head head;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t next_piece(struct run *r)
{
	const size_t left = r->len - r->at;

	if (r->how == SPLIT_NOT || left == 0)
		return left;
	const size_t n = 1 + (size_t)bb_rng_below(&r->rng, bb_rng_below(&r->rng, 4) ? 7 : left);
	return n < left ? n : left;
}

static uint64_t mix(const struct run *r, uint64_t digest, struct bb_str s)
{
	if (s.len)
		BB_ASSERT(s.p >= r->data && s.p + s.len <= r->data + r->len);
	return bb_hash(s.len ? s.p : "", s.len, digest + 1);
}

static uint64_t head_digest(const struct run *r)
{
	const struct http_head *h = &r->head;
	const uint64_t numbers[] = { h->method, (uint64_t)h->status, h->minor, h->keep_alive,
				     h->chunked, h->has_length, h->expects_continue, h->is_upgrade,
				     h->length, h->count };
	uint64_t digest = bb_hash(numbers, sizeof(numbers), 0);

	BB_ASSERT(h->count <= HTTP_HEADERS_MAX);
	digest = mix(r, digest, h->target);
	digest = mix(r, digest, h->path);
	digest = mix(r, digest, h->query);
	for (uint32_t i = 0; i < h->count; i++) {
		BB_ASSERT(h->headers[i].name.len > 0);
		digest = mix(r, digest, h->headers[i].name);
		digest = mix(r, digest, h->headers[i].value);
	}
	return digest;
}

static void init(struct run *r, struct http1 *p)
{
	http1_init(p, r->kind);
	p->answers_head = r->answers_head;
}

/* 1: a head is there, 0: the input ended before, or an error. */
static int parse_head(struct run *r, struct http1 *p)
{
	const size_t begin = r->at;
	struct http_head *const head = r->how == SPLIT_CHECK_FIRST ? NULL : &r->head;
	size_t used = 0;

	memset(&r->head, 0, sizeof(r->head));
	init(r, p);
	while (r->at < r->len) {
		const size_t n = next_piece(r);
		const int rc = http1_feed_head(p, head, r->data + r->at, n, &used);
		if (rc < 0)
			return rc;
		BB_ASSERT(rc == 0 || used <= n);
		r->at += rc ? used : n;
		if (rc == 0)
			continue;
		if (head)
			return 1;
		init(r, p);
		const int again = http1_feed_head(p, &r->head, r->data + begin, r->at - begin, &used);
		/* What a head means is looked at when it is collected. */
		BB_ASSERT(again == 1 ? used == r->at - begin
				     : again == -BB_ELIMIT || again == -BB_EHTTP);
		return again;
	}
	return 0;
}

static int parse_body(struct run *r, struct http1 *p, struct message *m)
{
	while (!p->message_done && r->at < r->len) {
		const size_t n = next_piece(r);
		struct bb_str body;
		size_t used;
		const int rc = http1_feed_body(p, r->data + r->at, n, &body, &used);
		if (rc)
			return rc;
		BB_ASSERT(used <= n && (used == n || p->message_done));
		BB_ASSERT(body.len <= used && body.p >= r->data + r->at &&
			  body.p + body.len <= r->data + r->at + n);
		memcpy(m->body + m->body_len, body.p, body.len);
		m->body_len += body.len;
		r->at += used;
	}
	m->done = p->message_done;
	return 0;
}

static void parse(struct run *r, struct transcript *t)
{
	struct http1 p;

	while (r->at < r->len && t->count < MESSAGES_MAX && !t->err) {
		struct message *m = &t->messages[t->count];
		const int rc = parse_head(r, &p);
		if (rc < 0)
			t->err = rc;
		if (rc <= 0)
			break;
		m->digest = head_digest(r);
		m->body = malloc(r->len - r->at + 1);
		if (!m->body)
			abort();
		t->count++;
		t->err = parse_body(r, &p, m);
		t->complete_at_eof = !t->err && http1_is_complete_at_eof(&p);
	}
	t->used = r->at;
}

static void compare(const struct transcript *a, const struct transcript *b)
{
	/* A name that makes too many and is malformed as well is one or the other. */
	if (a->err == -BB_ELIMIT || b->err == -BB_ELIMIT) {
		BB_ASSERT(a->count == b->count && a->err && b->err);
		return;
	}
	BB_ASSERT(a->err == b->err && a->count == b->count);
	BB_ASSERT(a->complete_at_eof == b->complete_at_eof);
	for (uint32_t i = 0; i < a->count; i++) {
		const struct message *m = &a->messages[i], *n = &b->messages[i];
		BB_ASSERT(m->digest == n->digest && m->done == n->done);
		/* Of a message that turned out malformed the pieces give more than the whole. */
		if (!a->err || i + 1 < a->count)
			BB_ASSERT(m->body_len == n->body_len &&
				  memcmp(m->body, n->body, m->body_len) == 0);
	}
	if (!a->err)
		BB_ASSERT(a->used == b->used);
}

static void transcript_free(struct transcript *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		free(t->messages[i].body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct transcript t[3] = { 0 };

	if (size < 2 || size > INPUT_MAX)
		return 0;
	for (int how = SPLIT_NOT; how <= SPLIT_CHECK_FIRST; how++) {
		struct run r = { .how = (enum splitting)how,
				 .kind = data[0] & 1 ? HTTP1_RESPONSE : HTTP1_REQUEST,
				 .answers_head = data[0] & 2,
				 .len = size - 1 };
		/* Unframing works in place: each run needs a copy of its own. */
		r.data = malloc(r.len);
		if (!r.data)
			abort();
		memcpy(r.data, data + 1, r.len);
		bb_rng_seed(&r.rng, bb_hash(data, size, (uint64_t)how));
		parse(&r, &t[how]);
		free(r.data);
	}
	compare(&t[0], &t[1]);
	/* Fields are counted only when they are collected, so what is wrong first may differ. */
	if (t[0].err != -BB_ELIMIT && t[2].err != -BB_ELIMIT)
		compare(&t[0], &t[2]);
	for (int i = 0; i < 3; i++)
		transcript_free(&t[i]);
	return 0;
}
