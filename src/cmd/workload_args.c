#include "cmd/workload_args.h"

#include <stdio.h>

#include "wire/spelling.h"

static int parse_count(const char *value, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t number;

	if (bb_parse_u64(bb_str_of(value), &number) || number < min || number > max)
		return -BB_EINVALID;
	*out = (uint32_t)number;
	return 0;
}

static int parse_positive(const char *value, double max, double *out)
{
	double number;

	if (bb_parse_double(bb_str_of(value), &number) || !(number > 0 && number <= max))
		return -BB_EINVALID;
	*out = number;
	return 0;
}

int workload_args_take(struct workload_args *a, int option, const char *value)
{
	switch (option) {
	case WORKLOAD_REQUESTS: return parse_count(value, 1, WORK_REQUESTS_MAX, &a->make.requests);
	case WORKLOAD_RATE: return parse_positive(value, 1e6, &a->make.rate);
	case WORKLOAD_SPEED: return parse_positive(value, 1e6, &a->speed);
	case WORKLOAD_THINK:
		a->has_think = true;
		return bb_parse_double(bb_str_of(value), &a->think) ||
				       !(a->think >= 0 && a->think <= 1e6)
			       ? -BB_EINVALID
			       : 0;
	case WORKLOAD_CLIENTS: return parse_count(value, 1, WORK_CLIENTS_MAX, &a->make.clients);
	case WORKLOAD_SHAPE:
		return parse_positive(value, 1000, &a->make.shape) || a->make.shape < 0.01
			       ? -BB_EINVALID
			       : 0;
	case WORKLOAD_TENANTS: return parse_count(value, 1, WORK_TENANTS_MAX, &a->make.tenants);
	case WORKLOAD_ADAPTERS: return parse_count(value, 0, 65535, &a->make.adapters);
	case WORKLOAD_JITTER: a->has_jitter = true; return 0;
	case WORKLOAD_SEED: return bb_parse_u64(bb_str_of(value), &a->make.seed);
	default: return -BB_EABSENT;
	}
}

void workload_args_print_generators(void)
{
	const char *name;

	for (uint32_t i = 0; (name = work_generator_name(i)); i++)
		printf("  %-8s %s\n", name, work_generator_text(i));
}

/* "chat", or "gen:chat" as where only files are expected; p == NULL: it is no generator's name. */
static struct bb_str generator_of(const char *source)
{
	struct bb_str s = bb_str_of(source);
	const char *name;

	if (bb_str_starts(s, BB_STR("gen:")))
		s = bb_str_skip(s, 4);
	for (uint32_t i = 0; (name = work_generator_name(i)); i++)
		if (bb_str_eq(bb_str_of(name), s))
			return s;
	return (struct bb_str){ 0 };
}

static int told_absent(const struct workload_args *a, const char *why)
{
	struct spelling s;
	const char *name;

	spelling_init(&s, bb_str_of(a->source));
	for (uint32_t i = 0; (name = work_generator_name(i)); i++)
		spelling_offer(&s, bb_str_of(name));
	fprintf(stderr, "%s: %s: %s", a->command, a->source, why);
	if (s.best.p)
		fprintf(stderr, " (did you mean the generator %.*s?)", BB_ARG(s.best));
	fputs("\n", stderr);
	return 2;
}

/* Of a file the rate is changed by how fast time goes. */
static int read_file(const struct workload_args *a, struct workload *w)
{
	char why[WORK_WHY_SIZE];

	if (a->make.clients || a->make.tenants || a->make.adapters || a->make.shape > 0) {
		fprintf(stderr,
			"%s: %s: --clients, --shape, --tenants and --adapters are for "
			"generators; a file says this itself\n",
			a->command, a->source);
		return 2;
	}
	if (work_read_file(a->source, w, why))
		return told_absent(a, why);
	if (a->make.requests)
		workload_limit(w, a->make.requests);
	const double length_s = (double)workload_length_ns(w) / 1e9;
	if (a->make.rate > 0 && length_s > 0)
		workload_speed(w, a->make.rate * length_s / w->count);
	return 0;
}

static int load(const struct workload_args *a, struct workload *w)
{
	const struct bb_str generator = generator_of(a->source);

	if (!generator.p)
		return read_file(a, w);
	const int rc = work_make(generator, &a->make, w);
	if (rc)
		fprintf(stderr, "%s: %s: %s\n", a->command, a->source,
			rc == -BB_EINVALID ? "--clients does not go with this generator"
					   : bb_error_info(rc)->text);
	return rc ? 2 : 0;
}

int workload_args_load(const struct workload_args *a, struct workload *w)
{
	workload_init(w);
	const int rc = load(a, w);
	if (rc)
		return rc;
	if (a->speed > 0)
		workload_speed(w, a->speed);
	if (a->has_think)
		workload_think(w, a->think);
	if (a->has_jitter && workload_jitter(w, w->grain_ns, a->make.seed)) {
		fprintf(stderr, "%s: %s\n", a->command, bb_error_info(-BB_ENOMEM)->text);
		workload_fini(w);
		return 1;
	}
	return 0;
}
