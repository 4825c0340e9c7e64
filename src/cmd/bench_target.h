/*
 * bench_target.h: a server that a benchmark calls, from its URL.
 *
 * For: bench.c, bench_run.c. Threads: the main thread; a name is looked up, which blocks.
 * Memory: refers to the text. Errors: -BB_EINVALID, with why; -BB_ELIMIT.
 */
#pragma once

#include "base/buf.h"
#include "os/sock.h"

#define BENCH_TARGETS_MAX 16u
#define BENCH_LABEL_SIZE 128

struct bench_target {
	char label[BENCH_LABEL_SIZE]; /* what it is called in results: its URL if nothing else */
	struct sock_addr to;
	char host[SOCK_TEXT_SIZE]; /* for the header field of that name */
	struct bb_str path;
};

/* "http://HOST:PORT[/path]", "unix:PATH", either behind "LABEL=". */
BB_MUST int bench_target_read(const char *text, struct bench_target *out, const char **why);
/* "NAME: value" as a line of a request's head. */
BB_MUST int bench_header_add(const char *text, struct bb_buf *headers);
