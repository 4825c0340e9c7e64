/*
 * post_process.h: the tokens that a tokenizer puts before and behind a text.
 *
 * For: tokenizer. Types: TemplateProcessing, ByteLevel (changes offsets only), RobertaProcessing,
 * BertProcessing, Sequence; for a single text, not for pairs.
 * Threads: read by any once it is made. Memory: no heap memory.
 * Errors: -BB_EINVALID with a message; -BB_ELIMIT for more than POST_IDS_MAX tokens on a side.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

#define POST_IDS_MAX 64

struct post_process {
	uint32_t before[POST_IDS_MAX], behind[POST_IDS_MAX];
	uint32_t before_count, behind_count;
};

/* `json`: the checked value of "post_processor"; nothing or null for none. */
BB_MUST int post_process_init(struct post_process *p, struct bb_str json, struct text_error *e);
