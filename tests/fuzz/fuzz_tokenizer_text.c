/*
 * fuzz_tokenizer_text.c: any bytes as text for small tokenizers: the scanner of each well-known
 * pattern covers it; ids come back as the text; cuts change nothing; a cold cache gives what a warm
 * one gives.
 *
 * The first byte picks the pattern; the rest is the text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "text/split_known.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "wire/utf8.h"

#define INPUT_MAX 16384
#define COLD_EVERY 64 /* a new cache takes longer than all the rest */
#define FIXTURE "tests/data/tokenizers/byte_level.json"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tokenizer *fixture;
static struct tokenizer_work *warm;

static void load(void)
{
	FILE *const f = fopen(FIXTURE, "rb");
	char *const text = malloc(1 << 20);

	BB_ASSERT(f && text);
	const size_t len = fread(text, 1, 1 << 20, f);
	fclose(f);
	BB_ASSERT(tokenizer_create_json((struct bb_str){ text, len }, &fixture, NULL) == 0);
	BB_ASSERT(tokenizer_work_create(fixture, &warm) == 0);
	free(text);
}

static void split(enum split_pattern pattern, struct bb_str text)
{
	size_t at = 0, end, before = 0;

	while (split_run(pattern, text, &at, &end, 1)) {
		BB_ASSERT(end > before && end <= text.len && at == end);
		before = end;
	}
	BB_ASSERT(before == text.len);
}

static void encode(struct bb_str text, unsigned flags, struct tokenizer_work *w,
		   struct token_list *ids)
{
	BB_ASSERT(tokenizer_encode(fixture, w, text, flags, ids) == 0);
}

static void assert_same(const struct token_list *a, const struct token_list *b)
{
	BB_ASSERT(a->count == b->count);
	BB_ASSERT(a->count == 0 || memcmp(a->ids, b->ids, a->count * sizeof(*a->ids)) == 0);
}

static void check_cuts(struct bb_str text, const struct token_list *whole)
{
	struct token_list parts;
	size_t from = 0, at;
	unsigned before = 0;

	token_list_init(&parts, 100000, TOKEN_IDS);
	while (tokenizer_cut(fixture, text, from, &at) == 0) {
		encode((struct bb_str){ text.p + from, at - from }, TOKENIZER_MORE | before, warm,
		       &parts);
		before = TOKENIZER_CONTINUES;
		from = at;
	}
	encode(bb_str_skip(text, from), before, warm, &parts);
	assert_same(whole, &parts);
	token_list_fini(&parts);
}

static void check_cold(struct bb_str text, const struct token_list *warm_ids)
{
	struct tokenizer_work *cold;
	struct token_list ids;

	BB_ASSERT(tokenizer_work_create(fixture, &cold) == 0);
	token_list_init(&ids, 100000, TOKEN_IDS);
	encode(text, TOKENIZER_NO_ADDED, cold, &ids);
	assert_same(warm_ids, &ids);
	token_list_fini(&ids);
	tokenizer_work_destroy(cold);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct token_list ids;
	struct bb_buf valid, back;

	if (size == 0 || size > INPUT_MAX)
		return 0;
	if (!fixture)
		load();
	const struct bb_str text = { (const char *)data + 1, size - 1 };
	bb_buf_init(&valid, 4 * INPUT_MAX);
	bb_buf_init(&back, 4 * INPUT_MAX);
	token_list_init(&ids, 100000, TOKEN_IDS);
	BB_ASSERT(unicode_add_replaced(&valid, text) == 0);
	BB_ASSERT(utf8_check(bb_buf_str(&valid)) == valid.len);
	split(1 + data[0] % (SPLIT_COUNT - 1), bb_buf_str(&valid));

	encode(text, TOKENIZER_NO_ADDED, warm, &ids);
	BB_ASSERT(tokenizer_decode(fixture, ids.ids, ids.count, 0, &back) == 0);
	BB_ASSERT(bb_str_eq(bb_buf_str(&back), bb_buf_str(&valid)));
	if (size % COLD_EVERY == 0)
		check_cold(text, &ids);

	token_list_clear(&ids);
	encode(text, 0, warm, &ids);
	check_cuts(text, &ids);
	token_list_fini(&ids);
	bb_buf_fini(&valid);
	bb_buf_fini(&back);
	return 0;
}
