/*
 * certs.h: certificates for tests of TLS, made while the test runs and written as PEM into a folder of
 * its own. Keys are P-256: made in an instant.
 */
#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

#define CERT_DAY 86400L

struct cert {
	X509 *x509;
	EVP_PKEY *key;
	char cert_path[128];
	char key_path[128];
};

struct cert_wish {
	const char *name;      /* file names and subject */
	const char *alt_names; /* "DNS:a.test,IP:127.0.0.1"; NULL: an authority */
	const struct cert *issuer; /* NULL: by itself */
	long days_from, days_to;   /* from now; both 0: -1 to 30 */
	const char *passphrase;    /* the key file is encrypted with it */
};

static char cert_folder[64];

static inline void certs_begin(void)
{
	snprintf(cert_folder, sizeof(cert_folder), "/tmp/busbar-certs-XXXXXX");
	assert_non_null(mkdtemp(cert_folder));
}

static inline void certs_end(void)
{
	assert_int_equal(rmdir(cert_folder), 0);
}

static inline void cert_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static inline void cert_write(struct cert *c, const struct cert_wish *w)
{
	snprintf(c->cert_path, sizeof(c->cert_path), "%s/%s.pem", cert_folder, w->name);
	snprintf(c->key_path, sizeof(c->key_path), "%s/%s.key", cert_folder, w->name);
	FILE *f = fopen(c->cert_path, "we");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, c->x509), 1);
	assert_int_equal(fclose(f), 0);
	f = fopen(c->key_path, "we");
	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, c->key, w->passphrase ? EVP_aes_128_cbc() : NULL, NULL,
					      0, NULL, (void *)w->passphrase), 1);
	assert_int_equal(fclose(f), 0);
}

static inline void cert_make(struct cert *c, const struct cert_wish *w)
{
	static long serial;
	const bool is_dated = w->days_from || w->days_to;
	X509 *x = X509_new();
	X509 *issuer = w->issuer ? w->issuer->x509 : x;

	assert_non_null(x);
	c->x509 = x;
	c->key = EVP_EC_gen("P-256");
	assert_non_null(c->key);
	assert_int_equal(X509_set_version(x, X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), (is_dated ? w->days_from : -1) * CERT_DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), (is_dated ? w->days_to : 30) * CERT_DAY);
	assert_int_equal(X509_set_pubkey(x, c->key), 1);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)w->name, -1, -1, 0);
	assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(issuer)), 1);
	cert_extend(x, issuer, NID_basic_constraints, w->alt_names ? "CA:FALSE" : "critical,CA:TRUE");
	if (w->alt_names)
		cert_extend(x, issuer, NID_subject_alt_name, w->alt_names);
	assert_true(X509_sign(x, w->issuer ? w->issuer->key : c->key, EVP_sha256()) > 0);
	cert_write(c, w);
}

static inline void cert_drop(struct cert *c)
{
	unlink(c->cert_path);
	unlink(c->key_path);
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	*c = (struct cert){ 0 };
}
