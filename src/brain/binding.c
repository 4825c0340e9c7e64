#include "brain/binding.h"

#include "base/alloc.h"
#include "base/log.h"

void bindings_free(struct bindings *b)
{
	for (uint32_t i = 0; i < b->count; i++)
		bb_free(b->list[i].served_name);
	bb_free(b->list);
	*b = (struct bindings){ 0 };
}

/* `found` is what the engine lists under that name; NULL: nothing. */
static int model_bind(struct model *m, uint32_t engine, const char *served,
		      const struct engine_model *found)
{
	struct bindings *b = &m->rebound;

	for (uint32_t i = 0; i < b->count; i++)
		if (b->list[i].engine == engine)
			return 0;
	struct binding *list = bb_realloc(b->list, (b->count + 1) * sizeof(*list));
	if (!list)
		return -BB_ENOMEM;
	b->list = list;
	char *copy = bb_strndup(served, strlen(served));
	if (!copy)
		return -BB_ENOMEM;
	list[b->count++] = (struct binding){ .engine = engine,
					     .served_name = copy,
					     .context_tokens = found ? found->context_tokens : 0,
					     .is_adapter = found && found->is_adapter };
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
	const char *const served_name = m->plan.served_name;
	const struct engine_model *found = listed_find(e, served_name ? served_name : m->name);

	if (served_name)
		return model_bind(m, slot, served_name, found);
	if (!e->has_listed)
		return model_bind(m, slot, m->name, NULL);
	if (!found && e->listed_count)
		found = &e->listed[0];
	return found ? model_bind(m, slot, found->name, found) : 0;
}

static bool engine_may_serve(const struct engine *e, const char *name)
{
	for (uint32_t i = 0; i < e->plan.only_count; i++)
		if (strcmp(e->plan.only[i], name) == 0)
			return true;
	return e->plan.only_count == 0;
}

static int bind_listed(struct fleet *f, uint32_t slot, uint64_t now_ns)
{
	const struct engine *e = &f->engines[slot];

	for (uint32_t i = 0; i < e->listed_count; i++) {
		const struct engine_model *lm = &e->listed[i];
		if (!engine_may_serve(e, lm->name))
			continue;
		const uint32_t ms = fleet_model_slot(f, bb_str_of(lm->name), now_ns);
		if (ms == UINT32_MAX) {
			/* An engine that lists too many names must not take the others' away. */
			if (BB_CHECK(f->model_count < f->models_max, "an engine lists too many models"))
				return -BB_ENOMEM;
			continue;
		}
		int rc = model_bind(&f->models[ms], slot, lm->name, lm);
		if (rc)
			return rc;
	}
	return 0;
}

static int names_build(const struct fleet *f, struct bb_map *names, uint32_t *catch_all)
{
	*catch_all = UINT32_MAX;
	for (uint32_t i = 0; i < f->model_count; i++) {
		const struct model_plan *p = &f->models[i].plan;
		for (uint32_t k = 0; k < p->alias_count; k++) {
			if (strcmp(p->aliases[k], "*") == 0)
				*catch_all = i;
			else if (bb_map_put(names, bb_str_of(p->aliases[k]), i))
				return -BB_ENOMEM;
		}
	}
	/* Names after aliases: a model's own name wins over another's alias. */
	for (uint32_t i = 0; i < f->model_count; i++) {
		const struct model *m = &f->models[i];
		if ((m->plan.in_plan || m->rebound.count) &&
		    bb_map_put(names, bb_str_of(m->name), i))
			return -BB_ENOMEM;
	}
	return 0;
}

static int models_bind(struct fleet *f, uint64_t now_ns)
{
	int rc = 0;

	for (uint32_t i = 0; i < f->model_count && !rc; i++) {
		struct model *m = &f->models[i];
		for (uint32_t k = 0; k < m->plan.engine_count && !rc; k++)
			rc = bind_planned(m, m->plan.engines[k], &f->engines[m->plan.engines[k]]);
	}
	for (uint32_t i = 0; i < f->engine_count && !rc; i++)
		if (f->engines[i].plan.in_plan && f->engines[i].plan.serves_listed)
			rc = bind_listed(f, i, now_ns);
	return rc;
}

/* From the last model to the first, so that the first remains. */
static void engines_note_model(struct fleet *f)
{
	for (uint32_t i = f->model_count; i-- > 0;)
		for (uint32_t k = 0; k < f->models[i].bound.count; k++)
			f->engines[f->models[i].bound.list[k].engine].model = i;
}

/* The new bindings come into force, with the names that follow from them. */
static int rebound_commit(struct fleet *f)
{
	struct bb_map names;
	uint32_t catch_all;

	bb_map_init(&names, f->names.key);
	const int rc = names_build(f, &names, &catch_all);
	if (rc) {
		bb_map_fini(&names);
		return rc;
	}
	for (uint32_t i = 0; i < f->model_count; i++) {
		struct model *m = &f->models[i];
		bindings_free(&m->bound);
		m->bound = m->rebound;
		m->rebound = (struct bindings){ 0 };
	}
	engines_note_model(f);
	bb_map_fini(&f->names);
	f->names = names;
	f->catch_all = catch_all;
	f->is_stale = false;
	f->version++;
	return 0;
}

static void rebound_drop(struct fleet *f)
{
	for (uint32_t i = 0; i < f->model_count; i++)
		bindings_free(&f->models[i].rebound);
}

int fleet_bind(struct fleet *f, uint64_t now_ns)
{
	const uint32_t model_count = f->model_count;
	int rc = models_bind(f, now_ns);

	if (!rc)
		rc = rebound_commit(f);
	if (rc) {
		rebound_drop(f);
		fleet_models_drop(f, model_count);
	}
	return rc;
}

int fleet_bind_as_read(struct fleet *f)
{
	const int rc = rebound_commit(f);

	if (rc)
		rebound_drop(f);
	return rc;
}
