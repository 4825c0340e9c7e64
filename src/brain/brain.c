#include "brain/brain.h"

#include "base/alloc.h"
#include "base/log.h"
#include "brain/binding.h"
#include "brain/brain_core.h"
#include "brain/kv_mirror.h"
#include "brain/record_inner.h"

#define ENGINES_MAX_DEFAULT 1024
#define MODELS_MAX_DEFAULT 4096
#define REQUESTS_MAX_DEFAULT 1000000
#define HELD_MAX_DEFAULT 10000
#define HELD_NS_MAX_DEFAULT 60000000000ull
#define INDEX_BYTES_DEFAULT ((size_t)512 << 20)
#define HASH_BYTES_DEFAULT ((size_t)256 << 20)

#define CACHE_LINE 64

/* What else there is a row of for each candidate or lane. */
#define ROWS(X)                                                                                    \
	X(binding)                                                                                 \
	X(cost)                                                                                    \
	X(depths)                                                                                  \
	X(raw_cached)                                                                              \
	X(row_of_lane)                                                                             \
	X(promised)                                                                                \
	X(owners)                                                                                  \
	X(identities)                                                                              \
	X(kv_lanes)

static int columns_create(struct brain *b)
{
	bool is_whole = candidates_create(&b->columns, INDEX_ROWS_MAX) == 0;

#define X(rows)                                                                                    \
	b->rows = bb_alloc_zero(INDEX_ROWS_MAX, sizeof(*b->rows));                                 \
	is_whole = is_whole && b->rows;
	ROWS(X)
#undef X
	b->lanes_memory = bb_alloc_zero(1, INDEX_ROWS_MAX * sizeof(*b->lanes) + CACHE_LINE);
	b->lanes = (struct lane *)(((uintptr_t)b->lanes_memory + CACHE_LINE - 1) &
				   ~(uintptr_t)(CACHE_LINE - 1));
	return is_whole && b->lanes_memory ? 0 : -BB_ENOMEM;
}

static void columns_destroy(struct brain *b)
{
	for (uint32_t i = 0; i < b->lane_count; i++)
		kv_lane_fini(&b->kv_lanes[i]);
	candidates_destroy(&b->columns);
	BB_FREE(b->lanes_memory);
#define X(rows) BB_FREE(b->rows);
	ROWS(X)
#undef X
}

/* Zeros are the defaults. */
static struct brain_limits limits_of(const struct brain_limits *l)
{
	return (struct brain_limits){
		.engines_max = l->engines_max ? l->engines_max : ENGINES_MAX_DEFAULT,
		.models_max = l->models_max ? l->models_max : MODELS_MAX_DEFAULT,
		.requests_max = l->requests_max ? l->requests_max : REQUESTS_MAX_DEFAULT,
		.held_max = l->held_max ? l->held_max : HELD_MAX_DEFAULT,
		.held_ns_max = l->held_ns_max ? l->held_ns_max : HELD_NS_MAX_DEFAULT,
		.index_bytes = l->index_bytes ? l->index_bytes : INDEX_BYTES_DEFAULT,
		.hash_bytes = l->hash_bytes ? l->hash_bytes : HASH_BYTES_DEFAULT,
	};
}

uint64_t brain_index_seed(uint64_t seed)
{
	struct bb_rng rng;

	bb_rng_seed(&rng, seed);
	(void)bb_rng_next(&rng); /* the fleet's */
	return bb_rng_next(&rng);
}

static int lengths_create(struct brain *b, uint32_t models_max)
{
	b->lengths = bb_alloc(models_max * sizeof(*b->lengths));
	if (!b->lengths)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < models_max; i++)
		lane_lengths_init(&b->lengths[i]);
	return 0;
}

void brain_use_policy(struct brain *b, const struct policy *policy)
{
	b->policy = policy;
	for (b->policy_row = 0; policy_at(b->policy_row) != policy;)
		b->policy_row++;
}

int brain_create(const struct brain_config *config, struct brain **out)
{
	const struct brain_limits l = limits_of(&config->limits);
	const struct policy *policy = policy_find(config->policy ? config->policy : POLICY_DEFAULT);

	if (!policy)
		return -BB_EINVALID;
	struct brain *b = bb_alloc_zero(1, sizeof(*b));
	if (!b)
		return -BB_ENOMEM;
	brain_use_policy(b, policy);
	b->free_head = b->released_head = b->released_tail = UINT32_MAX;
	b->origin = (struct event_start){ .seed = config->seed, .limits = l };
	b->flights_max = l.requests_max;
	b->held_max = l.held_max;
	b->held_ns_max = l.held_ns_max;
	b->hash_bytes_max = l.hash_bytes;
	bb_rng_seed(&b->rng, config->seed);
	int rc = fleet_init(&b->fleet, l.engines_max, l.models_max, bb_rng_next(&b->rng));
	const struct index_config ic = {
		.bytes_max = l.index_bytes,
		.rows_max = INDEX_ROWS_MAX,
		.seed = bb_rng_next(&b->rng),
	};
	if (!rc)
		rc = index_create(&ic, &b->index);
	if (!rc)
		rc = kinds_create(&b->kinds);
	if (!rc)
		rc = shares_create(&b->shares);
	if (!rc)
		rc = lengths_create(b, l.models_max);
	if (!rc)
		rc = columns_create(b);
	if (rc) {
		brain_destroy(b);
		return rc;
	}
	*out = b;
	return 0;
}

void brain_destroy(struct brain *b)
{
	if (!b)
		return;
	record_destroy(b);
	for (uint32_t i = 0; i < b->flights_used; i++) {
		bb_free(b->flights[i].hashes);
		bb_free(b->flights[i].held);
	}
	fleet_fini(&b->fleet);
	columns_destroy(b);
	shadows_free(b);
	index_destroy(b->index);
	kinds_destroy(b->kinds);
	shares_destroy(b->shares);
	bb_free(b->lengths);
	bb_free(b->flights);
	bb_free(b->held);
	bb_free(b);
}

int brain_configure(struct brain *b, uint64_t now_ns, const struct plan *plan, struct engine_id *ids)
{
	const struct policy *policy = plan->policy ? policy_find(plan->policy) : b->policy;

	if (!policy)
		return -BB_EINVALID;
	if (b->record)
		record_plan(b, now_ns, plan);
	int rc = fleet_apply_plan(&b->fleet, now_ns, plan, ids);
	if (!rc) {
		brain_use_policy(b, policy);
		held_walk(b, now_ns);
	}
	return rc;
}

bool brain_engine_report(struct brain *b, uint64_t now_ns, struct engine_id id,
			 const struct engine_report *r)
{
	struct engine *e = fleet_engine(&b->fleet, id);
	bool changed = false;

	if (!e || e->state == ENGINE_GONE)
		return false;
	if (b->record)
		record_report(b, now_ns, id, r);
	if (r->has_models) {
		const int listed = fleet_set_listed(e, r->models, r->model_count);
		if (listed == 1)
			b->fleet.is_stale = true;
		if (b->fleet.is_stale) /* also when it failed the last time */
			changed = fleet_bind(&b->fleet, now_ns) == 0;
		(void)BB_CHECK(listed >= 0 && !b->fleet.is_stale,
			       "no memory for an engine's list of models");
	}
	if (r->api_mask && r->api_mask != e->api_mask) {
		e->api_mask = r->api_mask;
		b->fleet.version++;
	}
	/* A report is complete: what it does not know is not known any more. */
	e->sequences_max = r->sequences_max;
	e->kv_tokens_max = r->kv_tokens_max;
	e->step_tokens = r->step_tokens;
	e->block_tokens = r->block_tokens;
	if (e->dp_ranks != r->dp_ranks) {
		e->dp_ranks = r->dp_ranks;
		b->fleet.version++;
	}
	e->kind = r->kind;
	if (r->has_load) { /* each reading is reported once */
		e->running = r->running;
		e->waiting = r->waiting;
		e->kv_usage = r->kv_usage;
	}
	e->has_load = (e->has_load || r->has_load) && r->state == ENGINE_READY;
	if (r->state == ENGINE_READY && e->state != ENGINE_READY) {
		e->failed_in_row = 0;
		e->api_lacks = 0; /* it may be another program now */
		b->fleet.version++;
	}
	engine_set_state(&b->fleet, e, r->state, now_ns);
	if (lanes_assign(b, e)) {
		lanes_set_limits(b, e);
		if (r->has_load)
			lanes_report_load(b, e);
	}
	held_walk(b, now_ns);
	return changed;
}

/* ---- requests ---- */

/* Any engine that has never said what it serves: an unknown model may yet be one of its. */
static bool is_anything_starting(const struct fleet *f)
{
	for (uint32_t i = 0; i < f->engine_count; i++)
		if (f->engines[i].plan.in_plan && f->engines[i].plan.serves_listed &&
		    !f->engines[i].has_listed)
			return true;
	return false;
}

/* It goes to its engine now, or it waits; behind others that wait where there are any. */
static int settle(struct brain *b, uint64_t now_ns, struct model *m, const struct brain_request *r,
		  const struct choice *c, struct decision *d)
{
	const bool must_wait = r->can_wait && b->policy->holds && m->held > 0;
	int rc = flight_claim(b, &d->request);

	if (rc)
		return rc;
	struct flight *f = &b->flights[d->request.slot];
	flight_keep_hashes(b, f, r->hashes, r->hashed == HASHES_NONE ? 0 : r->hash_count);
	if (c->is_open && !must_wait) {
		dispatch(b, now_ns, m, r, c, d->request, d);
		return 0;
	}
	d->action = DECISION_HOLD;
	rc = hold(b, now_ns, m, r, d->request);
	if (rc) {
		flight_release(b, d->request.slot);
		d->request = (struct request_id){ 0 };
		return rc;
	}
	f->held->decision.cached_tokens = d->cached_tokens;
	if (must_wait) /* it may well be the next */
		held_walk(b, now_ns);
	return 0;
}

void brain_arrive(struct brain *b, uint64_t now_ns, struct model *m, const struct brain_request *r,
		  struct decision *d)
{
	struct choice c;

	if (b->record)
		record_arrived(b, now_ns, m, r);
	decision_begin(b, d);
	if (!m) {
		if (is_anything_starting(&b->fleet))
			decision_reject(d, -BB_ENOENGINE, RETRY_AFTER_MS);
		else
			decision_reject(d, -BB_ENOMODEL, 0);
	} else if (decide(b, now_ns, m, r, &c, d) && settle(b, now_ns, m, r, &c, d)) {
		decision_reject(d, -BB_EBUSY, RETRY_AFTER_MS);
	}
	if (b->record)
		record_made(b, now_ns, d->request, d);
}

void brain_request_arrived(struct brain *b, uint64_t now_ns, const struct brain_request *r,
			   struct decision *d)
{
	brain_arrive(b, now_ns, fleet_resolve(&b->fleet, r->model), r, d);
}

static struct flight *flight_sent(struct brain *b, struct request_id id)
{
	struct flight *f = flight_get(b, id);

	return f && f->state == FLIGHT_SENT ? f : NULL;
}

void brain_first_token(struct brain *b, uint64_t now_ns, struct request_id id)
{
	struct flight *f = flight_sent(b, id);
	const struct lane_table t = flight_table(b);

	if (!f || f->lane.is_generating)
		return;
	if (b->record)
		record_request(b, EVENT_FIRST_TOKEN, now_ns, id);
	struct engine *e = fleet_engine(&b->fleet, f->engine);
	if (e) {
		BB_ASSERT(e->pending_prefill >= f->pending_prefill);
		e->pending_prefill -= f->pending_prefill;
	}
	f->pending_prefill = 0;
	struct lane *l = &b->lanes[f->lane_index];
	struct lane_owner *o = &b->owners[f->lane_index];
	lane_first_token(l, &t, id.slot, now_ns);
	o->kind = kinds_review(b->kinds, l, o->kind);
	held_walk(b, now_ns);
}

static bool is_progress(const struct flight *f, uint64_t generated)
{
	return f && f->lane.is_generating && generated > f->lane.generated &&
	       generated < UINT32_MAX;
}

static void progress(struct brain *b, uint64_t now_ns, struct flight *f, uint64_t generated)
{
	const struct lane_table t = flight_table(b);

	lane_progress(&b->lanes[f->lane_index], &t, (uint32_t)(f - b->flights), now_ns,
		      (uint32_t)generated);
}

void brain_progress(struct brain *b, uint64_t now_ns, struct request_id id, uint64_t generated)
{
	struct flight *f = flight_sent(b, id);

	if (!is_progress(f, generated))
		return;
	if (b->record)
		record_progress(b, now_ns, id, generated);
	progress(b, now_ns, f, generated);
}

/* Is there a model that would have no engine ready without this one? */
static bool is_last_of_a_model(const struct brain *b, const struct engine *e)
{
	const uint32_t slot = (uint32_t)(e - b->fleet.engines);

	for (uint32_t i = 0; i < b->fleet.model_count; i++) {
		const struct model *m = &b->fleet.models[i];
		bool is_bound = false, has_other = false;
		for (uint32_t k = 0; k < m->bound.count; k++) {
			const uint32_t other = m->bound.list[k].engine;
			is_bound |= other == slot;
			has_other |= other != slot &&
				     b->fleet.engines[other].state == ENGINE_READY;
		}
		if (is_bound && !has_other)
			return true;
	}
	return false;
}

/* A dead process refuses connections: no new request should meet it before a probe has. */
static void engine_failed(struct brain *b, struct engine *e, enum request_outcome outcome,
			  uint64_t now_ns)
{
	e->failed++;
	e->failed_in_row++;
	/* The last one of a model is left to the probes: trying beats refusing everybody. */
	if (outcome == OUTCOME_REFUSED && e->state == ENGINE_READY && !is_last_of_a_model(b, e))
		engine_set_state(&b->fleet, e, ENGINE_DOWN, now_ns);
}

static void engine_learns(struct brain *b, struct engine *e, enum request_outcome outcome,
			  uint64_t now_ns)
{
	switch (outcome) {
	case OUTCOME_OK: e->failed_in_row = 0; break;
	case OUTCOME_CANCELED: break;
	case OUTCOME_REFUSED:
	case OUTCOME_BROKEN:
	case OUTCOME_SILENT: engine_failed(b, e, outcome, now_ns); break;
	}
}

void brain_request_ended(struct brain *b, uint64_t now_ns, struct request_id id,
			 const struct request_result *result)
{
	struct flight *f = flight_get(b, id);

	if (!f)
		return;
	if (b->record)
		record_ended(b, now_ns, id, result);
	if (f->held)
		held_forget(b, id.slot);
	if (f->state == FLIGHT_SENT || (f->held && f->held->is_dispatched)) {
		if (f->state == FLIGHT_SENT && is_progress(f, result->output_tokens))
			progress(b, now_ns, f, result->output_tokens);
		flight_leave(b, now_ns, f, result);
		struct engine *e = fleet_engine(&b->fleet, f->engine);
		if (e)
			engine_learns(b, e, result->outcome, now_ns);
	}
	flight_release(b, id.slot);
	held_walk(b, now_ns);
}

void brain_engine_lacks(struct brain *b, struct engine_id id, uint32_t api)
{
	struct engine *e = fleet_engine(&b->fleet, id);

	if (!e)
		return;
	if (b->record)
		record_lacks(b, id, api);
	e->api_lacks |= 1ull << api;
	b->fleet.version++;
}

void brain_tick(struct brain *b, uint64_t now_ns)
{
	const struct lane_table t = flight_table(b);

	if (b->record)
		record_tick(b, now_ns);
	for (uint32_t i = 0; i < b->lane_count; i++)
		if (b->lanes[i].requests)
			lane_settle(&b->lanes[i], &t, now_ns);
	held_expire(b, now_ns);
	held_walk(b, now_ns);
	index_sweep(b->index);
}

/* ---- caches ---- */

void brain_kv_change(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		     const struct kv_change *c)
{
	const uint32_t lane = lane_of(b, id, rank);

	if (lane == UINT32_MAX || b->kv_lanes[lane].mode != KV_EXACT)
		return;
	if (b->record)
		record_change(b, now_ns, id, rank, c);
	b->kv_lanes[lane].told_ns = now_ns;
	b->kv_lanes[lane].silent = 0;
	switch (c->kind) {
	case KV_CHANGE_STORE:
		index_store(b->index, lane, c->tier, c->depth, c->hashes, c->count, 1);
		break;
	case KV_CHANGE_REMOVE:
		index_remove(b->index, lane, c->tier, c->hashes, c->count);
		break;
	case KV_CHANGE_CLEAR: index_clear(b->index, lane); break;
	}
}

void brain_kv_mode(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		   enum kv_mode mode)
{
	struct engine *e = fleet_engine(&b->fleet, id);

	if (!e)
		return;
	if (b->record)
		record_mode(b, now_ns, id, rank, mode);
	if (!lanes_assign(b, e) || rank >= e->lane_count)
		return;
	const uint32_t lane = e->lane_first + rank;
	kv_lane_set_mode(&b->kv_lanes[lane], b->index, lane, mode);
	b->kv_lanes[lane].told_ns = now_ns;
}
