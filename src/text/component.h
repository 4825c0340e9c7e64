/*
 * component.h: the members of a component of tokenizer.json ({"type": …, …}).
 *
 * For: normalizers, pre-tokenizers, decoders and models reading their options.
 * Threads: pure functions. Memory: decoded texts come from the arena or buffer given, or point
 * into the JSON text. Errors: -BB_EINVALID with a message that names component and member;
 * -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

/* A chain (Sequence) has at most this many steps, counted through chains inside of it. */
#define COMPONENT_STEPS_MAX 64

struct component {
	const char *room; /* "normalizer": for messages */
	struct bb_str json;
	struct bb_str type; /* "" when the object does not say; points into the JSON */
	struct text_error *error;
};

/* `json`: the raw object. The type must be a string without escapes. */
BB_MUST int component_init(struct component *c, const char *room, struct bb_str json,
			   struct text_error *error);
bool component_is(const struct component *c, const char *type);
bool component_has(const struct component *c, const char *name);

/* The member must be there. Strings are decoded into the arena. */
BB_MUST int component_string(const struct component *c, const char *name, struct bb_arena *arena,
			     struct bb_str *out);
BB_MUST int component_bool(const struct component *c, const char *name, bool *out);
BB_MUST int component_u64(const struct component *c, const char *name, uint64_t *out);
/* A string of exactly one character. */
BB_MUST int component_char(const struct component *c, const char *name, uint32_t *out);
/* The raw text of a member that must be an array. */
BB_MUST int component_array(const struct component *c, const char *name, struct bb_str *out);

/* The same where absent or null leaves *out as it is. */
BB_MUST int component_bool_or(const struct component *c, const char *name, bool *out);
BB_MUST int component_string_or(const struct component *c, const char *name, struct bb_arena *arena,
				struct bb_str *out);

/* {"String": …} or {"Regex": …}: whose text goes to *out. */
enum component_pattern { COMPONENT_STRING, COMPONENT_REGEX };
BB_MUST int component_pattern(const struct component *c, const char *name, struct bb_arena *arena,
			      enum component_pattern *kind, struct bb_str *out);

/* Sets "tokenizer.json: normalizer: Strip: <text>" and returns -BB_EINVALID. */
BB_MUST int component_wrong(const struct component *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The type is none of `known`. */
BB_MUST int component_unsupported(const struct component *c, const char *known);
