/*
 * arena.h: memory that is freed as a whole.
 *
 * For: scratch of one request: names, headers, the decision. Pieces are never freed one by one.
 * Threads: one owner. Memory: blocks of ARENA_BLOCK bytes; larger pieces get a block of their own;
 * all together never more than `max`. Freed memory is poisoned under AddressSanitizer.
 * Errors: NULL when the maximum is reached or there is no memory.
 */
#pragma once

#include <stddef.h>

#include "base/str.h"

#define BB_ARENA_BLOCK 1024

struct bb_arena_block;

struct bb_arena {
	struct bb_arena_block *blocks;
	size_t used; /* in the newest block */
	size_t total;
	size_t max;
};

void bb_arena_init(struct bb_arena *a, size_t max);
/* Takes one block of just `size` bytes at once, for what is kept long and known in size. */
BB_MUST int bb_arena_reserve(struct bb_arena *a, size_t size);
void bb_arena_fini(struct bb_arena *a);
/* The same for what may hold secrets: overwrites all of it first. */
void bb_arena_wipe(struct bb_arena *a);
/* Aligned for any type; not zeroed. */
void *bb_arena_alloc(struct bb_arena *a, size_t size) BB_MUST;
/* A copy with a NUL behind it; p == NULL on failure. */
struct bb_str bb_arena_dup(struct bb_arena *a, struct bb_str s);
