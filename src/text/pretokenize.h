/*
 * pretokenize.h: the "pre_tokenizer" of a tokenizer.json.
 *
 * For: cutting text into the pieces that a model encodes one by one: Split ByteLevel Metaspace
 * Digits Punctuation Whitespace WhitespaceSplit BertPreTokenizer CharDelimiterSplit FixedLength,
 * and Sequence of these (at most COMPONENT_STEPS_MAX in all), as `tokenizers` cuts it. ByteLevel
 * adds its space and splits; the pieces stay bytes of text, for models whose vocabulary was mapped
 * to bytes. Steps behind it see the characters it would have made, as they must. Threads: a
 * pretokenizer never changes once made. Memory: owned; a run keeps its results and scratch in the
 * list, a small multiple of the text's size. Errors: create: -BB_EINVALID with a message that names
 * what is not supported; -BB_ENOMEM. run: -BB_ENOMEM; -BB_ELIMIT: the text grew beyond the list's
 * maximum, or a regular expression passed its limit. Texts are well-formed UTF-8 of less than 4
 * GiB.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "text/pieces.h"
#include "text/split_known.h"
#include "text/text_error.h"

struct pretokenizer;

/* `json`: the raw value of "pre_tokenizer", checked before. "null" gives NULL. */
BB_MUST int pretokenizer_create(struct bb_str json, struct pretokenizer **out,
				struct text_error *e);
void pretokenizer_destroy(struct pretokenizer *p);
/*
 * When all that it does is to isolate the matches of one well-known pattern (and then to go by
 * bytes): that pattern, and pretokenizer_run need not be called. SPLIT_NONE otherwise.
 */
enum split_pattern pretokenizer_pattern(const struct pretokenizer *p);
/* Is there a ByteLevel in it: does the model see bytes? False for NULL. */
bool pretokenizer_is_byte_level(const struct pretokenizer *p);
/*
 * Must the origins be given whenever the text is not the original one? Metaspace with the scheme
 * "first" looks at them.
 */
bool pretokenizer_wants_origins(const struct pretokenizer *p);
/* "PCRE2 (JIT)", "PCRE2 (interpreter)", "GPT-2" …, "characters", "none". */
const char *pretokenizer_engine(const struct pretokenizer *p);

enum pretokenize_place {
	PRETOKENIZE_START,     /* the text's first byte is the first of all */
	PRETOKENIZE_CONTINUES, /* other text came before */
};
enum pretokenize_want { PRETOKENIZE_PIECES, PRETOKENIZE_PIECES_AND_ORIGINS };

/*
 * Fills `out`, which is cleared first. `origins`: of the text's bytes; NULL: it is the original.
 * The list's text may be `text` itself, which must stay as long. With the origins wanted,
 * out->origins has one for each byte of out->text.
 */
BB_MUST int pretokenizer_run(const struct pretokenizer *p, struct bb_str text,
			     const struct text_origins *origins, enum pretokenize_place place,
			     enum pretokenize_want want, struct piece_list *out);
