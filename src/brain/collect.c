/*
 * collect.c: the lanes that may take a request, as columns.
 *
 * Who may take one changes rarely: with a plan, a state, a binding. The columns that say it are
 * kept from one decision to the next while the fleet is as it was (fleet.version), the model is the
 * same and no engine lacks the endpoint; what changes with each request is filled in anew.
 */
#include "brain/brain_core.h"

static bool is_excluded(const struct brain_request *r, struct engine_id id)
{
	for (uint32_t i = 0; i < r->exclude_count; i++)
		if (engine_id_is(r->exclude[i], id))
			return true;
	return false;
}

static void leave_out(struct decision *d, struct engine_id id, enum decision_left_out why)
{
	d->left_out[why]++;
	if (d->left_count == DECISION_LEFT_MAX)
		return;
	d->left[d->left_count].engine = id;
	d->left[d->left_count++].why = why;
}

/* `adapter`: the model + 1 where it is one; else 0. */
static inline void add_lanes(struct brain *b, const struct engine *e, uint32_t slot,
			     uint32_t binding, uint32_t adapter)
{
	struct candidates *const c = &b->columns;

	for (uint32_t k = 0; k < e->lane_count; k++) {
		const uint32_t at = e->lane_first + k;
		const uint32_t i = c->count++;
		c->slot[i] = slot;
		c->lane[i] = &b->lanes[at];
		b->row_of_lane[at] = i;
		c->lora_ms[i] = adapter && !kv_lane_has_adapter(&b->kv_lanes[at], adapter - 1)
					? KV_ADAPTER_MS
					: 0;
		c->identity[i] = b->identities[at];
		b->binding[i] = binding;
	}
}

/* With many engines each is a cache miss: those that come next are fetched in good time. */
#define AHEAD 12

/* The columns of who they are; in `d` who could not take it. */
static void list(struct brain *b, const struct model *m, const struct brain_request *r,
		 struct decision *d)
{
	const struct binding *const bound = m->bound.list;
	const uint64_t bit = 1ull << r->api;
	const uint32_t number = (uint32_t)(m - b->fleet.models);
	/* Adapters come and go; lanes that are wanting may be there the next time. */
	bool holds = r->exclude_count == 0;
	uint64_t api_all = UINT64_MAX;

	b->columns.count = 0;
	for (uint32_t i = 0; i < m->bound.count; i++) {
		if (i + AHEAD < m->bound.count)
			__builtin_prefetch(&b->fleet.engines[bound[i + AHEAD].engine]);
		const uint32_t slot = bound[i].engine;
		struct engine *e = &b->fleet.engines[slot];
		const struct engine_id id = { slot, e->generation };
		api_all &= (e->api_mask ? e->api_mask : UINT64_MAX) & ~e->api_lacks;
		holds = holds && !bound[i].is_adapter &&
			(e->state != ENGINE_READY || lanes_are_assigned(e));
		if ((e->api_mask && !(e->api_mask & bit)) || e->api_lacks & bit)
			leave_out(d, id, LEFT_OUT_LACKS);
		else if (e->state != ENGINE_READY ||
			 (!lanes_are_assigned(e) && !lanes_assign(b, e)))
			leave_out(d, id, LEFT_OUT_NOT_READY);
		else if (is_excluded(r, id))
			leave_out(d, id, LEFT_OUT_FAILED);
		else if (b->columns.count + e->lane_count <= INDEX_ROWS_MAX)
			add_lanes(b, e, slot, i, bound[i].is_adapter ? number + 1 : 0);
	}
	b->roll = (struct roll){ .holds = holds,
				 .model = number,
				 .version = b->fleet.version,
				 .api = r->api,
				 .api_all = api_all,
				 .left_count = d->left_count };
	memcpy(b->roll.left_out, d->left_out, sizeof(d->left_out));
	memcpy(b->roll.left, d->left, sizeof(d->left));
}

static bool roll_holds(const struct brain *b, const struct model *m, const struct brain_request *r)
{
	const struct roll *const roll = &b->roll;
	const uint64_t bits = 1ull << r->api | 1ull << roll->api;

	return roll->holds && roll->version == b->fleet.version &&
	       &b->fleet.models[roll->model] == m && r->exclude_count == 0 &&
	       (r->api == roll->api || (roll->api_all & bits) == bits);
}

static void read_promises(struct brain *b)
{
	struct candidates *const c = &b->columns;

	if (b->held_count)
		for (uint32_t i = 0; i < c->count; i++)
			c->promised[i] = b->promised[c->lane[i] - b->lanes];
	else if (b->has_promises)
		memset(c->promised, 0, INDEX_ROWS_MAX * sizeof(*c->promised));
	b->has_promises = b->held_count > 0;
}

#define LANES_AHEAD 6

static void read_load(struct brain *b)
{
	struct candidates *const c = &b->columns;

	for (uint32_t i = 0; i < c->count; i++) {
		if (i + LANES_AHEAD < c->count) {
			__builtin_prefetch(&c->lane[i + LANES_AHEAD]->kv_tokens);
			__builtin_prefetch(&b->fleet.engines[c->slot[i + LANES_AHEAD]]);
		}
		const struct engine *const e = &b->fleet.engines[c->slot[i]];
		const struct lane *const l = c->lane[i];
		c->requests[i] = l->requests;
		c->tokens[i] = e->lane_count == 1 ? e->tokens : l->kv_tokens;
		c->pending_prefill[i] = l->pending;
	}
}

void collect(struct brain *b, const struct model *m, const struct brain_request *r,
	     struct decision *d)
{
	if (roll_holds(b, m, r)) {
		d->left_count = b->roll.left_count;
		memcpy(d->left_out, b->roll.left_out, sizeof(d->left_out));
		memcpy(d->left, b->roll.left, sizeof(d->left));
	} else {
		list(b, m, r, d);
	}
	read_promises(b);
	if (b->policy->reads_load || b->shadow_count || b->watch)
		read_load(b);
}
