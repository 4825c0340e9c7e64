/*
 * config_errors.h: what is wrong with a configuration, all of it at once.
 *
 * For: the readers of the configuration file, which report every mistake with its place, so that
 * a user mends the file in one go.
 * Threads: one owner. Memory: the list owns its texts until config_errors_fini.
 * Errors: adding never fails: mistakes beyond CONFIG_ERRORS_MAX, or without memory for a text,
 * are still counted.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

#define CONFIG_ERRORS_MAX 64

/* Line and column count from 1, in characters; line 0 means "not from a file". */
struct config_place {
	uint32_t line;
	uint32_t column;
};

struct config_error {
	struct config_place place;
	struct bb_str text; /* one sentence without a full stop */
};

struct config_errors {
	struct config_error items[CONFIG_ERRORS_MAX]; /* in the order of their places */
	uint32_t count;				      /* of `items` */
	uint32_t unlisted_count;		      /* mistakes for which there was no room */
	struct bb_arena arena;
};

void config_errors_init(struct config_errors *e);
void config_errors_fini(struct config_errors *e);
void config_errors_add(struct config_errors *e, struct config_place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* One line for each: "busbar.yaml:12:9: error: unknown key 'retires' in 'upstream' (…)". */
void config_errors_print(const struct config_errors *e, const char *file_name, struct bb_buf *out);
