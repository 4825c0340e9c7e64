#include "brain/record.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "brain/brain_core.h"
#include "brain/record_inner.h"
#include "brain/state.h"

struct record {
	brain_record_fn *fn;
	void *user;
	enum brain_record_what what;
	struct event_coder coder;
	struct bb_buf event, state; /* kept: fresh memory is half of a checkpoint's time */
	uint64_t lost;		    /* events since the last that was taken */
	uint64_t refused;	    /* allocations that had failed when it was last looked */
	uint64_t index_losses;
	bool is_checkpoint; /* changes of the index are events, too */
	bool has_failed;    /* something of the checkpoint was lost */
	uint64_t at;	    /* the index's next part */
	uint64_t now_ns;
	struct index_part part;
};

/* ---- out ---- */

static bool put(struct record *r, const struct brain_event *e)
{
	const struct event_coder before = r->coder;

	bb_buf_clear(&r->event);
	if (brain_event_write(&r->coder, e, &r->event) == 0 &&
	    r->fn(r->user, bb_buf_str(&r->event)))
		return true;
	r->coder = before;
	r->coder.has_time = false;
	r->has_failed = true;
	r->lost++;
	r->event.err = 0;
	return false;
}

static void put_gap(struct record *r, uint64_t now_ns, enum gap_cause cause, uint64_t count)
{
	const struct brain_event gap = { .kind = EVENT_GAP,
					 .now_ns = now_ns,
					 .gap = { cause, count } };

	if (put(r, &gap) && cause == GAP_LOST)
		r->lost = 0;
}

/* What the brain did since the last event, and not because of it alone. */
static void look_for_gaps(struct brain *b, uint64_t now_ns)
{
	struct record *r = b->record;
	const uint64_t refused = bb_alloc_refused_count();
	const uint64_t losses = index_losses(b->index);

	if (r->lost)
		put_gap(r, now_ns, GAP_LOST, r->lost);
	if (refused != r->refused)
		put_gap(r, now_ns, GAP_MEMORY, refused - r->refused);
	if (losses != r->index_losses)
		put_gap(r, now_ns, GAP_EVICTED, losses - r->index_losses);
	r->refused = refused;
	r->index_losses = losses;
}

static void record_event(struct brain *b, const struct brain_event *e)
{
	struct record *r = b->record;

	if (r->what == BRAIN_RECORD_DECISIONS && e->kind != EVENT_MADE)
		return;
	if (r->what == BRAIN_RECORD_ALL)
		look_for_gaps(b, e->now_ns);
	r->now_ns = e->now_ns;
	if (r->lost == 0)
		(void)put(r, e);
	else
		r->lost++;
}

/* ---- the calls ---- */

void record_plan(struct brain *b, uint64_t now_ns, const struct plan *plan)
{
	record_event(b, &(struct brain_event){
				.kind = EVENT_CONFIGURE, .now_ns = now_ns, .plan = *plan });
}

void record_report(struct brain *b, uint64_t now_ns, struct engine_id id,
		   const struct engine_report *report)
{
	record_event(b, &(struct brain_event){ .kind = EVENT_REPORT,
					       .now_ns = now_ns,
					       .engine = id,
					       .report = *report });
}

void record_change(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		   const struct kv_change *change)
{
	record_event(b, &(struct brain_event){ .kind = EVENT_KV_CHANGE,
					       .now_ns = now_ns,
					       .engine = id,
					       .rank = rank,
					       .change = *change });
}

void record_mode(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		 enum kv_mode mode)
{
	record_event(b, &(struct brain_event){ .kind = EVENT_KV_MODE,
					       .now_ns = now_ns,
					       .engine = id,
					       .rank = rank,
					       .mode = mode });
}

void record_arrived(struct brain *b, uint64_t now_ns, const struct model *m,
		    const struct brain_request *ask)
{
	record_event(
		b, &(struct brain_event){
			   .kind = EVENT_ARRIVED,
			   .now_ns = now_ns,
			   .arrived = { m ? (uint32_t)(m - b->fleet.models) : UINT32_MAX, *ask } });
}

void record_request(struct brain *b, enum brain_event_kind kind, uint64_t now_ns,
		    struct request_id id)
{
	record_event(b, &(struct brain_event){ .kind = kind, .now_ns = now_ns, .request = id });
}

void record_fetch(struct brain *b, enum brain_event_kind kind, struct request_id id)
{
	record_request(b, kind, b->record->now_ns, id);
}

void record_progress(struct brain *b, uint64_t now_ns, struct request_id id, uint64_t generated)
{
	record_event(b, &(struct brain_event){ .kind = EVENT_PROGRESS,
					       .now_ns = now_ns,
					       .request = id,
					       .generated = generated });
}

void record_ended(struct brain *b, uint64_t now_ns, struct request_id id,
		  const struct request_result *result)
{
	record_event(b, &(struct brain_event){ .kind = EVENT_ENDED,
					       .now_ns = now_ns,
					       .request = id,
					       .result = *result });
}

void record_lacks(struct brain *b, struct engine_id id, uint32_t api)
{
	record_event(b, &(struct brain_event){ .kind = EVENT_LACKS,
					       .now_ns = b->record->now_ns,
					       .engine = id,
					       .api = api });
}

void record_tick(struct brain *b, uint64_t now_ns)
{
	record_event(b, &(struct brain_event){ .kind = EVENT_TICK, .now_ns = now_ns });
}

/* ---- what came out ---- */

static uint64_t bits_of(double d)
{
	uint64_t bits;

	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

static uint64_t digest_of(const struct decision *d)
{
	uint64_t all[8 + DECISION_BEST_MAX * 11] = {
		d->retry_after_ms, d->ranks,	       d->model,	 d->context_tokens,
		d->engines,	   d->engine_requests, d->engine_tokens, d->best_count,
	};
	size_t n = 8;

	for (uint32_t i = 0; i < d->best_count; i++) {
		const struct decision_candidate *c = &d->best[i];
		all[n++] = (uint64_t)c->engine.generation << 32 | c->engine.slot;
		all[n++] = c->rank;
		all[n++] = c->requests;
		all[n++] = c->pending;
		all[n++] = c->cached_tokens;
		all[n++] = bits_of(c->cost);
		all[n++] = bits_of(c->wait_ms);
		all[n++] = bits_of(c->prefill_ms);
		all[n++] = bits_of(c->limit_ms);
		all[n++] = bits_of(c->ttft_ms);
		all[n++] = bits_of(c->total_ms);
	}
	return bb_hash(all, n * sizeof(*all), 0);
}

void record_made(struct brain *b, uint64_t now_ns, struct request_id id, const struct decision *d)
{
	struct brain_event e = {
		.kind = EVENT_MADE,
		.now_ns = now_ns,
		.request = id,
		.made = { .action = d->action, .error = d->error, .held_ns = d->held_ns },
	};

	/* A rejection rests on nothing; what it holds else is left of an earlier look. */
	if (d->action != DECISION_REJECT) {
		e.made.engine = d->engine;
		e.made.rank = d->rank;
		e.made.reason = d->reason;
		e.made.candidates = d->candidates;
		e.made.cached_tokens = d->cached_tokens;
		e.made.possible_tokens = d->possible_tokens;
		e.made.cost = d->cost;
		e.made.next_cost = d->next_cost;
		e.made.digest = digest_of(d);
	}
	record_event(b, &e);
}

/* ---- life ---- */

static struct event_start start_of(const struct brain *b)
{
	struct event_start s = b->origin;

	s.policy = bb_str_of(b->policy->name);
	return s;
}

int brain_record_to(struct brain *b, enum brain_record_what what, brain_record_fn *fn, void *user)
{
	struct record *r = bb_alloc_zero(1, sizeof(*r));

	BB_ASSERT(!b->record);
	if (!r)
		return -BB_ENOMEM;
	bb_buf_init(&r->event, RECORD_EVENT_MAX);
	bb_buf_init(&r->state, RECORD_EVENT_MAX - 64);
	r->fn = fn;
	r->user = user;
	r->what = what;
	r->refused = bb_alloc_refused_count();
	r->index_losses = index_losses(b->index);
	b->record = r;
	if (b->flights_used == 0 && b->fleet.engine_count == 0 && b->fleet.model_count == 0)
		record_event(b, &(struct brain_event){ .kind = EVENT_START, .start = start_of(b) });
	return 0;
}

void record_destroy(struct brain *b)
{
	struct record *r = b->record;

	if (!r)
		return;
	bb_buf_fini(&r->event);
	bb_buf_fini(&r->state);
	index_part_fini(&r->part);
	bb_free(r);
	b->record = NULL;
}

/* ---- checkpoints ---- */

static void on_index_change(void *user, enum index_change change, uint32_t row,
			    enum index_tier tier, uint32_t depth, const uint64_t *hashes,
			    uint32_t count, uint32_t stride)
{
	struct brain *b = user;

	record_event(b, &(struct brain_event){
				.kind = EVENT_INDEX_OP,
				.now_ns = b->record->now_ns,
				.index_op = { change, row, tier, depth, stride, hashes, count } });
}

void brain_checkpoint_abandon(struct brain *b)
{
	index_watch(b->index, NULL, NULL);
	b->record->is_checkpoint = false;
}

static void checkpoint_begin(struct brain *b, uint64_t now_ns)
{
	struct record *r = b->record;

	r->is_checkpoint = true;
	r->coder.has_time = false; /* it may be the first of a file */
	r->at = 0;
	r->has_failed = false;
	record_event(b, &(struct brain_event){
				.kind = EVENT_CHECKPOINT, .now_ns = now_ns, .start = start_of(b) });
	index_watch(b->index, on_index_change, b);
}

/* True when there are more. */
static bool checkpoint_part(struct brain *b, uint64_t now_ns)
{
	struct record *r = b->record;

	if (index_part_get(b->index, r->at, &r->part)) {
		r->has_failed = true;
		return false;
	}
	record_event(b, &(struct brain_event){ .kind = EVENT_INDEX,
					       .now_ns = now_ns,
					       .index = { .part = r->part } });
	r->at = r->part.to;
	return r->at != 0;
}

static void checkpoint_state(struct brain *b, uint64_t now_ns)
{
	struct record *r = b->record;
	struct pack k = { .way = PACK_WRITE, .out = &r->state };

	bb_buf_clear(&r->state);
	state_pack(b, &k);
	if (k.err)
		r->has_failed = true;
	else
		record_event(b, &(struct brain_event){ .kind = EVENT_STATE,
						       .now_ns = now_ns,
						       .state = bb_buf_str(&r->state) });
}

/* A pair of an index takes about so many bytes in a checkpoint. */
#define PAIR_SIZE 12

enum checkpoint_step brain_checkpoint(struct brain *b, uint64_t now_ns, size_t index_bytes_max)
{
	struct record *r = b->record;
	struct index_stats stats;
	bool more = false;

	if (!r->is_checkpoint) {
		checkpoint_begin(b, now_ns);
		index_stats(b->index, &stats);
		if (stats.pairs > index_bytes_max / PAIR_SIZE)
			record_event(b, &(struct brain_event){ .kind = EVENT_INDEX,
							       .now_ns = now_ns,
							       .index = { .is_left_out = true } });
		else
			more = checkpoint_part(b, now_ns);
	} else {
		more = checkpoint_part(b, now_ns);
	}
	if (more && !r->has_failed)
		return CHECKPOINT_MORE;
	if (!r->has_failed)
		checkpoint_state(b, now_ns);
	brain_checkpoint_abandon(b);
	return r->has_failed ? CHECKPOINT_FAILED : CHECKPOINT_DONE;
}
