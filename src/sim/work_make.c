#include "sim/work_make.h"

#include <stdio.h>

#include "base/hash.h"
#include "brain/exact.h"

#define REQUESTS_DEFAULT 4000u
#define SECOND_NS 1e9

struct maker {
	struct workload *w;
	const struct work_options *o;
	struct bb_rng rng;
	double at_s; /* the last arrival */
	double rate; /* a second */
};

/* ---- draws ---- */

/* Of an exponential distribution. */
static double draw_exp(struct maker *m, double mean)
{
	return -mean * exact_log(1 - bb_rng_unit(&m->rng));
}

/* A length of at least 1 around a mean, with the shape of an exponential but less spread. */
static uint32_t draw_tokens(struct maker *m, double mean)
{
	const double tokens = mean * 0.25 + draw_exp(m, mean * 0.75);

	return tokens < 1 ? 1 : (uint32_t)tokens;
}

static uint64_t next_arrival(struct maker *m)
{
	m->at_s += draw_exp(m, 1 / m->rate);
	return (uint64_t)(m->at_s * SECOND_NS);
}

/* ---- generators ---- */

/* Prompts that have nothing in common. */
static int make_cold(struct maker *m)
{
	int rc = 0;

	while (!rc && m->w->count < m->o->requests) {
		const struct work_request r = { .due_ns = next_arrival(m),
						.after = WORK_NONE,
						.session = m->w->count,
						.output_tokens = draw_tokens(m, 250) };
		rc = workload_span(m->w, work_own(m->w->count), 0, draw_tokens(m, 2000));
		if (!rc)
			rc = workload_add(m->w, &r);
	}
	return rc;
}

static const struct {
	struct bb_str name;
	int (*make)(struct maker *m);
	double rate;
} generators[] = {
	{ BB_STR_INIT("cold"), make_cold, 20 },
};

int work_make(struct bb_str name, const struct work_options *o, struct workload *w)
{
	struct work_options options = *o;
	struct maker m = { .w = w, .o = &options };

	workload_init(w);
	if (!options.requests)
		options.requests = REQUESTS_DEFAULT;
	for (size_t i = 0; i < sizeof(generators) / sizeof(*generators); i++) {
		if (!bb_str_eq(name, generators[i].name))
			continue;
		m.rate = options.rate > 0 ? options.rate : generators[i].rate;
		bb_rng_seed(&m.rng, options.seed);
		int rc = generators[i].make(&m);
		if (!rc)
			rc = workload_seal(w);
		if (rc)
			workload_fini(w);
		snprintf(w->name, sizeof(w->name), "%.*s", BB_ARG(name));
		return rc;
	}
	return -BB_EABSENT;
}
