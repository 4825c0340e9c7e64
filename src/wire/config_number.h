/*
 * config_number.h: the keys of the configuration whose value is a number: counts, durations,
 * sizes, and choices (the index of the choice).
 *
 * For: reading and printing the configuration by its table.
 * Threads: pure. Memory: the caller's.
 * Errors: -BB_EINVALID with a sentence in `why`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "wire/config_table.h"

bool config_number_is_type(enum config_key_type type);
/* The value of a text, within the key's range. What is wrong is appended to `why`. */
BB_MUST int config_number_parse(const struct config_key *key, struct bb_str text, uint64_t *out,
				struct bb_buf *why);
/* The reverse, in the largest unit that loses nothing: "10m" "32KiB" "info". */
void config_number_print(const struct config_key *key, uint64_t value, struct bb_buf *out);
/* Reads and sets the key's member of the struct at `base`. */
uint64_t config_number_load(const struct config_key *key, const void *base);
void config_number_store(const struct config_key *key, void *base, uint64_t value);
