/*
 * config_table.h: every key of the configuration, once.
 *
 * For: parsing, defaults, messages, `busbar check --print` and the reference in the
 * documentation, which are all made from this table. A new key is a member of a struct in
 * config.h and a row here.
 * Threads: constant data. Memory: static. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "wire/config_check.h"

/* The map in which a key stands. */
enum config_scope {
	CONFIG_SCOPE_ROOT,   /* struct config */
	CONFIG_SCOPE_MODEL,  /* models.NAME: struct config_model */
	CONFIG_SCOPE_ENGINE, /* engines[]: struct config_engine */
	CONFIG_SCOPE_TENANT, /* tenants.NAME: struct config_tenant */
	CONFIG_SCOPE_SNI,    /* tls.sni[], admin_tls.sni[]: struct config_sni */
};

/*      type      member of the struct            in the documentation */
#define CONFIG_KEY_TYPES(X)                                                                        \
	X(COUNT, sizeof(uint32_t), "number")                                                       \
	X(NUMBER, sizeof(uint64_t), "number")                                                      \
	X(DURATION, sizeof(uint64_t), "duration")                                                  \
	X(SIZE, sizeof(uint64_t), "size")                                                          \
	X(CHOICE, sizeof(uint32_t), "choice")	   /* an enum: index into `choices` */             \
	X(POLICY, sizeof(struct bb_str), "choice") /* one of config_env.policies */                \
	X(TEXT, sizeof(struct bb_str), "text")                                                     \
	X(SWITCHED, sizeof(struct bb_str), "text or `off`") /* "off" is the empty text */          \
	X(TEXTS, sizeof(struct config_texts), "text or list")                                      \
	X(POLICIES, sizeof(struct config_texts), "text or list") /* as POLICY, several */          \
	X(DATE, sizeof(uint64_t), "date")      /* Unix time; 0: none */                            \
	X(BUDGET, sizeof(struct config_budget), "budget")                                          \
	X(KEYS, sizeof(struct config_api_keys), "text or list")                                    \
	X(MODELS, sizeof(struct config_model *), "map")                                            \
	X(ENGINES, sizeof(struct config_engine *), "list")                                         \
	X(TENANTS, sizeof(struct config_tenants), "map")                                           \
	X(SNIS, sizeof(struct config_snis), "list")

enum config_key_type {
#define X(name, size, text) CONFIG_KEY_##name,
	CONFIG_KEY_TYPES(X)
#undef X
};

enum config_key_flags {
	CONFIG_KEY_ZERO = 1,	 /* 0 is allowed though `min` is larger */
	CONFIG_KEY_SECRET = 2,	 /* never printed */
	CONFIG_KEY_REQUIRED = 4, /* no default */
};

struct config_key {
	enum config_scope scope;
	enum config_key_type type;
	const char *path;    /* inside of its scope: "limits.head_size" */
	const char *initial; /* the default as a user would write it; NULL: empty */
	uint64_t min, max;   /* of a number; of the length of a list */
	size_t offset;	     /* of the member in the scope's struct */
	unsigned flags;
	const char *const *choices; /* NULL at the end */
	config_check *check;	    /* of a text, or of each text of a list */
	const char *text;	    /* one sentence, in Markdown */
};

extern const struct config_key config_keys[];
extern const uint32_t config_key_count;

/* The key at a path like "limits.head_size", or NULL. */
const struct config_key *config_key_find(enum config_scope scope, struct bb_str path);
/* Do keys stand below this path ("limits")? */
bool config_key_is_section(enum config_scope scope, struct bb_str path);
/*
 * The key or section that an unknown `name` under `section` ("" or "limits") was meant to be:
 * one of like spelling there, or one of the same name elsewhere (then with its whole path).
 * Empty when nothing is near. The result is static text.
 */
struct bb_str config_key_guess(enum config_scope scope, struct bb_str section, struct bb_str name);
