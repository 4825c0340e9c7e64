/*
 * kv_feed.h: the KV events of one engine: where they are, one reader for each rank, how it goes.
 *
 * For: the gateway's kv_watch.c, for as long as an engine is ready. The engine is asked where it
 * publishes (vLLM and busbar-engine /kv_event_sources, SGLang /server_info) unless that is
 * configured; where there is nothing, or nothing that can be used, the engine's ranks stay
 * approximate and the reason is told. SGLang's pushed load is read on the way.
 * Threads: the loop's. Must not be destroyed inside its callbacks.
 * Memory: mirror_bytes for all ranks together, and the bounds of kv_rank.h. Texts are copied.
 * Errors: -BB_ENOMEM, -BB_EINVALID (endpoints) at creation. Later failures become reasons, and are
 * tried again.
 */
#pragma once

#include "engines/adapter.h"
#include "engines/kv_rank.h"
#include "engines/prober.h"

struct kv_feed;
struct tls_context;

enum kv_feed_from {
	KV_FEED_ASK,	   /* the engine says where */
	KV_FEED_ENDPOINTS, /* configured */
	KV_FEED_POLL,	   /* TensorRT-LLM's /kv_cache_events */
};

struct kv_feed_config {
	struct loop *loop;
	struct sock_addr addr; /* of its HTTP server */
	const char *name;      /* in log lines; the caller keeps it */
	struct bb_str host, base, api_key;
	struct tls_context *tls; /* NULL: plain; the caller keeps it, and the name */
	const char *tls_name;
	enum engine_kind kind;
	enum kv_feed_from from;
	struct kv_configured endpoints;
	size_t mirror_bytes;
	uint32_t block_tokens;
	uint64_t secret;
	const uint32_t *feeds; /* how many feeds this thread has; the caller keeps it */
	void *user;
	/* Only of exact ranks. */
	void (*on_changes)(void *user, uint32_t rank, const struct kv_change *list, uint32_t count);
	void (*on_mode)(void *user, uint32_t rank, enum kv_mode mode, const char *why);
	void (*on_load)(void *user, const struct engine_load *load);
};

BB_MUST int kv_feed_create(const struct kv_feed_config *config, struct kv_feed **out);
void kv_feed_destroy(struct kv_feed *f);
/* Exact: each rank is; else the reason of the first that is not. */
enum kv_mode kv_feed_mode(const struct kv_feed *f, const char **why);
/* All ranks together. */
void kv_feed_figures(const struct kv_feed *f, struct kv_figures *out);
uint32_t kv_feed_ranks(const struct kv_feed *f);
