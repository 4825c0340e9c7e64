/*
 * byte_trie.h: a set of byte strings, walked byte by byte.
 *
 * For: models that look for all, or the longest, vocabulary entries that begin at a place.
 * Threads: read by any once it is built. Memory: 16 to 36 bytes for each edge.
 * Errors: -BB_ENOMEM; -BB_ELIMIT beyond BYTE_TRIE_NODES_MAX.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define BYTE_TRIE_NODES_MAX (1u << 24)
#define BYTE_TRIE_ROOT 0u
/* No value; and as a node: no child. */
#define BYTE_TRIE_NONE UINT32_MAX

struct byte_trie_edge {
	uint32_t key; /* node << 8 | byte, plus 1; 0: free */
	uint32_t child;
};

struct byte_trie {
	struct byte_trie_edge *edges;
	uint32_t mask;
	uint32_t *values;    /* by node */
	uint32_t count, cap; /* nodes */
};

BB_MUST int byte_trie_init(struct byte_trie *t);
void byte_trie_fini(struct byte_trie *t);
size_t byte_trie_size(const struct byte_trie *t);
/* Sets the value of a string; a later one replaces an earlier one. */
BB_MUST int byte_trie_put(struct byte_trie *t, struct bb_str s, uint32_t value);
/* The value of exactly this string, or BYTE_TRIE_NONE. */
uint32_t byte_trie_get(const struct byte_trie *t, struct bb_str s);
/* The node that the bytes of s lead to, or BYTE_TRIE_NONE. */
uint32_t byte_trie_walk(const struct byte_trie *t, struct bb_str s);

static inline uint32_t byte_trie_child(const struct byte_trie *t, uint32_t node, uint8_t byte)
{
	const uint32_t key = (node << 8 | byte) + 1;

	for (uint32_t i = key * 0x9e3779b1u >> 7;; i++) {
		const struct byte_trie_edge *const e = &t->edges[i & t->mask];
		if (e->key == key)
			return e->child;
		if (!e->key)
			return BYTE_TRIE_NONE;
	}
}
