/* JSON texts as values: template_bind.h. */
#include "base/alloc.h"
#include "text/template_bind.h"
#include "text/template_number.h"
#include "wire/json.h"
#include "wire/json_run.h"

#define STACK_FIRST 64

/*
 * Goes over the text in place, as json_pull does, and as forgiving. Items wait in a stack until
 * their container's end is known.
 */
struct builder {
	struct trun *r;
	const char *p, *end;
	bool is_broken; /* the text is no JSON here */
	struct tvalue *stack;
	size_t count, cap;
	struct tvalue first[STACK_FIRST];
};

static void builder_init(struct builder *b, struct trun *r, struct bb_str text)
{
	b->r = r;
	b->p = text.len ? text.p : "";
	b->end = b->p + text.len;
	b->is_broken = false;
	b->stack = b->first;
	b->count = 0;
	b->cap = STACK_FIRST;
}

static void builder_fini(struct builder *b)
{
	if (b->stack != b->first)
		bb_free(b->stack);
}

static struct tvalue broken(struct builder *b)
{
	b->is_broken = true;
	b->p = b->end;
	return run_invalid(b->r, "the request is not JSON");
}

static struct tvalue build(struct builder *b, uint32_t depth);

/* ---- the stack ---- */

static __attribute__((noinline)) bool stack_grow(struct builder *b)
{
	const bool is_first = b->stack == b->first;
	const size_t cap = b->cap * 4;
	struct tvalue *const stack = bb_realloc(is_first ? NULL : b->stack, cap * sizeof(*stack));

	if (!stack) {
		run_nomem(b->r);
		return false;
	}
	if (is_first)
		memcpy(stack, b->first, sizeof(b->first));
	b->stack = stack;
	b->cap = cap;
	return true;
}

static inline bool push(struct builder *b, struct tvalue v)
{
	if (is_fail(v) || (__builtin_expect(b->count == b->cap, 0) && !stack_grow(b)))
		return false;
	b->stack[b->count++] = v;
	return true;
}

/* ---- strings, numbers, words ---- */

static inline bool space(struct builder *b)
{
	while (b->p < b->end && (unsigned char)*b->p <= ' ')
		b->p++;
	return b->p < b->end;
}

/*
 * One with escapes, `stop` being the first: decoded on the way when there is room for what may
 * come, else kept as it is until it is looked at.
 */
static __attribute__((noinline)) struct tvalue build_escaped(struct builder *b, const char *begin,
							     const char *stop)
{
	struct tmem *const m = &b->r->mem;
	const size_t plain = (size_t)(stop - begin);

	if ((size_t)(m->room_end - m->room) >= (size_t)(b->end - begin) + 24) {
		char *const to = m->room, *out = to + plain;
		memcpy(to, begin, plain);
		const char *const quote = tv_json_decode_to_quote(stop, b->end, &out);
		if (quote == b->end)
			return broken(b);
		b->p = quote + 1;
		m->room = to + (((size_t)(out - to) + 7) & ~(size_t)7);
		return tv_str((struct bb_str){ to, (size_t)(out - to) });
	}
	while (stop < b->end && *stop != '"') {
		stop += *stop == '\\' && b->end - stop >= 2 ? 2 : 1;
		stop += json_run_string(stop, b->end);
	}
	if (stop == b->end)
		return broken(b);
	b->p = stop + 1;
	return TV(TV_LAZY, .len = (uint32_t)(stop - begin), .p = begin);
}

/* At its quote. */
static inline struct tvalue build_string(struct builder *b)
{
	const char *const begin = b->p + 1;
	const char *const stop = json_run_string_inline(begin, b->end);

	if (__builtin_expect(stop == b->end, 0))
		return broken(b);
	if (*stop != '"')
		return build_escaped(b, begin, stop);
	b->p = stop + 1;
	return TV(TV_STR, .len = (uint32_t)(stop - begin), .p = begin);
}

/* Small whole numbers are most of them. TV_MISSING: it is another one. */
static struct tvalue small_number(struct bb_str s)
{
	int64_t n = 0;

	if (s.len > 18 || (s.p[0] == '0' && s.len > 1))
		return TV(TV_MISSING);
	for (size_t i = 0; i < s.len; i++) {
		if ((unsigned char)(s.p[i] - '0') > 9)
			return TV(TV_MISSING);
		n = n * 10 + (s.p[i] - '0');
	}
	return tv_int(n);
}

static struct tvalue build_number(struct builder *b, struct bb_str raw)
{
	struct tvalue v = small_number(raw);

	if (v.type != TV_MISSING || number_json(&b->r->mem, raw, &v) == 0)
		return v;
	return run_fail(b->r, -BB_ELIMIT, "a number of the request is too long");
}

static struct tvalue build_word(struct builder *b)
{
	const char *const start = b->p;

	while (b->p < b->end && (unsigned char)*b->p > ' ' && *b->p != ',' && *b->p != '}' &&
	       *b->p != ']')
		b->p++;
	const struct bb_str raw = { start, (size_t)(b->p - start) };
	if (!raw.len)
		return broken(b);
	switch (json_type_of(raw)) {
	case JSON_NULL: return TV(TV_NONE);
	case JSON_FALSE: return tv_bool(0);
	case JSON_TRUE: return tv_bool(1);
	case JSON_NUMBER: return build_number(b, raw);
	case JSON_STRING:
	case JSON_ARRAY:
	case JSON_OBJECT: break;
	}
	return broken(b);
}

/* ---- containers ---- */

/* Behind a container's start or an item: takes a comma; false at the end, which is taken too. */
static inline bool more(struct builder *b, char close)
{
	if (space(b) && *b->p == ',') {
		b->p++;
		space(b);
	}
	if (__builtin_expect(b->p == b->end, 0)) {
		broken(b);
		return false;
	}
	if (*b->p != close)
		return true;
	b->p++;
	return false;
}

static struct tvalue build_list(struct builder *b, uint32_t depth)
{
	const size_t base = b->count;

	while (more(b, ']'))
		if (!push(b, build(b, depth + 1)))
			return TV(TV_FAIL);
	const size_t count = b->count - base;
	struct tseq *const s = b->is_broken ? NULL : run_seq(b->r, count);
	if (!s)
		return TV(TV_FAIL);
	if (count)
		memcpy(s->items, b->stack + base, count * sizeof(s->items[0]));
	s->count = (uint32_t)count;
	b->count = base;
	return TV(TV_LIST, .seq = s);
}

/* The next member's name, decoded, and its colon. */
static inline struct tvalue build_key(struct builder *b)
{
	if (*b->p != '"')
		return broken(b);
	struct tvalue key = build_string(b);
	if (is_fail(key))
		return key;
	if (!tv_ready(&b->r->mem, &key))
		return run_nomem(b->r);
	if (!space(b) || *b->p != ':')
		return broken(b);
	b->p++;
	b->r->steps += key.len >> 6;
	return key;
}

static struct tvalue build_dict(struct builder *b, uint32_t depth)
{
	const size_t base = b->count;

	while (more(b, '}'))
		if (!push(b, build_key(b)) || !push(b, build(b, depth + 1)))
			return TV(TV_FAIL);
	const size_t count = (b->count - base) / 2;
	struct tdict *const d = b->is_broken ? NULL : run_dict(b->r, count);
	if (!d || !run_charge(b->r, count))
		return TV(TV_FAIL);
	/* Names and values take turns on the stack, as in pairs. */
	struct tpair *const pairs = (struct tpair *)(void *)(b->stack + base);
	if (!tdict_fill(&b->r->mem, d, pairs, (uint32_t)count))
		return run_nomem(b->r);
	b->count = base;
	return TV(TV_DICT, .dict = d);
}

static struct tvalue build(struct builder *b, uint32_t depth)
{
	b->r->steps++;
	if (__builtin_expect(depth > JSON_DEPTH_MAX, 0))
		return run_fail(b->r, -BB_ELIMIT, "the request is nested too deeply");
	if (!space(b))
		return broken(b);
	if (*b->p == '"')
		return build_string(b);
	if (*b->p != '{' && *b->p != '[')
		return build_word(b);
	return *b->p++ == '{' ? build_dict(b, depth) : build_list(b, depth);
}

/* Lengths of strings are 32 bits. */
static bool is_small(struct trun *r, struct bb_str text)
{
	if (text.len > UINT32_MAX)
		run_too_large(r);
	return text.len <= UINT32_MAX;
}

struct tvalue bind_json(struct trun *r, struct bb_str text)
{
	struct builder b;

	if (!is_small(r, text))
		return TV(TV_FAIL);
	builder_init(&b, r, text);
	const struct tvalue v = build(&b, 0);
	builder_fini(&b);
	return v;
}

/* Passes over a value that nobody needs. */
static bool skip(struct builder *b)
{
	struct json_pull j = { .p = b->p, .end = b->end };

	if (!json_pull_skip(&j)) {
		broken(b);
		return false;
	}
	b->p = j.p;
	return true;
}

/* Which of the names the member's raw name is; `count`: none. */
static uint32_t name_index(struct bb_str key, const struct bb_str *names, uint32_t count)
{
	uint32_t i = 0;

	while (i < count && !json_inner_eq(key, names[i]))
		i++;
	return i;
}

static bool take_member(struct builder *b, struct tvalue *out)
{
	*out = build(b, 1);
	if (is_fail(*out))
		return false;
	if (tv_ready(&b->r->mem, out))
		return true;
	run_nomem(b->r);
	return false;
}

static bool take_members(struct builder *b, const struct bb_str *names, uint32_t count,
			 struct tvalue *out)
{
	while (more(b, '}')) {
		struct json_pull j = { .p = b->p, .end = b->end };
		struct bb_str key;
		if (!json_pull_key(&j, &key)) {
			broken(b);
			return false;
		}
		b->p = j.p;
		const uint32_t i = name_index(key, names, count);
		if (!(i < count ? take_member(b, &out[i]) : skip(b)))
			return false;
	}
	return !b->is_broken;
}

bool bind_members(struct trun *r, struct bb_str text, const struct bb_str *names, uint32_t count,
		  struct tvalue *out)
{
	struct builder b;

	for (uint32_t i = 0; i < count; i++)
		out[i] = TV(TV_NONE);
	if (!is_small(r, text))
		return false;
	builder_init(&b, r, text);
	if (!space(&b) || *b.p != '{') {
		run_invalid(r, "the request is no JSON object");
		return false;
	}
	b.p++;
	const bool ok = take_members(&b, names, count, out);
	builder_fini(&b);
	return ok && !r->rc;
}
