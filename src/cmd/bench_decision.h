/*
 * bench_decision.h: `busbar bench decision`.
 *
 * For: bench.c. Threads: the main thread. Memory: none is left. Errors: told on stderr; the exit
 * code of the process.
 */
#pragma once

/* argv[0] is "decision". */
int bench_decision(int argc, char **argv);
