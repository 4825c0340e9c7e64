/*
 * kv_watch.h: the KV events of one watched engine, on their way to the brain.
 *
 * For: watch.c, which tells when the engine is ready and whether it tokenizes as we do. While it is
 * ready its events are followed (engines/kv_feed); they reach the brain only when its tokens are
 * ours, since blocks are known by their tokens. What it holds is assumed otherwise, and why is said
 * in the log, in status and in metrics.
 * Threads: the control thread. The brain's lock is taken once for some hundred blocks.
 * Memory: owns its feed and copies of the settings. Errors: -BB_ENOMEM at creation.
 */
#pragma once

#include "engines/kv_feed.h"
#include "gateway/gateway.h"
#include "gateway/text_check.h"

struct kv_watch;

struct kv_watch_config {
	struct gateway *gateway;
	struct loop *loop;
	struct engine_id id;
	const struct config_engine *engine; /* its settings are copied */
	/* The caller keeps these: */
	const char *url, *host_field, *base, *api_key, *tls_name;
	struct tls_context *tls;
	uint32_t *feeds; /* how many feeds there are: counted here */
	void *user;
	void (*on_load)(void *user, const struct engine_load *load);
};

BB_MUST int kv_watch_create(const struct kv_watch_config *config, struct kv_watch **out);
void kv_watch_destroy(struct kv_watch *w);
/* Were these settings the same? */
bool kv_watch_is(const struct kv_watch *w, const struct config_engine *engine);

/* What is known of the engine by now; called whenever any of it may have changed. */
struct kv_watch_facts {
	bool is_ready;
	const struct adapter *adapter; /* NULL: not known yet */
	struct sock_addr addr;
	enum text_verdict verdict;
	uint32_t dp_ranks;
	size_t mirror_bytes;
};
void kv_watch_update(struct kv_watch *w, const struct kv_watch_facts *facts);

struct kv_status {
	enum kv_mode mode;
	const char *why; /* valid until the loop turns */
	bool has_figures;
	struct kv_figures figures;
};
void kv_watch_status(const struct kv_watch *w, struct kv_status *out);
