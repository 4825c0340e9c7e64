/*
 * resolver.h: names of engines to addresses, on a thread of its own, since the name service blocks.
 *
 * Threads: jobs are made, started and cancelled on the loop given to resolver_create; on_done comes
 * there. Memory: a cancelled job is freed once its look-up has come back.
 * Errors: -BB_ENOMEM, -BB_ESYSTEM; a look-up that fails calls on_done with addr == NULL.
 */
#pragma once

#include "os/loop.h"
#include "os/sock.h"

struct resolver;
struct resolve_job;

typedef void resolve_done_fn(void *user, const struct sock_addr *addr, const char *why);

BB_MUST int resolver_create(struct loop *loop, struct resolver **out);
/* All jobs must have been cancelled. */
void resolver_destroy(struct resolver *r);
struct resolve_job *resolve_job_create(struct resolver *r, struct bb_str host, uint16_t port,
				       resolve_done_fn *on_done, void *user) BB_MUST;
/* Does nothing when a look-up of this job is under way. */
void resolve_job_start(struct resolve_job *j);
/* No more on_done. NULL is allowed. */
void resolve_job_cancel(struct resolve_job *j);
/* An address that needs no look-up. */
bool resolver_is_numeric(struct bb_str host, uint16_t port, struct sock_addr *out);
