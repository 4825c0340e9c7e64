/* Conditions and comparisons, without making values of them: template_eval.h. */
#include "text/template_eval.h"

static inline int compare_two(struct trun *r, enum binary_op op, struct tvalue a, struct tvalue b)
{
	if (a.type != TV_STR || b.type != TV_STR || (op != OP_EQ && op != OP_NE))
		return op_compare(r, op, a, b);
	if (a.len != b.len)
		return op == OP_NE;
	if (!run_charge_bytes(r, a.len))
		return -1;
	return tv_same_bytes(a.p, b.p, a.len) == (op == OP_EQ);
}

/* 1, 0, or -1 when it failed. */
static int compare(struct trun *r, const struct tnode *n)
{
	const struct tnode *o = n->b;
	struct tvalue left = eval(r, n->a);

	while (!is_fail(left)) {
		const struct tvalue right = eval(r, o->a);
		if (is_fail(right))
			return -1;
		r->node = n;
		const int rc = compare_two(r, (enum binary_op)o->op, left, right);
		o = o->next;
		if (rc <= 0 || !o)
			return rc;
		left = right;
	}
	return -1;
}

static inline int truth_of(struct tvalue v)
{
	if (v.type == TV_BOOL)
		return v.i != 0;
	return is_fail(v) ? -1 : tv_truth(v);
}

static int compare_text(struct trun *r, const struct tnode *n)
{
	const struct tnode *const o = n->b;
	const struct tvalue *const text = &o->a->value;
	const struct tvalue v = eval(r, n->a);

	if (v.type == TV_STR) {
		r->steps += 1 + (text->len >> 6);
		const bool same = v.len == text->len && tv_same_bytes(v.p, text->p, v.len);
		return same == (o->op == OP_EQ);
	}
	r->node = n;
	return is_fail(v) ? -1 : op_compare(r, (enum binary_op)o->op, v, *text);
}

int truth_node(struct trun *r, const struct tnode *n)
{
	int rc;

	switch (n->kind) {
	case E_NOT: rc = eval_truth(r, n->a); return rc < 0 ? rc : !rc;
	case E_AND: rc = eval_truth(r, n->a); return rc <= 0 ? rc : eval_truth(r, n->b);
	case E_OR: rc = eval_truth(r, n->a); return rc ? rc : eval_truth(r, n->b);
	case E_COMPARE: return n->op == OP_TEXT ? compare_text(r, n) : compare(r, n);
	default: return truth_of(eval_node(r, n));
	}
}

int eval_truth(struct trun *r, const struct tnode *n)
{
	if (n->op == OP_TEXT)
		return compare_text(r, n);
	if (n->op == OP_MEMBER)
		return truth_of(eval_member(r, n));
	if (n->kind == E_NAME)
		return truth_of(eval_name(r, n));
	if (n->kind == E_CONST)
		return truth_of(n->value);
	const int rc = run_enter(r) ? truth_node(r, n) : -1;
	run_leave(r);
	return rc;
}
