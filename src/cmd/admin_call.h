/*
 * admin_call.h: one call to a running gateway's admin API, for subcommands.
 *
 * Threads: the main thread; blocks. Memory: the answer is in the caller's buffer.
 * Errors: told on stderr, with what to do; 0 or the exit code.
 */
#pragma once

#include "base/buf.h"

#define ADMIN_DEFAULT "127.0.0.1:8081"

/* `admin` is HOST:PORT, [IPv6]:PORT or unix:PATH. `*status` is the HTTP status. */
BB_MUST int admin_call(const char *command, const char *admin, const char *method, const char *path,
		       int *status, struct bb_buf *answer);
