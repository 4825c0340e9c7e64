/*
 * decoder.h: the "decoder" of a tokenizer.json: contents of tokens to text.
 *
 * For: tokenizer_decode and its stream. Types: ByteLevel Metaspace Replace ByteFallback Fuse Strip
 * WordPiece BPEDecoder CTC, and Sequence of these. Tokens go in one by one; text comes out as early
 * as it can be known, in whole characters, and all of it together is what `tokenizers` gives for
 * all tokens together.
 * Threads: a decoder never changes once made; a run has one owner. Memory: owned; a run holds what
 * may still change: bytes of an incomplete character, a row of <0xXX> tokens, one token; where a
 * step behind Fuse must see the whole text, all of it.
 * Errors: create: -BB_EINVALID with a message that names what is not supported; -BB_ENOMEM. Runs:
 * -BB_ENOMEM, -BB_ELIMIT of `out` or of a regular expression.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

struct decoder;
struct decoder_run;

/* `json`: the raw value of "decoder", checked before. "null" gives NULL: joined by spaces. */
BB_MUST int decoder_create(struct bb_str json, struct decoder **out, struct text_error *e);
void decoder_destroy(struct decoder *d);
/* Is ByteLevel all there is: contents to bytes, malformed sequences to U+FFFD? */
bool decoder_is_byte_level(const struct decoder *d);

/* `out` gets the text; it must live as long as the run. `d` may be NULL. */
BB_MUST int decoder_run_create(const struct decoder *d, struct bb_buf *out, struct decoder_run **r);
void decoder_run_destroy(struct decoder_run *r);
/* The next token's content. */
BB_MUST int decoder_run_push(struct decoder_run *r, struct bb_str token);
/* There are no more tokens: what was held comes out. The run is as new then. */
BB_MUST int decoder_run_end(struct decoder_run *r);
