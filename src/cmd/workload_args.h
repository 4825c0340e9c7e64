/*
 * workload_args.h: which workload a command is to use: the options that such commands share.
 *
 * For: `busbar sim workload`, `busbar bench run`. Threads: the main thread. Memory: refers to argv.
 * Errors: told on stderr, with the command's name before them.
 */
#pragma once

#include <stdbool.h>

#include "sim/work_make.h"
#include "sim/work_read.h"

/* For the commands' help: the options below, and the generators. */
#define WORKLOAD_ARGS_HELP                                                                         \
	"  --requests N         so many (4000; of a file: all)\n"                                  \
	"  --rate N             so many requests a second on average (the generator's or "         \
	"file's)\n"                                                                                \
	"  --speed X            arrivals X times as fast (1)\n"                                    \
	"  --think X            time between an answer and what follows it X times as long (1)\n"  \
	"  --clients N          closed loop: N clients, each waits for its answers\n"              \
	"  --shape X            of a gamma distribution of times between arrivals (Poisson, 1)\n"  \
	"  --tenants N          that requests belong to, some busier than others (1)\n"            \
	"  --adapters N         LoRA adapters that requests ask for (0)\n"                         \
	"  --jitter             spread arrivals over the grain of the file's times\n"              \
	"  --seed N             of everything that is random (0)\n"

struct workload_args {
	const char *command; /* "busbar sim" */
	const char *source;  /* a generator's name, else a file or a folder; NULL: not given */
	struct work_options make;
	double speed; /* 0: as it is */
	double think;
	bool has_think;
	bool has_jitter;
};

enum {
	WORKLOAD_REQUESTS = 512,
	WORKLOAD_RATE,
	WORKLOAD_SPEED,
	WORKLOAD_THINK,
	WORKLOAD_CLIENTS,
	WORKLOAD_SHAPE,
	WORKLOAD_TENANTS,
	WORKLOAD_ADAPTERS,
	WORKLOAD_JITTER,
	WORKLOAD_SEED,
};

/* Rows for getopt_long. */
#define WORKLOAD_ARGS_OPTIONS                                                                      \
	{ "requests", required_argument, NULL, WORKLOAD_REQUESTS },                                \
		{ "rate", required_argument, NULL, WORKLOAD_RATE },                                \
		{ "speed", required_argument, NULL, WORKLOAD_SPEED },                              \
		{ "think", required_argument, NULL, WORKLOAD_THINK },                              \
		{ "clients", required_argument, NULL, WORKLOAD_CLIENTS },                          \
		{ "shape", required_argument, NULL, WORKLOAD_SHAPE },                              \
		{ "tenants", required_argument, NULL, WORKLOAD_TENANTS },                          \
		{ "adapters", required_argument, NULL, WORKLOAD_ADAPTERS },                        \
		{ "jitter", no_argument, NULL, WORKLOAD_JITTER },                                  \
	{                                                                                          \
		"seed", required_argument, NULL, WORKLOAD_SEED                                     \
	}

/* -BB_EABSENT: not one of these options; -BB_EINVALID: its value is malformed or out of range. */
BB_MUST int workload_args_take(struct workload_args *a, int option, const char *value);
/* Reads or makes it. 0, or the process's exit code after telling why. */
BB_MUST int workload_args_load(const struct workload_args *a, struct workload *w);
/* "  chat     conversations …" a line for each generator, to stdout. */
void workload_args_print_generators(void);
