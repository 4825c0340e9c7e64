/* fleet_pack.c: engines and models as bytes, for state.c. */
#include "base/alloc.h"
#include "brain/binding.h"
#include "brain/fleet.h"
#include "brain/pack.h"

#define NAMES_MAX 65536

#if defined(__LP64__) /* a member that is added must be packed */
_Static_assert(sizeof(struct engine) == 224 && sizeof(struct engine_plan) == 24, "pack_engine_row");
_Static_assert(sizeof(struct model) == 192 && sizeof(struct model_plan) == 48, "pack_model_row");
_Static_assert(sizeof(struct engine_model) == 24 && sizeof(struct binding) == 32, "pack_listed");
_Static_assert(sizeof(struct fleet) == 80, "fleet_pack");
#endif

/* A text that may be empty. */
static void pack_text(struct pack *k, char **text)
{
	struct bb_str s = bb_str_of(*text);

	pack_str(k, &s);
	if (!pack_is_reading(k) || k->err)
		return;
	*text = bb_strndup(s.p, s.len);
	if (!*text)
		pack_fail(k, -BB_ENOMEM);
}

/* A name: an empty one is NULL. */
static void pack_name(struct pack *k, char **name)
{
	pack_text(k, name);
	if (pack_is_reading(k) && *name && !**name)
		BB_FREE(*name);
}

/* A list of `count` zeroed elements, when reading. */
static bool make_list(struct pack *k, void *list, uint32_t count, size_t size)
{
	if (!pack_is_reading(k) || count == 0)
		return !k->err;
	void *room = k->err ? NULL : bb_alloc_zero(count, size);
	if (!room)
		pack_fail(k, -BB_ENOMEM);
	memcpy(list, &room, sizeof(room));
	return room != NULL;
}

static void pack_name_list(struct pack *k, char ***list, uint32_t *count)
{
	const uint32_t n = pack_count(k, *count, NAMES_MAX, 1);

	if (!make_list(k, list, n, sizeof(**list)))
		return;
	*count = n;
	for (uint32_t i = 0; i < n; i++)
		pack_text(k, &(*list)[i]);
}

static void pack_listed(struct pack *k, struct engine *e)
{
	const uint32_t n = pack_count(k, e->listed_count, NAMES_MAX, 3);

	pack_bool(k, &e->has_listed);
	if (!make_list(k, &e->listed, n, sizeof(*e->listed)))
		return;
	e->listed_count = n;
	for (uint32_t i = 0; i < n; i++) {
		pack_text(k, &e->listed[i].name);
		pack_u64(k, &e->listed[i].context_tokens);
		pack_bool(k, &e->listed[i].is_adapter);
	}
}

static void pack_engine_plan(struct pack *k, struct engine_plan *p)
{
	pack_bool(k, &p->in_plan);
	pack_bool(k, &p->serves_listed);
	pack_name_list(k, &p->only, &p->only_count);
}

static void pack_counts(struct pack *k, struct engine *e)
{
	pack_u32(k, &e->requests, UINT32_MAX);
	pack_u64(k, &e->tokens);
	pack_u64(k, &e->pending_prefill);
	pack_u64(k, &e->served);
	pack_u64(k, &e->failed);
	pack_u32(k, &e->failed_in_row, UINT32_MAX);
	pack_u32(k, &e->lane_first, UINT32_MAX);
	pack_u32(k, &e->lane_count, UINT32_MAX);
}

static void pack_engine_row(struct pack *k, struct engine *e)
{
	pack_u32(k, &e->generation, UINT32_MAX);
	if (!e->generation)
		return;
	pack_text(k, &e->name);
	e->state = pack_choice(k, e->state, ENGINE_GONE + 1);
	pack_u64(k, &e->state_since_ns);
	pack_engine_plan(k, &e->plan);
	pack_listed(k, e);
	pack_u64(k, &e->api_mask);
	pack_u64(k, &e->api_lacks);
	pack_u32(k, &e->sequences_max, UINT32_MAX);
	pack_u64(k, &e->kv_tokens_max);
	pack_bool(k, &e->has_load);
	pack_u32(k, &e->running, UINT32_MAX);
	pack_u32(k, &e->waiting, UINT32_MAX);
	pack_double(k, &e->kv_usage);
	pack_counts(k, e);
	pack_u32(k, &e->model, UINT32_MAX);
	pack_u32(k, &e->step_tokens, UINT32_MAX);
	pack_u32(k, &e->block_tokens, UINT32_MAX);
	pack_u32(k, &e->dp_ranks, UINT32_MAX);
	pack_u32(k, &e->kind, UINT32_MAX);
}

static void pack_model_plan(struct pack *k, struct model_plan *p, uint32_t engine_count)
{
	pack_bool(k, &p->in_plan);
	pack_name_list(k, &p->aliases, &p->alias_count);
	pack_name(k, &p->served_name);
	const uint32_t n = pack_count(k, p->engine_count, NAMES_MAX, 1);
	if (!make_list(k, &p->engines, n, sizeof(*p->engines)))
		return;
	p->engine_count = n;
	for (uint32_t i = 0; i < n; i++)
		pack_u32(k, &p->engines[i], engine_count ? engine_count - 1 : 0);
}

static void pack_bindings(struct pack *k, struct bindings *b, uint32_t engine_count)
{
	const uint32_t n = pack_count(k, b->count, engine_count, 4);

	if (!make_list(k, &b->list, n, sizeof(*b->list)))
		return;
	b->count = n;
	for (uint32_t i = 0; i < n; i++) {
		struct binding *one = &b->list[i];
		pack_u32(k, &one->engine, engine_count - 1);
		pack_text(k, &one->served_name);
		pack_u64(k, &one->context_tokens);
		pack_bool(k, &one->is_adapter);
	}
}

static void pack_model_row(struct pack *k, struct fleet *f, struct model *m)
{
	pack_text(k, &m->name);
	pack_u64(k, &m->created_ns);
	pack_u64(k, &m->sequence);
	pack_u32(k, &m->held, UINT32_MAX);
	pack_double(k, &m->sent_tokens);
	pack_double(k, &m->sent_waiting);
	pack_double(k, &m->sent_work);
	pack_double(k, &m->slot_share);
	pack_model_plan(k, &m->plan, f->engine_count);
	/* Reading, they are put into force together with the names that follow from them. */
	pack_bindings(k, pack_is_reading(k) ? &m->rebound : &m->bound, f->engine_count);
}

static void put_in_force(struct fleet *f, struct pack *k)
{
	uint32_t *models = bb_alloc(f->engine_count * sizeof(*models));
	const bool is_stale = f->is_stale;

	if (!models) {
		pack_fail(k, -BB_ENOMEM);
		return;
	}
	for (uint32_t i = 0; i < f->engine_count; i++)
		models[i] = f->engines[i].model;
	const int rc = fleet_bind_as_read(f);
	if (rc)
		pack_fail(k, rc);
	for (uint32_t i = 0; i < f->engine_count; i++) {
		f->engines[i].model = models[i];
		if (models[i] >= f->models_max)
			pack_fail(k, -BB_ESYNTAX);
	}
	f->is_stale = is_stale;
	bb_free(models);
}

void fleet_pack(struct fleet *f, struct pack *k)
{
	f->engine_count = pack_count(k, f->engine_count, f->engines_max, 1);
	for (uint32_t i = 0; i < f->engine_count && !k->err; i++)
		pack_engine_row(k, &f->engines[i]);
	const uint32_t models = pack_count(k, f->model_count, f->models_max, 1);
	for (uint32_t i = 0; i < models && !k->err; i++) {
		f->model_count = pack_is_reading(k) ? i + 1 : models;
		pack_model_row(k, f, &f->models[i]);
	}
	pack_u32(k, &f->next_generation, UINT32_MAX);
	pack_bool(k, &f->is_stale);
	if (pack_is_reading(k) && !k->err)
		put_in_force(f, k);
}
