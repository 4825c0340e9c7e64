/*
 * stream_io.h: reading and writing a connection, plain or through TLS.
 *
 * For: httpd.c, exchange.c and httpc.c.
 * Threads: the connection's. Memory: none. Errors: those of sock.h and tls.h.
 */
#pragma once

#include "net/tls.h"

static inline enum io stream_read(int fd, struct tls_session *tls, void *room, size_t size, size_t *got)
{
	return tls ? tls_read(tls, room, size, got) : sock_read(fd, room, size, got);
}

static inline enum io stream_write(int fd, struct tls_session *tls, const void *data, size_t len,
				   size_t *put)
{
	return tls ? tls_write(tls, data, len, put) : sock_write(fd, data, len, put);
}

static inline enum io stream_writev(int fd, struct tls_session *tls, const struct iovec *parts,
				    int count, size_t *put)
{
	return tls ? tls_writev(tls, parts, count, put) : sock_writev(fd, parts, count, put);
}

/* May more bytes be waiting after a read of `got` into `size`? TLS keeps records of its own. */
static inline bool stream_may_have_more(const struct tls_session *tls, size_t got, size_t size)
{
	return tls ? tls_has_more(tls) : got == size;
}
