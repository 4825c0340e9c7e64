/*
 * fuzz_json.c: the strict scanner agrees with another parser and with itself on every path, its
 * spans lie inside of the text, and the pull walk, the request scan, the splices, the chunk scan
 * and the usage tap hold what they promise on the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/log.h"
#include "wire/json.h"
#include "wire/json_run.h"
#include "wire/openai.h"
#include "wire/usage.h"

#define INPUT_MAX 65536
#define WALK_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct spans {
	struct bb_str text;
	int count;
};

static int on_member(void *user, const struct json_member *m)
{
	struct spans *s = user;
	const char *const end = s->text.p + s->text.len;

	BB_ASSERT(m->key.p > s->text.p && m->key.p + m->key.len < m->value.p);
	BB_ASSERT(m->value.len > 0 && m->value.p + m->value.len <= end);
	BB_ASSERT(json_check(m->value, JSON_DEPTH_MAX, NULL) == 0);
	BB_ASSERT(json_type_of(m->value) == m->type);
	s->count++;
	return 0;
}

/* Depth in the other parser's tree, whose own limit is higher; counted on checked text. */
static uint32_t depth_of(struct bb_str text)
{
	uint32_t depth = 0, most = 0;
	bool in_string = false;

	for (size_t i = 0; i < text.len; i++) {
		const char c = text.p[i];
		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '[' || c == '{'))
			depth++, most = depth > most ? depth : most;
		else if (!in_string && (c == ']' || c == '}'))
			depth--;
	}
	return most;
}

static bool check_all_paths(struct bb_str text)
{
	struct json_error err = { 0, NULL };
	const bool ok = json_check(text, JSON_DEPTH_MAX, &err) == 0;
	yyjson_doc *doc = yyjson_read(text.p, text.len, YYJSON_READ_NUMBER_AS_RAW);
	const bool other = doc && depth_of(text) <= JSON_DEPTH_MAX;

	yyjson_doc_free(doc);
	BB_ASSERT(ok == other);
	BB_ASSERT(ok || (err.what && err.offset <= text.len));
	for (enum json_run_path path = JSON_RUN_SCALAR; path <= JSON_RUN_AVX2; path++) {
		if (json_run_use(path))
			BB_ASSERT((json_check(text, JSON_DEPTH_MAX, NULL) == 0) == ok);
	}
	json_run_use(json_run_best());
	return ok;
}

/* A checked string decodes, and is equal to what it decodes to. */
static void decode(struct bb_str raw)
{
	struct bb_buf b;

	bb_buf_init(&b, INPUT_MAX);
	BB_ASSERT(json_string_decode_buf(raw, &b) == 0);
	BB_ASSERT(json_string_eq(raw, bb_buf_str(&b)));
	bb_buf_fini(&b);
}

/* A walk that goes into everything, with the open containers' kinds as its own stack. */
static void walk(struct bb_str text, bool is_ok)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;
	bool is_object[WALK_MAX];
	uint32_t depth = 0;

	json_pull_init(&j, text);
	for (;;) {
		BB_ASSERT(!text.len || (j.p >= text.p && j.p <= text.p + text.len));
		if (depth < WALK_MAX && json_pull_object(&j)) {
			is_object[depth++] = true;
		} else if (depth < WALK_MAX && json_pull_array(&j)) {
			is_object[depth++] = false;
		} else if (!json_pull_value(&j, &raw, &type)) {
			break;
		} else if (type == JSON_STRING && is_ok) {
			decode(raw);
		}
		while (depth > 0 &&
		       !(is_object[depth - 1] ? json_pull_key(&j, &key) : json_pull_more(&j)))
			depth--;
		if (depth == 0)
			break;
	}
	BB_ASSERT(!is_ok || !j.failed);
}

static void request(struct bb_str body, bool is_object)
{
	const struct splice_want want = { BB_STR_INIT("other \"name\""), SPLICE_STREAM_ASK,
					  SPLICE_USAGE_ASK };
	struct openai_request r, again;
	struct splice_set set = { .count = 0 };
	struct bb_str parts[SPLICE_PARTS_MAX];
	struct bb_arena arena;
	struct bb_buf out;
	struct json_error err;
	const char *param;
	size_t total;

	bb_arena_init(&arena, 1 << 20);
	bb_buf_init(&out, 4 * INPUT_MAX);
	if (openai_request_scan(API_CHAT, body, &arena, &r, &err, &param) == 0) {
		BB_ASSERT(is_object);
		BB_ASSERT(openai_request_splice(API_CHAT, body, &r, &want, &arena, &set) == 0);
		const uint32_t count = splice_iov(body, &set, parts, &total);
		for (uint32_t i = 0; i < count; i++)
			BB_ASSERT(bb_buf_add_str(&out, parts[i]) == 0);
		BB_ASSERT(out.len == total);
		BB_ASSERT(openai_request_scan(API_CHAT, bb_buf_str(&out), &arena, &again, &err,
					      &param) == 0);
		BB_ASSERT(bb_str_eq(again.model, want.model) && again.stream &&
			  again.include_usage);
		BB_ASSERT(again.n == r.n && again.max_tokens == r.max_tokens &&
			  again.prompt_bytes == r.prompt_bytes);
	}
	bb_buf_fini(&out);
	bb_arena_fini(&arena);
}

/* The tap in two pieces says what it says in one. */
static void tap(struct bb_str text)
{
	static struct usage_tap t;
	struct usage one = { .known = false }, two = one;
	const size_t at = text.len ? (unsigned char)text.p[0] % text.len : 0;

	usage_tap_init(&t);
	usage_tap_feed(&t, text.p, text.len);
	const int rc = usage_tap_end(&t, &one);
	const bool has_error = t.has_error;
	usage_tap_init(&t);
	usage_tap_feed(&t, text.p, at);
	usage_tap_feed(&t, text.p + at, text.len - at);
	BB_ASSERT(usage_tap_end(&t, &two) == rc && t.has_error == has_error);
	BB_ASSERT(one.prompt == two.prompt && one.completion == two.completion);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum api apis[] = { API_CHAT, API_RESPONSES, API_MESSAGES,
					 API_TRANSCRIPTIONS };
	const struct bb_str text = { (const char *)data, size };
	struct openai_chunk chunk;
	struct spans spans = { .text = text };

	if (size > INPUT_MAX)
		return 0;
	const bool ok = check_all_paths(text);
	const bool is_object = json_scan_object(text, JSON_DEPTH_MAX, on_member, &spans, NULL) == 0;
	BB_ASSERT(!is_object || ok);
	walk(text, ok);
	request(text, is_object);
	for (size_t i = 0; i < sizeof(apis) / sizeof(apis[0]); i++) {
		if (openai_chunk_scan(apis[i], BB_STR(""), text, &chunk) != 0)
			BB_ASSERT(!is_object);
	}
	tap(text);
	return 0;
}
