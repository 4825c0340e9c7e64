/*
 * model_tokens.h: the tokens of one word, as a model gives them.
 *
 * For: models. Tokens may share a place: the bytes of a character that the vocabulary lacks.
 * Threads: one owner. Memory: owns one block. Errors: -BB_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct model_tokens {
	uint32_t *ids, *begins, *ends; /* begins and ends: bytes of the word */
	size_t count, cap;
};

void model_tokens_init(struct model_tokens *t);
void model_tokens_fini(struct model_tokens *t);
BB_MUST int model_tokens_add(struct model_tokens *t, uint32_t id, size_t begin, size_t end);
