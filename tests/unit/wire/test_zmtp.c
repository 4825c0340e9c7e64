/*
 * Goal: what a session reads and writes is what libzmq 4.3.5 sends, judged by captured bytes of
 * both directions, however they are cut into pieces; older peers, hostile frames and unfitting
 * peers are told apart.
 * The captures stand in tests/data/vllm-kv-events; run from the repository's root.
 */
#include "capture.h"

#include "wire/zmtp.h"

#define SIZE_MAX_MESSAGE 32768

/* What the other side of a captured stream saw. */
struct seen {
	uint32_t greeted, opened, messages, subscribes;
	uint64_t sequence; /* of the last message that had one */
	struct bb_str parts[ZMTP_PARTS_MAX];
	uint32_t part_count;
};

/* Feeds a stream in pieces of `piece` bytes, the way a connection does. */
static int feed(struct zmtp_session *s, struct bb_str in, size_t piece, struct seen *seen)
{
	struct zmtp_event e;
	size_t at = 0;

	for (size_t end = 0; end < in.len;) {
		end = in.len - end > piece ? end + piece : in.len;
		for (;;) {
			int rc = zmtp_session_take(s, (struct bb_str){ in.p + at, end - at }, &e);
			if (rc)
				return rc;
			if (e.kind == ZMTP_NEED) {
				assert_int_equal(e.used, 0);
				break;
			}
			assert_in_range(e.used, 1, end - at);
			at += e.used;
			seen->greeted += e.kind == ZMTP_GREETED;
			seen->opened += e.kind == ZMTP_OPENED;
			seen->subscribes += e.kind == ZMTP_SUBSCRIBE;
			seen->messages += e.kind == ZMTP_MESSAGE;
			memcpy(seen->parts, e.parts, sizeof(e.parts));
			seen->part_count = e.part_count;
		}
	}
	return 0;
}

static void subscriber_reads_what_a_publisher_sent(void **state)
{
	const struct bb_str in = load("zmtp-pub-to-sub.bin");
	static const size_t pieces[] = { 1, 2, 7, 64, 1000, CAPTURE_SIZE_MAX };

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct zmtp_session s;
		struct seen seen = { 0 };
		uint64_t sequence;
		zmtp_session_init(&s, ZMTP_SUB, SIZE_MAX_MESSAGE);
		assert_int_equal(feed(&s, in, pieces[i], &seen), 0);
		assert_int_equal(seen.greeted, 1);
		assert_int_equal(seen.opened, 1);
		assert_int_equal(seen.messages, 39);
		assert_int_equal(s.peer_minor, 1);
		assert_int_equal(seen.part_count, 3);
		assert_true(bb_str_eq(seen.parts[0], BB_STR("kv@test-pod@smol")));
		assert_int_equal(zmtp_sequence_get(seen.parts[1], &sequence), 0);
		assert_int_equal(sequence, 38);
		assert_int_equal((uint8_t)seen.parts[2].p[0], 0x93);
	}
}

static void publisher_and_router_read_their_peers(void **state)
{
	struct zmtp_session s;
	struct seen seen = { 0 };
	uint64_t start;

	zmtp_session_init(&s, ZMTP_PUB, SIZE_MAX_MESSAGE);
	assert_int_equal(feed(&s, load("zmtp-sub-to-pub.bin"), 3, &seen), 0);
	assert_int_equal(seen.subscribes, 1);
	assert_true(bb_str_eq(seen.parts[0], BB_STR("kv@")));
	seen = (struct seen){ 0 };
	zmtp_session_init(&s, ZMTP_ROUTER, SIZE_MAX_MESSAGE);
	assert_int_equal(feed(&s, load("zmtp-dealer-to-router.bin"), 5, &seen), 0);
	assert_int_equal(seen.messages, 1);
	assert_int_equal(seen.part_count, 2);
	assert_int_equal(seen.parts[0].len, 0);
	assert_int_equal(zmtp_sequence_get(seen.parts[1], &start), 0);
	assert_int_equal(start, 36);
	seen = (struct seen){ 0 };
	zmtp_session_init(&s, ZMTP_DEALER, SIZE_MAX_MESSAGE);
	assert_int_equal(feed(&s, load("zmtp-router-to-dealer.bin"), 11, &seen), 0);
	assert_int_equal(seen.messages, 4);
	assert_int_equal(seen.part_count, 4);
	assert_int_equal(zmtp_sequence_get(seen.parts[2], &start), 0);
	assert_true(start == ZMTP_SEQUENCE_END);
}

static void writes_what_libzmq_writes(void **state)
{
	const struct zmtp_session modern = { .self = ZMTP_SUB, .peer_minor = 1 };
	struct bb_buf b;
	char sequence[8];

	bb_buf_init(&b, 4096);
	zmtp_add_greeting(&b);
	zmtp_add_ready(&b, ZMTP_SUB);
	zmtp_add_subscribe(&b, &modern, BB_STR("kv@"));
	struct bb_str captured = load("zmtp-sub-to-pub.bin");
	assert_int_equal(b.len, captured.len);
	assert_memory_equal(b.p, captured.p, captured.len);

	bb_buf_clear(&b);
	zmtp_add_greeting(&b);
	zmtp_add_ready(&b, ZMTP_DEALER);
	zmtp_sequence_put(36, sequence);
	zmtp_add_frame(&b, (struct bb_str){ 0 }, ZMTP_MORE);
	zmtp_add_frame(&b, (struct bb_str){ sequence, 8 }, ZMTP_LAST);
	captured = load("zmtp-dealer-to-router.bin");
	assert_int_equal(b.len, captured.len);
	assert_memory_equal(b.p, captured.p, captured.len);
	bb_buf_fini(&b);
}

/* All 39 messages, taken apart and put together again. */
static void frames_come_out_as_they_went_in(void **state)
{
	const struct bb_str in = load("zmtp-pub-to-sub.bin");
	struct zmtp_session s;
	struct zmtp_event e;
	struct bb_buf b;
	size_t at = 0;

	bb_buf_init(&b, CAPTURE_SIZE_MAX);
	zmtp_session_init(&s, ZMTP_SUB, SIZE_MAX_MESSAGE);
	while (at < in.len) {
		assert_int_equal(zmtp_session_take(&s, bb_str_skip(in, at), &e), 0);
		assert_int_not_equal(e.kind, ZMTP_NEED);
		at += e.used;
		if (e.kind == ZMTP_GREETED)
			zmtp_add_greeting(&b);
		else if (e.kind == ZMTP_OPENED)
			zmtp_add_ready(&b, ZMTP_PUB);
		for (uint32_t i = 0; i < e.part_count; i++)
			zmtp_add_frame(&b, e.parts[i],
				       i + 1 < e.part_count ? ZMTP_MORE : ZMTP_LAST);
	}
	assert_int_equal(b.len, in.len);
	assert_memory_equal(b.p, in.p, in.len);
	bb_buf_fini(&b);
}

/* A session that is open, with a peer of ZMTP 3.`minor`. */
static struct zmtp_session open_session(enum zmtp_socket self, enum zmtp_socket peer, uint8_t minor)
{
	struct zmtp_session s;
	struct zmtp_event e;
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	zmtp_session_init(&s, self, 1000);
	zmtp_add_greeting(&b);
	b.p[11] = (char)minor;
	zmtp_add_ready(&b, peer);
	assert_int_equal(zmtp_session_take(&s, bb_buf_str(&b), &e), 0);
	assert_int_equal(e.kind, ZMTP_GREETED);
	assert_int_equal(zmtp_session_take(&s, bb_str_skip(bb_buf_str(&b), e.used), &e), 0);
	assert_int_equal(e.kind, ZMTP_OPENED);
	bb_buf_fini(&b);
	return s;
}

static void subscriptions_have_two_forms(void **state)
{
	struct zmtp_session pub = open_session(ZMTP_PUB, ZMTP_SUB, 1);
	struct zmtp_session sub = open_session(ZMTP_SUB, ZMTP_PUB, 0);
	struct zmtp_event e;
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	for (uint8_t minor = 0; minor <= 1; minor++) {
		sub.peer_minor = minor;
		bb_buf_clear(&b);
		zmtp_add_subscribe(&b, &sub, BB_STR("kv"));
		assert_int_equal(b.p[0], minor ? 4 : 0);
		assert_int_equal(zmtp_session_take(&pub, bb_buf_str(&b), &e), 0);
		assert_int_equal(e.kind, ZMTP_SUBSCRIBE);
		assert_true(bb_str_eq(e.parts[0], BB_STR("kv")));
		bb_buf_clear(&b);
		zmtp_add_cancel(&b, &sub, BB_STR(""));
		assert_int_equal(zmtp_session_take(&pub, bb_buf_str(&b), &e), 0);
		assert_int_equal(e.kind, ZMTP_CANCEL);
		assert_int_equal(e.parts[0].len, 0);
	}
	/* A message of a SUB that is no subscription means nothing to a PUB. */
	bb_buf_clear(&b);
	zmtp_add_frame(&b, BB_STR("hello"), ZMTP_LAST);
	assert_int_equal(zmtp_session_take(&pub, bb_buf_str(&b), &e), 0);
	assert_int_equal(e.kind, ZMTP_IGNORED);
	bb_buf_fini(&b);
}

static int take_text(struct zmtp_session *s, struct bb_buf *b, struct zmtp_event *e)
{
	return zmtp_session_take(s, bb_buf_str(b), e);
}

static void commands(void **state)
{
	struct zmtp_session s = open_session(ZMTP_SUB, ZMTP_PUB, 1);
	struct zmtp_event e;
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	zmtp_add_ping(&b, 100, BB_STR("context"));
	assert_int_equal(take_text(&s, &b, &e), 0);
	assert_int_equal(e.kind, ZMTP_PING);
	assert_true(bb_str_eq(e.parts[0], BB_STR("context")));
	bb_buf_clear(&b);
	zmtp_add_pong(&b, BB_STR("context"));
	assert_int_equal(take_text(&s, &b, &e), 0);
	assert_int_equal(e.kind, ZMTP_IGNORED);
	bb_buf_clear(&b);
	bb_buf_lit(&b, "\x04\x05\x04PING"); /* without its TTL */
	assert_int_equal(take_text(&s, &b, &e), -BB_ESYNTAX);
	bb_buf_clear(&b);
	bb_buf_lit(&b, "\x04\x05\x04NOVA"); /* of a later version */
	assert_int_equal(take_text(&s, &b, &e), 0);
	assert_int_equal(e.kind, ZMTP_IGNORED);
	bb_buf_clear(&b);
	bb_buf_lit(&b, "\x04\x07\x05"
		       "ERROR"
		       "\x00");
	assert_int_equal(take_text(&s, &b, &e), -BB_EUPSTREAM);
	bb_buf_clear(&b);
	bb_buf_lit(&b, "\x04\x03\x09"
		       "ab"); /* a name longer than its command */
	assert_int_equal(take_text(&s, &b, &e), -BB_ESYNTAX);
	bb_buf_clear(&b);
	bb_buf_lit(&b, "\x04\x00"); /* no name */
	assert_int_equal(take_text(&s, &b, &e), -BB_ESYNTAX);
	bb_buf_fini(&b);
}

static int greet(size_t at, char byte, size_t len)
{
	struct zmtp_session s;
	struct zmtp_event e;
	struct bb_buf b;

	bb_buf_init(&b, 64);
	zmtp_session_init(&s, ZMTP_SUB, 1000);
	zmtp_add_greeting(&b);
	b.p[at] = byte;
	const int rc = zmtp_session_take(&s, (struct bb_str){ b.p, len }, &e);
	bb_buf_fini(&b);
	return rc;
}

static void greetings_that_do_not_fit(void **state)
{
	assert_int_equal(greet(0, 'G', 1), -BB_ESYNTAX);  /* GET / HTTP/1.1, at its first byte */
	assert_int_equal(greet(9, 1, 10), -BB_ESYNTAX);	  /* ZMTP 1 */
	assert_int_equal(greet(10, 1, 11), -BB_EINVALID); /* ZMTP 2 */
	assert_int_equal(greet(12, 'P', 64), -BB_EINVALID);
	assert_int_equal(greet(31, 'x', 64), -BB_EINVALID); /* the mechanism is padded with zeros */
	assert_int_equal(greet(40, 1, 64), 0);		    /* filler is ignored */
	assert_int_equal(greet(10, 4, 64), 0);		    /* a later version speaks ours */
}

static int ready_as(enum zmtp_socket self, enum zmtp_socket peer)
{
	struct zmtp_session s = { .self = self, .state = ZMTP_HANDSHAKE, .size_max = 1000 };
	struct zmtp_event e;
	struct bb_buf b;

	bb_buf_init(&b, 1000);
	zmtp_add_ready(&b, peer);
	const int rc = zmtp_session_take(&s, bb_buf_str(&b), &e);
	bb_buf_fini(&b);
	return rc;
}

static void sockets_that_do_not_fit(void **state)
{
	struct zmtp_session s = { .self = ZMTP_ROUTER, .state = ZMTP_HANDSHAKE, .size_max = 1000 };
	struct zmtp_event e;

	assert_int_equal(ready_as(ZMTP_PUB, ZMTP_SUB), 0);
	assert_int_equal(ready_as(ZMTP_SUB, ZMTP_PUB), 0);
	assert_int_equal(ready_as(ZMTP_ROUTER, ZMTP_DEALER), 0);
	assert_int_equal(ready_as(ZMTP_DEALER, ZMTP_ROUTER), 0);
	assert_int_equal(ready_as(ZMTP_PUB, ZMTP_PUB), -BB_EINVALID);
	assert_int_equal(ready_as(ZMTP_SUB, ZMTP_ROUTER), -BB_EINVALID);
	assert_int_equal(ready_as(ZMTP_ROUTER, ZMTP_SUB), -BB_EINVALID);
	/* A REQ; names of properties do not mind case. */
	assert_int_equal(
		zmtp_session_take(&s, BB_STR("\x04\x19\x05READY\x0bsocket-type\0\0\0\3REQ"), &e),
		0);
	s.state = ZMTP_HANDSHAKE;
	assert_int_equal(zmtp_session_take(&s, BB_STR("\x04\x06\x05READY"), &e), -BB_EINVALID);
	assert_int_equal(
		zmtp_session_take(&s, BB_STR("\x04\x19\x05READY\x0bSocket-Type\0\0\0\4REQ"), &e),
		-BB_ESYNTAX);
	assert_int_equal(zmtp_session_take(&s, BB_STR("\x04\x09\x08INITIATE"), &e), -BB_ESYNTAX);
	assert_int_equal(zmtp_session_take(&s, BB_STR("\x00\x01x"), &e), -BB_ESYNTAX);
}

static void hostile_frames(void **state)
{
	struct zmtp_session s = open_session(ZMTP_SUB, ZMTP_PUB, 1);
	struct zmtp_event e;
	struct bb_buf b;

	assert_int_equal(zmtp_session_take(&s, BB_STR("\x08\x00"), &e), -BB_ESYNTAX);
	assert_int_equal(zmtp_session_take(&s, BB_STR("\x05\x00"), &e), -BB_ESYNTAX);
	/* Refused by what the head claims, before a byte of it has come. */
	assert_int_equal(zmtp_session_take(&s, BB_STR("\x02\0\0\0\0\0\0\x03\xe9"), &e), -BB_ELIMIT);
	assert_int_equal(zmtp_session_take(&s, BB_STR("\x02\xff\xff\xff\xff\xff\xff\xff\xff"), &e),
			 -BB_ELIMIT);
	assert_int_equal(zmtp_session_take(&s, BB_STR("\x02\0\0\0\0\0\0\x03\xe8"), &e), 0);
	assert_int_equal(e.kind, ZMTP_NEED);
	/* The parts of a message count together. */
	bb_buf_init(&b, 4096);
	static const char zeros[600];
	zmtp_add_frame(&b, (struct bb_str){ zeros, 600 }, ZMTP_MORE);
	zmtp_add_frame(&b, (struct bb_str){ zeros, 401 }, ZMTP_LAST);
	assert_int_equal(take_text(&s, &b, &e), -BB_ELIMIT);
	bb_buf_clear(&b);
	for (int i = 0; i < ZMTP_PARTS_MAX; i++)
		zmtp_add_frame(&b, (struct bb_str){ 0 }, ZMTP_MORE);
	zmtp_add_frame(&b, (struct bb_str){ 0 }, ZMTP_LAST);
	assert_int_equal(take_text(&s, &b, &e), -BB_ELIMIT);
	/* A command in the middle of a message. */
	bb_buf_clear(&b);
	zmtp_add_frame(&b, BB_STR("a"), ZMTP_MORE);
	zmtp_add_pong(&b, (struct bb_str){ 0 });
	assert_int_equal(take_text(&s, &b, &e), -BB_ESYNTAX);
	bb_buf_fini(&b);
}

static void sequences(void **state)
{
	char bytes[8];
	uint64_t n = 0;

	zmtp_sequence_put(0x0102030405060708, bytes);
	assert_memory_equal(bytes, "\1\2\3\4\5\6\7\x08", 8);
	assert_int_equal(zmtp_sequence_get((struct bb_str){ bytes, 8 }, &n), 0);
	assert_true(n == 0x0102030405060708);
	assert_int_equal(zmtp_sequence_get((struct bb_str){ bytes, 7 }, &n), -BB_EINVALID);
	assert_int_equal(zmtp_sequence_get((struct bb_str){ 0 }, &n), -BB_EINVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subscriber_reads_what_a_publisher_sent),
		cmocka_unit_test(publisher_and_router_read_their_peers),
		cmocka_unit_test(writes_what_libzmq_writes),
		cmocka_unit_test(frames_come_out_as_they_went_in),
		cmocka_unit_test(subscriptions_have_two_forms),
		cmocka_unit_test(commands),
		cmocka_unit_test(greetings_that_do_not_fit),
		cmocka_unit_test(sockets_that_do_not_fit),
		cmocka_unit_test(hostile_frames),
		cmocka_unit_test(sequences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
