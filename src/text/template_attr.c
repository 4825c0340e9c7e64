/* Attributes, items and slices: template_run.h. */
#include "text/template_chars.h"
#include "text/template_run.h"

/* ---- attributes ---- */

static struct tvalue undefined_in(struct tvalue object, struct bb_str name, int flags)
{
	return TV(TV_UNDEFINED, .flags = (uint8_t)flags, .aux = object.type,
		  .len = (uint32_t)name.len, .p = name.p);
}

static struct tvalue bind_method(struct trun *r, struct tvalue object, const struct tfunction *f)
{
	struct tmethod *const m = run_alloc(r, sizeof(*m));

	if (!m)
		return TV(TV_FAIL);
	*m = (struct tmethod){ object, f };
	return TV(TV_METHOD, .method = m);
}

/* A method of the object as a value; TV_MISSING: it has none of that name. */
static struct tvalue bound_method(struct trun *r, struct tvalue object, const struct tattr *a)
{
	const bool is_unsafe = object.type == TV_DICT	? a->dict_unsafe
			       : object.type == TV_LIST ? a->list_unsafe
							: false;

	if (is_unsafe || a->is_private)
		return undefined_in(object, a->name, TV_UNSAFE);
	const struct tfunction *f = attr_method(a, object.type);
	if (object.type == TV_CYCLER)
		f = method_find(TV_CYCLER, a->name);
	return f ? bind_method(r, object, f) : TV(TV_MISSING);
}

static struct tvalue loop_item(struct trun *r, struct tloop *l, int64_t index, struct bb_str hint)
{
	if (index >= 0 && index < l->count)
		return run_at(r, &l->items[index]);
	return TV(TV_UNDEFINED, .flags = TV_HINT, .len = (uint32_t)hint.len, .p = hint.p);
}

static struct tvalue loop_attr(struct trun *r, struct tloop *l, enum loop_attr attr)
{
	switch (attr) {
	case LOOP_INDEX: return tv_int((int64_t)l->index + 1);
	case LOOP_INDEX0: return tv_int(l->index);
	case LOOP_REVINDEX: return tv_int((int64_t)l->count - l->index);
	case LOOP_REVINDEX0: return tv_int((int64_t)l->count - l->index - 1);
	case LOOP_FIRST: return tv_bool(l->index == 0);
	case LOOP_LAST: return tv_bool(l->index + 1 >= l->count);
	case LOOP_LENGTH: return tv_int(l->count);
	case LOOP_PREVITEM:
		return loop_item(r, l, (int64_t)l->index - 1, BB_STR("there is no previous item"));
	case LOOP_NEXTITEM:
		return loop_item(r, l, (int64_t)l->index + 1, BB_STR("there is no next item"));
	case LOOP_DEPTH: return tv_int((int64_t)l->depth + 1);
	case LOOP_DEPTH0: return tv_int(l->depth);
	case LOOP_CYCLE:
		return bind_method(r, TV(TV_LOOP, .loop = l),
				   method_find(TV_LOOP, BB_STR("cycle")));
	case LOOP_CHANGED:
		return bind_method(r, TV(TV_LOOP, .loop = l),
				   method_find(TV_LOOP, BB_STR("changed")));
	case LOOP_NONE: break;
	}
	return TV(TV_MISSING);
}

static enum loop_attr loop_attr_of(struct bb_str name)
{
#define X(attr, text)                                                                              \
	if (bb_str_eq(name, BB_STR(text)))                                                         \
		return LOOP_##attr;
	LOOP_ATTRS(X)
#undef X
	return LOOP_NONE;
}

void attr_resolve(struct bb_str name, struct tattr *out)
{
	*out = (struct tattr){
		.name = name,
		.of_str = method_find(TV_STR, name),
		.of_list = method_find(TV_LIST, name),
		.of_dict = method_find(TV_DICT, name),
		.loop = (uint8_t)loop_attr_of(name),
		.list_unsafe = method_is_unsafe(TV_LIST, name),
		.dict_unsafe = method_is_unsafe(TV_DICT, name),
		.is_private = name.len > 1 && name.p[0] == '_' && name.p[1] == '_',
		.is_short = name.len <= 16,
		.mark = tv_key_mark(name.p, name.len),
	};
	out->is_plain = !out->of_dict && !out->dict_unsafe && !out->is_private;
}

/* What Python's getattr() finds; TV_MISSING: nothing. */
static struct tvalue plain_attr(struct trun *r, struct tvalue object, const struct tattr *a)
{
	if (object.type == TV_LOOP)
		return loop_attr(r, object.loop, (enum loop_attr)a->loop);
	if (object.type == TV_NAMESPACE) {
		struct tvalue *const v = tdict_find_str(object.dict, a->name);
		return v ? run_at(r, v) : TV(TV_MISSING);
	}
	if (object.type == TV_MACRO && bb_str_eq(a->name, BB_STR("name")))
		return tv_str(object.macro->def->name);
	if (object.type == TV_CYCLER && bb_str_eq(a->name, BB_STR("current")))
		return run_at(r, &object.cycler->items->items[object.cycler->at]);
	return bound_method(r, object, a);
}

struct tvalue op_attr(struct trun *r, struct tvalue object, const struct tattr *a)
{
	if (object.type == TV_LOOP && a->loop)
		return loop_attr(r, object.loop, (enum loop_attr)a->loop);
	if (object.type == TV_UNDEFINED)
		return run_undefined(r, object);
	const struct tvalue v = plain_attr(r, object, a);
	if (v.type != TV_MISSING)
		return v;
	if (object.type == TV_DICT) {
		struct tvalue *const found = tdict_find_str(object.dict, a->name);
		if (found)
			return run_at(r, found);
	}
	return undefined_in(object, a->name, 0);
}

struct tvalue op_attr_named(struct trun *r, struct tvalue object, struct bb_str name)
{
	struct tattr a;

	r->steps += 8;
	attr_resolve(name, &a);
	return op_attr(r, object, &a);
}

/* ---- items ---- */

static struct tvalue str_item(struct tvalue s, int64_t index)
{
	const int64_t count = tv_str_len(s);

	if (index < 0)
		index += count;
	if (index < 0 || index >= count)
		return TV(TV_MISSING);
	const size_t at = tv_is_ascii(&s) ? (size_t)index : chars_offset(tv_text(s), (size_t)index);
	return run_part(s, (struct bb_str){ s.p + at, chars_size(s.p[at]) });
}

static struct tvalue seq_item(struct trun *r, const struct tseq *s, int64_t index)
{
	if (index < 0)
		index += s->count;
	if (index < 0 || index >= s->count)
		return TV(TV_MISSING);
	return run_at(r, &s->items[index]);
}

/* object[index] as Python has it; TV_MISSING: there is nothing. */
static struct tvalue plain_item(struct trun *r, struct tvalue object, struct tvalue index)
{
	if (object.type == TV_DICT) {
		if (index.type == TV_STR && !run_charge_bytes(r, index.len))
			return TV(TV_FAIL);
		struct tvalue *const v =
			tv_is_hashable(index) ? tdict_find(object.dict, index) : NULL;
		return v ? run_at(r, v) : TV(TV_MISSING);
	}
	if (!tv_is_integer(index))
		return TV(TV_MISSING);
	if (object.type == TV_STR)
		return run_charge_bytes(r, object.len) ? str_item(object, index.i) : TV(TV_FAIL);
	if (object.type == TV_LIST || object.type == TV_TUPLE || object.type == TV_RANGE)
		return seq_item(r, object.seq, index.i);
	return TV(TV_MISSING);
}

struct tvalue op_item(struct trun *r, struct tvalue object, struct tvalue index,
		      const struct tattr *attr)
{
	struct tattr own;

	if (object.type == TV_UNDEFINED)
		return run_undefined(r, object);
	struct tvalue v = plain_item(r, object, index);
	if (v.type != TV_MISSING)
		return v;
	if (index.type == TV_STR) {
		if (!attr) {
			r->steps += 8; /* the name is looked up in several tables */
			attr_resolve(tv_text(index), &own);
			attr = &own;
		}
		v = plain_attr(r, object, attr);
		return v.type != TV_MISSING ? v : undefined_in(object, tv_text(index), 0);
	}
	if (tv_is_integer(index))
		return TV(TV_UNDEFINED, .flags = TV_INDEX, .aux = object.type, .i = index.i);
	return undefined_in(object, BB_STR("?"), 0);
}

/* ---- slices ---- */

static bool slice_bound(struct trun *r, struct tvalue v, int64_t missing, int64_t *out)
{
	*out = missing;
	if (v.type == TV_MISSING || v.type == TV_NONE)
		return true;
	if (v.type == TV_UNDEFINED || !tv_is_integer(v)) {
		run_invalid(r, "slice indices must be integers or None");
		return false;
	}
	*out = v.i;
	return true;
}

struct slice {
	int64_t start, count, step;
};

/* As Python's slice.indices(). */
static bool slice_indices(struct trun *r, const struct tvalue bounds[3], int64_t length,
			  struct slice *out)
{
	int64_t start, stop, step;

	if (!slice_bound(r, bounds[2], 1, &step))
		return false;
	if (step == 0) {
		run_invalid(r, "slice step cannot be zero");
		return false;
	}
	if (step < -INT64_MAX)
		step = -INT64_MAX;
	const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
	if (!slice_bound(r, bounds[0], step < 0 ? INT64_MAX : INT64_MIN, &start) ||
	    !slice_bound(r, bounds[1], step < 0 ? INT64_MIN : INT64_MAX, &stop))
		return false;
	const bool is_open_stop = bounds[1].type == TV_MISSING || bounds[1].type == TV_NONE;
	const bool is_open_start = bounds[0].type == TV_MISSING || bounds[0].type == TV_NONE;
	if (start < 0 && !is_open_start)
		start += length;
	if (stop < 0 && !is_open_stop)
		stop += length;
	start = start < low ? low : start > high ? high : start;
	stop = stop < low ? low : stop > high ? high : stop;
	out->start = start;
	out->step = step;
	if (step > 0)
		out->count = stop > start ? (stop - start - 1) / step + 1 : 0;
	else
		out->count = start > stop ? (start - stop - 1) / -step + 1 : 0;
	return true;
}

static struct tvalue str_slice(struct trun *r, struct tvalue s, const struct tvalue bounds[3])
{
	const int64_t length = tv_str_len(s);
	const bool ascii = tv_is_ascii(&s);
	struct slice cut;

	if (!run_charge_bytes(r, s.len) || !slice_indices(r, bounds, length, &cut))
		return TV(TV_FAIL);
	if (cut.count == 0)
		return run_part(s, (struct bb_str){ s.p, 0 });
	if (cut.step == 1) {
		const size_t from =
			ascii ? (size_t)cut.start : chars_offset(tv_text(s), (size_t)cut.start);
		const struct bb_str rest = bb_str_skip(tv_text(s), from);
		const size_t len =
			ascii ? (size_t)cut.count : chars_offset(rest, (size_t)cut.count);
		return run_part(s, (struct bb_str){ rest.p, len });
	}
	struct tseq chars;
	char *const p = run_alloc(r, s.len + 1);
	size_t len = 0;
	if (!p || !run_items(r, s, &chars))
		return TV(TV_FAIL);
	for (int64_t i = 0; i < cut.count; i++) {
		const struct tvalue c = chars.items[cut.start + i * cut.step];
		memcpy(p + len, c.p, c.len);
		len += c.len;
	}
	return run_part(s, (struct bb_str){ p, len });
}

static struct tvalue seq_slice(struct trun *r, struct tvalue v, const struct tvalue bounds[3])
{
	const struct tseq *const from = v.seq;
	struct slice cut;

	if (!slice_indices(r, bounds, from->count, &cut))
		return TV(TV_FAIL);
	struct tseq *const s = run_seq(r, cut.step == 1 ? 0 : (size_t)cut.count);
	if (!s)
		return TV(TV_FAIL);
	if (cut.step == 1) {
		/* Lists never change: a part of one is the same items. */
		s->items = from->items + (cut.count ? cut.start : 0);
		s->count = (uint32_t)cut.count;
	} else {
		for (int64_t i = 0; i < cut.count; i++)
			s->items[s->count++] = from->items[cut.start + i * cut.step];
	}
	return TV(v.type == TV_RANGE ? TV_LIST : v.type, .seq = s);
}

struct tvalue op_slice(struct trun *r, struct tvalue object, const struct tvalue bounds[3])
{
	if (object.type == TV_UNDEFINED)
		return run_undefined(r, object);
	for (int i = 0; i < 3; i++)
		if (bounds[i].type == TV_UNDEFINED)
			return run_invalid(r, "slice indices must be integers or None");
	if (object.type == TV_STR)
		return str_slice(r, object, bounds);
	if (object.type == TV_LIST || object.type == TV_TUPLE || object.type == TV_RANGE)
		return seq_slice(r, object, bounds);
	return run_invalid(r, "'%s' object cannot be sliced", tv_type_name(object.type));
}
