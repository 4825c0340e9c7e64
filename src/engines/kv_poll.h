/*
 * kv_poll.h: TensorRT-LLM's KV events, which are asked for instead of published.
 *
 * For: kv_feed.c, only where the configuration says so: `POST /kv_cache_events` takes what it
 * answers away from everybody else, so that one reader may ask. The answer waits up to two seconds
 * for events (trtllm-serve of 2025 and 2026). Events are numbered; after a gap, or a number that
 * goes back, the mirror forgets everything. Only attention data-parallel rank 0 is followed.
 * Threads: the loop's. Must not be destroyed inside its callbacks. Memory: the mirror, and one
 * answer of at most 8 MiB. Errors: -BB_ENOMEM, -BB_ESYSTEM at creation.
 */
#pragma once

#include "engines/kv_rank.h"
#include "net/httpc.h"

struct kv_poll;

struct kv_poll_config {
	struct loop *loop;
	struct httpc_pool *pool; /* the caller's; it outlives the poll */
	const char *name;
	struct bb_str host, base, api_key; /* the caller's */
	size_t mirror_bytes;
	uint32_t block_tokens;
	uint64_t secret;
	struct kv_budget *budget;
	void *user;
	void (*on_changes)(void *user, uint32_t rank, const struct kv_change *list, uint32_t count);
	void (*on_mode)(void *user, uint32_t rank, enum kv_mode mode, const char *why);
};

BB_MUST int kv_poll_create(const struct kv_poll_config *config, struct kv_poll **out);
void kv_poll_destroy(struct kv_poll *p);
enum kv_mode kv_poll_mode(const struct kv_poll *p, const char **why);
void kv_poll_figures(const struct kv_poll *p, struct kv_figures *f);

/* What an answer holds of the events of rank 0. */
struct kv_poll_answer {
	uint32_t count;
	uint64_t first, last; /* their numbers */
	uint32_t holes;	      /* numbers that do not follow on the one before */
};
/* -BB_ESYNTAX when it is no list. Events without a number are passed over. */
BB_MUST int kv_poll_look(struct bb_str body, struct kv_poll_answer *out);
