/*
 * shield_table.h: what the engine shield acts on, as data.
 *
 * For: shield.c, its test and docs/shield.md, which the test holds against this table. A new row
 * is a line in SHIELD_ROWS, at least one in SHIELD_KEYS, and a case in
 * tests/unit/wire/test_shield.c, which fails without one. Threads: constant data. Memory: static.
 * Errors: none.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "wire/json.h"

/*
 * id, name (in `allow` lists), action, limit (0: none), why, reference.
 * REFUSE: the request is refused. STRIP: the member is taken out of the body. LIMIT: refused when
 * it is over the limit.
 */
/* clang-format off */
#define SHIELD_ROWS(X) \
	X(CHAT_TEMPLATE, "chat_template", REFUSE, 0, \
	  "a template is a program that runs inside of the engine", \
	  "CVE-2026-115911, CVE-2026-115918, GHSA-69j4-grxj-j64p") \
	X(TEMPLATE_KWARGS, "chat_template_kwargs.chat_template", REFUSE, 0, \
	  "replaces the template, or makes the engine's API process tokenize", \
	  "CVE-2026-115911, CVE-2025-62426") \
	X(KWARGS_SIZE, "chat_template_kwargs", LIMIT, 16384, \
	  "bytes; values for the template, which it may multiply", \
	  "CVE-2026-115918") \
	X(KV_TRANSFER, "kv_transfer_params", REFUSE, 0, \
	  "names a host and port from which the engine loads KV blocks", \
	  "CVE-2026-94624") \
	X(DISAGGREGATION, "disaggregated_params", REFUSE, 0, \
	  "pairs prefill and decode engines; names a host and port", \
	  "class of CVE-2026-94624") \
	X(CACHE_SALT, "cache_salt", STRIP, 0, \
	  "the prefix cache is separated between tenants by a salt of the gateway's", \
	  "CVE-2026-105756, arXiv 2409.20002") \
	X(FEATURES, "features", REFUSE, 0, \
	  "tensors that the engine takes without a check", \
	  "CVE-2026-105754, CVE-2026-115912") \
	X(EMBEDS, "prompt_embeds", REFUSE, 0, \
	  "serialized tensors", \
	  "CVE-2025-62164") \
	X(MM_PROCESSOR, "mm_processor_kwargs", REFUSE, 0, \
	  "arguments of the image processor: sizes and counts without a bound", \
	  "class of CVE-2026-105754") \
	X(MEDIA_URLS, "media_urls", REFUSE, 0, \
	  "files, internal addresses and odd schemes in image, audio and video parts", \
	  "CVE-2025-6242") \
	X(MEDIA_UUID, "uuid", REFUSE, 0, \
	  "the key of a part in the engine's media cache, which all tenants share", \
	  "vLLM's documentation of multimodal inputs") \
	X(N, "n", LIMIT, 16, \
	  "answers; each is a request of its own in the engine", \
	  "CVE-2026-34756") \
	X(BEST_OF, "best_of", LIMIT, 16, \
	  "answers; each is a request of its own in the engine", \
	  "CVE-2024-8939") \
	X(BEAM_SEARCH, "use_beam_search", REFUSE, 0, \
	  "a search whose work grows with n and the length of the answer", \
	  "class of CVE-2024-8939") \
	X(LOGPROBS, "logprobs", LIMIT, 20, \
	  "log probabilities for each token of the answer", \
	  "class of CVE-2026-34756") \
	X(PROMPT_LOGPROBS, "prompt_logprobs", LIMIT, 20, \
	  "log probabilities for each token of the prompt, kept in memory until the end", \
	  "class of CVE-2026-34756") \
	X(STRUCTURED, "structured_outputs", LIMIT, 131072, \
	  "bytes of a schema or grammar, nested at most 32 deep; compiled in the engine", \
	  "CVE-2025-48942") \
	X(REGEX, "regex", LIMIT, 4096, \
	  "bytes of an expression of at most 100000 states and groups nested 32 deep; schemas' patterns too", \
	  "CVE-2025-48943, CVE-2025-48944") \
	X(TOOLS, "tools", LIMIT, 1048576, \
	  "bytes of tool descriptions, nested at most 32 deep", \
	  "CVE-2025-48944") \
	X(ALLOWED_TOKENS, "allowed_token_ids", LIMIT, 4096, \
	  "token ids; the engine keeps a mask over its vocabulary for each request", \
	  "class of CVE-2026-34756") \
	X(STOP_TOKENS, "stop_token_ids", LIMIT, 128, \
	  "token ids, looked for after each token", \
	  "class of CVE-2026-34756") \
	X(BAD_WORDS, "bad_words", LIMIT, 256, \
	  "words, each tokenized and looked for after each token", \
	  "class of CVE-2026-34756") \
	X(LOGIT_BIAS, "logit_bias", LIMIT, 1024, \
	  "tokens", \
	  "class of CVE-2026-34756") \
	X(LOGITS_PROCESSORS, "logits_processors", REFUSE, 0, \
	  "names, or is, Python code that runs in the engine", \
	  "CVE-2026-7304") \
	X(EXTRA_ARGS, "vllm_xargs", REFUSE, 0, \
	  "reaches connectors and processors past the engine's own checks", \
	  "class of CVE-2026-94624") \
	X(NVEXT, "nvext", REFUSE, 0, \
	  "pins workers, sets priorities and salts of a Dynamo behind the gateway", \
	  "Dynamo's documentation of nvext") \
	X(LORA, "lora_path", REFUSE, 0, \
	  "names a path from which the engine loads an adapter; adapters are models here", \
	  "class of CVE-2026-47622") \
	X(SESSION, "session_params", REFUSE, 0, \
	  "continues a session by its name, whoever began it", \
	  "class of arXiv 2409.20002") \
	X(HIDDEN_STATES, "return_hidden_states", REFUSE, 0, \
	  "adds a tensor for each token to the answer", \
	  "class of CVE-2026-34756") \
	X(PRIORITY, "priority", STRIP, 0, \
	  "jumps the engine's queue", \
	  "class of CVE-2026-105756") \
	X(REQUEST_ID, "request_id", STRIP, 0, \
	  "names a request in the engine, where two of one name meet", \
	  "class of CVE-2026-105756") \
	X(RANK, "data_parallel_rank", STRIP, 0, \
	  "picks a rank or a slot inside of the engine past its balance", \
	  "class of CVE-2026-105756")

/*
 * key, where it stands, row, how it is looked at.
 * TOP: a member of the body. KWARGS: of chat_template_kwargs. PART: of whatever becomes prompt, at
 * any depth. The keys of TOP are in the order of their lengths, then of their bytes.
 * PRESENT: anything but null. TRUE: anything but null and false. NUMBER: a number over the limit, or
 * below 0. COUNT: elements or members. SIZE: bytes. REGEX: an expression. SCHEMA: bytes, depth, and
 * the expressions in it. URLS: the URLs in it.
 */
#define SHIELD_KEYS(X) \
	X("n", TOP, N, NUMBER) \
	X("rid", TOP, REQUEST_ID, PRESENT) \
	X("ebnf", TOP, STRUCTURED, SCHEMA) \
	X("mask", TOP, MEDIA_URLS, URLS) \
	X("text", TOP, STRUCTURED, SCHEMA) \
	X("audio", TOP, MEDIA_URLS, URLS) \
	X("image", TOP, MEDIA_URLS, URLS) \
	X("nvext", TOP, NVEXT, PRESENT) \
	X("regex", TOP, REGEX, REGEX) \
	X("tools", TOP, TOOLS, SCHEMA) \
	X("video", TOP, MEDIA_URLS, URLS) \
	X("images", TOP, MEDIA_URLS, URLS) \
	X("best_of", TOP, BEST_OF, NUMBER) \
	X("grammar", TOP, STRUCTURED, SCHEMA) \
	X("id_slot", TOP, RANK, PRESENT) \
	X("n_probs", TOP, LOGPROBS, NUMBER) \
	X("features", TOP, FEATURES, PRESENT) \
	X("file_url", TOP, MEDIA_URLS, URLS) \
	X("logprobs", TOP, LOGPROBS, NUMBER) \
	X("priority", TOP, PRIORITY, PRESENT) \
	X("audio_url", TOP, MEDIA_URLS, URLS) \
	X("bad_words", TOP, BAD_WORDS, COUNT) \
	X("extra_key", TOP, CACHE_SALT, PRESENT) \
	X("functions", TOP, TOOLS, SCHEMA) \
	X("image_url", TOP, MEDIA_URLS, URLS) \
	X("lora_path", TOP, LORA, PRESENT) \
	X("ref_audio", TOP, MEDIA_URLS, URLS) \
	X("video_url", TOP, MEDIA_URLS, URLS) \
	X("cache_salt", TOP, CACHE_SALT, PRESENT) \
	X("logit_bias", TOP, LOGIT_BIAS, COUNT) \
	X("request_id", TOP, REQUEST_ID, PRESENT) \
	X("vllm_xargs", TOP, EXTRA_ARGS, PRESENT) \
	X("guided_json", TOP, STRUCTURED, SCHEMA) \
	X("json_schema", TOP, STRUCTURED, SCHEMA) \
	X("guided_regex", TOP, REGEX, REGEX) \
	X("input_embeds", TOP, EMBEDS, PRESENT) \
	X("lora_request", TOP, LORA, PRESENT) \
	X("top_logprobs", TOP, LOGPROBS, NUMBER) \
	X("chat_template", TOP, CHAT_TEMPLATE, PRESENT) \
	X("guided_choice", TOP, STRUCTURED, SCHEMA) \
	X("output_config", TOP, STRUCTURED, SCHEMA) \
	X("output_format", TOP, STRUCTURED, SCHEMA) \
	X("prompt_embeds", TOP, EMBEDS, PRESENT) \
	X("bootstrap_host", TOP, DISAGGREGATION, PRESENT) \
	X("bootstrap_port", TOP, DISAGGREGATION, PRESENT) \
	X("bootstrap_room", TOP, DISAGGREGATION, PRESENT) \
	X("guided_grammar", TOP, STRUCTURED, SCHEMA) \
	X("session_params", TOP, SESSION, PRESENT) \
	X("stop_token_ids", TOP, STOP_TOKENS, COUNT) \
	X("structural_tag", TOP, STRUCTURED, SCHEMA) \
	X("media_io_kwargs", TOP, MM_PROCESSOR, PRESENT) \
	X("prompt_logprobs", TOP, PROMPT_LOGPROBS, NUMBER) \
	X("response_format", TOP, STRUCTURED, SCHEMA) \
	X("use_beam_search", TOP, BEAM_SEARCH, TRUE) \
	X("allowed_token_ids", TOP, ALLOWED_TOKENS, COUNT) \
	X("logits_processors", TOP, LOGITS_PROCESSORS, PRESENT) \
	X("data_parallel_rank", TOP, RANK, PRESENT) \
	X("ec_transfer_params", TOP, KV_TRANSFER, PRESENT) \
	X("kv_transfer_params", TOP, KV_TRANSFER, PRESENT) \
	X("structured_outputs", TOP, STRUCTURED, SCHEMA) \
	X("mm_processor_kwargs", TOP, MM_PROCESSOR, PRESENT) \
	X("chat_template_kwargs", TOP, KWARGS_SIZE, SIZE) \
	X("disaggregated_params", TOP, DISAGGREGATION, PRESENT) \
	X("return_hidden_states", TOP, HIDDEN_STATES, TRUE) \
	X("return_routed_experts", TOP, HIDDEN_STATES, TRUE) \
	X("custom_logit_processor", TOP, LOGITS_PROCESSORS, PRESENT) \
	X("chat_template", KWARGS, TEMPLATE_KWARGS, PRESENT) \
	X("tokenize", KWARGS, TEMPLATE_KWARGS, PRESENT) \
	X("image_url", PART, MEDIA_URLS, URLS) \
	X("video_url", PART, MEDIA_URLS, URLS) \
	X("audio_url", PART, MEDIA_URLS, URLS) \
	X("file_url", PART, MEDIA_URLS, URLS) \
	X("image", PART, MEDIA_URLS, URLS) \
	X("audio", PART, MEDIA_URLS, URLS) \
	X("video", PART, MEDIA_URLS, URLS) \
	X("source", PART, MEDIA_URLS, URLS) \
	X("image_embeds", PART, EMBEDS, PRESENT) \
	X("audio_embeds", PART, EMBEDS, PRESENT) \
	X("video_embeds", PART, EMBEDS, PRESENT) \
	X("prompt_embeds", PART, EMBEDS, PRESENT) \
	X("uuid", PART, MEDIA_UUID, PRESENT)
/* clang-format on */

#define SHIELD_SCHEMA_DEPTH_MAX 32
#define SHIELD_ALLOW_ALL UINT64_MAX

enum shield_action { SHIELD_REFUSE, SHIELD_STRIP, SHIELD_LIMIT };
enum shield_place { SHIELD_TOP, SHIELD_KWARGS, SHIELD_PART };
enum shield_check {
	SHIELD_PRESENT,
	SHIELD_TRUE,
	SHIELD_NUMBER,
	SHIELD_COUNT,
	SHIELD_SIZE,
	SHIELD_REGEX,
	SHIELD_SCHEMA,
	SHIELD_URLS,
};

enum shield_row_id {
#define X(id, name, action, limit, why, reference) SHIELD_ROW_##id,
	SHIELD_ROWS(X)
#undef X
		SHIELD_ROW_COUNT,
};
_Static_assert(SHIELD_ROW_COUNT <= 64, "a row is a bit of an allow mask");

struct shield_row {
	struct bb_str name;
	enum shield_action action;
	uint64_t limit;
	const char *why;
	const char *reference;
};

struct shield_key {
	struct bb_str key;
	enum shield_place place;
	enum shield_row_id row;
	enum shield_check check;
};

extern const struct shield_row shield_rows[SHIELD_ROW_COUNT];
extern const struct shield_key shield_keys[];
extern const uint32_t shield_key_count;

/* The bit of a row in an allow mask. */
static inline uint64_t shield_bit(enum shield_row_id row)
{
	return 1ull << row;
}
/* The bits of a row by its name or by one of its members, all for "*"; 0: there is none. */
uint64_t shield_bits_of(struct bb_str name);
/* The member of a body, or a member of chat_template_kwargs; NULL: the shield does not care. */
const struct shield_key *shield_key_find(enum shield_place place, const struct json_member *m);
