#include "cmd/replay_policies.h"

#include "base/alloc.h"
#include "brain/index.h"
#include "brain/policy/estimate.h"

/* One choice. */
struct look {
	uint32_t slot, lane_key;
	double ttft_ms, total_ms;
	uint32_t cached;
};

struct row {
	const struct policy *policy; /* NULL: what was chosen */
	struct look look;
	uint64_t decisions, differed, cached;
	double ttft_ms, total_ms;
	uint64_t *of_engine; /* REPLAY_ENGINES_MAX: decisions, by the engine's slot */
};

struct replay_policies {
	struct bb_rng rng;
	double *ttft_ms, *total_ms;
	double *cost;
	struct row rows[REPLAY_POLICIES_MAX + 1];
	uint32_t count;
};

static int row_add(struct replay_policies *p, const struct policy *policy)
{
	if (p->count == REPLAY_POLICIES_MAX + 1)
		return -BB_ELIMIT;
	struct row *r = &p->rows[p->count++];
	r->policy = policy;
	r->of_engine = bb_alloc_zero(REPLAY_ENGINES_MAX, sizeof(*r->of_engine));
	return r->of_engine ? 0 : -BB_ENOMEM;
}

static int rows_add(struct replay_policies *p, const char *names, struct bb_str *unknown)
{
	struct bb_str rest = bb_str_of(names);
	int rc = row_add(p, NULL);

	while (!rc && rest.len) {
		const struct bb_str name = bb_str_cut(&rest, ',');
		char text[64] = "";
		if (name.len < sizeof(text))
			memcpy(text, name.p, name.len);
		const struct policy *policy = policy_find(text);
		*unknown = name;
		rc = policy ? row_add(p, policy) : -BB_EINVALID;
	}
	return rc;
}

int replay_policies_create(const char *names, struct replay_policies **out, struct bb_str *unknown)
{
	struct replay_policies *p = bb_alloc_zero(1, sizeof(*p));

	if (!p)
		return -BB_ENOMEM;
	bb_rng_seed(&p->rng, 1);
	p->ttft_ms = bb_alloc_zero(INDEX_ROWS_MAX, sizeof(*p->ttft_ms));
	p->total_ms = bb_alloc_zero(INDEX_ROWS_MAX, sizeof(*p->total_ms));
	p->cost = bb_alloc_zero(INDEX_ROWS_MAX, sizeof(*p->cost));
	int rc = p->ttft_ms && p->total_ms && p->cost ? 0 : -BB_ENOMEM;
	if (!rc)
		rc = rows_add(p, names, unknown);
	if (rc) {
		replay_policies_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void replay_policies_destroy(struct replay_policies *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->count; i++)
		bb_free(p->rows[i].of_engine);
	bb_free(p->ttft_ms);
	bb_free(p->total_ms);
	bb_free(p->cost);
	bb_free(p);
}

/* ---- looking ---- */

static struct look look_at(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	const struct policy_terms t = estimate_explain(c, in, i);

	return (struct look){ .slot = c->slot[i],
			      .lane_key = i,
			      .ttft_ms = t.ttft_ms,
			      .total_ms = t.total_ms,
			      .cached = c->cached[i] };
}

void replay_policies_look(struct replay_policies *p, const struct candidates *c,
			  const struct policy_input *in, const double *cost, uint32_t chosen)
{
	struct candidates mine = *c; /* with columns and a generator of our own */
	struct policy_input asked = *in;

	mine.ttft_ms = p->ttft_ms;
	mine.total_ms = p->total_ms;
	asked.rng = &p->rng;
	for (uint32_t i = 0; i < p->count; i++) {
		struct row *r = &p->rows[i];
		uint32_t pick = chosen;
		double next;
		if (r->policy) {
			r->policy->score(&mine, &asked, p->cost);
			pick = policy_pick(p->cost, c->count, &p->rng, &next);
		}
		r->look = look_at(&mine, &asked, pick);
	}
}

void replay_policies_count(struct replay_policies *p)
{
	for (uint32_t i = 0; i < p->count; i++) {
		struct row *r = &p->rows[i];
		const struct look *l = &r->look;
		r->decisions++;
		r->differed += l->lane_key != p->rows[0].look.lane_key;
		r->cached += l->cached;
		r->ttft_ms += l->ttft_ms;
		r->total_ms += l->total_ms;
		if (l->slot < REPLAY_ENGINES_MAX)
			r->of_engine[l->slot]++;
	}
}

/* ---- telling ---- */

static uint64_t busiest(const struct row *r)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < REPLAY_ENGINES_MAX; i++)
		if (r->of_engine[i] > most)
			most = r->of_engine[i];
	return most;
}

static uint32_t engines_used(const struct row *r)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < REPLAY_ENGINES_MAX; i++)
		count += r->of_engine[i] > 0;
	return count;
}

void replay_policies_print(const struct replay_policies *p, FILE *out)
{
	const double n = p->rows[0].decisions ? (double)p->rows[0].decisions : 1;

	fprintf(out,
		"\nOf %llu decisions that sent a request to an engine (open loop: each looks at "
		"the state that\n"
		"the real choices led to; times are lookahead's predictions for the engine "
		"chosen):\n\n",
		(unsigned long long)p->rows[0].decisions);
	fprintf(out, "%-16s %9s %10s %11s %14s %8s %9s\n", "POLICY", "DIFFERS", "TTFT ms",
		"TOTAL ms", "CACHED tokens", "ENGINES", "BUSIEST");
	for (uint32_t i = 0; i < p->count; i++) {
		const struct row *r = &p->rows[i];
		fprintf(out, "%-16s %8.2f%% %10.2f %11.2f %14.1f %8u %8.1f%%\n",
			r->policy ? r->policy->name : "(recorded)", 100 * (double)r->differed / n,
			r->ttft_ms / n, r->total_ms / n, (double)r->cached / n, engines_used(r),
			100 * (double)busiest(r) / n);
	}
}

static void row_json(const struct row *r, struct bb_buf *out)
{
	const double n = r->decisions ? (double)r->decisions : 1;
	const char *comma = "";

	bb_buf_printf(out,
		      "{\"policy\":%s%s%s,\"decisions\":%llu,\"differs\":%llu,\"ttft_ms\":%.6g,"
		      "\"total_ms\":%.6g,\"cached_tokens\":%llu,\"engines\":{",
		      r->policy ? "\"" : "", r->policy ? r->policy->name : "null",
		      r->policy ? "\"" : "", (unsigned long long)r->decisions,
		      (unsigned long long)r->differed, r->ttft_ms / n, r->total_ms / n,
		      (unsigned long long)r->cached);
	for (uint32_t i = 0; i < REPLAY_ENGINES_MAX; i++) {
		if (!r->of_engine[i])
			continue;
		bb_buf_printf(out, "%s\"%u\":%llu", comma, i, (unsigned long long)r->of_engine[i]);
		comma = ",";
	}
	bb_buf_lit(out, "}}");
}

void replay_policies_json(const struct replay_policies *p, struct bb_buf *out)
{
	bb_buf_lit(out, ",\"policies\":[");
	for (uint32_t i = 0; i < p->count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		row_json(&p->rows[i], out);
	}
	bb_buf_lit(out, "]");
}
