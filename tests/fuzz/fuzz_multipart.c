/*
 * fuzz_multipart.c: a form's field is a span of the body, and what replaces it is found again.
 *
 * The first line is the Content-Type; the rest is the body.
 */
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"
#include "wire/multipart.h"

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct bb_str name = BB_STR("model"), other = BB_STR("m");
	struct bb_str body = { (const char *)data, size }, value, again;
	struct bb_buf b;

	if (size > INPUT_MAX)
		return 0;
	const struct bb_str type = bb_str_cut(&body, '\n');
	if (multipart_field(type, body, name, &value))
		return 0;
	BB_ASSERT(value.p >= body.p && value.p + value.len <= body.p + body.len);
	bb_buf_init(&b, INPUT_MAX + 16);
	bb_buf_add(&b, body.p, (size_t)(value.p - body.p));
	bb_buf_add_str(&b, other);
	bb_buf_add_str(&b, bb_str_skip(body, (size_t)(value.p - body.p) + value.len));
	BB_ASSERT(b.err == 0);
	BB_ASSERT(multipart_field(type, bb_buf_str(&b), name, &again) == 0);
	BB_ASSERT(bb_str_eq(again, other));
	bb_buf_fini(&b);
	return 0;
}
