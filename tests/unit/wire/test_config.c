/*
 * Goal: a configuration is read as written, defaults fill the rest, its parts are linked, it
 * prints to something that reads as the same, and no lack of memory does harm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "wire/config.h"
#include "wire/config_number.h"
#include "wire/config_print.h"
#include "wire/config_table.h"

#define SECOND 1000000000ull

static const char *variable(void *ctx, const char *name)
{
	return strcmp(name, "KEY") == 0 ? "s3cret" : strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static const struct config_env env = { .get = variable };

/* The configuration of a text without mistakes. */
static struct config *parse(const char *text)
{
	struct config_errors errors;
	struct config *c = NULL;
	struct bb_buf out;

	config_errors_init(&errors);
	bb_buf_init(&out, 1u << 16);
	const int rc = config_parse(bb_str_of(text), "f.yaml", &env, &c, &errors);
	config_errors_print(&errors, "f.yaml", &out);
	if (out.len)
		print_error("%.*s", BB_ARG(bb_buf_str(&out)));
	assert_int_equal(rc, 0);
	assert_non_null(c);
	bb_buf_fini(&out);
	config_errors_fini(&errors);
	return c;
}

#define assert_text(s, literal)                                                                    \
	do {                                                                                       \
		const struct bb_str text_ = (s);                                                   \
		assert_int_equal(text_.len, sizeof(literal) - 1);                                  \
		assert_memory_equal(text_.p, literal, sizeof(literal)); /* with its NUL */         \
	} while (0)

static void check_defaults(const struct config *c)
{
	assert_int_equal(c->listen.count, 1);
	assert_text(c->listen.items[0].text, "127.0.0.1:8080");
	assert_text(c->admin, "127.0.0.1:8081");
	assert_text(c->policy, "lookahead");
	assert_int_equal(c->threads, 0);
	assert_int_equal(c->seed, 0);
	assert_int_equal(c->log.level, BB_LOG_INFO);
	assert_int_equal(c->log.format, CONFIG_LOG_AUTO);
	assert_text(c->access_log_path, "-");
	assert_int_equal(c->shutdown_grace_ns, 30 * SECOND);
	assert_int_equal(c->cors.origins.count, 0);
	assert_int_equal(c->cors.max_age_ns, 600 * SECOND);
	assert_int_equal(c->limits.head_size, 32 << 10);
	assert_int_equal(c->limits.body_size, 32 << 20);
	assert_int_equal(c->limits.buffers, 1 << 30);
	assert_int_equal(c->limits.connections, 0);
	assert_int_equal(c->limits.header_timeout_ns, 10 * SECOND);
	assert_int_equal(c->limits.body_timeout_ns, 30 * SECOND);
	assert_int_equal(c->limits.keepalive_ns, 75 * SECOND);
	assert_int_equal(c->limits.write_timeout_ns, 60 * SECOND);
	assert_int_equal(c->limits.requests_per_connection, 0);
	assert_int_equal(c->limits.json_depth, 64);
	assert_int_equal(c->limits.sse_line, 1 << 20);
	assert_int_equal(c->limits.answer_size, 16 << 20);
	assert_int_equal(c->upstream.connect_timeout_ns, 2 * SECOND);
	assert_int_equal(c->upstream.first_byte_timeout_ns, 600 * SECOND);
	assert_int_equal(c->upstream.read_timeout_ns, 300 * SECOND);
	assert_int_equal(c->upstream.write_timeout_ns, 60 * SECOND);
	assert_int_equal(c->upstream.idle_timeout_ns, 4 * SECOND);
	assert_int_equal(c->upstream.idle_connections, 1024);
	assert_int_equal(c->upstream.retries, 2);
	assert_int_equal(c->upstream.keepalive_comment_ns, 10 * SECOND);
	assert_int_equal(c->probe.interval_ns, SECOND);
	assert_int_equal(c->probe.timeout_ns, 2 * SECOND);
	assert_int_equal(c->probe.metrics_interval_ns, SECOND);
	assert_int_equal(c->probe.unhealthy_after, 3);
	assert_int_equal(c->model_count, 0);
	assert_int_equal(c->engine_count, 0);
	assert_int_equal(c->tls.cert.len, 0);
	assert_int_equal(c->tls.min_version, CONFIG_TLS_1_2);
	assert_int_equal(c->admin_tls.sni.count, 0);
	assert_int_equal(c->keys_file.len, 0);
	assert_int_equal(c->insecure_no_keys, CONFIG_OFF);
	assert_int_equal(c->tenants.count, 0);
	assert_int_equal(c->jwt.jwks.len, 0);
	assert_text(c->jwt.tenant_claim, "sub");
	assert_int_equal(c->jwt.leeway_ns, 60 * SECOND);
	assert_int_equal(c->shield.allow.count, 0);
	assert_int_equal(c->user.len, 0);
	assert_int_equal(c->sandbox, CONFIG_ON);
	assert_false(config_needs_keys(c));
}

static void test_defaults(void **state)
{
	static const char *const empty[] = { "",      "# nothing\n",
					     "---\n", "models:\nengines:\nlog:\n",
					     "{}",    "null\n" };

	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		struct config *c = parse(empty[i]);
		check_defaults(c);
		config_free(c);
	}
	struct config *c = config_default();
	assert_non_null(c);
	check_defaults(c);
	config_free(c);
	config_free(NULL);
}

static void test_values(void **state)
{
	struct config *c = parse("listen: [':80', '[::1]:8080', unix:/run/b.sock]\n"
				 "admin: off\n"
				 "threads: 64\n"
				 "policy: random\n"
				 "shadow: [round_robin, least_requests]\n"
				 "explain: true\n"
				 "seed: 18446744073709551615\n"
				 "log: {level: debug, format: json}\n"
				 "access_log: {path: 'off'}\n"
				 "shutdown: {grace: 0}\n"
				 "cors: {origins: '*', headers: 'a, b', max_age: 1.5s}\n"
				 "limits:\n"
				 "  head_size: 1024\n"
				 "  buffers: 1TiB\n"
				 "  requests_per_connection: 4294967295\n"
				 "upstream: {keepalive_comment: 0, connect_timeout: 250ms}\n");
	assert_int_equal(c->listen.count, 3);
	assert_text(c->listen.items[2].text, "unix:/run/b.sock");
	assert_int_equal(c->listen.items[1].place.line, 1);
	assert_int_equal(c->listen.items[1].place.column, 17);
	assert_int_equal(c->admin.len, 0);
	assert_int_equal(c->threads, 64);
	assert_text(c->policy, "random");
	assert_int_equal(c->shadow.count, 2);
	assert_text(c->shadow.items[1].text, "least_requests");
	assert_int_equal(c->explain, CONFIG_ON);
	assert_true(c->seed == UINT64_MAX);
	assert_int_equal(c->log.level, BB_LOG_DEBUG);
	assert_int_equal(c->log.format, CONFIG_LOG_JSON);
	assert_int_equal(c->access_log_path.len, 0);
	assert_int_equal(c->shutdown_grace_ns, 0);
	assert_int_equal(c->cors.origins.count, 1);
	assert_text(c->cors.origins.items[0].text, "*");
	assert_int_equal(c->cors.max_age_ns, 3 * SECOND / 2);
	assert_int_equal(c->limits.head_size, 1024);
	assert_true(c->limits.buffers == 1ull << 40);
	assert_true(c->limits.requests_per_connection == UINT32_MAX);
	assert_int_equal(c->limits.json_depth, 64);
	assert_int_equal(c->upstream.keepalive_comment_ns, 0);
	assert_int_equal(c->upstream.connect_timeout_ns, SECOND / 4);
	config_free(c);
}

static const char linked[] = "engines:\n"
			     "  - http://FREE:80\n"
			     "  - {url: 'http://a:8000/v1', kind: vllm, api_key: '${KEY}'}\n"
			     "  - {url: http://c, models: [lone, extra, chat]}\n"
			     "models:\n"
			     "  chat:\n"
			     "    engines: [http://A:8000/v1/, 'unix:/x', http://a:8000/v1]\n"
			     "    aliases: ['*', gpt]\n"
			     "    served_name: org/chat\n"
			     "    tokenizer: /t\n"
			     "    objectives: {ttft: 500ms, itl: 50ms}\n"
			     "  lone:\n";

static void test_models_and_engines(void **state)
{
	struct config *c = parse(linked);

	assert_int_equal(c->engine_count, 4);
	assert_text(c->engines[0].url, "http://free");
	assert_true(c->engines[0].is_discovered);
	assert_text(c->engines[1].url, "http://a:8000/v1");
	assert_int_equal(c->engines[1].kind, CONFIG_ENGINE_VLLM);
	assert_text(c->engines[1].api_key, "s3cret");
	assert_false(c->engines[1].is_discovered);
	assert_false(c->engines[2].is_discovered);
	assert_text(c->engines[3].url, "unix:/x");
	assert_int_equal(c->engines[3].place.line, 7);
	assert_false(c->engines[3].is_discovered);

	assert_int_equal(c->model_count, 3);
	const struct config_model *chat = &c->models[0];
	assert_text(chat->name, "chat");
	assert_int_equal(chat->engine_count, 3);
	assert_int_equal(chat->engines[0], 1);
	assert_int_equal(chat->engines[1], 2);
	assert_int_equal(chat->engines[2], 3);
	assert_int_equal(chat->engine_urls.count, 3);
	assert_text(chat->engine_urls.items[2].text, "unix:/x");
	assert_text(chat->served_name, "org/chat");
	assert_text(chat->tokenizer, "/t");
	assert_int_equal(chat->ttft_ns, SECOND / 2);
	assert_int_equal(chat->itl_ns, SECOND / 20);
	assert_int_equal(chat->place.line, 6);
	assert_int_equal(chat->place.column, 3);
	assert_text(c->models[2].name, "extra");
	assert_int_equal(c->models[2].engine_count, 1);
	assert_int_equal(c->models[2].engines[0], 2);
	assert_ptr_equal(config_model_find(c, BB_STR("gpt")), chat);
	assert_ptr_equal(config_model_find(c, BB_STR("lone")), &c->models[1]);
	assert_null(config_model_find(c, BB_STR("none")));
	config_free(c);
}

static void test_add_engine(void **state)
{
	struct config *c = parse(linked);
	const char *why = NULL;
	char url[64];

	assert_int_equal(config_add_engine(c, BB_STR("http://Free:80/"), &why), -BB_EEXIST);
	assert_int_equal(config_add_engine(c, BB_STR("ftp://x"), &why), -BB_EINVALID);
	assert_non_null(strstr(why, "https://"));
	assert_int_equal(config_add_engine(c, BB_STR("x:80"), &why), -BB_EINVALID);
	assert_int_equal(c->engine_count, 4);
	for (int i = 4; i < CONFIG_ENGINES_MAX; i++) {
		snprintf(url, sizeof(url), "http://e%d:8000", i);
		assert_int_equal(config_add_engine(c, bb_str_of(url), &why), 0);
	}
	assert_int_equal(c->engine_count, CONFIG_ENGINES_MAX);
	assert_text(c->engines[4].url, "http://e4:8000");
	assert_true(c->engines[4].is_discovered);
	assert_text(c->engines[1].api_key, "s3cret");
	assert_int_equal(config_add_engine(c, BB_STR("http://one-more"), &why), -BB_ELIMIT);
	config_free(c);
}

static void test_variables(void **state)
{
	struct config *c =
		parse("access_log: {path: '/${KEY}/${NONE:-a-b}${EMPTY:-c}${EMPTY}$$x'}\n"
		      "threads: ${NONE:-3}\n");

	assert_text(c->access_log_path, "/s3cret/a-bc$x");
	assert_int_equal(c->threads, 3);
	config_free(c);
}

static void print(const struct config *c, struct bb_buf *out)
{
	bb_buf_init(out, 1u << 20);
	config_print(c, out);
	assert_int_equal(out->err, 0);
	bb_buf_add(out, "", 1); /* for parse() */
}

static void test_print(void **state)
{
	struct bb_buf first, second;
	struct config *c = parse("access_log: {path: \"/$${x}/\\\"q: [é] #\"}\nadmin: off\n");

	print(c, &first);
	assert_non_null(strstr(first.p, "path: \"/$${x}/\\\"q: [é] #\""));
	config_free(c);
	bb_buf_fini(&first);

	c = parse(linked);
	print(c, &first);
	config_free(c);
	assert_null(strstr(first.p, "s3cret"));
	assert_non_null(strstr(first.p, "api_key: \"***\""));
	c = parse(first.p);
	print(c, &second);
	config_free(c);
	assert_string_equal(first.p, second.p);
	bb_buf_fini(&first);
	bb_buf_fini(&second);
}

static void test_key_reference(void **state)
{
	static const char *const policies[] = { "one_and_only", NULL };
	struct bb_buf out;

	bb_buf_init(&out, 1u << 20);
	config_print_keys(policies, &out);
	bb_buf_add(&out, "", 1);
	assert_int_equal(out.err, 0);
	assert_non_null(strstr(out.p, "One of `one_and_only`."));
	for (uint32_t i = 0; i < config_key_count; i++)
		assert_non_null(strstr(out.p, config_keys[i].path));
	bb_buf_fini(&out);
}

/* The documented example is right; the test runs in the repository's root. */
static void test_example(void **state)
{
	static char text[1u << 16];
	FILE *f = fopen("docs/examples/busbar.yaml", "r");

	if (!f)
		fail_msg("docs/examples/busbar.yaml cannot be read");
	const size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	struct config *c = parse(text);
	assert_int_equal(c->model_count, 2);
	assert_int_equal(c->engine_count, 4);
	assert_true(c->engines[1].is_discovered);
	assert_non_null(config_model_find(c, BB_STR("*")));
	config_free(c);
}

/* What the table must hold for the code that works by it. */
static void test_table(void **state)
{
	for (uint32_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		const bool is_text = key->type == CONFIG_KEY_TEXT ||
				     key->type == CONFIG_KEY_SWITCHED ||
				     key->type == CONFIG_KEY_TEXTS;
		assert_ptr_equal(config_key_find(key->scope, bb_str_of(key->path)), key);
		assert_int_equal(key->check != NULL, is_text);
		assert_int_equal(key->choices != NULL, key->type == CONFIG_KEY_CHOICE);
		if (key->type == CONFIG_KEY_COUNT)
			assert_true(key->max <= UINT32_MAX);
		if (config_number_is_type(key->type) && key->type != CONFIG_KEY_CHOICE)
			assert_true(key->min < key->max && key->initial);
		assert_true(bb_str_ends(bb_str_of(key->text), BB_STR(".")));
	}
}

/* Each allocation in turn fails: an error comes back, and what was taken is given back. */
static void test_no_memory(void **state)
{
	int rc = -BB_ENOMEM;

	for (uint64_t nth = 1; rc == -BB_ENOMEM; nth++) {
		struct config_errors errors;
		struct config *c = NULL;
		config_errors_init(&errors);
		const uint64_t failed = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = config_parse(BB_STR(linked), "f.yaml", &env, &c, &errors);
		if (bb_alloc_failed_count() == failed) {
			bb_alloc_fail_at(0, BB_FAIL_ONCE);
			assert_int_equal(rc, 0);
		} else {
			assert_int_equal(rc, -BB_ENOMEM);
			assert_null(c);
		}
		config_free(c);
		config_errors_fini(&errors);
	}
	assert_int_equal(rc, 0);
}

static void test_kv_events(void **state)
{
	struct config *c =
		parse("engines:\n- http://a\n- {url: http://b, kv_events: off}\n"
		      "- {url: http://c, kind: trtllm, kv_events: poll}\n"
		      "- {url: http://d, kv_events: [tcp://*:1, 'tcp://[::1]:2'], "
		      "kv_replay: [tcp://10.0.0.1:3, ipc:///run/r], kv_topic: t}\n"
		      "limits: {kv_mirror: 2MiB}\n"
		      "models: {m: {engines: http://e}}\n");
	static const enum config_kv_events expected[] = { CONFIG_KV_AUTO, CONFIG_KV_OFF, CONFIG_KV_POLL,
							  CONFIG_KV_ENDPOINTS, CONFIG_KV_AUTO };

	assert_int_equal(c->engine_count, 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(config_engine_kv_events(&c->engines[i]), expected[i]);
	assert_int_equal(c->engines[3].kv_events.count, 2);
	assert_text(c->engines[3].kv_replay.items[1].text, "ipc:///run/r");
	assert_text(c->engines[3].kv_topic, "t");
	assert_int_equal(c->limits.kv_mirror, 2 << 20);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kv_events),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_models_and_engines),
		cmocka_unit_test(test_add_engine),
		cmocka_unit_test(test_variables),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_key_reference),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
