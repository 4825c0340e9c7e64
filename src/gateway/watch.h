/*
 * watch.h: the engines of the configuration in force: a prober each, and their names looked up.
 *
 * For: control.c. What probing finds out goes to the brain and to the gateway's links.
 * Threads: the control thread. Memory: owns the probers.
 * Errors: -BB_ENOMEM, -BB_ESYSTEM.
 */
#pragma once

#include "gateway/gateway.h"

struct resolver;
struct watch;
struct kv_status;
struct engine_figures;

BB_MUST int watch_create(struct gateway *g, struct loop *loop, struct watch **out);
void watch_destroy(struct watch *c);

/* Are the settings of probing the same as before? */
enum watch_settings { WATCH_SAME, WATCH_CHANGED };
/* Probes the engines of a snapshot from now on; those that stay go on undisturbed. */
BB_MUST int watch_engines(struct watch *c, struct snapshot *snapshot, enum watch_settings settings);
/* For names of other servers; jobs must be cancelled before watch_destroy. */
struct resolver *watch_resolver(const struct watch *c);
/* What the comparison of an engine's tokens with ours has found; "" before its end. */
const char *watch_text_detail(const struct watch *c, uint32_t slot);
/* What is known of its KV cache, and what it tells of itself; false: it is not watched. */
bool watch_kv(const struct watch *c, uint32_t slot, struct kv_status *out,
	      struct engine_figures *figures);
/* Once a second. */
void watch_second(struct watch *c);
/* Looks names up again: they may lead elsewhere now. */
void watch_resolve(struct watch *c);
/* Traffic says that this engine failed: probe it now. */
void watch_kick(struct watch *c, uint32_t slot);
