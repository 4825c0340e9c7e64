/*
 * replay_fleet.h: `busbar replay --engines`: a workload before simulated engines, policies side by
 * side.
 *
 * For: replay_command.c; the parts of it (replay_fleet, replay_fleet_values: options;
 * replay_fleet_run: the runs; replay_fleet_table, replay_fleet_html: what comes out). Threads: the
 * main thread. Memory: the workload and one run at a time. Errors: told on stderr; the exit code is
 * returned.
 */
#pragma once

#include "base/buf.h"
#include "sim/fleet_report.h"

#define REPLAY_RIVALS_MAX 32
#define REPLAY_SEEDS_MAX 100
#define REPLAY_GROUPS_MAX 16
#define REPLAY_FAULTS_MAX 64
#define REPLAY_RIVAL_SIZE 64

/* One row of the table. */
struct replay_rival {
	char text[REPLAY_RIVAL_SIZE]; /* as it was written: lookahead, lookahead@once,
					 lookahead@oracle */
	const char *policy;
	bool is_at_once, knows_output;
	struct fleet_figures mean, margin;
	struct fleet_curve curve; /* of the first seed */
};

struct replay_fleet {
	/* what is asked for */
	const char *trace, *report;
	struct fleet_group groups[REPLAY_GROUPS_MAX];
	uint32_t group_count, engine_count;
	struct replay_rival rivals[REPLAY_RIVALS_MAX];
	uint32_t rival_count;
	uint64_t seed;
	uint32_t seed_count, limit;
	double speed;	   /* arrivals so many times as fast; 0: as they are */
	double per_second; /* 0: not said */
	double load;	   /* of what round_robin can carry; 0: not said */
	double skip;
	bool has_jitter, json, is_at_once;
	uint64_t jitter_ns; /* 0: the trace's own grain */
	struct fleet_objectives slo;
	struct fleet_config config; /* what all runs have in common */
	struct fleet_fault faults[REPLAY_FAULTS_MAX];
	/* what was found */
	uint32_t requests; /* of the workload */
	double rate;	   /* arrivals a second, as played */
	double limit_rate; /* with --load: arrivals a second of load 1 */
	double possible_hit;
	double cpu_s;
	bool has_progress;
	const char *doing;
	uint64_t begun_ns, progress_ns;
};

int replay_fleet(int argc, char **argv);
/* Tells that an option's value is wrong, and why; the exit code. */
int replay_fleet_wrong(const char *option, const char *value, const char *what);
/* Values of options; 0, or the exit code after telling why. N, or [Nx]NAME separated by commas: */
int replay_fleet_engines(struct replay_fleet *f, const char *spec, const char *profile);
/* NAME[@once|@oracle] separated by commas: */
int replay_fleet_policies(struct replay_fleet *f, const char *list);
/* KIND:ENGINE@AT+FOR[:ARG]: */
int replay_fleet_fault(struct replay_fleet *f, const char *text);
/* The workload of a seed; told on stderr why not: the exit code. */
int replay_fleet_work(struct replay_fleet *f, uint64_t seed, struct workload *w);
/* All rivals with all seeds. The exit code. */
int replay_fleet_run(struct replay_fleet *f);
void replay_fleet_table(const struct replay_fleet *f, struct bb_buf *out);
/* One page that stands alone, into a file; told on stderr why not: the exit code. */
int replay_fleet_html(const struct replay_fleet *f);
void replay_fleet_json(const struct replay_fleet *f, struct bb_buf *out);
