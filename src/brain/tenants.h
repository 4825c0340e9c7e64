/*
 * tenants.h: what each tenant may use, has reserved and has used; pure.
 *
 * For: the gateway, which reserves before a request goes to an engine and settles when it is over,
 * so that any number of requests at once cannot use more than what was left; simulation and tests.
 * Limits: requests and tokens a minute (bucket.h), requests at once, tokens a calendar month (UTC).
 * A request reserves its prompt and what it may generate: of the minute's tokens the lesser of the
 * client's own maximum and what this tenant's answers are long; of the month's budget the most that
 * either can be, so that it holds to the token where clients say a maximum.
 * Threads: none of its own; callers serialise. Memory: grows with the number of names, which are
 * never forgotten: a reload finds a tenant as it was.
 * Errors: -BB_ENOMEM, -BB_ELIMIT (too many names); -BB_ERATE and -BB_EQUOTA are refusals.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define TENANTS_MAX 65536 /* names over the life of the process */
#define TENANT_CLASSES 4  /* of status, as the caller counts them */

struct tenants;

/* Each 0: no limit. */
struct tenant_limits {
	uint64_t requests_per_minute;
	uint64_t tokens_per_minute;
	uint64_t concurrent;
	uint64_t tokens_per_month;
};

BB_MUST int tenants_create(struct tenants **out);
void tenants_destroy(struct tenants *t);
/* The number of a name, which is made, without limits, when it is new. */
BB_MUST int tenants_add(struct tenants *t, struct bb_str name, uint32_t *tenant);
/* Its limits from now on. What has been used stays used. */
void tenants_limit(struct tenants *t, uint32_t tenant, uint64_t now_ns,
		   const struct tenant_limits *limits);

/* Times: a monotonic one for what goes by the minute, the wall's for the month. */
struct tenant_time {
	uint64_t now_ns;
	uint64_t unix_s;
};

struct tenant_ask {
	uint64_t prompt_tokens;	    /* exact or estimated */
	uint64_t prompt_tokens_max; /* what it may turn out to be */
	uint64_t output_tokens_max; /* UINT64_MAX: the client says none; 0: it generates nothing */
};

/* What a request holds; zeros: nothing. */
struct tenant_hold {
	bool is_held;
	uint32_t tenant;
	uint64_t tokens;	/* of the minute */
	uint64_t budget_tokens; /* of the month */
};

#define TENANT_REFUSALS(X) X(NONE) X(REQUESTS) X(TOKENS) X(SIZE) X(CONCURRENT) X(BUDGET)
enum tenant_refusal {
#define X(name) TENANT_REFUSAL_##name,
	TENANT_REFUSALS(X)
#undef X
};

/* As clients see it in the x-ratelimit headers. */
struct tenant_window {
	uint64_t limit; /* 0: there is none */
	uint64_t left;
	uint64_t reset_ns; /* until all of it is there again */
};

struct tenant_verdict {
	enum tenant_refusal refusal;
	uint64_t limit;		 /* the one that stands against it … */
	uint64_t needed;	 /* … and what the request would take of it */
	uint64_t retry_after_ns; /* 0: trying again is of no use, or (CONCURRENT) nobody knows */
	struct tenant_window requests, tokens; /* afterwards */
};

/*
 * Reserves for one request, all of it or nothing. 0, -BB_ERATE or -BB_EQUOTA; `v` is filled in
 * either way, `hold` on success.
 */
BB_MUST int tenants_reserve(struct tenants *t, uint32_t tenant, struct tenant_time time,
			    const struct tenant_ask *ask, struct tenant_hold *hold,
			    struct tenant_verdict *v);

enum tenant_end {
	TENANT_END_SERVED,   /* an engine worked for it: it counts, with what it used */
	TENANT_END_UNSERVED, /* no engine did: all of it is given back */
};

struct tenant_use {
	enum tenant_end end;
	uint64_t prompt_tokens, output_tokens; /* exact or estimated */
};

/* The request is over. `hold` is zeroed; nothing happens when it holds nothing. */
void tenants_settle(struct tenants *t, struct tenant_time time, struct tenant_hold *hold,
		    const struct tenant_use *use);

/* For metrics: a request ended, refused ones included. `class` is below TENANT_CLASSES. */
struct tenant_count {
	unsigned class;
	uint64_t prompt_tokens, cached_tokens, output_tokens;
};
void tenants_count(struct tenants *t, uint32_t tenant, const struct tenant_count *count);

struct tenant_view {
	const char *name;
	struct tenant_limits limits;
	uint64_t active;
	uint64_t requests[TENANT_CLASSES];
	uint64_t prompt_tokens, cached_tokens, output_tokens;
	uint64_t budget_used, budget_reserved; /* tokens of this month */
	int64_t requests_level, tokens_level;  /* of the buckets, as of the latest look */
};
/* Of its number; it stays as long as the ledger. */
const char *tenants_name(const struct tenants *t, uint32_t tenant);
void tenants_each(const struct tenants *t, void (*each)(void *user, const struct tenant_view *v),
		  void *user);
