/*
 * template_value.h: Python's values as templates see them.
 *
 * For: the parts of template.h. A value is 16 bytes, copied freely; what it points to is in a
 * tmem and lives as long as that. Lists and tuples never change once they are made, so a slice of
 * one shares its items; strings are slices too, often of the request's body.
 * Threads: values of a template are only read; those of a rendering have one owner.
 * Memory: a tmem: pieces that are freed as a whole, at most `max` bytes.
 * Errors: NULL when there is no memory or the maximum is reached.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"

enum tv_type {
	TV_MISSING,   /* no value: a slot that nothing was put into, an argument not given */
	TV_FAIL,      /* no value: the rendering has failed, and the reason is in the trun */
	TV_UNDEFINED, /* p, len: the name, or a number; aux: what lacked it, 0 for a variable */
	TV_NONE,
	TV_BOOL,
	TV_INT,
	TV_BIG, /* p, len: the digits of an integer that needs more than 64 bits */
	TV_FLOAT,
	TV_STR,
	TV_LAZY, /* p, len: the inside of a JSON string with escapes; only in lists and dicts */
	TV_LIST,
	TV_TUPLE,
	TV_RANGE,
	TV_KEYS, /* what dict.keys(), values() and items() give */
	TV_VALUES,
	TV_ITEMS,
	TV_ITER, /* what can be gone through once: generators */
	TV_DICT,
	TV_NAMESPACE,
	TV_LOOP,
	TV_MACRO,
	TV_METHOD, /* of a value, bound to it */
	TV_FUNC,   /* one of the global functions */
	TV_CYCLER,
	TV_JOINER,
};

enum tv_flag {
	TV_ASCII = 1,	/* a string that is known to be plain ASCII */
	TV_WIDE = 2,	/* ... known not to be */
	TV_MARKUP = 4,	/* ... marked as safe HTML (the filters safe and escape) */
	TV_UNSAFE = 8,	/* undefined because the sandbox keeps it away */
	TV_INDEX = 16,	/* undefined: what is missing is element number i */
	TV_HINT = 32,	/* undefined: p, len is a sentence of its own */
	TV_BROKEN = 64, /* TV_ITER that fails when it is gone through: broken */
};

struct tvalue {
	uint8_t type;
	uint8_t flags;
	uint16_t aux; /* of a string that is a key: its first and last byte */
	uint32_t len;
	union {
		const char *p;
		int64_t i; /* TV_INT, TV_BOOL */
		double f;
		struct tseq *seq;
		struct tdict *dict;
		struct tloop *loop;
		struct tmacro *macro;
		struct tmethod *method;
		const struct tfunction *func;
		struct tcycler *cycler;
		struct tjoiner *joiner;
		struct tbroken *broken;
	};
};

struct tseq {
	struct tvalue *items;
	uint32_t count;
};

struct trange {
	struct tseq seq; /* first, so that a range is a sequence */
	int64_t start, stop, step;
};

struct tpair {
	struct tvalue key, value;
};

/* In order of insertion, as Python keeps it. More than a few get an index of hashes. */
struct tdict {
	struct tpair *pairs;
	uint32_t count, cap;
	uint32_t *index; /* slots, 0 is free, n + 1 is pair n; NULL for small ones */
	uint32_t mask;
};

struct tmem {
	struct bb_arena arena;
	char *room, *room_end; /* the newest piece */
	size_t piece;	       /* size of the next one */
	uint64_t work;	       /* steps that comparing has taken */
	uint64_t work_max;
	bool is_full; /* the maximum was reached; else there was no memory */
};

void tmem_init(struct tmem *m, size_t max, size_t first);
/* Memory of the caller's to use before any is taken. */
void tmem_lend(struct tmem *m, void *block, size_t size);
void tmem_fini(struct tmem *m);
void *tmem_alloc_slow(struct tmem *m, size_t size);

/* Aligned to 8 bytes, not zeroed. */
static inline void *tmem_alloc(struct tmem *m, size_t size)
{
	size = (size + 7) & ~(size_t)7;
	if (__builtin_expect(size > (size_t)(m->room_end - m->room), 0))
		return tmem_alloc_slow(m, size);
	void *const p = m->room;
	m->room += size;
	return p;
}

/* ---- making ---- */

#define TV(t, ...) ((struct tvalue){ .type = (t), ##__VA_ARGS__ })

static inline struct tvalue tv_int(int64_t i)
{
	return TV(TV_INT, .i = i);
}

static inline struct tvalue tv_bool(int is_true)
{
	return TV(TV_BOOL, .i = is_true != 0);
}

static inline struct tvalue tv_float(double f)
{
	return TV(TV_FLOAT, .f = f);
}

static inline struct tvalue tv_str(struct bb_str s)
{
	return TV(TV_STR, .len = (uint32_t)s.len, .p = s.p ? s.p : "");
}

#define tv_lit(literal) TV(TV_STR, .flags = TV_ASCII, .len = sizeof(literal) - 1, .p = (literal))

static inline struct bb_str tv_text(struct tvalue v)
{
	return (struct bb_str){ v.p, v.len };
}

/* A sequence with room for `count` items, of which none is there yet; NULL without memory. */
struct tseq *tseq_create(struct tmem *m, uint32_t count);
struct tdict *tdict_create(struct tmem *m, uint32_t count);

/* ---- strings ---- */

/* Is it plain ASCII? Looks at the bytes when nobody did before. */
bool tv_is_ascii(struct tvalue *s);
/* Characters (code points). */
int64_t tv_str_len(struct tvalue s);
/* The inside of a JSON string, decoded; p NULL without memory. */
struct bb_str tv_json_decode(struct tmem *m, struct bb_str inner);
/*
 * Decodes from `p`, inside of a JSON string, to its closing quote, which is returned (`end`: there
 * is none). *out has room for end - p + 16 bytes and moves behind what was written.
 */
const char *tv_json_decode_to_quote(const char *p, const char *end, char **out);

/* ---- asking ---- */

static inline bool tv_is_seq(struct tvalue v)
{
	return v.type >= TV_LIST && v.type <= TV_ITER;
}

static inline bool tv_is_number(struct tvalue v)
{
	return v.type >= TV_BOOL && v.type <= TV_FLOAT;
}

static inline bool tv_is_integer(struct tvalue v)
{
	return v.type == TV_BOOL || v.type == TV_INT;
}

/* A value as a list or a dict keeps it may be a string that still has JSON's escapes. */
static inline bool tv_ready(struct tmem *m, struct tvalue *v)
{
	if (__builtin_expect(v->type != TV_LAZY, 1))
		return true;
	const struct bb_str s = tv_json_decode(m, (struct bb_str){ v->p, v->len });
	if (!s.p)
		return false;
	*v = tv_str(s);
	return true;
}

/* The name of the type in Python's messages: "str". */
const char *tv_type_name(uint8_t type);
/* Python's bool(v). */
bool tv_truth(struct tvalue v);
/* a == b: 1, 0, or -1 when it is nested too deeply. Memory is for strings with escapes. */
int tv_equal(struct tmem *m, struct tvalue a, struct tvalue b, uint32_t depth);
/*
 * a < b as Python orders them: -1, 0, 1 in *out. False: the two have no order (their types), or
 * they are nested too deeply.
 */
bool tv_order(struct tmem *m, struct tvalue a, struct tvalue b, uint32_t depth, int *out);
/* A number as a double: TV_BOOL to TV_FLOAT. */
double tv_double(struct tvalue v);

/* Are they the same, at most 16 bytes? */
static inline bool tv_same_short(const char *a, const char *b, size_t len)
{
	uint64_t x, y, u, v;

	if (len >= 8) {
		memcpy(&x, a, 8);
		memcpy(&y, b, 8);
		memcpy(&u, a + len - 8, 8);
		memcpy(&v, b + len - 8, 8);
		return ((x ^ y) | (u ^ v)) == 0;
	}
	if (len >= 4) {
		uint32_t first_a, first_b, last_a, last_b;
		memcpy(&first_a, a, 4);
		memcpy(&first_b, b, 4);
		memcpy(&last_a, a + len - 4, 4);
		memcpy(&last_b, b + len - 4, 4);
		return ((first_a ^ first_b) | (last_a ^ last_b)) == 0;
	}
	while (len && *a == *b)
		a++, b++, len--;
	return len == 0;
}

/* Few bytes, most often: without a call. */
static inline bool tv_same_bytes(const char *a, const char *b, size_t len)
{
	return len > 16 ? memcmp(a, b, len) == 0 : tv_same_short(a, b, len);
}

/* ---- dicts ---- */

/* Most keys differ in their length, their first or their last byte. */
static inline uint16_t tv_key_mark(const char *p, size_t len)
{
	return len ? (uint16_t)((unsigned char)p[0] | (unsigned char)p[len - 1] << 8) : 0;
}

/* Can it be a key? Lists, dicts and namespaces cannot. */
bool tv_is_hashable(struct tvalue v);
/* The pair's value or NULL. The key must be hashable. */
struct tvalue *tdict_find(const struct tdict *d, struct tvalue key);
struct tvalue *tdict_find_str(const struct tdict *d, struct bb_str key);
/* The same with the key's mark, where that is known. */
static inline struct tvalue *tdict_find_marked(const struct tdict *d, struct bb_str key,
					       uint16_t mark)
{
	if (__builtin_expect(d->index != NULL, 0))
		return tdict_find_str(d, key);
	for (uint32_t i = 0; i < d->count; i++) {
		const struct tvalue *const k = &d->pairs[i].key;
		if (k->len == key.len && k->aux == mark && k->type == TV_STR &&
		    tv_same_bytes(k->p, key.p, key.len))
			return &d->pairs[i].value;
	}
	return NULL;
}
/* Sets or replaces; false without memory. */
bool tdict_put(struct tmem *m, struct tdict *d, struct tvalue key, struct tvalue value);
/* The same for many pairs whose keys are strings, into an empty dict with room for them. */
bool tdict_fill(struct tmem *m, struct tdict *d, struct tpair *pairs, uint32_t count);
