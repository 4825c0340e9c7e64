/* The strict scanner of json.h. */
#include "wire/json.h"

#include "wire/json_escape.h"
#include "wire/json_run.h"
#include "wire/utf8.h"

struct scan {
	const char *begin;
	const char *end;
	const char *at;	  /* where it failed */
	const char *what; /* why; NULL while all is well */
	uint32_t depth_max;
	size_t escape_count; /* so far: more after a string than before it: it has escapes */
};

/* A scan function returns where it came to, or NULL after this. */
static const char *fail(struct scan *s, const char *at, const char *what)
{
	s->at = at;
	s->what = what;
	return NULL;
}

static const char *space_slow(struct scan *s, const char *p)
{
	/* Only one, as a rule, where the text is not indented. */
	if (s->end - p > 1 && *p == ' ' && (unsigned char)p[1] > ' ')
		return p + 1;
	p = json_run_space_inline(p, s->end);
	return p < s->end ? p : fail(s, p, "the text ends too early");
}

/* The next byte that is no space; there must be one. */
static inline const char *space(struct scan *s, const char *p)
{
	if (__builtin_expect(p < s->end && (unsigned char)*p > ' ', 1))
		return p;
	return space_slow(s, p);
}

/* p is at a backslash. */
static const char *scan_escape(struct scan *s, const char *p)
{
	size_t len;

	s->escape_count++;
	if (s->end - p < 2)
		return fail(s, s->end, "a string is not closed");
	switch (p[1]) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't': return p + 2;
	case 'u':
		if (json_unicode_escape(p + 2, s->end, &len) < 0)
			return fail(s, p, "a \\u escape is malformed or a lone surrogate");
		return p + 2 + len;
	default: return fail(s, p, "an escape that JSON does not know");
	}
}

/* What may stand behind a backslash, but for the u of \\uXXXX. */
static const bool is_simple_escape[256] = {
	['"'] = true, ['\\'] = true, ['/'] = true, ['b'] = true,
	['f'] = true, ['n'] = true,  ['r'] = true, ['t'] = true,
};

/*
 * p is at a backslash: goes on over simple escapes and what is between them, to the string's end
 * or to something that takes a closer look. Where there is one escape there are more, so each block
 * is looked at once for all of its escapes.
 */
static const char *scan_simple_escapes(struct scan *s, const char *p, bool *high)
{
#if defined(__x86_64__)
	const __m128i edge = _mm_set1_epi8(0x1f);
	int above = 0;

	while (s->end - p > 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i stops = _mm_cmpeq_epi8(_mm_max_epu8(v, edge), edge);
		stops = _mm_or_si128(stops, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
		stops = _mm_or_si128(stops, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		unsigned mask = (unsigned)_mm_movemask_epi8(stops), size = 16;
		/* Bytes behind the string's end may be among them: then its check is for nothing.
		 */
		above |= _mm_movemask_epi8(v);
		while (mask) {
			const unsigned n = (unsigned)__builtin_ctz(mask);
			if (p[n] != '\\' || !is_simple_escape[(unsigned char)p[n + 1]]) {
				*high |= above != 0;
				return p + n;
			}
			s->escape_count++;
			mask &= ~(3u << n);
			size = n == 15 ? 17 : 16;
		}
		p += size;
	}
	*high |= above != 0;
#endif
	return p;
}

#if defined(__x86_64__)
/*
 * Strings that end within 16 bytes, without escapes and with no characters but those of one and
 * two bytes, are checked on the spot: most keys, and nearly all of a vocabulary. Returns behind the
 * closing quote, or NULL where it takes a closer look.
 */
static inline const char *scan_short_string(const char *p, const char *end)
{
	if (__builtin_expect(end - p < 16, 0))
		return NULL;
	const __m128i v = _mm_loadu_si128((const __m128i *)p), edge = _mm_set1_epi8(0x1f);
	const __m128i quotes = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
	const __m128i stops =
		_mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(_mm_max_epu8(v, edge), edge), quotes),
			     _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
	const unsigned mask = (unsigned)_mm_movemask_epi8(stops), first = mask & -mask;
	if (!(first & (unsigned)_mm_movemask_epi8(quotes)))
		return NULL;
	const unsigned inside = first - 1, high = (unsigned)_mm_movemask_epi8(v) & inside;
	if (high) {
		/* As signed bytes 80 … BF are the lowest, and C2 … DF stand behind C0 and C1. */
		const unsigned more =
			(unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(v, _mm_set1_epi8(-64))) & inside;
		const unsigned large =
			(unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(v, _mm_set1_epi8(-63))) &
			(unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(v, _mm_set1_epi8(-32)));
		const unsigned leads = high & ~more;
		if (leads & ~large || more != leads << 1)
			return NULL;
	}
	return p + __builtin_ctz(first) + 1;
}
#endif

/* p is behind the opening quote; returns behind the closing one. */
static const char *scan_string_slow(struct scan *s, const char *p)
{
	const char *const start = p;
	bool high = false;

	for (;;) {
		p = json_run_plain_inline(p, s->end, &high);
		if (__builtin_expect(p == s->end, 0))
			return fail(s, p, "a string is not closed");
		if (*p == '"')
			break;
		if (*p == '\\')
			p = scan_simple_escapes(s, p, &high);
		while (p && p < s->end && *p == '\\')
			p = scan_escape(s, p);
		if (!p)
			return NULL;
		if (p < s->end && (unsigned char)*p < 0x20)
			return fail(s, p, "a control byte in a string");
	}
	if (__builtin_expect(high, 0)) {
		const struct bb_str all = { start, (size_t)(p - start) };
		const size_t ok = utf8_check(all);
		if (ok < all.len)
			return fail(s, start + ok, "a string is not UTF-8");
	}
	return p + 1;
}

static inline const char *scan_string(struct scan *s, const char *p)
{
#if defined(__x86_64__)
	const char *const behind = scan_short_string(p, s->end);

	if (__builtin_expect(behind != NULL, 1))
		return behind;
#endif
	return scan_string_slow(s, p);
}

static inline bool is_digit(const char *p, const char *end)
{
	return p < end && (unsigned char)(*p - '0') <= 9;
}

static const char *scan_digits(struct scan *s, const char *p)
{
	if (!is_digit(p, s->end))
		return fail(s, p, "a number lacks a digit");
	while (is_digit(p, s->end))
		p++;
	return p;
}

static const char *scan_number(struct scan *s, const char *p)
{
	if (*p == '-')
		p++;
	if (p < s->end && *p == '0')
		p++;
	else if (!(p = scan_digits(s, p)))
		return NULL;
	if (p < s->end && *p == '.' && !(p = scan_digits(s, p + 1)))
		return NULL;
	if (p < s->end && (*p | 0x20) == 'e') {
		p++;
		if (p < s->end && (*p == '+' || *p == '-'))
			p++;
		p = scan_digits(s, p);
	}
	return p;
}

static const char *scan_word(struct scan *s, const char *p, struct bb_str word)
{
	const struct bb_str rest = { p, (size_t)(s->end - p) };

	if (!bb_str_starts(rest, word))
		return fail(s, p, "a value was expected here");
	return p + word.len;
}

/* p is at the first byte of a value that is no container. */
static inline const char *scan_scalar(struct scan *s, const char *p)
{
	switch (*p) {
	case '"': return scan_string(s, p + 1);
	case 't': return scan_word(s, p, BB_STR("true"));
	case 'f': return scan_word(s, p, BB_STR("false"));
	case 'n': return scan_word(s, p, BB_STR("null"));
	case '-':
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9': return scan_number(s, p);
	default: return fail(s, p, "a value was expected here");
	}
}

struct key {
	struct bb_str text; /* p is NULL in arrays */
	bool has_escape;
};

/* p is at a key's quote; returns the first byte of its value. */
static inline const char *scan_key(struct scan *s, const char *p, struct key *key)
{
	const char *const start = p + 1;
	const size_t escape_count = s->escape_count;

	if (*p != '"')
		return fail(s, p, "a member's name was expected here");
	p = scan_string(s, start);
	if (!p)
		return NULL;
	*key = (struct key){ { start, (size_t)(p - 1 - start) }, s->escape_count > escape_count };
	p = space(s, p);
	if (!p)
		return NULL;
	if (*p != ':')
		return fail(s, p, "':' was expected here");
	return space(s, p + 1);
}

/* What to tell of a value's inside, and to whom; NULL where nothing is wanted. */
struct inner {
	json_on_inner *on_inner;
	void *user;
	int rc; /* the first of on_inner that is not 0: the scan ends */
};

/* Tells of the bytes from `value` to `end`; returns the latter, or NULL. */
static inline const char *inner_tell(struct inner *in, enum json_event event, const struct key *key,
				     const char *value, const char *end, uint32_t depth)
{
	const struct json_member m = {
		.key = key->text,
		.value = { value, (size_t)(end - value) },
		.type = json_type_of((struct bb_str){ value, 1 }),
		.key_has_escape = key->has_escape,
	};

	in->rc = in->on_inner(in->user, event, &m, depth);
	return in->rc ? NULL : end;
}

/*
 * One value, containers and all; p is at its first byte. `depth` containers are around it. The
 * kinds of the open containers are a stack of bits, the innermost in bit 0: 1 is an object. Made
 * twice, with and without `in`, so that values that nobody watches cost nothing more.
 */
static inline __attribute__((always_inline)) const char *scan_value_as(struct scan *s,
								       const char *p,
								       const uint32_t depth,
								       struct inner *in)
{
	uint64_t objects = 0;
	uint32_t open = 0;
	static const struct key none = { { NULL, 0 }, false };
	struct key key = none;

	for (;;) {
		if (*p == '{' || *p == '[') {
			const bool is_object = *p == '{';
			if (depth + open >= s->depth_max)
				return fail(s, p, "nested too deeply");
			if (in && !inner_tell(in, JSON_OPEN, &key, p, p + 1, open))
				return NULL;
			open++;
			objects = objects << 1 | is_object;
			p = space(s, p + 1);
			if (!p)
				return NULL;
			key = none;
			if (*p != (is_object ? '}' : ']')) {
				if (is_object && !(p = scan_key(s, p, &key)))
					return NULL;
				continue;
			}
			open--;
			objects >>= 1;
			if (in && !inner_tell(in, JSON_CLOSE, &none, p, p + 1, open))
				return NULL;
			p++;
		} else {
			const char *const value = p;
			p = scan_scalar(s, p);
			if (!p || (in && !inner_tell(in, JSON_SCALAR, &key, value, p, open)))
				return NULL;
		}
		/* Behind a value: close what ends here, then go on with the next value. */
		for (;;) {
			if (open == 0)
				return p;
			p = space(s, p);
			if (!p)
				return NULL;
			if (*p == ',') {
				p = space(s, p + 1);
				if (p && (objects & 1))
					p = scan_key(s, p, &key);
				else
					key = none;
				if (!p)
					return NULL;
				break;
			}
			if (*p != (objects & 1 ? '}' : ']'))
				return fail(s, p, "',' or the container's end was expected here");
			open--;
			objects >>= 1;
			if (in && !inner_tell(in, JSON_CLOSE, &none, p, p + 1, open))
				return NULL;
			p++;
		}
	}
}

static const char *scan_value(struct scan *s, const char *p, const uint32_t depth)
{
	return scan_value_as(s, p, depth, NULL);
}

static const char *scan_value_watched(struct scan *s, const char *p, struct inner *in)
{
	return scan_value_as(s, p, 1, in);
}

static const char *scan_rest(struct scan *s, const char *p)
{
	p = json_run_space_inline(p, s->end);
	return p == s->end ? p : fail(s, p, "bytes after the end");
}

static struct scan scan_of(struct bb_str text, uint32_t depth_max)
{
	const char *const begin = text.len ? text.p : "";

	return (struct scan){
		.begin = begin,
		.end = begin + text.len,
		.depth_max = depth_max < JSON_DEPTH_MAX ? depth_max : JSON_DEPTH_MAX,
	};
}

static int syntax_error(const struct scan *s, struct json_error *err)
{
	if (err)
		*err = (struct json_error){ (size_t)(s->at - s->begin), s->what };
	return -BB_ESYNTAX;
}

int json_check(struct bb_str text, uint32_t depth_max, struct json_error *err)
{
	struct scan s = scan_of(text, depth_max);
	const char *p = space(&s, s.begin);

	if (p)
		p = scan_value(&s, p, 0);
	if (p)
		p = scan_rest(&s, p);
	return p ? 0 : syntax_error(&s, err);
}

/*
 * p is at a member's key; returns behind the member's value, or NULL. *rc is what a callback
 * returned; NULL with *rc 0 is a fault of the text.
 */
static const char *scan_member(struct scan *s, const char *p, const struct json_watch *w, int *rc)
{
	struct key key;
	const char *const value = scan_key(s, p, &key);

	if (!value)
		return NULL;
	struct json_member m = {
		.key = key.text,
		.value = { value, 0 },
		.type = json_type_of((struct bb_str){ value, 1 }),
		.key_has_escape = key.has_escape,
	};
	if (w->on_inner && m.type >= JSON_STRING && w->is_watched(w->user, &m)) {
		struct inner in = { .on_inner = w->on_inner, .user = w->user };
		p = scan_value_watched(s, value, &in);
		*rc = in.rc;
	} else {
		p = scan_value(s, value, 1);
	}
	if (!p)
		return NULL;
	m.value.len = (size_t)(p - value);
	*rc = w->on_member(w->user, &m);
	return *rc ? NULL : p;
}

/* The whole text as an object; *rc is the first that is not 0 of a callback, which ends the scan.
 */
static const char *scan_object(struct scan *s, const struct json_watch *w, int *rc)
{
	const char *p = space(s, s->begin);

	if (!p)
		return NULL;
	if (*p != '{')
		return fail(s, p, "an object was expected");
	if (s->depth_max == 0)
		return fail(s, p, "nested too deeply");
	p = space(s, p + 1);
	if (p && *p == '}')
		return scan_rest(s, p + 1);
	while (p) {
		p = scan_member(s, p, w, rc);
		if (!p)
			return NULL;
		p = space(s, p);
		if (!p)
			return NULL;
		if (*p == '}')
			return scan_rest(s, p + 1);
		if (*p != ',')
			return fail(s, p, "',' or '}' was expected here");
		p = space(s, p + 1);
	}
	return NULL;
}

int json_scan_watched(struct bb_str text, uint32_t depth_max, const struct json_watch *w,
		      struct json_error *err)
{
	struct scan s = scan_of(text, depth_max);
	int rc = 0;

	if (!scan_object(&s, w, &rc) && !rc)
		return syntax_error(&s, err);
	return rc;
}

int json_scan_object(struct bb_str text, uint32_t depth_max, json_on_member *on_member, void *user,
		     struct json_error *err)
{
	const struct json_watch w = { .on_member = on_member, .user = user };

	return json_scan_watched(text, depth_max, &w, err);
}
