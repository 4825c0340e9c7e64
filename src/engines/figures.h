/*
 * figures.h: the figures that engines publish, read by a table of names.
 *
 * For: the adapters. Samples of several data-parallel ranks are added up (usage: averaged); those
 * of further tensor- or pipeline-parallel ranks say the same thing again and are left out.
 * Threads: pure functions. Memory: none.
 * Errors: -BB_ESYNTAX when nothing in the text is known.
 */
#pragma once

#include <stdint.h>

#include "engines/adapter.h"

enum figure {
	FIGURE_RUNNING,
	FIGURE_WAITING,
	FIGURE_KV_USAGE,   /* 0 … 1 */
	FIGURE_KV_TOKENS,  /* capacity */
	FIGURE_KV_BLOCKS,  /* capacity = blocks × tokens in a block */
	FIGURE_BLOCK_SIZE,
	FIGURE_PREEMPTIONS,
	FIGURE_COUNT,
};

struct figure_names {
	const struct bb_str *names; /* of metrics */
	const enum figure *figures; /* what each of them is */
	uint32_t count;
};

/* Reads Prometheus text. */
BB_MUST int figures_read(struct bb_str text, const struct figure_names *n,
			 struct engine_figures *f);
/* The same for vLLM's names, whose capacity stands in labels; busbar-engine uses them as well. */
BB_MUST int figures_read_vllm(struct bb_str text, struct engine_figures *f);

/* A whole number in a JSON object; 0 when it is absent, null or no such number. */
uint64_t figure_member(struct bb_str object, struct bb_str key);
/* The same, cut to 32 bits. */
uint32_t figure_member_u32(struct bb_str object, struct bb_str key);
/* a × b; 0 (unknown) when that is more than any engine has. */
uint64_t figure_product(uint64_t a, uint64_t b);
/* used / all in 0 … 1; 0 when `all` is 0. */
double figure_share(double used, double all);
