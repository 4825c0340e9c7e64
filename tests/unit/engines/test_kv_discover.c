/*
 * Goal: where an engine's KV events are is read from what vLLM, busbar-engine and SGLang say, for
 * each rank; what cannot be used has a reason; and no answer leads to another host or does harm.
 */
#include "unit.h"

#include "engines/kv_discover.h"

static struct kv_sources s;

static struct sock_addr engine_at(const char *text)
{
	struct sock_addr a;
	const char *why;

	assert_int_equal(sock_addr_parse(bb_str_of(text), &a, &why), 0);
	return a;
}

static void assert_addr(const struct sock_addr *a, const char *expected)
{
	char text[SOCK_TEXT_SIZE];

	sock_addr_text(a, text);
	assert_string_equal(text, expected);
}

static int sources(const char *body, const char *engine)
{
	const struct sock_addr a = engine_at(engine);

	return kv_discover_sources(bb_str_of(body), &a, &s);
}

static int server_info(const char *body)
{
	const struct sock_addr a = engine_at("10.1.2.3:30000");

	return kv_discover_server_info(bb_str_of(body), &a, &s);
}

/* As vLLM 0.32 answered. */
static void vllm(void **state)
{
	assert_int_equal(
		sources("{\"0\":{\"enable_kv_cache_events\":true,\"publisher\":\"zmq\","
			"\"endpoint\":"
			"\"tcp://*:5557\",\"replay_endpoint\":\"tcp://"
			"*:5558\",\"buffer_steps\":10000,"
			"\"hwm\":100000,\"max_queue_size\":100000,\"topic\":\"kv@test-pod@smol\"}}",
			"10.0.0.7:8000"),
		0);
	assert_int_equal(s.count, 1);
	assert_addr(&s.items[0].live, "10.0.0.7:5557");
	assert_true(s.items[0].has_replay);
	assert_addr(&s.items[0].replay, "10.0.0.7:5558");
	assert_string_equal(s.topic, "kv@test-pod@smol");
}

static void ranks(void **state)
{
	/* Resolved, one port for each; out of order. */
	assert_int_equal(sources("{\"1\":{\"publisher\":\"zmq\",\"endpoint\":\"tcp://*:7001\"},"
				 "\"0\":{\"publisher\":\"zmq\",\"endpoint\":\"tcp://*:7000\"}}",
				 "[::1]:8000"),
			 0);
	assert_int_equal(s.count, 2);
	assert_addr(&s.items[1].live, "[::1]:7001");
	assert_false(s.items[1].has_replay);
	/* Not resolved: the rank is added. */
	assert_int_equal(
		sources("{\"0\":{\"endpoint\":\"tcp://*:70\",\"replay_endpoint\":\"tcp://*:90\"},"
			"\"1\":{\"endpoint\":\"tcp://*:70\",\"replay_endpoint\":\"tcp://*:90\"}}",
			"127.0.0.1:8000"),
		0);
	assert_int_equal(s.count, 2);
	assert_addr(&s.items[0].live, "127.0.0.1:70");
	assert_addr(&s.items[1].live, "127.0.0.1:71");
	assert_addr(&s.items[1].replay, "127.0.0.1:91");
	/* Lists, with and without a name around them. */
	assert_int_equal(sources("{\"sources\":[{\"data_parallel_rank\":1,\"endpoint\":"
				 "\"tcp://10.9.9.9:51\",\"replay_endpoint\":null,\"topic\":\"t\"},"
				 "{\"data_parallel_rank\":0,\"endpoint\":\"tcp://10.9.9.9:50\"}]}",
				 "127.0.0.1:8000"),
			 0);
	assert_int_equal(s.count, 2);
	assert_addr(&s.items[0].live, "127.0.0.1:50"); /* never elsewhere */
	assert_addr(&s.items[1].live, "127.0.0.1:51");
	assert_int_equal(sources("[{\"endpoint\":\"tcp://[::]:50\"}]", "127.0.0.1:8000"), 0);
	assert_int_equal(s.count, 1);
	/* A hole. */
	assert_int_equal(sources("{\"1\":{\"endpoint\":\"tcp://*:50\"}}", "127.0.0.1:8000"), 0);
	assert_int_equal(s.count, 0);
	assert_non_null(strstr(s.why, "not all"));
}

static void unix_engine(void **state)
{
	assert_int_equal(sources("{\"0\":{\"endpoint\":\"tcp://*:5557\"}}", "unix:/run/e.sock"), 0);
	assert_addr(&s.items[0].live, "127.0.0.1:5557");
}

static void no_events(void **state)
{
	static const struct {
		const char *body, *why;
	} cases[] = {
		{ "{}", "publishes no KV events" },
		{ "[]", "publishes no KV events" },
		{ "{\"sources\":[]}", "publishes no KV events" },
		{ "{\"0\":{\"publisher\":\"null\",\"endpoint\":\"tcp://*:1\"}}", "go nowhere" },
		{ "{\"0\":{\"publisher\":null,\"endpoint\":\"tcp://*:1\"}}", "go nowhere" },
		{ "{\"0\":{\"enable_kv_cache_events\":false,\"endpoint\":\"tcp://*:1\"}}", "off" },
		{ "{\"0\":{\"publisher\":\"zmq\"}}", "tcp://HOST:PORT" },
		{ "{\"0\":{\"endpoint\":\"inproc://x\"}}", "tcp://HOST:PORT" },
		{ "{\"0\":{\"endpoint\":\"tcp://*:0\"}}", "tcp://HOST:PORT" },
		{ "{\"0\":{\"endpoint\":\"tcp://*:65536\"}}", "tcp://HOST:PORT" },
		{ "{\"0\":{\"endpoint\":\"tcp://*\"}}", "tcp://HOST:PORT" },
		{ "{\"0\":{\"endpoint\":\"tcp://:5\"}}", "tcp://HOST:PORT" },
		{ "{\"0\":{\"endpoint\":\"tcp://*:5\",\"topic\":7}}", "topic" },
		{ "{\"0\":{\"endpoint\":\"tcp://*:5\",\"topic\":\"a\\u0000b\"}}", "topic" },
		{ "{\"64\":{\"endpoint\":\"tcp://*:5\"}}", "more than" },
		{ "{\"0\":{\"endpoint\":\"tcp://*:65535\"},\"1\":{\"endpoint\":\"tcp://*:65535\"}}",
		  "not all" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		assert_int_equal(sources(cases[i].body, "127.0.0.1:1"), 0);
		assert_int_equal(s.count, 0);
		if (!strstr(s.why, cases[i].why))
			fail_msg("%s: %s", cases[i].body, s.why);
	}
	assert_int_equal(sources("", "127.0.0.1:1"), -BB_ESYNTAX);
	assert_int_equal(sources("7", "127.0.0.1:1"), -BB_ESYNTAX);
	assert_int_equal(sources("{\"0\":", "127.0.0.1:1"), -BB_ESYNTAX);
}

#define SGLANG_EVENTS                                                                              \
	"{\"version\":\"0.5.23\",\"kv_events\":{\"publisher\":\"zmq\",\"endpoint_host\":\"*\","    \
	"\"endpoint_port_base\":5557,\"topic\":\"kv\",\"block_size\":64,\"dp_size\":2,"            \
	"\"load_endpoint_port_base\":6000,\"load_topic\":\"load\","                                \
	"\"replay_endpoint_port_base\":7000}}"

static void sglang(void **state)
{
	assert_int_equal(server_info(SGLANG_EVENTS), 0);
	assert_int_equal(s.count, 2);
	assert_int_equal(s.block_tokens, 64);
	assert_addr(&s.items[0].live, "10.1.2.3:5557");
	assert_addr(&s.items[1].live, "10.1.2.3:5558");
	assert_addr(&s.items[1].replay, "10.1.2.3:7001");
	assert_int_equal(s.load_count, 2);
	assert_addr(&s.load[1], "10.1.2.3:6001");
	assert_string_equal(s.topic, "kv");
	assert_string_equal(s.load_topic, "load");
	/* Load without events. */
	assert_int_equal(server_info("{\"kv_events\":{\"publisher\":\"null\",\"dp_size\":1,"
				     "\"load_endpoint_port_base\":6000,\"load_topic\":\"load\"}}"),
			 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(s.load_count, 1);
	assert_int_equal(server_info("{}"), 0);
	assert_int_equal(s.count + s.load_count, 0);
	assert_int_equal(server_info("{\"kv_events\":null}"), 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(server_info("{\"kv_events\":{\"publisher\":\"zmq\",\"dp_size\":2,"
				     "\"endpoint_port_base\":65535}}"),
			 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(server_info("{\"kv_events\":{\"publisher\":\"zmq\",\"dp_size\":65}}"), 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(server_info("[]"), -BB_ESYNTAX);
}

static void every_cut(void **state)
{
	static const char text[] = SGLANG_EVENTS;
	const struct sock_addr a = engine_at("10.1.2.3:30000");

	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_int_equal(kv_discover_server_info((struct bb_str){ text, len }, &a, &s),
				 -BB_ESYNTAX);
}

static void configured(void **state)
{
	const struct sock_addr a = engine_at("10.1.2.3:30000");
	const struct bb_str live[] = { BB_STR("tcp://*:5557"), BB_STR("tcp://10.0.0.9:5558") };
	const struct bb_str replay[] = { BB_STR("tcp://*:6557"), BB_STR("ipc:///run/r.sock") };
	struct kv_configured c = { live, replay, 2, BB_STR("kv") };

	assert_int_equal(kv_discover_configured(&c, &a, &s), 0);
	assert_int_equal(s.count, 2);
	assert_addr(&s.items[0].live, "10.1.2.3:5557");
	assert_addr(&s.items[1].live, "10.0.0.9:5558");
	assert_addr(&s.items[1].replay, "unix:/run/r.sock");
	assert_string_equal(s.topic, "kv");
	c.replay = NULL;
	assert_int_equal(kv_discover_configured(&c, &a, &s), 0);
	assert_false(s.items[0].has_replay);
	const struct bb_str wrong[] = { BB_STR("tcp://gpu7:5557"), BB_STR("tcp://*:0") };
	for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
		c = (struct kv_configured){ &wrong[i], NULL, 1, BB_STR("") };
		assert_int_equal(kv_discover_configured(&c, &a, &s), -BB_EINVALID);
		assert_int_equal(s.count, 0);
	}
	c.count = 0;
	assert_int_equal(kv_discover_configured(&c, &a, &s), -BB_EINVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vllm),	       cmocka_unit_test(ranks),
		cmocka_unit_test(unix_engine), cmocka_unit_test(no_events),
		cmocka_unit_test(sglang),      cmocka_unit_test(every_cut),
		cmocka_unit_test(configured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
