#include "sim/work_make.h"

#include <stdio.h>

#include "base/alloc.h"
#include "sim/work_draw.h"

#define REQUESTS_DEFAULT 4000u
#define SECOND_NS 1e9
#define RATE_MAX 1e7
#define SHAPE_MIN 0.01
#define SHAPE_MAX 1000.0
#define ADAPTERS_MAX 65536u
#define SESSION_MAX 40u /* turns of a conversation, steps of a task */

struct maker {
	struct workload *w;
	struct work_options o;
	struct bb_rng rng;
	double at_s;	     /* when the last session began */
	double session_rate; /* sessions a second */
	uint32_t sessions;
	uint32_t *last; /* closed loop: each client's last request */
};

/* Streams for prompts that requests share. */
enum shared { SHARED_APPLICATION, SHARED_TOOLS, SHARED_CUSTOMER, SHARED_HOT, SHARED_BURST };

static uint64_t shared_stream(enum shared kind, uint32_t number)
{
	return (uint64_t)kind << 32 | number;
}

static bool is_full(const struct maker *m)
{
	return m->w->count >= m->o.requests;
}

/* ---- sessions ---- */

static double next_arrival(struct maker *m)
{
	const double mean = 1 / m->session_rate;

	m->at_s += m->o.shape > 0 ? draw_gamma(&m->rng, m->o.shape, mean) : draw_exp(&m->rng, mean);
	return m->at_s;
}

/* A session's first request, due at once: whose it is. */
static struct work_request session_new(struct maker *m)
{
	struct work_request r = { .after = WORK_NONE, .session = m->sessions++ };

	r.tenant = m->o.tenants > 1 ? draw_rank(&m->rng, m->o.tenants) : 0;
	if (m->o.adapters)
		r.adapter = (uint32_t)bb_rng_below(&m->rng, m->o.adapters + 1ull);
	return r;
}

/* And when. */
static struct work_request session_begin(struct maker *m)
{
	struct work_request r = session_new(m);
	const uint32_t n = r.session;

	if (m->o.clients && m->last[n % m->o.clients] != WORK_NONE)
		r.after = m->last[n % m->o.clients];
	else if (m->o.clients) /* clients do not all begin at once */
		r.due_ns = (uint64_t)(bb_rng_unit(&m->rng) * SECOND_NS);
	else
		r.due_ns = (uint64_t)(next_arrival(m) * SECOND_NS);
	return r;
}

/* Adds a request to the session; it is then what follows it follows. */
static int session_add(struct maker *m, struct work_request *r, double output)
{
	r->output_tokens = draw_tokens(&m->rng, output);
	const int rc = workload_add(m->w, r);
	r->after = m->w->count - 1;
	return rc;
}

static void session_end(struct maker *m, const struct work_request *r)
{
	if (m->o.clients)
		m->last[r->session % m->o.clients] = r->after;
}

static int own_tokens(struct maker *m, double mean)
{
	return workload_span(m->w, work_own(m->w->count), 0, draw_tokens(&m->rng, mean));
}

/* A session of one request: a shared prompt, or none, and tokens of its own. */
static int add_single(struct maker *m, uint64_t stream, uint32_t shared, double own, double output)
{
	struct work_request r = session_begin(m);
	int rc = workload_span(m->w, stream, 0, shared);

	if (!rc)
		rc = own_tokens(m, own);
	if (!rc)
		rc = session_add(m, &r, output);
	session_end(m, &r);
	return rc;
}

/* ---- generators: each adds one session ---- */

/* Of each application's prompt the length, between 300 and 1,000. */
static uint32_t application_tokens(uint32_t number)
{
	return 300 + number * 7919u % 701;
}

static int make_chat(struct maker *m)
{
	const uint32_t application = draw_rank(&m->rng, 20);
	const uint32_t turns = draw_count(&m->rng, 6, SESSION_MAX);
	struct work_request r = session_begin(m);
	int rc = workload_span(m->w, shared_stream(SHARED_APPLICATION, application), 0,
			       application_tokens(application));

	for (uint32_t i = 0; !rc && i < turns && !is_full(m); i++) {
		if (i) {
			r.due_ns = (uint64_t)((1 + draw_exp(&m->rng, 10)) * SECOND_NS);
			rc = workload_turns(m->w, r.after);
		}
		if (!rc)
			rc = own_tokens(m, 150);
		if (!rc)
			rc = session_add(m, &r, 250);
	}
	session_end(m, &r);
	return rc;
}

/* Steps of an agent that goes on from what `r` has added last. */
static int agent_steps(struct maker *m, struct work_request *r, uint32_t steps, double own)
{
	int rc = 0;

	for (uint32_t i = 0; !rc && i < steps && !is_full(m); i++) {
		r->due_ns = (uint64_t)(draw_exp(&m->rng, 2.5) * SECOND_NS);
		rc = workload_turns(m->w, r->after);
		if (!rc)
			rc = own_tokens(m, own);
		if (!rc)
			rc = session_add(m, r, 120);
	}
	return rc;
}

/* Sub-agents begin with all that the agent has; it goes on when the one with most steps is done. */
static int agent_fork(struct maker *m, struct work_request *r)
{
	uint32_t most = 0, last = r->after;
	int rc = 0;

	for (int i = 0; !rc && i < 3; i++) {
		const uint32_t steps = draw_count(&m->rng, 3, SESSION_MAX);
		struct work_request sub = *r;
		rc = agent_steps(m, &sub, steps, 300);
		if (steps > most) {
			most = steps;
			last = sub.after;
		}
	}
	/* Its next prompt is that of its own last step. */
	if (!rc && !is_full(m)) {
		r->due_ns = (uint64_t)(draw_exp(&m->rng, 0.2) * SECOND_NS);
		rc = workload_turns(m->w, r->after);
		if (!rc)
			rc = own_tokens(m, 600);
		r->after = last;
		if (!rc)
			rc = session_add(m, r, 120);
	}
	return rc;
}

static int make_agent(struct maker *m)
{
	const uint32_t kind = (uint32_t)bb_rng_below(&m->rng, 3);
	const uint32_t steps = draw_count(&m->rng, 10, SESSION_MAX);
	struct work_request r = session_begin(m);
	int rc = workload_span(m->w, shared_stream(SHARED_TOOLS, kind), 0, 4000 + 2500 * kind);

	if (!rc)
		rc = own_tokens(m, 300);
	if (!rc)
		rc = session_add(m, &r, 120);
	for (uint32_t i = 1; !rc && i < steps && !is_full(m); i++)
		rc = bb_rng_below(&m->rng, 12) ? agent_steps(m, &r, 1, 600) : agent_fork(m, &r);
	session_end(m, &r);
	return rc;
}

static int make_b2b(struct maker *m)
{
	const uint32_t customer = draw_rank(&m->rng, 150);

	return add_single(m, shared_stream(SHARED_CUSTOMER, customer), 6000, 1200, 1000);
}

static int make_hot(struct maker *m)
{
	return add_single(m, shared_stream(SHARED_HOT, 0), 4096, 300, 200);
}

static int make_cold(struct maker *m)
{
	return add_single(m, 0, 0, 2000, 250);
}

/* After 20 s on average a burst is due; its requests are ahead of the next cold one. */
static int make_burst(struct maker *m)
{
	const double before_s = m->at_s;
	int rc = make_cold(m);
	const double share = m->o.clients ? 1 / (20 * m->session_rate) : (m->at_s - before_s) / 20;

	if (rc || bb_rng_unit(&m->rng) >= share)
		return rc;
	const uint32_t count = 32 + (uint32_t)bb_rng_below(&m->rng, 64);
	const uint64_t stream = shared_stream(SHARED_BURST, m->sessions);
	for (uint32_t i = 0; !rc && i < count && !is_full(m); i++) {
		struct work_request r = session_new(m);
		r.due_ns = (uint64_t)((before_s + bb_rng_unit(&m->rng) * 0.5) * SECOND_NS);
		if (m->o.clients)
			r.after = m->last[r.session % m->o.clients];
		rc = workload_span(m->w, stream, 0, 3000);
		if (!rc)
			rc = own_tokens(m, 100);
		if (!rc)
			rc = session_add(m, &r, 200);
	}
	return rc;
}

static int make_mixed(struct maker *m)
{
	const uint64_t kind = bb_rng_below(&m->rng, 100);

	if (kind < 85)
		return add_single(m, 0, 0, 300, 200);
	return kind < 95 ? add_single(m, 0, 0, 20000, 200) : add_single(m, 0, 0, 300, 2000);
}

static int make_decode(struct maker *m)
{
	return add_single(m, 0, 0, 250, 900);
}

/* How busy an hour is against the busiest, in per cent: on weekdays, and on the two days behind. */
static const uint8_t weekday[24] = { 6,	 4,  3,	 3,   3,  5,  10, 25, 60, 90, 100, 95,
				     75, 90, 98, 100, 95, 75, 45, 30, 25, 20, 14,  9 };
static const uint8_t weekend[24] = { 6,	 5,  4,	 3,  3,	 3,  4,	 6,  9,	 13, 16, 17,
				     16, 15, 15, 15, 14, 14, 14, 15, 14, 12, 10, 8 };

/* Arrivals at the rate of the busiest hour, of which each stays by how busy its hour is. */
static int make_week(struct maker *m)
{
	uint32_t sum = 0;

	for (int i = 0; i < 24; i++)
		sum += 5u * weekday[i] + 2u * weekend[i];
	const double mean = sum / (7.0 * 24 * 100);
	const double week_s = m->o.requests / m->session_rate;
	uint8_t busy;
	do {
		m->at_s += draw_exp(&m->rng, mean / m->session_rate);
		const uint64_t hour = (uint64_t)(m->at_s / week_s * (7 * 24)) % (7 * 24);
		busy = hour < 5 * 24 ? weekday[hour % 24] : weekend[hour % 24];
	} while (bb_rng_below(&m->rng, 100) >= busy);
	const uint32_t application = draw_rank(&m->rng, 20);
	struct work_request r = session_new(m);
	r.due_ns = (uint64_t)(m->at_s * SECOND_NS);
	int rc = workload_span(m->w, shared_stream(SHARED_APPLICATION, application), 0,
			       application_tokens(application));
	if (!rc)
		rc = own_tokens(m, 800);
	return rc ? rc : session_add(m, &r, 250);
}

/* ---- by name ---- */

/* A session's requests on average, for what is given a rate of requests. */
static double session_requests(int (*make)(struct maker *m))
{
	if (make == make_chat)
		return 6;
	return make == make_agent ? 17 : 1;
}

static const struct {
	struct bb_str name;
	int (*make)(struct maker *m);
	double rate;
	const char *text;
} generators[] = {
#define X(name, rate, text) { BB_STR_INIT(#name), make_##name, rate, text },
	WORK_GENERATORS(X)
#undef X
};
#define GENERATOR_COUNT (sizeof(generators) / sizeof(*generators))

const char *work_generator_name(uint32_t n)
{
	return n < GENERATOR_COUNT ? generators[n].name.p : NULL;
}

const char *work_generator_text(uint32_t n)
{
	return n < GENERATOR_COUNT ? generators[n].text : NULL;
}

static int check(const struct work_options *o)
{
	if (o->requests > WORK_REQUESTS_MAX || !(o->rate >= 0 && o->rate <= RATE_MAX) ||
	    (o->shape != 0 && !(o->shape >= SHAPE_MIN && o->shape <= SHAPE_MAX)) ||
	    o->clients > WORK_CLIENTS_MAX || o->tenants > WORK_TENANTS_MAX ||
	    o->adapters > ADAPTERS_MAX)
		return -BB_EINVALID;
	return 0;
}

static int make_all(struct maker *m, int (*make)(struct maker *m))
{
	int rc = 0;

	if (m->o.clients) {
		m->last = bb_alloc(m->o.clients * sizeof(*m->last));
		if (!m->last)
			return -BB_ENOMEM;
		memset(m->last, 0xff, m->o.clients * sizeof(*m->last));
	}
	while (!rc && !is_full(m))
		rc = make(m);
	BB_FREE(m->last);
	return rc ? rc : workload_seal(m->w);
}

int work_make(struct bb_str name, const struct work_options *o, struct workload *w)
{
	struct maker m = { .w = w, .o = *o };
	uint32_t i = 0;

	workload_init(w);
	while (i < GENERATOR_COUNT && !bb_str_eq(name, generators[i].name))
		i++;
	if (i == GENERATOR_COUNT)
		return -BB_EABSENT;
	int rc = check(o);
	if (!rc && o->clients && generators[i].make == make_week)
		rc = -BB_EINVALID; /* clients who wait for answers keep no hours */
	if (rc)
		return rc;
	if (!m.o.requests)
		m.o.requests = REQUESTS_DEFAULT;
	if (m.o.rate == 0)
		m.o.rate = generators[i].rate;
	if (m.o.rate == 0)
		m.o.rate = m.o.requests / (7 * 24 * 3600.0);
	m.session_rate = m.o.rate / session_requests(generators[i].make);
	bb_rng_seed(&m.rng, m.o.seed);
	rc = make_all(&m, generators[i].make);
	if (rc)
		workload_fini(w);
	else
		snprintf(w->name, sizeof(w->name), "%s", generators[i].name.p);
	return rc;
}
