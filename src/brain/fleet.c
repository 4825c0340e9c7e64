#include "brain/fleet.h"

#include "base/alloc.h"
#include "base/log.h"
#include "brain/binding.h"

int fleet_init(struct fleet *f, uint32_t engines_max, uint32_t models_max, uint64_t hash_key)
{
	*f = (struct fleet){ .engines_max = engines_max, .models_max = models_max,
			     .catch_all = UINT32_MAX };
	f->engines = bb_alloc_zero(engines_max, sizeof(*f->engines));
	f->models = bb_alloc_zero(models_max, sizeof(*f->models));
	bb_map_init(&f->names, hash_key);
	if (f->engines && f->models)
		return 0;
	fleet_fini(f);
	return -BB_ENOMEM;
}

static void names_free(char **names, uint32_t count)
{
	for (uint32_t i = 0; names && i < count; i++)
		bb_free(names[i]);
	bb_free(names);
}

/* Copies; NULL with *ok false when there is no memory. */
static char **names_copy(const struct bb_str *from, uint32_t count, bool *ok)
{
	char **names;

	if (count == 0)
		return NULL;
	names = bb_alloc_zero(count, sizeof(*names));
	if (!names) {
		*ok = false;
		return NULL;
	}
	for (uint32_t i = 0; i < count; i++) {
		names[i] = bb_strndup(from[i].p, from[i].len);
		if (!names[i]) {
			names_free(names, count);
			*ok = false;
			return NULL;
		}
	}
	return names;
}

static void listed_free(struct engine_model *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		bb_free(list[i].name);
	bb_free(list);
}

static void engine_plan_free(struct engine_plan *p)
{
	names_free(p->only, p->only_count);
	*p = (struct engine_plan){ 0 };
}

static void engine_free(struct engine *e)
{
	bb_free(e->name);
	engine_plan_free(&e->plan);
	engine_plan_free(&e->next);
	listed_free(e->listed, e->listed_count);
	*e = (struct engine){ 0 };
}

static void model_plan_free(struct model_plan *p)
{
	names_free(p->aliases, p->alias_count);
	bb_free(p->served_name);
	bb_free(p->engines);
	*p = (struct model_plan){ 0 };
}

static void model_free(struct model *m)
{
	model_plan_free(&m->plan);
	model_plan_free(&m->next);
	bindings_free(&m->bound);
	bindings_free(&m->rebound);
	bb_free(m->name);
	*m = (struct model){ 0 };
}

void fleet_fini(struct fleet *f)
{
	for (uint32_t i = 0; f->engines && i < f->engine_count; i++)
		engine_free(&f->engines[i]);
	for (uint32_t i = 0; f->models && i < f->model_count; i++)
		model_free(&f->models[i]);
	BB_FREE(f->engines);
	BB_FREE(f->models);
	bb_map_fini(&f->names);
}

struct engine *fleet_engine(const struct fleet *f, struct engine_id id)
{
	if (id.generation == 0 || id.slot >= f->engine_count)
		return NULL;
	struct engine *e = &f->engines[id.slot];
	return e->generation == id.generation ? e : NULL;
}

void engine_set_state(struct fleet *f, struct engine *e, enum engine_state state, uint64_t now_ns)
{
	if (e->state == state)
		return;
	e->state = state;
	e->state_since_ns = now_ns;
	f->version++;
}

static struct engine *engine_by_name(struct fleet *f, struct bb_str name)
{
	for (uint32_t i = 0; i < f->engine_count; i++)
		if (f->engines[i].generation && bb_str_eq(bb_str_of(f->engines[i].name), name))
			return &f->engines[i];
	return NULL;
}

/* A slot for a new engine: a free one, or one whose engine left and has nothing in flight. */
static struct engine *engine_claim(struct fleet *f, struct bb_str name, uint64_t now_ns)
{
	struct engine *e = NULL;

	for (uint32_t i = 0; i < f->engine_count && !e; i++)
		if (!f->engines[i].generation ||
		    (f->engines[i].state == ENGINE_GONE && f->engines[i].requests == 0 &&
		     !f->engines[i].next.in_plan))
			e = &f->engines[i];
	if (!e && f->engine_count < f->engines_max)
		e = &f->engines[f->engine_count++];
	if (!e)
		return NULL;
	char *copy = bb_strndup(name.p, name.len);
	if (!copy)
		return NULL;
	engine_free(e);
	e->name = copy;
	e->generation = ++f->next_generation;
	e->state = ENGINE_STARTING;
	e->state_since_ns = now_ns;
	e->is_new = true;
	f->version++;
	return e;
}

uint32_t fleet_model_slot(struct fleet *f, struct bb_str name, uint64_t now_ns)
{
	for (uint32_t i = 0; i < f->model_count; i++)
		if (bb_str_eq(bb_str_of(f->models[i].name), name))
			return i;
	if (f->model_count == f->models_max)
		return UINT32_MAX;
	char *copy = bb_strndup(name.p, name.len);
	if (!copy)
		return UINT32_MAX;
	f->models[f->model_count] = (struct model){ .name = copy, .created_ns = now_ns };
	return f->model_count++;
}

void fleet_models_drop(struct fleet *f, uint32_t count)
{
	while (f->model_count > count)
		model_free(&f->models[--f->model_count]);
}

/*
 * Putting a plan into force: every engine and model gets its part of it in `next`; then `plan` and
 * `next` change places everywhere and the bindings are computed. When that fails they change back.
 */
static int stage_engines(struct fleet *f, uint64_t now_ns, const struct plan *plan,
			 struct engine_id *ids)
{
	for (uint32_t i = 0; i < plan->engine_count; i++) {
		const struct plan_engine *pe = &plan->engines[i];
		struct engine *e = engine_by_name(f, pe->name);
		bool ok = true;
		if (!e)
			e = engine_claim(f, pe->name, now_ns);
		if (!e)
			return f->engine_count < f->engines_max ? -BB_ENOMEM : -BB_ELIMIT;
		engine_plan_free(&e->next);
		e->next.only = names_copy(pe->models, pe->model_count, &ok);
		e->next.only_count = e->next.only ? pe->model_count : 0;
		e->next.serves_listed = pe->serves_listed;
		e->next.in_plan = true;
		if (!ok)
			return -BB_ENOMEM;
		ids[i] = (struct engine_id){ (uint32_t)(e - f->engines), e->generation };
	}
	return 0;
}

static int stage_models(struct fleet *f, uint64_t now_ns, const struct plan *plan,
			const struct engine_id *ids)
{
	for (uint32_t i = 0; i < plan->model_count; i++) {
		const struct plan_model *pm = &plan->models[i];
		const uint32_t slot = fleet_model_slot(f, pm->name, now_ns);
		bool ok = true;
		if (slot == UINT32_MAX)
			return f->model_count < f->models_max ? -BB_ENOMEM : -BB_ELIMIT;
		struct model_plan *p = &f->models[slot].next;
		model_plan_free(p);
		p->in_plan = true;
		p->aliases = names_copy(pm->aliases, pm->alias_count, &ok);
		p->alias_count = p->aliases ? pm->alias_count : 0;
		p->engines = bb_alloc(pm->engine_count * sizeof(uint32_t));
		if (pm->served_name.len)
			p->served_name = bb_strndup(pm->served_name.p, pm->served_name.len);
		if (!ok || !p->engines || (pm->served_name.len && !p->served_name))
			return -BB_ENOMEM;
		p->engine_count = pm->engine_count;
		for (uint32_t k = 0; k < pm->engine_count; k++)
			p->engines[k] = ids[pm->engines[k]].slot;
	}
	return 0;
}

static void stage_swap(struct fleet *f)
{
	for (uint32_t i = 0; i < f->engine_count; i++) {
		struct engine *e = &f->engines[i];
		const struct engine_plan p = e->plan;
		e->plan = e->next;
		e->next = p;
	}
	for (uint32_t i = 0; i < f->model_count; i++) {
		struct model *m = &f->models[i];
		const struct model_plan p = m->plan;
		m->plan = m->next;
		m->next = p;
	}
}

static void stage_clear(struct fleet *f)
{
	for (uint32_t i = 0; i < f->engine_count; i++)
		engine_plan_free(&f->engines[i].next);
	for (uint32_t i = 0; i < f->model_count; i++)
		model_plan_free(&f->models[i].next);
}

static void engines_follow_plan(struct fleet *f, uint64_t now_ns)
{
	for (uint32_t i = 0; i < f->engine_count; i++) {
		struct engine *e = &f->engines[i];
		e->is_new = false;
		if (e->generation && !e->plan.in_plan)
			engine_set_state(f, e, ENGINE_GONE, now_ns);
		else if (e->state == ENGINE_GONE)
			engine_set_state(f, e, ENGINE_STARTING, now_ns);
	}
}

int fleet_apply_plan(struct fleet *f, uint64_t now_ns, const struct plan *plan, struct engine_id *ids)
{
	const uint32_t model_count = f->model_count;
	int rc = stage_engines(f, now_ns, plan, ids);

	if (!rc)
		rc = stage_models(f, now_ns, plan, ids);
	if (!rc) {
		stage_swap(f);
		rc = fleet_bind(f, now_ns);
		if (rc)
			stage_swap(f);
	}
	stage_clear(f);
	if (!rc) {
		engines_follow_plan(f, now_ns);
		return 0;
	}
	fleet_models_drop(f, model_count);
	for (uint32_t i = 0; i < f->engine_count; i++)
		if (f->engines[i].is_new)
			engine_free(&f->engines[i]);
	return rc;
}

int fleet_set_listed(struct engine *e, const struct report_model *models, uint32_t count)
{
	bool same = e->has_listed && e->listed_count == count;

	for (uint32_t i = 0; same && i < count; i++)
		same = bb_str_eq(bb_str_of(e->listed[i].name), models[i].name) &&
		       e->listed[i].context_tokens == models[i].context_tokens &&
		       e->listed[i].is_adapter == models[i].is_adapter;
	if (same)
		return 0;
	struct engine_model *list = bb_alloc_zero(count, sizeof(*list));
	if (!list)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		list[i].name = bb_strndup(models[i].name.p, models[i].name.len);
		list[i].context_tokens = models[i].context_tokens;
		list[i].is_adapter = models[i].is_adapter;
		if (!list[i].name) {
			listed_free(list, count);
			return -BB_ENOMEM;
		}
	}
	listed_free(e->listed, e->listed_count);
	e->listed = list;
	e->listed_count = count;
	e->has_listed = true;
	return 1;
}

/* What an empty name means: the only model that can be asked for. */
static struct model *fleet_only(const struct fleet *f)
{
	struct model *only = NULL;

	for (uint32_t i = 0; i < f->model_count; i++) {
		struct model *m = &f->models[i];
		if (!m->plan.in_plan && !m->bound.count)
			continue;
		if (only)
			return NULL;
		only = m;
	}
	return only;
}

struct model *fleet_resolve(const struct fleet *f, struct bb_str name)
{
	uint32_t slot = bb_map_get(&f->names, name);

	if (name.len == 0 && fleet_only(f))
		return fleet_only(f);
	if (slot == BB_MAP_NONE)
		slot = f->catch_all;
	return slot == UINT32_MAX ? NULL : &f->models[slot];
}
