/*
 * map.h: a hash map from byte strings to 32-bit numbers.
 *
 * For: names (models, aliases, tenants) to slots of a table.
 * Threads: one owner, or any number of readers once it is built. Memory: owns copies of its keys.
 * Hashing is keyed, so that names chosen by a client cannot be aimed at one bucket.
 * Errors: -BB_ENOMEM on insertion; look-up of an absent key gives BB_MAP_NONE.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"

#define BB_MAP_NONE UINT32_MAX

struct bb_map_slot;

struct bb_map {
	struct bb_map_slot *slots;
	uint32_t mask; /* capacity − 1 */
	uint32_t count;
	uint64_t key;
};

void bb_map_init(struct bb_map *m, uint64_t hash_key);
void bb_map_fini(struct bb_map *m);
/* Sets or replaces. `value` must not be BB_MAP_NONE. */
BB_MUST int bb_map_put(struct bb_map *m, struct bb_str name, uint32_t value);
uint32_t bb_map_get(const struct bb_map *m, struct bb_str name);
