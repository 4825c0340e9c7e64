/*
 * kv_budget.h: how much of the control thread one engine's events may take.
 *
 * For: kv_rank.c. All feeds together get KV_BUDGET_SHARE of a thread's time, one of them at most
 * KV_BUDGET_OWN, counted in windows of one second; in one turn of the loop KV_BUDGET_SLICE_NS.
 * Beyond it a feed is not read until the next window: the engine's socket fills up, and what the
 * engine drops then shows as a gap.
 * Threads: the loop's. Memory: embedded. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define KV_BUDGET_WINDOW_NS 1000000000ull
#define KV_BUDGET_OWN_NS 200000000ull
#define KV_BUDGET_SHARE_NS 600000000ull
#define KV_BUDGET_LEAST_NS 1000000ull
#define KV_BUDGET_SLICE_NS 2000000ull
/* What a message costs at the least, whatever the clock says. */
#define KV_BUDGET_MESSAGE_NS 500ull

struct kv_budget {
	const uint32_t *feeds; /* how many share the thread */
	uint64_t window_ns;    /* its begin */
	uint64_t spent_ns;
	uint64_t throttled; /* windows that were used up */
};

static inline uint64_t kv_budget_limit_ns(const struct kv_budget *b)
{
	const uint64_t share = KV_BUDGET_SHARE_NS / (*b->feeds ? *b->feeds : 1);

	return share > KV_BUDGET_OWN_NS	    ? KV_BUDGET_OWN_NS
	       : share < KV_BUDGET_LEAST_NS ? KV_BUDGET_LEAST_NS
					    : share;
}

/* True while there is time left in this window. */
static inline bool kv_budget_spend(struct kv_budget *b, uint64_t now_ns, uint64_t ns)
{
	if (now_ns - b->window_ns >= KV_BUDGET_WINDOW_NS) {
		b->window_ns = now_ns;
		b->spent_ns = 0;
	}
	const bool was_left = b->spent_ns < kv_budget_limit_ns(b);
	b->spent_ns += ns > KV_BUDGET_MESSAGE_NS ? ns : KV_BUDGET_MESSAGE_NS;
	const bool is_left = b->spent_ns < kv_budget_limit_ns(b);
	b->throttled += was_left && !is_left;
	return is_left;
}
