/*
 * Goal: any bytes are read as GGUF without a step past their end, the pairs cover what the reader
 * took, and a vocabulary that loads encodes and decodes.
 */
#include <stdint.h>
#include <stdlib.h>

#include "text/gguf.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct gguf *g)
{
	for (size_t i = 0; i < g->count; i++) {
		const struct gguf_pair *const p = &g->pairs[i];
		size_t at = 0;
		if (p->type != GGUF_ARRAY)
			continue;
		for (uint64_t k = 0; k < p->count; k++) {
			if (p->element == GGUF_STRING)
				gguf_array_text(p, &at);
			else
				gguf_array_float(p, k);
		}
		if (p->element == GGUF_STRING && at != p->bytes.len)
			abort();
	}
}

static void use(const struct tokenizer *t)
{
	struct tokenizer_work *w;
	struct token_list ids;
	struct bb_buf out;

	if (tokenizer_work_create(t, &w))
		abort();
	token_list_init(&ids, 4096, TOKEN_IDS);
	bb_buf_init(&out, 65536);
	if (tokenizer_encode(t, w, BB_STR("Hello w\u00f6rld 123\n <s>"), TOKENIZER_SPECIAL, &ids) ==
		    0 &&
	    tokenizer_decode(t, ids.ids, ids.count, 0, &out))
		abort();
	bb_buf_fini(&out);
	token_list_fini(&ids);
	tokenizer_work_destroy(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct bb_str file = { (const char *)data, size };
	struct text_error e = { { 0 } };
	struct tokenizer *t;
	struct gguf g;

	if (gguf_open(file, &g, &e)) {
		if (!e.message[0])
			abort();
		return 0;
	}
	walk(&g);
	gguf_close(&g);
	if (tokenizer_create_gguf(file, &t, &e) == 0) {
		use(t);
		tokenizer_destroy(t);
	}
	return 0;
}
