/*
 * shield_regex.h: how large would the automaton of a regular expression be?
 *
 * For: shield.c. Engines compile the expressions of clients for constrained output; counted
 * repetitions multiply, so that a few bytes such as ((a{1000}){1000}){1000} fill a machine's
 * memory. This is an estimate that errs on the side of more, not a check of the syntax, which
 * differs from engine to engine.
 * Threads: pure functions. Memory: none is taken. Errors: none.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"

#define SHIELD_REGEX_STATES_MAX 100000
#define SHIELD_REGEX_GROUPS_MAX 32 /* nested */

/*
 * `inner` is the text between a JSON string's quotes, escapes as they are. An estimate of the
 * states, UINT64_MAX when groups are nested deeper than SHIELD_REGEX_GROUPS_MAX.
 */
uint64_t shield_regex_states(struct bb_str inner);
