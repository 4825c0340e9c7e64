/*
 * kv_publisher.h: tells routers over ZeroMQ which blocks are in the KV cache, as vLLM does.
 *
 * For: the scheduler, which reports blocks while a step runs and flushes at its end: one batch a
 * step, sent by the loop's thread. When a batch is lost for want of memory, the next one begins
 * with AllBlocksCleared: a router then knows less than there is, never more.
 * Threads: create, destroy, and the endpoints: the loop's thread; sink and flush: the engine
 * thread, which must have ended before destroy.
 * Memory: one batch under construction, and those on their way to the loop.
 * Errors: -BB_ESYSTEM, -BB_ENOMEM with a sentence at creation; none later.
 */
#pragma once

#include "engine_options.h"
#include "kv_blocks.h"
#include "os/loop.h"

#define KV_BATCHES_MAX 10000 /* kept for replay */

struct kv_publisher;

BB_MUST int kv_publisher_create(struct loop *loop, const struct engine_options *o,
				struct kv_publisher **out, const char **why);
void kv_publisher_destroy(struct kv_publisher *p);
struct kv_sink kv_publisher_sink(struct kv_publisher *p);
void kv_publisher_cleared(struct kv_publisher *p);
void kv_publisher_flush(struct kv_publisher *p);
/* What it is bound to. The port of the replay socket is 0 when there is none. */
uint16_t kv_publisher_port(const struct kv_publisher *p);
uint16_t kv_publisher_replay_port(const struct kv_publisher *p);
