/*
 * httpc.h: the HTTP/1.1 client: pooled connections to one address, and calls on them.
 *
 * For: requests to engines (the gateway), probes (engines), the command line (admin API).
 * A pool belongs to one loop and one address; idle connections are kept and watched, so that one
 * that the peer closes is noticed at once. A call is embedded in its owner and runs on one
 * connection. Reading is pull: call_pause stops it, and the peer's data stays in the kernel.
 * Threads: the loop's thread only.
 * Memory: the parts of a request must stay valid until the call ends or call_is_sent says that
 * everything was handed to the kernel. Answer bytes are valid during the callback only.
 * Errors: on_failed gives -BB_ECONNECT (no connection), -BB_EUPSTREAM (cut or malformed) or
 * -BB_EUPTIMEOUT. call_start also -BB_ENOMEM and -BB_EBUSY (out of descriptors or ports): faults
 * of ours, not of the peer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "os/loop.h"
#include "os/sock.h"
#include "wire/http1.h"

struct httpc_pool;
struct tls_context;
struct call;

struct httpc_limits {
	uint32_t head_size_max;       /* 32 KiB */
	uint32_t idle_max;            /* 1024 idle connections kept */
	uint64_t connect_timeout_ns;  /* 2 s */
	uint64_t head_timeout_ns;     /* 600 s from the request to the answer's head */
	uint64_t read_timeout_ns;     /* 300 s between two reads of the body */
	uint64_t write_timeout_ns;    /* 60 s without the peer taking a byte */
	uint64_t idle_timeout_ns;     /* 4 s: shorter than what servers keep (uvicorn 5 s) */
};
void httpc_limits_default(struct httpc_limits *l);

struct call_ops {
	/* The head of the answer (1xx are swallowed). Valid during the call only. */
	void (*on_head)(struct call *c, const struct http_head *head);
	/*
	 * Body bytes, unframed and contiguous, with EXCHANGE_HEADROOM writable bytes before and
	 * EXCHANGE_TAILROOM behind; the callee may change them. BODY_LAST: the message is complete,
	 * on_end is not called any more and the call is over.
	 */
	void (*on_body)(struct call *c, char *data, size_t len, enum body_part part);
	/* Complete, and no bytes came with the end. The call is over. */
	void (*on_end)(struct call *c);
	/* It failed; the call is over. */
	void (*on_failed)(struct call *c, int err, const char *why);
};

#define CALL_PARTS_MAX 24

struct httpc_conn;
struct call {
	const struct call_ops *ops;
	struct httpc_conn *conn;   /* NULL when no call is under way */
	struct iovec *parts;       /* the caller's; at most CALL_PARTS_MAX */
	uint8_t part_count;
	bool is_head_method;
	bool is_paused;
	bool has_answer;           /* some byte of an answer has come */
	bool was_reused;           /* the connection had served before: a failure without answer may be a stale one */
	uint64_t connected_ns;     /* when its connection stood */
	uint64_t sent_ns;          /* when the last byte was handed to the kernel; 0 before */
};

BB_MUST int httpc_pool_create(struct loop *loop, const struct sock_addr *addr,
			      const struct httpc_limits *limits, struct httpc_pool **out);
/* Idle connections are closed; calls must have ended. */
void httpc_pool_destroy(struct httpc_pool *p);
/* Speaks TLS from now on; `name` is whom the peer's certificate must name. Before the first call. */
BB_MUST int httpc_pool_set_tls(struct httpc_pool *p, struct tls_context *tls, const char *name);
/* Closes idle connections (the address is known to be down, or left). */
void httpc_pool_flush(struct httpc_pool *p);
uint32_t httpc_pool_idle_count(const struct httpc_pool *p);
uint32_t httpc_pool_busy_count(const struct httpc_pool *p);

enum call_conn { CALL_ANY_CONN, CALL_FRESH_CONN };
/*
 * Sends the request in c->parts (head and body, ready framed). c->ops, parts, part_count and
 * is_head_method are set by the caller. Returns 0, or an error without a callback.
 */
BB_MUST int call_start(struct call *c, struct httpc_pool *p, enum call_conn which);
static inline bool call_is_active(const struct call *c)
{
	return c->conn != NULL;
}
/* Everything was handed to the kernel: the parts may go. */
bool call_is_sent(const struct call *c);
/* No more callbacks with data until call_resume. Time-outs do not run meanwhile. */
void call_pause(struct call *c);
/* May deliver data at once, from inside. */
void call_resume(struct call *c);
/* Breaks it off: the connection is closed, so that the engine stops. No callback. */
void call_cancel(struct call *c);
