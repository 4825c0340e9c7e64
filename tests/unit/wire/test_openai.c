/*
 * Goal: the endpoints are found, a request's deciding members are read and refused as openai.h
 * says, splices change what they should and not one byte more, chunks of all four protocols are
 * understood, and errors come out in each protocol's form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "wire/openai.h"
#include "wire/sse.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CAPTURE "tests/data/vllm-http/stream_full.txt"

static struct bb_arena arena;

static int setup(void **state)
{
	bb_arena_init(&arena, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	bb_arena_fini(&arena);
	return 0;
}

/* ---- endpoints ---- */

static void paths(void **state)
{
	static const struct {
		const char *path;
		enum api api;
	} cases[] = {
		{ "/v1/chat/completions", API_CHAT },
		{ "/v1/chat/completions?api-version=1", API_CHAT },
		{ "/v1/completions", API_COMPLETIONS },
		{ "/v1/responses", API_RESPONSES },
		{ "/v1/messages", API_MESSAGES },
		{ "/v1/messages/count_tokens", API_COUNT_TOKENS },
		{ "/v1/rerank", API_RERANK },
		{ "/rerank", API_RERANK },
		{ "/v2/rerank", API_RERANK },
		{ "/score", API_SCORE },
		{ "/v1/audio/transcriptions", API_TRANSCRIPTIONS },
		{ "/v1/images/variations", API_IMAGE_VARIATIONS },
		{ "/tokenize", API_TOKENIZE },
		{ "/v1/tokenize", API_TOKENIZE },
		{ "/v1/detokenize", API_DETOKENIZE },
		{ "/v1/models", API_NONE },
		{ "/v1/chat/completions/", API_NONE },
		{ "/v1/Chat/completions", API_NONE },
		{ "", API_NONE },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(api_from_path(bb_str_of(cases[i].path)), cases[i].api);
	for (enum api api = API_NONE + 1; api < API_COUNT; api++) {
		const struct api_info *info = api_info(api);
		assert_int_equal(api_from_path(info->path), api);
		assert_true(strlen(info->label) > 0);
	}
	assert_int_equal(api_info(API_MESSAGES)->family, FAMILY_ANTHROPIC);
	assert_int_equal(api_info(API_TRANSCRIPTIONS)->body, API_BODY_MULTIPART);
	assert_true(api_info(API_CHAT)->generates && !api_info(API_EMBEDDINGS)->generates);
}

/* ---- requests ---- */

static struct openai_request scan(enum api api, const char *body)
{
	struct openai_request r;
	struct json_error err = { 0, "" };
	const char *param = NULL;

	if (openai_request_scan(api, bb_str_of(body), &arena, &r, &err, &param))
		fail_msg("%s: %s %s", body, param ? param : "", err.what);
	return r;
}

static void request_members(void **state)
{
	struct openai_request r = scan(
		API_CHAT,
		"{\"model\":\"my\\/"
		"model\\u00e4\",\"stream\":true,\"stream_options\":{\"x\":1,\"include_usage\":true}"
		","
		"\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":100,\"n\":3,"
		"\"tools\":[{\"type\":\"function\"}],\"response_format\":{\"type\":\"json_object\"}"
		",\"logprobs\":true,"
		"\"temperature\":0.5,\"unknown\":{\"model\":\"other\",\"stream\":5}}");

	assert_true(bb_str_eq(r.model, BB_STR("my/model\xc3\xa4")));
	assert_true(bb_str_eq(r.model_raw, BB_STR("\"my\\/model\\u00e4\"")));
	assert_true(r.stream && r.has_stream_options && r.include_usage);
	assert_true(bb_str_eq(r.stream_usage_value, BB_STR("true")));
	assert_int_equal(r.max_tokens, 100);
	assert_int_equal(r.n, 3);
	assert_true(r.has_tools && r.needs_structured && r.logprobs);
	assert_true(bb_str_eq(r.prompt, BB_STR("[{\"role\":\"user\",\"content\":\"hi\"}]")));
	assert_int_equal(r.prompt_type, JSON_ARRAY);
	assert_int_equal(r.prompt_bytes, r.prompt.len + r.tools.len);
	assert_int_equal(r.open, 1);
	assert_false(r.is_empty);

	r = scan(API_CHAT, " {}");
	assert_true(!r.model.len && !r.model_raw.p && !r.stream && !r.stream_raw.p);
	assert_true(!r.has_stream_options && !r.has_tools && !r.needs_structured && !r.logprobs);
	assert_true(r.max_tokens == OPENAI_MAX_TOKENS_ABSENT && r.n == 1 && r.prompt_bytes == 0);
	assert_true(r.is_empty && r.open == 2);

	r = scan(API_CHAT, "{\"model\":null,\"stream\":null,\"stream_options\":null,\"max_tokens\":"
			   "null,\"n\":null,"
			   "\"tools\":[],\"response_format\":{\"type\":\"text\"},\"logprobs\":"
			   "false,\"guided_json\":null}");
	assert_true(!r.model.len && r.model_raw.p && !r.stream && !r.has_stream_options);
	assert_true(!r.has_tools && !r.needs_structured && !r.logprobs && r.n == 1);
}

static void sessions(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"model\":\"m\"}", "" },
		{ "{\"user\":\"u\"}", "\"u\"" },
		{ "{\"user\":\"u\",\"prompt_cache_key\":\"k\"}", "\"k\"" },
		{ "{\"prompt_cache_key\":\"k\",\"metadata\":{\"session_id\":\"s\"}}", "\"k\"" },
		{ "{\"metadata\":{\"user_id\":\"a\",\"session_id\":\"s\"},\"user\":\"u\"}", "\"s\"" },
		{ "{\"metadata\":{\"user_id\":7},\"user\":\"\"}", "" },
		{ "{\"metadata\":\"x\",\"user\":null}", "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct openai_request r;
		assert_int_equal(openai_request_scan(API_CHAT, bb_str_of(cases[i][0]), &arena, &r, NULL, NULL), 0);
		assert_true(bb_str_eq(r.session, bb_str_of(cases[i][1])));
	}
}

static void token_limits(void **state)
{
	assert_int_equal(
		scan(API_CHAT, "{\"max_completion_tokens\":5,\"max_tokens\":9}").max_tokens, 5);
	assert_int_equal(
		scan(API_CHAT, "{\"max_tokens\":9,\"max_completion_tokens\":5}").max_tokens, 5);
	assert_int_equal(scan(API_RESPONSES, "{\"max_output_tokens\":7}").max_tokens, 7);
	assert_int_equal(scan(API_CHAT, "{\"max_tokens\":16.0}").max_tokens, 16);
	assert_int_equal(scan(API_COMPLETIONS, "{\"max_tokens\":0}").max_tokens, 0);
	assert_true(scan(API_CHAT, "{\"max_tokens\":-1}").max_tokens == OPENAI_MAX_TOKENS_ABSENT);
}

static void prompt_size(void **state)
{
	struct openai_request r = scan(API_COMPLETIONS, "{\"prompt\":[1,2,3],\"suffix\":\"abc\"}");

	assert_int_equal(r.prompt_bytes, 7 + 5);
	assert_true(bb_str_eq(r.prompt, BB_STR("[1,2,3]")));
	r = scan(API_RESPONSES,
		 "{\"instructions\":\"be "
		 "kind\",\"input\":\"hi\",\"text\":{\"format\":{\"type\":\"json_schema\"}}}");
	assert_int_equal(r.prompt_bytes, 9 + 4);
	assert_true(r.needs_structured);
	assert_false(scan(API_RESPONSES, "{\"text\":{\"format\":{\"type\":\"text\"}}}")
			     .needs_structured);
	r = scan(API_RERANK, "{\"query\":\"q\",\"documents\":[\"a\",\"b\"]}");
	assert_int_equal(r.prompt_bytes, 3 + 9);
	assert_true(scan(API_COMPLETIONS, "{\"logprobs\":0}").logprobs);
	assert_true(scan(API_CHAT, "{\"guided_regex\":\"a+\"}").needs_structured);
}

static void requests_refused(void **state)
{
	static const struct {
		const char *body, *param;
		size_t offset;
		int rc;
	} cases[] = {
		{ "{\"model\":\"a\",\"model\":\"b\"}", "model", 21, -BB_EINVALID },
		{ "{\"model\":\"a\",\"mo\\u0064el\":\"b\"}", "model", 26, -BB_EINVALID },
		{ "{\"stream\":true,\"stream\":true}", "stream", 24, -BB_EINVALID },
		{ "{\"max_tokens\":1,\"max_tokens\":1}", "max_tokens", 29, -BB_EINVALID },
		{ "{\"n\":1,\"n\":1}", "n", 11, -BB_EINVALID },
		{ "{\"model\":5}", "model", 9, -BB_EINVALID },
		{ "{\"model\":\"\"}", "model", 9, -BB_EINVALID },
		{ "{\"model\":[\"a\"]}", "model", 9, -BB_EINVALID },
		{ "{\"stream\":\"true\"}", "stream", 10, -BB_EINVALID },
		{ "{\"stream\":1}", "stream", 10, -BB_EINVALID },
		{ "{\"stream_options\":true}", "stream_options", 18, -BB_EINVALID },
		{ "{\"stream_options\":{\"include_usage\":1}}", "stream_options.include_usage", 35,
		  -BB_EINVALID },
		{ "{\"stream_options\":{\"include_usage\":true,\"include_usag\\u0065\":false}}",
		  "stream_options.include_usage", 61, -BB_EINVALID },
		{ "{\"max_tokens\":0}", "max_tokens", 14, -BB_EINVALID },
		{ "{\"max_tokens\":-2}", "max_tokens", 14, -BB_EINVALID },
		{ "{\"max_tokens\":1.5}", "max_tokens", 14, -BB_EINVALID },
		{ "{\"max_tokens\":\"5\"}", "max_tokens", 14, -BB_EINVALID },
		{ "{\"max_tokens\":99999999999999999999}", "max_tokens", 14, -BB_EINVALID },
		{ "{\"max_completion_tokens\":{}}", "max_completion_tokens", 25, -BB_EINVALID },
		{ "{\"n\":0}", "n", 5, -BB_EINVALID },
		{ "{\"n\":4294967296}", "n", 5, -BB_EINVALID },
		{ "{\"model\":\"a\"", NULL, 12, -BB_ESYNTAX },
		{ "[]", NULL, 0, -BB_ESYNTAX },
		{ "", NULL, 0, -BB_ESYNTAX },
		{ "{\"model\":\"a\",\"x\":tru}", NULL, 17, -BB_ESYNTAX },
		{ "{\"model\":\"a\"}{}", NULL, 13, -BB_ESYNTAX },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct openai_request r;
		struct json_error err = { 999, "" };
		const char *param = "none";
		const int rc = openai_request_scan(API_CHAT, bb_str_of(cases[i].body), &arena, &r,
						   &err, &param);
		if (rc != cases[i].rc || err.offset != cases[i].offset ||
		    (param ? !cases[i].param || strcmp(param, cases[i].param) != 0
			   : cases[i].param != NULL))
			fail_msg("%s: %d at %zu, %s", cases[i].body, rc, err.offset,
				 param ? param : "-");
		assert_int_equal(openai_request_scan(API_CHAT, bb_str_of(cases[i].body), &arena, &r,
						     NULL, NULL),
				 cases[i].rc);
	}
}

static int scan_model_of(size_t len, const char *unit)
{
	struct openai_request r;
	char body[8192] = "{\"model\":\"";

	size_t at = strlen(body);
	for (size_t i = 0; i < len; i++) {
		memcpy(body + at, unit, strlen(unit));
		at += strlen(unit);
	}
	memcpy(body + at, "\"}", 2);
	return openai_request_scan(API_CHAT, (struct bb_str){ body, at + 2 }, &arena, &r, NULL,
				   NULL);
}

static void model_length(void **state)
{
	assert_int_equal(scan_model_of(256, "x"), 0);
	assert_int_equal(scan_model_of(257, "x"), -BB_EINVALID);
	assert_int_equal(scan_model_of(256, "\\u0041"), 0);
	assert_int_equal(scan_model_of(257, "\\u0041"), -BB_EINVALID);
	assert_int_equal(scan_model_of(1300, "\\u0041"), -BB_EINVALID);
	/* No memory is an answer, not a crash. */
	struct bb_arena none;
	struct openai_request r;
	bb_arena_init(&none, 16);
	assert_int_equal(
		openai_request_scan(API_CHAT,
				    BB_STR("{\"model\":\"a\\u0041aaaaaaaaaaaaaaaaaaaaaaaaa\"}"),
				    &none, &r, NULL, NULL),
		-BB_ENOMEM);
	bb_arena_fini(&none);
}

/* ---- splices ---- */

static void join_parts(const struct bb_str *parts, uint32_t count, size_t total, char *out,
		       size_t max)
{
	size_t len = 0;

	for (uint32_t i = 0; i < count; i++) {
		assert_true(parts[i].len > 0 && len + parts[i].len < max);
		memcpy(out + len, parts[i].p, parts[i].len);
		len += parts[i].len;
	}
	assert_int_equal(len, total);
	out[len] = 0;
}

static uint32_t spliced(enum api api, const char *text, struct splice_want want, char *out,
			size_t max)
{
	const struct bb_str body = bb_str_of(text);
	const struct openai_request r = scan(api, text);
	struct splice_set set = { .count = 0 };
	struct bb_str parts[SPLICE_PARTS_MAX];
	size_t total;

	assert_int_equal(openai_request_splice(api, body, &r, &want, &arena, &set), 0);
	const uint32_t count = splice_iov(body, &set, parts, &total);
	join_parts(parts, count, total, out, max);
	struct json_error err = { 0, "" };
	if (json_check((struct bb_str){ out, total }, JSON_DEPTH_MAX, &err))
		fail_msg("%s: %s at %zu", out, err.what, err.offset);
	return set.count;
}

static void splices(void **state)
{
#define NAME(text) .model = BB_STR_INIT(text)
	static const struct {
		enum api api;
		const char *body;
		struct splice_want want;
		const char *result;
		uint32_t count;
	} cases[] = {
		/* the model's name, and nothing else */
		{ API_CHAT,
		  "{ \"x\" : 1.50 , \"model\" :\"a\", \"y\":\"\\u00e4\" }\n",
		  { NAME("b/\"c\"") },
		  "{ \"x\" : 1.50 , \"model\" :\"b/\\\"c\\\"\", \"y\":\"\\u00e4\" }\n",
		  1 },
		{ API_CHAT, "{\"model\":\"a\"}", { NAME("a") }, "{\"model\":\"a\"}", 0 },
		{ API_CHAT,
		  "{\"model\":\"\\u0061\"}",
		  { NAME("a") },
		  "{\"model\":\"\\u0061\"}",
		  0 },
		{ API_CHAT,
		  "{\"model\":\"a\"}",
		  { .stream = SPLICE_STREAM_KEEP },
		  "{\"model\":\"a\"}",
		  0 },
		{ API_CHAT, "{\"model\":null}", { NAME("b") }, "{\"model\":\"b\"}", 1 },
		{ API_CHAT, "{\"x\":1}", { NAME("b") }, "{\"model\":\"b\",\"x\":1}", 1 },
		{ API_CHAT, " { } ", { NAME("b") }, " {\"model\":\"b\" } ", 1 },
		/* usage */
		{ API_CHAT,
		  "{\"stream\":true}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream_options\":{\"include_usage\":true},\"stream\":true}",
		  1 },
		{ API_CHAT,
		  "{\"stream\":true,\"stream_options\":null}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
		  1 },
		{ API_CHAT,
		  "{\"stream\":true,\"stream_options\":{}}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
		  1 },
		{ API_CHAT,
		  "{\"stream\":true,\"stream_options\":{ \"a\":{}}}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":true,\"stream_options\":{\"include_usage\":true, \"a\":{}}}",
		  1 },
		{ API_CHAT,
		  "{\"stream_options\":{\"a\":1,\"include_usage\": false,\"b\":2},\"stream\":true}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream_options\":{\"a\":1,\"include_usage\": true,\"b\":2},\"stream\":true}",
		  1 },
		{ API_CHAT,
		  "{\"stream\":true,\"stream_options\":{\"include_usage\":null}}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
		  1 },
		{ API_CHAT,
		  "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
		  0 },
		/* not where there is no stream, nor where the API has no such option */
		{ API_CHAT,
		  "{\"stream\":false}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":false}",
		  0 },
		{ API_RESPONSES,
		  "{\"stream\":true}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":true}",
		  0 },
		{ API_MESSAGES,
		  "{\"stream\":true}",
		  { .usage = SPLICE_USAGE_ASK },
		  "{\"stream\":true}",
		  0 },
		/* a stream whatever the client wanted */
		{ API_CHAT,
		  "{\"stream\":false,\"x\":1}",
		  { .stream = SPLICE_STREAM_ASK, .usage = SPLICE_USAGE_ASK },
		  "{\"stream_options\":{\"include_usage\":true},\"stream\":true,\"x\":1}",
		  2 },
		{ API_COMPLETIONS,
		  "{\"x\":1}",
		  { .stream = SPLICE_STREAM_ASK },
		  "{\"stream\":true,\"x\":1}",
		  1 },
		{ API_CHAT,
		  "{\"stream\":true}",
		  { .stream = SPLICE_STREAM_ASK },
		  "{\"stream\":true}",
		  0 },
		{ API_CHAT,
		  "{}",
		  { NAME("b"), .stream = SPLICE_STREAM_ASK, .usage = SPLICE_USAGE_ASK },
		  "{\"model\":\"b\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
		  3 },
		{ API_CHAT,
		  "{\"z\":[],\"stream_options\":{\"include_usage\":false},\"stream\":null,"
		  "\"model\":\"a\"}",
		  { NAME("b"), .stream = SPLICE_STREAM_ASK, .usage = SPLICE_USAGE_ASK },
		  "{\"z\":[],\"stream_options\":{\"include_usage\":true},\"stream\":true,\"model\":"
		  "\"b\"}",
		  3 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char out[512];
		const uint32_t count =
			spliced(cases[i].api, cases[i].body, cases[i].want, out, sizeof(out));
		assert_string_equal(out, cases[i].result);
		assert_int_equal(count, cases[i].count);
	}
}

static void gateway_members(void **state)
{
	const struct bb_str body = BB_STR("{\"model\":\"a\"}"), empty = BB_STR("{}");
	struct openai_request r = scan(API_CHAT, body.p);
	struct splice_set set = { .count = 0 };
	struct splice_want want = { NAME("b") };
	struct bb_str parts[SPLICE_PARTS_MAX];
	size_t total;
	char out[256];

	assert_int_equal(openai_request_splice(API_CHAT, body, &r, &want, &arena, &set), 0);
	assert_int_equal(splice_add_member(&r, "cache_salt", BB_STR("\"s\""), &arena, &set), 0);
	assert_int_equal(splice_add_member(&r, "user", BB_STR("1"), &arena, &set), 0);
	uint32_t count = splice_iov(body, &set, parts, &total);
	join_parts(parts, count, total, out, sizeof(out));
	assert_string_equal(out, "{\"cache_salt\":\"s\",\"user\":1,\"model\":\"b\"}");

	r = scan(API_CHAT, "{}");
	set.count = 0;
	assert_int_equal(splice_add_member(&r, "a", BB_STR("1"), &arena, &set), 0);
	assert_int_equal(splice_add_member(&r, "b", BB_STR("2"), &arena, &set), 0);
	count = splice_iov(empty, &set, parts, &total);
	join_parts(parts, count, total, out, sizeof(out));
	assert_string_equal(out, "{\"a\":1,\"b\":2}");
}

static void splice_set_limits(void **state)
{
	struct splice_set set = { .count = 0 };
	struct bb_str parts[SPLICE_PARTS_MAX];
	size_t total;

	assert_int_equal(splice_add(&set, 4, 2, BB_STR("x")), 0);
	assert_int_equal(splice_add(&set, 5, 1, BB_STR("y")), -BB_EINVALID);
	assert_int_equal(splice_add(&set, 3, 2, BB_STR("y")), -BB_EINVALID);
	assert_int_equal(splice_add(&set, 6, 0, BB_STR("y")), 0);
	assert_int_equal(splice_add(&set, 0, 0, BB_STR("z")), 0);
	assert_int_equal(splice_iov(BB_STR("abcdefgh"), &set, parts, &total), 5);
	assert_int_equal(total, 9);
	set.count = 0;
	for (int i = 0; i < SPLICES_MAX; i++)
		assert_int_equal(splice_add(&set, 0, 0, BB_STR("z")), 0);
	assert_int_equal(splice_add(&set, 0, 0, BB_STR("z")), -BB_ELIMIT);
	/* Nothing to change is one part, or none for nothing. */
	set.count = 0;
	assert_int_equal(splice_iov(BB_STR("abc"), &set, parts, &total), 1);
	assert_int_equal(splice_iov(BB_STR(""), &set, parts, &total), 0);
}

/* Each allocation fails in turn: an error comes back and nothing is lost. */
static void splice_without_memory(void **state)
{
	const struct bb_str body = BB_STR("{\"stream\":false}");
	const struct openai_request r = scan(API_CHAT, body.p);
	const struct splice_want want = { NAME("b"), SPLICE_STREAM_ASK, SPLICE_USAGE_ASK };
	int rc = -1, failures = 0;

	for (uint64_t nth = 1; rc; nth++) {
		struct splice_set set = { .count = 0 };
		struct bb_arena a;
		bb_arena_init(&a, 1 << 16);
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = openai_request_splice(API_CHAT, body, &r, &want, &a, &set);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		failures += rc != 0;
		bb_arena_fini(&a);
	}
	assert_true(failures >= 2);
}

/* ---- chunks ---- */

static struct openai_chunk chunk(enum api api, const char *event, const char *data)
{
	struct openai_chunk c;
	char *exact = malloc(strlen(data) + 1);

	assert_non_null(exact);
	memcpy(exact, data, strlen(data));
	if (openai_chunk_scan(api, bb_str_of(event), (struct bb_str){ exact, strlen(data) }, &c))
		fail_msg("%s", data);
	/* What is looked at later must not point into memory that is gone. */
	static char kept[64];
	snprintf(kept, sizeof(kept), "%.*s", BB_ARG(c.finish_reason));
	c.finish_reason = bb_str_of(kept);
	c.id.p = NULL;
	free(exact);
	return c;
}

static void chat_chunks(void **state)
{
	struct openai_chunk c =
		chunk(API_CHAT, "",
		      "{\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":"
		      "\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}");

	assert_true(!c.has_content && !c.has_finish && !c.has_usage && !c.has_error &&
		    !c.is_terminal);
	assert_int_equal(c.id.len, 3);
	c = chunk(API_CHAT, "", "{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}");
	assert_true(c.has_content && !c.has_finish);
	assert_true(chunk(API_CHAT, "", "{\"choices\":[{\"delta\":{\"reasoning_content\":\"x\"}}]}")
			    .has_content);
	assert_true(chunk(API_CHAT, "", "{\"choices\":[{\"delta\":{\"reasoning\":\"x\"}}]}")
			    .has_content);
	assert_true(
		chunk(API_CHAT, "", "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}")
			.has_content);
	assert_false(chunk(API_CHAT, "",
			   "{\"choices\":[{\"delta\":{\"content\":null,\"tool_calls\":[]}}]}")
			     .has_content);
	c = chunk(API_CHAT, "",
		  "{\"choices\":[{\"delta\":{},\"finish_reason\":null},"
		  "{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}]}");
	assert_true(c.has_finish && !c.has_content && !c.is_terminal);
	assert_true(bb_str_eq(c.finish_reason, BB_STR("stop")));
	c = chunk(API_CHAT, "",
		  "{\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}");
	assert_true(c.is_usage_only && c.has_usage && c.usage.prompt == 3 &&
		    c.usage.completion == 4);
	/* usage beside choices is no chunk of its own; no choices and no usage is none either */
	c = chunk(
		API_CHAT, "",
		"{\"usage\":{\"prompt_tokens\":3},\"choices\":[{\"delta\":{\"content\":\"x\"}}]}");
	assert_true(!c.is_usage_only && c.has_usage && c.has_content);
	assert_false(chunk(API_CHAT, "", "{\"choices\":[],\"usage\":null}").is_usage_only);
	assert_false(chunk(API_CHAT, "", "{\"usage\":{\"prompt_tokens\":3}}").is_usage_only);
	c = chunk(API_COMPLETIONS, "",
		  "{\"choices\":[{\"text\":\"x\",\"finish_reason\":\"length\"}]}");
	assert_true(c.has_content && c.has_finish);
}

static void chat_ends(void **state)
{
	struct openai_chunk c = chunk(API_CHAT, "", "[DONE]");

	assert_true(c.is_terminal && !c.has_error && !c.has_finish);
	c = chunk(API_CHAT, "", "{\"error\": {\"message\": \"gone\", \"code\": 500}}");
	assert_true(c.has_error && c.is_terminal);
	c = chunk(API_CHAT, "", "{\"object\":\"error\",\"message\":\"gone\"}");
	assert_true(c.has_error && c.is_terminal);
	assert_false(chunk(API_CHAT, "", "{\"error\":null,\"choices\":[]}").has_error);
	static const char *const bad[] = {
		"",    "[DONE",	    "[]", "x", "{", "{\"a\":", "{\"choices\":[{\"delta\":{",
		"{}x", "\"[DONE]\""
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(openai_chunk_scan(API_CHAT, BB_STR(""), bb_str_of(bad[i]), &c),
				 -BB_ESYNTAX);
}

static void responses_events(void **state)
{
	struct openai_chunk c = chunk(API_RESPONSES, "response.created",
				      "{\"type\":\"response.created\",\"response\":{\"id\":\"r\","
				      "\"error\":null,\"usage\":null}}");

	assert_true(!c.has_error && !c.has_content && !c.is_terminal && !c.has_usage &&
		    c.id.len == 1);
	c = chunk(API_RESPONSES, "response.output_text.delta",
		  "{\"type\":\"response.output_text.delta\",\"delta\":\"x\"}");
	assert_true(c.has_content && !c.is_terminal);
	assert_false(
		chunk(API_RESPONSES, "", "{\"type\":\"response.output_text.done\",\"text\":\"x\"}")
			.has_content);
	/* the event's name stands in for a missing type; a type may come last */
	c = chunk(API_RESPONSES, "response.completed",
		  "{\"response\":{\"id\":\"r\",\"usage\":{\"input_tokens\":5,\"input_tokens_"
		  "details\":{\"cached_tokens\":4},"
		  "\"output_tokens\":6,\"output_tokens_details\":{\"reasoning_tokens\":2}}}}");
	assert_true(c.is_terminal && c.has_finish && !c.has_error && c.has_usage);
	assert_true(c.usage.prompt == 5 && c.usage.cached == 4 && c.usage.completion == 6 &&
		    c.usage.reasoning == 2);
	c = chunk(API_RESPONSES, "", "{\"response\":{},\"type\":\"response.incomplete\"}");
	assert_true(c.is_terminal && c.has_finish && !c.has_error);
	c = chunk(API_RESPONSES, "",
		  "{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}");
	assert_true(c.is_terminal && c.has_error && !c.has_finish);
	c = chunk(API_RESPONSES, "error", "{\"type\":\"error\",\"message\":\"x\"}");
	assert_true(c.is_terminal && c.has_error);
}

static void anthropic_events(void **state)
{
	struct usage total = { .known = false };
	struct openai_chunk c = chunk(API_MESSAGES, "message_start",
				      "{\"type\":\"message_start\",\"message\":{\"id\":\"m\","
				      "\"content\":[],\"usage\":{\"input_tokens\":5,"
				      "\"cache_read_input_tokens\":7,\"cache_creation_input_"
				      "tokens\":1,\"output_tokens\":1}}}");

	assert_true(c.has_usage && !c.has_content && !c.is_terminal && c.id.len == 1);
	assert_true(c.usage.prompt == 13 && c.usage.cached == 7 && c.usage.completion == 1);
	usage_merge(&total, &c.usage);
	assert_false(chunk(API_MESSAGES, "",
			   "{\"type\":\"content_block_start\",\"content_block\":{\"text\":\"\"}}")
			     .has_content);
	assert_true(chunk(API_MESSAGES, "",
			  "{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\","
			  "\"text\":\"x\"}}")
			    .has_content);
	assert_false(chunk(API_MESSAGES, "",
			   "{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\","
			   "\"text\":\"\"}}")
			     .has_content);
	c = chunk(API_MESSAGES, "message_delta",
		  "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
		  "\"stop_sequence\":null},\"usage\":{\"output_tokens\":9}}");
	assert_true(c.has_finish && c.has_usage && !c.is_terminal && !c.has_content);
	assert_true(bb_str_eq(c.finish_reason, BB_STR("end_turn")));
	usage_merge(&total, &c.usage);
	assert_true(total.prompt == 13 && total.cached == 7 && total.completion == 9 &&
		    total.known);
	c = chunk(API_MESSAGES, "", "{\"type\":\"message_stop\"}");
	assert_true(c.is_terminal && !c.has_error);
	c = chunk(API_MESSAGES, "error",
		  "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}");
	assert_true(c.is_terminal && c.has_error);
	c = chunk(API_MESSAGES, "ping", "{\"type\": \"ping\"}");
	assert_true(!c.is_terminal && !c.has_error && !c.has_content);
}

static void captured_stream(void **state)
{
	static char bytes[65536];
	FILE *f = fopen(CAPTURE, "rb");

	assert_non_null(f);
	const size_t len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	struct bb_str rest = { bytes, len };
	bb_str_cut(&rest, '\n');
	struct sse_event e;
	struct openai_chunk c;
	int content = 0, finish = 0, usage = 0, terminal = 0;
	while (sse_next(&rest, &e)) {
		assert_int_equal(openai_chunk_scan(API_CHAT, e.event, e.data, &c), 0);
		assert_false(c.has_error);
		content += c.has_content;
		finish += c.has_finish;
		terminal += c.is_terminal;
		if (!c.has_usage)
			continue;
		usage++;
		assert_true(c.is_usage_only && c.usage.prompt == 33 && c.usage.completion == 6);
		/* Every cut of a real chunk is refused. */
		for (size_t n = 0; n < e.data.len; n++)
			assert_int_equal(openai_chunk_scan(API_CHAT, e.event,
							   (struct bb_str){ e.data.p, n }, &c),
					 -BB_ESYNTAX);
	}
	assert_int_equal(content, 6);
	assert_int_equal(finish, 1);
	assert_int_equal(usage, 1);
	assert_int_equal(terminal, 1);
}

/* ---- errors ---- */

static const char *string_at(const char *text, size_t len, const char *pointer, char *out,
			     size_t max)
{
	yyjson_doc *doc = yyjson_read(text, len, 0);

	assert_non_null(doc);
	yyjson_val *v = yyjson_doc_ptr_get(doc, pointer);
	if (!v)
		fail_msg("no %s in %.*s", pointer, (int)len, text);
	const char *const value = yyjson_get_str(v);
	snprintf(out, max, "%s", value ? value : "(null)");
	yyjson_doc_free(doc);
	return out;
}

static void error_bodies(void **state)
{
	struct bb_buf b;
	char s[256];

	bb_buf_init(&b, 4096);
	openai_error_write(&b, FAMILY_OPENAI, -BB_EINVALID, BB_STR("say \"please\"\n"), "model");
	assert_int_equal(b.err, 0);
	assert_string_equal(string_at(b.p, b.len, "/error/message", s, sizeof(s)),
			    "say \"please\"\n");
	assert_string_equal(string_at(b.p, b.len, "/error/type", s, sizeof(s)),
			    "invalid_request_error");
	assert_string_equal(string_at(b.p, b.len, "/error/param", s, sizeof(s)), "model");
	assert_string_equal(string_at(b.p, b.len, "/error/code", s, sizeof(s)), "invalid_value");
	bb_buf_clear(&b);
	openai_error_write(&b, FAMILY_RESPONSES, -BB_EBUSY, BB_STR(""), NULL);
	assert_string_equal(string_at(b.p, b.len, "/error/message", s, sizeof(s)),
			    bb_error_info(BB_EBUSY)->text);
	assert_string_equal(string_at(b.p, b.len, "/error/param", s, sizeof(s)), "(null)");
	bb_buf_clear(&b);
	openai_error_write(&b, FAMILY_ANTHROPIC, -BB_ENOMODEL, BB_STR("no such model"), "model");
	assert_string_equal(string_at(b.p, b.len, "/type", s, sizeof(s)), "error");
	assert_string_equal(string_at(b.p, b.len, "/error/type", s, sizeof(s)), "not_found_error");
	assert_string_equal(string_at(b.p, b.len, "/error/message", s, sizeof(s)), "no such model");
	bb_buf_fini(&b);
	bb_buf_init(&b, 20);
	openai_error_write(&b, FAMILY_OPENAI, -BB_EINVALID, BB_STR("too long for this buffer"),
			   NULL);
	assert_int_equal(b.err, -BB_ELIMIT);
	bb_buf_fini(&b);
	static const struct {
		int status;
		const char *type;
	} types[] = { { 400, "invalid_request_error" },
		      { 401, "authentication_error" },
		      { 403, "permission_error" },
		      { 404, "not_found_error" },
		      { 413, "request_too_large" },
		      { 429, "rate_limit_error" },
		      { 500, "api_error" },
		      { 502, "api_error" },
		      { 503, "overloaded_error" },
		      { 529, "overloaded_error" } };
	for (size_t i = 0; i < COUNT(types); i++)
		assert_string_equal(anthropic_error_type(types[i].status), types[i].type);
}

static void error_events(void **state)
{
	const struct error_stream stream = { BB_STR_INIT("resp_1"), BB_STR_INIT("m"), 1700000000,
					     12 };
	static const enum api apis[] = { API_CHAT, API_MESSAGES, API_RESPONSES };
	static const char *const names[] = { "", "error", "response.failed" };
	static const char *const pointers[] = { "/error/message", "/error/message",
						"/response/error/message" };
	char s[256];

	for (size_t i = 0; i < 3; i++) {
		struct bb_buf b;
		struct sse_event e;
		struct openai_chunk c;
		bb_buf_init(&b, 4096);
		openai_error_event_write(&b, api_info(apis[i])->family, -BB_EUPSTREAM,
					 BB_STR("cut\noff\n\n"), &stream);
		struct bb_str rest = bb_buf_str(&b);
		assert_int_equal(sse_next(&rest, &e), 1);
		assert_int_equal(rest.len, 0);
		assert_false(e.multi);
		assert_true(bb_str_eq(e.event, bb_str_of(names[i])));
		assert_int_equal(openai_chunk_scan(apis[i], e.event, e.data, &c), 0);
		assert_true(c.has_error && c.is_terminal && !c.has_finish);
		assert_string_equal(string_at(e.data.p, e.data.len, pointers[i], s, sizeof(s)),
				    "cut\noff\n\n");
		if (apis[i] == API_RESPONSES) {
			assert_string_equal(
				string_at(e.data.p, e.data.len, "/response/id", s, sizeof(s)),
				"resp_1");
			assert_string_equal(
				string_at(e.data.p, e.data.len, "/response/status", s, sizeof(s)),
				"failed");
		}
		bb_buf_clear(&b);
		openai_error_event_write(&b, api_info(apis[i])->family, -BB_EUPSTREAM, BB_STR(""),
					 NULL);
		rest = bb_buf_str(&b);
		assert_int_equal(sse_next(&rest, &e), 1);
		assert_int_equal(json_check(e.data, JSON_DEPTH_MAX, NULL), 0);
		bb_buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),
		cmocka_unit_test(request_members),
		cmocka_unit_test(sessions),
		cmocka_unit_test(token_limits),
		cmocka_unit_test(prompt_size),
		cmocka_unit_test(requests_refused),
		cmocka_unit_test(model_length),
		cmocka_unit_test(splices),
		cmocka_unit_test(gateway_members),
		cmocka_unit_test(splice_set_limits),
		cmocka_unit_test(splice_without_memory),
		cmocka_unit_test(chat_chunks),
		cmocka_unit_test(chat_ends),
		cmocka_unit_test(responses_events),
		cmocka_unit_test(anthropic_events),
		cmocka_unit_test(captured_stream),
		cmocka_unit_test(error_bodies),
		cmocka_unit_test(error_events),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
