/* brain_view.c: what the brain knows, for status, metrics and lists; names of its enums. */
#include "brain/brain_core.h"

const char *engine_state_name(enum engine_state s)
{
	static const char *const names[] = {
#define X(name, text) text,
		ENGINE_STATES(X)
#undef X
	};

	return names[s];
}

const char *request_outcome_name(enum request_outcome o)
{
	static const char *const names[] = {
#define X(name, text) text,
		REQUEST_OUTCOMES(X)
#undef X
	};

	return names[o];
}

const char *decision_reason_name(enum decision_reason r)
{
	static const char *const names[] = {
#define X(name, text) text,
		DECISION_REASONS(X)
#undef X
	};

	return names[r];
}

const char *decision_left_out_name(enum decision_left_out why)
{
	static const char *const names[] = {
#define X(name, text) text,
		DECISION_LEFT_OUTS(X)
#undef X
	};

	return names[why];
}

const char *kv_mode_name(enum kv_mode mode)
{
	return mode == KV_EXACT ? "exact" : "approximate";
}

/* What is known of its cache, over all of its ranks. */
static void view_lanes(const struct brain *b, const struct engine *e, struct engine_view *v)
{
	v->trust = v->ttft_factor = v->gap_factor = 1;
	v->kind = UINT32_MAX;
	for (uint32_t i = 0; i < e->lane_count; i++) {
		const uint32_t lane = e->lane_first + i;
		const struct kv_lane *kv = &b->kv_lanes[lane];
		if (i == 0) {
			v->kv_mode = kv->mode;
			v->kind = b->owners[lane].kind;
			v->ttft_factor = b->lanes[lane].factors.ttft;
			v->gap_factor = b->lanes[lane].factors.gap;
		}
		if (i == 0 || kv->trust < v->trust)
			v->trust = kv->trust;
		if (kv->silent > v->silent)
			v->silent = kv->silent;
		v->is_silent |= kv->mode == KV_EXACT && kv->silent >= KV_SILENT_MAX;
		v->index_blocks += index_row_pairs(b->index, lane);
		v->predicted_cached += kv->predicted;
		v->reported_cached += kv->reported;
	}
}

static struct engine_view view_of(const struct brain *b, const struct engine *e)
{
	struct engine_view v = {
		.id = { (uint32_t)(e - b->fleet.engines), e->generation },
		.name = e->name,
		.state = e->state,
		.state_since_ns = e->state_since_ns,
		.requests = e->requests,
		.tokens = e->tokens,
		.pending_prefill = e->pending_prefill,
		.served = e->served,
		.failed = e->failed,
		.failed_in_row = e->failed_in_row,
		.model_count = e->listed_count,
		.sequences_max = e->sequences_max,
		.kv_tokens_max = e->kv_tokens_max,
		.has_load = e->has_load,
		.running = e->running,
		.waiting = e->waiting,
		.kv_usage = e->kv_usage,
		.ranks = e->lane_count,
	};
	view_lanes(b, e, &v);
	return v;
}

void brain_engines_each(const struct brain *b, void (*each)(void *user, const struct engine_view *v),
			void *user)
{
	for (uint32_t i = 0; i < b->fleet.engine_count; i++) {
		const struct engine *e = &b->fleet.engines[i];
		if (!e->generation || (e->state == ENGINE_GONE && e->requests == 0))
			continue;
		const struct engine_view v = view_of(b, e);
		each(user, &v);
	}
}

bool brain_engine_view(const struct brain *b, struct engine_id id, struct engine_view *out)
{
	const struct engine *e = fleet_engine(&b->fleet, id);

	if (!e)
		return false;
	*out = view_of(b, e);
	return true;
}

void brain_models_each(const struct brain *b, void (*each)(void *user, const struct model_view *v),
		       void *user)
{
	for (uint32_t i = 0; i < b->fleet.model_count; i++) {
		const struct model *m = &b->fleet.models[i];
		struct model_view v = {
			.index = i,
			.name = m->name,
			.is_listed = m->plan.in_plan || m->bound.count,
			.engines = m->bound.count,
			.created_ns = m->created_ns,
			.held = m->held,
			.aliases = (const char *const *)m->plan.aliases,
			.alias_count = m->plan.alias_count,
		};
		for (uint32_t k = 0; k < m->bound.count; k++) {
			const struct binding *bind = &m->bound.list[k];
			v.engines_ready += b->fleet.engines[bind->engine].state == ENGINE_READY;
			if (bind->context_tokens &&
			    (!v.context_tokens || bind->context_tokens < v.context_tokens))
				v.context_tokens = bind->context_tokens;
		}
		each(user, &v);
	}
}

const char *brain_model_engine(const struct brain *b, uint32_t model, uint32_t n)
{
	if (model >= b->fleet.model_count || n >= b->fleet.models[model].bound.count)
		return NULL;
	return b->fleet.engines[b->fleet.models[model].bound.list[n].engine].name;
}

bool brain_model_named(const struct brain *b, struct bb_str name, char out[BRAIN_NAME_MAX + 1])
{
	const struct model *m = fleet_resolve(&b->fleet, name);

	if (m)
		bb_text_copy(out, BRAIN_NAME_MAX + 1, m->name);
	return m != NULL;
}

const char *brain_model_name(const struct brain *b, uint32_t model)
{
	return model < b->fleet.model_count ? b->fleet.models[model].name : NULL;
}

bool brain_model_adapter(const struct brain *b, struct bb_str name, char out[BRAIN_NAME_MAX + 1])
{
	const struct model *m = fleet_resolve(&b->fleet, name);

	for (uint32_t i = 0; m && i < m->bound.count; i++)
		if (m->bound.list[i].is_adapter) {
			bb_text_copy(out, BRAIN_NAME_MAX + 1, m->bound.list[i].served_name);
			return true;
		}
	return false;
}

const char *brain_policy(const struct brain *b)
{
	return b->policy->name;
}

uint32_t brain_requests_in_flight(const struct brain *b)
{
	return b->flights_live;
}

uint32_t brain_ready_count(const struct brain *b)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < b->fleet.engine_count; i++)
		count += b->fleet.engines[i].generation && b->fleet.engines[i].state == ENGINE_READY;
	return count;
}

void brain_index_stats(const struct brain *b, struct index_stats *out)
{
	index_stats(b->index, out);
}

void brain_kinds_each(const struct brain *b, void (*each)(void *user, const struct kind_view *v),
		      void *user)
{
	for (uint32_t row = 0; row < KINDS_MAX; row++) {
		struct kind_key key;
		struct rates rates;
		const uint32_t users = kinds_look(b->kinds, row, &key, &rates);
		if (!users)
			continue;
		const struct kind_view v = {
			.row = row,
			.model = key.model < b->fleet.model_count ? b->fleet.models[key.model].name : "",
			.lanes = users,
			.base_ms = rates.base_ms,
			.token_ms = rates.token_ms,
			.step_ms = rates.step_ms,
			.kv_token_ms = rates.kv_token_ms,
			.ttft_samples = rates.ttft_samples,
			.gap_samples = rates.gap_samples,
		};
		each(user, &v);
	}
}
