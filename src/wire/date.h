/*
 * date.h: moments as text, and calendar months.
 *
 * For: dates in the configuration ("2026-12-31", RFC 3339), budgets per calendar month. All in
 * UTC by the Gregorian calendar, without the system's time zones.
 * Threads: pure functions. Memory: none.
 * Errors: -BB_EINVALID for what is no date; the output is untouched.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * "2026-12-31" (its first moment, in UTC), "2026-12-31T18:00:00Z" or with an offset, "…+02:00";
 * RFC 3339 §5.6 without fractions. Seconds since 1970 from the years 1970 to 9999.
 */
BB_MUST int date_parse(struct bb_str text, uint64_t *unix_s);
/* "2026-12-31" when that says all, else "2026-12-31T18:00:00Z". */
void date_write(uint64_t unix_s, struct bb_buf *out);
/* A number for the calendar month of a moment: year * 12 + month - 1. */
uint64_t date_month(uint64_t unix_s);
/* The first second of a month. */
uint64_t date_month_begin(uint64_t month);
