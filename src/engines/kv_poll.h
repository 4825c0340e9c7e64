/*
 * kv_poll.h: TensorRT-LLM's KV events, which are asked for instead of published.
 *
 * For: kv_feed.c, only where the configuration says so: `POST /kv_cache_events` takes what it
 * answers away from everybody else, so that one reader may ask. The answer waits up to two seconds
 * for events (trtllm-serve of 2025 and 2026). Events are numbered; a gap, or a number that goes
 * back, makes everything forgotten.
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

/*
 * The numbers of an answer's events: 1 and the first and last of them, 0 when it has none, or
 * -BB_ESYNTAX when it is no list of events or their numbers do not rise by one.
 */
BB_MUST int kv_poll_numbers(struct bb_str body, uint64_t *first, uint64_t *last);
