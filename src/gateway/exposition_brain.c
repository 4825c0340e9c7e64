/* exposition_brain.c: decisions, the prefix index and shadow policies, as Prometheus text. */
#include "brain/index.h"
#include "brain/policy/policy.h"
#include "gateway/exposition_parts.h"
#include "wire/prometheus.h"

void exposition_u64(struct bb_buf *out, const char *name, const char *help, enum prom_type type,
		    uint64_t value)
{
	prom_family(out, name, help, type);
	prom_sample_u64(out, name, NULL, 0, value);
}

void exposition_histogram(struct bb_buf *out, const char *name,
			  const struct histogram_bounds *bounds, const struct histogram *h,
			  const struct prom_label *labels, uint32_t label_count)
{
	double seconds[METRICS_BUCKETS_MAX];

	for (uint32_t i = 0; i < bounds->count; i++)
		seconds[i] = (double)bounds->ns[i] / 1e9;
	const struct prom_histogram ph = {
		.bounds = seconds,
		.bound_count = bounds->count,
		.counts = h->bucket,
		.sum = (double)h->sum_ns / 1e9,
	};
	prom_histogram(out, name, labels, label_count, &ph);
}

static void decisions_write(struct bb_buf *out, const struct metrics *m)
{
	prom_family(out, "busbar_decisions_total",
		    "Requests sent to an engine, by why it was that one.", PROM_COUNTER);
	for (unsigned p = 0; policy_at(p); p++)
		for (int why = 0; why < REASON_COUNT; why++) {
			const struct prom_label labels[2] = {
				{ "policy", bb_str_of(policy_at(p)->name) },
				{ "reason",
				  bb_str_of(decision_reason_name((enum decision_reason)why)) },
			};
			if (m->decisions[p][why])
				prom_sample_u64(out, "busbar_decisions_total", labels, 2,
						m->decisions[p][why]);
		}
	prom_family(out, "busbar_decision_seconds",
		    "A whole decision, with waiting for the brain's lock.", PROM_HISTOGRAM);
	exposition_histogram(out, "busbar_decision_seconds", &bounds_stage, &m->stage[STAGE_DECIDE],
			     NULL, 0);
	prom_family(out, bounds_held.name, bounds_held.help, PROM_HISTOGRAM);
	exposition_histogram(out, bounds_held.name, &bounds_held, &m->held, NULL, 0);
	prom_family(out, bounds_ratio.name, bounds_ratio.help, PROM_HISTOGRAM);
	exposition_histogram(out, bounds_ratio.name, &bounds_ratio, &m->ttft_ratio, NULL, 0);
}

static void index_write(const struct index_stats *s, struct bb_buf *out)
{
	exposition_u64(out, "busbar_index_bytes", "Memory of the prefix index.", PROM_GAUGE,
		       s->bytes);
	exposition_u64(out, "busbar_index_max_bytes", "The limit of that memory.", PROM_GAUGE,
		       s->bytes_max);
	exposition_u64(out, "busbar_index_blocks", "Different blocks of prompts in the index.",
		       PROM_GAUGE, s->blocks);
	exposition_u64(out, "busbar_index_pairs", "Blocks at engines in the index.", PROM_GAUGE,
		       s->pairs);
	exposition_u64(out, "busbar_index_stores_total", "Blocks at engines that were added.",
		       PROM_COUNTER, s->stores);
	exposition_u64(out, "busbar_index_removals_total", "Blocks at engines that were taken out.",
		       PROM_COUNTER, s->removals);
	exposition_u64(out, "busbar_index_evictions_total",
		       "Blocks at engines that had to go for want of room.", PROM_COUNTER,
		       s->evictions);
	exposition_u64(out, "busbar_index_refused_total",
		       "Blocks at engines that were not kept for want of memory.", PROM_COUNTER,
		       s->refused);
}

static void shadow_seconds_write(const struct brain *b, struct bb_buf *out, const char *name,
				 const char *help,
				 double (*value)(const struct shadow_view *v, bool is_real))
{
	struct shadow_view v;

	prom_family(out, name, help, PROM_COUNTER);
	for (uint32_t i = 0; brain_shadow_at(b, i, &v); i++)
		for (int is_real = 0; is_real < 2; is_real++) {
			const struct prom_label labels[2] = {
				{ "policy", bb_str_of(v.policy) },
				{ "choice", is_real ? BB_STR("real") : BB_STR("shadow") },
			};
			prom_sample(out, name, labels, 2, value(&v, is_real) / 1e3);
		}
}

static double shadow_ttft(const struct shadow_view *v, bool is_real)
{
	return is_real ? v->real_ttft_ms : v->ttft_ms;
}

static double shadow_total(const struct shadow_view *v, bool is_real)
{
	return is_real ? v->real_total_ms : v->total_ms;
}

static void shadows_write(const struct brain *b, struct bb_buf *out)
{
	struct shadow_view v;

	if (!brain_shadow_at(b, 0, &v))
		return;
	prom_family(out, "busbar_shadow_decisions_total",
		    "Decisions that another policy would have made alike or otherwise.",
		    PROM_COUNTER);
	for (uint32_t i = 0; brain_shadow_at(b, i, &v); i++)
		for (int agrees = 0; agrees < 2; agrees++) {
			const struct prom_label labels[2] = {
				{ "policy", bb_str_of(v.policy) },
				{ "agrees", agrees ? BB_STR("true") : BB_STR("false") },
			};
			prom_sample_u64(out, "busbar_shadow_decisions_total", labels, 2,
					agrees ? v.agreed : v.differed);
		}
	shadow_seconds_write(b, out, "busbar_shadow_ttft_seconds_total",
			     "Predicted times to first tokens, where the choices differ.",
			     shadow_ttft);
	shadow_seconds_write(
		b, out, "busbar_shadow_added_seconds_total",
		"Predicted time added for all requests together, where the choices differ.",
		shadow_total);
}

void exposition_brain(struct gateway *g, const struct metrics *m, struct bb_buf *out)
{
	struct index_stats stats;

	decisions_write(out, m);
	gateway_lock(g);
	brain_index_stats(g->brain, &stats);
	exposition_u64(out, "busbar_held_requests",
		       "Requests that wait in the gateway for an engine that is open for them.",
		       PROM_GAUGE, brain_held(g->brain));
	shadows_write(g->brain, out);
	gateway_unlock(g);
	index_write(&stats, out);
}
