/* sim_fleet_engine.c: a fleet's engines: what they tell the brain, and what befalls them. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "brain/kv_mirror.h"
#include "sim/sim_fleet_inner.h"

/* How long the gateway's probes take to see that an engine has gone or is back. */
#define DETECT_NS 200000000ull
#define KIND_VLLM 1

/* ---- those with something under way: a heap ---- */

static bool is_before(const struct fleet_run *r, uint32_t a, uint32_t b)
{
	const uint64_t x = r->units[a].next_ns, y = r->units[b].next_ns;

	return x < y || (x == y && a < b);
}

static void due_put(struct fleet_run *r, uint32_t at, uint32_t unit)
{
	r->due_units[at] = unit;
	r->units[unit].heap_at = at;
}

static void due_sift(struct fleet_run *r, uint32_t at, uint32_t unit)
{
	for (; at && is_before(r, unit, r->due_units[(at - 1) / 2]); at = (at - 1) / 2)
		due_put(r, at, r->due_units[(at - 1) / 2]);
	for (uint32_t k = 2 * at + 1; k < r->due_count; k = 2 * at + 1) {
		k += k + 1 < r->due_count && is_before(r, r->due_units[k + 1], r->due_units[k]);
		if (!is_before(r, r->due_units[k], unit))
			break;
		due_put(r, at, r->due_units[k]);
		at = k;
	}
	due_put(r, at, unit);
}

void unit_rearm(struct fleet_run *r, struct fleet_unit *u)
{
	const uint32_t unit = (uint32_t)(u - r->units);
	uint32_t at = u->heap_at;

	u->next_ns = step_engine_next_ns(u->engine);
	if (u->next_ns == STEP_NEVER) {
		if (at == UINT32_MAX)
			return;
		u->heap_at = UINT32_MAX;
		const uint32_t last = r->due_units[--r->due_count];
		if (last != unit)
			due_sift(r, at, last);
		return;
	}
	if (at == UINT32_MAX)
		at = r->due_count++;
	due_sift(r, at, unit);
}

/* ---- what they say of jobs ---- */

static void on_first(void *ctx, struct step_job *j, uint64_t at_ns)
{
	struct fleet_unit *u = ctx;

	trip_note(u->run, (struct trip *)j, NOTE_FIRST, at_ns, 1);
}

static void on_progress(void *ctx, struct step_job *j, uint64_t at_ns, uint32_t generated)
{
	struct fleet_unit *u = ctx;

	trip_note(u->run, (struct trip *)j, NOTE_PROGRESS, at_ns, generated);
}

static void on_end(void *ctx, struct step_job *j, uint64_t at_ns, uint32_t generated)
{
	struct fleet_unit *u = ctx;

	((struct trip *)j)->is_done = true;
	trip_note(u->run, (struct trip *)j, NOTE_END, at_ns, generated);
}

/* ---- what they say of their caches ---- */

static void kv_tell(struct fleet_run *r, const struct kv_note *n)
{
	struct kv_change c = { .kind = KV_CHANGE_STORE,
			       .tier = INDEX_DEVICE,
			       .depth = n->depth,
			       .hashes = &n->hash,
			       .count = 1 };

	if (n->depth == KV_NOTE_REMOVED)
		c.kind = KV_CHANGE_REMOVE;
	else if (n->depth == KV_NOTE_CLEARED)
		c = (struct kv_change){ .kind = KV_CHANGE_CLEAR };
	brain_kv_change(r->brain, r->now_ns, r->units[n->engine].id, 0, &c);
}

static void kv_grow(struct fleet_run *r)
{
	const uint32_t room = r->kv_room ? 2 * r->kv_room : 1024;
	struct kv_note *const more = bb_alloc(room * sizeof(*more));

	if (!more) {
		fleet_fail(r, -BB_ENOMEM);
		return;
	}
	for (uint32_t i = 0; i < r->kv_count; i++)
		more[i] = r->kv[(r->kv_first + i) % r->kv_room];
	bb_free(r->kv);
	r->kv = more;
	r->kv_first = 0;
	r->kv_room = room;
}

static void kv_note(struct fleet_unit *u, uint32_t depth, uint64_t hash)
{
	struct fleet_run *const r = u->run;
	const struct kv_note n = { .due_ns = r->now_ns + r->c->kv_lag_ns,
				   .hash = hash,
				   .engine = (uint32_t)(u - r->units),
				   .depth = depth };

	if (!r->c->has_kv_events)
		return;
	if (r->c->kv_lag_ns == 0) {
		kv_tell(r, &n);
		return;
	}
	if (r->kv_count == r->kv_room)
		kv_grow(r);
	if (!r->rc)
		r->kv[(r->kv_first + r->kv_count++) % r->kv_room] = n;
}

void kv_deliver(struct fleet_run *r)
{
	const struct kv_note n = r->kv[r->kv_first];

	r->kv_first = (r->kv_first + 1) % r->kv_room;
	r->kv_count--;
	kv_tell(r, &n);
}

/*
 * The brain's blocks are smaller. It is told the last one of each of the engine's alone: a match
 * finds what is held at strides, to the engine's own block.
 */
static void on_stored(void *ctx, uint64_t at_ns, uint32_t depth, const uint64_t *hashes,
		      uint32_t count)
{
	struct fleet_unit *u = ctx;
	const uint32_t each = u->profile.params.block_tokens / BRAIN_BLOCK_TOKENS;

	(void)at_ns;
	if (u->loses_events)
		return;
	for (uint32_t i = 0; i < count; i++)
		kv_note(u, (depth + i + 1) * each - 1, hashes[i]);
}

static void on_removed(void *ctx, uint64_t at_ns, uint64_t hash)
{
	struct fleet_unit *u = ctx;

	(void)at_ns;
	if (!u->loses_events)
		kv_note(u, KV_NOTE_REMOVED, hash);
}

/* ---- what probes see ---- */

static void report_state(struct fleet_unit *u)
{
	const struct step_params *const p = &u->profile.params;

	u->report = (struct engine_report){
		.state = u->is_down ? ENGINE_DOWN : ENGINE_READY,
		.sequences_max = p->sequences_max,
		.kv_tokens_max = (uint64_t)p->blocks * p->block_tokens,
		.step_tokens = p->step_tokens,
		.block_tokens = p->block_tokens,
		.kind = KIND_VLLM,
	};
}

static void report_at(struct fleet_run *r, const struct fleet_unit *u, enum fleet_event kind,
		      uint64_t at_ns)
{
	if (event_heap_put(&r->events, at_ns, kind, (uint32_t)(u - r->units)))
		fleet_fail(r, -BB_ENOMEM);
}

void unit_report(struct fleet_run *r, struct fleet_unit *u)
{
	struct step_stats s;

	step_engine_stats(u->engine, &s);
	report_state(u);
	u->report.has_load = !u->is_down;
	if (!u->lies) {
		u->report.running = s.running;
		u->report.waiting = s.waiting;
		u->report.kv_usage = (double)s.blocks_held / s.blocks;
	}
	report_at(r, u, AT_REPORTED, r->now_ns + r->c->report_lag_ns);
	report_at(r, u, AT_REPORT, r->now_ns + r->c->report_ns);
	if (r->c->is_checked && !step_engine_is_sound(u->engine))
		fleet_found(r, "engine is not sound: number", (uint64_t)(u - r->units));
}

void unit_reported(struct fleet_run *r, struct fleet_unit *u)
{
	brain_engine_report(r->brain, r->now_ns, u->id, &u->report);
}

/* ---- what befalls them ---- */

static void state_changed(struct fleet_run *r, struct fleet_unit *u)
{
	report_state(u);
	report_at(r, u, AT_REPORTED, r->now_ns + DETECT_NS);
}

void fault_begin(struct fleet_run *r, const struct fleet_fault *f)
{
	struct fleet_unit *const u = &r->units[f->engine];

	switch (f->kind) {
	case FLEET_CRASH:
		u->is_down = true;
		step_engine_crash(u->engine, r->now_ns);
		kv_note(u, KV_NOTE_CLEARED, 0);
		state_changed(r, u);
		break;
	case FLEET_HANG: step_engine_stall(u->engine, r->now_ns + f->for_ns); break;
	case FLEET_SLOW: step_engine_set_slowness(u->engine, f->arg); break;
	case FLEET_LOST: u->loses_events = true; break;
	case FLEET_LIE: u->lies = true; break;
	case FLEET_FAULT_KINDS: break;
	}
	unit_rearm(r, u);
	if (event_heap_put(&r->events, r->now_ns + f->for_ns, AT_FAULT_END,
			   (uint32_t)(f - r->c->faults)))
		fleet_fail(r, -BB_ENOMEM);
}

void fault_finish(struct fleet_run *r, const struct fleet_fault *f)
{
	struct fleet_unit *const u = &r->units[f->engine];

	switch (f->kind) {
	case FLEET_CRASH:
		u->is_down = false;
		state_changed(r, u);
		break;
	case FLEET_HANG: break;
	case FLEET_SLOW: step_engine_set_slowness(u->engine, 1); break;
	case FLEET_LOST: u->loses_events = false; break;
	case FLEET_LIE: u->lies = false; break;
	case FLEET_FAULT_KINDS: break;
	}
}

/* ---- life ---- */

static const struct step_ops ops = { on_first, on_progress, on_end, on_stored, on_removed };

static int unit_create(struct fleet_run *r, struct fleet_unit *u, const struct step_profile *p)
{
	struct step_ops mine = ops;

	u->run = r;
	u->profile = *p;
	u->heap_at = UINT32_MAX;
	u->next_ns = STEP_NEVER;
	if (!r->c->has_kv_events)
		mine.on_stored = NULL, mine.on_removed = NULL;
	snprintf(u->name, sizeof(u->name), "sim://%u", (unsigned)(u - r->units));
	if (p->params.block_tokens % BRAIN_BLOCK_TOKENS)
		return -BB_EINVALID;
	return step_engine_create(&p->params, &mine, u, &u->engine);
}

/* All are known to the brain, and ready but for those that are down from the start. */
static int units_introduce(struct fleet_run *r)
{
	const struct report_model model = { .name = BB_STR("sim") };
	struct plan_engine *const plans = bb_alloc_zero(r->unit_count, sizeof(*plans));
	struct engine_id *const ids = bb_alloc_zero(r->unit_count, sizeof(*ids));
	int rc = plans && ids ? 0 : -BB_ENOMEM;

	for (uint32_t i = 0; i < r->unit_count && !rc; i++)
		plans[i] = (struct plan_engine){ .name = bb_str_of(r->units[i].name),
						 .serves_listed = true };
	const struct plan plan = { .engines = plans, .engine_count = r->unit_count };
	if (!rc)
		rc = brain_configure(r->brain, r->now_ns, &plan, ids);
	for (uint32_t i = 0; i < r->unit_count && !rc; i++) {
		struct fleet_unit *const u = &r->units[i];
		BB_ASSERT(ids[i].slot == i);
		u->id = ids[i];
		report_state(u);
		u->report.has_models = true;
		u->report.models = &model;
		u->report.model_count = 1;
		unit_reported(r, u);
		brain_kv_mode(r->brain, r->now_ns, u->id, 0,
			      r->c->has_kv_events ? KV_EXACT : KV_APPROXIMATE);
		/* Not all at the same time. */
		report_at(r, u, AT_REPORT, r->now_ns + r->c->report_ns * (i + 1) / r->unit_count);
	}
	bb_free(plans);
	bb_free(ids);
	return rc;
}

int units_create(struct fleet_run *r)
{
	uint32_t n = 0;
	int rc = 0;

	for (uint32_t g = 0; g < r->c->group_count; g++)
		r->unit_count += r->c->groups[g].count;
	BB_ASSERT(r->unit_count > 0 && r->unit_count <= FLEET_ENGINES_MAX);
	r->units = bb_alloc_zero(r->unit_count, sizeof(*r->units));
	r->due_units = bb_alloc_zero(r->unit_count, sizeof(*r->due_units));
	if (!r->units || !r->due_units)
		return -BB_ENOMEM;
	for (uint32_t g = 0; g < r->c->group_count; g++)
		for (uint32_t i = 0; i < r->c->groups[g].count && !rc; i++)
			rc = unit_create(r, &r->units[n++], &r->c->groups[g].profile);
	for (uint32_t i = 0; i < r->c->fault_count; i++) {
		const struct fleet_fault *const f = &r->c->faults[i];
		BB_ASSERT(f->engine < r->unit_count);
		if (f->kind == FLEET_CRASH && f->at_ns == 0)
			r->units[f->engine].is_down = true;
	}
	return rc ? rc : units_introduce(r);
}

void units_destroy(struct fleet_run *r)
{
	for (uint32_t i = 0; r->units && i < r->unit_count; i++)
		step_engine_destroy(r->units[i].engine);
	BB_FREE(r->units);
	BB_FREE(r->due_units);
}
