#include "brain/state.h"

#include <math.h>

#include "base/alloc.h"
#include "base/log.h"

/* The most that times in milliseconds and numbers of tokens can be, and factors. */
#define AMOUNT_MAX 1e12
#define FACTOR_MAX 100

/* A member that is added to one of these must be packed, too: a checkpoint is to be complete. */
#if defined(__LP64__)
_Static_assert(sizeof(struct lane_request) == 88 && sizeof(struct flight) == 200, "pack_flight");
_Static_assert(sizeof(struct held) == 1144 && sizeof(struct brain_request) == 104, "pack_held");
_Static_assert(sizeof(struct lane) == 448 && sizeof(struct rate_factors) == 56, "pack_lane");
_Static_assert(sizeof(struct kv_lane) == 96 && sizeof(struct lane_owner) == 40, "pack_lanes");
_Static_assert(sizeof(struct lane_lengths) == 520, "pack_lengths");
_Static_assert(sizeof(struct brain) == 976, "state_pack");
#endif

/* ---- flights ---- */

static void pack_lane_request(struct pack *k, struct lane_request *r)
{
	pack_u32(k, &r->prompt_tokens, UINT32_MAX);
	pack_u32(k, &r->uncached, UINT32_MAX);
	pack_u32(k, &r->pinned, UINT32_MAX);
	pack_u32(k, &r->output_max, UINT32_MAX);
	pack_bool(k, &r->is_odd);
	pack_bool(k, &r->is_blind);
	pack_bool(k, &r->is_generating);
	pack_bool(k, &r->was_at_limit);
	pack_u32(k, &r->next, UINT32_MAX);
	pack_u32(k, &r->prev, UINT32_MAX);
	pack_u32(k, &r->generated, UINT32_MAX);
	pack_u32(k, &r->residual, UINT32_MAX);
	pack_u32(k, &r->drops, UINT32_MAX);
	pack_u32(k, &r->mark_generated, UINT32_MAX);
	pack_u64(k, &r->mark_ns);
	pack_u64(k, &r->sent_ns);
	pack_u64(k, &r->first_ns);
	pack_amount(k, &r->ahead, AMOUNT_MAX);
	pack_amount(k, &r->gap_ms, AMOUNT_MAX);
}

static void pack_engine_id(struct pack *k, struct engine_id *id)
{
	pack_u32(k, &id->slot, UINT32_MAX);
	pack_u32(k, &id->generation, UINT32_MAX);
}

static void pack_ask(struct pack *k, struct held *h)
{
	struct brain_request *r = &h->ask;

	pack_u32(k, &r->api, 63);
	pack_u64(k, &r->prompt_tokens);
	pack_u64(k, &r->output_tokens_max);
	r->exclude_count = pack_count(k, r->exclude_count, BRAIN_EXCLUDE_MAX, 2);
	for (uint32_t i = 0; i < r->exclude_count; i++)
		pack_engine_id(k, &h->exclude[i]);
	r->hashed = pack_choice(k, r->hashed, HASHES_TEXT + 1);
	pack_fixed(k, &r->session);
	pack_fixed(k, &r->beginning);
	pack_bool(k, &r->teaches);
	pack_bool(k, &r->is_blind);
	pack_bool(k, &r->can_wait);
}

static void pack_held(struct pack *k, struct held *h)
{
	pack_ask(k, h);
	pack_u32(k, &h->model, UINT32_MAX);
	pack_u64(k, &h->since_ns);
	pack_u32(k, &h->visit, UINT32_MAX);
	pack_bool(k, &h->is_dispatched);
	pack_bool(k, &h->is_listed);
	pack_u64(k, &h->decision.cached_tokens); /* the rest of it is decided anew */
}

static void read_hashes(struct brain *b, struct pack *k, struct flight *f)
{
	f->hashes = bb_alloc(f->hash_room * sizeof(*f->hashes));
	if (!f->hashes) {
		pack_fail(k, -BB_ENOMEM);
		f->hash_count = f->hash_room = 0;
		return;
	}
	b->hash_bytes += f->hash_room * sizeof(*f->hashes);
	pack_hash_row(k, f->hashes, f->hash_count);
}

/* `hash_room` is more than `hash_count` when memory could not be given back. */
static void pack_hash_list(struct brain *b, struct pack *k, struct flight *f)
{
	const uint32_t count = pack_count(k, f->hash_count, UINT32_MAX, sizeof(uint64_t));
	uint32_t more = f->hash_room - f->hash_count;

	pack_u32(k, &more, count * (INDEX_STRIDE + 1));
	if (!pack_is_reading(k)) {
		pack_hash_row(k, f->hashes, count);
	} else if (count && !k->err) {
		f->hash_count = count;
		f->hash_room = count + more;
		read_hashes(b, k, f);
	}
}

static void pack_refs(struct pack *k, struct share_refs *r)
{
	uint32_t count = pack_count(k, r->count, SHARE_PIECES, 1);

	r->count = (uint8_t)count;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = r->slot[i];
		pack_u32(k, &slot, SHARES_MAX - 1);
		r->slot[i] = (uint16_t)slot;
	}
	pack_u32(k, &r->own_tokens, UINT32_MAX);
}

static void pack_flight(struct brain *b, struct pack *k, struct flight *f)
{
	pack_u32(k, &f->generation, UINT32_MAX);
	pack_u32(k, &f->next_free, UINT32_MAX);
	f->state = (uint8_t)pack_choice(k, f->state, FLIGHT_SENT + 1);
	if (f->state == FLIGHT_FREE)
		return;
	f->hashed = (uint8_t)pack_choice(k, f->hashed, HASHES_TEXT + 1);
	pack_bool(k, &f->is_promised);
	pack_lane_request(k, &f->lane);
	pack_u32(k, &f->lane_index, UINT32_MAX);
	pack_engine_id(k, &f->engine);
	pack_u64(k, &f->tokens);
	pack_u64(k, &f->pending_prefill);
	pack_u64(k, &f->predicted);
	pack_refs(k, &f->shares);
	pack_hash_list(b, k, f);
	if (f->state == FLIGHT_SENT)
		return;
	if (pack_is_reading(k)) {
		f->held = k->err ? NULL : bb_alloc_zero(1, sizeof(*f->held));
		if (!f->held) {
			pack_fail(k, -BB_ENOMEM);
			return;
		}
	}
	pack_held(k, f->held);
	f->held->ask.exclude = f->held->exclude;
	f->held->ask.hashes = f->hashes;
	f->held->ask.hash_count = f->hash_count;
	f->held->ask.model = BB_STR("");
}

static void pack_flights(struct brain *b, struct pack *k)
{
	const uint32_t count = pack_count(k, b->flights_used, b->flights_max, 3);

	if (pack_is_reading(k) && count) {
		b->flights = bb_alloc_zero(count, sizeof(*b->flights));
		if (!b->flights) {
			pack_fail(k, -BB_ENOMEM);
			return;
		}
		b->flights_cap = b->flights_used = count;
	}
	pack_u32(k, &b->free_head, UINT32_MAX);
	pack_u32(k, &b->released_head, UINT32_MAX);
	pack_u32(k, &b->released_tail, UINT32_MAX);
	for (uint32_t i = 0; i < count && !k->err; i++) {
		pack_flight(b, k, &b->flights[i]);
		b->flights_live += pack_is_reading(k) && b->flights[i].state != FLIGHT_FREE;
	}
}

static void pack_queue(struct brain *b, struct pack *k)
{
	const uint32_t count = pack_count(k, b->held_count, b->held_max, 1);

	pack_u32(k, &b->walk, UINT32_MAX);
	if (pack_is_reading(k) && count && !b->held) {
		b->held = bb_alloc(b->held_max * sizeof(*b->held));
		if (!b->held) {
			pack_fail(k, -BB_ENOMEM);
			return;
		}
	}
	for (uint32_t i = 0; i < count; i++)
		pack_u32(k, &b->held[i], UINT32_MAX);
	b->held_count = count;
}

/* ---- lanes ---- */

/* It is as old as the lane's latest event: what it was made of may have changed since. */
static void pack_view(struct brain *b, struct pack *k, struct lane *l, double *progress_max)
{
	struct lane_view *v = &l->view;
	uint32_t row = pack_is_reading(k) ? 0 : kinds_row(b->kinds, v->rates);
	double factor = v->factor;
	bool is_off = v->is_off;

	pack_amount(k, &v->pending, AMOUNT_MAX);
	pack_amount(k, progress_max, AMOUNT_MAX);
	pack_amount(k, &v->steps_per_token, 1);
	pack_amount(k, &v->gap_ms, AMOUNT_MAX);
	pack_double(k, &l->kv_free);
	pack_u64(k, &v->last_first_ns);
	pack_u32(k, &row, KINDS_MAX - 1);
	pack_amount(k, &factor, FACTOR_MAX);
	pack_bool(k, &is_off);
	v->rates = kinds_rates(b->kinds, row);
	v->factor = (float)factor;
	v->is_off = is_off;
}

/* Of a view what follows from its lane as it is. */
static void view_complete(struct lane *l, double progress_max)
{
	l->view.head_uncached = progress_max > 0 ? l->head_uncached : 0;
	l->view.room = l->requests >= lane_slots_near(l) ? -INFINITY : l->kv_free;
	l->view.gap_factor = (float)l->factors.gap_used;
}

static void pack_lane(struct brain *b, struct pack *k, struct lane *l)
{
	double progress_max = LANE_PROGRESS_MAX * l->view.head_uncached;

	pack_view(b, k, l, &progress_max);
	pack_u64(k, &l->pending);
	pack_u64(k, &l->kv_tokens);
	pack_u64(k, &l->waiting_prompts);
	pack_u64(k, &l->unique_tokens);
	pack_u64(k, &l->shared_tokens);
	pack_u32(k, &l->requests, UINT32_MAX);
	pack_u32(k, &l->generating, UINT32_MAX);
	pack_u32(k, &l->head_uncached, UINT32_MAX);
	pack_u32(k, &l->sequences_max, UINT32_MAX);
	pack_u64(k, &l->kv_tokens_max);
	pack_u32(k, &l->step_tokens, UINT32_MAX);
	pack_amount(k, &l->factors.ttft, FACTOR_MAX);
	pack_amount(k, &l->factors.gap, FACTOR_MAX);
	pack_amount(k, &l->factors.ttft_used, FACTOR_MAX);
	pack_amount(k, &l->factors.gap_used, FACTOR_MAX);
	pack_amount(k, &l->factors.error, FACTOR_MAX);
	pack_u64(k, &l->factors.samples);
	pack_u32(k, &l->factors.apart, UINT32_MAX);
	pack_amount(k, &l->kv_scale, AMOUNT_MAX);
	pack_amount(k, &l->freed_per_ms, AMOUNT_MAX);
	pack_u64(k, &l->residual);
	for (int i = 0; i < LANE_BUCKETS; i++) {
		pack_u32(k, &l->bucket_count[i], UINT32_MAX);
		pack_u64(k, &l->bucket_residual[i]);
	}
	pack_u64(k, &l->last_prefill_ns);
	pack_u64(k, &l->last_end_ns);
	pack_u64(k, &l->generated);
	pack_u32(k, &l->waiting_head, UINT32_MAX);
	pack_u32(k, &l->waiting_tail, UINT32_MAX);
	pack_u32(k, &l->drops, UINT32_MAX);
	if (pack_is_reading(k))
		view_complete(l, progress_max);
}

static void pack_owner(struct pack *k, struct lane_owner *o)
{
	if (pack_is_reading(k))
		memset(o, 0, sizeof(*o)); /* the key is compared as bytes */
	pack_engine_id(k, &o->engine);
	pack_u32(k, &o->rank, UINT32_MAX);
	pack_u32(k, &o->kind, KINDS_MAX - 1);
	pack_u32(k, &o->key.model, UINT32_MAX);
	pack_u32(k, &o->key.engine, UINT32_MAX);
	pack_u32(k, &o->key.sequences_max, UINT32_MAX);
	pack_u32(k, &o->key.step_tokens, UINT32_MAX);
	pack_u64(k, &o->key.kv_tokens_max);
}

static void pack_kv_lane(struct brain *b, struct pack *k, uint32_t row)
{
	struct kv_lane *l = &b->kv_lanes[row];
	bool has_assumed = l->assumed != NULL;

	l->mode = pack_choice(k, l->mode, KV_EXACT + 1);
	pack_amount(k, &l->trust, AMOUNT_MAX);
	pack_amount(k, &l->capacity_share, AMOUNT_MAX);
	pack_u32(k, &l->silent, UINT32_MAX);
	pack_u64(k, &l->told_ns);
	pack_u64(k, &l->predicted);
	pack_u64(k, &l->reported);
	for (int i = 0; i < KV_ADAPTERS; i++)
		pack_u32(k, &l->adapters[i], UINT32_MAX);
	pack_bool(k, &has_assumed);
	if (!has_assumed)
		return;
	if (pack_is_reading(k)) {
		l->assumed = kv_assumed_create(b->index, row, 0);
		if (!l->assumed) {
			pack_fail(k, -BB_ENOMEM);
			return;
		}
	}
	kv_assumed_pack(l->assumed, k);
}

static void pack_lanes(struct brain *b, struct pack *k)
{
	const uint32_t count = pack_count(k, b->lane_count, INDEX_ROWS_MAX, 64);

	for (uint32_t i = 0; i < count && !k->err; i++) {
		struct lane *l = &b->lanes[i];
		b->lane_count = pack_is_reading(k) ? i + 1 : count;
		pack_owner(k, &b->owners[i]);
		pack_fixed(k, &b->identities[i]);
		pack_lane(b, k, l);
		pack_kv_lane(b, k, i);
		if (b->owners[i].key.model >= b->fleet.models_max)
			pack_fail(k, -BB_ESYNTAX);
		if (k->err)
			return;
		l->rates = kinds_rates(b->kinds, b->owners[i].kind);
		l->lengths = &b->lengths[b->owners[i].key.model];
	}
}

static void pack_lengths(struct brain *b, struct pack *k)
{
	for (uint32_t i = 0; i < b->fleet.model_count && !k->err; i++) {
		struct lane_lengths *n = &b->lengths[i];
		for (int at = 0; at < LANE_LENGTHS; at++) {
			pack_amount(k, &n->ends[at], AMOUNT_MAX);
			pack_amount(k, &n->end_tokens[at], AMOUNT_MAX);
			pack_amount(k, &n->passes[at], AMOUNT_MAX);
			pack_amount(k, &n->further[at], AMOUNT_MAX);
		}
		pack_u64(k, &n->samples);
	}
}

void state_pack(struct brain *b, struct pack *k)
{
	struct bb_str policy = bb_str_of(b->policy->name);

	pack_str(k, &policy);
	for (int i = 0; i < 4; i++)
		pack_fixed(k, &b->rng.s[i]);
	if (pack_is_reading(k) && !k->err) {
		char name[64] = "";
		if (policy.len < sizeof(name))
			memcpy(name, policy.p, policy.len);
		if (policy_find(name))
			brain_use_policy(b, policy_find(name));
		else
			pack_fail(k, -BB_EINVALID);
	}
	fleet_pack(&b->fleet, k);
	pack_lengths(b, k);
	kinds_pack(b->kinds, k);
	pack_flights(b, k);
	shares_pack(b->shares, k);
	pack_queue(b, k);
	pack_lanes(b, k);
}

/* ---- does it add up? ---- */

static bool is_at_engine(const struct flight *f)
{
	return f->state == FLIGHT_SENT || (f->state == FLIGHT_RELEASED && f->held->is_dispatched);
}

static bool flight_is_sound(const struct brain *b, const struct flight *f)
{
	if ((f->generation & 1) != (f->state != FLIGHT_FREE))
		return false;
	if (f->held && f->held->model >= b->fleet.model_count)
		return false;
	return !is_at_engine(f) ||
	       (f->lane_index < b->lane_count && f->pending_prefill <= f->tokens);
}

/* What a lane and an engine count, added up from the flights; only these members are filled in. */
static void add_flight(const struct brain *b, const struct flight *f, struct lane *l,
		       uint32_t *shared)
{
	const struct lane_request *r = &f->lane;

	l->unique_tokens += f->shares.own_tokens;
	for (uint32_t i = 0; i < f->shares.count; i++)
		if (shared[f->shares.slot[i]]++ == 0)
			l->unique_tokens += shares_tokens(b->shares, f->shares.slot[i]);

	l->requests++;
	l->kv_tokens += (uint64_t)r->prompt_tokens + r->generated;
	l->unique_tokens += (uint64_t)r->pinned + r->generated;
	l->generated += r->generated;
	if (!r->is_generating) {
		l->pending += r->uncached;
		l->waiting_prompts += r->prompt_tokens;
		return;
	}
	const int i = r->residual ? 31 - __builtin_clz(r->residual) : 0;
	const int bucket = i < LANE_BUCKETS ? i : LANE_BUCKETS - 1;
	l->generating++;
	l->residual += r->residual;
	l->bucket_count[bucket]++;
	l->bucket_residual[bucket] += r->residual;
}

/* The FIFO of those that wait: as many as it should be, each pointing back to the one before. */
static bool waiting_is_sound(const struct brain *b, uint32_t lane)
{
	const struct lane *l = &b->lanes[lane];
	uint32_t before = LANE_NONE, left = l->requests - l->generating;

	for (uint32_t i = l->waiting_head; i != LANE_NONE; i = b->flights[i].lane.next) {
		if (left-- == 0 || i >= b->flights_used || !is_at_engine(&b->flights[i]) ||
		    b->flights[i].lane_index != lane || b->flights[i].lane.is_generating ||
		    b->flights[i].lane.prev != before)
			return false;
		before = i;
	}
	return left == 0 && l->waiting_tail == before;
}

static bool lane_is_sound(const struct brain *b, uint32_t i, const struct lane *sum)
{
	const struct lane *l = &b->lanes[i];

	return l->requests == sum->requests && l->generating == sum->generating &&
	       l->kv_tokens == sum->kv_tokens && l->unique_tokens == sum->unique_tokens &&
	       l->generated == sum->generated && l->pending == sum->pending &&
	       l->waiting_prompts == sum->waiting_prompts && l->residual == sum->residual &&
	       memcmp(l->bucket_count, sum->bucket_count, sizeof(l->bucket_count)) == 0 &&
	       memcmp(l->bucket_residual, sum->bucket_residual, sizeof(l->bucket_residual)) == 0 &&
	       l->step_tokens > 0 && waiting_is_sound(b, i);
}

static bool lanes_are_sound(const struct brain *b)
{
	struct lane *sums = bb_alloc_zero(b->lane_count, sizeof(*sums));
	uint32_t *shared = bb_alloc_zero(SHARES_MAX, sizeof(*shared));
	uint32_t users[KINDS_MAX] = { 0 };
	bool is_sound = sums != NULL && shared != NULL;

	for (uint32_t i = 0; is_sound && i < b->flights_used; i++)
		if (is_at_engine(&b->flights[i]))
			add_flight(b, &b->flights[i], &sums[b->flights[i].lane_index], shared);
	is_sound = is_sound && shares_users_are(b->shares, shared);
	for (uint32_t i = 0; is_sound && i < b->lane_count; i++) {
		users[b->owners[i].kind]++;
		is_sound = lane_is_sound(b, i, &sums[i]);
	}
	bb_free(sums);
	bb_free(shared);
	return is_sound && kinds_users_are(b->kinds, users);
}

struct engine_sum {
	uint64_t requests, tokens, pending;
};

static bool engines_are_sound(const struct brain *b)
{
	struct engine_sum *sums = bb_alloc_zero(b->fleet.engine_count, sizeof(*sums));
	bool is_sound = sums != NULL;

	for (uint32_t i = 0; is_sound && i < b->flights_used; i++) {
		const struct flight *f = &b->flights[i];
		if (!is_at_engine(f) || !fleet_engine(&b->fleet, f->engine))
			continue;
		struct engine_sum *s = &sums[f->engine.slot];
		s->requests++;
		s->tokens += f->tokens;
		s->pending += f->pending_prefill;
	}
	for (uint32_t i = 0; is_sound && i < b->fleet.engine_count; i++) {
		const struct engine *e = &b->fleet.engines[i];
		is_sound = e->requests == sums[i].requests && e->tokens == sums[i].tokens &&
			   e->pending_prefill == sums[i].pending &&
			   e->lane_first <= b->lane_count &&
			   e->lane_count <= b->lane_count - e->lane_first;
	}
	bb_free(sums);
	return is_sound;
}

/* Each of the queue is there once, and the models know how many wait for them. */
static bool queue_is_sound(const struct brain *b)
{
	uint64_t waiting = 0, of_models = 0;

	for (uint32_t i = 0; i < b->flights_used; i++)
		waiting += b->flights[i].state == FLIGHT_HELD;
	for (uint32_t i = 0; i < b->fleet.model_count; i++)
		of_models += b->fleet.models[i].held;
	for (uint32_t i = 0; i < b->held_count; i++)
		if (b->held[i] >= b->flights_used || b->flights[b->held[i]].state != FLIGHT_HELD)
			return false;
	return waiting == b->held_count && of_models == waiting;
}

/* A list through next_free, of flights in one state. */
static bool list_is_sound(const struct brain *b, uint32_t head, uint8_t state, uint32_t *count,
			  uint32_t *last)
{
	uint32_t left = b->flights_used;

	*count = 0;
	*last = UINT32_MAX;
	for (uint32_t i = head; i != UINT32_MAX; i = b->flights[i].next_free) {
		if (left-- == 0 || i >= b->flights_used || b->flights[i].state != state)
			return false;
		++*count;
		*last = i;
	}
	return true;
}

static bool lists_are_sound(const struct brain *b)
{
	uint32_t free_count, listed_count, last;
	uint32_t listed = 0;

	for (uint32_t i = 0; i < b->flights_used; i++)
		listed += b->flights[i].state == FLIGHT_RELEASED && b->flights[i].held->is_listed;
	return list_is_sound(b, b->free_head, FLIGHT_FREE, &free_count, &last) &&
	       free_count == b->flights_used - b->flights_live &&
	       list_is_sound(b, b->released_head, FLIGHT_RELEASED, &listed_count, &last) &&
	       listed_count == listed && (listed == 0 || last == b->released_tail);
}

bool state_is_sound(const struct brain *b)
{
	for (uint32_t i = 0; i < b->flights_used; i++)
		if (!flight_is_sound(b, &b->flights[i]))
			return false;
	return lists_are_sound(b) && queue_is_sound(b) && engines_are_sound(b) &&
	       lanes_are_sound(b);
}
