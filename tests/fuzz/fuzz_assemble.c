/*
 * fuzz_assemble.c: whatever an engine streams, the assembler stays in its bounds, and what it makes
 * is JSON.
 *
 * The first byte's bit 0 chooses the endpoint; the rest is an SSE stream.
 */
#include <stdint.h>

#include "base/log.h"
#include "wire/assemble.h"
#include "wire/chunk.h"
#include "wire/json.h"
#include "wire/sse.h"

#define INPUT_MAX 65536
#define KEPT_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > INPUT_MAX)
		return 0;
	const enum api api = data[0] & 1 ? API_COMPLETIONS : API_CHAT;
	struct bb_str rest = { (const char *)data + 1, size - 1 };
	struct assembler *a = assembler_create(api, KEPT_MAX);
	struct sse_event e;
	struct bb_buf out;
	bool has_error = false;
	int rc = 0;

	BB_ASSERT(a);
	bb_buf_init(&out, 64 * KEPT_MAX);
	while (!rc && sse_next(&rest, &e)) {
		struct openai_chunk c;
		if (!e.data.p)
			continue;
		rc = assembler_add(a, e.data);
		/* What the assembler takes, the chunk scan understands, and they agree on errors.
		 */
		if (!rc && !has_error) {
			BB_ASSERT(openai_chunk_scan(api, e.event, e.data, &c) == 0);
			has_error = c.has_error;
		}
	}
	if (!rc) {
		rc = assembler_finish(a, &out);
		BB_ASSERT(rc == 0 || rc == -BB_EUPSTREAM);
		BB_ASSERT(rc == 0 || (out.len > 0) == has_error);
		BB_ASSERT(rc != 0 || !has_error);
		BB_ASSERT(rc != 0 || json_check(bb_buf_str(&out), JSON_DEPTH_MAX, NULL) == 0);
	}
	bb_buf_fini(&out);
	assembler_destroy(a);
	return 0;
}
