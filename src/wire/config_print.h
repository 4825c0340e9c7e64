/*
 * config_print.h: a configuration as YAML, and the keys as documentation.
 *
 * For: `busbar check --print` and `busbar check --keys`.
 * Threads: pure. Memory: text goes into the caller's buffer.
 * Errors: as a buffer has them: look at `out->err` afterwards.
 */
#pragma once

#include "base/buf.h"
#include "wire/config.h"

/*
 * Every key with the value that is in effect. Read again, it gives the same configuration, except
 * for secrets, which are shown as "***".
 */
void config_print(const struct config *c, struct bb_buf *out);
/*
 * The reference of all keys in Markdown: a heading and a table for each section. `policies` as in
 * struct config_env.
 */
void config_print_keys(const char *const *policies, struct bb_buf *out);
