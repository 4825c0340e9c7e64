/*
 * normalize_steps.h: the single steps of normalization.
 *
 * For: normalize.c, which makes steps of the components of a tokenizer.json.
 * Threads: pure functions over steps that do not change. Memory: output is the caller's.
 * Errors: -BB_ENOMEM, -BB_ELIMIT (the buffer's maximum, a regular expression's limit).
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/normal_forms.h"
#include "text/origins.h"
#include "text/unicode_sets.h"

enum normalize_kind {
	NORMALIZE_FORM,
	NORMALIZE_LOWER,
	NORMALIZE_STRIP,
	NORMALIZE_DROP,	  /* characters of a set */
	NORMALIZE_SPACES, /* White_Space to U+0020 */
	NORMALIZE_HAN,	  /* a space on both sides */
	NORMALIZE_TEXT,	  /* a text by another */
	NORMALIZE_REGEX,
	NORMALIZE_PREPEND,
	NORMALIZE_CHARSMAP,
	NORMALIZE_NMT,
	NORMALIZE_GGUF_BERT, /* as llama.cpp prepares text for BERT */
	NORMALIZE_BYTES,     /* each byte by the character that GPT-2 writes it with */
};

struct normalize_step {
	enum normalize_kind kind;
	enum normal_form form;
	enum unicode_set set;
	bool strip_left, strip_right;
	bool lowers, strips_accents; /* NORMALIZE_GGUF_BERT */
	struct bb_str text;	     /* what is replaced */
	struct bb_str content;	     /* by what; what is prepended */
	const struct normal_forms *forms;
	struct regex *regex;
	struct charsmap *charsmap;
};

/* True when the text is surely left as it is. */
bool normalize_step_keeps(const struct normalize_step *s, struct bb_str text);
/* `from` and `origins` are both given or both NULL. Appends. */
BB_MUST int normalize_step_run(const struct normalize_step *s, struct bb_str old,
			       const struct text_origins *from, struct bb_buf *out,
			       struct text_origins *origins);
/* The character for a byte in byte-level vocabularies. */
uint32_t normalize_byte_char(uint8_t byte);
/* And back; 0 for a character that is none of these. */
uint8_t normalize_char_byte(uint32_t cp);
