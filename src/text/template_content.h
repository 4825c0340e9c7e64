/*
 * template_content.h: does a template go through the parts of a message's content?
 *
 * For: template.c. The rule is vLLM's (_detect_content_format), so that messages reach the template
 * as that engine gives them.
 * Threads: pure. Memory: none. Errors: none.
 */
#pragma once

#include "text/template_ast.h"

enum template_content template_content_find(const struct tnode *body);
