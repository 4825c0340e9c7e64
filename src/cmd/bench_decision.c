/*
 * bench_decision.c: `busbar bench decision`: how long a policy takes to choose among many loaded
 * engines: its scores, the least of them and the reservation; without the look-up of the prefix
 * index.
 */
#include "cmd/bench_decision.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/str.h"
#include "brain/policy/policy.h"
#include "cmd/bench_whole.h"
#include "os/clock.h"

#define ENGINES_MAX 100000
#define TOKENS_MAX 10000000
#define STREAMS_MAX 1000
#define ROUNDS_MAX 10000000
#define START_NS 1000000000ull
#define SEQUENCES_MAX 256
#define CACHED_SHARE 8 /* one engine in so many holds a part of the prompt */

static const char usage[] =
	"usage: busbar bench decision [OPTION]...\n"
	"\n"
	"Measures one thread that chooses an engine for a prompt: the policy's scores, the least "
	"of\n"
	"them, and the reservation; without the look-up of the prefix index.\n"
	"\n"
	"  --engines N     candidates (16)\n"
	"  --tokens N      of the prompt (2000); one engine in eight holds a part of it\n"
	"  --streams N     at each engine (32), up to twice as many, and up to three prompts "
	"waiting\n"
	"  --policy NAME   (the default policy); all: each of them\n"
	"  --rounds N      decisions (20000)\n"
	"  --whole         all that the brain does: filters, look-up, choice, reservation, "
	"reasons; a\n"
	"                  prompt of 64 whose first four fifths were seen before\n"
	"  --json          one JSON object a policy instead of a table\n"
	"  --help          this text\n"
	"\n"
	"Exit: 0 done, 1 failed, 2 wrong usage.\n";

enum output { OUTPUT_TABLE, OUTPUT_JSON };

struct bench {
	uint64_t engines, tokens, streams, rounds;
	enum output output;
	bool is_whole;
	struct candidates c;
	struct lane *lanes;
	struct lane_request *rows; /* one more than are in flight: the one that is decided on */
	uint32_t row_count;
	double *cost;
	uint64_t *ns;
	struct rates rates;
	struct lane_lengths lengths;
	struct bb_rng rng;
};

static struct lane_request *row_of(void *table, uint32_t row)
{
	return &((struct lane_request *)table)[row];
}

static int set_up(struct bench *b)
{
	const int rc = candidates_create(&b->c, b->engines);

	b->lanes = bb_alloc_zero(b->engines, sizeof(*b->lanes));
	b->cost = bb_alloc_zero(b->engines, sizeof(*b->cost));
	b->rows = bb_alloc_zero(b->engines * (b->streams * 2 + 3) + 1, sizeof(*b->rows));
	b->ns = bb_alloc_zero(b->rounds, sizeof(*b->ns));
	return rc || !b->lanes || !b->cost || !b->rows || !b->ns ? -BB_ENOMEM : 0;
}

static void tear_down(struct bench *b)
{
	candidates_destroy(&b->c);
	bb_free(b->lanes);
	bb_free(b->cost);
	bb_free(b->rows);
	bb_free(b->ns);
}

static uint32_t below(struct bench *b, uint64_t bound)
{
	return (uint32_t)bb_rng_below(&b->rng, bound);
}

/* Streams with answers of all lengths, and a few prompts that wait. */
static void load(struct bench *b, struct lane *l)
{
	const struct lane_table t = { row_of, b->rows };
	const uint32_t streams = b->streams ? below(b, b->streams * 2) : 0, waiting = below(b, 4);

	for (uint32_t i = 0; i < streams + waiting; i++) {
		const uint32_t row = b->row_count++, prompt = 100 + below(b, 4000);
		b->rows[row] = (struct lane_request){ .prompt_tokens = prompt,
						      .uncached = 100,
						      .pinned = prompt,
						      .is_odd = true,
						      .output_max = 100 + below(b, 2000) };
		lane_add(l, &t, row, START_NS);
		if (i < streams)
			lane_progress(l, &t, row, START_NS, 1 + below(b, 600));
	}
}

static void fill(struct bench *b)
{
	rates_init(&b->rates);
	lane_lengths_init(&b->lengths);
	bb_rng_seed(&b->rng, 1);
	b->c.count = (uint32_t)b->engines;
	b->row_count = 0;
	for (uint32_t i = 0; i < b->c.count; i++) {
		lane_init(&b->lanes[i], &b->rates, &b->lengths);
		lane_set_limits(&b->lanes[i], SEQUENCES_MAX, 0, 0);
		load(b, &b->lanes[i]);
		b->c.slot[i] = i;
		b->c.lane[i] = &b->lanes[i];
		b->c.identity[i] = bb_rng_next(&b->rng);
	}
}

/* What the brain fills in before it asks; not measured. */
static void refresh(struct bench *b)
{
	for (uint32_t i = 0; i < b->c.count; i++) {
		const struct lane *l = &b->lanes[i];
		b->c.requests[i] = l->requests;
		b->c.tokens[i] = l->kv_tokens + l->residual;
		b->c.pending_prefill[i] = l->pending;
		b->c.cached[i] = below(b, CACHED_SHARE) ? 0 : below(b, b->tokens);
	}
}

static void decide(struct bench *b, const struct policy *p, uint64_t round)
{
	const uint64_t hash = bb_rng_next(&b->rng);
	const struct lane_table t = { row_of, b->rows };
	const uint64_t now_ns = START_NS + round * OS_MS / 100;
	struct policy_input in = { .now_ns = now_ns,
				   .prompt_tokens = b->tokens,
				   .output_max = UINT32_MAX,
				   .model_sequence = round,
				   .hashes = &hash,
				   .hash_count = 1,
				   .block_tokens = 16,
				   .session = hash,
				   .rng = &b->rng };

	refresh(b);
	struct lane_request *row = &b->rows[b->row_count];
	double next_cost;
	const uint64_t begin_ns = clock_now_ns();
	p->score(&b->c, &in, b->cost);
	const uint32_t k = policy_pick(b->cost, b->c.count, &b->rng, &next_cost);
	*row = (struct lane_request){ .prompt_tokens = (uint32_t)b->tokens,
				      .uncached = (uint32_t)b->tokens - b->c.cached[k],
				      .pinned = (uint32_t)b->tokens,
				      .is_odd = true,
				      .output_max = UINT32_MAX };
	lane_add(&b->lanes[k], &t, b->row_count, now_ns);
	b->ns[round] = clock_now_ns() - begin_ns;
	lane_remove(&b->lanes[k], &t, b->row_count, now_ns, LANE_BROKEN_OFF);
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int measure(struct bench *b, const struct policy *p)
{
	const struct whole_plan whole = { .engines = (uint32_t)b->engines,
					  .tokens = (uint32_t)b->tokens,
					  .streams = (uint32_t)b->streams,
					  .rounds = b->rounds,
					  .policy = p->name };
	const int rc = b->is_whole ? bench_whole(&whole, b->ns) : 0;

	if (rc)
		return rc;
	if (!b->is_whole)
		fill(b);
	for (uint64_t i = 0; i < b->rounds && !b->is_whole; i++)
		decide(b, p, i);
	qsort(b->ns, b->rounds, sizeof(*b->ns), by_value);
	const uint64_t p50 = b->ns[b->rounds / 2], p99 = b->ns[b->rounds * 99 / 100];
	if (b->output == OUTPUT_JSON)
		printf("{\"policy\":\"%s\",\"engines\":%llu,\"tokens\":%llu,\"streams\":%llu,"
		       "\"rounds\":%llu,\"decision_ns\":{\"p50\":%llu,\"p99\":%llu}}\n",
		       p->name, (unsigned long long)b->engines, (unsigned long long)b->tokens,
		       (unsigned long long)b->streams, (unsigned long long)b->rounds,
		       (unsigned long long)p50, (unsigned long long)p99);
	else
		printf("%-16s %10.2f %10.2f\n", p->name, (double)p50 / 1e3, (double)p99 / 1e3);
	return 0;
}

static int bench(struct bench *b, const struct policy *policy)
{
	int rc = set_up(b);

	if (!rc && b->output == OUTPUT_TABLE)
		printf("%llu engines, %llu tokens, %llu streams at each; %llu decisions\n\n"
		       "%-16s %10s %10s\n",
		       (unsigned long long)b->engines, (unsigned long long)b->tokens,
		       (unsigned long long)b->streams, (unsigned long long)b->rounds, "us", "p50",
		       "p99");
	for (unsigned n = 0; !rc && policy_at(n); n++)
		if (!policy || policy == policy_at(n))
			rc = measure(b, policy_at(n));
	if (rc)
		fprintf(stderr, "busbar bench decision: %s\n", bb_error_info(rc)->text);
	tear_down(b);
	return rc ? 1 : 0;
}

static bool number(const char *text, uint64_t max, uint64_t *out)
{
	return bb_parse_u64(bb_str_of(text), out) == 0 && *out <= max;
}

int bench_decision(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "engines", required_argument, NULL, 'e' },
		{ "tokens", required_argument, NULL, 't' },
		{ "streams", required_argument, NULL, 's' },
		{ "policy", required_argument, NULL, 'p' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "whole", no_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct bench b = { .engines = 16, .tokens = 2000, .streams = 32, .rounds = 20000 };
	const char *name = POLICY_DEFAULT;
	bool ok = true;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'e': ok &= number(optarg, ENGINES_MAX, &b.engines) && b.engines; break;
		case 't': ok &= number(optarg, TOKENS_MAX, &b.tokens) && b.tokens; break;
		case 's': ok &= number(optarg, STREAMS_MAX, &b.streams); break;
		case 'p': name = optarg; break;
		case 'r': ok &= number(optarg, ROUNDS_MAX, &b.rounds) && b.rounds; break;
		case 'w': b.is_whole = true; break;
		case 'j': b.output = OUTPUT_JSON; break;
		case 'h': return fputs(usage, stdout) < 0;
		default: ok = false;
		}
	}
	const bool is_all = strcmp(name, "all") == 0;
	if (ok && optind == argc && !is_all && !policy_find(name)) {
		fprintf(stderr, "busbar bench decision: --policy: there is no policy '%s'\n", name);
		return 2;
	}
	if (!ok || optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	return bench(&b, is_all ? NULL : policy_find(name));
}
