/* request_why.c: what is said about a request's way: kept, shown in headers, written, counted. */
#include "base/log.h"
#include "gateway/explanation_write.h"
#include "gateway/request_steps.h"
#include "os/clock.h"

static struct bb_str engine_name(void *user, struct engine_id id)
{
	const struct snapshot *s = user;
	const struct snapshot_engine *e = snapshot_engine(s, id);

	return e ? s->config->engines[e - s->engines].url : (struct bb_str){ 0 };
}

static struct engine_names names_of(const struct request *r)
{
	return (struct engine_names){ engine_name, r->snapshot };
}

static uint32_t tokens_32(uint64_t tokens)
{
	return tokens > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens;
}

/* What is known before any engine is looked at. */
static void begin(struct request *r)
{
	struct explanation *e = explain_begin(&r->worker->explained, r->id, clock_wall_ns());

	r->why = e;
	if (!e)
		return;
	e->api = r->api;
	e->tenant = r->tenant ? r->tenant->ledger : UINT32_MAX;
	e->prompt_tokens = tokens_32(r->prompt_tokens);
	e->is_exact = r->tokens_exact;
	e->hashed = r->hashed;
	e->blocks = r->hash_count;
	e->has_session = r->session != 0;
}

static void count(struct metrics *m, const struct decision *d)
{
	if (d->action == DECISION_DISPATCH)
		metric_add(&m->decisions[d->policy_row][d->reason], 1);
	if (d->held_ns && d->action != DECISION_HOLD)
		histogram_add(&m->held, &bounds_held, d->held_ns);
}

void request_why_decided(struct request *r, const struct decision *d)
{
	struct explain_ring *ring = &r->worker->explained;

	count(r->worker->metrics, d);
	r->decided_ns = loop_now_ns(r->worker->loop);
	if (d->model == UINT32_MAX)
		return; /* there is no such model, and nothing was decided */
	explain_lock(ring);
	if (!r->why)
		begin(r);
	if (r->why)
		explanation_decide(r->why, d);
	explain_unlock(ring);
}

void request_why_failed(struct request *r, enum upstream_error what)
{
	if (!r->why)
		return;
	explain_lock(&r->worker->explained);
	explanation_fail(r->why, r->engine, what);
	explain_unlock(&r->worker->explained);
}

bool request_why_is_shown(const struct request *r)
{
	const enum config_switch shows =
		r->tenant ? r->tenant->config->explain : r->snapshot->config->explain;

	return shows == CONFIG_ON && r->why && r->why->best_count;
}

void request_why_fields(const struct request *r, struct bb_buf *text)
{
	const struct engine_names names = names_of(r);

	bb_buf_lit(text, "X-Busbar-Engine: ");
	bb_buf_add_str(text, engine_name(r->snapshot, r->engine));
	bb_buf_lit(text, "\r\nX-Busbar-Cached-Tokens: ");
	bb_buf_add_u64(text, r->why->cached);
	bb_buf_lit(text, "\r\nX-Busbar-Reason: ");
	explanation_reason(text, r->why, &names);
	bb_buf_lit(text, "\r\n");
}

#define RATIO_ONE 1e9f /* as histograms keep it: bounds_ratio */
#define RATIO_MAX 1e6f

/* How well it went: of requests that an engine has worked at. */
static void judge(const struct request *r, const struct explanation *e)
{
	const uint64_t hit = e->has_cached ? e->reported_cached : e->cached;
	const float predicted_ms = explanation_ttft_ms(e);

	if (!r->series || e->state != EXPLAINED_SENT || !api_info((enum api)r->api)->generates ||
	    (!r->has_first && !r->usage.known))
		return;
	metric_add(&r->series->hit_tokens, hit);
	metric_add(&r->series->possible_tokens, e->possible > hit ? e->possible : hit);
	metric_add(&r->series->regret_tokens, e->possible - e->cached);
	if (e->first_ms > 0 && predicted_ms > 0) {
		const float ratio = e->first_ms / predicted_ms;
		histogram_add(&r->worker->metrics->ttft_ratio, &bounds_ratio,
			      (uint64_t)(RATIO_ONE * (ratio < RATIO_MAX ? ratio : RATIO_MAX)));
	}
}

void request_why_ended(struct request *r, uint64_t now_ns, enum status_class class)
{
	struct explanation *e = r->why;

	if (!e)
		return;
	explain_lock(&r->worker->explained);
	e->attempts = r->attempts;
	e->class = (uint8_t) class;
	e->status = r->status;
	e->error = (int16_t)r->error;
	/* Of an answer in one piece the first byte is the last token. */
	if (r->events && r->first_ns > r->decided_ns)
		e->first_ms = (float)(r->first_ns - r->decided_ns) / 1e6f;
	e->duration_ms = (float)(now_ns - r->begin_ns) / 1e6f;
	e->has_usage = r->usage.known;
	e->has_cached = r->usage.has_cached;
	e->reported_prompt = tokens_32(r->usage.prompt);
	e->reported_cached = tokens_32(r->usage.cached);
	e->output_tokens = tokens_32(r->usage.known ? r->usage.completion : r->events);
	judge(r, e);
	e->state = EXPLAINED_OVER;
	explain_unlock(&r->worker->explained);
}

void request_why_write(const struct request *r, struct bb_buf *record)
{
	const struct engine_names names = names_of(r);

	if (r->why)
		explanation_write(record, r->why, &names);
}

void request_why_drop(struct request *r)
{
	if (!r->why)
		return;
	explain_lock(&r->worker->explained);
	explain_put(&r->worker->explained, r->why);
	explain_unlock(&r->worker->explained);
	r->why = NULL;
}
