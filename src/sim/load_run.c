#include "sim/load_run.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/process.h"
#include "sim/load_conn.h"

#define CONNECTING_MAX 256            /* a listener's queue is finite */
#define OPEN_TICK_NS OS_MS
#define HOPELESS_CONNECT_ERRORS 1000u /* in a row, with nothing open: nobody is there */

struct load_run {
	struct load_shared shared; /* first: a connection finds its run by it */
	const struct load_plan *plan;
	struct load_conn *conns;
	struct bb_list closed;
	struct bb_list ready;
	uint32_t opened_count;     /* how often one was opened, for the ramp */
	uint64_t forgiven_count;   /* connect errors before the last success */
	bool is_over;
	struct bb_rng nonces;
	uint64_t begin_ns;
	uint64_t due_ns;           /* open loop: of the next request */
	uint64_t interval_ns;
	struct loop_timer opener, pacer, phase;
	uint64_t window_begin_ns, window_ns; /* while the meter is on */
	uint64_t cpu_begin_ns, cpu_ns;
};

static struct load_run *run_of(struct load_conn *c)
{
	return BB_CONTAINER(c->shared, struct load_run, shared);
}

static bool is_open_loop(const struct load_run *r)
{
	return r->plan->rate > 0;
}

static bool may_start(const struct load_run *r)
{
	const uint64_t max = r->plan->requests_max;

	return !r->is_over && (!max || r->shared.meter->started_count < max);
}

static void run_end(struct load_run *r)
{
	if (r->is_over)
		return;
	r->is_over = true;
	if (r->shared.meter->is_on) {
		r->window_ns = clock_now_ns() - r->window_begin_ns;
		r->cpu_ns = process_cpu_ns() - r->cpu_begin_ns;
	}
	r->shared.meter->is_on = false;
	loop_stop(r->shared.loop);
}

/* ---- sending ---- */

/* Starts what is due on connections that are ready; those that get nothing stay in the list. */
static void run_pace(struct load_run *r)
{
	const uint64_t now_ns = clock_now_ns();

	while (may_start(r) && r->due_ns <= now_ns && !bb_list_is_empty(&r->ready)) {
		struct load_conn *c = BB_CONTAINER(r->ready.next, struct load_conn, link);
		const uint64_t due_ns = r->due_ns;
		r->due_ns += r->interval_ns;
		bb_list_remove(&c->link);
		load_conn_send(c, r->plan->request, bb_rng_next(&r->nonces), due_ns);
	}
	/* Without a ready connection there is nothing to wake up for: on_ready comes here again. */
	if (may_start(r) && !bb_list_is_empty(&r->ready))
		loop_timer_arm(&r->pacer, r->due_ns);
}

static void on_pace(struct loop_timer *t)
{
	struct load_run *r = BB_CONTAINER(t, struct load_run, pacer);

	if (!bb_list_is_empty(&r->ready))
		load_meter_time(r->shared.meter, LOAD_LAG, clock_now_ns() - r->due_ns);
	run_pace(r);
}

static void run_check_end(struct load_run *r)
{
	const uint64_t max = r->plan->requests_max;

	if (max && r->shared.meter->ended_count >= max)
		run_end(r);
}

static void on_ready(struct load_conn *c)
{
	struct load_run *r = run_of(c);

	r->forgiven_count = r->shared.meter->errors[LOAD_ERROR_CONNECT];
	run_check_end(r);
	if (!is_open_loop(r) && may_start(r)) {
		load_conn_send(c, r->plan->request, bb_rng_next(&r->nonces), clock_now_ns());
		return;
	}
	bb_list_push(&r->ready, &c->link);
	if (is_open_loop(r))
		run_pace(r);
}

/* ---- connecting ---- */

/* How many connections the ramp allows to have been opened by now. */
static bool may_open(const struct load_run *r, uint64_t now_ns)
{
	const double elapsed_s = (double)(now_ns - r->begin_ns) / (double)OS_SECOND;

	return !r->is_over && r->shared.connecting_count < CONNECTING_MAX &&
	       (r->plan->open_rate <= 0 || r->opened_count < elapsed_s * r->plan->open_rate + 1);
}

static uint64_t connect_failures(const struct load_run *r)
{
	return r->shared.meter->errors[LOAD_ERROR_CONNECT] - r->forgiven_count;
}

static bool is_hopeless(const struct load_run *r)
{
	return connect_failures(r) >= HOPELESS_CONNECT_ERRORS && bb_list_is_empty(&r->ready) &&
	       r->shared.meter->started_count == r->shared.meter->ended_count;
}

static void on_open(struct loop_timer *t)
{
	struct load_run *r = BB_CONTAINER(t, struct load_run, opener);
	const uint64_t now_ns = clock_now_ns();

	while (!bb_list_is_empty(&r->closed) && may_open(r, now_ns)) {
		struct load_conn *c = BB_CONTAINER(r->closed.next, struct load_conn, link);
		if (!load_conn_open(c, &r->plan->to))
			break;
		bb_list_remove(&c->link);
		r->opened_count++;
	}
	if (is_hopeless(r))
		run_end(r);
	else if (!bb_list_is_empty(&r->closed) && !r->is_over)
		loop_timer_arm(&r->opener, now_ns + OPEN_TICK_NS);
}

static void on_closed(struct load_conn *c)
{
	struct load_run *r = run_of(c);

	bb_list_remove(&c->link);
	bb_list_append(&r->closed, &c->link);
	run_check_end(r);
	/* A peer that refuses is asked again at the next tick, one that closed in good order at once. */
	if (!loop_timer_is_armed(&r->opener))
		loop_timer_arm(&r->opener,
			       loop_now_ns(r->shared.loop) +
				       (connect_failures(r) ? OPEN_TICK_NS : 0));
}

static const struct load_conn_ops conn_ops = { .on_ready = on_ready, .on_closed = on_closed };

/* ---- the run ---- */

static void on_phase(struct loop_timer *t)
{
	struct load_run *r = BB_CONTAINER(t, struct load_run, phase);

	if (r->shared.meter->is_on) {
		run_end(r);
		return;
	}
	r->shared.meter->is_on = true;
	r->window_begin_ns = clock_now_ns();
	r->cpu_begin_ns = process_cpu_ns();
	if (r->plan->duration_ns)
		loop_timer_arm(&r->phase, r->window_begin_ns + r->plan->duration_ns);
}

static int run_init_timers(struct load_run *r)
{
	int rc = loop_timer_init(r->shared.loop, &r->opener, on_open);

	if (!rc)
		rc = loop_timer_init(r->shared.loop, &r->pacer, on_pace);
	if (!rc)
		rc = loop_timer_init(r->shared.loop, &r->phase, on_phase);
	return rc;
}

static void run_fini(struct load_run *r)
{
	for (uint32_t i = 0; r->conns && i < r->plan->connections; i++)
		load_conn_fini(&r->conns[i]);
	BB_FREE(r->conns);
	BB_FREE(r->shared.room);
	loop_timer_fini(&r->opener);
	loop_timer_fini(&r->pacer);
	loop_timer_fini(&r->phase);
	loop_destroy(r->shared.loop);
	r->shared.loop = NULL;
}

static int run_init(struct load_run *r)
{
	int rc = loop_create(&r->shared.loop);

	if (!rc)
		rc = run_init_timers(r);
	if (rc)
		return rc;
	r->shared.ops = &conn_ops;
	r->shared.room = bb_alloc(LOAD_READ_SIZE);
	r->conns = bb_alloc_zero(r->plan->connections, sizeof(struct load_conn));
	if (!r->shared.room || !r->conns) {
		BB_FREE(r->conns);
		return -BB_ENOMEM;
	}
	for (uint32_t i = 0; i < r->plan->connections; i++) {
		load_conn_init(&r->conns[i], &r->shared);
		bb_list_append(&r->closed, &r->conns[i].link);
	}
	return 0;
}

static void run_tell(const struct load_run *r, struct load_outcome *out)
{
	*out = (struct load_outcome){ .window_ns = r->window_ns,
				      .cpu_ns = r->cpu_ns,
				      .answering_at_end = r->shared.meter->answering };
	for (uint32_t i = 0; i < r->plan->connections; i++) {
		const enum load_conn_state state = r->conns[i].state;
		out->in_flight_at_end += state == LOAD_CONN_BUSY;
		out->open_at_end += state == LOAD_CONN_BUSY || state == LOAD_CONN_READY;
	}
	const uint64_t now_ns = clock_now_ns();
	if (is_open_loop(r) && !r->plan->requests_max && r->due_ns <= now_ns)
		out->unsent_count = (now_ns - r->due_ns) / r->interval_ns + 1;
}

int load_run(const struct load_plan *plan, struct load_meter *meter, struct load_outcome *out)
{
	struct load_run r = { .shared = { .meter = meter },
			      .plan = plan };

	BB_ASSERT(plan->connections > 0 && (plan->duration_ns || plan->requests_max));
	bb_list_init(&r.closed);
	bb_list_init(&r.ready);
	bb_rng_seed(&r.nonces, plan->seed);
	int rc = run_init(&r);
	if (!rc) {
		r.begin_ns = r.due_ns = clock_now_ns();
		if (is_open_loop(&r))
			r.interval_ns = (uint64_t)((double)OS_SECOND / plan->rate);
		loop_timer_arm(&r.opener, r.begin_ns);
		loop_timer_arm(&r.phase, r.begin_ns + plan->warmup_ns);
		loop_run(r.shared.loop);
		run_tell(&r, out);
	}
	run_fini(&r);
	return rc;
}
