/*
 * load_play.h: plays a workload to a real server, as its clients would.
 *
 * For: `busbar bench run`. A request is sent when it is due, whether or not answers come, and its
 * times count from then: a server that stalls cannot hide it. One that follows another is due some
 * time after that one's answer is complete, and holds its text. Each answer in flight has a
 * connection; without a free one, of at most `connections`, a request waits, and its times go on.
 * Where a request fails, those that would hold its answer are skipped.
 * Threads: one; it runs its own loop. Memory: about 600 bytes a connection, a request's text until
 * it is sent, answers until nobody needs them any more; freed at the end. Errors: -BB_ENOMEM,
 * -BB_ESYSTEM. What happens to requests is in their records.
 */
#pragma once

#include "os/sock.h"
#include "sim/load_meter.h"
#include "sim/load_prompt.h"

#define PLAY_SAYINGS_MAX (16u << 20) /* bytes of one answer's text that are kept */

enum play_state { PLAY_NEVER, PLAY_WAITING, PLAY_SENT, PLAY_OK, PLAY_FAILED, PLAY_SKIPPED };

struct play_record {
	uint64_t due_ns;	  /* since the start of the run */
	uint64_t ttft_ns, e2e_ns; /* since it was due; ttft_ns 0: there was no text */
	uint64_t span_ns;	  /* from its first text to its last */
	uint32_t prompt_tokens, cached_tokens, output_tokens; /* LOAD_UNKNOWN: not reported */
	uint32_t events;				      /* with text */
	uint8_t state;					      /* enum play_state */
	uint8_t error;					      /* FAILED: enum load_error */
};

struct play_plan {
	struct sock_addr to;
	struct bb_str host, path;
	struct bb_str headers;		  /* lines, each with \r\n */
	const struct bb_str *keys;	  /* tenant n has key n modulo key_count */
	uint32_t key_count;		  /* 0: none */
	const struct load_prompt *prompt; /* and in it the workload; its answer() is not used */
	uint32_t connections;
	uint64_t timeout_ns; /* of one request, from its sending; 0: none */
	/* A few times a second; may be NULL. */
	void (*on_progress)(void *user, uint32_t ended, uint32_t in_flight);
	void *user;
};

struct play_outcome {
	uint64_t length_ns; /* until the last request had ended */
	uint64_t cpu_ns;
	uint32_t in_flight_max;
};

/* `records` has room for one for each request. */
BB_MUST int load_play(const struct play_plan *plan, struct load_meter *meter,
		      struct play_record *records, struct play_outcome *out);
