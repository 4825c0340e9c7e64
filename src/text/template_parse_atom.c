/* Tokens, nodes, names, literals and brackets: template_parser.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/template_number.h"
#include "text/template_parser.h"

/* ---- tokens and nodes ---- */

struct tnode *parse_fail(struct parser *p, const struct token *at, const char *format, ...)
{
	char what[200];
	va_list ap;

	if (p->rc)
		return NULL;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	p->rc = -BB_ESYNTAX;
	template_error_at(p->e, p->t->source, at->at, "%s", what);
	return NULL;
}

void *parse_alloc(struct parser *p, size_t size)
{
	void *const m = tmem_alloc(&p->t->mem, size);

	if (!m && !p->rc) {
		p->rc = -BB_ENOMEM;
		text_error_set(p->e, "no memory for the template");
	}
	return m;
}

struct tnode *node_create(struct parser *p, enum node_kind kind, const struct token *at)
{
	struct tnode *const n = parse_alloc(p, sizeof(*n));

	if (n)
		*n = (struct tnode){ .kind = (uint8_t)kind, .at = at->at };
	return n;
}

bool token_is(const struct token *k, enum token_type type)
{
	return k->type == type;
}

bool token_is_name(const struct token *k, const char *name)
{
	return k->type == TOKEN_NAME && bb_str_eq(k->text, bb_str_of(name));
}

bool parse_take(struct parser *p, enum token_type type)
{
	if (p->at->type != type)
		return false;
	p->at += type != TOKEN_EOF;
	return true;
}

bool parse_take_name(struct parser *p, const char *name)
{
	if (!token_is_name(p->at, name))
		return false;
	p->at++;
	return true;
}

void *parse_unexpected(struct parser *p, const char *expected)
{
	const struct token *const k = p->at;

	if (k->type == TOKEN_NAME)
		return parse_fail(p, k, "expected %s, got '%.*s'", expected, BB_ARG(k->text));
	return parse_fail(p, k, "expected %s, got '%s'", expected, token_name(k->type));
}

bool parse_expect(struct parser *p, enum token_type type)
{
	char quoted[48];

	if (parse_take(p, type))
		return true;
	snprintf(quoted, sizeof(quoted), "'%s'", token_name(type));
	parse_unexpected(p, quoted);
	return false;
}

bool parse_enter(struct parser *p)
{
	if (++p->depth <= TEMPLATE_NESTING_MAX)
		return !p->rc;
	parse_fail(p, p->at, "nested more than %d deep", TEMPLATE_NESTING_MAX);
	return false;
}

void parse_leave(struct parser *p)
{
	p->depth--;
}

/* ---- lists of nodes ---- */

void chain_init(struct chain *c)
{
	*c = (struct chain){ .end = &c->first, .is_const = true };
	c->end = &c->first;
}

bool chain_add(struct parser *p, struct chain *c, struct tnode *n)
{
	if (!n)
		return false;
	if (c->count >= UINT16_MAX) {
		parse_fail(p, p->at, "more than %d items", UINT16_MAX);
		return false;
	}
	*c->end = n;
	c->end = &n->next;
	c->count++;
	c->is_const &= n->kind == E_CONST;
	return true;
}

/* Constants in brackets are one constant: made once, shared by all renderings. */
static struct tnode *fold_seq(struct parser *p, struct tnode *n, const struct chain *c)
{
	struct tseq *const s = tseq_create(&p->t->mem, c->count);

	if (!s) {
		parse_alloc(p, SIZE_MAX / 2);
		return NULL;
	}
	for (const struct tnode *item = c->first; item; item = item->next)
		s->items[s->count++] = item->value;
	n->value = TV(n->kind == E_LIST ? TV_LIST : TV_TUPLE, .seq = s);
	n->kind = E_CONST;
	return n;
}

struct tnode *chain_seq(struct parser *p, struct tnode *n, const struct chain *c)
{
	if (c->is_const)
		return fold_seq(p, n, c);
	n->a = c->first;
	n->count = (uint16_t)c->count;
	return n;
}

static struct tnode *fold_dict(struct parser *p, struct tnode *n, const struct chain *c)
{
	struct tdict *const d = tdict_create(&p->t->mem, c->count / 2);
	bool ok = d != NULL;

	for (const struct tnode *k = c->first; k && ok; k = k->next->next) {
		if (!tv_is_hashable(k->value))
			return parse_fail(p, p->at, "unhashable type: '%s'",
					  tv_type_name(k->value.type));
		ok = tdict_put(&p->t->mem, d, k->value, k->next->value);
	}
	if (!ok) {
		parse_alloc(p, SIZE_MAX / 2);
		return NULL;
	}
	n->value = TV(TV_DICT, .dict = d);
	n->kind = E_CONST;
	return n;
}

/* ---- literals ---- */

static struct tnode *parse_const(struct parser *p, struct tvalue value)
{
	struct tnode *const n = node_create(p, E_CONST, p->at);

	if (!n)
		return NULL;
	n->value = value;
	p->at++;
	return n;
}

static struct tnode *parse_strings(struct parser *p)
{
	struct tnode *const n = parse_const(p, tv_str(p->at->text));

	while (n && token_is(p->at, TOKEN_STRING)) {
		const struct bb_str more = p->at->text;
		char *const joined = parse_alloc(p, n->value.len + more.len + 1);
		if (!joined)
			return NULL;
		memcpy(joined, n->value.p, n->value.len);
		memcpy(joined + n->value.len, more.p, more.len);
		n->value = tv_str((struct bb_str){ joined, n->value.len + more.len });
		p->at++;
	}
	if (n)
		tv_is_ascii(&n->value);
	return n;
}

struct tnode *parse_number(struct parser *p)
{
	struct tvalue value;

	if (number_literal(&p->t->mem, p->at->text, token_is(p->at, TOKEN_FLOAT), &value))
		return parse_fail(p, p->at, "a number that is too long");
	return parse_const(p, value);
}

static struct tnode *parse_list(struct parser *p)
{
	struct tnode *const n = node_create(p, E_LIST, p->at);
	struct chain c;

	chain_init(&c);
	p->at++;
	while (n && !token_is(p->at, TOKEN_RBRACKET)) {
		if (c.count && !parse_expect(p, TOKEN_COMMA))
			return NULL;
		if (token_is(p->at, TOKEN_RBRACKET))
			break;
		if (!chain_add(p, &c, parse_expression(p, PARSE_COND)))
			return NULL;
	}
	return n && parse_expect(p, TOKEN_RBRACKET) ? chain_seq(p, n, &c) : NULL;
}

static struct tnode *parse_dict(struct parser *p)
{
	struct tnode *const n = node_create(p, E_DICT, p->at);
	struct chain c;

	chain_init(&c);
	p->at++;
	while (n && !token_is(p->at, TOKEN_RBRACE)) {
		if (c.count && !parse_expect(p, TOKEN_COMMA))
			return NULL;
		if (token_is(p->at, TOKEN_RBRACE))
			break;
		if (!chain_add(p, &c, parse_expression(p, PARSE_COND)) ||
		    !parse_expect(p, TOKEN_COLON) ||
		    !chain_add(p, &c, parse_expression(p, PARSE_COND)))
			return NULL;
	}
	if (!n || !parse_expect(p, TOKEN_RBRACE))
		return NULL;
	if (c.is_const && c.count)
		return fold_dict(p, n, &c);
	n->a = c.first;
	n->count = (uint16_t)c.count;
	return n;
}

struct tnode *parse_name_load(struct parser *p, const struct token *at)
{
	struct tnode *const n = node_create(p, E_NAME, at);
	struct tmacro_def *const m = p->macro;

	if (!n)
		return NULL;
	n->text = at->text;
	struct tlocal **const special = !m			       ? NULL
					: token_is_name(at, "caller")  ? &m->caller
					: token_is_name(at, "varargs") ? &m->varargs
					: token_is_name(at, "kwargs")  ? &m->kwargs
								       : NULL;
	if (special) {
		bool is_param = false;
		for (uint32_t i = 0; i < m->param_count; i++)
			is_param |= bb_str_eq(m->params[i].name, at->text);
		if (!is_param && !(*special = scope_declare(p, m->scope, at->text)))
			return NULL;
	}
	return scope_use(p, n) ? n : NULL;
}

static struct tnode *parse_name(struct parser *p)
{
	const struct token *const k = p->at;

	if (token_is_name(k, "true") || token_is_name(k, "True"))
		return parse_const(p, tv_bool(1));
	if (token_is_name(k, "false") || token_is_name(k, "False"))
		return parse_const(p, tv_bool(0));
	if (token_is_name(k, "none") || token_is_name(k, "None"))
		return parse_const(p, TV(TV_NONE));
	p->at++;
	return parse_name_load(p, k);
}

struct tnode *parse_primary(struct parser *p)
{
	struct tnode *n;

	switch (p->at->type) {
	case TOKEN_NAME: return parse_name(p);
	case TOKEN_STRING: return parse_strings(p);
	case TOKEN_INTEGER:
	case TOKEN_FLOAT: return parse_number(p);
	case TOKEN_LBRACKET: return parse_list(p);
	case TOKEN_LBRACE: return parse_dict(p);
	case TOKEN_LPAREN:
		p->at++;
		n = parse_tuple(p, PARSE_COND, "(");
		return n && parse_expect(p, TOKEN_RPAREN) ? n : NULL;
	default: return parse_unexpected(p, "an expression");
	}
}
