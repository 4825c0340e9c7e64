/*
 * identify.h: which kind of engine is it, and which endpoints has it.
 *
 * For: the prober, when nothing but an address is known.
 * Threads: pure functions. Memory: none. Errors: none; "unknown" is an answer.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "engines/adapter.h"

/* By who owns the listed models; ENGINE_KIND_AUTO when that says nothing. */
enum engine_kind identify_owner(struct bb_str owned_by);

/*
 * Where owners say nothing, these paths are asked in turn. The last one gives an answer in any
 * case: ENGINE_KIND_OPENAI.
 */
#define IDENTIFY_CLUES 4
struct bb_str identify_clue_path(uint32_t clue);
/* `status` 0: there was no answer. ENGINE_KIND_AUTO: ask for the next clue. */
enum engine_kind identify_clue(uint32_t clue, int status, struct bb_str body);

/* The endpoints among the paths of an openapi.json, as an api_mask; 0: it has none of ours. */
uint64_t identify_endpoints(const struct adapter *a, struct bb_str openapi);
