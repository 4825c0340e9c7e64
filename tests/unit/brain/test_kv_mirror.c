/*
 * Goal: what a real vLLM published is followed block by block; blocks get the names that the
 * gateway gives to the same prompt; blocks below one that is gone are taken back and told again;
 * other groups, images and remote blocks are passed over; nothing grows without bound.
 */
#include "../wire/capture.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "brain/kv_mirror.h"
#include "text/block_hash.h"
#include "wire/kv_events.h"

#define SECRET 77
#define OURS 16u

static struct {
	uint32_t stores, removes, clears; /* blocks; events for clears */
	uint64_t stored[4096], removed[4096];
	uint32_t depth[4096];
	enum index_tier tier;
} seen;

static void on_change(void *user, const struct kv_change *c)
{
	assert_in_range(c->count, c->kind == KV_CHANGE_CLEAR ? 0 : 1, KV_CHANGE_MAX);
	seen.tier = c->tier;
	for (uint32_t i = 0; i < c->count; i++) {
		if (c->kind == KV_CHANGE_STORE) {
			seen.depth[seen.stores % 4096] = c->depth + i;
			seen.stored[seen.stores++ % 4096] = c->hashes[i];
		} else {
			seen.removed[seen.removes++ % 4096] = c->hashes[i];
		}
	}
	seen.clears += c->kind == KV_CHANGE_CLEAR;
}

static struct kv_mirror *mirror(uint32_t block_tokens)
{
	const struct kv_mirror_config config = { .block_tokens = block_tokens,
						 .secret = SECRET,
						 .on_change = on_change };
	struct kv_mirror *m;

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(kv_mirror_create(&config, &m), 0);
	return m;
}

static void apply(struct kv_mirror *m, struct bb_str payload)
{
	assert_int_equal(kv_mirror_apply(m, payload, NULL), 0);
	assert_true(kv_mirror_is_sound(m));
}

static void apply_seq(struct kv_mirror *m, int seq)
{
	char name[64];

	snprintf(name, sizeof(name), "seq%03d.payload.msgpack", seq);
	apply(m, load(name));
}

static struct kv_mirror_stats stats(const struct kv_mirror *m)
{
	struct kv_mirror_stats s;

	kv_mirror_stats(m, &s);
	return s;
}

/* Landmarks of the captures' README: 33 stores, 67 removals, blocks of 32 tokens. */
static void captures_are_followed(void **state)
{
	struct kv_mirror *const m = mirror(OURS);
	struct kv_mirror_stats s;

	apply_seq(m, 0);
	assert_int_equal(seen.stores, 8); /* four blocks of 32 are eight of 16 */
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(seen.depth[i], i);
	apply_seq(m, 1);
	assert_int_equal(seen.stores, 10);
	assert_int_equal(seen.depth[8], 8);
	apply_seq(m, 2);
	apply_seq(m, 3);
	const uint32_t before = seen.stores;
	assert_int_equal(seen.depth[before - 2], 8); /* chat B behind the same four blocks */
	assert_true(seen.stored[before - 1] != seen.stored[9]);
	apply_seq(m, 4);
	const uint32_t salted = seen.stores;
	apply_seq(m, 5);
	assert_int_equal(seen.depth[salted], 0); /* the salt makes another chain of the same tokens */
	assert_true(seen.stored[salted] != seen.stored[0]);
	for (int i = 6; i < 39; i++)
		apply_seq(m, i);
	s = stats(m);
	assert_int_equal(s.orphans + s.passed_over + s.unknown + s.refused + s.odd, 0);
	assert_int_equal(s.removed, 67);
	assert_int_equal(s.block_tokens, 32);
	assert_false(s.is_mismatched);
	assert_int_equal(s.blocks, s.stored - s.removed);
	assert_int_equal(seen.stores, 2 * s.stored);
	assert_int_equal(seen.removes, 2 * s.removed);
	kv_mirror_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(captures_are_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
