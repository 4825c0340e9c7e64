/*
 * request_steps.h: what request.c (ends, routes), request_scan.c (head and body) and
 * request_send.c (the choice of an engine, the request to it) share.
 *
 * Threads: the worker's. Memory: the request's. Errors: become answers to the client.
 */
#pragma once

#include "gateway/request.h"

struct tenant_shield;

/* What running a step leads to: the next one, or waiting for an event. */
enum step { STEP_MORE, STEP_WAIT };

/* Counts time that the gateway itself took. */
void request_stage(struct request *r, enum stage stage, uint64_t from_ns, uint64_t to_ns);
enum family request_family(const struct request *r);
/* request_fail for the end of a step; `message` and `param` may be NULL. */
enum step request_fail_step(struct request *r, int err, const char *message, const char *param);

/* request_scan.c */
bool request_id_take(struct request *r, const struct http_head *h);
bool request_answer_fields(struct request *r, const struct http_head *h);
enum step request_scan(struct request *r);
/* What the request's tenant may send to engines. */
const struct tenant_shield *request_shield(const struct request *r);

/* request_send.c */
enum step request_decide(struct request *r);
/* It was held, and the brain has decided. */
enum step request_unhold(struct request *r);
enum step request_send(struct request *r);
