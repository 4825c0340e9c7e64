/* lane_list.c: which lanes an engine has, one for each data-parallel rank. */
#include "base/log.h"
#include "brain/brain_core.h"

#define RANKS_MAX 64

/* Its engine has left, or has other lanes now, and nothing is on its way there. */
static bool is_free(const struct brain *b, uint32_t i)
{
	const struct engine *e = fleet_engine(&b->fleet, b->owners[i].engine);

	return b->lanes[i].requests == 0 &&
	       !(e && i >= e->lane_first && i - e->lane_first < e->lane_count);
}

static uint32_t run_find(const struct brain *b, uint32_t count)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < INDEX_ROWS_MAX; i++) {
		run = i >= b->lane_count || is_free(b, i) ? run + 1 : 0;
		if (run == count)
			return i + 1 - count;
	}
	return UINT32_MAX;
}

static struct kind_key key_of(const struct engine *e)
{
	const uint32_t ranks = e->lane_count ? e->lane_count : 1;
	struct kind_key key;

	memset(&key, 0, sizeof(key)); /* it is compared as bytes */
	key.model = e->model;
	key.engine = e->kind;
	key.sequences_max = e->sequences_max / ranks;
	key.step_tokens = e->step_tokens;
	key.kv_tokens_max = e->kv_tokens_max / ranks;
	return key;
}

static void lane_begin(struct brain *b, const struct engine *e, uint32_t i, uint32_t rank)
{
	const uint32_t slot = (uint32_t)(e - b->fleet.engines);

	if (i < b->lane_count) {
		index_clear(b->index, i);
		kv_lane_fini(&b->kv_lanes[i]);
		kinds_put(b->kinds, b->owners[i].kind);
	}
	const struct kind_key key = key_of(e);
	const uint32_t kind = kinds_get(b->kinds, &key);
	lane_init(&b->lanes[i], kinds_rates(b->kinds, kind), &b->lengths[e->model]);
	kv_lane_init(&b->kv_lanes[i]);
	b->identities[i] = bb_hash(e->name, strlen(e->name), rank);
	b->owners[i] = (struct lane_owner){
		.engine = { slot, e->generation },
		.rank = rank,
		.kind = kind,
		.key = key,
	};
}

/* It reports other limits, or serves another model: what it has learned as another is of no use. */
static void lane_change_kind(struct brain *b, uint32_t i, const struct kind_key *key,
			     uint32_t model)
{
	const uint32_t before = b->owners[i].kind;

	if (memcmp(key, &b->owners[i].key, sizeof(*key)) == 0)
		return;
	b->owners[i].kind = kinds_get(b->kinds, key);
	b->owners[i].key = *key;
	kinds_put(b->kinds, before);
	b->lanes[i].lengths = &b->lengths[model];
	lane_set_rates(&b->lanes[i], kinds_rates(b->kinds, b->owners[i].kind));
}

bool lanes_assign(struct brain *b, struct engine *e)
{
	uint32_t count = e->dp_ranks ? e->dp_ranks : 1;

	if (count > RANKS_MAX)
		count = RANKS_MAX;
	if (e->lane_count == count)
		return true;
	const uint32_t first = run_find(b, count);
	if (!BB_CHECK(first != UINT32_MAX, "more data-parallel ranks than there are lanes"))
		return e->lane_count > 0;
	e->lane_first = first;
	e->lane_count = count;
	b->fleet.version++;
	for (uint32_t i = 0; i < count; i++)
		lane_begin(b, e, first + i, i);
	if (first + count > b->lane_count)
		b->lane_count = first + count;
	lanes_set_limits(b, e);
	return true;
}

uint32_t lane_of(const struct brain *b, struct engine_id id, uint32_t rank)
{
	const struct engine *e = fleet_engine(&b->fleet, id);

	return e && rank < e->lane_count ? e->lane_first + rank : UINT32_MAX;
}

/* An engine says its limits for all ranks together. */
void lanes_set_limits(struct brain *b, const struct engine *e)
{
	const struct kind_key key = key_of(e);

	for (uint32_t i = 0; i < e->lane_count; i++) {
		struct lane *l = &b->lanes[e->lane_first + i];
		lane_change_kind(b, e->lane_first + i, &key, e->model);
		lane_set_limits(l, e->sequences_max / e->lane_count,
				e->kv_tokens_max / e->lane_count, e->step_tokens);
	}
}

void lanes_report_load(struct brain *b, const struct engine *e)
{
	const double used = e->kv_usage * (double)e->kv_tokens_max / e->lane_count;

	for (uint32_t i = 0; i < e->lane_count; i++)
		if (used > 0)
			lane_report_kv(&b->lanes[e->lane_first + i], used);
}
