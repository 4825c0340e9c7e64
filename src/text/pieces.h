/*
 * pieces.h: a text cut into pieces, which may be rewritten on the way.
 *
 * For: pre-tokenizers. The pieces are byte ranges of `text`, in order, without empty ones; what no
 * piece covers is dropped. `origins` says which bytes of the given text each byte comes from.
 * Threads: one owner. Memory: owns the three arrays. Errors: -BB_ENOMEM, -BB_ELIMIT.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/origins.h"

struct piece {
	uint32_t begin, end;
};

struct piece_list {
	struct bb_str text; /* the given text, or `own` */
	struct bb_buf own;  /* once it was rewritten */
	/* One for each byte of `own`, when they are kept. Before: those that were given. */
	struct text_origins origins;
	bool keeps_origins;
	struct piece *at;
	size_t count, cap;
};

/* `text_max`: no rewritten text may become longer. */
void piece_list_init(struct piece_list *l, size_t text_max);
void piece_list_fini(struct piece_list *l);
/* Forgets the pieces and the text, keeps the memory. */
void piece_list_clear(struct piece_list *l);
/* Appends a piece; an empty one is left out. */
BB_MUST int piece_list_add(struct piece_list *l, size_t begin, size_t end);
