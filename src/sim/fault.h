/*
 * fault.h: what the simulated engine does wrong, and when.
 *
 * For: tests of everything that has to live with engines that fail. A specification is a list
 * "NAME[:ARG][@P]", separated by commas: each fault befalls a request with probability P (1 where
 * it is not said), and those with "kv_" a batch of KV events. The table below is the whole vocabulary; docs/simulated-engine.md explains it.
 * Threads: one owner. Memory: values. Errors: -BB_EINVALID with a sentence.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/str.h"

/* name, word, argument: 0 none, 1 optional, 2 needed; what happens */
#define SIM_FAULTS(X)                                                                              \
	X(REFUSE, "refuse", 0, "closes the connection without an answer")                          \
	X(HANG, "hang", 0, "takes the request and never answers")                                  \
	X(SLOW, "slow", 2, "times of this request are multiplied by ARG")                          \
	X(CUT, "cut", 1, "closes the connection after ARG tokens, or after a random number")       \
	X(DIE, "die", 1, "the process ends without a word after ARG tokens of this request")       \
	X(GARBAGE, "garbage", 0, "answers with bytes that are not HTTP")                           \
	X(BADJSON, "badjson", 0, "the second chunk, or the whole answer, is cut JSON")             \
	X(BUSY, "503", 0, "says that it is busy, with Retry-After: 1")                             \
	X(ERROR, "500", 0, "answers with an internal error")                                       \
	X(ERROR_EVENT, "error_event", 1, "after ARG tokens an error event, then data: [DONE]")     \
	X(NODONE, "nodone", 0, "the stream ends without finish_reason and without [DONE]")         \
	X(STALL, "stall", 1, "after ARG tokens nothing more comes")                                \
	X(ENDLESS, "endless", 0, "one line of the stream never ends")                              \
	X(LONGHEAD, "longhead", 0, "100 KiB of header fields in the answer")                       \
	X(DEAF, "deaf", 0, "every path hangs, probes too, but not /sim/")                          \
	X(DOWN, "down", 0, "every path is refused, probes too, but not /sim/")                     \
	X(UNHEALTHY, "unhealthy", 0, "/health and /ping answer 503")                               \
	X(KV_LOST, "kv_lost", 0, "subscribers miss this batch of KV events; a replay has it")      \
	X(KV_GONE, "kv_gone", 0, "this batch is lost for good, and its number used up")            \
	X(KV_LIE, "kv_lie", 0, "blocks that are reused are not told as removed")                   \
	X(KV_GARBAGE, "kv_garbage", 0, "instead of this batch, bytes that are no KV events")

enum sim_fault {
#define X(name, word, arg, text) SIM_FAULT_##name,
	SIM_FAULTS(X)
#undef X
		SIM_FAULT_COUNT,
};

#define SIM_FAULTS_KV                                                                              \
	(1u << SIM_FAULT_KV_LOST | 1u << SIM_FAULT_KV_GONE | 1u << SIM_FAULT_KV_LIE |              \
	 1u << SIM_FAULT_KV_GARBAGE)

struct sim_faults {
	uint32_t mask; /* bit i: fault i is set */
	double probability[SIM_FAULT_COUNT];
	double arg[SIM_FAULT_COUNT]; /* negative: none was given, a random number is taken */
};

/* Those that befall one request. */
struct sim_fault_draw {
	uint32_t mask;
	double arg[SIM_FAULT_COUNT];
};

/* Adds to what `f` holds; a fault that is named again is replaced. On error `f` is untouched. */
BB_MUST int sim_faults_parse(struct bb_str spec, struct sim_faults *f, const char **why);
void sim_faults_draw(const struct sim_faults *f, struct bb_rng *rng, struct sim_fault_draw *out);

static inline bool sim_fault_is(const struct sim_fault_draw *d, enum sim_fault fault)
{
	return d->mask >> fault & 1;
}
