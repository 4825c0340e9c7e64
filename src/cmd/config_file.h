/*
 * config_file.h: a configuration from a file, with the variables of this process.
 *
 * For: the subcommands that take a configuration.
 * Threads: any; the environment must not be changed meanwhile. Reading blocks.
 * Memory: the caller frees the configuration.
 * Errors: -BB_EINVALID with entries in the list, -BB_ESYSTEM with errno kept when the file cannot
 * be read, -BB_ENOMEM.
 */
#pragma once

#include "base/err.h"
#include "wire/config.h"

#define CONFIG_FILE_POLICIES_MAX 32

/* Fills in the names of the brain's policies, with NULL at the end. */
void config_file_policies(const char *names[CONFIG_FILE_POLICIES_MAX + 1]);
/* `path` "-" is standard input. */
BB_MUST int config_file_read(const char *path, struct config **out, struct config_errors *errors);
/* What to call it in messages: "standard input" or the path. */
const char *config_file_name(const char *path);
/* The same, with everything that is wrong written to stderr; 0 or the exit code of the process. */
BB_MUST int config_file_load(const char *path, struct config **out);
