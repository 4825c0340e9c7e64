/*
 * worker.h: one gateway thread: its loop, listeners, pools of connections, counters.
 *
 * Threads: a worker's fields belong to its own thread; others post messages to its loop and read
 * its metrics. Memory: owned; requests come from its pool.
 * Errors: -BB_ENOMEM, -BB_ESYSTEM.
 */
#pragma once

#include "base/hash.h"
#include "base/pool.h"
#include "gateway/explanation.h"
#include "gateway/gateway.h"
#include "gateway/metrics.h"
#include "gateway/token_gate.h"
#include "net/httpc.h"
#include "net/httpd.h"

struct worker_pool {
	uint32_t generation;
	uint32_t addr_version;
	struct httpc_pool *pool;
	struct retired_pool *place; /* taken with the pool, so that it can always retire */
};

struct worker {
	struct gateway *gateway;
	uint32_t index;
	struct thread thread;
	struct loop *loop;
	struct httpd *httpd;
	struct snapshot *snapshot; /* a reference of its own */
	struct metrics *metrics;
	struct token_gate *tokens;
	struct text_work *texts;
	struct line_lane *lane;    /* NULL: access records are off */
	struct bb_pool requests;
	struct explain_ring explained; /* the last decisions */
	struct worker_pool pools[GATEWAY_ENGINES_MAX]; /* by engine slot */
	struct bb_list retired;    /* pools of engines that left, until their calls end */
	struct loop_timer sweep;
	struct loop_timer deadline; /* of a drain */
	struct bb_buf text;        /* scratch for headers, bodies and records */
	struct decision decision;  /* scratch */
	uint64_t id_prefix;        /* of request ids made here */
	uint64_t id_next;
	uint64_t time_second;      /* of time_text */
	char time_text[32];        /* for access records */
	bool draining;
	bool has_ended;            /* atomic */
};

/* Takes the listening descriptors, also when it fails. */
BB_MUST int worker_create(struct gateway *g, uint32_t index, struct snapshot *snapshot,
			  const int *listen_fds, uint32_t listen_count, struct worker **out);
BB_MUST int worker_start(struct worker *w);
/* Any thread: hands over a new snapshot (a reference of it is taken). */
BB_MUST int worker_set_snapshot(struct worker *w, struct snapshot *s);
/* Any thread: no new connections; ends when the last exchange is over or at `deadline_ns`. */
void worker_drain(struct worker *w, uint64_t deadline_ns);
void worker_join(struct worker *w);
void worker_destroy(struct worker *w);
/* The pool for an engine; NULL when it has no address yet or there is no memory. */
struct httpc_pool *worker_pool(struct worker *w, struct engine_id id);
