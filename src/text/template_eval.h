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
/* The slot of a name; its value may be TV_MISSING. */
const struct tvalue *name_find_any(const struct trun *r, const struct tnode *n);
static inline const struct tvalue *name_find(const struct trun *r, const struct tnode *n)
{
	if (n->op != OP_LOCAL)
		return name_find_any(r, n);
	const struct tvalue *const v = &r->frame->slots[n->refs->slot];
	return v->type != TV_MISSING ? v : &r->ctx[n->ctx];
}

static inline struct tvalue eval_name(const struct trun *r, const struct tnode *n)
{
	const struct tvalue *const v = name_find(r, n);

	if (__builtin_expect(v->type != TV_MISSING, 1))
		return *v;
	return TV(TV_UNDEFINED, .len = (uint32_t)n->text.len, .p = n->text.p);
}

struct tvalue eval_member(struct trun *r, const struct tnode *n);
/* Without a look at the depth: for those who had it. */
struct tvalue eval_node(struct trun *r, const struct tnode *n);
int truth_node(struct trun *r, const struct tnode *n);
struct tvalue eval_deep(struct trun *r, const struct tnode *n);
/* What needs no work, and no depth, is done on the spot. */
static inline struct tvalue eval(struct trun *r, const struct tnode *n)
{
	if (n->kind == E_NAME)
		return eval_name(r, n);
	if (n->op == OP_MEMBER)
		return eval_member(r, n);
	return n->kind == E_CONST ? n->value : eval_deep(r, n);
}

/* bool(n): 1, 0, or -1 when it failed. (template_truth.c) */
int eval_truth(struct trun *r, const struct tnode *n);
/* The value's text goes to r->out, without being made first where that can be. */
bool eval_print(struct trun *r, const struct tnode *n);

/* A macro's text goes to r->out. */
bool macro_run(struct trun *r, const struct tmacro *m, const struct targs *given);
/* A loop over new items, its text taken: loop(items) of a recursive loop. */
struct tvalue loop_recurse(struct trun *r, const struct tloop *l, struct tvalue items);
struct tframe *frame_create(struct trun *r, const struct tfunc *func, struct tframe *parent);
