#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

struct bb_arena_block {
	struct bb_arena_block *next;
	size_t size;
	_Alignas(16) char data[];
};

void bb_arena_init(struct bb_arena *a, size_t max)
{
	*a = (struct bb_arena){ .max = max };
}

void bb_arena_fini(struct bb_arena *a)
{
	while (a->blocks) {
		struct bb_arena_block *b = a->blocks;
		a->blocks = b->next;
		bb_free(b);
	}
	*a = (struct bb_arena){ .max = a->max };
}

void bb_arena_wipe(struct bb_arena *a)
{
	for (struct bb_arena_block *b = a->blocks; b; b = b->next)
		explicit_bzero(b->data, b->size);
	bb_arena_fini(a);
}

static bool arena_add_block(struct bb_arena *a, size_t room)
{
	if (room > a->max - a->total)
		return false;
	struct bb_arena_block *b = bb_alloc(sizeof(*b) + room);
	if (!b)
		return false;
	b->next = a->blocks;
	b->size = room;
	a->blocks = b;
	a->used = 0;
	a->total += room;
	return true;
}

static size_t aligned(size_t size)
{
	return (size + 15) & ~(size_t)15;
}

void *bb_arena_alloc(struct bb_arena *a, size_t size)
{
	if (size > a->max)
		return NULL;
	size = aligned(size);
	if (!a->blocks || size > a->blocks->size - a->used) {
		size_t room = BB_ARENA_BLOCK - sizeof(struct bb_arena_block);
		/* The last block is as large as what is left, or as what is asked for. */
		if (room > a->max - a->total)
			room = a->max - a->total;
		if (room < size)
			room = size;
		if (!arena_add_block(a, room))
			return NULL;
	}
	void *p = a->blocks->data + a->used;
	a->used += size;
	return p;
}

int bb_arena_reserve(struct bb_arena *a, size_t size)
{
	return size <= a->max && arena_add_block(a, aligned(size)) ? 0 : -BB_ENOMEM;
}

struct bb_str bb_arena_dup(struct bb_arena *a, struct bb_str s)
{
	char *p = bb_arena_alloc(a, s.len + 1);

	if (!p)
		return (struct bb_str){ 0 };
	if (s.len)
		memcpy(p, s.p, s.len);
	p[s.len] = '\0';
	return (struct bb_str){ p, s.len };
}
