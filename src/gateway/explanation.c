#include "gateway/explanation.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"

#define POOL_KEEP 256

int explain_ring_init(struct explain_ring *r, uint32_t capacity, uint64_t key)
{
	*r = (struct explain_ring){ .capacity = capacity, .key = key };
	if (capacity) {
		r->slots = bb_alloc_zero(capacity, sizeof(*r->slots));
		if (!r->slots)
			return -BB_ENOMEM;
	}
	pthread_mutex_init(&r->lock, NULL);
	bb_pool_init(&r->pool, sizeof(struct explanation), POOL_KEEP);
	return 0;
}

void explain_ring_fini(struct explain_ring *r)
{
	if (!r->pool.size)
		return;
	for (uint32_t i = 0; i < r->capacity; i++)
		explain_put(r, r->slots[i]);
	bb_free(r->slots);
	bb_pool_fini(&r->pool);
	pthread_mutex_destroy(&r->lock);
	*r = (struct explain_ring){ 0 };
}

void explain_put(struct explain_ring *r, struct explanation *e)
{
	if (e && --e->refs == 0)
		bb_pool_put(&r->pool, e);
}

struct explanation *explain_begin(struct explain_ring *r, struct bb_str id, uint64_t wall_ns)
{
	struct explanation *e = bb_pool_get(&r->pool);

	if (!e)
		return NULL;
	e->id_hash = bb_hash(id.p, id.len, r->key);
	e->wall_ns = wall_ns;
	e->refs = 1;
	e->model = e->tenant = UINT32_MAX;
	if (r->capacity) {
		e->refs++;
		explain_put(r, r->slots[r->next]);
		r->slots[r->next] = e;
		r->next = r->next + 1 == r->capacity ? 0 : r->next + 1;
	}
	return e;
}

bool explain_find(struct explain_ring *r, struct bb_str id, struct explanation *out)
{
	const uint64_t hash = bb_hash(id.p, id.len, r->key);
	bool is_found = false;

	explain_lock(r);
	for (uint32_t i = 1; i <= r->capacity && !is_found; i++) {
		const struct explanation *e =
			r->slots[r->next >= i ? r->next - i : r->next + r->capacity - i];
		if (!e)
			break;
		is_found = e->id_hash == hash;
		if (is_found)
			*out = *e;
	}
	explain_unlock(r);
	return is_found;
}

static uint32_t tokens_32(uint64_t tokens)
{
	return tokens > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens;
}

static uint16_t count_16(uint32_t count)
{
	return count > UINT16_MAX ? UINT16_MAX : (uint16_t)count;
}

static void candidate_take(struct explained_candidate *to, const struct decision_candidate *c)
{
	*to = (struct explained_candidate){
		.engine = c->engine,
		.rank = c->rank,
		.requests = c->requests,
		.pending = tokens_32(c->pending),
		.cached = tokens_32(c->cached_tokens),
		.wait_ms = (float)c->wait_ms,
		.prefill_ms = (float)c->prefill_ms,
		.limit_ms = (float)c->limit_ms,
		.ttft_ms = (float)c->ttft_ms,
		.total_ms = (float)c->total_ms,
		.cost = (float)c->cost,
	};
}

static enum explained_state state_after(enum decision_action action)
{
	switch (action) {
	case DECISION_DISPATCH: return EXPLAINED_SENT;
	case DECISION_HOLD: return EXPLAINED_HELD;
	case DECISION_REJECT: break;
	}
	return EXPLAINED_REFUSED;
}

void explanation_decide(struct explanation *e, const struct decision *d)
{
	e->state = (uint8_t)state_after(d->action);
	e->policy = d->policy;
	e->model = d->model;
	e->reason = (uint8_t)d->reason;
	e->held_ms += (float)d->held_ns / 1e6f;
	e->candidates = count_16(d->candidates);
	e->engines = count_16(d->engines);
	e->has_ranks = d->ranks > 1;
	e->cached = tokens_32(d->cached_tokens);
	e->possible = tokens_32(d->possible_tokens);
	e->best_count = (uint8_t)d->best_count;
	for (uint32_t i = 0; i < d->best_count; i++)
		candidate_take(&e->best[i], &d->best[i]);
	e->left_count = (uint8_t)d->left_count;
	for (uint32_t i = 0; i < LEFT_OUT_COUNT; i++)
		e->left_out[i] = count_16(d->left_out[i]);
	for (uint32_t i = 0; i < d->left_count; i++)
		e->left[i] = (struct explained_engine){ d->left[i].engine, d->left[i].why };
}

void explanation_fail(struct explanation *e, struct engine_id engine, enum upstream_error why)
{
	if (e->failed_count == EXPLAINED_FAILED_MAX)
		return;
	e->failed[e->failed_count++] = (struct explained_engine){ engine, why };
}
