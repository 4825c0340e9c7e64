/*
 * template_parse.h: tokens become a template_ast.
 *
 * For: template.c. The grammar is Jinja 3.1's, with break and continue and {% generation %}.
 * Threads: pure. Memory: the template's tmem. Errors: -BB_ESYNTAX with line and column, -BB_ELIMIT,
 * -BB_ENOMEM.
 */
#pragma once

#include "base/err.h"
#include "text/template_ast.h"
#include "text/template_lex.h"
#include "text/text_error.h"

/* t->source is set; fills in the rest. */
BB_MUST int template_parse(struct template *t, const struct token_array *tokens,
			   struct text_error *e);
