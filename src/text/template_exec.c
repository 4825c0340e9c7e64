/* Tags: template_eval.h. */
#include "text/template_eval.h"

/* What needs much of the stack keeps it out of the tags around. */
#define NOINLINE __attribute__((noinline))

static struct tvalue *local_slot(struct trun *r, const struct tscope *s, const struct tlocal *l)
{
	return &r->frame->slots[s->base + l->slot];
}

static inline void scope_clear(struct trun *r, const struct tscope *s)
{
	struct tvalue *const slots = &r->frame->slots[s->base];

	r->steps += s->count >> 2;
	for (uint32_t i = 0; i < s->count; i++)
		slots[i] = TV(TV_MISSING);
}

struct tframe *frame_create(struct trun *r, const struct tfunc *func, struct tframe *parent)
{
	const size_t size = sizeof(struct tframe) + func->slot_count * sizeof(struct tvalue);
	struct tframe *const f = run_alloc(r, size);

	r->steps += func->slot_count >> 2;
	if (f) {
		memset(f, 0, size); /* TV_MISSING is 0 */
		f->parent = parent;
	}
	return f;
}

/* ---- assigning ---- */

static bool assign_any(struct trun *r, const struct tnode *target, struct tvalue v);

static inline bool assign(struct trun *r, const struct tnode *target, struct tvalue v)
{
	if (target->kind != E_NAME)
		return assign_any(r, target, v);
	r->frame->slots[target->refs[0].slot] = v;
	return true;
}

static bool assign_tuple(struct trun *r, const struct tnode *target, struct tvalue v)
{
	struct tseq items;

	if (v.type == TV_UNDEFINED || !run_items(r, v, &items)) {
		run_undefined(r, v);
		return false;
	}
	if (items.count != target->count) {
		r->node = target;
		run_invalid(r, "%s values to unpack (expected %u, got %u)",
			    items.count < target->count ? "not enough" : "too many", target->count,
			    items.count);
		return false;
	}
	uint32_t i = 0;
	for (const struct tnode *t = target->a; t; t = t->next) {
		const struct tvalue item = run_at(r, &items.items[i++]);
		if (is_fail(item) || !assign(r, t, item))
			return false;
	}
	return true;
}

static bool assign_attr(struct trun *r, const struct tnode *target, struct tvalue v)
{
	const struct tvalue object = eval_name(r, target->a);

	r->node = target;
	if (object.type != TV_NAMESPACE) {
		run_invalid(r, "cannot assign attribute on non-namespace object");
		return false;
	}
	struct tvalue *const old = tdict_find_str(object.dict, target->text);
	if (!old)
		return run_put(r, object.dict, tv_str(target->text), v);
	*old = v;
	return true;
}

static bool assign_any(struct trun *r, const struct tnode *target, struct tvalue v)
{
	return target->kind == E_TUPLE ? assign_tuple(r, target, v) : assign_attr(r, target, v);
}

/* ---- loops ---- */

/* Only the items for which the loop's `if` is true. */
static bool filter_items(struct trun *r, const struct tloop_def *def, struct tseq *items)
{
	struct tseq *const kept = run_seq(r, items->count);

	if (!kept)
		return false;
	for (uint32_t i = 0; i < items->count; i++) {
		const struct tvalue item = run_at(r, &items->items[i]);
		if (is_fail(item) || !assign(r, def->target, item))
			return false;
		const int test = eval_truth(r, def->test);
		if (test < 0)
			return false;
		if (test)
			kept->items[kept->count++] = item;
	}
	scope_clear(r, def->scope);
	*items = *kept;
	return true;
}

static enum flow loop_else(struct trun *r, const struct tloop_def *def)
{
	if (!def->otherwise)
		return FLOW_NEXT;
	scope_clear(r, def->else_scope);
	return exec_body(r, def->otherwise);
}

static inline bool assign_item(struct trun *r, const struct tnode *target, struct tvalue *item)
{
	if (!tv_ready(&r->mem, item)) {
		run_nomem(r);
		return false;
	}
	return assign(r, target, *item);
}

/* As in Jinja, the `else` is also for loops of which no turn came to its end. */
static enum flow loop_run(struct trun *r, const struct tloop_def *def, struct tloop *l)
{
	bool is_done = false;

	for (l->index = 0; l->index < l->count; l->index++) {
		scope_clear(r, def->scope);
		*local_slot(r, def->scope, def->loop) = TV(TV_LOOP, .loop = l);
		if (!assign_item(r, def->target, &l->items[l->index]))
			return FLOW_FAIL;
		const enum flow flow = exec_body(r, def->body);
		if (flow == FLOW_FAIL)
			return flow;
		if (flow == FLOW_BREAK)
			break;
		is_done |= flow == FLOW_NEXT;
	}
	return is_done ? FLOW_NEXT : loop_else(r, def);
}

static enum flow loop_over(struct trun *r, const struct tloop_def *def, struct tvalue over,
			   uint32_t depth)
{
	struct tseq items;

	scope_clear(r, def->scope);
	if (!run_items(r, over, &items) || (def->test && !filter_items(r, def, &items)))
		return FLOW_FAIL;
	if (!items.count)
		return loop_else(r, def);
	struct tloop *const l = run_alloc(r, sizeof(*l));
	if (!l)
		return FLOW_FAIL;
	*l = (struct tloop){ .def = def,
			     .frame = r->frame,
			     .items = items.items,
			     .count = items.count,
			     .depth = depth };
	return loop_run(r, def, l);
}

static NOINLINE enum flow exec_for(struct trun *r, const struct tnode *n)
{
	const struct tvalue over = eval(r, n->loop->iter);

	r->node = n;
	return is_fail(over) ? FLOW_FAIL : loop_over(r, n->loop, over, 0);
}

/*
 * The inner loop uses the very slots of the outer one, which are put back afterwards; also those
 * of scopes inside of it, which come behind it in the frame.
 */
struct tvalue loop_recurse(struct trun *r, const struct tloop *l, struct tvalue items)
{
	const struct tloop_def *const def = l->def;
	const size_t mark = run_mark(r);
	const uint32_t base = def->scope->base, count = def->scope->func->slot_count - base;

	if (!def->is_recursive)
		return run_invalid(r, "the loop is not marked as recursive");
	if (++r->calls > TEMPLATE_CALLS_MAX)
		return run_fail(r, -BB_ELIMIT, "loops call themselves more than %d deep",
				TEMPLATE_CALLS_MAX);
	struct tvalue *const kept = run_alloc(r, (count + 1) * sizeof(*kept));
	if (!kept || !run_charge(r, count))
		return TV(TV_FAIL);
	struct tframe *const frame = r->frame;
	r->frame = l->frame;
	memcpy(kept, &r->frame->slots[base], count * sizeof(*kept));
	const enum flow flow = loop_over(r, def, items, l->depth + 1);
	memcpy(&r->frame->slots[base], kept, count * sizeof(*kept));
	r->frame = frame;
	r->calls--;
	return flow == FLOW_FAIL ? TV(TV_FAIL) : run_take(r, mark);
}

/* ---- macros ---- */

static const struct tkeyword *find_keyword(const struct targs *given, struct bb_str name)
{
	for (uint32_t i = 0; i < given->keyword_count; i++)
		if (bb_str_eq(given->keywords[i].name, name))
			return &given->keywords[i];
	return NULL;
}

static struct tvalue param_value(struct trun *r, const struct tparam *p, const struct tkeyword *k)
{
	static const char hint[] = "a parameter of a macro was not provided";

	if (k)
		return k->value;
	if (p->fallback)
		return eval(r, p->fallback);
	return TV(TV_UNDEFINED, .flags = TV_HINT, .len = sizeof(hint) - 1, .p = hint);
}

static bool bind_params(struct trun *r, const struct tmacro_def *def, const struct targs *given)
{
	for (uint32_t i = 0; i < def->param_count; i++) {
		const struct tparam *const p = &def->params[i];
		const struct tkeyword *const k = find_keyword(given, p->name);
		if (i < given->count && k) {
			run_invalid(r, "macro '%.*s' got two values for '%.*s'", BB_ARG(def->name),
				    BB_ARG(p->name));
			return false;
		}
		const struct tvalue v = i < given->count ? given->list[i] : param_value(r, p, k);
		if (is_fail(v))
			return false;
		r->frame->slots[def->scope->base + p->slot] = v;
	}
	return true;
}

static bool is_param(const struct tmacro_def *def, struct bb_str name)
{
	for (uint32_t i = 0; i < def->param_count; i++)
		if (bb_str_eq(def->params[i].name, name))
			return true;
	return false;
}

/* The keywords that are no parameters: into kwargs, or a mistake. */
static bool bind_kwargs(struct trun *r, const struct tmacro_def *def, const struct targs *given)
{
	struct tdict *const d = def->kwargs ? run_dict(r, given->keyword_count) : NULL;

	if (def->kwargs && !d)
		return false;
	for (uint32_t i = 0; i < given->keyword_count; i++) {
		const struct tkeyword *const k = &given->keywords[i];
		const bool is_caller = def->caller && bb_str_eq(k->name, BB_STR("caller"));
		if (is_param(def, k->name) || is_caller)
			continue;
		if (!d) {
			run_invalid(r, "macro '%.*s' takes no keyword argument '%.*s'",
				    BB_ARG(def->name), BB_ARG(k->name));
			return false;
		}
		if (!run_put(r, d, tv_str(k->name), k->value))
			return false;
	}
	if (d)
		*local_slot(r, def->scope, def->kwargs) = TV(TV_DICT, .dict = d);
	return true;
}

static bool bind_varargs(struct trun *r, const struct tmacro_def *def, const struct targs *given)
{
	const uint32_t extra =
		given->count > def->param_count ? given->count - def->param_count : 0;

	if (!def->varargs) {
		if (extra)
			run_invalid(r, "macro '%.*s' takes not more than %u argument(s)",
				    BB_ARG(def->name), def->param_count);
		return !extra;
	}
	struct tseq *const s = run_seq(r, extra);
	if (!s)
		return false;
	for (uint32_t i = 0; i < extra; i++)
		s->items[s->count++] = given->list[def->param_count + i];
	*local_slot(r, def->scope, def->varargs) = TV(TV_TUPLE, .seq = s);
	return true;
}

static bool bind_macro(struct trun *r, const struct tmacro_def *def, const struct targs *given)
{
	static const char hint[] = "No caller defined";

	if (def->caller) {
		const struct tkeyword *const k = find_keyword(given, BB_STR("caller"));
		*local_slot(r, def->scope, def->caller) =
			k ? k->value
			  : TV(TV_UNDEFINED, .flags = TV_HINT, .len = sizeof(hint) - 1, .p = hint);
	}
	return bind_kwargs(r, def, given) && bind_varargs(r, def, given) &&
	       bind_params(r, def, given);
}

bool macro_run(struct trun *r, const struct tmacro *m, const struct targs *given)
{
	struct tframe *const outer = r->frame;

	if (++r->calls > TEMPLATE_CALLS_MAX) {
		run_fail(r, -BB_ELIMIT, "macros call each other more than %d deep",
			 TEMPLATE_CALLS_MAX);
		return false;
	}
	struct tframe *const frame = frame_create(r, &m->def->func, m->frame);
	if (!frame)
		return false;
	r->frame = frame;
	const bool ok = bind_macro(r, m->def, given) && exec_body(r, m->def->body) != FLOW_FAIL;
	r->frame = outer;
	r->calls--;
	return ok;
}

static struct tvalue macro_create(struct trun *r, const struct tmacro_def *def)
{
	struct tmacro *const m = run_alloc(r, sizeof(*m));

	if (!m)
		return TV(TV_FAIL);
	*m = (struct tmacro){ def, r->frame };
	return TV(TV_MACRO, .macro = m);
}

static NOINLINE enum flow exec_macro(struct trun *r, const struct tnode *n)
{
	const struct tvalue m = macro_create(r, n->def);

	return !is_fail(m) && assign(r, n->a, m) ? FLOW_NEXT : FLOW_FAIL;
}

/* {% call f(x) %}: the body is a macro that f knows as `caller`. */
static NOINLINE enum flow exec_call(struct trun *r, const struct tnode *n)
{
	const struct tvalue caller = macro_create(r, n->def);
	struct tnode call = *n->a,
		     caller_arg = { .kind = A_KEYWORD, .text = BB_STR_INIT("caller") };
	struct tnode caller_value = { .kind = E_CONST, .value = caller };

	if (is_fail(caller))
		return FLOW_FAIL;
	/* The arguments of the call, with one more in front: a copy, as the template is shared. */
	caller_arg.a = &caller_value;
	caller_arg.next = call.b;
	call.b = &caller_arg;
	call.count++;
	const bool ok = eval_print(r, &call);
	r->node = n;
	return ok ? FLOW_NEXT : FLOW_FAIL;
}

/* ---- bodies whose text is taken ---- */

static struct tvalue apply_filters(struct trun *r, const struct tnode *filters, struct tvalue text)
{
	/* The innermost filter has no input: it gets the text, by a copy of the chain. */
	struct tnode chain[16], value = { .kind = E_CONST, .value = text };
	uint32_t n = 0;

	for (const struct tnode *f = filters; f; f = f->a) {
		if (n == 16)
			return run_fail(r, -BB_ELIMIT, "more than 16 filters of a block");
		chain[n] = *f;
		if (n)
			chain[n - 1].a = &chain[n];
		n++;
	}
	if (!n)
		return text;
	chain[n - 1].a = &value;
	const struct tvalue v = eval(r, &chain[0]);
	r->node = filters;
	return v;
}

/* The body's text through the filters; what ended it early goes into *flow. */
static struct tvalue take_body(struct trun *r, const struct tnode *n, enum flow *flow)
{
	const size_t mark = run_mark(r);

	scope_clear(r, n->scope);
	*flow = exec_body(r, n->c);
	if (*flow == FLOW_FAIL)
		return TV(TV_FAIL);
	const struct tvalue text = run_take(r, mark);
	return is_fail(text) || *flow != FLOW_NEXT ? text : apply_filters(r, n->b, text);
}

static NOINLINE enum flow exec_set_block(struct trun *r, const struct tnode *n)
{
	enum flow flow;
	const struct tvalue v = take_body(r, n, &flow);

	if (is_fail(v) || (flow == FLOW_NEXT && !assign(r, n->a, v)))
		return FLOW_FAIL;
	return flow;
}

static NOINLINE enum flow exec_filter(struct trun *r, const struct tnode *n)
{
	enum flow flow;
	const struct tvalue v = take_body(r, n, &flow);

	if (is_fail(v) || (flow == FLOW_NEXT && !run_print(r, v)))
		return FLOW_FAIL;
	return flow;
}

static NOINLINE enum flow exec_with(struct trun *r, const struct tnode *n)
{
	const struct tnode *value = n->b;

	scope_clear(r, n->scope);
	for (const struct tnode *target = n->a; target;
	     target = target->next, value = value->next) {
		const struct tvalue v = eval(r, value);
		if (is_fail(v) || !assign(r, target, v))
			return FLOW_FAIL;
	}
	return exec_body(r, n->c);
}

/* ---- all tags ---- */

static enum flow exec_if(struct trun *r, const struct tnode *n)
{
	while (n && n->kind == S_IF) {
		const int test = eval_truth(r, n->a);
		if (test < 0)
			return FLOW_FAIL;
		if (test)
			return exec_body(r, n->b);
		/* What follows is an elif, or the body of the else. */
		if (!n->c || n->c->kind != S_IF || n->c->next)
			return exec_body(r, n->c);
		n = n->c;
	}
	return FLOW_NEXT;
}

static enum flow exec_set(struct trun *r, const struct tnode *n)
{
	const struct tvalue v = eval(r, n->b);

	return !is_fail(v) && assign(r, n->a, v) ? FLOW_NEXT : FLOW_FAIL;
}

static enum flow exec(struct trun *r, const struct tnode *n)
{
	switch ((enum node_kind)n->kind) {
	case S_DATA: return run_print(r, tv_str(n->text)) ? FLOW_NEXT : FLOW_FAIL;
	case S_OUTPUT: return eval_print(r, n->a) ? FLOW_NEXT : FLOW_FAIL;
	case S_IF: return exec_if(r, n);
	case S_FOR: return exec_for(r, n);
	case S_SET: return exec_set(r, n);
	case S_SET_BLOCK: return exec_set_block(r, n);
	case S_MACRO: return exec_macro(r, n);
	case S_CALL: return exec_call(r, n);
	case S_FILTER: return exec_filter(r, n);
	case S_WITH: return exec_with(r, n);
	case S_SCOPE: scope_clear(r, n->scope); return exec_body(r, n->c);
	case S_BREAK: return FLOW_BREAK;
	case S_CONTINUE: return FLOW_CONTINUE;
	default: return FLOW_FAIL;
	}
}

enum flow exec_body(struct trun *r, const struct tnode *body)
{
	enum flow flow = run_enter(r) ? FLOW_NEXT : FLOW_FAIL;

	for (; body && flow == FLOW_NEXT; body = body->next) {
		r->steps++;
		flow = exec(r, body);
	}
	run_leave(r);
	return flow;
}
