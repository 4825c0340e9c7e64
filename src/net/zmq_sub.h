/*
 * zmq_sub.h: listens to an engine's KV events (SUB), and asks for those it missed (DEALER).
 *
 * For: the gateway. A subscription connects, and connects again with a growing pause for as long
 * as it lives; it does not watch the sequence: its user does, and asks for a replay where there is
 * a gap. A replay is one connection that ends by itself.
 * Threads: the loop's. Objects may be destroyed inside their own callbacks.
 * Memory: one receive buffer each, up to message_max, which grows with what has come (not with
 * what a peer claims) and is given back when empty. Slices are valid during the callback.
 * Errors: creation: -BB_ENOMEM, -BB_EINVALID, -BB_ESYSTEM. Later ones show as on_down or on_end.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "os/loop.h"
#include "os/sock.h"

struct zmq_sub;
struct zmq_replay;

/* One published batch. */
struct zmq_batch {
	struct bb_str topic;
	uint64_t sequence;
	struct bb_str payload;
};

struct zmq_sub_ops {
	void (*on_batch)(struct zmq_sub *s, void *user, const struct zmq_batch *batch);
	/* The subscription has been sent; what is published from now on will come. May be NULL. */
	void (*on_up)(struct zmq_sub *s, void *user);
	/* A connection was lost or could not be made (err is -BB_E…); it is tried again. May be
	 * NULL. */
	void (*on_down)(struct zmq_sub *s, void *user, int err);
	/* A message that was no [topic, sequence, payload]. May be NULL. */
	void (*on_odd)(struct zmq_sub *s, void *user);
};

struct zmq_sub_config {
	struct loop *loop;
	struct sock_addr addr;
	struct bb_str topic_prefix; /* copied; empty: everything */
	const struct zmq_sub_ops *ops;
	void *user;
	size_t message_max;	 /* 0: 16 MiB */
	uint64_t backoff_min_ns; /* 0: 100 ms; doubles up to backoff_max_ns, with jitter */
	uint64_t backoff_max_ns; /* 0: 5 s */
	uint64_t ping_ns;	 /* 0: 15 s; an engine silent three times as long is gone */
};

BB_MUST int zmq_sub_create(const struct zmq_sub_config *config, struct zmq_sub **out);
void zmq_sub_destroy(struct zmq_sub *s);
/*
 * No further batch after this call (and after the callback that it is made in) until zmq_sub_resume.
 * The kernel's buffers fill up, and then the engine drops what it publishes for us: a gap.
 */
void zmq_sub_pause(struct zmq_sub *s);
/* Goes on in the loop's next turn; never calls back from inside. */
void zmq_sub_resume(struct zmq_sub *s);
/* Messages that were no [topic, sequence, payload]. */
uint64_t zmq_sub_odd_count(const struct zmq_sub *s);

struct zmq_replay_ops {
	void (*on_batch)(struct zmq_replay *r, void *user, const struct zmq_batch *batch);
	/* 0: all that the engine still had has come. Else -BB_ECONNECT, -BB_EUPTIMEOUT,
	 * -BB_EUPSTREAM, …: what came before is good. The replay is gone after this call. */
	void (*on_end)(struct zmq_replay *r, void *user, int err);
};

struct zmq_replay_config {
	struct loop *loop;
	struct sock_addr addr; /* the engine's replay endpoint */
	uint64_t start;	       /* first sequence wanted */
	const struct zmq_replay_ops *ops;
	void *user;
	size_t message_max;  /* 0: 16 MiB */
	uint64_t timeout_ns; /* 0: 10 s without anything coming */
};

BB_MUST int zmq_replay_create(const struct zmq_replay_config *config, struct zmq_replay **out);
/* As with a subscription. Its time-out does not run meanwhile. */
void zmq_replay_pause(struct zmq_replay *r);
void zmq_replay_resume(struct zmq_replay *r);
/* Breaks it off; on_end does not come. */
void zmq_replay_destroy(struct zmq_replay *r);
