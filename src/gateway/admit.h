/*
 * admit.h: whether a request may come in, and what it takes of its tenant's limits.
 *
 * For: request.c, which asks before it routes and before it decides; settle.c, which gives back.
 * The ledger of tenants (brain/tenants.h) is shared by all threads behind a lock of its own.
 * Threads: the worker's. Memory: header lines in the request's arena.
 * Errors: a refusal has been answered when these return false.
 */
#pragma once

#include "gateway/request.h"
#include "gateway/metrics.h"

/* Is this a request whose sender must be known? Not /health, and not a browser's first question. */
bool admit_needs_client(const struct snapshot *s, const struct http_head *head);
/* Who it is: sets r->tenant, or answers 401. */
bool admit_client(struct request *r);
/*
 * May its tenant use the model that it names, by this name or another? Before limits: an error that
 * does not pass comes before one that does.
 */
bool admit_model(struct request *r);
/* Requests and tokens are reserved and told in x-ratelimit headers, or 429 is answered. */
bool admit_request(struct request *r);
/*
 * The same after a decision, for an alias may have come to mean another model meanwhile. What was
 * reserved at the engine is released if not.
 */
bool admit_decision(struct request *r, const struct decision *d);
/* The request is over: settles what was reserved. */
void admit_settle(struct request *r, enum status_class class);
/* Puts the tenants of a new configuration into the ledger; nothing of it is in force yet. */
BB_MUST int admit_prepare(struct gateway *g, struct snapshot *s);
/* Their limits are in force from now on. */
void admit_enforce(struct gateway *g, const struct snapshot *s);
