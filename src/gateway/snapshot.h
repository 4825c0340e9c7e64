/*
 * snapshot.h: one configuration in force, with what is derived from it.
 *
 * For: every request takes a reference to the snapshot of its arrival and keeps it to its end, so
 * that a reload changes nothing under a running request.
 * Threads: immutable once published; the reference count is atomic. Workers hold a reference of
 * their own and are handed a new one by message, so no one reads a pointer that may be freed.
 * Memory: owns its config, freed with the last reference.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include "brain/brain.h"
#include "gateway/auth.h"
#include "gateway/engine_shield.h"
#include "gateway/model_text.h"
#include "wire/config.h"

#define SNAPSHOT_WHY_SIZE MODEL_TEXT_WHY_SIZE

struct tls_context;

struct snapshot_engine {
	struct engine_id id;
	struct bb_str base;   /* path prefix: "" or "/base" */
	struct bb_str fields; /* "Host: …\r\n" and, with a key, "Authorization: Bearer …\r\n" */
	struct tls_context *tls; /* NULL: plain */
	struct bb_str tls_name;  /* whom its certificate must name; NUL behind it */
};

struct snapshot {
	uint32_t refs; /* atomic */
	struct config *config;
	struct snapshot_engine *engines; /* as config->engines */
	struct tls_context *listen_tls;  /* NULL: plain */
	struct tls_context *admin_tls;
	bool any_key;     /* some engine has a key of its own */
	uint32_t slot_count;
	uint32_t *by_slot; /* engine slot → index + 1 */
	struct engine_shield shield;
	struct auth *auth; /* NULL: everybody may come in */
	struct model_texts texts;
	struct bb_arena arena;
};

/*
 * Reads certificates and tokenizers; those of `before` (or NULL) whose files are the same are kept.
 * Owns `config` when it succeeds; else `why` tells what is wrong.
 */
BB_MUST int snapshot_create(struct config *config, const struct snapshot *before,
			    struct snapshot **out, char why[SNAPSHOT_WHY_SIZE]);
/* Fills in the ids that the brain gave to config->engines; only before it is published. */
BB_MUST int snapshot_set_ids(struct snapshot *s, const struct engine_id *ids);
struct snapshot *snapshot_get(struct snapshot *s);
void snapshot_put(struct snapshot *s);
/* NULL when the engine is not in this configuration. */
const struct snapshot_engine *snapshot_engine(const struct snapshot *s, struct engine_id id);
/* The same as the brain wants it; arrays are in `scratch`. */
BB_MUST int snapshot_plan(const struct snapshot *s, struct bb_arena *scratch, struct plan *out);
