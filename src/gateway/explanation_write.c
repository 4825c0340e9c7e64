#include "gateway/explanation_write.h"

#include "base/log.h"
#include "gateway/record_write.h"

static void engine_add(struct bb_buf *b, struct bb_str key, struct engine_id id,
		       const struct engine_names *names)
{
	const struct bb_str name = names->get(names->user, id);

	record_text(b, key, name.len ? name : BB_STR("unknown"));
}

#define CANDIDATE_ROOM 300 /* eight numbers with their keys */

static void candidate_write(struct bb_buf *b, const struct explanation *e,
			    const struct explained_candidate *c, const struct engine_names *names)
{
	engine_add(b, BB_STR("{\"engine\":"), c->engine, names);
	if (e->has_ranks || c->rank)
		record_count(b, BB_STR(",\"rank\":"), c->rank);
	if (bb_buf_reserve(b, CANDIDATE_ROOM))
		return;
	char *to = b->p + b->len;
	RECORD_LIT(to, ",\"cached\":");
	to = record_digits(to, c->cached);
	RECORD_LIT(to, ",\"pending\":");
	to = record_digits(to, c->pending);
	RECORD_LIT(to, ",\"requests\":");
	to = record_digits(to, c->requests);
	if (c->ttft_ms > 0) {
		RECORD_LIT(to, ",\"wait_ms\":");
		to = record_decimal(to, c->wait_ms);
		RECORD_LIT(to, ",\"prefill_ms\":");
		to = record_decimal(to, c->prefill_ms);
		RECORD_LIT(to, ",\"limit_ms\":");
		to = record_decimal(to, c->limit_ms);
		RECORD_LIT(to, ",\"ttft_ms\":");
		to = record_decimal(to, c->ttft_ms);
		RECORD_LIT(to, ",\"total_ms\":");
		to = record_decimal(to, c->total_ms);
	} else {
		RECORD_LIT(to, ",\"cost\":");
		to = record_decimal(to, c->cost);
	}
	RECORD_LIT(to, "}");
	b->len = (size_t)(to - b->p);
}

static const char *const hashed_names[] = {
	[HASHES_NONE] = "nothing",
	[HASHES_TOKENS] = "tokens",
	[HASHES_TEXT] = "text",
};

static const char *failure_name(uint32_t why)
{
	static const char *const names[] = {
#define X(name, text) text,
		UPSTREAM_ERRORS(X)
#undef X
	};

	return names[why];
}

/* Names of our own: they are short and need no escapes. */
static char *name_add(char *to, const char *name)
{
	const size_t len = strlen(name);

	return (char *)memcpy(to, name, len) + len;
}

/* What was known of the prompt. */
static char *prompt_write(char *to, const struct explanation *e)
{
	RECORD_LIT(to, ",\"prompt\":");
	to = record_digits(to, e->prompt_tokens);
	if (e->is_exact)
		RECORD_LIT(to, ",\"exact\":true,\"hashed\":\"");
	else
		RECORD_LIT(to, ",\"exact\":false,\"hashed\":\"");
	to = name_add(to, hashed_names[e->hashed]);
	if (e->blocks) {
		RECORD_LIT(to, "\",\"blocks\":");
		to = record_digits(to, e->blocks);
	} else {
		RECORD_LIT(to, "\"");
	}
	if (e->has_session)
		RECORD_LIT(to, ",\"session\":true");
	return to;
}

/* What it was expected to take, and what it took. */
static char *expected_write(char *to, const struct explanation *e)
{
	RECORD_LIT(to, ",\"cached\":");
	to = record_digits(to, e->cached);
	RECORD_LIT(to, ",\"possible\":");
	to = record_digits(to, e->possible);
	if (e->has_cached) {
		RECORD_LIT(to, ",\"reported\":");
		to = record_digits(to, e->reported_cached);
	}
	if (explanation_ttft_ms(e) > 0) {
		RECORD_LIT(to, ",\"ttft_ms\":");
		to = record_decimal(to, explanation_ttft_ms(e));
	}
	if (e->first_ms > 0) {
		RECORD_LIT(to, ",\"actual_ttft_ms\":");
		to = record_decimal(to, e->first_ms);
	}
	return to;
}

#define CHOICE_ROOM 600 /* three names of at most 24 characters, ten numbers, and their keys */

static void choice_write(struct bb_buf *b, const struct explanation *e)
{
	if (bb_buf_reserve(b, CHOICE_ROOM))
		return;
	char *to = b->p + b->len;
	RECORD_LIT(to, "{\"policy\":\"");
	to = name_add(to, e->policy ? e->policy : "none");
	RECORD_LIT(to, "\",\"reason\":\"");
	to = name_add(to, decision_reason_name((enum decision_reason)e->reason));
	RECORD_LIT(to, "\"");
	if (e->held_ms > 0) {
		RECORD_LIT(to, ",\"held_ms\":");
		to = record_decimal(to, e->held_ms);
	}
	to = prompt_write(to, e);
	to = expected_write(to, e);
	RECORD_LIT(to, ",\"engines\":");
	to = record_digits(to, e->engines);
	RECORD_LIT(to, ",\"of\":");
	to = record_digits(to, e->candidates);
	RECORD_LIT(to, ",\"candidates\":[");
	b->len = (size_t)(to - b->p);
	BB_ASSERT(b->len <= b->cap);
}

/* Those that could not take it, and those that failed it; most requests have neither. */
static void others_write(struct bb_buf *b, const struct explanation *e,
			 const struct engine_names *names)
{
	uint32_t more = 0;

	for (uint32_t i = 0; i < e->left_count; i++) {
		engine_add(b, i ? BB_STR(",{\"engine\":") : BB_STR(",\"left_out\":[{\"engine\":"),
			   e->left[i].engine, names);
		record_text(
			b, BB_STR(",\"why\":"),
			bb_str_of(decision_left_out_name((enum decision_left_out)e->left[i].why)));
		bb_buf_put_str(b, i + 1 < e->left_count ? BB_STR("}") : BB_STR("}]"));
	}
	for (uint32_t i = 0; i < LEFT_OUT_COUNT; i++)
		more += e->left_out[i];
	if (more > e->left_count)
		record_count(b, BB_STR(",\"left_out_count\":"), more);
	for (uint32_t i = 0; i < e->failed_count; i++) {
		engine_add(b, i ? BB_STR(",{\"engine\":") : BB_STR(",\"failed\":[{\"engine\":"),
			   e->failed[i].engine, names);
		record_text(b, BB_STR(",\"why\":"), bb_str_of(failure_name(e->failed[i].why)));
		bb_buf_put_str(b, i + 1 < e->failed_count ? BB_STR("}") : BB_STR("}]"));
	}
}

void explanation_write(struct bb_buf *b, const struct explanation *e,
		       const struct engine_names *names)
{
	choice_write(b, e);
	for (uint32_t i = 0; i < e->best_count; i++) {
		bb_buf_put(b, ",", i ? 1 : 0);
		candidate_write(b, e, &e->best[i], names);
	}
	bb_buf_lit(b, "]");
	others_write(b, e, names);
	bb_buf_lit(b, "}");
}

/* ---- a sentence ---- */

/* "7,936" */
static void grouped_add(struct bb_buf *b, uint64_t value)
{
	char digits[28], *p = digits + sizeof(digits);

	for (int n = 0; n == 0 || value; n++, value /= 10) {
		if (n && n % 3 == 0)
			*--p = ',';
		*--p = (char)('0' + value % 10);
	}
	bb_buf_put(b, p, (size_t)(digits + sizeof(digits) - p));
}

static void of_prompt_add(struct bb_buf *b, uint64_t tokens, uint64_t prompt)
{
	grouped_add(b, tokens);
	bb_buf_lit(b, " of ");
	grouped_add(b, prompt);
	bb_buf_lit(b, " prompt tokens");
}

static void next_best_add(struct bb_buf *b, const struct reason_facts *f)
{
	const struct reason_candidate *best = &f->best[0], *next = &f->best[1];

	if (f->best_count < 2 || best->ttft_ms <= 0 || next->ttft_ms <= 0)
		return;
	const double later_ms = next->ttft_ms - best->ttft_ms;
	const double more_ms =
		best->total_ms > 0 && next->total_ms > 0 ? next->total_ms - best->total_ms : 0;
	bb_buf_lit(b, "; next best ");
	bb_buf_put_str(b, next->engine);
	if (later_ms >= 1) {
		bb_buf_lit(b, " would take ");
		grouped_add(b, (uint64_t)(later_ms + 0.5));
		bb_buf_lit(b, " ms longer");
	} else if (more_ms >= 1) {
		bb_buf_lit(b, " would cost all requests together ");
		grouped_add(b, (uint64_t)(more_ms + 0.5));
		bb_buf_lit(b, " ms more");
	} else {
		bb_buf_lit(b, " is as good");
	}
}

void reason_write(struct bb_buf *b, const struct reason_facts *f)
{
	const bool is_warm = bb_str_eq(f->reason, BB_STR("warm"));

	bb_buf_put_str(b, f->reason);
	if (bb_str_eq(f->reason, BB_STR("none"))) {
		bb_buf_lit(b, ": no engine was chosen");
	} else if (bb_str_eq(f->reason, BB_STR("only"))) {
		bb_buf_lit(b, ": no other engine could take it");
	} else if (bb_str_eq(f->reason, BB_STR("policy"))) {
		bb_buf_lit(b, ": chosen by ");
		bb_buf_put_str(b, f->policy);
		bb_buf_lit(b, ", which does not look at caches");
	} else if (bb_str_eq(f->reason, BB_STR("cold"))) {
		bb_buf_lit(b, ": no engine holds any of ");
		grouped_add(b, f->prompt_tokens);
		bb_buf_lit(b, " prompt tokens");
	} else if (is_warm || bb_str_eq(f->reason, BB_STR("load"))) {
		bb_buf_lit(b, ": ");
		of_prompt_add(b, f->cached, f->prompt_tokens);
		bb_buf_lit(b, " cached there");
		if (!is_warm) {
			bb_buf_lit(b, ", an engine with ");
			grouped_add(b, f->possible);
			bb_buf_lit(b, " is busier");
		}
	}
	next_best_add(b, f);
}

void explanation_reason(struct bb_buf *b, const struct explanation *e,
			const struct engine_names *names)
{
	struct reason_facts f = {
		.reason = bb_str_of(decision_reason_name((enum decision_reason)e->reason)),
		.policy = bb_str_of(e->policy ? e->policy : "none"),
		.prompt_tokens = e->prompt_tokens,
		.cached = e->cached,
		.possible = e->possible,
		.best_count = e->best_count < 2 ? e->best_count : 2,
	};

	for (uint32_t i = 0; i < f.best_count; i++) {
		f.best[i] = (struct reason_candidate){
			.engine = names->get(names->user, e->best[i].engine),
			.ttft_ms = e->best[i].ttft_ms,
			.total_ms = e->best[i].total_ms,
		};
		if (!f.best[i].engine.len)
			f.best[i].engine = BB_STR("engine");
	}
	reason_write(b, &f);
}
