/*
 * shield.h: keeps from the engines what one request could use to kill them, read from them, or
 * reach other tenants through them.
 *
 * For: openai.c, which hands over each member of a body in its one pass, and the insides of those
 * that shield_watches asks for. What is acted on is data: shield_table.h. A policy says what a
 * tenant may do all the same.
 * Threads: works on the caller's state. Memory: texts of refusals are static or in the arena.
 * Errors: -BB_ESHIELD (a member that is not allowed), -BB_EINVALID (one over its limit), both with
 * a refusal; -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "wire/api.h"
#include "wire/json.h"
#include "wire/shield_table.h"
#include "wire/splice.h"
#include "wire/validate.h"

struct shield_policy {
	uint64_t allow_mask;		   /* shield_bit of the rows that do not apply */
	uint32_t depth_max;		   /* of the whole body; 0: JSON_DEPTH_MAX */
	const struct bb_str *url_prefixes; /* that media parts may name although internal */
	uint32_t url_prefix_count;
	uint64_t limits[SHIELD_ROW_COUNT]; /* instead of the rows' own; 0: the row's own */
};
/* Nothing is allowed. */
extern const struct shield_policy shield_policy_default;

/* Members that leave the body; each row's keys at most once, so there are few. */
#define SHIELD_CUTS_MAX 8

struct shield_cuts {
	struct {
		size_t at, len;
	} list[SHIELD_CUTS_MAX];
	uint32_t count;
};

struct shield_scan {
	enum api api;
	struct bb_arena *arena;
	struct refusal *refusal;
	const struct shield_policy *policy;
	const char *body;
	struct shield_cuts cuts; /* while scanning: the members themselves, without commas */
	/* the member that is watched */
	const struct shield_key *key;	   /* NULL: it is part of the prompt */
	struct bb_str name;		   /* its raw key, for messages */
	bool in_text;			   /* the schema is in a string's text */
	uint8_t kinds[JSON_DEPTH_MAX + 1]; /* of the containers that are open */
};

/* A member at the top of the body. */
BB_MUST int shield_member(struct shield_scan *s, const struct json_member *m);
/* Ahead of a member's value: must its inside be watched? */
bool shield_watches(struct shield_scan *s, const struct json_member *m);
BB_MUST int shield_inner(struct shield_scan *s, enum json_event event, const struct json_member *m,
			 uint32_t depth);
/*
 * When the whole body is checked: puts into *cuts what has to go, each member with one comma beside
 * it. `body` is the one that was scanned.
 */
void shield_end(const struct shield_scan *s, struct bb_str body, struct shield_cuts *cuts);

/*
 * Adds the cuts to a body's splices. They come last: what is put in at the front of a body stands
 * before a cut that begins there.
 */
BB_MUST int shield_splice(const struct shield_cuts *cuts, struct splice_set *set);

/* ---- the tenants' own cache salt (shield_salt.c) ---- */

#define SHIELD_SALT_LEN 43
#define SHIELD_SECRET_LEN 32

/*
 * base64url(HMAC-SHA256(secret, tenant)): tells tenants' prefix caches apart in an engine that
 * knows `cache_salt`, and tells nothing about the tenant. The text has a NUL behind it.
 */
BB_MUST int shield_salt(const unsigned char secret[SHIELD_SECRET_LEN], struct bb_str tenant,
			char out[SHIELD_SALT_LEN + 1]);
