/*
 * closed_table.h: every policy under every load, as the table of docs/policies.md.
 *
 * For: test_closed_loop --table. Each cell is TTFT, mean and 99th percentile, and the mean latency
 * in all, as shares of round_robin's with the same seed: geometric means over the seeds.
 */
#pragma once

#include "closed_loads.h"

#define TABLE_SEEDS 5

struct table_row {
	const char *name;
	struct loads load;
	void (*fill)(struct loop *s, struct loop_job *j); /* NULL: `make` */
	void (*make)(struct loop *s, struct loads load);
};

static const struct table_row table_rows[] = {
	{ "chat, calm", { 100, 8000 }, NULL, chat },
	{ "chat, busy", { 190, 8000 }, NULL, chat },
	{ "customers, calm", { 12, 5000 }, customer_job, NULL },
	{ "customers, busy", { 20, 5000 }, customer_job, NULL },
	{ "one hot prompt, calm", { 80, 5000 }, hot_job, NULL },
	{ "one hot prompt, busy", { 200, 5000 }, hot_job, NULL },
	{ "mixed lengths, calm", { 50, 5000 }, mixed_job, NULL },
	{ "mixed lengths, busy", { 80, 5000 }, mixed_job, NULL },
	{ "mixed lengths, overload", { 110, 5000 }, mixed_job, NULL },
	{ "unique prompts, calm", { 70, 5000 }, cold_job, NULL },
	{ "unique prompts, busy", { 105, 5000 }, cold_job, NULL },
	{ "unique prompts, overload", { 130, 5000 }, cold_job, NULL },
	{ "long answers, calm", { 40, 5000 }, talk_job, NULL },
	{ "long answers, busy", { 90, 5000 }, talk_job, NULL },
	{ "bursts, calm", { 80, 5000 }, NULL, bursts },
	{ "bursts, busy", { 150, 5000 }, NULL, bursts },
	{ "bursts, overload", { 200, 5000 }, NULL, bursts },
};

static const struct {
	const char *head, *policy;
	bool is_late;
} table_columns[] = {
	{ "lookahead", "lookahead", false },
	{ "lookahead, late", "lookahead", true },
	{ "cost_ms", "cost_ms", false },
	{ "pending", "pending", false },
	{ "least_requests", "least_requests", false },
	{ "lmetric", "lmetric", false },
	{ "llmd", "llmd", false },
	{ "dynamo_cost", "dynamo_cost", false },
	{ "session", "session", false },
	{ "chwbl", "chwbl", false },
};
#define TABLE_COLUMNS UNIT_COUNT(table_columns)

static inline struct loop_result table_run(const struct table_row *row, const char *policy,
					   bool is_late, uint64_t seed)
{
	struct loop *s = loop_create(policy, seed);

	s->binding = is_late ? LOOP_LATE : LOOP_IMMEDIATE;
	if (row->make)
		row->make(s, row->load);
	else
		arrive(s, row->load, row->fill);
	loop_run(s);
	const struct loop_result r = loop_result(s);
	loop_destroy(s);
	return r;
}

static inline int table_print(void)
{
	double all[TABLE_COLUMNS][3] = { { 0 } };

	printf("| workload | round_robin, ms |");
	for (size_t c = 0; c < TABLE_COLUMNS; c++)
		printf(" %s |", table_columns[c].head);
	printf("\n|---|---|");
	for (size_t c = 0; c < TABLE_COLUMNS; c++)
		printf("---|");
	for (size_t i = 0; i < UNIT_COUNT(table_rows); i++) {
		double sum[TABLE_COLUMNS][3] = { { 0 } }, base_ms = 0;
		for (uint64_t seed = 1; seed <= TABLE_SEEDS; seed++) {
			const struct loop_result rr =
				table_run(&table_rows[i], "round_robin", false, seed);
			base_ms += rr.mean / TABLE_SEEDS;
			for (size_t c = 0; c < TABLE_COLUMNS; c++) {
				const struct loop_result r =
					table_run(&table_rows[i], table_columns[c].policy,
						  table_columns[c].is_late, seed);
				sum[c][0] += log(r.mean / rr.mean) / TABLE_SEEDS;
				sum[c][1] += log(r.p99 / rr.p99) / TABLE_SEEDS;
				sum[c][2] += log(r.e2e / rr.e2e) / TABLE_SEEDS;
			}
		}
		printf("\n| %s | %.0f |", table_rows[i].name, base_ms);
		for (size_t c = 0; c < TABLE_COLUMNS; c++) {
			printf(" %.2f / %.2f / %.2f |", exp(sum[c][0]), exp(sum[c][1]),
			       exp(sum[c][2]));
			for (int k = 0; k < 3; k++)
				all[c][k] += sum[c][k] / UNIT_COUNT(table_rows);
		}
	}
	printf("\n| geometric mean | |");
	for (size_t c = 0; c < TABLE_COLUMNS; c++)
		printf(" %.2f / %.2f / %.2f |", exp(all[c][0]), exp(all[c][1]), exp(all[c][2]));
	printf("\n");
	return 0;
}
