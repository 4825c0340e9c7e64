/*
 * kinds.h: which engines are of one kind and learn together.
 *
 * For: brain.c. A kind is a model and a signature: what runs there, and the limits that it reports.
 * Engines that look alike and are not (other GPUs) are found out: a lane whose factor stays beyond
 * 1.3 or below 0.77 gets a kind of its own, or that of others like it, with the scalars that it has
 * shown. A kind that no lane uses is remembered until its place is needed, so that an engine that
 * restarts need not be learned anew.
 * Threads: as the brain. Memory: one table of KINDS_MAX rows. Errors: -BB_ENOMEM at creation; when
 * all rows are in use, kinds are shared (the nearest of the model, else any).
 */
#pragma once

#include "base/err.h"
#include "brain/lane.h"

#define KINDS_MAX 512

struct kinds;

struct kind_key {
	uint32_t model;	 /* index of the model */
	uint32_t engine; /* which program: a number of the caller's */
	uint32_t sequences_max;
	uint32_t step_tokens;
	uint64_t kv_tokens_max;
};

BB_MUST int kinds_create(struct kinds **out);
void kinds_destroy(struct kinds *k);
/*
 * The kind's row, with one more user; row ↔ rates by kinds_rates. Rows never move, so the pointer
 * holds as long as the row is used.
 */
uint32_t kinds_get(struct kinds *k, const struct kind_key *key);
void kinds_put(struct kinds *k, uint32_t row);
struct rates *kinds_rates(struct kinds *k, uint32_t row);
/*
 * Called for a lane now and then, at best when it has had a first token. Where the lane has shown
 * to be of another kind (rates_are_apart), its rates are changed, the old row is put and the new
 * one returned; otherwise `row`.
 */
uint32_t kinds_review(struct kinds *k, struct lane *l, uint32_t row);
/* What a row is, for views; its users, 0: it is not in use and nothing was written. */
uint32_t kinds_look(const struct kinds *k, uint32_t row, struct kind_key *key, struct rates *rates);
/* Rows with users; for metrics and tests. */
uint32_t kinds_count(const struct kinds *k);
/* Which row these are in. */
uint32_t kinds_row(const struct kinds *k, const struct rates *rates);
/* All rows as bytes; reading, into a table that has none yet. */
struct pack;
void kinds_pack(struct kinds *k, struct pack *p);
/* Have all rows so many users? For what was read. */
bool kinds_users_are(const struct kinds *k, const uint32_t users[KINDS_MAX]);
