#include "os/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int addr_unix(struct bb_str path, struct sock_addr *out, const char **why)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->storage;

	if (path.len == 0 || path.len >= sizeof(un->sun_path) || memchr(path.p, '\0', path.len)) {
		*why = "a unix: path has 1 to 107 bytes, none of them NUL";
		return -BB_EINVALID;
	}
	memset(out, 0, sizeof(*out));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path.p, path.len);
	out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
	return 0;
}

/* host and port of "HOST:PORT" or "[V6]:PORT" */
static int split_port(struct bb_str text, struct bb_str *host, uint16_t *port, const char **why)
{
	uint64_t number;
	size_t colon = text.len;

	while (colon > 0 && text.p[colon - 1] != ':')
		colon--;
	if (colon == 0 || bb_parse_u64(bb_str_skip(text, colon), &number) || number > 65535) {
		*why = "an address is HOST:PORT, [IPv6]:PORT or unix:PATH, with a port from 0 to 65535";
		return -BB_EINVALID;
	}
	struct bb_str h = { text.p, colon - 1 };
	if (h.len > 2 && h.p[0] == '[' && h.p[h.len - 1] == ']') {
		h = (struct bb_str){ h.p + 1, h.len - 2 };
	} else if (h.len && (memchr(h.p, ':', h.len) || h.p[0] == '[')) {
		*why = "an IPv6 address stands in brackets: [::1]:8080";
		return -BB_EINVALID;
	}
	*host = h;
	*port = (uint16_t)number;
	return 0;
}

static int addr_numeric(struct bb_str host, uint16_t port, struct sock_addr *out)
{
	char text[64];
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out->storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->storage;

	if (host.len >= sizeof(text) || (host.len && memchr(host.p, '\0', host.len)))
		return -BB_EINVALID;
	memcpy(text, host.p, host.len);
	text[host.len] = '\0';
	memset(out, 0, sizeof(*out));
	if (host.len == 0) {
		v6->sin6_family = AF_INET6; /* in6addr_any, also takes IPv4 */
		v6->sin6_port = htons(port);
		out->len = sizeof(*v6);
		return 0;
	}
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		out->len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		out->len = sizeof(*v6);
		return 0;
	}
	return -BB_EINVALID;
}

int sock_addr_parse(struct bb_str text, struct sock_addr *out, const char **why)
{
	struct bb_str host;
	uint16_t port;
	struct sock_addr a;

	if (bb_str_starts(text, BB_STR("unix:")))
		return addr_unix(bb_str_skip(text, 5), out, why);
	int rc = split_port(text, &host, &port, why);
	if (rc)
		return rc;
	if (bb_str_eq(host, BB_STR("localhost")))
		host = BB_STR("127.0.0.1");
	rc = addr_numeric(host, port, &a);
	if (rc) {
		*why = "a listening address is numeric (127.0.0.1, 0.0.0.0, [::1]), localhost, or unix:PATH";
		return rc;
	}
	*out = a;
	return 0;
}

int sock_resolve(struct bb_str host, uint16_t port, struct sock_addr *out, const char **why)
{
	char name[256], service[8];
	struct addrinfo *list = NULL;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct sock_addr a;

	if (host.len && addr_numeric(host, port, &a) == 0) {
		*out = a;
		return 0;
	}
	if (host.len == 0 || host.len >= sizeof(name)) {
		*why = "a host name has 1 to 255 bytes";
		return -BB_EINVALID;
	}
	memcpy(name, host.p, host.len);
	name[host.len] = '\0';
	snprintf(service, sizeof(service), "%u", port);
	const int err = getaddrinfo(name, service, &hints, &list);
	if (err || !list) {
		*why = gai_strerror(err);
		return -BB_ESYSTEM;
	}
	memset(out, 0, sizeof(*out));
	memcpy(&out->storage, list->ai_addr, list->ai_addrlen);
	out->len = list->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

void sock_addr_text(const struct sock_addr *a, char out[SOCK_TEXT_SIZE])
{
	char host[INET6_ADDRSTRLEN] = "";

	if (a->storage.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)&a->storage;
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(out, SOCK_TEXT_SIZE, "%s:%u", host, ntohs(v4->sin_port));
	} else if (a->storage.ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)&a->storage;
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(out, SOCK_TEXT_SIZE, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else if (a->storage.ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const void *)&a->storage;
		const size_t len = a->len > offsetof(struct sockaddr_un, sun_path)
					   ? a->len - offsetof(struct sockaddr_un, sun_path)
					   : 0;
		snprintf(out, SOCK_TEXT_SIZE, "unix:%.*s", (int)strnlen(un->sun_path, len),
			 un->sun_path);
	} else {
		snprintf(out, SOCK_TEXT_SIZE, "?");
	}
}

bool sock_addr_is_loopback(const struct sock_addr *a)
{
	if (a->storage.ss_family == AF_UNIX)
		return true;
	if (a->storage.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)&a->storage;
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	}
	const struct sockaddr_in6 *v6 = (const void *)&a->storage;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

struct sock_addr sock_addr_at_port(const struct sock_addr *a, uint16_t port)
{
	struct sock_addr out = *a;

	if (a->storage.ss_family == AF_INET6) {
		((struct sockaddr_in6 *)&out.storage)->sin6_port = htons(port);
		return out;
	}
	if (a->storage.ss_family != AF_INET) {
		const struct sockaddr_in local = { .sin_family = AF_INET,
						   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		out = (struct sock_addr){ .len = sizeof(local) };
		memcpy(&out.storage, &local, sizeof(local));
	}
	((struct sockaddr_in *)&out.storage)->sin_port = htons(port);
	return out;
}

bool sock_addr_eq(const struct sock_addr *a, const struct sock_addr *b)
{
	return a->len == b->len && memcmp(&a->storage, &b->storage, a->len) == 0;
}

int sock_url_parse(struct bb_str text, struct sock_url *out, const char **why)
{
	struct sock_url u = { 0 };

	if (bb_str_starts(text, BB_STR("unix:"))) {
		u.unix_path = bb_str_skip(text, 5);
		if (u.unix_path.len == 0 || u.unix_path.len > 107 ||
		    memchr(u.unix_path.p, '\0', u.unix_path.len)) {
			*why = "a unix: path has 1 to 107 bytes, none of them NUL";
			return -BB_EINVALID;
		}
		*out = u;
		return 0;
	}
	if (bb_str_starts(text, BB_STR("http://"))) {
		text = bb_str_skip(text, 7);
		u.port = 80;
	} else if (bb_str_starts(text, BB_STR("https://"))) {
		text = bb_str_skip(text, 8);
		u.port = 443;
		u.tls = true;
	} else {
		*why = "an engine is http://HOST:PORT or unix:PATH";
		return -BB_EINVALID;
	}
	const char *slash = text.len ? memchr(text.p, '/', text.len) : NULL;
	struct bb_str authority = text;
	if (slash) {
		authority.len = (size_t)(slash - text.p);
		u.base = bb_str_skip(text, authority.len);
		while (u.base.len && u.base.p[u.base.len - 1] == '/')
			u.base.len--;
	}
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.p[i] <= ' ' || text.p[i] == '@' || text.p[i] == '?' ||
		    text.p[i] == '#' || (unsigned char)text.p[i] >= 0x7f) {
			*why = "an engine's URL has no user, query, fragment or blank";
			return -BB_EINVALID;
		}
	}
	const bool has_port = authority.len && authority.p[authority.len - 1] != ']' &&
			      memchr(authority.p, ':', authority.len);
	if (has_port) {
		int rc = split_port(authority, &u.host, &u.port, why);
		if (rc)
			return rc;
	} else if (authority.len > 2 && authority.p[0] == '[') {
		u.host = (struct bb_str){ authority.p + 1, authority.len - 2 };
	} else {
		u.host = authority;
	}
	if (u.host.len == 0 || u.host.len > 255) {
		*why = "an engine's URL needs a host";
		return -BB_EINVALID;
	}
	if (memchr(u.host.p, '[', u.host.len) || memchr(u.host.p, ']', u.host.len)) {
		*why = "an IPv6 address stands in brackets: http://[::1]:8080";
		return -BB_EINVALID;
	}
	*out = u;
	return 0;
}

static void set_nodelay(int fd)
{
	const int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* A unix socket file that nobody listens on is in the way of bind; one that is in use is not touched. */
static void unlink_stale(const struct sock_addr *a)
{
	const struct sockaddr_un *un = (const void *)&a->storage;
	struct stat st;

	if (stat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)&a->storage, a->len) < 0 && errno == ECONNREFUSED)
		unlink(un->sun_path);
	close(fd);
}

int sock_listen(const struct sock_addr *a, enum sock_share share, int backlog, const char **why)
{
	const int one = 1, zero = 0, family = a->storage.ss_family;
	const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		*why = strerror(errno);
		return -BB_ESYSTEM;
	}
	if (family == AF_UNIX) {
		unlink_stale(a);
	} else {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (share == SOCK_REUSEPORT)
			setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		if (family == AF_INET6)
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
		set_nodelay(fd); /* accepted sockets inherit it */
	}
	if (bind(fd, (const struct sockaddr *)&a->storage, a->len) < 0 || listen(fd, backlog) < 0) {
		*why = strerror(errno);
		close(fd);
		return -BB_ESYSTEM;
	}
	return fd;
}

int sock_local_addr(int fd, struct sock_addr *out)
{
	memset(out, 0, sizeof(*out));
	out->len = sizeof(out->storage);
	return getsockname(fd, (struct sockaddr *)&out->storage, &out->len) < 0 ? -BB_ESYSTEM : 0;
}

int sock_accept(int listen_fd, struct sock_addr *peer)
{
	peer->len = sizeof(peer->storage);
	peer->storage.ss_family = AF_UNSPEC;
	return accept4(listen_fd, (struct sockaddr *)&peer->storage, &peer->len,
		       SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int sock_connect(const struct sock_addr *a)
{
	const int fd = socket(a->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -BB_ESYSTEM;
	if (a->storage.ss_family != AF_UNIX)
		set_nodelay(fd);
	if (connect(fd, (const struct sockaddr *)&a->storage, a->len) < 0 && errno != EINPROGRESS) {
		const int saved = errno;
		close(fd);
		errno = saved;
		return -BB_ESYSTEM;
	}
	return fd;
}

int sock_connect_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return errno;
	return err;
}

enum io sock_read(int fd, void *room, size_t size, size_t *got)
{
	for (;;) {
		const ssize_t n = recv(fd, room, size, 0);
		if (n > 0) {
			*got = (size_t)n;
			return IO_DONE;
		}
		if (n == 0)
			return IO_EOF;
		if (errno == EINTR)
			continue;
		return errno == EAGAIN ? IO_AGAIN : IO_ERROR;
	}
}

enum io sock_write(int fd, const void *data, size_t len, size_t *put)
{
	for (;;) {
		const ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n >= 0) {
			*put = (size_t)n;
			return IO_DONE;
		}
		if (errno == EINTR)
			continue;
		return errno == EAGAIN ? IO_AGAIN : IO_ERROR;
	}
}

enum io sock_writev(int fd, const struct iovec *parts, int count, size_t *put)
{
	const struct msghdr m = { .msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count };

	for (;;) {
		const ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
		if (n >= 0) {
			*put = (size_t)n;
			return IO_DONE;
		}
		if (errno == EINTR)
			continue;
		return errno == EAGAIN ? IO_AGAIN : IO_ERROR;
	}
}

size_t sock_unsent(int fd)
{
	int bytes = 0;

	return ioctl(fd, TIOCOUTQ, &bytes) < 0 || bytes < 0 ? 0 : (size_t)bytes;
}

void sock_close(int fd)
{
	close(fd);
}

void sock_close_hard(int fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

void sock_shut_write(int fd)
{
	shutdown(fd, SHUT_WR);
}

struct sock_peer sock_peer_of(const struct sock_addr *a)
{
	struct sock_peer p = { 0 };

	if (a->storage.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)&a->storage;
		p.family = AF_INET;
		p.port = ntohs(v4->sin_port);
		memcpy(p.ip, &v4->sin_addr, 4);
	} else if (a->storage.ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)&a->storage;
		p.family = AF_INET6;
		p.port = ntohs(v6->sin6_port);
		memcpy(p.ip, &v6->sin6_addr, 16);
	}
	return p;
}

static char *put_number(char *out, unsigned value)
{
	char digits[10], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	memcpy(out, p, (size_t)(digits + sizeof(digits) - p));
	return out + (digits + sizeof(digits) - p);
}

size_t sock_peer_text(const struct sock_peer *p, char out[SOCK_TEXT_SIZE])
{
	char *end = out;

	if (p->family == AF_INET) { /* each access record has one: no printf here */
		for (int i = 0; i < 4; i++) {
			end = put_number(end, p->ip[i]);
			*end++ = i < 3 ? '.' : ':';
		}
		end = put_number(end, p->port);
	} else if (p->family == AF_INET6) {
		char host[INET6_ADDRSTRLEN] = "";
		inet_ntop(AF_INET6, p->ip, host, sizeof(host));
		end += snprintf(out, SOCK_TEXT_SIZE, "[%s]:%u", host, p->port);
	}
	*end = '\0';
	return (size_t)(end - out);
}

int sock_dup(int fd)
{
	const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -BB_ESYSTEM : copy;
}
