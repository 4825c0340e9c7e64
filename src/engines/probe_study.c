/* The study lane of a prober: capacity, endpoints, load. What it cannot read stays unknown. */
#include "base/log.h"
#include "engines/identify.h"
#include "engines/probe.h"
#include "os/clock.h"

/* FastAPI makes its openapi.json at the first request, which takes longer than a probe may. */
#define STUDY_TIMEOUT_NS (5 * OS_SECOND)
/* Where nothing could be read: the engine may be started anew with its metrics switched on. */
#define STUDY_AGAIN_NS (60 * OS_SECOND)

/* A reading may take this part of an engine's time. */
#define READING_SHARE 20
/* While nothing runs there, and while it tells its load by itself. */
#define IDLE_INTERVALS 5
#define PUSHED_INTERVALS 30
#define TOLD_INTERVALS 3

static void study_next(struct prober *p);

static void study_get(struct prober *p, struct bb_str path,
		      void (*on_answer)(struct prober *p, const struct fetch_answer *a))
{
	const uint64_t ns = p->config.timeout_ns;

	lane_get(&p->study, path, PROBE_TEXT_SIZE_MAX,
		 ns > STUDY_TIMEOUT_NS ? ns : STUDY_TIMEOUT_NS, on_answer);
}

/* The source to ask now; NULL when no further one is left. */
static const struct adapter_source *source_get(const struct prober *p)
{
	const struct adapter_source *list =
		p->step == STUDY_INFO ? p->adapter->info : p->adapter->metrics;

	return p->source < ADAPTER_SOURCES_MAX && list[p->source].path.len ? &list[p->source]
									   : NULL;
}

static bool source_read(struct prober *p, const struct fetch_answer *a)
{
	p->figures.has_load = false;
	return !a->err && a->status == 200 && source_get(p)->read(a->body, &p->figures) == 0;
}

static void study_go(struct prober *p, enum study_step step)
{
	p->step = step;
	p->source = 0;
	study_next(p);
}

static void on_info(struct prober *p, const struct fetch_answer *a)
{
	if (source_read(p, a)) {
		probe_report(p);
		study_go(p, STUDY_OPENAPI);
		return;
	}
	p->source++;
	study_next(p);
}

static void on_openapi(struct prober *p, const struct fetch_answer *a)
{
	const uint64_t mask =
		!a->err && a->status == 200 ? identify_endpoints(p->adapter, a->body) : 0;

	if (mask && mask != p->api_mask) {
		p->api_mask = mask;
		probe_report(p);
	}
	study_go(p, STUDY_METRICS);
}

static void study_arm(struct prober *p, uint64_t delay_ns)
{
	loop_timer_arm(&p->study.timer, p->study.begin_ns + delay_ns);
}

/*
 * How long until the next reading: at least the interval; longer for an engine that takes long for
 * it, where nothing runs (what is sent there is counted here), or that tells its load by itself.
 */
static uint64_t reading_pause_ns(const struct prober *p)
{
	const uint64_t now_ns = loop_now_ns(p->config.loop), least = p->config.metrics_interval_ns;
	const bool is_told = p->loaded_ns && now_ns - p->loaded_ns < 2 * least;
	uint64_t pause_ns = READING_SHARE * (now_ns - p->study.begin_ns);

	if (p->idle_readings > 1 && pause_ns < IDLE_INTERVALS * least)
		pause_ns = IDLE_INTERVALS * least;
	if (is_told && pause_ns < (p->is_pushed ? PUSHED_INTERVALS : TOLD_INTERVALS) * least)
		pause_ns = (p->is_pushed ? PUSHED_INTERVALS : TOLD_INTERVALS) * least;
	return pause_ns > least ? pause_ns : least;
}

static void on_metrics(struct prober *p, const struct fetch_answer *a)
{
	const uint64_t interval = p->config.metrics_interval_ns;

	if (source_read(p, a)) {
		const bool is_idle = !p->figures.running && !p->figures.waiting;
		p->idle_readings = is_idle && p->figures.has_load ? p->idle_readings + 1 : 0;
		if (interval)
			study_arm(p, reading_pause_ns(p));
		else
			p->figures.has_load = false; /* it was read for the capacity */
		if (p->figures.has_load || !interval)
			probe_report(p);
		return;
	}
	if (a->err || (a->status >= 500 && a->status != 501)) {
		study_arm(p, interval ? interval : STUDY_AGAIN_NS); /* perhaps it is only busy */
		return;
	}
	p->source++;
	study_next(p);
}

static void study_next(struct prober *p)
{
	const struct adapter_source *s = p->step == STUDY_OPENAPI ? NULL : source_get(p);

	switch (p->step) {
	case STUDY_INFO:
		if (s)
			study_get(p, s->path, on_info);
		else
			study_go(p, STUDY_OPENAPI);
		return;
	case STUDY_OPENAPI:
		if (p->adapter->has_openapi)
			study_get(p, BB_STR("/openapi.json"), on_openapi);
		else
			study_go(p, STUDY_METRICS);
		return;
	case STUDY_METRICS:
		if (s && s->drains && !p->config.metrics_interval_ns)
			return;
		if (s) {
			study_get(p, s->path, on_metrics);
			return;
		}
		p->source = 0;
		loop_timer_arm(&p->study.timer, loop_now_ns(p->config.loop) + STUDY_AGAIN_NS);
		return;
	}
}

void study_begin(struct prober *p)
{
	lane_stop(&p->study);
	p->idle_readings = 0;
	study_go(p, STUDY_INFO);
}

void study_tick(struct loop_timer *t)
{
	study_next(BB_CONTAINER(t, struct lane, timer)->prober);
}
