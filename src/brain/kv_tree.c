#include "brain/kv_tree.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define CHUNK_SIZE ((size_t)1 << 16)
#define TABLE_MIN 256u
#define AHEAD 16u

/* ---- memory ---- */

static uint32_t *bucket_of(const struct kv_tree *t, uint64_t name)
{
	uint64_t mixed = (name ^ t->secret) * 0x9e3779b97f4a7c15u;

	mixed ^= mixed >> 32;
	return &t->table[mixed & t->table_mask];
}

static bool has_room(const struct kv_tree *t, size_t more)
{
	return more <= t->bytes_max && t->bytes <= t->bytes_max - more;
}

static bool grow_table(struct kv_tree *t)
{
	const uint32_t count = t->table ? (t->table_mask + 1) * 2 : TABLE_MIN;
	const size_t size = count * sizeof(*t->table);
	const size_t old_size = t->table ? size / 2 : 0;
	uint32_t *const table = has_room(t, size) ? bb_alloc(size) : NULL;

	if (!table)
		return false;
	memset(table, 0xff, size);
	bb_free(t->table);
	t->table = table;
	t->table_mask = count - 1;
	t->bytes += size - old_size;
	for (uint32_t i = 0; i < t->made; i++) {
		struct kv_node *const n = kv_tree_at(t, i);
		if (!n->depth && !n->is_origin)
			continue; /* free */
		uint32_t *const bucket = bucket_of(t, n->name);
		n->chained = *bucket;
		*bucket = i;
	}
	return true;
}

static bool add_chunk(struct kv_tree *t)
{
	const size_t size = t->node_size << t->chunk_shift;

	if (t->chunk_count == t->chunk_max) {
		const uint32_t max = t->chunk_max ? 2 * t->chunk_max : 16;
		const size_t more = (max - t->chunk_max) * sizeof(*t->chunks);
		char **const chunks =
			has_room(t, more) ? bb_realloc(t->chunks, max * sizeof(*t->chunks)) : NULL;
		if (!chunks)
			return false;
		t->chunks = chunks;
		t->chunk_max = max;
		t->bytes += more;
	}
	char *const chunk = has_room(t, size) ? bb_alloc(size) : NULL;
	if (!chunk)
		return false;
	t->chunks[t->chunk_count++] = chunk;
	t->bytes += size;
	return true;
}

static uint32_t node_get(struct kv_tree *t, uint64_t name)
{
	uint32_t node = t->free;

	if ((!t->table || t->node_count > t->table_mask) && !grow_table(t))
		return KV_NODE_NONE;
	if (node != KV_NODE_NONE) {
		t->free = kv_tree_at(t, node)->chained;
	} else {
		if (t->made == t->chunk_count << t->chunk_shift && !add_chunk(t))
			return KV_NODE_NONE;
		node = t->made++;
	}
	uint32_t *const bucket = bucket_of(t, name);
	*kv_tree_at(t, node) = (struct kv_node){ .name = name,
						 .chained = *bucket,
						 .parent = KV_NODE_NONE,
						 .child = KV_NODE_NONE,
						 .next = KV_NODE_NONE,
						 .before = KV_NODE_NONE };
	*bucket = node;
	t->node_count++;
	return node;
}

static void node_put(struct kv_tree *t, uint32_t node)
{
	struct kv_node *const n = kv_tree_at(t, node);
	uint32_t *at = bucket_of(t, n->name);

	while (*at != node)
		at = &kv_tree_at(t, *at)->chained;
	*at = n->chained;
	n->depth = 0;
	n->is_origin = 0;
	n->chained = t->free;
	t->free = node;
	t->node_count--;
}

static void free_all(struct kv_tree *t)
{
	for (uint32_t i = 0; i < t->chunk_count; i++)
		bb_free(t->chunks[i]);
	BB_FREE(t->chunks);
	BB_FREE(t->table);
	t->chunk_count = t->chunk_max = t->made = t->node_count = t->held_count = 0;
	t->free = KV_NODE_NONE;
	t->bytes = 0;
	t->clears++;
}

void kv_tree_fini(struct kv_tree *t)
{
	free_all(t);
}

bool kv_tree_set_size(struct kv_tree *t, uint32_t engine_tokens)
{
	const uint32_t block = t->block_tokens;

	BB_ASSERT(engine_tokens > 0 && t->node_count == 0);
	free_all(t);
	t->engine_tokens = engine_tokens;
	t->ours = engine_tokens % block ? 0 : engine_tokens / block;
	t->parts = t->ours ? 1 : block / engine_tokens;
	size_t payload = t->ours * sizeof(uint64_t);
	if (!t->ours)
		payload = (engine_tokens * sizeof(uint32_t) + 7) / 8 * 8;
	t->node_size = sizeof(struct kv_node) + payload;
	t->chunk_shift = 0;
	while (t->node_size << (t->chunk_shift + 1) <= CHUNK_SIZE)
		t->chunk_shift++;
	return engine_tokens <= KV_ENGINE_TOKENS_MAX && (t->ours || block % engine_tokens == 0);
}

/* ---- telling ---- */

void kv_tree_flush(struct kv_tree *t)
{
	if (t->pending.count) {
		t->pending.hashes = t->hashes;
		t->on_change(t->user, &t->pending);
	}
	t->pending.count = 0;
}

void kv_tree_clear(struct kv_tree *t)
{
	const struct kv_change change = { .kind = KV_CHANGE_CLEAR };

	kv_tree_flush(t);
	t->cleared_count += t->held_count;
	if (t->node_count)
		free_all(t);
	t->on_change(t->user, &change);
}

/* The node of our block before that which ends with this node. */
static uint32_t above(const struct kv_tree *t, const struct kv_node *n)
{
	uint32_t node = n->parent;

	for (uint32_t i = t->parts; i > 1; i--)
		node = kv_tree_at(t, node)->parent;
	return node;
}

/* A block's hash in place `i` of the node's. Removals of any chain may stand together. */
static void tell_hash(struct kv_tree *t, enum kv_change_kind kind, enum index_tier tier,
		      uint32_t node, uint32_t i)
{
	const struct kv_node *const n = kv_tree_at(t, node);
	const uint32_t depth = t->ours ? (n->depth - 1u) * t->ours + i : n->depth / t->parts - 1u;
	struct kv_change *const p = &t->pending;
	bool goes_on = p->count && p->count < KV_CHANGE_MAX && p->kind == kind && p->tier == tier;

	if (goes_on && kind == KV_CHANGE_STORE)
		goes_on = t->pending_node == (i ? node : above(t, n));
	if (!goes_on) {
		kv_tree_flush(t);
		*p = (struct kv_change){ .kind = kind, .tier = tier };
		p->depth = kind == KV_CHANGE_STORE ? depth : 0;
	}
	t->hashes[p->count++] = n->hashes[i];
	t->pending_node = node;
}

static bool is_boundary(const struct kv_tree *t, const struct kv_node *n)
{
	return n->depth % t->parts == 0;
}

static void tell(struct kv_tree *t, enum kv_change_kind kind, uint32_t tiers, uint32_t node)
{
	if (!is_boundary(t, kv_tree_at(t, node)))
		return;
	for (; tiers; tiers &= tiers - 1)
		for (uint32_t i = 0; i < (t->ours ? t->ours : 1); i++)
			tell_hash(t, kind, tiers & -tiers, node, i);
}

/* A block whose state changes with that of the block above it. */
static bool turns(struct kv_tree *t, uint32_t node, enum kv_change_kind kind)
{
	struct kv_node *const n = kv_tree_at(t, node);

	if (kind == KV_CHANGE_STORE ? n->is_told || !n->tiers : !n->is_told)
		return false;
	n->is_told = kind == KV_CHANGE_STORE;
	t->orphan_count += kind == KV_CHANGE_REMOVE;
	tell(t, kind, n->tiers, node);
	return true;
}

/* All that are held below a node in an unbroken chain are told, or taken back. */
static void turn_below(struct kv_tree *t, uint32_t top, enum kv_change_kind kind)
{
	uint32_t node = kv_tree_at(t, top)->child;

	if (node == KV_NODE_NONE)
		return;
	while (node != top) {
		if (t->credit == 0) {
			kv_tree_clear(t);
			return;
		}
		t->credit--;
		const struct kv_node *n = kv_tree_at(t, node);
		if (turns(t, node, kind) && n->child != KV_NODE_NONE) {
			node = n->child;
			continue;
		}
		while (node != top && kv_tree_at(t, node)->next == KV_NODE_NONE)
			node = kv_tree_at(t, node)->parent;
		if (node != top)
			node = kv_tree_at(t, node)->next;
	}
}

/* ---- blocks ---- */

uint32_t kv_tree_find(const struct kv_tree *t, uint64_t name)
{
	if (!t->table)
		return KV_NODE_NONE;
	for (uint32_t i = *bucket_of(t, name); i != KV_NODE_NONE; i = kv_tree_at(t, i)->chained) {
		const struct kv_node *const n = kv_tree_at(t, i);
		if (n->name == name && !n->is_origin)
			return i;
	}
	return KV_NODE_NONE;
}

void kv_tree_prefetch(const struct kv_tree *t, const uint64_t *names, uint32_t count)
{
	if (!t->table)
		return;
	for (uint32_t i = 0; i < count && i < AHEAD; i++)
		__builtin_prefetch(bucket_of(t, names[i]));
	for (uint32_t i = 0; i < count && i < AHEAD; i++) {
		const uint32_t node = *bucket_of(t, names[i]);
		if (node != KV_NODE_NONE)
			__builtin_prefetch(kv_tree_at(t, node));
	}
}

/* The last of our hashes that a boundary stands for. */
static uint64_t last_hash(const struct kv_tree *t, const struct kv_node *n)
{
	return n->hashes[t->ours && !n->is_origin ? t->ours - 1 : 0];
}

uint32_t kv_tree_origin(struct kv_tree *t, uint64_t start)
{
	for (uint32_t i = t->table ? *bucket_of(t, start) : KV_NODE_NONE; i != KV_NODE_NONE;
	     i = kv_tree_at(t, i)->chained)
		if (kv_tree_at(t, i)->name == start && kv_tree_at(t, i)->is_origin)
			return i;
	const uint32_t node = node_get(t, start);
	if (node == KV_NODE_NONE)
		return node;
	struct kv_node *const n = kv_tree_at(t, node);
	n->is_origin = n->is_told = 1;
	n->hashes[0] = start;
	return node;
}

/* Our block ends with this part of it: the others stand above it. */
static void hash_parts(const struct kv_tree *t, struct kv_node *last, const uint32_t *tokens)
{
	uint32_t all[BLOCK_TOKENS_MAX];
	const size_t size = t->engine_tokens * sizeof(*all);
	const struct kv_node *n = kv_tree_at(t, last->parent);

	memcpy(all + (t->parts - 1) * t->engine_tokens, tokens, size);
	for (uint32_t i = t->parts - 1; i > 0; i--, n = kv_tree_at(t, n->parent))
		memcpy(all + (i - 1) * t->engine_tokens, n->hashes, size);
	const struct block_hasher h = { .scheme = BLOCK_OWN,
					.block_tokens = t->block_tokens,
					.seed = t->secret,
					.start = last_hash(t, n) };
	block_hash(&h, all, t->block_tokens, last->hashes);
}

static void hash_node(const struct kv_tree *t, struct kv_node *n, const uint32_t *tokens)
{
	if (!t->ours && is_boundary(t, n)) {
		hash_parts(t, n, tokens);
	} else if (!t->ours) {
		memcpy(n->hashes, tokens, t->engine_tokens * sizeof(*tokens));
	} else {
		const struct block_hasher h = { .scheme = BLOCK_OWN,
						.block_tokens = t->block_tokens,
						.seed = t->secret,
						.start = last_hash(t, kv_tree_at(t, n->parent)) };
		block_hash(&h, tokens, t->engine_tokens, n->hashes);
	}
}

uint32_t kv_tree_add(struct kv_tree *t, uint32_t parent, uint64_t name, const uint32_t *tokens)
{
	const uint32_t depth = kv_tree_at(t, parent)->depth + 1u;

	if (depth >= 1u << 26)
		return KV_NODE_NONE;
	const uint32_t node = node_get(t, name);
	if (node == KV_NODE_NONE)
		return node;
	struct kv_node *const n = kv_tree_at(t, node), *const up = kv_tree_at(t, parent);
	n->parent = parent;
	n->depth = depth;
	n->next = up->child;
	if (n->next != KV_NODE_NONE)
		kv_tree_at(t, n->next)->before = node;
	up->child = node;
	hash_node(t, n, tokens);
	return node;
}

void kv_tree_store(struct kv_tree *t, uint32_t node, enum index_tier tier)
{
	struct kv_node *const n = kv_tree_at(t, node);
	const uint32_t before = n->tiers;

	if (before & tier)
		return;
	n->tiers |= tier;
	t->held_count += !before;
	if (!kv_tree_at(t, n->parent)->is_told)
		return;
	n->is_told = 1;
	tell(t, KV_CHANGE_STORE, tier, node);
	if (!before)
		turn_below(t, node, KV_CHANGE_STORE);
}

void kv_tree_prune(struct kv_tree *t, uint32_t node)
{
	while (node != KV_NODE_NONE) {
		struct kv_node *const n = kv_tree_at(t, node);
		const uint32_t parent = n->parent;
		if (n->tiers || n->child != KV_NODE_NONE)
			return;
		if (n->next != KV_NODE_NONE)
			kv_tree_at(t, n->next)->before = n->before;
		if (n->before != KV_NODE_NONE)
			kv_tree_at(t, n->before)->next = n->next;
		else if (parent != KV_NODE_NONE)
			kv_tree_at(t, parent)->child = n->next;
		node_put(t, node);
		node = parent;
	}
}

bool kv_tree_remove(struct kv_tree *t, uint32_t node, enum index_tier tier)
{
	struct kv_node *const n = kv_tree_at(t, node);
	const uint32_t clears = t->clears;

	if (!(n->tiers & tier))
		return false;
	n->tiers &= ~(uint32_t)tier;
	if (n->is_told)
		tell(t, KV_CHANGE_REMOVE, tier, node);
	if (n->tiers)
		return true;
	t->held_count--;
	if (n->is_told) {
		n->is_told = 0;
		turn_below(t, node, KV_CHANGE_REMOVE);
	}
	if (t->clears == clears)
		kv_tree_prune(t, node);
	return true;
}

/* ---- for tests ---- */

static bool node_is_sound(const struct kv_tree *t, uint32_t node)
{
	const struct kv_node *const n = kv_tree_at(t, node);
	const struct kv_node *const up = n->is_origin ? NULL : kv_tree_at(t, n->parent);
	uint32_t i;

	for (i = *bucket_of(t, n->name); i != KV_NODE_NONE && i != node;)
		i = kv_tree_at(t, i)->chained;
	if (i != node || (!n->tiers && n->child == KV_NODE_NONE))
		return false;
	if (!up)
		return n->parent == KV_NODE_NONE && !n->depth && n->is_told &&
		       n->child != KV_NODE_NONE;
	if (n->depth != up->depth + 1u || n->is_told != (n->tiers && up->is_told))
		return false;
	if (n->before == KV_NODE_NONE ? up->child != node : kv_tree_at(t, n->before)->next != node)
		return false;
	return n->next == KV_NODE_NONE || kv_tree_at(t, n->next)->parent == n->parent;
}

bool kv_tree_is_sound(const struct kv_tree *t)
{
	uint32_t count = 0, held = 0;

	for (uint32_t i = 0; i < t->made; i++) {
		const struct kv_node *const n = kv_tree_at(t, i);
		if (!n->depth && !n->is_origin)
			continue;
		count++;
		held += n->tiers != 0;
		if (!node_is_sound(t, i))
			return false;
	}
	return count == t->node_count && held == t->held_count && t->bytes <= t->bytes_max &&
	       !t->pending.count;
}
