#include "brain/play.h"

#include <math.h>
#include <stddef.h>

/* Requests that get on together: they generate, and end after the same number of tokens. */
struct group {
	double count;
	double ends_at;	  /* on the clock of tokens */
	double kv_tokens; /* of each, less the clock at its start: it grows as the clock goes */
};

struct piece {
	double count, tokens, kv_tokens;
};

/* What stays the same while a lane is played. */
struct stage {
	double token_ms, step_ms, kv_token_ms, chunk, sequences_max;
	double mean_output;
	struct group running[LANE_BUCKETS];
	struct group
		started[PLAY_PIECES + 1]; /* out of the queue: in the order of their ends, too */
	struct piece queue[PLAY_PIECES + 1];
	int running_count, queue_count;
};

/*
 * The clock counts the tokens that each stream has got since the start; all streams get theirs at
 * the same time. `own` is the request in question; it joins only on one of the two ways.
 */
struct state {
	double ms, clock, count, kv_tokens;
	double ends_ms; /* sum of the times at which requests ended */
	int running_at, started_at, started_count, queue_at;
	double piece_left;
	struct group own; /* count 0: not there, or over */
};

static struct group *next_end(struct stage *s, struct state *now)
{
	struct group *g = now->own.count > 0 ? &now->own : NULL;

	if (now->running_at < s->running_count &&
	    (!g || s->running[now->running_at].ends_at <= g->ends_at))
		g = &s->running[now->running_at];
	if (now->started_at < now->started_count &&
	    (!g || s->started[now->started_at].ends_at < g->ends_at))
		g = &s->started[now->started_at];
	return g;
}

static void leave(struct stage *s, struct state *now, struct group *g)
{
	now->count -= g->count;
	now->kv_tokens -= g->count * (g->kv_tokens + now->clock);
	now->ends_ms += g->count * now->ms;
	if (g == &now->own)
		g->count = 0;
	else if (now->running_at < s->running_count && g == &s->running[now->running_at])
		now->running_at++;
	else
		now->started_at++;
}

/* Each stream gets so many tokens, in steps that take `share` of a gap. */
static void generate(const struct stage *s, struct state *now, double tokens, double share)
{
	const double kv = now->kv_tokens + 0.5 * now->count * tokens;

	now->ms += tokens * share * (s->step_ms + s->kv_token_ms * kv);
	now->clock += tokens;
	now->kv_tokens += now->count * tokens;
}

static void decode_until(struct stage *s, struct state *now, struct group *g)
{
	generate(s, now, g->ends_at - now->clock, 1);
	leave(s, now, g);
}

/* Computes up to `*left` prompt tokens, up to the next end of a stream; true when none are left. */
static bool prefill(struct stage *s, struct state *now, double *left)
{
	if (now->count <= 0) {
		now->ms += *left * s->token_ms;
		return true;
	}
	struct group *g = next_end(s, now);
	const double chunk = s->chunk > now->count + 1 ? s->chunk - now->count : 1;
	const double tokens = *left / chunk; /* that streams get meanwhile */
	if (!g || now->clock + tokens <= g->ends_at) {
		now->ms += *left * s->token_ms;
		generate(s, now, tokens, 0.5);
		return true;
	}
	const double until = g->ends_at - now->clock;
	now->ms += until * chunk * s->token_ms;
	generate(s, now, until, 0.5);
	*left -= until * chunk;
	leave(s, now, g);
	return false;
}

/* A prompt of so many tokens, with a sequence for it. */
static void admit(struct stage *s, struct state *now, double tokens)
{
	struct group *g;

	for (;;) {
		while (now->count + 1 > s->sequences_max && (g = next_end(s, now)))
			decode_until(s, now, g);
		if (prefill(s, now, &tokens))
			return;
	}
}

static void play_queue(struct stage *s, struct state *now)
{
	for (; now->queue_at < s->queue_count; now->queue_at++) {
		const struct piece *p = &s->queue[now->queue_at];
		admit(s, now, p->tokens);
		s->started[now->started_count++] =
			(struct group){ .count = p->count,
					.ends_at = now->clock + s->mean_output,
					.kv_tokens = p->kv_tokens - now->clock };
		now->count += p->count;
		now->kv_tokens += p->count * p->kv_tokens;
	}
}

static double play_out(struct stage *s, struct state *now)
{
	struct group *g;

	while ((g = next_end(s, now)))
		decode_until(s, now, g);
	return now->ends_ms;
}

static void set_stage(struct stage *s, struct state *now, const struct lane *l, uint64_t now_ns)
{
	const double ttft = l->factors.ttft_used, gap = l->factors.gap_used;
	const double kv = (double)(l->kv_tokens - l->waiting_prompts);
	const double each = l->generating ? kv / l->generating : 0;
	const uint32_t waiting = l->requests - l->generating;
	const int pieces = waiting < PLAY_PIECES ? (int)waiting : PLAY_PIECES;

	s->token_ms = l->rates->token_ms * ttft;
	s->step_ms = l->rates->step_ms * gap;
	s->kv_token_ms = l->rates->kv_token_ms * gap;
	s->chunk = l->step_tokens;
	s->sequences_max = l->sequences_max ? l->sequences_max : INFINITY;
	s->mean_output = lane_residual(l->lengths, 0, UINT32_MAX);
	s->running_count = 0;
	for (int i = 0; i < LANE_BUCKETS; i++)
		if (l->bucket_count[i])
			s->running[s->running_count++] = (struct group){
				.count = l->bucket_count[i],
				.ends_at = (double)l->bucket_residual[i] / l->bucket_count[i],
				.kv_tokens = each,
			};
	s->queue_count = pieces;
	for (int i = 0; i < pieces; i++)
		s->queue[i] = (struct piece){ .count = (double)waiting / pieces,
					      .tokens = lane_pending(l, now_ns) / pieces,
					      .kv_tokens = (double)l->waiting_prompts / waiting };
	*now = (struct state){ .count = l->generating, .kv_tokens = kv };
}

double play_added_ms(const struct lane *l, uint64_t now_ns, const struct play_request *r)
{
	struct stage s;
	struct state now;

	set_stage(&s, &now, l, now_ns);
	if (r->promised > 0)
		s.queue[s.queue_count++] = (struct piece){ .count = 1,
							   .tokens = r->promised,
							   .kv_tokens = r->promised };
	play_queue(&s,
		   &now); /* the same on both ways: prefills are in order, and its is the last */
	struct state with = now;
	const double without_ms = play_out(&s, &now);
	admit(&s, &with, r->uncached);
	with.own = (struct group){ .count = 1,
				   .ends_at = with.clock + r->output_tokens,
				   .kv_tokens = r->prompt_tokens - with.clock };
	with.count += 1;
	with.kv_tokens += r->prompt_tokens;
	/* Its first token's share that no plan of the engine changes: the way there and back. */
	const double way_ms = l->rates->base_ms * l->factors.ttft_used +
			      (l->generating ? 0.5 * lane_gap_ms(l) : 0);
	return play_out(&s, &with) - without_ms + way_ms;
}
