/* sim_fleet_trip.c: a request's way: to the brain, to an engine, its end, and what follows it. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "sim/sim_fleet_inner.h"

#define HASH_KEY 0x5eed
#define LEAVE_NS_MAX 10000000000ull

static const struct work_request *work_of(const struct fleet_run *r, const struct trip *t)
{
	return &r->c->work->requests[t->request];
}

static struct fleet_record *record_of(const struct fleet_run *r, const struct trip *t)
{
	return &r->out->records[t->request];
}

void trip_note(struct fleet_run *r, struct trip *t, enum fleet_note kind, uint64_t at_ns,
	       uint32_t generated)
{
	if (r->note_count == r->note_room) {
		const uint32_t room = r->note_room ? 2 * r->note_room : 256;
		void *const more = bb_realloc(r->notes, room * sizeof(*r->notes));
		if (!more) {
			fleet_fail(r, -BB_ENOMEM);
			return;
		}
		r->notes = more;
		r->note_room = room;
	}
	r->notes[r->note_count++] = (struct fleet_noted){ t, at_ns, generated, kind };
}

/* ---- the end ---- */

static void start_followers(struct fleet_run *r, uint32_t request)
{
	if (!r->first_follower)
		return;
	uint32_t f = r->first_follower[request];
	for (; f != WORK_NONE; f = r->next_follower[f]) {
		const uint64_t due_ns = r->now_ns + r->c->work->requests[f].due_ns;
		if (event_heap_put(&r->events, due_ns, AT_DUE, f))
			fleet_fail(r, -BB_ENOMEM);
	}
}

static void finish(struct fleet_run *r, struct trip *t, enum fleet_outcome outcome)
{
	struct fleet_record *const rec = record_of(r, t);

	BB_ASSERT(rec->outcome == FLEET_UNFINISHED && t->job.state == STEP_JOB_NONE);
	rec->outcome = (uint8_t)outcome;
	rec->end_ns = r->now_ns;
	rec->attempts = t->attempts;
	r->trips[t->request] = NULL;
	r->ended++;
	start_followers(r, t->request);
	bb_free(t->hashes);
	bb_pool_put(&r->pool, t);
}

static void brain_end(struct fleet_run *r, struct trip *t, enum request_outcome outcome,
		      uint64_t generated)
{
	const struct request_result result = { .outcome = outcome,
					       .prompt_tokens = t->job.prompt_tokens,
					       .cached_tokens = t->job.cached,
					       .output_tokens = generated,
					       .has_cached = outcome == OUTCOME_OK };

	brain_request_ended(r->brain, r->now_ns, t->id, &result);
}

/* ---- to an engine ---- */

static int scratch_grow(struct fleet_run *r, uint32_t need)
{
	if (need <= r->scratch_room)
		return 0;
	uint64_t *const more = bb_realloc(r->scratch, need * sizeof(*more));
	if (!more)
		return -BB_ENOMEM;
	r->scratch = more;
	r->scratch_room = need;
	return 0;
}

/* Hashes of the blocks of its prompt and its answer, in scratch; their number, 0: failed. */
static uint32_t hash_all(struct fleet_run *r, const struct trip *t)
{
	const struct work_request *const q = work_of(r, t);
	const uint32_t most = (q->prompt_tokens + q->output_tokens) / BRAIN_BLOCK_TOKENS + 1;

	if (scratch_grow(r, most)) {
		fleet_fail(r, -BB_ENOMEM);
		return 0;
	}
	return work_hashes(r->c->work, t->request, q->output_tokens, BRAIN_BLOCK_TOKENS, HASH_KEY,
			   r->scratch, most);
}

/* An engine's block has the name of the last of the small ones in it. */
static int hash_for(struct fleet_run *r, struct trip *t, const struct fleet_unit *u, uint32_t all)
{
	const uint32_t each = u->profile.params.block_tokens / BRAIN_BLOCK_TOKENS;
	const uint32_t count = all / each;

	BB_FREE(t->hashes);
	t->job.hash_count = count;
	if (count == 0)
		return 0;
	t->hashes = bb_alloc(count * sizeof(*t->hashes));
	if (!t->hashes)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		t->hashes[i] = r->scratch[(i + 1) * each - 1];
	t->job.hashes = t->hashes;
	return 0;
}

/* Its engine broke, or refused: true, and it is to be submitted again; else it has failed. */
static bool try_again(struct fleet_run *r, struct trip *t, enum request_outcome outcome)
{
	const struct engine_id engine = r->units[t->engine].id;

	t->job.cached = 0;
	brain_end(r, t, outcome, 0);
	t->engine = UINT32_MAX;
	if (t->attempts >= FLEET_ATTEMPTS) {
		finish(r, t, FLEET_BROKEN);
		return false;
	}
	t->exclude[t->exclude_count++] = engine;
	return true;
}

/* False: it came to nothing there, and it is to be submitted again. */
static bool send_to(struct fleet_run *r, struct trip *t, const struct decision *d, uint32_t all)
{
	struct fleet_unit *const u = &r->units[d->engine.slot];
	const struct work_request *const q = work_of(r, t);

	t->engine = d->engine.slot;
	t->attempts++;
	if (u->is_down)
		return !try_again(r, t, OUTCOME_REFUSED);
	if (hash_for(r, t, u, all)) {
		fleet_fail(r, -BB_ENOMEM);
		return true;
	}
	t->job.prompt_tokens = q->prompt_tokens;
	t->job.output_tokens = q->output_tokens;
	const int rc = step_engine_arrive(u->engine, r->now_ns, &t->job);
	if (rc == -BB_ELIMIT) { /* the engine says 400: no fault of its */
		t->job.cached = 0;
		brain_end(r, t, OUTCOME_OK, 0);
		finish(r, t, FLEET_TOO_LONG);
		return true;
	}
	if (rc)
		fleet_fail(r, rc);
	record_of(r, t)->sent_ns = r->now_ns;
	u->requests++;
	unit_rearm(r, u);
	return true;
}

/* ---- to the brain ---- */

static struct brain_request ask_of(const struct fleet_run *r, const struct trip *t)
{
	const struct work_request *const q = work_of(r, t);
	const uint64_t session = q->session + 1ull;

	return (struct brain_request){
		.model = BB_STR("sim"),
		.prompt_tokens = q->prompt_tokens,
		.output_tokens_max = r->c->knows_output ? q->output_tokens : UINT64_MAX,
		.exclude = t->exclude,
		.exclude_count = t->exclude_count,
		.hashed = HASHES_TOKENS,
		.hashes = r->scratch,
		.hash_count = q->prompt_tokens / BRAIN_BLOCK_TOKENS,
		.session = bb_hash(&session, sizeof(session), HASH_KEY),
		.teaches = true,
		.can_wait = !r->c->is_at_once,
		.cookie = (uint64_t)(uintptr_t)t,
	};
}

static void submit(struct fleet_run *r, struct trip *t)
{
	bool is_settled = false;

	while (!is_settled && !r->rc) {
		struct decision d;
		const uint32_t all = hash_all(r, t);
		if (r->rc)
			return;
		const struct brain_request ask = ask_of(r, t);
		is_settled = true;
		brain_request_arrived(r->brain, r->now_ns, &ask, &d);
		r->out->decisions++;
		t->id = d.request;
		switch (d.action) {
		case DECISION_DISPATCH: is_settled = send_to(r, t, &d, all); break;
		case DECISION_HOLD: break;
		case DECISION_REJECT: finish(r, t, FLEET_REJECTED); break;
		}
	}
}

void trip_arrive(struct fleet_run *r, uint32_t request)
{
	struct trip *const t = bb_pool_get(&r->pool);

	if (!t) {
		fleet_fail(r, -BB_ENOMEM);
		return;
	}
	t->request = request;
	t->engine = UINT32_MAX;
	r->trips[request] = t;
	struct fleet_record *const rec = record_of(r, t);
	rec->due_ns = r->now_ns;
	rec->engine = UINT16_MAX;
	if (r->c->cancel_share > 0 && bb_rng_unit(&r->rng) < r->c->cancel_share &&
	    event_heap_put(&r->events, r->now_ns + bb_rng_below(&r->rng, LEAVE_NS_MAX), AT_LEAVE,
			   request))
		fleet_fail(r, -BB_ENOMEM);
	submit(r, t);
}

void trip_cancel(struct fleet_run *r, uint32_t request)
{
	struct trip *const t = r->trips[request];

	if (!t || t->has_left || t->is_done)
		return;
	t->has_left = true;
	if (t->engine != UINT32_MAX) {
		step_engine_abort(r->units[t->engine].engine, r->now_ns, &t->job);
		unit_rearm(r, &r->units[t->engine]);
		return;
	}
	brain_end(r, t, OUTCOME_CANCELED, 0);
	finish(r, t, FLEET_CANCELED);
}

/* ---- what comes of it ---- */

static void hear_end(struct fleet_run *r, const struct fleet_noted *n)
{
	struct trip *const t = n->trip;
	struct fleet_record *const rec = record_of(r, t);

	rec->engine = (uint16_t)t->engine;
	rec->cached = t->job.cached;
	rec->started_ns = t->job.started_ns;
	rec->generated = n->generated;
	rec->preemptions =
		(uint16_t)(t->job.preemptions < UINT16_MAX ? t->job.preemptions : UINT16_MAX);
	r->told_tokens += n->generated;
	if (n->generated >= t->job.output_tokens) {
		brain_end(r, t, OUTCOME_OK, n->generated);
		finish(r, t, FLEET_OK);
	} else if (t->has_left) {
		brain_end(r, t, OUTCOME_CANCELED, n->generated);
		finish(r, t, FLEET_CANCELED);
	} else if (rec->first_ns) {
		brain_end(r, t, OUTCOME_BROKEN, n->generated);
		finish(r, t, FLEET_BROKEN);
	} else {
		t->is_done = false;
		if (try_again(r, t, OUTCOME_BROKEN))
			submit(r, t);
	}
}

static void hear(struct fleet_run *r, const struct fleet_noted *n)
{
	struct trip *const t = n->trip;

	switch (n->kind) {
	case NOTE_NONE: break;
	case NOTE_FIRST:
		record_of(r, t)->first_ns = n->at_ns;
		brain_first_token(r->brain, r->now_ns, t->id);
		break;
	case NOTE_PROGRESS: brain_progress(r->brain, r->now_ns, t->id, n->generated); break;
	case NOTE_END: hear_end(r, n); break;
	}
}

static void hear_released(struct fleet_run *r, struct request_id id, uint64_t cookie)
{
	struct trip *const t = (struct trip *)(uintptr_t)cookie;
	struct decision d;

	if (!brain_request_decision(r->brain, id, &d))
		return;
	BB_ASSERT(t->id.slot == id.slot && t->id.generation == id.generation);
	if (d.action != DECISION_DISPATCH)
		finish(r, t, FLEET_REJECTED);
	else if (!send_to(r, t, &d, hash_all(r, t)))
		submit(r, t);
}

void trips_settle(struct fleet_run *r)
{
	struct request_id id;
	uint64_t cookie;

	do {
		for (uint32_t i = 0; i < r->note_count && !r->rc; i++) {
			const struct fleet_noted n = r->notes[i];
			hear(r, &n);
		}
		r->note_count = 0;
		while (!r->rc && brain_released(r->brain, &id, &cookie))
			hear_released(r, id, cookie);
	} while (r->note_count && !r->rc);
}
