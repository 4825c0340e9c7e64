/*
 * Goal: each adapter reads the figures of its engine from what that engine really answers, kinds
 * are told apart, and no answer, however broken, does more harm than an unknown figure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "brain/brain.h"
#include "engines/adapter.h"
#include "engines/figures.h"
#include "engines/identify.h"
#include "engines/model_list.h"
#include "engines/engine_texts.h"

static char capture[1 << 17];

static struct bb_str capture_read(const char *path)
{
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	const size_t len = fread(capture, 1, sizeof(capture), f);
	fclose(f);
	return (struct bb_str){ capture, len };
}

static struct engine_figures read_metrics(enum engine_kind kind, uint32_t source,
					  struct bb_str text)
{
	struct engine_figures f = { 0 };

	assert_int_equal(adapter_find(kind)->metrics[source].read(text, &f), 0);
	return f;
}

/* ---- the table ---- */

static void test_table(void **state)
{
	enum engine_kind kind;

	for (enum engine_kind k = ENGINE_KIND_AUTO + 1; k < ENGINE_KIND_COUNT; k++) {
		const struct adapter *a = adapter_find(k);
		assert_int_equal(a->kind, k);
		assert_string_equal(a->name, engine_kind_name(k));
		assert_ptr_equal(adapter_by_name(bb_str_of(a->name)), a);
		assert_true(a->api_mask & ADAPTER_API(CHAT));
		assert_false(a->api_mask & 1);
		assert_false(a->api_mask & ~ADAPTER_API_ALL);
		for (int i = 0; i < ADAPTER_SOURCES_MAX; i++) {
			assert_true(!a->metrics[i].path.len == !a->metrics[i].read);
			assert_true(!a->info[i].path.len == !a->info[i].read);
		}
	}
	assert_null(adapter_by_name(BB_STR("auto")));
	assert_null(adapter_by_name(BB_STR("vLLM")));
	assert_true(engine_kind_parse(BB_STR("auto"), &kind) && kind == ENGINE_KIND_AUTO);
	assert_false(engine_kind_parse(BB_STR(""), &kind));
	assert_true(bb_str_eq(adapter_path(adapter_find(ENGINE_KIND_VLLM), API_TOKENIZE),
			      BB_STR("/tokenize")));
	assert_false(adapter_find(ENGINE_KIND_LLAMACPP)->stops_plain);
	assert_true(adapter_find(ENGINE_KIND_VLLM)->stops_plain);
}

/* What must never be asked, since it generates, sleeps, or takes something away. */
static void test_no_harmful_path(void **state)
{
	const struct adapter *sglang = adapter_find(ENGINE_KIND_SGLANG);
	const struct adapter *trt = adapter_find(ENGINE_KIND_TRTLLM);

	assert_int_equal(sglang->health.len, 0);
	for (int i = 0; i < ADAPTER_SOURCES_MAX; i++) {
		if (bb_str_eq(trt->metrics[i].path, BB_STR("/metrics")))
			assert_true(trt->metrics[i].drains);
		assert_int_equal(trt->info[i].path.len, 0);
	}
}

/* ---- figures ---- */

static void test_vllm_capture(void **state)
{
	const struct bb_str text =
		capture_read("tests/data/vllm-http/metrics_2running_6waiting.txt");
	const struct engine_figures f = read_metrics(ENGINE_KIND_VLLM, 0, text);

	assert_true(f.has_load);
	assert_int_equal(f.running, 2);
	assert_int_equal(f.waiting, 6);
	assert_true(f.kv_usage > 0.5128 && f.kv_usage < 0.5129);
	assert_int_equal(f.kv_tokens_max, 40 * 32);
	assert_int_equal(f.block_tokens, 32);
	assert_int_equal(f.dp_ranks, 1);
	assert_int_equal(f.preemptions, 0);
}

/* What only a vLLM in its developer's mode tells. */
static void test_vllm_info(void **state)
{
	const struct adapter *a = adapter_find(ENGINE_KIND_VLLM);
	struct engine_figures f = { 0 };

	assert_int_equal(
		a->info[0].read(BB_STR("{\"vllm_config\":{\"scheduler_config\":{\"max_num_batched_tokens\":"
				       "8192,\"max_num_seqs\":128},\"cache_config\":{\"block_size\":32},"
				       "\"parallel_config\":{\"data_parallel_size\":2},\"lora_config\":"
				       "{\"max_loras\":4}},\"vllm_env\":{}}"),
				&f),
		0);
	assert_int_equal(f.step_tokens, 8192);
	assert_int_equal(f.sequences_max, 128);
	assert_int_equal(f.block_tokens, 32);
	assert_int_equal(f.dp_ranks, 2);
	assert_int_equal(f.adapters_max, 4);
	assert_int_equal(a->info[0].read(BB_STR("{\"vllm_config\":\"VllmConfig(...)\"}"), &f),
			 -BB_ESYNTAX);
	assert_int_equal(a->info[0].read(BB_STR("{\"vllm_config\":{\"lora_config\":null}}"), &f), 0);
	assert_true(a->tells_load);
	assert_false(adapter_find(ENGINE_KIND_SGLANG)->tells_load);
}

static void test_vllm_ranks_and_versions(void **state)
{
	const struct engine_figures f =
		read_metrics(ENGINE_KIND_BUSBAR, 0,
			     BB_STR("vllm:num_requests_running{engine=\"0\"} 2.0\n"
				    "vllm:num_requests_running{engine=\"1\"} 3.0\n"
				    "vllm:num_requests_waiting{engine=\"0\"} NaN\n"
				    "vllm:num_requests_waiting{engine=\"1\"} 1.0\n"
				    "vllm:gpu_cache_usage_perc{engine=\"0\"} 0.5\n"
				    "vllm:gpu_cache_usage_perc{engine=\"1\"} 1.0\n"
				    "vllm:cache_config_info{block_size=\"16\",engine=\"0\",num_gpu_"
				    "blocks=\"100\"} 1.0\n"
				    "vllm:cache_config_info{block_size=\"16\",engine=\"1\",num_gpu_"
				    "blocks=\"200\","
				    "kv_cache_size_tokens=\"3000\"} 1.0\n"
				    "vllm:cache_config_info{block_size=\"16\",engine=\"2\",num_gpu_"
				    "blocks=\"None\"} 1\n"));

	assert_int_equal(f.running, 5);
	assert_int_equal(f.waiting, 1);
	assert_true(f.kv_usage == 0.75);
	assert_int_equal(f.kv_tokens_max, 1600 + 3000);
	assert_int_equal(f.dp_ranks, 3);
	assert_int_equal(f.block_tokens, 16);
}

static void test_vllm_preemptions_and_adapters(void **state)
{
	const struct engine_figures f = read_metrics(
		ENGINE_KIND_VLLM, 0,
		BB_STR("vllm:num_requests_running 1\nvllm:num_preemptions_total{engine=\"0\"} 3\n"
		       "vllm:num_preemptions_total{engine=\"1\"} 4\n"
		       "vllm:lora_requests_info{max_lora=\"2\",running_lora_adapters=\"\"} 1\n"));

	assert_int_equal(f.preemptions, 7);
	assert_int_equal(f.adapters_max, 2);
}

static void test_sglang(void **state)
{
	const struct adapter *a = adapter_find(ENGINE_KIND_SGLANG);
	struct engine_figures f = { 0 };

	assert_int_equal(a->info[0].read(BB_STR(SGLANG_INFO), &f), 0);
	assert_int_equal(f.kv_tokens_max, 200000);
	assert_int_equal(f.sequences_max, 256);
	assert_int_equal(f.dp_ranks, 2);
	assert_int_equal(f.context_tokens, 0);
	assert_int_equal(a->metrics[0].read(BB_STR(SGLANG_METRICS), &f), 0);
	assert_int_equal(f.running, 7); /* the second tensor-parallel rank says the same again */
	assert_int_equal(f.waiting, 1);
	assert_true(f.kv_usage == 0.375);
	assert_int_equal(f.kv_tokens_max, 200000);
	/* An older one: the capacity stands in the scheduler's state only. */
	f = (struct engine_figures){ 0 };
	assert_int_equal(a->info[1].read(BB_STR("{\"max_running_requests\":48,\"context_length\":"
						"8192,\"internal_states\":[{\"memory_usage\":"
						"{\"token_capacity\":20480}}]}"),
					 &f),
			 0);
	assert_int_equal(f.kv_tokens_max, 20480);
	assert_int_equal(f.step_tokens, 0);
	assert_int_equal(a->info[1].read(BB_STR("{\"max_total_num_tokens\":9,\"page_size\":64,"
						"\"chunked_prefill_size\":-1,\"max_prefill_tokens\":"
						"16384,\"max_loras_per_batch\":8}"),
					 &f),
			 0);
	assert_int_equal(f.step_tokens, 16384);
	assert_int_equal(f.block_tokens, 64);
	assert_int_equal(f.adapters_max, 8);
	assert_int_equal(a->info[1].read(BB_STR("{\"max_running_requests\":48,\"context_length\":"
						"8192,\"chunked_prefill_size\":2048,"
						"\"internal_states\":[{\"memory_usage\":"
						"{\"token_capacity\":20480}}]}"),
					 &f),
			 0);
	assert_int_equal(f.step_tokens, 2048);
	assert_int_equal(f.sequences_max, 48);
	assert_int_equal(f.context_tokens, 8192);
	assert_int_equal(a->info[0].read(BB_STR("{\"disaggregated_params\":{}}"), &f), -BB_ESYNTAX);
}

static void test_llamacpp(void **state)
{
	const struct adapter *a = adapter_find(ENGINE_KIND_LLAMACPP);
	struct engine_figures f = { 0 };

	assert_int_equal(a->info[0].read(BB_STR(LLAMACPP_PROPS), &f), 0);
	assert_int_equal(f.sequences_max, 4);
	assert_int_equal(f.context_tokens, 2048);
	assert_int_equal(f.kv_tokens_max, 4 * 2048);
	f = read_metrics(ENGINE_KIND_LLAMACPP, 0, BB_STR(LLAMACPP_METRICS));
	assert_int_equal(f.running, 3);
	assert_int_equal(f.waiting, 2);
	f = read_metrics(ENGINE_KIND_LLAMACPP, 1, BB_STR(LLAMACPP_SLOTS));
	assert_true(f.has_load);
	assert_int_equal(f.running, 2);
	assert_true(f.kv_usage == 0.25);
	assert_int_equal(a->metrics[1].read(BB_STR(LLAMACPP_LOADING), &f), -BB_ESYNTAX);
	assert_int_equal(a->metrics[1].read(BB_STR("[]"), &f), -BB_ESYNTAX);
	assert_int_equal(a->metrics[1].read(BB_STR("[{\"is_processing\":true},"), &f), -BB_ESYNTAX);
}

static void test_trtllm(void **state)
{
	const struct adapter *a = adapter_find(ENGINE_KIND_TRTLLM);
	struct engine_figures f = { 0 };

	/* Empty from the start: the statistics are off, and that says nothing about the load. */
	assert_int_equal(a->metrics[1].read(BB_STR("[]"), &f), 0);
	assert_false(f.has_load);
	assert_int_equal(a->metrics[1].read(BB_STR(TRTLLM_METRICS), &f), 0);
	assert_true(f.has_load);
	assert_int_equal(f.running, 5);
	assert_int_equal(f.waiting, 2);
	assert_int_equal(f.sequences_max, 256);
	assert_int_equal(f.kv_tokens_max, 32000);
	assert_true(f.kv_usage == 0.25);
	/* Empty after records: nothing ran since. */
	f.has_load = false;
	assert_int_equal(a->metrics[1].read(BB_STR(" [ ] "), &f), 0);
	assert_true(f.has_load);
	assert_int_equal(f.running, 0);
	assert_int_equal(f.kv_tokens_max, 32000);
	f = read_metrics(ENGINE_KIND_TRTLLM, 0, BB_STR(TRTLLM_PROMETHEUS));
	assert_int_equal(f.running, 5);
	assert_int_equal(f.kv_tokens_max, 32000);
	assert_int_equal(a->metrics[1].read(BB_STR(TRTLLM_PROMETHEUS), &f), -BB_ESYNTAX);
	assert_int_equal(a->metrics[1].read(BB_STR("[{\"iter\":1}]"), &f), -BB_ESYNTAX);
	assert_int_equal(a->metrics[1].read(BB_STR("[{\"numActiveRequests\":1}"), &f), -BB_ESYNTAX);
}

static void test_other_servers(void **state)
{
	struct engine_figures f = read_metrics(
		ENGINE_KIND_OPENAI, 0, BB_STR("tgi_queue_size 3\ntgi_batch_current_size 8\n"));

	assert_int_equal(f.running, 8);
	assert_int_equal(f.waiting, 3);
	f = read_metrics(ENGINE_KIND_OPENAI, 0,
			 BB_STR("lmdeploy:num_requests_running{model_name=\"m\",engine=\"0\"} 1\n"
				"lmdeploy:gpu_cache_usage_perc{engine=\"0\"} 0.5\n"));
	assert_int_equal(f.running, 1);
	assert_true(f.kv_usage == 0.5);
}

static void test_absurd_numbers(void **state)
{
	const struct adapter *a = adapter_find(ENGINE_KIND_SGLANG);
	struct engine_figures f = read_metrics(
		ENGINE_KIND_VLLM, 0,
		BB_STR("vllm:num_requests_running 1e300\nvllm:num_requests_waiting -5\n"
		       "vllm:kv_cache_usage_perc 1e9\n"
		       "vllm:cache_config_info{num_gpu_blocks=\"99999999999999\","
		       "block_size=\"99999999999999\"} 1\n"));

	assert_int_equal(f.running, UINT32_MAX);
	assert_int_equal(f.waiting, 0);
	assert_true(f.kv_usage == 1);
	assert_int_equal(f.kv_tokens_max, 0);
	f = (struct engine_figures){ 0 };
	assert_int_equal(a->info[0].read(BB_STR("{\"max_total_num_tokens\":18446744073709551615,"
						"\"dp_size\":4000000000,\"max_running_requests\":"
						"18446744073709551615,\"context_length\":-1}"),
					 &f),
			 0);
	assert_int_equal(f.kv_tokens_max, 0);
	assert_int_equal(f.sequences_max, UINT32_MAX);
	assert_int_equal(f.context_tokens, 0);
	assert_true(figure_share(1, 0) == 0 && figure_share(-1, 5) == 0 && figure_share(7, 5) == 1);
}

/* ---- kinds and endpoints ---- */

static void test_identify(void **state)
{
	assert_int_equal(identify_owner(BB_STR("vllm")), ENGINE_KIND_VLLM);
	assert_int_equal(identify_owner(BB_STR("tensorrt_llm")), ENGINE_KIND_TRTLLM);
	assert_int_equal(identify_owner(BB_STR("library")), ENGINE_KIND_AUTO);
	assert_int_equal(identify_owner(BB_STR("")), ENGINE_KIND_AUTO);
	/* The gateway's models are owned by "busbar" as well. */
	assert_int_equal(identify_owner(BB_STR("busbar")), ENGINE_KIND_AUTO);
	assert_int_equal(
		identify_clue(0, 200, BB_STR("{\"version\":\"0.1\",\"engine\":\"busbar-engine\"}")),
		ENGINE_KIND_BUSBAR);
	assert_int_equal(identify_clue(0, 200, BB_STR("{\"version\":\"0.32.0\"}")),
			 ENGINE_KIND_AUTO);
	assert_int_equal(identify_clue(1, 200, BB_STR(LLAMACPP_PROPS)), ENGINE_KIND_LLAMACPP);
	assert_int_equal(identify_clue(1, 200, BB_STR("<html>")), ENGINE_KIND_AUTO);
	assert_int_equal(identify_clue(1, 404, BB_STR(LLAMACPP_PROPS)), ENGINE_KIND_AUTO);
	assert_int_equal(identify_clue(2, 200, BB_STR(SGLANG_INFO)), ENGINE_KIND_SGLANG);
	assert_int_equal(identify_clue(2, 200, BB_STR("{}")), ENGINE_KIND_AUTO);
	assert_int_equal(identify_clue(3, 200, BB_STR(TRTLLM_METRICS)), ENGINE_KIND_TRTLLM);
	assert_int_equal(identify_clue(3, 200, BB_STR("[]\n")), ENGINE_KIND_TRTLLM);
	assert_int_equal(identify_clue(3, 200, BB_STR(SGLANG_METRICS)), ENGINE_KIND_SGLANG);
	assert_int_equal(identify_clue(3, 200, BB_STR(LLAMACPP_METRICS)), ENGINE_KIND_LLAMACPP);
	assert_int_equal(
		identify_clue(3, 200,
			      capture_read("tests/data/vllm-http/metrics_2running_6waiting.txt")),
		ENGINE_KIND_VLLM);
	assert_int_equal(identify_clue(3, 200, BB_STR("go_goroutines 7\n")), ENGINE_KIND_OPENAI);
	assert_int_equal(identify_clue(3, 200, BB_STR("")), ENGINE_KIND_OPENAI);
	assert_int_equal(identify_clue(3, 0, BB_STR("")), ENGINE_KIND_OPENAI);
}

static void test_endpoints(void **state)
{
	const struct adapter *a = adapter_find(ENGINE_KIND_VLLM);
	static const struct bb_str none[] = {
		BB_STR_INIT(""),
		BB_STR_INIT("{}"),
		BB_STR_INIT("{\"paths\":[]}"),
		BB_STR_INIT("{\"paths\":{\"/v1/score\":{}"),
		BB_STR_INIT("{\"paths\":{\"/x\":1}}"),
		BB_STR_INIT("<html>"),
	};

	/* "/rerank" is another path than the one that requests are sent to. */
	assert_int_equal(identify_endpoints(a, BB_STR(VLLM_OPENAPI)),
			 ADAPTER_API(TOKENIZE) | ADAPTER_API(CHAT) | ADAPTER_API(COMPLETIONS) |
				 ADAPTER_API(RESPONSES));
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(identify_endpoints(a, none[i]), 0);
}

/* ---- the list of models ---- */

static void test_models_capture(void **state)
{
	const struct bb_str text = capture_read("tests/data/vllm-http/http_models.txt");
	const ptrdiff_t at = bb_str_find(text, BB_STR("{\"object\""));
	struct model_list l;

	assert_true(at > 0);
	model_list_init(&l);
	assert_int_equal(model_list_read(&l, bb_str_skip(text, (size_t)at)), 1);
	assert_int_equal(l.count, 1);
	assert_true(bb_str_eq(model_list_name(&l, 0), BB_STR("smol")));
	assert_int_equal(l.items[0].context_tokens, 512);
	assert_string_equal(l.owner, "vllm");
	assert_int_equal(model_list_read(&l, bb_str_skip(text, (size_t)at)), 0);
	assert_int_equal(model_list_read(&l, BB_STR(LLAMACPP_MODELS)), 1);
	assert_string_equal(l.owner, "llamacpp");
	assert_int_equal(l.items[0].context_tokens, 0);
	assert_int_equal(l.items[0].trained_tokens, 32768);
	/* What cannot be read changes nothing. */
	assert_int_equal(model_list_read(&l, BB_STR("{\"data\":[")), -BB_ESYNTAX);
	assert_int_equal(model_list_read(&l, BB_STR("{\"data\":{}}")), -BB_ESYNTAX);
	assert_int_equal(model_list_read(&l, BB_STR("{\"models\":[]}")), -BB_ESYNTAX);
	assert_int_equal(model_list_read(&l, BB_STR("")), -BB_ESYNTAX);
	assert_true(bb_str_eq(model_list_name(&l, 0), BB_STR("tiny.gguf")));
	assert_int_equal(
		model_list_read(&l, BB_STR("{\"data\":[{\"id\":\"base\",\"parent\":null},{\"id\":\"lora\","
					   "\"parent\":\"base\"},{\"id\":\"self\",\"parent\":\"self\"},"
					   "{\"id\":\"odd\",\"parent\":7}]}")),
		1);
	assert_int_equal(l.count, 4);
	assert_false(l.items[0].is_adapter);
	assert_true(l.items[1].is_adapter);
	assert_false(l.items[2].is_adapter);
	assert_false(l.items[3].is_adapter);
	assert_int_equal(model_list_read(&l, BB_STR("{\"data\":[]}")), 1);
	assert_int_equal(l.count, 0);
	assert_int_equal(model_list_read(&l, BB_STR("{\"data\":[]}")), 0);
	model_list_fini(&l);
}

static void test_odd_models_are_left_out(void **state)
{
	struct model_list l;
	struct bb_buf b;

	bb_buf_init(&b, 1 << 20);
	bb_buf_lit(
		&b,
		"{\"data\":[{},{\"id\":7},{\"id\":\"\"},{\"id\":\"a\\nb\"},{\"id\":\"a\\u0000\"},"
		"{\"id\":\"a\\u007f\"},3,null,{\"id\":\"caf\\u00e9\",\"max_model_len\":1e30},"
		"{\"id\":\"");
	for (int i = 0; i < 256; i++)
		bb_buf_lit(&b, "\\u0061"); /* 256 bytes: just allowed */
	bb_buf_lit(&b, "\",\"owned_by\":\"late\"},{\"id\":\"");
	for (int i = 0; i < 257; i++)
		bb_buf_lit(&b, "a");
	bb_buf_lit(&b, "\"},{\"id\":\"");
	for (int i = 0; i < 5000; i++)
		bb_buf_lit(&b, "a");
	bb_buf_lit(&b, "\"},{\"id\":\"last\",\"max_model_len\":4096}]}");
	model_list_init(&l);
	assert_int_equal(model_list_read(&l, bb_buf_str(&b)), 1);
	assert_int_equal(l.count, 3);
	assert_true(bb_str_eq(model_list_name(&l, 0), BB_STR("caf\xc3\xa9")));
	assert_int_equal(l.items[0].context_tokens, 0);
	assert_int_equal(l.items[1].name_len, 256);
	assert_true(bb_str_eq(model_list_name(&l, 2), BB_STR("last")));
	assert_int_equal(l.items[2].context_tokens, 4096);
	assert_string_equal(l.owner, ""); /* the first entry's */
	model_list_fini(&l);
	bb_buf_fini(&b);
}

static void test_too_many_models(void **state)
{
	struct model_list l;
	struct bb_buf b;

	bb_buf_init(&b, 1 << 20);
	bb_buf_lit(&b, "{\"data\":[{\"id\":\"m\"}");
	for (int i = 0; i < 2000; i++)
		bb_buf_printf(&b, ",{\"id\":\"m%d\"}", i);
	bb_buf_lit(&b, "]}");
	model_list_init(&l);
	assert_int_equal(model_list_read(&l, bb_buf_str(&b)), 1);
	assert_int_equal(l.count, MODEL_LIST_MAX);
	model_list_fini(&l);
	bb_buf_fini(&b);
}

static void test_models_without_memory(void **state)
{
	struct model_list l;
	int rc;

	model_list_init(&l);
	assert_int_equal(model_list_read(&l, BB_STR(OLLAMA_MODELS)), 1);
	for (uint64_t n = 1;; n++) {
		bb_alloc_fail_at(n, BB_FAIL_FOREVER);
		rc = model_list_read(&l, BB_STR(SGLANG_MODELS));
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (rc >= 0)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
		assert_int_equal(l.count, 2);
		assert_true(bb_str_eq(model_list_name(&l, 0), BB_STR("qwen3:4b")));
		assert_true(n < 100);
	}
	assert_int_equal(rc, 1);
	model_list_fini(&l);
}

/* ---- hostile bytes ---- */

static const struct bb_str seeds[] = {
	BB_STR_INIT(VLLM_OPENAPI),     BB_STR_INIT(LLAMACPP_MODELS), BB_STR_INIT(LLAMACPP_PROPS),
	BB_STR_INIT(LLAMACPP_SLOTS),   BB_STR_INIT(SGLANG_MODELS),   BB_STR_INIT(SGLANG_INFO),
	BB_STR_INIT(SGLANG_METRICS),   BB_STR_INIT(TRTLLM_METRICS),  BB_STR_INIT(TRTLLM_PROMETHEUS),
	BB_STR_INIT(LLAMACPP_METRICS), BB_STR_INIT(OLLAMA_MODELS),
};

static void read_by_all(struct bb_str text, struct model_list *l)
{
	for (enum engine_kind k = ENGINE_KIND_AUTO + 1; k < ENGINE_KIND_COUNT; k++) {
		const struct adapter *a = adapter_find(k);
		for (int i = 0; i < ADAPTER_SOURCES_MAX; i++) {
			struct engine_figures f = { 0 };
			if (a->info[i].read)
				(void)!a->info[i].read(text, &f);
			if (a->metrics[i].read)
				(void)!a->metrics[i].read(text, &f);
			assert_true(f.kv_usage >= 0 && f.kv_usage <= 1);
			assert_true(f.kv_tokens_max <= 1ull << 48);
		}
		assert_false(identify_endpoints(a, text) & ~ADAPTER_API_ALL);
	}
	for (uint32_t c = 0; c < IDENTIFY_CLUES; c++)
		(void)identify_clue(c, 200, text);
	if (model_list_read(l, text) > 0)
		for (uint32_t i = 0; i < l->count; i++)
			assert_in_range(model_list_name(l, i).len, 1, BRAIN_NAME_MAX);
}

/* Every truncation, and many small damages, from a block of just that size. */
static void test_damaged_answers(void **state)
{
	static const char odd[] = "{}[]\",:\\0 \n\xff\x00"
				  "e-";
	struct bb_rng rng;
	struct model_list l;

	bb_rng_seed(&rng, 1);
	model_list_init(&l);
	for (size_t s = 0; s < sizeof(seeds) / sizeof(seeds[0]); s++) {
		for (uint32_t round = 0; round < 2 * seeds[s].len; round++) {
			const size_t len = round < seeds[s].len ? round : seeds[s].len;
			char *copy = bb_alloc(len ? len : 1);
			assert_non_null(copy);
			memcpy(copy, seeds[s].p, len);
			for (uint64_t d = round < seeds[s].len ? 0 : 1 + bb_rng_below(&rng, 4); d;
			     d--)
				copy[bb_rng_below(&rng, len)] =
					odd[bb_rng_below(&rng, sizeof(odd))];
			read_by_all((struct bb_str){ copy, len }, &l);
			bb_free(copy);
		}
	}
	model_list_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_no_harmful_path),
		cmocka_unit_test(test_vllm_capture),
		cmocka_unit_test(test_vllm_info),
		cmocka_unit_test(test_vllm_preemptions_and_adapters),
		cmocka_unit_test(test_vllm_ranks_and_versions),
		cmocka_unit_test(test_sglang),
		cmocka_unit_test(test_llamacpp),
		cmocka_unit_test(test_trtllm),
		cmocka_unit_test(test_other_servers),
		cmocka_unit_test(test_absurd_numbers),
		cmocka_unit_test(test_identify),
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_models_capture),
		cmocka_unit_test(test_odd_models_are_left_out),
		cmocka_unit_test(test_too_many_models),
		cmocka_unit_test(test_models_without_memory),
		cmocka_unit_test(test_damaged_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
