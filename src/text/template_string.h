/*
 * template_string.h: string literals of templates.
 *
 * For: template_lex. Escapes are Python's; one that Python does not know stays as it is.
 * Threads: pure. Memory: the result is in the tmem, or is the text itself when it has no escape.
 * Errors: -BB_ESYNTAX with a static reason, -BB_ENOMEM.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "text/template_value.h"

/* What stands between the quotes. */
BB_MUST int string_unescape(struct bb_str inner, struct tmem *m, struct bb_str *out,
			    const char **why);
