/*
 * model_wordpiece.h: the models WordPiece (BERT) and WordLevel.
 *
 * For: tokenizer. WordPiece: the longest entry that the word begins with, then the longest that
 * continues it ("##ing"), to its end; a word that cannot be made up of entries, or has more than
 * max_input_chars_per_word characters, is the unknown token. WordLevel: the whole word, or unknown.
 * Threads: read by any once it is made. Memory: owns its tables.
 * Errors: create: -BB_EINVALID with a message, -BB_ENOMEM. encode: -BB_ENOMEM; -BB_EINVALID for an
 * unknown word when the unknown token is no entry.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "text/model_tokens.h"
#include "text/text_error.h"

struct wordpiece;

enum wordpiece_kind { WORDPIECE, WORDLEVEL };

/* `model`: the checked JSON object. */
BB_MUST int wordpiece_create(struct bb_str model, enum wordpiece_kind kind, struct wordpiece **out,
			     struct text_error *e);
void wordpiece_destroy(struct wordpiece *m);
size_t wordpiece_size(const struct wordpiece *m);
uint32_t wordpiece_count(const struct wordpiece *m);
/* Every id is below. */
uint32_t wordpiece_id_end(const struct wordpiece *m);
/* The id of a content, or UINT32_MAX. */
uint32_t wordpiece_id(const struct wordpiece *m, struct bb_str content);
/* The content of an id; p == NULL when there is none. */
struct bb_str wordpiece_token(const struct wordpiece *m, uint32_t id);
/* Replaces what is in `out` by the tokens of one word. */
BB_MUST int wordpiece_encode(const struct wordpiece *m, struct bb_str word,
			     struct model_tokens *out);
