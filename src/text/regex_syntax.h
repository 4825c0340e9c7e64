/*
 * regex_syntax.h: a pattern written for Oniguruma, as PCRE2 understands it.
 *
 * For: patterns of tokenizer.json, which `tokenizers` gives to Oniguruma with its own syntax. What
 * differs is rewritten: \s, \w, \d, \h and \b by their Unicode sets, ^ and $ at every line, a +
 * behind {n,m} that repeats and is not possessive, \p{^L}, (?m). What has no equal is an error.
 * Threads: pure functions. Memory: the caller's buffer.
 * Errors: -BB_EINVALID with a message; -BB_ENOMEM, -BB_ELIMIT of the buffer.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

BB_MUST int regex_syntax_translate(struct bb_str pattern, struct bb_buf *out, struct text_error *e);
/* The pattern that matches exactly this text. */
BB_MUST int regex_syntax_quote(struct bb_str text, struct bb_buf *out);
