#include "text/gguf.h"

#include <string.h>

#include "base/alloc.h"

/* "tokenizer.chat_template." and a name. */
#define TEMPLATE_KEY "tokenizer.chat_template"

struct reader {
	struct bb_str file;
	size_t at;
	struct text_error *error;
};

static int wrong(const struct reader *r, const char *what)
{
	return text_error_invalid(r->error, "GGUF: %s (at byte %zu)", what, r->at);
}

/* ---- reading ---- */

static const size_t sizes[GGUF_TYPE_COUNT] = {
	[GGUF_U8] = 1,	[GGUF_I8] = 1,	[GGUF_U16] = 2, [GGUF_I16] = 2,
	[GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
	[GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

static uint64_t little(const char *p, size_t size)
{
	uint64_t value = 0;

	for (size_t i = size; i--;)
		value = value << 8 | (uint8_t)p[i];
	return value;
}

static int take(struct reader *r, size_t size, uint64_t *out)
{
	if (size > r->file.len - r->at)
		return wrong(r, "the file ends within its metadata");
	*out = little(r->file.p + r->at, size);
	r->at += size;
	return 0;
}

static int take_bytes(struct reader *r, uint64_t size, struct bb_str *out)
{
	if (size > r->file.len - r->at)
		return wrong(r, "a length goes beyond the end of the file");
	*out = (struct bb_str){ r->file.p + r->at, (size_t)size };
	r->at += (size_t)size;
	return 0;
}

static int take_text(struct reader *r, struct bb_str *out)
{
	uint64_t len = 0;
	const int rc = take(r, 8, &len);

	return rc ? rc : take_bytes(r, len, out);
}

static int take_type(struct reader *r, enum gguf_type *out)
{
	uint64_t type = 0;
	const int rc = take(r, 4, &type);

	if (rc)
		return rc;
	if (type >= GGUF_TYPE_COUNT)
		return wrong(r, "a value has an unknown type");
	*out = (enum gguf_type)type;
	return 0;
}

static int take_array(struct reader *r, struct gguf_pair *p)
{
	int rc = take_type(r, &p->element);

	if (!rc)
		rc = take(r, 8, &p->count);
	if (rc)
		return rc;
	if (p->element == GGUF_ARRAY)
		return wrong(r, "an array of arrays is not supported");
	if (p->element != GGUF_STRING) {
		const size_t size = sizes[p->element];
		if (p->count > (r->file.len - r->at) / size)
			return wrong(r, "an array goes beyond the end of the file");
		return take_bytes(r, p->count * size, &p->bytes);
	}
	const size_t begin = r->at;
	if (p->count > (r->file.len - r->at) / 8) /* each text has a length of 8 bytes */
		return wrong(r, "an array goes beyond the end of the file");
	for (uint64_t i = 0; i < p->count && !rc; i++) {
		struct bb_str text;
		rc = take_text(r, &text);
	}
	p->bytes = (struct bb_str){ r->file.p + begin, r->at - begin };
	return rc;
}

static int take_pair(struct reader *r, struct gguf_pair *p)
{
	*p = (struct gguf_pair){ 0 };
	int rc = take_text(r, &p->key);
	if (!rc && (!p->key.len || p->key.len > GGUF_KEY_MAX))
		rc = wrong(r, "a key is empty or too long");
	if (!rc)
		rc = take_type(r, &p->type);
	if (rc)
		return rc;
	if (p->type == GGUF_STRING)
		return take_text(r, &p->bytes);
	if (p->type == GGUF_ARRAY)
		return take_array(r, p);
	return take_bytes(r, sizes[p->type], &p->bytes);
}

static int take_head(struct reader *r, struct gguf *g, uint64_t *count)
{
	uint64_t version = 0;

	if (r->file.len < 4 || memcmp(r->file.p, "GGUF", 4) != 0)
		return wrong(r, "this is no GGUF file");
	r->at = 4;
	int rc = take(r, 4, &version);
	if (rc)
		return rc;
	if (version != 2 && version != 3) {
		if (version == 0x02000000 || version == 0x03000000)
			return wrong(r, "big-endian files are not supported");
		return wrong(r, "only versions 2 and 3 are supported");
	}
	g->version = (uint32_t)version;
	rc = take(r, 8, &g->tensor_count);
	if (!rc)
		rc = take(r, 8, count);
	/* A pair takes at least a length, a byte of a key, a type and a value. */
	if (!rc && (*count > GGUF_PAIRS_MAX || *count > (r->file.len - r->at) / 14))
		rc = wrong(r, "more pairs of metadata than there can be");
	return rc;
}

int gguf_open(struct bb_str file, struct gguf *g, struct text_error *e)
{
	struct reader r = { file, 0, e };
	struct gguf made = { 0 };
	uint64_t count = 0;
	int rc = take_head(&r, &made, &count);

	if (rc)
		return rc;
	made.pairs = bb_alloc_zero((size_t)count + 1, sizeof(*made.pairs));
	if (!made.pairs)
		return -BB_ENOMEM;
	while (made.count < count && !rc) {
		rc = take_pair(&r, &made.pairs[made.count]);
		made.count++;
	}
	if (rc) {
		gguf_close(&made);
		return rc;
	}
	*g = made;
	return 0;
}

void gguf_close(struct gguf *g)
{
	BB_FREE(g->pairs);
	g->count = 0;
}

/* ---- looking up ---- */

static const struct gguf_pair *find(const struct gguf *g, struct bb_str key)
{
	for (size_t i = 0; i < g->count; i++)
		if (bb_str_eq(g->pairs[i].key, key))
			return &g->pairs[i];
	return NULL;
}

const struct gguf_pair *gguf_find(const struct gguf *g, const char *key)
{
	return find(g, bb_str_of(key));
}

bool gguf_string(const struct gguf *g, const char *key, struct bb_str *out)
{
	const struct gguf_pair *const p = gguf_find(g, key);

	if (!p || p->type != GGUF_STRING)
		return false;
	*out = p->bytes;
	return true;
}

static bool is_whole(enum gguf_type type)
{
	return type != GGUF_F32 && type != GGUF_F64 && type != GGUF_BOOL && sizes[type] > 0;
}

static int64_t whole(enum gguf_type type, const char *p)
{
	const uint64_t value = little(p, sizes[type]);

	switch (type) {
	case GGUF_I8: return (int8_t)value;
	case GGUF_I16: return (int16_t)value;
	case GGUF_I32: return (int32_t)value;
	default: return (int64_t)value;
	}
}

bool gguf_u64(const struct gguf *g, const char *key, uint64_t *out)
{
	const struct gguf_pair *const p = gguf_find(g, key);

	if (!p || !is_whole(p->type))
		return false;
	const int64_t value = whole(p->type, p->bytes.p);
	if (value < 0 && p->type != GGUF_U64)
		return false;
	*out = (uint64_t)value;
	return true;
}

bool gguf_bool(const struct gguf *g, const char *key, bool *out)
{
	const struct gguf_pair *const p = gguf_find(g, key);

	if (!p || p->type != GGUF_BOOL)
		return false;
	*out = p->bytes.p[0] != 0;
	return true;
}

const struct gguf_pair *gguf_array(const struct gguf *g, const char *key, enum gguf_type element)
{
	const struct gguf_pair *const p = gguf_find(g, key);

	return p && p->type == GGUF_ARRAY && p->element == element ? p : NULL;
}

int64_t gguf_array_int(const struct gguf_pair *array, uint64_t i)
{
	return whole(array->element, array->bytes.p + i * sizes[array->element]);
}

double gguf_array_float(const struct gguf_pair *array, uint64_t i)
{
	const char *const p = array->bytes.p + i * sizes[array->element];
	const uint64_t bits = little(p, sizes[array->element]);

	if (array->element == GGUF_F32) {
		const uint32_t narrow = (uint32_t)bits;
		float value;
		memcpy(&value, &narrow, sizeof(value));
		return value;
	}
	if (array->element == GGUF_F64) {
		double value;
		memcpy(&value, &bits, sizeof(value));
		return value;
	}
	return (double)whole(array->element, p);
}

struct bb_str gguf_array_text(const struct gguf_pair *array, size_t *at)
{
	const uint64_t len = little(array->bytes.p + *at, 8);
	const struct bb_str text = { array->bytes.p + *at + 8, (size_t)len };

	*at += 8 + (size_t)len;
	return text;
}

bool gguf_template(const struct gguf *g, struct bb_str name, struct bb_str *out)
{
	static const struct bb_str prefix = BB_STR_INIT(TEMPLATE_KEY ".");

	if (!name.len)
		return gguf_string(g, TEMPLATE_KEY, out);
	for (size_t i = 0; i < g->count; i++) {
		const struct gguf_pair *const p = &g->pairs[i];
		if (p->type == GGUF_STRING && bb_str_starts(p->key, prefix) &&
		    bb_str_eq(bb_str_skip(p->key, prefix.len), name)) {
			*out = p->bytes;
			return true;
		}
	}
	return false;
}
