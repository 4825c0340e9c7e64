/*
 * Goal: chunks of a stream become the answer that the engine would have given without a stream:
 * text, reasoning, tool calls, log probabilities, several choices; errors and broken streams are
 * told apart; memory is bounded, and no allocation that fails does harm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "wire/assemble.h"
#include "wire/json.h"
#include "wire/sse.h"

#define CAPTURE "tests/data/vllm-http/stream_full.txt"
#define OUT_MAX 65536

static int assemble_max(enum api api, const char *const *chunks, size_t max_bytes,
			struct bb_buf *out)
{
	struct assembler *a = assembler_create(api, max_bytes);
	int rc = a ? 0 : -BB_ENOMEM;

	for (; !rc && *chunks; chunks++)
		rc = assembler_add(a, bb_str_of(*chunks));
	if (!rc)
		rc = assembler_finish(a, out);
	assembler_destroy(a);
	return rc;
}

static void assert_assembled(enum api api, const char *const *chunks, const char *expected)
{
	struct bb_buf out;

	bb_buf_init(&out, OUT_MAX);
	assert_int_equal(assemble_max(api, chunks, 1 << 20, &out), 0);
	assert_int_equal(json_check(bb_buf_str(&out), JSON_DEPTH_MAX, NULL), 0);
	bb_buf_add(&out, "", 1);
	assert_string_equal(out.p, expected);
	bb_buf_fini(&out);
}

static int fails(const char *const *chunks, const char *expected)
{
	struct bb_buf out;

	bb_buf_init(&out, OUT_MAX);
	const int rc = assemble_max(API_CHAT, chunks, 1 << 20, &out);
	if (!bb_str_eq(bb_buf_str(&out), bb_str_of(expected)))
		fail_msg("%.*s", (int)out.len, out.p);
	bb_buf_fini(&out);
	return rc;
}

#define HEAD                                                                                       \
	"{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":17,\"model\":\"m\","     \
	"\"choices\":"
#define ANSWER                                                                                     \
	"{\"object\":\"chat.completion\",\"id\":\"c-1\",\"created\":17,\"model\":\"m\","           \
	"\"choices\":"

static void text_and_usage(void **state)
{
	static const char *const chunks[] = {
		HEAD "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
		     "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}",
		HEAD "[{\"index\":0,\"delta\":{\"content\":\"Gr\\u00fc\\n\"},\"logprobs\":null,"
		     "\"finish_reason\":null}]}",
		HEAD
		"[{\"index\":0,\"delta\":{\"content\":\"\xc3\x9f "
		"\\\"x\\\"\"},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":5}]}",
		HEAD "[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"system_"
		     "fingerprint\":\"fp\",\"timings\":{\"t\":1.50}}",
		"[DONE]",
		NULL,
	};

	assert_assembled(API_CHAT, chunks,
			 ANSWER "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
				"\"Gr\\u00fc\\n\xc3\x9f \\\"x\\\"\"},"
				"\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":5}],"
				"\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"system_"
				"fingerprint\":\"fp\","
				"\"timings\":{\"t\":1.50}}");
}

static void reasoning_and_refusal(void **state)
{
	static const char *const chunks[] = {
		HEAD "[{\"delta\":{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":"
		     "\"th\"},\"finish_reason\":null}]}",
		HEAD "[{\"delta\":{\"reasoning_content\":\"ink\"},\"finish_reason\":null}]}",
		HEAD "[{\"delta\":{\"content\":\"so\",\"reasoning_content\":null},\"finish_"
		     "reason\":null}]}",
		HEAD
		"[{\"delta\":{\"content\":\"!\",\"refusal\":null},\"finish_reason\":\"length\"}]}",
		NULL,
	};

	assert_assembled(API_CHAT, chunks,
			 ANSWER
			 "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"so!\","
			 "\"reasoning_content\":\"think\","
			 "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"length\"}]}");
}

static void tool_calls(void **state)
{
	static const char *const chunks[] = {
		HEAD "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_"
		     "reason\":null}]}",
		HEAD "[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"type\":"
		     "\"function\",\"function\":"
		     "{\"name\":\"time\",\"arguments\":null}}]},\"finish_reason\":null}]}",
		HEAD "[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\","
		     "\"function\":{\"name\":\"weather\","
		     "\"arguments\":\"{\\\"ci\"}}]},\"finish_reason\":null}]}",
		HEAD "[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":null,\"type\":"
		     "\"function\",\"function\":{\"name\":null,"
		     "\"arguments\":\"ty\\\":1}\"}}]},\"finish_reason\":null}]}",
		HEAD "[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"\","
		     "\"function\":{\"arguments\":\"{}\"}}]},"
		     "\"finish_reason\":\"tool_calls\"}]}",
		NULL,
	};

	assert_assembled(API_CHAT, chunks,
			 ANSWER "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
				"null,\"tool_calls\":["
				"{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":"
				"\"weather\",\"arguments\":\"{\\\"city\\\":1}\"}},"
				"{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":"
				"\"time\",\"arguments\":\"{}\"}}]},"
				"\"logprobs\":null,\"finish_reason\":\"tool_calls\"}]}");
	static const char *const old[] = {
		HEAD "[{\"delta\":{\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}},\"finish_"
		     "reason\":null}]}",
		HEAD "[{\"delta\":{\"function_call\":{\"arguments\":\"{}\"}},\"finish_reason\":"
		     "\"function_call\"}]}",
		NULL,
	};
	assert_assembled(
		API_CHAT, old,
		ANSWER
		"[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,\"function_"
		"call\":{\"name\":\"f\","
		"\"arguments\":\"{}\"}},\"logprobs\":null,\"finish_reason\":\"function_call\"}]}");
}

static void several_choices_and_logprobs(void **state)
{
	static const char *const chunks[] = {
		HEAD "[{\"index\":1,\"delta\":{\"role\":\"assistant\",\"content\":\"b\"},"
		     "\"logprobs\":{\"content\":[{\"logprob\":-0.10}],"
		     "\"refusal\":null},\"finish_reason\":null}]}",
		HEAD "[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[ "
		     "]},\"finish_reason\":null}]}",
		HEAD "[{\"finish_reason\":\"stop\",\"delta\":{\"content\":\"B\"},\"index\":1,"
		     "\"logprobs\":{\"content\":[{\"logprob\":-2},"
		     "{\"logprob\":-3}]},\"token_ids\":[7]},{\"index\":0,\"delta\":{\"content\":"
		     "\"A\"},\"finish_reason\":\"length\"}]}",
		NULL,
	};

	assert_assembled(API_CHAT, chunks,
			 ANSWER "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
				"\"aA\"},\"logprobs\":{\"content\":[]},"
				"\"finish_reason\":\"length\"},"
				"{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":"
				"\"bB\"},\"logprobs\":{\"content\":[{\"logprob\":"
				"-0.10},{\"logprob\":-2},{\"logprob\":-3}],\"refusal\":null},"
				"\"finish_reason\":\"stop\",\"token_ids\":[7]}]}");
}

static void text_completions(void **state)
{
	static const char *const chunks[] = {
		"{\"id\":\"t\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\","
		"\"choices\":[{\"index\":0,\"text\":\"on\","
		"\"logprobs\":{\"tokens\":[\"on\"],\"token_logprobs\":[-1.0],\"text_offset\":[0],"
		"\"top_logprobs\":null},\"finish_reason\":null}]}",
		"{\"id\":\"t\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":"
		"\"ce\",\"logprobs\":{\"tokens\":[\"ce\"],"
		"\"token_logprobs\":[-2.0],\"text_offset\":[2],\"top_logprobs\":null},\"finish_"
		"reason\":\"stop\"}]}",
		NULL,
	};

	assert_assembled(API_COMPLETIONS, chunks,
			 "{\"object\":\"text_completion\",\"id\":\"t\",\"created\":1,\"model\":"
			 "\"m\",\"choices\":[{\"index\":0,\"text\":"
			 "\"once\",\"logprobs\":{\"tokens\":[\"on\",\"ce\"],\"token_logprobs\":[-1."
			 "0,-2.0],\"text_offset\":[0,2],"
			 "\"top_logprobs\":null},\"finish_reason\":\"stop\"}]}");
}

static void content_empty_but_there(void **state)
{
	static const char *const chunks[] = {
		HEAD
		"[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}",
		HEAD "[{\"delta\":{\"content\":null},\"finish_reason\":\"stop\"}]}",
		NULL,
	};

	assert_assembled(API_CHAT, chunks,
			 ANSWER "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
				"\"\"},\"logprobs\":null,"
				"\"finish_reason\":\"stop\"}]}");
}

#define SOME HEAD "[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}"

static void failures(void **state)
{
	static const char *const cut[] = { SOME, "[DONE]", NULL };
	static const char *const nothing[] = { "[DONE]", NULL };
	static const char *const error[] = { SOME, "{\"error\": {\"code\": 500}}", "[DONE]", NULL };
	static const char *const bare[] = { "{\"object\":\"error\",\"code\":500}", SOME, NULL };
	static const char *const half[] = {
		HEAD "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"},"
		     "{\"index\":1,\"delta\":{},\"finish_reason\":null}]}",
		NULL
	};
	static const char *const malformed[] = { SOME, "{\"choices\":[", NULL };
	static const char *const invalid[] = { HEAD "[{\"delta\":{\"content\":\"\xff\"}}]}", NULL };
	static const char *const array[] = { "[]", NULL };
	static const char *const odd[] = { HEAD "[5]}", NULL };

	assert_int_equal(fails(cut, ""), -BB_EUPSTREAM);
	assert_int_equal(fails(nothing, ""), -BB_EUPSTREAM);
	assert_int_equal(fails(half, ""), -BB_EUPSTREAM);
	assert_int_equal(fails(error, "{\"error\": {\"code\": 500}}"), -BB_EUPSTREAM);
	assert_int_equal(fails(bare, "{\"error\":{\"object\":\"error\",\"code\":500}}"),
			 -BB_EUPSTREAM);
	assert_int_equal(fails(malformed, ""), -BB_ESYNTAX);
	assert_int_equal(fails(invalid, ""), -BB_ESYNTAX);
	assert_int_equal(fails(array, ""), -BB_ESYNTAX);
	assert_int_equal(fails(odd, ""), -BB_ESYNTAX);
}

static void bounded(void **state)
{
	struct assembler *a = assembler_create(API_CHAT, 20000);
	int rc = 0, chunks = 0;

	assert_non_null(a);
	for (; !rc; chunks++)
		rc = assembler_add(a, BB_STR(SOME));
	assert_int_equal(rc, -BB_ELIMIT);
	/* Only what is kept counts: one byte a chunk here, and some for the rest. */
	assert_true(chunks > 17000 && chunks <= 20000);
	assembler_destroy(a);
	a = assembler_create(API_CHAT, 1 << 20);
	assert_non_null(a);
	rc = 0;
	for (int i = 0; !rc; i++) {
		char chunk[100];
		assert_true(i <= 128);
		snprintf(chunk, sizeof(chunk), "{\"choices\":[{\"index\":%d,\"delta\":{}}]}",
			 1000 - i);
		rc = assembler_add(a, bb_str_of(chunk));
	}
	assert_int_equal(rc, -BB_ELIMIT);
	assembler_destroy(a);
	a = assembler_create(API_CHAT, 1 << 20);
	assert_non_null(a);
	rc = 0;
	for (int i = 0; !rc; i++) {
		char chunk[100];
		assert_true(i <= 64);
		snprintf(chunk, sizeof(chunk), "{\"k%d\":1}", i);
		rc = assembler_add(a, bb_str_of(chunk));
	}
	assert_int_equal(rc, -BB_ELIMIT);
	assembler_destroy(a);
	assembler_destroy(NULL);
}

static void each_allocation_fails(void **state)
{
	static const char *const chunks[] = {
		HEAD "[{\"index\":1,\"delta\":{\"content\":\"x\",\"tool_calls\":[{\"index\":0,"
		     "\"id\":\"a\",\"function\":{\"name\":\"f\"}}]},"
		     "\"logprobs\":{\"content\":[1]},\"finish_reason\":null}]}",
		HEAD "[{\"index\":0,\"delta\":{\"function_call\":{\"name\":\"f\"}},\"finish_"
		     "reason\":\"stop\"}]}",
		HEAD "[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{}}",
		NULL,
	};
	int rc = -1, failures_seen = 0;

	for (uint64_t nth = 1; rc; nth++) {
		struct bb_buf out;
		bb_buf_init(&out, OUT_MAX);
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = assemble_max(API_CHAT, chunks, 1 << 20, &out);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		failures_seen += rc != 0;
		bb_buf_fini(&out);
	}
	assert_true(failures_seen > 15);
}

static void captured_stream(void **state)
{
	static char bytes[65536];
	FILE *f = fopen(CAPTURE, "rb");
	struct assembler *a = assembler_create(API_CHAT, 1 << 16);
	struct bb_buf out;

	assert_non_null(f);
	assert_non_null(a);
	const size_t len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	struct bb_str rest = { bytes, len };
	bb_str_cut(&rest, '\n');
	struct sse_event e;
	while (sse_next(&rest, &e))
		assert_int_equal(assembler_add(a, e.data), 0);
	bb_buf_init(&out, OUT_MAX);
	assert_int_equal(assembler_finish(a, &out), 0);
	bb_buf_add(&out, "", 1);
	assert_string_equal(out.p, "{\"object\":\"chat.completion\",\"id\":\"chatcmpl-"
				   "9fab47bc3ba9554f\",\"created\":1795353191,\"model\":\"smol\","
				   "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
				   "\"content\":\"I'm sorry for any mis\"},"
				   "\"logprobs\":null,\"finish_reason\":\"length\",\"token_ids\":"
				   "null,\"stop_reason\":null}],"
				   "\"prompt_token_ids\":null,\"prompt_text\":null,\"usage\":{"
				   "\"prompt_tokens\":33,\"total_tokens\":39,"
				   "\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_"
				   "tokens\":0,\"created_cache_tokens\":32}},"
				   "\"system_fingerprint\":\"vllm-0.32.0-b5655a3e\"}");
	bb_buf_fini(&out);
	assembler_destroy(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_and_usage),
		cmocka_unit_test(reasoning_and_refusal),
		cmocka_unit_test(tool_calls),
		cmocka_unit_test(several_choices_and_logprobs),
		cmocka_unit_test(text_completions),
		cmocka_unit_test(content_empty_but_there),
		cmocka_unit_test(failures),
		cmocka_unit_test(bounded),
		cmocka_unit_test(each_allocation_fails),
		cmocka_unit_test(captured_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
