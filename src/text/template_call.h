/*
 * template_call.h: filters, tests, methods and functions as tables.
 *
 * For: template_parse, which looks names up; template_eval, which calls; and the files that hold
 * the functions. Each row names its parameters as Python does, so that arguments may be given by
 * place or by name.
 * Threads: constant data. Memory: arguments are on the caller's stack. Errors: TV_FAIL, with the
 * reason in the trun.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "text/template_value.h"

struct trun;

#define CALL_PARAMS_MAX 8

struct tkeyword {
	struct bb_str name;
	struct tvalue value;
};

struct targs {
	const struct tvalue *list;
	uint32_t count;
	const struct tkeyword *keywords;
	uint32_t keyword_count;
};

/*
 * `params`: "old new count", of which `min` must be there; the others are TV_MISSING when they are
 * not. NULL: the function takes any.
 */

/* args: one for each parameter. */
typedef struct tvalue tcall(struct trun *r, struct tvalue self, struct tvalue *args);
/* For functions that take any. */
typedef struct tvalue tcall_any(struct trun *r, struct tvalue self, const struct targs *args);

struct tfunction {
	const char *name;
	const char *params;
	uint8_t min, max;
	tcall *call;
	tcall_any *call_any;
};

struct tfilter {
	struct tfunction f;
};

/* A test gives a TV_BOOL. */
struct ttest {
	struct tfunction f;
};

const struct tfilter *filter_find(struct bb_str name);
const struct ttest *test_find(struct bb_str name);
const struct tfunction *function_find(struct bb_str name);
/* The method of a str, list, tuple or dict; NULL when Python has none of that name. */
const struct tfunction *method_find(uint8_t type, struct bb_str name);
/* Would it change the list or dict? Then the sandbox keeps it away. */
bool method_is_unsafe(uint8_t type, struct bb_str name);

/* All that a name behind a dot can mean, found once. */
struct tattr {
	struct bb_str name;
	const struct tfunction *of_str, *of_list, *of_dict; /* NULL: no method */
	uint8_t loop;					    /* enum loop_attr */
	bool list_unsafe, dict_unsafe, is_private;
	bool is_plain; /* of a dict it can only be a key */
	bool is_short; /* at most 16 bytes */
	uint16_t mark; /* as a key */
};
void attr_resolve(struct bb_str name, struct tattr *out);

/* A row of a table whose rows have a tfunction first. */
const void *call_find(const void *table, size_t count, size_t size, struct bb_str name);
