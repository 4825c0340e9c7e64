/*
 * Goal: an answer reaches the client framed exactly as HTTP wants it, however slowly the client
 * reads; what waits for a client is bounded; and a client that stops reading or leaves ends its
 * exchange once.
 */
#include "site.h"

static struct site site;
static struct peer peer;

/* One request is with the handler, who answers when the test says so. */
static void begin(const char *request, const struct httpd_limits *l, int room)
{
	site_open(&site, l);
	site.way = SITE_LATER;
	peer_connect(&peer, &site.addr, room);
	peer_say(&peer, request);
	PEER_UNTIL(site.loop, site.x);
}

static void end(void)
{
	peer_close(&peer);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	site_close(&site);
}

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_10 "GET / HTTP/1.0\r\n\r\n"
#define HEAD "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"

/* What follows the head of the answer. */
static const char *body_of(const struct peer *p)
{
	const char *end = strstr(p->text, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

/* ---- whole answers ---- */

static void test_reply(void **state)
{
	begin(GET, NULL, 0);
	exchange_reply(site.x, 404, BB_STR("a/b"), BB_STR("X-One: 1\r\nX-Two: 2\r\n"), BB_STR("none"));
	PEER_UNTIL(site.loop, peer_has(&peer, "none"));
	assert_int_equal(strncmp(peer.text, "HTTP/1.1 404 Not Found\r\nDate: ", 30), 0);
	assert_true(peer_has(&peer, " GMT\r\nContent-Type: a/b\r\nX-One: 1\r\nX-Two: 2\r\n"
				    "Content-Length: 4\r\n\r\nnone"));
	assert_int_equal(site.closed, 1);
	assert_int_equal(site.bytes_out, peer.len);
	end();
}

static void test_statuses_without_a_body(void **state)
{
	static const int statuses[] = { 204, 304 };

	for (size_t i = 0; i < UNIT_COUNT(statuses); i++) {
		begin(GET, NULL, 0);
		exchange_reply(site.x, statuses[i], BB_STR(""), BB_STR("X: y\r\n"), BB_STR("unseen"));
		PEER_UNTIL(site.loop, peer_has(&peer, "\r\n\r\n"));
		assert_string_equal(body_of(&peer), "");
		assert_false(peer_has(&peer, "Content-Length"));
		assert_false(peer_has(&peer, "Content-Type"));
		/* The connection goes on behind it. */
		peer_clear(&peer);
		peer_say(&peer, GET);
		PEER_UNTIL(site.loop, site.x);
		exchange_begin(site.x, statuses[i], BB_STR(""), BB_STR(""), EXCHANGE_CHUNKED);
		assert_int_equal(exchange_write(site.x, BB_STR("unseen")), IO_DONE);
		exchange_end(site.x);
		PEER_UNTIL(site.loop, peer_has(&peer, "\r\n\r\n"));
		assert_string_equal(body_of(&peer), "");
		assert_false(peer_has(&peer, "chunked"));
		end();
	}
}

static void test_head_method(void **state)
{
	begin(HEAD, NULL, 0);
	assert_true(site.x->is_head_method);
	exchange_reply(site.x, 200, BB_STR("a/b"), BB_STR(""), BB_STR("four"));
	PEER_UNTIL(site.loop, peer_has(&peer, "\r\n\r\n"));
	assert_true(peer_has(&peer, "Content-Length: 4\r\n"));
	assert_string_equal(body_of(&peer), "");
	char room[EXCHANGE_HEADROOM + 4 + EXCHANGE_TAILROOM];
	for (int way = 0; way < 3; way++) {
		peer_clear(&peer);
		peer_say(&peer, HEAD);
		PEER_UNTIL(site.loop, site.x);
		exchange_begin(site.x, 200, BB_STR("a/b"), BB_STR(""), way ? EXCHANGE_CHUNKED : 4);
		memcpy(room + EXCHANGE_HEADROOM, "four", 4);
		if (way == 2) {
			assert_int_equal(exchange_write_inplace(site.x, room + EXCHANGE_HEADROOM, 4, BODY_LAST),
					 IO_DONE);
		} else {
			assert_int_equal(exchange_write(site.x, BB_STR("fo")), IO_DONE);
			exchange_end(site.x); /* shorter than promised, but no one counts */
		}
		PEER_UNTIL(site.loop, peer_has(&peer, "\r\n\r\n"));
		assert_string_equal(body_of(&peer), "");
		assert_true(peer_has(&peer, way ? "Transfer-Encoding: chunked" : "Content-Length: 4"));
	}
	assert_int_equal(site.gone, 0);
	end();
}

/* ---- streams ---- */

static void test_chunks(void **state)
{
	begin(GET, NULL, 0);
	exchange_begin(site.x, 200, BB_STR("text/event-stream"), BB_STR(""), EXCHANGE_CHUNKED);
	peers_settle(site.loop);
	assert_int_equal(peer.len, 0); /* not before there is something */
	exchange_flush(site.x);
	PEER_UNTIL(site.loop, peer_has(&peer, "\r\n\r\n"));
	assert_true(peer_has(&peer, "Transfer-Encoding: chunked\r\n"));
	assert_int_equal(exchange_write(site.x, BB_STR("0123456789abcdefg")), IO_DONE);
	assert_int_equal(exchange_write(site.x, BB_STR("")), IO_DONE); /* would be the end */
	assert_int_equal(exchange_write(site.x, BB_STR("x")), IO_DONE);
	exchange_end(site.x);
	exchange_end(site.x); /* once is enough, twice is allowed */
	PEER_UNTIL(site.loop, peer_has(&peer, "0\r\n\r\n"));
	assert_string_equal(body_of(&peer), "11\r\n0123456789abcdefg\r\n1\r\nx\r\n0\r\n\r\n");
	PEER_UNTIL(site.loop, site.closed == 1);
	assert_int_equal(site.bytes_out, peer.len);
	assert_int_equal(site.httpd->buffers.live_bytes, 0);
	end();
}

static void test_inplace(void **state)
{
	static const struct {
		uint64_t length;
		bool is_last;
		const char *body;
	} cases[] = {
		{ EXCHANGE_CHUNKED, true, "5\r\nhello\r\n0\r\n\r\n" },
		{ EXCHANGE_CHUNKED, false, "5\r\nhello\r\n0\r\n\r\n" },
		{ 5, true, "hello" },
		{ 5, false, "hello" },
	};
	char room[EXCHANGE_HEADROOM + 5 + EXCHANGE_TAILROOM];
	char *const data = room + EXCHANGE_HEADROOM;

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		begin(GET, NULL, 0);
		exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), cases[i].length);
		memcpy(data, "hello", 5);
		assert_int_equal(exchange_write_inplace(site.x, data, 5, cases[i].is_last ? BODY_LAST : BODY_MORE), IO_DONE);
		if (!cases[i].is_last) { /* the end comes alone */
			if (cases[i].length == EXCHANGE_CHUNKED)
				exchange_end(site.x);
			else
				assert_int_equal(exchange_write_inplace(site.x, data, 0, BODY_LAST), IO_DONE);
		}
		PEER_UNTIL(site.loop, site.closed == 1);
		PEER_UNTIL(site.loop, strlen(body_of(&peer)) >= strlen(cases[i].body));
		assert_string_equal(body_of(&peer), cases[i].body);
		end();
	}
	begin(GET_10, NULL, 0);
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	memcpy(data, "hello", 5);
	assert_int_equal(exchange_write_inplace(site.x, data, 5, BODY_LAST), IO_DONE);
	PEER_UNTIL(site.loop, peer.has_ended);
	assert_string_equal(body_of(&peer), "hello");
	assert_true(peer_has(&peer, "Connection: close\r\n"));
	assert_false(peer_has(&peer, "chunked"));
	end();
}

/* A chunk's size needs room in front: the largest there is fits into the headroom. */
static void test_large_piece_inplace(void **state)
{
	const size_t size = 1u << 20;
	char *room = malloc(EXCHANGE_HEADROOM + size + EXCHANGE_TAILROOM);

	assert_non_null(room);
	memset(room, 'x', EXCHANGE_HEADROOM + size + EXCHANGE_TAILROOM);
	begin(GET, NULL, 0);
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	(void)exchange_write_inplace(site.x, room + EXCHANGE_HEADROOM, size, BODY_LAST);
	free(room); /* what the kernel did not take was kept */
	PEER_UNTIL(site.loop, peer.len > size && peer_has(&peer, "\r\n0\r\n\r\n"));
	assert_int_equal(strncmp(body_of(&peer), "100000\r\nxxxx", 12), 0);
	assert_int_equal(peer.len - (size_t)(body_of(&peer) - peer.text), 8 + size + 7);
	end();
}

/* Shorter than promised: only a cut can tell the client. */
static void test_short_of_the_length(void **state)
{
	for (int inplace = 0; inplace < 2; inplace++) {
		char room[EXCHANGE_HEADROOM + 4 + EXCHANGE_TAILROOM] = "";
		begin(GET, NULL, 0);
		exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), 10);
		if (inplace) {
			assert_int_equal(exchange_write_inplace(site.x, room + EXCHANGE_HEADROOM, 4, BODY_LAST),
					 IO_ERROR);
		} else {
			assert_int_equal(exchange_write(site.x, BB_STR("four")), IO_DONE);
			exchange_end(site.x);
		}
		PEER_UNTIL(site.loop, peer.has_ended || peer.is_reset);
		assert_int_equal(site.closed, 1);
		assert_int_equal(site.gone, 1);
		end();
	}
}

static void test_abort(void **state)
{
	begin(GET, NULL, 0);
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	assert_int_equal(exchange_write(site.x, BB_STR("some")), IO_DONE);
	exchange_abort(site.x);
	exchange_end(site.x);
	assert_int_equal(exchange_write(site.x, BB_STR("more")), IO_ERROR);
	PEER_UNTIL(site.loop, peer.has_ended || peer.is_reset);
	assert_false(peer_has(&peer, "0\r\n\r\n"));
	assert_false(peer_has(&peer, "more"));
	assert_int_equal(site.closed, 1);
	assert_int_equal(site.gone, 1);
	end();
}

/* ---- slow readers ---- */

#define PIECE 10000

/* Writes until the socket is full; the k-th piece consists of one letter. */
static void produce(struct site *s)
{
	char piece[PIECE];
	enum io io = IO_DONE;

	while (io == IO_DONE && s->left) {
		memset(piece, 'a' + (int)(s->left % 26), sizeof(piece));
		s->left--;
		io = exchange_write(s->x, (struct bb_str){ piece, sizeof(piece) });
		assert_int_not_equal(io, IO_ERROR);
	}
	if (s->left == 0 && io == IO_DONE)
		exchange_end(s->x);
}

static void test_back_pressure(void **state)
{
	const size_t pieces = 1000;

	for (int chunked = 0; chunked < 2; chunked++) {
		begin(GET, NULL, 4096);
		peer.is_deaf = true;
		site.on_writable = produce;
		site.left = pieces;
		exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""),
			       chunked ? EXCHANGE_CHUNKED : pieces * PIECE);
		produce(&site);
		/* The reader stands still: the producer does too, and one piece waits at the most. */
		const size_t left = site.left;
		assert_true(left > 0);
		peers_settle(site.loop);
		assert_int_equal(site.left, left);
		assert_int_equal(site.writable, 0);
		assert_in_range(site.httpd->buffers.live_bytes, 1, 4 * PIECE);
		peer.is_deaf = false;
		PEER_UNTIL(site.loop, site.closed == 1);
		PEER_UNTIL(site.loop, !chunked || peer_has(&peer, "\r\n0\r\n\r\n"));
		PEER_UNTIL(site.loop, peer.len >= pieces * PIECE);
		assert_true(site.writable > 1);
		assert_int_equal(site.gone, 0);
		const char *at = body_of(&peer);
		for (size_t k = pieces; k > 0; k--) {
			if (chunked) {
				assert_memory_equal(at, "2710\r\n", 6);
				at += 6;
			}
			for (size_t i = 0; i < PIECE; i++)
				assert_int_equal(at[i], 'a' + (int)(k % 26));
			at += PIECE + (chunked ? 2 : 0);
		}
		assert_string_equal(at, chunked ? "0\r\n\r\n" : "");
		end();
	}
}

static void fill(void)
{
	enum io io;

	do {
		static char piece[PIECE];
		io = exchange_write(site.x, (struct bb_str){ piece, sizeof(piece) });
	} while (io == IO_DONE);
	assert_int_equal(io, IO_AGAIN);
}

static void test_reader_that_stops(void **state)
{
	struct httpd_limits l;

	httpd_limits_default(&l);
	l.write_timeout_ns = 60 * OS_MS;
	begin(GET, &l, 4096);
	peer.is_deaf = true;
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	fill();
	const uint64_t from_ns = clock_now_ns();
	PEER_UNTIL(site.loop, site.closed == 1);
	assert_true(clock_now_ns() >= from_ns + 50 * OS_MS);
	assert_int_equal(site.gone, 1);
	assert_int_equal(httpd_connection_count(site.httpd), 0);
	end();
}

/* What the producer adds meanwhile does not make it younger: only bytes that the client takes do. */
static void test_reader_that_stops_while_more_comes(void **state)
{
	struct httpd_limits l;

	httpd_limits_default(&l);
	l.write_timeout_ns = 60 * OS_MS;
	begin(GET, &l, 4096);
	peer.is_deaf = true;
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	fill();
	const uint64_t from_ns = clock_now_ns();
	while (site.closed == 0) {
		assert_true(clock_now_ns() < from_ns + 3 * OS_SECOND);
		assert_int_not_equal(exchange_write(site.x, BB_STR(":\n\n")), IO_DONE);
		peers_turn(site.loop);
	}
	assert_int_equal(site.gone, 1);
	end();
}

/* A slow client is not a dead one. */
static void test_reader_that_is_slow(void **state)
{
	struct httpd_limits l;
	const size_t pieces = 1000;

	httpd_limits_default(&l);
	l.write_timeout_ns = 100 * OS_MS;
	begin(GET, &l, 4096);
	peer.is_deaf = true;
	site.on_writable = produce;
	site.left = pieces;
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	produce(&site);
	assert_true(site.left > 0);
	const uint64_t from_ns = clock_now_ns();
	size_t got = 0;
	char room[8192];
	while (site.closed == 0) {
		const ssize_t n = recv(peer.fd, room, clock_now_ns() < from_ns + 300 * OS_MS ? 64 : sizeof(room), MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
		loop_turn(site.loop, OS_MS);
		assert_true(clock_now_ns() < from_ns + 20 * OS_SECOND);
	}
	assert_int_equal(site.gone, 0);
	assert_true(clock_now_ns() > from_ns + 200 * OS_MS);
	peer.is_deaf = false;
	PEER_UNTIL(site.loop, got + peer.len >= pieces * PIECE);
	end();
}

/* A whole answer may be larger than what may wait of a stream. */
static void test_large_reply(void **state)
{
	const size_t size = 16u << 20;
	char *body = malloc(size);

	assert_non_null(body);
	for (size_t i = 0; i < size; i++)
		body[i] = (char)('a' + i / 1000 % 26);
	begin(GET, NULL, 4096);
	exchange_reply(site.x, 200, BB_STR("t"), BB_STR(""), (struct bb_str){ body, size });
	PEER_UNTIL(site.loop, site.closed == 1 && (peer.len > size || site.gone));
	assert_int_equal(site.gone, 0);
	assert_int_equal(peer.len - (size_t)(body_of(&peer) - peer.text), size);
	assert_memory_equal(body_of(&peer), body, size);
	free(body);
	end();
}

/* A producer that does not heed IO_AGAIN is stopped. */
static void test_unsent_bytes_are_capped(void **state)
{
	static char piece[65536];
	size_t total = 0;
	enum io io;

	begin(GET, NULL, 4096);
	peer.is_deaf = true;
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	do {
		io = exchange_write(site.x, (struct bb_str){ piece, sizeof(piece) });
		total += sizeof(piece);
		assert_true(total < 64u << 20);
	} while (io != IO_ERROR);
	PEER_UNTIL(site.loop, site.closed == 1);
	assert_int_equal(site.gone, 1);
	end();
}

static void test_no_buffers_for_what_is_unsent(void **state)
{
	struct httpd_limits l;

	httpd_limits_default(&l);
	l.buffers_max = 8192;
	begin(GET, &l, 4096);
	peer.is_deaf = true;
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	static char piece[65536];
	enum io io;
	do
		io = exchange_write(site.x, (struct bb_str){ piece, sizeof(piece) });
	while (io == IO_DONE);
	assert_int_equal(io, IO_ERROR);
	PEER_UNTIL(site.loop, site.closed == 1);
	end();
}

/* ---- clients that leave ---- */

static void test_leaves_in_mid_stream(void **state)
{
	for (int reset = 0; reset < 2; reset++) {
		begin(GET, NULL, 0);
		exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
		assert_int_equal(exchange_write(site.x, BB_STR("a")), IO_DONE);
		if (reset)
			peer_reset(&peer);
		else
			peer_close(&peer);
		PEER_UNTIL(site.loop, site.closed == 1);
		assert_int_equal(site.gone, 1);
		assert_int_equal(httpd_connection_count(site.httpd), 0);
		site_close(&site);
	}
}

/* The write finds out before any event does. */
static void test_write_after_reset(void **state)
{
	begin(GET, NULL, 0);
	exchange_begin(site.x, 200, BB_STR("t"), BB_STR(""), EXCHANGE_CHUNKED);
	exchange_flush(site.x);
	peer_reset(&peer);
	assert_int_equal(exchange_write(site.x, BB_STR("a")), IO_ERROR);
	assert_true(site.x->gone);
	assert_int_equal(exchange_write(site.x, BB_STR("a")), IO_ERROR);
	assert_int_equal(site.closed, 0); /* not from inside of a write */
	PEER_UNTIL(site.loop, site.closed == 1);
	site_close(&site);
}

static void test_peer_address(void **state)
{
	char text[SOCK_TEXT_SIZE];

	begin(GET, NULL, 0);
	const size_t len = exchange_peer(site.x, text);
	assert_true(len > 10);
	assert_memory_equal(text, "127.0.0.1:", 10);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_statuses_without_a_body),
		cmocka_unit_test(test_head_method),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_inplace),
		cmocka_unit_test(test_large_piece_inplace),
		cmocka_unit_test(test_short_of_the_length),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_reader_that_stops),
		cmocka_unit_test(test_reader_that_stops_while_more_comes),
		cmocka_unit_test(test_reader_that_is_slow),
		cmocka_unit_test(test_large_reply),
		cmocka_unit_test(test_unsent_bytes_are_capped),
		cmocka_unit_test(test_no_buffers_for_what_is_unsent),
		cmocka_unit_test(test_leaves_in_mid_stream),
		cmocka_unit_test(test_write_after_reset),
		cmocka_unit_test(test_peer_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
