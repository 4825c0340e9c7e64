/*
 * config_read.h: fills a configuration from a YAML tree, key by key, by the table.
 *
 * For: config_parse. Keys, types, ranges and forms are checked; how the parts fit together is
 * config_link's.
 * Threads: one owner. Memory: texts are copied into the configuration's arena.
 * Errors: -BB_ENOMEM. Mistakes go into the list, and 0 is returned.
 */
#pragma once

#include "base/err.h"
#include "wire/config.h"
#include "wire/yaml_tree.h"

/* Sets all defaults, then what the tree says. `env` may be NULL. */
BB_MUST int config_read(struct config *c, const struct yaml_item *root,
			const struct config_env *env, struct config_errors *errors);
/* Adds the tenants of a file that holds nothing else. */
BB_MUST int config_read_tenants(struct config *c, const struct yaml_item *root,
				const struct config_env *env, struct config_errors *errors);
