/*
 * Goal: whatever an engine says, in either form, a mirror stays whole, takes no more memory than it
 * may, and tells each block once and takes it back once for each tier.
 *
 * The first byte picks the form and the sizes of blocks. Form 0 is one payload of MessagePack, form
 * 1 one of JSON. In form 2 each further pair of bytes is an event: batches are then written as an
 * engine would write them, of a few blocks with any parents, in any order.
 */
#include <stdint.h>
#include <stdlib.h>

#include "brain/kv_mirror.h"
#include "wire/kv_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAMES 64u
#define TOLD_MAX 65536u /* more than 512 events can tell of */
#define EVENTS_MAX 512u
#define TOKENS_MAX 64u

/* What was told and not taken back; entries of an older round are free. */
struct told {
	uint64_t hash;
	uint32_t tiers, round;
};

static struct {
	struct told all[TOLD_MAX];
	uint32_t round;
	int is_exact; /* no two names stand for the same tokens */
} told;

static struct told *told_of(uint64_t hash)
{
	uint32_t i = (uint32_t)hash % TOLD_MAX;

	while (told.all[i].round == told.round && told.all[i].hash != hash)
		i = (i + 1) % TOLD_MAX;
	if (told.all[i].round != told.round)
		told.all[i] = (struct told){ .hash = hash, .round = told.round };
	return &told.all[i];
}

static void on_change(void *user, const struct kv_change *c)
{
	if (c->kind == KV_CHANGE_CLEAR) {
		told.round++;
		return;
	}
	if (c->count == 0 || c->count > KV_CHANGE_MAX || (c->tier & (c->tier - 1)))
		abort();
	for (uint32_t i = 0; told.is_exact && i < c->count; i++) {
		struct told *const t = told_of(c->hashes[i]);
		if ((c->kind == KV_CHANGE_STORE) == !!(t->tiers & c->tier))
			abort();
		t->tiers ^= c->tier;
	}
}

/* Blocks of one name have the same tokens each time, and no other name has them. */
static void write_store(struct kv_encoder *e, uint8_t what, uint8_t name, uint32_t engine_tokens)
{
	uint32_t tokens[TOKENS_MAX];
	const uint64_t hash = 1 + name % NAMES;
	const uint32_t parent = what >> 2 & 15;

	for (uint32_t i = 0; i < engine_tokens; i++)
		tokens[i] = (uint32_t)hash * 1000 + i;
	const struct kv_store s = { .hashes = &hash,
				    .hash_count = 1,
				    .block_size = engine_tokens,
				    .tokens = tokens,
				    .parent = 1 + (hash + parent) % NAMES,
				    .has_parent = parent != 0,
				    .medium = what & 64 ? BB_STR("CPU") : BB_STR("GPU") };
	kv_add_stored(e, &s);
}

static void write_event(struct kv_encoder *e, uint8_t what, uint8_t name, uint32_t engine_tokens)
{
	const uint64_t hash = 1 + name % NAMES;

	if ((what & 3) < 2)
		write_store(e, what, name, engine_tokens);
	else if ((what & 3) == 2)
		kv_add_removed(e, &hash, 1, what & 64 ? BB_STR("CPU") : BB_STR("GPU"));
	else if (what == 255)
		kv_add_cleared(e);
}

static void check(const struct kv_mirror *m)
{
	struct kv_mirror_stats s;

	kv_mirror_stats(m, &s);
	if (!kv_mirror_is_sound(m) || s.bytes > KV_MIRROR_BYTES_MIN)
		abort();
}

static void run_events(struct kv_mirror *m, const uint8_t *data, size_t size,
		       uint32_t engine_tokens)
{
	struct kv_encoder e;
	struct bb_buf buf;

	bb_buf_init(&buf, 1 << 20);
	for (size_t i = 0; i + 1 < size && i < 2 * EVENTS_MAX; i += 2) {
		bb_buf_clear(&buf);
		kv_batch_begin(&e, &buf, 1.0);
		write_event(&e, data[i], data[i + 1], engine_tokens);
		if (kv_batch_end(&e, 0) || kv_mirror_apply(m, bb_buf_str(&buf), NULL))
			abort();
		check(m);
	}
	bb_buf_fini(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t ours[4] = { 1, 4, 16, 32 };
	static const uint32_t engines[4] = { 1, 4, 16, 64 };
	struct kv_mirror_config config = { .secret = 1,
					   .bytes_max = KV_MIRROR_BYTES_MIN,
					   .on_change = on_change };
	struct kv_mirror *m;
	uint64_t next = 0;

	if (size == 0)
		return 0;
	const uint8_t head = *data++;
	const struct bb_str payload = { (const char *)data, --size };
	config.block_tokens = ours[head >> 2 & 3];
	told.round++;
	told.is_exact = (head & 3) >= 2;
	if (kv_mirror_create(&config, &m))
		abort();
	if ((head & 3) == 0) {
		if (kv_mirror_apply(m, payload, NULL) == 0)
			check(m);
	} else if ((head & 3) == 1) {
		if (kv_mirror_apply_json(m, payload, &next) == 0)
			check(m);
	} else {
		run_events(m, data, size, engines[head >> 4 & 3]);
	}
	kv_mirror_clear(m);
	check(m);
	kv_mirror_destroy(m);
	return 0;
}
