/*
 * word_cache.h: the ids of words met before.
 *
 * For: tokenizer. Words of up to 15 bytes and 4 ids are kept in entries of 32 bytes, found by the
 * word's own bytes; words of up to 126 bytes and 32 ids in entries of 256. A short word has two
 * places in one line of the processor's cache: a newer word takes the first, and what was there
 * moves to the second. A long word has one, and so has a short one with more ids. What is in it
 * depends on the word alone, so that one cache serves all texts of a tokenizer. Threads: one owner.
 * Memory: WORD_CACHE_SIZE, zeroed at creation. Errors: none; a word that is not there is a miss.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "text/vocab.h"

#define WORD_SHORT_BITS 14
#define WORD_LONG_BITS 11
#define WORD_SHORT_MAX 15
#define WORD_SHORT_IDS 4
#define WORD_LONG_MAX 126
#define WORD_LONG_IDS 32
/* Ids are below 2^20; the count of a short word is kept above its first id. */
#define WORD_ID_BITS 20
#define WORD_ID_MASK ((1u << WORD_ID_BITS) - 1)

struct word_short {
	uint64_t key[2]; /* the bytes, zeros, and the length in the last one */
	uint32_t ids[WORD_SHORT_IDS];
};

struct word_long {
	uint8_t len, count;
	char bytes[WORD_LONG_MAX];
	uint32_t ids[WORD_LONG_IDS];
};

#define WORD_WAYS 2

struct word_cache {
	struct word_short shorts[1 << WORD_SHORT_BITS][WORD_WAYS];
	struct word_long longs[1 << WORD_LONG_BITS];
};

#define WORD_CACHE_SIZE sizeof(struct word_cache)

struct word_key {
	uint64_t low, high;
};

/* Of 16 bytes, what keeps the first 0 to 15: from the byte at 15 - n on. */
#define WORD_KEEP_SIZE 31
extern const uint8_t word_keep[WORD_KEEP_SIZE];

/* A word of 1 to 15 bytes. Up to `limit` may be read. No branch depends on its length. */
static inline struct word_key word_key(const char *p, size_t len, const char *limit)
{
	struct word_key k = { 0, 0 }, keep;

	if (__builtin_expect(limit - p >= 16, 1)) {
		memcpy(&k, p, 16);
		memcpy(&keep, word_keep + WORD_SHORT_MAX - len, 16);
		k.low &= keep.low;
		k.high &= keep.high;
	} else {
		memcpy(&k, p, len);
	}
	k.high |= (uint64_t)len << 56;
	return k;
}

/* The two places of a word. */
static inline struct word_short *word_short_places(struct word_cache *c, struct word_key k)
{
	const uint64_t mixed = (k.low ^ k.high * 0xd6e8feb86659fd93u) * 0x9e3779b97f4a7c15u;

	return c->shorts[mixed >> (64 - WORD_SHORT_BITS)];
}

static inline bool word_short_is(const struct word_short *s, struct word_key k)
{
	return ((s->key[0] ^ k.low) | (s->key[1] ^ k.high)) == 0;
}

/* Of the two places, the one that may hold the word. */
static inline const struct word_short *word_short_find(const struct word_short *places,
						       struct word_key k)
{
	return places + word_short_is(places + 1, k);
}

/* Writes WORD_SHORT_IDS ids, of which those that count come first, and returns how many do. */
static inline uint32_t word_short_ids(const struct word_short *s, uint32_t *ids)
{
	const uint32_t first = s->ids[0];

	memcpy(ids, s->ids, sizeof(s->ids));
	ids[0] = first & WORD_ID_MASK;
	return first >> WORD_ID_BITS;
}

static inline void word_short_put(struct word_short *places, struct word_key k, const uint32_t *ids,
				  uint32_t count)
{
	if (count == 0 || count > WORD_SHORT_IDS)
		return;
	places[1] = places[0];
	places[0].key[0] = k.low;
	places[0].key[1] = k.high;
	memcpy(places[0].ids, ids, count * sizeof(*ids));
	places[0].ids[0] |= count << WORD_ID_BITS;
}

/* A word of at most WORD_LONG_MAX bytes, with its vocab_hash. */
static inline struct word_long *word_long_slot(struct word_cache *c, uint64_t hash)
{
	return &c->longs[hash >> (64 - WORD_LONG_BITS)];
}

/* Has what word_long_is looks at fetched. */
static inline void word_long_fetch(struct word_cache *c, uint64_t hash)
{
	__builtin_prefetch(word_long_slot(c, hash));
}

static inline bool word_long_is(const struct word_long *s, const char *p, size_t len)
{
	return s->len == len && memcmp(s->bytes, p, len) == 0;
}

static inline void word_long_put(struct word_long *s, const char *p, size_t len,
				 const uint32_t *ids, uint32_t count)
{
	if (count == 0 || count > WORD_LONG_IDS)
		return;
	s->len = (uint8_t)len;
	s->count = (uint8_t)count;
	memcpy(s->bytes, p, len);
	memcpy(s->ids, ids, count * sizeof(*ids));
}
