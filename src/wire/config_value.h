/*
 * config_value.h: values of the configuration that are more than a number: dates and budgets.
 *
 * For: reading and printing the configuration by its table.
 * Threads: pure. Memory: the caller's.
 * Errors: -BB_EINVALID with a sentence in `why` (static); the output is untouched.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "wire/config.h"

/* "2000000 tokens/month" "500 EUR/month" "12.50 USD/month" */
BB_MUST int config_budget_parse(struct bb_str text, struct config_budget *out, const char **why);
/* The reverse; nothing for no budget. */
void config_budget_print(const struct config_budget *b, struct bb_buf *out);
