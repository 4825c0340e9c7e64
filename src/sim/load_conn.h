/*
 * load_conn.h: one kept-alive connection of the load generator.
 *
 * For: load_run, which says when to open and when to send. One request at a time; its answer is
 * read as fast as it comes.
 * Threads: the loop's. Memory: embedded in the run's array; the request's bytes are shared.
 * Errors: what goes wrong is counted in the meter; then the connection is closed and on_closed
 * tells so.
 */
#pragma once

#include "base/list.h"
#include "os/loop.h"
#include "os/sock.h"
#include "sim/load_answer.h"
#include "sim/load_request.h"

struct load_conn;

struct load_conn_ops {
	/* It is connected, or an answer is complete: it can take a request, also from inside. */
	void (*on_ready)(struct load_conn *c);
	/* It is closed, for whatever reason except load_conn_fini. */
	void (*on_closed)(struct load_conn *c);
	/* The kernel has all of the request, whose bytes are not needed any more. NULL: not told.
	 */
	void (*on_sent)(struct load_conn *c);
};

enum load_conn_state { LOAD_CONN_CLOSED, LOAD_CONN_CONNECTING, LOAD_CONN_READY, LOAD_CONN_BUSY };

/* What all connections of a run share. */
struct load_shared {
	struct loop *loop;
	const struct load_conn_ops *ops;
	struct load_meter *meter;
	char *room; /* LOAD_READ_SIZE bytes that every read goes to */
	uint32_t connecting_count;
};

#define LOAD_READ_SIZE 262144

struct load_conn {
	struct loop_fd watch;
	struct load_shared *shared;
	struct bb_list link; /* the run's: closed or ready ones */
	enum load_conn_state state;
	const struct load_request *request; /* until it is sent */
	char nonce[LOAD_NONCE_SIZE];
	size_t sent, size; /* bytes of the request that the kernel has, and of all of it */
	struct load_answer answer;
	enum load_error error; /* why it was closed; LOAD_ERROR_COUNT: nothing went wrong */
};

void load_conn_init(struct load_conn *c, struct load_shared *shared);
void load_conn_fini(struct load_conn *c);
/* Begins to connect. False: it could not even begin, on_closed is not called. */
BB_MUST bool load_conn_open(struct load_conn *c, const struct sock_addr *to);
/*
 * Sends the request, which stays as it is until it is sent or the connection is closed, with this
 * nonce; its times count from `start_ns`.
 */
void load_conn_send(struct load_conn *c, const struct load_request *request, uint64_t nonce,
		    uint64_t start_ns);
/* Gives up, for this reason: counted, closed, and on_closed called. */
void load_conn_abort(struct load_conn *c, enum load_error why);
