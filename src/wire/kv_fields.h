/*
 * kv_fields.h: the names of the fields of KV events.
 *
 * For: kv_events.c reads them, kv_events_write.c writes them. Threads: constant data.
 * Memory: static. Errors: none.
 */
#pragma once

#include "base/str.h"

#define FIELDS(X)                                                                                  \
	X(TYPE, "type")                                                                            \
	X(HASHES, "block_hashes")                                                                  \
	X(PARENT, "parent_block_hash")                                                             \
	X(TOKENS, "token_ids")                                                                     \
	X(BLOCK_SIZE, "block_size")                                                                \
	X(LORA_ID, "lora_id")                                                                      \
	X(MEDIUM, "medium")                                                                        \
	X(LORA_NAME, "lora_name")                                                                  \
	X(EXTRA_KEYS, "extra_keys")                                                                \
	X(GROUP, "group_idx")                                                                      \
	X(SPEC_KIND, "kv_cache_spec_kind")                                                         \
	X(WINDOW, "kv_cache_spec_sliding_window")                                                  \
	X(LOCALITY, "locality")                                                                    \
	X(OWNERSHIP, "ownership")                                                                  \
	X(SESSION_ID, "session_id")                                                                \
	X(CACHE_SALT, "cache_salt")

enum field {
#define X(name, text) FIELD_##name,
	FIELDS(X)
#undef X
		FIELD_COUNT
};

static const struct bb_str field_names[FIELD_COUNT] = {
#define X(name, text) [FIELD_##name] = BB_STR_INIT(text),
	FIELDS(X)
#undef X
};
