/*
 * chunk_twin.h: events that differ from the one before them in their text only.
 *
 * For: the relay's hot path. The chunks of one stream are equal byte for byte but for the token's
 * text. Once one was scanned (chunk.h), the next that has the same bytes before and behind its
 * text means the same, and two comparisons replace a scan.
 * Threads: one owner. Memory: as many bytes as the first event needs, in the owner's arena, once.
 * Errors: none; what does not match is scanned.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

#define CHUNK_TWIN_MAX 768     /* bytes before and behind the text together */
#define CHUNK_TWIN_TEXT_MAX 64 /* longer texts are scanned */

struct chunk_twin {
	char *bytes; /* NULL: nothing learned yet */
	uint16_t before, behind;
	uint16_t room; /* of `bytes` */
};

/* `text` is the span of the token's text inside of the event's raw bytes. */
void chunk_twin_learn(struct chunk_twin *t, struct bb_arena *arena, struct bb_str raw,
		      struct bb_str text);
/* Length of the event at the front of `rest` when it is a twin with a text that is not empty, else 0. */
size_t chunk_twin_match(const struct chunk_twin *t, struct bb_str rest);
