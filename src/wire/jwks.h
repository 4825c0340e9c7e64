/*
 * jwks.h: a JSON Web Key Set (RFC 7517 §5): the public keys of who signs tokens.
 *
 * For: jwt.c, which looks keys up in it; the gateway, which loads it from a file or a URL. The
 * text is not trusted: its size and the number of keys are bounded, keys are checked one by one.
 * Keys that cannot be used here (other types, other purposes) are passed over, as the RFC wants it.
 * Threads: a set is never changed once it was made; its count of references is atomic.
 * Memory: the set owns its keys; it goes with the last reference.
 * Errors: -BB_ESYNTAX, -BB_EINVALID, -BB_ELIMIT with a static sentence; -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "wire/jwks_key.h"

#define JWKS_TEXT_MAX (256u << 10)
#define JWKS_KEYS_MAX 64

struct jwks;

/* A set with at least one key that can be used, with one reference. */
BB_MUST int jwks_parse(struct bb_str text, struct jwks **out, const char **why);
struct jwks *jwks_get(struct jwks *s);
void jwks_put(struct jwks *s); /* NULL is allowed */

uint32_t jwks_count(const struct jwks *s);
/* Keys that were passed over, and a sentence about the first of them. */
uint32_t jwks_passed_over(const struct jwks *s, const char **why);

enum jwks_match {
	JWKS_FOUND,
	JWKS_UNKNOWN,	/* no key has that name */
	JWKS_UNFIT,	/* the key of that name is for another algorithm, or no key is for it */
	JWKS_AMBIGUOUS, /* no name was given and several keys would fit */
};
/*
 * The key for a token. `kid` is the name as JSON text with its quotes; with p == NULL there is
 * none, and then exactly one key must be for that algorithm.
 */
enum jwks_match jwks_find(const struct jwks *s, enum jwt_alg alg, struct bb_str kid,
			  const struct jwks_key **out);
