#include "gateway/text_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/fetch.h"
#include "net/tls.h"
#include "os/clock.h"
#include "wire/json.h"

/* A server that tokenizes in its main process may be busy with prompts of others. */
#define ANSWER_TIMEOUT_NS (10 * OS_SECOND)
#define ANSWER_MAX (1u << 20)
#define BODY_MAX (16u << 10)
#define ANSWER_IDS_MAX 8192

enum probe_kind { PROBE_PLAIN, PROBE_CHAT };

/* Where tokenizers of one family part: scripts, digits, spaces, contractions, joined emoji. */
static const struct probe {
	enum probe_kind kind;
	const char *json; /* the text, or the messages */
} probes[] = {
	{ PROBE_PLAIN,
	  "\"The quick brown fox can't jump over 1234567.89 lazy dogs, they'd've said.\"" },
	{ PROBE_PLAIN,
	  "\"def f(x):\\n    return {'a': [x, 0x1F]}  # \\t two\\r\\n\\n\\n   end   \"" },
	{ PROBE_PLAIN, "\"na\\u00efve caf\\u00e9 \\u6771\\u4eac\\u90fd \\ud55c\\uad6d\\uc5b4 "
		       "\\u041f\\u0440\\u0438\\u0432\\u0435\\u0442 \\u0639\\u0631\\u0628\\u064a "
		       "\\u0939\\u093f\\u0928\\u094d\\u0926\\u0940 e\\u0301 "
		       "\\ud83d\\udc69\\u200d\\ud83d\\udc69\\u200d\\ud83d\\udc67\"" },
	{ PROBE_CHAT, "[{\"role\":\"user\",\"content\":\"Hello, what is 12 times 34?\"}]" },
	{ PROBE_CHAT, "[{\"role\":\"system\",\"content\":\"You are terse.\"},"
		      "{\"role\":\"user\",\"content\":\"Name a colour.\"},"
		      "{\"role\":\"assistant\",\"content\":\"Blue.\"},"
		      "{\"role\":\"user\",\"content\":\"Another  one,\\nplease\"}]" },
};
#define PROBE_COUNT (sizeof(probes) / sizeof(probes[0]))

struct text_check {
	struct text_check_config config; /* its texts are copies */
	struct httpc_pool *pool;
	struct fetch *fetch;
	struct loop_timer timer; /* the next probe, or the end: never from inside of a call */
	struct text_work *work;
	char *host, *base, *api_key, *served_name;
	size_t next;
	uint32_t compared;
	enum text_verdict verdict;
	char detail[TEXT_DETAIL_SIZE];
};

const char *text_verdict_name(enum text_verdict v)
{
	static const char *const names[] = {
#define X(name, text) text,
		TEXT_VERDICTS(X)
#undef X
	};

	return names[v];
}

static void check_destroy(struct text_check *c)
{
	fetch_cancel(c->fetch);
	loop_timer_fini(&c->timer);
	httpc_pool_destroy(c->pool);
	text_work_destroy(c->work);
	model_text_put(c->config.text);
	bb_free(c->host);
	bb_free(c->base);
	bb_free(c->api_key);
	bb_free(c->served_name);
	bb_free(c);
}

void text_check_cancel(struct text_check *c)
{
	if (c)
		check_destroy(c);
}

/* ---- comparing ---- */

static void __attribute__((format(printf, 3, 4)))
conclude(struct text_check *c, enum text_verdict v, const char *format, ...)
{
	va_list args;

	c->verdict = v;
	va_start(args, format);
	vsnprintf(c->detail, sizeof(c->detail), format, args);
	va_end(args);
}

/* The engine's ids against ours: where they part. */
static void compare_ids(struct text_check *c, struct bb_str body)
{
	const struct token_list *ours = text_ids(c->work);
	struct json_member tokens;
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	uint64_t id, count = 0;

	if (json_check(body, JSON_DEPTH_MAX, NULL) || !json_get(body, BB_STR("tokens"), &tokens) ||
	    tokens.type != JSON_ARRAY) {
		conclude(c, TEXT_UNKNOWN, "its /tokenize answers without a list of tokens");
		return;
	}
	json_pull_init(&j, tokens.value);
	json_pull_array(&j);
	for (; json_pull_more(&j) && json_pull_value(&j, &raw, &type); count++) {
		if (json_u64(raw, &id))
			id = UINT64_MAX;
		if (count >= ours->count || ours->ids[count] != id) {
			conclude(c, TEXT_DIFFERENT,
				 "probe %zu: token %llu is %llu there and %lld here", c->next,
				 (unsigned long long)count, (unsigned long long)id,
				 count < ours->count ? (long long)ours->ids[count] : -1ll);
			return;
		}
	}
	if (count != ours->count)
		conclude(c, TEXT_DIFFERENT, "probe %zu: it has %llu tokens there and %zu here",
			 c->next, (unsigned long long)count, ours->count);
	else
		c->compared++;
}

/* llama.cpp renders and does not tokenize a chat. */
static void compare_prompt(struct text_check *c, struct bb_str body, struct bb_str ours)
{
	struct json_member prompt;

	if (json_check(body, JSON_DEPTH_MAX, NULL) || !json_get(body, BB_STR("prompt"), &prompt))
		conclude(c, TEXT_UNKNOWN, "its /apply-template answers without a prompt");
	else if (!json_string_eq(prompt.value, ours))
		conclude(c, TEXT_DIFFERENT, "probe %zu: its chat template renders another prompt",
			 c->next);
	else
		c->compared++;
}

/* ---- asking ---- */

static bool is_llamacpp(const struct text_check *c)
{
	return c->config.adapter->kind == ENGINE_KIND_LLAMACPP;
}

/* Which kinds tell the tokens of a chat. */
static bool can_ask(const struct text_check *c, enum probe_kind kind)
{
	const struct adapter *a = c->config.adapter;

	if (!(a->api_mask & ADAPTER_API(TOKENIZE)))
		return false;
	return kind == PROBE_PLAIN || a->kind == ENGINE_KIND_VLLM ||
	       a->kind == ENGINE_KIND_BUSBAR || a->kind == ENGINE_KIND_LLAMACPP;
}

static void body_write(const struct text_check *c, const struct probe *p, struct bb_buf *b)
{
	bb_buf_lit(b, "{");
	if (c->served_name[0]) {
		bb_buf_lit(b, "\"model\":");
		bb_buf_add_json(b, bb_str_of(c->served_name));
		bb_buf_lit(b, ",");
	}
	if (p->kind == PROBE_CHAT)
		bb_buf_printf(b, "\"messages\":%s,\"add_generation_prompt\":true}", p->json);
	else if (is_llamacpp(c))
		bb_buf_printf(b, "\"content\":%s,\"add_special\":true}", p->json);
	else
		bb_buf_printf(b, "\"prompt\":%s,\"add_special_tokens\":true}", p->json);
}

/* What the gateway itself makes of a probe: tokens in `work`, and the prompt of a chat. */
static int own_answer(struct text_check *c, const struct probe *p, struct bb_str *prompt,
		      struct text_error *e)
{
	const struct adapter *a = c->config.adapter;
	struct model_text *text = c->config.text;
	struct bb_buf body;

	text_ids(c->work)->count = 0;
	if (p->kind == PROBE_PLAIN) {
		const int rc = text_decode(c->work, bb_str_of(p->json), prompt);
		return rc ? rc
			  : model_text_encode(text, c->work, NULL, 0, *prompt, TOKENIZER_SPECIAL);
	}
	bb_buf_init(&body, BODY_MAX);
	bb_buf_printf(&body, "{\"model\":\"m\",\"messages\":%s}", p->json);
	int rc = body.err ? body.err
			  : model_text_render(text, c->work, bb_buf_str(&body), a->messages, prompt,
					      e);
	bb_buf_fini(&body);
	return rc ? rc
		  : model_text_encode(text, c->work, NULL, 0, *prompt,
				      model_text_chat_flags(text, *prompt, a->chat_begin));
}

static void compare(struct text_check *c, struct bb_str body)
{
	const struct probe *p = &probes[c->next];
	struct text_error e = { "" };
	struct bb_str prompt;
	const int rc = own_answer(c, p, &prompt, &e);

	if (rc)
		conclude(c, TEXT_UNKNOWN, "probe %zu cannot be tokenized here: %.150s", c->next,
			 e.message[0] ? e.message : bb_error_info(rc)->text);
	else if (p->kind == PROBE_CHAT && is_llamacpp(c))
		compare_prompt(c, body, prompt);
	else
		compare_ids(c, body);
}

static void go_on(struct text_check *c)
{
	loop_timer_arm(&c->timer, loop_now_ns(c->config.loop));
}

static void on_answer(void *user, const struct fetch_answer *a)
{
	struct text_check *c = user;

	c->fetch = NULL;
	if (a->err)
		conclude(c, TEXT_UNKNOWN, "its /tokenize failed: %.120s",
			 a->why ? a->why : "no answer");
	else if (a->status == 404 || a->status == 405 || a->status == 501)
		conclude(c, TEXT_UNKNOWN, "it has no /tokenize (status %d)", a->status);
	else if (a->status != 200)
		conclude(c, TEXT_UNKNOWN, "its /tokenize answers with status %d", a->status);
	else
		compare(c, a->body);
	c->next++;
	go_on(c);
}

static int ask(struct text_check *c, const struct probe *p)
{
	struct bb_buf target, body;
	const bool renders = p->kind == PROBE_CHAT && is_llamacpp(c);

	bb_buf_init(&target, 4096);
	bb_buf_init(&body, BODY_MAX);
	bb_buf_add_str(&target, bb_str_of(c->base));
	bb_buf_add_str(&target, renders ? BB_STR("/apply-template")
					: adapter_path(c->config.adapter, API_TOKENIZE));
	body_write(c, p, &body);
	const struct fetch_request r = {
		.loop = c->config.loop,
		.method = "POST",
		.host = bb_str_of(c->host),
		.target = bb_buf_str(&target),
		.bearer = bb_str_of(c->api_key),
		.headers = BB_STR("Content-Type: application/json\r\n"),
		.body = bb_buf_str(&body),
		.body_size_max = ANSWER_MAX,
		.timeout_ns = ANSWER_TIMEOUT_NS,
		.user = c,
		.on_done = on_answer,
	};
	int rc = target.err ? target.err : body.err;
	if (!rc)
		rc = fetch_start(c->pool, &r, &c->fetch);
	bb_buf_fini(&target);
	bb_buf_fini(&body);
	return rc;
}

static void finish(struct text_check *c)
{
	const struct text_check_config config = c->config;
	enum text_verdict verdict = c->verdict;
	char detail[TEXT_DETAIL_SIZE];

	if (verdict == TEXT_PENDING && c->compared)
		conclude(c, TEXT_SAME, "%u probes gave the same tokens", c->compared);
	else if (verdict == TEXT_PENDING)
		conclude(c, TEXT_UNKNOWN, "engines of kind '%s' have no /tokenize to compare with",
			 c->config.adapter->name);
	verdict = c->verdict;
	bb_text_copy(detail, sizeof(detail), c->detail);
	check_destroy(c);
	config.on_done(config.user, verdict, detail);
}

static void on_timer(struct loop_timer *t)
{
	struct text_check *c = BB_CONTAINER(t, struct text_check, timer);

	while (c->verdict == TEXT_PENDING && c->next < PROBE_COUNT) {
		const struct probe *p = &probes[c->next];
		if (can_ask(c, p->kind)) {
			const bool has_template = c->config.text->chat != NULL;
			if (p->kind == PROBE_PLAIN || has_template) {
				const int rc = ask(c, p);
				if (!rc)
					return;
				conclude(c, TEXT_UNKNOWN, "it cannot be asked: %s",
					 bb_error_info(rc)->text);
			}
		}
		c->next++;
	}
	finish(c);
}

static char *copy(struct bb_str s)
{
	return bb_strndup(s.len ? s.p : "", s.len);
}

int text_check_start(const struct text_check_config *config, struct text_check **out)
{
	struct text_check *c = bb_alloc_zero(1, sizeof(*c));
	struct httpc_limits limits;

	if (!c)
		return -BB_ENOMEM;
	c->config = *config;
	c->config.text = model_text_get(config->text);
	c->verdict = TEXT_PENDING;
	c->host = copy(config->host);
	c->base = copy(config->base);
	c->api_key = copy(config->api_key);
	c->served_name = copy(config->served_name);
	int rc = c->host && c->base && c->api_key && c->served_name ? 0 : -BB_ENOMEM;
	if (!rc)
		rc = text_work_create(&c->work);
	httpc_limits_default(&limits);
	limits.idle_max = 1;
	if (!rc)
		rc = httpc_pool_create(config->loop, config->addr, &limits, &c->pool);
	if (!rc && config->tls)
		rc = httpc_pool_set_tls(c->pool, config->tls, config->tls_name);
	if (!rc)
		rc = loop_timer_init(config->loop, &c->timer, on_timer);
	if (rc) {
		check_destroy(c);
		return rc;
	}
	go_on(c);
	*out = c;
	return 0;
}
