#include "brain/lane.h"

#include <math.h>

#include "base/log.h"
#include "brain/exact.h"

#define DUE_MS_MAX 1e10 /* four months: never */
#define GAP_TOKENS 4	/* a gap is measured over so many at least */
/* Of work that a lane may always have in store: more than the way to it takes. */
#define OPEN_MS 10
/* Of the time of an answer in one piece, at most, that is not its first token's. */
#define WHOLE_SHARE_MAX 0.5
#define SEQUENCES_IN_STORE 64 /* one in so many, and one */
#define GRAIN_TOKENS 40	      /* of a request: half a block, and what has not been told yet */
#define GROWTH_MARGIN 1.0     /* standard deviations, of as many answers */
#define FREED_AVERAGE_MS 10000.0
#define LENGTH_SAMPLES_MAX 200 /* of a bucket, then all count half */
#define KV_REPORT_WEIGHT 0.3
#define KV_REPORT_SHARE_MIN 0.05 /* reports about a cache that is emptier say little */

/* First tokens wait for a sequence or for memory, not for prefills: time is no progress. */
static bool is_stuck(const struct lane *l)
{
	return (l->sequences_max && l->requests > l->sequences_max) ||
	       (l->kv_tokens_max && lane_kv_used(l) > (double)l->kv_tokens_max);
}

/*
 * KV tokens by which those in flight, and one more, will exceed what they hold now. Each grows by a
 * further answer of r tokens on average, and gives back all when it ends: with s tokens of its own
 * now and ends spread evenly over 2r tokens to come, n requests hold at most n (2r + s)² ÷ 8r.
 */
static double growth_of(const struct lane *l)
{
	const double n = l->requests + 1;
	const double further =
		(double)(int64_t)l->residual + (n - l->generating) * l->lengths->further[0];
	const double r = further / n;
	const double s = ((double)(int64_t)(l->unique_tokens - l->shared_tokens)) / n;
	const double rise = 2 * r - s;

	return (rise > 0 ? n * rise * rise / (8 * r) : 0) + r * sqrt(n) * GROWTH_MARGIN +
	       n * GRAIN_TOKENS;
}

/* After each event. */
static void look(struct lane *l)
{
	struct lane_view *v = &l->view;
	const double growth = growth_of(l);

	l->kv_free =
		l->kv_tokens_max ? (double)l->kv_tokens_max - lane_kv_used(l) - growth : INFINITY;
	v->pending = (double)l->pending;
	v->head_uncached = is_stuck(l) ? 0 : l->head_uncached;
	v->steps_per_token =
		l->step_tokens > l->generating ? 1.0 / (l->step_tokens - l->generating) : 1;
	v->gap_ms = l->generating ? lane_gap_ms(l) : 0;
	v->room = l->requests >= lane_slots_near(l) ? -INFINITY : l->kv_free;
	v->rates = l->rates;
	v->factor = (float)l->factors.ttft_used;
	v->gap_factor = (float)l->factors.gap_used;
	v->is_off = rates_are_off(&l->factors);
}

void lane_init(struct lane *l, struct rates *rates, struct lane_lengths *lengths)
{
	*l = (struct lane){ .step_tokens = LANE_STEP_TOKENS,
			    .rates = rates,
			    .lengths = lengths,
			    .kv_scale = 1,
			    .waiting_head = LANE_NONE,
			    .waiting_tail = LANE_NONE };
	rate_factors_init(&l->factors);
	look(l);
}

void lane_set_limits(struct lane *l, uint32_t sequences_max, uint64_t kv_tokens_max,
		     uint32_t step_tokens)
{
	l->sequences_max = sequences_max;
	l->kv_tokens_max = kv_tokens_max;
	l->step_tokens = step_tokens ? step_tokens : LANE_STEP_TOKENS;
	look(l);
}

void lane_set_rates(struct lane *l, struct rates *rates)
{
	l->rates = rates;
	rate_factors_init(&l->factors);
	look(l);
}

/* ---- how long answers are ---- */

static double width_of(int bucket)
{
	return (double)(1u << bucket);
}

static void lengths_look(struct lane_lengths *n)
{
	int i = LANE_LENGTHS - 1;

	n->further[i] = n->end_tokens[i] / n->ends[i];
	while (--i >= 0)
		n->further[i] =
			(n->end_tokens[i] + n->passes[i] * (width_of(i) + n->further[i + 1])) /
			(n->ends[i] + n->passes[i]);
}

/* One answer, of which one in LANE_OUTPUT_TOKENS ends at each token. */
void lane_lengths_init(struct lane_lengths *n)
{
	const double mean = LANE_OUTPUT_TOKENS;

	for (int i = 0; i < LANE_LENGTHS; i++) {
		const double passes = i + 1 < LANE_LENGTHS ? exact_exp(-width_of(i) / mean) : 0;
		n->ends[i] = 1 - passes;
		n->end_tokens[i] = mean * (1 - passes) - passes * width_of(i);
		n->passes[i] = passes;
	}
	n->samples = 0;
	lengths_look(n);
}

static int length_bucket(uint32_t generated)
{
	const int bucket = 31 - __builtin_clz(generated + 1 ? generated + 1 : UINT32_MAX);

	return bucket < LANE_LENGTHS ? bucket : LANE_LENGTHS - 1;
}

/* What lies long back counts less. */
static void lengths_fade(struct lane_lengths *n, int bucket)
{
	if (n->ends[bucket] + n->passes[bucket] < LENGTH_SAMPLES_MAX)
		return;
	n->ends[bucket] /= 2;
	n->end_tokens[bucket] /= 2;
	n->passes[bucket] /= 2;
}

static void learn_passes(struct lane_lengths *n, uint32_t from, uint32_t to)
{
	for (int i = length_bucket(from); i < length_bucket(to); i++) {
		n->passes[i] += 1;
		lengths_fade(n, i);
	}
}

static void learn_length(struct lane_lengths *n, uint32_t generated)
{
	const int i = length_bucket(generated);

	n->ends[i] += 1;
	n->end_tokens[i] += generated + 1 - width_of(i);
	n->samples++;
	lengths_fade(n, i);
	lengths_look(n);
}

double lane_residual(const struct lane_lengths *n, uint32_t generated, uint32_t output_max)
{
	const double left = output_max > generated ? (double)output_max - generated : 1;
	const int i = length_bucket(generated);
	double further = n->further[i];

	if (i + 1 < LANE_LENGTHS)
		further +=
			(generated + 1 - width_of(i)) / width_of(i) * (n->further[i + 1] - further);
	const double expected = further < left ? further : left;

	return expected > 1 ? expected : 1;
}

/* ---- those that generate, by what is expected of them ---- */

static int residual_bucket(uint32_t residual)
{
	const int bucket = 31 - __builtin_clz(residual);

	return bucket < LANE_BUCKETS ? bucket : LANE_BUCKETS - 1;
}

static void stream_expect(struct lane *l, struct lane_request *r)
{
	r->residual = (uint32_t)lane_residual(l->lengths, r->generated, r->output_max);
	const int i = residual_bucket(r->residual);
	l->bucket_count[i]++;
	l->bucket_residual[i] += r->residual;
	l->residual += r->residual;
}

static void stream_forget(struct lane *l, struct lane_request *r)
{
	const int i = residual_bucket(r->residual);

	BB_ASSERT(l->bucket_count[i] > 0 && l->bucket_residual[i] >= r->residual);
	l->bucket_count[i]--;
	l->bucket_residual[i] -= r->residual;
	l->residual -= r->residual;
	r->residual = 0;
}

static void count_generated(struct lane *l, struct lane_request *r, uint32_t generated)
{
	const uint32_t more = generated - r->generated;

	learn_passes(l->lengths, r->generated, generated);
	r->generated = generated;
	l->generated += more;
	l->kv_tokens += more;
	l->unique_tokens += more;
}

/* ---- those that wait ---- */

static struct lane_request *row_of(const struct lane_table *t, uint32_t row)
{
	return t->row(t->table, row);
}

static void waiting_append(struct lane *l, const struct lane_table *t, uint32_t row,
			   uint64_t now_ns)
{
	struct lane_request *r = row_of(t, row);

	r->next = LANE_NONE;
	r->prev = l->waiting_tail;
	if (l->waiting_tail == LANE_NONE) {
		l->waiting_head = row;
		l->head_uncached = r->uncached;
		l->view.last_first_ns = now_ns;
	} else {
		row_of(t, l->waiting_tail)->next = row;
	}
	l->waiting_tail = row;
	l->pending += r->uncached;
	l->waiting_prompts += r->prompt_tokens;
}

static void waiting_unlink(struct lane *l, const struct lane_table *t, uint32_t row,
			   uint64_t now_ns)
{
	struct lane_request *r = row_of(t, row);

	BB_ASSERT(l->pending >= r->uncached && l->waiting_prompts >= r->prompt_tokens);
	l->pending -= r->uncached;
	l->waiting_prompts -= r->prompt_tokens;
	if (r->next != LANE_NONE)
		row_of(t, r->next)->prev = r->prev;
	else
		l->waiting_tail = r->prev;
	if (r->prev != LANE_NONE) {
		row_of(t, r->prev)->next = r->next;
	} else {
		l->waiting_head = r->next;
		l->head_uncached = r->next == LANE_NONE ? 0 : row_of(t, r->next)->uncached;
		l->view.last_first_ns = now_ns; /* the next one's prefill begins */
	}
	r->next = r->prev = LANE_NONE;
	if (l->waiting_head == LANE_NONE)
		l->last_prefill_ns = now_ns;
}

static void begin_generating(struct lane *l, const struct lane_table *t, uint32_t row,
			     uint64_t now_ns)
{
	struct lane_request *r = row_of(t, row);

	waiting_unlink(l, t, row, now_ns);
	r->is_generating = true;
	r->first_ns = r->mark_ns = now_ns;
	r->mark_generated = 1;
	l->generating++;
	count_generated(l, r, 1);
	stream_expect(l, r);
}

/* When the head's first token should be there. */
static uint64_t head_due_ns(const struct lane *l)
{
	const double ms = rates_ttft_ms(l->rates, l->factors.ttft, l->head_uncached,
					1.0 / l->step_tokens, l->view.gap_ms);

	return l->view.last_first_ns + (uint64_t)(fmin(ms, DUE_MS_MAX) * LANE_MS_NS);
}

void lane_settle(struct lane *l, const struct lane_table *t, uint64_t now_ns)
{
	while (l->waiting_head != LANE_NONE && row_of(t, l->waiting_head)->is_blind) {
		const uint64_t due_ns = head_due_ns(l);
		if (due_ns > now_ns || (l->sequences_max && l->generating >= l->sequences_max))
			return;
		begin_generating(l, t, l->waiting_head, due_ns);
		look(l);
	}
}

/* ---- events ---- */

void lane_add(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns)
{
	struct lane_request *r = row_of(t, row);

	lane_settle(l, t, now_ns);
	r->was_at_limit = lane_is_full(l) || (l->kv_tokens_max && lane_kv_used(l) + r->uncached >
									  (double)l->kv_tokens_max);
	r->is_generating = false;
	r->generated = r->residual = r->mark_generated = 0;
	r->drops = l->drops;
	r->sent_ns = now_ns;
	r->first_ns = r->mark_ns = 0;
	r->ahead = lane_pending(l, now_ns) + r->uncached;
	r->gap_ms = l->view.gap_ms;
	waiting_append(l, t, row, now_ns);
	l->requests++;
	l->kv_tokens += r->prompt_tokens;
	l->unique_tokens += r->pinned;
	look(l);
}

/* The time to its first token, once so much of the time since it was sent has gone to others. */
static void learn_ttft(struct lane *l, const struct lane_request *r, uint64_t now_ns,
		       double less_ms)
{
	const double ms = (double)(int64_t)(now_ns - r->sent_ns) / LANE_MS_NS - less_ms;

	if (!r->is_odd && !r->was_at_limit && r->drops == l->drops && ms > 0)
		rates_learn_ttft(l->rates, &l->factors, r->ahead, l->step_tokens, r->gap_ms, ms);
}

/*
 * An answer in one piece: what is left of its time without that of the further tokens. Where these
 * took most of it, little is learned of the first one, but that it came before the end.
 */
static void learn_whole(struct lane *l, struct lane_request *r, uint64_t now_ns)
{
	const double ms = (double)(int64_t)(now_ns - r->sent_ns) / LANE_MS_NS;
	const double further_ms = r->generated > 1 ? (r->generated - 1) * lane_gap_ms(l) : 0;
	const double predicted_ms =
		rates_ttft_ms(l->rates, l->factors.ttft, r->ahead, 1.0 / l->step_tokens, r->gap_ms);

	if (further_ms < ms * WHOLE_SHARE_MAX)
		learn_ttft(l, r, now_ns, further_ms);
	else if (ms < predicted_ms)
		learn_ttft(l, r, now_ns, 0);
}

/* Engines take requests in order: what was sent before this one has had its prefill. */
static void settle_before(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns)
{
	while (l->waiting_head != row && row_of(t, l->waiting_head)->is_blind)
		begin_generating(l, t, l->waiting_head, now_ns);
}

void lane_first_token(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns)
{
	struct lane_request *r = row_of(t, row);

	if (r->is_generating)
		return;
	settle_before(l, t, row, now_ns);
	if (!r->is_blind)
		learn_ttft(l, r, now_ns, 0);
	begin_generating(l, t, row, now_ns);
	look(l);
}

/* Gaps teach when no prefill came between the tokens. */
static void learn_gap(struct lane *l, struct lane_request *r, uint64_t now_ns)
{
	const bool is_clean = l->waiting_head == LANE_NONE && l->last_prefill_ns <= r->mark_ns;
	const uint32_t tokens = r->generated - r->mark_generated;

	if (is_clean && tokens < GAP_TOKENS)
		return;
	if (is_clean && !r->is_odd && !r->is_blind && now_ns > r->mark_ns)
		rates_learn_gap(l->rates, &l->factors, (double)(l->kv_tokens - l->waiting_prompts),
				(double)(now_ns - r->mark_ns) / LANE_MS_NS / tokens);
	r->mark_ns = now_ns;
	r->mark_generated = r->generated;
}

void lane_progress(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns,
		   uint32_t generated)
{
	struct lane_request *r = row_of(t, row);

	if (generated <= r->generated)
		return;
	if (!r->is_generating)
		lane_first_token(l, t, row, now_ns);
	stream_forget(l, r);
	count_generated(l, r, generated);
	stream_expect(l, r);
	learn_gap(l, r, now_ns);
	look(l);
}

static void count_freed(struct lane *l, double tokens, uint64_t now_ns)
{
	const double ms =
		now_ns > l->last_end_ns ? (double)(now_ns - l->last_end_ns) / LANE_MS_NS : 0;

	l->freed_per_ms =
		l->freed_per_ms * exact_exp(-ms / FREED_AVERAGE_MS) + tokens / FREED_AVERAGE_MS;
	l->last_end_ns = now_ns;
}

void lane_remove(struct lane *l, const struct lane_table *t, uint32_t row, uint64_t now_ns,
		 enum lane_end how)
{
	struct lane_request *r = row_of(t, row);

	BB_ASSERT(l->requests > 0 && l->kv_tokens >= (uint64_t)r->prompt_tokens + r->generated);
	BB_ASSERT(l->unique_tokens >= (uint64_t)r->pinned + r->generated);
	if (how == LANE_FINISHED && r->is_blind) {
		learn_whole(l, r, now_ns);
		if (!r->is_generating) {
			settle_before(l, t, row, now_ns);
			begin_generating(l, t, row, now_ns);
		}
	}
	if (r->is_generating) {
		stream_forget(l, r);
		l->generating--;
		count_freed(l, (double)r->pinned + r->generated, now_ns);
		if (how == LANE_FINISHED && (!r->is_blind || r->generated > 1))
			learn_length(l->lengths, r->generated);
	} else {
		waiting_unlink(l, t, row, now_ns);
		l->drops++;
	}
	l->requests--;
	l->generated -= r->generated;
	l->kv_tokens -= (uint64_t)r->prompt_tokens + r->generated;
	l->unique_tokens -= (uint64_t)r->pinned + r->generated;
	r->is_generating = false;
	look(l);
	lane_settle(l, t, now_ns);
}

void lane_hold(struct lane *l, int64_t tokens)
{
	BB_ASSERT(tokens >= 0 || l->unique_tokens >= (uint64_t)-tokens);
	l->unique_tokens += (uint64_t)tokens;
	l->shared_tokens += (uint64_t)tokens;
	look(l);
}

void lane_report_kv(struct lane *l, double kv_tokens_used)
{
	/* Prompts that wait for their prefill hold nothing yet, or a part. */
	const double most = (double)l->unique_tokens;
	const double least = most - (double)l->pending;

	if (!l->kv_tokens_max || least < KV_REPORT_SHARE_MIN * (double)l->kv_tokens_max)
		return;
	const double counted = kv_tokens_used < least  ? least
			       : kv_tokens_used > most ? most
						       : kv_tokens_used;
	const double ratio = fmin(fmax(kv_tokens_used / counted, 0.02), 4);
	l->kv_scale += KV_REPORT_WEIGHT * (ratio - l->kv_scale);
	look(l);
}

/* ---- late binding ---- */

/* As many wait for a sequence as will be free before others can come. */
static bool has_waiters(const struct lane *l)
{
	return l->sequences_max &&
	       l->requests >= l->sequences_max + 1 + l->sequences_max / SEQUENCES_IN_STORE;
}

bool lane_is_open(const struct lane *l, uint64_t now_ns, uint32_t uncached)
{
	if (l->requests == 0)
		return true;
	/* Behind the running prefill lies what fills the next step, or the time until more can
	 * come. */
	const double behind = l->view.pending - l->head_uncached;
	const double behind_ms = behind * l->rates->token_ms * l->factors.ttft_used;
	if (has_waiters(l) || (behind >= l->step_tokens && behind_ms >= OPEN_MS))
		return false;
	return uncached <= l->kv_free;
}
