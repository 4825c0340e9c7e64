#include "wire/chunk.h"

#include "wire/json.h"

/* What the event says its type is, once all of it was seen: "type" may come behind the rest. */
struct state {
	struct json_pull j;
	struct openai_chunk *out;
	struct bb_str type;   /* without quotes */
	bool has_choices;     /* an array … */
	bool has_choice;      /* … that is not empty */
	bool has_delta;	      /* a "delta" with something in it */
	bool has_text;	      /* a top-level "text" or "content" with something in it */
	bool is_error_object; /* "object": "error", which older vLLM sends */
	unsigned filled;      /* members with something in them, as far as deltas go */
};

typedef void on_key(struct state *s, struct bb_str key);

static void each_key(struct state *s, on_key *on)
{
	struct bb_str key;

	if (!json_pull_object(&s->j)) {
		json_pull_skip(&s->j);
		return;
	}
	while (json_pull_key(&s->j, &key))
		on(s, key);
}

static inline bool is(struct bb_str key, const char *word, size_t len)
{
	return key.len == len && memcmp(key.p, word, len) == 0;
}
#define IS(key, literal) is((key), (literal), sizeof(literal) - 1)

/* A string's text, or empty for null and others. */
static struct bb_str take_string(struct state *s)
{
	struct bb_str raw;
	enum json_type type;

	if (!json_pull_value(&s->j, &raw, &type) || type != JSON_STRING)
		return (struct bb_str){ NULL, 0 };
	return json_string_inner(raw);
}

/* Is there something in it: a string, array or object that is not empty? */
static bool take_filled(struct state *s)
{
	struct bb_str raw;
	enum json_type type;

	if (!json_pull_value(&s->j, &raw, &type))
		return false;
	switch (type) {
	case JSON_STRING:
	case JSON_ARRAY:
	case JSON_OBJECT: return raw.len > 2;
	case JSON_NULL:
	case JSON_FALSE:
	case JSON_TRUE:
	case JSON_NUMBER: return false;
	}
	return false;
}

/* The same for a member of a delta or choice; the span of the only one of these is remembered. */
static void take_delta_member(struct state *s, bool is_text)
{
	struct bb_str raw;
	enum json_type type;

	if (!json_pull_value(&s->j, &raw, &type) || type < JSON_STRING || raw.len <= 2)
		return;
	s->has_delta = true;
	s->out->text = s->filled++ == 0 && is_text && type == JSON_STRING ? json_string_inner(raw)
									   : (struct bb_str){ 0 };
}

static bool take_not_null(struct state *s)
{
	struct bb_str raw;
	enum json_type type;

	return json_pull_value(&s->j, &raw, &type) && type != JSON_NULL;
}

static void take_usage(struct state *s)
{
	struct bb_str raw;
	enum json_type type;
	struct usage u;

	if (!json_pull_value(&s->j, &raw, &type) || type != JSON_OBJECT || usage_parse(raw, &u))
		return;
	s->out->has_usage = true;
	usage_merge(&s->out->usage, &u);
}

static void take_finish(struct state *s)
{
	const struct bb_str reason = take_string(s);

	if (!reason.len)
		return;
	s->out->has_finish = true;
	s->out->finish_reason = reason;
}

static void on_delta(struct state *s, struct bb_str key)
{
	if (IS(key, "role") || IS(key, "type") || IS(key, "id") || IS(key, "index"))
		json_pull_skip(&s->j);
	else if (IS(key, "stop_reason"))
		take_finish(s);
	else if (IS(key, "stop_sequence"))
		json_pull_skip(&s->j);
	else
		take_delta_member(s, IS(key, "content"));
}

static void take_delta(struct state *s)
{
	if (json_pull_type(&s->j) == JSON_OBJECT)
		each_key(s, on_delta);
	else
		s->has_delta |= take_filled(s);
}

static void on_choice(struct state *s, struct bb_str key)
{
	if (IS(key, "delta"))
		take_delta(s);
	else if (IS(key, "finish_reason"))
		take_finish(s);
	else if (IS(key, "text"))
		take_delta_member(s, true);
	else
		json_pull_skip(&s->j);
}

static void take_choices(struct state *s)
{
	if (!json_pull_array(&s->j)) {
		json_pull_skip(&s->j);
		return;
	}
	s->has_choices = true;
	while (json_pull_more(&s->j)) {
		s->has_choice = true;
		each_key(s, on_choice);
	}
}

/* Anthropic's "message" of message_start and the Responses API's "response". */
static void on_answer(struct state *s, struct bb_str key)
{
	if (IS(key, "id"))
		s->out->id = take_string(s);
	else if (IS(key, "usage"))
		take_usage(s);
	else
		json_pull_skip(&s->j);
}

static void on_top(struct state *s, struct bb_str key)
{
	if (IS(key, "id"))
		s->out->id = take_string(s);
	else if (IS(key, "choices"))
		take_choices(s);
	else if (IS(key, "usage"))
		take_usage(s);
	else if (IS(key, "error"))
		s->out->has_error |= take_not_null(s);
	else if (IS(key, "type"))
		s->type = take_string(s);
	else if (IS(key, "delta"))
		take_delta(s);
	else if (IS(key, "response") || IS(key, "message"))
		each_key(s, on_answer);
	else if (IS(key, "text") || IS(key, "content"))
		s->has_text |= take_filled(s);
	else if (IS(key, "object"))
		s->is_error_object = bb_str_eq(take_string(s), BB_STR("error"));
	else
		json_pull_skip(&s->j);
}

static void judge_responses(const struct state *s, struct bb_str type, struct openai_chunk *out)
{
	const bool failed =
		bb_str_eq(type, BB_STR("response.failed")) || bb_str_eq(type, BB_STR("error"));
	const bool completed = bb_str_eq(type, BB_STR("response.completed"));
	const bool incomplete = bb_str_eq(type, BB_STR("response.incomplete"));

	out->has_error |= failed;
	out->is_terminal = failed || completed || incomplete;
	out->has_content = s->has_delta && bb_str_ends(type, BB_STR(".delta"));
	if (completed || incomplete) {
		out->has_finish = true;
		out->finish_reason = completed ? BB_STR("completed") : BB_STR("incomplete");
	}
}

static void judge_messages(const struct state *s, struct bb_str type, struct openai_chunk *out)
{
	out->has_error |= bb_str_eq(type, BB_STR("error"));
	out->is_terminal = out->has_error || bb_str_eq(type, BB_STR("message_stop"));
	out->has_content = s->has_delta && bb_str_eq(type, BB_STR("content_block_delta"));
}

static void judge_chat(const struct state *s, struct openai_chunk *out)
{
	out->has_error |= s->is_error_object;
	out->is_terminal = out->has_error;
	out->has_content = s->has_delta;
	out->is_usage_only = out->has_usage && s->has_choices && !s->has_choice;
}

/* Endpoints whose events are their own: transcriptions, speech, images. */
static void judge_other(const struct state *s, struct bb_str type, struct openai_chunk *out)
{
	judge_chat(s, out);
	out->has_error |= bb_str_eq(type, BB_STR("error"));
	out->has_finish |=
		bb_str_ends(type, BB_STR(".done")) || bb_str_ends(type, BB_STR(".completed"));
	out->is_terminal = out->has_error;
	out->has_content |= s->has_text;
}

int openai_chunk_scan(enum api api, struct bb_str event_name, struct bb_str data,
		      struct openai_chunk *out)
{
	struct openai_chunk chunk = { .has_error = false };
	struct state s = { .out = &chunk };

	data = bb_str_trim(data);
	if (bb_str_eq(data, BB_STR("[DONE]"))) {
		chunk.is_terminal = true;
		*out = chunk;
		return 0;
	}
	json_pull_init(&s.j, data);
	if (json_pull_type(&s.j) != JSON_OBJECT)
		return -BB_ESYNTAX;
	each_key(&s, on_top);
	if (s.j.failed || s.j.p != s.j.end)
		return -BB_ESYNTAX;
	const struct bb_str type = s.type.len ? s.type : event_name;
	if (api == API_CHAT || api == API_COMPLETIONS)
		judge_chat(&s, &chunk);
	else if (api == API_RESPONSES)
		judge_responses(&s, type, &chunk);
	else if (api == API_MESSAGES)
		judge_messages(&s, type, &chunk);
	else
		judge_other(&s, type, &chunk);
	*out = chunk;
	return 0;
}
