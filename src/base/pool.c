#include "base/pool.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

/* A free piece begins with the pointer to the next one; the rest of it is poisoned. */
static void *list_pop(void **head, size_t size)
{
	void *piece = *head;

	memcpy(head, piece, sizeof(void *));
	UNPOISON(piece, size);
	return piece;
}

static void list_push(void **head, void *piece, size_t size)
{
	memcpy(piece, head, sizeof(void *));
	*head = piece;
	POISON((char *)piece + sizeof(void *), size - sizeof(void *));
}

static void list_free(void **head, size_t size)
{
	while (*head)
		bb_free(list_pop(head, size));
}

void bb_pool_init(struct bb_pool *p, size_t size, uint32_t keep)
{
	BB_ASSERT(size >= sizeof(void *));
	*p = (struct bb_pool){ .size = size, .keep = keep };
}

void bb_pool_fini(struct bb_pool *p)
{
	list_free(&p->free, p->size);
	p->free_count = 0;
}

void *bb_pool_get(struct bb_pool *p)
{
	void *object;

	if (p->free) {
		object = list_pop(&p->free, p->size);
		p->free_count--;
		memset(object, 0, p->size);
	} else {
		object = bb_alloc_zero(1, p->size);
		if (!object)
			return NULL;
	}
	p->live++;
	return object;
}

void bb_pool_put(struct bb_pool *p, void *object)
{
	BB_ASSERT(p->live > 0);
	p->live--;
	if (p->free_count >= p->keep) {
		bb_free(object);
		return;
	}
	list_push(&p->free, object, p->size);
	p->free_count++;
}

void bb_budget_set(struct bb_budget *b, uint64_t max)
{
	__atomic_store_n(&b->max, max, __ATOMIC_RELAXED);
}

bool bb_budget_take(struct bb_budget *b, uint64_t more, uint64_t held, enum bb_share share)
{
	const uint64_t max = __atomic_load_n(&b->max, __ATOMIC_RELAXED);
	const uint64_t limit = held > max / 64		   ? max
			       : share == BB_SHARE_RUNNING ? max + max / 4
							   : max + max / 8;

	if (more > limit)
		return false;
	if (__atomic_add_fetch(&b->used, more, __ATOMIC_RELAXED) <= limit)
		return true;
	__atomic_sub_fetch(&b->used, more, __ATOMIC_RELAXED);
	return false;
}

void bb_budget_give(struct bb_budget *b, uint64_t bytes)
{
	const uint64_t before = __atomic_fetch_sub(&b->used, bytes, __ATOMIC_RELAXED);

	BB_ASSERT(before >= bytes);
}

uint64_t bb_budget_used(const struct bb_budget *b)
{
	return __atomic_load_n(&b->used, __ATOMIC_RELAXED);
}

bool bb_budget_is_tight(const struct bb_budget *b)
{
	return bb_budget_used(b) > __atomic_load_n(&b->max, __ATOMIC_RELAXED) / 2;
}

void bb_bufpool_init(struct bb_bufpool *p, struct bb_budget *budget, size_t keep_bytes)
{
	*p = (struct bb_bufpool){ .budget = budget, .keep_bytes = keep_bytes };
}

void bb_bufpool_fini(struct bb_bufpool *p)
{
	for (int i = 0; i < BB_BUFPOOL_CLASSES; i++)
		list_free(&p->free[i], (size_t)1 << (i + BB_BUFPOOL_SHIFT_MIN));
	p->free_bytes = 0;
}

/* The class whose pieces hold `size` bytes, or -1 when it is larger than any. */
static int bufpool_class(size_t size)
{
	if (size > (size_t)1 << BB_BUFPOOL_SHIFT_MAX)
		return -1;
	if (size <= (size_t)1 << BB_BUFPOOL_SHIFT_MIN)
		return 0;
	return 64 - __builtin_clzll(size - 1) - BB_BUFPOOL_SHIFT_MIN;
}

void *bb_bufpool_get(struct bb_bufpool *p, size_t size, size_t *cap, enum bb_share share)
{
	const int class = bufpool_class(size);
	const size_t bytes = class < 0 ? size : (size_t)1 << (class + BB_BUFPOOL_SHIFT_MIN);
	void *piece;

	if (!bb_budget_take(p->budget, bytes, bytes, share))
		return NULL;
	if (class >= 0 && p->free[class]) {
		piece = list_pop(&p->free[class], bytes);
		p->free_bytes -= bytes;
	} else {
		piece = bb_alloc(bytes);
		if (!piece) {
			bb_budget_give(p->budget, bytes);
			return NULL;
		}
	}
	p->live_bytes += bytes;
	*cap = bytes;
	return piece;
}

void bb_bufpool_put(struct bb_bufpool *p, void *piece, size_t cap)
{
	const int class = bufpool_class(cap);

	if (!piece)
		return;
	BB_ASSERT(p->live_bytes >= cap);
	p->live_bytes -= cap;
	bb_budget_give(p->budget, cap);
	if (class < 0 || p->free_bytes + cap > p->keep_bytes) {
		bb_free(piece);
		return;
	}
	list_push(&p->free[class], piece, cap);
	p->free_bytes += cap;
}
