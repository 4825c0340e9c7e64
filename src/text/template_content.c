#include "text/template_content.h"

#define NAMES_MAX 32

/* Names that stand for the messages, or for one of them. */
struct names {
	struct bb_str list[NAMES_MAX];
	uint32_t count;
};

enum look_for { LOOK_ALIASES, LOOK_MESSAGES, LOOK_CONTENT };

struct search {
	enum look_for what;
	struct names messages, message;
	bool is_found, is_odd; /* odd: a loop that gives more than one name */
	bool has_changed;
};

static bool names_have(const struct names *n, struct bb_str name)
{
	for (uint32_t i = 0; i < n->count; i++)
		if (bb_str_eq(n->list[i], name))
			return true;
	return false;
}

static bool names_add(struct names *n, struct bb_str name)
{
	if (n->count == NAMES_MAX || names_have(n, name))
		return false;
	n->list[n->count++] = name;
	return true;
}

/* What is left of an expression without filters, tests and slices around it. */
static const struct tnode *bare(const struct tnode *e)
{
	while (e && (e->kind == E_FILTER || e->kind == E_TEST || e->kind == E_SLICE))
		e = e->a;
	return e;
}

static bool is_name_in(const struct tnode *e, const struct names *names)
{
	return e && e->kind == E_NAME && names_have(names, e->text);
}

/* message.content or message['content'] */
static bool is_content_of(const struct tnode *e, const struct names *names)
{
	if (e && e->kind == E_ATTR)
		return bb_str_eq(e->text, BB_STR("content")) && is_name_in(e->a, names);
	return e && e->kind == E_ITEM && e->b->kind == E_CONST && e->b->value.type == TV_STR &&
	       bb_str_eq(tv_text(e->b->value), BB_STR("content")) && is_name_in(e->a, names);
}

static void look_at(struct search *s, const struct tnode *n)
{
	if (s->what == LOOK_ALIASES && n->kind == S_SET && is_name_in(bare(n->b), &s->messages)) {
		if (n->a->kind == E_NAME)
			s->has_changed |= names_add(&s->messages, n->a->text);
		else
			s->is_odd = true;
	}
	if (n->kind != S_FOR)
		return;
	const struct tnode *const over = bare(n->loop->iter);
	const bool is_hit = s->what == LOOK_MESSAGES  ? is_name_in(over, &s->messages)
			    : s->what == LOOK_CONTENT ? is_content_of(over, &s->message)
						      : false;
	if (!is_hit)
		return;
	if (n->loop->target->kind != E_NAME)
		s->is_odd = true;
	else if (s->what == LOOK_MESSAGES)
		names_add(&s->message, n->loop->target->text);
	else
		s->is_found = true;
}

/* All tags, the inner ones too; the parser has limited how deep they are. */
static void walk(struct search *s, const struct tnode *n)
{
	for (const struct tnode *next; n; n = next) {
		next = n->next;
		look_at(s, n);
		switch ((enum node_kind)n->kind) {
		case S_IF:
			walk(s, n->b);
			/* An elif is the only tag of its branch. */
			for (; n->c && n->c->kind == S_IF && !n->c->next; n = n->c)
				walk(s, n->c->b);
			walk(s, n->c);
			break;
		case S_FOR:
			walk(s, n->loop->body);
			walk(s, n->loop->otherwise);
			break;
		case S_MACRO:
		case S_CALL: walk(s, n->def->body); break;
		case S_SET_BLOCK:
		case S_FILTER:
		case S_WITH:
		case S_SCOPE: walk(s, n->c); break;
		default: break;
		}
	}
}

enum template_content template_content_find(const struct tnode *body)
{
	struct search s = { .what = LOOK_ALIASES };

	names_add(&s.messages, BB_STR("messages"));
	do {
		s.has_changed = false;
		walk(&s, body);
	} while (s.has_changed);
	s.what = LOOK_MESSAGES;
	walk(&s, body);
	s.what = LOOK_CONTENT;
	walk(&s, body);
	return s.is_found && !s.is_odd ? TEMPLATE_CONTENT_PARTS : TEMPLATE_CONTENT_STRING;
}
