/*
 * Goal: batches that a real vLLM 0.32 published are read right and written again byte for byte;
 * the other shapes (tagged arrays of vLLM 0.16, SGLang, byte hashes, every optional field) are
 * read; hostile batches are refused as a whole, and odd events are passed over alone.
 * The captures stand in tests/data/vllm-kv-events; run from the repository's root.
 */
#include "capture.h"

#include "base/alloc.h"
#include "wire/kv_events.h"

#define HASHES_MAX 4096
#define TOKENS_MAX 65536

/* What a batch held, and what writing it again gives. */
struct seen {
	struct kv_encoder encoder;
	struct bb_buf again;
	uint32_t stored, removed, cleared;
	struct kv_stored last_stored;
	struct kv_removed last_removed;
	uint64_t hashes[HASHES_MAX];
	uint32_t hash_count;
	uint32_t tokens[TOKENS_MAX];
	uint32_t token_count;
};

static struct seen seen;

static void begin_once(struct seen *s, const struct kv_batch *b)
{
	if (s->stored + s->removed + s->cleared == 0)
		kv_batch_begin(&s->encoder, &s->again, b->ts_seconds);
}

static uint32_t take_hashes(struct seen *s, struct kv_list list)
{
	const uint32_t count = list.count;

	s->hash_count = 0;
	while (s->hash_count < HASHES_MAX && kv_hash_next(&list, &s->hashes[s->hash_count]))
		s->hash_count++;
	assert_int_equal(s->hash_count, count);
	return count;
}

static void on_stored(void *user, const struct kv_batch *b, const struct kv_stored *st)
{
	struct seen *s = user;
	struct kv_list extra = st->extra_keys, tokens = st->token_ids;
	struct bb_str raw, salt = { 0 };

	begin_once(s, b);
	s->stored++;
	s->last_stored = *st;
	take_hashes(s, st->block_hashes);
	s->token_count = kv_tokens_copy(&tokens, s->tokens, TOKENS_MAX);
	assert_int_equal(s->token_count, st->token_ids.count);
	while (kv_extra_next(&extra, &raw)) {
		struct msgpack_reader r;
		struct msgpack_value v;
		msgpack_reader_init(&r, raw);
		if (raw.len && !msgpack_read(&r, &v) && !msgpack_read(&r, &v) &&
		    v.kind == MSGPACK_STR)
			salt = v.bytes;
	}
	if (!kv_stored_is_whole(st))
		return;
	const struct kv_store again = { .hashes = s->hashes,
					.hash_count = s->hash_count,
					.block_size = st->block_size,
					.tokens = s->tokens,
					.parent = st->parent,
					.has_parent = st->has_parent,
					.medium = st->medium,
					.lora_name = st->lora_name,
					.cache_salt = salt };
	kv_add_stored(&s->encoder, &again);
}

static void on_removed(void *user, const struct kv_batch *b, const struct kv_removed *rm)
{
	struct seen *s = user;

	begin_once(s, b);
	s->removed++;
	s->last_removed = *rm;
	take_hashes(s, rm->block_hashes);
	kv_add_removed(&s->encoder, s->hashes, s->hash_count, rm->medium);
}

static void on_cleared(void *user, const struct kv_batch *b)
{
	struct seen *s = user;

	begin_once(s, b);
	s->cleared++;
	kv_add_cleared(&s->encoder);
}

static const struct kv_handler handler = { on_stored, on_removed, on_cleared };

static int setup(void **state)
{
	memset(&seen, 0, sizeof(seen));
	bb_buf_init(&seen.again, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	bb_buf_fini(&seen.again);
	return 0;
}

static void again(void)
{
	teardown(NULL);
	setup(NULL);
}

static void captures_are_written_again_byte_for_byte(void **state)
{
	uint32_t stored = 0, removed = 0;
	struct kv_batch b;

	for (int i = 0; i < 39; i++) {
		char name[64];
		snprintf(name, sizeof(name), "seq%03d.payload.msgpack", i);
		const struct bb_str payload = load(name);
		again();
		assert_int_equal(kv_batch_decode(payload, &handler, &seen, &b), 0);
		assert_int_equal(b.odd_count, 0);
		assert_int_equal(b.dp_rank, 0);
		assert_true(b.ts_seconds > 1.7e9);
		assert_int_equal(b.event_count, seen.stored + seen.removed);
		assert_int_equal(kv_batch_end(&seen.encoder, (uint32_t)b.dp_rank), 0);
		assert_int_equal(seen.again.len, payload.len);
		assert_memory_equal(seen.again.p, payload.p, payload.len);
		stored += seen.stored;
		removed += seen.removed;
	}
	assert_int_equal(stored, 33);
	assert_int_equal(removed, 67);
}

static void landmarks_of_the_captures(void **state)
{
	uint64_t last;

	assert_int_equal(kv_batch_decode(load("seq000.payload.msgpack"), &handler, &seen, NULL), 0);
	assert_false(seen.last_stored.has_parent);
	assert_int_equal(seen.hash_count, 4);
	assert_int_equal(seen.token_count, 128);
	assert_int_equal(seen.last_stored.block_size, 32);
	assert_true(bb_str_eq(seen.last_stored.medium, BB_STR("GPU")));
	assert_true(bb_str_eq(seen.last_stored.spec_kind, BB_STR("full_attention")));
	assert_int_equal(seen.last_stored.lora_id, KV_ABSENT);
	assert_int_equal(seen.last_stored.group_index, 0);
	assert_int_equal(seen.last_stored.extra_keys.count, 4);
	assert_true(seen.hashes[0] == 0x68648d3f2c38198aull);
	assert_int_equal(seen.tokens[0], 1);
	assert_int_equal(seen.tokens[1], 0x25da);
	last = seen.hashes[3];
	again();
	assert_int_equal(kv_batch_decode(load("seq001.payload.msgpack"), &handler, &seen, NULL), 0);
	assert_true(seen.last_stored.has_parent && seen.last_stored.parent == last);
	again();
	assert_int_equal(kv_batch_decode(load("seq013.payload.msgpack"), &handler, &seen, NULL), 0);
	assert_int_equal(seen.removed, 9);
	assert_int_equal(seen.stored, 1);
}

static void cleared_is_captured_too(void **state)
{
	const struct bb_str payload = load("live-seq039-allblockscleared.payload.msgpack");
	struct kv_batch b;

	assert_int_equal(kv_batch_decode(payload, &handler, &seen, &b), 0);
	assert_int_equal(seen.cleared, 1);
	assert_int_equal(seen.stored, 1);
	assert_int_equal(kv_batch_end(&seen.encoder, 0), 0);
	assert_int_equal(seen.again.len, payload.len);
	assert_memory_equal(seen.again.p, payload.p, payload.len);
}

static void array_form_of_vllm_0_16(void **state)
{
	struct kv_batch b;

	assert_int_equal(kv_batch_decode(load("struct-vllm-0.16-int.msgpack"), &handler, &seen, &b),
			 0);
	assert_int_equal(b.event_count, 3);
	assert_int_equal(b.odd_count, 0);
	assert_int_equal(seen.stored, 1);
	assert_int_equal(seen.removed, 1);
	assert_int_equal(seen.cleared, 1);
	assert_int_equal(seen.last_stored.block_size, 16);
	assert_int_equal(seen.last_stored.token_ids.count, 32);
	assert_true(bb_str_eq(seen.last_stored.medium, BB_STR("GPU")));
	assert_int_equal(seen.last_stored.lora_name.len, 0);
	assert_true(bb_str_eq(seen.last_removed.medium, BB_STR("GPU")));
	assert_int_equal(b.dp_rank, 0);
	again();
	assert_int_equal(
		kv_batch_decode(load("struct-vllm-0.16-bytes-nodp.msgpack"), &handler, &seen, &b),
		0);
	assert_int_equal(b.dp_rank, KV_ABSENT);
	assert_int_equal(seen.hash_count, 1);
	assert_true(seen.hashes[0] == 0x18191a1b1c1d1e1full); /* the last 8 of 32 bytes */
	assert_true(seen.last_stored.parent == 0x38393a3b3c3d3e3full);
	assert_int_equal(seen.last_stored.lora_id, 7);
	assert_true(bb_str_eq(seen.last_stored.lora_name, BB_STR("adapter-a")));
}

static void every_optional_field(void **state)
{
	struct bb_str raw;
	struct kv_batch b;

	assert_int_equal(
		kv_batch_decode(load("struct-vllm-0.32-allfields.msgpack"), &handler, &seen, &b),
		0);
	const struct kv_stored *s = &seen.last_stored;
	assert_int_equal(b.dp_rank, 3);
	assert_int_equal(s->lora_id, 3);
	assert_true(bb_str_eq(s->medium, BB_STR("CPU")));
	assert_true(bb_str_eq(s->lora_name, BB_STR("adapter-a")));
	assert_int_equal(s->group_index, 1);
	assert_true(bb_str_eq(s->spec_kind, BB_STR("sliding_window")));
	assert_int_equal(s->sliding_window, 1024);
	assert_true(bb_str_eq(s->locality, BB_STR("REMOTE")));
	assert_true(bb_str_eq(s->ownership, BB_STR("tier1")));
	assert_true(bb_str_eq(s->session_id, BB_STR("sess-9")));
	struct kv_list extra = s->extra_keys;
	assert_true(kv_extra_next(&extra, &raw));
	assert_true(bb_str_find(raw, BB_STR("tenant-42")) > 0);
	assert_false(kv_extra_next(&extra, &raw));
	assert_int_equal(seen.last_removed.group_index, 1);
	assert_true(bb_str_eq(seen.last_removed.locality, BB_STR("LOCAL")));
	assert_int_equal(seen.cleared, 1);
}

static void sglang(void **state)
{
	struct kv_batch b;

	assert_int_equal(kv_batch_decode(load("struct-sglang-0.5.23.msgpack"), &handler, &seen, &b),
			 0);
	assert_int_equal(seen.stored, 2);
	assert_int_equal(seen.removed, 2);
	assert_int_equal(seen.cleared, 1);
	assert_int_equal(b.odd_count, 0);
	/* The last stored one: CPU tier, its parent a negative 64-bit integer. */
	assert_true(bb_str_eq(seen.last_stored.medium, BB_STR("CPU_PINNED")));
	assert_true(seen.last_stored.parent == 0x979b72c0d3c7e676ull);
	assert_int_equal(b.dp_rank, KV_ABSENT);
	/* A load report on the same kind of socket is no batch. */
	assert_int_equal(
		kv_batch_decode(load("struct-sglang-0.5.23-loadstat.msgpack"), &handler, &seen, &b),
		-BB_ESYNTAX);
}

/* ---- made by hand ---- */

static void add(struct bb_buf *b, const char *text)
{
	msgpack_add_str(b, bb_str_of(text));
}

static void odd_events_are_passed_over_alone(void **state)
{
	struct bb_buf b;
	struct kv_batch batch;

	bb_buf_init(&b, 4096);
	msgpack_add_array(&b, 5); /* longer than known */
	msgpack_add_uint(&b, 17); /* an integer time */
	msgpack_add_array(&b, 9);
	msgpack_add_map(&b, 2); /* an unknown type */
	add(&b, "type");
	add(&b, "BlockPinned");
	add(&b, "x");
	msgpack_add_uint(&b, 1);
	msgpack_add_map(&b, 1); /* no type */
	msgpack_add_uint(&b, 3);
	msgpack_add_nil(&b);
	msgpack_add_uint(&b, 5); /* no event at all */
	msgpack_add_array(&b, 0);
	msgpack_add_array(&b, 1); /* known, without what it needs */
	add(&b, "BlockStored");
	msgpack_add_array(&b, 5); /* block size 0 */
	add(&b, "BlockStored");
	msgpack_add_array(&b, 0);
	msgpack_add_nil(&b);
	msgpack_add_array(&b, 0);
	msgpack_add_uint(&b, 0);
	msgpack_add_array(&b, 5); /* a token that is none */
	add(&b, "BlockStored");
	msgpack_add_array(&b, 1);
	msgpack_add_uint(&b, 1);
	msgpack_add_nil(&b);
	msgpack_add_array(&b, 1);
	msgpack_add_int(&b, -1);
	msgpack_add_uint(&b, 1);
	msgpack_add_array(&b, 2); /* short, but enough; an odd optional field */
	add(&b, "BlockRemoved");
	msgpack_add_array(&b, 1);
	msgpack_add_bin(&b, BB_STR("\x01\x02"));
	msgpack_add_map(&b, 5); /* unknown keys; the type comes last */
	add(&b, "medium");
	msgpack_add_uint(&b, 4);
	add(&b, "colour");
	add(&b, "blue");
	msgpack_add_nil(&b);
	msgpack_add_nil(&b);
	add(&b, "block_hashes");
	msgpack_add_array(&b, 2);
	msgpack_add_uint(&b, 7);
	msgpack_add_int(&b, -7);
	add(&b, "type");
	add(&b, "BlockRemoved");
	msgpack_add_nil(&b);
	add(&b, "later");
	add(&b, "versions");
	assert_int_equal(b.err, 0);
	assert_int_equal(kv_batch_decode(bb_buf_str(&b), &handler, &seen, &batch), 0);
	assert_int_equal(batch.event_count, 9);
	assert_int_equal(batch.odd_count, 7);
	assert_int_equal(seen.removed, 2);
	assert_int_equal(seen.stored, 0);
	assert_true(seen.hashes[0] == 7 && seen.hashes[1] == (uint64_t)-7);
	assert_int_equal(seen.last_removed.medium.len, 0);
	/* Without a handler it is only checked. */
	const struct kv_handler none = { 0 };
	assert_int_equal(kv_batch_decode(bb_buf_str(&b), &none, NULL, NULL), 0);
	bb_buf_fini(&b);
}

/* Cut at every byte, with a byte too many, and with each byte changed: never a step past the end,
 * and never a callback for a batch that is refused. */
static void broken_batches_are_refused_whole(void **state)
{
	const struct bb_str payload = load("seq013.payload.msgpack");
	char *exact;

	for (size_t len = 0; len < payload.len; len++) {
		exact = bb_alloc(len);
		assert_non_null(exact);
		memcpy(exact, payload.p, len);
		assert_int_equal(
			kv_batch_decode((struct bb_str){ exact, len }, &handler, &seen, NULL),
			-BB_ESYNTAX);
		bb_free(exact);
	}
	assert_int_equal(seen.stored + seen.removed, 0);
	exact = bb_alloc(payload.len + 1);
	assert_non_null(exact);
	memcpy(exact, payload.p, payload.len);
	exact[payload.len] = 0;
	assert_int_equal(
		kv_batch_decode((struct bb_str){ exact, payload.len + 1 }, &handler, &seen, NULL),
		-BB_ESYNTAX);
	for (size_t i = 0; i < payload.len; i++) {
		memcpy(exact, payload.p, payload.len);
		exact[i] = (char)(exact[i] ^ 0x5a);
		again();
		const int rc = kv_batch_decode((struct bb_str){ exact, payload.len }, &handler,
					       &seen, NULL);
		assert_true(rc == 0 || seen.stored + seen.removed + seen.cleared == 0);
	}
	bb_free(exact);
}

static void deep_nesting_is_refused(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 65536);
	msgpack_add_array(&b, 2);
	msgpack_add_double(&b, 1.0);
	for (int i = 0; i < 10000; i++)
		msgpack_add_array(&b, 1);
	msgpack_add_nil(&b);
	assert_int_equal(kv_batch_decode(bb_buf_str(&b), &handler, &seen, NULL), -BB_ELIMIT);
	bb_buf_fini(&b);
}

static void lora_salt_and_many_events(void **state)
{
	const uint64_t hashes[2] = { 1, UINT64_MAX };
	const uint32_t tokens[4] = { 0, 1, UINT32_MAX, 3 };
	const struct kv_store store = { .hashes = hashes,
					.hash_count = 2,
					.block_size = 2,
					.tokens = tokens,
					.medium = BB_STR_INIT("CPU"),
					.lora_name = BB_STR_INIT("poet"),
					.cache_salt = BB_STR_INIT("pepper") };
	struct kv_encoder e;
	struct kv_batch batch;
	struct bb_buf b;
	struct bb_str raw;

	bb_buf_init(&b, 1 << 20);
	bb_buf_lit(&b, "before"); /* a batch is appended to what is there */
	kv_batch_begin(&e, &b, 12.5);
	kv_add_stored(&e, &store);
	for (int i = 0; i < 70000; i++)
		kv_add_cleared(&e);
	assert_int_equal(kv_batch_end(&e, 2), -BB_ELIMIT);
	bb_buf_fini(&b);
	bb_buf_init(&b, 4 << 20);
	bb_buf_lit(&b, "before");
	kv_batch_begin(&e, &b, 12.5);
	kv_add_stored(&e, &store);
	for (int i = 0; i < 70000; i++)
		kv_add_cleared(&e);
	assert_int_equal(kv_batch_end(&e, 2), 0);
	const struct kv_handler only_stored = { .on_stored = on_stored };
	assert_int_equal(
		kv_batch_decode(bb_str_skip(bb_buf_str(&b), 6), &only_stored, &seen, &batch), 0);
	assert_int_equal(batch.event_count, 70001);
	assert_int_equal(batch.dp_rank, 2);
	assert_true(batch.ts_seconds == 12.5);
	assert_true(seen.hashes[1] == UINT64_MAX);
	assert_int_equal(seen.tokens[2], UINT32_MAX);
	assert_true(bb_str_eq(seen.last_stored.lora_name, BB_STR("poet")));
	struct kv_list extra = seen.last_stored.extra_keys;
	assert_true(kv_extra_next(&extra, &raw));
	assert_true(bb_str_eq(raw, BB_STR("\x92\xa4poet\xa6pepper")));
	assert_true(kv_extra_next(&extra, &raw));
	assert_true(bb_str_eq(raw, BB_STR("\x91\xa4poet")));
	bb_buf_fini(&b);
}

static void no_memory_is_an_error(void **state)
{
	struct kv_encoder e;
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	kv_batch_begin(&e, &b, 1.0);
	kv_add_cleared(&e);
	assert_int_equal(kv_batch_end(&e, 0), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	bb_buf_fini(&b);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* As vLLM up to 0.16 wrote them: tagged arrays, the same but for what they have no room for. */
static void written_as_arrays(void **state)
{
	static const uint64_t hashes[] = { 1, UINT64_MAX, 3 };
	static const uint32_t tokens[6] = { 9, 8, 7, 6, 5, 4 };
	struct kv_encoder e;
	struct kv_batch batch;
	struct bb_buf b;
	const struct kv_store store = { .hashes = hashes,
					.hash_count = 3,
					.block_size = 2,
					.tokens = tokens,
					.parent = 77,
					.has_parent = true,
					.medium = BB_STR("GPU"),
					.lora_name = BB_STR("adapter") };

	bb_buf_init(&b, 4096);
	kv_batch_begin(&e, &b, 12.5);
	e.form = KV_FORM_ARRAY;
	kv_add_stored(&e, &store);
	kv_add_removed(&e, hashes, 2, BB_STR("CPU"));
	kv_add_cleared(&e);
	assert_int_equal(kv_batch_end(&e, 0), 0);
	/* [ts, [ ["BlockStored", … 8], ["BlockRemoved", … 3], ["AllBlocksCleared"] ], 0] */
	assert_int_equal((unsigned char)b.p[10], 0x93);
	assert_int_equal((unsigned char)b.p[11], 0x98);
	seen = (struct seen){ 0 };
	bb_buf_init(&seen.again, 4096);
	assert_int_equal(kv_batch_decode(bb_buf_str(&b), &handler, &seen, &batch), 0);
	assert_int_equal(batch.event_count, 3);
	assert_int_equal(batch.odd_count, 0);
	assert_int_equal(seen.stored, 1);
	assert_int_equal(seen.removed, 1);
	assert_int_equal(seen.cleared, 1);
	assert_int_equal(seen.last_stored.parent, 77);
	assert_int_equal(seen.last_stored.block_size, 2);
	assert_true(bb_str_eq(seen.last_stored.lora_name, BB_STR("adapter")));
	assert_true(bb_str_eq(seen.last_removed.medium, BB_STR("CPU")));
	bb_buf_fini(&seen.again);
	bb_buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_as_arrays),
		CASE(captures_are_written_again_byte_for_byte),
		CASE(landmarks_of_the_captures),
		CASE(cleared_is_captured_too),
		CASE(array_form_of_vllm_0_16),
		CASE(every_optional_field),
		CASE(sglang),
		CASE(odd_events_are_passed_over_alone),
		CASE(broken_batches_are_refused_whole),
		CASE(deep_nesting_is_refused),
		CASE(lora_salt_and_many_events),
		CASE(no_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
