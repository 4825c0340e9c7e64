/*
 * Goal: every kind of mistake in a configuration is reported with its place and a sentence that
 * helps, all of them at once, and nothing else is reported.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "wire/config.h"

static const char *variable(void *ctx, const char *name)
{
	if (strcmp(name, "BREAK") == 0)
		return "a\nmodels: {}";
	return strcmp(name, "BYTES") == 0 ? "\xff" : NULL;
}

static const struct config_env env = { .get = variable };

/* What is reported for a text that must be wrong. */
static void report(struct bb_str text, struct bb_buf *out)
{
	struct config_errors errors;
	struct config *c = NULL;

	config_errors_init(&errors);
	bb_buf_init(out, 1u << 20);
	assert_int_equal(config_parse(text, "f", &env, &c, &errors), -BB_EINVALID);
	assert_null(c);
	config_errors_print(&errors, "f", out);
	bb_buf_add(out, "", 1);
	assert_int_equal(out->err, 0);
	config_errors_fini(&errors);
}

struct mistake {
	const char *text;
	const char *report; /* whole */
};

static const struct mistake mistakes[] = {
	/* keys */
	{ "upstream: {retires: 1}", "f:1:12: error: unknown key 'retires' in 'upstream' (did you "
				    "mean 'retries'?)\n" },
	{ "thread: 1", "f:1:1: error: unknown key 'thread' (did you mean 'threads'?)\n" },
	{ "head_size: 1", "f:1:1: error: unknown key 'head_size' (did you mean "
			  "'limits.head_size'?)\n" },
	{ "limits: {head-size: 1}",
	  "f:1:10: error: unknown key 'head-size' in 'limits' (did you mean 'head_size'?)\n" },
	{ "limits.head_size: 1KiB",
	  "f:1:1: error: unknown key 'limits.head_size' (did you mean 'limits'?)\n" },
	{ "zzzzzz: 1", "f:1:1: error: unknown key 'zzzzzz'\n" },
	{ "threads: 1\nthreads: 2", "f:2:1: error: key 'threads' is given twice (first in line "
				    "1)\n" },
	{ "models: {m: {engines: [http://a], objectives: {tft: 1s}}}",
	  "f:1:48: error: unknown key 'tft' in 'models.m.objectives' (did you mean 'ttft'?)\n" },
	/* kinds of values */
	{ "threads:", "f:1:9: error: threads: expects a value, not nothing\n" },
	{ "threads: [1]", "f:1:10: error: threads: expects a value, not a list\n" },
	{ "limits: 3", "f:1:9: error: limits: expects a map, not a value\n" },
	{ "models: [a]", "f:1:9: error: models: expects a map, not a list\n" },
	{ "engines: {a: b}", "f:1:10: error: engines: expects a list, not a map\n" },
	{ "engines: [[a]]", "f:1:11: error: engines[0]: expects a URL or a map, not a list\n" },
	{ "listen: {a: b}",
	  "f:1:9: error: listen: expects a text or a list of texts, not a map\n" },
	{ "listen: [[a]]", "f:1:10: error: listen: expects texts, not a list\n" },
	{ "listen: []", "f:1:9: error: listen: 0 entries, where 1 to 16 are allowed\n" },
	{ "tenants: {t: {keys: [[a]]}}",
	  "f:1:22: error: tenants.t.keys: expects texts, not a list\n" },
	{ "tls: {cert: c, key: k, sni: [3]}",
	  "f:1:30: error: tls.sni[0]: expects a map, not a value\n" },
	{ "- a", "f:1:1: error: a configuration is a map, not a list\n" },
	{ "models: {m: 3}", "f:1:10: error: model 'm' has no engine: list URLs under 'engines', or "
			    "the model in an engine's 'models'\n"
			    "f:1:13: error: models.m: expects a map, not a value\n" },
	/* values */
	{ "threads: 65", "f:1:10: error: threads: 65 is outside of 0 to 64\n" },
	{ "threads: -1", "f:1:10: error: threads: '-1' is not a number\n" },
	{ "threads: 4294967297", "f:1:10: error: threads: 4294967297 is outside of 0 to 64\n" },
	{ "seed: 18446744073709551616",
	  "f:1:7: error: seed: '18446744073709551616' is too large\n" },
	{ "shutdown: {grace: 30}", "f:1:19: error: shutdown.grace: '30' is not a duration like "
				   "250ms, 30s, 10m, 2h or 1d (did you mean '30s'?)\n" },
	{ "probe: {interval: 0}", "f:1:19: error: probe.interval: 0 is outside of 50ms to 1h\n" },
	{ "upstream: {keepalive_comment: 1ms}", "f:1:31: error: upstream.keepalive_comment: 1ms is "
						"outside of 100ms to 1h and is not 0\n" },
	{ "limits: {head_size: 1XB}", "f:1:21: error: limits.head_size: '1XB' is not a size like "
				      "65536, 32KiB, 16MiB or 1GiB\n" },
	{ "log: {level: wran}", "f:1:14: error: log.level: 'wran' is none of error, warn, info, "
				"debug (did you mean 'warn'?)\n" },
	{ "policy: least_token", "f:1:9: error: policy: unknown policy 'least_token' (did you mean "
				 "'least_tokens'?)\n" },
	{ "shadow: [random, least_token]",
	  "f:1:18: error: shadow: unknown policy 'least_token' (did you mean 'least_tokens'?)\n" },
	{ "shadow: zzz", "f:1:9: error: shadow: unknown policy 'zzz'\n" },
	{ "shadow: [a, b, c, d, e]",
	  "f:1:9: error: shadow: 5 entries, where 0 to 4 are allowed\n" },
	{ "shadow: [[random]]", "f:1:10: error: shadow: expects texts, not a list\n" },
	{ "policy: zzz", "f:1:9: error: policy: unknown policy 'zzz'\n" },
	{ "listen: 1.2.3:80", "f:1:9: error: listen: '1.2.3:80': an address is HOST:PORT with a "
			      "numeric HOST, [::1]:PORT, :PORT or unix:PATH\n" },
	{ "admin: ''", "f:1:8: error: admin: '': an address is HOST:PORT with a numeric HOST, "
		       "[::1]:PORT, :PORT or unix:PATH\n" },
	{ "engines: [ftp://a]",
	  "f:1:11: error: engines[0].url: 'ftp://a': an engine is http://HOST:PORT or "
	  "https://HOST:PORT, with a /base if it has one, or unix:PATH\n" },
	{ "engines: [{url: http://a, tls: {verify: false}}]",
	  "f:1:11: error: engine 'http://a' has 'tls' and no https:// URL\n" },
	{ "engines: [{url: https://a, tls: {cert: c.pem}}]",
	  "f:1:11: error: tls: 'cert' and 'key' belong together\n" },
	{ "engines: [{url: http://a, kv_events: sometimes}]",
	  "f:1:38: error: engines[0].kv_events: 'sometimes': auto, off, poll, or endpoints "
	  "tcp://HOST:PORT with a numeric HOST, localhost or * (the engine's own)\n" },
	{ "engines: [{url: http://a, kv_events: [off, 'tcp://*:1']}]",
	  "f:1:11: error: engine 'http://a': kv_events: auto, off and poll stand alone\n" },
	{ "engines: [{url: http://a, kv_events: ['tcp://*:1', auto]}]",
	  "f:1:11: error: engine 'http://a': kv_events: auto, off and poll stand alone\n" },
	{ "engines: [{url: http://a, kv_events: poll}]",
	  "f:1:11: error: engine 'http://a': kv_events: poll is for engines of the kind trtllm: say "
	  "'kind: trtllm'\n" },
	{ "engines: [{url: http://a, kv_topic: t}]",
	  "f:1:11: error: engine 'http://a': kv_replay and kv_topic need endpoints in kv_events\n" },
	{ "engines: [{url: http://a, kv_events: 'tcp://*:1', kv_replay: ['tcp://*:2', 'tcp://*:3']}]",
	  "f:1:11: error: engine 'http://a': kv_replay needs as many endpoints as kv_events\n" },
	{ "engines: [{url: http://a, kv_events: 'tcp://gpu7:1'}]",
	  "f:1:38: error: engines[0].kv_events: 'tcp://gpu7:1': auto, off, poll, or endpoints "
	  "tcp://HOST:PORT with a numeric HOST, localhost or * (the engine's own)\n" },
	{ "tls: {cert: c.pem}", "f:1:1: error: tls: 'cert' and 'key' belong together\n" },
	{ "admin_tls: {client_ca: c.pem}",
	  "f:1:1: error: admin_tls: needs 'cert' and 'key', or there is no TLS\n" },
	{ "tls: {cert: c, key: k, sni: [{cert: c, kee: k}]}",
	  "f:1:30: error: tls.sni[0]: needs 'names'\n"
	  "f:1:30: error: tls.sni[0]: needs 'key'\n"
	  "f:1:40: error: unknown key 'kee' in 'tls.sni[0]' (did you mean 'key'?)\n" },
	{ "auth: {jwt: {issuer: i}}", "f:1:8: error: auth.jwt: needs 'jwks'\n" },
	{ "auth: {jwt: {jwks: k, algorithms: [HS256]}}",
	  "f:1:36: error: auth.jwt.algorithms: 'HS256': an algorithm is RS256, ES256 or EdDSA\n" },
	{ "tenants: {'a b': {}}",
	  "f:1:11: error: tenants: 'a b': a tenant's name has 1 to 64 letters, digits and . _ @ -\n" },
	{ "tenants: {a: {key: short secret}}",
	  "f:1:20: error: tenants.a.key: a key has no blanks and no letters beyond ASCII\n" },
	{ "tenants: {a: {key: secret-of-15-ch}}",
	  "f:1:20: error: tenants.a.key: a key that is written in clear has 16 to 4096 characters; "
	  "better make one by `busbar keys create` and write its hash\n" },
	{ "tenants: {a: {key: bbh1:short:00}}",
	  "f:1:20: error: tenants.a.key: a stored key is bbh1:ID:DIGEST as `busbar keys create` "
	  "prints it\n" },
	{ "tenants: {a: {keys: [0123456789abcdef, 0123456789abcdef]}}",
	  "f:1:40: error: this key is given twice (first of tenant 'a')\n" },
	{ "tenants: {a: {expires: tomorrow}}",
	  "f:1:24: error: tenants.a.expires: 'tomorrow' is not a date like 2026-12-31 or "
	  "2026-12-31T18:00:00Z\n" },
	{ "tenants: {a: {budget: 5}}",
	  "f:1:23: error: tenants.a.budget: '5': a budget is like '2000000 tokens/month' or "
	  "'500 EUR/month'\n" },
	{ "tenants: {a: {limits: {request_per_minute: 5}}}",
	  "f:1:24: error: unknown key 'request_per_minute' in 'tenants.a.limits' (did you mean "
	  "'requests_per_minute'?)\n" },
	{ "engines: [{kind: vllm}]", "f:1:11: error: engines[0]: needs 'url'\n" },
	{ "engines: [{url: http://a, api_key: 'top secret'}]",
	  "f:1:36: error: engines[0].api_key: a key has no blanks and no letters beyond ASCII\n" },
	{ "models: {'a b': {engines: http://a}}",
	  "f:1:10: error: models: 'a b': a model's name "
	  "has 1 to 256 letters, digits and . _ : / @ -\n" },
	/* variables */
	{ "seed: ${NONE}", "f:1:7: error: NONE: the environment variable is not set; "
			   "${NAME:-default} gives it a default\n" },
	{ "seed: $NONE", "f:1:7: error: a '$' alone has no meaning; write '$$' for a dollar, "
			 "${NAME} for a variable\n" },
	{ "seed: ${1A}", "f:1:7: error: a variable is ${NAME} or ${NAME:-default}, with letters, "
			 "digits and '_'\n" },
	{ "seed: ${A:-${B}}", "f:1:7: error: A: a default cannot hold another variable\n" },
	{ "policy: ${BREAK}", "f:1:9: error: BREAK: a value is UTF-8 text without line breaks and "
			      "control characters\n" },
	{ "policy: ${BYTES}", "f:1:9: error: BYTES: a value is UTF-8 text without line breaks and "
			      "control characters\n" },
	/* parts that do not fit together */
	{ "models: {m: {aliases: x}}", "f:1:10: error: model 'm' has no engine: list URLs under "
				       "'engines', or the model in an engine's 'models'\n" },
	{ "models:\n  a: {engines: http://a, aliases: [x, x]}\n",
	  "f:2:39: error: alias 'x' is given twice (first at f:2:36)\n" },
	{ "models:\n  a: {engines: http://a, aliases: b}\n  b: {engines: http://b}\n",
	  "f:2:35: error: alias 'b' is the name of a model (at f:3:3)\n" },
	{ "models: {a: {engines: http://a, aliases: b}}\nengines: [{url: http://b, models: b}]",
	  "f:2:35: error: 'b' is an alias of the model 'a'; name the model\n" },
	{ "engines: [http://a, http://A:80/]",
	  "f:1:21: error: engine 'http://a' is listed twice (first at f:1:11)\n" },
	{ "limits: {body_size: 4MiB, answer_size: 1MiB, buffers: 2MiB}",
	  "f:1:21: error: limits.body_size is larger than limits.buffers, which holds it\n" },
	{ "limits: {buffers: 20MiB}",
	  "f:1:19: error: limits.body_size is larger than limits.buffers, which holds it\n" },
	{ "listen: :80\nadmin: :80\n", "f:2:8: error: ':80' is both 'listen' and 'admin'\n" },
	{ "listen: [':80', ':80']", "f:1:17: error: ':80' is listed twice (first at f:1:10)\n" },
};

static void test_mistakes(void **state)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct bb_buf out;
		report(bb_str_of(mistakes[i].text), &out);
		assert_string_equal(out.p, mistakes[i].report);
		bb_buf_fini(&out);
	}
}

/* All at once, in the order of the file, whatever found them. */
static void test_all_at_once(void **state)
{
	struct bb_buf out;

	report(BB_STR("models:\n  a: {engines: [ftp://a, http://b], alias: x}\n"
		      "threads: ${NONE}\nthreads: many\nzzz: 1\n"),
	       &out);
	assert_string_equal(
		out.p,
		"f:2:17: error: models.a.engines: 'ftp://a': an engine is http://HOST:PORT or https://HOST:PORT, with a "
		"/base if it has one, or unix:PATH\n"
		"f:2:37: error: unknown key 'alias' in 'models.a' (did you mean 'aliases'?)\n"
		"f:3:10: error: NONE: the environment variable is not set; ${NAME:-default} gives "
		"it a default\n"
		"f:4:1: error: key 'threads' is given twice (first in line 3)\n"
		"f:4:10: error: threads: 'many' is not a number\n"
		"f:5:1: error: unknown key 'zzz'\n");
	bb_buf_fini(&out);
}

static void test_more_than_the_list_holds(void **state)
{
	struct bb_buf text, out;

	bb_buf_init(&text, 1u << 16);
	for (int i = 0; i < CONFIG_ERRORS_MAX + 6; i++)
		bb_buf_printf(&text, "zzz%d: 1\n", i);
	report(bb_buf_str(&text), &out);
	assert_non_null(strstr(out.p, "f:64:1: error: unknown key 'zzz63'\n"));
	assert_null(strstr(out.p, "f:65:1:"));
	assert_non_null(strstr(out.p, "f: error: 6 more mistakes are not listed\n"));
	bb_buf_fini(&text);
	bb_buf_fini(&out);
}

static void test_too_long(void **state)
{
	struct bb_buf text, out;

	bb_buf_init(&text, CONFIG_TEXT_MAX + 1);
	while (text.len <= CONFIG_TEXT_MAX)
		bb_buf_lit(&text, "\n");
	report(bb_buf_str(&text), &out);
	assert_string_equal(out.p, "f: error: larger than 1 MiB\n");
	bb_buf_fini(&text);
	bb_buf_fini(&out);
}

/* Lists have an end, which is told where the list begins, and what is in it is not looked at. */
static void test_too_many(void **state)
{
	static const struct {
		const char *begin, *before, *after, *end, *report;
		unsigned count;
	} lists[] = {
		{ "models:\n", " m", ": {}\n", "", "f:2:2: error: models: more than 4096\n", 4097 },
		{ "engines: [", "e", ",", "]", "f:1:10: error: engines: more than 4096\n", 4097 },
		{ "tenants:\n", " t", ": {}\n", "", "f:2:2: error: tenants: more than 16384\n", 16385 },
		{ "tenants: {t: {keys: [", "k", ",", "]}}",
		  "f:1:21: error: tenants.t.keys: more than 1024 keys\n", 1025 },
		{ "tls: {cert: c, key: k, sni: [", "", ",", "]}",
		  "f:1:29: error: tls.sni: more than 256\n", 257 },
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct bb_buf text, out;
		bb_buf_init(&text, CONFIG_TEXT_MAX);
		bb_buf_add(&text, lists[i].begin, strlen(lists[i].begin));
		for (unsigned k = 0; k < lists[i].count; k++)
			bb_buf_printf(&text, "%s%u%s", lists[i].before, k, lists[i].after);
		bb_buf_add(&text, lists[i].end, strlen(lists[i].end));
		assert_int_equal(text.err, 0);
		report(bb_buf_str(&text), &out);
		assert_string_equal(out.p, lists[i].report);
		bb_buf_fini(&text);
		bb_buf_fini(&out);
	}
}

/* A mistake for whose text there is no memory still makes the configuration wrong. */
static void test_no_memory_for_texts(void **state)
{
	struct config_errors errors;

	config_errors_init(&errors);
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	config_errors_add(&errors, (struct config_place){ 1, 1 }, "wrong");
	assert_int_equal(errors.count, 0);
	assert_int_equal(errors.unlisted_count, 1);
	config_errors_fini(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_more_than_the_list_holds),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_no_memory_for_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
