/*
 * recording.h: the brain's events into the journal, where the configuration has one.
 *
 * For: gateway.c. Threads: before others start; then the journal's own.
 * Memory: gateway_destroy frees the journal before the brain.
 * Errors: told by a log line: -BB_ESYSTEM, -BB_ENOMEM.
 */
#pragma once

#include "gateway/gateway.h"

struct config;

/* Right after the brain was created: the journal begins with it. */
BB_MUST int recording_start(struct gateway *g, const struct config *c);
