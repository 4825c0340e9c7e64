#include "wire/validate.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

#define TEXT_MAX 256

enum rule_kind {
	RULE_BOOL,
	RULE_INTEGER,	      /* min … max */
	RULE_NUMBER,	      /* min … max */
	RULE_BOOL_OR_INTEGER, /* min … max */
	RULE_STRING,
	RULE_OBJECT,
	RULE_ARRAY,		/* at most max elements */
	RULE_STRINGS,		/* at most max strings */
	RULE_STRING_OR_STRINGS, /* a string, or at most max of them */
	RULE_STRING_OR_ARRAY,
	RULE_PROMPT, /* a string, an array of strings, of token ids, or of arrays of token ids */
	RULE_MESSAGES,
};

struct rule {
	struct bb_str key;
	uint64_t apis; /* bit per enum api */
	enum rule_kind kind;
	double min, max;
};

#define A(name) (1ull << API_##name)
#define SAMPLES (A(CHAT) | A(COMPLETIONS) | A(RESPONSES) | A(MESSAGES))
#define OPENAI_SAMPLES (A(CHAT) | A(COMPLETIONS) | A(RESPONSES))
#define TALKS (A(CHAT) | A(MESSAGES) | A(COUNT_TOKENS))
#define TEMPLATES (A(CHAT) | A(COMPLETIONS) | A(TOKENIZE) | A(EMBEDDINGS) | A(SCORE))
#define PICTURES (A(IMAGES) | A(IMAGE_EDITS))
#define ANY_INTEGER -HUGE_VAL, HUGE_VAL

/* By the length of the key, then by its bytes: see rule_find. */
static const struct rule rules[] = {
	/* clang-format off */
	{ BB_STR_INIT("n"), A(CHAT) | A(COMPLETIONS) | PICTURES, RULE_INTEGER, 1, 128 },
	{ BB_STR_INIT("echo"), A(COMPLETIONS) | A(CHAT), RULE_BOOL, 0, 0 },
	{ BB_STR_INIT("seed"), OPENAI_SAMPLES, RULE_INTEGER, ANY_INTEGER },
	{ BB_STR_INIT("stop"), A(CHAT) | A(COMPLETIONS), RULE_STRING_OR_STRINGS, 0, 16 },
	{ BB_STR_INIT("user"), OPENAI_SAMPLES | A(EMBEDDINGS) | PICTURES, RULE_STRING, 0, 0 },
	{ BB_STR_INIT("input"), A(RESPONSES) | A(EMBEDDINGS), RULE_STRING_OR_ARRAY, 0, 0 },
	{ BB_STR_INIT("input"), A(SPEECH), RULE_STRING, 0, 0 },
	{ BB_STR_INIT("min_p"), SAMPLES, RULE_NUMBER, 0, 1 },
	{ BB_STR_INIT("tools"), A(CHAT) | A(RESPONSES) | A(MESSAGES), RULE_ARRAY, 0, 128 },
	{ BB_STR_INIT("top_k"), SAMPLES, RULE_INTEGER, -1, HUGE_VAL },
	{ BB_STR_INIT("top_p"), SAMPLES, RULE_NUMBER, 0, 1 },
	{ BB_STR_INIT("prompt"), A(COMPLETIONS), RULE_PROMPT, 0, 0 },
	{ BB_STR_INIT("prompt"), PICTURES | A(TOKENIZE), RULE_STRING, 0, 0 },
	{ BB_STR_INIT("system"), A(MESSAGES) | A(COUNT_TOKENS), RULE_STRING_OR_ARRAY, 0, 0 },
	{ BB_STR_INIT("best_of"), A(CHAT) | A(COMPLETIONS), RULE_INTEGER, 1, 128 },
	{ BB_STR_INIT("logprobs"), A(CHAT) | A(COMPLETIONS), RULE_BOOL_OR_INTEGER, -1, HUGE_VAL },
	{ BB_STR_INIT("messages"), TALKS, RULE_MESSAGES, 0, 0 },
	{ BB_STR_INIT("functions"), A(CHAT), RULE_ARRAY, 0, 128 },
	{ BB_STR_INIT("ignore_eos"), SAMPLES, RULE_BOOL, 0, 0 },
	{ BB_STR_INIT("logit_bias"), A(CHAT) | A(COMPLETIONS), RULE_OBJECT, 0, 0 },
	{ BB_STR_INIT("min_tokens"), SAMPLES, RULE_INTEGER, 0, HUGE_VAL },
	{ BB_STR_INIT("temperature"), OPENAI_SAMPLES, RULE_NUMBER, 0, 2 },
	{ BB_STR_INIT("temperature"), A(MESSAGES), RULE_NUMBER, 0, 1 },
	{ BB_STR_INIT("top_logprobs"), OPENAI_SAMPLES, RULE_INTEGER, -1, HUGE_VAL },
	{ BB_STR_INIT("stop_sequences"), A(MESSAGES), RULE_STRINGS, 0, 64 },
	{ BB_STR_INIT("prompt_logprobs"), A(CHAT) | A(COMPLETIONS), RULE_INTEGER, -1, HUGE_VAL },
	{ BB_STR_INIT("presence_penalty"), SAMPLES, RULE_NUMBER, -2, 2 },
	{ BB_STR_INIT("frequency_penalty"), SAMPLES, RULE_NUMBER, -2, 2 },
	{ BB_STR_INIT("add_special_tokens"), TEMPLATES, RULE_BOOL, 0, 0 },
	{ BB_STR_INIT("add_generation_prompt"), TEMPLATES, RULE_BOOL, 0, 0 },
	{ BB_STR_INIT("continue_final_message"), TEMPLATES, RULE_BOOL, 0, 0 },
	/* clang-format on */
};
#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

int refusal_set(struct refusal *r, int rc, const char *param, const char *what, const char *at)
{
	*r = (struct refusal){ param, what, at };
	return rc;
}

const char *refusal_text(struct bb_arena *arena, const char *instead, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	const int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n < 0 || n >= (int)sizeof(text))
		return instead;
	const struct bb_str copy = bb_arena_dup(arena, (struct bb_str){ text, (size_t)n });
	return copy.p ? copy.p : instead;
}

/* < 0, 0, > 0: by length, then by bytes. */
static int key_compare(struct bb_str a, struct bb_str b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return memcmp(a.p, b.p, a.len);
}

/* The first rule of a key, RULE_COUNT: none. A key with escapes is looked for one by one. */
static size_t rule_find(const struct json_member *m)
{
	size_t from = 0, to = RULE_COUNT;

	if (m->key_has_escape) {
		while (from < to && !json_inner_eq(m->key, rules[from].key))
			from++;
		return from;
	}
	while (from < to) {
		const size_t mid = from + (to - from) / 2;
		if (key_compare(rules[mid].key, m->key) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from < RULE_COUNT && bb_str_eq(rules[from].key, m->key) ? from : RULE_COUNT;
}

/* A whole number of any size, whether written 5, 5.0 or 5e0. */
static bool is_integer(struct bb_str raw, double *value)
{
	if (json_double(raw, value))
		return false;
	const bool has_fraction = memchr(raw.p, '.', raw.len) || memchr(raw.p, 'e', raw.len) ||
				  memchr(raw.p, 'E', raw.len);
	return !has_fraction || *value == floor(*value);
}

static int refuse(struct validate_scan *v, const struct rule *rule, const struct json_member *m,
		  const char *what)
{
	return refusal_set(v->refusal, -BB_EINVALID, rule->key.p, what, m->value.p);
}

static int refuse_range(struct validate_scan *v, const struct rule *rule,
			const struct json_member *m)
{
	const char *const kind = rule->kind == RULE_NUMBER ? "a number"
				 : rule->kind == RULE_BOOL_OR_INTEGER
					 ? "a boolean or a whole number"
					 : "a whole number";
	const char *what = kind;

	if (isinf(rule->max) && isinf(rule->min))
		what = refusal_text(v->arena, "is out of range", "must be %s", kind);
	else if (isinf(rule->max))
		what = refusal_text(v->arena, "is out of range", "must be %s, at least %g", kind,
				    rule->min);
	else
		what = refusal_text(v->arena, "is out of range", "must be %s from %g to %g", kind,
				    rule->min, rule->max);
	return refuse(v, rule, m, what);
}

static int check_range(struct validate_scan *v, const struct rule *rule,
		       const struct json_member *m)
{
	double value;

	if (rule->kind == RULE_BOOL_OR_INTEGER && (m->type == JSON_TRUE || m->type == JSON_FALSE))
		return 0;
	const bool is_right = rule->kind == RULE_NUMBER ? !json_double(m->value, &value)
							: is_integer(m->value, &value);
	if (!is_right || !(value >= rule->min && value <= rule->max))
		return refuse_range(v, rule, m);
	return 0;
}

static int refuse_count(struct validate_scan *v, const struct rule *rule,
			const struct json_member *m)
{
	return refuse(v, rule, m,
		      refusal_text(v->arena, "has too many elements",
				   "must have at most %g elements", rule->max));
}

/* At most so many strings. */
static int check_strings(struct validate_scan *v, const struct rule *rule,
			 const struct json_member *m)
{
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	uint32_t count = 0;

	if (m->type != JSON_ARRAY)
		return refuse(v, rule, m, "must be an array");
	json_pull_init(&j, m->value);
	json_pull_array(&j);
	while (json_pull_more(&j) && json_pull_value(&j, &raw, &type)) {
		if (type != JSON_STRING)
			return refuse(v, rule, m, "must hold strings only");
		if (++count > rule->max)
			return refuse_count(v, rule, m);
	}
	return 0;
}

/* The first element tells what the array is of; the engine looks at the others. */
static int check_prompt(struct validate_scan *v, const struct rule *rule,
			const struct json_member *m)
{
	struct json_pull j;

	if (m->type == JSON_STRING)
		return 0;
	json_pull_init(&j, m->value);
	if (!json_pull_array(&j))
		return refuse(v, rule, m, "must be a string or an array");
	if (!json_pull_more(&j))
		return refuse(v, rule, m, "must not be empty");
	const enum json_type type = json_pull_type(&j);
	if (type != JSON_STRING && type != JSON_NUMBER && type != JSON_ARRAY)
		return refuse(v, rule, m, "must hold strings, token ids or arrays of token ids");
	return 0;
}

static int check_messages(struct validate_scan *v, const struct rule *rule,
			  const struct json_member *m)
{
	if (m->type != JSON_ARRAY)
		return refuse(v, rule, m, "must be an array of messages");
	if (v->element_count == 0)
		return refuse(v, rule, m, "must have at least one message");
	v->has_messages = true;
	return 0;
}

static int check(struct validate_scan *v, const struct rule *rule, const struct json_member *m)
{
	switch (rule->kind) {
	case RULE_BOOL:
		return m->type == JSON_TRUE || m->type == JSON_FALSE
			       ? 0
			       : refuse(v, rule, m, "must be true or false");
	case RULE_INTEGER:
	case RULE_NUMBER:
	case RULE_BOOL_OR_INTEGER: return check_range(v, rule, m);
	case RULE_STRING:
		return m->type == JSON_STRING ? 0 : refuse(v, rule, m, "must be a string");
	case RULE_OBJECT:
		return m->type == JSON_OBJECT ? 0 : refuse(v, rule, m, "must be an object");
	case RULE_STRING_OR_STRINGS:
		if (m->type == JSON_STRING)
			return 0;
		if (m->type != JSON_ARRAY)
			return refuse(v, rule, m, "must be a string or an array of strings");
		return check_strings(v, rule, m);
	case RULE_STRINGS: return check_strings(v, rule, m);
	case RULE_ARRAY:
		if (m->type != JSON_ARRAY)
			return refuse(v, rule, m, "must be an array");
		return v->element_count <= rule->max ? 0 : refuse_count(v, rule, m);
	case RULE_STRING_OR_ARRAY:
		return m->type == JSON_STRING || m->type == JSON_ARRAY
			       ? 0
			       : refuse(v, rule, m, "must be a string or an array");
	case RULE_PROMPT: return check_prompt(v, rule, m);
	case RULE_MESSAGES: return check_messages(v, rule, m);
	}
	BB_ASSERT(false);
	return 0;
}

/* What is asked of this member at this endpoint; NULL: nothing. */
static const struct rule *rule_of(const struct validate_scan *v, const struct json_member *m)
{
	for (size_t i = rule_find(m); i < RULE_COUNT; i++) {
		if (rules[i].apis & 1ull << v->api)
			return &rules[i];
		if (i + 1 == RULE_COUNT || !bb_str_eq(rules[i + 1].key, rules[i].key))
			break;
	}
	return NULL;
}

int validate_member(struct validate_scan *v, const struct json_member *m)
{
	const struct rule *const rule = m->type == JSON_NULL ? NULL : rule_of(v, m);

	return rule ? check(v, rule, m) : 0;
}

/* ---- inside ---- */

bool validate_watches(struct validate_scan *v, const struct json_member *m)
{
	const struct rule *const rule = m->type == JSON_ARRAY ? rule_of(v, m) : NULL;

	v->in_messages = rule && rule->kind == RULE_MESSAGES;
	v->element_count = 0;
	return rule && (rule->kind == RULE_MESSAGES || rule->kind == RULE_ARRAY);
}

static int refuse_message(struct validate_scan *v, const char *member, const char *what,
			  const char *at)
{
	return refusal_set(
		v->refusal, -BB_EINVALID,
		refusal_text(v->arena, "messages", "messages[%u]%s", v->element_count - 1, member),
		what, at);
}

static inline bool key_is(const struct json_member *m, struct bb_str key)
{
	if (__builtin_expect(m->key_has_escape, 0))
		return json_inner_eq(m->key, key);
	return m->key.len == key.len && memcmp(m->key.p, key.p, key.len) == 0;
}

/* A member of a message. */
static int message_member(struct validate_scan *v, const struct json_member *m)
{
	if (key_is(m, BB_STR("role"))) {
		if (m->type != JSON_STRING)
			return refuse_message(v, ".role", "must be a string", m->value.p);
		v->has_role = true;
	} else if (key_is(m, BB_STR("content"))) {
		if (m->type != JSON_STRING && m->type != JSON_ARRAY && m->type != JSON_NULL)
			return refuse_message(v, ".content", "must be a string, an array or null",
					      m->value.p);
	}
	return 0;
}

int validate_inner(struct validate_scan *v, enum json_event event, const struct json_member *m,
		   uint32_t depth)
{
	if (depth == 1 && event != JSON_CLOSE)
		v->element_count++;
	if (!v->in_messages || depth == 0 || depth > 2)
		return 0;
	if (depth == 2)
		return event == JSON_CLOSE ? 0 : message_member(v, m);
	if (event == JSON_CLOSE)
		return v->has_role ? 0 : refuse_message(v, ".role", "is missing", m->value.p);
	v->has_role = false;
	if (m->type != JSON_OBJECT)
		return refuse_message(v, "", "must be an object", m->value.p);
	return 0;
}

int validate_end(struct validate_scan *v, const char *at)
{
	if (TALKS & 1ull << v->api && !v->has_messages)
		return refusal_set(v->refusal, -BB_EINVALID, "messages", "is required", at);
	return 0;
}

/* ---- the context ---- */

int validate_context(uint64_t prompt_tokens, uint64_t max_tokens, uint64_t context_tokens,
		     enum context_rule rule, struct bb_buf *message)
{
	const unsigned long long context = context_tokens, prompt = prompt_tokens, answer = max_tokens;
	const bool is_limited = max_tokens != UINT64_MAX;

	if (!context_tokens)
		return 0;
	if (prompt_tokens >= context_tokens)
		bb_buf_printf(message,
			      "this model's context is %llu tokens, but the prompt alone has %llu and "
			      "leaves no room for an answer; shorten it",
			      context, prompt);
	else if (is_limited && max_tokens > context_tokens)
		bb_buf_printf(message,
			      "this model's context is %llu tokens, but %llu were asked for in the answer "
			      "alone; ask for fewer",
			      context, answer);
	else if (is_limited && rule == CONTEXT_WHOLE && max_tokens > context_tokens - prompt_tokens)
		bb_buf_printf(message,
			      "this model's context is %llu tokens, but this request needs %llu: %llu of "
			      "the prompt and %llu of the answer; shorten one of them",
			      context, prompt + answer, prompt, answer);
	else
		return 0;
	return -BB_ECONTEXT;
}
