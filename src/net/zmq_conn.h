/*
 * zmq_conn.h: one ZMTP connection: bytes in, bytes out, handshake, PING.
 *
 * For: zmq_pub.c and zmq_sub.c, which say what to do with messages.
 * Threads: the loop's. Memory: embedded in its owner. Received bytes grow up to what one message
 * may have, commands to be sent up to a small fixed size; an idle connection holds neither. In one
 * turn of the loop at most ZMQ_CONN_BUDGET bytes move each way, so that one busy peer does not
 * hold up the others.
 * Errors: those of wire/zmtp.h, -BB_ENOMEM, and -BB_ELIMIT for a peer that sends PINGs and unknown
 * commands without end; the owner then closes.
 */
#pragma once

#include "base/buf.h"
#include "os/loop.h"
#include "os/sock.h"
#include "wire/zmtp.h"

#define ZMQ_CONN_BUDGET ((size_t)1 << 20)

struct zmq_conn {
	struct loop *loop;
	struct loop_fd watch;	/* fd −1: closed */
	struct loop_task again; /* goes on when the budget has ended a turn early */
	struct zmtp_session session;
	struct bb_buf in;
	struct bb_buf out; /* greeting, commands, small messages */
	size_t in_at;	   /* bytes of `in` that are done with */
	size_t read_budget;
	size_t write_budget;
	uint32_t tick_count;  /* since it was opened */
	uint32_t quiet_ticks; /* since the peer last sent anything */
	uint32_t command_count; /* PINGs and the like since the last tick */
	bool is_blocked;      /* the kernel takes no more bytes for now */
	/* Something may be read or written. May close the connection and free its owner. */
	void (*on_ready)(struct zmq_conn *c, unsigned events);
};

/* A connection that is closed from the start, so that zmq_conn_close may be called on it. */
void zmq_conn_init(struct zmq_conn *c, struct loop *loop,
		   void (*on_ready)(struct zmq_conn *c, unsigned events));
/* Takes a descriptor (on failure too: it is closed then) and queues the greeting. */
BB_MUST int zmq_conn_open(struct zmq_conn *c, int fd, enum zmtp_socket self, size_t message_max);
void zmq_conn_close(struct zmq_conn *c);
static inline bool zmq_conn_is_open(const struct zmq_conn *c)
{
	return c->watch.fd >= 0;
}

/* The next of ZMTP_OPENED, MESSAGE, SUBSCRIBE, CANCEL, or NEED: then zmq_conn_fill. READY and PONG
 * are queued by itself. The parts are valid until the next call. */
BB_MUST int zmq_conn_next(struct zmq_conn *c, struct zmtp_event *out);
/* Reads once. IO_AGAIN: on_ready will come. */
enum io zmq_conn_fill(struct zmq_conn *c);
/* Writes what is queued. IO_DONE: all; IO_AGAIN: on_ready will come. */
enum io zmq_conn_flush(struct zmq_conn *c);
/* Writes from the owner's memory; the queue must be empty. */
enum io zmq_conn_write(struct zmq_conn *c, const char *data, size_t len, size_t *put);

/* on_ready comes in the loop's next turn; nothing happens when it is closed. */
void zmq_conn_again(struct zmq_conn *c);

/*
 * Called at even intervals. Says PING to a peer from which nothing has come since the last tick;
 * -BB_EUPTIMEOUT when that was so three times, or when it has not finished its handshake by the
 * third tick. Ticks and not time are counted, so that a process that was stopped for a while does
 * not blame its peers. Those of ZMTP 3.0 know no PING and are let be.
 */
BB_MUST int zmq_conn_tick(struct zmq_conn *c);
