/*
 * replay_journal.h: `busbar replay` of a journal: its decisions made again and compared, and
 * what-if.
 *
 * For: replay_command.c. Threads: the main thread. Memory: what it reads, one file at a time.
 * Errors: told on stderr; the exit code is returned.
 */
#pragma once

int replay_journal(int argc, char **argv);
