/*
 * work_make.h: invented workloads.
 *
 * For: `busbar replay`, `busbar bench run`, `busbar sim workload`, tests. Each generator is one
 * kind of traffic that routing is judged by (WORK_GENERATORS). Open loop: sessions begin at a given
 * rate, whether or not answers come; the times between them are exponential (a Poisson process) or,
 * with a shape, of a gamma distribution: below 1 they come in bunches, above 1 more evenly. Closed
 * loop: so many clients, each of which begins its next session when the last one's last answer is
 * there. All is drawn from a seeded generator, and the same seed gives the same workload on every
 * machine (brain/exact.h). Threads: pure. Memory: the workload's, and 4 bytes a client. Errors:
 * -BB_EABSENT (no such name), -BB_EINVALID (an option is out of range), -BB_ENOMEM, -BB_ELIMIT; the
 * workload is empty then.
 */
#pragma once

#include "base/str.h"
#include "sim/workload.h"

/* name, requests a second by default, what it is: lengths are means, in tokens. The rates are for
 * eight engines of an 8B model. */
/* clang-format off */
#define WORK_GENERATORS(X)                                                                         \
	X(chat, 25, "conversations of about 6 turns of 150, 1 s + about 10 s apart, on 20 applications' prompts; answers of 250") \
	X(agent, 12, "tasks of about 10 steps on three prompts of 4k to 9k with tools of 2.5 s; one step in 12 starts 3 sub-agents") \
	X(b2b, 8, "150 customers with prompts of 6k of their own, some busier than others; 1,200 in, 1,000 out") \
	X(hot, 60, "one prompt of 4,096 that all begin with, and 300 more; 200 out")               \
	X(cold, 20, "prompts of 2,000 that have nothing in common; 250 out")                       \
	X(burst, 20, "cold, and every 20 s 32 to 95 requests within 0.5 s that begin with the same new 3,000") \
	X(mixed, 20, "85 % short (300 in), 10 % long (20,000 in), 5 % with long answers (2,000 out)") \
	X(decode, 15, "250 in, 900 out")                                                           \
	X(week, 0, "a week with business hours: 800 on 20 applications' prompts, 250 out; all requests in 7 days, or at --rate in less")
/* clang-format on */

#define WORK_CLIENTS_MAX 1000000u
#define WORK_TENANTS_MAX 65536u

struct work_options {
	uint32_t requests; /* how many; 0: 4,000 */
	double rate;	   /* requests a second, on average; 0: the generator's own */
	double shape;	   /* of the gamma distribution of times between arrivals; 0: Poisson */
	uint32_t clients;  /* closed loop of so many; 0: open loop */
	uint32_t tenants; /* that sessions belong to, the n-th a n-th part as often as the first; 0:
			     1 */
	uint32_t adapters; /* LoRA adapters, used as often as the model itself each */
	uint64_t seed;
};

BB_MUST int work_make(struct bb_str name, const struct work_options *o, struct workload *w);

/* The n-th generator's name and what it is; NULL: there are no more. */
const char *work_generator_name(uint32_t n);
const char *work_generator_text(uint32_t n);
