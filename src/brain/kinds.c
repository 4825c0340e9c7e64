#include "brain/kinds.h"

#include <math.h>

#include "base/alloc.h"
#include "base/log.h"
#include "brain/pack.h"

#define NONE UINT32_MAX
/* Kinds are alike when their times for this differ by less than this share. */
#define ALIKE 1.15
#define ALIKE_TOKENS 2048
#define ALIKE_KV_TOKENS 20000
#define MERGE_EVERY 1024 /* reviews */

struct kind {
	struct kind_key key;
	bool is_known; /* it has a key and rates */
	uint32_t users;
	uint64_t used_at; /* kinds.clock when it was last got or put */
	struct rates rates;
};

struct kinds {
	uint64_t clock, reviews;
	struct kind rows[KINDS_MAX];
};

int kinds_create(struct kinds **out)
{
	*out = bb_alloc_zero(1, sizeof(**out));
	return *out ? 0 : -BB_ENOMEM;
}

void kinds_destroy(struct kinds *k)
{
	bb_free(k);
}

static bool key_is(const struct kind_key *a, const struct kind_key *b)
{
	return a->model == b->model && a->engine == b->engine &&
	       a->sequences_max == b->sequences_max && a->step_tokens == b->step_tokens &&
	       a->kv_tokens_max == b->kv_tokens_max;
}

static uint32_t use(struct kinds *k, uint32_t row)
{
	k->rows[row].users++;
	k->rows[row].used_at = ++k->clock;
	return row;
}

/* A row that was never used, or the one without users that has been so for the longest time. */
static uint32_t spare_row(const struct kinds *k)
{
	uint32_t best = NONE;

	for (uint32_t i = 0; i < KINDS_MAX; i++) {
		const struct kind *kind = &k->rows[i];
		if (!kind->is_known)
			return i;
		if (!kind->users && (best == NONE || kind->used_at < k->rows[best].used_at))
			best = i;
	}
	return best;
}

static uint32_t nearest(const struct kinds *k, uint32_t model)
{
	for (uint32_t i = 0; i < KINDS_MAX; i++)
		if (k->rows[i].is_known && k->rows[i].key.model == model)
			return i;
	return 0;
}

static uint32_t found(struct kinds *k, const struct kind_key *key, const struct rates *rates)
{
	const uint32_t row = spare_row(k);

	if (row == NONE)
		return NONE;
	k->rows[row] = (struct kind){ .key = *key, .is_known = true };
	if (rates)
		k->rows[row].rates = *rates;
	else
		rates_init(&k->rows[row].rates);
	return row;
}

/* Of several kinds with one key (engines that were found to differ) the one most in use. */
static uint32_t row_of_key(const struct kinds *k, const struct kind_key *key)
{
	uint32_t best = NONE;

	for (uint32_t i = 0; i < KINDS_MAX; i++) {
		const struct kind *kind = &k->rows[i];
		if (kind->is_known && key_is(&kind->key, key) &&
		    (best == NONE || kind->users > k->rows[best].users))
			best = i;
	}
	return best;
}

uint32_t kinds_get(struct kinds *k, const struct kind_key *key)
{
	uint32_t row = row_of_key(k, key);

	if (row == NONE)
		row = found(k, key, NULL);
	return use(k, row == NONE ? nearest(k, key->model) : row);
}

void kinds_put(struct kinds *k, uint32_t row)
{
	BB_ASSERT(row < KINDS_MAX && k->rows[row].users > 0);
	k->rows[row].users--;
	k->rows[row].used_at = ++k->clock;
}

struct rates *kinds_rates(struct kinds *k, uint32_t row)
{
	BB_ASSERT(row < KINDS_MAX);
	return &k->rows[row].rates;
}

static bool is_near(double a, double b)
{
	return a < b * ALIKE && b < a * ALIKE;
}

static bool are_alike(const struct rates *a, const struct rates *b)
{
	return is_near(rates_ttft_ms(a, 1, ALIKE_TOKENS, 1.0 / LANE_STEP_TOKENS, 0),
		       rates_ttft_ms(b, 1, ALIKE_TOKENS, 1.0 / LANE_STEP_TOKENS, 0)) &&
	       is_near(rates_gap_ms(a, 1, ALIKE_KV_TOKENS), rates_gap_ms(b, 1, ALIKE_KV_TOKENS));
}

/* What a lane has shown to be true of it. */
static struct rates shown_by(const struct lane *l)
{
	struct rates r = *l->rates;

	r.base_ms *= l->factors.ttft;
	r.token_ms *= l->factors.ttft;
	r.step_ms *= l->factors.gap;
	r.kv_token_ms *= l->factors.gap;
	return r;
}

/* Another kind with the key of `row` that has these rates already; the one with most users. */
static uint32_t row_alike(const struct kinds *k, uint32_t row, const struct rates *rates)
{
	uint32_t best = NONE;

	for (uint32_t i = 0; i < KINDS_MAX; i++) {
		const struct kind *kind = &k->rows[i];
		if (i != row && kind->is_known && key_is(&kind->key, &k->rows[row].key) &&
		    are_alike(&kind->rates, rates) &&
		    (best == NONE || kind->users > k->rows[best].users))
			best = i;
	}
	return best;
}

static uint32_t move(struct kinds *k, struct lane *l, uint32_t from, uint32_t to)
{
	if (to != from) {
		use(k, to);
		kinds_put(k, from);
	}
	lane_set_rates(l, kinds_rates(k, to));
	return to;
}

/* Kinds that have come to be alike are one again: the one with fewer users goes. */
static uint32_t merge(struct kinds *k, struct lane *l, uint32_t row)
{
	const uint32_t to = row_alike(k, row, l->rates);

	if (to == NONE || k->rows[to].users < k->rows[row].users)
		return row;
	return move(k, l, row, to);
}

uint32_t kinds_review(struct kinds *k, struct lane *l, uint32_t row)
{
	BB_ASSERT(row < KINDS_MAX && l->rates == &k->rows[row].rates);
	if (!rates_are_apart(&l->factors))
		return ++k->reviews % MERGE_EVERY == 0 ? merge(k, l, row) : row;
	const struct rates shown = shown_by(l);
	l->factors.apart = 0;
	uint32_t to = row_alike(k, row, &shown);
	if (to == NONE && k->rows[row].users == 1) {
		/* Alone in its kind: nobody else holds its scalars back. */
		k->rows[row].rates = shown;
		to = row;
	}
	if (to == NONE)
		to = found(k, &k->rows[row].key, &shown);
	return to == NONE ? row : move(k, l, row, to);
}

uint32_t kinds_count(const struct kinds *k)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < KINDS_MAX; i++)
		count += k->rows[i].users > 0;
	return count;
}

uint32_t kinds_look(const struct kinds *k, uint32_t row, struct kind_key *key, struct rates *rates)
{
	BB_ASSERT(row < KINDS_MAX);
	const struct kind *kind = &k->rows[row];
	if (!kind->users)
		return 0;
	*key = kind->key;
	*rates = kind->rates;
	return kind->users;
}

uint32_t kinds_row(const struct kinds *k, const struct rates *rates)
{
	const size_t at = (size_t)((const char *)rates - (const char *)&k->rows[0].rates);

	BB_ASSERT(at < sizeof(k->rows));
	return (uint32_t)(at / sizeof(k->rows[0]));
}

#if defined(__LP64__) /* a member that is added must be packed */
_Static_assert(sizeof(struct rates) == 56 && sizeof(struct kind) == 96 && sizeof(struct kind_key) == 24, "pack_kind");
#endif

/* More than any can become (rates.c), in ms. */
#define RATE_MAX 1e6

static void pack_kind(struct pack *p, struct kind *kind)
{
	pack_bool(p, &kind->is_known);
	if (!kind->is_known)
		return;
	pack_u32(p, &kind->key.model, UINT32_MAX);
	pack_u32(p, &kind->key.engine, UINT32_MAX);
	pack_u32(p, &kind->key.sequences_max, UINT32_MAX);
	pack_u32(p, &kind->key.step_tokens, UINT32_MAX);
	pack_u64(p, &kind->key.kv_tokens_max);
	pack_u32(p, &kind->users, UINT32_MAX);
	pack_u64(p, &kind->used_at);
	pack_amount(p, &kind->rates.base_ms, RATE_MAX);
	pack_amount(p, &kind->rates.token_ms, RATE_MAX);
	pack_amount(p, &kind->rates.step_ms, RATE_MAX);
	pack_amount(p, &kind->rates.kv_token_ms, RATE_MAX);
	pack_amount(p, &kind->rates.kv_mean, RATE_MAX * 1e6);
	pack_u64(p, &kind->rates.ttft_samples);
	pack_u64(p, &kind->rates.gap_samples);
}

void kinds_pack(struct kinds *k, struct pack *p)
{
	uint32_t count = KINDS_MAX;

	while (count && !k->rows[count - 1].is_known)
		count--;
	pack_u64(p, &k->clock);
	pack_u64(p, &k->reviews);
	count = pack_count(p, count, KINDS_MAX, 1);
	for (uint32_t i = 0; i < count; i++)
		pack_kind(p, &k->rows[i]);
}

bool kinds_users_are(const struct kinds *k, const uint32_t users[KINDS_MAX])
{
	for (uint32_t i = 0; i < KINDS_MAX; i++)
		if (k->rows[i].users != users[i] || (users[i] && !k->rows[i].is_known))
			return false;
	return true;
}
