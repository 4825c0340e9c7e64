#include "text/template_parse.h"

#include <string.h>

#include "text/template_parser.h"

/* ---- bodies ---- */

static struct tnode *parse_tag(struct parser *p);

static bool is_one_of(const struct token *k, const char *const *names)
{
	for (; *names; names++)
		if (token_is_name(k, *names))
			return true;
	return false;
}

static struct tnode *parse_output(struct parser *p)
{
	struct tnode *const n = node_create(p, S_OUTPUT, p->at);

	p->at++;
	if (!n || !(n->a = parse_tuple(p, PARSE_COND, NULL)))
		return NULL;
	return parse_expect(p, TOKEN_VARIABLE_END) ? n : NULL;
}

static struct tnode *parse_data(struct parser *p)
{
	struct tnode *const n = node_create(p, S_DATA, p->at);

	if (n)
		n->text = p->at->text;
	p->at++;
	return n;
}

/*
 * Data, prints and tags up to one of the tags in `stops`, whose name is then at p->at; to the end
 * of the template when there are none. *out may become NULL: an empty body.
 */
static bool parse_body(struct parser *p, const char *const *stops, struct tnode **out)
{
	struct tnode **end = out;

	*out = NULL;
	if (!parse_enter(p))
		return false;
	while (!token_is(p->at, TOKEN_EOF)) {
		struct tnode *n;
		if (token_is(p->at, TOKEN_DATA)) {
			n = parse_data(p);
		} else if (token_is(p->at, TOKEN_VARIABLE_BEGIN)) {
			n = parse_output(p);
		} else {
			p->at++;
			if (stops && is_one_of(p->at, stops)) {
				parse_leave(p);
				return true;
			}
			n = parse_tag(p);
			if (n && !parse_expect(p, TOKEN_BLOCK_END))
				return false;
		}
		if (!n)
			return false;
		*end = n;
		end = &n->next;
	}
	parse_leave(p);
	if (stops)
		parse_fail(p, p->at, "the template ends where '%s' was expected", stops[0]);
	return !stops;
}

/* The body of a tag: from its "%}" (a colon may stand before it) to a stop. */
static bool parse_block(struct parser *p, const char *const *stops, struct tnode **out)
{
	parse_take(p, TOKEN_COLON);
	return parse_expect(p, TOKEN_BLOCK_END) && parse_body(p, stops, out);
}

/* A body with a scope of its own, in which an unknown filter is a mistake again. */
static bool parse_scoped(struct parser *p, struct tscope *scope, const char *const *stops,
			 struct tnode **out)
{
	struct tscope *const outer = p->scope;
	const uint32_t soft = p->soft;

	p->scope = scope;
	p->soft = 0;
	const bool ok = scope && parse_block(p, stops, out);
	p->soft = soft;
	p->scope = outer;
	return ok;
}

static bool parse_scoped_to_end(struct parser *p, struct tscope *scope, const char *stop,
				struct tnode **out)
{
	const char *const stops[] = { stop, NULL };

	if (!parse_scoped(p, scope, stops, out))
		return false;
	p->at++;
	return true;
}

/* ---- targets ---- */

static struct tnode *store_name(struct parser *p, const struct token *at)
{
	struct tnode *const n = node_create(p, E_NAME, at);

	if (!n)
		return NULL;
	n->text = at->text;
	return scope_declare(p, p->scope, n->text) && scope_use(p, n) ? n : NULL;
}

static bool is_constant_name(const struct token *k)
{
	static const char *const names[] = {
		"true", "True", "false", "False", "none", "None", NULL
	};

	return is_one_of(k, names);
}

enum target_kind { TARGET_PLAIN, TARGET_NAMESPACE };

static struct tnode *parse_targets(struct parser *p, enum target_kind kind, const char *stop);

static struct tnode *parse_target(struct parser *p, enum target_kind kind)
{
	const struct token *const at = p->at;

	if (parse_take(p, TOKEN_LPAREN)) {
		struct tnode *const n = parse_targets(p, kind, NULL);
		return n && parse_expect(p, TOKEN_RPAREN) ? n : NULL;
	}
	if (!token_is(at, TOKEN_NAME))
		return parse_fail(p, at, "expected a name to assign to, got '%s'",
				  token_name(at->type));
	if (is_constant_name(at))
		return parse_fail(p, at, "'%.*s' cannot be assigned to", BB_ARG(at->text));
	p->at++;
	if (kind != TARGET_NAMESPACE || !token_is(p->at, TOKEN_DOT))
		return store_name(p, at);
	p->at++;
	struct tnode *const n = node_create(p, T_NSATTR, at);
	if (!n || !(n->a = parse_name_load(p, at)))
		return NULL;
	if (!token_is(p->at, TOKEN_NAME))
		return parse_fail(p, p->at, "expected the name of an attribute");
	n->text = p->at++->text;
	return n;
}

static struct tnode *parse_targets(struct parser *p, enum target_kind kind, const char *stop)
{
	const struct token *const at = p->at;

	if (!parse_enter(p))
		return NULL;
	struct tnode *n = parse_target(p, kind);
	if (n && token_is(p->at, TOKEN_COMMA)) {
		struct tnode *const tuple = node_create(p, E_TUPLE, at);
		struct tnode **end = tuple ? &tuple->a : NULL;
		for (; tuple && n; n = parse_target(p, kind)) {
			*end = n;
			end = &n->next;
			tuple->count++;
			if (!parse_take(p, TOKEN_COMMA) || token_is(p->at, TOKEN_RPAREN) ||
			    token_is(p->at, TOKEN_ASSIGN) || token_is(p->at, TOKEN_BLOCK_END) ||
			    (stop && token_is_name(p->at, stop)))
				break;
		}
		n = n ? tuple : NULL;
	}
	parse_leave(p);
	return n;
}

/* ---- tags ---- */

static struct tnode *parse_if(struct parser *p, const struct token *at)
{
	static const char *const stops[] = { "endif", "elif", "else", NULL };
	static const char *const end[] = { "endif", NULL };
	struct tnode *first = NULL, **place = &first;

	p->soft++;
	for (;;) {
		struct tnode *const n = node_create(p, S_IF, at);
		if (!n || !(n->a = parse_tuple(p, PARSE_NO_COND, NULL)) ||
		    !parse_block(p, stops, &n->b))
			return NULL;
		*place = n;
		place = &n->c;
		at = p->at++;
		if (!token_is_name(at, "elif"))
			break;
	}
	if (token_is_name(at, "else")) {
		if (!parse_block(p, end, place))
			return NULL;
		p->at++;
	}
	p->soft--;
	return first;
}

static bool parse_for_bodies(struct parser *p, struct tloop_def *def)
{
	static const char *const stops[] = { "endfor", "else", NULL };

	p->loop_depth++;
	const bool ok = parse_scoped(p, def->scope, stops, &def->body);
	p->loop_depth--;
	if (!ok)
		return false;
	if (token_is_name(p->at++, "endfor"))
		return true;
	def->else_scope = scope_create(p, p->scope->func);
	return def->else_scope &&
	       parse_scoped_to_end(p, def->else_scope, "endfor", &def->otherwise);
}

static struct tnode *parse_for(struct parser *p, const struct token *at)
{
	struct tscope *const outer = p->scope;
	struct tnode *const n = node_create(p, S_FOR, at);
	struct tloop_def *const def = parse_alloc(p, sizeof(*def));

	if (!n || !def)
		return NULL;
	*def = (struct tloop_def){ .scope = scope_create(p, outer->func) };
	n->loop = def;
	if (!def->scope)
		return NULL;
	p->scope = def->scope;
	def->target = parse_targets(p, TARGET_PLAIN, "in");
	p->scope = outer;
	if (!def->target)
		return NULL;
	if (!parse_take_name(p, "in"))
		return parse_fail(p, p->at, "expected 'in'");
	if (!(def->iter = parse_tuple(p, PARSE_NO_COND, "recursive")))
		return NULL;
	p->scope = def->scope;
	if (parse_take_name(p, "if") && !(def->test = parse_expression(p, PARSE_COND)))
		return NULL;
	def->loop = scope_declare(p, def->scope, BB_STR("loop"));
	p->scope = outer;
	def->is_recursive = parse_take_name(p, "recursive");
	return def->loop && parse_for_bodies(p, def) ? n : NULL;
}

static struct tnode *parse_set(struct parser *p, const struct token *at)
{
	struct tnode *const target = parse_targets(p, TARGET_NAMESPACE, NULL);

	if (!target)
		return NULL;
	if (parse_take(p, TOKEN_ASSIGN)) {
		struct tnode *const n = node_create(p, S_SET, at);
		if (!n)
			return NULL;
		n->a = target;
		n->b = parse_tuple(p, PARSE_COND, NULL);
		return n->b ? n : NULL;
	}
	struct tnode *const n = node_create(p, S_SET_BLOCK, at);
	if (!n)
		return NULL;
	n->a = target;
	if (token_is(p->at, TOKEN_PIPE) && !(n->b = parse_filters(p, NULL, PARSE_FILTER_PIPE)))
		return NULL;
	n->scope = scope_create(p, p->scope->func);
	return parse_scoped_to_end(p, n->scope, "endset", &n->c) ? n : NULL;
}

/* "(a, b=1)" of a macro or a call block. */
static bool parse_signature(struct parser *p, struct tmacro_def *def)
{
	struct tparam params[64];
	uint32_t count = 0;

	if (!parse_expect(p, TOKEN_LPAREN))
		return false;
	while (!token_is(p->at, TOKEN_RPAREN)) {
		if (count && !parse_expect(p, TOKEN_COMMA))
			return false;
		if (!token_is(p->at, TOKEN_NAME) || is_constant_name(p->at) || count == 64)
			return parse_fail(p, p->at,
					  "expected the name of a parameter (at most 64)");
		struct tlocal *const local = scope_declare(p, def->scope, p->at->text);
		if (!local)
			return false;
		params[count] = (struct tparam){ .name = p->at++->text, .slot = local->slot };
		if (parse_take(p, TOKEN_ASSIGN)) {
			if (!(params[count].fallback = parse_expression(p, PARSE_COND)))
				return false;
		} else if (count && params[count - 1].fallback) {
			return parse_fail(p, p->at,
					  "a parameter without a default follows one with");
		}
		count++;
	}
	p->at++;
	def->params = parse_alloc(p, (count + 1) * sizeof(params[0]));
	if (!def->params)
		return false;
	memcpy(def->params, params, count * sizeof(params[0]));
	def->param_count = count;
	return true;
}

/* A macro's signature (optional for call blocks) and, after `between`, its body. */
static bool parse_function(struct parser *p, struct tmacro_def *def, const char *stop,
			   struct tnode *call)
{
	struct tscope *const outer = p->scope;
	struct tmacro_def *const outer_macro = p->macro;
	const uint32_t loops = p->loop_depth;

	def->func.parent = outer->func;
	def->scope = scope_create(p, &def->func);
	if (!def->scope)
		return false;
	p->scope = def->scope;
	p->macro = def;
	if ((!call || token_is(p->at, TOKEN_LPAREN)) && !parse_signature(p, def))
		return false;
	p->scope = outer;
	p->macro = outer_macro;
	if (call) {
		struct tnode *const c = parse_expression(p, PARSE_COND);
		if (!c)
			return false;
		if (c->kind != E_CALL)
			return parse_fail(p, p->at, "a call block needs a call");
		call->a = c;
	}
	p->macro = def;
	p->loop_depth = 0;
	const bool ok = parse_scoped_to_end(p, def->scope, stop, &def->body);
	p->macro = outer_macro;
	p->loop_depth = loops;
	return ok;
}

static struct tmacro_def *macro_def_create(struct parser *p)
{
	struct tmacro_def *const def = parse_alloc(p, sizeof(*def));

	if (def)
		*def = (struct tmacro_def){ .param_count = 0 };
	return def;
}

static struct tnode *parse_macro(struct parser *p, const struct token *at)
{
	struct tnode *const n = node_create(p, S_MACRO, at);

	if (!n || !(n->def = macro_def_create(p)))
		return NULL;
	if (!token_is(p->at, TOKEN_NAME) || is_constant_name(p->at))
		return parse_fail(p, p->at, "expected the macro's name");
	n->def->name = p->at->text;
	n->a = store_name(p, p->at++);
	return n->a && parse_function(p, n->def, "endmacro", NULL) ? n : NULL;
}

static struct tnode *parse_call_block(struct parser *p, const struct token *at)
{
	struct tnode *const n = node_create(p, S_CALL, at);

	if (!n || !(n->def = macro_def_create(p)))
		return NULL;
	n->def->name = BB_STR("caller");
	return parse_function(p, n->def, "endcall", n) ? n : NULL;
}

static struct tnode *parse_filter_block(struct parser *p, const struct token *at)
{
	struct tnode *const n = node_create(p, S_FILTER, at);

	if (!n || !(n->b = parse_filters(p, NULL, PARSE_FILTER_NAME)))
		return NULL;
	n->scope = scope_create(p, p->scope->func);
	return parse_scoped_to_end(p, n->scope, "endfilter", &n->c) ? n : NULL;
}

static struct tnode *parse_with(struct parser *p, const struct token *at)
{
	struct tscope *const outer = p->scope;
	struct tnode *const n = node_create(p, S_WITH, at);
	struct tnode **targets, **values;

	if (!n || !(n->scope = scope_create(p, outer->func)))
		return NULL;
	targets = &n->a;
	values = &n->b;
	while (!token_is(p->at, TOKEN_BLOCK_END)) {
		if (n->a && !parse_expect(p, TOKEN_COMMA))
			return NULL;
		p->scope = n->scope;
		*targets = parse_target(p, TARGET_PLAIN);
		p->scope = outer;
		if (!*targets || !parse_expect(p, TOKEN_ASSIGN) ||
		    !(*values = parse_expression(p, PARSE_COND)))
			return NULL;
		targets = &(*targets)->next;
		values = &(*values)->next;
	}
	return parse_scoped_to_end(p, n->scope, "endwith", &n->c) ? n : NULL;
}

static struct tnode *parse_generation(struct parser *p, const struct token *at)
{
	struct tnode *const n = node_create(p, S_SCOPE, at);

	if (!n || !(n->scope = scope_create(p, p->scope->func)))
		return NULL;
	return parse_scoped_to_end(p, n->scope, "endgeneration", &n->c) ? n : NULL;
}

static struct tnode *parse_print(struct parser *p, const struct token *at)
{
	struct tnode *first = NULL, **end = &first;

	while (!token_is(p->at, TOKEN_BLOCK_END)) {
		if (first && !parse_expect(p, TOKEN_COMMA))
			return NULL;
		*end = node_create(p, S_OUTPUT, at);
		if (!*end || !((*end)->a = parse_expression(p, PARSE_COND)))
			return NULL;
		end = &(*end)->next;
	}
	/* As one tag: an `if` that is always taken. */
	struct tnode *const all = node_create(p, S_IF, at), *const yes =
								    node_create(p, E_CONST, at);
	if (!all || !yes)
		return NULL;
	yes->value = tv_bool(1);
	all->a = yes;
	all->b = first;
	return all;
}

static struct tnode *parse_jump(struct parser *p, const struct token *at)
{
	if (!p->loop_depth)
		return parse_fail(p, at, "'%.*s' outside of a loop", BB_ARG(at->text));
	return node_create(p, token_is_name(at, "break") ? S_BREAK : S_CONTINUE, at);
}

static struct tnode *unknown_tag(struct parser *p, const struct token *at)
{
	static const char *const others[] = { "include", "import",     "from", "extends",
					      "block",	 "autoescape", NULL };

	if (at->type != TOKEN_NAME)
		return parse_fail(p, at, "expected the name of a tag");
	if (is_one_of(at, others))
		return parse_fail(p, at, "the tag '%.*s' is not supported in chat templates",
				  BB_ARG(at->text));
	return parse_fail(p, at, "unknown tag '%.*s'", BB_ARG(at->text));
}

/* Behind "{%"; leaves p->at in front of "%}". */
static struct tnode *parse_tag(struct parser *p)
{
	static const struct {
		const char *name;
		struct tnode *(*parse)(struct parser *p, const struct token *at);
	} tags[] = {
		{ "if", parse_if },	      { "for", parse_for },
		{ "set", parse_set },	      { "macro", parse_macro },
		{ "call", parse_call_block }, { "filter", parse_filter_block },
		{ "with", parse_with },	      { "generation", parse_generation },
		{ "print", parse_print },     { "break", parse_jump },
		{ "continue", parse_jump },
	};
	const struct token *const at = p->at;

	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		if (token_is_name(at, tags[i].name)) {
			p->at++;
			return tags[i].parse(p, at);
		}
	return unknown_tag(p, at);
}

int template_parse(struct template *t, const struct token_array *tokens, struct text_error *e)
{
	struct parser p = { .t = t, .at = tokens->list, .e = e };

	p.scopes_end = &p.scopes;
	p.scope = scope_create(&p, &t->func);
	if (p.scope)
		parse_body(&p, NULL, &t->body);
	if (p.rc)
		return p.rc;
	if (p.unknown) {
		template_error_at(e, t->source, p.unknown->at, "there is no %s named '%.*s'",
				  p.unknown->kind == E_FILTER ? "filter" : "test",
				  BB_ARG(p.unknown->text));
		return -BB_ESYNTAX;
	}
	return scope_resolve(&p);
}
