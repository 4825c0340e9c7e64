/*
 * fuzz_tokenizer_json.c: any bytes as a tokenizer.json: an error that says something, or a
 * tokenizer that encodes and decodes without reading outside, the same twice, and counts what it
 * gives.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "text/tokenizer.h"
#include "wire/utf8.h"

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char probe[] =
	"Hello, wo\xc3\xa9rld's 123\n\n  <s> \xe2\x96\x81x \xff\xf0\x9f\x98\x80 <unk>";

static void use(const struct tokenizer *t)
{
	struct tokenizer_work *w;
	struct token_list ids, again;
	struct bb_buf text;
	uint64_t count;
	const struct bb_str all = { probe, sizeof(probe) - 1 };

	BB_ASSERT(tokenizer_work_create(t, &w) == 0);
	token_list_init(&ids, 100000, TOKEN_IDS);
	token_list_init(&again, 100000, TOKEN_IDS_AND_SPANS);
	bb_buf_init(&text, 1 << 20);
	if (tokenizer_encode(t, w, all, TOKENIZER_SPECIAL, &ids) == 0) {
		BB_ASSERT(tokenizer_encode(t, w, all, TOKENIZER_SPECIAL, &again) == 0);
		BB_ASSERT(tokenizer_count(t, w, all, TOKENIZER_SPECIAL, &count) == 0);
		BB_ASSERT(count == ids.count && again.count == ids.count);
		for (size_t i = 0; i < ids.count; i++)
			BB_ASSERT(ids.ids[i] == again.ids[i] && again.spans[i].end <= all.len);
		if (tokenizer_decode(t, ids.ids, ids.count, 0, &text) == 0)
			BB_ASSERT(utf8_check(bb_buf_str(&text)) == text.len);
	}
	bb_buf_fini(&text);
	token_list_fini(&ids);
	token_list_fini(&again);
	tokenizer_work_destroy(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tokenizer *t;
	struct text_error e;

	if (size > INPUT_MAX)
		return 0;
	char *const copy = malloc(size ? size : 1);
	BB_ASSERT(copy);
	if (size)
		memcpy(copy, data, size);
	const int rc = tokenizer_create_json((struct bb_str){ copy, size }, &t, &e);
	free(copy);
	BB_ASSERT(rc == 0 || rc == -BB_ELIMIT || (rc == -BB_EINVALID && e.message[0]));
	if (rc == 0) {
		use(t);
		tokenizer_destroy(t);
	}
	return 0;
}
