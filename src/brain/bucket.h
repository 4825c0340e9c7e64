/*
 * bucket.h: a token bucket in whole numbers: so many a minute, as many at once after a quiet one.
 *
 * For: tenants.c. Exact: what drops in between two looks is kept as a remainder, so that in the
 * long run neither more nor less comes out than the rate says.
 * Threads: one owner. Memory: none. Errors: none; a rate of 0 is no limit at all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_RATE_MAX 1000000000000ull

struct bucket {
	uint64_t per_minute; /* also how many it holds; 0: no limit */
	int64_t level;	     /* below 0: more was used than was reserved */
	uint64_t rest;	     /* of a token, in tokens × nanoseconds a minute */
	uint64_t at_ns;	     /* when `level` was right */
};

/* A new rate. What has been used stays used; a bucket that had no limit begins full. */
void bucket_set(struct bucket *b, uint64_t now_ns, uint64_t per_minute);
/* Nanoseconds until `count` can be taken; 0: now. `count` is at most the rate. */
uint64_t bucket_wait_ns(struct bucket *b, uint64_t now_ns, uint64_t count);
void bucket_take(struct bucket *b, uint64_t now_ns, uint64_t count);
/* Gives back what was taken too much; never more than it holds. */
void bucket_give(struct bucket *b, uint64_t now_ns, uint64_t count);
/* What can be taken at once, and nanoseconds until it is full again, as of the latest look. */
uint64_t bucket_left(const struct bucket *b);
uint64_t bucket_reset_ns(const struct bucket *b);
