#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"

/* TLS 1.2: forward secrecy and AEAD only (RFC 9325 §4.2). TLS 1.3 has nothing weaker. */
#define SUITES_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
#define GROUPS "X25519:P-256:P-384"
#define RECORD_MAX 16384
#define TICKET_KEYS 3 /* one that is used, two that are still understood */
#define TICKET_LIFE_NS (3600 * OS_SECOND)

struct ticket_key {
	unsigned char name[16], aes[32], hmac[32];
	uint64_t made_ns; /* 0: none yet */
};

struct name_entry {
	char *name; /* lower case; "*.x" kept as ".x" with is_wild */
	bool is_wild;
	SSL_CTX *ssl;
};

struct tls_context {
	uint32_t refs; /* atomic */
	bool is_server;
	bool verifies;
	SSL_CTX *ssl; /* the default identity, or the client's */
	SSL_CTX **others;
	uint32_t other_count;
	struct name_entry *names;
	uint32_t name_count;
	pthread_mutex_t ticket_lock;
	struct ticket_key tickets[TICKET_KEYS]; /* newest first */
};

struct tls_session {
	SSL *ssl;
	struct tls_context *context;
	char reason[160];
};

/* Small parts of one write are put together here, so that they leave in one record. */
static _Thread_local unsigned char record[RECORD_MAX];

static void reason_take(char *out, size_t size, const char *fallback)
{
	const unsigned long e = ERR_peek_last_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;

	snprintf(out, size, "%s", text ? text : fallback);
	ERR_clear_error();
}

/* ---- tickets ---- */

/* The key to make tickets with; an old one makes room for a new one. */
static bool ticket_newest(struct tls_context *c, struct ticket_key *out)
{
	const uint64_t now_ns = clock_now_ns();
	bool ok = true;

	pthread_mutex_lock(&c->ticket_lock);
	if (!c->tickets[0].made_ns || now_ns - c->tickets[0].made_ns > TICKET_LIFE_NS) {
		struct ticket_key fresh = { .made_ns = now_ns };
		ok = RAND_bytes(fresh.name, sizeof(fresh.name)) == 1 &&
		     RAND_bytes(fresh.aes, sizeof(fresh.aes)) == 1 &&
		     RAND_bytes(fresh.hmac, sizeof(fresh.hmac)) == 1;
		if (ok) {
			memmove(&c->tickets[1], &c->tickets[0],
				sizeof(c->tickets[0]) * (TICKET_KEYS - 1));
			c->tickets[0] = fresh;
		}
	}
	*out = c->tickets[0];
	pthread_mutex_unlock(&c->ticket_lock);
	return ok;
}

/* 1: found and newest, 2: found but to be renewed, 0: unknown. */
static int ticket_find(struct tls_context *c, const unsigned char name[16], struct ticket_key *out)
{
	int found = 0;

	pthread_mutex_lock(&c->ticket_lock);
	for (int i = 0; i < TICKET_KEYS && !found; i++) {
		if (!c->tickets[i].made_ns || memcmp(c->tickets[i].name, name, 16) != 0)
			continue;
		*out = c->tickets[i];
		found = i == 0 ? 1 : 2;
	}
	pthread_mutex_unlock(&c->ticket_lock);
	return found;
}

/* RFC 5077 §4 layout as OpenSSL makes it: AES-256-CBC and HMAC-SHA256. */
static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int is_making)
{
	struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct ticket_key key;
	int result = 1;
	char digest[] = "SHA256";

	if (is_making) {
		if (!ticket_newest(c, &key) || RAND_bytes(iv, 16) != 1)
			return -1;
		memcpy(name, key.name, 16);
	} else {
		result = ticket_find(c, name, &key);
		if (!result)
			return 0;
	}
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string("key", key.hmac, sizeof(key.hmac)),
		OSSL_PARAM_construct_utf8_string("digest", digest, 0),
		OSSL_PARAM_construct_end(),
	};
	const int ok = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv, is_making) &&
		       EVP_MAC_CTX_set_params(mac, params);
	OPENSSL_cleanse(&key, sizeof(key));
	return ok ? result : -1;
}

/* ---- server contexts ---- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";

	/* Offers without it: the handshake ends with no_application_protocol (RFC 7301 §3.2). */
	return SSL_select_next_proto((unsigned char **)out, out_len, ours, sizeof(ours) - 1, in,
				     in_len) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *context_for_name(const struct tls_context *c, struct bb_str name)
{
	for (uint32_t i = 0; i < c->name_count; i++) {
		const struct name_entry *e = &c->names[i];
		struct bb_str mine = bb_str_of(e->name);
		struct bb_str theirs = name;
		if (e->is_wild) { /* one label only */
			const char *dot = memchr(name.p, '.', name.len);
			if (!dot || dot == name.p)
				continue;
			theirs = bb_str_skip(name, (size_t)(dot - name.p));
		}
		if (bb_str_eq_nocase(mine, theirs))
			return e->ssl;
	}
	return c->ssl;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	struct tls_context *c = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	if (name)
		SSL_set_SSL_CTX(ssl, context_for_name(c, bb_str_of(name)));
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *ssl_new(const SSL_METHOD *method, enum tls_minimum minimum)
{
	SSL_CTX *ssl = SSL_CTX_new(method);

	if (!ssl)
		return NULL;
	SSL_CTX_set_min_proto_version(ssl, minimum == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_set_cipher_list(ssl, SUITES_1_2) != 1 || SSL_CTX_set1_groups_list(ssl, GROUPS) != 1) {
		SSL_CTX_free(ssl);
		return NULL;
	}
	return ssl;
}

static int use_identity(SSL_CTX *ssl, const char *cert, const char *key, char why[TLS_REASON_SIZE])
{
	char reason[128];

	if (SSL_CTX_use_certificate_chain_file(ssl, cert) != 1) {
		reason_take(reason, sizeof(reason), "not readable");
		snprintf(why, TLS_REASON_SIZE, "the certificate %s cannot be used: %s", cert, reason);
		return -BB_EINVALID;
	}
	if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ssl) != 1) {
		reason_take(reason, sizeof(reason), "not readable");
		snprintf(why, TLS_REASON_SIZE, "the key %s cannot be used with %s: %s", key, cert, reason);
		return -BB_EINVALID;
	}
	return 0;
}

static int use_client_ca(SSL_CTX *ssl, const char *path, char why[TLS_REASON_SIZE])
{
	char reason[128];
	STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);

	if (!names || SSL_CTX_load_verify_locations(ssl, path, NULL) != 1) {
		reason_take(reason, sizeof(reason), "not readable");
		snprintf(why, TLS_REASON_SIZE, "the client CA %s cannot be used: %s", path, reason);
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return -BB_EINVALID;
	}
	SSL_CTX_set_client_CA_list(ssl, names);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return 0;
}

static int server_identity(struct tls_context *c, const struct tls_server_config *config,
			   const struct tls_identity *identity, SSL_CTX **out,
			   char why[TLS_REASON_SIZE])
{
	static const unsigned char session_scope[] = "busbar";
	SSL_CTX *ssl = ssl_new(TLS_server_method(), config->minimum);

	if (!ssl)
		return -BB_ENOMEM;
	int rc = use_identity(ssl, identity->cert_path, identity->key_path, why);
	if (!rc && config->client_ca_path)
		rc = use_client_ca(ssl, config->client_ca_path, why);
	if (rc) {
		SSL_CTX_free(ssl);
		return rc;
	}
	/* Clients leave without close_notify all the time; HTTP's own framing tells what was cut. */
	SSL_CTX_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_app_data(ssl, c);
	SSL_CTX_set_alpn_select_cb(ssl, on_alpn, NULL);
	SSL_CTX_set_tlsext_servername_callback(ssl, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(ssl, c);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ssl, session_scope, sizeof(session_scope) - 1);
	*out = ssl;
	return 0;
}

static int add_names(struct tls_context *c, const struct tls_identity *identity, SSL_CTX *ssl)
{
	for (uint32_t i = 0; i < identity->name_count; i++) {
		struct bb_str name = identity->names[i];
		struct name_entry *list =
			bb_realloc(c->names, (c->name_count + 1) * sizeof(*list));
		if (!list)
			return -BB_ENOMEM;
		c->names = list;
		const bool is_wild = bb_str_starts(name, BB_STR("*."));
		if (is_wild)
			name = bb_str_skip(name, 1);
		char *copy = bb_strndup(name.p, name.len);
		if (!copy)
			return -BB_ENOMEM;
		c->names[c->name_count++] = (struct name_entry){ copy, is_wild, ssl };
	}
	return 0;
}

static struct tls_context *context_new(bool is_server)
{
	struct tls_context *c = bb_alloc_zero(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->is_server = is_server;
	pthread_mutex_init(&c->ticket_lock, NULL);
	return c;
}

int tls_server_create(const struct tls_server_config *config, struct tls_context **out,
		      char why[TLS_REASON_SIZE])
{
	struct tls_context *c = context_new(true);
	int rc = -BB_ENOMEM;

	snprintf(why, TLS_REASON_SIZE, "out of memory");
	if (!c)
		return rc;
	BB_ASSERT(config->identity_count > 0);
	c->others = bb_alloc_zero(config->identity_count, sizeof(SSL_CTX *));
	if (!c->others)
		goto fail;
	for (uint32_t i = 0; i < config->identity_count; i++) {
		SSL_CTX *ssl;
		rc = server_identity(c, config, &config->identities[i], &ssl, why);
		if (rc)
			goto fail;
		if (i == 0)
			c->ssl = ssl;
		else
			c->others[c->other_count++] = ssl;
		rc = add_names(c, &config->identities[i], ssl);
		if (rc)
			goto fail;
	}
	*out = c;
	return 0;

fail:
	tls_context_put(c);
	return rc;
}

int tls_client_create(const struct tls_client_config *config, struct tls_context **out,
		      char why[TLS_REASON_SIZE])
{
	static const unsigned char alpn[] = "\x08http/1.1";
	char reason[128];
	struct tls_context *c = context_new(false);
	int rc = -BB_ENOMEM;

	snprintf(why, TLS_REASON_SIZE, "out of memory");
	if (!c)
		return rc;
	c->ssl = ssl_new(TLS_client_method(), config->minimum);
	if (!c->ssl || SSL_CTX_set_alpn_protos(c->ssl, alpn, sizeof(alpn) - 1) != 0)
		goto fail;
	c->verifies = !config->skip_verify;
	if (c->verifies) {
		const int ok = config->ca_path
				       ? SSL_CTX_load_verify_locations(c->ssl, config->ca_path, NULL)
				       : SSL_CTX_set_default_verify_paths(c->ssl);
		if (ok != 1) {
			reason_take(reason, sizeof(reason), "not readable");
			snprintf(why, TLS_REASON_SIZE, "the CA %s cannot be used: %s",
				 config->ca_path ? config->ca_path : "of the system", reason);
			rc = -BB_EINVALID;
			goto fail;
		}
		SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
	}
	if (config->cert_path) {
		rc = use_identity(c->ssl, config->cert_path, config->key_path, why);
		if (rc)
			goto fail;
	}
	*out = c;
	return 0;

fail:
	tls_context_put(c);
	return rc;
}

struct tls_context *tls_context_get(struct tls_context *c)
{
	if (c)
		__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void tls_context_put(struct tls_context *c)
{
	if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (uint32_t i = 0; i < c->other_count; i++)
		SSL_CTX_free(c->others[i]);
	SSL_CTX_free(c->ssl);
	for (uint32_t i = 0; i < c->name_count; i++)
		bb_free(c->names[i].name);
	bb_free(c->names);
	bb_free(c->others);
	OPENSSL_cleanse(c->tickets, sizeof(c->tickets));
	pthread_mutex_destroy(&c->ticket_lock);
	bb_free(c);
}

/* ---- sessions ---- */

/* The name that the engine's certificate must have; addresses are compared as addresses. */
static bool expect_name(SSL *ssl, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
		return true;
	ERR_clear_error();
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

int tls_session_create(struct tls_context *c, int fd, const char *name, struct tls_session **out)
{
	struct tls_session *s = bb_alloc_zero(1, sizeof(*s));

	if (!s)
		return -BB_ENOMEM;
	s->ssl = SSL_new(c->ssl);
	if (!s->ssl || SSL_set_fd(s->ssl, fd) != 1)
		goto fail;
	if (c->is_server) {
		SSL_set_accept_state(s->ssl);
	} else {
		SSL_set_connect_state(s->ssl);
		if (c->verifies && !expect_name(s->ssl, name))
			goto fail;
	}
	s->context = tls_context_get(c);
	*out = s;
	return 0;

fail:
	SSL_free(s->ssl);
	ERR_clear_error();
	bb_free(s);
	return -BB_ENOMEM;
}

void tls_session_destroy(struct tls_session *s)
{
	if (!s)
		return;
	if (SSL_is_init_finished(s->ssl))
		SSL_shutdown(s->ssl); /* one try: the socket may be full or gone */
	ERR_clear_error();
	SSL_free(s->ssl);
	tls_context_put(s->context);
	bb_free(s);
}

static enum io outcome(struct tls_session *s, int result)
{
	const int e = SSL_get_error(s->ssl, result);

	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return IO_AGAIN;
	if (e == SSL_ERROR_ZERO_RETURN)
		return IO_EOF;
	const long verify = SSL_get_verify_result(s->ssl);
	if (verify != X509_V_OK) {
		snprintf(s->reason, sizeof(s->reason), "the certificate was refused: %s",
			 X509_verify_cert_error_string(verify));
		ERR_clear_error();
	} else {
		reason_take(s->reason, sizeof(s->reason), "the TLS connection broke");
	}
	return IO_ERROR;
}

enum io tls_handshake(struct tls_session *s)
{
	ERR_clear_error();
	const int result = SSL_do_handshake(s->ssl);

	return result == 1 ? IO_DONE : outcome(s, result);
}

enum io tls_read(struct tls_session *s, void *room, size_t size, size_t *got)
{
	ERR_clear_error();
	const int result = SSL_read_ex(s->ssl, room, size, got);

	return result == 1 ? IO_DONE : outcome(s, result);
}

enum io tls_write(struct tls_session *s, const void *data, size_t len, size_t *put)
{
	*put = 0;
	while (*put < len) { /* a record at a time; a short write then means a full socket, as with sock_write */
		size_t n;
		ERR_clear_error();
		const int result = SSL_write_ex(s->ssl, (const char *)data + *put, len - *put, &n);
		if (result != 1) {
			const enum io io = outcome(s, result);
			return io == IO_AGAIN && *put ? IO_DONE : io;
		}
		*put += n;
	}
	return IO_DONE;
}

enum io tls_writev(struct tls_session *s, const struct iovec *parts, int count, size_t *put)
{
	size_t total = 0;

	*put = 0;
	for (int i = 0; i < count;) {
		const void *data = parts[i].iov_base;
		size_t len = parts[i++].iov_len, n;
		if (len < RECORD_MAX / 2 && i < count) {
			memcpy(record, data, len);
			data = record;
			for (; i < count && len + parts[i].iov_len <= RECORD_MAX; i++) {
				memcpy(record + len, parts[i].iov_base, parts[i].iov_len);
				len += parts[i].iov_len;
			}
		}
		const enum io io = tls_write(s, data, len, &n);
		if (io != IO_DONE)
			return total && io == IO_AGAIN ? (*put = total, IO_DONE) : io;
		total += n;
		if (n < len)
			break;
	}
	*put = total;
	return IO_DONE;
}

const char *tls_reason(const struct tls_session *s)
{
	return s->reason[0] ? s->reason : "the TLS connection broke";
}

const char *tls_version(const struct tls_session *s)
{
	return SSL_get_version(s->ssl);
}
