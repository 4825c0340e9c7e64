/*
 * peer.h: the other end of a connection in tests of net: a plain socket that the test drives by
 * hand, in the same thread as the loop under test. Nothing here sleeps: PEER_UNTIL turns the loop
 * until a condition holds and fails the test after ten seconds.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

#include "os/clock.h"
#include "os/loop.h"
#include "os/sock.h"

struct peer {
	int fd;          /* -1: none */
	bool is_deaf;    /* does not read */
	bool has_ended;  /* the other side sent FIN */
	bool is_reset;   /* … or RST */
	size_t len;      /* bytes heard so far; text has a NUL behind them */
	size_t cap;
	char *text;
};

#define PEER_MANY 8
static struct peer *peers[PEER_MANY];
static int peer_count;

static inline void peer_open(struct peer *p, int fd)
{
	*p = (struct peer){ .fd = fd, .cap = 4096 };
	p->text = calloc(1, p->cap);
	assert_non_null(p->text);
	assert_true(peer_count < PEER_MANY);
	peers[peer_count++] = p;
}

/* `room`: size of the socket's receive buffer, so that it fills early; 0: the system's. */
static inline void peer_connect(struct peer *p, const struct sock_addr *a, int room)
{
	const int fd = socket(a->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (room)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&a->storage, a->len), 0);
	peer_open(p, fd);
}

/* Sends all of it; blocks, so it must fit into the socket's buffer. */
static inline void peer_send(struct peer *p, const void *data, size_t len)
{
	const char *from = data;

	while (len) {
		const ssize_t n = send(p->fd, from, len, MSG_NOSIGNAL);
		assert_true(n > 0);
		from += n;
		len -= (size_t)n;
	}
}

static inline void peer_say(struct peer *p, const char *text)
{
	peer_send(p, text, strlen(text));
}

static inline void peer_hear(struct peer *p)
{
	while (p->fd >= 0 && !p->is_deaf && !p->has_ended && !p->is_reset) {
		if (p->cap - p->len < 4096) {
			p->cap *= 2;
			p->text = realloc(p->text, p->cap);
			assert_non_null(p->text);
		}
		const ssize_t n = recv(p->fd, p->text + p->len, p->cap - p->len - 1, MSG_DONTWAIT);
		if (n > 0) {
			p->len += (size_t)n;
			p->text[p->len] = '\0';
		} else if (n == 0) {
			p->has_ended = true;
		} else if (errno == EAGAIN) {
			return;
		} else {
			p->is_reset = true;
		}
	}
}

static inline bool peer_has(const struct peer *p, const char *text)
{
	return strstr(p->text, text) != NULL;
}

static inline int peer_count_of(const struct peer *p, const char *text)
{
	int count = 0;

	for (const char *at = p->text; (at = strstr(at, text)); at += strlen(text))
		count++;
	return count;
}

/* Forgets what was heard. */
static inline void peer_clear(struct peer *p)
{
	p->len = 0;
	p->text[0] = '\0';
}

static inline void peer_close(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	free(p->text);
	p->text = NULL;
	for (int i = 0; i < peer_count; i++)
		if (peers[i] == p)
			peers[i] = peers[--peer_count];
}

/* Closes with RST. */
static inline void peer_reset(struct peer *p)
{
	const struct linger now = { .l_onoff = 1 };

	assert_int_equal(setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	peer_close(p);
}

static inline void peers_turn(struct loop *l)
{
	loop_turn(l, OS_MS);
	for (int i = 0; i < peer_count; i++)
		peer_hear(peers[i]);
}

#define PEER_UNTIL(l, cond)                                                                        \
	do {                                                                                       \
		const uint64_t peer_stop_ns = clock_now_ns() + 10 * OS_SECOND;                     \
		while (!(cond)) {                                                                  \
			if (clock_now_ns() > peer_stop_ns)                                         \
				fail_msg("this did not come: %s", #cond);                          \
			peers_turn(l);                                                             \
		}                                                                                  \
	} while (0)

/* Some turns in which nothing may happen that has been begun by now. */
static inline void peers_settle(struct loop *l)
{
	for (int i = 0; i < 5; i++)
		peers_turn(l);
}

/* A listening descriptor on a free port of the loopback interface. */
static inline int peer_listen(struct sock_addr *a)
{
	const char *why = "";

	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), a, &why), 0);
	const int fd = sock_listen(a, SOCK_EXCLUSIVE, 128, &why);
	assert_true(fd >= 0);
	assert_int_equal(sock_local_addr(fd, a), 0);
	return fd;
}
