#include "wire/chunk_twin.h"

#include <string.h>

#define ROOM_TO_GROW 16 /* an index or a time may get another digit */

#include "wire/utf8.h"

void chunk_twin_learn(struct chunk_twin *t, struct bb_arena *arena, struct bb_str raw,
		      struct bb_str text)
{
	const size_t before = (size_t)(text.p - raw.p);
	const size_t behind = raw.len - before - text.len;

	if (before + behind > CHUNK_TWIN_MAX || (t->bytes && before + behind > t->room))
		return;
	if (!t->bytes) {
		t->bytes = bb_arena_alloc(arena, before + behind + ROOM_TO_GROW);
		if (!t->bytes)
			return;
		t->room = (uint16_t)(before + behind + ROOM_TO_GROW);
	}
	memcpy(t->bytes, raw.p, before);
	memcpy(t->bytes + before, text.p + text.len, behind);
	t->before = (uint16_t)before;
	t->behind = (uint16_t)behind;
}

size_t chunk_twin_match(const struct chunk_twin *t, struct bb_str rest)
{
	if (!t->bytes || rest.len <= (size_t)t->before + t->behind ||
	    memcmp(rest.p, t->bytes, t->before) != 0)
		return 0;
	const char *const from = rest.p + t->before;
	size_t most = rest.len - t->before - t->behind;
	if (most > CHUNK_TWIN_TEXT_MAX)
		most = CHUNK_TWIN_TEXT_MAX;
	unsigned char all = 0;
	size_t n = 0;
	for (; n < most && from[n] != '"'; n++) {
		const unsigned char c = (unsigned char)from[n];
		if (c < 0x20 || c == '\\')
			return 0; /* an escape must be a right one: the scan knows */
		all |= c;
	}
	if (all & 0x80 && utf8_check((struct bb_str){ from, n }) != n)
		return 0;
	if (n == 0 || n > most || (n == most && from[n] != '"') ||
	    memcmp(from + n, t->bytes + t->before, t->behind) != 0)
		return 0;
	return t->before + n + t->behind;
}
