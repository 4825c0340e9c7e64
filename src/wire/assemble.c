#include "wire/assemble.h"

#include "base/alloc.h"
#include "base/log.h"
#include "wire/chunk.h"
#include "wire/fold.h"
#include "wire/json.h"

#define CHOICES_MAX 128
#define TOOLS_MAX 128

struct tool_call {
	uint64_t index;
	struct fold members;
	struct fold function;
};

struct choice {
	uint64_t index;
	struct fold members;  /* of the choice itself: text, finish_reason, … */
	struct fold logprobs; /* the members of its logprobs, all lists */
	struct fold message;  /* the members of all its deltas */
	struct fold function; /* of function_call, the older form of tool calls */
	struct tool_call *tools;
	uint32_t tool_count;
};

struct assembler {
	enum api api;
	struct fold_budget budget;
	struct fold members; /* of the answer itself, but for object and choices */
	struct choice *choices;
	uint32_t choice_count;
	struct bb_buf error; /* the engine's {"error":…} */
};

struct assembler *assembler_create(enum api api, size_t max_bytes)
{
	BB_ASSERT(api == API_CHAT || api == API_COMPLETIONS);
	struct assembler *a = bb_alloc_zero(1, sizeof(*a));
	if (!a)
		return NULL;
	a->api = api;
	a->budget.max = max_bytes;
	bb_buf_init(&a->error, max_bytes + 64);
	return a;
}

static void choice_fini(struct choice *c)
{
	for (uint32_t i = 0; i < c->tool_count; i++) {
		fold_fini(&c->tools[i].members);
		fold_fini(&c->tools[i].function);
	}
	bb_free(c->tools);
	fold_fini(&c->members);
	fold_fini(&c->logprobs);
	fold_fini(&c->message);
	fold_fini(&c->function);
}

void assembler_destroy(struct assembler *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; i < a->choice_count; i++)
		choice_fini(&a->choices[i]);
	bb_free(a->choices);
	fold_fini(&a->members);
	bb_buf_fini(&a->error);
	bb_free(a);
}

/* ---- folding chunks in ---- */

/* The value of a member that is a whole number; `absent` when there is none. */
static uint64_t get_index(struct bb_str object, uint64_t absent)
{
	struct json_member m;
	uint64_t value;

	if (!json_get(object, BB_STR("index"), &m) || json_u64(m.value, &value))
		return absent;
	return value;
}

/*
 * Makes room for one more element at `at` of an array kept in order of index, which has at most a
 * hundred or so: growing one by one is cheap enough.
 */
static int open_gap(struct assembler *a, void **array, uint32_t count, uint32_t at, size_t size)
{
	int rc = fold_spend(&a->budget, size);

	if (rc)
		return rc;
	char *grown = bb_realloc(*array, (count + 1) * size);
	if (!grown)
		return -BB_ENOMEM;
	*array = grown;
	memmove(grown + (at + 1) * size, grown + at * size, (count - at) * size);
	memset(grown + at * size, 0, size);
	return 0;
}

static int get_choice(struct assembler *a, uint64_t index, struct choice **out)
{
	uint32_t at = 0;
	void *array = a->choices;

	while (at < a->choice_count && a->choices[at].index < index)
		at++;
	if (at == a->choice_count || a->choices[at].index != index) {
		if (a->choice_count == CHOICES_MAX)
			return -BB_ELIMIT;
		const int rc = open_gap(a, &array, a->choice_count, at, sizeof(struct choice));
		if (rc)
			return rc;
		a->choices = array;
		a->choice_count++;
		a->choices[at].index = index;
	}
	*out = &a->choices[at];
	return 0;
}

static int get_tool(struct assembler *a, struct choice *c, uint64_t index, struct tool_call **out)
{
	uint32_t at = 0;
	void *array = c->tools;

	while (at < c->tool_count && c->tools[at].index < index)
		at++;
	if (at == c->tool_count || c->tools[at].index != index) {
		if (c->tool_count == TOOLS_MAX)
			return -BB_ELIMIT;
		const int rc = open_gap(a, &array, c->tool_count, at, sizeof(struct tool_call));
		if (rc)
			return rc;
		c->tools = array;
		c->tool_count++;
		c->tools[at].index = index;
	}
	*out = &c->tools[at];
	return 0;
}

/* All members of an object joined; null and others than objects are nothing. */
static int join_object(struct assembler *a, struct fold *into, struct bb_str object)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;
	int rc = 0;

	json_pull_init(&j, object);
	if (!json_pull_object(&j))
		return 0;
	while (!rc && json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type)) {
		/* Clients parse arguments, so that null would break them: it is no text yet. */
		if (type == JSON_NULL && bb_str_eq(key, BB_STR("arguments")))
			raw = BB_STR("\"\"");
		rc = fold_join(into, &a->budget, key, raw);
	}
	return rc;
}

static int add_tool(struct assembler *a, struct choice *c, struct bb_str object, uint64_t position)
{
	struct tool_call *tool;
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;
	int rc = get_tool(a, c, get_index(object, position), &tool);

	json_pull_init(&j, object);
	if (rc || !json_pull_object(&j))
		return rc;
	while (!rc && json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type)) {
		if (bb_str_eq(key, BB_STR("function")))
			rc = join_object(a, &tool->function, raw);
		else if (!bb_str_eq(key, BB_STR("index")))
			rc = fold_set(&tool->members, &a->budget, key, raw);
	}
	return rc;
}

static int add_tools(struct assembler *a, struct choice *c, struct bb_str array)
{
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	int rc = 0;

	json_pull_init(&j, array);
	if (!json_pull_array(&j))
		return 0;
	for (uint64_t i = 0; !rc && json_pull_more(&j) && json_pull_value(&j, &raw, &type); i++)
		rc = add_tool(a, c, raw, i);
	return rc;
}

static int add_delta(struct assembler *a, struct choice *c, struct bb_str object)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;
	int rc = 0;

	json_pull_init(&j, object);
	if (!json_pull_object(&j))
		return 0;
	while (!rc && json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type)) {
		if (bb_str_eq(key, BB_STR("tool_calls")))
			rc = add_tools(a, c, raw);
		else if (bb_str_eq(key, BB_STR("function_call")))
			rc = join_object(a, &c->function, raw);
		else if (bb_str_eq(key, BB_STR("role")))
			rc = fold_set(&c->message, &a->budget, key, raw);
		else
			rc = fold_join(&c->message, &a->budget, key, raw);
	}
	return rc;
}

static int add_choice(struct assembler *a, struct bb_str object)
{
	struct choice *c;
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;

	if (json_type_of(object) != JSON_OBJECT)
		return -BB_ESYNTAX;
	int rc = get_choice(a, get_index(object, 0), &c);
	json_pull_init(&j, object);
	json_pull_object(&j);
	while (!rc && json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type)) {
		if (bb_str_eq(key, BB_STR("delta")))
			rc = add_delta(a, c, raw);
		else if (bb_str_eq(key, BB_STR("logprobs")))
			rc = join_object(a, &c->logprobs, raw);
		else if (bb_str_eq(key, BB_STR("finish_reason")) ||
			 bb_str_eq(key, BB_STR("stop_reason")))
			rc = fold_set(&c->members, &a->budget, key, raw);
		else if (!bb_str_eq(key, BB_STR("index")))
			rc = fold_join(&c->members, &a->budget, key, raw);
	}
	return rc;
}

static int add_choices(struct assembler *a, struct bb_str array)
{
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	int rc = 0;

	json_pull_init(&j, array);
	if (!json_pull_array(&j))
		return 0;
	while (!rc && json_pull_more(&j) && json_pull_value(&j, &raw, &type))
		rc = add_choice(a, raw);
	return rc;
}

/* Keeps the engine's error in the form {"error":…}, which older vLLM sends without the wrapping. */
static int add_error(struct assembler *a, struct bb_str data)
{
	struct json_member m;
	const bool is_wrapped = json_get(data, BB_STR("error"), &m) && m.type != JSON_NULL;

	if (!is_wrapped)
		bb_buf_lit(&a->error, "{\"error\":");
	bb_buf_add_str(&a->error, data);
	if (!is_wrapped)
		bb_buf_lit(&a->error, "}");
	return a->error.err;
}

static int add_answer(struct assembler *a, struct bb_str data)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;
	int rc = 0;

	json_pull_init(&j, data);
	json_pull_object(&j);
	while (!rc && json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type)) {
		if (bb_str_eq(key, BB_STR("choices")))
			rc = add_choices(a, raw);
		else if (!bb_str_eq(key, BB_STR("object")))
			rc = fold_set(&a->members, &a->budget, key, raw);
	}
	return rc;
}

int assembler_add(struct assembler *a, struct bb_str data)
{
	struct openai_chunk chunk;

	data = bb_str_trim(data);
	if (bb_str_eq(data, BB_STR("[DONE]")) || a->error.len)
		return 0;
	/* Joined strings are only JSON when each of them was. */
	int rc = json_check(data, JSON_DEPTH_MAX, NULL);
	if (!rc)
		rc = openai_chunk_scan(a->api, BB_STR(""), data, &chunk);
	if (rc)
		return rc;
	return chunk.has_error ? add_error(a, data) : add_answer(a, data);
}

/* ---- writing the answer ---- */

/* Appends all members but the named ones, each with a comma before it. */
static void write_others(const struct fold *f, const char *const *but, struct bb_buf *out)
{
	for (uint32_t i = 0; i < f->count; i++) {
		const struct bb_str key = { f->members[i].key, f->members[i].key_len };
		bool is_named = false;
		for (const char *const *name = but; *name; name++)
			is_named |= bb_str_eq(key, bb_str_of(*name));
		if (is_named)
			continue;
		bb_buf_lit(out, ",");
		fold_member_write(&f->members[i], out);
	}
}

/* Appends "name":value, or "name":absent, with a comma before it. */
static void write_member(const struct fold *f, const char *name, const char *absent,
			 struct bb_buf *out)
{
	const struct fold_member *m = fold_find(f, bb_str_of(name));

	bb_buf_printf(out, ",\"%s\":", name);
	if (m)
		fold_value_write(m, out);
	else
		bb_buf_add_str(out, bb_str_of(absent));
}

static void write_tools(const struct choice *c, struct bb_buf *out)
{
	static const char *const named[] = { "id", "type", "function", NULL };

	bb_buf_lit(out, ",\"tool_calls\":[");
	for (uint32_t i = 0; i < c->tool_count; i++) {
		const struct tool_call *tool = &c->tools[i];
		const struct fold_member *id = fold_find(&tool->members, BB_STR("id"));
		bb_buf_add_str(out, i ? BB_STR(",{\"id\":") : BB_STR("{\"id\":"));
		if (id)
			fold_value_write(id, out);
		else
			bb_buf_lit(out, "null");
		write_member(&tool->members, "type", "\"function\"", out);
		bb_buf_lit(out, ",\"function\":");
		fold_write(&tool->function, out);
		write_others(&tool->members, named, out);
		bb_buf_lit(out, "}");
	}
	bb_buf_lit(out, "]");
}

static void write_message(const struct choice *c, struct bb_buf *out)
{
	static const char *const named[] = { "role", "content", NULL };
	const struct fold_member *role = fold_find(&c->message, BB_STR("role"));
	const struct fold_member *content = fold_find(&c->message, BB_STR("content"));
	const bool has_calls = c->tool_count || c->function.count;

	bb_buf_lit(out, ",\"message\":{\"role\":");
	if (role && !fold_is_null(role))
		fold_value_write(role, out);
	else
		bb_buf_lit(out, "\"assistant\"");
	bb_buf_lit(out, ",\"content\":");
	/* The first delta says "content":"" even where only tool calls follow: that is no content.
	 */
	if (content && !(has_calls && content->value.len == 0))
		fold_value_write(content, out);
	else
		bb_buf_lit(out, "null");
	write_others(&c->message, named, out);
	if (c->tool_count)
		write_tools(c, out);
	if (c->function.count) {
		bb_buf_lit(out, ",\"function_call\":");
		fold_write(&c->function, out);
	}
	bb_buf_lit(out, "}");
}

static void write_choice(const struct assembler *a, const struct choice *c, struct bb_buf *out)
{
	static const char *const named[] = { "text", "finish_reason", NULL };

	bb_buf_lit(out, "{\"index\":");
	bb_buf_add_u64(out, c->index);
	if (a->api == API_CHAT)
		write_message(c, out);
	else
		write_member(&c->members, "text", "\"\"", out);
	bb_buf_lit(out, ",\"logprobs\":");
	if (c->logprobs.count)
		fold_write(&c->logprobs, out);
	else
		bb_buf_lit(out, "null");
	write_member(&c->members, "finish_reason", "null", out);
	write_others(&c->members, named, out);
	bb_buf_lit(out, "}");
}

static bool is_finished(const struct assembler *a)
{
	for (uint32_t i = 0; i < a->choice_count; i++) {
		const struct fold_member *m =
			fold_find(&a->choices[i].members, BB_STR("finish_reason"));
		if (!m || fold_is_null(m))
			return false;
	}
	return a->choice_count > 0;
}

size_t assembler_size(const struct assembler *a)
{
	return 2 * a->budget.used;
}

int assembler_finish(const struct assembler *a, struct bb_buf *out)
{
	static const char *const named[] = { "id", "created", "model", NULL };

	if (a->error.len) {
		const int rc = bb_buf_add_str(out, bb_buf_str(&a->error));
		return rc ? rc : -BB_EUPSTREAM;
	}
	if (!is_finished(a))
		return -BB_EUPSTREAM;
	if (a->api == API_CHAT)
		bb_buf_lit(out, "{\"object\":\"chat.completion\"");
	else
		bb_buf_lit(out, "{\"object\":\"text_completion\"");
	write_member(&a->members, "id", "null", out);
	write_member(&a->members, "created", "0", out);
	write_member(&a->members, "model", "null", out);
	bb_buf_lit(out, ",\"choices\":[");
	for (uint32_t i = 0; i < a->choice_count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		write_choice(a, &a->choices[i], out);
	}
	bb_buf_lit(out, "]");
	write_others(&a->members, named, out);
	bb_buf_lit(out, "}");
	return out->err;
}
