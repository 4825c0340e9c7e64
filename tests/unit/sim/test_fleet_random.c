/*
 * Goal: whatever the workload, the engines, the policy, the lags and the faults: each request ends
 * exactly once, with all of its tokens or for a reason; reservations sum up to zero; no engine
 * holds more than it has; nobody waits for ever; and the same seed gives the same decisions.
 *
 * `make sim-fuzz SEEDS=1000` runs more of them (BUSBAR_SEEDS), BUSBAR_SEED=n that one.
 */
#include "unit.h"

#include <stdlib.h>

#include "base/hash.h"
#include "brain/policy/policy.h"
#include "sim/sim_fleet.h"

#define SEEDS 200
#define REQUESTS 160
#define ENGINES 5
#define FAULTS 4
#define MS 1000000ull
#define WAIT_NS_MAX (600000 * MS) /* of the longest of 160 requests: 203 s in 3,000 seeds */

struct scene {
	struct bb_rng rng;
	struct workload work;
	struct fleet_group groups[ENGINES];
	struct fleet_fault faults[FAULTS];
	struct fleet_config c;
};

static uint32_t below(struct scene *s, uint32_t bound)
{
	return (uint32_t)bb_rng_below(&s->rng, bound);
}

static bool chance(struct scene *s, uint32_t one_in)
{
	return below(s, one_in) == 0;
}

/* Conversations with a prompt in common, bursts, long prompts, and requests that stand alone. */
static void make_work(struct scene *s)
{
	const uint32_t pace_ms = 1 + below(s, 300);
	uint64_t due_ns = 0;

	workload_init(&s->work);
	for (uint32_t i = 0; i < REQUESTS; i++) {
		struct work_request q = { .after = WORK_NONE, .session = i };
		int rc = 0;
		due_ns += chance(s, 4) ? 0 : below(s, 2 * pace_ms) * MS;
		q.due_ns = due_ns;
		if (i > 4 && chance(s, 3)) {
			q.after = below(s, i);
			q.session = s->work.requests[q.after].session;
			q.due_ns = below(s, 3000) * MS;
			rc = workload_turns(&s->work, q.after);
		} else if (chance(s, 2)) {
			rc = workload_span(&s->work, below(s, 4), 0, 16 * (1 + below(s, 100)));
		}
		assert_int_equal(rc, 0);
		const uint32_t own = 1 + below(s, chance(s, 10) ? 6000 : 400);
		assert_int_equal(workload_span(&s->work, work_own(i), 0, own), 0);
		q.output_tokens = 1 + below(s, chance(s, 6) ? 900 : 120);
		assert_int_equal(workload_add(&s->work, &q), 0);
	}
	assert_int_equal(workload_seal(&s->work), 0);
}

static void make_engines(struct scene *s)
{
	static const char *const names[] = { "mock", "8b", "70b" };
	static const uint32_t blocks[] = { 16, 32, 64 };
	const uint32_t count = 1 + below(s, ENGINES);

	for (uint32_t i = 0; i < count; i++) {
		struct step_profile *const p = &s->groups[i].profile;
		assert_int_equal(step_profile_named(bb_str_of(names[below(s, 3)]), p), 0);
		p->params.variant = (enum step_variant)below(s, 3);
		p->params.block_tokens = blocks[below(s, 3)];
		p->params.blocks = (9000 + below(s, 40000)) / p->params.block_tokens;
		p->params.sequences_max = 1 + below(s, 64);
		p->params.step_tokens = 64 + below(s, 8192);
		s->groups[i].count = 1;
	}
	s->c.groups = s->groups;
	s->c.group_count = count;
}

static void make_faults(struct scene *s)
{
	s->c.faults = s->faults;
	s->c.fault_count = chance(s, 3) ? 0 : below(s, FAULTS + 1);
	for (uint32_t i = 0; i < s->c.fault_count; i++)
		s->faults[i] = (struct fleet_fault){
			.kind = (enum fleet_fault_kind)below(s, FLEET_FAULT_KINDS),
			.engine = below(s, s->c.group_count),
			.at_ns = chance(s, 4) ? 0 : below(s, 20000) * MS,
			.for_ns = below(s, 15000) * MS,
			.arg = 1 + below(s, 20),
		};
}

static struct scene *scene_create(uint64_t seed)
{
	struct scene *s = test_calloc(1, sizeof(*s));
	uint32_t policies = 0;

	bb_rng_seed(&s->rng, seed);
	fleet_config_init(&s->c);
	make_work(s);
	make_engines(s);
	make_faults(s);
	while (policy_at(policies))
		policies++;
	s->c.work = &s->work;
	s->c.policy = chance(s, 2) ? POLICY_DEFAULT : policy_at(below(s, policies))->name;
	s->c.is_at_once = chance(s, 4);
	s->c.knows_output = chance(s, 8);
	s->c.seed = seed;
	s->c.has_kv_events = !chance(s, 4);
	s->c.kv_lag_ns = chance(s, 3) ? 0 : below(s, 2000) * MS;
	s->c.report_lag_ns = below(s, 900) * MS;
	s->c.cancel_share = chance(s, 3) ? 0.01 * below(s, 50) : 0;
	s->c.is_checked = true;
	return s;
}

static void scene_destroy(struct scene *s)
{
	workload_fini(&s->work);
	test_free(s);
}

/* NULL: all is well with it. */
static const char *wrong_with(const struct scene *s, const struct fleet_record *rec,
			      const struct work_request *q)
{
	switch ((enum fleet_outcome)rec->outcome) {
	case FLEET_OK:
		if (rec->generated != q->output_tokens)
			return "not all tokens";
		if (rec->cached >= q->prompt_tokens)
			return "more cached than there was";
		if (rec->started_ns - rec->due_ns > WAIT_NS_MAX)
			return "it waited too long";
		return rec->due_ns <= rec->sent_ns && rec->sent_ns <= rec->started_ns &&
				       rec->started_ns < rec->first_ns &&
				       rec->first_ns <= rec->end_ns
			       ? NULL
			       : "times out of order";
	case FLEET_CANCELED: return s->c.cancel_share > 0 ? NULL : "nobody left";
	case FLEET_BROKEN: return s->c.fault_count ? NULL : "nothing broke";
	case FLEET_REJECTED: return s->c.fault_count ? NULL : "rejected";
	case FLEET_TOO_LONG: return NULL;
	case FLEET_UNFINISHED: return "it never ended";
	}
	return "no such outcome";
}

static bool is_well(const struct scene *s, const struct fleet_result *r, char why[160])
{
	if (r->faults_found) {
		snprintf(why, 160, "%s", r->fault);
		return false;
	}
	for (uint32_t i = 0; i < r->count; i++) {
		const char *const what = wrong_with(s, &r->records[i], &s->work.requests[i]);
		if (what) {
			snprintf(why, 160, "request %u: %s", i, what);
			return false;
		}
	}
	return true;
}

static bool play(uint64_t seed, char why[160])
{
	struct fleet_result first, second;
	struct scene *s = scene_create(seed);

	assert_int_equal(fleet_run(&s->c, &first), 0);
	assert_int_equal(fleet_run(&s->c, &second), 0);
	bool is_ok = is_well(s, &first, why);
	if (is_ok && first.digest != second.digest) {
		snprintf(why, 160, "two runs differ");
		is_ok = false;
	}
	fleet_result_fini(&first);
	fleet_result_fini(&second);
	scene_destroy(s);
	return is_ok;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t value;

	return text && bb_parse_u64(bb_str_of(text), &value) == 0 ? value : otherwise;
}

static void test_seeds(void **state)
{
	const uint64_t one = number_from("BUSBAR_SEED", UINT64_MAX);
	const uint64_t first = one != UINT64_MAX ? one : 0;
	const uint64_t count =
		one != UINT64_MAX ? 1 : number_from("BUSBAR_SEEDS", UNIT_ROUNDS(SEEDS));
	uint32_t failed = 0;

	for (uint64_t seed = first; seed < first + count; seed++) {
		char why[160] = "";
		if (play(seed, why))
			continue;
		print_error("seed %llu: %s; again: make sim-fuzz SEED=%llu\n",
			    (unsigned long long)seed, why, (unsigned long long)seed);
		failed++;
	}
	assert_int_equal(failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_seeds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
