/*
 * jwt_maker.h: who gives tokens out, for tests: keys made by OpenSSL, their JWKs, and tokens signed
 * with them. What it makes is in static memory that the next call of the same function overwrites.
 */
#pragma once

#include <stdlib.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "unit.h"

#include "wire/jwks.h"

#define MAKER_TEXT_SIZE 16384

struct maker_text {
	size_t len;
	char p[MAKER_TEXT_SIZE];
};

static inline void maker_base64url(const void *data, size_t size, struct maker_text *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = data;

	for (size_t i = 0; i < size; i += 3) {
		const size_t left = size - i < 3 ? size - i : 3;
		const uint32_t bits = (uint32_t)p[i] << 16 |
				      (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
				      (left > 2 ? p[i + 2] : 0u);
		for (size_t k = 0; k <= left; k++) {
			assert_true(out->len + 1 < sizeof(out->p));
			out->p[out->len++] = digits[bits >> (18 - 6 * k) & 63];
		}
	}
	out->p[out->len] = '\0';
}

static inline EVP_PKEY *maker_key(enum jwt_alg alg, unsigned rsa_bits)
{
	EVP_PKEY *k = alg == JWT_RS256	 ? EVP_RSA_gen(rsa_bits)
		      : alg == JWT_ES256 ? EVP_EC_gen("P-256")
					 : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

	assert_non_null(k);
	return k;
}

/* One member of a JWK: a number of a key as base64url, filled up to `size` bytes. */
static inline void maker_number(const EVP_PKEY *key, const char *param, int size, char *out,
				size_t room)
{
	static struct maker_text text;
	uint8_t bytes[2048];
	BIGNUM *n = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, param, &n), 1);
	if (size == 0)
		size = BN_num_bytes(n);
	assert_int_equal(BN_bn2binpad(n, bytes, size), size);
	BN_free(n);
	text.len = 0;
	maker_base64url(bytes, (size_t)size, &text);
	assert_true(snprintf(out, room, "%s", text.p) < (int)room);
}

/* The JWK with these further members: "" or ",\"kid\":\"a\"". */
static inline const char *maker_jwk(const EVP_PKEY *key, enum jwt_alg alg, const char *more)
{
	static char out[2 * MAKER_TEXT_SIZE];
	static struct maker_text text;
	char a[2048], b[64];
	uint8_t raw[32];
	size_t size = sizeof(raw);

	switch (alg) {
	case JWT_RS256:
		maker_number(key, OSSL_PKEY_PARAM_RSA_N, 0, a, sizeof(a));
		maker_number(key, OSSL_PKEY_PARAM_RSA_E, 0, b, sizeof(b));
		snprintf(out, sizeof(out), "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", a, b,
			 more);
		break;
	case JWT_ES256:
		maker_number(key, OSSL_PKEY_PARAM_EC_PUB_X, 32, a, sizeof(a));
		maker_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, 32, b, sizeof(b));
		snprintf(out, sizeof(out),
			 "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"%s}", a, b,
			 more);
		break;
	case JWT_EDDSA:
		assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw, &size), 1);
		text.len = 0;
		maker_base64url(raw, size, &text);
		snprintf(out, sizeof(out), "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}",
			 text.p, more);
		break;
	case JWT_ALG_COUNT: fail();
	}
	return out;
}

/* The signature in the form of a token; ES256 as r and s. Returns its size. */
static inline size_t maker_sign(EVP_PKEY *key, enum jwt_alg alg, const void *data, size_t len,
				uint8_t out[2048])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t size = 2048;
	const unsigned char *at = out;

	assert_int_equal(
		EVP_DigestSignInit(ctx, NULL, alg == JWT_EDDSA ? NULL : EVP_sha256(), NULL, key),
		1);
	assert_int_equal(EVP_DigestSign(ctx, out, &size, data, len), 1);
	EVP_MD_CTX_free(ctx);
	if (alg != JWT_ES256)
		return size;
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)size);
	assert_non_null(sig);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32), 32);
	ECDSA_SIG_free(sig);
	return 64;
}

static inline struct bb_str maker_token(EVP_PKEY *key, enum jwt_alg alg, const char *header,
					const char *claims)
{
	static struct maker_text text;
	uint8_t signature[2048];

	text.len = 0;
	maker_base64url(header, strlen(header), &text);
	text.p[text.len++] = '.';
	maker_base64url(claims, strlen(claims), &text);
	const size_t size = maker_sign(key, alg, text.p, text.len, signature);
	text.p[text.len++] = '.';
	maker_base64url(signature, size, &text);
	return (struct bb_str){ text.p, text.len };
}
