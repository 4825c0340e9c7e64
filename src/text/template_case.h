/*
 * template_case.h: characters whose upper or title case is more than one character.
 *
 * For: template_chars. Threads: constant data. Memory: static. Errors: none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum case_kind { CASE_UPPER, CASE_TITLE };
/* How many code points were put into `out`; 0: the character is not one of these. */
uint32_t case_special(uint32_t code, enum case_kind kind, uint32_t out[3]);
