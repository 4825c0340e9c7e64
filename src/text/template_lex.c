#include "text/template_lex.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "text/template.h"
#include "text/template_chars.h"
#include "text/template_string.h"
#include "wire/utf8.h"

#define BRACKETS_MAX TEMPLATE_NESTING_MAX

struct lexer {
	struct bb_str source;
	const char *p, *end;
	struct tmem *m;
	struct token_array *out;
	struct text_error *e;
	bool line_starting; /* does the data that follows begin a line? */
	char brackets[BRACKETS_MAX];
	uint32_t bracket_count;
};

const char *token_name(uint32_t type)
{
	static const char *const names[] = {
#define X(name, text) text,
		TEMPLATE_TOKENS(X)
#undef X
	};
	return names[type];
}

void template_error_at(struct text_error *e, struct bb_str source, size_t at, const char *format,
		       ...)
{
	char what[240];
	size_t line = 1, begin = 0;
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	for (size_t i = 0; i < at && i < source.len; i++)
		if (source.p[i] == '\n') {
			line++;
			begin = i + 1;
		}
	text_error_set(e, "line %zu, column %zu: %s", line, at - begin + 1, what);
}

#define lex_fail(x, at, ...)                                                                       \
	(template_error_at((x)->e, (x)->source, (size_t)((at) - (x)->source.p), __VA_ARGS__),      \
	 -BB_ESYNTAX)

int template_source_copy(struct bb_str source, struct tmem *m, struct bb_str *out)
{
	char *const copy = tmem_alloc(m, source.len + 1);
	size_t len = 0;

	if (!copy)
		return -BB_ENOMEM;
	for (size_t i = 0; i < source.len; i++) {
		copy[len++] = source.p[i] == '\r' ? '\n' : source.p[i];
		if (source.p[i] == '\r' && i + 1 < source.len && source.p[i + 1] == '\n')
			i++;
	}
	if (len && copy[len - 1] == '\n')
		len--;
	*out = (struct bb_str){ copy, len };
	return 0;
}

static int push(struct lexer *x, uint32_t type, const char *at, struct bb_str text)
{
	struct token_array *const a = x->out;

	if (a->count == a->cap) {
		const size_t cap = a->cap ? a->cap * 2 : 256;
		struct token *const list = bb_realloc(a->list, cap * sizeof(*list));
		if (!list)
			return -BB_ENOMEM;
		a->list = list;
		a->cap = cap;
	}
	a->list[a->count++] = (struct token){ type, (uint32_t)(at - x->source.p), text };
	return 0;
}

static bool looking_at(const struct lexer *x, const char *p, struct bb_str text)
{
	return bb_str_starts((struct bb_str){ p, (size_t)(x->end - p) }, text);
}

static const char *skip_space(const struct lexer *x, const char *p)
{
	return chars_strip_left((struct bb_str){ p, (size_t)(x->end - p) }).p;
}

/* ---- data ---- */

static int push_data(struct lexer *x, const char *at, const char *to)
{
	return to > at ? push(x, TOKEN_DATA, at, (struct bb_str){ at, (size_t)(to - at) }) : 0;
}

/* The end of the data in front of a tag with this sign; `lstrip`: the tag is no expression. */
static const char *data_end(const struct lexer *x, const char *at, const char *tag, char sign,
			    int lstrip)
{
	const struct bb_str text = { at, (size_t)(tag - at) };

	if (sign == '-') {
		const struct bb_str kept = chars_strip_right(text);
		return kept.p + kept.len;
	}
	if (sign == '+' || !lstrip)
		return tag;
	const char *const newline = text.len ? memrchr(at, '\n', text.len) : NULL;
	if (!newline && !x->line_starting)
		return tag;
	const char *const line = newline ? newline + 1 : at;
	return skip_space(x, line) >= tag ? line : tag;
}

/* Behind a tag's "%}": with trim_blocks one newline goes; with a '-' all white space. */
static const char *behind_end(const struct lexer *x, const char *p, char sign, int trim)
{
	if (sign == '-')
		return skip_space(x, p);
	if (sign != '+' && trim && p < x->end && *p == '\n')
		return p + 1;
	return p;
}

static void resume_data(struct lexer *x, const char *from, const char *p)
{
	x->line_starting = p > from && p[-1] == '\n';
	x->p = p;
}

static int lex_comment(struct lexer *x, const char *tag)
{
	const char *p = x->p;

	if (p == x->end) /* Jinja lets this one pass */
		return 0;
	for (;;) {
		p = memchr(p, '#', (size_t)(x->end - p));
		if (!p)
			return lex_fail(x, tag, "a comment is not closed: '#}' is missing");
		if (p + 1 < x->end && p[1] == '}')
			break;
		p++;
	}
	const char sign = p > x->p && (p[-1] == '-' || p[-1] == '+') ? p[-1] : 0;
	resume_data(x, p, behind_end(x, p + 2, sign, 1));
	return 0;
}

/* `{% raw %}` at tag, whose sign has been read; NULL when it is another tag. */
static const char *raw_begin(const struct lexer *x, const char *p)
{
	p = skip_space(x, p);
	if (!looking_at(x, p, BB_STR("raw")))
		return NULL;
	p = skip_space(x, p + 3);
	if (looking_at(x, p, BB_STR("-%}")))
		return skip_space(x, p + 3);
	return looking_at(x, p, BB_STR("%}")) ? p + 2 : NULL;
}

/* Is this "{% endraw %}"? Gives its sign and what follows it. */
static bool raw_end(const struct lexer *x, const char *p, char *sign, const char **rest)
{
	p += 2;
	*sign = p < x->end && (*p == '-' || *p == '+') ? *p++ : 0;
	p = skip_space(x, p);
	if (!looking_at(x, p, BB_STR("endraw")))
		return false;
	p = skip_space(x, p + 6);
	const char end_sign = p < x->end && (*p == '-' || *p == '+') ? *p++ : 0;
	if (!looking_at(x, p, BB_STR("%}")))
		return false;
	*rest = behind_end(x, p + 2, end_sign, 1);
	return true;
}

static int lex_raw(struct lexer *x, const char *tag)
{
	const char *const begin = x->p, *rest = NULL;
	const char *p = begin;
	char sign = 0;

	if (p == x->end)
		return 0;
	for (;; p++) {
		p = memmem(p, (size_t)(x->end - p), "{%", 2);
		if (!p)
			return lex_fail(x, tag,
					"a raw block is not closed: '{%% endraw %%}' is missing");
		if (raw_end(x, p, &sign, &rest))
			break;
	}
	const int rc = push_data(x, begin, data_end(x, begin, p, sign, 1));
	resume_data(x, p, rest);
	return rc;
}

/* ---- inside of tags ---- */

static bool is_digit(const struct lexer *x, const char *p)
{
	return p < x->end && *p >= '0' && *p <= '9';
}

static const char *digits(const struct lexer *x, const char *p)
{
	while (is_digit(x, p) || (p < x->end && *p == '_' && is_digit(x, p + 1)))
		p++;
	return p;
}

/* 0x1f, 0o17, 0b1: the end of it, or NULL. */
static const char *radix_end(const struct lexer *x, const char *p)
{
	if (*p != '0' || p + 2 >= x->end)
		return NULL;
	const char kind = (char)(p[1] | 0x20);
	const char *const set = kind == 'x'   ? "0123456789abcdefABCDEF"
				: kind == 'o' ? "01234567"
				: kind == 'b' ? "01"
					      : "";
	const char *q = p + 2;
	for (;;) {
		const char *const digit = q + (q < x->end && *q == '_');
		if (digit >= x->end || !*digit || !strchr(set, *digit))
			break;
		q = digit + 1;
	}
	return q > p + 2 ? q : NULL;
}

static int lex_number(struct lexer *x)
{
	const char *const begin = x->p;
	const char *p = digits(x, begin);
	uint32_t type = TOKEN_INTEGER;

	/* Behind a dot it is an element's number: x.0.1 */
	if (begin == x->source.p || begin[-1] != '.') {
		const char *q = p;
		if (q < x->end && *q == '.' && is_digit(x, q + 1)) {
			q = digits(x, q + 1);
			type = TOKEN_FLOAT;
		}
		if (q < x->end && (*q | 0x20) == 'e') {
			const char *exp = q + 1;
			exp += exp < x->end && (*exp == '+' || *exp == '-');
			if (is_digit(x, exp)) {
				q = digits(x, exp);
				type = TOKEN_FLOAT;
			}
		}
		if (type == TOKEN_FLOAT)
			p = q;
	}
	if (type == TOKEN_INTEGER) {
		const char *const radix = radix_end(x, begin);
		if (radix)
			p = radix;
		else if (*begin == '0') /* "00" is a number, "01" is two */
			for (p = begin + 1;
			     p < x->end && (*p == '0' || (*p == '_' && p[1] == '0'));)
				p++;
	}
	x->p = p;
	return push(x, type, begin, (struct bb_str){ begin, (size_t)(p - begin) });
}

static int lex_name(struct lexer *x)
{
	const char *const begin = x->p;
	const char *p = begin;

	while (p < x->end) {
		const char *next = p;
		if (!chars_is_word(chars_next(&next, x->end)))
			break;
		p = next;
	}
	x->p = p;
	return push(x, TOKEN_NAME, begin, (struct bb_str){ begin, (size_t)(p - begin) });
}

static int lex_string(struct lexer *x)
{
	const char *const begin = x->p;
	const char *p = begin + 1;
	struct bb_str value;

	while (p < x->end && *p != *begin)
		p += *p == '\\' ? 2 : 1;
	if (p >= x->end)
		return lex_fail(x, begin, "a string is not closed");
	const char *why = NULL;
	const int rc = string_unescape((struct bb_str){ begin + 1, (size_t)(p - begin - 1) }, x->m,
				       &value, &why);
	if (rc == -BB_ESYNTAX)
		return lex_fail(x, begin, "%s", why);
	x->p = p + 1;
	return rc ? rc : push(x, TOKEN_STRING, begin, value);
}

static int balance(struct lexer *x, char c)
{
	if (c == '(' || c == '[' || c == '{') {
		if (x->bracket_count == BRACKETS_MAX)
			return lex_fail(x, x->p, "more than %d brackets in each other",
					BRACKETS_MAX);
		x->brackets[x->bracket_count++] = c == '(' ? ')' : c == '[' ? ']' : '}';
	} else if (c == ')' || c == ']' || c == '}') {
		if (!x->bracket_count)
			return lex_fail(x, x->p, "unexpected '%c'", c);
		if (x->brackets[--x->bracket_count] != c)
			return lex_fail(x, x->p, "unexpected '%c', expected '%c'", c,
					x->brackets[x->bracket_count]);
	}
	return 0;
}

static int lex_operator(struct lexer *x)
{
	/* Longer ones first. */
	static const struct {
		char text[3];
		uint8_t type;
	} table[] = {
		{ "//", TOKEN_FLOORDIV }, { "**", TOKEN_POW },	    { "==", TOKEN_EQ },
		{ "!=", TOKEN_NE },	  { ">=", TOKEN_GE },	    { "<=", TOKEN_LE },
		{ "+", TOKEN_ADD },	  { "-", TOKEN_SUB },	    { "/", TOKEN_DIV },
		{ "*", TOKEN_MUL },	  { "%", TOKEN_MOD },	    { "~", TOKEN_TILDE },
		{ "[", TOKEN_LBRACKET },  { "]", TOKEN_RBRACKET },  { "(", TOKEN_LPAREN },
		{ ")", TOKEN_RPAREN },	  { "{", TOKEN_LBRACE },    { "}", TOKEN_RBRACE },
		{ ">", TOKEN_GT },	  { "<", TOKEN_LT },	    { "=", TOKEN_ASSIGN },
		{ ".", TOKEN_DOT },	  { ":", TOKEN_COLON },	    { "|", TOKEN_PIPE },
		{ ",", TOKEN_COMMA },	  { ";", TOKEN_SEMICOLON },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct bb_str text = bb_str_of(table[i].text);
		if (!looking_at(x, x->p, text))
			continue;
		int rc = balance(x, *x->p);
		if (!rc)
			rc = push(x, table[i].type, x->p, text);
		x->p += text.len;
		return rc;
	}
	return lex_fail(x, x->p, "unexpected character '%.*s'",
			(int)bb_str_skip((struct bb_str){ x->p, chars_size(*x->p) }, 0).len, x->p);
}

/* The end of the tag, when this is it. */
static bool lex_tag_end(struct lexer *x, int is_block, int *rc)
{
	const char *p = x->p;
	const char sign = *p == '-' || (is_block && *p == '+') ? *p : 0;

	if (x->bracket_count)
		return false;
	p += sign != 0;
	if (!looking_at(x, p, is_block ? BB_STR("%}") : BB_STR("}}")))
		return false;
	*rc = push(x, is_block ? TOKEN_BLOCK_END : TOKEN_VARIABLE_END, x->p,
		   (struct bb_str){ "", 0 });
	resume_data(x, x->p, behind_end(x, p + 2, sign, is_block));
	return true;
}

static int lex_tag(struct lexer *x, const char *tag, int is_block)
{
	int rc = push(x, is_block ? TOKEN_BLOCK_BEGIN : TOKEN_VARIABLE_BEGIN, tag,
		      (struct bb_str){ "", 0 });

	x->bracket_count = 0;
	while (!rc) {
		x->p = skip_space(x, x->p);
		if (x->p >= x->end)
			return lex_fail(x, tag, "the tag is not closed: '%s' is missing",
					is_block ? "%}" : "}}");
		if (lex_tag_end(x, is_block, &rc))
			return rc;
		const unsigned char c = (unsigned char)*x->p;
		const char *p = x->p;
		if (c >= '0' && c <= '9')
			rc = lex_number(x);
		else if (c == '"' || c == '\'')
			rc = lex_string(x);
		else if (chars_is_word(chars_next(&p, x->end)))
			rc = lex_name(x);
		else
			rc = lex_operator(x);
	}
	return rc;
}

/* ---- all of it ---- */

/* The next "{{", "{%" or "{#"; NULL: none. */
static const char *next_tag(const struct lexer *x, const char *p)
{
	while ((p = memchr(p, '{', (size_t)(x->end - p))) && p + 1 < x->end) {
		if (p[1] == '{' || p[1] == '%' || p[1] == '#')
			return p;
		p++;
	}
	return NULL;
}

static int lex_next(struct lexer *x)
{
	const char *const at = x->p, *const tag = next_tag(x, at);

	if (!tag) {
		x->p = x->end;
		return push_data(x, at, x->end);
	}
	const char *p = tag + 2;
	const char sign = p < x->end && (*p == '-' || *p == '+') ? *p++ : 0;
	const int rc = push_data(x, at, data_end(x, at, tag, sign, tag[1] != '{'));
	if (rc)
		return rc;
	x->p = p;
	if (tag[1] == '#')
		return lex_comment(x, tag);
	const char *const raw = tag[1] == '%' ? raw_begin(x, p) : NULL;
	if (!raw)
		return lex_tag(x, tag, tag[1] == '%');
	resume_data(x, p, raw);
	return lex_raw(x, tag);
}

int template_lex(struct bb_str source, struct tmem *m, struct token_array *out,
		 struct text_error *e)
{
	struct lexer x = { .source = source,
			   .p = source.p,
			   .end = source.p + source.len,
			   .m = m,
			   .out = out,
			   .e = e,
			   .line_starting = true };
	const size_t ok = utf8_check(source);
	int rc = 0;

	if (ok < source.len)
		return lex_fail(&x, source.p + ok, "the template is not UTF-8 here");
	while (x.p < x.end && !rc)
		rc = lex_next(&x);
	return rc ? rc : push(&x, TOKEN_EOF, x.end, (struct bb_str){ "", 0 });
}
