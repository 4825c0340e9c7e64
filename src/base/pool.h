/*
 * pool.h: recycled memory of one size, and of a few power-of-two sizes.
 *
 * For: connections, requests, calls (bb_pool) and bulk bytes (bb_bufpool): no malloc on the
 * request path once warm.
 * Threads: one owner; each gateway thread has its own pools.
 * Memory: a pool keeps at most `keep` free objects; more go back to the heap. Objects in the free
 * list are poisoned under AddressSanitizer.
 * Errors: NULL when there is no memory or (bufpool) the budget is used up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct bb_pool {
	void *free;
	size_t size;
	uint32_t free_count;
	uint32_t keep;
	uint64_t live; /* given out and not yet given back */
};

void bb_pool_init(struct bb_pool *p, size_t size, uint32_t keep);
void bb_pool_fini(struct bb_pool *p);
/* Zeroed. */
void *bb_pool_get(struct bb_pool *p) BB_MUST;
void bb_pool_put(struct bb_pool *p, void *object);

/*
 * Bytes that all pools of a process may give out together. Who holds little, up to a 64th of it, may
 * go an eighth over it, so that few large requests do not keep all others out; for an answer that is
 * on its way a quarter, so that new work is refused before running work is.
 * Threads: any.
 */
struct bb_budget {
	uint64_t used; /* atomic */
	uint64_t max;  /* atomic */
};

enum bb_share { BB_SHARE_NEW, BB_SHARE_RUNNING };

void bb_budget_set(struct bb_budget *b, uint64_t max);
/*
 * Takes `more` for someone who then holds `held` bytes in all. False: they are not there, and
 * nothing is taken.
 */
bool bb_budget_take(struct bb_budget *b, uint64_t more, uint64_t held, enum bb_share share) BB_MUST;
void bb_budget_give(struct bb_budget *b, uint64_t bytes);
uint64_t bb_budget_used(const struct bb_budget *b);
/* More than half is taken: time to be thrifty. */
bool bb_budget_is_tight(const struct bb_budget *b);

#define BB_BUFPOOL_SHIFT_MIN 12 /* 4 KiB */
#define BB_BUFPOOL_SHIFT_MAX 20 /* 1 MiB: larger pieces are not kept */
#define BB_BUFPOOL_CLASSES (BB_BUFPOOL_SHIFT_MAX - BB_BUFPOOL_SHIFT_MIN + 1)

struct bb_bufpool {
	void *free[BB_BUFPOOL_CLASSES];
	size_t free_bytes;
	size_t keep_bytes;
	size_t live_bytes;
	struct bb_budget *budget; /* of what is given out */
};

void bb_bufpool_init(struct bb_bufpool *p, struct bb_budget *budget, size_t keep_bytes);
void bb_bufpool_fini(struct bb_bufpool *p);
/* At least `size` bytes, not zeroed; `*cap` is what was really given and must be handed back. */
void *bb_bufpool_get(struct bb_bufpool *p, size_t size, size_t *cap, enum bb_share share) BB_MUST;
void bb_bufpool_put(struct bb_bufpool *p, void *piece, size_t cap);
