/*
 * Goal: from an address alone the prober finds out what an engine is and what it serves, reports
 * its state as it changes, asks only for what is harmless and never twice at a time, and stays
 * sane when the engine hangs, talks nonsense, leaves, or comes back as another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "engines/prober.h"
#include "os/clock.h"
#include "engines/engine_double.h"
#include "engines/engine_texts.h"

#define INTERVAL_NS (10 * OS_MS)
#define TIMEOUT_NS (100 * OS_MS)
#define PATIENCE_NS (20 * OS_SECOND)
#define SEEN_MODELS_MAX 4

static struct loop *loop;

/* The last report, copied. */
struct seen {
	uint32_t reports, loads;
	enum engine_state state;
	uint32_t states[ENGINE_GONE + 1]; /* reports of each state */
	bool has_models, has_load;
	uint32_t model_count;
	char models[SEEN_MODELS_MAX][BRAIN_NAME_MAX + 1];
	uint64_t contexts[SEEN_MODELS_MAX];
	uint64_t api_mask, kv_tokens_max;
	uint32_t sequences_max, running, waiting;
	double kv_usage;
	const struct adapter *adapter;
};

static void on_report(void *user, const struct engine_report *r, const struct adapter *a)
{
	struct seen *s = user;

	s->reports++;
	s->states[r->state]++;
	s->state = r->state;
	s->has_models = r->has_models;
	s->model_count = r->model_count;
	for (uint32_t i = 0; i < r->model_count && i < SEEN_MODELS_MAX; i++) {
		snprintf(s->models[i], sizeof(s->models[i]), "%.*s", BB_ARG(r->models[i].name));
		s->contexts[i] = r->models[i].context_tokens;
	}
	s->api_mask = r->api_mask;
	s->kv_tokens_max = r->kv_tokens_max;
	s->sequences_max = r->sequences_max;
	s->adapter = a;
	if (!r->has_load)
		return;
	s->has_load = true;
	s->loads++;
	s->running = r->running;
	s->waiting = r->waiting;
	s->kv_usage = r->kv_usage;
}

static struct prober_config config_for(const struct sock_addr *addr, struct seen *s)
{
	*s = (struct seen){ 0 };
	return (struct prober_config){
		.loop = loop,
		.addr = *addr,
		.host = BB_STR("engine:8000"),
		.kind = ENGINE_KIND_AUTO,
		.interval_ns = INTERVAL_NS,
		.timeout_ns = TIMEOUT_NS,
		.metrics_interval_ns = INTERVAL_NS,
		.unhealthy_after = 3,
		.user = s,
		.on_report = on_report,
	};
}

static struct prober *prober_for(const struct sock_addr *addr, struct seen *s)
{
	const struct prober_config c = config_for(addr, s);
	struct prober *p = NULL;

	assert_int_equal(prober_create(&c, &p), 0);
	return p;
}

/* Turns the loop until the condition holds; a test that never gets there fails. */
#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		const uint64_t until_ns = clock_now_ns() + PATIENCE_NS;                            \
		while (!(condition)) {                                                             \
			loop_turn(loop, OS_MS);                                                    \
			if (clock_now_ns() > until_ns)                                             \
				fail_msg("never came: %s", #condition);                            \
		}                                                                                  \
	} while (0)

static void turn_for(uint64_t ns)
{
	const uint64_t end_ns = clock_now_ns() + ns;

	while (clock_now_ns() < end_ns)
		loop_turn(loop, OS_MS);
}

static int setup(void **state)
{
	return loop_create(&loop);
}

static int teardown(void **state)
{
	loop_destroy(loop);
	return 0;
}

/* ---- what each kind of engine is found to be ---- */

static char vllm_models[1024], vllm_metrics[1 << 17];

static void capture_read(const char *path, const char *from, char *out, size_t size)
{
	static char text[1 << 17];
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	const size_t len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	const char *at = strstr(text, from);
	assert_non_null(at);
	assert_true(strlen(at) < size);
	memcpy(out, at, strlen(at) + 1);
}

static const struct double_route vllm_routes[] = {
	{ "/health", 200, "" },
	{ "/version", 200, "{\"version\":\"0.32.0\"}" },
	{ "/v1/models", 200, vllm_models },
	{ "/metrics", 200, vllm_metrics },
	{ "/openapi.json", 200, VLLM_OPENAPI },
	{ NULL, 0, NULL },
};

static void captures_load(void)
{
	capture_read("tests/data/vllm-http/http_models.txt", "{\"object\"", vllm_models,
		     sizeof(vllm_models));
	capture_read("tests/data/vllm-http/metrics_2running_6waiting.txt", "#", vllm_metrics,
		     sizeof(vllm_metrics));
}

static void test_vllm(void **state)
{
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(s.loads >= 3 && double_asked(&d, "/v1/models") >= 2);
	assert_int_equal(s.state, ENGINE_READY);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_VLLM);
	assert_int_equal(s.model_count, 1);
	assert_string_equal(s.models[0], "smol");
	assert_int_equal(s.contexts[0], 512);
	assert_int_equal(s.kv_tokens_max, 1280);
	assert_int_equal(s.running, 2);
	assert_int_equal(s.waiting, 6);
	assert_true(s.kv_usage > 0.51 && s.kv_usage < 0.52);
	assert_int_equal(s.api_mask, ADAPTER_API(TOKENIZE) | ADAPTER_API(CHAT) |
					     ADAPTER_API(COMPLETIONS) | ADAPTER_API(RESPONSES));
	assert_int_equal(double_asked(&d, "/openapi.json"), 1);
	assert_in_range(double_asked(&d, "/health"), 8, 1000);
	assert_int_equal(double_asked(&d, "/props"), 0);
	assert_true(d.under_way_max <= 2); /* one in each lane */
	/* Only the readings of the load are reported again and again. */
	assert_in_range(s.reports - s.loads, 1, 3);
	prober_destroy(p);
	double_leave(&d);
}

static void test_llamacpp_while_it_loads(void **state)
{
	static const struct double_route loading[] = {
		{ "/health", 503, LLAMACPP_LOADING },
		{ "/v1/models", 503, LLAMACPP_LOADING },
		{ "/props", 503, LLAMACPP_LOADING },
		{ NULL, 0, NULL },
	};
	static const struct double_route loaded[] = {
		{ "/health", 200, "{\"status\":\"ok\"}" },
		{ "/v1/models", 200, LLAMACPP_MODELS },
		{ "/props", 200, LLAMACPP_PROPS },
		{ "/slots", 200, LLAMACPP_SLOTS },
		{ "/metrics", 501, "{\"error\":{\"code\":501}}" },
		{ NULL, 0, NULL },
	};
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, loading);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(d.asked >= 6);
	assert_int_equal(s.reports, 1);
	assert_int_equal(s.state, ENGINE_STARTING);
	assert_null(s.adapter);
	d.routes = loaded;
	UNTIL(s.loads >= 2);
	assert_int_equal(s.state, ENGINE_READY);
	assert_int_equal(s.states[ENGINE_DOWN], 0);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_LLAMACPP);
	assert_string_equal(s.models[0], "tiny.gguf");
	assert_int_equal(s.contexts[0], 2048); /* what it serves, not what it was trained with */
	assert_int_equal(s.sequences_max, 4);
	assert_int_equal(s.kv_tokens_max, 8192);
	assert_int_equal(s.running, 2);
	assert_int_equal(s.api_mask, adapter_find(ENGINE_KIND_LLAMACPP)->api_mask);
	assert_int_equal(double_asked(&d, "/metrics"), 1); /* then it is known to be off */
	assert_int_equal(double_asked(&d, "/openapi.json"), 0);
	/* A router that loads another model says 503 again: it is starting, not down. */
	d.routes = loading;
	UNTIL(s.state == ENGINE_STARTING);
	d.routes = loaded;
	UNTIL(s.state == ENGINE_READY);
	assert_int_equal(s.states[ENGINE_DOWN], 0);
	prober_destroy(p);
	double_leave(&d);
}

static void test_sglang(void **state)
{
	static const struct double_route routes[] = {
		{ "/health", 200, NULL },
		{ "/health_generate", 200, NULL },
		{ "/v1/models", 200, SGLANG_MODELS },
		{ "/server_info", 404, "" },
		{ "/get_server_info", 200, SGLANG_INFO },
		{ "/metrics", 200, SGLANG_METRICS },
		{ NULL, 0, NULL },
	};
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, routes);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(s.loads >= 3);
	assert_int_equal(s.state, ENGINE_READY);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_SGLANG);
	assert_int_equal(s.contexts[0], 40960);
	assert_int_equal(s.kv_tokens_max, 200000);
	assert_int_equal(s.sequences_max, 256);
	assert_int_equal(s.running, 7);
	assert_int_equal(s.api_mask, adapter_find(ENGINE_KIND_SGLANG)->api_mask);
	assert_int_equal(double_asked(&d, "/health"), 0);
	assert_int_equal(double_asked(&d, "/health_generate"), 0);
	prober_destroy(p);
	double_leave(&d);
}

static const struct double_route trtllm_routes[] = {
	{ "/health", 200, "" },
	{ "/version", 200, "{\"version\":\"1.2.0\"}" },
	{ "/v1/models", 200, TRTLLM_MODELS },
	{ "/metrics", 200, TRTLLM_METRICS },
	{ "/steady_clock_offset", 200, NULL },
	{ NULL, 0, NULL },
};

static void test_trtllm(void **state)
{
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, trtllm_routes);
	struct prober_config c = config_for(&d.addr, &s);
	struct prober *p = NULL;
	c.metrics_interval_ns = 5 * INTERVAL_NS;
	const uint64_t begin_ns = clock_now_ns();
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(s.loads >= 4);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_TRTLLM);
	assert_int_equal(s.running, 5);
	assert_int_equal(s.kv_tokens_max, 32000);
	assert_int_equal(s.sequences_max, 256);
	/* Reading takes the records away: never more often than it was asked for. */
	assert_true(double_asked(&d, "/metrics") <=
		    1 + (clock_now_ns() - begin_ns) / c.metrics_interval_ns);
	assert_int_equal(double_asked(&d, "/prometheus/metrics"), 1);
	assert_int_equal(double_asked(&d, "/steady_clock_offset"), 0);
	assert_int_equal(double_asked(&d, "/perf_metrics"), 0);
	assert_int_equal(double_asked(&d, "/kv_cache_events"), 0);
	assert_int_equal(double_asked(&d, "/health_generate"), 0);
	prober_destroy(p);
	double_leave(&d);
}

static void test_metrics_switched_off(void **state)
{
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, trtllm_routes);
	struct prober_config c = config_for(&d.addr, &s);
	struct prober *p = NULL;
	c.metrics_interval_ns = 0;
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(double_asked(&d, "/health") >= 10);
	assert_int_equal(s.state, ENGINE_READY);
	assert_int_equal(double_asked(&d, "/metrics"), 0);
	assert_int_equal(s.loads, 0);
	prober_destroy(p);
	double_leave(&d);
	/* Where reading takes nothing away, it is done once, for the capacity. */
	captures_load();
	double_create(&d, loop, vllm_routes);
	c = config_for(&d.addr, &s);
	c.metrics_interval_ns = 0;
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(s.kv_tokens_max == 1280 && double_asked(&d, "/health") >= 10);
	assert_int_equal(double_asked(&d, "/metrics"), 1);
	assert_int_equal(s.loads, 0);
	prober_destroy(p);
	double_leave(&d);
}

static void test_plain_openai_server(void **state)
{
	static const struct double_route routes[] = {
		{ "/v1/models", 200, OLLAMA_MODELS },
		{ "/", 200, "Ollama is running" },
		{ NULL, 0, NULL },
	};
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, routes);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(double_asked(&d, "/v1/models") >= 5);
	assert_int_equal(s.state, ENGINE_READY);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_OPENAI);
	assert_int_equal(s.model_count, 2);
	assert_string_equal(s.models[1], "llava:7b");
	assert_int_equal(s.api_mask, ADAPTER_API_ALL);
	assert_int_equal(double_asked(&d, "/props"), 1);
	assert_int_equal(double_asked(&d, "/health"), 0);
	assert_int_equal(s.reports, 1);
	prober_destroy(p);
	double_leave(&d);
}

/* A server for one model, as those for embeddings are: no list, the configuration names it. */
static void test_no_list_of_models(void **state)
{
	static const struct double_route routes[] = { { "/v1/embeddings", 200, "{}" },
						      { NULL, 0, NULL } };
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, routes);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(s.state == ENGINE_READY);
	assert_false(s.has_models);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_OPENAI);
	prober_destroy(p);
	double_leave(&d);
}

/* It listens, and lists its model, before that is loaded. */
static void test_busbar_engine(void **state)
{
	static const struct double_route loading[] = {
		{ "/v1/models", 200, BUSBAR_ENGINE_MODELS },
		{ "/version", 200, BUSBAR_ENGINE_VERSION },
		{ "/health", 503, "" },
		{ NULL, 0, NULL },
	};
	static const struct double_route loaded[] = {
		{ "/v1/models", 200, BUSBAR_ENGINE_MODELS },
		{ "/version", 200, BUSBAR_ENGINE_VERSION },
		{ "/health", 200, "" },
		{ "/metrics", 200, vllm_metrics },
		{ NULL, 0, NULL },
	};
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, loading);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(double_asked(&d, "/health") >= 4);
	assert_int_equal(s.state, ENGINE_STARTING);
	d.routes = loaded;
	UNTIL(s.has_load);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_BUSBAR);
	assert_int_equal(s.contexts[0], 8192);
	assert_int_equal(s.states[ENGINE_DOWN], 0);
	prober_destroy(p);
	double_leave(&d);
}

/* Owners that say nothing: the other marks tell. */
static void test_kind_by_other_marks(void **state)
{
	static const struct double_route llamacpp[] = { { "/v1/models", 200, OLLAMA_MODELS },
							{ "/health", 200, "" },
							{ "/props", 200, LLAMACPP_PROPS },
							{ NULL, 0, NULL } };
	static const struct double_route trtllm[] = { { "/v1/models", 200, OLLAMA_MODELS },
						      { "/health", 200, "" },
						      { "/metrics", 200, "[]" },
						      { NULL, 0, NULL } };
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, llamacpp);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(s.state == ENGINE_READY && s.sequences_max);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_LLAMACPP);
	prober_destroy(p);
	d.routes = trtllm;
	p = prober_for(&d.addr, &s);
	UNTIL(s.state == ENGINE_READY);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_TRTLLM);
	prober_destroy(p);
	double_leave(&d);
}

static void test_kind_from_the_configuration(void **state)
{
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	struct prober_config c = config_for(&d.addr, &s);
	struct prober *p = NULL;
	c.kind = ENGINE_KIND_OPENAI;
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(double_asked(&d, "/v1/models") >= 3);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_OPENAI);
	assert_int_equal(double_asked(&d, "/health"), 0);
	prober_destroy(p);
	double_leave(&d);
}

/* ---- access ---- */

static void test_base_path_and_key(void **state)
{
	static const struct double_route routes[] = { { "/team/v1/models", 200, SGLANG_MODELS },
						      { "/team/get_server_info", 200, SGLANG_INFO },
						      { NULL, 0, NULL } };
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, routes);
	d.api_key = "sk-1";
	struct prober_config c = config_for(&d.addr, &s);
	struct prober *p = NULL;
	c.base = BB_STR("/team");
	c.api_key = BB_STR("sk-1");
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(s.sequences_max == 256);
	assert_int_equal(s.state, ENGINE_READY);
	prober_destroy(p);
	/* A key that is refused: it answers, but nothing can be sent there. */
	c = config_for(&d.addr, &s);
	c.base = BB_STR("/team");
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(s.state == ENGINE_DOWN);
	assert_int_equal(s.states[ENGINE_READY], 0);
	d.api_key = NULL;
	UNTIL(s.state == ENGINE_READY);
	prober_destroy(p);
	double_leave(&d);
}

/* ---- life and death ---- */

static void test_appears_later_and_leaves(void **state)
{
	static const struct double_route other[] = {
		{ "/health", 200, "{\"status\":\"ok\"}" },
		{ "/v1/models", 200, LLAMACPP_MODELS },
		{ "/props", 200, LLAMACPP_PROPS },
		{ NULL, 0, NULL },
	};
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	double_leave(&d); /* its port is known now, and refuses */
	struct prober *p = prober_for(&d.addr, &s);
	turn_for(5 * INTERVAL_NS);
	assert_int_equal(s.reports, 1);
	assert_int_equal(s.state, ENGINE_STARTING);
	double_arrive(&d);
	UNTIL(s.state == ENGINE_READY && s.has_load);
	/* Refused connections are no matter of patience: one is enough. */
	double_leave(&d);
	UNTIL(s.state == ENGINE_DOWN);
	const uint32_t reports = s.reports;
	turn_for(5 * INTERVAL_NS);
	assert_int_equal(s.reports, reports);
	/* What returns is looked at with fresh eyes. */
	d.routes = other;
	double_arrive(&d);
	UNTIL(s.state == ENGINE_READY && s.sequences_max == 4);
	assert_int_equal(s.adapter->kind, ENGINE_KIND_LLAMACPP);
	assert_string_equal(s.models[0], "tiny.gguf");
	prober_destroy(p);
	double_leave(&d);
}

static void test_becomes_another_model(void **state)
{
	static const struct double_route other_model[] = {
		{ "/health", 200, "" },
		{ "/v1/models", 200,
		  "{\"data\":[{\"id\":\"big\",\"owned_by\":\"vllm\","
		  "\"max_model_len\":4096},{\"id\":\"big-lora\"}]}" },
		{ NULL, 0, NULL },
	};
	static const struct double_route other_kind[] = {
		{ "/health", 200, "" },
		{ "/v1/models", 200, LLAMACPP_MODELS },
		{ "/props", 200, LLAMACPP_PROPS },
		{ NULL, 0, NULL },
	};
	static const struct double_route no_health[] = {
		{ "/v1/models", 200, SGLANG_MODELS },
		{ NULL, 0, NULL },
	};
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(s.has_load);
	d.routes = other_model;
	UNTIL(s.model_count == 2);
	assert_string_equal(s.models[0], "big");
	assert_int_equal(s.contexts[0], 4096);
	assert_int_equal(s.contexts[1], 4096); /* an adapter is served as long as its base */
	d.routes = other_kind;
	UNTIL(s.adapter->kind == ENGINE_KIND_LLAMACPP && s.sequences_max == 4);
	assert_int_equal(s.contexts[0], 2048);
	d.routes = no_health; /* found out by the missing path, before the list is due */
	UNTIL(s.adapter->kind == ENGINE_KIND_SGLANG);
	assert_int_equal(s.states[ENGINE_DOWN], 0);
	assert_int_equal(s.sequences_max, 0);
	prober_destroy(p);
	double_leave(&d);
}

static void test_hangs(void **state)
{
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	d.is_hanging = true;
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(d.asked >= 4);
	assert_int_equal(s.state, ENGINE_STARTING); /* it never answered */
	assert_int_equal(s.reports, 1);
	assert_int_equal(d.under_way_max, 1);
	d.is_hanging = false;
	UNTIL(s.state == ENGINE_READY);
	const uint32_t asked = double_asked(&d, "/health") + double_asked(&d, "/v1/models");
	d.is_hanging = true;
	UNTIL(s.state == ENGINE_DOWN);
	/* Not before the third silence in a row. */
	assert_in_range(double_asked(&d, "/health") + double_asked(&d, "/v1/models"), asked + 3,
			asked + 5);
	d.is_hanging = false;
	UNTIL(s.state == ENGINE_READY);
	prober_destroy(p);
	double_leave(&d);
}

static void test_one_bad_answer_is_forgiven(void **state)
{
	static const struct double_route bad[] = { { "/health", 500, "" },
						   { "/v1/models", 500, "" },
						   { NULL, 0, NULL } };
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(s.state == ENGINE_READY);
	for (int i = 0; i < 3; i++) {
		const uint32_t asked = double_asked(&d, "/health") + double_asked(&d, "/v1/models");
		d.routes = bad;
		UNTIL(double_asked(&d, "/health") + double_asked(&d, "/v1/models") >= asked + 2);
		d.routes = vllm_routes;
		UNTIL(double_asked(&d, "/health") + double_asked(&d, "/v1/models") >= asked + 4);
	}
	assert_int_equal(s.states[ENGINE_DOWN], 0);
	d.routes = bad;
	UNTIL(s.state == ENGINE_DOWN);
	prober_destroy(p);
	double_leave(&d);
}

static void test_talks_nonsense(void **state)
{
	static const struct double_route garbage[] = {
		{ "/v1/models", 200, "<html>welcome</html>" },
		{ "/metrics", 200, "{" },
		{ NULL, 0, NULL },
	};
	static const struct double_route half[] = {
		{ "/health", 200, "what?" },
		{ "/v1/models", 200, "{\"data\":[{\"id\":\"m\",\"owned_by\":\"sglang\"}]}" },
		{ "/server_info", 200, "[[[[" },
		{ "/get_server_info", 500, "" },
		{ "/openapi.json", 200, "\"" },
		{ "/metrics", 200, "nonsense" },
		{ NULL, 0, NULL },
	};
	struct engine_double d;
	struct seen s;

	double_create(&d, loop, garbage);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(s.state == ENGINE_DOWN);
	assert_int_equal(s.states[ENGINE_READY], 0);
	d.routes = half; /* enough to be used; the rest stays unknown */
	UNTIL(s.state == ENGINE_READY && double_asked(&d, "/metrics"));
	assert_int_equal(s.kv_tokens_max, 0);
	assert_int_equal(s.loads, 0);
	assert_int_equal(s.api_mask, adapter_find(ENGINE_KIND_SGLANG)->api_mask);
	prober_destroy(p);
	double_leave(&d);
}

static void test_answers_that_are_too_large(void **state)
{
	static char big[(1 << 20) + 100];
	const struct double_route routes[] = { { "/v1/models", 200, big }, { NULL, 0, NULL } };
	struct engine_double d;
	struct seen s;

	memset(big, ' ', sizeof(big) - 1);
	memcpy(big, "{\"data\":[]", 10);
	big[sizeof(big) - 2] = '}';
	double_create(&d, loop, routes);
	struct prober *p = prober_for(&d.addr, &s);
	UNTIL(d.asked >= 5);
	assert_int_equal(s.states[ENGINE_READY], 0);
	prober_destroy(p);
	double_leave(&d);
}

/* A peer that speaks no HTTP at all. */
struct noise {
	struct loop_fd watch;
	uint32_t accepted;
};

static void noise_on_event(struct loop_fd *w, unsigned events)
{
	struct noise *n = BB_CONTAINER(w, struct noise, watch);
	struct sock_addr peer;
	int fd;
	size_t put;

	while ((fd = sock_accept(w->fd, &peer)) >= 0) {
		n->accepted++;
		(void)sock_write(fd, "\x00\xffnoise\r\n\r\n", 11, &put);
		sock_close(fd);
	}
}

static void test_no_http_at_all(void **state)
{
	struct sock_addr addr;
	struct noise n = { 0 };
	struct seen s;
	const char *why;

	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &addr, &why), 0);
	n.watch.fd = sock_listen(&addr, SOCK_EXCLUSIVE, 16, &why);
	assert_true(n.watch.fd >= 0);
	assert_int_equal(sock_local_addr(n.watch.fd, &addr), 0);
	n.watch.on_event = noise_on_event;
	assert_int_equal(loop_fd_add(loop, &n.watch), 0);
	struct prober *p = prober_for(&addr, &s);
	UNTIL(n.accepted >= 6);
	assert_int_equal(s.state, ENGINE_STARTING);
	assert_int_equal(s.reports, 1);
	prober_destroy(p);
	loop_fd_del(loop, &n.watch);
	sock_close(n.watch.fd);
}

/* ---- what the gateway does to it ---- */

static void test_kick(void **state)
{
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	struct prober_config c = config_for(&d.addr, &s);
	struct prober *p = NULL;
	c.interval_ns = 10 * OS_SECOND;
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(s.has_load);
	double_leave(&d);
	const uint64_t begin_ns = clock_now_ns();
	while (s.state != ENGINE_DOWN && clock_now_ns() < begin_ns + PATIENCE_NS) {
		prober_kick(p);
		loop_turn(loop, OS_MS);
	}
	assert_int_equal(s.state, ENGINE_DOWN);
	/* Long before the next probe was due, which is after half the interval at the earliest. */
	assert_true(clock_now_ns() - begin_ns < 4 * OS_SECOND);
	prober_destroy(p);
}

static void test_many_kicks_are_few_probes(void **state)
{
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	struct prober_config c = config_for(&d.addr, &s);
	struct prober *p = NULL;
	c.interval_ns = OS_SECOND;
	c.metrics_interval_ns = 0;
	assert_int_equal(prober_create(&c, &p), 0);
	UNTIL(s.kv_tokens_max);
	const uint32_t asked = d.asked;
	const uint64_t begin_ns = clock_now_ns();
	do {
		prober_kick(p);
		loop_turn(loop, OS_MS / 10);
	} while (clock_now_ns() < begin_ns + 500 * OS_MS);
	assert_true(d.asked > asked);
	assert_true(d.asked - asked <= 1 + (clock_now_ns() - begin_ns) / (c.interval_ns / 10));
	prober_destroy(p);
	double_leave(&d);
}

static void test_another_address(void **state)
{
	static const struct double_route routes[] = { { "/v1/models", 200, OLLAMA_MODELS },
						      { NULL, 0, NULL } };
	struct engine_double first, second;
	struct seen s;

	captures_load();
	double_create(&first, loop, vllm_routes);
	double_create(&second, loop, routes);
	struct prober *p = prober_for(&first.addr, &s);
	UNTIL(s.has_load);
	assert_int_equal(prober_set_addr(p, &second.addr), 0);
	UNTIL(s.adapter->kind == ENGINE_KIND_OPENAI);
	assert_int_equal(s.model_count, 2);
	const uint32_t asked = first.asked;
	turn_for(5 * INTERVAL_NS);
	assert_int_equal(first.asked, asked);
	/* In the middle of a probe as well. */
	second.is_hanging = true;
	turn_for(2 * INTERVAL_NS);
	assert_int_equal(prober_set_addr(p, &first.addr), 0);
	UNTIL(s.adapter->kind == ENGINE_KIND_VLLM);
	first.is_hanging = true;
	turn_for(2 * INTERVAL_NS);
	prober_destroy(p);
	double_leave(&first);
	double_leave(&second);
}

/* Whatever allocation fails: it goes on, and once there is memory it is ready. */
static void test_without_memory(void **state)
{
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	for (uint64_t n = 1; n < 60; n++) {
		const struct prober_config c = config_for(&d.addr, &s);
		struct prober *p = NULL;
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		const int rc = prober_create(&c, &p);
		if (rc) {
			assert_int_equal(rc, -BB_ENOMEM);
			bb_alloc_fail_at(0, BB_FAIL_ONCE);
			continue;
		}
		UNTIL(s.state == ENGINE_READY && s.loads >= 1);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		prober_destroy(p);
	}
	double_leave(&d);
}

/* What comes by itself is reported at once, and then less is asked for. */
static void test_load_that_comes_by_itself(void **state)
{
	struct engine_double d;
	struct seen s;

	captures_load();
	double_create(&d, loop, vllm_routes);
	struct prober *p = prober_for(&d.addr, &s);
	const struct engine_load pushed = { .has_running = true, .has_waiting = true, .has_usage = true,
					    .has_all = true, .running = 9, .waiting = 8,
					    .waiting_tokens = 700, .kv_usage = 0.125 };
	prober_load(p, &pushed); /* nobody knows it yet: nothing happens */
	assert_int_equal(s.reports, 0);
	UNTIL(s.loads >= 2);
	const uint32_t loads = s.loads;
	prober_load(p, &pushed);
	assert_int_equal(s.loads, loads + 1);
	assert_int_equal(s.running, 9);
	assert_int_equal(s.waiting, 8);
	assert_true(s.kv_usage == 0.125);
	assert_int_equal(prober_figures(p)->waiting_tokens, 700);
	const uint32_t asked = double_asked(&d, "/metrics");
	const uint64_t end_ns = clock_now_ns() + 20 * INTERVAL_NS;
	while (clock_now_ns() < end_ns) {
		prober_load(p, &pushed);
		loop_turn(loop, OS_MS);
	}
	assert_true(double_asked(&d, "/metrics") - asked <= 2);
	const struct engine_load told = { .has_waiting = true, .has_usage = true, .waiting = 1 };
	prober_load(p, &told);
	assert_int_equal(s.running, 9); /* not told: as it was */
	assert_int_equal(s.waiting, 1);
	prober_destroy(p);
	double_leave(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vllm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_load_that_comes_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_llamacpp_while_it_loads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sglang, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trtllm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metrics_switched_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busbar_engine, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_openai_server, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_list_of_models, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kind_by_other_marks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kind_from_the_configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(test_base_path_and_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_appears_later_and_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_becomes_another_model, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_bad_answer_is_forgiven, setup, teardown),
		cmocka_unit_test_setup_teardown(test_talks_nonsense, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers_that_are_too_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_http_at_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kick, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_kicks_are_few_probes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
