/*
 * sim_workload.h: `busbar sim workload`. argv[0] is "workload".
 *
 * For: sim.c. Threads: the main thread. Memory: given back. Errors: told on stderr; the result is
 * the process's exit code.
 */
#pragma once

int sim_workload(int argc, char **argv);
