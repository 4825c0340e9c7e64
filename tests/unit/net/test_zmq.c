/*
 * Goal: publisher, subscription and replay work against each other on one loop, and each against a
 * peer played by hand that is slow, silent, old or hostile; bounds hold; nothing leaks when
 * memory runs out. (Against libzmq itself: tests/system/test_zmq_interop.py.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "net/zmq_pub.h"
#include "net/zmq_sub.h"
#include "os/clock.h"
#include "wire/zmtp.h"

#define TOPIC "kv@node-1@model"
#define WAIT_NS (10 * OS_SECOND)

static struct loop *loop;

static int setup(void **state)
{
	return loop_create(&loop);
}

static int teardown(void **state)
{
	loop_destroy(loop);
	loop = NULL;
	return 0;
}

/* Turns the loop until `cond` holds, for at most WAIT_NS. */
#define TURN_UNTIL(cond)                                                                           \
	do {                                                                                       \
		const uint64_t until_ns = clock_now_ns() + WAIT_NS;                                \
		while (!(cond)) {                                                                  \
			if (clock_now_ns() > until_ns)                                             \
				fail_msg("waited in vain for %s", #cond);                          \
			loop_turn(loop, 20 * OS_MS);                                               \
		}                                                                                  \
	} while (0)

static void turn_for(uint64_t ns)
{
	for (const uint64_t until_ns = clock_now_ns() + ns; clock_now_ns() < until_ns;)
		loop_turn(loop, 5 * OS_MS);
}

static struct sock_addr local(uint16_t port)
{
	struct sock_addr a;
	char text[64];
	const char *why = "";

	snprintf(text, sizeof(text), "tcp://127.0.0.1:%u", port);
	assert_int_equal(zmq_endpoint_parse(bb_str_of(text), &a, &why), 0);
	return a;
}

static struct zmq_pub *make_pub(const struct zmq_pub_config *more)
{
	struct zmq_pub_config c = more ? *more : (struct zmq_pub_config){ 0 };
	const struct sock_addr any = local(0);
	struct zmq_pub *pub = NULL;
	const char *why = "";

	c.loop = loop;
	if (!c.listen.len)
		c.listen = any;
	c.replay = &any;
	c.topic = BB_STR(TOPIC);
	assert_int_equal(zmq_pub_create(&c, &pub, &why), 0);
	return pub;
}

/* ---- a subscriber that remembers ---- */

struct heard {
	uint32_t batches, ups, downs, ends;
	uint64_t first, last;
	uint64_t bytes;
	int err;
	bool in_order;
	bool leaves_at_first; /* destroys its object in the first callback that comes */
	char payload[64];
};

static void heard_batch(struct heard *h, const struct zmq_batch *b)
{
	if (h->batches++ == 0) {
		h->first = b->sequence;
		h->in_order = true;
	} else if (b->sequence <= h->last) {
		h->in_order = false;
	}
	h->last = b->sequence;
	h->bytes += b->payload.len;
	assert_true(bb_str_eq(b->topic, BB_STR(TOPIC)));
	snprintf(h->payload, sizeof(h->payload), "%.*s", (int)(b->payload.len % 64), b->payload.p);
}

static void on_batch(struct zmq_sub *s, void *user, const struct zmq_batch *b)
{
	struct heard *h = user;

	heard_batch(h, b);
	if (h->leaves_at_first)
		zmq_sub_destroy(s);
}

static void on_up(struct zmq_sub *s, void *user)
{
	((struct heard *)user)->ups++;
}

static void on_down(struct zmq_sub *s, void *user, int err)
{
	struct heard *h = user;

	h->downs++;
	h->err = err;
}

static void on_down_leave(struct zmq_sub *s, void *user, int err)
{
	on_down(s, user, err);
	zmq_sub_destroy(s);
}

static const struct zmq_sub_ops sub_ops = {
	.on_batch = on_batch, .on_up = on_up, .on_down = on_down
};
static const struct zmq_sub_ops sub_ops_leave = {
	.on_batch = on_batch, .on_up = on_up, .on_down = on_down_leave
};

static struct zmq_sub *make_sub(struct heard *h, uint16_t port, struct bb_str prefix)
{
	const struct zmq_sub_config c = { .loop = loop,
					  .addr = local(port),
					  .topic_prefix = prefix,
					  .ops = &sub_ops,
					  .user = h,
					  .message_max = 8 << 20,
					  .backoff_min_ns = OS_MS,
					  .backoff_max_ns = 20 * OS_MS,
					  .ping_ns = 20 * OS_MS };
	struct zmq_sub *s = NULL;

	assert_int_equal(zmq_sub_create(&c, &s), 0);
	return s;
}

static void on_replayed(struct zmq_replay *r, void *user, const struct zmq_batch *b)
{
	struct heard *h = user;

	heard_batch(h, b);
	if (h->leaves_at_first)
		zmq_replay_destroy(r);
}

static void on_end(struct zmq_replay *r, void *user, int err)
{
	struct heard *h = user;

	h->ends++;
	h->err = err;
	zmq_replay_destroy(r); /* allowed, though it is gone anyway */
}

static const struct zmq_replay_ops replay_ops = { on_replayed, on_end };

static struct zmq_replay *make_replay(struct heard *h, uint16_t port, uint64_t start)
{
	const struct zmq_replay_config c = { .loop = loop,
					     .addr = local(port),
					     .start = start,
					     .ops = &replay_ops,
					     .user = h,
					     .message_max = 8 << 20,
					     .timeout_ns = WAIT_NS };
	struct zmq_replay *r = NULL;

	assert_int_equal(zmq_replay_create(&c, &r), 0);
	return r;
}

static struct heard replayed(uint16_t port, uint64_t start)
{
	struct heard h = { 0 };

	make_replay(&h, port, start);
	TURN_UNTIL(h.ends);
	return h;
}

static void send_numbered(struct zmq_pub *pub, uint32_t count)
{
	char text[32];

	for (uint32_t i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "batch %llu",
			 (unsigned long long)zmq_pub_sequence(pub));
		assert_int_equal(zmq_pub_send(pub, bb_str_of(text)), 0);
	}
}

static void send_sized(struct zmq_pub *pub, uint32_t count, size_t size)
{
	char *payload = bb_alloc_zero(1, size);

	assert_non_null(payload);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(zmq_pub_send(pub, (struct bb_str){ payload, size }), 0);
	bb_free(payload);
}

/* ---- a peer played by hand ---- */

struct raw {
	int fd;
	struct zmtp_session session;
	struct bb_buf in;
	size_t in_at;
	bool has_ended; /* the other side closed */
	uint32_t messages;
	uint64_t last;
	bool has_gap;
	struct bb_str parts[ZMTP_PARTS_MAX];
	uint32_t part_count;
};

static void raw_send(struct raw *r, struct bb_str bytes)
{
	size_t put;

	while (bytes.len) {
		const enum io io = sock_write(r->fd, bytes.p, bytes.len, &put);
		if (io == IO_DONE)
			bytes = bb_str_skip(bytes, put);
		else if (io != IO_AGAIN)
			break;
		loop_turn(loop, OS_MS);
	}
}

static void raw_take(struct raw *r, const struct zmtp_event *e)
{
	uint64_t sequence;

	r->messages++;
	r->part_count = e->part_count;
	memcpy(r->parts, e->parts, sizeof(e->parts));
	for (uint32_t i = 0; i < e->part_count; i++) {
		if (zmtp_sequence_get(e->parts[i], &sequence) || i + 2 != e->part_count)
			continue;
		r->has_gap |= r->messages > 1 && sequence != r->last + 1;
		r->last = sequence;
	}
}

/* Reads what is there; false when nothing was. */
static bool raw_read(struct raw *r)
{
	struct zmtp_event e;
	char room[65536];
	size_t got;
	const enum io io = sock_read(r->fd, room, sizeof(room), &got);

	if (io == IO_AGAIN)
		return false;
	if (io != IO_DONE) {
		r->has_ended = true;
		return false;
	}
	bb_buf_consume(&r->in, r->in_at);
	r->in_at = 0;
	assert_int_equal(bb_buf_add(&r->in, room, got), 0);
	do {
		const struct bb_str rest = bb_str_skip(bb_buf_str(&r->in), r->in_at);
		assert_int_equal(zmtp_session_take(&r->session, rest, &e), 0);
		r->in_at += e.used;
		if (e.kind == ZMTP_MESSAGE)
			raw_take(r, &e);
	} while (e.kind != ZMTP_NEED);
	return true;
}

/* Connects, and shakes hands as a ZMTP 3.`minor` peer. */
static struct raw raw_connect(uint16_t port, enum zmtp_socket self, const char *as, uint8_t minor)
{
	const struct sock_addr a = local(port);
	struct raw r = { .fd = sock_connect(&a) };
	struct bb_buf b;

	assert_true(r.fd >= 0);
	bb_buf_init(&r.in, 64 << 20);
	bb_buf_init(&b, 4096);
	zmtp_session_init(&r.session, self, 32 << 20);
	zmtp_add_greeting(&b);
	b.p[11] = (char)minor;
	const size_t len = strlen(as);
	bb_buf_printf(&b, "\x04%c\x05READY\x0bSocket-Type", (int)(22 + len));
	bb_buf_add(&b, "\0\0\0", 3);
	bb_buf_printf(&b, "%c%s", (int)len, as);
	raw_send(&r, bb_buf_str(&b));
	bb_buf_fini(&b);
	for (int i = 0; i < 1000 && r.session.state != ZMTP_OPEN && !r.has_ended; i++)
		if (!raw_read(&r))
			loop_turn(loop, OS_MS);
	return r;
}

static void raw_close(struct raw *r)
{
	sock_close(r->fd);
	bb_buf_fini(&r->in);
}

/* ---- publishing and subscribing ---- */

static void subscriber_gets_batches_in_order(void **state)
{
	struct heard h = { 0 }, other = { 0 };
	struct zmq_pub *pub = make_pub(NULL);
	struct zmq_sub *sub, *deaf;

	send_numbered(pub, 3); /* before anybody listens */
	sub = make_sub(&h, zmq_pub_port(pub), BB_STR("kv@"));
	deaf = make_sub(&other, zmq_pub_port(pub), BB_STR("kv@node-2"));
	TURN_UNTIL(h.ups && other.ups && zmq_pub_subscriber_count(pub) == 1);
	send_numbered(pub, 1000);
	TURN_UNTIL(h.batches == 1000);
	assert_int_equal(h.first, 3);
	assert_int_equal(h.last, 1002);
	assert_true(h.in_order);
	assert_string_equal(h.payload, "batch 1002");
	assert_int_equal(other.batches, 0);
	assert_int_equal(zmq_pub_missed_count(pub), 0);
	assert_int_equal(zmq_sub_odd_count(sub), 0);
	zmq_sub_destroy(sub);
	zmq_sub_destroy(deaf);
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 0);
	zmq_pub_destroy(pub);
}

static void large_batches_pass(void **state)
{
	struct heard h = { 0 };
	struct zmq_pub *pub = make_pub(NULL);
	struct zmq_sub *sub = make_sub(&h, zmq_pub_port(pub), BB_STR(""));

	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 1);
	send_sized(pub, 4, 7 << 20);
	TURN_UNTIL(h.batches == 4);
	assert_int_equal(h.bytes, 4 * (7 << 20));
	/* More than this subscriber takes: it gives the connection up, and comes again. */
	send_sized(pub, 1, 9 << 20);
	TURN_UNTIL(h.downs == 1 && h.ups == 2);
	assert_int_equal(h.err, -BB_ELIMIT);
	zmq_sub_destroy(sub);
	zmq_pub_destroy(pub);
}

static void reconnects_to_a_restarted_engine(void **state)
{
	struct heard h = { 0 };
	struct zmq_pub *pub = make_pub(NULL);
	const struct zmq_pub_config same = { .listen = *zmq_pub_addr(pub) };
	struct zmq_sub *sub = make_sub(&h, zmq_pub_port(pub), BB_STR(""));

	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 1);
	send_numbered(pub, 5);
	TURN_UNTIL(h.batches == 5);
	zmq_pub_destroy(pub);
	TURN_UNTIL(h.downs >= 3); /* the loss, and refused attempts */
	assert_int_equal(h.err, -BB_ECONNECT);
	pub = make_pub(&same);
	TURN_UNTIL(h.ups == 2 && zmq_pub_subscriber_count(pub) == 1);
	send_numbered(pub, 1);
	TURN_UNTIL(h.batches == 6);
	assert_int_equal(h.last, 0); /* the sequence says that it is a new engine */
	zmq_sub_destroy(sub);
	zmq_pub_destroy(pub);
}

static void may_be_destroyed_in_callbacks(void **state)
{
	struct heard h = { .leaves_at_first = true }, d = { 0 }, r = { .leaves_at_first = true };
	struct zmq_pub *pub = make_pub(NULL);
	struct zmq_sub_config c = {
		.loop = loop, .addr = local(1), .ops = &sub_ops_leave, .user = &d
	};
	struct zmq_sub *refused;

	make_sub(&h, zmq_pub_port(pub), BB_STR(""));
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 1);
	send_numbered(pub, 10);
	TURN_UNTIL(h.batches == 1 && zmq_pub_subscriber_count(pub) == 0);
	assert_int_equal(zmq_sub_create(&c, &refused), 0);
	TURN_UNTIL(d.downs == 1);
	make_replay(&r, zmq_pub_replay_port(pub), 0);
	TURN_UNTIL(r.batches == 1);
	turn_for(20 * OS_MS);
	assert_int_equal(h.batches, 1);
	assert_int_equal(d.downs, 1);
	assert_int_equal(r.batches, 1);
	assert_int_equal(r.ends, 0);
	zmq_pub_destroy(pub);
}

/* ---- replay ---- */

static void replay_gives_what_is_kept(void **state)
{
	const struct zmq_pub_config few = { .batches_max = 100 };
	struct zmq_pub *pub = make_pub(&few);
	const uint16_t port = zmq_pub_replay_port(pub);
	struct heard h = replayed(port, 0);

	assert_int_equal(h.err, 0);
	assert_int_equal(h.batches, 0);
	send_numbered(pub, 60);
	h = replayed(port, 0);
	assert_true(h.batches == 60 && h.first == 0 && h.last == 59 && h.in_order);
	h = replayed(port, 59);
	assert_true(h.batches == 1 && h.first == 59);
	h = replayed(port, 60);
	assert_int_equal(h.batches, 0);
	h = replayed(port, UINT64_MAX);
	assert_int_equal(h.batches, 0);
	assert_int_equal(h.err, 0);
	send_numbered(pub, 200);
	h = replayed(port, 0);
	assert_true(h.batches == 100 && h.first == 160 && h.last == 259);
	zmq_pub_destroy(pub);
}

static void kept_bytes_are_bounded(void **state)
{
	const struct zmq_pub_config small = { .bytes_max = 10000 };
	struct zmq_pub *pub = make_pub(&small);
	static const char large[20000];

	send_sized(pub, 100, 1000);
	struct heard h = replayed(zmq_pub_replay_port(pub), 0);
	assert_int_equal(h.last, 99);
	assert_in_range(h.batches, 8, 10);
	/* One that can never be kept uses its number up: subscribers see that it is missing. */
	assert_int_equal(zmq_pub_send(pub, (struct bb_str){ large, sizeof(large) }), -BB_ELIMIT);
	send_sized(pub, 1, 1000);
	h = replayed(zmq_pub_replay_port(pub), 99);
	assert_int_equal(h.batches, 2);
	assert_int_equal(h.first, 99);
	assert_int_equal(h.last, 101);
	zmq_pub_destroy(pub);
}

/* More than kernel buffers and one turn's budget hold, while the publisher goes on. */
static void long_replay(void **state)
{
	struct zmq_pub *pub = make_pub(NULL);
	struct heard h = { 0 };

	send_sized(pub, 3000, 10000);
	make_replay(&h, zmq_pub_replay_port(pub), 0);
	TURN_UNTIL(h.batches > 0);
	send_sized(pub, 100, 10);
	TURN_UNTIL(h.ends);
	assert_int_equal(h.err, 0);
	assert_true(h.in_order && h.first == 0);
	assert_int_equal(h.batches, 3000); /* those published before it asked */
	assert_int_equal(h.bytes, 3000 * 10000);
	zmq_pub_destroy(pub);
}

static void replay_failures_are_told_apart(void **state)
{
	struct zmq_pub *pub = make_pub(NULL);
	const char *why = "";
	const struct sock_addr any = local(0);
	struct sock_addr bound;
	struct heard h = replayed(1, 0);

	assert_int_equal(h.err, -BB_ECONNECT);
	h = replayed(zmq_pub_port(pub), 0); /* a PUB */
	assert_true(h.err == -BB_EINVALID || h.err == -BB_ECONNECT);
	const int mute = sock_listen(&any, SOCK_EXCLUSIVE, 1, &why);
	assert_true(mute >= 0);
	assert_int_equal(sock_local_addr(mute, &bound), 0);
	const struct zmq_replay_config c = { .loop = loop,
					     .addr = bound,
					     .ops = &replay_ops,
					     .user = &h,
					     .timeout_ns = 30 * OS_MS };
	struct zmq_replay *r;
	h = (struct heard){ 0 };
	assert_int_equal(zmq_replay_create(&c, &r), 0);
	TURN_UNTIL(h.ends);
	assert_int_equal(h.err, -BB_EUPTIMEOUT);
	sock_close(mute);
	zmq_pub_destroy(pub);
}

static void req_peer_is_answered(void **state)
{
	struct zmq_pub *pub = make_pub(NULL);
	struct raw r;

	send_numbered(pub, 2);
	r = raw_connect(zmq_pub_replay_port(pub), ZMTP_DEALER, "REQ", 1);
	/* Two requests at once: the second is answered after the first. */
	raw_send(&r, BB_STR("\x01\x00\x00\x08\0\0\0\0\0\0\0\0\x01\x00\x00\x08\0\0\0\0\0\0\0\1"));
	for (int i = 0; i < 1000 && r.messages < 5; i++)
		if (!raw_read(&r))
			loop_turn(loop, OS_MS);
	assert_int_equal(r.messages, 5); /* 0, 1, end, 1, end */
	assert_int_equal(r.part_count, 4);
	assert_true(r.last == ZMTP_SEQUENCE_END);
	/* Something else than a request ends the connection. */
	raw_send(&r, BB_STR("\x00\x05hello"));
	for (int i = 0; i < 1000 && !r.has_ended; i++)
		if (!raw_read(&r))
			loop_turn(loop, OS_MS);
	assert_true(r.has_ended);
	raw_close(&r);
	zmq_pub_destroy(pub);
}

/* ---- peers that are slow, old, silent, hostile ---- */

static void slow_subscriber_misses_and_costs_nothing(void **state)
{
	const struct zmq_pub_config small = { .bytes_max = 1 << 20 };
	struct zmq_pub *pub = make_pub(&small);
	struct raw r = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "SUB", 0);

	raw_send(&r, BB_STR("\x00\x04\x01kv@")); /* the subscription of ZMTP 3.0 */
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 1);
	for (int i = 0; i < 100; i++) {
		send_sized(pub, 20, 10000);
		loop_turn(loop, 0);
	}
	while (r.last != 1999) /* now it reads on: the last one is kept, so it comes */
		if (!raw_read(&r))
			loop_turn(loop, OS_MS);
	assert_true(r.has_gap);
	assert_int_equal(zmq_pub_missed_count(pub), 2000 - r.messages);
	/* CANCEL ends it. */
	raw_send(&r, BB_STR("\x00\x04\x00kv@"));
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 0);
	raw_close(&r);
	zmq_pub_destroy(pub);
}

static void subscriptions_are_counted_by_prefix(void **state)
{
	struct zmq_pub *pub = make_pub(NULL);
	struct raw r = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "SUB", 1);

	raw_send(&r, BB_STR("\x04\x0d\x09SUBSCRIBEkv@"));
	raw_send(&r, BB_STR("\x04\x0a\x09SUBSCRIBE"));
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 1);
	raw_send(&r, BB_STR("\x04\x09\x06"
			    "CANCELkv")); /* never asked for */
	raw_send(&r, BB_STR("\x04\x0a\x06"
			    "CANCELkv@"));
	turn_for(10 * OS_MS);
	assert_int_equal(zmq_pub_subscriber_count(pub), 1);
	raw_send(&r, BB_STR("\x04\x07\x06"
			    "CANCEL"));
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 0);
	raw_close(&r);
	zmq_pub_destroy(pub);
}

static void hostile_peers_are_dropped(void **state)
{
	const struct zmq_pub_config two = { .peers_max = 2 };
	struct zmq_pub *pub = make_pub(&two);
	struct raw http = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "PULL", 1);
	struct raw third;
	struct heard h = { 0 };

	assert_true(http.has_ended); /* a socket type that does not fit */
	raw_close(&http);
	struct raw one = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "SUB", 1);
	struct raw two_ = raw_connect(zmq_pub_replay_port(pub), ZMTP_DEALER, "DEALER", 1);
	assert_int_equal(one.session.state, ZMTP_OPEN);
	assert_int_equal(two_.session.state, ZMTP_OPEN);
	third = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "SUB", 1);
	assert_true(third.has_ended);
	raw_close(&third);
	raw_send(&one, BB_STR("\x02\xff\xff\xff\xff\xff\xff\xff\xff")); /* a frame of 16 EiB */
	for (int i = 0; i < 1000 && !one.has_ended; i++)
		if (!raw_read(&one))
			loop_turn(loop, OS_MS);
	assert_true(one.has_ended);
	raw_close(&one);
	struct zmq_sub *sub = make_sub(&h, zmq_pub_port(pub), BB_STR(""));
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 1);
	zmq_sub_destroy(sub);
	raw_close(&two_);
	zmq_pub_destroy(pub);
}

static void silent_peers_are_dropped(void **state)
{
	const struct zmq_pub_config quick = { .ping_ns = 20 * OS_MS };
	struct zmq_pub *pub = make_pub(&quick);
	struct heard h = { 0 }, lonely = { 0 };
	struct zmq_sub *sub = make_sub(&h, zmq_pub_port(pub), BB_STR(""));
	struct raw r = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "SUB", 1);
	struct raw old = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "SUB", 0);
	const struct sock_addr a = local(zmq_pub_port(pub));
	struct raw stuck = { .fd = sock_connect(&a) }; /* never greets */

	zmtp_session_init(&stuck.session, ZMTP_SUB, 1000);
	bb_buf_init(&stuck.in, 4096);
	raw_send(&r, BB_STR("\x04\x0d\x09SUBSCRIBEkv@"));
	raw_send(&old, BB_STR("\x00\x04\x01kv@"));
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 3);
	/* One answers PING, one cannot be asked, one does not answer. */
	TURN_UNTIL(zmq_pub_subscriber_count(pub) == 2);
	for (int i = 0; i < 1000 && !(r.has_ended && stuck.has_ended); i++) {
		raw_read(&r);
		raw_read(&stuck);
		loop_turn(loop, OS_MS);
	}
	assert_true(r.has_ended);
	assert_true(stuck.has_ended);
	turn_for(200 * OS_MS);
	assert_int_equal(zmq_pub_subscriber_count(pub), 2);
	assert_int_equal(h.downs, 0);

	/* A publisher that takes the connection and says nothing. */
	const char *why = "";
	const struct sock_addr any = local(0);
	struct sock_addr bound;
	const int mute = sock_listen(&any, SOCK_EXCLUSIVE, 1, &why);
	assert_int_equal(sock_local_addr(mute, &bound), 0);
	const struct zmq_sub_config c = {
		.loop = loop, .addr = bound, .ops = &sub_ops, .user = &lonely, .ping_ns = 10 * OS_MS
	};
	struct zmq_sub *waiting;
	assert_int_equal(zmq_sub_create(&c, &waiting), 0);
	TURN_UNTIL(lonely.downs);
	assert_int_equal(lonely.err, -BB_EUPTIMEOUT);
	zmq_sub_destroy(waiting);
	sock_close(mute);
	raw_close(&r);
	raw_close(&old);
	raw_close(&stuck);
	zmq_sub_destroy(sub);
	zmq_pub_destroy(pub);
}

/* A flood of PINGs from a peer that reads no PONG must not fill memory. */
static void ping_flood_is_cut(void **state)
{
	struct zmq_pub *pub = make_pub(NULL);
	struct raw r = raw_connect(zmq_pub_port(pub), ZMTP_SUB, "SUB", 1);
	struct bb_buf b;

	bb_buf_init(&b, 1 << 20);
	for (int i = 0; i < 10000; i++)
		zmtp_add_ping(&b, 0, BB_STR("0123456789abcdef"));
	for (int i = 0; i < 100 && !r.has_ended; i++) {
		size_t put;
		if (sock_write(r.fd, b.p, b.len, &put) == IO_ERROR)
			r.has_ended = true;
		loop_turn(loop, 0);
	}
	assert_true(r.has_ended);
	bb_buf_fini(&b);
	raw_close(&r);
	zmq_pub_destroy(pub);
}

/* ---- endpoints, memory ---- */

static void endpoints(void **state)
{
	static const struct {
		const char *text, *addr;
	} good[] = {
		{ "tcp://*:5557", "0.0.0.0:5557" },
		{ "tcp://127.0.0.1:0", "127.0.0.1:0" },
		{ "tcp://localhost:9", "127.0.0.1:9" },
		{ "tcp://[::1]:5557", "[::1]:5557" },
		{ "ipc:///tmp/kv.sock", "unix:/tmp/kv.sock" },
	};
	static const char *const bad[] = {
		"",	     "tcp://",	    "tcp://*", "tcp://*:70000", "tcp://host:1",
		"udp://*:1", "127.0.0.1:1", "ipc://",  "tcp://*:x"
	};
	struct sock_addr a;
	char text[SOCK_TEXT_SIZE], long_text[300] = "ipc://";

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const char *why = NULL;
		assert_int_equal(zmq_endpoint_parse(bb_str_of(good[i].text), &a, &why), 0);
		sock_addr_text(&a, text);
		assert_string_equal(text, good[i].addr);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *why = NULL;
		assert_int_equal(zmq_endpoint_parse(bb_str_of(bad[i]), &a, &why), -BB_EINVALID);
		assert_non_null(why);
	}
	memset(long_text + 6, 'x', sizeof(long_text) - 7);
	const char *why = NULL;
	assert_int_equal(zmq_endpoint_parse(bb_str_of(long_text), &a, &why), -BB_EINVALID);
}

static void address_in_use_is_an_error(void **state)
{
	struct zmq_pub *pub = make_pub(NULL), *second;
	const struct sock_addr taken = *zmq_pub_addr(pub), any = local(0);
	struct zmq_pub_config c = { .loop = loop, .listen = taken };
	const char *why = NULL;

	assert_int_equal(zmq_pub_create(&c, &second, &why), -BB_ESYSTEM);
	assert_non_null(why);
	c = (struct zmq_pub_config){ .loop = loop, .listen = any, .replay = &taken };
	assert_int_equal(zmq_pub_create(&c, &second, &why), -BB_ESYSTEM);
	zmq_pub_destroy(pub);
}

/* One run of everything, with the n-th allocation failing; what fails must fail cleanly. */
static void scenario(void)
{
	const struct sock_addr any = local(0);
	const struct zmq_pub_config pc = { .loop = loop,
					   .listen = any,
					   .replay = &any,
					   .topic = BB_STR_INIT(TOPIC),
					   .batches_max = 16 };
	struct heard h = { 0 }, r = { 0 };
	struct zmq_pub *pub = NULL;
	struct zmq_sub *sub = NULL;
	struct zmq_replay *replay = NULL;
	const char *why;

	if (zmq_pub_create(&pc, &pub, &why))
		return;
	const struct zmq_sub_config sc = { .loop = loop,
					   .addr = local(zmq_pub_port(pub)),
					   .topic_prefix = BB_STR_INIT("kv@"),
					   .ops = &sub_ops,
					   .user = &h,
					   .backoff_min_ns = OS_MS / 10 };
	const struct zmq_replay_config rc = { .loop = loop,
					      .addr = local(zmq_pub_replay_port(pub)),
					      .ops = &replay_ops,
					      .user = &r };
	uint32_t kept = 0;
	if (!zmq_sub_create(&sc, &sub)) {
		/* Every failure passes: the subscription comes again, and then all is well. */
		TURN_UNTIL(zmq_pub_subscriber_count(pub) == 1);
		for (int i = 0; i < 8; i++)
			kept += zmq_pub_send(pub, BB_STR("batch")) == 0;
		TURN_UNTIL(h.batches == kept || h.downs);
		if (!zmq_replay_create(&rc, &replay))
			TURN_UNTIL(r.ends);
		assert_true(r.err || !replay || r.batches == kept);
		assert_in_range(kept, 7, 8);
	}
	zmq_sub_destroy(sub);
	zmq_pub_destroy(pub);
}

static void survives_each_failed_allocation(void **state)
{
	uint64_t failed = 0;

	for (uint64_t nth = 1; nth < 200; nth++) {
		const uint64_t before = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		scenario();
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (bb_alloc_failed_count() == before)
			break; /* a run has fewer allocations than that */
		failed++;
	}
	assert_in_range(failed, 15, 198);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(subscriber_gets_batches_in_order),
		CASE(large_batches_pass),
		CASE(reconnects_to_a_restarted_engine),
		CASE(may_be_destroyed_in_callbacks),
		CASE(replay_gives_what_is_kept),
		CASE(kept_bytes_are_bounded),
		CASE(long_replay),
		CASE(replay_failures_are_told_apart),
		CASE(req_peer_is_answered),
		CASE(slow_subscriber_misses_and_costs_nothing),
		CASE(subscriptions_are_counted_by_prefix),
		CASE(hostile_peers_are_dropped),
		CASE(silent_peers_are_dropped),
		CASE(ping_flood_is_cut),
		CASE(endpoints),
		CASE(address_in_use_is_an_error),
		CASE(survives_each_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
