/*
 * cmd.h: the subcommands of `busbar`.
 *
 * For: main.c, which picks one by its name. Each has argv[0] = its own name and returns the exit
 * code of the process: 0 done, 1 failed, 2 wrong usage or configuration.
 * Threads: the main thread. Memory: each frees what it takes. Errors: told on stderr.
 */
#pragma once

int cmd_serve(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_keys(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_detokenize(int argc, char **argv);
int cmd_render(int argc, char **argv);
int cmd_sim(int argc, char **argv);
int cmd_bench(int argc, char **argv);
