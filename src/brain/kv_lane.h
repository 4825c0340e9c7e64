/*
 * kv_lane.h: how far the index can be believed about one lane, and what is assumed where it is told
 * nothing.
 *
 * For: brain.c. Trust is a running mean of reported ÷ predicted cached tokens, weighed by tokens;
 * it scales the credit that a lane gets. A lane whose events have fallen silent though it computes
 * new blocks is treated as one without events until it speaks again.
 * Threads: as the brain. Memory: that of kv_assumed, made when first needed. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "brain/brain.h"
#include "brain/index.h"
#include "brain/kv_assumed.h"

#define KV_TOKENS_ASSUMED 131072 /* capacity of an engine that does not say it */
/* Requests with new blocks after which an engine should have told of one. */
#define KV_SILENT_MAX 8

/* Adapters (LoRA) that are taken to be resident: those asked for last. */
#define KV_ADAPTERS 8
/* To bring one from the host's memory, in milliseconds: some hundred MB over PCIe. */
#define KV_ADAPTER_MS 30

struct kv_lane {
	enum kv_mode mode;
	double trust;             /* 0 … 1 */
	double capacity_share;    /* of the engine's capacity that is assumed to hold prompts: 1/16 … 1 */
	uint32_t silent;          /* requests in a row that should have brought an event and did not */
	uint64_t told_ns;         /* latest event */
	uint64_t predicted, reported; /* tokens */
	struct kv_assumed *assumed;   /* NULL: nothing yet */
	uint32_t adapters[KV_ADAPTERS]; /* models + 1, the latest first; 0: none */
};

void kv_lane_init(struct kv_lane *l);
void kv_lane_fini(struct kv_lane *l);
/* Are blocks of prompts with such hashes told by events? */
bool kv_lane_is_told(const struct kv_lane *l, enum prompt_hashes hashed);
/* A prompt was sent to a lane that does not tell. `kv_tokens_max` 0: unknown. */
void kv_lane_assume(struct kv_lane *l, struct index *x, uint32_t row, uint64_t kv_tokens_max,
		    enum prompt_hashes hashed, const uint64_t *marks, uint32_t count);
/* A request is over: of its prompt, `predicted` tokens were expected to be cached and `reported` were. */
void kv_lane_learn(struct kv_lane *l, uint64_t predicted, uint64_t reported, uint64_t kv_tokens_max);
/* It computed `new_tokens` of a prompt since `sent_ns`: was that told? */
void kv_lane_heard(struct kv_lane *l, uint64_t sent_ns, uint64_t new_tokens);
bool kv_lane_has_adapter(const struct kv_lane *l, uint32_t model);
/* It is asked for there now. */
void kv_lane_use_adapter(struct kv_lane *l, uint32_t model);
/* A mode; forgets what was known before where it changes. */
void kv_lane_set_mode(struct kv_lane *l, struct index *x, uint32_t row, enum kv_mode mode);
