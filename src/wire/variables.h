/*
 * variables.h: ${NAME} and ${NAME:-default} in a value of the configuration.
 *
 * For: yaml_tree.c. As in a shell, a default also stands for a variable that is empty; "$$" is a
 * dollar. Values are not looked at again, and defaults hold no variables.
 * Threads: pure, as far as the look-up is. Memory: the caller's.
 * Errors: a sentence that says what is wrong; a full buffer keeps its error.
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"

/* The value of a variable or NULL. */
typedef const char *variables_get(void *ctx, const char *name);

/*
 * Appends `s` with its variables replaced. NULL, or what is wrong, with the variable in `name`
 * (empty when it is about none; a part of `s`). `get` may be NULL: no variable is set.
 */
const char *variables_expand(struct bb_str s, variables_get *get, void *ctx, struct bb_buf *out,
			     struct bb_str *name);
