/*
 * zmq_pub.h: publishes KV events as an engine does: a PUB socket and a ROUTER that replays.
 *
 * For: the embedded and the simulated engine. Each batch goes out as [topic, sequence, payload]
 * with an 8-byte big-endian sequence from 0; the last `batches_max` are kept. A DEALER or REQ that
 * sends ["", start] to the replay address gets ["", topic, sequence, payload] for each batch kept
 * from `start` on, then ["", "", ff×8, ""]: what vLLM and SGLang do (a REQ sees the first only).
 * Threads: the loop's.
 * Memory: the kept batches are the queue of every peer: a peer holds a place in it and at most one
 * batch in flight, so that a slow subscriber costs nothing; when the place it stands at is dropped
 * it misses those batches, as ZeroMQ does at its high-water mark, and sees the gap in the sequence.
 * Errors: -BB_ELIMIT for a batch that can never be kept, -BB_ENOMEM. Its number is used up then,
 * so that subscribers notice that something is missing.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "os/loop.h"
#include "os/sock.h"

struct zmq_pub;

#define ZMQ_TOPIC_SIZE_MAX 255

struct zmq_pub_config {
	struct loop *loop;
	struct sock_addr listen;
	const struct sock_addr *replay; /* NULL: no replay */
	struct bb_str topic;		/* copied; may be empty */
	uint32_t batches_max;		/* 0: 10,000 */
	size_t bytes_max;		/* 0: 64 MiB, all kept batches together */
	uint32_t peers_max;		/* 0: 256, subscribers and replays together */
	uint64_t ping_ns;		/* 0: 15 s; a peer silent three times as long is dropped */
};

/*
 * tcp://HOST:PORT, as in "tcp://127.0.0.1:0" or "tcp://[::1]:5557", and "ipc:///path". The host is
 * numeric, localhost, or * for every IPv4 interface, as with libzmq.
 */
BB_MUST int zmq_endpoint_parse(struct bb_str text, struct sock_addr *out, const char **why);

/* `why` is a static sentence on failure. */
BB_MUST int zmq_pub_create(const struct zmq_pub_config *config, struct zmq_pub **out,
			   const char **why);
/* Cuts all peers. What they have not taken yet is lost to them. */
void zmq_pub_destroy(struct zmq_pub *p);
/* The payload is copied. */
BB_MUST int zmq_pub_send(struct zmq_pub *p, struct bb_str payload);

/* For tests: the batch is kept for replays, and subscribers that have all others miss it. */
BB_MUST int zmq_pub_send_lost(struct zmq_pub *p, struct bb_str payload);
/* For tests: a number is used up, and its batch is nowhere. */
void zmq_pub_skip(struct zmq_pub *p);

/* What the listening sockets are bound to (for port 0). Port is 0 for ipc and for no replay. */
const struct sock_addr *zmq_pub_addr(const struct zmq_pub *p);
const struct sock_addr *zmq_pub_replay_addr(const struct zmq_pub *p); /* NULL: no replay */
uint16_t zmq_pub_port(const struct zmq_pub *p);
uint16_t zmq_pub_replay_port(const struct zmq_pub *p);

/* The next batch's sequence: so many have been sent. */
uint64_t zmq_pub_sequence(const struct zmq_pub *p);
/* Peers whose subscription covers the topic. */
uint32_t zmq_pub_subscriber_count(const struct zmq_pub *p);
/* Batches that subscribers missed because they were too slow, all together. */
uint64_t zmq_pub_missed_count(const struct zmq_pub *p);
