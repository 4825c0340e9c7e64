/*
 * binding.h: which engine serves which model under which name.
 *
 * For: fleet.c and brain.c. Bindings follow from the plan and from what the engines list; they are
 * computed as a whole beside the old ones and change places with them at the end.
 * Threads: as the brain. Memory: a model owns its bindings.
 * Errors: -BB_ENOMEM; the old bindings stay in force then, and fleet.is_stale stays set.
 */
#pragma once

#include "brain/fleet.h"

/* Computes the bindings of all models and the map of their names. */
BB_MUST int fleet_bind(struct fleet *f, uint64_t now_ns);
/* Puts those into force that were read from a checkpoint (model.rebound). */
BB_MUST int fleet_bind_as_read(struct fleet *f);
void bindings_free(struct bindings *b);
