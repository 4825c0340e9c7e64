/*
 * splice.h: the few bytes of a client's body that must change on their way to an engine.
 *
 * For: forwarding a body as body spans and new texts side by side (scatter-gather), so that every
 * byte outside of the splices stays exactly as it was and nothing is copied.
 * Threads: pure functions. Memory: new texts are in the arena; parts point there and into the body.
 * Errors: -BB_ENOMEM, -BB_ELIMIT (more than SPLICES_MAX), -BB_EINVALID (splices that overlap).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "wire/api.h"

struct openai_request; /* openai.h */

/* A body's own splices are at most 4; the rest is for members that the shield takes out (at most 8)
 * and that the gateway adds. */
#define SPLICES_MAX 16
#define SPLICE_PARTS_MAX (2 * SPLICES_MAX + 1)

struct splice {
	size_t at;	    /* offset in the body */
	size_t cut;	    /* bytes that go */
	struct bb_str text; /* what comes instead */
};

struct splice_set {
	struct splice list[SPLICES_MAX]; /* by offset, without overlaps */
	uint32_t count;
};

/* Puts a splice in its place; one at the same offset as another comes behind it. */
BB_MUST int splice_add(struct splice_set *set, size_t at, size_t cut, struct bb_str text);
/*
 * The body as parts in order; empty ones are left out. `parts` has room for SPLICE_PARTS_MAX.
 * Returns their number; *total is the sum of their lengths.
 */
uint32_t splice_iov(struct bb_str body, const struct splice_set *set,
		    struct bb_str parts[SPLICE_PARTS_MAX], size_t *total);

enum splice_stream { SPLICE_STREAM_KEEP, SPLICE_STREAM_ASK };
enum splice_usage { SPLICE_USAGE_KEEP, SPLICE_USAGE_ASK };

struct splice_want {
	struct bb_str model;	   /* the engine's name of the model; empty: leave it */
	enum splice_stream stream; /* ASK: "stream": true whatever the client wanted */
	enum splice_usage usage;   /* ASK: include_usage where the engine's answer is a stream */
};

/*
 * The splices that make the engine's body. `req` is from openai_request_scan over this very
 * `body`. A name that is the same already needs none. include_usage only exists in chat and
 * completions; other endpoints report usage without being asked. Adds to *set, which starts
 * zeroed.
 */
BB_MUST int openai_request_splice(enum api api, struct bb_str body,
				  const struct openai_request *req, const struct splice_want *want,
				  struct bb_arena *arena, struct splice_set *set);
/*
 * Adds a member at the front of the body: `value` is raw JSON. The caller knows that the body has
 * no such member.
 */
BB_MUST int splice_add_member(const struct openai_request *req, const char *key,
			      struct bb_str value, struct bb_arena *arena, struct splice_set *set);
