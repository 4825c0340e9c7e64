/*
 * bench_prompt.h: `busbar bench prompt`.
 *
 * For: bench.c. Threads: the main thread. Memory: none is left. Errors: told on stderr; the exit
 * code of the process.
 */
#pragma once

/* argv[0] is "prompt". */
int bench_prompt(int argc, char **argv);
