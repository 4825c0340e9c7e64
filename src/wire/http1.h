/*
 * http1.h: HTTP/1.1 heads and bodies, parsed by llhttp (RFC 9110, RFC 9112).
 *
 * For: net, which owns the sockets. A message is parsed in two steps: the head, which ends up as
 * a struct http_head over contiguous bytes, and the body, which is unframed in place. What goes
 * out is always framed anew from these, never forwarded.
 * Threads: pure functions on caller's state.
 * Memory: a parser owns nothing. A head points into the bytes that were fed.
 * Errors: -BB_EHTTP for malformed bytes (http1_reason says why, static text; http1_status what a
 * server answers), -BB_ELIMIT for too many header fields.
 *
 * What is refused beyond llhttp's own strictness, because two parsers might differ on it: any
 * Transfer-Encoding but a single "chunked"; several fields where one decides; a request line with
 * more than single spaces, another protocol's name, or bytes that no URI has; a Host that is
 * missing, or no host; chunks that are mostly extensions, and endless trailers (which are dropped).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <llhttp.h>

#include "base/err.h"
#include "base/str.h"

#define HTTP_HEADERS_MAX 100

struct http_header {
	struct bb_str name;
	struct bb_str value;
};

struct http_head {
	enum llhttp_method method; /* requests: HTTP_GET, HTTP_HEAD, HTTP_POST, … of llhttp.h */
	struct bb_str target;    /* requests: as it came, of an absolute one what follows the host */
	struct bb_str path;      /* requests: the target without its query */
	struct bb_str query;     /* requests: without the '?' */
	int status;              /* responses */
	uint8_t minor;           /* HTTP/1.minor */
	bool keep_alive;         /* after this message, as far as the head says */
	bool chunked;
	bool has_length;         /* Content-Length was given */
	bool expects_continue;   /* Expect: 100-continue */
	bool names_fields;       /* a Connection field names others that belong to it */
	bool is_upgrade;         /* 101, CONNECT or Upgrade: never accepted here */
	uint64_t length;         /* Content-Length, bytes */
	uint32_t count;
	struct http_header headers[HTTP_HEADERS_MAX];
};

/* The value of a header field (name in any case), p == NULL when absent. The first of several. */
struct bb_str http_head_get(const struct http_head *h, struct bb_str name);
/* How often the field stands in the head. */
unsigned http_head_count(const struct http_head *h, struct bb_str name);

/* Does more of a body follow? */
enum body_part { BODY_MORE, BODY_LAST };

enum http1_kind { HTTP1_REQUEST, HTTP1_RESPONSE };

/* What a body's end is known by. */
enum http1_framing { HTTP1_NO_BODY, HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_UNTIL_CLOSE };

struct http1 {
	llhttp_t parser;
	uint64_t left;             /* HTTP1_LENGTH: bytes of the body still to come */
	uint64_t overhead_left;    /* HTTP1_CHUNKED: bytes that sizes and extensions may still take */
	const char *mark;          /* HTTP1_CHUNKED: behind the last payload byte of this call */
	uint32_t gap;              /* HTTP1_CHUNKED: bytes since the last payload byte, without this call */
	struct http_head *head;    /* collected into while the head is parsed, else NULL */
	char *out;                 /* where the next body byte goes (unframing in place) */
	const char *reason;        /* why it failed, where llhttp does not know */
	uint32_t target_len;       /* requests: bytes of the target so far */
	uint16_t status;           /* the answer to a bad request where it is not 400 */
	uint8_t protocol_len;      /* letters of "HTTP" so far */
	uint8_t kind;              /* enum http1_kind */
	uint8_t framing;           /* enum http1_framing, valid once the head is done */
	bool head_done;
	bool message_done;
	bool failed;
	bool answers_head; /* responses: the request was HEAD, so there is no body */
};

void http1_init(struct http1 *p, enum http1_kind kind);

/*
 * Feeds `len` new bytes of a head at `data`. With `head` it is filled in; it must be the same
 * and the bytes contiguous over all calls of one head. NULL only validates: when the head is
 * complete, http1_init and one call with all of it and a `head` collect it.
 * Returns 1 when the head is complete (`*used` bytes of `data` belong to it), 0 when more is
 * needed, or an error.
 */
BB_MUST int http1_feed_head(struct http1 *p, struct http_head *head, const char *data, size_t len,
			    size_t *used);

/*
 * Unframes body bytes in place: `data` … `data + len` are raw bytes, afterwards `*body` is the
 * contiguous payload inside of them. `*used` raw bytes were consumed (less than `len` only when
 * the message ended). p->message_done tells the end. Returns 0 or -BB_EHTTP.
 */
BB_MUST int http1_feed_body(struct http1 *p, char *data, size_t len, struct bb_str *body,
			    size_t *used);
/* The stream ended: true when that is a proper end of the message. */
bool http1_is_complete_at_eof(const struct http1 *p);
/* Why the last call failed. */
const char *http1_reason(const struct http1 *p);
/* What a server answers to it: 400 or 417. */
int http1_status(const struct http1 *p);

const char *http_status_text(int status);
/* Is it one of these? `names` are lower case and not empty, `name` is in any case and not empty. */
bool http_name_is(struct bb_str name, const struct bb_str *names, size_t count);
/* A field that belongs to one connection and is never passed on (RFC 9110 §7.6.1), framing included. */
bool http_is_hop_by_hop(struct bb_str name);
/* The same, or one that a Connection field of this head names. */
bool http_stays_here(const struct http_head *h, struct bb_str name);
/* True when a token like "close" stands in a comma-separated list, in any case. */
bool http_list_has(struct bb_str list, struct bb_str token);
