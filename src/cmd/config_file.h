/*
 * config_file.h: a configuration from a file, with the variables of this process.
 *
 * For: the subcommands that take a configuration.
 * Threads: any; the environment must not be changed meanwhile. Reading blocks.
 * Memory: the caller frees the configuration.
 * Errors: -BB_EINVALID (mistakes), -BB_ESYSTEM (a file cannot be read), -BB_ENOMEM; each is told
 * in the report.
 */
#pragma once

#include "base/err.h"
#include "wire/config.h"

#define CONFIG_FILE_POLICIES_MAX 32
#define CONFIG_FILE_PATH_SIZE 8192

/* Fills in the names of the brain's policies, with NULL at the end. */
void config_file_policies(const char *names[CONFIG_FILE_POLICIES_MAX + 1]);
/*
 * Reads a configuration and the file of keys that it names, or `keys_path` instead. `path` "-" is
 * standard input, NULL an empty configuration. What is wrong is written to `report`, a line each.
 * The path of the file of keys goes to `keys_name` (CONFIG_FILE_PATH_SIZE bytes; may be NULL).
 */
BB_MUST int config_file_read(const char *path, const char *keys_path, struct config **out,
			     char *keys_name, struct bb_buf *report);
/* What to call it in messages: "standard input" or the path. */
const char *config_file_name(const char *path);
/*
 * The same, with everything that is wrong or worth a warning written to stderr; 0 or the exit code
 * of the process.
 */
BB_MUST int config_file_load(const char *path, struct config **out);
/* The exit code for an error of config_file_read. */
int config_file_exit(int rc);
