/*
 * Goal: fault specifications are read in full or refused with a sentence, faults befall as many
 * requests as they are meant to, and one seed gives one sequence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/fault.h"

static void test_parse(void **state)
{
	struct sim_faults f = { 0 };
	const char *why = NULL;

	assert_int_equal(sim_faults_parse(BB_STR("cut:3@0.25, slow:2.5,503 ,die"), &f, &why), 0);
	assert_int_equal(f.mask, 1u << SIM_FAULT_CUT | 1u << SIM_FAULT_SLOW | 1u << SIM_FAULT_BUSY |
					 1u << SIM_FAULT_DIE);
	assert_true(f.arg[SIM_FAULT_CUT] == 3 && f.probability[SIM_FAULT_CUT] == 0.25);
	assert_true(f.arg[SIM_FAULT_SLOW] == 2.5 && f.probability[SIM_FAULT_SLOW] == 1);
	assert_true(f.arg[SIM_FAULT_DIE] < 0);
	/* Named again: replaced. */
	assert_int_equal(sim_faults_parse(BB_STR("cut@0.5"), &f, &why), 0);
	assert_true(f.arg[SIM_FAULT_CUT] < 0 && f.probability[SIM_FAULT_CUT] == 0.5);
	assert_true(f.arg[SIM_FAULT_SLOW] == 2.5);
	f = (struct sim_faults){ 0 };
	assert_int_equal(sim_faults_parse(BB_STR("  "), &f, &why), 0);
	assert_int_equal(f.mask, 0);
}

static void test_every_fault_has_a_word(void **state)
{
	static const struct bb_str words[] = {
#define X(name, word, arg, text) BB_STR_INIT(word),
		SIM_FAULTS(X)
#undef X
	};

	for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
		struct sim_faults f = { 0 };
		const char *why = NULL;
		const int rc = sim_faults_parse(words[i], &f, &why);
		assert_int_equal(rc, i == SIM_FAULT_SLOW ? -BB_EINVALID : 0);
		assert_int_equal(f.mask, i == SIM_FAULT_SLOW ? 0 : 1u << i);
	}
}

static void test_refused(void **state)
{
	static const struct bb_str specs[] = {
		BB_STR_INIT("nothing"),     BB_STR_INIT("cut:"),     BB_STR_INIT("cut:x"),
		BB_STR_INIT("cut:-1"),      BB_STR_INIT("cut:1e99"), BB_STR_INIT("hang:1"),
		BB_STR_INIT("cut@"),        BB_STR_INIT("cut@1.5"),  BB_STR_INIT("cut@-0.5"),
		BB_STR_INIT("cut@nan"),     BB_STR_INIT("slow"),     BB_STR_INIT("hang,,cut"),
		BB_STR_INIT("refuse;hang"), BB_STR_INIT("CUT"),      BB_STR_INIT("cut:1:2"),
	};

	for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
		struct sim_faults f = { .mask = 5 };
		const char *why = NULL;
		assert_int_equal(sim_faults_parse(specs[i], &f, &why), -BB_EINVALID);
		assert_non_null(why);
		assert_int_equal(f.mask, 5);
	}
}

static void test_draw(void **state)
{
	struct sim_faults f = { 0 };
	struct sim_fault_draw d;
	struct bb_rng rng, again;
	const char *why;
	int cuts = 0, hangs = 0, slows = 0;

	assert_int_equal(sim_faults_parse(BB_STR("cut:7@0.25,hang@0,slow:2"), &f, &why), 0);
	bb_rng_seed(&rng, 42);
	bb_rng_seed(&again, 42);
	for (int i = 0; i < 4000; i++) {
		struct sim_fault_draw same;
		sim_faults_draw(&f, &rng, &d);
		sim_faults_draw(&f, &again, &same);
		assert_int_equal(d.mask, same.mask);
		cuts += sim_fault_is(&d, SIM_FAULT_CUT);
		hangs += sim_fault_is(&d, SIM_FAULT_HANG);
		slows += sim_fault_is(&d, SIM_FAULT_SLOW);
		if (sim_fault_is(&d, SIM_FAULT_CUT))
			assert_true(d.arg[SIM_FAULT_CUT] == 7);
	}
	assert_in_range(cuts, 850, 1150);
	assert_int_equal(hangs, 0);
	assert_int_equal(slows, 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_every_fault_has_a_word),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_draw),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
