/*
 * replay_request.h: all about one request of a journal: its decisions with all candidates.
 *
 * For: replay_command.c. Threads: one owner. Memory: the candidates of the latest decisions.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include "brain/rerun.h"

struct replay_request;

BB_MUST int replay_request_create(struct replay_request **out);
void replay_request_destroy(struct replay_request *r);
/* A choice among candidates, … */
void replay_request_look(struct replay_request *r, const struct candidates *c,
			 const struct policy_input *in, const double *cost, uint32_t chosen);
/* … and the decision that it was. */
void replay_request_keep(struct replay_request *r, const struct brain_event *made);
void replay_request_print(const struct replay_request *r, const struct brain *b,
			  const struct rerun_decision *d, const char *time);
