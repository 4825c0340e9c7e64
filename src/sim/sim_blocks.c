#include "sim/sim_blocks.h"

#include "base/alloc.h"
#include "base/log.h"

struct block {
	uint64_t hash; /* valid while `named` */
	uint32_t holders;
	uint32_t chain;      /* next block of the same bucket */
	uint32_t prev, next; /* in the list of free blocks */
	bool named;
};

struct sim_blocks {
	struct block *blocks; /* one more than `count`: the last is the head of the free list */
	uint32_t *buckets;
	uint32_t bucket_mask;
	uint32_t count;
	uint32_t free_count;
	uint32_t named_count;
	void (*on_removed)(void *ctx, uint64_t hash);
	void *ctx;
};

static void free_link(struct sim_blocks *p, uint32_t block, uint32_t after)
{
	struct block *b = &p->blocks[block], *a = &p->blocks[after];

	b->prev = after;
	b->next = a->next;
	p->blocks[a->next].prev = block;
	a->next = block;
	p->free_count++;
}

static void free_unlink(struct sim_blocks *p, uint32_t block)
{
	struct block *b = &p->blocks[block];

	p->blocks[b->prev].next = b->next;
	p->blocks[b->next].prev = b->prev;
	p->free_count--;
}

int sim_blocks_create(uint32_t count, void (*on_removed)(void *ctx, uint64_t hash), void *ctx,
		      struct sim_blocks **out)
{
	uint32_t bucket_count = 16;

	BB_ASSERT(count > 0 && count < (1u << 30));
	while (bucket_count < count)
		bucket_count *= 2;
	struct sim_blocks *p = bb_alloc_zero(1, sizeof(*p));
	if (!p)
		return -BB_ENOMEM;
	p->blocks = bb_alloc_zero((size_t)count + 1, sizeof(*p->blocks));
	p->buckets = bb_alloc(bucket_count * sizeof(*p->buckets));
	if (!p->blocks || !p->buckets) {
		sim_blocks_destroy(p);
		return -BB_ENOMEM;
	}
	for (uint32_t i = 0; i < bucket_count; i++)
		p->buckets[i] = SIM_NO_BLOCK;
	p->bucket_mask = bucket_count - 1;
	p->count = count;
	p->on_removed = on_removed;
	p->ctx = ctx;
	p->blocks[count].prev = p->blocks[count].next = count;
	for (uint32_t i = count; i-- > 0;)
		free_link(p, i, count);
	*out = p;
	return 0;
}

void sim_blocks_destroy(struct sim_blocks *p)
{
	if (!p)
		return;
	bb_free(p->blocks);
	bb_free(p->buckets);
	bb_free(p);
}

static uint32_t *bucket_of(const struct sim_blocks *p, uint64_t hash)
{
	return &p->buckets[(hash ^ hash >> 32) & p->bucket_mask];
}

uint32_t sim_blocks_find(const struct sim_blocks *p, uint64_t hash)
{
	for (uint32_t i = *bucket_of(p, hash); i != SIM_NO_BLOCK; i = p->blocks[i].chain)
		if (p->blocks[i].hash == hash)
			return i;
	return SIM_NO_BLOCK;
}

bool sim_blocks_is_held(const struct sim_blocks *p, uint32_t block)
{
	BB_ASSERT(block < p->count);
	return p->blocks[block].holders > 0;
}

void sim_blocks_hold(struct sim_blocks *p, uint32_t block)
{
	BB_ASSERT(block < p->count);
	if (p->blocks[block].holders++ == 0)
		free_unlink(p, block);
}

static void unname(struct sim_blocks *p, uint32_t block)
{
	uint32_t *link = bucket_of(p, p->blocks[block].hash);

	while (*link != block)
		link = &p->blocks[*link].chain;
	*link = p->blocks[block].chain;
	p->blocks[block].named = false;
	p->named_count--;
}

uint32_t sim_blocks_take(struct sim_blocks *p)
{
	const uint32_t block = p->blocks[p->count].next;

	if (block == p->count)
		return SIM_NO_BLOCK;
	struct block *b = &p->blocks[block];
	if (b->named) {
		unname(p, block);
		if (p->on_removed)
			p->on_removed(p->ctx, b->hash);
	}
	sim_blocks_hold(p, block);
	return block;
}

void sim_blocks_put(struct sim_blocks *p, uint32_t block)
{
	BB_ASSERT(block < p->count && p->blocks[block].holders > 0);
	if (--p->blocks[block].holders)
		return;
	/* To the end of the list, reused last; a nameless one is no loss and goes first. */
	free_link(p, block, p->blocks[block].named ? p->blocks[p->count].prev : p->count);
}

bool sim_blocks_name(struct sim_blocks *p, uint32_t block, uint64_t hash)
{
	struct block *b = &p->blocks[block];

	BB_ASSERT(block < p->count && b->holders > 0 && !b->named);
	if (sim_blocks_find(p, hash) != SIM_NO_BLOCK)
		return false;
	uint32_t *bucket = bucket_of(p, hash);
	b->hash = hash;
	b->named = true;
	b->chain = *bucket;
	*bucket = block;
	p->named_count++;
	return true;
}

bool sim_blocks_forget(struct sim_blocks *p)
{
	if (p->free_count != p->count)
		return false;
	for (uint32_t i = 0; i < p->count; i++)
		if (p->blocks[i].named)
			unname(p, i);
	return true;
}

uint32_t sim_blocks_count(const struct sim_blocks *p)
{
	return p->count;
}

uint32_t sim_blocks_free_count(const struct sim_blocks *p)
{
	return p->free_count;
}

uint32_t sim_blocks_named_count(const struct sim_blocks *p)
{
	return p->named_count;
}
