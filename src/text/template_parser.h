/*
 * template_parser.h: what the two halves of the parser share: tags and expressions.
 *
 * For: template_parse.c (tags), template_parse_expr.c, template_parse_atom.c, template_scope.c.
 * Threads: one owner. Memory: nodes are in the template's tmem. Errors: a function that makes a
 * node gives NULL, and `rc` says why.
 */
#pragma once

#include "text/template_ast.h"
#include "text/template_lex.h"
#include "text/text_error.h"

/* Names and scopes wait in lists until the whole template is known. */
struct name_use {
	struct name_use *next;
	struct tnode *node;
	struct tscope *scope;
};

struct parser {
	struct template *t;
	const struct token *at; /* the last one is TOKEN_EOF */
	struct text_error *e;
	int rc;
	uint32_t depth;
	struct tscope *scope;
	struct tscope *scopes, **scopes_end;
	struct name_use *uses;
	struct tmacro_def *macro; /* that is being read */
	uint32_t loop_depth;	  /* loops around, within this macro */
	/*
	 * An unknown filter or test is a mistake of the template, but not where it may never be
	 * come to: in an `if` or an inline `if`, as in Jinja.
	 */
	uint32_t soft;
	const struct tnode *unknown;
};

/* ---- tokens and nodes (template_parse_atom.c) ---- */

struct tnode *parse_fail(struct parser *p, const struct token *at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
struct tnode *node_create(struct parser *p, enum node_kind kind, const struct token *at);
void *parse_alloc(struct parser *p, size_t size);
bool token_is(const struct token *k, enum token_type type);
bool token_is_name(const struct token *k, const char *name);
bool parse_take(struct parser *p, enum token_type type);
bool parse_take_name(struct parser *p, const char *name);
bool parse_expect(struct parser *p, enum token_type type);
/* Fails with "expected what, got the token"; NULL. */
void *parse_unexpected(struct parser *p, const char *expected);
/* One level deeper, or false. */
bool parse_enter(struct parser *p);
void parse_leave(struct parser *p);

/* Nodes that hang together by next. */
struct chain {
	struct tnode *first, **end;
	uint32_t count;
	bool is_const; /* all of them are constants */
};
void chain_init(struct chain *c);
/* False when n is NULL or there are too many. */
bool chain_add(struct parser *p, struct chain *c, struct tnode *n);
/* Makes n, an E_LIST or E_TUPLE, of them: one constant when all are. */
struct tnode *chain_seq(struct parser *p, struct tnode *n, const struct chain *c);

struct tnode *parse_number(struct parser *p);

/* ---- expressions ---- */

enum parse_cond { PARSE_NO_COND, PARSE_COND };

struct tnode *parse_expression(struct parser *p, enum parse_cond cond);
/* Also `a, b`: ends at a tag's end, ')' or the name `stop` (NULL: none). */
struct tnode *parse_tuple(struct parser *p, enum parse_cond cond, const char *stop);
struct tnode *parse_primary(struct parser *p);
/* `|f|g`, from the first '|' or, with `inline_first`, the name of a filter. */
enum parse_filter_start { PARSE_FILTER_PIPE, PARSE_FILTER_NAME };
struct tnode *parse_filters(struct parser *p, struct tnode *node, enum parse_filter_start start);
struct tnode *parse_name_load(struct parser *p, const struct token *at);

/* ---- scopes (template_scope.c) ---- */

struct tscope *scope_create(struct parser *p, struct tfunc *func);
/* The name's place in this scope, made when it is not there yet; NULL without memory. */
struct tlocal *scope_declare(struct parser *p, struct tscope *s, struct bb_str name);
/* The name is read, or set, in this scope: resolved at the end. */
bool scope_use(struct parser *p, struct tnode *node);
/* Gives slots to names; -BB_E... */
int scope_resolve(struct parser *p);
