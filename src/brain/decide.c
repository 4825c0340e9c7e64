/* decide.c: one choice: what they hold of a prompt, what the policy says, and what it reserves. */
#include "base/log.h"
#include "brain/brain_core.h"
#include "brain/policy/estimate.h"

/* What an answer is taken to be where the client limits it to more, for the sums that are shown. */
#define OUTPUT_TOKENS_EXPECTED 256

/* ---- what they hold of it ---- */

static uint32_t credit(const struct index_depth *d, double trust, const struct brain_request *r,
		       uint32_t *raw)
{
	const uint64_t device = hashes_tokens(r->hashed, d->device);
	uint64_t tokens = hashes_tokens(r->hashed, d->held);
	double believed = ((double)device + (double)(tokens - device) * LOWER_TIER_CREDIT) * trust;

	/* An engine computes the last token of a prompt in any case. */
	const uint64_t most = r->prompt_tokens ? r->prompt_tokens - 1 : 0;
	if (tokens > most)
		tokens = most;
	if (believed > (double)most)
		believed = (double)most;
	*raw = tokens > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens;
	return (uint32_t)believed;
}

static void match(struct brain *b, const struct brain_request *r)
{
	const struct candidates *c = &b->columns;
	const struct index_depth *const depths = b->depths;

	b->cached_most = 0;
	memset(c->cached, 0, c->count * sizeof(*c->cached));
	memset(b->raw_cached, 0, c->count * sizeof(*b->raw_cached));
	if (r->hash_count == 0 || r->hashed == HASHES_NONE)
		return;
	index_match(b->index, r->hashes, r->hash_count, b->depths, b->lane_count);
	for (uint32_t lane = 0; lane < b->lane_count; lane++) {
		if (!depths[lane].held)
			continue; /* most of many */
		const uint32_t i = b->row_of_lane[lane];
		if (i >= c->count || c->lane[i] != &b->lanes[lane])
			continue; /* no candidate */
		c->cached[i] = credit(&depths[lane], b->kv_lanes[lane].trust, r, &b->raw_cached[i]);
		if (c->cached[i] > b->cached_most)
			b->cached_most = c->cached[i];
	}
}

/* ---- which one ---- */

static uint32_t tokens_32(uint64_t tokens)
{
	return tokens > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens;
}

struct policy_input decision_input(struct bb_rng *rng, uint64_t now_ns, const struct model *m,
				   const struct brain_request *r)
{
	return (struct policy_input){
		.now_ns = now_ns,
		.prompt_tokens = r->prompt_tokens,
		.output_max = tokens_32(r->output_tokens_max),
		.model_sequence = m->sequence,
		.hashes = r->hash_count ? r->hashes : NULL,
		.hash_count = r->hash_count,
		.block_tokens = BRAIN_BLOCK_TOKENS,
		.session = r->session,
		.beginning = r->beginning,
		.rng = rng,
	};
}

/* ---- saying why ---- */

static void candidate_say(const struct brain *b, const struct policy_input *in, uint32_t i,
			  struct decision_candidate *out)
{
	const struct candidates *c = &b->columns;
	const struct lane_owner *o = &b->owners[c->lane[i] - b->lanes];
	struct policy_terms t = { 0 };

	if (c->ttft_ms[i] > 0) { /* it predicts, and says less of those that are out of the question */
		t = estimate_terms(c, in, i);
		t.total_ms = c->total_ms[i];
		if (t.total_ms == 0)
			t.total_ms = estimate_played_ms(c, in, i);
		else
			t.ttft_ms = c->ttft_ms[i];
	}
	*out = (struct decision_candidate){
		.engine = o->engine,
		.rank = o->rank,
		.requests = c->lane[i]->requests,
		.pending = c->lane[i]->pending,
		.cached_tokens = c->cached[i],
		.cost = b->cost[i],
		.wait_ms = t.wait_ms,
		.prefill_ms = t.prefill_ms,
		.limit_ms = t.limit_ms,
		.ttft_ms = t.ttft_ms,
		.total_ms = t.total_ms,
	};
}

/* The chosen one, then those that come next. */
static void best_say(const struct brain *b, const struct policy_input *in, uint32_t chosen,
		     struct decision *d)
{
	uint32_t rows[DECISION_BEST_MAX] = { chosen };
	double bar = POLICY_NEVER; /* the cost of the last one */
	uint32_t count = 1;

	for (uint32_t i = 0; i < b->columns.count; i++) {
		if (b->cost[i] >= bar || i == chosen)
			continue;
		count += count < DECISION_BEST_MAX;
		uint32_t at = count - 1;
		for (; at > 1 && b->cost[i] < b->cost[rows[at - 1]]; at--)
			rows[at] = rows[at - 1];
		rows[at] = i;
		if (count == DECISION_BEST_MAX)
			bar = b->cost[rows[count - 1]];
	}
	for (uint32_t i = 0; i < count; i++)
		candidate_say(b, in, rows[i], &d->best[i]);
	d->best_count = count;
}

static enum decision_reason reason_of(const struct brain *b, uint32_t chosen, uint32_t most)
{
	const struct candidates *c = &b->columns;

	if (c->count == 1)
		return REASON_ONLY;
	if (!b->policy->uses_cache)
		return REASON_POLICY;
	if (most == 0)
		return REASON_COLD;
	return c->cached[chosen] == most ? REASON_WARM : REASON_LOAD;
}

static void say(const struct brain *b, const struct policy_input *in, uint32_t chosen,
		struct decision *d)
{
	const struct candidates *c = &b->columns;
	const struct engine *e = &b->fleet.engines[c->slot[chosen]];
	const struct lane_owner *o = &b->owners[c->lane[chosen] - b->lanes];
	const uint32_t most = b->cached_most;

	d->engine = o->engine;
	d->rank = o->rank;
	d->ranks = e->lane_count;
	d->engine_requests = e->requests;
	d->engine_tokens = e->tokens;
	d->cached_tokens = c->cached[chosen];
	d->possible_tokens = most;
	d->cost = b->cost[chosen];
	d->reason = reason_of(b, chosen, most);
	best_say(b, in, chosen, d);
}

void decision_begin(const struct brain *b, struct decision *d)
{
	memset(d, 0, sizeof(*d));
	d->model = UINT32_MAX;
	d->policy = b->policy->name;
	d->policy_row = b->policy_row;
}

void decision_name(const struct brain *b, const struct model *m, struct decision *d)
{
	d->model = (uint32_t)(m - b->fleet.models);
	bb_text_copy(d->model_name, sizeof(d->model_name), m->name);
	d->engines = m->bound.count;
}

void decision_reject(struct decision *d, int error, uint32_t retry_after_ms)
{
	d->action = DECISION_REJECT;
	d->error = error;
	d->retry_after_ms = retry_after_ms;
}

bool decide(struct brain *b, uint64_t now_ns, struct model *m, const struct brain_request *r,
	    struct choice *out, struct decision *d)
{
	struct candidates *c = &b->columns;

	decision_name(b, m, d);
	collect(b, m, r, d);
	d->candidates = c->count;
	if (c->count == 0) {
		if (d->left_out[LEFT_OUT_LACKS] && !d->left_out[LEFT_OUT_NOT_READY] &&
		    !d->left_out[LEFT_OUT_FAILED])
			decision_reject(d, -BB_ENOENDPOINT, 0);
		else
			decision_reject(d, -BB_ENOENGINE, RETRY_AFTER_MS);
		return false;
	}
	match(b, r);
	if (!b->policy->predicts) {
		memset(c->ttft_ms, 0, c->count * sizeof(*c->ttft_ms));
		memset(c->total_ms, 0, c->count * sizeof(*c->total_ms));
	}
	const struct policy_input in = decision_input(&b->rng, now_ns, m, r);
	b->policy->score(c, &in, b->cost);
	const uint32_t k = policy_pick(b->cost, c->count, &b->rng, &d->next_cost);
	if (b->watch)
		b->watch(b->watch_user, c, &in, b->cost, k);
	const uint32_t prompt = tokens_32(r->prompt_tokens);
	say(b, &in, k, d);
	*out = (struct choice){
		.candidate = k,
		.lane = (uint32_t)(c->lane[k] - b->lanes),
		.is_open = !b->policy->holds || !r->can_wait ||
			   (c->promised[k] == 0 &&
			    lane_is_open(c->lane[k], now_ns, prompt - c->cached[k])),
	};
	return true;
}

/* ---- reserving ---- */

/* Before its engine can tell of them, others that begin alike are to find its blocks. */
static void promise(struct brain *b, const struct engine *e, struct flight *f)
{
	struct kv_lane *kv = &b->kv_lanes[f->lane_index];

	const enum prompt_hashes hashed = (enum prompt_hashes)f->hashed;

	if (hashed == HASHES_TOKENS)
		flight_thin_hashes(b, f);
	if (f->hash_count == 0)
		return;
	f->is_promised = kv_lane_is_told(kv, hashed);
	if (f->is_promised)
		marks_store_from(b->index, f->lane_index, INDEX_PROMISED, f->hashes, 0,
				 f->hash_count);
	else
		kv_lane_assume(kv, b->index, f->lane_index, e->kv_tokens_max / e->lane_count,
			       hashed, f->hashes, f->hash_count);
}

void dispatch(struct brain *b, uint64_t now_ns, struct model *m, const struct brain_request *r,
	      const struct choice *c, struct request_id id, struct decision *d)
{
	struct flight *f = &b->flights[id.slot];
	struct engine *e = &b->fleet.engines[b->columns.slot[c->candidate]];
	const struct binding *bound = &m->bound.list[b->binding[c->candidate]];
	const struct lane_table t = flight_table(b);
	uint64_t output = r->output_tokens_max;

	if (b->shadow_count)
		shadows_judge(b, now_ns, m, r, c->candidate);
	if (output > OUTPUT_TOKENS_EXPECTED)
		output = OUTPUT_TOKENS_EXPECTED;
	d->action = DECISION_DISPATCH;
	d->request = id;
	bb_text_copy(d->served_name, sizeof(d->served_name), bound->served_name);
	d->context_tokens = bound->context_tokens;
	m->sequence++;
	held_learn(m, r->prompt_tokens - d->cached_tokens, d->held_ns);
	f->state = FLIGHT_SENT;
	f->hashed = (uint8_t)r->hashed;
	f->engine = d->engine;
	f->lane_index = c->lane;
	f->predicted = b->raw_cached[c->candidate];
	f->tokens = r->prompt_tokens + output;
	f->pending_prefill = r->prompt_tokens - d->cached_tokens;
	f->lane = (struct lane_request){
		.is_odd = !r->teaches || r->exclude_count > 0,
		.is_blind = r->is_blind,
		.prompt_tokens = tokens_32(r->prompt_tokens),
		.uncached = tokens_32(f->pending_prefill),
		.pinned = tokens_32(r->prompt_tokens),
		.output_max = tokens_32(r->output_tokens_max),
	};
	if (d->cached_tokens) { /* what others there hold as well lies in its cache once */
		const uint32_t held = b->depths[c->lane].held;
		f->lane.pinned = f->lane.uncached;
		lane_hold(&b->lanes[c->lane],
			  shares_take(b->shares, c->lane, r->hashes,
				      held < r->hash_count ? held : r->hash_count,
				      tokens_32(d->cached_tokens), &f->shares));
	}
	if (bound->is_adapter)
		kv_lane_use_adapter(&b->kv_lanes[c->lane], d->model);
	lane_add(&b->lanes[c->lane], &t, id.slot, now_ns);
	e->requests++;
	e->tokens += f->tokens;
	e->pending_prefill += f->pending_prefill;
	promise(b, e, f);
}

/* What it brought to light about the engine's cache. */
static void learn_cache(struct brain *b, const struct flight *f, const struct engine *e,
			const struct request_result *result)
{
	struct kv_lane *kv = &b->kv_lanes[f->lane_index];
	const uint64_t known = marks_tokens((enum prompt_hashes)f->hashed, f->hash_count);

	if (result->outcome != OUTCOME_OK || !f->lane.is_generating || known == 0)
		return;
	if (result->has_cached)
		kv_lane_learn(kv, f->predicted, result->cached_tokens,
			      e->kv_tokens_max / e->lane_count);
	if (f->is_promised && known > f->predicted)
		kv_lane_heard(kv, f->lane.sent_ns, known - f->predicted);
}

void flight_leave(struct brain *b, uint64_t now_ns, struct flight *f,
		  const struct request_result *result)
{
	struct engine *e = fleet_engine(&b->fleet, f->engine);
	const struct lane_table t = flight_table(b);
	const bool is_ok = result->outcome == OUTCOME_OK;

	if (e)
		learn_cache(b, f, e, result);
	lane_remove(&b->lanes[f->lane_index], &t, (uint32_t)(f - b->flights), now_ns,
		    is_ok ? LANE_FINISHED : LANE_BROKEN_OFF);
	lane_hold(&b->lanes[f->lane_index], -(int64_t)shares_give(b->shares, &f->shares));
	if (f->is_promised)
		index_remove(b->index, f->lane_index, INDEX_PROMISED, f->hashes, f->hash_count);
	if (!e)
		return;
	BB_ASSERT(e->requests > 0 && e->tokens >= f->tokens);
	BB_ASSERT(e->pending_prefill >= f->pending_prefill);
	e->requests--;
	e->tokens -= f->tokens;
	e->pending_prefill -= f->pending_prefill;
	e->served++;
}
