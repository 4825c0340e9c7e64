/* Goal: template and special tokens come from a published model's files in the right order. */
#include "base/alloc.h"
#include "text/chat_text.h"
#include "unit.h"

#define REQUEST(more) "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]" more "}"

static void assert_chat(const struct chat_files *files, const char *body, const char *expected)
{
	const struct template_input in = { .body = bb_str_of(body) };
	struct chat_text *c = NULL;
	struct text_error e = { "" };
	struct bb_buf out;

	bb_buf_init(&out, 4096);
	assert_int_equal(chat_text_create(files, &c, &e), 0);
	assert_int_equal(chat_text_render(c, &in, &out, &e), 0);
	assert_str(bb_buf_str(&out), expected);
	chat_text_destroy(c);
	bb_buf_fini(&out);
}

static void test_order(void **state)
{
	struct chat_files f = {
		.jinja = BB_STR_INIT("jinja{{ bos_token }}{{ eos_token }}{{ cls_token }}"),
		.template_json = BB_STR_INIT("{\"chat_template\": \"json{{ bos_token }}\"}"),
		.config = BB_STR_INIT(
			"{\"chat_template\": \"config\\n{{ bos_token }}\", \"bos_token\": "
			"{\"content\": \"<s>\", \"lstrip\": false}, \"cls_token\": \"C\"}"),
		.special_map = BB_STR_INIT("{\"bos_token\": \"no\", \"eos_token\": \"</s>\"}")
	};

	assert_chat(&f, REQUEST(""), "jinja<s></s>C");
	f.jinja.p = NULL;
	assert_chat(&f, REQUEST(""), "json<s>");
	f.template_json.p = NULL;
	assert_chat(&f, REQUEST(""), "config\n<s>");
}

static void test_named(void **state)
{
	const struct chat_files f = {
		.config = BB_STR_INIT(
			"{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"with\"}, "
			"{\"name\": \"default\", \"template\": \"plain\"}], \"bos_token\": "
			"null}")
	};

	assert_chat(&f, REQUEST(""), "plain");
	assert_chat(&f, REQUEST(",\"tools\":[]"), "plain");
	assert_chat(&f, REQUEST(",\"tools\":[{\"type\":\"function\"}]"), "with");
}

static void assert_wrong(const struct chat_files *files, int rc, const char *message)
{
	struct chat_text *c = NULL;
	struct text_error e = { "" };

	assert_int_equal(chat_text_create(files, &c, &e), rc);
	assert_null(c);
	assert_non_null(strstr(e.message, message));
}

static void test_wrong(void **state)
{
	assert_wrong(&(struct chat_files){ .config = BB_STR_INIT("{") }, -BB_ESYNTAX,
		     "tokenizer_config.json");
	assert_wrong(&(struct chat_files){ .special_map = BB_STR_INIT("[]") }, -BB_EINVALID,
		     "no JSON object");
	assert_wrong(&(struct chat_files){ .config = BB_STR_INIT("{}") }, -BB_EABSENT,
		     "no chat template");
	assert_wrong(&(struct chat_files){ .jinja = BB_STR_INIT("{{") }, -BB_ESYNTAX,
		     "chat_template.jinja: line 1, column 1");
}

static void test_torture(void **state)
{
	const struct chat_files f = { .config = BB_STR_INIT(
					      "{\"chat_template\": \"a\\n\", \"bos_token\": \"b\", "
					      "\"x_token\": \"y\"}") };
	uint64_t before = bb_alloc_failed_count();

	for (uint64_t n = 1;; n++) {
		struct chat_text *c = NULL;
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		const int rc = chat_text_create(&f, &c, NULL);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		chat_text_destroy(c);
		if (bb_alloc_failed_count() == before)
			break;
		before = bb_alloc_failed_count();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_torture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
