/*
 * yaml_tree.h: YAML text as a tree of scalars, lists and maps with their places.
 *
 * For: the configuration. The strict part of YAML that a configuration needs: one document, no
 * anchors, aliases or tags, no key twice in a map, no control characters; ${NAME},
 * ${NAME:-default} and $$ are replaced inside of values, after the structure is known, so that a
 * variable can never add structure.
 * Threads: pure. Memory: the tree lives in the arena that is given. libyaml's own memory is freed
 * before yaml_tree_read returns.
 * Errors: -BB_EINVALID with entries in the list, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "wire/config_errors.h"
#include "wire/variables.h"

#define YAML_TREE_DEPTH_MAX 16		  /* maps and lists in one another */
#define YAML_TREE_ITEMS_MAX 100000	  /* scalars, lists and maps of a text */
#define YAML_TREE_VALUE_MAX (64u << 10)	  /* bytes of a value after replacement */
#define YAML_TREE_EXPANDED_MAX (1u << 20) /* bytes of all values that name variables */

enum yaml_kind {
	YAML_KIND_NULL,
	YAML_KIND_SCALAR,
	YAML_KIND_LIST,
	YAML_KIND_MAP,
	YAML_KIND_BROKEN, /* a value with a mistake that is in the list already */
};

struct yaml_item {
	enum yaml_kind kind;
	struct config_place place;
	struct bb_str text; /* a scalar's value */
	struct bb_str key;  /* in a map: its key */
	struct config_place key_place;
	struct yaml_item *next;		/* in the list or map that holds it */
	struct yaml_item *first, *last; /* of a list or map */
	uint32_t count;
};

/*
 * `*out` is the root, of kind NULL for an empty text. Reading stops at the first mistake of syntax
 * with -BB_EINVALID. Mistakes in values are collected: the tree can then be looked at further
 * (such a value is BROKEN) and 0 is returned with entries in `errors`.
 */
BB_MUST int yaml_tree_read(struct bb_str text, variables_get *variable, void *ctx,
			   struct bb_arena *arena, const struct yaml_item **out,
			   struct config_errors *errors);
/* For messages: "a map", "a list", "a value", "nothing". */
const char *yaml_kind_text(enum yaml_kind kind);
/* The member of a map, or NULL; also when `map` is none. */
const struct yaml_item *yaml_tree_find(const struct yaml_item *map, struct bb_str key);
