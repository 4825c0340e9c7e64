#include "wire/shield_regex.h"

#include <stdbool.h>

#include "wire/json_escape.h"

#define OTHER 0x80 /* any character that means nothing in an expression */
#define END -1

struct regex {
	const char *p;
	const char *end;
	uint64_t sizes[SHIELD_REGEX_GROUPS_MAX + 1]; /* of the groups that are open */
	uint32_t depth;
	uint64_t last; /* size of the latest atom, which a repetition multiplies */
};

/* The next character, JSON's escapes undone. */
static int next_char(struct regex *r)
{
	size_t len;

	if (r->p >= r->end)
		return END;
	const unsigned char c = (unsigned char)*r->p++;
	if (c != '\\' || r->p >= r->end)
		return c < 0x80 ? c : OTHER;
	const char escape = *r->p++;
	if (escape != 'u')
		return escape == '\\' || escape == '/' || escape == '"' ? escape : OTHER;
	const int32_t point = json_unicode_escape(r->p, r->end, &len);
	if (point < 0)
		return OTHER;
	r->p += len;
	return point < 0x80 ? point : OTHER;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static void atom(struct regex *r, uint64_t size)
{
	r->sizes[r->depth] = add(r->sizes[r->depth], size);
	r->last = size;
}

/* Behind '[': to its ']'. One behind the bracket, or behind its ^, stands for itself. */
static void skip_class(struct regex *r)
{
	bool is_first = true;
	int c;

	while ((c = next_char(r)) != END) {
		if (c == '\\')
			next_char(r);
		else if (c == ']' && !is_first)
			return;
		is_first = is_first && c == '^';
	}
}

/* Behind '{': the greater of the numbers in {m}, {m,}, {,n}, {m,n}, at least 1; 0: a plain brace.
 */
static uint64_t read_count(struct regex *r)
{
	const char *const start = r->p;
	uint64_t value = 0, most = 0;
	int c;

	while ((c = next_char(r)) != END && ((c >= '0' && c <= '9') || c == ',')) {
		value = c == ',' ? 0 : add(multiply(value, 10), (uint64_t)(c - '0'));
		most = value > most ? value : most;
	}
	if (c == '}')
		return most ? most : 1;
	r->p = start;
	return 0;
}

static void repeat(struct regex *r)
{
	const uint64_t times = read_count(r);

	if (!times) {
		atom(r, 1);
		return;
	}
	const uint64_t more = multiply(r->last, times - 1);

	r->sizes[r->depth] = add(r->sizes[r->depth], more);
	r->last = add(r->last, more);
}

uint64_t shield_regex_states(struct bb_str inner)
{
	struct regex r = { .p = inner.p, .end = inner.p + inner.len };
	int c;

	while ((c = next_char(&r)) != END) {
		switch (c) {
		case '\\':
			next_char(&r);
			atom(&r, 1);
			break;
		case '[':
			skip_class(&r);
			atom(&r, 1);
			break;
		case '(':
			if (r.depth == SHIELD_REGEX_GROUPS_MAX)
				return UINT64_MAX;
			r.sizes[++r.depth] = 0;
			r.last = 0;
			break;
		case ')':
			if (r.depth) {
				const uint64_t size = r.sizes[r.depth--];
				atom(&r, size ? size : 1);
			}
			break;
		case '{': repeat(&r); break;
		case '*':
		case '+':
		case '?':
		case '|':
		case '^':
		case '$': break;
		default: atom(&r, 1); break;
		}
	}
	for (; r.depth; r.depth--)
		r.sizes[r.depth - 1] = add(r.sizes[r.depth - 1], r.sizes[r.depth]);
	return r.sizes[0];
}
