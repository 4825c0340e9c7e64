/*
 * config_link.h: makes the parts of a configuration that were read one by one fit together.
 *
 * For: config_parse. Each engine gets one entry, wherever its URL was written; models get the
 * indices of their engines; models that only an engine lists are added; names and aliases are
 * unique; limits agree with each other.
 * Threads: one owner. Memory: what is added lives in the configuration's arena.
 * Errors: -BB_ENOMEM. Mistakes go into the list, and 0 is returned.
 */
#pragma once

#include "base/err.h"
#include "wire/config.h"
#include "wire/yaml_tree.h"

/* `root` is the tree that `c` was read from, for the places of what is wrong. */
BB_MUST int config_link(struct config *c, const struct yaml_item *root, const char *file_name,
			struct config_errors *errors);
