#include "text/block_hash.h"

#include <string.h>

#include "base/hash.h"
#include "base/log.h"

#define DYNAMO_SEED 1337

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "tokens are hashed as they lie in memory");

/* A text that may be empty, so that ("ab", "c") and ("a", "bc") differ. */
static uint64_t named(struct bb_str text, uint64_t key)
{
	const uint64_t both[2] = { text.len, text.len ? bb_hash(text.p, text.len, key) : 0 };

	return bb_hash(both, sizeof(both), key);
}

static uint64_t dynamo_seed(const struct block_key *key)
{
	uint64_t seed = DYNAMO_SEED;

	if (key->lora.len)
		seed += bb_hash(key->lora.p, key->lora.len, 0);
	if (key->salt.len)
		seed += bb_hash(key->salt.p, key->salt.len, 1);
	return seed;
}

int block_hasher_init(struct block_hasher *h, enum block_scheme scheme, uint32_t block_tokens,
		      const struct block_key *key)
{
	if (block_tokens == 0 || block_tokens > BLOCK_TOKENS_MAX)
		return -BB_EINVALID;
	*h = (struct block_hasher){ .scheme = scheme, .block_tokens = block_tokens };
	if (scheme == BLOCK_OWN) {
		const uint64_t names[2] = { named(key->salt, key->secret),
					    named(key->lora, key->secret) };
		h->seed = key->secret;
		h->start = bb_hash(names, sizeof(names), key->secret);
	} else {
		h->seed = dynamo_seed(key);
	}
	return 0;
}

size_t block_count(const struct block_hasher *h, size_t token_count)
{
	if (h->scheme == BLOCK_DYNAMO_EAGLE)
		return token_count ? (token_count - 1) / h->block_tokens : 0;
	return token_count / h->block_tokens;
}

static void sort(uint64_t *list, size_t count)
{
	for (size_t i = 1; i < count; i++)
		for (size_t k = i; k && list[k - 1] > list[k]; k--) {
			const uint64_t less = list[k];
			list[k] = list[k - 1];
			list[k - 1] = less;
		}
}

uint64_t block_hash_local(const struct block_hasher *h, const uint32_t *ids, const uint64_t *media,
			  size_t media_count)
{
	unsigned char bytes[(BLOCK_TOKENS_MAX + 1) * sizeof(uint32_t) +
			    BLOCK_MEDIA_MAX * sizeof(uint64_t)];
	uint64_t sorted[BLOCK_MEDIA_MAX];
	const size_t window = h->block_tokens + (h->scheme == BLOCK_DYNAMO_EAGLE);
	const size_t size = window * sizeof(*ids);

	BB_ASSERT(h->scheme != BLOCK_OWN && media_count <= BLOCK_MEDIA_MAX);
	if (media_count == 0)
		return bb_hash(ids, size, h->seed);
	memcpy(sorted, media, media_count * sizeof(*media));
	sort(sorted, media_count);
	memcpy(bytes, ids, size);
	memcpy(bytes + size, sorted, media_count * sizeof(*media));
	return bb_hash(bytes, size + media_count * sizeof(*media), h->seed);
}

static void hash_dynamo(const struct block_hasher *h, const uint32_t *ids, size_t blocks,
			uint64_t *out)
{
	for (size_t i = 0; i < blocks; i++) {
		const uint64_t local = block_hash_local(h, ids + i * h->block_tokens, NULL, 0);
		const uint64_t pair[2] = { i ? out[i - 1] : 0, local };
		out[i] = i ? bb_hash(pair, sizeof(pair), DYNAMO_SEED) : local;
	}
}

static void hash_own(const struct block_hasher *h, const void *ids, size_t blocks, uint64_t *out)
{
	unsigned char bytes[sizeof(uint64_t) + BLOCK_TOKENS_MAX * sizeof(uint32_t)];
	const size_t size = h->block_tokens * sizeof(uint32_t);
	const unsigned char *from = ids;
	uint64_t before = h->start;

	for (size_t i = 0; i < blocks; i++) {
		memcpy(bytes, &before, sizeof(before));
		memcpy(bytes + sizeof(before), from + i * size, size);
		before = out[i] = bb_hash(bytes, sizeof(before) + size, h->seed);
	}
}

size_t block_hash(const struct block_hasher *h, const uint32_t *ids, size_t token_count,
		  uint64_t *out)
{
	const size_t blocks = block_count(h, token_count);

	if (h->scheme == BLOCK_OWN)
		hash_own(h, ids, blocks, out);
	else
		hash_dynamo(h, ids, blocks, out);
	return blocks;
}

/* ---- of texts ---- */

#define KIB ((size_t)1024)

/* Pieces of `size` bytes from `begin` on. */
static const struct range {
	size_t begin, size, first; /* `first`: pieces before it */
} ranges[] = {
	{ 0, KIB / 2, 0 },
	{ 4 * KIB, 2 * KIB, 8 },
	{ 64 * KIB, 8 * KIB, 38 },
};
#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

size_t block_text_pieces(size_t bytes)
{
	size_t i = RANGES - 1;

	while (bytes < ranges[i].begin)
		i--;
	return ranges[i].first + (bytes - ranges[i].begin) / ranges[i].size;
}

size_t block_text_bytes(size_t pieces)
{
	size_t i = RANGES - 1;

	while (pieces < ranges[i].first)
		i--;
	return ranges[i].begin + (pieces - ranges[i].first) * ranges[i].size;
}

size_t block_hash_text(const struct block_hasher *h, struct bb_str text, uint64_t *out)
{
	const size_t count = block_text_pieces(text.len);
	uint64_t before = bb_hash(&h->start, sizeof(h->start), ~h->seed);

	BB_ASSERT(h->scheme == BLOCK_OWN);
	for (size_t i = 0; i < count; i++) {
		const size_t begin = block_text_bytes(i), end = block_text_bytes(i + 1);
		before = out[i] = bb_hash(text.p + begin, end - begin, before);
	}
	return count;
}
