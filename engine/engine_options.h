/*
 * engine_options.h: the command line of busbar-engine.
 *
 * For: engine_main, once at start.
 * Threads: the main thread; read-only afterwards. Memory: strings point into argv.
 * Errors: told on stderr; the caller ends the process with the returned code.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "os/sock.h"

enum engine_pooling { POOLING_FROM_MODEL, POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST };

struct engine_options {
	const char *model_path;
	const char *name; /* NULL: the file's base name without .gguf */
	const char *listen_text;
	struct sock_addr listen;
	const char *kv_events_text; /* NULL: none */
	struct sock_addr kv_events;
	const char *kv_replay_text; /* NULL: none */
	struct sock_addr kv_replay;
	const char *kv_topic;
	uint32_t ctx_tokens;   /* 0: chosen at load */
	uint32_t parallel;     /* running sequences at once */
	uint32_t threads;      /* 0: all cores */
	uint32_t batch_tokens; /* per step; 0: chosen at load */
	uint32_t queue_max;    /* sequences that may wait */
	uint32_t block_size;   /* tokens */
	int32_t gpu_layers;    /* -1: all */
	enum engine_pooling pooling;
	enum bb_log_level log_level;
};

/* 0: go on; 1: done (help or version was printed), exit 0; 2: wrong usage, exit 2. */
int engine_options_parse(int argc, char **argv, struct engine_options *o);
