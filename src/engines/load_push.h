/*
 * load_push.h: the load that SGLang pushes over ZeroMQ, of all data-parallel ranks together.
 *
 * For: kv_feed.c, which finds out where (--load-publish-endpoint; see wire/load_stat.h).
 * Threads: the loop's. Must not be destroyed inside its callback. Memory: one small message for
 * each rank. Errors: -BB_ENOMEM, -BB_EINVALID, -BB_ESYSTEM at creation; later it tries again.
 */
#pragma once

#include "engines/kv_discover.h"
#include "engines/prober.h"
#include "os/loop.h"

struct load_push;

struct load_push_config {
	struct loop *loop;
	const struct sock_addr *addrs;
	uint32_t count; /* ranks */
	const char *topic;
	void *user;
	/* At most LOAD_PUSH_RATE times a second; once each rank has told. */
	void (*on_load)(void *user, const struct engine_load *load);
};
#define LOAD_PUSH_RATE 20

BB_MUST int load_push_create(const struct load_push_config *config, struct load_push **out);
void load_push_destroy(struct load_push *p);
