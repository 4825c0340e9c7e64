#include "sim/sim_fleet.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "sim/sim_fleet_inner.h"

#define START_NS 1000000000ull /* virtual time does not begin at 0, which means "never" */
#define TICK_NS 100000000ull
#define PROGRESS_EVENTS 4096
/* When nothing has ended or come for so long, nothing will. */
#define STUCK_NS (6ull * 3600 * 1000000000)
#define TRIPS_KEPT 1024

const char *fleet_fault_word(enum fleet_fault_kind kind)
{
	static const char *const words[] = {
#define X(name, word, text) word,
		FLEET_FAULTS(X)
#undef X
	};

	return words[kind];
}

void fleet_config_init(struct fleet_config *c)
{
	*c = (struct fleet_config){ .seed = 1,
				    .has_kv_events = true,
				    .kv_lag_ns = 10000000,
				    .report_ns = 1000000000,
				    .report_lag_ns = 100000000 };
}

void fleet_found(struct fleet_run *r, const char *what, uint64_t value)
{
	if (r->out->faults_found++ == 0)
		snprintf(r->out->fault, sizeof(r->out->fault), "%s %llu", what,
			 (unsigned long long)value);
}

/* ---- before and after ---- */

static int link_followers(struct fleet_run *r)
{
	const struct workload *const w = r->c->work;
	bool has_any = false;

	for (uint32_t i = 0; i < w->count && !has_any; i++)
		has_any = w->requests[i].after != WORK_NONE;
	if (!has_any)
		return 0;
	r->first_follower = bb_alloc(w->count * sizeof(*r->first_follower));
	r->next_follower = bb_alloc(w->count * sizeof(*r->next_follower));
	if (!r->first_follower || !r->next_follower)
		return -BB_ENOMEM;
	memset(r->first_follower, 0xff, w->count * sizeof(*r->first_follower));
	for (uint32_t i = w->count; i-- > 0;) {
		const uint32_t after = w->requests[i].after;
		if (after == WORK_NONE)
			continue;
		BB_ASSERT(after < i);
		r->next_follower[i] = r->first_follower[after];
		r->first_follower[after] = i;
	}
	return 0;
}

static int prepare(struct fleet_run *r)
{
	const uint32_t count = r->c->work->count;
	/* Nobody is refused for having waited long, so that policies serve the same requests. */
	const struct brain_config config = { .seed = r->c->seed,
					     .policy = r->c->policy,
					     .limits = { .engines_max = FLEET_ENGINES_MAX,
							 .held_max = 1u << 20,
							 .held_ns_max = UINT64_MAX / 4,
							 .requests_max = 1u << 22,
							 .index_bytes = 2ull << 30,
							 .hash_bytes = 8ull << 30 } };
	int rc = brain_create(&config, &r->brain);

	r->out->records = bb_alloc_zero(count ? count : 1, sizeof(*r->out->records));
	r->out->count = count;
	r->trips = bb_alloc_zero(count ? count : 1, sizeof(struct trip *));
	if (!rc && (!r->out->records || !r->trips))
		rc = -BB_ENOMEM;
	if (!rc)
		rc = link_followers(r);
	if (!rc)
		rc = units_create(r);
	for (uint32_t i = 0; i < r->c->fault_count && !rc; i++)
		rc = event_heap_put(&r->events, START_NS + r->c->faults[i].at_ns, AT_FAULT, i);
	if (!rc)
		rc = event_heap_put(&r->events, START_NS + TICK_NS, AT_TICK, 0);
	return rc;
}

static void look_for_leftovers(void *user, const struct engine_view *v)
{
	struct fleet_run *const r = user;

	if (v->requests || v->tokens || v->pending_prefill)
		fleet_found(r, "reservations are left at engine", v->id.slot);
}

static void check_end(struct fleet_run *r)
{
	uint64_t generated = 0;

	for (uint32_t i = 0; i < r->unit_count; i++) {
		struct step_stats s;
		step_engine_stats(r->units[i].engine, &s);
		generated += s.generated_tokens;
		if (!step_engine_is_sound(r->units[i].engine))
			fleet_found(r, "engine is not sound: number", i);
		if (r->ended == r->out->count && s.running + s.waiting + s.blocks_held)
			fleet_found(r, "jobs or blocks are left at engine", i);
	}
	if (r->ended < r->out->count)
		fleet_found(r, "requests that never ended:", r->out->count - r->ended);
	if (generated != r->told_tokens)
		fleet_found(r, "tokens lost or doubled; made", generated);
	if (brain_requests_in_flight(r->brain))
		fleet_found(r,
			    "requests are left in the brain:", brain_requests_in_flight(r->brain));
	brain_engines_each(r->brain, look_for_leftovers, r);
}

static void summarise(struct fleet_run *r)
{
	struct fleet_result *const out = r->out;
	uint64_t first_ns = UINT64_MAX, last_ns = 0;

	for (uint32_t i = 0; i < out->count; i++) {
		const struct fleet_record *const rec = &out->records[i];
		if (rec->outcome == FLEET_UNFINISHED)
			continue;
		first_ns = rec->due_ns < first_ns ? rec->due_ns : first_ns;
		last_ns = rec->end_ns > last_ns ? rec->end_ns : last_ns;
		const uint64_t v[4] = { rec->first_ns, rec->end_ns,
					(uint64_t)rec->engine << 32 | rec->cached,
					(uint64_t)rec->outcome << 32 | rec->generated };
		out->digest = bb_hash(v, sizeof(v), out->digest + i);
	}
	out->span_ns = last_ns > first_ns ? last_ns - first_ns : 0;
	for (uint32_t i = 0; i < r->unit_count; i++) {
		struct step_stats s;
		step_engine_stats(r->units[i].engine, &s);
		out->engines[i] = (struct fleet_engine_result){
			.gpus = r->units[i].profile.gpus,
			.busy_ns = s.busy_ns,
			.prompt_tokens = s.prompt_tokens,
			.cached_tokens = s.cached_tokens,
			.computed_tokens = s.computed_tokens,
			.generated_tokens = s.generated_tokens,
			.preemptions = s.preemptions,
			.requests = r->units[i].requests,
		};
	}
}

/* ---- the clock ---- */

static void on_event(struct fleet_run *r)
{
	const struct event_entry e = event_heap_take(&r->events);

	switch ((enum fleet_event)e.kind) {
	case AT_DUE: trip_arrive(r, e.index); break;
	case AT_TICK:
		brain_tick(r->brain, r->now_ns);
		if (event_heap_put(&r->events, r->now_ns + TICK_NS, AT_TICK, 0))
			fleet_fail(r, -BB_ENOMEM);
		break;
	case AT_REPORT: unit_report(r, &r->units[e.index]); break;
	case AT_REPORTED: unit_reported(r, &r->units[e.index]); break;
	case AT_FAULT: fault_begin(r, &r->c->faults[e.index]); break;
	case AT_FAULT_END: fault_finish(r, &r->c->faults[e.index]); break;
	case AT_LEAVE: trip_cancel(r, e.index); break;
	}
}

/* The next request that follows none; UINT64_MAX: there is none. */
static uint64_t arrival_ns(struct fleet_run *r)
{
	const struct workload *const w = r->c->work;

	while (r->next_arrival < w->count && w->requests[r->next_arrival].after != WORK_NONE)
		r->next_arrival++;
	return r->next_arrival < w->count ? START_NS + w->requests[r->next_arrival].due_ns
					  : UINT64_MAX;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What is due at the same time comes in this order: KV events, engines, all else, arrivals. */
static void step(struct fleet_run *r)
{
	const uint64_t kv_ns = kv_next_ns(r), unit_ns = units_next_ns(r);
	const uint64_t event_ns = event_heap_next_ns(&r->events), new_ns = arrival_ns(r);

	r->now_ns = least(least(kv_ns, unit_ns), least(event_ns, new_ns));
	if (kv_ns == r->now_ns) {
		kv_deliver(r);
		return;
	}
	if (unit_ns == r->now_ns) {
		struct fleet_unit *const u = &r->units[r->due_units[0]];
		step_engine_advance(u->engine, r->now_ns);
		unit_rearm(r, u);
	} else if (event_ns == r->now_ns) {
		on_event(r);
	} else {
		trip_arrive(r, r->next_arrival++);
	}
	trips_settle(r);
}

static void run(struct fleet_run *r)
{
	uint64_t moved_ns = START_NS, ended = 0;
	uint32_t arrived = 0;

	for (uint64_t n = 1; r->ended < r->out->count && !r->rc; n++) {
		step(r);
		if (r->ended != ended || r->next_arrival != arrived)
			moved_ns = r->now_ns;
		ended = r->ended;
		arrived = r->next_arrival;
		/* Think times may be long, but not of everybody. */
		if (r->now_ns - moved_ns > STUCK_NS && arrival_ns(r) == UINT64_MAX)
			return;
		if (n % PROGRESS_EVENTS == 0 && r->c->on_progress &&
		    !r->c->on_progress(r->c->user, r->ended, r->now_ns - START_NS))
			return;
	}
}

static void destroy(struct fleet_run *r)
{
	units_destroy(r); /* while the jobs that are left at engines are there */
	for (uint32_t i = 0; r->trips && i < r->c->work->count; i++) {
		if (!r->trips[i])
			continue;
		bb_free(r->trips[i]->hashes);
		bb_pool_put(&r->pool, r->trips[i]);
	}
	brain_destroy(r->brain);
	event_heap_fini(&r->events);
	bb_pool_fini(&r->pool);
	bb_free(r->trips);
	bb_free(r->first_follower);
	bb_free(r->next_follower);
	bb_free(r->scratch);
	bb_free(r->notes);
	bb_free(r->kv);
}

int fleet_run(const struct fleet_config *c, struct fleet_result *out)
{
	struct fleet_run r = { .c = c, .out = out, .now_ns = START_NS };

	memset(out, 0, sizeof(*out));
	event_heap_init(&r.events);
	bb_pool_init(&r.pool, sizeof(struct trip), TRIPS_KEPT);
	bb_rng_seed(&r.rng, c->seed ^ 0x1eaf);
	r.rc = prepare(&r);
	if (!r.rc) {
		out->engine_count = r.unit_count;
		out->engines = bb_alloc_zero(r.unit_count, sizeof(*out->engines));
		fleet_fail(&r, out->engines ? 0 : -BB_ENOMEM);
	}
	if (!r.rc)
		run(&r);
	if (!r.rc) {
		check_end(&r);
		summarise(&r);
	}
	destroy(&r);
	if (r.rc)
		fleet_result_fini(out);
	return r.rc;
}

void fleet_result_fini(struct fleet_result *r)
{
	BB_FREE(r->records);
	BB_FREE(r->engines);
	*r = (struct fleet_result){ 0 };
}
