/*
 * tls.h: TLS 1.2 and 1.3 by OpenSSL 3, for listeners and towards engines.
 *
 * For: httpd.c and httpc.c, which read and write through stream_io.h and do not know more of it
 * than a handshake that may wait.
 * Defaults: TLS 1.2 at least, only AEAD suites with forward secrecy, no compression, no
 * renegotiation, ALPN http/1.1 (or 1.0) only, tickets whose keys change each hour; towards engines the
 * certificate and its name are verified.
 * Threads: a context may be used by any number of threads; a session belongs to its connection's.
 * Memory: contexts are counted; a session holds its context. OpenSSL's buffers are released while
 * a connection is idle; its objects come from its own allocations.
 * Errors: -BB_EINVALID with a sentence that names the file; IO_ERROR from a session, tls_reason
 * says why.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "os/sock.h"

struct tls_context;
struct tls_session;

#define TLS_REASON_SIZE 256

enum tls_minimum { TLS_1_2, TLS_1_3 };

/* One certificate with its key, and the names it is for. */
struct tls_identity {
	const char *cert_path; /* PEM: the certificate and its chain */
	const char *key_path;  /* PEM */
	const struct bb_str *names; /* SNI: exact, or "*.example.org"; none: the default one */
	uint32_t name_count;
};

struct tls_server_config {
	const struct tls_identity *identities; /* the first is the default */
	uint32_t identity_count;
	const char *client_ca_path; /* clients must show a certificate that it has signed; NULL: none asked */
	enum tls_minimum minimum;
	uint64_t ticket_life_ns; /* after which tickets are made with a new key; 0: an hour */
};

struct tls_client_config {
	const char *ca_path;   /* NULL: what the system trusts */
	const char *cert_path; /* our own, for engines that ask for one; NULL: none */
	const char *key_path;
	bool skip_verify;      /* accepts any certificate: only where the operator said so */
	enum tls_minimum minimum;
};

BB_MUST int tls_server_create(const struct tls_server_config *c, struct tls_context **out,
			      char why[TLS_REASON_SIZE]);
BB_MUST int tls_client_create(const struct tls_client_config *c, struct tls_context **out,
			      char why[TLS_REASON_SIZE]);
struct tls_context *tls_context_get(struct tls_context *c);
void tls_context_put(struct tls_context *c);

/* A session on a connected socket. `name`: whom a client expects (host or address); NULL for servers. */
BB_MUST int tls_session_create(struct tls_context *c, int fd, const char *name,
			       struct tls_session **out);
/* How a session ends: a cut must not look like the end of an answer that is over when it closes. */
enum tls_end { TLS_GOODBYE, TLS_CUT };
/* TLS_GOODBYE says close_notify if that is possible without waiting. The socket stays open. */
void tls_session_destroy(struct tls_session *s, enum tls_end end);
/* Says close_notify now and goes on: before a FIN. */
void tls_session_goodbye(struct tls_session *s);
/* IO_DONE: it is through; IO_AGAIN: call again when the socket is readable or writable. */
enum io tls_handshake(struct tls_session *s);
/* After IO_ERROR of a handshake: the peer speaks HTTP without TLS, and can be told so. */
bool tls_is_plain_http(const struct tls_session *s);
/*
 * As sock_read, but a short read does not mean that nothing more is there (tls_has_more). IO_AGAIN
 * may also wait for the socket to be writable.
 */
enum io tls_read(struct tls_session *s, void *room, size_t size, size_t *got);
/* After IO_DONE of a read: may another one bring something without a new event? */
bool tls_has_more(const struct tls_session *s);
/*
 * As sock_write and sock_writev; small parts leave in one record. After a short write, or IO_AGAIN,
 * the next one must begin with the same bytes and have at least as many of them.
 */
enum io tls_write(struct tls_session *s, const void *data, size_t len, size_t *put);
enum io tls_writev(struct tls_session *s, const struct iovec *parts, int count, size_t *put);
/* Why the last call failed; a static or session-owned text. */
const char *tls_reason(const struct tls_session *s);
