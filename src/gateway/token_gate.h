/*
 * token_gate.h: signed tokens of others at one worker: its reference of the keys, and its memory of
 * tokens that were right.
 *
 * For: auth.c, for what is no API key and has the form of a token.
 * Threads: the worker's. Memory: the gate owns its cache and a reference of the keys; both are
 * taken when the first token comes.
 * Errors: as outcomes; -BB_ENOMEM from create.
 */
#pragma once

#include <stdint.h>

#include "gateway/jwks_ring.h"
#include "wire/config.h"
#include "wire/jwt.h"
#include "wire/key_text.h"

struct token_gate;

/* What a configuration says about tokens. */
struct token_rules {
	const struct config_jwt *config;
	struct jwks_ring *ring;
};

enum token_outcome {
	TOKEN_RIGHT,
	TOKEN_WRONG,
	TOKEN_NO_KEYS, /* the keys have not been loaded yet: nothing can be said */
	TOKEN_NO_MEMORY,
};

BB_MUST int token_gate_create(struct token_gate **out);
void token_gate_destroy(struct token_gate *g); /* NULL is allowed */
/*
 * `sealed` is the token's digest under a secret (key_text.h) that other rules do not have: what was
 * right under them is not remembered for these. When the token is right, `*tenant` is the name that
 * it gives, valid until the next call, or empty when it gives none; when it is wrong, `*why` is a
 * sentence that holds nothing of it.
 */
enum token_outcome token_gate_check(struct token_gate *g, const struct token_rules *rules,
				    struct bb_str token, const struct key_digest *sealed,
				    uint64_t unix_s, struct bb_str *tenant, const char **why);
