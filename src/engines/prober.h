/*
 * prober.h: finds out what an engine is, and keeps watching it.
 *
 * For: the control thread: one prober for each engine. From the address alone it detects the kind
 * of engine, reads its models, endpoints, capacity and load, and reports them.
 * Two lanes, each with one request under way at the most: `watch` decides the state (detection,
 * then the kind's cheap health endpoint at each interval, the list of models at each tenth), and
 * `study` reads what is good to know (capacity, endpoints, load); that one never changes the state.
 * States: STARTING: it never answered, or says that it is still loading. READY: healthy, and it was
 * asked for its models (a server without such a list serves what the configuration says). DOWN: it
 * refuses connections, or `unhealthy_after` probes in a row failed. Whoever comes back is detected
 * anew, since it may be another engine or another model.
 * Log: engine_probed says why an engine is not ready (and that it is, at debug); probe_failed (debug).
 * Threads: the loop's thread only.
 * Memory: a prober copies what its configuration points to. What a report points to is valid
 * during the call.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "brain/brain.h"
#include "engines/adapter.h"
#include "os/loop.h"
#include "os/sock.h"

struct prober;
struct tls_context;

struct prober_config {
	struct loop *loop;
	struct sock_addr addr;
	struct bb_str host;          /* the Host field */
	struct bb_str base;          /* in front of every path: "" or "/path" */
	struct bb_str api_key;       /* empty: none */
	struct tls_context *tls;     /* NULL: plain; the caller keeps it as long as the prober lives */
	const char *tls_name;        /* whom the engine's certificate must name; kept likewise */
	enum engine_kind kind;       /* ENGINE_KIND_AUTO: to be detected */
	uint64_t interval_ns;        /* between two probes */
	uint64_t timeout_ns;         /* for one answer */
	uint64_t metrics_interval_ns; /* between two readings of the load, at the least; 0: off */
	uint32_t unhealthy_after;    /* failures in a row, at least 1 */
	void *user;
	/*
	 * A complete report: at each change, and with each new reading of the load. `a` is NULL as
	 * long as nothing was detected. Neither destroy nor set_addr may be called from inside.
	 */
	void (*on_report)(void *user, const struct engine_report *r, const struct adapter *a);
};

/* A reading of the load that came by itself: in the head of an answer, or pushed. */
struct engine_load {
	bool has_running, has_waiting, has_usage;
	bool has_all;            /* pushed whenever something changes: no metrics need be read */
	uint32_t running, waiting;
	uint64_t waiting_tokens; /* uncached prompt tokens of those that wait; 0: not said */
	double kv_usage;         /* 0 … 1 */
};

/* The first probe starts at the loop's next turn. */
BB_MUST int prober_create(const struct prober_config *config, struct prober **out);
void prober_destroy(struct prober *p);
/* Traffic says that it failed (or is back): probe now instead of at the next interval. */
void prober_kick(struct prober *p);
/* Reports it at once (not from inside of on_report), and reads metrics the less often. */
void prober_load(struct prober *p, const struct engine_load *l);
/* What is known by now. */
const struct engine_figures *prober_figures(const struct prober *p);
/* The engine's name leads to another address now. Detects anew. */
BB_MUST int prober_set_addr(struct prober *p, const struct sock_addr *addr);
