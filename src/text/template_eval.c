/* Expressions: template_eval.h. */
#include "text/template_eval.h"

#include "text/template_format.h"

#define ARGS_INLINE 8

/*
 * Each kind of node keeps to a function of its own: what recurses is then only as large, on the
 * stack and in its prologue, as the kind needs.
 */
#define NOINLINE __attribute__((noinline))

/* ---- names and their members ---- */

const struct tvalue *name_find_any(const struct trun *r, const struct tnode *n)
{
	for (uint16_t i = 0; i < n->count; i++) {
		const struct tframe *f = r->frame;
		for (uint16_t up = n->refs[i].up; up; up--)
			f = f->parent;
		if (f->slots[n->refs[i].slot].type != TV_MISSING)
			return &f->slots[n->refs[i].slot];
	}
	return &r->ctx[n->ctx];
}

static NOINLINE struct tvalue member_any(struct trun *r, const struct tnode *n,
					 struct tvalue object)
{
	r->node = n;
	if (is_fail(object) || n->kind == E_ATTR)
		return is_fail(object) ? object : op_attr(r, object, n->attr);
	return op_item(r, object, n->b->value, n->attr);
}

static NOINLINE struct tvalue member_of_name(struct trun *r, const struct tnode *n)
{
	return member_any(r, n, eval_name(r, n->a));
}

/* Calls nothing but at its end, so that it keeps nothing on the stack. */
struct tvalue eval_member(struct trun *r, const struct tnode *n)
{
	const struct tattr *const a = n->attr;

	r->steps++;
	if (n->a->op != OP_LOCAL || !a->is_short)
		return member_of_name(r, n);
	const struct tvalue *const object = &r->frame->slots[n->a->refs->slot];
	if ((object->type != TV_DICT && object->type != TV_NAMESPACE) || object->dict->index)
		return member_of_name(r, n);
	const struct tpair *pair = object->dict->pairs;
	for (const struct tpair *const end = pair + object->dict->count; pair < end; pair++) {
		if (pair->key.len != a->name.len || pair->key.aux != a->mark ||
		    pair->key.type != TV_STR ||
		    !tv_same_short(pair->key.p, a->name.p, pair->key.len))
			continue;
		return pair->value.type != TV_LAZY ? pair->value : member_of_name(r, n);
	}
	if (object->type != TV_DICT || !a->is_plain)
		return member_of_name(r, n);
	return TV(TV_UNDEFINED, .aux = TV_DICT, .len = (uint32_t)a->name.len, .p = a->name.p);
}

/* ---- brackets ---- */

static NOINLINE struct tvalue eval_seq(struct trun *r, const struct tnode *n)
{
	struct tseq *const s = run_seq(r, n->count);

	if (!s)
		return TV(TV_FAIL);
	for (const struct tnode *item = n->a; item; item = item->next) {
		const struct tvalue v = eval(r, item);
		if (is_fail(v))
			return v;
		s->items[s->count++] = v;
	}
	return TV(n->kind == E_LIST ? TV_LIST : TV_TUPLE, .seq = s);
}

static NOINLINE struct tvalue eval_dict(struct trun *r, const struct tnode *n)
{
	struct tdict *const d = run_dict(r, n->count / 2u);

	if (!d)
		return TV(TV_FAIL);
	for (const struct tnode *k = n->a; k; k = k->next->next) {
		const struct tvalue key = eval(r, k);
		const struct tvalue value = is_fail(key) ? key : eval(r, k->next);
		if (is_fail(value) || !run_put(r, d, key, value))
			return TV(TV_FAIL);
	}
	return TV(TV_DICT, .dict = d);
}

static NOINLINE struct tvalue eval_slice(struct trun *r, const struct tnode *n)
{
	const struct tnode *const nodes[3] = { n->b, n->c, n->d };
	struct tvalue bounds[3];
	const struct tvalue object = eval(r, n->a);

	if (is_fail(object))
		return object;
	for (int i = 0; i < 3; i++) {
		bounds[i] = nodes[i] ? eval(r, nodes[i]) : TV(TV_MISSING);
		if (is_fail(bounds[i]))
			return bounds[i];
	}
	r->node = n;
	return op_slice(r, object, bounds);
}

static NOINLINE struct tvalue eval_item(struct trun *r, const struct tnode *n)
{
	const struct tvalue object = eval(r, n->a);

	if (n->attr)
		return member_any(r, n, object);
	const struct tvalue index = is_fail(object) ? object : eval(r, n->b);
	if (is_fail(index))
		return index;
	r->node = n;
	return op_item(r, object, index, NULL);
}

/* ---- calls ---- */

struct call_args {
	struct targs args;
	struct tvalue list[ARGS_INLINE];
	struct tkeyword keywords[ARGS_INLINE];
};

static bool add_star(struct trun *r, struct tvalue v, struct tvalue *list, uint32_t *count,
		     uint32_t cap)
{
	struct tseq items;

	if (!run_items(r, v, &items))
		return false;
	for (uint32_t i = 0; i < items.count; i++) {
		if (*count == cap) {
			run_invalid(r, "a call has more than %u arguments", cap);
			return false;
		}
		list[(*count)++] = run_at(r, &items.items[i]);
	}
	return !r->rc;
}

static bool add_double_star(struct trun *r, struct tvalue v, struct tkeyword *list, uint32_t *count,
			    uint32_t cap)
{
	if (v.type != TV_DICT) {
		run_invalid(r, "argument after ** must be a mapping, not %s", tv_type_name(v.type));
		return false;
	}
	for (uint32_t i = 0; i < v.dict->count; i++) {
		const struct tpair *const pair = &v.dict->pairs[i];
		if (*count == cap || pair->key.type != TV_STR) {
			run_invalid(r, "keywords must be strings, at most %u", cap);
			return false;
		}
		list[(*count)++] =
			(struct tkeyword){ tv_text(pair->key), run_at(r, &v.dict->pairs[i].value) };
	}
	return !r->rc;
}

/* Room for `n` arguments, or for many where a * or ** brings them. */
static bool args_room(struct trun *r, const struct tnode *call, struct call_args *c,
		      struct tvalue **list, struct tkeyword **keywords, uint32_t *cap)
{
	bool is_open = false;

	for (const struct tnode *a = call->b; a; a = a->next)
		is_open |= a->kind == A_STAR || a->kind == A_DSTAR;
	*list = c->list;
	*keywords = c->keywords;
	*cap = ARGS_INLINE;
	if (!is_open && call->count <= ARGS_INLINE)
		return true;
	*cap = is_open ? call->count + 256u : call->count;
	*list = run_alloc(r, *cap * sizeof(**list));
	*keywords = *list ? run_alloc(r, *cap * sizeof(**keywords)) : NULL;
	return *keywords != NULL;
}

static NOINLINE bool eval_args_any(struct trun *r, const struct tnode *call, struct call_args *c)
{
	struct tvalue *list;
	struct tkeyword *keywords;
	uint32_t count = 0, keyword_count = 0, cap;

	if (!args_room(r, call, c, &list, &keywords, &cap))
		return false;
	for (const struct tnode *a = call->b; a; a = a->next) {
		const bool is_plain =
			a->kind != A_KEYWORD && a->kind != A_STAR && a->kind != A_DSTAR;
		const struct tvalue v = eval(r, is_plain ? a : a->a);
		if (is_fail(v))
			return false;
		if (is_plain)
			list[count++] = v;
		else if (a->kind == A_KEYWORD)
			keywords[keyword_count++] = (struct tkeyword){ a->text, v };
		else if (!(a->kind == A_STAR
				   ? add_star(r, v, list, &count, cap)
				   : add_double_star(r, v, keywords, &keyword_count, cap)))
			return false;
	}
	c->args = (struct targs){ list, count, keywords, keyword_count };
	return true;
}

/* All by place, and not many: the usual call. */
static bool are_plain(const struct tnode *call)
{
	for (const struct tnode *a = call->b; a; a = a->next)
		if (a->kind >= A_KEYWORD)
			return false;
	return call->count <= ARGS_INLINE;
}

static bool eval_args(struct trun *r, const struct tnode *call, struct call_args *c)
{
	uint32_t i = 0;

	if (!are_plain(call))
		return eval_args_any(r, call, c);
	for (const struct tnode *a = call->b; a; a = a->next) {
		c->list[i] = eval(r, a);
		if (is_fail(c->list[i++]))
			return false;
	}
	c->args = (struct targs){ c->list, i, NULL, 0 };
	return true;
}

struct tvalue call_value(struct trun *r, struct tvalue callee, const struct targs *given)
{
	const size_t mark = run_mark(r);

	switch (callee.type) {
	case TV_MACRO: return macro_run(r, callee.macro, given) ? run_take(r, mark) : TV(TV_FAIL);
	case TV_METHOD: return call_function(r, callee.method->f, callee.method->self, given);
	case TV_FUNC: return call_function(r, callee.func, TV(TV_NONE), given);
	case TV_UNDEFINED: return run_undefined(r, callee);
	case TV_LOOP:
		if (given->count != 1 || given->keyword_count)
			return run_invalid(r, "loop() takes the items to go through");
		return loop_recurse(r, callee.loop, given->list[0]);
	case TV_JOINER:
		if (!callee.joiner->is_used) {
			callee.joiner->is_used = true;
			return tv_lit("");
		}
		return callee.joiner->separator;
	default: return run_invalid(r, "'%s' object is not callable", tv_type_name(callee.type));
	}
}

/* What is called: a method of `self` found without making a value of it, or else `callee`. */
struct target {
	const struct tfunction *method;
	struct tvalue self, callee;
};

static bool eval_target(struct trun *r, const struct tnode *callee, struct target *t)
{
	t->method = NULL;
	if (callee->kind != E_ATTR) {
		t->callee = eval(r, callee);
		return !is_fail(t->callee);
	}
	t->self = eval(r, callee->a);
	if (is_fail(t->self))
		return false;
	t->method = attr_method(callee->attr, t->self.type);
	if (t->method)
		return true;
	r->node = callee;
	t->callee = op_attr(r, t->self, callee->attr);
	return !is_fail(t->callee);
}

static NOINLINE struct tvalue eval_call(struct trun *r, const struct tnode *n)
{
	struct call_args c;
	struct target t;

	if (!eval_target(r, n->a, &t) || !eval_args(r, n, &c))
		return TV(TV_FAIL);
	r->node = n;
	return t.method ? call_function(r, t.method, t.self, &c.args)
			: call_value(r, t.callee, &c.args);
}

static NOINLINE struct tvalue tool_call(struct trun *r, const struct tnode *n,
					const struct tfunction *f, struct tvalue self)
{
	struct call_args c;

	if (!f) {
		r->node = n;
		return run_invalid(r, "there is no %s named '%.*s'",
				   n->kind == E_FILTER ? "filter" : "test", BB_ARG(n->text));
	}
	if (!eval_args(r, n, &c))
		return TV(TV_FAIL);
	r->node = n;
	return call_function(r, f, self, &c.args);
}

static NOINLINE struct tvalue eval_tool(struct trun *r, const struct tnode *n,
					const struct tfunction *f)
{
	const struct tvalue self = eval(r, n->a);

	if (is_fail(self))
		return self;
	if (!f || f->max || !f->call || n->b)
		return tool_call(r, n, f, self);
	r->node = n;
	return f->call(r, self, NULL);
}

/* ---- operators ---- */

/* What an answer of -1, 0 or 1 is as a value. */
static inline struct tvalue answer(int rc)
{
	return rc < 0 ? TV(TV_FAIL) : tv_bool(rc);
}

static NOINLINE struct tvalue eval_sign(struct trun *r, const struct tnode *n)
{
	const struct tvalue v = eval(r, n->a);

	if (is_fail(v))
		return v;
	r->node = n;
	if (n->kind == E_NEG)
		return op_negate(r, v);
	if (v.type == TV_BOOL)
		return tv_int(v.i);
	if (v.type == TV_UNDEFINED)
		return run_undefined(r, v);
	return tv_is_number(v)
		       ? v
		       : run_invalid(r, "bad operand type for unary +: '%s'", tv_type_name(v.type));
}

static NOINLINE struct tvalue eval_add(struct trun *r, const struct tnode *n)
{
	struct tvalue sum = eval(r, n->a);

	for (const struct tnode *o = n->a->next; o && !is_fail(sum); o = o->next) {
		const struct tvalue v = eval(r, o);
		if (is_fail(v))
			return v;
		r->node = n;
		sum = op_add(r, sum, v);
	}
	return sum;
}

static NOINLINE struct tvalue eval_concat(struct trun *r, const struct tnode *n)
{
	const size_t mark = run_mark(r);
	const struct tvalue first = eval(r, n->a);
	const bool is_text = first.type == TV_STR && !(first.flags & TV_MARKUP);

	if (is_fail(first) || (!is_text && !run_print(r, first)))
		return TV(TV_FAIL);
	for (const struct tnode *o = n->a->next; o; o = o->next)
		if (!eval_print(r, o))
			return TV(TV_FAIL);
	if (!is_text || r->out->err)
		return run_take(r, mark);
	const struct bb_str rest = { r->out->p + mark, r->out->len - mark };
	r->out->len = mark;
	return run_append(r, first, rest);
}

static NOINLINE struct tvalue eval_binary(struct trun *r, const struct tnode *n)
{
	const struct tvalue a = eval(r, n->a);
	const struct tvalue b = is_fail(a) ? a : eval(r, n->b);

	if (is_fail(b))
		return b;
	r->node = n;
	return op_binary(r, (enum binary_op)n->op, a, b);
}

static struct tvalue no_else(void)
{
	static const char hint[] = "an inline if is false and has no else";

	return TV(TV_UNDEFINED, .flags = TV_HINT, .len = sizeof(hint) - 1, .p = hint);
}

static NOINLINE struct tvalue eval_cond(struct trun *r, const struct tnode *n)
{
	const int test = eval_truth(r, n->a);

	if (test < 0)
		return TV(TV_FAIL);
	if (test)
		return eval(r, n->b);
	return n->c ? eval(r, n->c) : no_else();
}

static NOINLINE struct tvalue eval_logic(struct trun *r, const struct tnode *n)
{
	const struct tvalue left = eval(r, n->a);

	if (is_fail(left) || tv_truth(left) == (n->kind == E_OR))
		return left;
	return eval(r, n->b);
}

static NOINLINE struct tvalue eval_attr(struct trun *r, const struct tnode *n)
{
	return member_any(r, n, eval(r, n->a));
}

struct tvalue eval_node(struct trun *r, const struct tnode *n)
{
	switch ((enum node_kind)n->kind) {
	case E_LIST:
	case E_TUPLE: return eval_seq(r, n);
	case E_DICT: return eval_dict(r, n);
	case E_ATTR: return eval_attr(r, n);
	case E_ITEM: return eval_item(r, n);
	case E_SLICE: return eval_slice(r, n);
	case E_CALL: return eval_call(r, n);
	case E_FILTER: return eval_tool(r, n, n->filter ? &n->filter->f : NULL);
	case E_TEST: return eval_tool(r, n, n->test ? &n->test->f : NULL);
	case E_NOT:
	case E_COMPARE: return answer(truth_node(r, n));
	case E_NEG:
	case E_POS: return eval_sign(r, n);
	case E_AND:
	case E_OR: return eval_logic(r, n);
	case E_ADD: return eval_add(r, n);
	case E_CONCAT: return eval_concat(r, n);
	case E_BINARY: return eval_binary(r, n);
	case E_COND: return eval_cond(r, n);
	default: return run_invalid(r, "this cannot be evaluated");
	}
}

struct tvalue eval_deep(struct trun *r, const struct tnode *n)
{
	const struct tvalue v = run_enter(r) ? eval_node(r, n) : TV(TV_FAIL);

	run_leave(r);
	return v;
}

/* ---- printing ---- */

/* Strings that are added go out one after the other; anything else is added first. */
static NOINLINE bool print_add(struct trun *r, const struct tnode *n)
{
	const size_t mark = run_mark(r);
	const struct tnode *o = n->a;
	struct tvalue v = eval(r, o);
	bool is_plain = v.type == TV_STR && !(v.flags & TV_MARKUP);

	if (is_fail(v))
		return false;
	if (!is_plain)
		goto add;
	while (is_plain) {
		if (!run_print(r, v))
			return false;
		o = o->next;
		if (!o)
			return true;
		v = eval(r, o);
		if (is_fail(v))
			return false;
		is_plain = v.type == TV_STR && !(v.flags & TV_MARKUP);
	}
	r->node = n;
	const struct tvalue right = v;
	v = run_take(r, mark);
	if (!is_fail(v))
		v = op_add(r, v, right);
add:
	for (o = o->next; o && !is_fail(v); o = o->next) {
		const struct tvalue right_one = eval(r, o);
		r->node = n;
		v = is_fail(right_one) ? right_one : op_add(r, v, right_one);
	}
	return !is_fail(v) && run_print(r, v);
}

static NOINLINE bool print_cond(struct trun *r, const struct tnode *n)
{
	const int test = eval_truth(r, n->a);

	if (test < 0)
		return false;
	if (test)
		return eval_print(r, n->b);
	return !n->c || eval_print(r, n->c);
}

static NOINLINE bool print_call(struct trun *r, const struct tnode *n)
{
	struct call_args c;
	struct target t;

	if (!eval_target(r, n->a, &t) || !eval_args(r, n, &c))
		return false;
	r->node = n;
	if (!t.method && t.callee.type == TV_MACRO)
		return macro_run(r, t.callee.macro, &c.args);
	const struct tvalue v = t.method ? call_function(r, t.method, t.self, &c.args)
					 : call_value(r, t.callee, &c.args);
	return !is_fail(v) && run_print(r, v);
}

static bool is_plain_json(const struct tnode *n)
{
	return n->kind == E_FILTER && !n->b && n->filter && bb_str_eq(n->text, BB_STR("tojson"));
}

static bool print_node(struct trun *r, const struct tnode *n)
{
	if (n->kind == E_ADD)
		return print_add(r, n);
	if (n->kind == E_COND)
		return print_cond(r, n);
	if (n->kind == E_CALL)
		return print_call(r, n);
	if (n->kind == E_CONCAT) {
		for (const struct tnode *o = n->a; o; o = o->next)
			if (!eval_print(r, o))
				return false;
		return true;
	}
	if (is_plain_json(n)) {
		const struct tvalue v = eval(r, n->a);
		r->node = n;
		return !is_fail(v) && format_json_plain(r, v) && run_print(r, tv_lit(""));
	}
	const struct tvalue v = eval(r, n);
	return !is_fail(v) && run_print(r, v);
}

bool eval_print(struct trun *r, const struct tnode *n)
{
	if (n->kind == E_CONST)
		return run_print(r, n->value);
	if (n->kind == E_NAME)
		return run_print(r, eval_name(r, n));
	if (n->op == OP_MEMBER) {
		const struct tvalue v = eval_member(r, n);
		return !is_fail(v) && run_print(r, v);
	}
	const bool ok = run_enter(r) && print_node(r, n);
	run_leave(r);
	return ok;
}
