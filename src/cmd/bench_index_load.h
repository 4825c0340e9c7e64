/*
 * bench_index_load.h: what `busbar bench index` puts into an index and asks of it.
 *
 * For: bench_index.c. Threads: the main thread. Memory: given back. Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct index_load {
	uint32_t engines, blocks, depth; /* blocks: of one engine; depth: of one chain */
	double shared;			 /* of a chain: the begin that other engines hold too */
	uint32_t matches;
	uint32_t events; /* blocks through a mirror */
	uint64_t seed, bytes_max;
};

struct index_figures {
	double store_per_s, remove_per_s; /* pairs; engines that hold nothing in common */
	double bytes_per_entry;
	double bytes_per_shared_entry; /* each further engine of a chain that all hold */
	double match_p50_ns, match_p99_ns, match_p999_ns, match_mean_ns;
	double held_mean;	       /* blocks of a prompt that its best engine holds */
	uint64_t blocks, pairs, bytes; /* of the index that the matches were asked of */
	double clear_ns, sweep_max_ns, sweep_ns_per_pair;
	double mirror_store_per_s, mirror_index_store_per_s; /* from encoded batches */
	double mirror_bytes_per_block;
	uint64_t mirror_blocks;
	uint64_t stored; /* calls of index_store, in blocks: for counts of instructions */
};

BB_MUST int index_load_run(const struct index_load *load, struct index_figures *out);
