#include "wire/openai.h"

/*
 * The members that decide something. KIND says how the value is read. The deciding kinds may come
 * once only; PROMPT and STRUCTURED members may repeat, since they only add to an estimate or a
 * caution.
 */
#define MEMBERS(X)                                                                                 \
	X("model", MODEL)                                                                          \
	X("stream", STREAM)                                                                        \
	X("stream_options", STREAM_OPTIONS)                                                        \
	X("max_completion_tokens", MAX_COMPLETION_TOKENS)                                          \
	X("max_tokens", MAX_TOKENS)                                                                \
	X("max_output_tokens", MAX_OUTPUT_TOKENS)                                                  \
	X("n", N)                                                                                  \
	X("messages", PROMPT)                                                                      \
	X("prompt", PROMPT)                                                                        \
	X("input", PROMPT)                                                                         \
	X("content", PROMPT)                                                                       \
	X("system", PROMPT_PART)                                                                   \
	X("instructions", PROMPT_PART)                                                             \
	X("suffix", PROMPT_PART)                                                                   \
	X("query", PROMPT_PART)                                                                    \
	X("queries", PROMPT_PART)                                                                  \
	X("documents", PROMPT_PART)                                                                \
	X("items", PROMPT_PART)                                                                    \
	X("text_1", PROMPT_PART)                                                                   \
	X("text_2", PROMPT_PART)                                                                   \
	X("data_1", PROMPT_PART)                                                                   \
	X("data_2", PROMPT_PART)                                                                   \
	X("tools", TOOLS)                                                                          \
	X("functions", FUNCTIONS)                                                                  \
	X("response_format", RESPONSE_FORMAT)                                                      \
	X("text", TEXT)                                                                            \
	X("guided_json", STRUCTURED)                                                               \
	X("guided_regex", STRUCTURED)                                                              \
	X("guided_choice", STRUCTURED)                                                             \
	X("guided_grammar", STRUCTURED)                                                            \
	X("structured_outputs", STRUCTURED)                                                        \
	X("structural_tag", STRUCTURED)                                                            \
	X("json_schema", STRUCTURED)                                                               \
	X("grammar", STRUCTURED)                                                                   \
	X("regex", STRUCTURED)                                                                     \
	X("ebnf", STRUCTURED)                                                                      \
	X("logprobs", LOGPROBS)                                                                    \
	X("top_logprobs", LOGPROBS)                                                                \
	X("prompt_logprobs", LOGPROBS)                                                             \
	X("prompt_cache_key", CACHE_KEY)                                                           \
	X("user", USER)                                                                            \
	X("metadata", METADATA)

enum kind {
	KIND_MODEL,
	KIND_STREAM,
	KIND_STREAM_OPTIONS,
	KIND_MAX_COMPLETION_TOKENS,
	KIND_MAX_TOKENS,
	KIND_MAX_OUTPUT_TOKENS,
	KIND_N,
	KIND_TOOLS,
	KIND_ONCE, /* the kinds before this one may come once only */
	KIND_FUNCTIONS = KIND_ONCE,
	KIND_PROMPT,
	KIND_PROMPT_PART,
	KIND_RESPONSE_FORMAT,
	KIND_TEXT,
	KIND_STRUCTURED,
	KIND_LOGPROBS,
	KIND_CACHE_KEY,
	KIND_USER,
	KIND_METADATA,
};

struct known_member {
	struct bb_str key;
	enum kind kind;
};

static const struct known_member known_members[] = {
#define X(key, kind) { BB_STR_INIT(key), KIND_##kind },
	MEMBERS(X)
#undef X
};

struct request_scan {
	enum api api;
	const char *body;
	struct bb_arena *arena;
	struct openai_request *out;
	const char *param; /* the member to blame */
	const char *what;
	size_t offset;
	uint32_t seen;	    /* bit per kind before KIND_ONCE */
	uint64_t limits[3]; /* by kind from KIND_MAX_COMPLETION_TOKENS on */
	uint32_t member_count;
	uint8_t session_rank; /* of what `session` was taken from */
	/* only for a body that is checked: */
	struct validate_scan validate;
	struct shield_scan shield;
	struct refusal refusal;
};

static int refuse(struct request_scan *s, const char *param, struct bb_str at, const char *what)
{
	s->param = param;
	s->what = what;
	s->offset = (size_t)(at.p - s->body);
	return -BB_EINVALID;
}

static int read_model(struct request_scan *s, const struct json_member *m)
{
	struct openai_request *r = s->out;

	r->model_raw = m->value;
	if (m->type == JSON_NULL)
		return 0;
	if (m->type != JSON_STRING)
		return refuse(s, "model", m->value, "must be a string");
	/* One decoded byte takes at most six raw ones, so longer ones need no decoding. */
	if (m->value.len > 6 * OPENAI_MODEL_MAX + 2)
		return refuse(s, "model", m->value, "is too long");
	const int rc = json_string_decode(m->value, s->arena, &r->model);
	if (rc)
		return rc;
	if (r->model.len == 0 || r->model.len > OPENAI_MODEL_MAX)
		return refuse(s, "model", m->value, "must be 1 to 256 bytes");
	return 0;
}

static int read_stream(struct request_scan *s, const struct json_member *m)
{
	s->out->stream_raw = m->value;
	if (m->type == JSON_NULL)
		return 0;
	if (json_bool(m->value, &s->out->stream))
		return refuse(s, "stream", m->value, "must be true or false");
	return 0;
}

static int read_stream_options(struct request_scan *s, const struct json_member *m)
{
	struct openai_request *r = s->out;
	struct json_pull j;
	struct bb_str key, value;
	enum json_type type;

	r->stream_options = m->value;
	if (m->type == JSON_NULL)
		return 0;
	if (m->type != JSON_OBJECT)
		return refuse(s, "stream_options", m->value, "must be an object");
	r->has_stream_options = true;
	json_pull_init(&j, m->value);
	json_pull_object(&j);
	while (json_pull_key(&j, &key) && json_pull_value(&j, &value, &type)) {
		if (!json_inner_eq(key, BB_STR("include_usage")))
			continue;
		if (r->stream_usage_value.p)
			return refuse(s, "stream_options.include_usage", value, "comes twice");
		r->stream_usage_value = value;
		if (type != JSON_NULL && json_bool(value, &r->include_usage))
			return refuse(s, "stream_options.include_usage", value,
				      "must be true or false");
	}
	return 0;
}

static int read_limit(struct request_scan *s, const struct json_member *m, enum kind kind)
{
	static const char *const names[] = { "max_completion_tokens", "max_tokens",
					     "max_output_tokens" };
	const uint32_t which = kind - KIND_MAX_COMPLETION_TOKENS;
	const uint64_t least = s->api == API_COMPLETIONS ? 0 : 1;
	uint64_t value;

	if (m->type == JSON_NULL || bb_str_eq(m->value, BB_STR("-1")))
		return 0;
	if (json_u64(m->value, &value) || value < least || value == OPENAI_MAX_TOKENS_ABSENT)
		return refuse(s, names[which], m->value, "must be a positive whole number");
	s->limits[which] = value;
	return 0;
}

static int read_n(struct request_scan *s, const struct json_member *m)
{
	uint64_t value;

	if (m->type == JSON_NULL)
		return 0;
	if (json_u64(m->value, &value) || value < 1 || value > UINT32_MAX)
		return refuse(s, "n", m->value, "must be a positive whole number");
	s->out->n = (uint32_t)value;
	return 0;
}

static void read_tools(struct openai_request *r, const struct json_member *m, enum kind kind)
{
	struct json_pull j;

	if (m->type != JSON_ARRAY)
		return;
	json_pull_init(&j, m->value);
	json_pull_array(&j);
	if (json_pull_more(&j))
		r->has_tools = true;
	if (kind == KIND_TOOLS)
		r->tools = m->value;
	r->prompt_bytes += m->value.len;
}

/* A format object constrains the output unless its type is "text". */
static bool format_constrains(struct bb_str format)
{
	struct json_member type;

	if (json_type_of(format) != JSON_OBJECT)
		return false;
	return !json_get(format, BB_STR("type"), &type) ||
	       !json_string_eq(type.value, BB_STR("text"));
}

/*
 * By what the requests of one conversation may be known: OpenAI's prompt_cache_key, else a session
 * in `metadata` (Anthropic: user_id), else `user`.
 */
static void read_session(struct request_scan *s, const struct json_member *m, enum kind kind)
{
	static const struct bb_str keys[] = { BB_STR_INIT("session_id"), BB_STR_INIT("conversation_id"),
					      BB_STR_INIT("user_id") };
	struct json_member inner = *m;
	bool found = kind != KIND_METADATA;

	for (size_t i = 0; !found && i < 3 && m->type == JSON_OBJECT; i++)
		found = json_get(m->value, keys[i], &inner);
	const uint8_t rank = kind == KIND_CACHE_KEY ? 3 : kind == KIND_METADATA ? 2 : 1;
	if (!found || inner.type != JSON_STRING || inner.value.len <= 2 || rank < s->session_rank)
		return;
	s->session_rank = rank;
	s->out->session = inner.value;
}

static int read_member(struct request_scan *s, const struct json_member *m, enum kind kind)
{
	struct openai_request *r = s->out;
	struct json_member inner;

	switch (kind) {
	case KIND_MODEL: return read_model(s, m);
	case KIND_STREAM: return read_stream(s, m);
	case KIND_STREAM_OPTIONS: return read_stream_options(s, m);
	case KIND_MAX_COMPLETION_TOKENS:
	case KIND_MAX_TOKENS:
	case KIND_MAX_OUTPUT_TOKENS: return read_limit(s, m, kind);
	case KIND_N: return read_n(s, m);
	case KIND_TOOLS:
	case KIND_FUNCTIONS: read_tools(r, m, kind); break;
	case KIND_PROMPT:
		r->prompt = m->value;
		r->prompt_type = m->type;
		r->prompt_bytes += m->value.len;
		break;
	case KIND_PROMPT_PART: r->prompt_bytes += m->value.len; break;
	case KIND_RESPONSE_FORMAT: r->needs_structured |= format_constrains(m->value); break;
	case KIND_TEXT: /* the Responses API: {"format": …} */
		if (m->type == JSON_OBJECT && json_get(m->value, BB_STR("format"), &inner))
			r->needs_structured |= format_constrains(inner.value);
		break;
	case KIND_STRUCTURED: r->needs_structured |= m->type != JSON_NULL; break;
	case KIND_LOGPROBS: r->logprobs |= m->type == JSON_TRUE || m->type == JSON_NUMBER; break;
	case KIND_CACHE_KEY:
	case KIND_USER:
	case KIND_METADATA: read_session(s, m, kind); break;
	}
	return 0;
}

static int on_member(void *user, const struct json_member *m)
{
	struct request_scan *s = user;

	for (size_t i = 0; i < sizeof(known_members) / sizeof(known_members[0]); i++) {
		const struct known_member *k = &known_members[i];
		if (m->key_has_escape ? !json_inner_eq(m->key, k->key) : !bb_str_eq(m->key, k->key))
			continue;
		if (k->kind < KIND_ONCE) {
			if (s->seen & 1u << k->kind)
				return refuse(s, k->key.p, m->value, "comes twice");
			s->seen |= 1u << k->kind;
		}
		return read_member(s, m, k->kind);
	}
	return 0;
}

static int blame(struct request_scan *s, int rc)
{
	s->param = s->refusal.param;
	s->what = s->refusal.what;
	s->offset = s->refusal.at ? (size_t)(s->refusal.at - s->body) : 0;
	return rc;
}

/* The same for a body that is checked: the shield first, since what it refuses is worse. */
static int on_checked_member(void *user, const struct json_member *m)
{
	struct request_scan *s = user;

	s->member_count++;
	int rc = shield_member(&s->shield, m);
	if (!rc)
		rc = validate_member(&s->validate, m);
	return rc ? blame(s, rc) : on_member(user, m);
}

static bool on_watch(void *user, const struct json_member *m)
{
	struct request_scan *s = user;
	const bool shield = shield_watches(&s->shield, m);
	const bool validate = validate_watches(&s->validate, m);

	return shield || validate;
}

static int on_inner(void *user, enum json_event event, const struct json_member *m, uint32_t depth)
{
	struct request_scan *s = user;
	int rc = validate_inner(&s->validate, event, m, depth);

	if (!rc)
		rc = shield_inner(&s->shield, event, m, depth);
	return rc ? blame(s, rc) : 0;
}

/* Where members can be put in at the front, and whether there are others. */
static void find_front(struct bb_str body, struct openai_request *r)
{
	struct json_pull j;

	json_pull_init(&j, body);
	json_pull_object(&j);
	r->open = (size_t)(j.p - body.p);
	struct bb_str key;
	r->is_empty = !json_pull_key(&j, &key);
}

/* What can be said when all members were there. */
static int check_end(struct request_scan *s, struct bb_str body)
{
	struct openai_request *r = s->out;
	const int rc = validate_end(&s->validate, body.p);

	if (rc)
		return blame(s, rc);
	if ((s->api == API_CHAT || s->api == API_COMPLETIONS) && r->has_stream_options &&
	    !r->stream)
		return refuse(s, "stream_options", r->stream_options,
			      "is only allowed when 'stream' is true");
	shield_end(&s->shield, body, &r->cuts);
	r->is_empty |= s->shield.cuts.count == s->member_count;
	return 0;
}

static int scan_failed(const struct request_scan *s, int rc, struct json_error *err,
		       const char **param)
{
	if (param)
		*param = s->param;
	if (err && rc != -BB_ESYNTAX)
		*err = (struct json_error){ s->offset, s->what ? s->what : "no memory" };
	return rc;
}

static int scan(struct request_scan *s, struct bb_str body, const struct json_watch *watch,
		struct openai_request *out, struct json_error *err, const char **param)
{
	struct openai_request r = { .n = 1, .max_tokens = OPENAI_MAX_TOKENS_ABSENT };

	s->body = body.p;
	s->out = &r;
	for (int i = 0; i < 3; i++)
		s->limits[i] = OPENAI_MAX_TOKENS_ABSENT;
	const struct shield_policy *const policy = s->shield.policy;
	const uint32_t depth_max = policy && policy->depth_max ? policy->depth_max : JSON_DEPTH_MAX;
	int rc = json_scan_watched(body, depth_max, watch, err);
	if (rc)
		return scan_failed(s, rc, err, param);
	for (int i = 2; i >= 0; i--) {
		if (s->limits[i] != OPENAI_MAX_TOKENS_ABSENT)
			r.max_tokens = s->limits[i];
	}
	find_front(body, &r);
	if (policy)
		rc = check_end(s, body);
	if (rc)
		return scan_failed(s, rc, err, param);
	*out = r;
	return 0;
}

int openai_request_scan(enum api api, struct bb_str body, struct bb_arena *arena,
			struct openai_request *out, struct json_error *err, const char **param)
{
	struct request_scan s = { .api = api, .arena = arena };
	const struct json_watch watch = { .on_member = on_member, .user = &s };

	return scan(&s, body, &watch, out, err, param);
}

int openai_request_check(enum api api, struct bb_str body, const struct shield_policy *policy,
			 struct bb_arena *arena, struct openai_request *out, struct json_error *err,
			 const char **param)
{
	struct request_scan s = {
		.api = api,
		.arena = arena,
		.validate = { .api = api, .arena = arena, .refusal = &s.refusal },
		.shield = { .api = api,
			    .arena = arena,
			    .refusal = &s.refusal,
			    .policy = policy,
			    .body = body.p },
	};
	const struct json_watch watch = { .on_member = on_checked_member,
					  .is_watched = on_watch,
					  .on_inner = on_inner,
					  .user = &s };

	return scan(&s, body, &watch, out, err, param);
}
