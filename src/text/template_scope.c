/* Which slot a name means: template_parser.h. */
#include <string.h>

#include "base/map.h"
#include "text/template_bind.h"
#include "text/template_parser.h"

#define SLOTS_MAX 20000u
#define REFS_MAX 64u

struct tscope *scope_create(struct parser *p, struct tfunc *func)
{
	struct tscope *const s = parse_alloc(p, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct tscope){ .parent = p->scope, .func = func };
	*p->scopes_end = s;
	p->scopes_end = &s->next;
	return s;
}

static struct tlocal *scope_find(const struct tscope *s, struct bb_str name)
{
	struct tlocal *l = s->locals;

	while (l && !bb_str_eq(l->name, name))
		l = l->next;
	return l;
}

struct tlocal *scope_declare(struct parser *p, struct tscope *s, struct bb_str name)
{
	struct tlocal *l = scope_find(s, name);

	if (l)
		return l;
	if (s->count >= 2000) {
		parse_fail(p, p->at, "more than 2000 names are set here");
		p->rc = -BB_ELIMIT;
		return NULL;
	}
	l = parse_alloc(p, sizeof(*l));
	if (l) {
		*l = (struct tlocal){ .next = s->locals, .name = name, .slot = s->count++ };
		s->locals = l;
	}
	return l;
}

bool scope_use(struct parser *p, struct tnode *node)
{
	struct name_use *const u = parse_alloc(p, sizeof(*u));

	if (!u)
		return false;
	*u = (struct name_use){ p->uses, node, p->scope };
	p->uses = u;
	return true;
}

/* The scopes' slots: one after the other within their function. */
static int place_scopes(struct parser *p)
{
	for (struct tscope *s = p->scopes; s; s = s->next) {
		if (s->func->slot_count + s->count > SLOTS_MAX)
			return -BB_ELIMIT;
		s->base = (uint16_t)s->func->slot_count;
		s->func->slot_count += s->count;
	}
	return 0;
}

static int resolve_slots(struct parser *p, const struct name_use *u)
{
	struct tref refs[REFS_MAX];
	uint16_t count = 0, up = 0;

	for (const struct tscope *s = u->scope; s && count < REFS_MAX; s = s->parent) {
		const struct tlocal *const l = scope_find(s, u->node->text);
		if (l)
			refs[count++] = (struct tref){ up, (uint16_t)(s->base + l->slot) };
		up = (uint16_t)(up + (s->parent && s->parent->func != s->func));
	}
	u->node->count = count;
	u->node->refs = NULL;
	if (!count)
		return 0;
	u->node->refs = parse_alloc(p, count * sizeof(refs[0]));
	if (!u->node->refs)
		return -BB_ENOMEM;
	memcpy(u->node->refs, refs, count * sizeof(refs[0]));
	u->node->op = count == 1 && !refs[0].up ? OP_LOCAL : 0;
	return 0;
}

/* Numbers the names that may come from outside of the template. */
static int resolve_free(struct parser *p, struct bb_map *numbers, struct tnode *node)
{
	struct template *const t = p->t;
	uint32_t n = bb_map_get(numbers, node->text);

	if (n == BB_MAP_NONE) {
		n = t->name_count++;
		const int rc = bb_map_put(numbers, node->text, n);
		if (rc)
			return rc;
	}
	node->ctx = n;
	return 0;
}

static int keep_free_names(struct parser *p)
{
	struct template *const t = p->t;

	t->names = parse_alloc(p, (t->name_count + 1) * sizeof(*t->names));
	if (!t->names)
		return -BB_ENOMEM;
	for (const struct name_use *u = p->uses; u; u = u->next)
		t->names[u->node->ctx].name = u->node->text;
	for (uint32_t i = 0; i < t->name_count; i++)
		bind_name(&t->names[i]);
	return 0;
}

int scope_resolve(struct parser *p)
{
	struct bb_map numbers;
	int rc = place_scopes(p);

	bb_map_init(&numbers, 0);
	for (const struct name_use *u = p->uses; u && !rc; u = u->next) {
		rc = resolve_slots(p, u);
		if (!rc)
			rc = resolve_free(p, &numbers, u->node);
	}
	bb_map_fini(&numbers);
	return rc ? rc : keep_free_names(p);
}
