/*
 * normalize.h: the "normalizer" of a tokenizer.json.
 *
 * For: rewriting text before it is split: NFC NFD NFKC NFKD Lowercase Strip StripAccents Replace
 * Prepend Precompiled BertNormalizer Nmt ByteLevel, and Sequence of these (at most
 * COMPONENT_STEPS_MAX in all), with the results and origins that `tokenizers` gives.
 * Threads: a normalizer never changes once made. Memory: owned; up to 230 KB with a normal form,
 * and the character map. A run takes scratch of about the text's size.
 * Errors: create: -BB_EINVALID with a message that names what is not supported; -BB_ENOMEM.
 * run: -BB_ENOMEM, the buffer's -BB_ELIMIT, -BB_ELIMIT when a regular expression passes its limit.
 * Texts are well-formed UTF-8 of less than 4 GiB.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/origins.h"
#include "text/text_error.h"

struct normalizer;

/* `json`: the raw value of "normalizer", checked before. "null" gives NULL. */
BB_MUST int normalizer_create(struct bb_str json, struct normalizer **out, struct text_error *e);
void normalizer_destroy(struct normalizer *n);
/* True when the text is surely left as it is; false when it may not be. */
bool normalizer_keeps(const struct normalizer *n, struct bb_str text);
/* Appends to `out`, and to `origins` unless that is NULL: one for each byte. */
BB_MUST int normalizer_run(const struct normalizer *n, struct bb_str text, struct bb_buf *out,
			   struct text_origins *origins);
