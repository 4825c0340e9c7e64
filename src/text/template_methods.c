/* Methods of str that make strings or numbers: template_methods.h; and the look-up of all. */
#include "text/template_methods.h"

#include "text/template_chars.h"
#include "text/template_filters.h"
#include "text/template_format.h"

/* ---- stripping ---- */

/* Is the character in `chars`? NULL: is it white space? */
static bool is_in(uint32_t c, const struct bb_str *chars)
{
	if (!chars)
		return chars_is_space(c);
	for (const char *p = chars->p, *const end = p + chars->len; p < end;)
		if (chars_next(&p, end) == c)
			return true;
	return false;
}

enum strip_side { STRIP_LEFT = 1, STRIP_RIGHT = 2 };

static struct tvalue strip(struct trun *r, struct tvalue self, struct tvalue arg, int sides)
{
	struct bb_str s = tv_text(self), chars;
	const bool has_chars = arg.type != TV_MISSING && arg.type != TV_NONE;

	if (has_chars && !arg_str(r, arg, &chars))
		return TV(TV_FAIL);
	const struct bb_str *const set = has_chars ? &chars : NULL;
	const char *p = s.p, *end = s.p + s.len;
	while ((sides & STRIP_LEFT) && p < end) {
		const char *next = p;
		if (!is_in(chars_next(&next, end), set))
			break;
		p = next;
	}
	while ((sides & STRIP_RIGHT) && p < end) {
		const char *before = end;
		if (!is_in(chars_before(p, &before), set))
			break;
		end = before;
	}
	const size_t gone = s.len - (size_t)(end - p);
	if (!run_charge(r, (set ? gone * (chars.len + 1) : gone) >> 3))
		return TV(TV_FAIL);
	return run_part(self, (struct bb_str){ p, (size_t)(end - p) });
}

struct tvalue method_strip(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return strip(r, self, args[0], STRIP_LEFT | STRIP_RIGHT);
}

static struct tvalue str_lstrip(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return strip(r, self, args[0], STRIP_LEFT);
}

static struct tvalue str_rstrip(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return strip(r, self, args[0], STRIP_RIGHT);
}

static struct tvalue str_removeprefix(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct bb_str prefix;

	if (!arg_str(r, args[0], &prefix))
		return TV(TV_FAIL);
	const struct bb_str s = tv_text(self);
	return run_part(self, bb_str_starts(s, prefix) ? bb_str_skip(s, prefix.len) : s);
}

static struct tvalue str_removesuffix(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct bb_str suffix, s = tv_text(self);

	if (!arg_str(r, args[0], &suffix))
		return TV(TV_FAIL);
	if (bb_str_ends(s, suffix))
		s.len -= suffix.len;
	return run_part(self, s);
}

/* ---- cases ---- */

#define CASE(name)                                                                                 \
	static struct tvalue str_##name(struct trun *r, struct tvalue self, struct tvalue *args)   \
	{                                                                                          \
		const size_t mark = run_mark(r);                                                   \
		if (!run_charge(r, self.len >> 1))                                                 \
			return TV(TV_FAIL);                                                        \
		chars_write_##name(tv_text(self), r->out);                                         \
		struct tvalue v = run_take(r, mark);                                               \
		v.flags |= self.flags & TV_MARKUP;                                                 \
		return v;                                                                          \
	}

CASE(upper)
CASE(lower)
CASE(title)
#define chars_write_capitalize chars_write_capital
CASE(capitalize)
#define chars_write_swapcase chars_write_swapped
CASE(swapcase)
#define chars_write_casefold chars_write_folded
CASE(casefold)

/* ---- replacing and joining ---- */

static void put_text(struct trun *r, struct tvalue v, int escape)
{
	if (escape && !(v.flags & TV_MARKUP))
		format_escaped(r, tv_text(v));
	else
		bb_buf_put_str(r->out, tv_text(v));
}

/* An empty text is found in front of each character and at the end. */
static void replace_empty(struct trun *r, struct bb_str s, struct tvalue to, uint64_t count,
			  int escape)
{
	const char *p = s.p, *const end = s.p + s.len;

	for (;;) {
		if (count) {
			put_text(r, to, escape);
			count--;
		}
		if (p >= end)
			return;
		bb_buf_put(r->out, p, chars_size(*p));
		p += chars_size(*p);
	}
}

static struct tvalue str_replace(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const bool escape = self.flags & TV_MARKUP;
	struct bb_str rest = tv_text(self), old, to;
	int64_t count;

	if (!arg_str(r, args[0], &old) || !arg_str(r, args[1], &to) ||
	    !arg_int(r, args[2], -1, &count) || !run_charge_find(r, rest.len, old.len))
		return TV(TV_FAIL);
	uint64_t left = count < 0 ? UINT64_MAX : (uint64_t)count;
	ptrdiff_t at = old.len && left ? bb_str_find(rest, old) : -1;
	if (at < 0 && (old.len || !left))
		return self;
	const size_t mark = run_mark(r);
	if (!old.len && run_charge(r, rest.len))
		replace_empty(r, rest, args[1], left, escape);
	for (; at >= 0 && left && !r->rc; at = bb_str_find(rest, old)) {
		bb_buf_put(r->out, rest.p, (size_t)at);
		put_text(r, args[1], escape);
		rest = bb_str_skip(rest, (size_t)at + old.len);
		left--;
		if (!run_charge(r, 1) || r->out->err)
			break;
	}
	if (old.len)
		bb_buf_put_str(r->out, rest);
	struct tvalue v = run_take(r, mark);
	v.flags |= self.flags & TV_MARKUP;
	return v;
}

static struct tvalue str_join(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const bool escape = self.flags & TV_MARKUP;
	struct tseq items;

	if (args[0].type == TV_UNDEFINED)
		return tv_lit("");
	if (!run_items(r, args[0], &items))
		return TV(TV_FAIL);
	const size_t mark = run_mark(r);
	for (uint32_t i = 0; i < items.count; i++) {
		const struct tvalue item = run_at(r, &items.items[i]);
		if (is_fail(item))
			return item;
		if (item.type != TV_STR)
			return run_invalid(r, "sequence item %u: expected str instance, %s found",
					   i, tv_type_name(item.type));
		if (i)
			bb_buf_put_str(r->out, tv_text(self));
		put_text(r, item, escape);
		if (!run_charge_bytes(r, item.len + self.len) || r->out->err)
			break;
	}
	struct tvalue v = run_take(r, mark);
	v.flags |= self.flags & TV_MARKUP;
	return v;
}

/* ---- fields ---- */

static struct tvalue pad(struct trun *r, struct tvalue self, struct tvalue *args, char align)
{
	const size_t mark = run_mark(r);
	struct format_spec spec = { .fill = BB_STR_INIT(" "), .precision = -1 };
	int64_t width;

	if (!arg_int(r, args[0], 0, &width))
		return TV(TV_FAIL);
	if (args[1].type != TV_MISSING) {
		if (!arg_str(r, args[1], &spec.fill))
			return TV(TV_FAIL);
		if (tv_str_len(args[1]) != 1)
			return run_invalid(r,
					   "The fill character must be exactly one character long");
	}
	if (width <= tv_str_len(self))
		return self;
	if (width > INT32_MAX)
		return run_too_large(r);
	spec.width = (int32_t)width;
	/* str.center() puts the odd one elsewhere than format() does. */
	if (!format_field(r, tv_text(self), &spec, align))
		return TV(TV_FAIL);
	return run_take(r, mark);
}

static struct tvalue str_ljust(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return pad(r, self, args, '<');
}

static struct tvalue str_rjust(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return pad(r, self, args, '>');
}

static struct tvalue str_center(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return pad(r, self, args, 'c');
}

static struct tvalue str_zfill(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const size_t mark = run_mark(r);
	int64_t width;
	struct bb_str s = tv_text(self);

	if (!arg_int(r, args[0], 0, &width))
		return TV(TV_FAIL);
	int64_t zeros = width - tv_str_len(self);
	if (zeros <= 0)
		return self;
	if (zeros > INT32_MAX)
		return run_too_large(r);
	if (s.len && (s.p[0] == '-' || s.p[0] == '+')) {
		bb_buf_put(r->out, s.p, 1);
		s = bb_str_skip(s, 1);
	}
	if (!run_charge_bytes(r, (size_t)zeros))
		return TV(TV_FAIL);
	while (zeros-- && !r->out->err)
		bb_buf_lit(r->out, "0");
	bb_buf_put_str(r->out, s);
	return run_take(r, mark);
}

static struct tvalue str_expandtabs(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const size_t mark = run_mark(r);
	int64_t size, column = 0;

	if (!arg_int(r, args[0], 8, &size) || !run_charge_bytes(r, self.len))
		return TV(TV_FAIL);
	for (const char *p = self.p, *const end = p + self.len; p < end && !r->out->err;) {
		const char *const at = p;
		const uint32_t c = chars_next(&p, end);
		if (c != '\t') {
			bb_buf_put(r->out, at, (size_t)(p - at));
			column = c == '\n' || c == '\r' ? 0 : column + 1;
			continue;
		}
		const int64_t spaces = size > 0 ? size - column % size : 0;
		if (!run_charge(r, (uint64_t)spaces))
			return TV(TV_FAIL);
		for (int64_t i = 0; i < spaces && !r->out->err; i++)
			bb_buf_lit(r->out, " ");
		column += spaces;
	}
	return run_take(r, mark);
}

static struct tvalue str_format(struct trun *r, struct tvalue self, const struct targs *given)
{
	return format_method(r, self, given);
}

static const struct tfunction rows[] = {
	{ "strip", "chars", 0, 1, method_strip, NULL },
	{ "replace", "old new count", 2, 3, str_replace, NULL },
	{ "lstrip", "chars", 0, 1, str_lstrip, NULL },
	{ "rstrip", "chars", 0, 1, str_rstrip, NULL },
	{ "upper", "", 0, 0, str_upper, NULL },
	{ "lower", "", 0, 0, str_lower, NULL },
	{ "title", "", 0, 0, str_title, NULL },
	{ "capitalize", "", 0, 0, str_capitalize, NULL },
	{ "swapcase", "", 0, 0, str_swapcase, NULL },
	{ "casefold", "", 0, 0, str_casefold, NULL },
	{ "join", "iterable", 1, 1, str_join, NULL },
	{ "format", NULL, 0, 0, NULL, str_format },
	{ "removeprefix", "prefix", 1, 1, str_removeprefix, NULL },
	{ "removesuffix", "suffix", 1, 1, str_removesuffix, NULL },
	{ "ljust", "width fillchar", 1, 2, str_ljust, NULL },
	{ "rjust", "width fillchar", 1, 2, str_rjust, NULL },
	{ "center", "width fillchar", 1, 2, str_center, NULL },
	{ "zfill", "width", 1, 1, str_zfill, NULL },
	{ "expandtabs", "tabsize", 0, 1, str_expandtabs, NULL },
};
const struct method_table methods_str = { rows, sizeof(rows) / sizeof(rows[0]) };

/* ---- looking up ---- */

static const struct tfunction *find_in(const struct method_table *t, struct bb_str name)
{
	return call_find(t->rows, t->count, sizeof(*t->rows), name);
}

const struct tfunction *method_find(uint8_t type, struct bb_str name)
{
	if (type == TV_STR) {
		const struct tfunction *f = find_in(&methods_str, name);
		if (!f)
			f = find_in(&methods_split, name);
		return f ? f : find_in(&methods_is, name);
	}
	if (type == TV_DICT)
		return find_in(&methods_dict, name);
	if (type == TV_LIST || type == TV_TUPLE || type == TV_RANGE)
		return find_in(&methods_list, name);
	if (type == TV_LOOP)
		return find_in(&methods_loop, name);
	return type == TV_CYCLER ? find_in(&methods_cycler, name) : NULL;
}

static bool is_one_of(struct bb_str name, const char *const *names)
{
	for (; *names; names++)
		if (bb_str_eq(name, bb_str_of(*names)))
			return true;
	return false;
}

bool method_is_unsafe(uint8_t type, struct bb_str name)
{
	static const char *const of_list[] = { "append", "clear",   "extend", "insert", "pop",
					       "remove", "reverse", "sort",   NULL };
	static const char *const of_dict[] = { "clear",	     "pop",    "popitem",
					       "setdefault", "update", NULL };

	if (type == TV_DICT)
		return is_one_of(name, of_dict);
	return type == TV_LIST && is_one_of(name, of_list);
}
