/* Methods of lists, dicts, loops and cyclers, and the global functions: template_methods.h. */
#include <stdlib.h>

#include "text/template_filters.h"
#include "text/template_lex.h"
#include "text/template_methods.h"

/* ---- list, tuple, range ---- */

static struct tvalue list_count(struct trun *r, struct tvalue self, struct tvalue *args)
{
	int64_t count = 0;

	if (!run_charge(r, self.seq->count))
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < self.seq->count; i++) {
		const int same = op_compare(r, OP_EQ, self.seq->items[i], args[0]);
		if (same < 0)
			return TV(TV_FAIL);
		count += same;
	}
	return tv_int(count);
}

static struct tvalue list_index(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const int64_t length = self.seq->count;
	int64_t from, to;

	if (!arg_int(r, args[1], 0, &from) || !arg_int(r, args[2], length, &to) ||
	    !run_charge(r, self.seq->count))
		return TV(TV_FAIL);
	from = from < 0 ? from + length : from;
	to = to < 0 ? to + length : to > length ? length : to;
	for (int64_t i = from < 0 ? 0 : from; i < to; i++) {
		const int same = op_compare(r, OP_EQ, self.seq->items[i], args[0]);
		if (same < 0)
			return TV(TV_FAIL);
		if (same)
			return tv_int(i);
	}
	return run_invalid(r, "the value is not in the %s", tv_type_name(self.type));
}

static struct tvalue list_copy(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return self;
}

static const struct tfunction list_rows[] = {
	{ "count", "value", 1, 1, list_count, NULL },
	{ "index", "value start stop", 1, 3, list_index, NULL },
	{ "copy", "", 0, 0, list_copy, NULL },
};
const struct method_table methods_list = { list_rows, sizeof(list_rows) / sizeof(list_rows[0]) };

/* ---- dict ---- */

static struct tvalue dict_get(struct trun *r, struct tvalue self, struct tvalue *args)
{
	if (!tv_is_hashable(args[0]))
		return run_invalid(r, "unhashable type: '%s'", tv_type_name(args[0].type));
	if (args[0].type == TV_STR && !run_charge_bytes(r, args[0].len))
		return TV(TV_FAIL);
	struct tvalue *const v = tdict_find(self.dict, args[0]);
	return v ? run_at(r, v) : arg_or(args[1], TV(TV_NONE));
}

static struct tvalue dict_view(struct trun *r, struct tvalue self, enum tv_type type)
{
	struct tdict *const d = self.dict;
	struct tseq *const s = run_seq(r, d->count);

	for (uint32_t i = 0; s && i < d->count; i++) {
		struct tvalue item = d->pairs[i].key;
		if (type != TV_KEYS)
			item = run_at(r, &d->pairs[i].value);
		if (type == TV_ITEMS && !r->rc) {
			struct tseq *const pair = run_seq(r, 2);
			if (pair) {
				pair->items[0] = d->pairs[i].key;
				pair->items[1] = item;
				pair->count = 2;
			}
			item = TV(TV_TUPLE, .seq = pair);
		}
		if (r->rc)
			return TV(TV_FAIL);
		s->items[s->count++] = item;
	}
	return s ? TV(type, .seq = s) : TV(TV_FAIL);
}

static struct tvalue dict_keys(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return dict_view(r, self, TV_KEYS);
}

static struct tvalue dict_values(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return dict_view(r, self, TV_VALUES);
}

static struct tvalue dict_items(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return dict_view(r, self, TV_ITEMS);
}

static struct tvalue dict_copy(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return self;
}

static const struct tfunction dict_rows[] = {
	{ "get", "key default", 1, 2, dict_get, NULL }, { "items", "", 0, 0, dict_items, NULL },
	{ "keys", "", 0, 0, dict_keys, NULL },		{ "values", "", 0, 0, dict_values, NULL },
	{ "copy", "", 0, 0, dict_copy, NULL },
};
const struct method_table methods_dict = { dict_rows, sizeof(dict_rows) / sizeof(dict_rows[0]) };

/* ---- loop ---- */

static struct tvalue loop_cycle(struct trun *r, struct tvalue self, const struct targs *given)
{
	if (!given->count)
		return run_invalid(r, "no items for cycling given");
	return given->list[self.loop->index % given->count];
}

static struct tvalue loop_changed(struct trun *r, struct tvalue self, const struct targs *given)
{
	struct tloop *const l = self.loop;
	struct tseq *const now = run_seq(r, given->count);

	if (!now)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < given->count; i++)
		now->items[now->count++] = given->list[i];
	const struct tvalue v = TV(TV_TUPLE, .seq = now);
	if (l->changed.type != TV_MISSING && tv_equal(&r->mem, l->changed, v, 0) == 1)
		return tv_bool(0);
	l->changed = v;
	return tv_bool(1);
}

static const struct tfunction loop_rows[] = {
	{ "cycle", NULL, 0, 0, NULL, loop_cycle },
	{ "changed", NULL, 0, 0, NULL, loop_changed },
};
const struct method_table methods_loop = { loop_rows, sizeof(loop_rows) / sizeof(loop_rows[0]) };

/* ---- cycler ---- */

static struct tvalue cycler_next(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct tcycler *const c = self.cycler;
	const struct tvalue v = c->items->items[c->at];

	c->at = (c->at + 1) % c->items->count;
	return v;
}

static struct tvalue cycler_reset(struct trun *r, struct tvalue self, struct tvalue *args)
{
	self.cycler->at = 0;
	return TV(TV_NONE);
}

static const struct tfunction cycler_rows[] = {
	{ "next", "", 0, 0, cycler_next, NULL },
	{ "reset", "", 0, 0, cycler_reset, NULL },
};
const struct method_table methods_cycler = { cycler_rows,
					     sizeof(cycler_rows) / sizeof(cycler_rows[0]) };

/* ---- global functions ---- */

/* The message of a template is given as it is: clients see it. */
static struct tvalue raise_exception(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct tvalue text;

	if (!run_str(r, args[0], &text))
		return TV(TV_FAIL);
	text_error_set(r->e, "%.*s", BB_ARG(tv_text(text)));
	if (r->raised && bb_buf_add_str(r->raised, tv_text(text)))
		return run_nomem(r);
	r->rc = -BB_EINVALID;
	return TV(TV_FAIL);
}

static struct tvalue strftime_now(struct trun *r, struct tvalue self, struct tvalue *args)
{
	char format[256], text[1024];
	struct bb_str wanted;
	struct tm local;

	if (!arg_str(r, args[0], &wanted))
		return TV(TV_FAIL);
	if (wanted.len >= sizeof(format) || memchr(wanted.p, '\0', wanted.len))
		return run_fail(r, -BB_ELIMIT,
				"strftime_now() takes a format of at most 255 bytes");
	memcpy(format, wanted.p, wanted.len);
	format[wanted.len] = '\0';
	if (!localtime_r(&r->now, &local))
		return run_invalid(r, "the time cannot be told");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	const size_t len = strftime(text, sizeof(text), format, &local);
#pragma GCC diagnostic pop
	return run_copy(r, (struct bb_str){ text, len });
}

/* dict(other, a=1) and namespace(other, a=1) */
static struct tvalue make_dict(struct trun *r, const struct targs *given, enum tv_type type)
{
	struct tdict *const d = run_dict(r, given->keyword_count + 4u);
	struct tseq items;

	if (!d)
		return TV(TV_FAIL);
	if (given->count > 1)
		return run_invalid(r, "dict expected at most 1 argument, got %u", given->count);
	const struct tvalue from = given->count ? given->list[0] : TV(TV_UNDEFINED);
	if (from.type == TV_DICT) {
		for (uint32_t i = 0; i < from.dict->count; i++)
			if (!run_put(r, d, from.dict->pairs[i].key, from.dict->pairs[i].value))
				return TV(TV_FAIL);
	} else {
		if (!run_items(r, from, &items))
			return TV(TV_FAIL);
		for (uint32_t i = 0; i < items.count; i++) {
			struct tseq pair = { NULL, 0 };
			if (!run_items(r, run_at(r, &items.items[i]), &pair))
				return TV(TV_FAIL);
			if (pair.count != 2)
				return run_invalid(r, "dict() takes pairs, and one has length %u",
						   pair.count);
			if (!run_put(r, d, run_at(r, &pair.items[0]), run_at(r, &pair.items[1])))
				return TV(TV_FAIL);
		}
	}
	for (uint32_t i = 0; i < given->keyword_count; i++)
		if (!run_put(r, d, tv_str(given->keywords[i].name), given->keywords[i].value))
			return TV(TV_FAIL);
	return TV(type, .dict = d);
}

static struct tvalue global_dict(struct trun *r, struct tvalue self, const struct targs *given)
{
	return make_dict(r, given, TV_DICT);
}

static struct tvalue global_namespace(struct trun *r, struct tvalue self, const struct targs *given)
{
	return make_dict(r, given, TV_NAMESPACE);
}

static struct tvalue global_range(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const bool one = args[1].type == TV_MISSING;
	int64_t start, stop, step;

	if (!arg_int(r, one ? TV(TV_MISSING) : args[0], 0, &start) ||
	    !arg_int(r, one ? args[0] : args[1], 0, &stop) || !arg_int(r, args[2], 1, &step))
		return TV(TV_FAIL);
	if (step == 0 || step == INT64_MIN)
		return run_invalid(r, "range() arg 3 must not be zero");
	uint64_t count = 0;
	if (step > 0 && start < stop)
		count = ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step + 1;
	else if (step < 0 && start > stop)
		count = ((uint64_t)start - (uint64_t)stop - 1) / (uint64_t)-step + 1;
	if (count > TEMPLATE_RANGE_MAX)
		return run_invalid(r,
				   "Range too big. The sandbox blocks ranges larger than "
				   "MAX_RANGE (%d).",
				   TEMPLATE_RANGE_MAX);
	struct trange *const range = run_alloc(r, sizeof(*range) + count * sizeof(struct tvalue));
	if (!range || !run_charge(r, count))
		return TV(TV_FAIL);
	*range = (struct trange){ .seq = { (struct tvalue *)(range + 1), (uint32_t)count },
				  .start = start,
				  .stop = stop,
				  .step = step };
	for (uint64_t i = 0; i < count; i++)
		range->seq.items[i] = tv_int(start + (int64_t)i * step);
	return TV(TV_RANGE, .seq = &range->seq);
}

static struct tvalue global_cycler(struct trun *r, struct tvalue self, const struct targs *given)
{
	struct tcycler *const c = run_alloc(r, sizeof(*c));
	struct tseq *const s = run_seq(r, given->count);

	if (!c || !s)
		return TV(TV_FAIL);
	if (!given->count)
		return run_invalid(r, "at least one item has to be provided");
	for (uint32_t i = 0; i < given->count; i++)
		s->items[s->count++] = given->list[i];
	*c = (struct tcycler){ s, 0 };
	return TV(TV_CYCLER, .cycler = c);
}

static struct tvalue global_joiner(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct tjoiner *const j = run_alloc(r, sizeof(*j));

	if (!j)
		return TV(TV_FAIL);
	*j = (struct tjoiner){ .separator = arg_or(args[0], tv_lit(", ")) };
	return TV(TV_JOINER, .joiner = j);
}

static const struct tfunction function_rows[] = {
	{ "raise_exception", "message", 1, 1, raise_exception, NULL },
	{ "strftime_now", "format", 1, 1, strftime_now, NULL },
	{ "namespace", NULL, 0, 0, NULL, global_namespace },
	{ "range", "start stop step", 1, 3, global_range, NULL },
	{ "dict", NULL, 0, 0, NULL, global_dict },
	{ "cycler", NULL, 0, 0, NULL, global_cycler },
	{ "joiner", "sep", 0, 1, global_joiner, NULL },
};

const struct tfunction *function_find(struct bb_str name)
{
	return call_find(function_rows, sizeof(function_rows) / sizeof(function_rows[0]),
			 sizeof(function_rows[0]), name);
}
