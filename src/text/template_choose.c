/* Filters that take filters and tests: map, select, groupby and the like; and the tests. */
#include "text/template_chars.h"
#include "text/template_filters.h"

/* ---- map ---- */

static const struct tkeyword *keyword(const struct targs *given, const char *name)
{
	for (uint32_t i = 0; i < given->keyword_count; i++)
		if (bb_str_eq(given->keywords[i].name, bb_str_of(name)))
			return &given->keywords[i];
	return NULL;
}

static struct tvalue attr_or(struct trun *r, struct tvalue item, struct tvalue path,
			     struct tvalue fallback)
{
	const struct tvalue v = attr_path(r, item, path);

	return v.type == TV_UNDEFINED && fallback.type != TV_NONE ? fallback : v;
}

static const struct tfunction *named_filter(struct trun *r, const struct targs *given)
{
	if (!given->count || given->list[0].type != TV_STR) {
		run_invalid(r, "map requires a filter argument");
		return NULL;
	}
	const struct tfilter *const f = filter_find(tv_text(given->list[0]));
	if (!f)
		run_invalid(r, "there is no filter named '%.*s'", BB_ARG(tv_text(given->list[0])));
	return f ? &f->f : NULL;
}

static struct tseq *map_items(struct trun *r, struct tvalue v, const struct targs *given)
{
	const struct tkeyword *const attribute = given->count ? NULL : keyword(given, "attribute");
	const struct tkeyword *const fallback = keyword(given, "default");
	const struct tfunction *f = NULL;
	struct tseq items;

	if (!tv_truth(v))
		return run_seq(r, 0);
	if (!run_items(r, v, &items) || (!attribute && !(f = named_filter(r, given))))
		return NULL;
	if (attribute && given->keyword_count > 1u + (fallback != NULL)) {
		run_invalid(r, "map got an unexpected keyword argument");
		return NULL;
	}
	struct tseq *const s = run_seq(r, items.count);
	struct targs rest = *given;
	if (!attribute) {
		rest.list++;
		rest.count--;
	}
	for (uint32_t i = 0; s && i < items.count; i++) {
		struct tvalue item = run_at(r, &items.items[i]);
		if (!is_fail(item))
			item = attribute ? attr_or(r, item, attribute->value,
						   fallback ? fallback->value : TV(TV_NONE))
					 : call_function(r, f, item, &rest);
		if (is_fail(item))
			return NULL;
		s->items[s->count++] = item;
	}
	return s;
}

static struct tvalue filter_map(struct trun *r, struct tvalue v, const struct targs *given)
{
	return run_iter(r, map_items(r, v, given));
}

/* ---- select and reject ---- */

struct choice {
	struct tvalue path; /* TV_NONE: the item itself */
	const struct tfunction *test;
	struct targs args;
	bool wanted;
};

static bool choice_init(struct trun *r, const struct targs *given, int by_attr, struct choice *c)
{
	uint32_t at = 0;

	c->path = TV(TV_NONE);
	c->test = NULL;
	c->args = *given;
	if (by_attr) {
		if (!given->count) {
			run_invalid(r, "Missing parameter for attribute name");
			return false;
		}
		c->path = given->list[at++];
	}
	if (at < given->count) {
		const struct tvalue name = given->list[at++];
		const struct ttest *const t = name.type == TV_STR ? test_find(tv_text(name)) : NULL;
		if (!t) {
			run_invalid(r, "there is no test named '%.*s'",
				    name.type == TV_STR ? (int)name.len : 0,
				    name.type == TV_STR ? name.p : "");
			return false;
		}
		c->test = &t->f;
	}
	c->args.list += at;
	c->args.count -= at;
	return true;
}

static struct tseq *choose(struct trun *r, struct tvalue v, const struct choice *c)
{
	struct tseq items;

	if (!run_items(r, v, &items))
		return NULL;
	struct tseq *const s = run_seq(r, items.count);
	for (uint32_t i = 0; s && i < items.count; i++) {
		const struct tvalue item = run_at(r, &items.items[i]);
		struct tvalue result = is_fail(item) ? item : attr_path(r, item, c->path);
		if (!is_fail(result) && c->test)
			result = call_function(r, c->test, result, &c->args);
		if (is_fail(result))
			return NULL;
		if (tv_truth(result) == c->wanted)
			s->items[s->count++] = item;
	}
	return s;
}

static struct tvalue choose_by(struct trun *r, struct tvalue v, const struct targs *given,
			       int by_attr, int wanted)
{
	struct choice c = { .wanted = wanted };

	if (!tv_truth(v))
		return run_iter(r, run_seq(r, 0));
	return run_iter(r, choice_init(r, given, by_attr, &c) ? choose(r, v, &c) : NULL);
}

static struct tvalue filter_select(struct trun *r, struct tvalue v, const struct targs *given)
{
	return choose_by(r, v, given, 0, 1);
}

static struct tvalue filter_reject(struct trun *r, struct tvalue v, const struct targs *given)
{
	return choose_by(r, v, given, 0, 0);
}

static struct tvalue filter_selectattr(struct trun *r, struct tvalue v, const struct targs *given)
{
	return choose_by(r, v, given, 1, 1);
}

static struct tvalue filter_rejectattr(struct trun *r, struct tvalue v, const struct targs *given)
{
	return choose_by(r, v, given, 1, 0);
}

/* ---- groupby ---- */

static bool keys_of(struct trun *r, struct tseq *items, struct tvalue *args, struct tseq *keys)
{
	for (uint32_t i = 0; i < items->count; i++) {
		const struct tvalue item = run_at(r, &items->items[i]);
		struct tvalue key =
			is_fail(item) ? item
				      : attr_or(r, item, args[0], arg_or(args[1], TV(TV_NONE)));
		if (!is_fail(key) && !tv_truth(args[2]))
			key = ignore_case(r, key);
		if (is_fail(key))
			return false;
		keys->items[i] = key;
		items->items[i] = item;
	}
	keys->count = items->count;
	return true;
}

/* (what they have in common, [items]); the first item's own spelling of it. */
static struct tvalue group_of(struct trun *r, struct tvalue *args, struct tvalue *items,
			      uint32_t count)
{
	struct tseq *const pair = run_seq(r, 2), *const list = run_seq(r, count);

	if (!pair || !list)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < count; i++)
		list->items[list->count++] = items[i];
	pair->items[0] = attr_or(r, items[0], args[0], arg_or(args[1], TV(TV_NONE)));
	pair->items[1] = TV(TV_LIST, .seq = list);
	pair->count = 2;
	return is_fail(pair->items[0]) ? TV(TV_FAIL) : TV(TV_TUPLE, .seq = pair);
}

static struct tvalue filter_groupby(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tseq from;

	if (!run_items(r, v, &from))
		return TV(TV_FAIL);
	struct tseq *const items = run_seq(r, from.count), *const keys = run_seq(r, from.count);
	struct tseq *const groups = run_seq(r, from.count);
	if (!items || !keys || !groups)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < from.count; i++)
		items->items[items->count++] = from.items[i];
	if (!keys_of(r, items, args, keys) || !sort_by_keys(r, items, keys->items, 0) ||
	    !keys_of(r, items, args, keys))
		return TV(TV_FAIL);
	for (uint32_t at = 0, end; at < items->count; at = end) {
		for (end = at + 1; end < items->count; end++)
			if (tv_equal(&r->mem, keys->items[at], keys->items[end], 0) != 1)
				break;
		const struct tvalue group = group_of(r, args, items->items + at, end - at);
		if (is_fail(group))
			return group;
		groups->items[groups->count++] = group;
	}
	return TV(TV_LIST, .seq = groups);
}

static const struct tfilter filter_rows[] = {
	{ { "groupby", "attribute default case_sensitive", 1, 3, filter_groupby, NULL } },
	{ { "map", NULL, 0, 0, NULL, filter_map } },
	{ { "reject", NULL, 0, 0, NULL, filter_reject } },
	{ { "rejectattr", NULL, 0, 0, NULL, filter_rejectattr } },
	{ { "select", NULL, 0, 0, NULL, filter_select } },
	{ { "selectattr", NULL, 0, 0, NULL, filter_selectattr } },
};
const struct filter_table filters_choose = { filter_rows,
					     sizeof(filter_rows) / sizeof(filter_rows[0]) };

/* ---- tests ---- */

#define TEST(name, expression)                                                                     \
	static struct tvalue test_##name(struct trun *r, struct tvalue v, struct tvalue *args)     \
	{                                                                                          \
		return tv_bool(expression);                                                        \
	}

TEST(defined, v.type != TV_UNDEFINED)
TEST(undefined, v.type == TV_UNDEFINED)
TEST(none, v.type == TV_NONE)
TEST(boolean, v.type == TV_BOOL)
TEST(true, v.type == TV_BOOL && v.i)
TEST(false, v.type == TV_BOOL && !v.i)
TEST(integer, v.type == TV_INT || v.type == TV_BIG)
TEST(float, v.type == TV_FLOAT)
TEST(number, tv_is_number(v))
TEST(string, v.type == TV_STR)
TEST(mapping, v.type == TV_DICT)
TEST(sequence, v.type == TV_STR || v.type == TV_LIST || v.type == TV_TUPLE || v.type == TV_RANGE ||
		       v.type == TV_DICT || v.type == TV_UNDEFINED)
TEST(iterable, v.type == TV_STR || tv_is_seq(v) || v.type == TV_DICT || v.type == TV_UNDEFINED ||
		       v.type == TV_LOOP)
TEST(callable, (v.type >= TV_MACRO && v.type <= TV_FUNC) || v.type == TV_JOINER ||
		       v.type == TV_LOOP || v.type == TV_UNDEFINED)
TEST(escaped, v.type == TV_STR && (v.flags & TV_MARKUP))

/* Python looks the name up in a dict, so it must be something that can be a key. */
static struct tvalue is_known(struct trun *r, struct tvalue name, int found)
{
	if (!tv_is_hashable(name))
		return run_invalid(r, "unhashable type: '%s'", tv_type_name(name.type));
	return tv_bool(found);
}

static struct tvalue test_filter(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return is_known(r, v, v.type == TV_STR && filter_find(tv_text(v)));
}

static struct tvalue test_test(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return is_known(r, v, v.type == TV_STR && test_find(tv_text(v)));
}

static struct tvalue test_sameas(struct trun *r, struct tvalue v, struct tvalue *args)
{
	if (v.type != args[0].type)
		return tv_bool(0);
	if (v.type == TV_NONE)
		return tv_bool(1);
	return tv_bool(v.type == TV_STR ? v.p == args[0].p && v.len == args[0].len
					: v.i == args[0].i);
}

static struct tvalue compared(struct trun *r, enum binary_op op, struct tvalue v, struct tvalue arg)
{
	const int rc = op_compare(r, op, v, arg);

	return rc < 0 ? TV(TV_FAIL) : tv_bool(rc);
}

#define COMPARE(name, op)                                                                          \
	static struct tvalue test_##name(struct trun *r, struct tvalue v, struct tvalue *args)     \
	{                                                                                          \
		return compared(r, op, v, args[0]);                                                \
	}

COMPARE(eq, OP_EQ)
COMPARE(ne, OP_NE)
COMPARE(lt, OP_LT)
COMPARE(le, OP_LE)
COMPARE(gt, OP_GT)
COMPARE(ge, OP_GE)
COMPARE(in, OP_IN)

static struct tvalue divisible(struct trun *r, struct tvalue v, struct tvalue by, int64_t rest)
{
	const struct tvalue modulo = op_binary(r, OP_MOD, v, by);

	if (is_fail(modulo))
		return modulo;
	return compared(r, OP_EQ, modulo, tv_int(rest));
}

static struct tvalue test_odd(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return divisible(r, v, tv_int(2), 1);
}

static struct tvalue test_even(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return divisible(r, v, tv_int(2), 0);
}

static struct tvalue test_divisibleby(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return divisible(r, v, args[0], 0);
}

static struct tvalue str_test(struct trun *r, struct tvalue v, const char *method)
{
	const struct targs none = { .count = 0 };
	struct tvalue s;

	return run_str(r, v, &s)
		       ? call_function(r, method_find(TV_STR, bb_str_of(method)), s, &none)
		       : TV(TV_FAIL);
}

static struct tvalue test_lower(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return str_test(r, v, "islower");
}

static struct tvalue test_upper(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return str_test(r, v, "isupper");
}

#define ROW0(name)                                                                                 \
	{                                                                                          \
		{                                                                                  \
#name, "", 0, 0, test_##name, NULL                                         \
		}                                                                                  \
	}
#define ROW1(text, name)                                                                           \
	{                                                                                          \
		{                                                                                  \
			text, "other", 1, 1, test_##name, NULL                                     \
		}                                                                                  \
	}

static const struct ttest test_rows[] = {
	ROW0(defined),
	ROW0(undefined),
	ROW0(none),
	ROW0(string),
	ROW0(mapping),
	ROW0(boolean),
	ROW0(true),
	ROW0(false),
	ROW0(integer),
	ROW0(float),
	ROW0(number),
	ROW0(sequence),
	ROW0(iterable),
	ROW0(callable),
	ROW0(escaped),
	ROW0(odd),
	ROW0(even),
	ROW0(lower),
	ROW0(upper),
	ROW0(filter),
	ROW0(test),
	ROW1("==", eq),
	ROW1("eq", eq),
	ROW1("equalto", eq),
	ROW1("!=", ne),
	ROW1("ne", ne),
	ROW1("<", lt),
	ROW1("lt", lt),
	ROW1("lessthan", lt),
	ROW1("<=", le),
	ROW1("le", le),
	ROW1(">", gt),
	ROW1("gt", gt),
	ROW1("greaterthan", gt),
	ROW1(">=", ge),
	ROW1("ge", ge),
	ROW1("in", in),
	ROW1("sameas", sameas),
	{ { "divisibleby", "num", 1, 1, test_divisibleby, NULL } },
};

const struct ttest *test_find(struct bb_str name)
{
	return call_find(test_rows, sizeof(test_rows) / sizeof(test_rows[0]), sizeof(test_rows[0]),
			 name);
}
