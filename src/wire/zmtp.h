/*
 * zmtp.h: the ZeroMQ Message Transport Protocol, as far as KV events need it, without I/O.
 *
 * For: net/zmq_*.c. ZMTP 3.1 (RFC 37/ZMTP) with the NULL mechanism, talking also to 3.0 peers
 * (RFC 23): greeting, READY, messages of up to ZMTP_PARTS_MAX frames, SUBSCRIBE and CANCEL in both
 * forms, PING and PONG. No PLAIN or CURVE, no ZMTP 1 or 2.
 * Threads: pure functions; a session has one owner.
 * Memory: nothing is allocated. The caller keeps the received bytes that are not used yet; slices
 * point into them. A message is handed over when all its frames are there, and one that would be
 * larger than `size_max` is refused as soon as its head says so.
 * Errors: -BB_ESYNTAX: no ZMTP; -BB_EINVALID: ZMTP of a version, mechanism or socket type that
 * does not fit; -BB_ELIMIT: too large or too many parts; -BB_EUPSTREAM: the peer said ERROR. After
 * an error the connection is of no use.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define ZMTP_GREETING_SIZE 64
#define ZMTP_PARTS_MAX 8
#define ZMTP_HEAD_SIZE_MAX 9 /* flags and length of one frame */

/*      name    accepts these peers */
#define ZMTP_SOCKETS(X)                                                                            \
	X(PUB,    "SUB XSUB")                                                                      \
	X(SUB,    "PUB XPUB")                                                                      \
	X(ROUTER, "DEALER REQ ROUTER")                                                             \
	X(DEALER, "ROUTER REP DEALER")

enum zmtp_socket {
#define X(name, peers) ZMTP_##name,
	ZMTP_SOCKETS(X)
#undef X
};

enum zmtp_state { ZMTP_GREETING, ZMTP_HANDSHAKE, ZMTP_OPEN };

struct zmtp_session {
	enum zmtp_socket self;
	enum zmtp_state state;
	uint8_t peer_minor; /* 3.x */
	size_t size_max;    /* bytes of all parts of a message or of a command */
};

enum zmtp_event_kind {
	ZMTP_NEED,      /* the bytes at hand are no whole unit: read more */
	ZMTP_GREETED,   /* the peer's greeting is there: send READY */
	ZMTP_OPENED,    /* the peer is ready: traffic may begin */
	ZMTP_MESSAGE,   /* parts */
	ZMTP_SUBSCRIBE, /* parts[0] is the prefix (PUB only) */
	ZMTP_CANCEL,    /* parts[0] is the prefix (PUB only) */
	ZMTP_PING,      /* parts[0] is the context to send back in a PONG */
	ZMTP_IGNORED,   /* a PONG, or a command that we do not know */
};

struct zmtp_event {
	enum zmtp_event_kind kind;
	uint32_t part_count;
	struct bb_str parts[ZMTP_PARTS_MAX];
	size_t used; /* input bytes to drop, once the parts are not needed any more */
};

void zmtp_session_init(struct zmtp_session *s, enum zmtp_socket self, size_t size_max);
/* The next unit of what the peer has sent. */
BB_MUST int zmtp_session_take(struct zmtp_session *s, struct bb_str in, struct zmtp_event *out);

/* Writers; their errors stick in the buffer. */
void zmtp_add_greeting(struct bb_buf *b);
void zmtp_add_ready(struct bb_buf *b, enum zmtp_socket self);
enum zmtp_more { ZMTP_LAST, ZMTP_MORE };
void zmtp_add_frame(struct bb_buf *b, struct bb_str body, enum zmtp_more more);
/* In the form that the peer's version takes. */
void zmtp_add_subscribe(struct bb_buf *b, const struct zmtp_session *s, struct bb_str prefix);
void zmtp_add_cancel(struct bb_buf *b, const struct zmtp_session *s, struct bb_str prefix);
/* `ttl_ds`: tenths of a second after which the peer may give us up; 0: never. */
void zmtp_add_ping(struct bb_buf *b, uint16_t ttl_ds, struct bb_str context);
void zmtp_add_pong(struct bb_buf *b, struct bb_str context);

/* The 8-byte big-endian sequence numbers of KV events. */
void zmtp_sequence_put(uint64_t sequence, char out[8]);
BB_MUST int zmtp_sequence_get(struct bb_str part, uint64_t *out);
/* The sequence that ends a replay: vLLM's −1. */
#define ZMTP_SEQUENCE_END UINT64_MAX
