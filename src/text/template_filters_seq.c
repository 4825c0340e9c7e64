/* Filters on sequences: template_filters.h. */
#include <stdlib.h>

#include "text/template_chars.h"
#include "text/template_filters.h"

/* ---- keys ---- */

static bool is_number(struct bb_str s)
{
	if (!s.len || s.len > 9)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

struct tvalue attr_path(struct trun *r, struct tvalue v, struct tvalue path)
{
	if (path.type == TV_NONE || path.type == TV_MISSING)
		return v;
	if (path.type != TV_STR)
		return op_item(r, v, path, NULL);
	struct bb_str rest = tv_text(path);
	const char *const end = rest.p + rest.len;
	for (;;) {
		const struct bb_str part = bb_str_cut(&rest, '.');
		struct tvalue index = tv_str(part);
		if (is_number(part)) {
			uint64_t n = 0;
			if (bb_parse_u64(part, &n))
				return run_invalid(r, "an attribute's number is too large");
			index = tv_int((int64_t)n);
		}
		v = op_item(r, v, index, NULL);
		if (is_fail(v) || part.p + part.len == end)
			return v;
	}
}

struct tvalue ignore_case(struct trun *r, struct tvalue v)
{
	const struct targs none = { .count = 0 };

	if (v.type != TV_STR)
		return v;
	return call_function(r, method_find(TV_STR, BB_STR("lower")), v, &none);
}

struct tvalue sort_key(struct trun *r, struct tvalue item, struct tvalue path,
		       struct tvalue case_sensitive)
{
	const struct tvalue v = attr_path(r, item, path);

	return is_fail(v) || tv_truth(case_sensitive) ? v : ignore_case(r, v);
}

struct sort_entry {
	struct tvalue key;
	uint32_t index;
};

struct sort_context {
	struct trun *r;
	int sign;
};

static int order_entries(const void *a, const void *b, void *user)
{
	const struct sort_entry *const x = a, *const y = b;
	const struct sort_context *const c = user;
	int order = 0;

	c->r->steps++;
	if (!c->r->rc && !tv_order(&c->r->mem, x->key, y->key, 0, &order)) {
		if (x->key.type == TV_UNDEFINED || y->key.type == TV_UNDEFINED)
			run_undefined(c->r, x->key.type == TV_UNDEFINED ? x->key : y->key);
		else if (!tv_is_number(x->key) || !tv_is_number(y->key))
			run_invalid(c->r, "'<' not supported between instances of '%s' and '%s'",
				    tv_type_name(x->key.type), tv_type_name(y->key.type));
	}
	/* Equal ones keep their order, also when it is reversed. */
	return order ? order * c->sign : (x->index > y->index) - (x->index < y->index);
}

bool sort_by_keys(struct trun *r, struct tseq *items, const struct tvalue *keys, int is_reverse)
{
	struct sort_entry *const entries = run_alloc(r, (items->count + 1) * sizeof(*entries));
	struct tseq *const old = run_seq(r, items->count);
	struct sort_context context = { r, is_reverse ? -1 : 1 };

	if (!entries || !old)
		return false;
	for (uint32_t i = 0; i < items->count; i++) {
		entries[i] = (struct sort_entry){ keys[i], i };
		old->items[i] = items->items[i];
	}
	qsort_r(entries, items->count, sizeof(*entries), order_entries, &context);
	for (uint32_t i = 0; i < items->count; i++)
		items->items[i] = old->items[entries[i].index];
	return !r->rc && run_charge(r, 0);
}

/* A list of its own with v's items, all ready. */
static struct tseq *copy_items(struct trun *r, struct tvalue v)
{
	struct tseq items;

	if (!run_items(r, v, &items))
		return NULL;
	struct tseq *const s = run_seq(r, items.count);
	for (uint32_t i = 0; s && i < items.count; i++) {
		s->items[s->count++] = run_at(r, &items.items[i]);
		if (r->rc)
			return NULL;
	}
	return s;
}

static struct tvalue list_of(struct tseq *s)
{
	return s ? TV(TV_LIST, .seq = s) : TV(TV_FAIL);
}

/* ---- the filters ---- */

struct tvalue length_of(struct trun *r, struct tvalue v)
{
	if (v.type == TV_STR)
		return run_charge_bytes(r, v.len) ? tv_int(tv_str_len(v)) : TV(TV_FAIL);
	if (tv_is_seq(v) && v.type != TV_ITER)
		return tv_int(v.seq->count);
	if (v.type == TV_DICT)
		return tv_int(v.dict->count);
	if (v.type == TV_LOOP)
		return tv_int(v.loop->count);
	if (v.type == TV_UNDEFINED)
		return tv_int(0);
	return run_invalid(r, "object of type '%s' has no len()", tv_type_name(v.type));
}

static struct tvalue filter_length(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return length_of(r, v);
}

static struct tvalue filter_list(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return list_of(copy_items(r, v));
}

static struct tvalue no_item(struct bb_str hint)
{
	return TV(TV_UNDEFINED, .flags = TV_HINT, .len = (uint32_t)hint.len, .p = hint.p);
}

static struct tvalue filter_first(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tseq items;

	if (!run_items(r, v, &items))
		return TV(TV_FAIL);
	return items.count ? run_at(r, &items.items[0])
			   : no_item(BB_STR("No first item, sequence was empty."));
}

static struct tvalue filter_last(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tseq items;

	if (v.type == TV_ITER)
		return run_invalid(r, "'generator' object is not reversible");
	if (!run_items(r, v, &items))
		return TV(TV_FAIL);
	return items.count ? run_at(r, &items.items[items.count - 1])
			   : no_item(BB_STR("No last item, sequence was empty."));
}

static struct tvalue filter_join(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue separator;
	struct tseq items;

	if (!run_str(r, arg_or(args[0], tv_lit("")), &separator) || !run_items(r, v, &items))
		return TV(TV_FAIL);
	const size_t mark = run_mark(r);
	for (uint32_t i = 0; i < items.count; i++) {
		struct tvalue item = run_at(r, &items.items[i]);
		if (is_fail(item))
			return item;
		item = attr_path(r, item, args[1]);
		if (is_fail(item) || (i && !run_print(r, separator)) || !run_print(r, item))
			return TV(TV_FAIL);
	}
	return run_take(r, mark);
}

static struct tvalue filter_reverse(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const struct tvalue backward[3] = { TV(TV_MISSING), TV(TV_MISSING), tv_int(-1) };

	if (v.type == TV_STR)
		return op_slice(r, v, backward);
	struct tseq *const s = copy_items(r, v);
	if (!s)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < s->count / 2; i++) {
		const struct tvalue kept = s->items[i];
		s->items[i] = s->items[s->count - 1 - i];
		s->items[s->count - 1 - i] = kept;
	}
	/* What Python cannot go through backward becomes a list. */
	return TV(v.type == TV_ITER ? TV_LIST : TV_ITER, .seq = s);
}

/* What has no order by itself may still be equal to another, within a list: none and none. */
static struct tvalue in_list(struct trun *r, struct tvalue key)
{
	if (key.type == TV_STR || tv_is_number(key) || is_fail(key))
		return key;
	struct tseq *const s = run_seq(r, 1);
	if (s)
		s->items[s->count++] = key;
	return list_of(s);
}

/* The keys of sort: one attribute path, or several with commas, which make a list. */
static struct tvalue sort_keys_of(struct trun *r, struct tvalue item, struct tvalue path,
				  struct tvalue case_sensitive)
{
	if (path.type != TV_STR || !memchr(path.p, ',', path.len))
		return in_list(r, sort_key(r, item, path, case_sensitive));
	struct tseq *const s = run_seq(r, path.len);
	struct bb_str rest = tv_text(path);
	while (s && rest.len) {
		const struct bb_str one = bb_str_cut(&rest, ',');
		const struct tvalue key = sort_key(r, item, tv_str(one), case_sensitive);
		if (is_fail(key))
			return key;
		s->items[s->count++] = key;
	}
	return list_of(s);
}

static struct tvalue filter_sort(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tseq *const s = copy_items(r, v);
	struct tseq *const keys = s ? run_seq(r, s->count) : NULL;

	if (!keys)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < s->count; i++) {
		keys->items[i] = sort_keys_of(r, s->items[i], args[2], args[1]);
		if (is_fail(keys->items[i]))
			return TV(TV_FAIL);
	}
	return sort_by_keys(r, s, keys->items, tv_truth(args[0])) ? list_of(s) : TV(TV_FAIL);
}

static struct tvalue pair_of(struct trun *r, struct tvalue a, struct tvalue b)
{
	struct tseq *const s = run_seq(r, 2);

	if (!s)
		return TV(TV_FAIL);
	s->items[0] = a;
	s->items[1] = b;
	s->count = 2;
	return TV(TV_TUPLE, .seq = s);
}

static struct tseq *dict_items(struct trun *r, const struct tdict *d)
{
	struct tseq *const s = run_seq(r, d->count);

	for (uint32_t i = 0; s && i < d->count; i++) {
		s->items[s->count] = pair_of(r, d->pairs[i].key, run_at(r, &d->pairs[i].value));
		if (r->rc)
			return NULL;
		s->count++;
	}
	return s;
}

static struct tvalue filter_items(struct trun *r, struct tvalue v, struct tvalue *args)
{
	if (v.type != TV_DICT && v.type != TV_UNDEFINED)
		run_invalid(r, "Can only get item pairs from a mapping.");
	struct tseq *const s = v.type == TV_DICT ? dict_items(r, v.dict) : run_seq(r, 0);
	return run_iter(r, r->rc ? NULL : s);
}

static struct tvalue filter_dictsort(struct trun *r, struct tvalue v, struct tvalue *args)
{
	const struct tvalue by = arg_or(args[1], tv_lit("key"));
	const bool by_value = by.type == TV_STR && bb_str_eq(tv_text(by), BB_STR("value"));

	if (!by_value && (by.type != TV_STR || !bb_str_eq(tv_text(by), BB_STR("key"))))
		return run_invalid(r, "You can only sort by either \"key\" or \"value\"");
	if (v.type == TV_UNDEFINED)
		return run_undefined(r, v);
	if (v.type != TV_DICT)
		return run_invalid(r, "'%s' object has no attribute 'items'", tv_type_name(v.type));
	struct tseq *const s = dict_items(r, v.dict);
	struct tseq *const keys = s ? run_seq(r, s->count) : NULL;
	if (!keys)
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < s->count; i++) {
		const struct tvalue key = s->items[i].seq->items[by_value];
		keys->items[i] = tv_truth(args[0]) ? key : ignore_case(r, key);
		if (is_fail(keys->items[i]))
			return TV(TV_FAIL);
	}
	return sort_by_keys(r, s, keys->items, tv_truth(args[2])) ? list_of(s) : TV(TV_FAIL);
}

static struct tseq *unique_items(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tdict *const seen = run_dict(r, 0);
	struct tseq items;

	if (!seen || !run_items(r, v, &items))
		return NULL;
	struct tseq *const s = run_seq(r, items.count);
	for (uint32_t i = 0; s && i < items.count; i++) {
		const struct tvalue item = run_at(r, &items.items[i]);
		const struct tvalue key =
			is_fail(item) ? item : sort_key(r, item, args[1], args[0]);
		if (is_fail(key))
			return NULL;
		if (tv_is_hashable(key) && tdict_find(seen, key))
			continue;
		if (!run_put(r, seen, key, TV(TV_NONE)))
			return NULL;
		s->items[s->count++] = item;
	}
	return s;
}

static struct tvalue filter_unique(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return run_iter(r, unique_items(r, v, args));
}

static struct tvalue extreme(struct trun *r, struct tvalue v, struct tvalue *args, int sign)
{
	struct tseq items;
	struct tvalue best = no_item(BB_STR("No aggregated item, sequence was empty."));
	struct tvalue best_key = best;

	if (!run_items(r, v, &items))
		return TV(TV_FAIL);
	for (uint32_t i = 0; i < items.count; i++) {
		const struct tvalue item = run_at(r, &items.items[i]);
		const struct tvalue key =
			is_fail(item) ? item : sort_key(r, item, args[1], args[0]);
		if (is_fail(key))
			return key;
		const int better =
			i == 0 ? 1 : op_compare(r, sign < 0 ? OP_LT : OP_GT, key, best_key);
		if (better < 0)
			return TV(TV_FAIL);
		if (better) {
			best = item;
			best_key = key;
		}
	}
	return best;
}

static struct tvalue filter_min(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return extreme(r, v, args, -1);
}

static struct tvalue filter_max(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return extreme(r, v, args, 1);
}

static struct tvalue filter_sum(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tvalue sum = arg_or(args[1], tv_int(0));
	struct tseq items;

	if (!run_items(r, v, &items))
		return TV(TV_FAIL);
	if (sum.type == TV_STR)
		return run_invalid(r, "sum() can't sum strings [use ''.join(seq) instead]");
	for (uint32_t i = 0; i < items.count && !is_fail(sum); i++) {
		struct tvalue item = run_at(r, &items.items[i]);
		item = is_fail(item) ? item : attr_path(r, item, args[0]);
		sum = is_fail(item) ? item : op_add(r, sum, item);
	}
	return sum;
}

static struct tseq *batch_items(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tseq *const all = copy_items(r, v);
	int64_t size;

	if (!all || !arg_int(r, args[0], 1, &size))
		return NULL;
	if (size < 1 || size > TEMPLATE_RANGE_MAX)
		return run_invalid(r, "batch() needs a size of 1 ... %d", TEMPLATE_RANGE_MAX), NULL;
	struct tseq *const s = run_seq(r, all->count / (size_t)size + 1);
	const bool is_filled = args[1].type != TV_MISSING && args[1].type != TV_NONE;
	for (uint32_t at = 0; s && at < all->count; at += (uint32_t)size) {
		struct tseq *const part = run_seq(r, (size_t)size);
		if (!part)
			return NULL;
		while (part->count < size && at + part->count < all->count) {
			part->items[part->count] = all->items[at + part->count];
			part->count++;
		}
		while (is_filled && part->count < size)
			part->items[part->count++] = args[1];
		s->items[s->count++] = TV(TV_LIST, .seq = part);
	}
	return s;
}

static struct tseq *slice_items(struct trun *r, struct tvalue v, struct tvalue *args)
{
	struct tseq *const all = copy_items(r, v);
	int64_t slices, offset = 0;

	if (!all || !arg_int(r, args[0], 1, &slices))
		return NULL;
	if (slices < 1 || slices > TEMPLATE_RANGE_MAX)
		return run_invalid(r, "slice() needs 1 ... %d slices", TEMPLATE_RANGE_MAX), NULL;
	const int64_t each = all->count / slices, extra = all->count % slices;
	const bool is_filled = args[1].type != TV_MISSING && args[1].type != TV_NONE;
	struct tseq *const s = run_seq(r, (size_t)slices);
	for (int64_t n = 0; s && n < slices; n++) {
		const int64_t start = offset + n * each;
		offset += n < extra;
		const int64_t end = offset + (n + 1) * each;
		struct tseq *const part = run_seq(r, (size_t)(end - start) + 1);
		if (!part)
			return NULL;
		for (int64_t i = start; i < end; i++)
			part->items[part->count++] = all->items[i];
		if (is_filled && n >= extra)
			part->items[part->count++] = args[1];
		s->items[s->count++] = TV(TV_LIST, .seq = part);
	}
	return s;
}

static struct tvalue filter_batch(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return run_iter(r, batch_items(r, v, args));
}

static struct tvalue filter_slice(struct trun *r, struct tvalue v, struct tvalue *args)
{
	return run_iter(r, slice_items(r, v, args));
}

static const struct tfilter rows[] = {
	{ { "batch", "linecount fill_with", 1, 2, filter_batch, NULL } },
	{ { "count", "", 0, 0, filter_length, NULL } },
	{ { "dictsort", "case_sensitive by reverse", 0, 3, filter_dictsort, NULL } },
	{ { "first", "", 0, 0, filter_first, NULL } },
	{ { "items", "", 0, 0, filter_items, NULL } },
	{ { "join", "d attribute", 0, 2, filter_join, NULL } },
	{ { "last", "", 0, 0, filter_last, NULL } },
	{ { "length", "", 0, 0, filter_length, NULL } },
	{ { "list", "", 0, 0, filter_list, NULL } },
	{ { "max", "case_sensitive attribute", 0, 2, filter_max, NULL } },
	{ { "min", "case_sensitive attribute", 0, 2, filter_min, NULL } },
	{ { "reverse", "", 0, 0, filter_reverse, NULL } },
	{ { "slice", "slices fill_with", 1, 2, filter_slice, NULL } },
	{ { "sort", "reverse case_sensitive attribute", 0, 3, filter_sort, NULL } },
	{ { "sum", "attribute start", 0, 2, filter_sum, NULL } },
	{ { "unique", "case_sensitive attribute", 0, 2, filter_unique, NULL } },
};
const struct filter_table filters_seq = { rows, sizeof(rows) / sizeof(rows[0]) };
