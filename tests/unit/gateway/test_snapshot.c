/*
 * Goal: a snapshot says about each engine what the configuration says, under the id that the brain
 * gave it and under no other; it lives exactly as long as someone holds it.
 */
#include "unit.h"

#include "base/alloc.h"
#include "gateway/snapshot.h"
#include "os/process.h"

static const char yaml[] =
	"models:\n"
	"  alpha: {engines: [http://one:8000, http://two:8001/base], aliases: [a, aa], served_name: org/alpha}\n"
	"engines:\n"
	"  - {url: http://one:8000, api_key: secret}\n"
	"  - {url: 'http://[::1]:9000', kind: openai, models: [beta]}\n"
	"  - unix:/tmp/engine.sock\n";

static struct config *config(void)
{
	struct config_errors errors;
	struct config *c = NULL;

	config_errors_init(&errors);
	assert_int_equal(config_parse(bb_str_of(yaml), "t.yaml", NULL, &c, &errors), 0);
	config_errors_fini(&errors);
	assert_int_equal(c->engine_count, 4);
	return c;
}

static struct snapshot *snapshot(void)
{
	struct snapshot *s = NULL;
	char why[SNAPSHOT_WHY_SIZE];

	assert_int_equal(snapshot_create(config(), NULL, &s, why), 0);
	return s;
}

static const struct snapshot_engine *by_url(const struct snapshot *s, const char *url)
{
	for (uint32_t i = 0; i < s->config->engine_count; i++)
		if (bb_str_eq(s->config->engines[i].url, bb_str_of(url)))
			return &s->engines[i];
	fail_msg("there is no engine %s", url);
	return NULL;
}

static void test_what_is_derived(void **state)
{
	struct snapshot *s = snapshot();

	assert_str(by_url(s, "http://one:8000")->fields, "Host: one:8000\r\nAuthorization: Bearer secret\r\n");
	assert_str(by_url(s, "http://one:8000")->base, "");
	assert_str(by_url(s, "http://two:8001/base")->fields, "Host: two:8001\r\n");
	assert_str(by_url(s, "http://two:8001/base")->base, "/base");
	assert_str(by_url(s, "http://[::1]:9000")->fields, "Host: [::1]:9000\r\n");
	assert_str(by_url(s, "unix:/tmp/engine.sock")->fields, "Host: localhost\r\n");
	assert_true(s->any_key);
	assert_null(s->listen_tls);
	assert_null(by_url(s, "http://one:8000")->tls);
	snapshot_put(s);
}

static void test_ids(void **state)
{
	struct snapshot *s = snapshot();
	const struct engine_id ids[4] = { { .slot = 5, .generation = 2 },
					  { .slot = 0, .generation = 7 },
					  { .slot = 2, .generation = 1 },
					  { .slot = 9, .generation = 1 } };

	/* Before they are set there is no engine under any id. */
	assert_null(snapshot_engine(s, ids[0]));
	assert_int_equal(snapshot_set_ids(s, ids), 0);
	for (uint32_t i = 0; i < 4; i++) {
		assert_ptr_equal(snapshot_engine(s, ids[i]), &s->engines[i]);
		/* The same slot under another generation is another engine. */
		struct engine_id other = ids[i];
		other.generation++;
		assert_null(snapshot_engine(s, other));
	}
	assert_null(snapshot_engine(s, (struct engine_id){ .slot = 1, .generation = 1 }));
	assert_null(snapshot_engine(s, (struct engine_id){ .slot = 10, .generation = 1 }));
	assert_null(snapshot_engine(s, (struct engine_id){ .slot = UINT32_MAX, .generation = 1 }));
	snapshot_put(s);
}

static void test_plan(void **state)
{
	struct snapshot *s = snapshot();
	struct bb_arena scratch;
	struct plan plan;

	bb_arena_init(&scratch, 1u << 20);
	assert_int_equal(snapshot_plan(s, &scratch, &plan), 0);
	assert_int_equal(plan.engine_count, 4);
	assert_int_equal(plan.model_count, 2);
	const struct plan_model *alpha = NULL, *beta = NULL;
	for (uint32_t i = 0; i < plan.model_count; i++) {
		if (bb_str_eq(plan.models[i].name, BB_STR("alpha")))
			alpha = &plan.models[i];
		if (bb_str_eq(plan.models[i].name, BB_STR("beta")))
			beta = &plan.models[i];
	}
	assert_non_null(alpha);
	assert_non_null(beta);
	assert_int_equal(alpha->alias_count, 2);
	assert_str(alpha->aliases[0], "a");
	assert_str(alpha->aliases[1], "aa");
	assert_str(alpha->served_name, "org/alpha");
	assert_int_equal(alpha->engine_count, 2);
	assert_str(plan.engines[alpha->engines[0]].name, "http://one:8000");
	assert_str(plan.engines[alpha->engines[1]].name, "http://two:8001/base");
	assert_int_equal(beta->engine_count, 1);
	assert_str(plan.engines[beta->engines[0]].name, "http://[::1]:9000");
	/* Nothing says what the last one serves: whatever it lists. */
	uint32_t discovered = 0;
	for (uint32_t i = 0; i < plan.engine_count; i++)
		discovered += plan.engines[i].serves_listed;
	assert_int_equal(discovered, 1);
	bb_arena_fini(&scratch);
	/* Too little room is an error. */
	bb_arena_init(&scratch, 1u << 20);
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_int_equal(snapshot_plan(s, &scratch, &plan), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	bb_arena_fini(&scratch);
	snapshot_put(s);
}

static void test_references(void **state)
{
	struct snapshot *s = snapshot();

	assert_ptr_equal(snapshot_get(s), s);
	assert_ptr_equal(snapshot_get(s), s);
	assert_int_equal(s->refs, 3);
	snapshot_put(s);
	snapshot_put(s);
	assert_str(s->config->models[0].name, "alpha"); /* still there; the last one frees it (ASan looks) */
	snapshot_put(s);
	snapshot_put(NULL);
}

static void hold_often(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		struct snapshot *s = snapshot_get(arg);
		snapshot_put(s);
	}
}

static void test_references_of_many_threads(void **state)
{
	struct snapshot *s = snapshot();
	struct thread threads[4];

	for (int i = 0; i < 4; i++) {
		threads[i] = (struct thread){ .name = "holder", .run = hold_often, .arg = s };
		assert_int_equal(thread_start(&threads[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		thread_join(&threads[i]);
	assert_int_equal(s->refs, 1);
	snapshot_put(s);
}

/* When it fails the configuration is still the caller's. */
static void test_without_memory(void **state)
{
	uint64_t nth = 1;
	char why[SNAPSHOT_WHY_SIZE];

	for (;; nth++) {
		struct config *c = config();
		struct snapshot *s = NULL;
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = snapshot_create(c, NULL, &s, why);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (!rc) {
			const struct engine_id ids[4] = { { .slot = 0, .generation = 1 },
							  { .slot = 1, .generation = 1 },
							  { .slot = 2, .generation = 1 },
							  { .slot = 3, .generation = 1 } };
			bb_alloc_fail_at(1, BB_FAIL_ONCE);
			assert_int_equal(snapshot_set_ids(s, ids), -BB_ENOMEM);
			bb_alloc_fail_at(0, BB_FAIL_ONCE);
			snapshot_put(s);
			break;
		}
		assert_int_equal(rc, -BB_ENOMEM);
		assert_true(why[0]);
		config_free(c);
	}
	assert_true(nth > 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_derived),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_references_of_many_threads),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
