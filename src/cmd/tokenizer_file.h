/*
 * tokenizer_file.h: a tokenizer from what --tokenizer names.
 *
 * For: the subcommands that take a tokenizer: a folder with tokenizer.json, such a file, or a GGUF
 * file.
 * Threads: the main thread. Memory: the caller destroys the tokenizer.
 * Errors: told on stderr; the exit code of the process (2: not a tokenizer that can be used).
 */
#pragma once

#include <stddef.h>

#include "text/tokenizer.h"

/* `command` begins the messages: "busbar tokenize". */
int tokenizer_file_load(const char *command, const char *path, struct tokenizer **out);
/* Tells why the command failed and returns 1. `path` may be NULL. */
int tokenizer_file_failed(const char *command, const char *path, int rc);
