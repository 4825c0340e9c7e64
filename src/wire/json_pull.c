/* The pull walk of json.h: quick, safe on any bytes, and it checks only what it walks over. */
#include "wire/json.h"

#include "wire/json_run.h"

void json_pull_init(struct json_pull *j, struct bb_str text)
{
	const char *const p = text.len ? text.p : "";

	*j = (struct json_pull){ .p = p, .end = p + text.len };
}

static bool pull_fail(struct json_pull *j)
{
	j->failed = true;
	j->p = j->end;
	return false;
}

static inline bool pull_space(struct json_pull *j)
{
	if (j->p < j->end && (unsigned char)*j->p > ' ')
		return true;
	if (j->end - j->p > 1 && (unsigned char)j->p[1] > ' ')
		j->p++;
	else
		j->p = json_run_low_inline(j->p, j->end);
	return j->p < j->end;
}

enum json_type json_pull_type(struct json_pull *j)
{
	if (!pull_space(j))
		return JSON_NULL;
	return json_type_of((struct bb_str){ j->p, 1 });
}

static bool pull_open(struct json_pull *j, char bracket)
{
	if (!pull_space(j) || *j->p != bracket)
		return false;
	j->p++;
	return true;
}

bool json_pull_object(struct json_pull *j)
{
	return pull_open(j, '{');
}

bool json_pull_array(struct json_pull *j)
{
	return pull_open(j, '[');
}

/* p is at a quote; goes behind the closing one. */
static inline bool pull_string(struct json_pull *j)
{
	const char *p = j->p + 1;

	for (;;) {
		p = json_run_string_inline(p, j->end);
		if (p == j->end)
			return pull_fail(j);
		if (*p == '"')
			break;
		if (j->end - p < 2)
			return pull_fail(j);
		p += 2;
	}
	j->p = p + 1;
	return true;
}

/* Behind a container's start or an element: takes a comma; false at the end, which is taken too. */
static inline bool pull_next(struct json_pull *j, char close)
{
	if (!pull_space(j))
		return pull_fail(j);
	if (*j->p == ',') {
		j->p++;
		if (!pull_space(j))
			return pull_fail(j);
	}
	if (*j->p == close) {
		j->p++;
		return false;
	}
	return true;
}

bool json_pull_key(struct json_pull *j, struct bb_str *key)
{
	if (!pull_next(j, '}'))
		return false;
	const char *const start = j->p + 1;
	if (*j->p != '"' || !pull_string(j))
		return pull_fail(j);
	*key = (struct bb_str){ start, (size_t)(j->p - 1 - start) };
	if (!pull_space(j) || *j->p != ':')
		return pull_fail(j);
	j->p++;
	return true;
}

bool json_pull_more(struct json_pull *j)
{
	return pull_next(j, ']');
}

#if defined(__x86_64__)
/* Bytes of a container that are gone through one thing after the other. */
#define BLOCKS_BEHIND 128

/* Where quotes, opening and closing brackets stand in 64 bytes. */
struct block {
	uint64_t quotes, opens, closes;
	bool has_escape;
};

static inline void block_add(struct block *b, const char *p, unsigned i, __m128i *escapes)
{
	const __m128i v = _mm_loadu_si128((const __m128i *)(p + i));
	/* Brackets and braces differ in bit 0x20 only. */
	const __m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20));
	const __m128i quotes = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
	const __m128i opens = _mm_cmpeq_epi8(folded, _mm_set1_epi8('{'));
	const __m128i closes = _mm_cmpeq_epi8(folded, _mm_set1_epi8('}'));

	*escapes = _mm_or_si128(*escapes, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
	b->quotes |= (uint64_t)_mm_movemask_epi8(quotes) << i;
	b->opens |= (uint64_t)_mm_movemask_epi8(opens) << i;
	b->closes |= (uint64_t)_mm_movemask_epi8(closes) << i;
}

/* From each quote on to the byte before the next: the bytes of strings. */
static inline uint64_t strings_of(uint64_t quotes)
{
	quotes ^= quotes << 1;
	quotes ^= quotes << 2;
	quotes ^= quotes << 4;
	quotes ^= quotes << 8;
	quotes ^= quotes << 16;
	return quotes ^ quotes << 32;
}

/*
 * Goes on over blocks that have no backslash and in which the container surely does not end; then
 * *in_string says whether p is inside of a string.
 */
static const char *skip_blocks(const char *p, const char *end, size_t *depth, bool *in_string)
{
	for (; end - p >= 64; p += 64) {
		struct block b = { 0 };
		__m128i escapes = _mm_setzero_si128();
		block_add(&b, p, 0, &escapes);
		block_add(&b, p, 16, &escapes);
		block_add(&b, p, 32, &escapes);
		block_add(&b, p, 48, &escapes);
		const uint64_t strings = strings_of(b.quotes) ^ (*in_string ? UINT64_MAX : 0);
		const uint64_t closes = b.closes & ~strings;
		const size_t count = (size_t)__builtin_popcountll(closes);
		if (_mm_movemask_epi8(escapes) || count >= *depth)
			break;
		*depth += (size_t)__builtin_popcountll(b.opens & ~strings) - count;
		*in_string = strings >> 63;
	}
	return p;
}
#endif

/* p is at a bracket; goes behind its counterpart, counting brackets of either kind. */
static bool pull_container(struct json_pull *j)
{
	size_t depth = 0;
#if defined(__x86_64__)
	/* Small containers are through before blocks pay; what a block refused is gone through. */
	const char *retry = j->end - j->p > BLOCKS_BEHIND ? j->p + BLOCKS_BEHIND : j->end;
#endif

	do {
#if defined(__x86_64__)
		bool in_string = false;
		if (j->p >= retry && depth) {
			j->p = skip_blocks(j->p, j->end, &depth, &in_string);
			retry = j->end - j->p > 64 ? j->p + 64 : j->end;
		}
		if (in_string) {
			j->p--; /* pull_string begins behind the byte that it is given */
			if (!pull_string(j))
				return false;
			continue;
		}
#endif
		j->p += json_run_flat(j->p, j->end);
		if (j->p == j->end)
			return pull_fail(j);
		if (*j->p == '"') {
			if (!pull_string(j))
				return false;
			continue;
		}
		if (*j->p == '{' || *j->p == '[')
			depth++;
		else
			depth--;
		j->p++;
	} while (depth);
	return true;
}

/* A number or a word: up to what can follow a value. There is at least one byte of it. */
static bool pull_word(struct json_pull *j)
{
	const char *const start = j->p;

	while (j->p < j->end && (unsigned char)(*j->p - '0') <= 9)
		j->p++;
	while (j->p < j->end && (unsigned char)*j->p > ' ' && *j->p != ',' && *j->p != '}' &&
	       *j->p != ']')
		j->p++;
	return j->p > start || pull_fail(j);
}

bool json_pull_value(struct json_pull *j, struct bb_str *raw, enum json_type *type)
{
	if (!pull_space(j))
		return pull_fail(j);
	const char *const start = j->p;
	bool ok;
	if (*start == '"')
		ok = pull_string(j);
	else if (*start == '{' || *start == '[')
		ok = pull_container(j);
	else
		ok = pull_word(j);
	if (!ok)
		return false;
	*raw = (struct bb_str){ start, (size_t)(j->p - start) };
	*type = json_type_of(*raw);
	return true;
}

bool json_pull_skip(struct json_pull *j)
{
	struct bb_str raw;
	enum json_type type;

	return json_pull_value(j, &raw, &type);
}

bool json_get(struct bb_str object, struct bb_str key, struct json_member *m)
{
	struct json_pull j;
	struct json_member at = { .key = { NULL, 0 } };

	json_pull_init(&j, object);
	if (!json_pull_object(&j))
		return false;
	while (json_pull_key(&j, &at.key)) {
		if (!json_pull_value(&j, &at.value, &at.type))
			return false;
		if (bb_str_eq(at.key, key)) {
			*m = at;
			return true;
		}
	}
	return false;
}
