/*
 * jwks_ring.h: where the keys that check tokens hang: the control thread puts sets, workers take
 * them.
 *
 * For: jwks_source.c, which loads sets; token_gate.c, which uses them; a snapshot, which ties both
 * together. A ring outlives the configurations that name the same source, so a reload does not
 * leave a gateway without keys until they are fetched again.
 * Threads: any. Memory: counted; a ring has a reference of its set.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "wire/jwks.h"

struct jwks_ring;

BB_MUST int jwks_ring_create(struct jwks_ring **out);
struct jwks_ring *jwks_ring_get(struct jwks_ring *r);
void jwks_ring_put(struct jwks_ring *r); /* NULL is allowed */

/* Takes the reference of `set`, which replaces the one that hung there. */
void jwks_ring_set(struct jwks_ring *r, struct jwks *set);
/* Changes with each set; 0 before the first. Cheap: no lock. */
uint32_t jwks_ring_version(const struct jwks_ring *r);
/* A reference of the set, and its version; NULL before the first. */
struct jwks *jwks_ring_keys(struct jwks_ring *r, uint32_t *version);

/* A token names a key that is not in the set: it may be there by now, at the source. */
void jwks_ring_wish(struct jwks_ring *r);
bool jwks_ring_has_wish(const struct jwks_ring *r);
void jwks_ring_drop_wish(struct jwks_ring *r);
