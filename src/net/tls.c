/* tls.c: contexts of tls.h: certificates, names, what is offered and accepted. */
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/tls_context.h"
#include "os/clock.h"

/* TLS 1.2: forward secrecy and AEAD only (RFC 9325 §4.2). TLS 1.3 has nothing weaker. */
#define SUITES_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
#define GROUPS "X25519:P-256:P-384"
#define SECURITY_LEVEL 2 /* 112 bits: no RSA key below 2048, no SHA-1 signature */
#define TICKET_LIFE_NS (3600 * OS_SECOND)
#define EXPIRY_WARN_DAYS 14

void tls_error_take(char *out, size_t size, const char *fallback)
{
	const unsigned long e = ERR_peek_error();
	const char *text = NULL;
	char room[128];

	if (ERR_SYSTEM_ERROR(e))
		text = strerror_r(ERR_GET_REASON(e), room, sizeof(room));
	else if (e)
		text = ERR_reason_error_string(e);
	bb_text_copy(out, size, text ? text : fallback);
	ERR_clear_error();
}

static int refuse_file(char why[TLS_REASON_SIZE], const char *what, const char *path)
{
	char reason[128];

	tls_error_take(reason, sizeof(reason), "it cannot be read");
	snprintf(why, TLS_REASON_SIZE, "the %s %.96s cannot be used: %.100s", what, path, reason);
	return -BB_EINVALID;
}

/* ---- what both sides have in common ---- */

/* Nobody is there to be asked for a passphrase: neither at a start by a service nor at a reload. */
static int on_passphrase(char *out, int size, int is_writing, void *user)
{
	bool *asked = user;

	*asked = true;
	return -1;
}

static SSL_CTX *ssl_new(const SSL_METHOD *method, enum tls_minimum minimum)
{
	SSL_CTX *ssl = SSL_CTX_new(method);

	if (!ssl)
		return NULL;
	SSL_CTX_set_security_level(ssl, SECURITY_LEVEL);
	SSL_CTX_set_min_proto_version(ssl, minimum == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_max_proto_version(ssl, 0);
	SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	/* One system call brings what is there, not five bytes and then the rest of a record. */
	SSL_CTX_set_read_ahead(ssl, 1);
	if (SSL_CTX_set_cipher_list(ssl, SUITES_1_2) != 1 ||
	    SSL_CTX_set1_groups_list(ssl, GROUPS) != 1) {
		SSL_CTX_free(ssl);
		return NULL;
	}
	return ssl;
}

/* Peers will refuse it, and nothing else would say why. */
static void warn_expiry(const SSL_CTX *ssl, const char *path)
{
	const X509 *cert = SSL_CTX_get0_certificate(ssl);
	int days = 0, seconds = 0;

	if (!cert)
		return;
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		BB_LOG(BB_LOG_WARN, "tls", "the certificate %s is not valid yet", path);
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) != 1)
		return;
	if (days < 0 || seconds < 0)
		BB_LOG(BB_LOG_WARN, "tls", "the certificate %s has expired", path);
	else if (days < EXPIRY_WARN_DAYS)
		BB_LOG(BB_LOG_WARN, "tls", "the certificate %s expires in %d days", path, days);
}

static int use_identity(SSL_CTX *ssl, const char *cert, const char *key, char why[TLS_REASON_SIZE])
{
	char reason[128];
	bool asked = false;

	if (SSL_CTX_use_certificate_chain_file(ssl, cert) != 1)
		return refuse_file(why, "certificate", cert);
	SSL_CTX_set_default_passwd_cb(ssl, on_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(ssl, &asked);
	const int ok = SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM);
	SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
	SSL_CTX_set_default_passwd_cb(ssl, NULL);
	if (ok != 1 && asked) {
		ERR_clear_error();
		snprintf(why, TLS_REASON_SIZE,
			 "the key %.120s is encrypted; only keys without a passphrase can be used", key);
		return -BB_EINVALID;
	}
	if (ok != 1 && ERR_GET_REASON(ERR_peek_error()) != X509_R_KEY_VALUES_MISMATCH)
		return refuse_file(why, "key", key);
	if (ok != 1 || SSL_CTX_check_private_key(ssl) != 1) {
		tls_error_take(reason, sizeof(reason), "they do not belong together");
		snprintf(why, TLS_REASON_SIZE, "the key %.70s is not that of the certificate %.70s: %.60s",
			 key, cert, reason);
		return -BB_EINVALID;
	}
	warn_expiry(ssl, cert);
	return 0;
}

static struct tls_context *context_new(bool is_server, uint64_t ticket_life_ns)
{
	struct tls_context *c = bb_alloc_zero(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->is_server = is_server;
	tls_tickets_init(&c->tickets, ticket_life_ns ? ticket_life_ns : TICKET_LIFE_NS);
	return c;
}

/* ---- servers ---- */

static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int is_making)
{
	struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	return tls_tickets_key(&c->tickets, ssl, name, iv, cipher, mac, is_making);
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";

	/* Offers without them: the handshake ends with no_application_protocol (RFC 7301 §3.2). */
	return SSL_select_next_proto((unsigned char **)out, out_len, ours, sizeof(ours) - 1, in,
				     in_len) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The name itself goes before a pattern, whatever their order. A "*" stands for one label. */
static SSL_CTX *context_for_name(const struct tls_context *c, struct bb_str name)
{
	const char *dot = memchr(name.p, '.', name.len);
	SSL_CTX *wild = NULL;

	for (uint32_t i = 0; i < c->name_count; i++) {
		const struct tls_name *e = &c->names[i];
		if (!e->is_wild) {
			if (bb_str_eq_nocase(bb_str_of(e->name), name))
				return e->ssl;
		} else if (!wild && dot && dot > name.p &&
			   bb_str_eq_nocase(bb_str_of(e->name),
					    bb_str_skip(name, (size_t)(dot - name.p)))) {
			wild = e->ssl;
		}
	}
	return wild ? wild : c->ssl;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	struct tls_context *c = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	if (name)
		SSL_set_SSL_CTX(ssl, context_for_name(c, bb_str_of(name)));
	return SSL_TLSEXT_ERR_OK;
}

static int use_client_ca(SSL_CTX *ssl, const char *path, char why[TLS_REASON_SIZE])
{
	STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);

	if (!names || SSL_CTX_load_verify_locations(ssl, path, NULL) != 1) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return refuse_file(why, "client CA", path);
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
	int rc = SSL_CTX_set_app_data(ssl, c) == 1 ? 0 : -BB_ENOMEM;
	if (!rc)
		rc = use_identity(ssl, identity->cert_path, identity->key_path, why);
	if (!rc && config->client_ca_path)
		rc = use_client_ca(ssl, config->client_ca_path, why);
	if (rc) {
		SSL_CTX_free(ssl);
		return rc;
	}
	/* Clients leave without close_notify all the time; HTTP's own framing tells what was cut. */
	SSL_CTX_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
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
		struct tls_name *list = bb_realloc(c->names, (c->name_count + 1) * sizeof(*list));
		if (!list)
			return -BB_ENOMEM;
		c->names = list;
		const bool is_wild = bb_str_starts(name, BB_STR("*."));
		if (is_wild)
			name = bb_str_skip(name, 1);
		char *copy = bb_strndup(name.p, name.len);
		if (!copy)
			return -BB_ENOMEM;
		c->names[c->name_count++] = (struct tls_name){ copy, is_wild, ssl };
	}
	return 0;
}

int tls_server_create(const struct tls_server_config *config, struct tls_context **out,
		      char why[TLS_REASON_SIZE])
{
	struct tls_context *c = context_new(true, config->ticket_life_ns);
	int rc = -BB_ENOMEM;

	bb_text_copy(why, TLS_REASON_SIZE, "out of memory");
	if (!c)
		return rc;
	BB_ASSERT(config->identity_count > 0);
	c->verifies = config->client_ca_path != NULL;
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
	ERR_clear_error();
	return rc;
}

/* ---- clients ---- */

static int trust(struct tls_context *c, const char *ca_path, char why[TLS_REASON_SIZE])
{
	const int ok = ca_path ? SSL_CTX_load_verify_locations(c->ssl, ca_path, NULL)
			       : SSL_CTX_set_default_verify_paths(c->ssl);

	if (ok != 1)
		return refuse_file(why, "CA", ca_path ? ca_path : "of the system");
	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
	return 0;
}

int tls_client_create(const struct tls_client_config *config, struct tls_context **out,
		      char why[TLS_REASON_SIZE])
{
	static const unsigned char alpn[] = "\x08http/1.1";
	struct tls_context *c = context_new(false, 0);
	int rc = -BB_ENOMEM;

	bb_text_copy(why, TLS_REASON_SIZE, "out of memory");
	if (!c)
		return rc;
	c->ssl = ssl_new(TLS_client_method(), config->minimum);
	if (!c->ssl || SSL_CTX_set_alpn_protos(c->ssl, alpn, sizeof(alpn) - 1) != 0)
		goto fail;
	c->verifies = !config->skip_verify;
	if (c->verifies) {
		rc = trust(c, config->ca_path, why);
		if (rc)
			goto fail;
	}
	rc = config->cert_path ? use_identity(c->ssl, config->cert_path, config->key_path, why) : 0;
	if (rc)
		goto fail;
	*out = c;
	return 0;

fail:
	tls_context_put(c);
	ERR_clear_error();
	return rc;
}

/* ---- life ---- */

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
	tls_tickets_fini(&c->tickets);
	bb_free(c);
}
