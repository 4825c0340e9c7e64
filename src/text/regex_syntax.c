#include "text/regex_syntax.h"

#include <string.h>

#include "text/regex_property.h"

/* Groups within groups, and classes within classes. */
#define NESTED_MAX 64

#define SPACE                                                                                      \
	"\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"         \
	"\\x{202f}\\x{205f}\\x{3000}"
#define NO_SPACE                                                                                   \
	"\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}"               \
	"\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}"             \
	"\\x{2060}-\\x{2fff}\\x{3001}-\\x{d7ff}\\x{e000}-\\x{10ffff}"
struct translation {
	const char *p, *end;
	struct bb_buf *out;
	struct text_error *error;
	size_t atom; /* in out: where what a quantifier would repeat begins */
	bool has_atom;
	size_t groups[NESTED_MAX]; /* in out: where the open groups begin */
	size_t group_count;
};

static int wrong(struct translation *t, const char *what)
{
	return text_error_invalid(t->error, "regular expression: %s, at \"%.*s\"", what,
				  (int)(t->end - t->p > 24 ? 24 : t->end - t->p), t->p);
}

static void begin_atom(struct translation *t)
{
	t->atom = t->out->len;
	t->has_atom = true;
}

static size_t char_len(const struct translation *t)
{
	size_t len = 1;

	while (t->p + len < t->end && ((uint8_t)t->p[len] & 0xc0) == 0x80)
		len++;
	return len;
}

/* ---- escapes ---- */

/* \p{…}, \P{…}, \p{^…} */
static int property(struct translation *t, enum regex_where where)
{
	bool is_not = t->p[1] == 'P';
	const char *name = t->p + 2;

	if (name >= t->end || *name != '{')
		return wrong(t, "\\p needs a name in braces");
	name++;
	if (name < t->end && *name == '^') {
		is_not = !is_not;
		name++;
	}
	const char *const close = memchr(name, '}', (size_t)(t->end - name));
	if (!close)
		return wrong(t, "\\p needs a name in braces");
	const struct bb_str to = { name, (size_t)(close - name) };
	const int rc = regex_property_add(t->out, to, is_not ? REGEX_IS_NOT : REGEX_IS, where);
	if (rc == -BB_EABSENT)
		return wrong(t, "a property that busbar does not know");
	t->p = close + 1;
	return rc;
}

static int word(struct translation *t, enum regex_where where)
{
	const int rc = regex_property_word(t->out, t->p[1] == 'W' ? REGEX_IS_NOT : REGEX_IS, where);

	if (rc == -BB_EABSENT)
		return wrong(t, "\\W is not supported in a class");
	t->p += 2;
	return rc;
}

/* A place between a word's character and another one, or where there is none. */
static int boundary(struct translation *t)
{
	const bool is_boundary = t->p[1] == 'b';
	struct bb_buf set;

	bb_buf_init(&set, 65536);
	int rc = regex_property_word(&set, REGEX_IS, REGEX_ALONE);
	if (!rc && is_boundary)
		rc = bb_buf_printf(t->out, "(?:(?<=%.*s)(?!%.*s)|(?<!%.*s)(?=%.*s))",
				   BB_ARG(bb_buf_str(&set)), BB_ARG(bb_buf_str(&set)),
				   BB_ARG(bb_buf_str(&set)), BB_ARG(bb_buf_str(&set)));
	else if (!rc)
		rc = bb_buf_printf(t->out, "(?:(?<=%.*s)(?=%.*s)|(?<!%.*s)(?!%.*s))",
				   BB_ARG(bb_buf_str(&set)), BB_ARG(bb_buf_str(&set)),
				   BB_ARG(bb_buf_str(&set)), BB_ARG(bb_buf_str(&set)));
	bb_buf_fini(&set);
	t->p += 2;
	return rc;
}

/* \s and the like; NULL for another letter. */
static const char *set_of(char letter, bool in_class)
{
	switch (letter) {
	case 's': return in_class ? SPACE : "[" SPACE "]";
	case 'S': return in_class ? NO_SPACE : "[^" SPACE "]";
	case 'h': return in_class ? "0-9a-fA-F" : "[0-9a-fA-F]";
	case 'H': return in_class ? NULL : "[^0-9a-fA-F]";
	default: return NULL;
	}
}

static int hex(struct translation *t, size_t digits_max)
{
	uint32_t value = 0;
	size_t n = 0;
	const bool has_brace = digits_max == 2 && t->p + 2 < t->end && t->p[2] == '{';
	const char *p = t->p + 2 + (has_brace ? 1 : 0);

	for (; p < t->end && n < (has_brace ? 8 : digits_max); p++, n++) {
		const char c = *p;
		if (c >= '0' && c <= '9')
			value = value * 16 + (uint32_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			value = value * 16 + (uint32_t)((c | 32) - 'a' + 10);
		else
			break;
	}
	if (!n || value > 0x10ffff || (has_brace && (p >= t->end || *p != '}')) ||
	    (digits_max == 4 && n != 4))
		return wrong(t, "a character's number is malformed");
	t->p = p + (has_brace ? 1 : 0);
	return bb_buf_printf(t->out, "\\x{%x}", value);
}

static int escape(struct translation *t, bool in_class)
{
	if (t->p + 1 >= t->end)
		return wrong(t, "a backslash stands at the end");
	const char letter = t->p[1];
	const char *const set = set_of(letter, in_class);
	if (set) {
		t->p += 2;
		return bb_buf_add_str(t->out, bb_str_of(set));
	}
	const enum regex_where where = in_class ? REGEX_IN_CLASS : REGEX_ALONE;
	switch (letter) {
	case 'p':
	case 'P': return property(t, where);
	case 'w':
	case 'W': return word(t, where);
	case 'd':
	case 'D':
		t->p += 2;
		return regex_property_add(t->out, BB_STR("Nd"),
					  letter == 'D' ? REGEX_IS_NOT : REGEX_IS, where);
	case 'x': return hex(t, 2);
	case 'u': return hex(t, 4);
	case 'b':
	case 'B': return in_class ? wrong(t, "\\b is not supported in a class") : boundary(t);
	default: break;
	}
	if (((letter | 32) >= 'a' && (letter | 32) <= 'z') || (letter >= '0' && letter <= '9')) {
		if (!strchr(in_class ? "tnrfae" : "tnrfaeAzZG", letter))
			return wrong(t, "this escape is not supported");
		bb_buf_add(t->out, t->p, 2);
		t->p += 2;
		return t->out->err;
	}
	/* A character that is meant as it is. */
	t->p++;
	const size_t len = char_len(t);
	if (!(*t->p & 0x80))
		bb_buf_lit(t->out, "\\");
	bb_buf_add(t->out, t->p, len);
	t->p += len;
	return t->out->err;
}

/* ---- classes ---- */

static int wrap_atom(struct translation *t);
static int class(struct translation *t);

/* [A&&[B]]: a character of A that is also one of B. */
static int intersection(struct translation *t, bool is_negated)
{
	const char *const begin = t->p;

	t->p += 2;
	if (is_negated || t->p >= t->end || *t->p != '[')
		return wrong(t, "this intersection of classes is not supported");
	bb_buf_lit(t->out, "](?<=");
	const int rc = class(t);
	if (rc)
		return rc;
	if (t->p >= t->end || *t->p != ']') {
		t->p = begin;
		return wrong(t, "this intersection of classes is not supported");
	}
	t->p++;
	bb_buf_lit(t->out, ")");
	return wrap_atom(t);
}

static int class(struct translation *t)
{
	const bool is_negated = t->p + 1 < t->end && t->p[1] == '^';
	bb_buf_add(t->out, t->p, is_negated ? 2 : 1);
	t->p += is_negated ? 2 : 1;
	for (bool is_first = true; t->p < t->end; is_first = false) {
		if (*t->p == ']' && !is_first) {
			bb_buf_add(t->out, t->p++, 1);
			return t->out->err;
		}
		int rc = 0;
		if (*t->p == '\\') {
			rc = escape(t, true);
		} else if (*t->p == '[' && t->p + 1 < t->end && t->p[1] == ':') {
			rc = wrong(t, "POSIX classes are not supported");
		} else if (*t->p == '[') {
			rc = wrong(t, "a class in a class is not supported");
		} else if (*t->p == '&' && t->p + 1 < t->end && t->p[1] == '&') {
			return intersection(t, is_negated);
		} else if (*t->p == ']') {
			rc = wrong(t, "an empty class is not supported");
		} else {
			const size_t len = char_len(t);
			rc = bb_buf_add(t->out, t->p, len);
			t->p += len;
		}
		if (rc)
			return rc;
	}
	return wrong(t, "a class is not closed");
}

/* ---- groups ---- */

/* Behind "(?": options as Oniguruma has them: i, m (its dot takes newlines), x. */
static int options(struct translation *t)
{
	bb_buf_lit(t->out, "(?");
	for (t->p += 2; t->p < t->end; t->p++) {
		if (*t->p == 'i' || *t->p == 'x' || *t->p == '-') {
			bb_buf_add(t->out, t->p, 1);
		} else if (*t->p == 'm') {
			bb_buf_lit(t->out, "s");
		} else if (*t->p == ':' || *t->p == ')') {
			return bb_buf_add(t->out, t->p++, 1);
		} else {
			return wrong(t, "this option is not supported");
		}
	}
	return wrong(t, "a group is not closed");
}

static int open_group(struct translation *t)
{
	static const char *const plain[] = { "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!" };
	const struct bb_str rest = { t->p, (size_t)(t->end - t->p) };

	if (t->group_count == NESTED_MAX)
		return wrong(t, "groups are nested too deep");
	t->groups[t->group_count++] = t->out->len;
	t->has_atom = false;
	if (rest.len < 2 || rest.p[1] != '?') {
		/* What a group matched is never asked for. */
		t->p++;
		return bb_buf_lit(t->out, "(?:");
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (bb_str_starts(rest, bb_str_of(plain[i]))) {
			t->p += strlen(plain[i]);
			return bb_buf_add_str(t->out, bb_str_of(plain[i]));
		}
	}
	const int rc = options(t);
	if (!rc && t->p[-1] == ')')
		t->group_count--; /* (?i) opens nothing */
	return rc;
}

static int close_group(struct translation *t)
{
	if (!t->group_count)
		return wrong(t, "a group is closed that was not opened");
	t->atom = t->groups[--t->group_count];
	t->has_atom = true;
	t->p++;
	return bb_buf_lit(t->out, ")");
}

/* ---- quantifiers ---- */

/* The length of {n}, {n,}, {n,m} or {,m} at p; 0 when it is none. */
static size_t interval_len(const char *p, const char *end)
{
	const char *q = p + 1;
	size_t digits = 0, commas = 0;

	for (; q < end && *q != '}'; q++) {
		if (*q == ',')
			commas++;
		else if (*q >= '0' && *q <= '9')
			digits++;
		else
			return 0;
	}
	return q < end && digits && commas <= 1 ? (size_t)(q + 1 - p) : 0;
}

static int wrap_atom(struct translation *t)
{
	const int rc = bb_buf_add(t->out, "(?:)", 4);

	if (rc)
		return rc;
	char *const at = t->out->p + t->atom;
	memmove(at + 3, at, t->out->len - 4 - t->atom);
	memcpy(at, "(?:", 3);
	t->out->p[t->out->len - 1] = ')';
	return 0;
}

static int interval(struct translation *t, size_t len)
{
	int rc;

	if (t->p[1] == ',') { /* {,m} */
		bb_buf_lit(t->out, "{0");
		rc = bb_buf_add(t->out, t->p + 1, len - 1);
	} else {
		rc = bb_buf_add(t->out, t->p, len);
	}
	const bool is_exact = !memchr(t->p, ',', len);
	t->p += len;
	if (rc)
		return rc;
	if (t->p < t->end && *t->p == '+')
		return wrap_atom(t); /* repeats; PCRE2 would take it as possessive */
	if (t->p < t->end && *t->p == '?') {
		if (is_exact)
			return wrap_atom(t); /* {n}? is "n times, or not at all" */
		bb_buf_add(t->out, t->p++, 1);
	}
	return t->out->err;
}

static int quantifier(struct translation *t)
{
	if (*t->p == '{') {
		const size_t len = interval_len(t->p, t->end);
		if (!len) {
			begin_atom(t);
			t->p++;
			return bb_buf_lit(t->out, "\\{");
		}
		if (!t->has_atom)
			return wrong(t, "a quantifier has nothing to repeat");
		return interval(t, len);
	}
	if (!t->has_atom)
		return wrong(t, "a quantifier has nothing to repeat");
	bb_buf_add(t->out, t->p++, 1);
	if (t->p < t->end && (*t->p == '?' || *t->p == '+'))
		bb_buf_add(t->out, t->p++, 1);
	return t->out->err;
}

static int one(struct translation *t)
{
	switch (*t->p) {
	case '[': begin_atom(t); return class(t);
	case '(': return open_group(t);
	case ')': return close_group(t);
	case '*':
	case '+':
	case '?':
	case '{': return quantifier(t);
	case '\\': begin_atom(t); return escape(t, false);
	case '|': t->has_atom = false; return bb_buf_add(t->out, t->p++, 1);
	default: break;
	}
	begin_atom(t);
	const size_t len = char_len(t);
	const int rc = bb_buf_add(t->out, t->p, len);
	t->p += len;
	return rc;
}

int regex_syntax_translate(struct bb_str pattern, struct bb_buf *out, struct text_error *e)
{
	struct translation t = {
		.p = pattern.p,
		.end = pattern.p + pattern.len,
		.out = out,
		.error = e,
	};

	while (t.p < t.end) {
		const int rc = one(&t);
		if (rc)
			return rc;
	}
	return t.group_count ? wrong(&t, "a group is not closed") : out->err;
}

int regex_syntax_quote(struct bb_str text, struct bb_buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		const char c = text.p[i];
		const bool is_plain = (c & 0x80) || (c >= '0' && c <= '9') ||
				      ((c | 32) >= 'a' && (c | 32) <= 'z') || (uint8_t)c <= ' ';
		if (!is_plain)
			bb_buf_lit(out, "\\");
		bb_buf_add(out, text.p + i, 1);
	}
	return out->err;
}
