/* Expressions: template_parser.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/template_call.h"
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

static void *unexpected(struct parser *p, const char *expected)
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
	unexpected(p, quoted);
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

struct chain {
	struct tnode *first, **end;
	uint32_t count;
	bool is_const;
};

static void chain_init(struct chain *c)
{
	*c = (struct chain){ .end = &c->first, .is_const = true };
	c->end = &c->first;
}

static bool chain_add(struct parser *p, struct chain *c, struct tnode *n)
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

static struct tnode *finish_seq(struct parser *p, struct tnode *n, const struct chain *c)
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

static struct tnode *parse_number(struct parser *p)
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
	return n && parse_expect(p, TOKEN_RBRACKET) ? finish_seq(p, n, &c) : NULL;
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
	default: return unexpected(p, "an expression");
	}
}

/* ---- behind a value: attributes, items, calls, filters, tests ---- */

static const struct tattr *attr_create(struct parser *p, struct bb_str name)
{
	struct tattr *const attr = parse_alloc(p, sizeof(*attr));

	if (attr)
		attr_resolve(name, attr);
	return attr;
}

static struct tnode *parse_subscribed(struct parser *p, struct tnode *object,
				      const struct token *at)
{
	struct tnode *start = NULL, *stop = NULL, *step = NULL;

	if (!token_is(p->at, TOKEN_COLON)) {
		start = parse_expression(p, PARSE_COND);
		if (!start)
			return NULL;
	}
	struct tnode *const n = node_create(p, token_is(p->at, TOKEN_COLON) ? E_SLICE : E_ITEM, at);
	if (!n)
		return NULL;
	if (parse_take(p, TOKEN_COLON)) {
		if (!token_is(p->at, TOKEN_COLON) && !token_is(p->at, TOKEN_RBRACKET) &&
		    !(stop = parse_expression(p, PARSE_COND)))
			return NULL;
		if (parse_take(p, TOKEN_COLON) && !token_is(p->at, TOKEN_RBRACKET) &&
		    !(step = parse_expression(p, PARSE_COND)))
			return NULL;
	}
	n->a = object;
	n->b = start;
	n->c = stop;
	n->d = step;
	if (n->kind == E_ITEM && start->kind == E_CONST && start->value.type == TV_STR &&
	    !(n->attr = attr_create(p, tv_text(start->value))))
		return NULL;
	return parse_expect(p, TOKEN_RBRACKET) ? n : NULL;
}

static struct tnode *parse_subscript(struct parser *p, struct tnode *object)
{
	const struct token *const at = p->at++;

	if (token_is(at, TOKEN_LBRACKET))
		return parse_subscribed(p, object, at);
	if (token_is(p->at, TOKEN_INTEGER)) {
		struct tnode *const item = node_create(p, E_ITEM, at);
		if (!item)
			return NULL;
		item->a = object;
		item->b = parse_number(p);
		return item->b ? item : NULL;
	}
	if (!token_is(p->at, TOKEN_NAME))
		return unexpected(p, "a name or a number");
	struct tnode *const n = node_create(p, E_ATTR, at);
	if (!n)
		return NULL;
	n->a = object;
	n->text = p->at++->text;
	n->attr = attr_create(p, n->text);
	return n->attr ? n : NULL;
}

static struct tnode *parse_argument(struct parser *p)
{
	const struct token *const at = p->at;
	enum node_kind kind = E_CONST;

	if (token_is(at, TOKEN_MUL))
		kind = A_STAR;
	else if (token_is(at, TOKEN_POW))
		kind = A_DSTAR;
	else if (token_is(at, TOKEN_NAME) && token_is(at + 1, TOKEN_ASSIGN))
		kind = A_KEYWORD;
	if (kind == E_CONST)
		return parse_expression(p, PARSE_COND);
	struct tnode *const n = node_create(p, kind, at);
	if (!n)
		return NULL;
	p->at += kind == A_KEYWORD ? 2 : 1;
	n->text = at->text;
	n->a = parse_expression(p, PARSE_COND);
	return n->a ? n : NULL;
}

/* "(a, b, c=1, *d, **e)" into n->b; places come first, then names, then * and **. */
static bool parse_arguments(struct parser *p, struct tnode *n)
{
	const struct token *const at = p->at;
	int last = 0;
	struct chain c;

	chain_init(&c);
	p->at++;
	while (!token_is(p->at, TOKEN_RPAREN)) {
		if (c.count && !parse_expect(p, TOKEN_COMMA))
			return false;
		if (c.count && token_is(p->at, TOKEN_RPAREN))
			break;
		struct tnode *const arg = parse_argument(p);
		if (!chain_add(p, &c, arg))
			return false;
		const int order = arg->kind == A_KEYWORD ? 1
				  : arg->kind == A_STAR	 ? 2
				  : arg->kind == A_DSTAR ? 3
							 : 0;
		if (order < last && !(order == 1 && last == 2)) {
			parse_fail(p, at, "invalid order of the arguments of a call");
			return false;
		}
		last = order > last ? order : last;
	}
	n->b = c.first;
	n->count = (uint16_t)c.count;
	return parse_expect(p, TOKEN_RPAREN);
}

static struct tnode *parse_call(struct parser *p, struct tnode *callee)
{
	struct tnode *const n = node_create(p, E_CALL, p->at);

	if (!n)
		return NULL;
	n->a = callee;
	return parse_arguments(p, n) ? n : NULL;
}

static void note_unknown(struct parser *p, const struct tnode *n)
{
	if (!p->soft && !p->unknown)
		p->unknown = n;
}

/* The name of a filter or a test at p->at; names with dots are never known. */
static bool parse_tool_name(struct parser *p, struct tnode *n)
{
	if (!token_is(p->at, TOKEN_NAME))
		return unexpected(p, "a name");
	n->text = p->at++->text;
	while (parse_take(p, TOKEN_DOT)) {
		if (!token_is(p->at, TOKEN_NAME))
			return unexpected(p, "a name");
		n->text.len = (size_t)(p->at->text.p + p->at->text.len - n->text.p);
		p->at++;
	}
	return true;
}

struct tnode *parse_filters(struct parser *p, struct tnode *node, enum parse_filter_start start)
{
	bool inline_first = start == PARSE_FILTER_NAME;

	while (inline_first || token_is(p->at, TOKEN_PIPE)) {
		p->at += !inline_first;
		inline_first = false;
		struct tnode *const n = node_create(p, E_FILTER, p->at);
		if (!n || !parse_tool_name(p, n))
			return NULL;
		n->a = node;
		n->filter = filter_find(n->text);
		if (!n->filter)
			note_unknown(p, n);
		if (token_is(p->at, TOKEN_LPAREN) && !parse_arguments(p, n))
			return NULL;
		node = n;
	}
	return node;
}

static struct tnode *parse_postfix(struct parser *p, struct tnode *n)
{
	while (n) {
		if (token_is(p->at, TOKEN_DOT) || token_is(p->at, TOKEN_LBRACKET))
			n = parse_subscript(p, n);
		else if (token_is(p->at, TOKEN_LPAREN))
			n = parse_call(p, n);
		else
			break;
	}
	return n;
}

/* `is divisibleby 3`: an argument may stand behind the name without brackets. */
static bool parse_test_argument(struct parser *p, struct tnode *n)
{
	const struct token *const k = p->at;

	if (token_is(k, TOKEN_LPAREN))
		return parse_arguments(p, n);
	if (token_is_name(k, "else") || token_is_name(k, "or") || token_is_name(k, "and"))
		return true;
	if (token_is_name(k, "is"))
		return parse_fail(p, k, "tests with 'is' cannot follow each other");
	if (!token_is(k, TOKEN_NAME) && !token_is(k, TOKEN_STRING) && !token_is(k, TOKEN_INTEGER) &&
	    !token_is(k, TOKEN_FLOAT) && !token_is(k, TOKEN_LBRACKET) && !token_is(k, TOKEN_LBRACE))
		return true;
	n->b = parse_postfix(p, parse_primary(p));
	n->count = 1;
	return n->b;
}

static struct tnode *parse_test(struct parser *p, struct tnode *value)
{
	struct tnode *const n = node_create(p, E_TEST, p->at);

	p->at++;
	const bool is_negated = parse_take_name(p, "not");
	if (!n || !parse_tool_name(p, n))
		return NULL;
	n->a = value;
	n->test = test_find(n->text);
	if (!n->test)
		note_unknown(p, n);
	if (!parse_test_argument(p, n))
		return NULL;
	if (!is_negated)
		return n;
	struct tnode *const not_node = node_create(p, E_NOT, p->at);
	if (not_node)
		not_node->a = n;
	return not_node;
}

static struct tnode *parse_filter_expr(struct parser *p, struct tnode *n)
{
	while (n) {
		if (token_is(p->at, TOKEN_PIPE))
			n = parse_filters(p, n, PARSE_FILTER_PIPE);
		else if (token_is_name(p->at, "is"))
			n = parse_test(p, n);
		else if (token_is(p->at, TOKEN_LPAREN))
			n = parse_call(p, n);
		else
			break;
	}
	return n;
}

/* ---- operators, the tightest first ---- */

enum unary_filters { UNARY_PLAIN, UNARY_FILTERS };

static struct tnode *parse_unary(struct parser *p, enum unary_filters filters)
{
	const struct token *const at = p->at;
	struct tnode *n;

	if (!parse_enter(p))
		return NULL;
	if (token_is(at, TOKEN_SUB) || token_is(at, TOKEN_ADD)) {
		n = node_create(p, token_is(at, TOKEN_SUB) ? E_NEG : E_POS, at);
		p->at++;
		if (n && !(n->a = parse_unary(p, UNARY_PLAIN)))
			n = NULL;
		if (n && n->a->kind == E_CONST && n->a->value.type == TV_INT && n->kind == E_NEG) {
			n->a->value.i = -n->a->value.i;
			n = n->a;
		}
	} else {
		n = parse_primary(p);
	}
	n = parse_postfix(p, n);
	if (n && filters == UNARY_FILTERS)
		n = parse_filter_expr(p, n);
	parse_leave(p);
	return n;
}

static struct tnode *binary(struct parser *p, const struct token *at, enum binary_op op,
			    struct tnode *left, struct tnode *right)
{
	struct tnode *const n = left && right ? node_create(p, E_BINARY, at) : NULL;

	if (n) {
		n->op = op;
		n->a = left;
		n->b = right;
	}
	return n;
}

static struct tnode *parse_pow(struct parser *p)
{
	struct tnode *left = parse_unary(p, UNARY_FILTERS);

	while (left && token_is(p->at, TOKEN_POW)) {
		const struct token *const at = p->at++;
		left = binary(p, at, OP_POW, left, parse_unary(p, UNARY_FILTERS));
	}
	return left;
}

static struct tnode *parse_math2(struct parser *p)
{
	struct tnode *left = parse_pow(p);

	while (left) {
		const struct token *const at = p->at;
		enum binary_op op;
		if (token_is(at, TOKEN_MUL))
			op = OP_MUL;
		else if (token_is(at, TOKEN_DIV))
			op = OP_DIV;
		else if (token_is(at, TOKEN_FLOORDIV))
			op = OP_FLOORDIV;
		else if (token_is(at, TOKEN_MOD))
			op = OP_MOD;
		else
			break;
		p->at++;
		left = binary(p, at, op, left, parse_pow(p));
	}
	return left;
}

/* a op b op c as one node with all operands; a alone when there is no operator. */
static struct tnode *parse_many(struct parser *p, enum node_kind kind, enum token_type type,
				struct tnode *first, struct tnode *(*operand)(struct parser *p))
{
	const struct token *const at = p->at;
	struct chain c;

	if (!first || !token_is(at, type))
		return first;
	chain_init(&c);
	struct tnode *const n = node_create(p, kind, at);
	if (!n || !chain_add(p, &c, first))
		return NULL;
	while (parse_take(p, type))
		if (!chain_add(p, &c, operand(p)))
			return NULL;
	n->a = c.first;
	n->count = (uint16_t)c.count;
	return n;
}

static struct tnode *parse_concat(struct parser *p)
{
	return parse_many(p, E_CONCAT, TOKEN_TILDE, parse_math2(p), parse_math2);
}

static struct tnode *parse_math1(struct parser *p)
{
	struct tnode *left = parse_concat(p);

	while (left && (token_is(p->at, TOKEN_ADD) || token_is(p->at, TOKEN_SUB))) {
		left = parse_many(p, E_ADD, TOKEN_ADD, left, parse_concat);
		const struct token *const at = p->at;
		if (left && parse_take(p, TOKEN_SUB))
			left = binary(p, at, OP_SUB, left, parse_concat(p));
	}
	return left;
}

static bool take_compare_op(struct parser *p, uint8_t *op)
{
	const struct token *const k = p->at;

	switch (k->type) {
	case TOKEN_EQ: *op = OP_EQ; break;
	case TOKEN_NE: *op = OP_NE; break;
	case TOKEN_LT: *op = OP_LT; break;
	case TOKEN_LE: *op = OP_LE; break;
	case TOKEN_GT: *op = OP_GT; break;
	case TOKEN_GE: *op = OP_GE; break;
	default:
		if (token_is_name(k, "not") && token_is_name(k + 1, "in")) {
			*op = OP_NOT_IN;
			p->at++;
		} else if (token_is_name(k, "in")) {
			*op = OP_IN;
		} else {
			return false;
		}
	}
	p->at++;
	return true;
}

static struct tnode *parse_compare(struct parser *p)
{
	const struct token *const at = p->at;
	struct tnode *const first = parse_math1(p);
	struct chain c;
	uint8_t op;

	chain_init(&c);
	while (first && take_compare_op(p, &op)) {
		struct tnode *const operand = node_create(p, C_OPERAND, p->at);
		if (!operand || !(operand->a = parse_math1(p)) || !chain_add(p, &c, operand))
			return NULL;
		operand->op = op;
	}
	if (!first || !c.count)
		return first;
	struct tnode *const n = node_create(p, E_COMPARE, at);
	if (n) {
		n->a = first;
		n->b = c.first;
	}
	return n;
}

static struct tnode *parse_not(struct parser *p)
{
	const struct token *const at = p->at;

	if (!token_is_name(at, "not"))
		return parse_compare(p);
	struct tnode *const n = node_create(p, E_NOT, at);
	p->at++;
	if (!n || !parse_enter(p))
		return NULL;
	n->a = parse_not(p);
	parse_leave(p);
	return n->a ? n : NULL;
}

static struct tnode *parse_logic(struct parser *p, enum node_kind kind)
{
	struct tnode *left = kind == E_OR ? parse_logic(p, E_AND) : parse_not(p);

	while (left && token_is_name(p->at, kind == E_OR ? "or" : "and")) {
		struct tnode *const n = node_create(p, kind, p->at);
		p->at++;
		if (!n)
			return NULL;
		n->a = left;
		n->b = kind == E_OR ? parse_logic(p, E_AND) : parse_not(p);
		left = n->b ? n : NULL;
	}
	return left;
}

/* value if test else other, from the left for as long as there is an `if`. */
static struct tnode *parse_cond(struct parser *p)
{
	const struct tnode *const unknown = p->unknown;
	struct tnode *value = parse_logic(p, E_OR);

	while (value && token_is_name(p->at, "if")) {
		struct tnode *const n = node_create(p, E_COND, p->at);
		p->at++;
		p->unknown = unknown;
		p->soft++;
		if (!n || !(n->a = parse_logic(p, E_OR)))
			return NULL;
		n->b = value;
		if (parse_take_name(p, "else") && !(n->c = parse_expression(p, PARSE_COND)))
			return NULL;
		p->soft--;
		value = n;
	}
	return value;
}

struct tnode *parse_expression(struct parser *p, enum parse_cond cond)
{
	if (!parse_enter(p))
		return NULL;
	struct tnode *const n = cond == PARSE_COND ? parse_cond(p) : parse_logic(p, E_OR);
	parse_leave(p);
	return n;
}

static bool is_tuple_end(const struct parser *p, const char *stop)
{
	return token_is(p->at, TOKEN_VARIABLE_END) || token_is(p->at, TOKEN_BLOCK_END) ||
	       token_is(p->at, TOKEN_RPAREN) || (stop && token_is_name(p->at, stop));
}

struct tnode *parse_tuple(struct parser *p, enum parse_cond cond, const char *stop)
{
	const struct token *const at = p->at;
	bool is_tuple = false;
	struct chain c;

	chain_init(&c);
	while (!is_tuple_end(p, stop)) {
		if (!chain_add(p, &c, parse_expression(p, cond)))
			return NULL;
		if (!parse_take(p, TOKEN_COMMA))
			break;
		is_tuple = true;
	}
	if (!is_tuple && c.count)
		return c.first;
	/* "()" is the empty tuple; nothing at all is a mistake. */
	if (!is_tuple && !(stop && *stop == '('))
		return unexpected(p, "an expression");
	struct tnode *const n = node_create(p, E_TUPLE, at);
	return n ? finish_seq(p, n, &c) : NULL;
}
