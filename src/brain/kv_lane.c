#include "brain/kv_lane.h"

/* Start: what is assumed has not been proved yet. */
#define TRUST_EXACT 1.0
#define TRUST_APPROXIMATE 0.9
#define TRUST_STEP 0.1
#define TRUST_FULL_WEIGHT 1024.0 /* tokens of a prediction that count as one whole step */
/* An engine computes at least the last token, and so perhaps a whole block, again. */
#define SLACK_TOKENS 64
#define SHARE_MIN (1.0 / 16)
#define SHARE_DOWN 0.97
#define SHARE_UP 1.003

void kv_lane_init(struct kv_lane *l)
{
	*l = (struct kv_lane){ .mode = KV_APPROXIMATE,
			       .trust = TRUST_APPROXIMATE,
			       .capacity_share = 1 };
}

void kv_lane_fini(struct kv_lane *l)
{
	kv_assumed_destroy(l->assumed);
	l->assumed = NULL;
}

bool kv_lane_is_told(const struct kv_lane *l, enum prompt_hashes hashed)
{
	return l->mode == KV_EXACT && hashed == HASHES_TOKENS && l->silent < KV_SILENT_MAX;
}

static uint64_t capacity_of(const struct kv_lane *l, uint64_t kv_tokens_max)
{
	const double tokens = (double)(kv_tokens_max ? kv_tokens_max : KV_TOKENS_ASSUMED);

	return (uint64_t)(tokens * l->capacity_share);
}

void kv_lane_assume(struct kv_lane *l, struct index *x, uint32_t row, uint64_t kv_tokens_max,
		    enum prompt_hashes hashed, const uint64_t *marks, uint32_t count)
{
	const uint64_t capacity = capacity_of(l, kv_tokens_max);

	if (!l->assumed)
		l->assumed = kv_assumed_create(x, row, capacity);
	if (!l->assumed)
		return;
	kv_assumed_set_capacity(l->assumed, capacity);
	kv_assumed_use(l->assumed, hashed, marks, count);
}

void kv_lane_learn(struct kv_lane *l, uint64_t predicted, uint64_t reported, uint64_t kv_tokens_max)
{
	l->predicted += predicted;
	l->reported += reported;
	if (predicted == 0)
		return;
	const bool is_right = reported + SLACK_TOKENS >= predicted;
	const double ratio = is_right ? 1 : (double)reported / (double)predicted;
	const double weight = (double)predicted / TRUST_FULL_WEIGHT;
	l->trust += TRUST_STEP * (weight < 1 ? weight : 1) * (ratio - l->trust);
	if (l->mode == KV_EXACT || !l->assumed)
		return;
	/* It evicted what was thought to be there: there is less room than it says, or others use it. */
	l->capacity_share *= is_right ? SHARE_UP : SHARE_DOWN;
	if (l->capacity_share > 1)
		l->capacity_share = 1;
	if (l->capacity_share < SHARE_MIN)
		l->capacity_share = SHARE_MIN;
	kv_assumed_set_capacity(l->assumed, capacity_of(l, kv_tokens_max));
}

void kv_lane_heard(struct kv_lane *l, uint64_t sent_ns, uint64_t new_tokens)
{
	if (l->mode != KV_EXACT)
		return;
	if (l->told_ns >= sent_ns)
		l->silent = 0;
	else if (new_tokens > SLACK_TOKENS && l->silent < KV_SILENT_MAX)
		l->silent++;
}

static uint32_t adapter_at(const struct kv_lane *l, uint32_t model)
{
	uint32_t i = 0;

	while (i < KV_ADAPTERS && l->adapters[i] != model + 1)
		i++;
	return i;
}

bool kv_lane_has_adapter(const struct kv_lane *l, uint32_t model)
{
	return adapter_at(l, model) < KV_ADAPTERS;
}

void kv_lane_use_adapter(struct kv_lane *l, uint32_t model)
{
	uint32_t at = adapter_at(l, model);

	if (at == KV_ADAPTERS)
		at--; /* the one not asked for the longest goes */
	for (; at > 0; at--)
		l->adapters[at] = l->adapters[at - 1];
	l->adapters[0] = model + 1;
}

void kv_lane_set_mode(struct kv_lane *l, struct index *x, uint32_t row, enum kv_mode mode)
{
	if (l->mode == mode)
		return;
	kv_lane_fini(l);
	index_clear(x, row);
	l->mode = mode;
	l->trust = mode == KV_EXACT ? TRUST_EXACT : TRUST_APPROXIMATE;
	l->capacity_share = 1;
	l->silent = 0;
}
