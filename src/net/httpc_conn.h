/*
 * httpc_conn.h: what httpc.c (pools, connections, sending) and httpc_answer.c (receiving) share.
 *
 * Threads: the loop's thread. Memory: a connection is owned by its pool.
 * Errors: see httpc.h.
 */
#pragma once

#include "base/buf.h"
#include "net/httpc.h"
#include "net/httpd.h"
#include "net/tls.h"

#define HTTPC_CONN_MAGIC 0x48434c49u
#define SCRATCH_HEADROOM 2048
#define SCRATCH_SIZE 65536

enum httpc_state { HTTPC_CONNECTING, HTTPC_HANDSHAKE, HTTPC_IDLE, HTTPC_BUSY };

struct httpc_conn {
	uint32_t magic;
	uint8_t state;
	bool readable : 1;
	bool writable : 1;
	bool peer_fin : 1;
	bool keep_alive : 1;
	bool head_split : 1;
	bool head_told : 1;
	bool send_failed : 1; /* what is left of the request cannot be sent; an answer may be there */
	struct httpc_pool *pool;
	struct call *call;
	struct loop_fd watch;
	struct loop_timer timer;
	struct loop_task again;
	struct bb_list link; /* idle: most recently used first; busy */
	struct http1 parser;
	struct bb_buf head;  /* a head that came in pieces */
	uint8_t part_at;     /* first part not wholly sent; UINT8_MAX: all is sent */
	size_t part_off;
	struct tls_session *tls; /* NULL: plain */
	uint8_t interims;    /* 1xx heads of this answer */
	bool *closed;        /* set when the connection is closed from inside of a callback */
};

struct httpc_pool {
	struct loop *loop;
	struct sock_addr addr;
	struct httpc_limits limits;
	struct tls_context *tls; /* NULL: plain */
	char *tls_name;          /* whom the certificate must name */
	char tls_told[TLS_REASON_SIZE]; /* the failure that the log has told; "" after a success */
	struct bb_list idle;
	struct bb_list busy;
	uint32_t idle_count;
	uint32_t busy_count;
};

/* One per thread: what is read and used up at once. Heads are parsed into `head`. */
struct httpc_scratch {
	struct http_head head;
	char bytes[SCRATCH_HEADROOM + SCRATCH_SIZE + EXCHANGE_TAILROOM];
};
extern _Thread_local struct httpc_scratch httpc_scratch;


/* httpc.c */
void httpc_conn_close(struct httpc_conn *c);
/* Detaches the call and closes the connection, then tells the owner, who may start anew. */
void httpc_conn_fail(struct httpc_conn *c, int err, const char *why);
/* The answer is complete: the connection goes back to the pool or is closed; the call is detached. */
void httpc_conn_release(struct httpc_conn *c);
void httpc_arm_for_answer(struct httpc_conn *c);

/* httpc_answer.c */
void httpc_parse_reset(struct httpc_conn *c, struct call *call);
void httpc_conn_read(struct httpc_conn *c);
/* Goes on reading after others had their turn. */
void httpc_on_again(struct loop_task *t);
