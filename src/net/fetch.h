/*
 * fetch.h: one HTTP request with the whole answer in memory.
 *
 * For: probes of engines; the command line's calls to the admin API. Not for traffic: that is
 * relayed as it comes (httpc.h).
 * Threads: the loop's thread. A caller with no loop of its own creates one and calls loop_turn
 * until on_done was called.
 * Memory: everything given is copied. The answer is valid during on_done; the fetch is gone
 * after it.
 * Errors: of httpc.h; -BB_EUPTIMEOUT when the answer is not whole in time, -BB_ELIMIT when its
 * body is larger than allowed, -BB_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "net/httpc.h"

struct fetch;

struct fetch_answer {
	int err;            /* 0: a whole answer has come, whatever its status */
	const char *why;    /* a few words about `err`, else NULL */
	int status;         /* 0 when no head has come */
	struct bb_str type; /* Content-Type, cut at 128 bytes */
	struct bb_str body; /* empty on failure */
};

struct fetch_request {
	struct loop *loop;     /* the pool's */
	const char *method;    /* "GET" "POST" "PUT" "DELETE" */
	struct bb_str host;    /* the Host field */
	struct bb_str target;  /* "/path?query" */
	struct bb_str bearer;  /* API key; empty: none */
	struct bb_str headers; /* further lines, each "Name: value\r\n" */
	struct bb_str body;    /* sent with Content-Length unless the method is GET */
	size_t body_size_max;  /* of the answer */
	uint64_t timeout_ns;   /* for all of it; 0: only the pool's limits */
	void *user;
	void (*on_done)(void *user, const struct fetch_answer *a);
};

/*
 * Starts it. On an error on_done is not called. A GET that meets a pooled connection which the peer
 * has just closed is sent once more on a fresh one. on_done is never called from inside of this.
 */
BB_MUST int fetch_start(struct httpc_pool *pool, const struct fetch_request *r, struct fetch **out);
/* Breaks it off without on_done and frees it. Not from inside of its own on_done. */
void fetch_cancel(struct fetch *f);
