/* JSON texts as values: template_bind.h. */
#include "base/alloc.h"
#include "text/template_bind.h"
#include "text/template_number.h"
#include "wire/json.h"
#include "wire/json_run.h"

/* Items wait in a stack until their container's end is known. */
struct builder {
	struct trun *r;
	struct json_pull j;
	struct tvalue *stack;
	size_t count, cap;
};

static struct tvalue build(struct builder *b, uint32_t depth);

static bool push(struct builder *b, struct tvalue v)
{
	if (is_fail(v))
		return false;
	if (b->count == b->cap) {
		const size_t cap = b->cap ? b->cap * 2 : 64;
		struct tvalue *const stack = bb_realloc(b->stack, cap * sizeof(*stack));
		if (!stack) {
			run_nomem(b->r);
			return false;
		}
		b->stack = stack;
		b->cap = cap;
	}
	b->stack[b->count++] = v;
	return true;
}

static struct tvalue of_string(struct bb_str inner)
{
	if (inner.len && memchr(inner.p, '\\', inner.len))
		return TV(TV_LAZY, .len = (uint32_t)inner.len, .p = inner.p);
	return tv_str(inner);
}

static struct tvalue build_list(struct builder *b, uint32_t depth)
{
	const size_t base = b->count;

	while (json_pull_more(&b->j))
		if (!push(b, build(b, depth + 1)))
			return TV(TV_FAIL);
	const size_t count = b->count - base;
	struct tseq *const s = run_seq(b->r, count);
	if (!s)
		return TV(TV_FAIL);
	if (count)
		memcpy(s->items, b->stack + base, count * sizeof(s->items[0]));
	s->count = (uint32_t)count;
	b->count = base;
	return TV(TV_LIST, .seq = s);
}

static struct tvalue build_dict(struct builder *b, uint32_t depth)
{
	const size_t base = b->count;
	struct bb_str key;

	while (json_pull_key(&b->j, &key)) {
		struct tvalue name = of_string(key);
		if (!tv_ready(&b->r->mem, &name))
			return run_nomem(b->r);
		if (!push(b, name) || !push(b, build(b, depth + 1)))
			return TV(TV_FAIL);
	}
	const size_t count = (b->count - base) / 2;
	struct tdict *const d = run_dict(b->r, count);
	if (!d)
		return TV(TV_FAIL);
	for (size_t i = 0; i < count; i++)
		if (!run_put(b->r, d, b->stack[base + 2 * i], b->stack[base + 2 * i + 1]))
			return TV(TV_FAIL);
	b->count = base;
	return TV(TV_DICT, .dict = d);
}

/*
 * A string in one pass: its bytes as they are when they have no escape, else decoded on the way,
 * when there is room for what may come. TV_MISSING: there is not, or the string has no end.
 */
static struct tvalue build_string(struct builder *b)
{
	struct tmem *const m = &b->r->mem;
	const char *const begin = b->j.p + 1, *const end = b->j.end;
	const char *const stop = begin + json_run_string(begin, end);

	if (stop == end)
		return TV(TV_MISSING);
	const size_t plain = (size_t)(stop - begin);
	if (*stop == '"') {
		b->j.p = stop + 1;
		return plain > UINT32_MAX ? run_too_large(b->r)
					  : tv_str((struct bb_str){ begin, plain });
	}
	if ((size_t)(m->room_end - m->room) < (size_t)(end - begin) + 24)
		return TV(TV_MISSING);
	char *const to = m->room, *out = to + plain;
	memcpy(to, begin, plain);
	const char *const quote = tv_json_decode_to_quote(stop, end, &out);
	if (quote == end)
		return TV(TV_MISSING);
	b->j.p = quote + 1;
	m->room = to + (((size_t)(out - to) + 7) & ~(size_t)7);
	return tv_str((struct bb_str){ to, (size_t)(out - to) });
}

static struct tvalue build_scalar(struct builder *b)
{
	struct bb_str raw;
	enum json_type type;
	struct tvalue v;

	if (json_pull_type(&b->j) == JSON_STRING && (v = build_string(b)).type != TV_MISSING)
		return v;
	if (!json_pull_value(&b->j, &raw, &type))
		return run_invalid(b->r, "the request is not JSON");
	switch (type) {
	case JSON_NULL: return TV(TV_NONE);
	case JSON_FALSE: return tv_bool(0);
	case JSON_TRUE: return tv_bool(1);
	case JSON_STRING:
		if (raw.len > UINT32_MAX)
			return run_too_large(b->r);
		return of_string(json_string_inner(raw));
	case JSON_NUMBER:
		if (number_json(&b->r->mem, raw, &v) == 0)
			return v;
		return run_fail(b->r, -BB_ELIMIT, "a number of the request is too long");
	case JSON_ARRAY:
	case JSON_OBJECT: break;
	}
	return run_invalid(b->r, "the request is not JSON");
}

static struct tvalue build(struct builder *b, uint32_t depth)
{
	if (!run_charge(b->r, 1))
		return TV(TV_FAIL);
	if (depth > JSON_DEPTH_MAX)
		return run_fail(b->r, -BB_ELIMIT, "the request is nested too deeply");
	if (json_pull_array(&b->j))
		return build_list(b, depth);
	return json_pull_object(&b->j) ? build_dict(b, depth) : build_scalar(b);
}

struct tvalue bind_json(struct trun *r, struct bb_str text)
{
	struct builder b = { .r = r };

	json_pull_init(&b.j, text);
	struct tvalue v = build(&b, 0);
	bb_free(b.stack);
	if (!is_fail(v) && b.j.failed)
		v = run_invalid(r, "the request is not JSON");
	return v;
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

bool bind_members(struct trun *r, struct bb_str text, const struct bb_str *names, uint32_t count,
		  struct tvalue *out)
{
	struct builder b = { .r = r };
	struct bb_str key;
	bool ok = true;

	for (uint32_t i = 0; i < count; i++)
		out[i] = TV(TV_NONE);
	json_pull_init(&b.j, text);
	if (!json_pull_object(&b.j))
		b.j.failed = true;
	while (ok && !b.j.failed && json_pull_key(&b.j, &key)) {
		uint32_t i = 0;
		while (i < count && !json_inner_eq(key, names[i]))
			i++;
		ok = i < count ? take_member(&b, &out[i]) : json_pull_skip(&b.j);
	}
	bb_free(b.stack);
	if (b.j.failed)
		run_invalid(r, "the request is no JSON object");
	return ok && !r->rc;
}
