/*
 * jwks_key.h: one public key of a JSON Web Key Set, and the signatures it can check.
 *
 * For: jwks.c, jwt.c. A key knows the one algorithm it is for: RSA RS256, EC P-256 ES256, OKP
 * Ed25519 EdDSA (RFC 7518 §3, §6; RFC 8037). So a token cannot choose another one for it.
 * Threads: a key that was made is never changed and may be used by any number of threads.
 * Memory: OpenSSL holds the key; jwks_key_fini gives it back. The key's name is in the arena that
 * was given.
 * Errors: -BB_EINVALID with a sentence for a key that cannot be used, -BB_ENOMEM; -BB_EAUTH for a
 * signature that is not right. OpenSSL's queue of errors is left empty.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define JWKS_KID_LEN_MAX 256
#define JWKS_RSA_BITS_MIN 2048
#define JWKS_RSA_BITS_MAX 8192
#define JWKS_SIGNATURE_SIZE_MAX (JWKS_RSA_BITS_MAX / 8)

/*      name   as a token's `alg` says it */
#define JWT_ALGS(X)                                                                                \
	X(RS256, "RS256")                                                                          \
	X(ES256, "ES256")                                                                          \
	X(EDDSA, "EdDSA")

enum jwt_alg {
#define X(name, text) JWT_##name,
	JWT_ALGS(X)
#undef X
	JWT_ALG_COUNT,
};

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */

struct jwks_key {
	struct evp_pkey_st *pkey;
	enum jwt_alg alg;
	bool has_kid;
	struct bb_str kid; /* decoded */
};

struct bb_str jwt_alg_name(enum jwt_alg alg);

/*
 * Reads a JWK (RFC 7517 §4): `object` is a JSON text that was checked. `why` gets a static
 * sentence that holds nothing of the key.
 */
BB_MUST int jwks_key_make(struct bb_str object, struct bb_arena *arena, struct jwks_key *out,
			  const char **why);
void jwks_key_fini(struct jwks_key *k);
/* Is it this key's signature of the text, in the form of RFC 7518 §3.3, §3.4 or RFC 8037 §3.1? */
BB_MUST int jwks_key_verify(const struct jwks_key *k, struct bb_str text, const uint8_t *signature,
			    size_t size);
