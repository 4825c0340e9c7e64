/*
 * load_run.h: a run of the load generator: how many connections, how fast, how long.
 *
 * For: `busbar bench load`. Closed loop (no rate): each connection sends its next request when its
 * answer is complete, and times count from the send. Open loop (a rate): requests are due at even
 * intervals whether or not answers come, an idle connection takes the oldest one that is due, and
 * times count from when it was due; so a server that stalls cannot hide it.
 * Threads: one; it runs its own loop. Memory: about 400 bytes a connection and 2 MB; freed at the
 * end. The meter belongs to the caller.
 * Errors: -BB_ENOMEM, -BB_ESYSTEM. What happens to requests is in the meter.
 */
#pragma once

#include "os/sock.h"
#include "sim/load_meter.h"
#include "sim/load_request.h"

struct load_plan {
	struct sock_addr to;
	const struct load_request *request;
	uint32_t connections;
	double rate;             /* requests a second; 0: closed loop */
	double open_rate;        /* connections opened a second; 0: as fast as it goes */
	uint64_t warmup_ns;
	uint64_t duration_ns;    /* behind the warm-up */
	uint64_t requests_max;   /* the run ends when so many have ended; 0: no limit */
	uint64_t seed;           /* of the nonces */
};

struct load_outcome {
	uint64_t window_ns;         /* while the meter was on */
	uint64_t cpu_ns;            /* of this process, meanwhile */
	uint32_t open_at_end;       /* connections */
	uint32_t in_flight_at_end;  /* requests without a complete answer */
	uint32_t answering_at_end;  /* of these, answers that have begun */
	uint64_t unsent_count;      /* requests that were due and found no idle connection */
};

BB_MUST int load_run(const struct load_plan *plan, struct load_meter *meter,
		     struct load_outcome *out);
