/*
 * shadow.c: what other policies would have chosen, counted beside the real choices.
 *
 * They look at the same columns at the same moment, with terms, costs and a generator of their own,
 * so that no real decision changes by a bit. Where one differs, lookahead's prediction for both
 * candidates says by how much. That a policy would have let the request wait is not played.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "brain/brain_core.h"
#include "brain/policy/estimate.h"

static bool columns_make(struct brain *b)
{
	if (!b->shadow_cost)
		b->shadow_cost = bb_alloc_zero(INDEX_ROWS_MAX, sizeof(*b->shadow_cost));
	if (!b->shadow_ms)
		b->shadow_ms = bb_alloc_zero(2 * INDEX_ROWS_MAX, sizeof(*b->shadow_ms));
	return b->shadow_cost && b->shadow_ms;
}

static struct shadow shadow_of(const struct brain *b, const struct policy *policy)
{
	for (uint32_t i = 0; i < b->shadow_count; i++)
		if (b->shadows[i].policy == policy)
			return b->shadows[i];
	return (struct shadow){ .policy = policy, .counts.policy = policy->name };
}

int brain_set_shadows(struct brain *b, const char *const *policies, uint32_t count)
{
	struct shadow next[BRAIN_SHADOWS_MAX];
	uint32_t n = 0;

	if (count > BRAIN_SHADOWS_MAX)
		return -BB_ELIMIT;
	for (uint32_t i = 0; i < count; i++) {
		const struct policy *policy = policy_find(policies[i]);
		if (!policy)
			return -BB_EINVALID;
		bool is_there = false; /* named twice */
		for (uint32_t k = 0; k < n; k++)
			is_there |= next[k].policy == policy;
		if (!is_there)
			next[n++] = shadow_of(b, policy);
	}
	if (n && !columns_make(b))
		return -BB_ENOMEM;
	if (!b->shadow_count)
		bb_rng_seed(&b->shadow_rng, 0);
	memcpy(b->shadows, next, n * sizeof(*next));
	b->shadow_count = n;
	return 0;
}

void shadows_free(struct brain *b)
{
	bb_free(b->shadow_cost);
	bb_free(b->shadow_ms);
}

/* By how much the choices that differ are better or worse, as lookahead sees it. */
static void weigh(struct brain *b, const struct candidates *c, const struct policy_input *in,
		  uint32_t chosen)
{
	const struct policy_terms real = estimate_explain(c, in, chosen);
	for (uint32_t i = 0; i < b->shadow_count; i++) {
		struct shadow *s = &b->shadows[i];
		if (s->choice == chosen)
			continue;
		const struct policy_terms other = estimate_explain(c, in, s->choice);
		s->counts.real_ttft_ms += real.ttft_ms;
		s->counts.real_total_ms += real.total_ms;
		s->counts.ttft_ms += other.ttft_ms;
		s->counts.total_ms += other.total_ms;
	}
}

void shadows_judge(struct brain *b, uint64_t now_ns, const struct model *m,
		   const struct brain_request *r, uint32_t chosen)
{
	struct candidates c = b->columns;
	const struct policy_input in = decision_input(&b->shadow_rng, now_ns, m, r);
	bool differs = false;
	double next;

	if (c.count < 2)
		return;
	c.ttft_ms = b->shadow_ms;
	c.total_ms = b->shadow_ms + INDEX_ROWS_MAX;
	for (uint32_t i = 0; i < b->shadow_count; i++) {
		struct shadow *s = &b->shadows[i];
		s->policy->score(&c, &in, b->shadow_cost);
		s->choice = policy_pick(b->shadow_cost, c.count, &b->shadow_rng, &next);
		if (b->shadow_cost[chosen] <= b->shadow_cost[s->choice])
			s->choice = chosen; /* as good for it: it does not disagree */
		if (s->choice == chosen)
			s->counts.agreed++;
		else
			s->counts.differed++;
		differs |= s->choice != chosen;
	}
	if (differs)
		weigh(b, &c, &in, chosen);
}

bool brain_shadow_at(const struct brain *b, uint32_t n, struct shadow_view *out)
{
	if (n >= b->shadow_count)
		return false;
	*out = b->shadows[n].counts;
	return true;
}
