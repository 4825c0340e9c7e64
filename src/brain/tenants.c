#include "brain/tenants.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "brain/bucket.h"
#include "wire/date.h"

#define SECOND_NS 1000000000ull
#define OUTPUT_FIRST_GUESS 256	/* tokens of an answer before any has been seen */
#define TOKENS_MAX (1ull << 53) /* of one request: sums of many stay far from overflow */

struct tenant {
	char *name;
	struct tenant_limits limits;
	struct bucket requests, tokens;
	uint64_t active;
	uint64_t month; /* that `budget_used` is of */
	uint64_t budget_used, budget_reserved;
	uint64_t output_guess; /* how long its answers are, on the high side */
	uint64_t counts[TENANT_CLASSES];
	uint64_t prompt_tokens, cached_tokens, output_tokens;
};

struct tenants {
	struct tenant *items;
	uint32_t count, cap;
	struct bb_map names;
};

int tenants_create(struct tenants **out)
{
	struct tenants *t = bb_alloc_zero(1, sizeof(*t));

	if (!t)
		return -BB_ENOMEM;
	bb_map_init(&t->names, 0); /* names come from the operator */
	*out = t;
	return 0;
}

void tenants_destroy(struct tenants *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < t->count; i++)
		bb_free(t->items[i].name);
	bb_free(t->items);
	bb_map_fini(&t->names);
	bb_free(t);
}

int tenants_add(struct tenants *t, struct bb_str name, uint32_t *tenant)
{
	const uint32_t known = bb_map_get(&t->names, name);

	if (known != BB_MAP_NONE) {
		*tenant = known;
		return 0;
	}
	if (t->count == TENANTS_MAX)
		return -BB_ELIMIT;
	if (t->count == t->cap) {
		const uint32_t cap = t->cap ? t->cap * 2 : 16;
		struct tenant *items = bb_realloc(t->items, cap * sizeof(*items));
		if (!items)
			return -BB_ENOMEM;
		t->items = items;
		t->cap = cap;
	}
	char *copy = bb_strndup(name.p, name.len);
	if (!copy)
		return -BB_ENOMEM;
	const int rc = bb_map_put(&t->names, name, t->count);
	if (rc) {
		bb_free(copy);
		return rc;
	}
	t->items[t->count] = (struct tenant){ .name = copy, .output_guess = OUTPUT_FIRST_GUESS };
	*tenant = t->count++;
	return 0;
}

void tenants_limit(struct tenants *t, uint32_t tenant, uint64_t now_ns,
		   const struct tenant_limits *limits)
{
	BB_ASSERT(tenant < t->count);
	struct tenant *x = &t->items[tenant];

	x->limits = *limits;
	bucket_set(&x->requests, now_ns, limits->requests_per_minute);
	bucket_set(&x->tokens, now_ns, limits->tokens_per_minute);
}

/* ---- reserving ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A new month begins with nothing used. A clock that is set back changes nothing. */
static void turn_month(struct tenant *x, uint64_t unix_s)
{
	const uint64_t month = date_month(unix_s);

	if (month <= x->month)
		return;
	x->month = month;
	x->budget_used = 0;
}

static struct tenant_window window(struct bucket *b, uint64_t now_ns)
{
	(void)bucket_wait_ns(b, now_ns, 0); /* brings it up to date */
	return (struct tenant_window){
		.limit = b->per_minute,
		.left = bucket_left(b),
		.reset_ns = bucket_reset_ns(b),
	};
}

static int refuse(struct tenant_verdict *v, int err, enum tenant_refusal refusal, uint64_t limit,
		  uint64_t needed, uint64_t retry_after_ns)
{
	v->refusal = refusal;
	v->limit = limit;
	v->needed = needed;
	v->retry_after_ns = retry_after_ns;
	return err;
}

/* What a request would take. */
static struct tenant_hold needs(const struct tenant *x, uint32_t index,
				const struct tenant_ask *ask)
{
	const uint64_t prompt = least(ask->prompt_tokens, TOKENS_MAX);
	const uint64_t guess = least(ask->output_tokens_max, x->output_guess);
	const uint64_t most = ask->output_tokens_max == UINT64_MAX
				      ? x->output_guess
				      : least(ask->output_tokens_max, TOKENS_MAX);
	const uint64_t rate = x->limits.tokens_per_minute;
	uint64_t tokens = prompt + guess;

	/* An answer that may be longer than a whole minute's tokens waits for a full bucket. */
	if (rate && prompt <= rate && tokens > rate)
		tokens = rate;
	return (struct tenant_hold){
		.is_held = true,
		.tenant = index,
		.tokens = tokens,
		.budget_tokens = least(ask->prompt_tokens_max, TOKENS_MAX) + most,
	};
}

static int check_budget(const struct tenant *x, const struct tenant_hold *h, uint64_t unix_s,
			struct tenant_verdict *v)
{
	const uint64_t budget = x->limits.tokens_per_month;
	const uint64_t taken = x->budget_used + x->budget_reserved;

	if (budget == 0 || (taken <= budget && h->budget_tokens <= budget - taken))
		return 0;
	const uint64_t next_s = date_month_begin(x->month + 1);
	const uint64_t wait_s = next_s > unix_s ? next_s - unix_s : 1;
	return refuse(v, -BB_EQUOTA, TENANT_REFUSAL_BUDGET, budget, h->budget_tokens,
		      wait_s * SECOND_NS);
}

/* The bucket that takes longest is the one to name. */
static int check_rates(struct tenant *x, const struct tenant_hold *h, uint64_t now_ns,
		       struct tenant_verdict *v)
{
	const struct tenant_limits *l = &x->limits;

	if (l->tokens_per_minute && h->tokens > l->tokens_per_minute)
		return refuse(v, -BB_ERATE, TENANT_REFUSAL_SIZE, l->tokens_per_minute, h->tokens,
			      0);
	const uint64_t requests_ns = bucket_wait_ns(&x->requests, now_ns, 1);
	const uint64_t tokens_ns = bucket_wait_ns(&x->tokens, now_ns, h->tokens);
	if (tokens_ns && tokens_ns >= requests_ns)
		return refuse(v, -BB_ERATE, TENANT_REFUSAL_TOKENS, l->tokens_per_minute, h->tokens,
			      tokens_ns);
	if (requests_ns)
		return refuse(v, -BB_ERATE, TENANT_REFUSAL_REQUESTS, l->requests_per_minute, 1,
			      requests_ns);
	return 0;
}

int tenants_reserve(struct tenants *t, uint32_t tenant, struct tenant_time time,
		    const struct tenant_ask *ask, struct tenant_hold *hold,
		    struct tenant_verdict *v)
{
	BB_ASSERT(tenant < t->count);
	struct tenant *x = &t->items[tenant];
	const struct tenant_hold h = needs(x, tenant, ask);

	*v = (struct tenant_verdict){ .refusal = TENANT_REFUSAL_NONE };
	turn_month(x, time.unix_s);
	int rc = check_rates(x, &h, time.now_ns, v);
	if (!rc)
		rc = check_budget(x, &h, time.unix_s, v);
	if (!rc && x->limits.concurrent && x->active >= x->limits.concurrent)
		rc = refuse(v, -BB_ERATE, TENANT_REFUSAL_CONCURRENT, x->limits.concurrent, 1, 0);
	if (!rc) {
		bucket_take(&x->requests, time.now_ns, 1);
		bucket_take(&x->tokens, time.now_ns, h.tokens);
		x->active++;
		x->budget_reserved += h.budget_tokens;
		*hold = h;
	}
	v->requests = window(&x->requests, time.now_ns);
	v->tokens = window(&x->tokens, time.now_ns);
	return rc;
}

/* ---- settling ---- */

/* Quick up and slow down: most answers are shorter than the guess, and few are much longer. */
static void learn_output(struct tenant *x, uint64_t tokens)
{
	const uint64_t guess = x->output_guess;

	if (tokens > guess)
		x->output_guess += (tokens - guess + 3) / 4;
	else
		x->output_guess -= (guess - tokens) / 64;
}

void tenants_settle(struct tenants *t, struct tenant_time time, struct tenant_hold *hold,
		    const struct tenant_use *use)
{
	if (!hold->is_held)
		return;
	BB_ASSERT(hold->tenant < t->count);
	struct tenant *x = &t->items[hold->tenant];
	const bool is_served = use->end == TENANT_END_SERVED;
	const uint64_t used = is_served ? least(use->prompt_tokens, TOKENS_MAX) +
						  least(use->output_tokens, TOKENS_MAX)
					: 0;

	BB_ASSERT(x->active > 0 && x->budget_reserved >= hold->budget_tokens);
	turn_month(x, time.unix_s);
	x->active--;
	x->budget_reserved -= hold->budget_tokens;
	x->budget_used += used;
	if (used > hold->tokens)
		bucket_take(&x->tokens, time.now_ns, used - hold->tokens);
	else
		bucket_give(&x->tokens, time.now_ns, hold->tokens - used);
	if (!is_served)
		bucket_give(&x->requests, time.now_ns, 1);
	else if (use->output_tokens)
		learn_output(x, least(use->output_tokens, TOKENS_MAX));
	*hold = (struct tenant_hold){ 0 };
}

/* ---- counting ---- */

void tenants_count(struct tenants *t, uint32_t tenant, const struct tenant_count *count)
{
	BB_ASSERT(tenant < t->count && count->class < TENANT_CLASSES);
	struct tenant *x = &t->items[tenant];

	x->counts[count->class]++;
	x->prompt_tokens += count->prompt_tokens;
	x->cached_tokens += count->cached_tokens;
	x->output_tokens += count->output_tokens;
}

const char *tenants_name(const struct tenants *t, uint32_t tenant)
{
	BB_ASSERT(tenant < t->count);
	return t->items[tenant].name;
}

void tenants_each(const struct tenants *t, void (*each)(void *user, const struct tenant_view *v),
		  void *user)
{
	for (uint32_t i = 0; i < t->count; i++) {
		const struct tenant *x = &t->items[i];
		struct tenant_view v = {
			.name = x->name,
			.limits = x->limits,
			.active = x->active,
			.prompt_tokens = x->prompt_tokens,
			.cached_tokens = x->cached_tokens,
			.output_tokens = x->output_tokens,
			.budget_used = x->budget_used,
			.budget_reserved = x->budget_reserved,
			.requests_level = x->requests.level,
			.tokens_level = x->tokens.level,
		};
		for (int k = 0; k < TENANT_CLASSES; k++)
			v.requests[k] = x->counts[k];
		each(user, &v);
	}
}
