#include "cmd/bench_whole.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "brain/brain.h"
#include "os/clock.h"

#define BLOCK_TOKENS 16
#define BLOCKS_MAX 65536
#define PROMPTS 64 /* that are asked again and again, each time with an end of its own */
#define START_NS 1000000000ull
#define SEQUENCES_MAX 256
#define KV_TOKENS_MAX 400000

struct whole {
	const struct whole_plan *plan;
	struct brain *brain;
	struct engine_id *ids;
	uint64_t hashes[BLOCKS_MAX];
	uint32_t hash_count;
	uint64_t now_ns;
	struct bb_rng rng;
};

static int engines_add(struct whole *w)
{
	const uint32_t n = w->plan->engines;
	struct plan_engine *engines = bb_alloc_zero(n, sizeof(*engines));
	char(*names)[16] = bb_alloc_zero(n, sizeof(*names));
	const struct report_model model = { .name = BB_STR("m") };
	const struct engine_report report = { .state = ENGINE_READY,
					      .has_models = true,
					      .models = &model,
					      .model_count = 1,
					      .sequences_max = SEQUENCES_MAX,
					      .kv_tokens_max = KV_TOKENS_MAX };
	int rc = engines && names ? 0 : -BB_ENOMEM;

	for (uint32_t i = 0; i < n && !rc; i++) {
		snprintf(names[i], sizeof(names[i]), "e%u", i);
		engines[i] =
			(struct plan_engine){ .name = bb_str_of(names[i]), .serves_listed = true };
	}
	const struct plan plan = { .engines = engines, .engine_count = n };
	if (!rc)
		rc = brain_configure(w->brain, w->now_ns, &plan, w->ids);
	for (uint32_t i = 0; i < n && !rc; i++)
		(void)brain_engine_report(w->brain, w->now_ns, w->ids[i], &report);
	bb_free(engines);
	bb_free(names);
	return rc;
}

/* The beginning of one of the known prompts, and a fifth that is new. */
static void prompt_make(struct whole *w)
{
	const uint64_t prompt = bb_rng_below(&w->rng, PROMPTS), fresh = bb_rng_next(&w->rng);

	for (uint32_t i = 0; i < w->hash_count; i++) {
		const uint64_t of[2] = { i < w->hash_count * 4ull / 5 ? prompt : fresh, i };
		w->hashes[i] = bb_hash(of, sizeof(of), 1);
	}
}

static void ask(struct whole *w, struct decision *d)
{
	const struct brain_request r = { .model = BB_STR("m"),
					 .prompt_tokens = w->plan->tokens,
					 .output_tokens_max = 100 + bb_rng_below(&w->rng, 2000),
					 .hashed = HASHES_TOKENS,
					 .hashes = w->hashes,
					 .hash_count = w->hash_count };

	brain_request_arrived(w->brain, w->now_ns, &r, d);
}

/* Streams that stay, with answers of all lengths. */
static int load(struct whole *w)
{
	struct decision d;

	for (uint64_t i = 0; i < (uint64_t)w->plan->engines * w->plan->streams; i++) {
		prompt_make(w);
		w->now_ns += OS_MS / 10;
		ask(w, &d);
		if (d.action != DECISION_DISPATCH)
			return -BB_EINVALID;
		brain_first_token(w->brain, w->now_ns, d.request);
		brain_progress(w->brain, w->now_ns, d.request, 2 + bb_rng_below(&w->rng, 600));
	}
	return 0;
}

static int measure(struct whole *w, uint64_t *ns)
{
	const struct request_result left = { .outcome = OUTCOME_CANCELED };
	struct decision d;

	for (uint64_t i = 0; i < w->plan->rounds; i++) {
		prompt_make(w);
		w->now_ns += OS_MS / 10;
		const uint64_t begin_ns = clock_now_ns();
		ask(w, &d);
		ns[i] = clock_now_ns() - begin_ns;
		if (d.action != DECISION_DISPATCH)
			return -BB_EINVALID;
		brain_request_ended(w->brain, w->now_ns, d.request, &left);
	}
	return 0;
}

int bench_whole(const struct whole_plan *plan, uint64_t *ns)
{
	const struct brain_config config = { .seed = 1,
					     .limits.engines_max = plan->engines,
					     .policy = plan->policy };
	struct whole *w = bb_alloc_zero(1, sizeof(*w));
	int rc = w ? 0 : -BB_ENOMEM;

	if (rc)
		return rc;
	w->plan = plan;
	w->now_ns = START_NS;
	w->hash_count = plan->tokens / BLOCK_TOKENS;
	bb_rng_seed(&w->rng, 1);
	w->ids = bb_alloc_zero(plan->engines, sizeof(*w->ids));
	rc = w->hash_count > BLOCKS_MAX ? -BB_ELIMIT : w->ids ? 0 : -BB_ENOMEM;
	if (!rc)
		rc = brain_create(&config, &w->brain);
	if (!rc)
		rc = engines_add(w);
	if (!rc)
		rc = load(w);
	if (!rc)
		rc = measure(w, ns);
	brain_destroy(w->brain);
	bb_free(w->ids);
	bb_free(w);
	return rc;
}
