/*
 * Goal: any payload is decoded without a step past its end; a refused one calls nobody; every list
 * that is handed over holds as many elements as it says, and the counts add up.
 */
#include <stdint.h>
#include <stdlib.h>

#include "wire/kv_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_hashes(struct kv_list list)
{
	uint64_t hash, count = list.count;

	while (kv_hash_next(&list, &hash))
		count--;
	if (count)
		abort();
}

static void on_stored(void *user, const struct kv_batch *b, const struct kv_stored *s)
{
	struct kv_list tokens = s->token_ids, extra = s->extra_keys;
	struct bb_str raw;
	uint32_t token[16], n, count = 0;

	++*(uint32_t *)user;
	walk_hashes(s->block_hashes);
	while ((n = kv_tokens_copy(&tokens, token, 16)) != 0)
		count += n;
	if (count != s->token_ids.count || s->block_size == 0)
		abort();
	for (count = 0; kv_extra_next(&extra, &raw);)
		count++;
	if (count != s->extra_keys.count)
		abort();
}

static void on_removed(void *user, const struct kv_batch *b, const struct kv_removed *r)
{
	++*(uint32_t *)user;
	walk_hashes(r->block_hashes);
}

static void on_cleared(void *user, const struct kv_batch *b)
{
	++*(uint32_t *)user;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct kv_handler handler = { on_stored, on_removed, on_cleared };
	struct kv_batch b = { 0 };
	uint32_t events = 0;
	const int rc =
		kv_batch_decode((struct bb_str){ (const char *)data, size }, &handler, &events, &b);

	if (rc ? events != 0 : events + b.odd_count != b.event_count)
		abort();
	return 0;
}
