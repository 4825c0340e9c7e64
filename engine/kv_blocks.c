#include "kv_blocks.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"

enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_CACHED };

struct kv_slot {
	enum slot_state state;
	uint32_t token_count;	 /* in the cache */
	uint32_t block_count;	 /* taken; the last may be part full */
	uint32_t full_count;	 /* full blocks: the first token_count / block_size */
	uint32_t promised_count; /* blocks in total, at least block_count while running */
	uint32_t salt_len;
	char salt[KV_SALT_MAX];
	uint64_t stamp; /* larger: used later */
	int32_t *tokens;
	uint32_t *blocks;
	uint64_t *hashes; /* of the full blocks */
};

struct kv_blocks {
	struct kv_config config;
	struct kv_slot *slots;
	uint32_t *holders;	   /* slots that list the block */
	uint32_t *running_holders; /* running ones of these */
	uint32_t *free_blocks;	   /* a stack */
	uint32_t free_count;
	uint32_t running_count; /* blocks with running holders */
	uint32_t owed_count;	/* promised to running slots and not yet taken */
	uint64_t stamp;
};

int kv_blocks_create(const struct kv_config *config, struct kv_blocks **out)
{
	struct kv_blocks *b = bb_alloc_zero(1, sizeof(*b));
	const uint32_t n = config->block_count;

	BB_ASSERT(n > 0 && config->slot_count > 2 && config->block_size > 0);
	if (!b)
		return -BB_ENOMEM;
	b->config = *config;
	b->slots = bb_alloc_zero(config->slot_count, sizeof(*b->slots));
	b->holders = bb_alloc_zero(n, sizeof(*b->holders));
	b->running_holders = bb_alloc_zero(n, sizeof(*b->running_holders));
	b->free_blocks = bb_alloc_zero(n, sizeof(*b->free_blocks));
	if (!b->slots || !b->holders || !b->running_holders || !b->free_blocks)
		goto fail;
	for (uint32_t i = 0; i < n; i++)
		b->free_blocks[b->free_count++] = n - 1 - i;
	for (uint32_t i = 0; i < config->slot_count; i++) {
		struct kv_slot *s = &b->slots[i];
		s->tokens = bb_alloc_zero((size_t)n * config->block_size, sizeof(*s->tokens));
		s->blocks = bb_alloc_zero(n, sizeof(*s->blocks));
		s->hashes = bb_alloc_zero(n, sizeof(*s->hashes));
		if (!s->tokens || !s->blocks || !s->hashes)
			goto fail;
	}
	*out = b;
	return 0;

fail:
	kv_blocks_destroy(b);
	return -BB_ENOMEM;
}

void kv_blocks_destroy(struct kv_blocks *b)
{
	if (!b)
		return;
	for (uint32_t i = 0; b->slots && i < b->config.slot_count; i++) {
		bb_free(b->slots[i].tokens);
		bb_free(b->slots[i].blocks);
		bb_free(b->slots[i].hashes);
	}
	bb_free(b->slots);
	bb_free(b->holders);
	bb_free(b->running_holders);
	bb_free(b->free_blocks);
	bb_free(b);
}

static uint32_t blocks_for(const struct kv_blocks *b, uint32_t tokens)
{
	return tokens / b->config.block_size + (tokens % b->config.block_size != 0);
}

/*
 * The hash of a block after `parent`. The key is fixed, so that engines of one build agree;
 * a collision is harmless, since tokens are compared before a block is shared.
 */
static uint64_t block_hash(const struct kv_blocks *b, const int32_t *tokens, uint64_t parent)
{
	return bb_hash(tokens, b->config.block_size * sizeof(*tokens), parent);
}

/* Does some other slot hold this full block? Slots with one hash have it at one index. */
static bool is_held_elsewhere(const struct kv_blocks *b, const struct kv_slot *but, uint32_t index)
{
	for (uint32_t i = 0; i < b->config.slot_count; i++) {
		const struct kv_slot *s = &b->slots[i];
		if (s != but && index < s->full_count && s->hashes[index] == but->hashes[index])
			return true;
	}
	return false;
}

static void hold(struct kv_blocks *b, uint32_t block)
{
	b->holders[block]++;
	if (b->running_holders[block]++ == 0)
		b->running_count++;
}

static void release_running(struct kv_blocks *b, uint32_t block)
{
	BB_ASSERT(b->running_holders[block] > 0);
	if (--b->running_holders[block] == 0)
		b->running_count--;
}

static void release(struct kv_blocks *b, uint32_t block)
{
	BB_ASSERT(b->holders[block] > 0);
	if (--b->holders[block] == 0)
		b->free_blocks[b->free_count++] = block;
}

static struct bb_str slot_salt(const struct kv_slot *s)
{
	return (struct bb_str){ s->salt, s->salt_len };
}

/* What the first block's hash begins with. */
static uint64_t slot_root(const struct kv_slot *s)
{
	return s->salt_len ? bb_hash(s->salt, s->salt_len, 0) : 0;
}

/* Takes the slot's last block from it. */
static void drop_last(struct kv_blocks *b, struct kv_slot *s)
{
	const uint32_t last = s->block_count - 1;
	const bool was_full = last < s->full_count;

	if (s->state == SLOT_RUNNING)
		release_running(b, s->blocks[last]);
	release(b, s->blocks[last]);
	if (was_full && !is_held_elsewhere(b, s, last))
		b->config.sink.removed(b->config.sink.user, s->hashes[last]);
	s->block_count = last;
	if (was_full)
		s->full_count = last;
	if (s->token_count > last * b->config.block_size)
		s->token_count = last * b->config.block_size;
}

/* After drop_last: the cells follow, all at once, since each time costs a look at all cells. */
static void drop_cells(struct kv_blocks *b, struct kv_slot *s)
{
	b->config.cells.drop(b->config.cells.user, (uint32_t)(s - b->slots), s->token_count);
	if (s->block_count == 0)
		s->state = SLOT_FREE;
}

static void drop_from(struct kv_blocks *b, struct kv_slot *s, uint32_t block_from)
{
	while (s->block_count > block_from)
		drop_last(b, s);
	drop_cells(b, s);
}

static struct kv_slot *oldest_cached(struct kv_blocks *b, const struct kv_slot *but)
{
	struct kv_slot *oldest = NULL;

	for (uint32_t i = 0; i < b->config.slot_count; i++) {
		struct kv_slot *s = &b->slots[i];
		if (s->state == SLOT_CACHED && s != but && (!oldest || s->stamp < oldest->stamp))
			oldest = s;
	}
	return oldest;
}

/* Drops cached blocks until `count` are free beyond what is owed. */
static int make_free(struct kv_blocks *b, uint32_t count)
{
	while (b->free_count - b->owed_count < count) {
		struct kv_slot *s = oldest_cached(b, NULL);
		if (!s)
			return -BB_EBUSY;
		while (s->block_count && b->free_count - b->owed_count < count)
			drop_last(b, s);
		drop_cells(b, s);
	}
	return 0;
}

static struct kv_slot *free_slot(struct kv_blocks *b, const struct kv_slot *donor)
{
	for (uint32_t i = 0; i < b->config.slot_count; i++)
		if (b->slots[i].state == SLOT_FREE)
			return &b->slots[i];
	struct kv_slot *s = oldest_cached(b, donor);
	if (s)
		drop_from(b, s, 0);
	return s;
}

/* The slot that shares most full blocks with the tokens, and how many. */
static struct kv_slot *best_donor(const struct kv_blocks *b, const int32_t *tokens,
				  uint32_t token_count, struct bb_str salt, uint32_t *shared)
{
	const uint32_t size = b->config.block_size;
	const uint32_t most = token_count ? (token_count - 1) / size : 0;
	struct kv_slot *best = NULL;

	*shared = 0;
	if (b->config.sharing == KV_NEVER_SHARED)
		return NULL;
	for (uint32_t i = 0; i < b->config.slot_count; i++) {
		struct kv_slot *s = &b->slots[i];
		const uint32_t limit = s->full_count < most ? s->full_count : most;
		uint32_t n = 0;
		if (limit <= *shared || !bb_str_eq(slot_salt(s), salt))
			continue;
		while (n < limit && memcmp(s->tokens + (size_t)n * size, tokens + (size_t)n * size,
					   size * sizeof(*tokens)) == 0)
			n++;
		if (n > *shared) {
			*shared = n;
			best = s;
		}
	}
	return best;
}

uint32_t kv_match(const struct kv_blocks *b, const int32_t *tokens, uint32_t token_count,
		  struct bb_str salt)
{
	uint32_t shared;

	best_donor(b, tokens, token_count, salt, &shared);
	return shared * b->config.block_size;
}

/* Would there be `count` blocks once everything is dropped that is not running and not shared? */
static bool can_make_free(const struct kv_blocks *b, const struct kv_slot *donor, uint32_t shared,
			  uint32_t count)
{
	uint32_t kept = b->running_count;

	for (uint32_t i = 0; i < shared; i++)
		if (b->running_holders[donor->blocks[i]] == 0)
			kept++;
	return b->config.block_count - kept >= b->owed_count + count;
}

static void share(struct kv_blocks *b, const struct kv_slot *from, struct kv_slot *to,
		  uint32_t count)
{
	const uint32_t tokens = count * b->config.block_size;

	for (uint32_t i = 0; i < count; i++)
		hold(b, from->blocks[i]);
	memcpy(to->blocks, from->blocks, count * sizeof(*to->blocks));
	memcpy(to->hashes, from->hashes, count * sizeof(*to->hashes));
	memcpy(to->tokens, from->tokens, tokens * sizeof(*to->tokens));
	to->block_count = to->full_count = count;
	to->token_count = tokens;
	b->config.cells.share(b->config.cells.user, (uint32_t)(from - b->slots),
			      (uint32_t)(to - b->slots), tokens);
}

int kv_admit(struct kv_blocks *b, const int32_t *tokens, uint32_t token_count,
	     uint32_t promised_tokens, struct bb_str salt, uint32_t *slot, uint32_t *shared_tokens)
{
	uint32_t shared;
	const struct kv_slot *donor = best_donor(b, tokens, token_count, salt, &shared);
	const uint32_t promised = blocks_for(b, promised_tokens);

	BB_ASSERT(promised > shared && promised <= b->config.block_count);
	BB_ASSERT(salt.len <= KV_SALT_MAX);
	if (!can_make_free(b, donor, shared, promised - shared))
		return -BB_EBUSY;
	struct kv_slot *s = free_slot(b, donor);
	if (!s)
		return -BB_EBUSY;
	s->state = SLOT_RUNNING;
	s->token_count = s->block_count = s->full_count = 0;
	s->salt_len = (uint32_t)salt.len;
	if (salt.len)
		memcpy(s->salt, salt.p, salt.len);
	s->stamp = ++b->stamp;
	if (shared)
		share(b, donor, s, shared);
	const int rc = make_free(b, promised - shared);
	BB_ASSERT(rc == 0); /* can_make_free said so */
	s->promised_count = promised;
	b->owed_count += promised - shared;
	*slot = (uint32_t)(s - b->slots);
	*shared_tokens = shared * b->config.block_size;
	return 0;
}

int kv_take(struct kv_blocks *b, uint32_t slot, uint32_t count)
{
	struct kv_slot *s = &b->slots[slot];
	const uint32_t wanted = blocks_for(b, s->token_count + count);

	BB_ASSERT(s->state == SLOT_RUNNING);
	if (wanted > b->config.block_count)
		return -BB_EBUSY;
	if (wanted > s->promised_count) {
		const int rc = make_free(b, wanted - s->promised_count);
		if (rc)
			return rc;
		b->owed_count += wanted - s->promised_count;
		s->promised_count = wanted;
	}
	while (s->block_count < wanted) {
		BB_ASSERT(b->free_count > 0 && b->owed_count > 0);
		const uint32_t block = b->free_blocks[--b->free_count];
		hold(b, block);
		b->owed_count--;
		s->blocks[s->block_count++] = block;
	}
	return 0;
}

/* Tells the sink of the full blocks from..to that no other slot had, in runs. */
static void announce(struct kv_blocks *b, const struct kv_slot *s, uint32_t from, uint32_t to)
{
	const struct kv_sink *sink = &b->config.sink;

	while (from < to) {
		uint32_t end = from;
		while (end < to && !is_held_elsewhere(b, s, end))
			end++;
		if (end > from)
			sink->stored(sink->user, s->hashes + from, end - from,
				     s->tokens + (size_t)from * b->config.block_size,
				     from ? &s->hashes[from - 1] : NULL, slot_salt(s));
		from = end > from ? end : from + 1;
	}
}

void kv_filled(struct kv_blocks *b, uint32_t slot, const int32_t *tokens, uint32_t count)
{
	struct kv_slot *s = &b->slots[slot];
	const uint32_t size = b->config.block_size;
	const uint32_t first = s->full_count;

	BB_ASSERT(s->state == SLOT_RUNNING);
	BB_ASSERT(s->token_count + count <= s->block_count * size);
	memcpy(s->tokens + s->token_count, tokens, count * sizeof(*tokens));
	s->token_count += count;
	if (b->config.sharing == KV_NEVER_SHARED)
		return;
	for (; s->full_count < s->token_count / size; s->full_count++) {
		const uint32_t i = s->full_count;
		s->hashes[i] = block_hash(b, s->tokens + (size_t)i * size,
					  i ? s->hashes[i - 1] : slot_root(s));
	}
	announce(b, s, first, s->full_count);
}

uint32_t kv_token_count(const struct kv_blocks *b, uint32_t slot)
{
	return b->slots[slot].token_count;
}

/* Of two cached slots, one may hold nothing that the other does not: it goes. */
static void drop_contained(struct kv_blocks *b, struct kv_slot *s)
{
	for (uint32_t i = 0; i < b->config.slot_count; i++) {
		struct kv_slot *other = &b->slots[i];
		if (other == s || other->state != SLOT_CACHED)
			continue;
		/* The same block at one index means the same blocks before it: shares begin at 0.
		 */
		const uint32_t n =
			other->block_count < s->block_count ? other->block_count : s->block_count;
		if (other->blocks[n - 1] != s->blocks[n - 1])
			continue;
		if (n == other->block_count) {
			drop_from(b, other, 0);
			continue;
		}
		other->stamp = s->stamp;
		drop_from(b, s, 0);
		return;
	}
}

void kv_finish(struct kv_blocks *b, uint32_t slot, enum kv_keep keep)
{
	struct kv_slot *s = &b->slots[slot];

	BB_ASSERT(s->state == SLOT_RUNNING);
	b->owed_count -= s->promised_count - s->block_count;
	drop_from(b, s, keep == KV_KEEP ? s->full_count : 0);
	if (s->block_count == 0)
		return;
	for (uint32_t i = 0; i < s->block_count; i++)
		release_running(b, s->blocks[i]);
	s->state = SLOT_CACHED;
	s->stamp = ++b->stamp;
	drop_contained(b, s);
}

void kv_drop_cached(struct kv_blocks *b)
{
	for (uint32_t i = 0; i < b->config.slot_count; i++)
		if (b->slots[i].state == SLOT_CACHED)
			drop_from(b, &b->slots[i], 0);
}

uint32_t kv_blocks_total(const struct kv_blocks *b)
{
	return b->config.block_count;
}

uint32_t kv_blocks_running(const struct kv_blocks *b)
{
	return b->running_count;
}
