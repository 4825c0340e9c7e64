#include "engines/kv_lag.h"

#include <math.h>
#include <string.h>

#define WINDOW_NS 300000000000ull

static uint32_t kept(const struct kv_lag *l)
{
	return l->count < KV_LAG_SAMPLES ? l->count : KV_LAG_SAMPLES;
}

static double least_of(const struct kv_lag *l)
{
	return l->least < l->least_before ? l->least : l->least_before;
}

void kv_lag_add(struct kv_lag *l, uint64_t now_ns, double theirs_s, double ours_s)
{
	const double difference = ours_s - theirs_s;

	if (!isfinite(difference))
		return;
	if (l->window_ns == 0) {
		l->window_ns = now_ns;
		l->least = l->least_before = difference;
	} else if (now_ns - l->window_ns >= WINDOW_NS) {
		l->window_ns = now_ns;
		l->least_before = l->least;
		l->least = difference;
	}
	if (difference < l->least)
		l->least = difference;
	l->samples[l->count % KV_LAG_SAMPLES] = (float)(difference - least_of(l));
	l->count++;
}

double kv_lag_median(const struct kv_lag *l)
{
	const uint32_t n = kept(l);
	float sorted[KV_LAG_SAMPLES];

	for (uint32_t i = 0; i < n; i++) { /* insertion: the list is short */
		uint32_t k = i;
		for (; k && sorted[k - 1] > l->samples[i]; k--)
			sorted[k] = sorted[k - 1];
		sorted[k] = l->samples[i];
	}
	return n ? (double)sorted[n / 2] : 0;
}

double kv_lag_max(const struct kv_lag *l)
{
	double max = 0;

	for (uint32_t i = 0; i < kept(l); i++)
		max = l->samples[i] > max ? (double)l->samples[i] : max;
	return max;
}
