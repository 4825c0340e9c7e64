/*
 * sim_fleet.h: a whole cluster on virtual time: a workload, the brain that serves, simulated
 * engines.
 *
 * For: `busbar replay` with --engines, tests. The brain (brain/brain.h) is the one of the gateway
 * and is told what the gateway would tell it: requests with the hashes of their tokens, first
 * tokens, progress every 32 tokens, ends with what engines report as cached, load as it is scraped
 * (late), KV events (late, or none), ticks. Engines are step_engine's. What is not there: networks'
 * delays (beside those lags), the gateway's own work, and clients that leave, but where asked for.
 *
 * A request whose engine breaks before its first token is sent elsewhere, at most FLEET_ATTEMPTS
 * times; one that breaks later has failed, as at the gateway.
 *
 * The same config gives the same result, bit for bit. Threads: one owner. Memory: 64 bytes for each
 * request of the workload; for each in flight its hashes; engines as step_engine. Errors:
 * -BB_ENOMEM; -BB_EINVALID: no such policy, or blocks that are not a multiple of
 * BRAIN_BLOCK_TOKENS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/step_profile.h"
#include "sim/workload.h"

#define FLEET_ATTEMPTS 3
#define FLEET_ENGINES_MAX 3840

struct fleet_group {
	struct step_profile profile;
	uint32_t count;
};

/* What befalls an engine from a time on, for a while. */
#define FLEET_FAULTS(X)                                                                            \
	X(CRASH, "crash", "the process dies; its cache is lost")                                   \
	X(HANG, "hang", "nothing is done, connections stay open")                                  \
	X(SLOW, "slow", "each step takes ARG times as long")                                       \
	X(LOST, "lost", "its KV events are lost")                                                  \
	X(LIE, "lie", "its metrics say that it is idle")
enum fleet_fault_kind {
#define X(name, word, text) FLEET_##name,
	FLEET_FAULTS(X)
#undef X
		FLEET_FAULT_KINDS,
};
const char *fleet_fault_word(enum fleet_fault_kind kind);

struct fleet_fault {
	enum fleet_fault_kind kind;
	uint32_t engine;
	uint64_t at_ns, for_ns; /* an engine that is down at 0 starts slowly */
	double arg;
};

/* What becomes of a request. */
enum fleet_outcome {
	FLEET_UNFINISHED,
	FLEET_OK,
	FLEET_REJECTED, /* by the brain */
	FLEET_TOO_LONG, /* no engine can hold it */
	FLEET_BROKEN,	/* its engine broke */
	FLEET_CANCELED, /* its client left */
};

struct fleet_record {
	uint64_t due_ns;	   /* it arrived at the gateway */
	uint64_t sent_ns;	   /* to an engine, the last time; 0: never */
	uint64_t started_ns;	   /* it left the engine's queue; 0: never */
	uint64_t first_ns, end_ns; /* 0: never */
	uint32_t cached;	   /* tokens of its prompt that were */
	uint32_t generated;
	uint16_t engine, preemptions;
	uint8_t outcome, attempts;
};

struct fleet_config {
	const struct workload *work;
	const struct fleet_group *groups;
	uint32_t group_count;
	const char *policy;
	bool is_at_once;   /* nothing waits in the gateway, whatever the policy does */
	bool knows_output; /* the brain is told each answer's length as its limit: an oracle's part
			    */
	uint64_t seed;
	bool has_kv_events; /* else what engines hold is assumed */
	uint64_t kv_lag_ns;
	uint64_t report_ns, report_lag_ns; /* between two readings of metrics; how old they are */
	double cancel_share;		   /* of the requests; they leave within 10 s */
	const struct fleet_fault *faults;
	uint32_t fault_count;
	bool is_checked; /* engines' counts are looked at again and again: slow */
	/* May be NULL: called now and then; false: no more is wanted. */
	bool (*on_progress)(void *user, uint64_t ended, uint64_t now_ns);
	void *user;
};
/* No faults; KV events after 10 ms, metrics every second and 100 ms old. */
void fleet_config_init(struct fleet_config *c);

struct fleet_engine_result {
	uint32_t gpus;
	uint64_t busy_ns, prompt_tokens, cached_tokens, computed_tokens, generated_tokens;
	uint64_t preemptions, requests;
};

struct fleet_result {
	struct fleet_record *records; /* of each request */
	uint32_t count;
	struct fleet_engine_result *engines;
	uint32_t engine_count;
	uint64_t span_ns; /* from the first arrival to the last end */
	uint64_t decisions;
	uint64_t digest; /* of all records */
	/* Of what must not be: reservations that are left, engines that are unsound, tokens astray.
	 */
	uint32_t faults_found;
	char fault[128]; /* the first of them */
};

BB_MUST int fleet_run(const struct fleet_config *c, struct fleet_result *out);
void fleet_result_fini(struct fleet_result *r);
