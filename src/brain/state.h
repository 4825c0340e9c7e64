/*
 * state.h: all of a brain but its index, as bytes.
 *
 * For: record.c: what a checkpoint holds, so that a journal can be told again from its middle.
 * Threads: as the brain. Memory: reading fills in a brain that has just been created.
 * Errors: those of pack.h; reading, -BB_ESYNTAX also when parts contradict each other: what is in
 * flight is added up anew, and lists are gone through, so that no assertion can fail later.
 */
#pragma once

#include "brain/brain_core.h"
#include "brain/pack.h"

void state_pack(struct brain *b, struct pack *k);
/* Has what was read its sums and lists right? */
bool state_is_sound(const struct brain *b);
