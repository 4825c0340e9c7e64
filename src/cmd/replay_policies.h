/*
 * replay_policies.h: what other policies would have chosen, in a journal that is told again.
 *
 * For: replay_command.c. For every decision that sent a request to an engine, each policy looks at the very
 * columns that the decision rested on. It is an open loop: what happens afterwards is what happened
 * to the engine that was really chosen. The first row is what the replayed brain chose.
 * Threads: one owner. Memory: columns of INDEX_ROWS_MAX rows, freed at the end.
 * Errors: -BB_EINVALID (no such policy), -BB_ENOMEM.
 */
#pragma once

#include <stdio.h>

#include "base/buf.h"
#include "brain/rerun.h"

#define REPLAY_POLICIES_MAX 16
#define REPLAY_ENGINES_MAX 4096

struct replay_policies;

/* `names`: separated by commas. `*unknown` is the one that does not exist. */
BB_MUST int replay_policies_create(const char *names, struct replay_policies **out,
				   struct bb_str *unknown);
void replay_policies_destroy(struct replay_policies *p);
/* A choice among candidates: kept until it is known whether it was the one that counts. */
void replay_policies_look(struct replay_policies *p, const struct candidates *c,
			  const struct policy_input *in, const double *cost, uint32_t chosen);
/* The latest choice sent a request to an engine. */
void replay_policies_count(struct replay_policies *p);
void replay_policies_print(const struct replay_policies *p, FILE *out);
void replay_policies_json(const struct replay_policies *p, struct bb_buf *out);
