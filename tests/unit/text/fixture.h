/*
 * fixture.h: the small tokenizers of tests/data/tokenizers, and texts for them.
 */
#pragma once

#include "base/alloc.h"
#include "base/hash.h"
#include "os/process.h"
#include "text/tokenizer.h"
#include "unit.h"

#define FIXTURE_BYTES "tests/data/tokenizers/byte_level.json"
#define FIXTURE_CHARS "tests/data/tokenizers/metaspace.json"

static inline struct bb_str fixture_read(const char *path)
{
	char *text;
	size_t len;

	assert_int_equal(file_read(path, TOKENIZER_FILE_MAX, &text, &len), 0);
	return (struct bb_str){ text, len };
}

static inline struct tokenizer *fixture_load(const char *path)
{
	const struct bb_str json = fixture_read(path);
	struct text_error e;
	struct tokenizer *t = NULL;

	if (tokenizer_create_json(json, &t, &e))
		print_error("%s\n", e.message);
	bb_free((char *)json.p);
	assert_non_null(t);
	return t;
}

/* Appends a random text: words, white space, special tokens and look-alikes, other scripts. */
static inline void fixture_text(struct bb_rng *r, struct bb_buf *out)
{
	static const char *const parts[] = {
		"engine",
		" the",
		" gateway",
		"'s",
		"\n",
		"\n\n",
		"   ",
		"\t",
		"1",
		"234567",
		"<tool>",
		"<|im_start|>",
		"<|im_end|>",
		"<|im_",
		"<pad>",
		" <pad>",
		"<mask>",
		"x<mask>y",
		" <mask>  ",
		"<s>",
		"</s>",
		"\xe2\x96\x81",
		"\xc3\xa9",
		"\xe4\xb8\xad\xe6\x96\x87",
		"\xf0\x9f\x98\x80",
		"e\xcc\x81",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"...",
		"--",
		"Z",
		"\xc2\xa0",
		"<|begin|>",
		"configuration",
		"\xd0\x9f\xd1\x80",
	};
	const uint64_t count = 1 + bb_rng_below(r, 30);

	for (uint64_t i = 0; i < count; i++)
		bb_buf_add_str(out, bb_str_of(parts[bb_rng_below(r, UNIT_COUNT(parts))]));
}
