#include "wire/kv_events.h"

#include <string.h>

#include "wire/kv_fields.h"

#define HASH_SIZE_MAX 64 /* bytes of a hash that is a byte string */
#define EVENTS_KEPT 4	 /* of a batch, in one go */

/* ---- events as named raw values ---- */

enum event_type { EVENT_ODD, EVENT_STORED, EVENT_REMOVED, EVENT_CLEARED };

#define EVENT_TYPES(X)                                                                             \
	X(STORED, "BlockStored")                                                                   \
	X(REMOVED, "BlockRemoved")                                                                 \
	X(CLEARED, "AllBlocksCleared")

/* In which order the array form has them, behind its tag. */
static const uint8_t stored_order[] = {
	FIELD_HASHES, FIELD_PARENT,    FIELD_TOKENS,	 FIELD_BLOCK_SIZE, FIELD_LORA_ID,
	FIELD_MEDIUM, FIELD_LORA_NAME, FIELD_EXTRA_KEYS, FIELD_GROUP,	   FIELD_SPEC_KIND,
	FIELD_WINDOW, FIELD_LOCALITY,  FIELD_OWNERSHIP,	 FIELD_SESSION_ID,
};
static const uint8_t removed_order[] = {
	FIELD_HASHES, FIELD_MEDIUM, FIELD_GROUP, FIELD_LOCALITY, FIELD_OWNERSHIP,
};

struct event {
	enum event_type type;
	struct bb_str raw[FIELD_COUNT]; /* empty: absent */
	bool has_plain_tokens;		/* they were looked at while they were passed over */
	union {
		struct kv_stored stored;
		struct kv_removed removed;
	};
};

static enum field field_of(struct bb_str name)
{
	for (enum field f = 0; f < FIELD_COUNT; f++)
		if (name.len == field_names[f].len && bb_str_eq(name, field_names[f]))
			return f;
	return FIELD_COUNT;
}

static enum event_type type_of(struct bb_str name)
{
#define X(type, text)                                                                              \
	if (bb_str_eq(name, BB_STR(text)))                                                         \
		return EVENT_##type;
	EVENT_TYPES(X)
#undef X
	return EVENT_ODD;
}

/* The head of a raw value; false when the field is absent or nil. */
static bool raw_value(struct bb_str raw, struct msgpack_reader *r, struct msgpack_value *v)
{
	msgpack_reader_init(r, raw);
	return raw.len && msgpack_read(r, v) == 0 && v->kind != MSGPACK_NIL;
}

static struct bb_str raw_text(struct bb_str raw)
{
	struct msgpack_reader r;
	struct msgpack_value v;

	if (raw_value(raw, &r, &v) && v.kind == MSGPACK_STR)
		return v.bytes;
	return (struct bb_str){ 0 };
}

static int64_t raw_number(struct bb_str raw)
{
	struct msgpack_reader r;
	struct msgpack_value v;

	if (raw_value(raw, &r, &v) && v.kind == MSGPACK_UINT && v.u <= INT64_MAX)
		return (int64_t)v.u;
	return KV_ABSENT;
}

static bool hash_of(const struct msgpack_value *v, uint64_t *out)
{
	uint64_t hash = 0;

	if (v->kind == MSGPACK_UINT) {
		hash = v->u;
	} else if (v->kind == MSGPACK_INT) {
		hash = (uint64_t)v->i;
	} else if (v->kind == MSGPACK_BIN || v->kind == MSGPACK_STR) {
		if (v->bytes.len == 0 || v->bytes.len > HASH_SIZE_MAX)
			return false;
		const size_t from = v->bytes.len > 8 ? v->bytes.len - 8 : 0;
		for (size_t i = from; i < v->bytes.len; i++)
			hash = hash << 8 | (uint8_t)v->bytes.p[i];
	} else {
		return false;
	}
	*out = hash;
	return true;
}

static bool token_of(const struct msgpack_value *v, uint32_t *out)
{
	if (v->kind != MSGPACK_UINT || v->u > UINT32_MAX)
		return false;
	*out = (uint32_t)v->u;
	return true;
}

/* The bytes of a token in one of the forms that nearly all have; 0: it is in another. */
static size_t token_at(const uint8_t *p, size_t left, uint32_t *out)
{
	if (left >= 1 && p[0] < 0x80) {
		*out = p[0];
		return 1;
	}
	if (left >= 2 && p[0] == 0xcc) {
		*out = p[1];
		return 2;
	}
	if (left >= 3 && p[0] == 0xcd) {
		*out = (uint32_t)p[1] << 8 | p[2];
		return 3;
	}
	if (left >= 5 && p[0] == 0xce) {
		*out = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
		return 5;
	}
	return 0;
}

/*
 * Passes over up to `max` tokens in the forms that nearly all have, and copies them when `out` is
 * given. They are most of what a batch holds. Returns how many; the list's count stays.
 */
static uint32_t pass_tokens(struct kv_list *tokens, uint32_t *out, uint32_t max)
{
	const uint8_t *p = tokens->at.p, *const end = tokens->at.end;
	uint32_t n = 0;

	for (; n < max && end - p >= 8; n++) {
		const unsigned tag = *p;
		uint64_t word, token = tag;
		if (tag == 0xcd || tag == 0xce) {
			/* Two bytes or four, in any order: no branch could be guessed. */
			const unsigned more = tag & 2;
			memcpy(&word, p, sizeof(word));
			token = __builtin_bswap64(word) << 8 >> (48 - 8 * more);
			p += 3 + more;
		} else if (tag < 0x80) {
			p++;
		} else if (tag == 0xcc) {
			token = p[1];
			p += 2;
		} else {
			break;
		}
		if (out)
			out[n] = (uint32_t)token;
	}
	for (; n < max; n++) { /* the last ones */
		uint32_t token;
		const size_t size = token_at(p, (size_t)(end - p), &token);
		if (!size)
			break;
		p += size;
		if (out)
			out[n] = token;
	}
	tokens->at.p = p;
	return n;
}

static bool raw_list(struct bb_str raw, struct kv_list *out)
{
	struct msgpack_value v;

	if (!raw_value(raw, &out->at, &v) || v.kind != MSGPACK_ARRAY) {
		*out = (struct kv_list){ 0 };
		return false;
	}
	out->count = v.count;
	return true;
}

/* Lists are checked once, here, so that those who walk them need not. */
static bool raw_hashes(struct bb_str raw, struct kv_list *out)
{
	struct kv_list walk;
	uint64_t hash;

	if (!raw_list(raw, out))
		return false;
	walk = *out;
	while (walk.count)
		if (!kv_hash_next(&walk, &hash))
			return false;
	return true;
}

static bool raw_tokens(struct bb_str raw, struct kv_list *out)
{
	struct kv_list walk;
	uint32_t token;

	if (!raw_list(raw, out))
		return false;
	walk = *out;
	while (walk.count) {
		walk.count -= pass_tokens(&walk, NULL, walk.count);
		if (walk.count && !kv_token_next(&walk, &token))
			return false;
	}
	return true;
}

/* ---- walking lists ---- */

bool kv_hash_next(struct kv_list *hashes, uint64_t *out)
{
	const uint8_t *const p = hashes->at.p;
	struct msgpack_value v;

	if (hashes->count && msgpack_left(&hashes->at) >= 9 && p[0] == 0xcf) { /* nearly all */
		uint64_t hash;
		memcpy(&hash, p + 1, sizeof(hash));
		*out = __builtin_bswap64(hash);
		hashes->at.p += 9;
		hashes->count--;
		return true;
	}
	if (hashes->count == 0 || msgpack_read(&hashes->at, &v) || !hash_of(&v, out))
		return false;
	hashes->count--;
	return true;
}

bool kv_token_next(struct kv_list *tokens, uint32_t *out)
{
	struct msgpack_value v;

	if (tokens->count == 0 || msgpack_read(&tokens->at, &v) || !token_of(&v, out))
		return false;
	tokens->count--;
	return true;
}

uint32_t kv_tokens_copy(struct kv_list *tokens, uint32_t *out, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && tokens->count) {
		const uint32_t left = max - n < tokens->count ? max - n : tokens->count;
		const uint32_t passed = pass_tokens(tokens, out + n, left);
		tokens->count -= passed;
		n += passed;
		if (passed < left && !kv_token_next(tokens, &out[n++]))
			return n - 1;
	}
	return n;
}

bool kv_extra_next(struct kv_list *extra_keys, struct bb_str *raw)
{
	struct bb_str value;

	if (extra_keys->count && msgpack_left(&extra_keys->at) && *extra_keys->at.p == 0xc0) {
		*raw = (struct bb_str){ 0 };
		extra_keys->at.p++;
		extra_keys->count--;
		return true;
	}
	if (extra_keys->count == 0 || msgpack_take(&extra_keys->at, &value))
		return false;
	extra_keys->count--;
	*raw = value;
	return true;
}

/* ---- from raw values to events ---- */

static bool build_stored(struct event *e)
{
	const struct bb_str *raw = e->raw;
	struct kv_stored *s = &e->stored;
	struct msgpack_reader r;
	struct msgpack_value v;
	const int64_t block_size = raw_number(raw[FIELD_BLOCK_SIZE]);

	*s = (struct kv_stored){ .medium = raw_text(raw[FIELD_MEDIUM]),
				 .lora_name = raw_text(raw[FIELD_LORA_NAME]),
				 .cache_salt = raw_text(raw[FIELD_CACHE_SALT]),
				 .session_id = raw_text(raw[FIELD_SESSION_ID]),
				 .spec_kind = raw_text(raw[FIELD_SPEC_KIND]),
				 .locality = raw_text(raw[FIELD_LOCALITY]),
				 .ownership = raw_text(raw[FIELD_OWNERSHIP]),
				 .lora_id = raw_number(raw[FIELD_LORA_ID]),
				 .group_index = raw_number(raw[FIELD_GROUP]),
				 .sliding_window = raw_number(raw[FIELD_WINDOW]) };
	if (block_size < 1 || block_size > UINT32_MAX)
		return false;
	s->block_size = (uint32_t)block_size;
	if (!raw_hashes(raw[FIELD_HASHES], &s->block_hashes) ||
	    !(e->has_plain_tokens ? raw_list : raw_tokens)(raw[FIELD_TOKENS], &s->token_ids))
		return false;
	s->has_parent = raw_value(raw[FIELD_PARENT], &r, &v);
	if (s->has_parent && !hash_of(&v, &s->parent))
		return false;
	raw_list(raw[FIELD_EXTRA_KEYS], &s->extra_keys);
	return true;
}

static bool build_removed(struct event *e)
{
	const struct bb_str *raw = e->raw;

	e->removed = (struct kv_removed){ .medium = raw_text(raw[FIELD_MEDIUM]),
					  .locality = raw_text(raw[FIELD_LOCALITY]),
					  .ownership = raw_text(raw[FIELD_OWNERSHIP]),
					  .group_index = raw_number(raw[FIELD_GROUP]) };
	return raw_hashes(raw[FIELD_HASHES], &e->removed.block_hashes);
}

/* An array of nothing but tokens in their usual forms; the reader stays where it is if it is not.
 */
static bool take_plain_tokens(struct msgpack_reader *r, struct bb_str *raw)
{
	struct kv_list list = { .at = *r };
	struct msgpack_value v;

	if (msgpack_read(&list.at, &v) || v.kind != MSGPACK_ARRAY ||
	    pass_tokens(&list, NULL, v.count) != v.count)
		return false;
	*raw = (struct bb_str){ (const char *)r->p, (size_t)(list.at.p - r->p) };
	*r = list.at;
	return true;
}

static int read_map_event(struct msgpack_reader *r, uint32_t pairs, struct event *e)
{
	struct msgpack_reader at;
	struct msgpack_value key;
	struct bb_str key_raw, value_raw;

	for (uint32_t i = 0; i < pairs; i++) {
		int rc = msgpack_take(r, &key_raw);
		if (rc)
			return rc;
		enum field f = FIELD_COUNT;
		if (raw_value(key_raw, &at, &key) && key.kind == MSGPACK_STR)
			f = field_of(key.bytes);
		const bool is_plain = f == FIELD_TOKENS && take_plain_tokens(r, &value_raw);
		if (!is_plain)
			rc = msgpack_take(r, &value_raw);
		if (rc)
			return rc;
		if (f != FIELD_COUNT)
			e->raw[f] = value_raw;
		if (f == FIELD_TOKENS)
			e->has_plain_tokens = is_plain;
	}
	e->type = type_of(raw_text(e->raw[FIELD_TYPE]));
	return 0;
}

static int read_array_event(struct msgpack_reader *r, uint32_t count, struct event *e)
{
	const uint8_t *order = NULL;
	uint32_t known = 0;
	struct bb_str raw;

	for (uint32_t i = 0; i < count; i++) {
		const bool is_tokens = i > 0 && i <= known && order[i - 1] == FIELD_TOKENS;
		const bool is_plain = is_tokens && take_plain_tokens(r, &raw);
		const int rc = is_plain ? 0 : msgpack_take(r, &raw);
		if (rc)
			return rc;
		e->has_plain_tokens |= is_plain;
		if (i > 0) {
			if (i <= known)
				e->raw[order[i - 1]] = raw;
			continue;
		}
		e->type = type_of(raw_text(raw));
		if (e->type == EVENT_STORED) {
			order = stored_order;
			known = sizeof(stored_order);
		} else if (e->type == EVENT_REMOVED) {
			order = removed_order;
			known = sizeof(removed_order);
		}
	}
	return 0;
}

static int read_event(struct msgpack_reader *r, struct event *e)
{
	struct msgpack_value head;
	int rc = msgpack_read(r, &head);

	*e = (struct event){ .type = EVENT_ODD };
	if (!rc && head.kind == MSGPACK_MAP)
		rc = read_map_event(r, head.count, e);
	else if (!rc && head.kind == MSGPACK_ARRAY)
		rc = read_array_event(r, head.count, e);
	if (rc)
		return rc;
	if ((e->type == EVENT_STORED && !build_stored(e)) ||
	    (e->type == EVENT_REMOVED && !build_removed(e)))
		e->type = EVENT_ODD;
	return 0;
}

/* ---- batches ---- */

static void deliver(const struct kv_handler *h, void *user, const struct kv_batch *b,
		    const struct event *e)
{
	switch (e->type) {
	case EVENT_STORED:
		if (h->on_stored)
			h->on_stored(user, b, &e->stored);
		break;
	case EVENT_REMOVED:
		if (h->on_removed)
			h->on_removed(user, b, &e->removed);
		break;
	case EVENT_CLEARED:
		if (h->on_cleared)
			h->on_cleared(user, b);
		break;
	case EVENT_ODD: break;
	}
}

/* Reads ts and the head of the events: `r` stands at the first event then. */
static int read_batch_head(struct msgpack_reader *r, struct kv_batch *b, uint32_t *parts)
{
	struct msgpack_value v;
	int rc = msgpack_read(r, &v);

	if (rc)
		return rc;
	if (v.kind != MSGPACK_ARRAY || v.count < 2)
		return -BB_ESYNTAX;
	*parts = v.count;
	rc = msgpack_read(r, &v);
	if (rc)
		return rc;
	if (v.kind != MSGPACK_FLOAT && v.kind != MSGPACK_UINT)
		return -BB_ESYNTAX;
	b->ts_seconds = v.kind == MSGPACK_FLOAT ? v.f : (double)v.u;
	rc = msgpack_read(r, &v);
	if (rc)
		return rc;
	if (v.kind != MSGPACK_ARRAY)
		return -BB_ESYNTAX;
	b->event_count = v.count;
	return 0;
}

/* What follows the events: the rank, and whatever later versions append. */
static int read_batch_tail(struct msgpack_reader *r, struct kv_batch *b, uint32_t parts)
{
	struct bb_str raw;

	for (uint32_t i = 2; i < parts; i++) {
		int rc = msgpack_take(r, &raw);
		if (rc)
			return rc;
		if (i == 2)
			b->dp_rank = raw_number(raw);
	}
	return msgpack_left(r) ? -BB_ESYNTAX : 0;
}

int kv_batch_decode(struct bb_str payload, const struct kv_handler *handler, void *user,
		    struct kv_batch *out)
{
	struct kv_batch b = { .dp_rank = KV_ABSENT };
	struct msgpack_reader r, behind;
	struct event first[EVENTS_KEPT], e;
	uint32_t parts;

	msgpack_reader_init(&r, payload);
	int rc = read_batch_head(&r, &b, &parts);
	behind = r;
	/* Everything is checked before anything is delivered: a handler never sees half of a broken
	 * batch. What does not fit here is read twice. */
	for (uint32_t i = 0; !rc && i < b.event_count; i++) {
		struct event *const at = i < EVENTS_KEPT ? &first[i] : &e;
		rc = read_event(&r, at);
		if (!rc && at->type == EVENT_ODD)
			b.odd_count++;
		if (i < EVENTS_KEPT)
			behind = r;
	}
	if (!rc)
		rc = read_batch_tail(&r, &b, parts);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < b.event_count && i < EVENTS_KEPT; i++)
		deliver(handler, user, &b, &first[i]);
	for (uint32_t i = EVENTS_KEPT; i < b.event_count && !read_event(&behind, &e); i++)
		deliver(handler, user, &b, &e);
	if (out)
		*out = b;
	return 0;
}
