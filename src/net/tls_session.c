/*
 * tls_session.c: connections of tls.h. OpenSSL reaches the socket through a BIO of ours, which
 * notes whether the kernel had more: with edge-triggered events that saves a read for each message.
 */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/tls_context.h"

#define RECORD_MAX 16384

struct tls_session {
	SSL *ssl;
	struct tls_context *context;
	int fd;
	int error;             /* errno of the socket, 0: none */
	bool is_drained;       /* in this call the kernel gave less than there was room for */
	bool has_ended;        /* the peer's FIN has come */
	bool is_plain_http;
	char reason[128];
};

/* Small parts of one write are put together here, so that they leave in one record. */
static _Thread_local unsigned char record[RECORD_MAX];

/* ---- the socket, as OpenSSL sees it ---- */

static int on_bio_read(BIO *b, char *room, int size)
{
	struct tls_session *s = BIO_get_data(b);
	size_t got = 0;

	BIO_clear_retry_flags(b);
	const enum io io = sock_read(s->fd, room, (size_t)size, &got);
	s->is_drained = got < (size_t)size;
	s->has_ended = io == IO_EOF;
	if (io == IO_AGAIN)
		BIO_set_retry_read(b);
	if (io == IO_ERROR)
		s->error = errno;
	return io == IO_DONE ? (int)got : io == IO_EOF ? 0 : -1;
}

static int on_bio_write(BIO *b, const char *data, int len)
{
	struct tls_session *s = BIO_get_data(b);
	size_t put = 0;

	BIO_clear_retry_flags(b);
	const enum io io = sock_write(s->fd, data, (size_t)len, &put);
	if (io == IO_AGAIN)
		BIO_set_retry_write(b);
	if (io == IO_ERROR)
		s->error = errno;
	return io == IO_DONE ? (int)put : -1;
}

static long on_bio_ctrl(BIO *b, int what, long number, void *pointer)
{
	const struct tls_session *s = BIO_get_data(b);

	if (what == BIO_CTRL_FLUSH)
		return 1;
	return what == BIO_CTRL_EOF && s->has_ended;
}

static BIO_METHOD *bio_method; /* one for the process */
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void bio_method_make(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sock");

	if (!m)
		return;
	if (BIO_meth_set_read(m, on_bio_read) && BIO_meth_set_write(m, on_bio_write) &&
	    BIO_meth_set_ctrl(m, on_bio_ctrl))
		bio_method = m;
	else
		BIO_meth_free(m);
}

static bool attach_socket(struct tls_session *s)
{
	pthread_once(&bio_once, bio_method_make);
	BIO *b = bio_method ? BIO_new(bio_method) : NULL;
	if (!b)
		return false;
	BIO_set_data(b, s);
	BIO_set_init(b, 1);
	SSL_set_bio(s->ssl, b, b);
	return true;
}

/* ---- life ---- */

/* Whom we want to talk to, and who the certificate must name; addresses are compared as addresses. */
static bool expect_name(SSL *ssl, const char *name, bool verifies)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
		return true; /* an address is not sent as SNI (RFC 6066 §3) */
	ERR_clear_error();
	if (SSL_set_tlsext_host_name(ssl, name) != 1)
		return false;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return !verifies || SSL_set1_host(ssl, name) == 1;
}

int tls_session_create(struct tls_context *c, int fd, const char *name, struct tls_session **out)
{
	struct tls_session *s = bb_alloc_zero(1, sizeof(*s));

	if (!s)
		return -BB_ENOMEM;
	s->fd = fd;
	s->ssl = SSL_new(c->ssl);
	if (!s->ssl || !attach_socket(s))
		goto fail;
	if (c->is_server)
		SSL_set_accept_state(s->ssl);
	else
		SSL_set_connect_state(s->ssl);
	if (!c->is_server && !expect_name(s->ssl, name, c->verifies))
		goto fail;
	s->context = tls_context_get(c);
	*out = s;
	return 0;

fail:
	SSL_free(s->ssl);
	ERR_clear_error();
	bb_free(s);
	return -BB_ENOMEM;
}

/* One try: the socket may be full or gone. */
void tls_session_goodbye(struct tls_session *s)
{
	if (!SSL_is_init_finished(s->ssl) || SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN)
		return;
	SSL_shutdown(s->ssl);
	ERR_clear_error();
}

void tls_session_destroy(struct tls_session *s, enum tls_end end)
{
	if (!s)
		return;
	if (end == TLS_GOODBYE)
		tls_session_goodbye(s);
	SSL_free(s->ssl);
	ERR_clear_error();
	tls_context_put(s->context);
	bb_free(s);
}

/* ---- work ---- */

/* Before each call: an error that someone left would be taken for one of this call. */
static void begin(struct tls_session *s)
{
	s->is_drained = false;
	if (ERR_peek_error())
		ERR_clear_error();
}

static void note_reason(struct tls_session *s)
{
	const long verify = s->context->verifies ? SSL_get_verify_result(s->ssl) : X509_V_OK;
	const unsigned long e = ERR_peek_error();
	char number[64];

	s->is_plain_http = ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_HTTP_REQUEST;
	if (verify != X509_V_OK) {
		ERR_clear_error();
		snprintf(s->reason, sizeof(s->reason), "the certificate was refused: %s",
			 X509_verify_cert_error_string(verify));
		return;
	}
	tls_error_take(s->reason, sizeof(s->reason),
		       s->error ? strerror_r(s->error, number, sizeof(number))
				: "the connection was cut");
}

static enum io outcome(struct tls_session *s, int result)
{
	switch (SSL_get_error(s->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE: return IO_AGAIN;
	case SSL_ERROR_ZERO_RETURN: return IO_EOF;
	default: note_reason(s); return IO_ERROR;
	}
}

enum io tls_handshake(struct tls_session *s)
{
	begin(s);
	const int result = SSL_do_handshake(s->ssl);

	return result == 1 ? IO_DONE : outcome(s, result);
}

bool tls_is_plain_http(const struct tls_session *s)
{
	return s->is_plain_http;
}

enum io tls_read(struct tls_session *s, void *room, size_t size, size_t *got)
{
	begin(s);
	const int result = SSL_read_ex(s->ssl, room, size, got);

	return result == 1 ? IO_DONE : outcome(s, result);
}

bool tls_has_more(const struct tls_session *s)
{
	return !s->is_drained || SSL_has_pending(s->ssl);
}

enum io tls_write(struct tls_session *s, const void *data, size_t len, size_t *put)
{
	*put = 0;
	/*
	 * Never more than a record in one call: OpenSSL would send one that waited and fail on the
	 * next, and then wants both again.
	 */
	while (*put < len) {
		size_t n = len - *put < RECORD_MAX ? len - *put : RECORD_MAX;
		begin(s);
		const int result = SSL_write_ex(s->ssl, (const char *)data + *put, n, &n);
		if (result != 1) {
			const enum io io = outcome(s, result);
			return io == IO_AGAIN && *put ? IO_DONE : io;
		}
		*put += n;
	}
	return IO_DONE;
}

/* Where a list of parts is being read. */
struct part_cursor {
	const struct iovec *parts;
	int count, at;
	size_t off;
};

/*
 * The next bytes to write, whole records unless they are the last: from their own place when one
 * part fills a record, else put together. A retry from the same byte on gives the same bytes.
 */
static struct bb_str cursor_next(struct part_cursor *c)
{
	size_t len = 0;

	while (c->at < c->count) {
		const struct iovec *part = &c->parts[c->at];
		const char *from = (const char *)part->iov_base + c->off;
		size_t n = part->iov_len - c->off;
		const bool is_last = c->at + 1 == c->count;
		if (len == 0 && (n >= RECORD_MAX || is_last)) {
			n = is_last ? n : n - n % RECORD_MAX;
			c->off += n;
			return (struct bb_str){ from, n };
		}
		if (n > RECORD_MAX - len)
			n = RECORD_MAX - len;
		if (n)
			memcpy(record + len, from, n);
		len += n;
		c->off += n;
		if (c->off == part->iov_len) {
			c->at++;
			c->off = 0;
		}
		if (len == RECORD_MAX)
			break;
	}
	return (struct bb_str){ (const char *)record, len };
}

enum io tls_writev(struct tls_session *s, const struct iovec *parts, int count, size_t *put)
{
	struct part_cursor cursor = { .parts = parts, .count = count };
	size_t total = 0, n;

	*put = 0;
	for (;;) {
		const struct bb_str next = cursor_next(&cursor);
		if (next.len == 0)
			break;
		const enum io io = tls_write(s, next.p, next.len, &n);
		if (io != IO_DONE && !(io == IO_AGAIN && total))
			return io;
		total += n;
		if (n < next.len)
			break;
	}
	*put = total;
	return IO_DONE;
}

const char *tls_reason(const struct tls_session *s)
{
	return s->reason[0] ? s->reason : "the TLS connection broke";
}
