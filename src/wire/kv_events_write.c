#include "wire/kv_events.h"

#include <string.h>

#include "wire/kv_fields.h"

#define COUNT_HEAD_SIZE 5 /* room for the head of any event array */

/* The name of the field whose value comes next; arrays have none. */
static void add_field(const struct kv_encoder *e, enum field f)
{
	if (e->form == KV_FORM_MAP)
		msgpack_add_str(e->buf, field_names[f]);
}

/* The counts of fields are those of the map and of the array, the type included. */
static void add_type(struct kv_encoder *e, uint32_t map_count, uint32_t array_count,
		     struct bb_str type)
{
	if (e->form == KV_FORM_MAP)
		msgpack_add_map(e->buf, map_count);
	else
		msgpack_add_array(e->buf, array_count);
	add_field(e, FIELD_TYPE);
	msgpack_add_str(e->buf, type);
	e->event_count++;
}

static void add_hashes(const struct kv_encoder *e, const uint64_t *hashes, uint32_t count)
{
	add_field(e, FIELD_HASHES);
	msgpack_add_array(e->buf, count);
	for (uint32_t i = 0; i < count; i++)
		msgpack_add_uint(e->buf, hashes[i]);
}

static void add_text_or_nil(struct bb_buf *b, struct bb_str s)
{
	if (s.len)
		msgpack_add_str(b, s);
	else
		msgpack_add_nil(b);
}

/* vLLM's rule: the LoRA name counts for every block, the salt for the first of a chain. */
static void add_extra_keys(const struct kv_encoder *e, const struct kv_store *s)
{
	struct bb_buf *b = e->buf;

	add_field(e, FIELD_EXTRA_KEYS);
	msgpack_add_array(b, s->hash_count);
	for (uint32_t i = 0; i < s->hash_count; i++) {
		const bool is_salted = i == 0 && !s->has_parent && s->cache_salt.len;
		const uint32_t count = (s->lora_name.len ? 1 : 0) + (is_salted ? 1 : 0);
		if (count == 0) {
			msgpack_add_nil(b);
			continue;
		}
		msgpack_add_array(b, count);
		if (s->lora_name.len)
			msgpack_add_str(b, s->lora_name);
		if (is_salted)
			msgpack_add_str(b, s->cache_salt);
	}
}

void kv_batch_begin(struct kv_encoder *e, struct bb_buf *buf, double ts_seconds)
{
	static const char room[COUNT_HEAD_SIZE];

	*e = (struct kv_encoder){ .buf = buf };
	msgpack_add_array(buf, 3);
	msgpack_add_double(buf, ts_seconds);
	e->count_at = buf->len;
	bb_buf_add(buf, room, sizeof(room));
}

void kv_add_stored(struct kv_encoder *e, const struct kv_store *s)
{
	struct bb_buf *b = e->buf;
	const uint64_t token_count = (uint64_t)s->hash_count * s->block_size;

	if (token_count > UINT32_MAX) {
		b->err = b->err ? b->err : -BB_ELIMIT;
		return;
	}
	add_type(e, 11, 8, BB_STR("BlockStored"));
	add_hashes(e, s->hashes, s->hash_count);
	add_field(e, FIELD_PARENT);
	if (s->has_parent)
		msgpack_add_uint(b, s->parent);
	else
		msgpack_add_nil(b);
	add_field(e, FIELD_TOKENS);
	msgpack_add_array(b, (uint32_t)token_count);
	for (uint64_t i = 0; i < token_count; i++)
		msgpack_add_uint(b, s->tokens[i]);
	add_field(e, FIELD_BLOCK_SIZE);
	msgpack_add_uint(b, s->block_size);
	add_field(e, FIELD_LORA_ID);
	msgpack_add_nil(b);
	add_field(e, FIELD_MEDIUM);
	add_text_or_nil(b, s->medium);
	add_field(e, FIELD_LORA_NAME);
	add_text_or_nil(b, s->lora_name);
	if (e->form == KV_FORM_ARRAY)
		return;
	add_extra_keys(e, s);
	add_field(e, FIELD_GROUP);
	msgpack_add_uint(b, 0);
	add_field(e, FIELD_SPEC_KIND);
	msgpack_add_str(b, BB_STR("full_attention"));
}

void kv_add_removed(struct kv_encoder *e, const uint64_t *hashes, uint32_t hash_count,
		    struct bb_str medium)
{
	add_type(e, 4, 3, BB_STR("BlockRemoved"));
	add_hashes(e, hashes, hash_count);
	add_field(e, FIELD_MEDIUM);
	add_text_or_nil(e->buf, medium);
	if (e->form == KV_FORM_ARRAY)
		return;
	add_field(e, FIELD_GROUP);
	msgpack_add_uint(e->buf, 0);
}

void kv_add_cleared(struct kv_encoder *e)
{
	add_type(e, 1, 1, BB_STR("AllBlocksCleared"));
}

int kv_batch_end(struct kv_encoder *e, uint32_t dp_rank)
{
	struct bb_buf *b = e->buf;
	struct bb_buf head;
	char room[COUNT_HEAD_SIZE];

	if (b->err)
		return b->err;
	/* The head of the events, now that their number is known, in its shortest form. */
	head = (struct bb_buf){ .p = room, .cap = sizeof(room), .max = sizeof(room) };
	msgpack_add_array(&head, e->event_count);
	char *const at = b->p + e->count_at;
	const size_t rest = b->len - e->count_at - COUNT_HEAD_SIZE;
	memcpy(at, room, head.len);
	memmove(at + head.len, at + COUNT_HEAD_SIZE, rest);
	b->len = e->count_at + head.len + rest;
	msgpack_add_uint(b, dp_rank);
	return b->err;
}
