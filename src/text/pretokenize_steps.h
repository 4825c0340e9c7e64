/*
 * pretokenize_steps.h: the single steps of pre-tokenization.
 *
 * For: pretokenize.c, which makes steps of the components of a tokenizer.json.
 * Threads: pure functions over steps that do not change. Memory: the lists'.
 * Errors: -BB_ENOMEM, -BB_ELIMIT.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/pieces.h"
#include "text/split_behavior.h"

enum pretokenize_kind {
	PRETOKENIZE_TEXT,	 /* split at a text */
	PRETOKENIZE_REGEX,	 /* split at matches */
	PRETOKENIZE_SPACES,	 /* … at White_Space */
	PRETOKENIZE_PUNCTUATION, /* … at punctuation */
	PRETOKENIZE_NUMBERS,	 /* … at numbers */
	PRETOKENIZE_CHAR,	 /* … at one character */
	PRETOKENIZE_WORDS,     /* runs of word characters, runs of neither these nor white space */
	PRETOKENIZE_GPT2,      /* split by GPT-2's pattern */
	PRETOKENIZE_FIXED,     /* so many characters each */
	PRETOKENIZE_PREFIX,    /* a space before a piece that does not begin with one */
	PRETOKENIZE_METASPACE, /* spaces to another character, and one at the start */
	PRETOKENIZE_TO_CHARS,  /* bytes to GPT-2's characters */
	PRETOKENIZE_TO_BYTES,  /* and back */
};

enum pretokenize_prepend { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

struct pretokenize_step {
	enum pretokenize_kind kind;
	enum split_behavior behavior;
	bool is_inverted;
	struct bb_str text;
	uint32_t character;
	char character_bytes[4];
	uint32_t character_len;
	uint64_t length;
	enum pretokenize_prepend prepend;
	struct regex *regex;
};

struct pretokenize_input {
	const struct pretokenize_step *step;
	const struct piece_list *in;
	struct piece_list *out;
	bool is_start; /* the text is the first of all */
};

/*
 * Reads the pieces of in->in and appends to in->out. Steps that only split leave out->text alone;
 * the others write out->own and out->origins and must find them empty.
 */
BB_MUST int pretokenize_step_run(const struct pretokenize_input *in);
/* Does the step write a new text? */
bool pretokenize_step_rewrites(const struct pretokenize_step *s);
