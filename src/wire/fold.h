/*
 * fold.h: the members of one JSON object that comes in pieces, folded into one.
 *
 * For: assemble. A member's value is joined with what came before (strings and arrays) or replaces
 * it. Values stay the raw bytes they were: two JSON strings' texts side by side are a JSON
 * string's text again.
 * Threads: one owner. Memory: own; everything counts against the budget that several folds share.
 * Errors: -BB_ENOMEM; -BB_ELIMIT when the budget or FOLD_MEMBERS_MAX is used up. After an error
 * the fold is only good for fold_fini.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "wire/json.h"

#define FOLD_MEMBERS_MAX 64

struct fold_budget {
	size_t used;
	size_t max;
};

/* Takes `size` bytes from the budget. */
BB_MUST int fold_spend(struct fold_budget *budget, size_t size);

enum fold_kind {
	FOLD_RAW,  /* one whole value */
	FOLD_TEXT, /* a string's text, without quotes */
	FOLD_LIST, /* an array's elements, without brackets */
};

struct fold_member {
	char *key; /* raw, key_len bytes */
	size_t key_len;
	enum fold_kind kind;
	struct bb_buf value;
};

struct fold {
	struct fold_member *members; /* in the order they first came */
	uint32_t count;
	uint32_t cap;
};

/* A zeroed fold is an empty one. */
void fold_fini(struct fold *f);
struct fold_member *fold_find(const struct fold *f, struct bb_str key);
/* The value becomes this one; null and "" do not replace what is there. */
BB_MUST int fold_set(struct fold *f, struct fold_budget *budget, struct bb_str key,
		     struct bb_str raw);
/* A string or an array is appended to one that is there; other types are set. */
BB_MUST int fold_join(struct fold *f, struct fold_budget *budget, struct bb_str key,
		      struct bb_str raw);
bool fold_is_null(const struct fold_member *m);
/* Appends the value as JSON. The buffer's `err` sticks. */
void fold_value_write(const struct fold_member *m, struct bb_buf *out);
/* Appends "key":value. */
void fold_member_write(const struct fold_member *m, struct bb_buf *out);
/* Appends all members as one object. */
void fold_write(const struct fold *f, struct bb_buf *out);
