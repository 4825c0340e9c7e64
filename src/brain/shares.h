/*
 * shares.h: what requests in flight at one engine have in common of its KV cache.
 *
 * For: brain.c: a prefix that two hundred requests share lies in the cache once. What a request
 * finds cached is cut at 32, 64, 128, … blocks and at its end; each piece is counted while one
 * request at the lane holds it. Tokens of a piece are taken as its share of the blocks. A few
 * pieces that find no place in the table are counted for each of their requests. Threads: as the
 * brain. Memory: one table of SHARES_MAX rows for all lanes. Errors: -BB_ENOMEM at creation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SHARES_MAX 65536
#define SHARE_PIECES 12 /* up to 32 << 10 blocks; what is deeper belongs to the last */

struct shares;

/* What one request holds; zeros: nothing. */
struct share_refs {
	uint16_t slot[SHARE_PIECES];
	uint8_t count;
	uint32_t own_tokens; /* of pieces that found no place */
};

BB_MUST int shares_create(struct shares **out);
void shares_destroy(struct shares *s);
/*
 * A request at `lane` finds `blocks` of its prompt cached, `tokens` in all. Returns how many of
 * these tokens no other request there has held: they are in use now.
 */
uint32_t shares_take(struct shares *s, uint32_t lane, const uint64_t *hashes, uint32_t blocks,
		     uint32_t tokens, struct share_refs *refs);
/* It is over. Returns how many tokens nobody there holds any more. */
uint32_t shares_give(struct shares *s, struct share_refs *refs);
/* All pieces in use as bytes; reading, into a table that has none. */
struct pack;
void shares_pack(struct shares *s, struct pack *k);
/* Has each row so many users? For what was read. */
bool shares_users_are(const struct shares *s, const uint32_t users[SHARES_MAX]);
uint32_t shares_tokens(const struct shares *s, uint32_t slot);
