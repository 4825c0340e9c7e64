/*
 * gguf.h: the metadata of a GGUF file.
 *
 * For: the vocabulary and the chat templates that come with a model in llama.cpp's format. Reads
 * what stands before the tensors and nothing else.
 * Format: GGUF 2 and 3, little-endian: magic, version, number of tensors, number of pairs, pairs of
 * key, type and value. Arrays of arrays do not occur and are refused.
 * Limits: GGUF_PAIRS_MAX pairs, keys of GGUF_KEY_MAX bytes.
 * Threads: read by any once it is open. Memory: an index of the pairs; texts and arrays point into
 * the file's bytes, which must stay.
 * Errors: gguf_open: -BB_EINVALID with a message that says at which byte; -BB_ENOMEM. Getters say
 * false when the key is not there or its value has another type.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

#define GGUF_PAIRS_MAX 65536
#define GGUF_KEY_MAX 65535

enum gguf_type {
	GGUF_U8,
	GGUF_I8,
	GGUF_U16,
	GGUF_I16,
	GGUF_U32,
	GGUF_I32,
	GGUF_F32,
	GGUF_BOOL,
	GGUF_STRING,
	GGUF_ARRAY,
	GGUF_U64,
	GGUF_I64,
	GGUF_F64,
	GGUF_TYPE_COUNT,
};

struct gguf_pair {
	struct bb_str key;
	enum gguf_type type;
	enum gguf_type element; /* of an array */
	uint64_t count;		/* of an array's elements */
	struct bb_str bytes;	/* a text without its length; a number's or an array's bytes */
};

struct gguf {
	uint32_t version;
	uint64_t tensor_count;
	struct gguf_pair *pairs; /* in the file's order */
	size_t count;
};

/* Checks all pairs. `file` may be cut off behind them. */
BB_MUST int gguf_open(struct bb_str file, struct gguf *g, struct text_error *e);
void gguf_close(struct gguf *g);

/* NULL when absent. Of equal keys the first. */
const struct gguf_pair *gguf_find(const struct gguf *g, const char *key);
bool gguf_string(const struct gguf *g, const char *key, struct bb_str *out);
/* A whole number of any type that is not negative. */
bool gguf_u64(const struct gguf *g, const char *key, uint64_t *out);
bool gguf_bool(const struct gguf *g, const char *key, bool *out);
/* An array with this type of elements. */
const struct gguf_pair *gguf_array(const struct gguf *g, const char *key, enum gguf_type element);

/* Element i of an array of numbers, i < count. */
int64_t gguf_array_int(const struct gguf_pair *array, uint64_t i);
double gguf_array_float(const struct gguf_pair *array, uint64_t i);
/* Takes the texts of an array of texts one by one: *at is 0 at first. */
struct bb_str gguf_array_text(const struct gguf_pair *array, size_t *at);

/*
 * Chat templates: `name` "" gives tokenizer.chat_template, another name
 * tokenizer.chat_template.NAME ("tool_use", "rag").
 */
bool gguf_template(const struct gguf *g, struct bb_str name, struct bb_str *out);
