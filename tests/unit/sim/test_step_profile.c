/*
 * Goal: engines by name, from the catalogue and from a file are those that were meant; a file that
 * is wrong is refused with the member's name; times of steps are those of the formulas.
 */
#include "unit.h"

#include "sim/step_profile.h"

static double step_ms(const struct step_profile *p, uint32_t prompt, uint32_t streams, double kv)
{
	const struct step_load l = { .prompts = prompt > 0,
				     .prompt_tokens = prompt,
				     .streams = streams,
				     .kv_tokens = kv,
				     .kv_share = kv / p->params.block_tokens / p->params.blocks };

	return step_cost_ms(&p->params.cost, &l);
}

static void near(double value, double expected)
{
	if (!(value > expected * 0.999 && value < expected * 1.001))
		fail_msg("%g is not %g", value, expected);
}

static void test_names(void **state)
{
	struct step_profile p;

	for (uint32_t i = 0; step_profile_name_at(i); i++)
		assert_int_equal(step_profile_named(bb_str_of(step_profile_name_at(i)), &p), 0);
	assert_int_equal(step_profile_named(BB_STR("9b"), &p), -BB_EABSENT);
	assert_int_equal(step_profile_named(BB_STR("H100:9b"), &p), -BB_EABSENT);
	assert_int_equal(step_profile_named(BB_STR("H100x:qwen3-4b"), &p), -BB_EABSENT);
	assert_int_equal(step_profile_named(BB_STR("H100x0:qwen3-4b"), &p), -BB_EABSENT);
	assert_int_equal(step_profile_named(BB_STR("T4:llama-3.1-70b"), &p), -BB_ELIMIT);
	assert_int_equal(step_profile_named(BB_STR("H100x4:llama-3.1-70b"), &p), 0);
	assert_int_equal(p.gpus, 4);
	assert_string_equal(p.name, "H100x4:llama-3.1-70b");
	assert_int_equal(step_profile_named(BB_STR("h100:Llama-3.1-8B"), &p), 0);
	assert_int_equal(p.gpus, 1);
	/* 76.5 GB less 2.5 and 16.06, by 131,072 bytes a token. */
	assert_in_range((uint64_t)p.params.blocks * p.params.block_tokens, 430000, 445000);
}

static void test_times(void **state)
{
	struct step_profile p;

	assert_int_equal(step_profile_named(BB_STR("8b"), &p), 0);
	/* 8,192 tokens of 16.06 GFLOP at 544 TFLOP/s. */
	near(step_ms(&p, 8192, 0, 0), 8192 * 16.06e9 / 543.95e12 * 1e3 + 2.51);
	/* 16.06 GB of weights and 100,000 tokens at 2.68 TB/s. */
	near(step_ms(&p, 0, 10, 1e5), (16.06e9 + 1e5 * 131072) / 2.68e12 * 1e3 + 2.6);
	assert_int_equal(step_profile_named(BB_STR("mock"), &p), 0);
	near(step_ms(&p, 1000, 0, 0), 16.50142 + 15.18344 + 0.4209989);
	near(step_ms(&p, 0, 1, 524288), 5.74 + 0.5 * 54.01 - 0.25 * 25.74);
	near(step_ms(&p, 1000, 1, 524288), 16.50142 + 15.18344 + 0.4209989 + 26.31);
}

static void test_file(void **state)
{
	struct step_profile p;
	char why[STEP_WHY_SIZE] = "";

	assert_int_equal(
		step_profile_read(
			BB_STR("{\"base\":\"mock\",\"engine\":\"sglang\",\"block_tokens\":16,"
			       "\"kv_tokens\":32000,\"sequences_max\":4,\"step_tokens\":512,"
			       "\"prompt\":[[100,10],[200,15],[400,35]],\"speed\":2,"
			       "\"stream\":{\"streams\":[1,4],\"kv_tokens\":[0,1000],"
			       "\"ms\":[[10,12],[16,24]]}}"),
			&p, why),
		0);
	assert_int_equal(p.params.variant, STEP_SGLANG);
	assert_int_equal(p.params.blocks, 2000);
	struct step_load l = { .prompts = 1, .prompt_tokens = 50 };
	near(step_cost_ms(&p.params.cost, &l), 5);
	l.prompt_tokens = 300;
	near(step_cost_ms(&p.params.cost, &l), 12.5);
	l.prompt_tokens = 500;
	near(step_cost_ms(&p.params.cost, &l), 22.5);
	l = (struct step_load){ .streams = 2, .stream_contexts = 500 };
	near(step_cost_ms(&p.params.cost, &l), (11 + (20 - 11) / 3.0) / 2);
	l.streams = 1, l.stream_contexts = 2000;
	near(step_cost_ms(&p.params.cost, &l), 7);
}

static void test_wrong_files(void **state)
{
	static const struct {
		const char *json, *why;
	} wrong[] = {
		{ "[]", "it is not a JSON object" },
		{ "{", "it is not a JSON object" },
		{ "{\"base\":\"9b\"}", "\"base\" is not the name of a profile" },
		{ "{\"base\":3}", "\"base\" must be the name of a profile" },
		{ "{\"blocs\":3}", "\"blocs\" is not a member of a profile" },
		{ "{\"blocks\":0}", "\"blocks\" must be a number from 1 to 2.68435e+08" },
		{ "{\"engine\":\"tgi\"}", "\"engine\" must be \"vllm\", \"sglang\" or \"trtllm\"" },
		{ "{\"kv_tokens\":3}", "\"kv_tokens\" must be at least \"block_tokens\"" },
		{ "{\"step_tokens\":3}",
		  "\"step_tokens\" must not be less than \"sequences_max\"" },
		{ "{\"prompt\":[[1,2]]}", "\"prompt\" and \"stream\" go together" },
		{ "{\"prompt\":[[1,2],[1,3]]}", "\"prompt\" must have rising numbers of tokens" },
		{ "{\"prompt\":[]}", "\"prompt\" is empty" },
		{ "{\"prompt\":[[1]]}", "\"prompt\" must be a list of [tokens, ms]" },
		{ "{\"stream\":{}}", "\"stream\" needs \"streams\", \"kv_tokens\" and \"ms\"" },
		{ "{\"stream\":{\"streams\":[1],\"kv_tokens\":[1,2],\"ms\":[[1]]}}",
		  "\"stream\" needs one \"ms\" for each of \"kv_tokens\" in each row" },
		{ "{\"stream\":{\"streams\":[1,2],\"kv_tokens\":[1],\"ms\":[[1]]}}",
		  "\"stream\" needs a row of \"ms\" for each of \"streams\"" },
	};

	for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
		struct step_profile p = { .gpus = 77 };
		char why[STEP_WHY_SIZE] = "";
		assert_true(step_profile_read(bb_str_of(wrong[i].json), &p, why) < 0);
		assert_string_equal(why, wrong[i].why);
		assert_int_equal(p.gpus, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_wrong_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
