/* Methods of str that look for something or cut: template_methods.h. */
#include "text/template_chars.h"
#include "text/template_filters.h"
#include "text/template_methods.h"

/* ---- where something is ---- */

bool method_range(struct trun *r, struct tvalue s, struct tvalue start, struct tvalue end,
		  struct byte_range *out)
{
	*out = (struct byte_range){ 0, s.len, true };
	if ((start.type == TV_MISSING || start.type == TV_NONE) &&
	    (end.type == TV_MISSING || end.type == TV_NONE))
		return true;
	const int64_t length = tv_str_len(s);
	int64_t from, to;
	if (!arg_int(r, start.type == TV_NONE ? TV(TV_MISSING) : start, 0, &from) ||
	    !arg_int(r, end.type == TV_NONE ? TV(TV_MISSING) : end, length, &to) ||
	    !run_charge_bytes(r, s.len))
		return false;
	from = from < 0 ? from + length : from;
	to = to < 0 ? to + length : to > length ? length : to;
	from = from < 0 ? 0 : from;
	to = to < 0 ? 0 : to;
	out->is_valid = from <= to;
	out->from = chars_offset(tv_text(s), (size_t)from);
	out->to = out->is_valid ? chars_offset(tv_text(s), (size_t)to) : out->from;
	return true;
}

static int64_t index_of(struct tvalue s, size_t offset)
{
	s.len = (uint32_t)offset;
	return tv_str_len(s);
}

enum find_from { FIND_FIRST, FIND_LAST };

static ptrdiff_t find_last(struct bb_str s, struct bb_str needle)
{
	for (size_t at = s.len + 1; at-- > 0;)
		if (at + needle.len <= s.len && memcmp(s.p + at, needle.p, needle.len) == 0)
			return (ptrdiff_t)at;
	return -1;
}

/* Going backward looks at each place by itself. */
static bool charge_backward(struct trun *r, struct bb_str s, struct bb_str needle)
{
	return run_charge(r, (uint64_t)s.len * (needle.len / 64 + 1) / 16);
}

/* The character's index, -1 when it is not there; -2: failed. */
static int64_t find(struct trun *r, struct tvalue self, struct tvalue *args, enum find_from from)
{
	struct byte_range range;
	struct bb_str needle;

	if (!arg_str(r, args[0], &needle) || !method_range(r, self, args[1], args[2], &range) ||
	    !run_charge_find(r, self.len, needle.len))
		return -2;
	const struct bb_str s = { self.p + range.from, range.to - range.from };
	if (!range.is_valid || needle.len > s.len)
		return -1;
	if (from == FIND_LAST && !charge_backward(r, s, needle))
		return -2;
	const ptrdiff_t at = from == FIND_FIRST ? bb_str_find(s, needle) : find_last(s, needle);
	return at < 0 ? -1 : index_of(self, range.from + (size_t)at);
}

static struct tvalue find_or(struct trun *r, struct tvalue self, struct tvalue *args,
			     enum find_from from, int must)
{
	const int64_t at = find(r, self, args, from);

	if (at == -2)
		return TV(TV_FAIL);
	return at < 0 && must ? run_invalid(r, "substring not found") : tv_int(at);
}

static struct tvalue str_find(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return find_or(r, self, args, FIND_FIRST, 0);
}

static struct tvalue str_rfind(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return find_or(r, self, args, FIND_LAST, 0);
}

static struct tvalue str_index(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return find_or(r, self, args, FIND_FIRST, 1);
}

static struct tvalue str_rindex(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return find_or(r, self, args, FIND_LAST, 1);
}

static struct tvalue str_count(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct byte_range range;
	struct bb_str needle;
	int64_t count = 0;

	if (!arg_str(r, args[0], &needle) || !method_range(r, self, args[1], args[2], &range) ||
	    !run_charge_find(r, self.len, needle.len))
		return TV(TV_FAIL);
	struct bb_str s = { self.p + range.from, range.to - range.from };
	if (!range.is_valid)
		return tv_int(0);
	if (!needle.len)
		return tv_int(tv_str_len(tv_str(s)) + 1);
	for (ptrdiff_t at; (at = bb_str_find(s, needle)) >= 0; count++)
		s = bb_str_skip(s, (size_t)at + needle.len);
	return run_charge(r, (uint64_t)count) ? tv_int(count) : TV(TV_FAIL);
}

/* ---- beginnings and ends ---- */

static int matches_one(struct trun *r, struct bb_str s, struct tvalue affix, int at_end,
		       const char *name)
{
	if (affix.type != TV_STR) {
		run_invalid(r, "%s first arg must be str or a tuple of str, not %s", name,
			    tv_type_name(affix.type));
		return -1;
	}
	if (!run_charge_bytes(r, affix.len))
		return -1;
	return at_end ? bb_str_ends(s, tv_text(affix)) : bb_str_starts(s, tv_text(affix));
}

static struct tvalue matches(struct trun *r, struct tvalue self, struct tvalue *args, int at_end,
			     const char *name)
{
	struct byte_range range;
	int hit = 0;

	if (!method_range(r, self, args[1], args[2], &range))
		return TV(TV_FAIL);
	const struct bb_str s = { self.p + range.from, range.to - range.from };
	if (args[0].type != TV_TUPLE) {
		hit = matches_one(r, s, args[0], at_end, name);
		return hit < 0 ? TV(TV_FAIL) : tv_bool(hit && range.is_valid);
	}
	for (uint32_t i = 0; i < args[0].seq->count && !hit; i++)
		hit = matches_one(r, s, run_at(r, &args[0].seq->items[i]), at_end, name);
	return hit < 0 ? TV(TV_FAIL) : tv_bool(hit && range.is_valid);
}

static struct tvalue str_startswith(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return matches(r, self, args, 0, "startswith");
}

static struct tvalue str_endswith(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return matches(r, self, args, 1, "endswith");
}

/* ---- splitting ---- */

struct pieces {
	struct tseq *seq;
	uint32_t cap;
};

static bool add_piece(struct trun *r, struct pieces *p, struct tvalue self, struct bb_str part)
{
	if (!p->seq || p->seq->count == p->cap) {
		const uint32_t cap = p->seq ? p->cap * 2 : 4;
		struct tseq *const more = run_seq(r, cap);
		if (!more)
			return false;
		if (p->seq)
			memcpy(more->items, p->seq->items, p->seq->count * sizeof(more->items[0]));
		more->count = p->seq ? p->seq->count : 0;
		p->seq = more;
		p->cap = cap;
	}
	p->seq->items[p->seq->count++] = run_part(self, part);
	return true;
}

static struct tvalue finish_pieces(struct trun *r, struct pieces *p)
{
	if (!p->seq)
		p->seq = run_seq(r, 0);
	return p->seq && !r->rc ? TV(TV_LIST, .seq = p->seq) : TV(TV_FAIL);
}

static struct tvalue split_at(struct trun *r, struct tvalue self, struct bb_str separator,
			      uint64_t left)
{
	struct pieces pieces = { NULL, 0 };
	struct bb_str rest = tv_text(self);

	for (ptrdiff_t at; left && (at = bb_str_find(rest, separator)) >= 0; left--) {
		if (!add_piece(r, &pieces, self, (struct bb_str){ rest.p, (size_t)at }))
			return TV(TV_FAIL);
		rest = bb_str_skip(rest, (size_t)at + separator.len);
	}
	add_piece(r, &pieces, self, rest);
	return finish_pieces(r, &pieces);
}

/* By runs of white space; none at the ends. */
static struct tvalue split_space(struct trun *r, struct tvalue self, uint64_t left)
{
	struct pieces pieces = { NULL, 0 };
	struct bb_str rest = chars_strip_left(tv_text(self));

	while (rest.len) {
		const char *p = rest.p, *const end = rest.p + rest.len;
		const char *at = p;
		if (!left--) {
			add_piece(r, &pieces, self, chars_strip_right(rest));
			break;
		}
		while (p < end && !chars_is_space(chars_next(&p, end)))
			at = p;
		if (!add_piece(r, &pieces, self, (struct bb_str){ rest.p, (size_t)(at - rest.p) }))
			break;
		rest = chars_strip_left((struct bb_str){ at, (size_t)(end - at) });
	}
	return finish_pieces(r, &pieces);
}

static bool split_args(struct trun *r, struct tvalue self, struct tvalue *args,
		       struct bb_str *separator, uint64_t *left)
{
	int64_t max;

	*separator = (struct bb_str){ NULL, 0 };
	if (!arg_int(r, args[1], -1, &max) || !run_charge(r, self.len >> 4))
		return false;
	*left = max < 0 ? UINT64_MAX : (uint64_t)max;
	if (args[0].type == TV_MISSING || args[0].type == TV_NONE)
		return true;
	if (!arg_str(r, args[0], separator))
		return false;
	if (!separator->len)
		run_invalid(r, "empty separator");
	return separator->len;
}

static struct tvalue str_split(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct bb_str separator;
	uint64_t left;

	if (!split_args(r, self, args, &separator, &left))
		return TV(TV_FAIL);
	return separator.p ? split_at(r, self, separator, left) : split_space(r, self, left);
}

static struct tvalue reversed(struct trun *r, struct tvalue list)
{
	const struct tvalue backward[3] = { TV(TV_MISSING), TV(TV_MISSING), tv_int(-1) };

	return is_fail(list) ? list : op_slice(r, list, backward);
}

static struct tvalue rsplit_space(struct trun *r, struct tvalue self, uint64_t left)
{
	struct pieces pieces = { NULL, 0 };
	struct bb_str rest = chars_strip_right(tv_text(self));

	while (rest.len) {
		const char *end = rest.p + rest.len;
		const char *at = end;
		if (!left--) {
			add_piece(r, &pieces, self, chars_strip_left(rest));
			break;
		}
		while (at > rest.p && !chars_is_space(chars_before(rest.p, &end)))
			at = end;
		if (!add_piece(r, &pieces, self,
			       (struct bb_str){ at, (size_t)(rest.p + rest.len - at) }))
			break;
		rest = chars_strip_right((struct bb_str){ rest.p, (size_t)(at - rest.p) });
	}
	return reversed(r, finish_pieces(r, &pieces));
}

static struct tvalue str_rsplit(struct trun *r, struct tvalue self, struct tvalue *args)
{
	struct pieces pieces = { NULL, 0 };
	struct bb_str separator, rest = tv_text(self);
	uint64_t left;

	if (!split_args(r, self, args, &separator, &left) || !charge_backward(r, rest, separator))
		return TV(TV_FAIL);
	if (!separator.p)
		return rsplit_space(r, self, left);
	for (ptrdiff_t at; left && (at = find_last(rest, separator)) >= 0; left--) {
		const struct bb_str piece = bb_str_skip(rest, (size_t)at + separator.len);
		if (!add_piece(r, &pieces, self, piece))
			return TV(TV_FAIL);
		rest.len = (size_t)at;
	}
	add_piece(r, &pieces, self, rest);
	return reversed(r, finish_pieces(r, &pieces));
}

static struct tvalue triple(struct trun *r, struct tvalue self, struct bb_str a, struct bb_str b,
			    struct bb_str c)
{
	struct tseq *const s = run_seq(r, 3);

	if (!s)
		return TV(TV_FAIL);
	s->items[0] = run_part(self, a);
	s->items[1] = run_part(self, b);
	s->items[2] = run_part(self, c);
	s->count = 3;
	return TV(TV_TUPLE, .seq = s);
}

static struct tvalue partition(struct trun *r, struct tvalue self, struct tvalue *args,
			       enum find_from from)
{
	struct bb_str separator, s = tv_text(self);

	if (!arg_str(r, args[0], &separator) || !charge_backward(r, s, separator))
		return TV(TV_FAIL);
	if (!separator.len)
		return run_invalid(r, "empty separator");
	const ptrdiff_t at =
		from == FIND_FIRST ? bb_str_find(s, separator) : find_last(s, separator);
	if (at < 0)
		return from == FIND_FIRST ? triple(r, self, s, BB_STR(""), BB_STR(""))
					  : triple(r, self, BB_STR(""), BB_STR(""), s);
	return triple(r, self, (struct bb_str){ s.p, (size_t)at }, separator,
		      bb_str_skip(s, (size_t)at + separator.len));
}

static struct tvalue str_partition(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return partition(r, self, args, FIND_FIRST);
}

static struct tvalue str_rpartition(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return partition(r, self, args, FIND_LAST);
}

static bool is_line_end(uint32_t c)
{
	return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
	       c == 0x2029;
}

static struct tvalue str_splitlines(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const bool keep = tv_truth(args[0]);
	struct pieces pieces = { NULL, 0 };
	const char *p = self.p, *const end = p + self.len, *line = p;

	if (!run_charge(r, self.len >> 4))
		return TV(TV_FAIL);
	while (p < end) {
		const char *const at = p;
		const uint32_t c = chars_next(&p, end);
		if (!is_line_end(c))
			continue;
		if (c == '\r' && p < end && *p == '\n')
			p++;
		const struct bb_str part = { line, (size_t)((keep ? p : at) - line) };
		if (!add_piece(r, &pieces, self, part))
			return TV(TV_FAIL);
		line = p;
	}
	if (line < end)
		add_piece(r, &pieces, self, (struct bb_str){ line, (size_t)(end - line) });
	return finish_pieces(r, &pieces);
}

static const struct tfunction rows[] = {
	{ "split", "sep maxsplit", 0, 2, str_split, NULL },
	{ "startswith", "prefix start end", 1, 3, str_startswith, NULL },
	{ "endswith", "suffix start end", 1, 3, str_endswith, NULL },
	{ "find", "sub start end", 1, 3, str_find, NULL },
	{ "rfind", "sub start end", 1, 3, str_rfind, NULL },
	{ "index", "sub start end", 1, 3, str_index, NULL },
	{ "rindex", "sub start end", 1, 3, str_rindex, NULL },
	{ "count", "sub start end", 1, 3, str_count, NULL },
	{ "rsplit", "sep maxsplit", 0, 2, str_rsplit, NULL },
	{ "splitlines", "keepends", 0, 1, str_splitlines, NULL },
	{ "partition", "sep", 1, 1, str_partition, NULL },
	{ "rpartition", "sep", 1, 1, str_rpartition, NULL },
};
const struct method_table methods_split = { rows, sizeof(rows) / sizeof(rows[0]) };

/* ---- questions about all characters ---- */

static bool is_alnum(uint32_t c)
{
	return chars_is_alpha(c) || chars_is_digit(c) || chars_is_numeric(c);
}

static struct tvalue all_are(struct trun *r, struct tvalue self, bool (*is)(uint32_t), int of_empty)
{
	const char *p = self.p, *const end = p + self.len;

	if (!run_charge(r, self.len >> 3))
		return TV(TV_FAIL);
	while (p < end)
		if (!is(chars_next(&p, end)))
			return tv_bool(0);
	return tv_bool(self.len || of_empty);
}

static bool is_ascii_char(uint32_t c)
{
	return c < 0x80;
}

#define IS(name, is, of_empty)                                                                     \
	static struct tvalue str_##name(struct trun *r, struct tvalue self, struct tvalue *args)   \
	{                                                                                          \
		return all_are(r, self, is, of_empty);                                             \
	}

IS(isalpha, chars_is_alpha, 0)
IS(isalnum, is_alnum, 0)
IS(isdigit, chars_is_digit, 0)
IS(isdecimal, chars_is_decimal, 0)
IS(isnumeric, chars_is_numeric, 0)
IS(isspace, chars_is_space, 0)
IS(isascii, is_ascii_char, 1)
IS(isprintable, chars_is_printable, 1)

/* At least one cased character, and none of the other case. */
static struct tvalue is_case(struct trun *r, struct tvalue self, bool (*wanted)(uint32_t),
			     bool (*other)(uint32_t))
{
	bool has_one = false;

	if (!run_charge(r, self.len >> 3))
		return TV(TV_FAIL);
	for (const char *p = self.p, *const end = p + self.len; p < end;) {
		const uint32_t c = chars_next(&p, end);
		if (other(c) || chars_is_title(c))
			return tv_bool(0);
		has_one |= wanted(c);
	}
	return tv_bool(has_one);
}

static struct tvalue str_islower(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return is_case(r, self, chars_is_lower, chars_is_upper);
}

static struct tvalue str_isupper(struct trun *r, struct tvalue self, struct tvalue *args)
{
	return is_case(r, self, chars_is_upper, chars_is_lower);
}

static struct tvalue str_istitle(struct trun *r, struct tvalue self, struct tvalue *args)
{
	bool in_word = false, has_one = false;

	if (!run_charge(r, self.len >> 3))
		return TV(TV_FAIL);
	for (const char *p = self.p, *const end = p + self.len; p < end;) {
		const uint32_t c = chars_next(&p, end);
		const bool is_first = chars_is_upper(c) || chars_is_title(c);
		if (is_first ? in_word : chars_is_lower(c) && !in_word)
			return tv_bool(0);
		in_word = is_first || chars_is_lower(c);
		has_one |= in_word;
	}
	return tv_bool(has_one);
}

static struct tvalue str_isidentifier(struct trun *r, struct tvalue self, struct tvalue *args)
{
	const char *p = self.p, *const end = p + self.len;

	if (p == end || chars_is_numeric(chars_next(&p, end)))
		return tv_bool(0);
	return all_are(r, self, chars_is_word, 0);
}

static const struct tfunction is_rows[] = {
	{ "isalpha", "", 0, 0, str_isalpha, NULL },
	{ "isalnum", "", 0, 0, str_isalnum, NULL },
	{ "isdigit", "", 0, 0, str_isdigit, NULL },
	{ "isdecimal", "", 0, 0, str_isdecimal, NULL },
	{ "isnumeric", "", 0, 0, str_isnumeric, NULL },
	{ "isspace", "", 0, 0, str_isspace, NULL },
	{ "isascii", "", 0, 0, str_isascii, NULL },
	{ "isprintable", "", 0, 0, str_isprintable, NULL },
	{ "islower", "", 0, 0, str_islower, NULL },
	{ "isupper", "", 0, 0, str_isupper, NULL },
	{ "istitle", "", 0, 0, str_istitle, NULL },
	{ "isidentifier", "", 0, 0, str_isidentifier, NULL },
};
const struct method_table methods_is = { is_rows, sizeof(is_rows) / sizeof(is_rows[0]) };
