#include "base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static uint64_t alloc_count;
static uint64_t alloc_failed;
static uint64_t alloc_refused; /* touched only when there is no memory */
static uint64_t fail_at; /* 0: never */
static enum bb_alloc_fail fail_how;

void bb_alloc_fail_at(uint64_t nth, enum bb_alloc_fail how)
{
	fail_how = how;
	__atomic_store_n(&fail_at, nth ? __atomic_load_n(&alloc_count, __ATOMIC_RELAXED) + nth : 0,
			 __ATOMIC_RELAXED);
}

/* The counter is only kept while a torture test runs: it would be one shared cache line otherwise. */
static bool is_failing(void)
{
	const uint64_t at = __atomic_load_n(&fail_at, __ATOMIC_RELAXED);

	if (__builtin_expect(at == 0, 1))
		return false;
	const uint64_t now = __atomic_add_fetch(&alloc_count, 1, __ATOMIC_RELAXED);
	if (now == at || (now > at && fail_how == BB_FAIL_FOREVER)) {
		__atomic_add_fetch(&alloc_failed, 1, __ATOMIC_RELAXED);
		return true;
	}
	return false;
}

uint64_t bb_alloc_count(void)
{
	return __atomic_load_n(&alloc_count, __ATOMIC_RELAXED);
}

uint64_t bb_alloc_failed_count(void)
{
	return __atomic_load_n(&alloc_failed, __ATOMIC_RELAXED);
}

uint64_t bb_alloc_refused_count(void)
{
	return __atomic_load_n(&alloc_refused, __ATOMIC_RELAXED);
}

static void *counted(void *got)
{
	if (__builtin_expect(!got, 0))
		__atomic_add_fetch(&alloc_refused, 1, __ATOMIC_RELAXED);
	return got;
}

void *bb_alloc(size_t size)
{
	return counted(is_failing() ? NULL : malloc(size ? size : 1));
}

void *bb_alloc_zero(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || is_failing())
		return counted(NULL);
	return counted(calloc(1, bytes ? bytes : 1));
}

void *bb_realloc(void *ptr, size_t size)
{
	return counted(is_failing() ? NULL : realloc(ptr, size ? size : 1));
}

void bb_free(void *ptr)
{
	free(ptr);
}

char *bb_strndup(const char *text, size_t len)
{
	char *copy = bb_alloc(len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}
