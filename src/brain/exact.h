/*
 * exact.h: exponential and logarithm that give the same bits on every machine.
 *
 * For: what the brain learns. The C library picks among versions of exp and log by the processor's
 * features, and they differ in the last bit; a journal written on one machine would then not be
 * reproduced on another (docs/adr/0009-the-same-bits-everywhere.md). These use only additions,
 * multiplications and divisions of IEEE 754 doubles in a fixed order; the build forbids fused ones
 * (-ffp-contract=off). Threads: pure. Memory: none. Errors: none; within 4 units in the last place
 * of the true value.
 */
#pragma once

/* 0 below −708, infinity above 709. */
double exact_exp(double x);
/* Of a normal number above 0; otherwise NaN. */
double exact_log(double x);
