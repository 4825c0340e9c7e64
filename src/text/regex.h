/*
 * regex.h: regular expressions of tokenizer.json, run by PCRE2.
 *
 * For: Split and Replace with a pattern that no hand-written scanner knows.
 * Patterns have Oniguruma's syntax (regex_syntax.h). PCRE2 compiles them to machine code where it
 * may; under a service that forbids memory to be both written and executed (systemd's
 * MemoryDenyWriteExecute=) it silently cannot, and its interpreter runs them some five times
 * slower: regex_engine tells.
 * Limits: steps of a match (REGEX_STEPS_MAX), memory of a match (REGEX_HEAP_MAX), length of a
 * pattern. Threads: a regex never changes; a regex_work belongs to one thread at a time. Memory:
 * owned. Errors: -BB_EINVALID with a message; -BB_ELIMIT when a match passes a limit; -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

#define REGEX_PATTERN_MAX 65536
#define REGEX_TRANSLATED_MAX (4u << 20)
#define REGEX_STEPS_MAX 10000000
#define REGEX_HEAP_MAX (64u << 10) /* KiB */

struct regex;

BB_MUST int regex_create(struct bb_str pattern, struct regex **out, struct text_error *e);
/* One that finds just this text, which is not empty. */
BB_MUST int regex_create_text(struct bb_str text, struct regex **out, struct text_error *e);
void regex_destroy(struct regex *r);
/* "PCRE2 (JIT)" or "PCRE2 (interpreter)". */
const char *regex_engine(const struct regex *r);
/* May a match have no characters? True also when that is not known. */
bool regex_may_match_nothing(const struct regex *r);

/* Goes over all matches in a text, which is well-formed UTF-8. */
struct regex_find {
	const struct regex *regex;
	struct bb_str text;
	void *data; /* pcre2_match_data */
	size_t at;
	size_t last_end;
	bool has_last;
	bool is_done;
};

BB_MUST int regex_find_init(struct regex_find *f, const struct regex *r, struct bb_str text);
/* Goes over another text with the same memory. */
void regex_find_text(struct regex_find *f, struct bb_str text);
/* 1 and the match's bytes; 0 when there are no more; or an error. */
BB_MUST int regex_find_next(struct regex_find *f, size_t *begin, size_t *end);
void regex_find_fini(struct regex_find *f);
