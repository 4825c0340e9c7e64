/*
 * Goal: each key of the shield's table acts as its row says, its allow bit and no other lifts it,
 * members leave a body byte for byte with one comma, URLs and expressions are judged as the headers
 * say, salts are what HMAC-SHA256 gives, and docs/shield.md has the table.
 */
#include "unit.h"

#include <stdlib.h>

#include "base/buf.h"
#include "wire/openai.h"
#include "wire/shield_regex.h"
#include "wire/shield_url.h"

#define BODY_MAX (4u << 20)
#define PAGE "docs/shield.md"

static struct bb_arena arena;

static int setup(void **state)
{
	bb_arena_init(&arena, 64u << 20);
	return 0;
}

static int teardown(void **state)
{
	bb_arena_fini(&arena);
	return 0;
}

/* ---- the table ---- */

#define SAY "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define PART(part) "{\"messages\":[{\"role\":\"user\",\"content\":[" part "]}]}"
#define BOMB "((a{1000}){1000}){1000}"

struct table_case {
	const char *key; /* of the table */
	enum shield_place place;
	enum api api;
	const char *body; /* ~ stands for `fill` units */
	const char *unit;
	uint32_t fill;
	const char *param;
	const char *rest; /* of a body whose member is taken out */
};

#define TOP(key, member)                                                                           \
	{                                                                                          \
		key, SHIELD_TOP, API_CHAT, "{" member "," SAY "}", "", 0, key, NULL                \
	}
#define FILLED(key, member, unit, fill)                                                            \
	{                                                                                          \
		key, SHIELD_TOP, API_CHAT, "{" member "," SAY "}", unit, fill, key, NULL           \
	}
#define LEAVES(key, member)                                                                        \
	{                                                                                          \
		key, SHIELD_TOP, API_CHAT, "{" SAY "," member "}", "", 0, key, "{" SAY "}"         \
	}
#define IN_PART(key, part)                                                                         \
	{                                                                                          \
		key, SHIELD_PART, API_CHAT, PART(part), "", 0, "messages." key, NULL               \
	}
#define INNER "http://169.254.169.254/latest/meta-data/"

static const struct table_case table_cases[] = {
	TOP("chat_template", "\"chat_template\":\"{% for x in range(10**9) %}\""),
	{ "chat_template", SHIELD_KWARGS, API_CHAT,
	  "{\"chat_template_kwargs\":{\"a\":1,\"chat_template\":\"{{x}}\"}," SAY "}", "", 0,
	  "chat_template_kwargs.chat_template", NULL },
	{ "chat_template", SHIELD_KWARGS, API_TOKENIZE,
	  "{\"chat_template_kwargs\":{\"chat\\u005ftemplate\":\"{{x}}\"}}", "", 0,
	  "chat_template_kwargs.chat_template", NULL },
	{ "tokenize", SHIELD_KWARGS, API_CHAT,
	  "{\"chat_template_kwargs\":{\"tokenize\":true}," SAY "}", "", 0,
	  "chat_template_kwargs.tokenize", NULL },
	FILLED("chat_template_kwargs", "\"chat_template_kwargs\":{\"a\":\"~\"}", "x", 16384),
	TOP("kv_transfer_params", "\"kv_transfer_params\":{\"remote_host\":\"h\"}"),
	TOP("kv_transfer_params", "\"kv_transfer\\u005fparams\":{}"),
	TOP("ec_transfer_params", "\"ec_transfer_params\":{}"),
	TOP("disaggregated_params", "\"disaggregated_params\":{}"),
	TOP("bootstrap_host", "\"bootstrap_host\":\"h\""),
	TOP("bootstrap_port", "\"bootstrap_port\":1"),
	TOP("bootstrap_room", "\"bootstrap_room\":1"),
	LEAVES("cache_salt", "\"cache_salt\":\"mine\""),
	LEAVES("cache_salt", "\"cache_salt\":null"),
	LEAVES("extra_key", "\"extra_key\":[\"a\"]"),
	TOP("features", "\"features\":[{\"data\":\"AA\"}]"),
	TOP("prompt_embeds", "\"prompt_embeds\":\"AA\""),
	TOP("input_embeds", "\"input_embeds\":[[0.1]]"),
	IN_PART("image_embeds", "{\"type\":\"image_embeds\",\"image_embeds\":\"AA\"}"),
	IN_PART("image_embeds", "{\"type\":\"image_embeds\",\"image_embeds\":{\"a\":\"AA\"}}"),
	IN_PART("audio_embeds", "{\"type\":\"audio_embeds\",\"audio_embeds\":\"AA\"}"),
	IN_PART("video_embeds", "{\"video_embeds\":[\"AA\"]}"),
	IN_PART("prompt_embeds", "{\"type\":\"prompt_embeds\",\"prompt_embeds\":\"AA\"}"),
	TOP("mm_processor_kwargs", "\"mm_processor_kwargs\":{\"num_crops\":1000000}"),
	TOP("media_io_kwargs", "\"media_io_kwargs\":{\"video\":{\"num_frames\":1000000}}"),
	TOP("image", "\"image\":\"" INNER "\""),
	TOP("images", "\"images\":[{\"file_id\":\"a\"},{\"url\":\"" INNER "\"}]"),
	{ "image_url", SHIELD_PART, API_IMAGE_EDITS,
	  "{\"images\":[{\"image_url\":{\"url\":\"" INNER "\"}}]}", "", 0, "images.image_url",
	  NULL },
	TOP("mask", "\"mask\":[\"file:///etc/passwd\"]"),
	TOP("audio", "\"audio\":{\"url\":\"" INNER "\"}"),
	TOP("video", "\"video\":\"/dev/zero\""),
	TOP("file_url", "\"file_url\":\"" INNER "\""),
	TOP("audio_url", "\"audio_url\":\"" INNER "\""),
	TOP("image_url", "\"image_url\":\"http:\\/\\/10.0.0.1\\/\""),
	TOP("video_url", "\"video_url\":{\"url\":\"http://\\u0031\\u0030.0.0.1/\"}"),
	TOP("ref_audio", "\"ref_audio\":\"/etc/passwd\""),
	IN_PART("image_url", "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" INNER "\"}}"),
	IN_PART("image_url", "{\"image_url\":\"file:///etc/passwd\"}"),
	IN_PART("image_url", "{\"image\\u005furl\":{\"u\\u0072l\":\"ftp://example.com/a\"}}"),
	IN_PART("video_url", "{\"type\":\"video_url\",\"video_url\":{\"url\":\"http://redis/\"}}"),
	IN_PART("audio_url", "{\"audio_url\":{\"url\":\"http://[::1]/\"}}"),
	IN_PART("file_url", "{\"type\":\"input_file\",\"file_url\":\"" INNER "\"}"),
	IN_PART("image", "{\"type\":\"image\",\"image\":\"/root/a.png\"}"),
	IN_PART("audio", "{\"audio\":[\"http://localhost/\"]}"),
	IN_PART("audio", "{\"audio\":{\"url\":[{\"url\":\"http://localhost/\"}]}}"),
	IN_PART("video", "{\"video\":\"http://0x7f.1/\"}"),
	IN_PART("source",
		"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"" INNER "\"}}"),
	{ "image", SHIELD_PART, API_MESSAGES,
	  PART("{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"image\":"
	       "\"http://a.internal/\"}]}}"),
	  "", 0, "messages.image", NULL },
	{ "image_url", SHIELD_PART, API_RESPONSES,
	  "{\"input\":[{\"type\":\"function_call_output\",\"output\":[{\"type\":\"input_image\","
	  "\"image_url\":\"" INNER "\"}]}]}",
	  "", 0, "input.image_url", NULL },
	{ "image", SHIELD_PART, API_EMBEDDINGS, "{\"input\":[{\"image\":\"" INNER "\"}]}", "", 0,
	  "input.image", NULL },
	{ "image_url", SHIELD_PART, API_SCORE,
	  "{\"data_1\":{\"content\":[{\"image_url\":{\"url\":\"" INNER "\"}}]}}", "", 0,
	  "data_1.image_url", NULL },
	IN_PART("uuid", "{\"type\":\"image_url\",\"image_url\":null,\"uuid\":\"a\"}"),
	TOP("n", "\"n\":17"),
	TOP("best_of", "\"best_of\":17"),
	TOP("use_beam_search", "\"use_beam_search\":true"),
	{ "logprobs", SHIELD_TOP, API_COMPLETIONS, "{\"logprobs\":21}", "", 0, "logprobs", NULL },
	TOP("top_logprobs", "\"top_logprobs\":21"),
	TOP("top_logprobs", "\"top_logprobs\":-1"),
	TOP("n_probs", "\"n_probs\":21"),
	TOP("prompt_logprobs", "\"prompt_logprobs\":21"),
	TOP("prompt_logprobs", "\"prompt_logprobs\":-1"),
	FILLED("guided_json", "\"guided_json\":{\"a\":\"~\"}", "x", 131072),
	FILLED("guided_choice", "\"guided_choice\":[\"~\"]", "x", 131072),
	FILLED("guided_grammar", "\"guided_grammar\":\"~\"", "x", 131072),
	FILLED("grammar", "\"grammar\":\"~\"", "x", 131072),
	FILLED("ebnf", "\"ebnf\":\"~\"", "x", 131072),
	FILLED("structural_tag", "\"structural_tag\":{\"a\":\"~\"}", "x", 131072),
	FILLED("structured_outputs", "\"structured_outputs\":{\"json\":\"~\"}", "x", 131072),
	TOP("structured_outputs", "\"structured_outputs\":{\"json\":\"{no json}\"}"),
	FILLED("json_schema", "\"json_schema\":{\"a\":\"~\"}", "x", 131072),
	TOP("json_schema", "\"json_schema\":\"{\\\"type\\\":}\""),
	FILLED("response_format", "\"response_format\":{\"a\":\"~\"}", "x", 131072),
	FILLED("response_format", "\"response_format\":{\"a\":~1}", "[", 32),
	FILLED("text", "\"text\":{\"format\":{\"a\":\"~\"}}", "x", 131072),
	FILLED("output_config", "\"output_config\":{\"format\":{\"a\":\"~\"}}", "x", 131072),
	FILLED("output_format", "\"output_format\":{\"a\":\"~\"}", "x", 131072),
	TOP("guided_regex", "\"guided_regex\":\"" BOMB "\""),
	FILLED("guided_regex", "\"guided_regex\":\"~\"", "x", 4097),
	FILLED("regex", "\"regex\":\"~\"", "(", 33),
	FILLED("tools", "\"tools\":[{\"a\":\"~\"}]", "x", 1048576),
	FILLED("functions", "\"functions\":[{\"a\":\"~\"}]", "x", 1048576),
	FILLED("allowed_token_ids", "\"allowed_token_ids\":[~1]", "1,", 4096),
	FILLED("stop_token_ids", "\"stop_token_ids\":[~1]", "1,", 128),
	FILLED("bad_words", "\"bad_words\":[~\"a\"]", "\"a\",", 256),
	FILLED("logit_bias", "\"logit_bias\":{~\"1\":1}", "\"1\":1,", 1024),
	TOP("logits_processors", "\"logits_processors\":[\"os.system\"]"),
	TOP("custom_logit_processor", "\"custom_logit_processor\":\"80049\""),
	TOP("vllm_xargs", "\"vllm_xargs\":{\"kv_transfer_params\":\"x\"}"),
	TOP("nvext", "\"nvext\":{\"backend_instance_id\":1}"),
	TOP("lora_path", "\"lora_path\":\"/tmp/a\""),
	TOP("lora_request", "\"lora_request\":{}"),
	TOP("session_params", "\"session_params\":{\"id\":\"a\"}"),
	TOP("return_hidden_states", "\"return_hidden_states\":true"),
	TOP("return_routed_experts", "\"return_routed_experts\":true"),
	LEAVES("priority", "\"priority\":-100"),
	LEAVES("request_id", "\"request_id\":\"a\""),
	LEAVES("rid", "\"r\\u0069d\":\"a\""),
	LEAVES("data_parallel_rank", "\"data_parallel_rank\":0"),
	LEAVES("id_slot", "\"id_slot\":0"),
};

/* The case's body, with ~ filled in. */
static struct bb_str body_of(const struct table_case *c)
{
	struct bb_buf b;

	bb_buf_init(&b, BODY_MAX);
	for (const char *p = c->body; *p; p++) {
		if (*p != '~')
			bb_buf_add(&b, p, 1);
		for (uint32_t i = 0; *p == '~' && i < c->fill; i++)
			bb_buf_add_str(&b, bb_str_of(c->unit));
		/* What a fill opens is closed behind what follows it. */
		if (*p == '~' && strcmp(c->unit, "[") == 0) {
			bb_buf_add(&b, ++p, 1);
			for (uint32_t i = 0; i < c->fill; i++)
				bb_buf_lit(&b, "]");
		}
	}
	assert_int_equal(b.err, 0);
	const struct bb_str body = bb_arena_dup(&arena, bb_buf_str(&b));
	bb_buf_fini(&b);
	return body;
}

static const struct shield_key *key_of(const struct table_case *c)
{
	for (uint32_t i = 0; i < shield_key_count; i++) {
		if (shield_keys[i].place == c->place &&
		    bb_str_eq(shield_keys[i].key, bb_str_of(c->key)))
			return &shield_keys[i];
	}
	fail_msg("no key %s in the table", c->key);
	return NULL;
}

struct outcome {
	int rc;
	struct openai_request request;
	struct json_error err;
	const char *param;
};

static struct outcome check(enum api api, struct bb_str body, const struct shield_policy *policy)
{
	struct outcome o = { .param = "" };

	o.rc = openai_request_check(api, body, policy, &arena, &o.request, &o.err, &o.param);
	return o;
}

static struct bb_str spliced(struct bb_str body, struct splice_set *set)
{
	struct bb_str parts[SPLICE_PARTS_MAX];
	size_t total;
	struct bb_buf b;

	bb_buf_init(&b, BODY_MAX);
	const uint32_t count = splice_iov(body, set, parts, &total);
	for (uint32_t i = 0; i < count; i++)
		bb_buf_add_str(&b, parts[i]);
	assert_int_equal(b.len, total);
	const struct bb_str copy = bb_arena_dup(&arena, bb_buf_str(&b));
	bb_buf_fini(&b);
	return copy;
}

static struct bb_str cut_body(struct bb_str body, const struct openai_request *r)
{
	struct splice_set set = { 0 };

	assert_int_equal(shield_splice(&r->cuts, &set), 0);
	return spliced(body, &set);
}

static int expected_rc(const struct shield_key *k)
{
	switch (shield_rows[k->row].action) {
	case SHIELD_REFUSE: return -BB_ESHIELD;
	case SHIELD_STRIP: return 0;
	case SHIELD_LIMIT: return -BB_EINVALID;
	}
	return -1;
}

static void acts(const struct table_case *c, struct bb_str body, const struct shield_policy *policy)
{
	const struct outcome o = check(c->api, body, policy);

	if (o.rc != expected_rc(key_of(c)))
		fail_msg("%s: %d, %s", c->body, o.rc, o.err.what ? o.err.what : "");
	if (c->rest) {
		assert_str(cut_body(body, &o.request), c->rest);
		return;
	}
	assert_string_equal(o.param, c->param);
	assert_true(o.err.what && *o.err.what && o.err.offset > 0 && o.err.offset < body.len);
}

static void each_key_acts_and_is_lifted(void **state)
{
	for (size_t i = 0; i < UNIT_COUNT(table_cases); i++) {
		const struct table_case *const c = &table_cases[i];
		const uint64_t bit = shield_bit(key_of(c)->row);
		struct shield_policy policy = shield_policy_default;
		const struct bb_str body = body_of(c);

		acts(c, body, &policy);
		policy.allow_mask = ~bit;
		acts(c, body, &policy);
		policy.allow_mask = bit;
		const struct outcome o = check(c->api, body, &policy);
		if (o.rc || o.request.cuts.count)
			fail_msg("%s: the allow bit does not lift it: %d %s %s", c->body, o.rc,
				 o.param, o.err.what ? o.err.what : "");
	}
}

static void each_key_has_a_case(void **state)
{
	for (uint32_t i = 0; i < shield_key_count; i++) {
		const struct shield_key *const k = &shield_keys[i];
		bool found = false;
		for (size_t c = 0; c < UNIT_COUNT(table_cases) && !found; c++)
			found = key_of(&table_cases[c]) == k;
		if (!found)
			fail_msg("no case for %s in %s", k->key.p, shield_rows[k->row].name.p);
	}
	for (enum shield_row_id row = 0; row < SHIELD_ROW_COUNT; row++) {
		bool found = false;
		for (uint32_t i = 0; i < shield_key_count && !found; i++)
			found = shield_keys[i].row == row;
		if (!found)
			fail_msg("no member for %s", shield_rows[row].name.p);
		assert_int_equal(shield_bits_of(shield_rows[row].name), shield_bit(row));
		assert_true((shield_rows[row].limit > 0) ==
			    (shield_rows[row].action == SHIELD_LIMIT));
	}
	assert_int_equal(shield_bits_of(BB_STR("guided_json")), shield_bit(SHIELD_ROW_STRUCTURED));
	assert_int_equal(shield_bits_of(BB_STR("*")), SHIELD_ALLOW_ALL);
	assert_int_equal(shield_bits_of(BB_STR("nothing")), 0);
}

/* The look-up by halves finds each key, so they stand in its order. */
static void keys_are_found(void **state)
{
	for (uint32_t i = 0; i < shield_key_count; i++) {
		const struct json_member m = { .key = shield_keys[i].key };
		assert_ptr_equal(shield_key_find(shield_keys[i].place, &m), &shield_keys[i]);
	}
	const struct json_member none = { .key = BB_STR_INIT("chat_templatf") };
	assert_null(shield_key_find(SHIELD_TOP, &none));
	const struct json_member empty = { .key = BB_STR_INIT("") };
	assert_null(shield_key_find(SHIELD_TOP, &empty));
}

/* What people send, and what only looks like something. */
static void ordinary_requests_pass(void **state)
{
	static const struct {
		enum api api;
		const char *body;
	} cases[] = {
		{ API_CHAT, "{" SAY "}" },
		{ API_CHAT, "{" SAY ",\"n\":16,\"logprobs\":true,\"top_logprobs\":20}" },
		{ API_CHAT, "{" SAY ",\"chat_template\":null,\"features\":null,\"use_beam_search\":"
			    "false}" },
		{ API_CHAT, "{" SAY ",\"chat_template_kwargs\":{\"enable_thinking\":false}}" },
		{ API_CHAT, "{" SAY ",\"metadata\":{\"chat_template\":\"x\",\"n\":1000}}" },
		{ API_CHAT, "{" SAY ",\"audio\":{\"voice\":\"alloy\",\"format\":\"wav\"}}" },
		{ API_CHAT, PART("{\"type\":\"image_url\",\"image_url\":{\"url\":"
				 "\"https://example.com/a.png\",\"detail\":\"low\"}}") },
		{ API_CHAT, PART("{\"type\":\"image_url\",\"image_url\":{\"url\":"
				 "\"data:image/png;base64,iVBORw0KGgo=\"}}") },
		{ API_CHAT, PART("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\","
				 "\"format\":\"wav\"}}") },
		{ API_CHAT, PART("{\"audio\":{\"id\":\"a\",\"x\":[\"b\"]},\"image_url\":{\"url\":"
				 "\"https://a.example/\",\"detail\":[\"low\"]}}") },
		{ API_CHAT, PART("{\"type\":\"text\",\"text\":\"see http://10.0.0.1/ uuid\"}") },
		{ API_CHAT,
		  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"uuid\":\"a\"}]}" },
		{ API_MESSAGES,
		  "{\"max_tokens\":1,\"messages\":[{\"role\":\"assistant\",\"content\":[{"
		  "\"type\":\"tool_use\",\"input\":{\"image_url\":\"http://10.0.0.1/\","
		  "\"uuid\":\"a\"}}]}]}" },
		{ API_MESSAGES,
		  PART("{\"type\":\"search_result\",\"source\":\"http://10.0.0.1/\"}") },
		{ API_RESPONSES, "{\"input\":\"x\",\"text\":{\"format\":{\"type\":\"text\"}}}" },
		{ API_RERANK, "{\"query\":\"q\",\"documents\":[{\"text\":\"a\",\"url\":"
			      "\"http://10.0.0.1/\",\"uuid\":\"u\"}]}" },
		{ API_CHAT,
		  "{" SAY ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
		  "\"schema\":{\"type\":\"object\",\"properties\":{\"pattern\":{\"type\":"
		  "\"string\",\"pattern\":\"^[a-z]{2,16}$\"}}}}}}" },
		{ API_CHAT, "{" SAY ",\"guided_json\":\"{\\\"type\\\":\\\"object\\\"}\"}" },
		{ API_CHAT, "{" SAY ",\"guided_grammar\":\"root ::= \\\"a\\\"\"}" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		const struct outcome o =
			check(cases[i].api, bb_str_of(cases[i].body), &shield_policy_default);
		if (o.rc || o.request.cuts.count)
			fail_msg("%s: %d %s %s", cases[i].body, o.rc, o.param, o.err.what);
	}
}

/* Expressions are found wherever schemas hold them. */
static void expressions_in_schemas(void **state)
{
	static const char *const bodies[] = {
		"{" SAY
		",\"tools\":[{\"function\":{\"parameters\":{\"properties\":{\"a\":{\"pattern\":"
		"\"" BOMB "\"}}}}}]}",
		"{" SAY ",\"response_format\":{\"json_schema\":{\"schema\":{\"pattern\":\"" BOMB
		"\"}}}}",
		"{" SAY ",\"guided_json\":{\"patternProperties\":{\"" BOMB "\":{}}}}",
		"{" SAY ",\"structured_outputs\":{\"regex\":\"" BOMB "\"}}",
		"{" SAY ",\"structured_outputs\":{\"json\":\"{\\\"pattern\\\":\\\"" BOMB
		"\\\"}\"}}",
		"{" SAY ",\"guided_json\":\"{\\\"pattern\\\":\\\"" BOMB "\\\"}\"}",
		"{" SAY ",\"guided_json\":\"{\\\"a\\\":{\\\"patternProperties\\\":{\\\"" BOMB
		"\\\":1}}}\"}",
		"{" SAY ",\"guided_json\":\" {\\\"patternProperties\\\":{\\\"" BOMB "\\\":1}}\"}",
	};

	for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
		struct shield_policy policy = shield_policy_default;
		const struct bb_str body = bb_str_of(bodies[i]);
		struct outcome o = check(API_CHAT, body, &policy);
		if (o.rc != -BB_EINVALID || o.err.offset >= body.len)
			fail_msg("%s: %d", bodies[i], o.rc);
		policy.allow_mask = shield_bit(SHIELD_ROW_REGEX);
		o = check(API_CHAT, body, &policy);
		if (o.rc)
			fail_msg("%s: not lifted: %d", bodies[i], o.rc);
	}
}

static void limits_can_be_set(void **state)
{
	struct shield_policy policy = { .limits = { [SHIELD_ROW_N] = 2 } };

	assert_int_equal(check(API_CHAT, BB_STR("{" SAY ",\"n\":2}"), &policy).rc, 0);
	const struct outcome o = check(API_CHAT, BB_STR("{" SAY ",\"n\":3}"), &policy);
	assert_int_equal(o.rc, -BB_EINVALID);
	assert_string_equal(o.err.what, "may be at most 2");
}

/* ---- taking members out ---- */

static void cuts(void **state)
{
	static const struct {
		const char *body, *rest;
	} cases[] = {
		{ "{\"cache_salt\":1,\"a\":1}", "{\"a\":1}" },
		{ "{ \"cache_salt\" : 1 , \"a\":1}", "{ \"a\":1}" },
		{ "{\"a\":1,\"cache_salt\":1}", "{\"a\":1}" },
		{ "{\"a\":1 , \"cache_salt\":1 }", "{\"a\":1  }" },
		{ "{\"a\":1,\"cache_salt\":1,\"b\":2}", "{\"a\":1,\"b\":2}" },
		{ "{\"cache_salt\":1}", "{}" },
		{ " {\n\"cache_salt\":{\"a\":[1]}\n} ", " {\n\n} " },
		{ "{\"cache_salt\":1,\"priority\":2,\"rid\":3}", "{}" },
		{ "{\"a\":1,\"cache_salt\":1,\"priority\":2}", "{\"a\":1}" },
		{ "{\"cache_salt\":1,\"priority\":2,\"a\":1}", "{\"a\":1}" },
		{ "{\"cache_salt\":1,\"a\":1,\"priority\":2}", "{\"a\":1}" },
		{ "{\"a\":1,\"rid\":0, \"b\":2,\"cache_salt\":1 ,\n\"priority\":2,\"c\":3}",
		  "{\"a\":1,\"b\":2,\"c\":3}" },
		{ "{\"cache_salt\":\"}\",\"cache_salt\":\",\",\"a\":\",\"}", "{\"a\":\",\"}" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		const struct bb_str body = bb_str_of(cases[i].body);
		const struct outcome o = check(API_TOKENIZE, body, &shield_policy_default);
		assert_int_equal(o.rc, 0);
		assert_str(cut_body(body, &o.request), cases[i].rest);
	}
	const struct outcome o = check(
		API_TOKENIZE,
		BB_STR("{\"rid\":1,\"a\":1,\"rid\":1,\"a\":1,\"rid\":1,\"a\":1,\"rid\":1,\"a\":1,"
		       "\"rid\":1,\"a\":1,\"rid\":1,\"a\":1,\"rid\":1,\"a\":1,\"rid\":1,\"a\":1,"
		       "\"rid\":1}"),
		&shield_policy_default);
	assert_int_equal(o.rc, -BB_EINVALID);
}

/* Cuts beside what the gateway puts in and replaces. */
static void cuts_and_splices(void **state)
{
	static const struct {
		const char *body, *expected;
	} cases[] = {
		{ "{\"cache_salt\":1,\"model\":\"a\",\"priority\":1," SAY ",\"stream\":true}",
		  "{\"stream_options\":{\"include_usage\":true},\"cache_salt\":\"s\",\"model\":"
		  "\"b\"," SAY ",\"stream\":true}" },
		{ "{" SAY ",\"model\":\"a\",\"cache_salt\":1}",
		  "{\"cache_salt\":\"s\"," SAY ",\"model\":\"b\"}" },
	};
	const struct splice_want want = { BB_STR_INIT("b"), SPLICE_STREAM_KEEP, SPLICE_USAGE_ASK };

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		const struct bb_str body = bb_str_of(cases[i].body);
		const struct outcome o = check(API_CHAT, body, &shield_policy_default);
		struct splice_set set = { 0 };
		assert_int_equal(o.rc, 0);
		assert_int_equal(
			openai_request_splice(API_CHAT, body, &o.request, &want, &arena, &set), 0);
		assert_int_equal(
			splice_add_member(&o.request, "cache_salt", BB_STR("\"s\""), &arena, &set),
			0);
		assert_int_equal(shield_splice(&o.request.cuts, &set), 0);
		assert_str(spliced(body, &set), cases[i].expected);
	}
	/* Nothing is left of the client's: what is put in has no comma behind it. */
	const struct bb_str body = BB_STR("{\"cache_salt\":1 }");
	const struct outcome o = check(API_TOKENIZE, body, &shield_policy_default);
	struct splice_set set = { 0 };
	assert_true(o.request.is_empty);
	assert_int_equal(splice_add_member(&o.request, "a", BB_STR("1"), &arena, &set), 0);
	assert_int_equal(splice_add_member(&o.request, "b", BB_STR("2"), &arena, &set), 0);
	assert_int_equal(shield_splice(&o.request.cuts, &set), 0);
	assert_str(spliced(body, &set), "{\"a\":1,\"b\":2 }");
}

/* ---- URLs ---- */

static void urls(void **state)
{
	static const char *const good[] = {
		"https://example.com/a.png",
		"http://example.com",
		"HTTPS://EXAMPLE.COM:8443/a?b=http://10.0.0.1/@x#c",
		"https://8.8.8.8/a",
		"https://[2606:4700:4700::1111]:443/",
		"https://172.32.0.1/",
		"https://1.1.1.1./",
		"https://xn--bcher-kva.example/",
		"data:image/png;base64,AAAA",
		"DATA:,x",
		"https://host-1.a_b.example/../x",
		"https://11.0.0.1/",
		"https://localhost.example.com/",
	};
	static const char *const bad[] = {
		"",
		"/etc/passwd",
		"iVBORw0KGgo=",
		"file:///etc/passwd",
		"FILE:///etc/passwd",
		"ftp://example.com/",
		"gopher://example.com/",
		"unix:///run/docker.sock",
		"javascript:alert(1)",
		"http:/example.com",
		"http:example.com",
		"http://",
		"http:///a",
		"http://./",
		"http://:80/",
		"http://localhost/",
		"http://LOCALHOST:8000/",
		"http://localhost./",
		"http://a.localhost/",
		"http://redis:6379/",
		"http://kubernetes.default.svc/",
		"http://x.svc.cluster.local/",
		"http://metadata.google.internal/computeMetadata/v1/",
		"http://printer.lan/",
		"http://127.0.0.1.nip.io/",
		"http://localtest.me/",
		"http://127.0.0.1/",
		"http://127.1/",
		"http://2130706433/",
		"http://0x7f000001/",
		"http://0x7f.0.0.1/",
		"http://0177.0.0.1/",
		"http://017700000001/",
		"http://0/",
		"http://0.0.0.0/",
		"http://00000010.0.0.1/",
		"http://10.1.2.3/",
		"http://100.100.100.200/",
		"http://169.254.169.254/",
		"http://168.63.129.16/",
		"http://172.16.0.1/",
		"http://172.31.255.255/",
		"http://192.168.0.1/",
		"http://192.0.0.192/",
		"http://198.18.0.1/",
		"http://224.0.0.1/",
		"http://255.255.255.255/",
		"http://1.2.3.4.5/",
		"http://1.2.3.256/",
		"http://256.1.1.1/",
		"http://4294967296/",
		"http://08.8.8.8/",
		"http://1.2.3.0x/",
		"http://example.com.0x7f000001/",
		"http://[::1]/",
		"http://[::]/",
		"http://[0:0:0:0:0:0:0:1]/",
		"http://[::ffff:127.0.0.1]/",
		"http://[::ffff:7f00:1]/",
		"http://[64:ff9b::7f00:1]/",
		"http://[2002:7f00:1::]/",
		"http://[2001::1]/",
		"http://[2001:db8::1]/",
		"http://[fe80::1]/",
		"http://[fe80::1%25eth0]/",
		"http://[fd00:ec2::254]/",
		"http://[ff02::1]/",
		"http://[2606:4700::1/",
		"http://[2606:4700::1]@10.0.0.1/",
		"http://[2606:4700::1]x/",
		"http://[2606]/",
		"http://2606:4700::1/",
		"http://user@example.com/",
		"http://user:pass@example.com/",
		"http://example.com@10.0.0.1/",
		"http://example.com#@10.0.0.1/",
		"http://example.com?@10.0.0.1/",
		"http://example.com\\@10.0.0.1/",
		"http://example.com\\.evil/",
		"http://exa mple.com/",
		"http://example.com/a b",
		" http://example.com/",
		"http://example.com/\n",
		"http://127.0.0.1%2f.example.com/",
		"http://%31%32%37.0.0.1/",
		"http://example.com:123456/",
		"http://example.com:80:80/",
		"http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1/",
		"http://b\xc3\xbc"
		"cher.example/",
		"http://169\xe3\x80\x82"
		"254.169.254/",
	};

	for (size_t i = 0; i < UNIT_COUNT(good); i++) {
		const char *const why = shield_url_judge(bb_str_of(good[i]), NULL, 0);
		if (why)
			fail_msg("%s: %s", good[i], why);
	}
	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		if (!shield_url_judge(bb_str_of(bad[i]), NULL, 0))
			fail_msg("%s passes", bad[i]);
	}
}

static void url_length(void **state)
{
	char url[SHIELD_URL_MAX + 2] = "https://example.com/";

	memset(url + strlen(url), 'a', sizeof(url) - strlen(url));
	assert_null(shield_url_judge((struct bb_str){ url, SHIELD_URL_MAX }, NULL, 0));
	assert_non_null(shield_url_judge((struct bb_str){ url, SHIELD_URL_MAX + 1 }, NULL, 0));
	memcpy(url, "data:", 5);
	assert_null(shield_url_judge((struct bb_str){ url, SHIELD_URL_MAX + 1 }, NULL, 0));
}

static void url_prefixes(void **state)
{
	static const struct bb_str prefixes[] = {
		BB_STR_INIT("http://10.0.0.5"),
		BB_STR_INIT("http://files.internal/public/"),
		BB_STR_INIT("file:///data/images/"),
		BB_STR_INIT("s3://bucket"),
	};
	static const char *const good[] = {
		"http://10.0.0.5",
		"http://10.0.0.5/",
		"http://10.0.0.5?a",
		"HTTP://10.0.0.5/a/b",
		"http://FILES.internal/public/a.png",
		"file:///data/images/a.png",
		"s3://bucket/key",
		"https://example.com/",
	};
	static const char *const bad[] = {
		"http://10.0.0.50/",
		"http://10.0.0.5.internal/",
		"http://10.0.0.5:8000/",
		"http://10.0.0.5@10.0.0.6/",
		"http://10.0.0.5#@10.0.0.6/",
		"https://10.0.0.5/",
		"http://files.internal/private/a.png",
		"http://files.internal/Public/a.png",
		"http://files.internal/public",
		"http://files.internal/public/../private/a.png",
		"http://files.internal/public/%2e%2E/private/a.png",
		"http://files.internal/public/%252e%252e/private/a.png",
		"http://files.internal/public/..%2fprivate/a.png",
		"file:///data/images/../../etc/passwd",
		"file:///data/imagesx",
		"file:///etc/passwd",
		"s3://bucket2/key",
	};
	struct shield_policy policy = { .url_prefixes = prefixes, .url_prefix_count = 4 };

	for (size_t i = 0; i < UNIT_COUNT(good); i++) {
		const char *const why = shield_url_judge(bb_str_of(good[i]), prefixes, 4);
		if (why)
			fail_msg("%s: %s", good[i], why);
	}
	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		if (!shield_url_judge(bb_str_of(bad[i]), prefixes, 4))
			fail_msg("%s passes", bad[i]);
	}
	assert_int_equal(
		check(API_CHAT, BB_STR(PART("{\"image_url\":\"http://10.0.0.5/a\"}")), &policy).rc,
		0);
	assert_int_equal(
		check(API_CHAT, BB_STR(PART("{\"image_url\":\"http://10.0.0.6/a\"}")), &policy).rc,
		-BB_ESHIELD);
}

/* ---- expressions ---- */

static void regex_sizes(void **state)
{
	static const struct {
		const char *inner; /* as in JSON */
		uint64_t states;
	} cases[] = {
		{ "", 0 },
		{ "abc", 3 },
		{ "a|b", 2 },
		{ "^a*b+c?$", 3 },
		{ "[a-z]{2,16}", 16 },
		{ "[]a(]x", 2 },
		{ "[^]a(]x", 2 },
		{ "[\\\\](]x", 2 },
		{ "\\\\d{3}-\\\\d{4}", 8 },
		{ "\\\\({5}", 5 },
		{ "\\u0061{5}", 5 },
		{ "\\u005c\\u0028{5}", 5 },
		{ "(ab){10}", 20 },
		{ "((ab){10}c){10}", 210 },
		{ "a{,7}", 7 },
		{ "a{7,}", 7 },
		{ "a{0}", 1 },
		{ "a{x}", 4 },
		{ "a{", 2 },
		{ "(a{10}b", 11 },
		{ ")a", 1 },
		{ "(a{1000}){1000}", 1000000 },
		{ "a{99999999999999999999999}", UINT64_MAX },
		{ "\\ud83d\\ude00{3}\\n", 4 },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		const uint64_t states = shield_regex_states(bb_str_of(cases[i].inner));
		if (states != cases[i].states)
			fail_msg("%s: %llu", cases[i].inner, (unsigned long long)states);
	}
	char deep[2 * SHIELD_REGEX_GROUPS_MAX + 4];
	memset(deep, '(', sizeof(deep));
	assert_true(shield_regex_states((struct bb_str){ deep, SHIELD_REGEX_GROUPS_MAX }) !=
		    UINT64_MAX);
	assert_true(shield_regex_states((struct bb_str){ deep, SHIELD_REGEX_GROUPS_MAX + 1 }) ==
		    UINT64_MAX);
}

/* ---- salts ---- */

/* The expected ones come from another implementation. */
static void salts(void **state)
{
	unsigned char secret[SHIELD_SECRET_LEN], other[SHIELD_SECRET_LEN] = { 1 };
	char a[SHIELD_SALT_LEN + 1], b[SHIELD_SALT_LEN + 1];

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (unsigned char)i;
	assert_int_equal(shield_salt(secret, BB_STR("acme"), a), 0);
	assert_string_equal(a, "xmZ-mtXA8z6B3M8QASVSWMVROnQFVKeTVqhVS3oJubQ");
	assert_int_equal(shield_salt(secret, BB_STR(""), b), 0);
	assert_string_equal(b, "04tCCW2A9F-Ca0Sp1WB95ySWpBXT9KGoyI47udqNwcs");
	assert_int_equal(shield_salt(other, BB_STR("acme"), b), 0);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), SHIELD_SALT_LEN);
}

/* ---- without memory ---- */

/* Every size of arena gives the same verdict or says that there is no memory. */
static void little_memory(void **state)
{
	static const char *const bodies[] = {
		PART("{\"image_url\":\"http:\\/\\/10.0.0.1\\/\"}"),
		"{" SAY ",\"n\":1000}",
		"{\"messages\":[{}]}",
		"{" SAY ",\"guided_json\":\"{\\\"pattern\\\":\\\"" BOMB "\\\"}\"}",
	};

	for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
		const struct bb_str body = bb_str_of(bodies[i]);
		const int whole = check(API_CHAT, body, &shield_policy_default).rc;
		assert_true(whole < 0);
		for (size_t max = 0; max < 3000; max += 500) {
			struct bb_arena small;
			struct outcome o = { .param = NULL };
			bb_arena_init(&small, max);
			o.rc = openai_request_check(API_CHAT, body, &shield_policy_default, &small,
						    &o.request, &o.err, &o.param);
			assert_true(o.rc == whole || o.rc == -BB_ENOMEM);
			assert_true(o.rc == -BB_ENOMEM || (o.param && o.err.what));
			bb_arena_fini(&small);
		}
	}
}

/* ---- the page ---- */

static void page_row(struct bb_buf *b, enum shield_row_id row)
{
	static const char *const actions[] = { "refused", "taken out", "limited" };
	static const char *const places[] = { "", "chat_template_kwargs.", "…" };
	const struct shield_row *const r = &shield_rows[row];
	const char *comma = "";

	bb_buf_printf(b, "| `%s` | ", r->name.p);
	for (uint32_t i = 0; i < shield_key_count; i++) {
		if (shield_keys[i].row != row)
			continue;
		bb_buf_printf(b, "%s`%s%s`", comma, places[shield_keys[i].place],
			      shield_keys[i].key.p);
		comma = ", ";
	}
	bb_buf_printf(b, " | %s", actions[r->action]);
	if (r->limit)
		bb_buf_printf(b, ": %llu", (unsigned long long)r->limit);
	bb_buf_printf(b, " | %s | %s |\n", r->why, r->reference);
}

static void page(struct bb_buf *b)
{
	bb_buf_lit(b,
		   "| name | members | what happens | why | reference |\n|---|---|---|---|---|\n");
	for (enum shield_row_id row = 0; row < SHIELD_ROW_COUNT; row++)
		page_row(b, row);
	assert_int_equal(b->err, 0);
}

static void page_has_the_table(void **state)
{
	struct bb_buf table, file;
	char piece[4096];
	size_t n;
	FILE *f = fopen(PAGE, "r");

	bb_buf_init(&table, 1 << 20);
	bb_buf_init(&file, 1 << 20);
	page(&table);
	if (!f)
		fail_msg("%s cannot be read", PAGE);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		bb_buf_add(&file, piece, n);
	fclose(f);
	if (bb_str_find(bb_buf_str(&file), bb_buf_str(&table)) < 0)
		fail_msg("the table of %s is not that of src/wire/shield_table.h: put in what "
			 "`test_shield --table` prints",
			 PAGE);
	bb_buf_fini(&table);
	bb_buf_fini(&file);
}

static int print_table(void)
{
	struct bb_buf b;

	bb_buf_init(&b, 1 << 20);
	page(&b);
	fwrite(b.p, 1, b.len, stdout);
	bb_buf_fini(&b);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_key_acts_and_is_lifted),
		cmocka_unit_test(each_key_has_a_case),
		cmocka_unit_test(keys_are_found),
		cmocka_unit_test(ordinary_requests_pass),
		cmocka_unit_test(expressions_in_schemas),
		cmocka_unit_test(limits_can_be_set),
		cmocka_unit_test(cuts),
		cmocka_unit_test(cuts_and_splices),
		cmocka_unit_test(urls),
		cmocka_unit_test(url_length),
		cmocka_unit_test(url_prefixes),
		cmocka_unit_test(regex_sizes),
		cmocka_unit_test(salts),
		cmocka_unit_test(little_memory),
		cmocka_unit_test(page_has_the_table),
	};

	if (argc == 2 && strcmp(argv[1], "--table") == 0)
		return print_table();
	return cmocka_run_group_tests(tests, setup, teardown);
}
