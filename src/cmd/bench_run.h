/*
 * bench_run.h: `busbar bench run`: workloads before real servers. argv[0] is "run".
 *
 * For: bench.c. Threads: the main thread. Memory: given back. Errors: told on stderr; the result is the
 * process's exit code.
 */
#pragma once

int bench_run(int argc, char **argv);
