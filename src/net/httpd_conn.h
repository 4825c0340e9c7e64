/*
 * httpd_conn.h: what httpd.c (connections), httpd_input.c (requests) and exchange.c (answers) share.
 *
 * Threads: the loop's thread. Memory: a connection lives in its server's pool; `in` and `out` come
 * from the server's buffer pool and are held only while there is something in them.
 * Errors: see httpd.h.
 */
#pragma once

#include "net/httpd.h"
#include "net/tls.h"

#define HTTPD_CONN_MAGIC 0x48434f4eu

#define HTTPD_CONN_STATES(X) X(HANDSHAKE) X(IDLE) X(HEAD) X(BODY) X(BUSY) X(LINGER)
enum httpd_conn_state {
#define X(name) CONN_##name,
	HTTPD_CONN_STATES(X)
#undef X
};

/* How the body of an answer is framed. */
enum out_framing { OUT_NONE, OUT_LENGTH, OUT_CHUNKED, OUT_UNTIL_CLOSE };

struct httpd_conn {
	uint32_t magic;
	uint8_t state;          /* enum httpd_conn_state */
	uint8_t out_framing;    /* enum out_framing, valid once `answered` */
	bool answered : 1;      /* the head of an answer was made */
	bool ended : 1;         /* the answer is complete (some of it may wait in `out`) */
	bool wants_room : 1;    /* the producer was told IO_AGAIN */
	bool readable : 1;      /* the kernel may hold bytes that we have not read */
	bool peer_fin : 1;      /* the client has shut down its sending side */
	bool must_close : 1;    /* after this exchange */
	bool head_split : 1;    /* the head came in several pieces: collect it from `in` at its end */
	bool was_handed : 1;    /* on_request or an answer in on_head happened: on_closed is owed */
	bool in_task : 1;       /* inside of on_head or on_request */
	struct exchange x;
	struct loop_fd watch;
	struct loop_timer timer;
	struct loop_task finish;
	struct bb_list link;    /* in the server's list */
	struct bb_list shaking; /* has bytes of a handshake and waits for its turn */
	struct http1 parser;
	char *in;               /* bytes read and not yet used: part of a head, or pipelined requests */
	uint32_t in_len, in_cap;
	uint32_t requests;
	struct sock_peer peer;
	struct tls_session *tls; /* NULL: plain */
	char *out;              /* bytes for the client that the kernel has not taken */
	size_t out_at, out_len, out_cap;
	size_t unsent;          /* in the kernel when the write timer was armed */
	uint64_t out_left;      /* OUT_LENGTH: body bytes still owed */
	uint64_t linger_left;   /* CONN_LINGER: bytes still thrown away before closing */
};

struct httpd {
	struct loop *loop;
	const struct httpd_ops *ops;
	struct httpd_limits limits;
	void *user;
	struct tls_context *tls; /* NULL: plain */
	struct peer_counts *peers;
	struct bb_list listeners;
	struct bb_list conns;
	struct bb_list shaking;
	struct loop_task shake;
	struct bb_pool conn_pool;
	struct bb_bufpool buffers;
	struct bb_budget own_buffers; /* where config.buffers is NULL */
	uint32_t conn_count;
	uint32_t busy_count;
	uint64_t refused;
	bool draining;
	uint64_t date_second;
	char date[48];              /* "Date: …\r\n" of date_second */
	size_t date_len;
	struct bb_buf head_out;     /* heads are composed here */
	struct http_head head;      /* of the request that is being parsed */
	char scratch[65536];        /* what is read and used up at once */
};

static inline struct httpd_conn *exchange_conn(struct exchange *x)
{
	return BB_CONTAINER(x, struct httpd_conn, x);
}

/* exchange.c: */
void conn_out_drop(struct httpd_conn *c);
/* The client has the write time-out from now on to take something of what waits for it. */
void conn_arm_write(struct httpd_conn *c);
/* Sends what waits in `out`. IO_DONE when nothing is left. */
enum io conn_out_flush(struct httpd_conn *c);
/* httpd_input.c: reads and works until there is nothing to read or a request is with the handler. */
void conn_process(struct httpd_conn *c);

/* httpd.c: */
void conn_arm_timer(struct httpd_conn *c, uint64_t timeout_ns);
void conn_set_state(struct httpd_conn *c, enum httpd_conn_state state);
/* Gives back the bytes that were read and not used. */
void conn_in_drop(struct httpd_conn *c);
void conn_destroy(struct httpd_conn *c);
/* The exchange is over or the client is gone; finish at the end of this turn. */
void conn_finish_soon(struct httpd_conn *c);
void conn_gone(struct httpd_conn *c);
/* Answers an error found by the server itself; the connection closes after it. */
void conn_refuse(struct httpd_conn *c, int err, const char *what);
/* The same with a status that is not the error's own. */
void conn_refuse_as(struct httpd_conn *c, int status, int err, const char *what);
