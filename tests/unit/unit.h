/*
 * unit.h: what every unit test needs: cmocka with the headers that it wants before it, a comparison
 * of slices, a number of rounds.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

#define UNIT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Rounds of a random test: a tenth of them where each takes many times as long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(UNIT_SLOW_BUILD)
#define UNIT_ROUNDS(count) ((count) / 10)
#else
#define UNIT_ROUNDS(count) (count)
#endif

static inline void assert_str_at(const char *file, int line, struct bb_str s, const char *expected)
{
	if (bb_str_eq(s, bb_str_of(expected)))
		return;
	print_error("\"%.*s\" is not \"%s\"\n", BB_ARG(s), expected);
	_fail(file, line);
}

#define assert_str(...) assert_str_at(__FILE__, __LINE__, __VA_ARGS__)
