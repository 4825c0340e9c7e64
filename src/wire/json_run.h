/*
 * json_run.h: runs of uninteresting bytes inside JSON, skipped many at a time.
 *
 * For: json and usage, whose time is spent here. Each function returns how many bytes from the
 * start are plain. On x86-64 16 bytes a step (SSE2) and, where the processor has AVX2, 64; other
 * processors take the scalar path. All paths give the same results.
 * Threads: any; json_run_use is for tests, before other threads start. Memory: none; nothing is
 * read outside of [p, end). Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Bytes of a string that need no look: up to a quote, a backslash or a control byte (< 0x20).
 * Sets *high when a byte >= 0x80 was among them; never clears it.
 */
size_t json_run_plain(const char *p, const char *end, bool *high);
/* Up to a quote or a backslash, whatever else comes. */
size_t json_run_string(const char *p, const char *end);
/* Up to a quote or one of { } [ ]. */
size_t json_run_flat(const char *p, const char *end);

enum json_run_path { JSON_RUN_SCALAR, JSON_RUN_SSE2, JSON_RUN_AVX2 };
/* Forces a path; false when this processor does not have it. */
bool json_run_use(enum json_run_path path);
/* The best path that this processor has. */
enum json_run_path json_run_best(void);
