/*
 * kv_discover.h: where an engine publishes its KV events, as it says itself or as is configured.
 *
 * For: kv_feed.c. Formats: vLLM's and busbar-engine's `GET /kv_event_sources` (a map from
 * data-parallel rank to the publisher's configuration in vLLM 0.32; lists of the same are taken as
 * well), the member `kv_events` of SGLang's `GET /server_info` (0.5.23): ports are those of rank 0,
 * others follow. An engine cannot send us elsewhere: of what it says only the port is used.
 * Threads: pure. Memory: none. Errors: -BB_ESYNTAX for what is no such answer. An answer that
 * names no usable publisher is no error: `count` is 0 and `why` says what is the matter.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "os/sock.h"

#define KV_RANKS_MAX 64
#define KV_TOPIC_MAX 255
#define KV_WHY_SIZE 192

struct kv_source {
	struct sock_addr live;
	struct sock_addr replay;
	bool has_replay;
};

struct kv_sources {
	uint32_t count; /* data-parallel ranks, in order from 0 */
	struct kv_source items[KV_RANKS_MAX];
	char topic[KV_TOPIC_MAX + 1];
	uint32_t block_tokens; /* as it says; 0: not said */
	uint32_t load_count;   /* SGLang pushes its load: ranks that do */
	struct sock_addr load[KV_RANKS_MAX];
	char load_topic[KV_TOPIC_MAX + 1];
	char why[KV_WHY_SIZE]; /* why count is 0 */
};

/* `engine`: the address of its HTTP server. */
BB_MUST int kv_discover_sources(struct bb_str body, const struct sock_addr *engine,
				struct kv_sources *out);
BB_MUST int kv_discover_server_info(struct bb_str body, const struct sock_addr *engine,
				    struct kv_sources *out);

/* From the configuration: one endpoint for each rank; `replay` NULL or as many. */
struct kv_configured {
	const struct bb_str *live, *replay;
	uint32_t count;
	struct bb_str topic;
};
/* -BB_EINVALID with `why` for an endpoint that cannot be used. */
BB_MUST int kv_discover_configured(const struct kv_configured *c, const struct sock_addr *engine,
				   struct kv_sources *out);
