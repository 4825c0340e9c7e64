/* exposition_kv.c: what is known of the engines' KV caches, as Prometheus text. */
#include <stddef.h>

#include "base/alloc.h"
#include "gateway/control.h"
#include "gateway/exposition_parts.h"
#include "gateway/kv_watch.h"
#include "wire/prometheus.h"

struct kv_family {
	const char *name, *help;
	enum prom_type type;
	size_t offset; /* in struct kv_figures; of a double when is_seconds */
	bool is_seconds;
};

static const struct kv_family kv_families[] = {
#define COUNT(name, member, help)                                                                  \
	{                                                                                          \
		"busbar_engine_kv_" name "_total", help, PROM_COUNTER,                             \
			offsetof(struct kv_figures, member), false                                 \
	}
#define GAUGE(name, member, help)                                                                  \
	{                                                                                          \
		"busbar_engine_kv_" name, help, PROM_GAUGE, offsetof(struct kv_figures, member),   \
			false                                                                      \
	}
#define SECONDS(name, member, help)                                                                \
	{                                                                                          \
		"busbar_engine_kv_" name "_seconds", help, PROM_GAUGE,                             \
			offsetof(struct kv_figures, member), true                                  \
	}
	COUNT("batches", batches, "Batches of KV events that were applied."),
	GAUGE("blocks", blocks, "Blocks in its KV cache, of its own size, as its events tell."),
	GAUGE("mirror_bytes", bytes, "Memory for following its events."),
	COUNT("not_followed", refused, "Blocks that there was no room for (limits.kv_mirror)."),
	COUNT("passed_over", passed_over, "Blocks in its events that no prompt could use."),
	COUNT("odd", odd, "Messages that were no KV events."),
	COUNT("gaps", gaps, "Gaps in the numbers of its events."),
	COUNT("lost_gaps", lost_gaps, "Gaps that no replay could fill: it was learned anew."),
	COUNT("replays", replays, "Replays that were asked for."),
	COUNT("replays_failed", replays_failed, "Of these, those that failed."),
	COUNT("restarts", restarts, "Times that its events began anew."),
	COUNT("throttled", throttled, "Seconds in which its events took more than their time."),
	SECONDS("lag", lag_s,
		"How late its events come: the median of the last 128, above the least."),
	SECONDS("lag_max", lag_max_s, "The same, the worst of them."),
#undef COUNT
#undef GAUGE
#undef SECONDS
};

/* Of one engine slot; collected before the brain's lock is taken. */
struct kv_row {
	bool is_known;
	struct kv_status status;
	struct engine_figures figures;
};

struct kv_writer {
	const struct kv_row *rows;
	struct bb_buf *out;
	const struct kv_family *family;
};

static void on_engine_kv(void *user, const struct engine_view *v)
{
	const struct kv_writer *w = user;
	const struct prom_label label = { "engine", bb_str_of(v->name) };
	const struct kv_row *row = &w->rows[v->id.slot];

	if (!row->status.has_figures)
		return;
	const char *at = (const char *)&row->status.figures + w->family->offset;
	if (w->family->is_seconds)
		prom_sample(w->out, w->family->name, &label, 1, *(const double *)at);
	else
		prom_sample_u64(w->out, w->family->name, &label, 1, *(const uint64_t *)at);
}

static void on_engine_kv_mode(void *user, const struct engine_view *v)
{
	const struct kv_writer *w = user;
	const struct kv_row *row = &w->rows[v->id.slot];

	if (!row->is_known)
		return;
	for (int mode = KV_APPROXIMATE; mode <= KV_EXACT; mode++) {
		const struct prom_label labels[2] = {
			{ "engine", bb_str_of(v->name) },
			{ "mode", bb_str_of(kv_mode_name((enum kv_mode)mode)) },
		};
		prom_sample_u64(w->out, "busbar_engine_kv_mode", labels, 2,
				row->status.mode == (enum kv_mode)mode);
	}
}

static void on_engine_kv_events(void *user, const struct engine_view *v)
{
	const struct kv_writer *w = user;
	const struct kv_row *row = &w->rows[v->id.slot];
	const struct kv_figures *f = &row->status.figures;

	if (!row->status.has_figures)
		return;
	const struct {
		const char *kind;
		uint64_t count;
	} kinds[] = { { "stored", f->stored },
		      { "removed", f->removed },
		      { "cleared", f->cleared } };
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct prom_label labels[2] = { { "engine", bb_str_of(v->name) },
						      { "kind", bb_str_of(kinds[i].kind) } };
		prom_sample_u64(w->out, "busbar_engine_kv_events_total", labels, 2, kinds[i].count);
	}
}

static void on_engine_preemptions(void *user, const struct engine_view *v)
{
	const struct kv_writer *w = user;
	const struct prom_label label = { "engine", bb_str_of(v->name) };
	const struct kv_row *row = &w->rows[v->id.slot];

	if (row->is_known)
		prom_sample_u64(w->out, "busbar_engine_preemptions_total", &label, 1,
				row->figures.preemptions);
}

static struct kv_row *kv_rows_make(struct gateway *g)
{
	struct kv_row *rows = bb_alloc_zero(GATEWAY_ENGINES_MAX, sizeof(*rows));

	for (uint32_t i = 0; rows && i < GATEWAY_ENGINES_MAX; i++)
		rows[i].is_known = control_kv(g->control, i, &rows[i].status, &rows[i].figures);
	return rows;
}

void exposition_kv(struct gateway *g, struct bb_buf *out)
{
	struct kv_row *rows = kv_rows_make(g);
	struct kv_writer w = { .rows = rows, .out = out };

	if (!rows) {
		out->err = out->err ? out->err : -BB_ENOMEM;
		return;
	}
	gateway_lock(g);

	prom_family(out, "busbar_engine_kv_mode", "1 for how it is known what its KV cache holds.",
		    PROM_GAUGE);
	brain_engines_each(g->brain, on_engine_kv_mode, &w);
	prom_family(out, "busbar_engine_kv_events_total",
		    "Blocks that its KV events stored, removed or cleared.", PROM_COUNTER);
	brain_engines_each(g->brain, on_engine_kv_events, &w);
	for (size_t i = 0; i < sizeof(kv_families) / sizeof(kv_families[0]); i++) {
		w.family = &kv_families[i];
		prom_family(out, w.family->name, w.family->help, w.family->type);
		brain_engines_each(g->brain, on_engine_kv, &w);
	}
	prom_family(out, "busbar_engine_preemptions_total",
		    "Requests that the engine put back for want of memory, as it reports them.",
		    PROM_COUNTER);
	brain_engines_each(g->brain, on_engine_preemptions, &w);
	gateway_unlock(g);
	bb_free(rows);
}
