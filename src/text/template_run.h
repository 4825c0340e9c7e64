/*
 * template_run.h: one rendering of a template.
 *
 * For: template_eval and the files with filters, tests, methods and functions.
 * Threads: one owner. Memory: the rendering's tmem. Strings that have to be built are built at the
 * end of the output (run_mark, then appending to r->out) and taken from there (run_take).
 * Errors: run_fail notes the first one and gives TV_FAIL, which every function hands on.
 */
#pragma once

#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/template.h"
#include "text/template_ast.h"
#include "text/template_call.h"
#include "text/template_value.h"

struct tframe {
	struct tframe *parent; /* of the function around */
	struct tvalue slots[];
};

struct trun {
	const struct template *t;
	struct tmem mem;
	struct bb_buf *out;
	struct text_error *e;
	struct bb_buf *raised;
	int rc;
	uint64_t steps, steps_max;
	uint32_t depth, calls;
	char *tail, *tail_end; /* the string that grew last ends here, and has room until there */
	const struct tnode *node; /* for the place in messages */
	const struct tvalue *ctx; /* the values of t->names */
	struct tframe *frame;
	time_t now;
};

struct tloop {
	const struct tloop_def *def;
	struct tframe *frame;
	struct tvalue *items;
	uint32_t count, index, depth;
	struct tvalue changed;
};

struct tmacro {
	const struct tmacro_def *def;
	struct tframe *frame; /* where it was defined */
};

struct tmethod {
	struct tvalue self;
	const struct tfunction *f;
};

struct tcycler {
	struct tseq *items;
	uint32_t at;
};

struct tjoiner {
	struct tvalue separator;
	bool is_used;
};

/* Why a TV_BROKEN iterator fails. */
struct tbroken {
	struct text_error e;
	int rc;
};

static inline bool is_fail(struct tvalue v)
{
	return v.type == TV_FAIL;
}

/* ---- failing ---- */

struct tvalue run_fail(struct trun *r, int rc, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Something that Python would refuse. */
#define run_invalid(r, ...) run_fail((r), -BB_EINVALID, __VA_ARGS__)
struct tvalue run_nomem(struct trun *r);
struct tvalue run_too_large(struct trun *r);
/* An undefined value was used for more than printing it. */
struct tvalue run_undefined(struct trun *r, struct tvalue v);
/* Work in proportion to what is gone through; false when that was too much. */
bool run_overcharged(struct trun *r);
static inline bool run_charge(struct trun *r, uint64_t steps)
{
	r->steps += steps;
	return __builtin_expect(r->steps + r->mem.work <= r->steps_max, 1) || run_overcharged(r);
}
static inline bool run_charge_bytes(struct trun *r, size_t size)
{
	return run_charge(r, size >> 6);
}
/* A float as text, or back. */
#define RUN_FLOAT_STEPS 64
/* Looking for a needle: long ones may take many looks at each place. */
static inline bool run_charge_find(struct trun *r, size_t size, size_t needle)
{
	return run_charge(r, needle <= 16 ? size >> 6 : size >> 3);
}
bool run_exhausted(struct trun *r);
/* One level deeper and one step further. */
static inline bool run_enter(struct trun *r)
{
	if (__builtin_expect(++r->depth <= TEMPLATE_DEPTH_MAX && ++r->steps <= r->steps_max, 1))
		return true;
	return run_exhausted(r);
}
static inline void run_leave(struct trun *r)
{
	r->depth--;
}

/* ---- memory and strings ---- */

void *run_alloc(struct trun *r, size_t size);
struct tseq *run_seq(struct trun *r, size_t count);
struct tdict *run_dict(struct trun *r, size_t count);
bool run_put(struct trun *r, struct tdict *d, struct tvalue key, struct tvalue value);
/* A string of a copy of these bytes. */
struct tvalue run_copy(struct trun *r, struct bb_str s);
static inline size_t run_mark(const struct trun *r)
{
	return r->out->len;
}
/* What was appended to r->out since the mark, as a string. */
struct tvalue run_take(struct trun *r, size_t mark);
/*
 * a + b. A string that grows again and again is not copied each time: what follows the string that
 * grew last is nobody's, so that it can go on there. Whoever has the shorter one keeps it.
 */
struct tvalue run_append(struct trun *r, struct tvalue a, struct bb_str b);
/* A part of string s: keeps what is known of it. */
struct tvalue run_part(struct tvalue s, struct bb_str part);

/* str(v); strings are themselves. False: failed. */
bool run_str(struct trun *r, struct tvalue v, struct tvalue *out);
/* The same, appended to r->out. */
bool run_print_any(struct trun *r, struct tvalue v);
static inline bool run_print(struct trun *r, struct tvalue v)
{
	struct bb_buf *const out = r->out;

	/* The output has memory from the first on. */
	if (__builtin_expect(v.type != TV_STR || v.len > out->cap - out->len || out->err, 0))
		return run_print_any(r, v);
	memcpy(out->p + out->len, v.p, v.len);
	out->len += v.len;
	return run_charge_bytes(r, v.len);
}

/* ---- going through values ---- */

/* The items of anything that can be iterated. What can be gone through once is empty afterwards. */
bool run_items(struct trun *r, struct tvalue v, struct tseq *out);
/*
 * The items of a filter that Python runs only when they are asked for. NULL: it failed, and so does
 * whoever asks.
 */
struct tvalue run_iter(struct trun *r, struct tseq *s);
/* One of them, with its escapes decoded. */
struct tvalue run_at(struct trun *r, struct tvalue *item);

/* ---- calling ---- */

/* Arguments by place and name into args[f->max]; false: they do not fit. */
bool call_bind(struct trun *r, const struct tfunction *f, const struct targs *given,
	       struct tvalue *args);
struct tvalue call_function(struct trun *r, const struct tfunction *f, struct tvalue self,
			    const struct targs *given);
/* Calls any value. */
struct tvalue call_value(struct trun *r, struct tvalue callee, const struct targs *given);

/* ---- operators ---- */

struct tvalue op_attr(struct trun *r, struct tvalue object, const struct tattr *attr);
/* The same by a name that is only known now. */
struct tvalue op_attr_named(struct trun *r, struct tvalue object, struct bb_str name);
/* The method of this type that the name means; NULL: none, or the sandbox keeps it away. */
static inline const struct tfunction *attr_method(const struct tattr *a, uint8_t type)
{
	if (type == TV_STR)
		return a->of_str;
	if (type == TV_DICT)
		return a->of_dict;
	return type == TV_LIST || type == TV_TUPLE || type == TV_RANGE ? a->of_list : NULL;
}
/* attr: what the index means as a name, where that is known; else NULL. */
struct tvalue op_item(struct trun *r, struct tvalue object, struct tvalue index,
		      const struct tattr *attr);
/* TV_MISSING for a bound that is not there. */
struct tvalue op_slice(struct trun *r, struct tvalue object, const struct tvalue bounds[3]);
struct tvalue op_add(struct trun *r, struct tvalue a, struct tvalue b);
struct tvalue op_binary(struct trun *r, enum binary_op op, struct tvalue a, struct tvalue b);
struct tvalue op_negate(struct trun *r, struct tvalue v);
/* 1, 0, or -1 when it failed. */
int op_compare(struct trun *r, enum binary_op op, struct tvalue a, struct tvalue b);
int op_in(struct trun *r, struct tvalue item, struct tvalue container);
