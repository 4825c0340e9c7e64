/*
 * jwks_source.h: loads the keys that check tokens, from a file or a URL, again and again.
 *
 * For: control.c. A file is read when the source is made, at a reload, and whenever a URL would be
 * fetched; a URL is fetched at once, every ten minutes, and when a token names a key that is not
 * known, but for this reason not more than every 30 seconds. When that fails the old keys stay, and
 * it is tried again after 30 seconds (5 while there are none).
 * URLs: certificates are verified against what the system trusts; redirects are not followed.
 * Threads: the control thread's loop. Memory: owned; the ring is counted.
 * Errors: -BB_EINVALID, -BB_ESYSTEM, … with a sentence in `why`; later ones are log lines.
 */
#pragma once

#include "gateway/jwks_ring.h"
#include "os/loop.h"

#define JWKS_SOURCE_WHY_SIZE 256

struct jwks_source;
struct resolver;

struct jwks_source_config {
	struct loop *loop;
	struct resolver *resolver; /* for URLs with a name */
	struct bb_str where;	   /* a path or a URL; copied */
};

/* Reads a file; begins to fetch a URL. */
BB_MUST int jwks_source_create(const struct jwks_source_config *c, struct jwks_source **out,
			       char why[JWKS_SOURCE_WHY_SIZE]);
void jwks_source_destroy(struct jwks_source *s); /* NULL is allowed */
bool jwks_source_is(const struct jwks_source *s, struct bb_str where);
/* Loads again, for a reload: a file at once and with an error, a URL in time. */
BB_MUST int jwks_source_again(struct jwks_source *s, char why[JWKS_SOURCE_WHY_SIZE]);
/* Where its keys hang; the caller takes a reference of its own to keep it. */
struct jwks_ring *jwks_source_ring(const struct jwks_source *s);
