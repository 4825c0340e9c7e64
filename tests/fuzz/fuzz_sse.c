/*
 * fuzz_sse.c: a stream is cut into the same events however it arrives, and no byte is lost.
 *
 * The first byte is the size of the pieces; the rest is the stream.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "wire/sse.h"

#define INPUT_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t mix(uint64_t digest, struct bb_str s)
{
	return bb_hash(s.p ? s.p : "", s.len, digest ^ s.len);
}

/* Takes all events that are complete in the first `there` bytes; returns the bytes they took. */
static size_t take(struct bb_str text, size_t taken, size_t there, uint64_t *digest)
{
	const size_t len = there - taken;
	char *copy = malloc(len ? len : 1);

	BB_ASSERT(copy);
	if (len)
		memcpy(copy, text.p + taken, len);
	struct bb_str rest = { copy, len };
	struct sse_event e;
	while (sse_next(&rest, &e)) {
		struct bb_buf joined;
		BB_ASSERT(e.raw.p == copy + (taken + len - there) && e.raw.len > 0);
		BB_ASSERT(e.raw.p + e.raw.len == rest.p);
		BB_ASSERT(!e.is_comment || (!e.data.p && !e.event.len));
		bb_buf_init(&joined, INPUT_MAX);
		BB_ASSERT(sse_data_join(&e, &joined) == 0);
		BB_ASSERT(e.multi || joined.len == e.data.len);
		*digest = mix(mix(mix(*digest, e.event), e.data), bb_buf_str(&joined));
		bb_buf_fini(&joined);
		taken += e.raw.len;
	}
	BB_ASSERT(rest.len == there - taken);
	free(copy);
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t whole = 0, split = 0;

	if (size == 0 || size > INPUT_MAX)
		return 0;
	const struct bb_str text = { (const char *)data + 1, size - 1 };
	const size_t step = 1 + data[0];
	const size_t taken = take(text, 0, text.len, &whole);
	size_t in_pieces = 0;
	for (size_t there = 0; there < text.len;) {
		there = there + step < text.len ? there + step : text.len;
		in_pieces = take(text, in_pieces, there, &split);
	}
	BB_ASSERT(taken == in_pieces && whole == split);
	return 0;
}
