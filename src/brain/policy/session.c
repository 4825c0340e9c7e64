/*
 * session: requests of one session go to one engine (rendezvous hash of the session's name) as long
 * as that engine has at most 1.25 × the average number of requests and 4 more, and is below its
 * sequence limit; then to the next in the session's order. A hint, never a wall. A request without
 * a session goes to the engine with the fewest requests.
 */
#include "brain/policy/estimate.h"
#include "brain/policy/rendezvous.h"

#define LOAD_FACTOR 1.25
#define LOAD_SLACK 4 /* few requests are no load, and no reason to leave a warm cache */

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	const double most = rendezvous_average(c) * LOAD_FACTOR + LOAD_SLACK;
	uint32_t chosen = RENDEZVOUS_NONE;
	uint64_t heaviest = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		const bool is_full = lane_is_full(c->lane[i]);
		const uint64_t weight = rendezvous_weight(in->session, c->identity[i]);
		cost[i] = c->requests[i] + (is_full ? ESTIMATE_FULL : 0);
		if (is_full || c->requests[i] + 1 > most)
			continue;
		if (chosen == RENDEZVOUS_NONE || weight > heaviest) {
			chosen = i;
			heaviest = weight;
		}
	}
	if (in->session && chosen != RENDEZVOUS_NONE)
		cost[chosen] = -1;
}

const struct policy policy_session = {
	.name = "session",
	.text = "each session at one engine while that is not loaded above the others",
	.reads_load = true,
	.score = score,
};
