#include "text/template_run.h"

#include <stdarg.h>
#include <stdio.h>

#include "text/template_chars.h"
#include "text/template_format.h"
#include "text/template_lex.h"

/* ---- failing ---- */

struct tvalue run_fail(struct trun *r, int rc, const char *format, ...)
{
	char what[240];
	va_list ap;

	if (r->rc)
		return TV(TV_FAIL);
	r->rc = rc;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	template_error_at(r->e, r->t->source, r->node ? r->node->at : 0, "%s", what);
	return TV(TV_FAIL);
}

struct tvalue run_nomem(struct trun *r)
{
	if (r->rc)
		return TV(TV_FAIL);
	if (!r->mem.is_full)
		return run_fail(r, -BB_ENOMEM, "there is no memory left to render the template");
	return run_too_large(r);
}

struct tvalue run_too_large(struct trun *r)
{
	return run_fail(r, -BB_ELIMIT, "rendering needs more than %zu MiB of memory",
			r->mem.arena.max >> 20);
}

/* "dict object", as Jinja names what lacks something. */
static const char *object_name(uint16_t type)
{
	return type == TV_NONE ? "None" : tv_type_name((uint8_t)type);
}

struct tvalue run_undefined(struct trun *r, struct tvalue v)
{
	const char *const object = object_name(v.aux);
	const char *const word = v.aux == TV_NONE ? "" : " object";

	if (v.flags & TV_HINT)
		return run_invalid(r, "%.*s", BB_ARG(tv_text(v)));
	if (v.flags & TV_UNSAFE)
		return run_invalid(r, "access to attribute '%.*s' of '%s' object is unsafe",
				   BB_ARG(tv_text(v)), object);
	if (v.flags & TV_INDEX)
		return run_invalid(r, "%s%s has no element %lld", object, word, (long long)v.i);
	if (!v.aux)
		return run_invalid(r, "'%.*s' is undefined", BB_ARG(tv_text(v)));
	return run_invalid(r, "'%s%s' has no attribute '%.*s'", object, word, BB_ARG(tv_text(v)));
}

bool run_overcharged(struct trun *r)
{
	run_fail(r, -BB_ELIMIT, "the template takes more than %llu steps",
		 (unsigned long long)r->steps_max);
	return false;
}

bool run_exhausted(struct trun *r)
{
	if (r->depth > TEMPLATE_DEPTH_MAX)
		run_fail(r, -BB_ELIMIT, "the template is nested more than %d deep when it runs",
			 TEMPLATE_DEPTH_MAX);
	return run_charge(r, 0) && !r->rc;
}

/* ---- memory and strings ---- */

void *run_alloc(struct trun *r, size_t size)
{
	void *const p = tmem_alloc(&r->mem, size);

	if (__builtin_expect(!p, 0))
		run_nomem(r);
	return p;
}

struct tseq *run_seq(struct trun *r, size_t count)
{
	if (count > UINT32_MAX / 32) {
		run_too_large(r);
		return NULL;
	}
	struct tseq *const s = tseq_create(&r->mem, (uint32_t)count);
	if (!s)
		run_nomem(r);
	return s && run_charge(r, count) ? s : NULL;
}

struct tdict *run_dict(struct trun *r, size_t count)
{
	struct tdict *const d = tdict_create(&r->mem, (uint32_t)count);

	if (!d)
		run_nomem(r);
	return d;
}

bool run_put(struct trun *r, struct tdict *d, struct tvalue key, struct tvalue value)
{
	if (!tv_is_hashable(key)) {
		run_invalid(r, "unhashable type: '%s'", tv_type_name(key.type));
		return false;
	}
	if (key.type == TV_STR && !run_charge_bytes(r, key.len))
		return false;
	if (tdict_put(&r->mem, d, key, value))
		return true;
	run_nomem(r);
	return false;
}

struct tvalue run_copy(struct trun *r, struct bb_str s)
{
	char *const p = run_alloc(r, s.len + 1);

	if (!p || !run_charge_bytes(r, s.len))
		return TV(TV_FAIL);
	if (s.len)
		memcpy(p, s.p, s.len);
	return tv_str((struct bb_str){ p, s.len });
}

struct tvalue run_take(struct trun *r, size_t mark)
{
	if (r->out->err)
		return run_fail(r, r->out->err == -BB_ENOMEM ? -BB_ENOMEM : -BB_ELIMIT,
				"the prompt is longer than %zu bytes", r->out->max);
	const struct tvalue v =
		run_copy(r, (struct bb_str){ r->out->p + mark, r->out->len - mark });
	r->out->len = mark;
	return v;
}

/* Memory for `size` bytes and, if it can be, room to grow to twice as many. */
static bool tail_create(struct trun *r, size_t size)
{
	char *p = tmem_alloc(&r->mem, 2 * size);
	const size_t room = p ? 2 * size : size;

	if (!p)
		p = run_alloc(r, size);
	r->tail = p;
	r->tail_end = p ? p + room : NULL;
	return p;
}

struct tvalue run_append(struct trun *r, struct tvalue a, struct bb_str b)
{
	const uint64_t size = (uint64_t)a.len + b.len;
	const bool has_grown = a.len && a.p + a.len == r->tail;
	const char *p = a.p;

	if (size > UINT32_MAX)
		return run_too_large(r);
	if (!has_grown || b.len > (size_t)(r->tail_end - r->tail)) {
		if (!run_charge_bytes(r, size))
			return TV(TV_FAIL);
		if (!has_grown) {
			r->tail = run_alloc(r, size + 1);
			r->tail_end = r->tail ? r->tail + size : NULL;
		} else if (!tail_create(r, size)) {
			return TV(TV_FAIL);
		}
		if (!r->tail)
			return TV(TV_FAIL);
		p = r->tail;
		memcpy(r->tail, a.p, a.len);
		r->tail += a.len;
	} else if (!run_charge_bytes(r, b.len)) {
		return TV(TV_FAIL);
	}
	if (b.len)
		memcpy(r->tail, b.p, b.len);
	r->tail += b.len;
	return tv_str((struct bb_str){ p, size });
}

struct tvalue run_part(struct tvalue s, struct bb_str part)
{
	struct tvalue v = tv_str(part);

	v.flags = s.flags & (TV_ASCII | TV_MARKUP);
	return v;
}

bool run_str(struct trun *r, struct tvalue v, struct tvalue *out)
{
	*out = v;
	if (v.type == TV_STR)
		return true;
	if (v.type == TV_UNDEFINED) {
		*out = tv_lit("");
		return true;
	}
	const size_t mark = run_mark(r);
	if (!format_str(r, v))
		return false;
	*out = run_take(r, mark);
	return !is_fail(*out);
}

bool run_print_any(struct trun *r, struct tvalue v)
{
	if (!format_str(r, v))
		return false;
	if (__builtin_expect(!r->out->err, 1))
		return true;
	run_fail(r, r->out->err == -BB_ENOMEM ? -BB_ENOMEM : -BB_ELIMIT,
		 "the prompt is longer than %zu bytes", r->out->max);
	return false;
}

/* ---- going through values ---- */

static bool items_of_str(struct trun *r, struct tvalue v, struct tseq *out)
{
	const int64_t count = tv_str_len(v);
	struct tseq *const s = run_seq(r, (size_t)count);
	const char *p = v.p;

	if (!s)
		return false;
	for (int64_t i = 0; i < count; i++) {
		const size_t size = chars_size(*p);
		s->items[s->count++] = run_part(v, (struct bb_str){ p, size });
		p += size;
	}
	*out = *s;
	return true;
}

static bool items_of_dict(struct trun *r, const struct tdict *d, struct tseq *out)
{
	struct tseq *const s = run_seq(r, d->count);

	if (!s)
		return false;
	for (uint32_t i = 0; i < d->count; i++)
		s->items[s->count++] = d->pairs[i].key;
	*out = *s;
	return true;
}

bool run_items(struct trun *r, struct tvalue v, struct tseq *out)
{
	switch ((enum tv_type)v.type) {
	case TV_LIST:
	case TV_TUPLE:
	case TV_RANGE:
	case TV_KEYS:
	case TV_VALUES:
	case TV_ITEMS: *out = *v.seq; return run_charge(r, v.seq->count);
	case TV_ITER:
		if (v.flags & TV_BROKEN) {
			r->rc = v.broken->rc;
			text_error_set(r->e, "%s", v.broken->e.message);
			return false;
		}
		*out = *v.seq;
		*v.seq = (struct tseq){ NULL, 0 };
		return run_charge(r, out->count);
	case TV_UNDEFINED: *out = (struct tseq){ NULL, 0 }; return true;
	case TV_STR: return items_of_str(r, v, out);
	case TV_DICT: return items_of_dict(r, v.dict, out);
	default: run_invalid(r, "'%s' object is not iterable", tv_type_name(v.type)); return false;
	}
}

struct tvalue run_iter(struct trun *r, struct tseq *s)
{
	if (s)
		return TV(TV_ITER, .seq = s);
	if (r->rc != -BB_EINVALID)
		return TV(TV_FAIL);
	struct tbroken *const b = tmem_alloc(&r->mem, sizeof(*b));
	if (!b)
		return TV(TV_FAIL);
	*b = (struct tbroken){ .rc = r->rc };
	if (r->e)
		b->e = *r->e;
	r->rc = 0;
	return TV(TV_ITER, .flags = TV_BROKEN, .broken = b);
}

struct tvalue run_at(struct trun *r, struct tvalue *item)
{
	return tv_ready(&r->mem, item) ? *item : run_nomem(r);
}

/* ---- calling ---- */

/* The place of a parameter in "old new count"; -1: there is none. */
static int param_index(const struct tfunction *f, struct bb_str name)
{
	struct bb_str rest = bb_str_of(f->params);

	for (int i = 0; rest.len; i++)
		if (bb_str_eq(bb_str_cut(&rest, ' '), name))
			return i;
	return -1;
}

static bool bind_keywords(struct trun *r, const struct tfunction *f, const struct targs *given,
			  struct tvalue *args)
{
	for (uint32_t i = 0; i < given->keyword_count; i++) {
		const struct tkeyword *const k = &given->keywords[i];
		const int at = param_index(f, k->name);
		if (at < 0 || args[at].type != TV_MISSING) {
			run_invalid(r, "%s() got %s argument '%.*s'", f->name,
				    at < 0 ? "an unexpected keyword" : "multiple values for",
				    BB_ARG(k->name));
			return false;
		}
		args[at] = k->value;
	}
	return true;
}

bool call_bind(struct trun *r, const struct tfunction *f, const struct targs *given,
	       struct tvalue *args)
{
	uint32_t i = 0;

	if (given->count > f->max) {
		run_invalid(r, "%s() takes at most %u arguments (%u given)", f->name, f->max,
			    given->count);
		return false;
	}
	for (; i < given->count; i++)
		args[i] = given->list[i];
	for (; i < f->max; i++)
		args[i] = TV(TV_MISSING);
	if (given->keyword_count && !bind_keywords(r, f, given, args))
		return false;
	for (i = 0; i < f->min; i++)
		if (args[i].type == TV_MISSING) {
			run_invalid(r, "%s() needs at least %u arguments", f->name, f->min);
			return false;
		}
	return true;
}

struct tvalue call_function(struct trun *r, const struct tfunction *f, struct tvalue self,
			    const struct targs *given)
{
	struct tvalue args[CALL_PARAMS_MAX];

	if (!f->params)
		return f->call_any(r, self, given);
	return call_bind(r, f, given, args) ? f->call(r, self, args) : TV(TV_FAIL);
}

const void *call_find(const void *table, size_t count, size_t size, struct bb_str name)
{
	const char *row = table;

	for (size_t i = 0; i < count; i++, row += size)
		if (bb_str_eq(name, bb_str_of(((const struct tfunction *)(const void *)row)->name)))
			return row;
	return NULL;
}
