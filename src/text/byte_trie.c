#include "text/byte_trie.h"

#include <string.h>

#include "base/alloc.h"

#define EDGES_FIRST 4096u

int byte_trie_init(struct byte_trie *t)
{
	*t = (struct byte_trie){ .mask = EDGES_FIRST - 1, .count = 1, .cap = EDGES_FIRST / 2 };
	t->edges = bb_alloc_zero(EDGES_FIRST, sizeof(*t->edges));
	t->values = bb_alloc(t->cap * sizeof(*t->values));
	if (!t->edges || !t->values) {
		byte_trie_fini(t);
		return -BB_ENOMEM;
	}
	t->values[BYTE_TRIE_ROOT] = BYTE_TRIE_NONE;
	return 0;
}

void byte_trie_fini(struct byte_trie *t)
{
	BB_FREE(t->edges);
	BB_FREE(t->values);
}

size_t byte_trie_size(const struct byte_trie *t)
{
	return ((size_t)t->mask + 1) * sizeof(*t->edges) + t->cap * sizeof(*t->values);
}

static void insert(struct byte_trie_edge *edges, uint32_t mask, struct byte_trie_edge edge)
{
	uint32_t i = edge.key * 0x9e3779b1u >> 7;

	while (edges[i & mask].key)
		i++;
	edges[i & mask] = edge;
}

/* Nodes and edges grow together: there is an edge to each node but the root. */
static int grow(struct byte_trie *t)
{
	if (t->cap >= BYTE_TRIE_NODES_MAX)
		return -BB_ELIMIT;
	uint32_t *const values = bb_realloc(t->values, 2 * (size_t)t->cap * sizeof(*values));
	if (!values)
		return -BB_ENOMEM;
	t->values = values;
	const uint32_t mask = 2 * t->mask + 1;
	struct byte_trie_edge *const edges = bb_alloc_zero((size_t)mask + 1, sizeof(*edges));
	if (!edges)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i <= t->mask; i++)
		if (t->edges[i].key)
			insert(edges, mask, t->edges[i]);
	bb_free(t->edges);
	t->edges = edges;
	t->mask = mask;
	t->cap *= 2;
	return 0;
}

static int add_child(struct byte_trie *t, uint32_t node, uint8_t byte, uint32_t *child)
{
	if (t->count == t->cap) {
		const int rc = grow(t);
		if (rc)
			return rc;
	}
	*child = t->count++;
	t->values[*child] = BYTE_TRIE_NONE;
	insert(t->edges, t->mask,
	       (struct byte_trie_edge){ .key = (node << 8 | byte) + 1, .child = *child });
	return 0;
}

int byte_trie_put(struct byte_trie *t, struct bb_str s, uint32_t value)
{
	uint32_t node = BYTE_TRIE_ROOT;

	for (size_t i = 0; i < s.len; i++) {
		uint32_t child = byte_trie_child(t, node, (uint8_t)s.p[i]);
		if (child == BYTE_TRIE_NONE) {
			const int rc = add_child(t, node, (uint8_t)s.p[i], &child);
			if (rc)
				return rc;
		}
		node = child;
	}
	t->values[node] = value;
	return 0;
}

uint32_t byte_trie_walk(const struct byte_trie *t, struct bb_str s)
{
	uint32_t node = BYTE_TRIE_ROOT;

	for (size_t i = 0; i < s.len && node != BYTE_TRIE_NONE; i++)
		node = byte_trie_child(t, node, (uint8_t)s.p[i]);
	return node;
}

uint32_t byte_trie_get(const struct byte_trie *t, struct bb_str s)
{
	const uint32_t node = byte_trie_walk(t, s);

	return node == BYTE_TRIE_NONE ? BYTE_TRIE_NONE : t->values[node];
}
