/*
 * auth.h: who a request comes from, and what that tenant may use.
 *
 * For: admit.c, which asks for each request; models.c, which lists what a tenant may see. A table
 * is made with each configuration and belongs to its snapshot.
 * Credentials: `Authorization: Bearer KEY` or `x-api-key: KEY`; the same one twice is fine, two
 * different ones are refused. A key is hashed, hashed again under a secret of this table, looked
 * up by the first 8 bytes of that and compared in constant time; one that is not there goes the
 * same way. What is no key and has the form of a JSON Web Token is checked as one, where the
 * configuration trusts somebody's tokens.
 * Threads: building is one owner's; a finished table is never changed and may be read by any.
 * Memory: the table owns what it has; tenants point into the configuration, which must outlive it.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "gateway/token_gate.h"
#include "wire/config.h"
#include "wire/http1.h"

struct auth;

struct auth_tenant {
	const struct config_tenant *config;
	uint32_t ledger; /* its number in the ledger (brain/tenants.h) */
};

#define AUTH_OUTCOMES(X)                                                                           \
	X(OK, "")                                                                                  \
	X(MISSING, "no API key was given; send it as 'Authorization: Bearer KEY'")                 \
	X(SCHEME, "the Authorization field is not of the form 'Bearer KEY'")                       \
	X(AMBIGUOUS, "the request holds several credentials that differ")                          \
	X(UNKNOWN, "the API key is not valid")                                                     \
	X(EXPIRED, "the API key has expired")                                                      \
	X(TOKEN, "the token is not valid")                                                         \
	X(STRANGER, "the token names no tenant of this gateway")                                   \
	X(NO_KEYS, "the keys that tokens are checked with have not been loaded yet; try again")    \
	X(NOMEM, "the gateway has no memory left for this request; try again later")
enum auth_outcome {
#define X(name, text) AUTH_##name,
	AUTH_OUTCOMES(X)
#undef X
};
/* A sentence for the client; it never holds what was sent. */
const char *auth_outcome_text(enum auth_outcome outcome);

/*
 * NULL in `*out`, and 0, when the configuration lets everybody in. `seed` is random. Fails with
 * -BB_EEXIST when two keys fall together under it, which another seed cures.
 */
BB_MUST int auth_create(const struct config *config, const uint8_t seed[KEY_DIGEST_SIZE],
			struct auth **out);
void auth_destroy(struct auth *a);
/* Tells a tenant's number in the ledger; only before the table is shared. */
void auth_set_ledger(struct auth *a, uint32_t tenant, uint32_t ledger);
uint32_t auth_tenant_count(const struct auth *a);
const struct auth_tenant *auth_tenant_at(const struct auth *a, uint32_t tenant);

/* Takes tokens from now on, checked with the keys of a ring; only before the table is shared. */
void auth_accept_tokens(struct auth *a, struct jwks_ring *ring);

struct auth_client {
	const struct auth_tenant *tenant; /* with AUTH_OK, else NULL */
	const char *token_fault;	  /* with AUTH_TOKEN: a sentence, else NULL */
};

/* `gate` is the worker's own. */
enum auth_outcome auth_check(const struct auth *a, const struct http_head *head, uint64_t unix_s,
			     struct token_gate *gate, struct auth_client *out);
/* May it use a model of this name? NULL, a gateway without keys, may use all. */
bool auth_allows_model(const struct auth_tenant *tenant, struct bb_str name);
