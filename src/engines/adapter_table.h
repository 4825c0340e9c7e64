/*
 * adapter_table.h: the descriptors that adapter.c puts into its table.
 *
 * For: adapter.c and the files of the adapters; everyone else goes through adapter_find.
 * Threads: constant data. Memory: static. Errors: none.
 */
#pragma once

#include "engines/adapter.h"

extern const struct adapter adapter_vllm;
extern const struct adapter adapter_sglang;
extern const struct adapter adapter_trtllm;
extern const struct adapter adapter_llamacpp;
extern const struct adapter adapter_busbar_engine;
extern const struct adapter adapter_openai_server;
