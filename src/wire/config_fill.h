/*
 * config_fill.h: one value of a YAML tree into the member that the table says.
 *
 * For: config_read.c, which goes through the maps.
 * Threads: one owner. Memory: texts are copied into the configuration's arena; what held an API
 * key in clear is overwritten in the tree.
 * Errors: `err` of the reader is -BB_ENOMEM from then on; mistakes go into the list.
 */
#pragma once

#include "wire/config.h"
#include "wire/config_table.h"
#include "wire/yaml_tree.h"

#define CONFIG_WHY_MAX 384

struct config_reader {
	struct config *c;
	const struct config_env *env;
	struct config_errors *errors;
	int err; /* 0 or -BB_ENOMEM; the first one stays */
};

/* The map that is being read: `base` is the struct that its kind of scope fills. */
struct config_map {
	enum config_scope kind;
	void *base;
	const char *name; /* "" or "models.chat" */
};

/* A value of any type but those that are maps or lists of maps. Its YAML kind is right already. */
void config_fill(struct config_reader *r, const struct config_map *m, const struct config_key *key,
		 const struct yaml_item *item);
/* Reports what is wrong with a value. */
void config_fill_error(struct config_reader *r, const struct config_map *m,
		       const struct config_key *key, struct config_place place, const char *format,
		       ...) __attribute__((format(printf, 5, 6)));
/* Zeroed, in the configuration's arena; NULL with `err` set. */
void *config_fill_alloc(struct config_reader *r, size_t count, size_t size);
struct bb_str config_fill_dup(struct config_reader *r, struct bb_str s);
