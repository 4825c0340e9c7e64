/*
 * token_cache.h: what tokens say that were found right, so that a signature is checked once and not
 * with each request.
 *
 * For: token_gate.c. A client sends the same token for minutes to hours.
 * Threads: one owner. Memory: TOKEN_CACHE_SIZE entries in one block of about 110 KiB; tokens
 * themselves are not kept, only their sealed digests (key_text.h). Where all places for a token are
 * taken, the one that was not used for longest goes.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "wire/jwt.h"
#include "wire/key_text.h"

#define TOKEN_CACHE_SIZE 1024

struct token_cache;

BB_MUST int token_cache_create(struct token_cache **out);
void token_cache_destroy(struct token_cache *c); /* NULL is allowed */
void token_cache_clear(struct token_cache *c);
/* NULL: not known, or not valid any more. Valid until the cache is next changed. */
const struct jwt_claims *token_cache_find(struct token_cache *c, const struct key_digest *token,
					  uint64_t now_s);
void token_cache_put(struct token_cache *c, const struct key_digest *token,
		     const struct jwt_claims *claims);
