/*
 * bench_tokenizer.h: `busbar bench tokenizer`.
 *
 * For: bench.c, which picks it. argv[0] is "tokenizer"; returns the exit code of the process.
 * Threads: the main thread. Memory: frees what it takes. Errors: told on stderr.
 */
#pragma once

int bench_tokenizer(int argc, char **argv);
