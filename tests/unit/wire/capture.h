/*
 * capture.h: one file of what vLLM's KV events looked like on the wire.
 */
#pragma once

#include "unit.h"

#define CAPTURE_SIZE_MAX 65536

/* Of the file loaded last. */
static char capture_bytes[CAPTURE_SIZE_MAX];

/* One of the captures, whole; it is there until the next is loaded. Fails the test without it. */
static inline struct bb_str load(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "tests/data/vllm-kv-events/%s", name);
	FILE *f = fopen(path, "rb");
	if (!f)
		fail_msg("%s: not found (run from the repository's root)", path);
	const size_t len = fread(capture_bytes, 1, sizeof(capture_bytes), f);
	fclose(f);
	assert_in_range(len, 1, sizeof(capture_bytes) - 1);
	return (struct bb_str){ capture_bytes, len };
}
