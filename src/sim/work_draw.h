/*
 * work_draw.h: random numbers of the distributions that workloads are made of.
 *
 * For: work_make. From a seeded generator and exact functions: the same on every machine.
 * Threads: one owner of the generator. Memory: none. Errors: none.
 */
#pragma once

#include <stdint.h>

#include "base/hash.h"

/* Exponential. */
double draw_exp(struct bb_rng *rng, double mean);
/* Gamma with this shape (> 0), by Marsaglia and Tsang, "A simple method for generating gamma
 * variables", ACM TOMS 26 (2000). */
double draw_gamma(struct bb_rng *rng, double shape, double mean);
/* A number of tokens, at least 1: a quarter of the mean, and the rest exponential. */
uint32_t draw_tokens(struct bb_rng *rng, double mean);
/* Geometric from 1, with this mean (> 1) but for the cut at `max`. */
uint32_t draw_count(struct bb_rng *rng, double mean, uint32_t max);
/* From 0 … count−1, k with a weight of 1/(k+1); close to it for large counts. */
uint32_t draw_rank(struct bb_rng *rng, uint32_t count);
