/*
 * gateway.h: the whole of a running gateway.
 *
 * For: cmd/serve.c starts and stops it; the other files of this room share the structs.
 * Threads: N workers (a loop, a listener, connection pools each), the control thread (probes,
 * reload, admin listener), the writer thread (access records). Shared between them: the brain
 * behind one mutex, one struct engine_link per engine, per-thread counters. A snapshot reaches the
 * workers by message.
 * Memory: everything is freed by gateway_destroy.
 * Errors: told by log lines with what to do; -BB_E… to the caller.
 */
#pragma once

#include <pthread.h>

#include "base/pool.h"
#include "brain/brain.h"
#include "brain/tenants.h"
#include "engines/adapter.h"
#include "gateway/snapshot.h"
#include "os/loop.h"
#include "os/process.h"
#include "os/sock.h"
#include "records/line_writer.h"

#define GATEWAY_WORKERS_MAX 64
#define GATEWAY_ENGINES_MAX 1024

struct worker;
struct control;
struct prompt_cache;
struct peer_counts;
struct journal;

/* What the control thread finds out about an engine and the workers need to reach it. */
struct engine_link {
	uint32_t generation;           /* atomic */
	uint32_t addr_version;         /* atomic; 0: no address yet; changes with the address */
	struct sock_addr addr;         /* under the brain's lock */
	const struct adapter *adapter; /* atomic; NULL until the engine was detected */
	struct control *control;       /* whom `kick` is for */
	struct loop_message kick;      /* traffic says that it failed: to the control thread */
	bool kick_pending;             /* atomic */
	uint8_t text_verdict;          /* atomic; enum text_verdict: does it tokenize as we do? */
	/* What the heads of its answers tell of its load; all atomic, the version last. */
	uint64_t load_read_ns; /* when it was read last */
	uint32_t load_waiting, load_usage_ppm, load_version;
};

struct gateway_identity {
	const char *version, *commit, *variant;
};

/* Every port and file is open and no request was read: what is not needed any more is given up. */
typedef int gateway_confine_fn(void *user);

struct gateway {
	pthread_mutex_t brain_lock;
	struct brain *brain;
	bool has_adapters;            /* atomic; some engine has listed one (LoRA) */
	uint64_t block_secret;        /* of the hashes of prompts' blocks */
	pthread_mutex_t tenants_lock; /* never held together with the brain's */
	struct tenants *tenants;
	struct bb_budget buffers;     /* limits.buffers: bodies, unsent answers, answers put together */
	struct engine_link links[GATEWAY_ENGINES_MAX];
	struct worker *workers[GATEWAY_WORKERS_MAX];
	uint32_t worker_count;
	struct control *control;
	struct line_writer *access; /* NULL: off */
	struct journal *journal;    /* NULL: off */
	struct peer_counts *peers;
	struct prompt_cache *prompts; /* NULL: off, or no model has a tokenizer */
	struct gateway_identity identity;
	char *config_path;         /* NULL: options only */
	uint64_t started_ns;
	uint64_t reloads, reloads_failed; /* atomic */
	bool draining;             /* atomic */
	gateway_confine_fn *confine;
	void *confine_user;
};

/*
 * Called for SIGHUP and POST /admin/reload: reads the configuration again. A new object, or NULL
 * with the mistakes written to `report`.
 */
typedef struct config *gateway_reload_fn(void *user, struct bb_buf *report);

struct gateway_options {
	struct config *config; /* taken over, also when that fails */
	struct gateway_identity identity;
	gateway_reload_fn *reload;
	gateway_confine_fn *confine;
	void *user;
};

BB_MUST int gateway_create(const struct gateway_options *options, struct gateway **out);
/* Runs the control loop in the calling thread until SIGTERM or SIGINT has drained everything. */
int gateway_run(struct gateway *g);
/*
 * Without API keys nobody from another machine may come in, unless the operator says so. `running`
 * is the configuration whose addresses are open; NULL: those of `c` will be. -BB_EINVALID with a
 * sentence.
 */
BB_MUST int gateway_check_listeners(const struct config *c, const struct config *running, char *why,
				    size_t why_size);
void gateway_destroy(struct gateway *g);

/* The brain is used between these two only. */
static inline void gateway_lock(struct gateway *g)
{
	pthread_mutex_lock(&g->brain_lock);
}

/* Requests that waited and have been decided for meanwhile are sent back to their workers. */
void gateway_post_released(struct gateway *g);

static inline void gateway_unlock(struct gateway *g)
{
	gateway_post_released(g);
	pthread_mutex_unlock(&g->brain_lock);
}
