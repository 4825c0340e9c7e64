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

void bb_bufpool_init(struct bb_bufpool *p, size_t live_max, size_t keep_bytes)
{
	*p = (struct bb_bufpool){ .live_max = live_max, .keep_bytes = keep_bytes };
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

void *bb_bufpool_get(struct bb_bufpool *p, size_t size, size_t *cap)
{
	const int class = bufpool_class(size);
	const size_t bytes = class < 0 ? size : (size_t)1 << (class + BB_BUFPOOL_SHIFT_MIN);
	void *piece;

	if (bytes > p->live_max || p->live_bytes > p->live_max - bytes)
		return NULL;
	if (class >= 0 && p->free[class]) {
		piece = list_pop(&p->free[class], bytes);
		p->free_bytes -= bytes;
	} else {
		piece = bb_alloc(bytes);
		if (!piece)
			return NULL;
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
	if (class < 0 || p->free_bytes + cap > p->keep_bytes) {
		bb_free(piece);
		return;
	}
	list_push(&p->free[class], piece, cap);
	p->free_bytes += cap;
}
