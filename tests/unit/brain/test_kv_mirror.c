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
	assert_int_equal(seen.depth[salted],
			 0); /* the salt makes another chain of the same tokens */
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

/* Each capture of another form is read as far as it names blocks that can be followed. */
static void other_forms_are_followed(void **state)
{
	static const struct {
		const char *file;
		uint32_t stored, removed, cleared;
	} files[] = {
		{ "struct-vllm-0.16-int.msgpack", 2, 1, 1 },
		{ "struct-sglang-0.5.23.msgpack", 3, 2, 1 },
	};

	for (uint32_t i = 0; i < UNIT_COUNT(files); i++) {
		struct kv_mirror *const m = mirror(OURS);
		apply(m, load(files[i].file));
		const struct kv_mirror_stats s = stats(m);
		assert_int_equal(s.stored, files[i].stored);
		assert_int_equal(s.removed, files[i].removed);
		assert_int_equal(seen.clears, files[i].cleared);
		assert_int_equal(s.odd, 0);
		kv_mirror_destroy(m);
	}
	struct kv_mirror *const m = mirror(OURS);
	apply(m, load("live-seq039-allblockscleared.payload.msgpack"));
	assert_int_equal(seen.clears, 1);
	assert_int_equal(stats(m).cleared, 0);
	kv_mirror_destroy(m);
}

static void no_batch_changes_nothing(void **state)
{
	struct kv_mirror *const m = mirror(OURS);
	double ts = 5;
	uint64_t next = 3;
	const struct bb_str whole = load("seq000.payload.msgpack");

	for (size_t len = 0; len < whole.len; len++)
		assert_int_equal(kv_mirror_apply(m, (struct bb_str){ whole.p, len }, &ts),
				 -BB_ESYNTAX);
	assert_true(ts == 5);
	assert_int_equal(kv_mirror_apply_json(m, BB_STR("[{\"event_id\":1"), &next), -BB_ESYNTAX);
	assert_int_equal(kv_mirror_apply_json(m, BB_STR("{}"), &next), -BB_ESYNTAX);
	assert_int_equal(next, 3);
	assert_int_equal(seen.stores + seen.removes + seen.clears, 0);
	kv_mirror_destroy(m);
}

/* ---- events by hand ---- */

struct said {
	uint64_t name, parent; /* 0: none */
	uint32_t blocks;       /* names go up by one */
	uint32_t size;
	const char *medium, *kind, *locality, *lora, *salt;
	int64_t group, lora_id; /* 0: not said */
	const char *extra;	/* of the first block: MessagePack, as it is */
	size_t extra_size;
	uint32_t extra_at; /* or of this block */
};

static struct bb_buf buf;

static void add_text(const char *key, const char *text)
{
	msgpack_add_str(&buf, bb_str_of(key));
	if (text)
		msgpack_add_str(&buf, bb_str_of(text));
	else
		msgpack_add_nil(&buf);
}

static void add_number(const char *key, int64_t number)
{
	msgpack_add_str(&buf, bb_str_of(key));
	if (number)
		msgpack_add_int(&buf, number - 1);
	else
		msgpack_add_nil(&buf);
}

static void add_names(uint64_t name, uint32_t blocks)
{
	msgpack_add_str(&buf, BB_STR("block_hashes"));
	msgpack_add_array(&buf, blocks);
	for (uint32_t i = 0; i < blocks; i++)
		msgpack_add_uint(&buf, name + i);
}

static void begin(uint32_t events)
{
	bb_buf_clear(&buf);
	msgpack_add_array(&buf, 3);
	msgpack_add_double(&buf, 1.5);
	msgpack_add_array(&buf, events);
}

static void end(struct kv_mirror *m)
{
	msgpack_add_uint(&buf, 0);
	assert_int_equal(buf.err, 0);
	apply(m, bb_buf_str(&buf));
}

static void add_stored(const struct said *e)
{
	const uint32_t size = e->size ? e->size : OURS;

	msgpack_add_map(&buf, 12);
	add_text("type", "BlockStored");
	add_names(e->name, e->blocks);
	msgpack_add_str(&buf, BB_STR("parent_block_hash"));
	if (e->parent)
		msgpack_add_uint(&buf, e->parent);
	else
		msgpack_add_nil(&buf);
	msgpack_add_str(&buf, BB_STR("token_ids"));
	msgpack_add_array(&buf, e->blocks * size);
	for (uint32_t i = 0; i < e->blocks * size; i++)
		msgpack_add_uint(&buf, e->name * 100 + i);
	add_number("block_size", size + 1);
	add_text("medium", e->medium);
	add_text("kv_cache_spec_kind", e->kind);
	add_text("locality", e->locality);
	add_text("lora_name", e->lora);
	add_text("cache_salt", e->salt);
	add_number("group_idx", e->group);
	if (!e->extra) {
		add_number("lora_id", e->lora_id);
		return;
	}
	msgpack_add_str(&buf, BB_STR("extra_keys"));
	msgpack_add_array(&buf, e->blocks);
	for (uint32_t i = 0; i < e->blocks; i++)
		if (i == e->extra_at)
			bb_buf_add(&buf, e->extra, e->extra_size);
		else
			msgpack_add_nil(&buf);
}

static void say(struct kv_mirror *m, struct said e)
{
	e.blocks += e.blocks == 0;
	begin(1);
	add_stored(&e);
	end(m);
}

static void drop(struct kv_mirror *m, uint64_t name, const char *medium, int64_t group)
{
	begin(1);
	msgpack_add_map(&buf, 4);
	add_text("type", "BlockRemoved");
	add_names(name, 1);
	add_text("medium", medium);
	add_number("group_idx", group);
	end(m);
}

static int setup(void **state)
{
	bb_buf_init(&buf, 1 << 24);
	return 0;
}

static int teardown(void **state)
{
	bb_buf_fini(&buf);
	return 0;
}

static void what_hangs_below_comes_and_goes(void **state)
{
	struct kv_mirror *const m = mirror(OURS);

	say(m, (struct said){ .name = 1, .blocks = 5 });
	say(m, (struct said){ .name = 11, .blocks = 2, .parent = 3 });
	assert_int_equal(seen.stores, 7);
	drop(m, 2, "GPU", 0);
	assert_int_equal(seen.removes, 6); /* 2, and 3 4 5 11 12 behind it */
	assert_int_equal(stats(m).blocks, 6);
	drop(m, 4, "GPU", 0);
	assert_int_equal(seen.removes, 6);
	say(m, (struct said){ .name = 21, .parent = 5 }); /* below what is not told */
	assert_int_equal(seen.stores, 7);
	assert_int_equal(stats(m).orphans, 6);
	say(m, (struct said){ .name = 2, .parent = 1 });
	assert_int_equal(seen.stores, 7 + 4); /* 2 3 11 12 */
	say(m, (struct said){ .name = 4, .parent = 3 });
	assert_int_equal(seen.stores, 11 + 3); /* 4 5 21 */
	assert_int_equal(stats(m).blocks, 8);
	say(m, (struct said){ .name = 4, .parent = 3 }); /* once is enough */
	assert_int_equal(seen.stores, 14);
	kv_mirror_clear(m);
	assert_int_equal(seen.clears, 1);
	assert_int_equal(stats(m).cleared, 8);
	kv_mirror_destroy(m);
}

static void tiers_are_told_apart(void **state)
{
	struct kv_mirror *const m = mirror(OURS);
	static const struct {
		const char *medium;
		enum index_tier tier;
	} media[] = { { NULL, INDEX_DEVICE },	   { "GPU", INDEX_DEVICE },
		      { "CPU", INDEX_HOST },	   { "CPU_PINNED", INDEX_HOST },
		      { "CPU_TIER1", INDEX_HOST }, { "CPU_TIER2", INDEX_DISK },
		      { "STORAGE", INDEX_DISK },   { "DISK", INDEX_DISK },
		      { "EXTERNAL", INDEX_DISK },  { "gpu", INDEX_DEVICE } };

	for (uint32_t i = 0; i < UNIT_COUNT(media); i++) {
		say(m, (struct said){ .name = 1 + i, .medium = media[i].medium });
		assert_int_equal(seen.tier, media[i].tier);
		assert_int_equal(seen.stores, i + 1);
	}
	memset(&seen, 0, sizeof(seen));
	say(m, (struct said){ .name = 100, .blocks = 2 });
	say(m, (struct said){ .name = 100, .blocks = 2, .medium = "CPU" });
	assert_int_equal(seen.stores, 4);
	drop(m, 100, "GPU", 0);
	assert_int_equal(seen.removes, 1); /* 101 hangs on in the host's memory */
	drop(m, 100, "GPU", 0);
	assert_int_equal(stats(m).unknown, 1);
	drop(m, 100, "CPU", 0);
	assert_int_equal(seen.removes, 4); /* and with it 101 in both */
	kv_mirror_destroy(m);
}

static void what_cannot_be_used_again_is_passed_over(void **state)
{
	static const struct said others[] = {
		{ .name = 1, .kind = "sliding_window" },
		{ .name = 1, .kind = "mamba" },
		{ .name = 1, .kind = "sliding_window_mla" },
		{ .name = 1, .locality = "REMOTE" },
		{ .name = 1, .lora_id = 8 },
		{ .name = 1, .extra = "\x91\x92\xa3img\x05", .extra_size = 7 },
		{ .name = 1, .extra = "\x91\xc4\x02xx", .extra_size = 5 },
		{ .name = 1, .extra = "\x92\xa1x\xa1y", .extra_size = 5 },
	};
	static const char *const kinds[] = { "full_attention", "mla_attention",
					     "sink_full_attention" };
	struct kv_mirror *const m = mirror(OURS);

	for (uint32_t i = 0; i < UNIT_COUNT(others); i++) {
		say(m, others[i]);
		assert_int_equal(stats(m).passed_over, i + 1);
	}
	assert_int_equal(seen.stores, 0);
	for (uint32_t i = 0; i < UNIT_COUNT(kinds); i++)
		say(m, (struct said){ .name = 10 + i, .kind = kinds[i] });
	assert_int_equal(seen.stores, UNIT_COUNT(kinds));
	/* An image in the middle: the chain ends before it. */
	say(m, (struct said){ .name = 20,
			      .blocks = 5,
			      .extra = "\x91\x92\xa3img\x05",
			      .extra_size = 7,
			      .extra_at = 2 });
	assert_int_equal(seen.stores, UNIT_COUNT(kinds) + 2);
	say(m, (struct said){ .name = 30, .parent = 24 });
	assert_int_equal(stats(m).orphans, 1);
	kv_mirror_destroy(m);
}

static void of_groups_the_first_counts(void **state)
{
	struct kv_mirror *const m = mirror(OURS);

	say(m, (struct said){ .name = 1, .group = 1, .kind = "sliding_window" });
	say(m, (struct said){ .name = 1, .group = 3, .kind = "full_attention" });
	say(m, (struct said){ .name = 1, .group = 4, .kind = "full_attention" });
	assert_int_equal(seen.stores, 1);
	drop(m, 1, "GPU", 1);
	drop(m, 1, "GPU", 4);
	assert_int_equal(seen.removes, 0);
	drop(m, 1, "GPU", 3);
	assert_int_equal(seen.removes, 1);
	assert_int_equal(stats(m).passed_over, 4);
	kv_mirror_destroy(m);
}

/* The salt may stand in the event or among the first block's extra keys, beside the adapter. */
static void partitions_are_kept_apart(void **state)
{
	static const struct said said[] = {
		{ .name = 1 },
		{ .name = 1, .salt = "a" },
		{ .name = 1,
		  .extra = "\x91\xa1"
			   "a",
		  .extra_size = 3 },
		{ .name = 1, .lora = "L" },
		{ .name = 1, .lora = "L", .extra = "\x91\xa1L", .extra_size = 3 },
		{ .name = 1,
		  .lora = "L",
		  .extra = "\x92\xa1L\xa1"
			   "a",
		  .extra_size = 5 },
		{ .name = 1, .lora = "L", .extra = "\x92\xa1L\xa1L", .extra_size = 5 },
	};
	static const struct {
		const char *salt, *lora;
	} want[] = { { "", "" },  { "a", "" },	{ "a", "" }, { "", "L" },
		     { "", "L" }, { "a", "L" }, { "L", "L" } };
	uint32_t tokens[OURS];
	uint64_t hash;

	for (uint32_t i = 0; i < OURS; i++)
		tokens[i] = 100 + i;
	for (uint32_t i = 0; i < UNIT_COUNT(said); i++) {
		struct kv_mirror *const m = mirror(OURS);
		const struct block_key key = { SECRET, bb_str_of(want[i].salt),
					       bb_str_of(want[i].lora) };
		struct block_hasher h;
		say(m, said[i]);
		assert_int_equal(block_hasher_init(&h, BLOCK_OWN, OURS, &key), 0);
		assert_int_equal(block_hash(&h, tokens, OURS, &hash), 1);
		assert_int_equal(seen.stores, 1);
		assert_true(seen.stored[0] == hash);
		kv_mirror_destroy(m);
	}
}

static void sizes_that_do_not_fit_are_said(void **state)
{
	static const uint32_t bad[] = { 3, 24, 17, KV_CHANGE_MAX * OURS, 100000 };
	struct kv_mirror *const m = mirror(OURS);

	for (uint32_t i = 0; i < UNIT_COUNT(bad); i++) {
		say(m, (struct said){ .name = 1, .size = bad[i] });
		assert_true(stats(m).is_mismatched);
		assert_int_equal(stats(m).passed_over, i + 1);
	}
	say(m, (struct said){ .name = 1, .size = 4096 });
	assert_false(stats(m).is_mismatched);
	assert_int_equal(seen.stores, 256);
	say(m, (struct said){ .name = 1, .size = 16 }); /* the engine came back with another size */
	assert_int_equal(seen.clears, 1);
	assert_int_equal(seen.stores, 257);
	kv_mirror_destroy(m);
}

/* A hostile engine turns a long chain on and off with a few bytes each time. */
static void work_is_paid_for(void **state)
{
	enum { LENGTH = 20000 };
	struct kv_mirror *const m = mirror(OURS);
	uint64_t before = 0;
	uint32_t flips = 0;

	for (uint32_t i = 0; i < LENGTH; i += 100)
		say(m, (struct said){ .name = 1 + i, .blocks = 100, .parent = i });
	while (seen.clears == 0) {
		before = (uint64_t)seen.stores + seen.removes;
		drop(m, 1, "GPU", 0);
		say(m, (struct said){ .name = 1 });
		assert_in_range(++flips, 1, 1000);
	}
	assert_in_range(before, LENGTH, 3000000);
	assert_in_range(stats(m).blocks, 0, 1);
	say(m, (struct said){ .name = 1 });
	assert_int_equal(stats(m).blocks, 1);
	kv_mirror_destroy(m);
}

static void memory_is_bounded(void **state)
{
	struct kv_mirror_config config = { .block_tokens = OURS,
					   .bytes_max = KV_MIRROR_BYTES_MIN,
					   .on_change = on_change };
	struct kv_mirror *m;

	config.bytes_max--;
	assert_int_equal(kv_mirror_create(&config, &m), -BB_EINVALID);
	config.bytes_max++;
	assert_int_equal(kv_mirror_create(&config, &m), 0);
	memset(&seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < 20000; i += 100) {
		say(m, (struct said){ .name = 1 + i, .blocks = 100, .parent = i });
		assert_in_range(stats(m).bytes, 1, KV_MIRROR_BYTES_MIN);
	}
	const struct kv_mirror_stats s = stats(m);
	assert_true(s.refused > 0 && s.orphans > 0);
	assert_int_equal(s.stored + s.refused + s.orphans, 20000);
	assert_int_equal(seen.stores, s.blocks);
	drop(m, s.blocks, "GPU", 0); /* the last; now there is room for one */
	say(m, (struct said){ .name = s.blocks, .parent = s.blocks - 1 });
	assert_int_equal(stats(m).blocks, s.blocks);
	kv_mirror_destroy(m);
}

static void every_allocation_fails_in_turn(void **state)
{
	for (uint64_t nth = 1;; nth++) {
		const struct kv_mirror_config config = { .block_tokens = OURS,
							 .on_change = on_change };
		struct kv_mirror *m = NULL;
		const uint64_t before = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		if (kv_mirror_create(&config, &m) == 0)
			for (int i = 0; i < 39; i++)
				apply_seq(m, i);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		kv_mirror_destroy(m);
		if (bb_alloc_failed_count() == before)
			break;
	}
}

/* ---- TensorRT-LLM ---- */

static uint64_t next_id;

static void apply_json(struct kv_mirror *m, const char *text)
{
	assert_int_equal(kv_mirror_apply_json(m, bb_str_of(text), &next_id), 0);
	assert_true(kv_mirror_is_sound(m));
}

#define TOKENS4(a)                                                                                 \
	"[{\"token_id\":" #a "1},{\"token_id\":" #a "2,\"token_extra_id\":0},{\"token_id\":" #a    \
	"3},{\"token_id\":" #a "4}]"

static void json_is_followed(void **state)
{
	struct kv_mirror *const m = mirror(4);

	next_id = 0;
	apply_json(
		m,
		"[{\"event_id\":7,\"data\":{\"type\":\"created\"},\"window_size\":8},"
		"{\"event_id\":8,\"window_size\":8,\"data\":{\"type\":\"stored\",\"parent_hash\":"
		"null,\"blocks\":[{\"block_hash\":18446744073709551615,\"cache_level\":0,"
		"\"tokens\":" TOKENS4(1) "},{\"block_hash\":-2,\"cache_level\":0,"
					 "\"tokens\":" TOKENS4(2) "},{\"block_hash\":5,\"tokens\":["
								  "{\"token_id\":9}]}]}}]");
	assert_int_equal(seen.stores, 2);
	assert_int_equal(next_id, 9);
	assert_int_equal(stats(m).passed_over, 1); /* a block filled in part */
	assert_int_equal(stats(m).block_tokens, 4);
	apply_json(m, "[{\"event_id\":9,\"window_size\":8,\"data\":{\"type\":\"updated\","
		      "\"block_hash\":-2,\"cache_level\":{\"old_value\":0,\"new_value\":1}}},"
		      "{\"event_id\":10,\"window_size\":4,\"data\":{\"type\":\"removed\","
		      "\"block_hashes\":[-1]}}]");
	assert_int_equal(seen.stores, 3);
	assert_int_equal(seen.removes, 1);
	assert_int_equal(stats(m).blocks, 2);
	apply_json(m, "[{\"event_id\":11,\"window_size\":8,\"data\":{\"type\":\"removed\","
		      "\"block_hashes\":[18446744073709551614,77]}}]");
	assert_int_equal(seen.removes, 2);
	assert_int_equal(stats(m).unknown, 1);
	apply_json(m, "[{\"event_id\":12,\"attention_dp_rank\":1,\"data\":{\"type\":\"removed\","
		      "\"block_hashes\":[-1]}}]");
	assert_int_equal(next_id, 12); /* of another rank */
	assert_int_equal(seen.clears, 0);
	apply_json(m, "[{\"event_id\":20,\"window_size\":8,\"data\":{\"type\":\"other\"}},5]");
	assert_int_equal(seen.clears, 1); /* events are lost */
	assert_int_equal(stats(m).odd, 2);
	assert_int_equal(stats(m).blocks, 0);
	kv_mirror_destroy(m);
}

static void json_names_what_it_can(void **state)
{
	static const char *const others[] = { "\"lora_id\":3", "\"mm_keys\":[{\"hash\":\"x\"}]",
					      "\"cache_salt\":\"a\\u0041\"" };
	struct kv_mirror *const m = mirror(4);
	char text[512];

	next_id = 0;
	for (uint32_t i = 0; i < UNIT_COUNT(others); i++) {
		snprintf(text, sizeof(text),
			 "[{\"event_id\":%u,\"data\":{\"type\":\"stored\",\"parent_hash\":null,"
			 "\"blocks\":[{\"block_hash\":1,%s,\"tokens\":" TOKENS4(1) "}]}}]",
			 i + 1, others[i]);
		apply_json(m, text);
		assert_int_equal(stats(m).passed_over, i + 1);
	}
	assert_int_equal(seen.stores, 0);
	apply_json(
		m,
		"[{\"event_id\":4,\"data\":{\"type\":\"stored\",\"parent_hash\":null,\"blocks\":["
		"{\"block_hash\":1,\"cache_salt\":\"s\",\"lora_id\":null,\"mm_keys\":[],"
		"\"tokens\":" TOKENS4(1) "}]}}]");
	assert_int_equal(seen.stores, 1);
	const struct block_key key = { SECRET, BB_STR("s"), { 0 } };
	struct block_hasher h;
	uint64_t hash;
	assert_int_equal(block_hasher_init(&h, BLOCK_OWN, 4, &key), 0);
	block_hash(&h, (const uint32_t[]){ 11, 12, 13, 14 }, 4, &hash);
	assert_true(seen.stored[0] == hash);
	kv_mirror_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(captures_are_followed),
		cmocka_unit_test(other_forms_are_followed),
		cmocka_unit_test(no_batch_changes_nothing),
		cmocka_unit_test(what_hangs_below_comes_and_goes),
		cmocka_unit_test(tiers_are_told_apart),
		cmocka_unit_test(what_cannot_be_used_again_is_passed_over),
		cmocka_unit_test(of_groups_the_first_counts),
		cmocka_unit_test(partitions_are_kept_apart),
		cmocka_unit_test(sizes_that_do_not_fit_are_said),
		cmocka_unit_test(work_is_paid_for),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(every_allocation_fails_in_turn),
		cmocka_unit_test(json_is_followed),
		cmocka_unit_test(json_names_what_it_can),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
