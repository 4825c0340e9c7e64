/*
 * httpd.h: the HTTP/1.1 server: connections, requests, answers.
 *
 * For: the gateway, its admin listener, the simulated engine and the embedded engine. A request is
 * handed over when its head and whole body are there; the answer is written in one go or as a
 * stream. One request at a time on a connection: pipelined ones wait in order, unread.
 * Streaming is pull: exchange_write says IO_AGAIN once the socket takes no more, and the producer
 * waits for on_writable. What could not be sent is kept (at most one write), so nothing grows.
 * Threads: a server belongs to one loop's thread. Several servers on several loops may listen on
 * one address (SO_REUSEPORT).
 * Memory: connections come from a pool; an idle or streaming connection holds no buffer. Bodies
 * come from a buffer pool under one cap per server.
 * Errors: malformed or oversized requests are answered by the server itself through
 * `ops->write_error` and the connection is closed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/pool.h"
#include "os/loop.h"
#include "os/sock.h"
#include "wire/http1.h"

struct httpd;
struct exchange;
struct tls_context;
struct peer_counts;

/* Defaults stand in httpd_limits_default; times are nanoseconds, sizes bytes, 0 is no limit for times. */
#define HTTPD_BODY_RATE_GRACE_NS 10000000000ull /* body_rate_min counts after 10 s */

struct httpd_limits {
	uint32_t head_size_max;      /* 32 KiB: request line and header fields together */
	uint32_t url_size_max;       /* 8 KiB: the request's target */
	uint64_t body_size_max;      /* 32 MiB */
	uint64_t buffers_max;        /* 1 GiB: all bodies and unsent answers together (config.buffers: of all) */
	uint64_t buffers_keep;       /* 16 MiB: freed buffers that are kept for the next ones */
	uint32_t connections_max;    /* 0: as many as descriptors allow */
	uint32_t per_address_max;    /* 0: no limit; else config.peers counts them */
	uint64_t body_rate_min;      /* bytes a second, on average, from HTTPD_BODY_RATE_GRACE_NS on; 0: none */
	uint64_t head_timeout_ns;    /* 10 s from the first byte of a head to its end */
	uint64_t body_timeout_ns;    /* 30 s between two pieces of a body */
	uint64_t keepalive_ns;       /* 75 s idle between requests */
	uint64_t write_timeout_ns;   /* 60 s without the client taking a byte that waits for it */
	uint32_t requests_max;       /* per connection; 0: no limit */
};
void httpd_limits_default(struct httpd_limits *l);

struct httpd_ops {
	/* A head has come and a body may follow. To refuse it, answer (exchange_reply…); else return. May be NULL. */
	void (*on_head)(struct exchange *x);
	/* Head and body are there. x->head and its slices are valid during this call only. */
	void (*on_request)(struct exchange *x);
	/* After IO_AGAIN: the socket has taken everything; go on writing. */
	void (*on_writable)(struct exchange *x);
	/*
	 * The exchange is over: answered in full, or the client left (x->gone). Comes once for each
	 * on_request (and for each on_head that was answered there); after it the exchange must not be
	 * touched any more. Release x->user here.
	 */
	void (*on_closed)(struct exchange *x);
	/* Body and content type of an error that the server itself finds (err is a -BB_E…). NULL: OpenAI's shape. */
	void (*write_error)(struct exchange *x, int err, const char *what, struct bb_buf *body,
			    struct bb_str *content_type);
};

struct exchange {
	struct httpd *server;
	void *user;                   /* the handler's own */
	const struct http_head *head; /* NULL outside of on_head and on_request */
	char *body;                   /* the whole body; NULL when empty */
	size_t body_len;
	size_t body_cap;
	uint64_t begin_ns;            /* first byte of the head, monotonic */
	uint64_t bytes_out;           /* head and body bytes handed to the kernel so far */
	bool gone;                    /* the client has left */
	bool is_head_method;          /* HEAD: bodies are counted but not sent */
	uint8_t minor;                /* HTTP/1.minor of the request */
};

struct httpd_config {
	struct loop *loop;
	const struct httpd_ops *ops;
	struct httpd_limits limits;
	struct bb_budget *buffers; /* shared by several servers; NULL: limits.buffers_max, its own */
	struct peer_counts *peers; /* shared by all servers of the process; NULL: not counted */
	void *user;                /* httpd_user() */
};

BB_MUST int httpd_create(const struct httpd_config *config, struct httpd **out);
/* Takes the listening descriptor (sock_listen). */
BB_MUST int httpd_listen(struct httpd *s, int listen_fd);
/*
 * Closes listeners and idle connections; exchanges go on and their connections close after them.
 * Requests that have come by now are handed over from inside of this call.
 */
void httpd_drain(struct httpd *s);
/* Cuts what is left. */
void httpd_destroy(struct httpd *s);
void *httpd_user(const struct httpd *s);
struct loop *httpd_loop(const struct httpd *s);
uint32_t httpd_connection_count(const struct httpd *s);
uint32_t httpd_exchange_count(const struct httpd *s);
/* New limits for requests that come from now on. */
void httpd_set_limits(struct httpd *s, const struct httpd_limits *l);
/* TLS for connections that come from now on (a reference is taken); NULL: plain again. */
void httpd_set_tls(struct httpd *s, struct tls_context *tls);
uint64_t httpd_refused_count(const struct httpd *s); /* malformed or oversized requests so far */

/* The peer's address as text, "" for unix sockets. Returns its length. */
size_t exchange_peer(const struct exchange *x, char out[SOCK_TEXT_SIZE]);

/*
 * A complete answer in one write. `headers` are further header lines, each "Name: value\r\n";
 * Content-Type is left out when `type` is empty. Framing, Date and Connection are added here.
 */
void exchange_reply(struct exchange *x, int status, struct bb_str type, struct bb_str headers,
		    struct bb_str body);

/* The length of a streamed answer's body is not known: chunked (HTTP/1.0: until close). */
#define EXCHANGE_CHUNKED UINT64_MAX
/* Begins a streamed answer. Nothing is sent before the first write, flush or end. */
void exchange_begin(struct exchange *x, int status, struct bb_str type, struct bb_str headers,
		    uint64_t length);
/* Sends the head now. */
void exchange_flush(struct exchange *x);
/*
 * One piece of the body, one write to the socket. IO_DONE: go on; IO_AGAIN: it is taken, but wait
 * for on_writable before the next; IO_ERROR: the client is gone (on_closed comes at the end of
 * this turn of the loop).
 */
enum io exchange_write(struct exchange *x, struct bb_str data);
/*
 * The same without a copy or a second vector: `data` must have EXCHANGE_HEADROOM writable bytes in
 * front of it and EXCHANGE_TAILROOM behind it, which are overwritten.
 */
#define EXCHANGE_HEADROOM 24
#define EXCHANGE_TAILROOM 16
enum io exchange_write_inplace(struct exchange *x, char *data, size_t len, enum body_part part);
/*
 * Puts a piece behind what is to be sent without sending it: it leaves with the next write. For
 * small pieces only (all that waits is bounded). Not the last one.
 */
void exchange_put(struct exchange *x, struct bb_str data);
/* Ends the answer; on_closed follows at the end of this turn. After a last write in place it is not called. */
void exchange_end(struct exchange *x);
/* Breaks the connection off: what was begun cannot be finished properly. on_closed follows. */
void exchange_abort(struct exchange *x);

/* Gives the request's body back early (it is given back at the end in any case). */
void exchange_drop_body(struct exchange *x);
