/*
 * work_make.h: invented workloads.
 *
 * For: `busbar replay`, `busbar bench run`, `busbar sim workload`, tests. Each generator is one
 * kind of traffic that routing is judged by; lengths and times are drawn from a seeded generator,
 * and the same seed gives the same workload on every machine (brain/exact.h). Threads: pure.
 * Memory: the workload's. Errors: -BB_EABSENT (no such name), -BB_EINVALID, -BB_ENOMEM, -BB_ELIMIT;
 * the workload is empty then.
 */
#pragma once

#include "base/str.h"
#include "sim/workload.h"

struct work_options {
	uint32_t requests; /* how many; 0: 4,000 */
	double rate;	   /* arrivals a second; 0: the generator's own */
	uint64_t seed;
};

BB_MUST int work_make(struct bb_str name, const struct work_options *o, struct workload *w);
