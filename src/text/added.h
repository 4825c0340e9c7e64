/*
 * added.h: the added tokens of a tokenizer: finding them in a text, and their contents.
 *
 * For: tokenizer. Two sets are looked for as the `tokenizers` library does it: those that match
 * the raw text, and those marked `normalized`, which match the normalized text by their normalized
 * content. The leftmost match counts, of those the longest; then single_word may discard it, and
 * lstrip and rstrip widen it over white space.
 * Threads: read by any once it is made. Memory: owns copies of all contents and a trie.
 * Errors: -BB_EINVALID with a message, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

enum added_flags {
	ADDED_SPECIAL = 1,
	ADDED_NORMALIZED = 2,
	ADDED_SINGLE_WORD = 4,
	ADDED_LSTRIP = 8,
	ADDED_RSTRIP = 16,
};

struct added_token {
	uint32_t id;
	uint32_t content_at, content_len;
	unsigned flags;
};

struct added_trie;

struct added {
	struct added_token *tokens; /* in ascending order of ids */
	uint32_t count;
	char *contents;
	struct added_trie *raw, *normalized; /* NULL: no token of this kind */
	uint32_t id_end;
	unsigned raw_flags; /* of all raw tokens, or'ed */
};

/* Gives the id that a content has in the model's vocabulary, or UINT32_MAX. */
typedef uint32_t added_model_id(const void *model, struct bb_str content);
/* Appends the normalized content. */
typedef int added_normalize(const void *normalizer, struct bb_str content, struct bb_buf *out);

struct added_source {
	struct bb_str json; /* the checked array `added_tokens`, or nothing */
	added_model_id *model_id;
	const void *model;
	uint32_t model_count;	    /* the model's vocabulary: new ids begin here */
	added_normalize *normalize; /* or NULL */
	const void *normalizer;
};

BB_MUST int added_init(struct added *a, const struct added_source *source, struct text_error *e);
void added_fini(struct added *a);
size_t added_size(const struct added *a);

/* NULL: not an added token. */
const struct added_token *added_by_id(const struct added *a, uint32_t id);
const struct added_token *added_by_content(const struct added *a, struct bb_str content);

static inline struct bb_str added_content(const struct added *a, const struct added_token *t)
{
	return (struct bb_str){ a->contents + t->content_at, t->content_len };
}

struct added_match {
	const struct added_token *token;
	size_t begin, end;	       /* what belongs to the token, with stripped white space */
	size_t match_begin, match_end; /* the content alone */
};

/* A search through one text. `settled`: what is before belongs to earlier matches. */
struct added_search {
	const struct added *a;
	const struct added_trie *trie;
	struct bb_str text;
	size_t at, settled;
};

void added_search_init(struct added_search *s, const struct added *a, const struct added_trie *trie,
		       struct bb_str text);
bool added_search_next(struct added_search *s, struct added_match *m);
/*
 * May a text be cut before this match of a raw token, so that both sides are searched with the same
 * outcome by themselves?
 */
bool added_is_cut(const struct added *a, struct bb_str text, const struct added_match *m);
