/* explain.c: GET /admin/explain/ID: the latest decision for a request, in the form of its record.
 */
#include "base/log.h"
#include "gateway/control.h"
#include "gateway/explanation_write.h"
#include "gateway/record_write.h"
#include "gateway/worker.h"
#include "os/clock.h"

/* The latest in any worker's ring: clients may use an id twice. */
static bool find(struct gateway *g, struct bb_str id, struct explanation *out)
{
	struct explanation e;
	bool is_found = false;

	for (uint32_t i = 0; i < g->worker_count; i++)
		if (explain_find(&g->workers[i]->explained, id, &e) &&
		    (!is_found || e.wall_ns > out->wall_ns)) {
			*out = e;
			is_found = true;
		}
	return is_found;
}

static struct bb_str engine_name(void *user, struct engine_id id)
{
	struct engine_view v;

	return brain_engine_view(user, id, &v) ? bb_str_of(v.name) : (struct bb_str){ 0 };
}

static const char *state_name(const struct explanation *e)
{
	switch ((enum explained_state)e->state) {
	case EXPLAINED_HELD: return "held";
	case EXPLAINED_SENT: return "sent";
	case EXPLAINED_REFUSED: return "refused";
	case EXPLAINED_OVER: break;
	}
	return "over";
}

static void end_write(struct bb_buf *b, const struct explanation *e)
{
	static const char *const outcomes[] = { "ok", "client_error", "error", "canceled" };

	record_count(b, BB_STR(",\"status\":"), (uint64_t)(e->status > 0 ? e->status : 0));
	record_text(b, BB_STR(",\"outcome\":"), bb_str_of(outcomes[e->class]));
	if (e->error)
		record_text(b, BB_STR(",\"error\":"), bb_str_of(bb_error_info(e->error)->code));
	if (e->has_usage) {
		record_count(b, BB_STR(",\"prompt_tokens\":"), e->reported_prompt);
		record_count(b, BB_STR(",\"cached_tokens\":"), e->reported_cached);
		record_count(b, BB_STR(",\"output_tokens\":"), e->output_tokens);
	}
	record_tenths(b, BB_STR(",\"duration_ms\":"), e->duration_ms);
	if (e->attempts > 1)
		record_count(b, BB_STR(",\"attempts\":"), e->attempts);
}

/* Under the brain's lock, which also keeps the names. */
static void body_write(struct gateway *g, struct bb_str id, const struct explanation *e,
		       struct bb_buf *b)
{
	const struct engine_names names = { engine_name, g->brain };
	const char *model = brain_model_name(g->brain, e->model);
	char time[32];

	clock_iso(e->wall_ns, time);
	bb_buf_lit(b, "{\"id\":");
	bb_buf_add_json(b, id);
	record_text(b, BB_STR(",\"decided\":"), bb_str_of(time));
	record_text(b, BB_STR(",\"state\":"), bb_str_of(state_name(e)));
	record_text(b, BB_STR(",\"api\":"), bb_str_of(api_info((enum api)e->api)->label));
	if (model)
		record_text(b, BB_STR(",\"model\":"), bb_str_of(model));
	if (e->best_count) {
		const struct bb_str engine = engine_name(g->brain, e->best[0].engine);
		record_text(b, BB_STR(",\"engine\":"), engine.len ? engine : BB_STR("unknown"));
	}
	if (e->state == EXPLAINED_OVER)
		end_write(b, e);
	else
		record_tenths(b, BB_STR(",\"age_ms\":"),
			      (float)(clock_wall_ns() - e->wall_ns) / 1e6f);
	bb_buf_lit(b, ",\"decision\":");
	explanation_write(b, e, &names);
}

bool explain_write(struct gateway *g, struct bb_str id, struct bb_buf *out)
{
	struct explanation e;

	if (!find(g, id, &e))
		return false;
	gateway_lock(g);
	body_write(g, id, &e, out);
	gateway_unlock(g);
	if (e.tenant != UINT32_MAX) {
		pthread_mutex_lock(&g->tenants_lock);
		record_text(out, BB_STR(",\"tenant\":"),
			    bb_str_of(tenants_name(g->tenants, e.tenant)));
		pthread_mutex_unlock(&g->tenants_lock);
	}
	bb_buf_lit(out, "}\n");
	return true;
}
