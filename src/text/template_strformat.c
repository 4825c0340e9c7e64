/* str.format(): template_format.h. */
#include "text/template_chars.h"
#include "text/template_format.h"

#define WIDTH_MAX (1 << 24)

struct fields {
	struct trun *r;
	const struct targs *args;
	uint32_t next; /* of the fields without a name */
	bool is_auto, is_manual;
};

static bool put_format(struct fields *f, struct bb_str format, uint32_t depth);

static bool fail(struct fields *f, const char *what)
{
	run_invalid(f->r, "%s", what);
	return false;
}

static bool read_number(struct bb_str *s, uint64_t *out)
{
	uint64_t n = 0;

	if (!s->len || s->p[0] < '0' || s->p[0] > '9')
		return false;
	while (s->len && s->p[0] >= '0' && s->p[0] <= '9') {
		n = n > WIDTH_MAX ? n : n * 10 + (uint64_t)(s->p[0] - '0');
		*s = bb_str_skip(*s, 1);
	}
	*out = n;
	return true;
}

static bool by_place(struct fields *f, uint64_t index, struct tvalue *out)
{
	if (index >= f->args->count) {
		run_invalid(f->r, "Replacement index %llu out of range for positional args tuple",
			    (unsigned long long)index);
		return false;
	}
	*out = f->args->list[index];
	return true;
}

static bool by_name(struct fields *f, struct bb_str name, struct tvalue *out)
{
	for (uint32_t i = 0; i < f->args->keyword_count; i++)
		if (bb_str_eq(f->args->keywords[i].name, name)) {
			*out = f->args->keywords[i].value;
			return true;
		}
	run_invalid(f->r, "there is no argument '%.*s'", BB_ARG(name));
	return false;
}

static bool first_value(struct fields *f, struct bb_str name, struct tvalue *out)
{
	struct bb_str rest = name;
	uint64_t index = 0;

	if (!name.len) {
		f->is_auto = true;
		if (f->is_manual)
			return fail(f, "cannot switch from manual field specification to automatic "
				       "field numbering");
		return by_place(f, f->next++, out);
	}
	if (!read_number(&rest, &index) || rest.len)
		return by_name(f, name, out);
	f->is_manual = true;
	if (f->is_auto)
		return fail(f, "cannot switch from automatic field numbering to manual field "
			       "specification");
	return by_place(f, index, out);
}

/* "0.name[key]" */
static bool field_value(struct fields *f, struct bb_str name, struct tvalue *v)
{
	size_t n = 0;

	while (n < name.len && name.p[n] != '.' && name.p[n] != '[')
		n++;
	if (!first_value(f, (struct bb_str){ name.p, n }, v))
		return false;
	struct bb_str rest = bb_str_skip(name, n);
	while (rest.len && !is_fail(*v)) {
		const bool is_attr = rest.p[0] == '.';
		if (!is_attr && rest.p[0] != '[')
			return fail(f, "Only '.' or '[' may follow ']' in format field specifier");
		rest = bb_str_skip(rest, 1);
		for (n = 0; n < rest.len &&
			    (is_attr ? rest.p[n] != '.' && rest.p[n] != '[' : rest.p[n] != ']');)
			n++;
		const struct bb_str key = { rest.p, n };
		if (!n || (!is_attr && n == rest.len))
			return fail(f, "Empty attribute in format string");
		struct bb_str digits = key;
		uint64_t index = 0;
		if (is_attr)
			*v = op_attr_named(f->r, *v, key);
		else if (read_number(&digits, &index) && !digits.len)
			*v = op_item(f->r, *v, tv_int((int64_t)index), NULL);
		else
			*v = op_item(f->r, *v, tv_str(key), NULL);
		rest = bb_str_skip(rest, n + !is_attr);
	}
	return !is_fail(*v);
}

static bool is_align(char c)
{
	return c == '<' || c == '>' || c == '^' || c == '=';
}

static bool read_spec(struct fields *f, struct bb_str s, struct format_spec *spec)
{
	uint64_t n = 0;

	*spec = (struct format_spec){ .fill = BB_STR_INIT(" "), .precision = -1 };
	const size_t first = s.len ? chars_size(s.p[0]) : 0;
	if (s.len > first && is_align(s.p[first])) {
		spec->fill = (struct bb_str){ s.p, first };
		spec->align = s.p[first];
		s = bb_str_skip(s, first + 1);
	} else if (s.len && is_align(s.p[0])) {
		spec->align = s.p[0];
		s = bb_str_skip(s, 1);
	}
	if (s.len && (s.p[0] == '+' || s.p[0] == '-' || s.p[0] == ' ')) {
		spec->sign = s.p[0];
		s = bb_str_skip(s, 1);
	}
	if (s.len && s.p[0] == '#') {
		spec->is_alternate = true;
		s = bb_str_skip(s, 1);
	}
	if (s.len && s.p[0] == '0') {
		spec->is_zero = !spec->align;
		s = bb_str_skip(s, 1);
	}
	if (read_number(&s, &n))
		spec->width = n > WIDTH_MAX ? WIDTH_MAX + 1 : (int32_t)n;
	if (s.len && (s.p[0] == ',' || s.p[0] == '_')) {
		spec->grouping = s.p[0];
		s = bb_str_skip(s, 1);
	}
	if (s.len && s.p[0] == '.') {
		s = bb_str_skip(s, 1);
		if (!read_number(&s, &n))
			return fail(f, "Format specifier missing precision");
		spec->precision = n > WIDTH_MAX ? WIDTH_MAX : (int32_t)n;
	}
	if (s.len > 1)
		return fail(f, "Invalid format specifier");
	spec->type = s.len ? s.p[0] : 0;
	return true;
}

/* The spec may have fields of its own: "{:{}}". */
static bool spec_text(struct fields *f, struct bb_str s, uint32_t depth, struct tvalue *out)
{
	const size_t mark = run_mark(f->r);

	*out = tv_str(s);
	if (!s.len || !memchr(s.p, '{', s.len))
		return true;
	if (!put_format(f, s, depth + 1))
		return false;
	*out = run_take(f->r, mark);
	return !is_fail(*out);
}

static bool convert(struct fields *f, char how, struct tvalue *v)
{
	const size_t mark = run_mark(f->r);

	if (how == 's')
		return run_str(f->r, *v, v);
	if (how != 'r')
		return fail(f, "Unknown conversion specifier");
	if (!format_repr(f->r, *v))
		return false;
	*v = run_take(f->r, mark);
	return !is_fail(*v);
}

/* What stands between the braces. */
static bool put_field(struct fields *f, struct bb_str field, uint32_t depth)
{
	struct format_spec spec;
	struct tvalue v, text;
	size_t n = 0, in_brackets = 0;

	for (; n < field.len && (in_brackets || (field.p[n] != '!' && field.p[n] != ':')); n++)
		in_brackets = field.p[n] == '[' ? 1 : field.p[n] == ']' ? 0 : in_brackets;
	if (!field_value(f, (struct bb_str){ field.p, n }, &v))
		return false;
	struct bb_str rest = bb_str_skip(field, n);
	if (rest.len && rest.p[0] == '!') {
		if (rest.len < 2 || (rest.len > 2 && rest.p[2] != ':'))
			return fail(f, "expected ':' after conversion specifier");
		if (!convert(f, rest.p[1], &v))
			return false;
		rest = bb_str_skip(rest, 2);
	}
	return spec_text(f, bb_str_skip(rest, 1), depth, &text) &&
	       read_spec(f, tv_text(text), &spec) && format_value(f->r, v, &spec);
}

/* The end of the field that begins at p, behind its '{'. */
static const char *field_end(const char *p, const char *end)
{
	uint32_t open = 1;

	for (; p < end; p++) {
		open += *p == '{';
		open -= *p == '}';
		if (!open)
			return p;
	}
	return NULL;
}

static bool put_format(struct fields *f, struct bb_str format, uint32_t depth)
{
	const char *p = format.p, *const end = p + format.len;

	if (depth > 2)
		return fail(f, "Max string recursion exceeded");
	while (p < end) {
		if (!run_charge(f->r, 1))
			return false;
		const char *at = p;
		while (at < end && *at != '{' && *at != '}')
			at++;
		bb_buf_put(f->r->out, p, (size_t)(at - p));
		if (at == end)
			return true;
		if (at + 1 < end && at[1] == *at) {
			bb_buf_put(f->r->out, at, 1);
			p = at + 2;
			continue;
		}
		if (*at == '}')
			return fail(f, "Single '}' encountered in format string");
		const char *const close = field_end(at + 1, end);
		if (!close)
			return fail(f, "Single '{' encountered in format string");
		if (!put_field(f, (struct bb_str){ at + 1, (size_t)(close - at - 1) }, depth))
			return false;
		p = close + 1;
	}
	return true;
}

struct tvalue format_method(struct trun *r, struct tvalue format, const struct targs *args)
{
	struct fields f = { .r = r, .args = args };
	const size_t mark = run_mark(r);

	if (!put_format(&f, tv_text(format), 1))
		return TV(TV_FAIL);
	return run_take(r, mark);
}
