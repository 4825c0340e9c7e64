/*
 * bench_index.h: `busbar bench index`.
 *
 * For: bench.c. Threads: the main thread. Memory: none is left. Errors: told on stderr; the exit
 * code of the process.
 */
#pragma once

/* argv[0] is "index". */
int bench_index(int argc, char **argv);
