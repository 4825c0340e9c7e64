/*
 * sim_blocks.h: a pool of KV-cache blocks with a prefix cache, as in vLLM's block pool.
 *
 * For: engine_model. A block is held by any number of requests; a full one may carry a name, the
 * hash of its chain of tokens, by which later requests find it. A block that nobody holds keeps
 * its name until it is needed for something else: the one that has been free longest goes first,
 * nameless ones before all others.
 * Threads: one owner. Memory: everything is taken at creation.
 * Errors: -BB_ENOMEM at creation; SIM_NO_BLOCK when every block is held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SIM_NO_BLOCK UINT32_MAX

struct sim_blocks;

/* `on_removed` (may be NULL) hears of each name that is lost because its block is reused. */
BB_MUST int sim_blocks_create(uint32_t count, void (*on_removed)(void *ctx, uint64_t hash),
			      void *ctx, struct sim_blocks **out);
void sim_blocks_destroy(struct sim_blocks *p);

/* The block of that name, or SIM_NO_BLOCK. Does not take it. */
uint32_t sim_blocks_find(const struct sim_blocks *p, uint64_t hash);
bool sim_blocks_is_held(const struct sim_blocks *p, uint32_t block);
/* One more holder. */
void sim_blocks_hold(struct sim_blocks *p, uint32_t block);
/* A nameless block with one holder, or SIM_NO_BLOCK. */
uint32_t sim_blocks_take(struct sim_blocks *p);
/* One holder less. */
void sim_blocks_put(struct sim_blocks *p, uint32_t block);
/* Gives a held block its name; false when another block has it (then this one stays nameless). */
bool sim_blocks_name(struct sim_blocks *p, uint32_t block, uint64_t hash);
/* Forgets all names, without telling. False when some block is held: nothing is done then. */
bool sim_blocks_forget(struct sim_blocks *p);

uint32_t sim_blocks_count(const struct sim_blocks *p);
uint32_t sim_blocks_free_count(const struct sim_blocks *p);
uint32_t sim_blocks_named_count(const struct sim_blocks *p);
