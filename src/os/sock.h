/*
 * sock.h: TCP and Unix-domain sockets, addresses.
 *
 * For: net, which puts HTTP on them. All sockets are non-blocking and close-on-exec; TCP sockets
 * have TCP_NODELAY, since a token must leave when it comes.
 * Addresses as users write them: "HOST:PORT", "[::1]:8080", ":8080" (every interface, IPv6 and
 * IPv4), "unix:/path". Engines: "http://HOST[:PORT][/base]" or "unix:/path".
 * Threads: any; a descriptor has one owner. sock_resolve blocks (name service): not on a loop
 * that serves.
 * Memory: addresses are values.
 * Errors: -BB_EINVALID with a sentence for a malformed address, -BB_ESYSTEM with errno kept.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/str.h"

#define SOCK_TEXT_SIZE 128

struct sock_addr {
	struct sockaddr_storage storage;
	socklen_t len;
};

/* Who is at the other end, small enough to keep with every connection. */
struct sock_peer {
	uint16_t family; /* 0: a unix socket, or not known */
	uint16_t port;
	uint8_t ip[16];
};

struct sock_peer sock_peer_of(const struct sock_addr *a);
/* As sock_addr_text; "" for unix sockets. Returns the length. */
size_t sock_peer_text(const struct sock_peer *p, char out[SOCK_TEXT_SIZE]);

enum io { IO_DONE, IO_AGAIN, IO_EOF, IO_ERROR };

/* Numeric addresses and unix: paths only; never asks the name service. */
BB_MUST int sock_addr_parse(struct bb_str text, struct sock_addr *out, const char **why);
/* Also names. Blocks. The first usable address. */
BB_MUST int sock_resolve(struct bb_str host, uint16_t port, struct sock_addr *out, const char **why);
/* "127.0.0.1:8080" "[::1]:8080" "unix:/path" */
void sock_addr_text(const struct sock_addr *a, char out[SOCK_TEXT_SIZE]);
bool sock_addr_is_loopback(const struct sock_addr *a);
bool sock_addr_eq(const struct sock_addr *a, const struct sock_addr *b);
/* Another port of the same host; of this machine's loopback for a unix socket. */
struct sock_addr sock_addr_at_port(const struct sock_addr *a, uint16_t port);

/* An engine's URL in parts. `base` is "" or "/path" without a slash at its end. */
struct sock_url {
	struct bb_str host; /* name, IPv4, IPv6 without brackets; empty for unix */
	uint16_t port;
	struct bb_str base;
	struct bb_str unix_path; /* empty unless unix: */
	bool tls;
};
BB_MUST int sock_url_parse(struct bb_str text, struct sock_url *out, const char **why);

enum sock_share { SOCK_EXCLUSIVE, SOCK_REUSEPORT };
/* A listening descriptor, or -BB_ESYSTEM with a sentence in `why` (static). A stale unix socket file is replaced. */
BB_MUST int sock_listen(const struct sock_addr *a, enum sock_share share, int backlog,
			const char **why);
/* The address a socket is bound to (for port 0). */
BB_MUST int sock_local_addr(int fd, struct sock_addr *out);
/* A connection, or -1 with errno: EAGAIN when there is none. */
int sock_accept(int listen_fd, struct sock_addr *peer);
/* A descriptor whose connection is made or under way, or -BB_ESYSTEM. */
BB_MUST int sock_connect(const struct sock_addr *a);
/* 0 when the connection of sock_connect stands, else the errno. */
int sock_connect_error(int fd);

/* `*got` bytes were read (IO_DONE), none are there (IO_AGAIN), the stream has ended, or it broke. */
enum io sock_read(int fd, void *room, size_t size, size_t *got);
enum io sock_write(int fd, const void *data, size_t len, size_t *put);
enum io sock_writev(int fd, const struct iovec *parts, int count, size_t *put);
/* Bytes that were written and that the peer has not taken yet. */
size_t sock_unsent(int fd);
void sock_close(int fd);
/* Closes with RST: a peer that is refused learns it at once and no TIME_WAIT stays. */
void sock_close_hard(int fd);
/* Says FIN and keeps reading. */
void sock_shut_write(int fd);
/* Another descriptor for the same socket (a unix listener shared by several loops), or -BB_ESYSTEM. */
BB_MUST int sock_dup(int fd);
