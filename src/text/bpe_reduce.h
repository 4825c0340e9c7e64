/*
 * bpe_reduce.h: of a model's merges, those that can happen.
 *
 * For: bpe_merges. Many files list every way in which a token can be cut in two, though merging
 * arrives at a token in one way: what its own bytes have become before the last merge, since the
 * merges inside of neighbours come in the same order whatever stands around them (model_bpe.h).
 *
 * The core: merges in the order of their ranks, of which one is kept when its two parts are made
 * already, what it makes is not, and no kept merge goes over the seam of the parts on the way to
 * them. By the core alone nothing else could ever happen to what it makes.
 * The rest: a merge can happen that ranks before the merges that make its parts. It is kept when
 * the core does arrive at its parts side by side. What comes of it may in turn meet the core: a
 * token is doubted when two symbols that a merge of the rest joins may stand on its seam, or when a
 * part is doubted. Of a doubted token all merges are kept, but for those whose parts are in no
 * doubt and that the core does not arrive at. That goes on until nothing more is kept. So each
 * merge left out is one that cannot be the first to happen among those left out; then none is.
 *
 * Threads: one. Memory: 16 bytes an id and 12 a merge while reading. Errors: -BB_ENOMEM.
 */
#pragma once

#include "text/model_bpe.h"

struct bpe_rest {
	uint32_t rank, whole;
	uint16_t left_len; /* of the left part's content */
	bool is_kept;
};

struct bpe_reduction {
	struct bpe *b;
	uint32_t *birth; /* by id: 0 of first symbols, rank + 1 of those made, BPE_NONE of others */
	uint32_t *left, *right; /* by id: the parts */
	uint32_t *order;	/* ids in the order of their births */
	uint32_t count;
	uint16_t *left_len; /* by id */
	uint8_t *marks;	    /* by id: enum bpe_mark */
	struct bpe_rest *rest;
	size_t rest_count, rest_cap, kept_count;
	struct bpe_pairs met; /* those of the rest that are kept */
	bool is_possible;     /* false: the model is taken as it stands */
};

/* Finds the first symbols, and makes room for the pairs in b. */
BB_MUST int bpe_reduction_init(struct bpe_reduction *r, struct bpe *b);
/*
 * Is the token made already? Then its other merges are told only by where they cut its content.
 */
bool bpe_reduction_has(const struct bpe_reduction *r, uint32_t whole);
BB_MUST int bpe_reduction_add_other(struct bpe_reduction *r, uint32_t whole, uint32_t rank,
				    size_t left_len);
/* Merges come in the order of their ranks. */
BB_MUST int bpe_reduction_add(struct bpe_reduction *r, const struct bpe_merge *m, size_t left_len);
/* After the last merge. */
BB_MUST int bpe_reduction_finish(struct bpe_reduction *r);
/* Is a word that is this token's content surely this token? A vocab_is_whole. */
bool bpe_reduction_is_whole(const void *reduction, uint32_t id);
void bpe_reduction_fini(struct bpe_reduction *r);
