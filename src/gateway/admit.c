#include "gateway/admit.h"

#include <stdio.h>

#include "base/log.h"
#include "os/clock.h"
#include "wire/date.h"

#define TEMPLATE_TOKENS 64 /* that a chat template puts around messages */
/* Of speech: 50 tokens a second of 12.8 KB, between what MP3 and plain samples take. */
#define FORM_BYTES_A_TOKEN 256
#define MESSAGE_MAX 512

static struct tenant_time time_now(const struct request *r)
{
	return (struct tenant_time){ loop_now_ns(r->worker->loop), clock_wall_ns() / OS_SECOND };
}

static void ledger_lock(struct gateway *g)
{
	pthread_mutex_lock(&g->tenants_lock);
}

static void ledger_unlock(struct gateway *g)
{
	pthread_mutex_unlock(&g->tenants_lock);
}

/* More header lines for whatever is answered. */
static bool fields_add(struct request *r, struct bb_str lines)
{
	struct bb_buf *text = &r->worker->text;

	bb_buf_clear(text);
	bb_buf_add_str(text, r->own_fields);
	bb_buf_add_str(text, lines);
	const struct bb_str fields =
		text->err ? (struct bb_str){ 0 } : bb_arena_dup(&r->arena, bb_buf_str(text));
	if (!fields.p)
		return false;
	r->own_fields = r->answer_fields = fields;
	return true;
}

/* ---- who it is ---- */

bool admit_needs_client(const struct snapshot *s, const struct http_head *head)
{
	const bool is_preflight = head->method == HTTP_OPTIONS && s->config->cors.origins.count;

	return s->auth && !is_preflight && !bb_str_eq(head->path, BB_STR("/health"));
}

/* RFC 6750 §3: what a client must show, and what is wrong with a token that it has shown. */
static bool challenge_add(struct request *r, const char *token_fault)
{
	char line[256];

	if (!token_fault)
		return fields_add(r, BB_STR("WWW-Authenticate: Bearer\r\n"));
	snprintf(line, sizeof(line),
		 "WWW-Authenticate: Bearer error=\"invalid_token\", error_description=\"%s\"\r\n",
		 token_fault);
	return fields_add(r, bb_str_of(line));
}

/* A token is right and leads to nobody: which claim says so, and not what it says. */
static void refuse_stranger(struct request *r)
{
	char message[MESSAGE_MAX];

	snprintf(message, sizeof(message), "the claim '%.*s' of the token names no tenant of this gateway",
		 BB_ARG(r->snapshot->config->jwt.tenant_claim));
	request_fail(r, -BB_EFORBIDDEN, bb_str_of(message), NULL);
}

bool admit_client(struct request *r)
{
	struct auth_client client;
	const uint64_t unix_s = clock_wall_ns() / OS_SECOND;

	const enum auth_outcome outcome =
		auth_check(r->snapshot->auth, r->x->head, unix_s, r->worker->tokens, &client);
	r->tenant = client.tenant;
	if (outcome == AUTH_OK)
		return true;
	if (outcome == AUTH_NOMEM) {
		request_fail(r, -BB_ENOMEM, BB_STR(""), NULL);
		return false;
	}
	const char *text = client.token_fault ? client.token_fault : auth_outcome_text(outcome);
	metric_add(&r->worker->metrics->unauthorized, 1);
	if (outcome == AUTH_STRANGER)
		refuse_stranger(r);
	else if (outcome == AUTH_NO_KEYS)
		request_fail(r, -BB_EBUSY, bb_str_of(text), NULL);
	else if (challenge_add(r, client.token_fault))
		request_fail(r, -BB_EAUTH, bb_str_of(text), NULL);
	else
		request_fail(r, -BB_ENOMEM, BB_STR(""), NULL);
	return false;
}

/* ---- which models ---- */

/* The same words whether there is such a model or not. */
static void refuse_model(struct request *r)
{
	char message[MESSAGE_MAX];

	snprintf(message, sizeof(message), "the API key may not use the model `%.*s`",
		 (int)(r->model.len > 100 ? 100 : r->model.len), r->model.p ? r->model.p : "");
	request_fail(r, -BB_EFORBIDDEN, bb_str_of(message), "model");
}

bool admit_model(struct request *r)
{
	struct gateway *g = r->worker->gateway;
	char name[BRAIN_NAME_MAX + 1];

	if (auth_allows_model(r->tenant, r->model))
		return true;
	gateway_lock(g);
	const bool is_known = brain_model_named(g->brain, r->model, name);
	gateway_unlock(g);
	if (is_known && auth_allows_model(r->tenant, bb_str_of(name)))
		return true;
	refuse_model(r);
	return false;
}

bool admit_decision(struct request *r, const struct decision *d)
{
	if (auth_allows_model(r->tenant, r->model) ||
	    (d->model_name[0] && auth_allows_model(r->tenant, bb_str_of(d->model_name))))
		return true;
	if (d->request.generation) {
		r->in_brain = true;
		r->brain_id = d->request;
		request_leave_engine(r, OUTCOME_CANCELED);
	}
	refuse_model(r);
	return false;
}

/* ---- limits ---- */

static uint64_t prompt_estimate(const struct request *r)
{
	if (r->body_facts)
		return r->prompt_tokens;
	return (r->body_bytes + FORM_BYTES_A_TOKEN - 1) / FORM_BYTES_A_TOKEN;
}

/* Of all answers together; UINT64_MAX when the client says none. */
static uint64_t output_max(const struct request *r)
{
	uint64_t all;

	if (!api_info((enum api)r->api)->generates)
		return 0;
	if (!r->body_facts || r->body_facts->max_tokens == OPENAI_MAX_TOKENS_ABSENT ||
	    __builtin_mul_overflow(r->body_facts->max_tokens, r->body_facts->n, &all))
		return UINT64_MAX;
	return all;
}

/* "850ms" "12s" "1m30s" "2h5m0s", as OpenAI writes the time until a limit is whole again. */
static void part_add(struct bb_buf *b, uint64_t value, struct bb_str unit)
{
	bb_buf_add_u64(b, value);
	bb_buf_put_str(b, unit);
}

static void reset_add(struct bb_buf *b, uint64_t ns)
{
	const uint64_t ms = ns / OS_MS + (ns % OS_MS != 0), s = (ms + 999) / 1000;

	if (ms < 1000) {
		part_add(b, ms, BB_STR("ms"));
		return;
	}
	if (s >= 3600)
		part_add(b, s / 3600, BB_STR("h"));
	if (s >= 60)
		part_add(b, s / 60 % 60, BB_STR("m"));
	part_add(b, s % 60, BB_STR("s"));
}

static void field_add(struct bb_buf *b, struct bb_str field, struct bb_str name)
{
	bb_buf_put_str(b, field);
	bb_buf_put_str(b, name);
	bb_buf_lit(b, ": ");
}

/* On the way of each request: no format is interpreted. */
static void window_add(struct bb_buf *b, struct bb_str name, const struct tenant_window *w)
{
	if (w->limit == 0)
		return;
	field_add(b, BB_STR("x-ratelimit-limit-"), name);
	bb_buf_add_u64(b, w->limit);
	field_add(b, BB_STR("\r\nx-ratelimit-remaining-"), name);
	bb_buf_add_u64(b, w->left);
	field_add(b, BB_STR("\r\nx-ratelimit-reset-"), name);
	reset_add(b, w->reset_ns);
	bb_buf_lit(b, "\r\n");
}

static bool limits_tell(struct request *r, const struct tenant_verdict *v)
{
	struct bb_buf lines;

	if (v->requests.limit == 0 && v->tokens.limit == 0 && v->refusal == TENANT_REFUSAL_NONE)
		return true;
	bb_buf_init(&lines, 1024);
	window_add(&lines, BB_STR("requests"), &v->requests);
	window_add(&lines, BB_STR("tokens"), &v->tokens);
	/* SDKs try a 429 again by themselves; here it would never help. */
	if (v->refusal == TENANT_REFUSAL_SIZE || v->refusal == TENANT_REFUSAL_BUDGET)
		bb_buf_lit(&lines, "x-should-retry: false\r\n");
	const bool is_told = !lines.err && fields_add(r, bb_buf_str(&lines));
	bb_buf_fini(&lines);
	return is_told;
}

static void explain(const struct tenant_verdict *v, const struct tenant_time *now,
		    struct bb_buf *out)
{
	const unsigned long long limit = v->limit, needed = v->needed;

	switch (v->refusal) {
	case TENANT_REFUSAL_NONE: return;
	case TENANT_REFUSAL_REQUESTS:
		bb_buf_printf(out, "the limit of %llu requests a minute is reached; try again in ",
			      limit);
		reset_add(out, v->retry_after_ns);
		return;
	case TENANT_REFUSAL_TOKENS:
		bb_buf_printf(out,
			      "the limit of %llu tokens a minute is reached and this request needs %llu; "
			      "try again in ",
			      limit, needed);
		reset_add(out, v->retry_after_ns);
		return;
	case TENANT_REFUSAL_SIZE:
		bb_buf_printf(out,
			      "this request needs %llu tokens, more than the %llu that are allowed a "
			      "minute",
			      needed, limit);
		return;
	case TENANT_REFUSAL_CONCURRENT:
		bb_buf_printf(out,
			      "%llu requests are under way, as many as are allowed at once; try again "
			      "when one has ended",
			      limit);
		return;
	case TENANT_REFUSAL_BUDGET:
		bb_buf_printf(out,
			      "the budget of %llu tokens a month does not hold the %llu that this request "
			      "needs; the next one begins on ",
			      limit, needed);
		date_write(now->unix_s + v->retry_after_ns / OS_SECOND, out);
	}
}

static void refuse(struct request *r, int err, const struct tenant_verdict *v,
		   const struct tenant_time *now)
{
	const uint64_t wait_s = (v->retry_after_ns + OS_SECOND - 1) / OS_SECOND;
	struct bb_buf message;

	r->retry_after_s = v->refusal == TENANT_REFUSAL_SIZE	   ? REQUEST_NEVER
			   : v->refusal == TENANT_REFUSAL_CONCURRENT ? 1
			   : wait_s > REQUEST_RETRY_S_MAX	   ? REQUEST_RETRY_S_MAX
								   : (uint32_t)wait_s;
	bb_buf_init(&message, MESSAGE_MAX);
	explain(v, now, &message);
	request_fail(r, err, bb_buf_str(&message), NULL);
	bb_buf_fini(&message);
}

bool admit_request(struct request *r)
{
	struct gateway *g = r->worker->gateway;
	const struct tenant_time now = time_now(r);
	struct tenant_verdict v;

	if (!r->tenant)
		return true;
	const uint64_t prompt = prompt_estimate(r);
	const struct tenant_ask ask = {
		.prompt_tokens = prompt,
		/* Code and other scripts come to up to half more than an estimate. */
		.prompt_tokens_max =
			r->tokens_exact ? prompt : prompt + prompt / 2 + TEMPLATE_TOKENS,
		.output_tokens_max = output_max(r),
	};
	ledger_lock(g);
	const int rc = tenants_reserve(g->tenants, r->tenant->ledger, now, &ask, &r->hold, &v);
	ledger_unlock(g);
	if (!limits_tell(r, &v)) {
		request_fail(r, -BB_ENOMEM, BB_STR(""), NULL);
		return false;
	}
	if (rc)
		refuse(r, rc, &v, &now);
	return !rc;
}

/* ---- afterwards ---- */

/*
 * What the request has used: what the engine says; else what came by; else, where an engine
 * answered and said nothing, what had been reserved for it. A client that leaves before the first
 * token has had its prompt worked at.
 */
static struct tenant_use use_of(const struct request *r)
{
	const uint64_t prompt = prompt_estimate(r);
	const bool is_good = r->engine_status >= 200 && r->engine_status < 300;
	struct tenant_use use = { .end = TENANT_END_SERVED };

	if (r->usage.known) {
		use.prompt_tokens = r->usage.prompt;
		use.output_tokens = r->usage.completion;
	} else if (r->events || (r->x->gone && r->attempts)) {
		use.prompt_tokens = prompt;
		use.output_tokens = r->events;
	} else if (is_good) {
		use.prompt_tokens = prompt;
		use.output_tokens = r->hold.tokens > prompt ? r->hold.tokens - prompt : 0;
	} else {
		use.end = TENANT_END_UNSERVED;
	}
	return use;
}

_Static_assert((int)STATUS_CLASSES == TENANT_CLASSES, "both count the same classes");

void admit_settle(struct request *r, enum status_class class)
{
	struct gateway *g = r->worker->gateway;

	if (!r->tenant)
		return;
	const struct tenant_use use = use_of(r);
	const struct tenant_count count = {
		.class = class,
		.prompt_tokens = r->usage.prompt,
		.cached_tokens = r->usage.cached,
		.output_tokens = r->usage.completion,
	};
	ledger_lock(g);
	tenants_settle(g->tenants, time_now(r), &r->hold, &use);
	tenants_count(g->tenants, r->tenant->ledger, &count);
	ledger_unlock(g);
}

int admit_prepare(struct gateway *g, struct snapshot *s)
{
	const uint32_t count = s->auth ? auth_tenant_count(s->auth) : 0;
	int rc = 0;

	for (uint32_t i = 0; i < count && !rc; i++) {
		uint32_t ledger = 0;
		ledger_lock(g);
		rc = tenants_add(g->tenants, auth_tenant_at(s->auth, i)->config->name, &ledger);
		ledger_unlock(g);
		if (!rc)
			auth_set_ledger(s->auth, i, ledger);
	}
	return rc;
}

void admit_enforce(struct gateway *g, const struct snapshot *s)
{
	const uint32_t count = s->auth ? auth_tenant_count(s->auth) : 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct auth_tenant *t = auth_tenant_at(s->auth, i);
		const struct config_budget *b = &t->config->budget;
		const struct tenant_limits limits = {
			.requests_per_minute = t->config->limits.requests_per_minute,
			.tokens_per_minute = t->config->limits.tokens_per_minute,
			.concurrent = t->config->limits.concurrent,
			.tokens_per_month = b->kind == CONFIG_BUDGET_TOKENS ? b->amount : 0,
		};
		ledger_lock(g);
		tenants_limit(g->tenants, t->ledger, clock_now_ns(), &limits);
		ledger_unlock(g);
	}
}
