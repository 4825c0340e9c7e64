/* Goal: requests reach templates as transformers, vLLM and SGLang hand them over. */
#include "template_cases.h"

static void assert_bound(const char *source, const char *body, const struct template_input *in,
			 const char *expected)
{
	const struct rendering x = render_as(source, body, in);

	if (x.rc)
		print_error("template: %s\n  error: %s\n", source, x.e.message);
	assert_int_equal(x.rc, 0);
	assert_str(x.text, expected);
}

static void assert_bad(const char *source, const char *body, const char *message)
{
	const struct rendering x = render_as(source, body, NULL);

	assert_int_equal(x.rc, -BB_EINVALID);
	if (!strstr(x.e.message, message))
		print_error("message: %s\n", x.e.message);
	assert_non_null(strstr(x.e.message, message));
}

#define CALL(arguments)                                                                            \
	"{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{"  \
	"\"name\":\"f\","                                                                          \
	"\"arguments\":" arguments "}}]}]}"
#define SHOW_CALL "{{ messages[0].tool_calls[0].function.arguments | tojson }}"

static void test_arguments(void **state)
{
	const struct template_input vllm = { .messages = TEMPLATE_AS_VLLM };

	assert_bound(SHOW_CALL,
		     CALL("\"{\\\"a\\\": 1.0, \\\"b\\\": [1e-7, 12345678901234567890123]}\""), NULL,
		     "{\"a\": 1.0, \"b\": [1e-07, 12345678901234567890123]}");
	assert_bound(SHOW_CALL, CALL("{\"a\":\"\\u00e9\"}"), NULL, "{\"a\": \"é\"}");
	assert_bound(SHOW_CALL, CALL("\"{no json\""), NULL, "\"{no json\"");
	assert_bound(SHOW_CALL, CALL("\"\""), NULL, "\"\"");
	assert_bound(SHOW_CALL, CALL("\"\""), &vllm, "{}");
	assert_bound(SHOW_CALL, CALL("null"), &vllm, "{}");
}

static void test_variables(void **state)
{
	const struct template_input in = { .bos_token = BB_STR_INIT("<s>"),
					   .special_json =
						   BB_STR_INIT("{\"sep_token\": \"[SEP]\"}") };
	const struct template_input no = { .generation = TEMPLATE_GENERATION_NO };

	assert_bound("{{ bos_token }}{{ sep_token }}{{ eos_token is defined }}", BODY, &in,
		     "<s>[SEP]False");
	assert_bound("{{ add_generation_prompt }}{{ tools }}{{ documents }}{{ reasoning_effort is "
		     "defined }}",
		     BODY, NULL, "TrueNoneNoneFalse");
	assert_bound("{{ add_generation_prompt }}", BODY, &no, "False");
	assert_bound("{{ add_generation_prompt }}{{ x }}{{ reasoning_effort }}{{ tools }}",
		     "{\"messages\":[],\"add_generation_prompt\":false,\"reasoning_effort\":"
		     "\"low\",\"tools\":[1],"
		     "\"chat_template_kwargs\":{\"x\":[1],\"tools\":2}}",
		     NULL, "False[1]low2");
	assert_bound("{{ messages | length }}", "{\"model\":\"m\",\"messages\":[],\"stream\":true}",
		     NULL, "0");
	assert_bound("{{ messages[0].content }}",
		     "{\"\\u006dessages\":[{\"content\":\"\\ud83d\\ude00\\n\"}]}", NULL, "😀\n");
	assert_bad("x", "{}", "'messages', a list");
	assert_bad("x", "{\"messages\":[1]}", "message 0");
	assert_bad("x", "{\"messages\":[],\"chat_template_kwargs\":1}", "chat_template_kwargs");
}

#define FINAL(content, more)                                                                       \
	"{\"messages\":[{\"role\":\"assistant\",\"content\":" content                              \
	"}],\"continue_final_message\":true" more "}"
#define ECHO_PARTS "{% for p in messages[0].content %}{{ p.text }}{% endfor %}<end>"

static void test_continue(void **state)
{
	assert_bound("[{{ messages[0].content }}]<end>{{ add_generation_prompt }}",
		     FINAL("\"one, \"", ""), NULL, "[one, ");
	assert_bound("[{{ messages[0].content | trim }}]<end>", FINAL("\"one, \"", ""), NULL,
		     "[one,");
	assert_bound(ECHO_PARTS "content",
		     FINAL("[{\"text\":\"a\"},{\"text\":\"b\"},{\"x\":1}]", ""), NULL, "ab");
	assert_bad("{{ messages[0].content }}", FINAL("\"a\"", ",\"add_generation_prompt\":true"),
		   "not compatible");
	assert_bad("{{ messages[0].content }}", FINAL("null", ""), "has no \"content\"");
	assert_bad("content", FINAL("\"a\"", ""), "does not appear");
	assert_bad("x", FINAL("\"a\"", ""), "not an accepted field");
	assert_bad("content", "{\"messages\":[],\"continue_final_message\":true}",
		   "conversation is empty");
}

#define PARTS                                                                                      \
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"      \
	"\"type\":\"image_url\","                                                                  \
	"\"image_url\":{\"url\":\"u\"}},{\"type\":\"text\",\"text\":\"b\"}],\"extra\":1}]}"
#define AS_TEXT "{% for m in messages %}{{ m.content }}{{ m.extra }}{% endfor %}"
#define AS_PARTS "{% for m in messages %}{% for c in m['content'] %}{{ c }}{% endfor %}{% endfor %}"

static void test_contents(void **state)
{
	const struct template_input vllm = { .messages = TEMPLATE_AS_VLLM };
	const struct template_input sglang = { .messages = TEMPLATE_AS_SGLANG };

	assert_bound(AS_TEXT, PARTS, &vllm, "a\nb");
	assert_bound(AS_TEXT, PARTS, &sglang, "a b1");
	assert_bound(AS_PARTS, PARTS, &vllm,
		     "{'type': 'text', 'text': 'a'}{'type': 'image'}{'type': 'text', 'text': 'b'}");
	assert_bound(AS_PARTS, BODY, &vllm,
		     "{'type': 'text', 'text': 'Hi'}{'type': 'text', 'text': 'Yo\\n'}");
	assert_bound(AS_TEXT, "{\"messages\":[{\"role\":\"user\",\"content\":null}]}", &vllm, "");
	assert_bound("{{ messages[0].reasoning_content }}{{ messages[0].reasoning }}{{ "
		     "messages[0].tool_calls is defined }}",
		     "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"reasoning\":\"r\","
		     "\"tool_calls\":[]}]}",
		     &vllm, "rrFalse");
}

static enum template_content content_of(const char *source)
{
	struct template *t = NULL;

	assert_int_equal(template_create(bb_str_of(source), &t, NULL), 0);
	const enum template_content c = template_content(t);
	template_destroy(t);
	return c;
}

static void test_content_format(void **state)
{
	assert_int_equal(content_of(AS_TEXT), TEMPLATE_CONTENT_STRING);
	assert_int_equal(content_of(AS_PARTS), TEMPLATE_CONTENT_PARTS);
	assert_int_equal(
		content_of("{% set l = messages[1:] %}{% for m in l %}{% if x %}{% elif y %}"
			   "{% for c in m.content | list %}{% endfor %}{% endif %}{% endfor %}"),
		TEMPLATE_CONTENT_PARTS);
	assert_int_equal(
		content_of("{% for t in tools %}{% for c in t.content %}{% endfor %}{% endfor %}"),
		TEMPLATE_CONTENT_STRING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),      cmocka_unit_test(test_variables),
		cmocka_unit_test(test_continue),       cmocka_unit_test(test_contents),
		cmocka_unit_test(test_content_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
