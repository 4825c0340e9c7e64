/*
 * jwt.h: JSON Web Tokens with a signature: are they right, and which tenant do they name?
 *
 * For: the gateway's authentication of tokens that somebody else gives out (OpenID Connect).
 * Rules: RFC 7515, 7518, 7519, with the advice of RFC 8725: only algorithms that were allowed,
 * never `none` or HMAC; keys only from the set that was given, never from the token; a key serves
 * one algorithm; `crit` is refused; `exp` must be there; members that decide are there once.
 * Claims are looked at only after the signature was found right.
 * Threads: pure functions; the time comes in. Memory: none is kept, little is taken on the way.
 * Errors: -BB_EAUTH with the fault; -BB_ENOMEM. No fault's sentence holds anything of the token.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "wire/jwks.h"

#define JWT_SIZE_MAX 8192
#define JWT_TENANT_LEN_MAX 64

/* Sentences go into error_description of RFC 6750 §3, so they hold no quotes and no backslash. */
#define JWT_FAULTS(X)                                                                              \
	X(SIZE, "the token is longer than 8192 bytes")                                             \
	X(SHAPE, "the token is not three parts of base64url")                                      \
	X(HEADER, "the header of the token is malformed")                                          \
	X(ALGORITHM, "the algorithm of the token is not allowed here")                             \
	X(CRITICAL, "the token has critical extensions, of which none is known here")              \
	X(TYPE, "the token is not of a type that gives access")                                    \
	X(KEY_UNKNOWN, "the key that signed the token is not known here")                          \
	X(KEY_UNFIT, "the key that the token names is not for its algorithm")                      \
	X(KEY_AMBIGUOUS, "the token names no key, and more than one would fit")                    \
	X(SIGNATURE, "the signature of the token is not right")                                    \
	X(CLAIMS, "the claims of the token are malformed")                                         \
	X(NO_EXPIRY, "the token never expires, which is not allowed here")                         \
	X(EXPIRED, "the token has expired")                                                        \
	X(EARLY, "the token is not valid yet")                                                     \
	X(ISSUER, "the issuer of the token is not the one that is trusted here")                   \
	X(AUDIENCE, "the token is meant for another audience")

enum jwt_fault {
#define X(name, text) JWT_FAULT_##name,
	JWT_FAULTS(X)
#undef X
};

const char *jwt_fault_text(enum jwt_fault f);

/* What is asked of a token. The texts belong to the caller. */
struct jwt_policy {
	bool allowed[JWT_ALG_COUNT];
	struct bb_str issuer;	/* empty: any */
	struct bb_str audience; /* empty: any */
	struct bb_str tenant_claim;
	uint64_t leeway_s;
};

/* What a token that is right says. */
struct jwt_claims {
	uint64_t valid_until_s; /* the first moment at which it is refused, leeway included */
	uint32_t tenant_len;	/* 0: the claim is absent, no text, or too long for a tenant */
	char tenant[JWT_TENANT_LEN_MAX + 1];
};

/* Three parts with two dots between them: may be a token; no API key looks like that. */
bool jwt_is_like(struct bb_str text);
BB_MUST int jwt_verify(struct bb_str token, const struct jwt_policy *p, const struct jwks *keys,
		       uint64_t now_s, struct jwt_claims *out, enum jwt_fault *fault);
