/*
 * engine_texts.h: what engines of each kind answer, for the tests of this room.
 *
 * vLLM's list of models and metrics are captures (tests/data/vllm-http); the others are written
 * after the engines' sources and documentation, with the members that matter and some that do not.
 */
#pragma once

#define VLLM_OPENAPI                                                                               \
	"{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"FastAPI\",\"paths\":{\"/v1/score\":{}}},"    \
	"\"paths\":{\"/health\":{\"get\":{}},\"/tokenize\":{\"post\":{\"summary\":\"{\\\"}\"}},"   \
	"\"/v1/models\":{\"get\":{}},\"/v1/chat/completions\":{\"post\":{}},"                      \
	"\"/v1/completions\":{\"post\":{}},\"/rerank\":{\"post\":{}},\"\\/v1\\/responses\":{}}}"

#define LLAMACPP_MODELS                                                                            \
	"{\"models\":[{\"name\":\"tiny\"}],\"object\":\"list\",\"data\":[{\"id\":\"tiny.gguf\","   \
	"\"object\":\"model\",\"created\":1,\"owned_by\":\"llamacpp\",\"meta\":{\"vocab_type\":2," \
	"\"n_ctx_train\":32768,\"n_embd\":64}}]}"
#define LLAMACPP_PROPS                                                                             \
	"{\"default_generation_settings\":{\"id\":0,\"n_ctx\":2048,\"params\":{}},"                \
	"\"total_slots\":4,\"model_path\":\"/m/tiny.gguf\",\"chat_template\":\"{{x}}\"}"
#define LLAMACPP_SLOTS                                                                             \
	"[{\"id\":0,\"n_ctx\":2048,\"speculative\":false,\"is_processing\":true,"                  \
	"\"n_prompt_tokens\":1000,\"next_token\":[{\"has_next_token\":true,\"n_decoded\":24}]},"   \
	"{\"id\":1,\"n_ctx\":2048,\"is_processing\":false,\"n_prompt_tokens\":2000},"              \
	"{\"id\":2,\"n_ctx\":2048,\"is_processing\":true,\"n_prompt_tokens\":1024},"               \
	"{\"id\":3,\"n_ctx\":2048,\"is_processing\":false}]"
#define LLAMACPP_METRICS                                                                           \
	"# HELP llamacpp:requests_processing Number of requests processing.\n"                     \
	"# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 3\n"              \
	"llamacpp:requests_deferred 2\nllamacpp:n_busy_slots_per_decode 1.5\n"
#define LLAMACPP_LOADING                                                                           \
	"{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}"

#define SGLANG_MODELS                                                                              \
	"{\"object\":\"list\",\"data\":[{\"id\":\"qwen\",\"object\":\"model\",\"created\":1,"      \
	"\"owned_by\":\"sglang\",\"root\":\"qwen\",\"parent\":null,\"max_model_len\":40960}]}"
#define SGLANG_INFO                                                                                \
	"{\"model_path\":\"qwen\",\"dp_size\":2,\"context_length\":null,"                          \
	"\"max_running_requests\":null,\"max_total_num_tokens\":100000,\"internal_states\":"       \
	"[{\"memory_usage\":{\"token_capacity\":100000},"                                          \
	"\"effective_max_running_requests_per_dp\":128},{}],\"version\":\"0.5.23\"}"
#define SGLANG_METRICS                                                                             \
	"sglang:num_running_reqs{dp_rank=\"0\",model_name=\"qwen\",tp_rank=\"0\"} 3.0\n"           \
	"sglang:num_running_reqs{dp_rank=\"1\",model_name=\"qwen\",tp_rank=\"0\"} 4.0\n"           \
	"sglang:num_running_reqs{dp_rank=\"1\",model_name=\"qwen\",tp_rank=\"1\"} 4.0\n"           \
	"sglang:num_queue_reqs{dp_rank=\"0\",model_name=\"qwen\",tp_rank=\"0\"} 1.0\n"             \
	"sglang:num_queue_reqs{dp_rank=\"1\",model_name=\"qwen\",tp_rank=\"0\"} 0.0\n"             \
	"sglang:token_usage{dp_rank=\"0\",model_name=\"qwen\",tp_rank=\"0\"} 0.5\n"                \
	"sglang:token_usage{dp_rank=\"1\",model_name=\"qwen\",tp_rank=\"0\"} 0.25\n"

#define TRTLLM_MODELS                                                                              \
	"{\"object\":\"list\",\"data\":[{\"id\":\"llama\",\"object\":\"model\",\"created\":1,"     \
	"\"owned_by\":\"tensorrt_llm\"}]}"
#define TRTLLM_RECORD(active, queued, used)                                                        \
	"{\"iter\":7,\"iterLatencyMS\":9.5,\"numActiveRequests\":" #active                         \
	",\"numQueuedRequests\":" #queued ",\"maxNumActiveRequests\":256,\"kvCacheStats\":"        \
	"{\"maxNumBlocks\":1000,\"freeNumBlocks\":1,\"usedNumBlocks\":" #used                      \
	",\"tokensPerBlock\":32},\"inflightBatchingStats\":{\"numGenRequests\":1}}"
#define TRTLLM_METRICS "[" TRTLLM_RECORD(9, 9, 9) "," TRTLLM_RECORD(5, 2, 250) "]"
#define TRTLLM_PROMETHEUS                                                                          \
	"trtllm_num_requests_running{model_name=\"llama\"} 5\n"                                    \
	"trtllm_num_requests_waiting{model_name=\"llama\"} 2\n"                                    \
	"trtllm_kv_cache_utilization{model_name=\"llama\"} 0.25\n"                                 \
	"trtllm_kv_cache_max_blocks{model_name=\"llama\"} 1000\n"                                  \
	"trtllm_kv_cache_tokens_per_block{model_name=\"llama\"} 32\n"

#define OLLAMA_MODELS                                                                              \
	"{\"object\":\"list\",\"data\":[{\"id\":\"qwen3:4b\",\"object\":\"model\",\"created\":1,"  \
	"\"owned_by\":\"library\"},{\"id\":\"llava:7b\",\"object\":\"model\",\"created\":1,"       \
	"\"owned_by\":\"library\"}]}"

#define BUSBAR_ENGINE_MODELS                                                                       \
	"{\"object\":\"list\",\"data\":[{\"id\":\"smollm2\",\"object\":\"model\",\"created\":1,"   \
	"\"owned_by\":\"busbar\",\"root\":\"/m/smollm2.gguf\",\"max_model_len\":8192}]}"
#define BUSBAR_ENGINE_VERSION "{\"version\":\"0.1.0\",\"engine\":\"busbar-engine\"}"
