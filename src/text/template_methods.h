/*
 * template_methods.h: the tables that methods are in.
 *
 * For: template_methods.c, which looks through them. Threads: constant data. Memory: the trun's.
 * Errors: TV_FAIL.
 */
#pragma once

#include "text/template_run.h"

struct method_table {
	const struct tfunction *rows;
	size_t count;
};
extern const struct method_table methods_split, methods_is, methods_str, methods_list, methods_dict,
	methods_loop, methods_cycler;

/* str.strip(), which is also the filter trim. */
tcall method_strip;

/* The argument as characters' index range of s: byte offsets. */
struct byte_range {
	size_t from, to;
	bool is_valid; /* from <= to */
};
/* s[start:end] as find() and startswith() take it. */
bool method_range(struct trun *r, struct tvalue s, struct tvalue start, struct tvalue end,
		  struct byte_range *out);
