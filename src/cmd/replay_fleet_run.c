/* replay_fleet_run.c: the runs of `busbar replay --engines`: each policy with each seed. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "cmd/replay_fleet.h"
#include "os/clock.h"

#define PROGRESS_NS (200 * OS_MS)
/* What an engine is said to carry (facts on which the unit of load rests: docs/simulator.md). */
#define CARRIED_TTFT_MS 1500
#define CARRIED_ITL_MS 60
#define CARRIED_ITL_MS_TP 100
#define SEARCH_STEPS 14
/* All in less than that says nothing about a rate. */
#define ARRIVALS_NS_MIN (10000 * OS_MS)

static bool on_progress(void *user, uint64_t ended, uint64_t now_ns)
{
	struct replay_fleet *const f = user;
	const uint64_t real_ns = clock_now_ns();

	if (!f->has_progress || real_ns < f->progress_ns)
		return true;
	f->progress_ns = real_ns + PROGRESS_NS;
	const double s = (double)(real_ns - f->begun_ns) / 1e9;
	fprintf(stderr, "\r\033[K%s: %.0f%%, %.1f h played, %.0f requests a second ", f->doing,
		100.0 * (double)ended / f->requests, (double)now_ns / 3.6e12,
		s > 0 ? (double)ended / s : 0);
	return true;
}

static int run_one(struct replay_fleet *f, const struct workload *w, const struct replay_rival *v,
		   uint64_t seed, struct fleet_figures *out, struct fleet_curve *curve)
{
	struct fleet_config c = f->config;
	struct fleet_result result;
	char doing[128];

	snprintf(doing, sizeof(doing), "%s, seed %llu", v->text, (unsigned long long)seed);
	f->doing = doing;
	f->begun_ns = clock_now_ns();
	f->requests = w->count;
	c.work = w;
	c.groups = f->groups;
	c.group_count = f->group_count;
	c.faults = f->faults;
	c.policy = v->policy;
	c.is_at_once = v->is_at_once;
	c.knows_output = v->knows_output;
	c.seed = seed;
	c.on_progress = on_progress;
	c.user = f;
	int rc = fleet_run(&c, &result);
	if (f->has_progress)
		fprintf(stderr, "\r\033[K");
	if (rc) {
		fprintf(stderr, "busbar replay: %s: %s\n", v->text, bb_error_info(rc)->text);
		return 1;
	}
	if (result.faults_found) {
		fprintf(stderr, "busbar replay: %s: an invariant is broken: %s\n", doing,
			result.fault);
		rc = 1;
	}
	if (fleet_report(&result, f->skip, &f->slo, out, curve))
		rc = 1;
	fleet_result_fini(&result);
	return rc;
}

static double rate_of(const struct workload *w)
{
	const double s = (double)workload_length_ns(w) / 1e9;

	return s > 0 ? (workload_arrivals(w) - 1) / s : 0;
}

/* Does round_robin carry it at this rate? `w` is played at another one at present. */
static int is_carried(struct replay_fleet *f, struct workload *w, double rate, bool *out)
{
	static const struct replay_rival v = { .text = "round_robin, looking for its limit",
					       .policy = "round_robin" };
	const double itl_ms = f->groups[0].profile.gpus > 1 ? CARRIED_ITL_MS_TP : CARRIED_ITL_MS;
	struct fleet_figures figures;

	workload_speed(w, rate / rate_of(w));
	const int rc = run_one(f, w, &v, f->seed, &figures, NULL);
	*out = figures.ttft.mean < CARRIED_TTFT_MS && figures.itl.mean < itl_ms;
	return rc;
}

/* Arrivals a second that are load 1. */
static int find_limit(struct replay_fleet *f, double *rate)
{
	struct workload w;
	double low = 0, high = 0, try;
	bool is_ok;

	workload_init(&w);
	int rc = replay_fleet_work(f, f->seed, &w);
	try = rc ? 1 : rate_of(&w);
	for (int i = 0; i < SEARCH_STEPS + 20 && !rc; i++) {
		rc = is_carried(f, &w, try, &is_ok);
		*(is_ok ? &low : &high) = try;
		if (low > 0 && high > 0 && high / low < 1.01)
			break;
		if (is_ok && workload_length_ns(&w) < ARRIVALS_NS_MIN) {
			fprintf(stderr,
				"busbar replay: --load: round_robin carries all of these %u "
				"requests at once; take more (--limit)\n",
				w.count);
			rc = 1;
		}
		try = low == 0 ? try / 2 : high == 0 ? try * 2 : (low + high) / 2;
	}
	workload_fini(&w);
	*rate = low;
	if (!rc && low == 0) {
		fprintf(stderr, "busbar replay: --load: round_robin carries no rate of this\n");
		rc = 1;
	}
	return rc;
}

static int prepare(struct replay_fleet *f, uint64_t seed, struct workload *w)
{
	workload_init(w);
	const int rc = replay_fleet_work(f, seed, w);
	if (rc)
		return rc;
	const double own = rate_of(w);
	double speed = f->speed > 0 ? f->speed : 1;
	if (own > 0 && f->load > 0)
		speed = f->load * f->limit_rate / own;
	else if (own > 0 && f->per_second > 0)
		speed = f->per_second / own;
	if (speed != 1)
		workload_speed(w, speed);
	f->rate += rate_of(w) / f->seed_count;
	double possible = 0;
	if (fleet_possible_hit(w, f->groups[0].profile.params.block_tokens, 0, &possible))
		return 1;
	f->possible_hit += possible / f->seed_count;
	return 0;
}

int replay_fleet_run(struct replay_fleet *f)
{
	struct fleet_figures *const runs =
		bb_alloc_zero((size_t)f->rival_count * f->seed_count, sizeof(*runs));
	const clock_t begun = clock();
	int rc = runs ? 0 : 1;

	if (!rc && f->load > 0)
		rc = find_limit(f, &f->limit_rate);
	for (uint32_t s = 0; s < f->seed_count && !rc; s++) {
		struct workload w;
		rc = prepare(f, f->seed + s, &w);
		for (uint32_t i = 0; i < f->rival_count && !rc; i++)
			rc = run_one(f, &w, &f->rivals[i], f->seed + s,
				     &runs[i * f->seed_count + s],
				     s == 0 ? &f->rivals[i].curve : NULL);
		workload_fini(&w);
	}
	for (uint32_t i = 0; i < f->rival_count && !rc; i++)
		fleet_figures_mean(&runs[i * f->seed_count], f->seed_count, &f->rivals[i].mean,
				   &f->rivals[i].margin);
	f->cpu_s = (double)(clock() - begun) / CLOCKS_PER_SEC;
	bb_free(runs);
	return rc;
}
