/*
 * template_lex.h: a template's source as tokens, by Jinja's rules.
 *
 * For: template_parse. White space around tags is gone where `-`, trim_blocks and lstrip_blocks
 * say so; strings are unescaped; comments are left out and raw blocks are data.
 * Source of the rules: Jinja 3.1's lexer and its documentation.
 * Threads: pure. Memory: the list is the caller's to free; texts point into the source or a tmem.
 * Errors: -BB_ESYNTAX with line and column, -BB_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/template_value.h"
#include "text/text_error.h"

#define TEMPLATE_TOKENS(X)                                                                         \
	X(EOF, "end of template")                                                                  \
	X(DATA, "template data")                                                                   \
	X(VARIABLE_BEGIN, "begin of print statement") X(VARIABLE_END, "end of print statement") X( \
		BLOCK_BEGIN, "begin of statement block") X(BLOCK_END, "end of statement block")    \
		X(NAME, "name") X(STRING, "string") X(INTEGER, "integer") X(FLOAT, "float") X(     \
			ADD, "+") X(SUB, "-") X(DIV, "/") X(FLOORDIV, "//") X(MUL, "*")            \
			X(MOD, "%") X(POW, "**") X(TILDE, "~") X(LBRACKET, "[") X(RBRACKET, "]")   \
				X(LPAREN, "(") X(RPAREN, ")") X(LBRACE, "{") X(RBRACE, "}")        \
					X(EQ, "==") X(NE, "!=") X(GT, ">") X(GE, ">=") X(LT, "<")  \
						X(LE, "<=") X(ASSIGN, "=") X(DOT, ".")             \
							X(COLON, ":") X(PIPE, "|") X(COMMA, ",")   \
								X(SEMICOLON, ";")

enum token_type {
#define X(name, text) TOKEN_##name,
	TEMPLATE_TOKENS(X)
#undef X
};

struct token {
	uint32_t type;	    /* enum token_type */
	uint32_t at;	    /* offset in the source */
	struct bb_str text; /* a name, data, a string's value, a number as it is written */
};

struct token_array {
	struct token *list;
	size_t count, cap;
};

const char *token_name(uint32_t type);

/* The source with \n as its only line break and without one line break at its end. */
BB_MUST int template_source_copy(struct bb_str source, struct tmem *m, struct bb_str *out);
BB_MUST int template_lex(struct bb_str source, struct tmem *m, struct token_array *out,
			 struct text_error *e);
/* "line 3, column 7: what": puts the place in front of the message. */
void template_error_at(struct text_error *e, struct bb_str source, size_t at, const char *format,
		       ...) __attribute__((format(printf, 4, 5)));
