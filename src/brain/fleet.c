#include "brain/fleet.h"

#include "base/alloc.h"
#include "base/log.h"

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

static void bindings_free(struct binding *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		bb_free(list[i].served_name);
	bb_free(list);
}

static void listed_free(struct engine_model *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		bb_free(list[i].name);
	bb_free(list);
}

static void engine_free(struct engine *e)
{
	bb_free(e->name);
	names_free(e->only, e->only_count);
	listed_free(e->listed, e->listed_count);
	*e = (struct engine){ 0 };
}

static void model_plan_free(struct model *m)
{
	names_free(m->aliases, m->alias_count);
	m->aliases = NULL;
	m->alias_count = 0;
	BB_FREE(m->served_name);
	BB_FREE(m->plan_engines);
	m->plan_engine_count = 0;
	m->in_plan = false;
}

void fleet_fini(struct fleet *f)
{
	for (uint32_t i = 0; f->engines && i < f->engine_count; i++)
		engine_free(&f->engines[i]);
	for (uint32_t i = 0; f->models && i < f->model_count; i++) {
		struct model *m = &f->models[i];
		model_plan_free(m);
		bindings_free(m->bindings, m->binding_count);
		bb_free(m->name);
	}
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

void engine_set_state(struct engine *e, enum engine_state state, uint64_t now_ns)
{
	if (e->state == state)
		return;
	e->state = state;
	e->state_since_ns = now_ns;
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
		    (f->engines[i].state == ENGINE_GONE && f->engines[i].requests == 0))
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
	return e;
}

static uint32_t model_slot(struct fleet *f, struct bb_str name, uint64_t now_ns)
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

static int plan_engines_apply(struct fleet *f, uint64_t now_ns, const struct plan *plan,
			      struct engine_id *ids)
{
	for (uint32_t i = 0; i < f->engine_count; i++)
		f->engines[i].in_plan = false;
	for (uint32_t i = 0; i < plan->engine_count; i++) {
		const struct plan_engine *pe = &plan->engines[i];
		struct engine *e = engine_by_name(f, pe->name);
		bool ok = true;
		if (!e)
			e = engine_claim(f, pe->name, now_ns);
		if (!e)
			return -BB_ELIMIT;
		if (e->state == ENGINE_GONE)
			engine_set_state(e, ENGINE_STARTING, now_ns);
		char **only = names_copy(pe->models, pe->model_count, &ok);
		if (!ok)
			return -BB_ENOMEM;
		names_free(e->only, e->only_count);
		e->only = only;
		e->only_count = pe->model_count;
		e->serves_listed = pe->serves_listed;
		e->in_plan = true;
		ids[i] = (struct engine_id){ (uint32_t)(e - f->engines), e->generation };
	}
	for (uint32_t i = 0; i < f->engine_count; i++)
		if (f->engines[i].generation && !f->engines[i].in_plan)
			engine_set_state(&f->engines[i], ENGINE_GONE, now_ns);
	return 0;
}

static int plan_models_apply(struct fleet *f, uint64_t now_ns, const struct plan *plan,
			     const struct engine_id *ids)
{
	for (uint32_t i = 0; i < f->model_count; i++)
		model_plan_free(&f->models[i]);
	for (uint32_t i = 0; i < plan->model_count; i++) {
		const struct plan_model *pm = &plan->models[i];
		const uint32_t slot = model_slot(f, pm->name, now_ns);
		bool ok = true;
		if (slot == UINT32_MAX)
			return -BB_ELIMIT;
		struct model *m = &f->models[slot];
		m->in_plan = true;
		m->aliases = names_copy(pm->aliases, pm->alias_count, &ok);
		m->alias_count = m->aliases ? pm->alias_count : 0;
		m->plan_engines = bb_alloc(pm->engine_count * sizeof(uint32_t));
		if (pm->served_name.len)
			m->served_name = bb_strndup(pm->served_name.p, pm->served_name.len);
		if (!ok || !m->plan_engines || (pm->served_name.len && !m->served_name))
			return -BB_ENOMEM;
		m->plan_engine_count = pm->engine_count;
		for (uint32_t k = 0; k < pm->engine_count; k++)
			m->plan_engines[k] = ids[pm->engines[k]].slot;
	}
	return 0;
}

int fleet_apply_plan(struct fleet *f, uint64_t now_ns, const struct plan *plan, struct engine_id *ids)
{
	int rc = plan_engines_apply(f, now_ns, plan, ids);

	if (!rc)
		rc = plan_models_apply(f, now_ns, plan, ids);
	if (!rc)
		rc = fleet_bind(f, now_ns);
	return rc;
}

int fleet_set_listed(struct engine *e, const struct report_model *models, uint32_t count)
{
	bool same = e->has_listed && e->listed_count == count;

	for (uint32_t i = 0; same && i < count; i++)
		same = bb_str_eq(bb_str_of(e->listed[i].name), models[i].name) &&
		       e->listed[i].context_tokens == models[i].context_tokens;
	if (same)
		return 0;
	struct engine_model *list = bb_alloc_zero(count, sizeof(*list));
	if (!list)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		list[i].name = bb_strndup(models[i].name.p, models[i].name.len);
		list[i].context_tokens = models[i].context_tokens;
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

/* ---- bindings ---- */

static int model_bind(struct model *m, uint32_t engine, const char *served, uint64_t context_tokens)
{
	for (uint32_t i = 0; i < m->binding_count; i++)
		if (m->bindings[i].engine == engine)
			return 0;
	struct binding *list = bb_realloc(m->bindings, (m->binding_count + 1) * sizeof(*list));
	if (!list)
		return -BB_ENOMEM;
	m->bindings = list;
	char *copy = bb_strndup(served, strlen(served));
	if (!copy)
		return -BB_ENOMEM;
	list[m->binding_count++] =
		(struct binding){ .engine = engine, .served_name = copy, .context_tokens = context_tokens };
	return 0;
}

static const struct engine_model *listed_find(const struct engine *e, const char *name)
{
	for (uint32_t i = 0; i < e->listed_count; i++)
		if (strcmp(e->listed[i].name, name) == 0)
			return &e->listed[i];
	return NULL;
}

/*
 * The name under which an engine serves a model of the plan: what the plan says; else the model's
 * own name if the engine lists it; else the only one that it lists; else the first of several.
 */
static int bind_planned(struct model *m, uint32_t slot, const struct engine *e)
{
	const struct engine_model *found = listed_find(e, m->served_name ? m->served_name : m->name);

	if (m->served_name)
		return model_bind(m, slot, m->served_name, found ? found->context_tokens : 0);
	if (!e->has_listed)
		return model_bind(m, slot, m->name, 0);
	if (!found && e->listed_count)
		found = &e->listed[0];
	return found ? model_bind(m, slot, found->name, found->context_tokens) : 0;
}

static bool engine_may_serve(const struct engine *e, const char *name)
{
	for (uint32_t i = 0; i < e->only_count; i++)
		if (strcmp(e->only[i], name) == 0)
			return true;
	return e->only_count == 0;
}

static int bind_listed(struct fleet *f, uint32_t slot, uint64_t now_ns)
{
	const struct engine *e = &f->engines[slot];

	for (uint32_t i = 0; i < e->listed_count; i++) {
		const struct engine_model *lm = &e->listed[i];
		if (!engine_may_serve(e, lm->name))
			continue;
		const uint32_t ms = model_slot(f, bb_str_of(lm->name), now_ns);
		if (ms == UINT32_MAX)
			return -BB_ELIMIT;
		int rc = model_bind(&f->models[ms], slot, lm->name, lm->context_tokens);
		if (rc)
			return rc;
	}
	return 0;
}

static int names_build(const struct fleet *f, struct bb_map *names, uint32_t *catch_all)
{
	*catch_all = UINT32_MAX;
	for (uint32_t i = 0; i < f->model_count; i++) {
		const struct model *m = &f->models[i];
		for (uint32_t k = 0; k < m->alias_count; k++) {
			if (strcmp(m->aliases[k], "*") == 0)
				*catch_all = i;
			else if (bb_map_put(names, bb_str_of(m->aliases[k]), i))
				return -BB_ENOMEM;
		}
	}
	/* Names after aliases: a model's own name wins over another's alias. */
	for (uint32_t i = 0; i < f->model_count; i++) {
		const struct model *m = &f->models[i];
		if ((m->in_plan || m->binding_count) &&
		    bb_map_put(names, bb_str_of(m->name), i))
			return -BB_ENOMEM;
	}
	return 0;
}

int fleet_bind(struct fleet *f, uint64_t now_ns)
{
	struct bb_map names;
	uint32_t catch_all;
	int rc = 0;

	for (uint32_t i = 0; i < f->model_count; i++) {
		struct model *m = &f->models[i];
		bindings_free(m->bindings, m->binding_count);
		m->bindings = NULL;
		m->binding_count = 0;
	}
	for (uint32_t i = 0; i < f->model_count && !rc; i++) {
		struct model *m = &f->models[i];
		for (uint32_t k = 0; k < m->plan_engine_count && !rc; k++)
			rc = bind_planned(m, m->plan_engines[k], &f->engines[m->plan_engines[k]]);
	}
	for (uint32_t i = 0; i < f->engine_count && !rc; i++)
		if (f->engines[i].in_plan && f->engines[i].serves_listed)
			rc = bind_listed(f, i, now_ns);
	if (rc)
		return rc;
	bb_map_init(&names, f->names.key);
	rc = names_build(f, &names, &catch_all);
	if (rc) {
		bb_map_fini(&names);
		return rc;
	}
	bb_map_fini(&f->names);
	f->names = names;
	f->catch_all = catch_all;
	return 0;
}

struct model *fleet_resolve(const struct fleet *f, struct bb_str name)
{
	uint32_t slot = bb_map_get(&f->names, name);

	if (slot == BB_MAP_NONE)
		slot = f->catch_all;
	return slot == UINT32_MAX ? NULL : &f->models[slot];
}
