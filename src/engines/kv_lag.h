/*
 * kv_lag.h: how late an engine's events come.
 *
 * For: kv_rank.c. An engine's clock is not ours: the least difference seen between its time stamp
 * and ours is taken for the skew of the clocks, and what is above it for the lag. A lag that never
 * changes can therefore not be seen. The least difference is of the last five to ten minutes, so
 * that clocks may drift.
 * Threads: pure; one owner. Memory: embedded. Errors: none; a stamp that is no number is left out.
 */
#pragma once

#include <stdint.h>

#define KV_LAG_SAMPLES 128

struct kv_lag {
	double least, least_before; /* seconds: ours less theirs, in this window and the last */
	uint64_t window_ns;	    /* when this window began; 0: nothing was seen yet */
	float samples[KV_LAG_SAMPLES];
	uint32_t count; /* of all time */
};

void kv_lag_add(struct kv_lag *l, uint64_t now_ns, double theirs_s, double ours_s);
/* Of the last samples, in seconds; 0 without any. */
double kv_lag_median(const struct kv_lag *l);
double kv_lag_max(const struct kv_lag *l);
