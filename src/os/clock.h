/*
 * clock.h: the time.
 *
 * Threads: any. Memory: none. Errors: none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define OS_US 1000ull
#define OS_MS 1000000ull
#define OS_SECOND 1000000000ull

/* Monotonic nanoseconds; only differences mean something. */
uint64_t clock_now_ns(void);
/* Nanoseconds since 1970-01-01 UTC. */
uint64_t clock_wall_ns(void);
void clock_sleep_ns(uint64_t ns);
/* "2026-11-24T05:32:13.123Z" into `out`, which holds CLOCK_ISO_SIZE bytes. Returns its length. */
#define CLOCK_ISO_SIZE 32
size_t clock_iso(uint64_t wall_ns, char *out);
/* CPU time of this thread, nanoseconds. */
uint64_t clock_thread_cpu_ns(void);
