/*
 * template_filters.h: the tables that filters are in, and what filters share.
 *
 * For: template_filters.c, which looks through all of them. Threads: constant data.
 * Memory: the trun's. Errors: TV_FAIL.
 */
#pragma once

#include "text/template_run.h"

struct filter_table {
	const struct tfilter *rows;
	size_t count;
};
extern const struct filter_table filters_text, filters_seq, filters_choose;

/* The argument, or the value that stands for one that is not given. */
static inline struct tvalue arg_or(struct tvalue arg, struct tvalue fallback)
{
	return arg.type == TV_MISSING ? fallback : arg;
}
/* An integer argument; false with a reason. */
bool arg_int(struct trun *r, struct tvalue arg, int64_t fallback, int64_t *out);
/* A string argument. */
bool arg_str(struct trun *r, struct tvalue arg, struct bb_str *out);

/* "a.b.0": the attribute's attribute's item, as Jinja's filters take it. TV_NONE: v itself. */
struct tvalue attr_path(struct trun *r, struct tvalue v, struct tvalue path);
/* Lower case of a string, anything else as it is: what sorting without case goes by. */
struct tvalue ignore_case(struct trun *r, struct tvalue v);
/* len(v); TV_FAIL when it has none. */
struct tvalue length_of(struct trun *r, struct tvalue v);
/* How sort, unique, min and the like see an item: attr_path, then perhaps ignore_case. */
struct tvalue sort_key(struct trun *r, struct tvalue item, struct tvalue path,
		       struct tvalue case_sensitive);
/* Sorts items by their keys; false: two have no order. */
bool sort_by_keys(struct trun *r, struct tseq *items, const struct tvalue *keys, int is_reverse);
