#include "text/template_format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/template_chars.h"
#include "text/template_number.h"
#include "wire/utf8.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

static const char hex[] = "0123456789abcdef";

static bool write_repr(struct trun *r, struct tvalue v, uint32_t depth);

static bool too_deep(struct trun *r)
{
	run_fail(r, -BB_ELIMIT, "values nested more than %d deep cannot be written",
		 TEMPLATE_VALUE_DEPTH_MAX);
	return false;
}

/* ---- str and repr ---- */

static void put_escape(struct bb_buf *out, char kind, uint32_t code, int digits)
{
	bb_buf_lit(out, "\\");
	bb_buf_put(out, &kind, 1);
	for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4)
		bb_buf_put(out, &hex[code >> shift & 15], 1);
}

static void repr_char(struct bb_buf *out, uint32_t c, char quote)
{
	if (c == (uint32_t)quote || c == '\\') {
		const char escaped[2] = { '\\', (char)c };
		bb_buf_put(out, escaped, 2);
	} else if (c == '\n') {
		bb_buf_lit(out, "\\n");
	} else if (c == '\r') {
		bb_buf_lit(out, "\\r");
	} else if (c == '\t') {
		bb_buf_lit(out, "\\t");
	} else if (c < 0x100) {
		put_escape(out, 'x', c, 2);
	} else {
		put_escape(out, c < 0x10000 ? 'u' : 'U', c, c < 0x10000 ? 4 : 8);
	}
}

static bool repr_str(struct trun *r, struct bb_str s)
{
	struct bb_buf *const out = r->out;
	const bool has_single = s.len && memchr(s.p, '\'', s.len);
	const char quote = has_single && !memchr(s.p, '"', s.len) ? '"' : '\'';
	const char *from = s.p, *p = s.p, *const end = s.p + s.len;

	bb_buf_put(out, &quote, 1);
	while (p < end) {
		const char *const at = p;
		const uint32_t c = chars_next(&p, end);
		if (c != (uint32_t)quote && c != '\\' && chars_is_printable(c))
			continue;
		bb_buf_put(out, from, (size_t)(at - from));
		repr_char(out, c, quote);
		from = p;
	}
	bb_buf_put(out, from, (size_t)(end - from));
	bb_buf_put(out, &quote, 1);
	return run_charge_bytes(r, s.len);
}

static bool repr_items(struct trun *r, const struct tseq *s, uint32_t depth)
{
	for (uint32_t i = 0; i < s->count; i++) {
		if (i)
			bb_buf_lit(r->out, ", ");
		if (!write_repr(r, s->items[i], depth + 1))
			return false;
	}
	return true;
}

static bool repr_dict(struct trun *r, const struct tdict *d, uint32_t depth)
{
	bb_buf_lit(r->out, "{");
	for (uint32_t i = 0; i < d->count; i++) {
		if (i)
			bb_buf_lit(r->out, ", ");
		if (!write_repr(r, d->pairs[i].key, depth + 1))
			return false;
		bb_buf_lit(r->out, ": ");
		if (!write_repr(r, d->pairs[i].value, depth + 1))
			return false;
	}
	bb_buf_lit(r->out, "}");
	return true;
}

static bool repr_seq(struct trun *r, struct tvalue v, uint32_t depth)
{
	static const char *const marks[][2] = {
		[TV_LIST] = { "[", "]" },
		[TV_TUPLE] = { "(", ")" },
		[TV_KEYS] = { "dict_keys([", "])" },
		[TV_VALUES] = { "dict_values([", "])" },
		[TV_ITEMS] = { "dict_items([", "])" },
	};

	if (v.type == TV_RANGE) {
		const struct trange *const a = (const struct trange *)v.seq;
		bb_buf_printf(r->out, "range(%lld, %lld", (long long)a->start, (long long)a->stop);
		if (a->step != 1)
			bb_buf_printf(r->out, ", %lld", (long long)a->step);
		bb_buf_lit(r->out, ")");
		return true;
	}
	bb_buf_put_str(r->out, bb_str_of(marks[v.type][0]));
	if (!repr_items(r, v.seq, depth))
		return false;
	if (v.type == TV_TUPLE && v.seq->count == 1)
		bb_buf_lit(r->out, ",");
	bb_buf_put_str(r->out, bb_str_of(marks[v.type][1]));
	return true;
}

/* Objects that have no text of their own in Python but an address, which nobody can rely on. */
static bool repr_object(struct trun *r, struct tvalue v)
{
	switch ((enum tv_type)v.type) {
	case TV_MACRO:
		bb_buf_lit(r->out, "<Macro ");
		repr_str(r, v.macro->def->name);
		bb_buf_lit(r->out, ">");
		break;
	case TV_LOOP:
		bb_buf_printf(r->out, "<LoopContext %u/%u>", v.loop->index + 1, v.loop->count);
		break;
	case TV_METHOD:
		bb_buf_printf(r->out, "<built-in method %s of %s object>", v.method->f->name,
			      tv_type_name(v.method->self.type));
		break;
	default: bb_buf_printf(r->out, "<%s object>", tv_type_name(v.type));
	}
	return true;
}

/* Ahead of each value that is written: its depth, its step, its bytes. */
static bool value_enter(struct trun *r, struct tvalue *v, uint32_t depth)
{
	if (depth > TEMPLATE_VALUE_DEPTH_MAX)
		return too_deep(r);
	if (!run_charge(r, 1))
		return false;
	if (tv_ready(&r->mem, v))
		return true;
	run_nomem(r);
	return false;
}

static bool write_repr(struct trun *r, struct tvalue v, uint32_t depth)
{
	if (!value_enter(r, &v, depth))
		return false;
	switch ((enum tv_type)v.type) {
	case TV_NONE: bb_buf_lit(r->out, "None"); return true;
	case TV_BOOL: bb_buf_put_str(r->out, v.i ? BB_STR("True") : BB_STR("False")); return true;
	case TV_INT:
	case TV_BIG: number_put(r->out, v); return true;
	case TV_FLOAT: number_put(r->out, v); return run_charge(r, RUN_FLOAT_STEPS);
	case TV_STR:
		if (!(v.flags & TV_MARKUP))
			return repr_str(r, tv_text(v));
		bb_buf_lit(r->out, "Markup(");
		repr_str(r, tv_text(v));
		bb_buf_lit(r->out, ")");
		return true;
	case TV_UNDEFINED: bb_buf_lit(r->out, "Undefined"); return true;
	case TV_LIST:
	case TV_TUPLE:
	case TV_RANGE:
	case TV_KEYS:
	case TV_VALUES:
	case TV_ITEMS: return repr_seq(r, v, depth);
	case TV_DICT: return repr_dict(r, v.dict, depth);
	case TV_NAMESPACE:
		bb_buf_lit(r->out, "<Namespace ");
		if (!repr_dict(r, v.dict, depth))
			return false;
		bb_buf_lit(r->out, ">");
		return true;
	case TV_MISSING:
	case TV_FAIL:
	case TV_LAZY:
	case TV_ITER:
	case TV_LOOP:
	case TV_MACRO:
	case TV_METHOD:
	case TV_FUNC:
	case TV_CYCLER:
	case TV_JOINER: return repr_object(r, v);
	}
	return false;
}

bool format_repr(struct trun *r, struct tvalue v)
{
	return write_repr(r, v, 0);
}

bool format_str(struct trun *r, struct tvalue v)
{
	if (v.type == TV_STR) {
		bb_buf_put(r->out, v.p, v.len);
		return run_charge_bytes(r, v.len);
	}
	return v.type == TV_UNDEFINED || write_repr(r, v, 0);
}

bool format_escaped(struct trun *r, struct bb_str s)
{
	const char *from = s.p;

	for (const char *p = s.p; p < s.p + s.len; p++) {
		const char *const entity = *p == '&'	? "&amp;"
					   : *p == '<'	? "&lt;"
					   : *p == '>'	? "&gt;"
					   : *p == '"'	? "&#34;"
					   : *p == '\'' ? "&#39;"
							: NULL;
		if (!entity)
			continue;
		bb_buf_put(r->out, from, (size_t)(p - from));
		bb_buf_put_str(r->out, bb_str_of(entity));
		from = p + 1;
	}
	bb_buf_put(r->out, from, (size_t)(s.p + s.len - from));
	return run_charge_bytes(r, s.len);
}

/* ---- JSON ---- */

#define JSON_SHORT 16 /* bytes: most names, and many values */

/* The first byte that JSON must escape; with `ascii` also the first that is not ASCII. */
static const char *json_plain_end(const char *p, const char *end, int ascii)
{
#if defined(__x86_64__)
	const __m128i edge = _mm_set1_epi8(0x1f);
	for (; end - p >= 16; p += 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i stop = _mm_cmpeq_epi8(_mm_max_epu8(v, edge), edge);
		stop = _mm_or_si128(stop, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
		stop = _mm_or_si128(stop, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		if (ascii)
			stop = _mm_or_si128(stop, v); /* the sign bit is what movemask takes */
		const unsigned mask = (unsigned)_mm_movemask_epi8(stop);
		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	for (; p < end; p++) {
		const unsigned char c = (unsigned char)*p;
		if (c < 0x20 || c == '"' || c == '\\' || (ascii && c >= 0x80))
			return p;
	}
	return end;
}

static void json_escape(struct bb_buf *out, uint32_t c)
{
	switch (c) {
	case '"': bb_buf_lit(out, "\\\""); return;
	case '\\': bb_buf_lit(out, "\\\\"); return;
	case '\n': bb_buf_lit(out, "\\n"); return;
	case '\r': bb_buf_lit(out, "\\r"); return;
	case '\t': bb_buf_lit(out, "\\t"); return;
	case '\f': bb_buf_lit(out, "\\f"); return;
	case '\b': bb_buf_lit(out, "\\b"); return;
	default: break;
	}
	if (c >= 0x10000) {
		put_escape(out, 'u', 0xd800 + ((c - 0x10000) >> 10), 4);
		c = 0xdc00 + (c & 0x3ff);
	}
	put_escape(out, 'u', c, 4);
}

/* Is one of eight bytes a control, a quote, a backslash or, if asked for, not ASCII? */
static inline bool any_special(uint64_t eight, uint64_t high)
{
	const uint64_t ones = 0x0101010101010101u;
	const uint64_t quote = eight ^ ones * '"', backslash = eight ^ ones * '\\';

	/* A byte below n borrows from its upper bit, which it did not have. */
	return (((eight - ones * 0x20) & ~eight) | ((quote - ones) & ~quote) |
		((backslash - ones) & ~backslash) | (eight & high)) &
	       ones * 0x80;
}

/* Is a short string written as it is? One pass: it is copied while it is looked at. */
static bool json_str_short(struct bb_buf *out, struct bb_str s, int ascii)
{
	if (s.len > JSON_SHORT || out->cap - out->len < JSON_SHORT + 2)
		return false;
	char *const to = out->p + out->len;
	size_t i = 0;
	for (uint64_t eight; s.len - i >= sizeof(eight); i += sizeof(eight)) {
		memcpy(&eight, s.p + i, sizeof(eight));
		if (any_special(eight, ascii ? UINT64_MAX : 0))
			return false;
		memcpy(to + 1 + i, &eight, sizeof(eight));
	}
	for (; i < s.len; i++) {
		const unsigned char c = (unsigned char)s.p[i];
		if (c < 0x20 || c == '"' || c == '\\' || (ascii && c >= 0x80))
			return false;
		to[i + 1] = (char)c;
	}
	to[0] = to[s.len + 1] = '"';
	out->len += s.len + 2;
	return true;
}

static bool json_str(struct trun *r, struct bb_str s, const struct json_style *style)
{
	const char *p = s.p, *const end = s.p + s.len;

	if (json_str_short(r->out, s, style->ensure_ascii))
		return true;
	bb_buf_lit(r->out, "\"");
	while (p < end) {
		const char *const stop = json_plain_end(p, end, style->ensure_ascii);
		bb_buf_put(r->out, p, (size_t)(stop - p));
		p = stop;
		if (p < end)
			json_escape(r->out, chars_next(&p, end));
	}
	bb_buf_lit(r->out, "\"");
	return run_charge_bytes(r, s.len);
}

/* A separator or an indent, which are a few bytes. */
static inline void put_few(struct bb_buf *out, struct bb_str s)
{
	if (s.len > 8 || out->cap - out->len < 8) {
		bb_buf_put_str(out, s);
		return;
	}
	for (size_t i = 0; i < s.len; i++)
		out->p[out->len++] = s.p[i];
}

static void json_line(struct trun *r, const struct json_style *style, uint32_t depth)
{
	struct bb_buf *const out = r->out;
	const size_t len = depth * style->indent.len;

	if (!style->indent.p)
		return;
	if (style->is_blank && out->cap - out->len > len) {
		out->p[out->len] = '\n';
		memset(out->p + out->len + 1, ' ', len);
		out->len += 1 + len;
		return;
	}
	bb_buf_lit(out, "\n");
	for (uint32_t i = 0; i < depth; i++)
		put_few(out, style->indent);
}

static bool json_value(struct trun *r, struct tvalue v, const struct json_style *style,
		       uint32_t depth);

static bool json_key(struct trun *r, struct tvalue key, const struct json_style *style)
{
	if (key.type == TV_STR)
		return json_str(r, tv_text(key), style);
	if (!tv_is_number(key) && key.type != TV_NONE) {
		run_invalid(r, "keys must be str, int, float, bool or None, not %s",
			    tv_type_name(key.type));
		return false;
	}
	bb_buf_lit(r->out, "\"");
	json_value(r, key, style, 0);
	bb_buf_lit(r->out, "\"");
	return true;
}

static int order_keys(const void *a, const void *b, void *user)
{
	int order = 0;

	if (!tv_order(&((struct trun *)user)->mem, ((const struct tpair *)a)->key,
		      ((const struct tpair *)b)->key, 0, &order))
		run_invalid(user, "the keys of a dict have no order");
	return order;
}

static const struct tpair *sorted_pairs(struct trun *r, const struct tdict *d)
{
	struct tpair *const pairs = run_alloc(r, d->count * sizeof(*pairs));

	if (!pairs)
		return NULL;
	memcpy(pairs, d->pairs, d->count * sizeof(*pairs));
	qsort_r(pairs, d->count, sizeof(*pairs), order_keys, r);
	return r->rc ? NULL : pairs;
}

static bool json_dict(struct trun *r, const struct tdict *d, const struct json_style *style,
		      uint32_t depth)
{
	if (!d->count) {
		bb_buf_lit(r->out, "{}");
		return true;
	}
	const struct tpair *const pairs = style->sort_keys ? sorted_pairs(r, d) : d->pairs;
	if (!pairs)
		return false;
	bb_buf_lit(r->out, "{");
	for (uint32_t i = 0; i < d->count; i++) {
		if (i)
			put_few(r->out, style->item_separator);
		json_line(r, style, depth + 1);
		if (!json_key(r, pairs[i].key, style))
			return false;
		put_few(r->out, style->key_separator);
		if (!json_value(r, pairs[i].value, style, depth + 1))
			return false;
	}
	json_line(r, style, depth);
	bb_buf_lit(r->out, "}");
	return true;
}

static bool json_list(struct trun *r, const struct tseq *s, const struct json_style *style,
		      uint32_t depth)
{
	if (!s->count) {
		bb_buf_lit(r->out, "[]");
		return true;
	}
	bb_buf_lit(r->out, "[");
	for (uint32_t i = 0; i < s->count; i++) {
		if (i)
			put_few(r->out, style->item_separator);
		json_line(r, style, depth + 1);
		if (!json_value(r, s->items[i], style, depth + 1))
			return false;
	}
	json_line(r, style, depth);
	bb_buf_lit(r->out, "]");
	return true;
}

static void json_float(struct trun *r, double f)
{
	r->steps += RUN_FLOAT_STEPS;
	if (isnan(f))
		bb_buf_lit(r->out, "NaN");
	else if (isinf(f))
		bb_buf_put_str(r->out, f < 0 ? BB_STR("-Infinity") : BB_STR("Infinity"));
	else
		number_put(r->out, tv_float(f));
}

static bool json_value(struct trun *r, struct tvalue v, const struct json_style *style,
		       uint32_t depth)
{
	if (!value_enter(r, &v, depth))
		return false;
	switch (v.type) {
	case TV_NONE: bb_buf_lit(r->out, "null"); return true;
	case TV_BOOL: bb_buf_put_str(r->out, v.i ? BB_STR("true") : BB_STR("false")); return true;
	case TV_INT:
	case TV_BIG: number_put(r->out, v); return true;
	case TV_FLOAT: json_float(r, v.f); return true;
	case TV_STR: return json_str(r, tv_text(v), style);
	case TV_LIST:
	case TV_TUPLE: return json_list(r, v.seq, style, depth);
	case TV_DICT: return json_dict(r, v.dict, style, depth);
	default:
		run_invalid(r, "Object of type %s is not JSON serializable", tv_type_name(v.type));
		return false;
	}
}

bool format_json(struct trun *r, struct tvalue v, const struct json_style *style)
{
	return json_value(r, v, style, 0);
}

bool format_json_plain(struct trun *r, struct tvalue v)
{
	static const struct json_style plain = { .item_separator = BB_STR_INIT(", "),
						 .key_separator = BB_STR_INIT(": ") };

	return json_value(r, v, &plain, 0);
}
