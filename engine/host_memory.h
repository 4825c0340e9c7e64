/*
 * host_memory.h: how much memory this process may still take.
 *
 * For: the check before a KV cache is made. The smallest of what Linux calls available, what the
 * control group (v2 or v1) leaves, and, with layers on a GPU, what the GPU has free.
 * Threads: any. Memory: none kept. Errors: unknown limits are left out; UINT64_MAX: nothing known.
 */
#pragma once

#include <stdint.h>

uint64_t host_memory_free_bytes(void);
/* Free memory of all GPUs together; 0: there is none. */
uint64_t gpu_memory_free_bytes(void);
