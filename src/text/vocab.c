#include "text/vocab.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "wire/json.h"

/* ---- the alphabet of GPT-2 ---- */

/*
 * The printable bytes stand for themselves; the 68 others, in their order, are U+0100 … U+0143.
 * The byte of a character, or -1.
 */
static int alphabet_byte(uint32_t cp)
{
	if ((cp >= '!' && cp <= '~') || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
		return (int)cp;
	if (cp < 0x100 || cp > 0x143)
		return -1;
	const uint32_t n = cp - 0x100;
	if (n <= 0x20)
		return (int)n;
	return n < 0x43 ? (int)(n - 0x21 + 0x7f) : 0xad;
}

ptrdiff_t vocab_content_bytes(struct bb_str content, char *out)
{
	const char *p = content.p, *const end = p + content.len;
	char *to = out;

	while (p < end) {
		if (*p >= '!' && *p <= '~') {
			*to++ = *p++;
			continue;
		}
		const int byte = alphabet_byte(unicode_next(&p));
		if (byte < 0)
			return -1;
		*to++ = (char)byte;
	}
	return to - out;
}

/* ---- reading ---- */

/* Where each id's content stands in the JSON: key text without quotes. */
struct reading {
	struct vocab *v;
	struct bb_str *keys; /* by id */
	uint32_t cap;
	struct text_error *e;
};

static int keep_key(struct reading *r, struct bb_str key, uint64_t id)
{
	struct vocab *const v = r->v;

	if (id >= TOKENIZER_VOCAB_MAX)
		return text_error_invalid(r->e,
					  "tokenizer.json: model: vocab: the id of '%.*s' is not "
					  "below %u",
					  BB_ARG(key), TOKENIZER_VOCAB_MAX);
	if (id >= r->cap) {
		uint32_t cap = r->cap ? r->cap : 4096;
		while (cap <= id)
			cap *= 2;
		struct bb_str *const keys = bb_realloc(r->keys, cap * sizeof(*keys));
		if (!keys)
			return -BB_ENOMEM;
		memset(keys + r->cap, 0, (cap - r->cap) * sizeof(*keys));
		r->keys = keys;
		r->cap = cap;
	}
	if (r->keys[id].p)
		return text_error_invalid(r->e,
					  "tokenizer.json: model: vocab: '%.*s' and '%.*s' have "
					  "the same id",
					  BB_ARG(r->keys[id]), BB_ARG(key));
	r->keys[id] = key;
	v->count++;
	if (id >= v->id_end)
		v->id_end = (uint32_t)id + 1;
	return 0;
}

static int read_keys(struct reading *r, struct bb_str object)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;
	uint64_t id;

	json_pull_init(&j, object);
	if (!json_pull_object(&j))
		return text_error_invalid(r->e, "tokenizer.json: model: vocab: must be an object");
	while (json_pull_key(&j, &key)) {
		if (!json_pull_value(&j, &raw, &type) || json_u64(raw, &id))
			return text_error_invalid(r->e,
						  "tokenizer.json: model: vocab: the id of "
						  "'%.*s' is not a whole number",
						  BB_ARG(key));
		const int rc = keep_key(r, key, id);
		if (rc)
			return rc;
	}
	return j.failed ? text_error_invalid(r->e, "tokenizer.json: model: vocab: malformed") : 0;
}

/* The contents one behind the other. */
static int write_contents(struct reading *r, struct bb_buf *out)
{
	struct vocab *const v = r->v;

	for (uint32_t id = 0; id < v->id_end; id++) {
		const struct bb_str key = r->keys[id];
		v->content_at[id] = (uint32_t)out->len;
		int rc = 0;
		if (key.len && memchr(key.p, '\\', key.len))
			rc = json_string_decode_buf((struct bb_str){ key.p - 1, key.len + 2 }, out);
		else if (key.len)
			rc = bb_buf_put(out, key.p, key.len);
		if (rc)
			return rc;
		if (out->len - v->content_at[id] > TOKENIZER_TOKEN_MAX)
			return text_error_invalid(r->e,
						  "tokenizer.json: model: vocab: token %u is "
						  "longer than %u bytes",
						  id, TOKENIZER_TOKEN_MAX);
	}
	v->content_at[v->id_end] = (uint32_t)out->len;
	return 0;
}

/* ---- tables ---- */

static uint32_t slot_of(const struct vocab *v, uint64_t hash)
{
	return (uint32_t)(hash >> 32) & v->mask;
}

/* Tokens that wait for their slots to be fetched, which the processor's caches seldom have. */
#define INSERTS_MAX 32

struct inserts {
	uint64_t hashes[INSERTS_MAX];
	uint32_t ids[INSERTS_MAX];
	size_t count;
};

static void insert(struct vocab *v, uint32_t id, uint64_t hash)
{
	const struct bb_str bytes = vocab_bytes(v, id);
	uint32_t i = slot_of(v, hash);

	while (v->slots[i].id != VOCAB_NONE)
		i = (i + 1) & v->mask;
	struct vocab_slot *const s = v->slots + i;
	*s = (struct vocab_slot){ .id = id, .len = (uint32_t)bytes.len, .is_whole = false };
	if (bytes.len <= VOCAB_INLINE) {
		s->bytes = vocab_pack(bytes.p, bytes.len);
	} else {
		s->check = (uint32_t)hash;
		s->at = v->byte_at[id];
	}
	if (bytes.len > v->len_max)
		v->len_max = (uint32_t)bytes.len;
}

static void insert_waiting(struct vocab *v, struct inserts *w)
{
	for (size_t i = 0; i < w->count; i++)
		insert(v, w->ids[i], w->hashes[i]);
	w->count = 0;
}

static void insert_soon(struct vocab *v, struct inserts *w, uint32_t id)
{
	const struct bb_str bytes = vocab_bytes(v, id);
	const uint64_t hash = vocab_hash(bytes.p, bytes.len);

	w->ids[w->count] = id;
	w->hashes[w->count++] = hash;
	vocab_fetch(v, hash);
	if (w->count == INSERTS_MAX)
		insert_waiting(v, w);
}

static int make_slots(struct vocab *v)
{
	uint32_t size = 1024;

	while (size < v->count * 2)
		size *= 2;
	v->slots = bb_alloc(size * sizeof(*v->slots));
	if (!v->slots)
		return -BB_ENOMEM;
	memset(v->slots, 0xff, size * sizeof(*v->slots));
	v->mask = size - 1;
	return 0;
}

static int fill_chars(struct vocab *v, const struct bb_str *keys)
{
	struct inserts waiting = { .count = 0 };

	v->bytes = v->contents;
	v->byte_at = v->content_at;
	for (uint32_t id = 0; id < v->id_end; id++)
		if (keys[id].p)
			insert_soon(v, &waiting, id);
	insert_waiting(v, &waiting);
	return 0;
}

static int fill_bytes(struct vocab *v, const struct bb_str *keys)
{
	const size_t size = v->content_at[v->id_end];
	struct inserts waiting = { .count = 0 };
	uint32_t at = 0;

	v->bytes = bb_alloc(size + 1);
	v->byte_at = bb_alloc(((size_t)v->id_end + 1) * sizeof(*v->byte_at));
	if (!v->bytes || !v->byte_at)
		return -BB_ENOMEM;
	for (uint32_t id = 0; id < v->id_end; id++) {
		const struct bb_str content = { v->contents + v->content_at[id],
						v->content_at[id + 1] - v->content_at[id] };
		ptrdiff_t len = vocab_content_bytes(content, v->bytes + at);
		const bool is_text = len >= 0;
		if (!is_text) {
			memcpy(v->bytes + at, content.p, content.len);
			len = (ptrdiff_t)content.len;
		}
		v->byte_at[id] = at;
		at += (uint32_t)len;
		v->byte_at[id + 1] = at;
		if (is_text && keys[id].p)
			insert_soon(v, &waiting, id);
	}
	insert_waiting(v, &waiting);
	return 0;
}

static int make(struct reading *r, struct bb_str object)
{
	struct vocab *const v = r->v;
	struct bb_buf contents;
	int rc = read_keys(r, object);

	if (rc)
		return rc;
	bb_buf_init(&contents, TOKENIZER_FILE_MAX);
	v->content_at = bb_alloc(((size_t)v->id_end + 1) * sizeof(*v->content_at));
	rc = v->content_at ? bb_buf_reserve(&contents, (size_t)v->count * 12 + 1) : -BB_ENOMEM;
	if (!rc)
		rc = write_contents(r, &contents);
	if (rc) {
		bb_buf_fini(&contents);
		return rc;
	}
	v->contents = bb_realloc(contents.p, contents.len + 1);
	if (!v->contents)
		v->contents = contents.p;
	rc = make_slots(v);
	if (rc)
		return rc;
	return v->alphabet == VOCAB_BYTES ? fill_bytes(v, r->keys) : fill_chars(v, r->keys);
}

int vocab_init(struct vocab *v, struct bb_str object, enum vocab_alphabet alphabet,
	       struct text_error *e)
{
	*v = (struct vocab){ .alphabet = alphabet };
	struct reading r = { .v = v, .e = e };
	const int rc = make(&r, object);
	bb_free(r.keys);
	if (rc)
		vocab_fini(v);
	return rc;
}

void vocab_fini(struct vocab *v)
{
	if (v->bytes != v->contents)
		bb_free(v->bytes);
	if (v->byte_at != v->content_at)
		bb_free(v->byte_at);
	bb_free(v->contents);
	bb_free(v->content_at);
	bb_free(v->slots);
	*v = (struct vocab){ 0 };
}

size_t vocab_size(const struct vocab *v)
{
	size_t size = ((size_t)v->mask + 1) * sizeof(*v->slots);

	if (!v->content_at)
		return 0;
	size += v->content_at[v->id_end] + ((size_t)v->id_end + 1) * sizeof(*v->content_at);
	if (v->byte_at != v->content_at)
		size += v->byte_at[v->id_end] + ((size_t)v->id_end + 1) * sizeof(*v->byte_at);
	return size;
}

/* ---- looking up ---- */

struct bb_str vocab_content(const struct vocab *v, uint32_t id)
{
	if (id >= v->id_end || v->content_at[id] == v->content_at[id + 1])
		return (struct bb_str){ 0 };
	return (struct bb_str){ v->contents + v->content_at[id],
				v->content_at[id + 1] - v->content_at[id] };
}

static struct vocab_slot find_long(const struct vocab *v, struct bb_str bytes, uint64_t hash)
{
	for (uint32_t i = slot_of(v, hash);; i = (i + 1) & v->mask) {
		const struct vocab_slot s = v->slots[i];
		if (s.id == VOCAB_NONE || (s.len == bytes.len && s.check == (uint32_t)hash &&
					   vocab_same(v->bytes + s.at, bytes.p, bytes.len)))
			return s;
	}
}

static inline struct vocab_slot find(const struct vocab *v, struct bb_str bytes, uint64_t hash)
{
	if (bytes.len > VOCAB_INLINE)
		return find_long(v, bytes, hash);
	const uint64_t packed = vocab_pack(bytes.p, bytes.len);
	for (uint32_t i = slot_of(v, hash);; i = (i + 1) & v->mask) {
		const struct vocab_slot s = v->slots[i];
		if (s.id == VOCAB_NONE || (s.len == bytes.len && s.bytes == packed))
			return s;
	}
}

uint32_t vocab_find(const struct vocab *v, struct bb_str bytes)
{
	return find(v, bytes, vocab_hash(bytes.p, bytes.len)).id;
}

uint32_t vocab_find_hashed(const struct vocab *v, struct bb_str bytes, uint64_t hash)
{
	return find(v, bytes, hash).id;
}

bool vocab_is_text(const struct vocab *v, uint32_t id)
{
	const struct bb_str content = vocab_content(v, id);
	bool is_text = v->alphabet == VOCAB_CHARS || vocab_len(v, id) < content.len;

	/* Where bytes are the content it is one of printable ASCII, or none in the alphabet. */
	for (size_t i = 0; !is_text && i < content.len; i++)
		if (content.p[i] < '!' || content.p[i] > '~')
			return false;
	return true;
}

uint32_t vocab_find_whole(const struct vocab *v, struct bb_str bytes, uint64_t hash)
{
	const struct vocab_slot s = find(v, bytes, hash);

	return s.id != VOCAB_NONE && s.is_whole ? s.id : VOCAB_NONE;
}

void vocab_mark_whole(struct vocab *v, vocab_is_whole *is_whole, const void *user)
{
	for (uint32_t i = 0; i <= v->mask; i++)
		if (v->slots[i].id != VOCAB_NONE)
			v->slots[i].is_whole = is_whole(user, v->slots[i].id);
}

uint32_t vocab_find_text(const struct vocab *v, struct bb_str content)
{
	char bytes[TOKENIZER_TOKEN_MAX];

	if (content.len > TOKENIZER_TOKEN_MAX)
		return VOCAB_NONE;
	if (v->alphabet == VOCAB_CHARS)
		return vocab_find(v, content);
	const ptrdiff_t len = vocab_content_bytes(content, bytes);
	return len < 0 ? VOCAB_NONE : vocab_find(v, (struct bb_str){ bytes, (size_t)len });
}

uint32_t vocab_find_content(const struct vocab *v, struct bb_str content)
{
	char bytes[TOKENIZER_TOKEN_MAX];

	if (content.len > TOKENIZER_TOKEN_MAX)
		return VOCAB_NONE;
	if (v->alphabet == VOCAB_CHARS)
		return vocab_find(v, content);
	const ptrdiff_t len = vocab_content_bytes(content, bytes);
	if (len >= 0)
		return vocab_find(v, (struct bb_str){ bytes, (size_t)len });
	for (uint32_t id = 0; id < v->id_end; id++)
		if (bb_str_eq(vocab_content(v, id), content))
			return id;
	return VOCAB_NONE;
}
