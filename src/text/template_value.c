#include "text/template_value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "base/hash.h"
#include "text/template.h"
#include "wire/json_escape.h"
#include "wire/utf8.h"

#define PIECE_MAX (1u << 20)
#define DICT_LINEAR_MAX 8

/* ---- memory ---- */

void tmem_init(struct tmem *m, size_t max, size_t first)
{
	*m = (struct tmem){ .piece = first, .work_max = UINT64_MAX };
	bb_arena_init(&m->arena, max);
}

void tmem_lend(struct tmem *m, void *block, size_t size)
{
	m->room = block;
	m->room_end = m->room + size;
}

void tmem_fini(struct tmem *m)
{
	bb_arena_fini(&m->arena);
	*m = (struct tmem){ .piece = 0 };
}

static void *alloc_alone(struct tmem *m, size_t size)
{
	m->is_full = size > m->arena.max - m->arena.total;
	return m->is_full ? NULL : bb_arena_alloc(&m->arena, size);
}

void *tmem_alloc_slow(struct tmem *m, size_t size)
{
	if (size > m->piece / 4)
		return alloc_alone(m, size);
	char *const p = bb_arena_alloc(&m->arena, m->piece);
	if (!p)
		return alloc_alone(m, size);
	m->room = p + size;
	m->room_end = p + m->piece;
	if (m->piece < PIECE_MAX)
		m->piece *= 2;
	return p;
}

struct tseq *tseq_create(struct tmem *m, uint32_t count)
{
	struct tseq *const s = tmem_alloc(m, sizeof(*s) + (size_t)count * sizeof(struct tvalue));

	if (s)
		*s = (struct tseq){ .items = (struct tvalue *)(s + 1) };
	return s;
}

struct tdict *tdict_create(struct tmem *m, uint32_t count)
{
	struct tdict *const d = tmem_alloc(m, sizeof(*d) + (size_t)count * sizeof(struct tpair));

	if (d)
		*d = (struct tdict){ .pairs = (struct tpair *)(d + 1), .cap = count };
	return d;
}

/* ---- strings ---- */

static bool is_ascii(const char *p, size_t len)
{
	uint64_t all = 0, word;
	size_t i = 0;

	for (; i + 32 <= len; i += 32) {
		uint64_t w[4];
		memcpy(w, p + i, 32);
		if ((w[0] | w[1] | w[2] | w[3]) & 0x8080808080808080u)
			return false;
	}
	for (; i + 8 <= len; i += 8) {
		memcpy(&word, p + i, 8);
		all |= word;
	}
	for (; i < len; i++)
		all |= (uint64_t)(unsigned char)p[i];
	return !(all & 0x8080808080808080u);
}

bool tv_is_ascii(struct tvalue *s)
{
	if (!(s->flags & (TV_ASCII | TV_WIDE)))
		s->flags |= is_ascii(s->p, s->len) ? TV_ASCII : TV_WIDE;
	return s->flags & TV_ASCII;
}

int64_t tv_str_len(struct tvalue s)
{
	int64_t count = 0;

	uint32_t i = 0;

	if (tv_is_ascii(&s))
		return s.len;
	/* Of each byte the lowest bit of (not bit 7) or bit 6: it is no continuation. */
	for (uint64_t word; i + 8 <= s.len; i += 8) {
		memcpy(&word, s.p + i, 8);
		count += __builtin_popcountll((~word >> 7 | word >> 6) & 0x0101010101010101u);
	}
	for (; i < s.len; i++)
		count += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return count;
}

/* What stands behind a backslash, decoded; 0: "uXXXX", or nothing that JSON knows. */
static const char plain_escapes[256] = {
	['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
	['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

/* "\uXXXX" at p, behind the backslash; writes at *out and returns what follows. */
static const char *decode_unicode(const char *p, const char *end, char **out)
{
	size_t len = 0;
	const int32_t code = *p == 'u' ? json_unicode_escape(p + 1, end, &len) : -1;

	if (code < 0) /* not checked JSON; never a crash */
		return end;
	*out += utf8_encode((uint32_t)code, *out);
	return p + 1 + len;
}

/* p is at a backslash. */
static inline const char *decode_escape(const char *p, const char *end, char **out)
{
	if (end - p < 2)
		return end;
	const char c = plain_escapes[(unsigned char)p[1]];
	if (__builtin_expect(!c, 0))
		return decode_unicode(p + 1, end, out);
	*(*out)++ = c;
	return p + 2;
}

const char *tv_json_decode_to_quote(const char *p, const char *end, char **out)
{
	char *to = *out;

#if defined(__x86_64__)
	while (end - p >= 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		const __m128i stops = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\\')),
						   _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
		const unsigned mask = (unsigned)_mm_movemask_epi8(stops);
		_mm_storeu_si128((__m128i *)to, v);
		const unsigned n = mask ? (unsigned)__builtin_ctz(mask) : 16;
		p += n;
		to += n;
		if (!mask)
			continue;
		if (*p == '"')
			break;
		p = decode_escape(p, end, &to);
	}
#endif
	while (p < end && *p != '"') {
		if (*p == '\\')
			p = decode_escape(p, end, &to);
		else
			*to++ = *p++;
	}
	*out = to;
	return p;
}

/* The output is never longer than the input; blocks may be written 16 bytes further than it. */
struct bb_str tv_json_decode(struct tmem *m, struct bb_str inner)
{
	char *const begin = tmem_alloc(m, inner.len + 16);
	char *out = begin;

	if (!begin)
		return (struct bb_str){ NULL, 0 };
	tv_json_decode_to_quote(inner.p, inner.p + inner.len, &out);
	return (struct bb_str){ begin, (size_t)(out - begin) };
}

/* ---- asking ---- */

const char *tv_type_name(uint8_t type)
{
	static const char *const names[] = {
		[TV_UNDEFINED] = "Undefined",
		[TV_NONE] = "NoneType",
		[TV_BOOL] = "bool",
		[TV_INT] = "int",
		[TV_BIG] = "int",
		[TV_FLOAT] = "float",
		[TV_STR] = "str",
		[TV_LAZY] = "str",
		[TV_LIST] = "list",
		[TV_TUPLE] = "tuple",
		[TV_RANGE] = "range",
		[TV_KEYS] = "dict_keys",
		[TV_VALUES] = "dict_values",
		[TV_ITEMS] = "dict_items",
		[TV_ITER] = "generator",
		[TV_DICT] = "dict",
		[TV_NAMESPACE] = "Namespace",
		[TV_LOOP] = "LoopContext",
		[TV_MACRO] = "Macro",
		[TV_METHOD] = "builtin_function_or_method",
		[TV_FUNC] = "function",
		[TV_CYCLER] = "Cycler",
		[TV_JOINER] = "Joiner",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "object";
}

bool tv_truth(struct tvalue v)
{
	switch ((enum tv_type)v.type) {
	case TV_FAIL:
	case TV_MISSING:
	case TV_UNDEFINED:
	case TV_NONE: return false;
	case TV_BOOL:
	case TV_INT: return v.i != 0;
	case TV_FLOAT: return v.f != 0;
	case TV_STR:
	case TV_LAZY: return v.len != 0;
	case TV_LIST:
	case TV_TUPLE:
	case TV_RANGE:
	case TV_KEYS:
	case TV_VALUES:
	case TV_ITEMS: return v.seq->count != 0;
	case TV_DICT: return v.dict->count != 0;
	case TV_BIG:
	case TV_ITER:
	case TV_NAMESPACE:
	case TV_LOOP:
	case TV_MACRO:
	case TV_METHOD:
	case TV_FUNC:
	case TV_CYCLER:
	case TV_JOINER: return true;
	}
	return false;
}

double tv_double(struct tvalue v)
{
	char digits[512];

	if (v.type == TV_FLOAT)
		return v.f;
	if (v.type != TV_BIG)
		return (double)v.i;
	if (v.len >= sizeof(digits))
		return v.p[0] == '-' ? -INFINITY : INFINITY;
	memcpy(digits, v.p, v.len);
	digits[v.len] = '\0';
	return strtod(digits, NULL);
}

/* ---- order and equality ---- */

static int sign_of(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int big_order(struct tvalue a, struct tvalue b)
{
	const bool a_neg = a.type == TV_BIG ? a.p[0] == '-' : a.i < 0;
	const bool b_neg = b.type == TV_BIG ? b.p[0] == '-' : b.i < 0;

	if (a_neg != b_neg)
		return a_neg ? -1 : 1;
	int order;
	if (a.type != TV_BIG || b.type != TV_BIG)
		order = a.type == TV_BIG ? 1 : -1; /* by size alone */
	else if (a.len != b.len)
		order = a.len > b.len ? 1 : -1;
	else
		order = memcmp(a.p, b.p, a.len);
	return a_neg ? -order : order;
}

/* Both are numbers. False for NaN. */
static bool number_order(struct tvalue a, struct tvalue b, int *out)
{
	if (a.type == TV_FLOAT || b.type == TV_FLOAT) {
		const double x = tv_double(a), y = tv_double(b);
		if (isnan(x) || isnan(y))
			return false;
		*out = (x > y) - (x < y);
	} else if (a.type == TV_BIG || b.type == TV_BIG) {
		*out = big_order(a, b);
	} else {
		*out = sign_of(a.i, b.i);
	}
	return true;
}

static int str_order(struct tvalue a, struct tvalue b)
{
	const uint32_t len = a.len < b.len ? a.len : b.len;
	const int order = len ? memcmp(a.p, b.p, len) : 0;

	return order ? order : sign_of(a.len, b.len);
}

static int seq_equal(struct tmem *m, const struct tseq *a, const struct tseq *b, uint32_t depth)
{
	if (a == b)
		return 1;
	if (a->count != b->count)
		return 0;
	for (uint32_t i = 0; i < a->count; i++) {
		const int rc = tv_equal(m, a->items[i], b->items[i], depth + 1);
		if (rc != 1)
			return rc;
	}
	return 1;
}

static int dict_equal(struct tmem *m, const struct tdict *a, const struct tdict *b, uint32_t depth)
{
	if (a == b)
		return 1;
	if (a->count != b->count)
		return 0;
	for (uint32_t i = 0; i < a->count; i++) {
		const struct tvalue *const other = tdict_find(b, a->pairs[i].key);
		if (!other)
			return 0;
		const int rc = tv_equal(m, a->pairs[i].value, *other, depth + 1);
		if (rc != 1)
			return rc;
	}
	return 1;
}

/* Counts what a comparison looks at, also within one: lists may share their items a million times.
 */
static bool is_worn_out(struct tmem *m, struct tvalue v)
{
	if (!m)
		return false;
	m->work += 1 + (v.type == TV_STR ? v.len >> 6 : 0);
	return m->work > m->work_max;
}

int tv_equal(struct tmem *m, struct tvalue a, struct tvalue b, uint32_t depth)
{
	int order = 0;

	if (depth > TEMPLATE_VALUE_DEPTH_MAX || !tv_ready(m, &a) || !tv_ready(m, &b) ||
	    is_worn_out(m, a))
		return -1;
	if (a.type == TV_STR && b.type == TV_STR)
		return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
	if (tv_is_number(a) && tv_is_number(b))
		return number_order(a, b, &order) && order == 0;
	if (a.type != b.type)
		return 0;
	if (a.type == TV_LIST || a.type == TV_TUPLE || a.type == TV_RANGE || a.type == TV_KEYS ||
	    a.type == TV_ITEMS)
		return seq_equal(m, a.seq, b.seq, depth);
	if (a.type == TV_DICT)
		return dict_equal(m, a.dict, b.dict, depth);
	if (a.type == TV_NONE || a.type == TV_UNDEFINED)
		return 1;
	return a.p == b.p;
}

bool tv_order(struct tmem *m, struct tvalue a, struct tvalue b, uint32_t depth, int *out)
{
	if (depth > TEMPLATE_VALUE_DEPTH_MAX || !tv_ready(m, &a) || !tv_ready(m, &b) ||
	    is_worn_out(m, a))
		return false;
	if (a.type == TV_STR && b.type == TV_STR) {
		*out = str_order(a, b);
		return true;
	}
	if (tv_is_number(a) && tv_is_number(b))
		return number_order(a, b, out);
	if (a.type != b.type || (a.type != TV_LIST && a.type != TV_TUPLE))
		return false;
	for (uint32_t i = 0; i < a.seq->count && i < b.seq->count; i++) {
		const int same = tv_equal(m, a.seq->items[i], b.seq->items[i], depth + 1);
		if (same < 0)
			return false;
		if (!same)
			return tv_order(m, a.seq->items[i], b.seq->items[i], depth + 1, out);
	}
	*out = sign_of(a.seq->count, b.seq->count);
	return true;
}

/* ---- dicts ---- */

bool tv_is_hashable(struct tvalue v)
{
	if (v.type == TV_LIST || v.type == TV_DICT || v.type == TV_VALUES || v.type == TV_KEYS ||
	    v.type == TV_ITEMS)
		return false;
	if (v.type != TV_TUPLE)
		return true;
	/* Tuples of tuples are made by hand in templates, one level of brackets for each. */
	for (uint32_t i = 0; i < v.seq->count; i++)
		if (v.seq->items[i].type == TV_TUPLE || !tv_is_hashable(v.seq->items[i]))
			return false;
	return true;
}

/* Another one in each process, where addresses are random: keys of a body cannot be aimed. */
static uint64_t hash_key(void)
{
	static const char anchor;

	return (uintptr_t)&anchor * 0x9e3779b97f4a7c15u;
}

static uint32_t hash_value(struct tvalue v)
{
	uint64_t bits = (uint64_t)v.i;

	if (v.type == TV_STR || v.type == TV_LAZY || v.type == TV_BIG)
		return (uint32_t)bb_hash(v.p, v.len, hash_key());
	if (v.type == TV_TUPLE) {
		uint32_t h = v.seq->count;
		for (uint32_t i = 0; i < v.seq->count; i++)
			h = h * 31 + hash_value(v.seq->items[i]);
		return h;
	}
	/* Equal numbers have equal hashes, whatever their type. */
	if (v.type == TV_FLOAT && v.f >= -9e18 && v.f <= 9e18 && v.f == (double)(int64_t)v.f)
		bits = (uint64_t)(int64_t)v.f;
	if (v.type == TV_NONE || v.type == TV_UNDEFINED)
		bits = v.type;
	return (uint32_t)bb_hash(&bits, sizeof(bits), hash_key());
}

/* Keys are never nested, so this needs neither memory nor depth. */
static bool key_equal(struct tvalue a, struct tvalue b)
{
	if (a.type == TV_STR && b.type == TV_STR)
		return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
	if (a.type == TV_STR || b.type == TV_STR)
		return false;
	return tv_equal(NULL, a, b, 0) == 1;
}

struct tvalue *tdict_find(const struct tdict *d, struct tvalue key)
{
	if (!d->index && key.type == TV_STR)
		return tdict_find_str(d, tv_text(key));
	if (!d->index) {
		for (uint32_t i = 0; i < d->count; i++)
			if (key_equal(d->pairs[i].key, key))
				return &d->pairs[i].value;
		return NULL;
	}
	for (uint32_t at = hash_value(key) & d->mask; d->index[at]; at = (at + 1) & d->mask)
		if (key_equal(d->pairs[d->index[at] - 1].key, key))
			return &d->pairs[d->index[at] - 1].value;
	return NULL;
}

struct tvalue *tdict_find_str(const struct tdict *d, struct bb_str key)
{
	if (d->index)
		return tdict_find(d, tv_str(key));
	return tdict_find_marked(d, key, tv_key_mark(key.p, key.len));
}

static void index_add(struct tdict *d, uint32_t n)
{
	uint32_t at = hash_value(d->pairs[n].key) & d->mask;

	while (d->index[at])
		at = (at + 1) & d->mask;
	d->index[at] = n + 1;
}

static bool index_build(struct tmem *m, struct tdict *d)
{
	const uint32_t slots = 1u << (33 - __builtin_clz(d->cap | DICT_LINEAR_MAX));
	uint32_t *const index = tmem_alloc(m, slots * sizeof(*index));

	if (!index)
		return false;
	memset(index, 0, slots * sizeof(*index));
	d->index = index;
	d->mask = slots - 1;
	for (uint32_t i = 0; i < d->count; i++)
		index_add(d, i);
	return true;
}

static bool dict_grow(struct tmem *m, struct tdict *d)
{
	const uint32_t cap = d->cap ? d->cap * 2 : 4;
	struct tpair *const pairs = tmem_alloc(m, (size_t)cap * sizeof(*pairs));

	if (!pairs)
		return false;
	if (d->count)
		memcpy(pairs, d->pairs, d->count * sizeof(*pairs));
	d->pairs = pairs;
	d->cap = cap;
	return !d->index || index_build(m, d);
}

bool tdict_put(struct tmem *m, struct tdict *d, struct tvalue key, struct tvalue value)
{
	struct tvalue *const old = tdict_find(d, key);

	if (key.type == TV_STR)
		key.aux = tv_key_mark(key.p, key.len);
	if (old) {
		*old = value;
		return true;
	}
	if (d->count == d->cap && !dict_grow(m, d))
		return false;
	d->pairs[d->count++] = (struct tpair){ key, value };
	if (d->index) {
		index_add(d, d->count - 1);
		return true;
	}
	return d->count <= DICT_LINEAR_MAX || index_build(m, d);
}

bool tdict_fill(struct tmem *m, struct tdict *d, struct tpair *pairs, uint32_t count)
{
	uint64_t seen = 0;
	bool are_distinct = count <= DICT_LINEAR_MAX;

	for (uint32_t i = 0; i < count && are_distinct; i++) {
		struct tvalue *const key = &pairs[i].key;
		key->aux = tv_key_mark(key->p, key->len);
		const uint64_t bit = (uint64_t)1 << ((key->aux + (key->aux >> 6) + key->len) & 63);
		are_distinct = !(seen & bit);
		seen |= bit;
	}
	if (are_distinct) {
		memcpy(d->pairs, pairs, count * sizeof(*pairs));
		d->count = count;
		return true;
	}
	for (uint32_t i = 0; i < count; i++)
		if (!tdict_put(m, d, pairs[i].key, pairs[i].value))
			return false;
	return true;
}
