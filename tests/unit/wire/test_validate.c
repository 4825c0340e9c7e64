/*
 * Goal: each rule of validate.h at its edges, at the endpoints where it holds and not at others;
 * who is to blame and where; what is not in the rules passes.
 */
#include "unit.h"

#include "wire/openai.h"

static struct bb_arena arena;

static int setup(void **state)
{
	bb_arena_init(&arena, 8u << 20);
	return 0;
}

static int teardown(void **state)
{
	bb_arena_fini(&arena);
	return 0;
}

static int check(enum api api, const char *body, const char **param, struct json_error *err)
{
	static const struct shield_policy all = { .allow_mask = SHIELD_ALLOW_ALL };
	struct openai_request r;

	*param = "";
	*err = (struct json_error){ 0, "" };
	return openai_request_check(api, bb_str_of(body), &all, &arena, &r, err, param);
}

static void passes(enum api api, const char *body)
{
	struct json_error err;
	const char *param;

	if (check(api, body, &param, &err))
		fail_msg("%s: %s %s", body, param, err.what);
}

/* `value` is the text that the refusal must point to. */
static void refused(enum api api, const char *body, const char *param_wanted, const char *value)
{
	struct json_error err;
	const char *param;

	if (check(api, body, &param, &err) != -BB_EINVALID)
		fail_msg("%s passes", body);
	assert_string_equal(param, param_wanted);
	assert_true(*err.what != '\0');
	if (strncmp(body + err.offset, value, strlen(value)) != 0)
		fail_msg("%s: blamed at %zu", body, err.offset);
}

#define SAY "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

/* A member of a body that is else in order at each of these endpoints. */
static const char *body_with(enum api api, const char *key, const char *value)
{
	static char body[4096];
	const bool talks = api == API_CHAT || api == API_MESSAGES;

	snprintf(body, sizeof(body), "{%s%s\"%s\":%s}", talks ? SAY : "", talks ? "," : "", key,
		 value);
	return body;
}

struct value_case {
	enum api api;
	const char *key;
	const char *good[12]; /* NULL ends them */
	const char *bad[12];
};

static const struct value_case value_cases[] = {
	{ API_CHAT,
	  "n",
	  { "1", "128", "1.0", "1e2", "null" },
	  { "0", "129", "-1", "1.5", "\"1\"", "true", "[1]", "1e400" } },
	{ API_COMPLETIONS, "best_of", { "1", "128", "null" }, { "0", "129", "{}" } },
	{ API_CHAT,
	  "temperature",
	  { "0", "2", "1.9999", "2.0", "-0", "null" },
	  { "-0.1", "2.1", "\"1\"", "true", "1e999" } },
	{ API_MESSAGES, "temperature", { "0", "1" }, { "1.1", "-1", "\"1\"" } },
	{ API_RESPONSES, "temperature", { "2" }, { "3" } },
	{ API_CHAT, "top_p", { "0", "1", "0.5" }, { "1.01", "-0.01", "\"x\"" } },
	{ API_CHAT, "min_p", { "0", "1" }, { "1.01", "-0.01" } },
	{ API_CHAT, "top_k", { "-1", "0", "1000000", "40.0" }, { "-2", "1.5", "\"4\"" } },
	{ API_CHAT, "presence_penalty", { "-2", "2", "0.1" }, { "-2.1", "2.1", "[]" } },
	{ API_CHAT, "frequency_penalty", { "-2", "2" }, { "-2.1", "2.1", "false" } },
	{ API_CHAT,
	  "seed",
	  { "0", "-5", "18446744073709551615", "99999999999999999999999", "1.0" },
	  { "1.5", "\"1\"", "true" } },
	{ API_CHAT,
	  "stop",
	  { "\"a\"", "[]", "[\"a\"]", "null",
	    "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\","
	    "\"14\",\"15\",\"16\"]" },
	  { "1", "{}", "[1]", "[\"a\",null]", "[[\"a\"]]",
	    "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\","
	    "\"14\",\"15\",\"16\",\"17\"]" } },
	{ API_MESSAGES, "stop_sequences", { "[\"a\"]", "[]" }, { "\"a\"", "[1]" } },
	{ API_CHAT, "logprobs", { "true", "false", "0", "20", "-1" }, { "\"1\"", "-2", "1.5" } },
	{ API_CHAT, "top_logprobs", { "0", "20", "-1" }, { "true", "-2", "1.5" } },
	{ API_COMPLETIONS, "prompt_logprobs", { "0", "-1" }, { "true", "-2" } },
	{ API_CHAT, "logit_bias", { "{}", "{\"1\":-100}", "null" }, { "[]", "1", "\"{}\"" } },
	{ API_CHAT, "user", { "\"a\"", "\"\"" }, { "1", "{}" } },
	{ API_CHAT, "min_tokens", { "0", "5" }, { "-1", "0.5" } },
	{ API_CHAT, "ignore_eos", { "true", "null" }, { "1", "\"true\"" } },
	{ API_CHAT, "add_generation_prompt", { "false" }, { "0", "\"no\"" } },
	{ API_CHAT, "continue_final_message", { "true" }, { "1" } },
	{ API_CHAT, "add_special_tokens", { "true" }, { "[]" } },
	{ API_COMPLETIONS, "echo", { "true" }, { "1" } },
	{ API_CHAT, "tools", { "[]", "[{}]", "null" }, { "{}", "\"a\"", "1" } },
	{ API_CHAT, "functions", { "[]" }, { "{}" } },
	{ API_COMPLETIONS,
	  "prompt",
	  { "\"a\"", "\"\"", "[\"a\",\"b\"]", "[1,2]", "[[1],[2]]", "null" },
	  { "{}", "1", "[]", "[ ]", "[{}]", "[null]", "[true]" } },
	{ API_IMAGES, "prompt", { "\"a\"" }, { "[\"a\"]", "1" } },
	{ API_EMBEDDINGS, "input", { "\"a\"", "[1]", "[]" }, { "1", "{}", "true" } },
	{ API_RESPONSES, "input", { "\"a\"", "[{}]" }, { "1", "{}" } },
	{ API_SPEECH, "input", { "\"a\"" }, { "[]" } },
	{ API_MESSAGES, "system", { "\"a\"", "[{}]" }, { "1", "{}" } },
	/* Where a rule does not hold: */
	{ API_EMBEDDINGS, "temperature", { "9", "\"x\"" }, { NULL } },
	{ API_EMBEDDINGS, "messages", { "1", "[]" }, { NULL } },
	{ API_SPEECH, "stop", { "1" }, { NULL } },
	{ API_CHAT, "metadata", { "1", "[]" }, { NULL } },
	{ API_CHAT, "prompt", { "{}" }, { NULL } },
};

static void values(void **state)
{
	for (size_t i = 0; i < UNIT_COUNT(value_cases); i++) {
		const struct value_case *const c = &value_cases[i];
		for (size_t k = 0; c->good[k]; k++)
			passes(c->api, body_with(c->api, c->key, c->good[k]));
		for (size_t k = 0; c->bad[k]; k++) {
			refused(c->api, body_with(c->api, c->key, c->bad[k]), c->key, c->bad[k]);
		}
	}
}

/* Keys are compared decoded. */
static void escaped_keys(void **state)
{
	refused(API_CHAT, "{" SAY ",\"temper\\u0061ture\":3}", "temperature", "3");
	refused(API_CHAT, "{\"mess\\u0061ges\":[{\"r\\u006fle\":1}]}", "messages[0].role", "1");
	passes(API_CHAT, "{\"mess\\u0061ges\":[{\"r\\u006fle\":\"user\"}]}");
}

static void messages(void **state)
{
	static const enum api apis[] = { API_CHAT, API_MESSAGES, API_COUNT_TOKENS };

	for (size_t i = 0; i < UNIT_COUNT(apis); i++) {
		const enum api api = apis[i];
		refused(api, "{}", "messages", "{");
		refused(api, "{\"messages\":null}", "messages", "{");
		refused(api, "{\"messages\":[]}", "messages", "[]");
		refused(api, "{\"messages\":[ ] }", "messages", "[ ]");
		refused(api, "{\"messages\":\"a\"}", "messages", "\"a\"");
		refused(api, "{\"messages\":{\"role\":\"user\"}}", "messages", "{\"role");
		refused(api, "{\"messages\":[1]}", "messages[0]", "1]");
		refused(api, "{\"messages\":[null]}", "messages[0]", "null");
		refused(api, "{\"messages\":[[]]}", "messages[0]", "[]");
		refused(api, "{\"messages\":[{\"role\":\"user\"},\"a\"]}", "messages[1]", "\"a\"");
		refused(api, "{\"messages\":[{}]}", "messages[0].role", "}");
		refused(api, "{\"messages\":[{\"role\":null}]}", "messages[0].role", "null");
		refused(api, "{\"messages\":[{\"role\":[]}]}", "messages[0].role", "[]");
		refused(api, "{\"messages\":[{\"role\":\"user\"},{\"content\":\"a\"}]}",
			"messages[1].role", "}");
		refused(api, "{\"messages\":[{\"role\":\"user\",\"content\":1}]}",
			"messages[0].content", "1");
		refused(api, "{\"messages\":[{\"role\":\"user\",\"content\":{}}]}",
			"messages[0].content", "{}");
		refused(api, "{\"messages\":[{\"content\":{\"role\":\"user\"}}]}",
			"messages[0].content", "{");
		passes(api, "{\"messages\":[{\"role\":\"user\"}]}");
		passes(api, "{\"messages\":[{\"role\":\"user\",\"content\":null}]}");
		passes(api, "{\"messages\":[{\"content\":[],\"role\":\"assistant\",\"x\":{\"role\":"
			    "1}}]}");
		passes(api, "{\"messages\":[{\"content\":[{\"role\":1,\"content\":2}],\"role\":"
			    "\"u\"}]}");
	}
	/* A role of one message is not that of the next, nor of another member's element. */
	refused(API_CHAT, "{\"tools\":[{\"role\":\"x\"}],\"messages\":[{}]}", "messages[0].role",
		"}");
	passes(API_CHAT, "{\"tools\":[1,{\"role\":1}]," SAY "}");
}

static void many_tools(void **state)
{
	char body[2048] = "{" SAY ",\"tools\":[0";

	for (int i = 1; i < 128; i++)
		strncat(body, ",{}", sizeof(body) - strlen(body) - 1);
	const size_t len = strlen(body);
	strncat(body, "]}", sizeof(body) - strlen(body) - 1);
	passes(API_CHAT, body);
	body[len] = '\0';
	strncat(body, ",[]]}", sizeof(body) - strlen(body) - 1);
	refused(API_CHAT, body, "tools", "[0");
}

static void stream_options(void **state)
{
	passes(API_CHAT, "{" SAY ",\"stream\":true,\"stream_options\":{}}");
	passes(API_CHAT, "{" SAY ",\"stream_options\":{\"include_usage\":true},\"stream\":true}");
	passes(API_CHAT, "{" SAY ",\"stream_options\":null}");
	refused(API_CHAT, "{" SAY ",\"stream_options\":{}}", "stream_options", "{}");
	refused(API_CHAT, "{\"stream_options\":{ },\"stream\":false," SAY "}", "stream_options",
		"{ }");
	refused(API_COMPLETIONS, "{\"stream_options\":{}}", "stream_options", "{}");
	passes(API_RESPONSES, "{\"stream_options\":{}}");
}

/* The texts have the numbers. */
static void texts(void **state)
{
	static const struct {
		const char *key, *value, *text;
	} cases[] = {
		{ "temperature", "3", "must be a number from 0 to 2" },
		{ "n", "0", "must be a whole number from 1 to 128" },
		{ "top_k", "-2", "must be a whole number, at least -1" },
		{ "seed", "0.5", "must be a whole number" },
		{ "logprobs", "-2", "must be a boolean or a whole number, at least -1" },
		{ "stop", "[1]", "must hold strings only" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct json_error err;
		const char *param;
		assert_int_equal(check(API_CHAT, body_with(API_CHAT, cases[i].key, cases[i].value),
				       &param, &err),
				 -BB_EINVALID);
		assert_string_equal(err.what, cases[i].text);
	}
}

static void context(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 1024);
	assert_int_equal(validate_context(0, 4096, 4096, CONTEXT_WHOLE, &b), 0);
	assert_int_equal(validate_context(0, UINT64_MAX, 4096, CONTEXT_WHOLE, &b), 0);
	assert_int_equal(validate_context(1000000, 1000000, 0, CONTEXT_WHOLE, &b), 0);
	assert_int_equal(validate_context(96, 4000, 4096, CONTEXT_WHOLE, &b), 0);
	assert_int_equal(validate_context(4095, UINT64_MAX, 4096, CONTEXT_WHOLE, &b), 0);
	assert_int_equal(validate_context(97, 4000, 4096, CONTEXT_PARTS, &b), 0);
	assert_int_equal(b.len, 0);
	assert_int_equal(validate_context(0, 4097, 4096, CONTEXT_PARTS, &b), -BB_ECONTEXT);
	assert_true(bb_str_find(bb_buf_str(&b), BB_STR("4096")) >= 0);
	assert_true(bb_str_find(bb_buf_str(&b), BB_STR("4097")) >= 0);
	bb_buf_clear(&b);
	assert_int_equal(validate_context(97, 4000, 4096, CONTEXT_WHOLE, &b), -BB_ECONTEXT);
	assert_true(bb_str_find(bb_buf_str(&b), BB_STR("needs 4097: 97 of the prompt")) >= 0);
	bb_buf_clear(&b);
	assert_int_equal(validate_context(4096, UINT64_MAX, 4096, CONTEXT_PARTS, &b), -BB_ECONTEXT);
	assert_true(bb_str_find(bb_buf_str(&b), BB_STR("the prompt alone has 4096")) >= 0);
	bb_buf_fini(&b);
}

/* Broken text is that, whatever its members say; what comes first is told first. */
static void broken_bodies(void **state)
{
	struct json_error err;
	const char *param;

	assert_int_equal(check(API_CHAT, "{\"messages\":[{\"role\":\"user\"}", &param, &err),
			 -BB_ESYNTAX);
	assert_int_equal(check(API_CHAT, "{\"temperature\":2,}", &param, &err), -BB_ESYNTAX);
	assert_int_equal(check(API_CHAT, "[]", &param, &err), -BB_ESYNTAX);
	assert_int_equal(check(API_CHAT, "{\"messages\":[{\"role\":\"\\ud800\"}]}", &param, &err),
			 -BB_ESYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),	  cmocka_unit_test(escaped_keys),
		cmocka_unit_test(messages),	  cmocka_unit_test(many_tools),
		cmocka_unit_test(stream_options), cmocka_unit_test(texts),
		cmocka_unit_test(context),	  cmocka_unit_test(broken_bodies),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
