#include "brain/brain.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "brain/binding.h"
#include "brain/fleet.h"
#include "brain/policy/policy.h"

#define ENGINES_MAX_DEFAULT 1024
#define MODELS_MAX_DEFAULT 4096
#define REQUESTS_MAX_DEFAULT 1000000
/* What an answer is taken to be until its length is learned: also when max_tokens is far larger. */
#define OUTPUT_TOKENS_EXPECTED 256
#define RETRY_AFTER_MS 1000

struct in_flight {
	uint32_t generation; /* odd: in use */
	uint32_t next_free;
	struct engine_id engine;
	uint64_t tokens;
	uint64_t pending_prefill;
};

struct brain {
	struct fleet fleet;
	const struct policy *policy;
	struct bb_rng rng;
	struct in_flight *requests;
	uint32_t requests_cap, requests_max, requests_used, requests_live;
	uint32_t free_head; /* UINT32_MAX: none */
	/* columns of the candidates and scratch, engines_max long */
	struct candidates columns;
	uint32_t *binding;
	double *cost;
};

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

int brain_create(const struct brain_config *config, struct brain **out)
{
	const struct brain_limits *l = &config->limits;
	const uint32_t n = l->engines_max ? l->engines_max : ENGINES_MAX_DEFAULT;
	const struct policy *policy = policy_find(config->policy ? config->policy : POLICY_DEFAULT);

	if (!policy)
		return -BB_EINVALID;
	struct brain *b = bb_alloc_zero(1, sizeof(*b));
	if (!b)
		return -BB_ENOMEM;
	b->policy = policy;
	b->requests_max = l->requests_max ? l->requests_max : REQUESTS_MAX_DEFAULT;
	b->free_head = UINT32_MAX;
	bb_rng_seed(&b->rng, config->seed);
	b->columns.slot = bb_alloc(n * sizeof(uint32_t));
	b->columns.requests = bb_alloc(n * sizeof(uint32_t));
	b->columns.tokens = bb_alloc(n * sizeof(uint64_t));
	b->columns.pending_prefill = bb_alloc(n * sizeof(uint64_t));
	b->binding = bb_alloc(n * sizeof(uint32_t));
	b->cost = bb_alloc(n * sizeof(double));
	const int rc = fleet_init(&b->fleet, n, l->models_max ? l->models_max : MODELS_MAX_DEFAULT,
				  bb_rng_next(&b->rng));
	if (rc || !b->columns.slot || !b->columns.requests || !b->columns.tokens ||
	    !b->columns.pending_prefill || !b->binding || !b->cost) {
		brain_destroy(b);
		return -BB_ENOMEM;
	}
	*out = b;
	return 0;
}

void brain_destroy(struct brain *b)
{
	if (!b)
		return;
	fleet_fini(&b->fleet);
	bb_free(b->requests);
	bb_free(b->columns.slot);
	bb_free(b->columns.requests);
	bb_free(b->columns.tokens);
	bb_free(b->columns.pending_prefill);
	bb_free(b->binding);
	bb_free(b->cost);
	bb_free(b);
}

int brain_configure(struct brain *b, uint64_t now_ns, const struct plan *plan, struct engine_id *ids)
{
	const struct policy *policy = plan->policy ? policy_find(plan->policy) : b->policy;

	if (!policy)
		return -BB_EINVALID;
	int rc = fleet_apply_plan(&b->fleet, now_ns, plan, ids);
	if (!rc)
		b->policy = policy;
	return rc;
}

bool brain_engine_report(struct brain *b, uint64_t now_ns, struct engine_id id,
			 const struct engine_report *r)
{
	struct engine *e = fleet_engine(&b->fleet, id);
	bool changed = false;

	if (!e || e->state == ENGINE_GONE)
		return false;
	if (r->has_models) {
		const int listed = fleet_set_listed(e, r->models, r->model_count);
		if (listed == 1)
			b->fleet.is_stale = true;
		if (b->fleet.is_stale) /* also when it failed the last time */
			changed = fleet_bind(&b->fleet, now_ns) == 0;
		(void)BB_CHECK(listed >= 0 && !b->fleet.is_stale,
			       "no memory for an engine's list of models");
	}
	if (r->api_mask)
		e->api_mask = r->api_mask;
	/* A report is complete: what it does not know is not known any more. */
	e->sequences_max = r->sequences_max;
	e->kv_tokens_max = r->kv_tokens_max;
	if (r->has_load) { /* each reading is reported once */
		e->running = r->running;
		e->waiting = r->waiting;
		e->kv_usage = r->kv_usage;
	}
	e->has_load = (e->has_load || r->has_load) && r->state == ENGINE_READY;
	if (r->state == ENGINE_READY && e->state != ENGINE_READY) {
		e->failed_in_row = 0;
		e->api_lacks = 0; /* it may be another program now */
	}
	engine_set_state(e, r->state, now_ns);
	return changed;
}

/* ---- requests in flight ---- */

static struct in_flight *request_get(struct brain *b, struct request_id id)
{
	if (id.generation == 0 || id.slot >= b->requests_used)
		return NULL;
	struct in_flight *r = &b->requests[id.slot];
	return r->generation == id.generation ? r : NULL;
}

static int request_claim(struct brain *b, struct request_id *id)
{
	uint32_t slot = b->free_head;

	if (slot != UINT32_MAX) {
		b->free_head = b->requests[slot].next_free;
	} else {
		if (b->requests_used == b->requests_max)
			return -BB_EBUSY;
		if (b->requests_used == b->requests_cap) {
			const uint32_t cap = b->requests_cap ? b->requests_cap * 2 : 256;
			struct in_flight *grown = bb_realloc(b->requests, cap * sizeof(*grown));
			if (!grown)
				return -BB_ENOMEM;
			b->requests = grown;
			b->requests_cap = cap;
		}
		slot = b->requests_used++;
		b->requests[slot].generation = 0;
	}
	b->requests_live++;
	b->requests[slot].generation++; /* even → odd */
	*id = (struct request_id){ slot, b->requests[slot].generation };
	return 0;
}

static void request_release(struct brain *b, uint32_t slot)
{
	struct in_flight *r = &b->requests[slot];

	r->generation++;
	r->next_free = b->free_head;
	b->free_head = slot;
	b->requests_live--;
}

/* ---- deciding ---- */

static bool is_excluded(const struct brain_request *r, struct engine_id id)
{
	for (uint32_t i = 0; i < r->exclude_count; i++)
		if (engine_id_is(r->exclude[i], id))
			return true;
	return false;
}

struct filtered {
	uint32_t not_ready, lacking, excluded;
};

/* Fills in the columns with the engines of `m` that may take the request. */
static struct filtered collect(struct brain *b, const struct model *m, const struct brain_request *r)
{
	struct candidates *c = &b->columns;
	struct filtered out = { 0 };

	c->count = 0;
	for (uint32_t i = 0; i < m->bound.count; i++) {
		const uint32_t slot = m->bound.list[i].engine;
		const struct engine *e = &b->fleet.engines[slot];
		const uint64_t bit = 1ull << r->api;
		if ((e->api_mask && !(e->api_mask & bit)) || e->api_lacks & bit) {
			out.lacking++;
		} else if (e->state != ENGINE_READY) {
			out.not_ready++;
		} else if (is_excluded(r, (struct engine_id){ slot, e->generation })) {
			out.excluded++;
		} else {
			c->slot[c->count] = slot;
			c->requests[c->count] = e->requests;
			c->tokens[c->count] = e->tokens;
			c->pending_prefill[c->count] = e->pending_prefill;
			b->binding[c->count++] = i;
		}
	}
	return out;
}

/* The least cost; among equals any, evenly. */
static uint32_t pick_least(struct brain *b, uint32_t count, double *next_cost)
{
	uint32_t best = 0, equals = 1;

	for (uint32_t i = 1; i < count; i++) {
		if (b->cost[i] < b->cost[best]) {
			best = i;
			equals = 1;
		} else if (b->cost[i] == b->cost[best] && bb_rng_below(&b->rng, ++equals) == 0) {
			best = i;
		}
	}
	*next_cost = b->cost[best];
	double least = __builtin_inf();
	for (uint32_t i = 0; i < count; i++)
		if (i != best && b->cost[i] < least)
			least = b->cost[i];
	if (count > 1)
		*next_cost = least;
	return best;
}

static void reject(struct decision *d, int error, uint32_t retry_after_ms)
{
	d->action = DECISION_REJECT;
	d->error = error;
	d->retry_after_ms = retry_after_ms;
}

/* Any engine that has never said what it serves: an unknown model may yet be one of its. */
static bool is_anything_starting(const struct fleet *f)
{
	for (uint32_t i = 0; i < f->engine_count; i++)
		if (f->engines[i].plan.in_plan && f->engines[i].plan.serves_listed &&
		    !f->engines[i].has_listed)
			return true;
	return false;
}

static void name_copy(char *out, const char *name)
{
	const size_t len = strnlen(name, BRAIN_NAME_MAX);

	memcpy(out, name, len);
	out[len] = '\0';
}

void brain_request_arrived(struct brain *b, uint64_t now_ns, const struct brain_request *r,
			   struct decision *d)
{
	struct model *m = fleet_resolve(&b->fleet, r->model);

	(void)now_ns;
	d->request = (struct request_id){ 0 };
	d->engine = (struct engine_id){ 0 };
	d->policy = b->policy->name;
	d->candidates = d->engines = d->engine_requests = 0;
	d->engine_tokens = 0;
	d->cost = d->next_cost = 0;
	d->model = UINT32_MAX;
	d->model_name[0] = d->served_name[0] = '\0';
	if (!m) {
		if (is_anything_starting(&b->fleet))
			reject(d, -BB_ENOENGINE, RETRY_AFTER_MS);
		else
			reject(d, -BB_ENOMODEL, 0);
		return;
	}
	d->model = (uint32_t)(m - b->fleet.models);
	name_copy(d->model_name, m->name);
	d->engines = m->bound.count;
	const struct filtered out = collect(b, m, r);
	d->candidates = b->columns.count;
	if (d->candidates == 0) {
		if (out.lacking && !out.not_ready && !out.excluded)
			reject(d, -BB_ENOENDPOINT, 0);
		else
			reject(d, -BB_ENOENGINE, RETRY_AFTER_MS);
		return;
	}
	const struct policy_input in = { .prompt_tokens = r->prompt_tokens,
					 .model_sequence = m->sequence,
					 .rng = &b->rng };
	b->policy->score(&b->columns, &in, b->cost);
	const uint32_t k = pick_least(b, d->candidates, &d->next_cost);
	const int rc = request_claim(b, &d->request);
	if (rc) {
		reject(d, -BB_EBUSY, RETRY_AFTER_MS);
		return;
	}
	m->sequence++;
	struct engine *e = &b->fleet.engines[b->columns.slot[k]];
	struct in_flight *flight = &b->requests[d->request.slot];
	uint64_t output = r->output_tokens_max;
	if (output > OUTPUT_TOKENS_EXPECTED)
		output = OUTPUT_TOKENS_EXPECTED;
	d->action = DECISION_DISPATCH;
	d->error = 0;
	d->engine = (struct engine_id){ b->columns.slot[k], e->generation };
	name_copy(d->served_name, m->bound.list[b->binding[k]].served_name);
	d->context_tokens = m->bound.list[b->binding[k]].context_tokens;
	d->engine_requests = e->requests;
	d->engine_tokens = e->tokens;
	d->cost = b->cost[k];
	flight->engine = d->engine;
	flight->tokens = r->prompt_tokens + output;
	flight->pending_prefill = r->prompt_tokens;
	e->requests++;
	e->tokens += flight->tokens;
	e->pending_prefill += flight->pending_prefill;
}

void brain_first_token(struct brain *b, uint64_t now_ns, struct request_id id)
{
	struct in_flight *r = request_get(b, id);

	(void)now_ns;
	if (!r)
		return;
	struct engine *e = fleet_engine(&b->fleet, r->engine);
	if (e) {
		BB_ASSERT(e->pending_prefill >= r->pending_prefill);
		e->pending_prefill -= r->pending_prefill;
	}
	r->pending_prefill = 0;
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
		engine_set_state(e, ENGINE_DOWN, now_ns);
}

void brain_request_ended(struct brain *b, uint64_t now_ns, struct request_id id,
			 const struct request_result *result)
{
	struct in_flight *r = request_get(b, id);

	if (!r)
		return;
	struct engine *e = fleet_engine(&b->fleet, r->engine);
	if (e) {
		BB_ASSERT(e->requests > 0 && e->tokens >= r->tokens);
		BB_ASSERT(e->pending_prefill >= r->pending_prefill);
		e->requests--;
		e->tokens -= r->tokens;
		e->pending_prefill -= r->pending_prefill;
		e->served++;
		switch (result->outcome) {
		case OUTCOME_OK: e->failed_in_row = 0; break;
		case OUTCOME_CANCELED: break;
		case OUTCOME_REFUSED:
		case OUTCOME_BROKEN:
		case OUTCOME_SILENT: engine_failed(b, e, result->outcome, now_ns); break;
		}
	}
	request_release(b, id.slot);
}

void brain_engine_lacks(struct brain *b, struct engine_id id, uint32_t api)
{
	struct engine *e = fleet_engine(&b->fleet, id);

	if (e)
		e->api_lacks |= 1ull << api;
}

/* ---- views ---- */

static struct engine_view view_of(const struct brain *b, const struct engine *e)
{
	return (struct engine_view){
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
	};
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
		name_copy(out, m->name);
	return m != NULL;
}

const char *brain_policy(const struct brain *b)
{
	return b->policy->name;
}

uint32_t brain_requests_in_flight(const struct brain *b)
{
	return b->requests_live;
}

uint32_t brain_ready_count(const struct brain *b)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < b->fleet.engine_count; i++)
		count += b->fleet.engines[i].generation && b->fleet.engines[i].state == ENGINE_READY;
	return count;
}
