/*
 * engine_shield.h: what the engine shield lets through, for everybody and for each tenant.
 *
 * For: snapshot.c derives it from a configuration; request.c asks for a request's own.
 * Threads: immutable once derived. Memory: in the snapshot's arena.
 * Errors: -BB_EINVALID with a sentence (a name that the shield does not know), -BB_ENOMEM.
 */
#pragma once

#include "base/arena.h"
#include "wire/config.h"
#include "wire/shield.h"

#define ENGINE_SHIELD_NO_TENANT UINT32_MAX

struct tenant_shield {
	struct shield_policy policy;
	char salt[SHIELD_SALT_LEN + 1]; /* empty: the prefix cache is shared with others */
};

struct engine_shield {
	struct tenant_shield everybody; /* requests that belong to no tenant */
	struct tenant_shield *tenants;	/* as config->tenants.items */
	uint32_t tenant_count;
};

/*
 * Salts come from a secret of this process: the same over reloads, so that caches stay warm. `why`
 * is set when a name is not known.
 */
BB_MUST int engine_shield_derive(const struct config *c, struct bb_arena *arena,
				 struct engine_shield *out, char *why, size_t why_size);
/* `tenant` is an index into config->tenants.items, or ENGINE_SHIELD_NO_TENANT. */
const struct tenant_shield *engine_shield_of(const struct engine_shield *s, uint32_t tenant);
