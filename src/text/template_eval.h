/*
 * template_eval.h: walks a compiled template.
 *
 * For: template.c, and filters that take calls (map, select). Threads: one owner of the trun.
 * Memory: the trun's. Errors: TV_FAIL or FLOW_FAIL, with the reason in the trun.
 */
#pragma once

#include "text/template_run.h"

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAIL };

enum flow exec_body(struct trun *r, const struct tnode *body);
struct tvalue eval(struct trun *r, const struct tnode *n);
/* bool(n): 1, 0, or -1 when it failed. */
int eval_truth(struct trun *r, const struct tnode *n);
/* The value's text goes to r->out, without being made first where that can be. */
bool eval_print(struct trun *r, const struct tnode *n);

/* A macro's text goes to r->out. */
bool macro_run(struct trun *r, const struct tmacro *m, const struct targs *given);
/* A loop over new items, its text taken: loop(items) of a recursive loop. */
struct tvalue loop_recurse(struct trun *r, const struct tloop *l, struct tvalue items);
struct tframe *frame_create(struct trun *r, const struct tfunc *func, struct tframe *parent);
