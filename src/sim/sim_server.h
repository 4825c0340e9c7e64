/*
 * sim_server.h: the simulated engine as an HTTP server.
 *
 * For: `busbar sim serve` and tests. It answers as vLLM does (or, in what discovery looks at, as
 * llama.cpp, SGLang, TensorRT-LLM or a plain OpenAI server does), with the timing and the KV cache
 * of engine_model, and misbehaves as it is told (fault.h).
 * Threads: the loop's. Memory: one request holds its prompt's tokens and about 2 KiB; what a slow
 * client has not read yet is kept as a number of tokens, not as bytes.
 * Errors: -BB_EINVALID and -BB_ESYSTEM with a sentence in `why`, -BB_ENOMEM.
 */
#pragma once

#include "os/loop.h"
#include "os/sock.h"
#include "sim/engine_model.h"
#include "sim/fault.h"
#include "wire/kv_events.h"
#include "text/chat_text.h"
#include "text/tokenizer.h"

#define SIM_MODELS_MAX 32

enum sim_kind { SIM_VLLM, SIM_LLAMACPP, SIM_SGLANG, SIM_TRTLLM, SIM_OPENAI };
enum sim_stamp { SIM_STAMP_NONE, SIM_STAMP_TOKENS };

struct sim_config {
	enum sim_kind kind;
	struct bb_str models[SIM_MODELS_MAX]; /* the first one stands in metrics; valid for the
						 server's life */
	uint32_t model_count;
	struct bb_str loras[SIM_MODELS_MAX]; /* adapters of the first model */
	uint32_t lora_count;
	struct sim_engine_params engine;
	uint32_t model_len_max; /* tokens; at most what the KV cache holds */
	uint32_t output_tokens; /* of an answer whose request sets no limit */
	uint32_t ranks; /* vLLM: data-parallel ranks that it says it has; they share one engine */
	uint32_t embedding_size; /* numbers of a vector */
	enum sim_stamp stamp;	 /* each token says when it was written */
	uint64_t seed;
	const struct tokenizer *tokenizer; /* NULL: invented tokens */
	const struct chat_text *chat;	   /* its template; may be NULL */
	struct sim_faults faults;
	struct bb_str kv_events; /* endpoints as in zmq_pub.h; empty: none */
	struct bb_str kv_replay;
	struct bb_str kv_topic;
	enum kv_form kv_form;
	struct bb_str load_push; /* endpoint where SGLang's load is published; empty: none */
};

void sim_config_default(struct sim_config *c);

struct sim_server;

BB_MUST int sim_server_create(const struct sim_config *config, struct loop *loop,
			      struct sim_server **out, const char **why);
/* Takes the listening descriptor. */
BB_MUST int sim_server_listen(struct sim_server *s, int listen_fd);
void sim_server_destroy(struct sim_server *s);
