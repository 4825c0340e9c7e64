/*
 * alloc.h: the one place that asks for heap memory.
 *
 * For: every room allocates through these, so that a test can fail the n-th allocation and so
 * that memory in use is known. Sizes are bytes.
 * Threads: any. Memory: the caller owns what it gets and gives it back with bb_free.
 * Errors: NULL when there is no memory (or the torture hook says so); never aborts.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *bb_alloc(size_t size) __attribute__((malloc, alloc_size(1), warn_unused_result));
void *bb_alloc_zero(size_t count, size_t size)
	__attribute__((malloc, alloc_size(1, 2), warn_unused_result));
/* On failure the old block is untouched. */
void *bb_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), warn_unused_result));
void bb_free(void *ptr);
char *bb_strndup(const char *text, size_t len) __attribute__((malloc, warn_unused_result));

/* Requests that got NULL, since the start: what depends on them is not to be reproduced. */
uint64_t bb_alloc_refused_count(void);

/* Torture: let allocation number `nth` from now (1 = the next) fail, and with `forever` all after it. */
enum bb_alloc_fail { BB_FAIL_ONCE, BB_FAIL_FOREVER };
void bb_alloc_fail_at(uint64_t nth, enum bb_alloc_fail how);
/* Allocations while bb_alloc_fail_at was in force, and how many of them were made to fail. */
uint64_t bb_alloc_count(void);
uint64_t bb_alloc_failed_count(void);

/* Free and set to NULL on the same line. */
#define BB_FREE(p)                                                                                 \
	do {                                                                                       \
		bb_free(p);                                                                        \
		(p) = NULL;                                                                        \
	} while (0)
