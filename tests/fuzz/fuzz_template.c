/*
 * Goal: no template and no request, however odd, break the renderer: it ends in bounded time and
 * memory, says why it refuses, leaves the output as it was then, and gives the same prompt again.
 * An input is a template, a NUL byte and a request; without the byte the request is a fixed one.
 */
#include "base/log.h"
#include "text/template.h"
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUEST                                                                                    \
	"{\"messages\":[{\"role\":\"user\",\"content\":\"Hi \\u00e9\"},{\"role\":\"assistant\","   \
	"\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"tool_calls\":[{\"function\":{"         \
	"\"name\":\"f\","                                                                          \
	"\"arguments\":\"{\\\"a\\\": 1.5}\"}}]}],\"tools\":[{\"type\":\"function\"}]}"
#define OUT_MAX 65536
#define MEMORY_MAX (8u << 20)
#define STEPS_MAX 50000 /* an endless loop is found as well by its first turns */

static void render(const struct template *t, struct bb_str body, enum template_messages how)
{
	const struct template_input in = { .body = body,
					   .bos_token = BB_STR_INIT("<s>"),
					   .messages = how,
					   .memory_max = MEMORY_MAX,
					   .steps_max = STEPS_MAX };
	struct text_error e = { "" };
	struct bb_buf first, again;

	bb_buf_init(&first, OUT_MAX);
	bb_buf_init(&again, OUT_MAX);
	bb_buf_lit(&first, "kept");
	const int rc = template_render(t, &in, &first, &e);
	BB_ASSERT(rc == 0 || rc == -BB_EINVALID || rc == -BB_ELIMIT || rc == -BB_ENOMEM);
	BB_ASSERT(rc == 0 || first.len == 4);
	BB_ASSERT(first.len >= 4 && memcmp(first.p, "kept", 4) == 0);
	if (rc == 0) {
		const int same = template_render(t, &in, &again, NULL);
		BB_ASSERT(same == 0 && again.len == first.len - 4);
		BB_ASSERT(again.len == 0 || memcmp(again.p, first.p + 4, again.len) == 0);
	}
	bb_buf_fini(&first);
	bb_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *const text = size ? (const char *)data : "";
	const char *const nul = size ? memchr(text, '\0', size) : NULL;
	const struct bb_str source = { text, nul ? (size_t)(nul - text) : size };
	struct bb_str body = BB_STR(REQUEST);
	struct template *t = NULL;
	struct text_error e = { "" };

	if (nul)
		body = (struct bb_str){ nul + 1, size - source.len - 1 };
	const int rc = template_create(source, &t, &e);
	BB_ASSERT(rc == 0 || e.message[0]);
	if (rc)
		return 0;
	if (json_check(body, JSON_DEPTH_MAX, NULL) == 0)
		for (int how = TEMPLATE_AS_GIVEN; how <= TEMPLATE_AS_SGLANG; how++)
			render(t, body, (enum template_messages)how);
	template_destroy(t);
	return 0;
}
