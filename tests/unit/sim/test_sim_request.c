/*
 * Goal: bodies of all endpoints become the prompts that they mean, equal prompts become equal
 * tokens whatever form they come in, malformed ones are refused with a sentence, and a reader
 * survives having no memory at any point.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/alloc.h"
#include "sim/sim_request.h"

static struct sim_reader reader;
static struct sim_request request;

static int read_body(enum api api, const char *body, enum sim_prefill prefill)
{
	const char *why = NULL;
	const int rc = sim_request_read(&reader, api, bb_str_of(body), prefill, &request, &why);

	if (rc == -BB_EINVALID)
		assert_non_null(why);
	return rc;
}

static void assert_text(enum api api, const char *body, enum sim_prefill prefill, const char *text)
{
	assert_int_equal(read_body(api, body, prefill), 0);
	assert_int_equal(reader.prompt_count, 1);
	assert_int_equal(reader.text.len, strlen(text));
	assert_memory_equal(reader.text.p, text, reader.text.len);
	assert_int_equal(reader.prompts[0].count, reader.tokens.count);
}

#define USER "<|im_start|>user\n"
#define ASSISTANT "<|im_start|>assistant\n"
#define END "<|im_end|>\n"

static void test_chat(void **state)
{
	assert_text(API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
		    SIM_PREFILL_WHEN_ASKED, USER "Hi" END ASSISTANT);
	assert_text(
		API_CHAT,
		"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"H\"},"
		"\"i\",{\"type\":\"x\"}]},{\"role\":\"assistant\",\"content\":null,"
		"\"tool_calls\":[1]}],\"tools\":[2]}",
		SIM_PREFILL_WHEN_ASKED,
		"<|im_start|>tools\n2" END USER "Hi{\"type\":\"x\"}" END ASSISTANT
		"[1]" END ASSISTANT);
}

static void test_open_end(void **state)
{
	const char *plain = "{\"messages\":[{\"role\":\"assistant\",\"content\":\"So\"}]}";
	const char *asked = "{\"continue_final_message\":true,"
			    "\"messages\":[{\"role\":\"assistant\",\"content\":\"So\"}]}";

	assert_text(API_CHAT, plain, SIM_PREFILL_WHEN_ASKED, ASSISTANT "So" END ASSISTANT);
	assert_text(API_CHAT, asked, SIM_PREFILL_WHEN_ASKED, ASSISTANT "So");
	assert_text(API_CHAT, plain, SIM_PREFILL_ALWAYS, ASSISTANT "So");
	assert_text(API_MESSAGES, plain, SIM_PREFILL_WHEN_ASKED, ASSISTANT "So");
}

static void test_other_protocols(void **state)
{
	assert_text(API_MESSAGES,
		    "{\"system\":[{\"type\":\"text\",\"text\":\"S\"}],"
		    "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
		    SIM_PREFILL_WHEN_ASKED, "<|im_start|>system\nS" END USER "Hi" END ASSISTANT);
	assert_text(API_RESPONSES, "{\"input\":\"Hi\",\"instructions\":\"S\"}",
		    SIM_PREFILL_WHEN_ASKED, "<|im_start|>system\nS" END USER "Hi" END ASSISTANT);
	assert_text(API_RESPONSES,
		    "{\"input\":[{\"role\":\"user\",\"content\":[{\"text\":\"Hi\"}]},"
		    "{\"type\":\"reasoning\"}]}",
		    SIM_PREFILL_WHEN_ASKED, USER "Hi" END "<|im_start|>reasoning\n" END ASSISTANT);
	assert_text(API_TOKENIZE, "{\"content\":\"Hi you\"}", SIM_PREFILL_WHEN_ASKED, "Hi you");
}

static void test_forms_of_prompts(void **state)
{
	uint32_t ids[2];

	assert_int_equal(read_body(API_COMPLETIONS, "{\"prompt\":\"Hi you\"}", 0), 0);
	assert_int_equal(reader.prompt_count, 1);
	assert_int_equal(reader.tokens.count, 2);
	memcpy(ids, reader.tokens.ids, sizeof(ids));
	assert_int_equal(read_body(API_COMPLETIONS, "{\"prompt\":[\"Hi\",\"Hi you\"]}", 0), 0);
	assert_int_equal(reader.prompt_count, 2);
	assert_int_equal(reader.prompts[1].first, 1);
	assert_int_equal(reader.prompts[1].count, 2);
	assert_memory_equal(reader.tokens.ids + 1, ids, sizeof(ids));
	assert_int_equal(read_body(API_EMBEDDINGS, "{\"input\":[[1,2,3],[4],[]]}", 0), 0);
	assert_int_equal(reader.prompt_count, 3);
	assert_int_equal(reader.prompts[0].count, 3);
	assert_int_equal(reader.prompts[2].count, 1); /* nothing counts as one token */
	assert_int_equal(read_body(API_COMPLETIONS, "{\"prompt\":[5,6]}", 0), 0);
	assert_int_equal(reader.prompt_count, 1);
	assert_int_equal(reader.tokens.ids[1], 6);
	assert_int_equal(read_body(API_SCORE, "{\"text_1\":\"a\",\"text_2\":\"b\"}", 0), 0);
	assert_int_equal(reader.prompt_count, 1);
}

static void test_settings(void **state)
{
	assert_int_equal(
		read_body(API_COMPLETIONS,
			  "{\"prompt\":\"x [[tokens=3]]\",\"model\":\"m\",\"stream\":true,\"n\":2,"
			  "\"stream_options\":{\"include_usage\":true},\"max_tokens\":9,"
			  "\"cache_salt\":\"s\"}",
			  0),
		0);
	assert_true(request.stream && request.include_usage);
	assert_true(bb_str_eq(request.model, BB_STR("m")));
	assert_true(bb_str_eq(request.cache_salt, BB_STR("s")));
	assert_int_equal(request.n, 2);
	assert_int_equal(request.max_tokens, 9);
	assert_int_equal(request.hints.tokens, 3);
	assert_int_equal(
		read_body(API_COMPLETIONS,
			  "{\"prompt\":\"x\",\"max_tokens\":null,\"max_completion_tokens\":4}", 0),
		0);
	assert_int_equal(request.max_tokens, 4);
	assert_int_equal(read_body(API_COMPLETIONS, "{\"prompt\":\"x\",\"model\":5}", 0), 0);
	assert_null(request.model.p);
	assert_int_equal(request.max_tokens, SIM_ABSENT);
}

static void test_refused(void **state)
{
	static const struct {
		enum api api;
		const char *body;
	} bodies[] = {
		{ API_CHAT, "" },
		{ API_CHAT, "[]" },
		{ API_CHAT, "{\"messages\":[{]}" },
		{ API_CHAT, "{}" },
		{ API_CHAT, "{\"messages\":\"x\"}" },
		{ API_CHAT, "{\"messages\":[]}" },
		{ API_CHAT, "{\"messages\":[1]}" },
		{ API_CHAT, "{\"messages\":[{\"role\":\"user\"}],\"n\":-1}" },
		{ API_CHAT, "{\"messages\":[{\"role\":\"user\"}],\"max_tokens\":1.5}" },
		{ API_CHAT, "{\"messages\":[{\"role\":\"user\"}],\"max_tokens\":4294967295}" },
		{ API_COMPLETIONS, "{}" },
		{ API_COMPLETIONS, "{\"prompt\":[]}" },
		{ API_COMPLETIONS, "{\"prompt\":[1,\"x\"]}" },
		{ API_COMPLETIONS, "{\"prompt\":[\"x\",1]}" },
		{ API_COMPLETIONS, "{\"prompt\":[-1]}" },
		{ API_COMPLETIONS, "{\"prompt\":[3000000000]}" },
		{ API_RESPONSES, "{\"input\":5}" },
		{ API_RESPONSES, "{\"input\":[{}]}" },
		{ API_RERANK, "{\"query\":\"x\"}" },
		{ API_RERANK, "{\"query\":\"x\",\"documents\":[1]}" },
		{ API_SCORE, "{\"text_2\":[\"x\"]}" },
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		assert_int_equal(read_body(bodies[i].api, bodies[i].body, SIM_PREFILL_WHEN_ASKED),
				 -BB_EINVALID);
		assert_int_equal(reader.prompt_count, 0);
	}
}

static void test_too_many_prompts(void **state)
{
	struct bb_buf body;
	const char *why;

	bb_buf_init(&body, 1 << 20);
	bb_buf_lit(&body, "{\"input\":[");
	for (int i = 0; i <= SIM_PROMPTS_MAX; i++)
		bb_buf_printf(&body, "%s\"x\"", i ? "," : "");
	bb_buf_lit(&body, "]}");
	assert_int_equal(sim_request_read(&reader, API_EMBEDDINGS, bb_buf_str(&body),
					  SIM_PREFILL_WHEN_ASKED, &request, &why),
			 -BB_ELIMIT);
	bb_buf_fini(&body);
}

static void test_no_memory(void **state)
{
	const char *body =
		"{\"tools\":[1],\"messages\":[{\"role\":\"user\",\"content\":\"Hi you\"}]}";
	int failures = 0, rc = -BB_ENOMEM;

	for (uint64_t n = 1; rc; n++) {
		sim_reader_fini(&reader);
		sim_reader_init(&reader);
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		rc = read_body(API_CHAT, body, SIM_PREFILL_WHEN_ASKED);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		failures += rc != 0;
		assert_true(n < 50);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_true(failures >= 4);
}

static int set_up(void **state)
{
	sim_reader_init(&reader);
	return 0;
}

static int tear_down(void **state)
{
	sim_reader_fini(&reader);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_chat, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_open_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_protocols, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forms_of_prompts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_settings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_many_prompts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
