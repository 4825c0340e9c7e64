/*
 * orca.h: the load that an engine tells in the head of an answer.
 *
 * For: the gateway, which asks for it by the field `endpoint-load-metrics-format` and reads the
 * field `endpoint-load-metrics` of the answer. Format: what vLLM 0.32 sends of ORCA (Open Request
 * Cost Aggregation): `JSON {"named_metrics": {"num_requests_waiting": 0.0, …}}` or
 * `TEXT named_metrics.num_requests_waiting=0.0, …`. Its binary form is not read.
 * Threads: pure functions. Memory: none. Errors: -BB_ESYNTAX when nothing that is known was told.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define ORCA_REQUEST_FIELD "endpoint-load-metrics-format"
#define ORCA_ANSWER_FIELD "endpoint-load-metrics"
#define ORCA_SIZE_MAX 4096 /* bytes of the field; a longer one is not read */

struct orca_load {
	bool has_running, has_waiting, has_usage;
	uint32_t running, waiting; /* requests */
	double kv_usage;	   /* 0 … 1 */
};

BB_MUST int orca_read(struct bb_str field, struct orca_load *out);
