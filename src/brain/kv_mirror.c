#include "brain/kv_mirror.h"

#include "base/alloc.h"
#include "base/log.h"
#include "brain/kv_mirror_inner.h"
#include "wire/kv_events.h"

#define BYTES_MAX_DEFAULT ((size_t)256 << 20)
#define CREDIT_MAX 1000000u
#define AHEAD 16u

/* ---- what an event is about ---- */

/* Where a block lies; engines that do not say have only one place. */
static enum index_tier tier_of(struct bb_str medium)
{
	static const struct bb_str device[] = { BB_STR_INIT("GPU"), BB_STR_INIT("DEVICE") };
	static const struct bb_str host[] = { BB_STR_INIT("CPU"), BB_STR_INIT("CPU_PINNED"),
					      BB_STR_INIT("CPU_TIER1"), BB_STR_INIT("HOST") };

	if (!medium.len)
		return INDEX_DEVICE;
	for (size_t i = 0; i < sizeof(device) / sizeof(device[0]); i++)
		if (bb_str_eq_nocase(medium, device[i]))
			return INDEX_DEVICE;
	for (size_t i = 0; i < sizeof(host) / sizeof(host[0]); i++)
		if (bb_str_eq_nocase(medium, host[i]))
			return INDEX_HOST;
	return INDEX_DISK;
}

/* Layers that look at the whole prompt: what they hold can be used again as it is. */
static bool is_whole_attention(const struct kv_stored *s)
{
	static const struct bb_str kinds[] = { BB_STR_INIT("full_attention"),
					       BB_STR_INIT("mla_attention"),
					       BB_STR_INIT("sink_full_attention") };

	if (!s->spec_kind.len)
		return s->sliding_window == KV_ABSENT;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (bb_str_eq(s->spec_kind, kinds[i]))
			return true;
	return false;
}

static bool is_remote(struct bb_str locality)
{
	return bb_str_eq_nocase(locality, BB_STR("REMOTE"));
}

/*
 * Several groups of layers may look at the whole prompt and tell of the same blocks. The first one
 * that is seen counts.
 */
static bool is_main_group(struct kv_mirror *m, const struct kv_stored *s)
{
	if (is_remote(s->locality) || !is_whole_attention(s))
		return false;
	if (m->group == KV_ABSENT)
		m->group = s->group_index;
	return s->group_index == KV_ABSENT || s->group_index == m->group;
}

/*
 * What vLLM says besides the tokens (generate_block_hash_extra_keys): the adapter's name on every
 * block, [id, offset] of each image in it, on a chain's first block the salt, and bytes for
 * embeddings. True: nothing in it but the adapter and, where it is allowed, a salt.
 */
static bool read_extra(struct bb_str raw, struct bb_str lora, struct bb_str *salt)
{
	struct msgpack_reader r;
	struct msgpack_value v;
	bool has_lora = false;

	if (!raw.len)
		return true;
	msgpack_reader_init(&r, raw);
	if (msgpack_read(&r, &v) || v.kind != MSGPACK_ARRAY)
		return false;
	for (uint32_t left = v.count; left > 0; left--) {
		if (msgpack_read(&r, &v) || v.kind != MSGPACK_STR)
			return false;
		if (lora.len && !has_lora && bb_str_eq(v.bytes, lora)) {
			has_lora = true;
			continue;
		}
		if (!salt || salt->len)
			return false;
		*salt = v.bytes;
	}
	return true;
}

/* How many blocks of an event are made of tokens alone; the salt of the first, if it has one. */
static uint32_t count_plain(const struct kv_stored *s, struct bb_str *salt)
{
	struct kv_list extra = s->extra_keys;
	const bool is_first = !s->has_parent;
	struct bb_str raw, found = { 0 };
	uint32_t n = 0;

	*salt = s->cache_salt;
	while (n < s->block_hashes.count && kv_extra_next(&extra, &raw)) {
		if (!read_extra(raw, s->lora_name, n == 0 && is_first ? &found : NULL))
			return n;
		n++;
	}
	if (found.len)
		*salt = found;
	return s->block_hashes.count;
}

/* ---- runs of blocks ---- */

static bool use_size(struct kv_mirror *m, uint32_t engine_tokens)
{
	if (m->tree.engine_tokens == engine_tokens)
		return !m->is_mismatched;
	if (m->tree.node_count)
		kv_tree_clear(&m->tree);
	m->is_mismatched = !kv_tree_set_size(&m->tree, engine_tokens);
	return !m->is_mismatched;
}

static uint32_t find_parent(struct kv_mirror *m, const struct kv_run *run)
{
	struct block_hasher h;
	const struct block_key key = { m->tree.secret, run->salt, run->lora };

	if (run->has_parent)
		return kv_tree_find(&m->tree, run->parent);
	BB_ASSERT(block_hasher_init(&h, BLOCK_OWN, m->tree.block_tokens, &key) == 0);
	return kv_tree_origin(&m->tree, h.start);
}

bool kv_run_begin(struct kv_mirror *m, struct kv_run *run, uint32_t engine_tokens, uint32_t count)
{
	if (!use_size(m, engine_tokens)) {
		m->stats.passed_over += count;
		return false;
	}
	run->node = find_parent(m, run);
	run->clears = m->tree.clears;
	if (run->node != KV_NODE_NONE)
		return true;
	*(run->has_parent ? &m->stats.orphans : &m->stats.refused) += count;
	return false;
}

enum kv_step kv_run_add(struct kv_mirror *m, struct kv_run *run, uint64_t name,
			const uint32_t *tokens)
{
	struct kv_tree *const t = &m->tree;
	uint32_t node = kv_tree_find(t, name);

	if (node != KV_NODE_NONE && kv_tree_at(t, node)->parent != run->node)
		return KV_STEP_ODD;
	if (node == KV_NODE_NONE)
		node = kv_tree_add(t, run->node, name, tokens);
	if (node == KV_NODE_NONE)
		return KV_STEP_FULL;
	m->stats.stored++;
	run->node = node;
	kv_tree_store(t, node, run->tier);
	if (t->clears != run->clears)
		return KV_STEP_GONE;
	m->stats.orphans += !kv_tree_at(t, node)->is_told;
	return KV_STEP_GOES_ON;
}

void kv_run_end(struct kv_mirror *m, const struct kv_run *run, enum kv_step step, uint32_t left)
{
	if (step == KV_STEP_ODD)
		m->stats.passed_over += left;
	if (step == KV_STEP_FULL)
		m->stats.refused += left;
	if (step == KV_STEP_GONE)
		m->stats.orphans += left;
	else
		kv_tree_prune(&m->tree, run->node); /* an origin that nothing came to */
}

void kv_mirror_drop(struct kv_mirror *m, uint64_t name, enum index_tier tier)
{
	const uint32_t node = kv_tree_find(&m->tree, name);

	if (node != KV_NODE_NONE && kv_tree_remove(&m->tree, node, tier))
		m->stats.removed++;
	else
		m->stats.unknown++;
}

void kv_mirror_drop_all(struct kv_mirror *m, uint64_t name)
{
	const uint32_t node = kv_tree_find(&m->tree, name);
	const uint32_t tiers = node == KV_NODE_NONE ? 0 : kv_tree_at(&m->tree, node)->tiers;

	if (!tiers)
		m->stats.unknown++;
	for (uint32_t left = tiers; left; left &= left - 1)
		kv_mirror_drop(m, name, left & -left);
}

/* ---- events ---- */

static void on_stored(void *user, const struct kv_batch *batch, const struct kv_stored *s)
{
	struct kv_mirror *const m = user;
	struct kv_list hashes = s->block_hashes, tokens = s->token_ids;
	struct kv_run run = { .tier = tier_of(s->medium),
			      .lora = s->lora_name,
			      .parent = s->parent,
			      .has_parent = s->has_parent };
	uint64_t names[AHEAD];

	if (!is_main_group(m, s) || !kv_stored_is_whole(s) ||
	    (s->lora_id > 0 && !s->lora_name.len)) {
		m->stats.passed_over += hashes.count;
		return;
	}
	uint32_t left = count_plain(s, &run.salt);
	m->stats.passed_over += hashes.count - left;
	if (!left || !kv_run_begin(m, &run, s->block_size, left))
		return;
	enum kv_step step = KV_STEP_GOES_ON;
	while (step == KV_STEP_GOES_ON && left) {
		uint32_t n = 0, i = 0;
		while (n < AHEAD && n < left && kv_hash_next(&hashes, &names[n]))
			n++;
		kv_tree_prefetch(&m->tree, names, n);
		for (; i < n && step == KV_STEP_GOES_ON; i++, left--) {
			kv_tokens_copy(&tokens, m->tokens, s->block_size);
			step = kv_run_add(m, &run, names[i], m->tokens);
		}
	}
	kv_run_end(m, &run, step, left + (step != KV_STEP_GOES_ON));
}

static void on_removed(void *user, const struct kv_batch *batch, const struct kv_removed *r)
{
	struct kv_mirror *const m = user;
	struct kv_list hashes = r->block_hashes;
	const enum index_tier tier = tier_of(r->medium);
	uint64_t names[AHEAD];

	if (is_remote(r->locality) ||
	    (r->group_index != KV_ABSENT && m->group != KV_ABSENT && r->group_index != m->group)) {
		m->stats.passed_over += hashes.count;
		return;
	}
	while (hashes.count) {
		uint32_t n = 0;
		while (n < AHEAD && kv_hash_next(&hashes, &names[n]))
			n++;
		kv_tree_prefetch(&m->tree, names, n);
		/* Who does not say where a block was means that it is nowhere any more. */
		for (uint32_t i = 0; i < n; i++)
			if (r->medium.len)
				kv_mirror_drop(m, names[i], tier);
			else
				kv_mirror_drop_all(m, names[i]);
	}
}

static void on_cleared(void *user, const struct kv_batch *batch)
{
	kv_mirror_clear(user);
}

void kv_mirror_credit(struct kv_mirror *m, size_t size)
{
	m->tree.credit += size < CREDIT_MAX ? size : CREDIT_MAX;
	if (m->tree.credit > CREDIT_MAX)
		m->tree.credit = CREDIT_MAX;
}

int kv_mirror_apply(struct kv_mirror *m, struct bb_str payload, double *ts_seconds)
{
	static const struct kv_handler handler = { on_stored, on_removed, on_cleared };
	struct kv_batch batch;

	kv_mirror_credit(m, payload.len);
	const int rc = kv_batch_decode(payload, &handler, m, &batch);
	if (rc)
		return -BB_ESYNTAX;
	kv_tree_flush(&m->tree);
	m->stats.odd += batch.odd_count;
	if (ts_seconds)
		*ts_seconds = batch.ts_seconds;
	return 0;
}

/* ---- the whole ---- */

void kv_mirror_clear(struct kv_mirror *m)
{
	m->group = KV_ABSENT;
	m->window = 0;
	kv_tree_clear(&m->tree);
}

void kv_mirror_stats(const struct kv_mirror *m, struct kv_mirror_stats *out)
{
	*out = m->stats;
	out->bytes = sizeof(*m) + m->tree.bytes;
	out->blocks = m->tree.held_count;
	out->cleared = m->tree.cleared_count;
	out->orphans += m->tree.orphan_count;
	out->block_tokens = m->tree.engine_tokens;
	out->is_mismatched = m->is_mismatched;
}

int kv_mirror_create(const struct kv_mirror_config *config, struct kv_mirror **out)
{
	const size_t bytes_max = config->bytes_max ? config->bytes_max : BYTES_MAX_DEFAULT;

	if (config->block_tokens < 1 || config->block_tokens > BLOCK_TOKENS_MAX ||
	    bytes_max < KV_MIRROR_BYTES_MIN)
		return -BB_EINVALID;
	struct kv_mirror *const m = bb_alloc_zero(1, sizeof(*m));
	if (!m)
		return -BB_ENOMEM;
	m->tree.on_change = config->on_change;
	m->tree.user = config->user;
	m->tree.bytes_max = bytes_max - sizeof(*m);
	m->tree.block_tokens = config->block_tokens;
	m->tree.secret = config->secret;
	m->tree.credit = CREDIT_MAX;
	m->tree.free = KV_NODE_NONE;
	m->group = KV_ABSENT;
	m->dp_rank = config->dp_rank;
	*out = m;
	return 0;
}

void kv_mirror_destroy(struct kv_mirror *m)
{
	if (!m)
		return;
	kv_tree_fini(&m->tree);
	bb_free(m);
}

bool kv_mirror_is_sound(const struct kv_mirror *m)
{
	return kv_tree_is_sound(&m->tree);
}
