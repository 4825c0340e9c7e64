/* Operators, calls, filters and tests: template_parser.h. */
#include "text/template_call.h"
#include "text/template_parser.h"

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
	n->op = n->kind == E_ITEM && n->attr && object->kind == E_NAME ? OP_MEMBER : 0;
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
		return parse_unexpected(p, "a name or a number");
	struct tnode *const n = node_create(p, E_ATTR, at);
	if (!n)
		return NULL;
	n->a = object;
	n->text = p->at++->text;
	n->attr = attr_create(p, n->text);
	if (!n->attr)
		return NULL;
	n->op = object->kind == E_NAME && n->attr->is_plain ? OP_MEMBER : 0;
	return n;
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
		return parse_unexpected(p, "a name");
	n->text = p->at++->text;
	while (parse_take(p, TOKEN_DOT)) {
		if (!token_is(p->at, TOKEN_NAME))
			return parse_unexpected(p, "a name");
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

/* Is this the only operand, compared for equality with a constant string? */
static bool is_text_operand(const struct tnode *o)
{
	return !o->next && (o->op == OP_EQ || o->op == OP_NE) && o->a->kind == E_CONST &&
	       o->a->value.type == TV_STR;
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
		n->op = is_text_operand(c.first) ? OP_TEXT : 0;
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
		return parse_unexpected(p, "an expression");
	struct tnode *const n = node_create(p, E_TUPLE, at);
	return n ? chain_seq(p, n, &c) : NULL;
}
