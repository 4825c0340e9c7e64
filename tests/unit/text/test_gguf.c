/*
 * Goal: the metadata of a GGUF file is read, every cut-off and every wrong length is an error with
 * words and never a read past the end, and its vocabulary becomes a tokenizer.
 */
#include "exhaust.h"

#include <stdlib.h>

#include "base/buf.h"
#include "text/gguf.h"
#include "text/gguf_pre.h"
#include "text/tokenizer.h"

#define TINY "tests/data/gguf-tiny/tiny.gguf"

static char *tiny;
static size_t tiny_len;

static int load_tiny(void **state)
{
	FILE *const f = fopen(TINY, "rb");

	if (!f)
		return -1;
	tiny = malloc(1 << 20);
	tiny_len = fread(tiny, 1, 1 << 20, f);
	fclose(f);
	return 0;
}

static int free_tiny(void **state)
{
	free(tiny);
	return 0;
}

/* ---- a file made by hand ---- */

static void put(struct bb_buf *b, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++, value >>= 8) {
		const char byte = (char)value;
		bb_buf_add(b, &byte, 1);
	}
}

static void put_text(struct bb_buf *b, const char *text)
{
	put(b, strlen(text), 8);
	bb_buf_add(b, text, strlen(text));
}

static void put_head(struct bb_buf *b, uint32_t version, uint64_t pairs)
{
	bb_buf_lit(b, "GGUF");
	put(b, version, 4);
	put(b, 0, 8);
	put(b, pairs, 8);
}

static void put_string(struct bb_buf *b, const char *key, const char *text)
{
	put_text(b, key);
	put(b, GGUF_STRING, 4);
	put_text(b, text);
}

static void put_texts(struct bb_buf *b, const char *key, const char *const *texts, size_t count)
{
	put_text(b, key);
	put(b, GGUF_ARRAY, 4);
	put(b, GGUF_STRING, 4);
	put(b, count, 8);
	for (size_t i = 0; i < count; i++)
		put_text(b, texts[i]);
}

static void values(void **state)
{
	struct bb_buf b;
	struct gguf g;
	struct bb_str s;
	uint64_t n;
	bool flag;
	static const char *const two[] = { "x", "" };

	bb_buf_init(&b, 4096);
	put_head(&b, 3, 7);
	put_string(&b, "a", "text");
	put_text(&b, "b");
	put(&b, GGUF_I32, 4);
	put(&b, (uint32_t)-5, 4);
	put_text(&b, "c");
	put(&b, GGUF_U16, 4);
	put(&b, 777, 2);
	put_text(&b, "d");
	put(&b, GGUF_BOOL, 4);
	put(&b, 1, 1);
	put_texts(&b, "e", two, 2);
	put_string(&b, "tokenizer.chat_template", "plain");
	put_string(&b, "tokenizer.chat_template.tool_use", "tools");
	assert_int_equal(gguf_open(bb_buf_str(&b), &g, NULL), 0);
	assert_int_equal(g.count, 7);
	assert_true(gguf_string(&g, "a", &s));
	assert_str(s, "text");
	assert_false(gguf_u64(&g, "b", &n)); /* negative */
	assert_false(gguf_u64(&g, "a", &n));
	assert_true(gguf_u64(&g, "c", &n) && n == 777);
	assert_true(gguf_bool(&g, "d", &flag) && flag);
	assert_null(gguf_find(&g, "z"));
	const struct gguf_pair *const e = gguf_array(&g, "e", GGUF_STRING);
	size_t at = 0;
	assert_int_equal(e->count, 2);
	assert_str(gguf_array_text(e, &at), "x");
	assert_str(gguf_array_text(e, &at), "");
	assert_true(gguf_template(&g, BB_STR(""), &s));
	assert_str(s, "plain");
	assert_true(gguf_template(&g, BB_STR("tool_use"), &s));
	assert_str(s, "tools");
	assert_false(gguf_template(&g, BB_STR("rag"), &s));
	gguf_close(&g);
	bb_buf_fini(&b);
}

static void hostile(void **state)
{
	struct text_error e = { 0 };
	struct bb_buf b;
	struct gguf g;

	bb_buf_init(&b, 4096);
	put_head(&b, 4, 0);
	assert_int_equal(gguf_open(bb_buf_str(&b), &g, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "versions 2 and 3"));
	bb_buf_clear(&b);
	put_head(&b, 0x03000000, 0);
	assert_int_equal(gguf_open(bb_buf_str(&b), &g, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "big-endian"));
	bb_buf_clear(&b);
	put_head(&b, 3, UINT64_MAX);
	assert_int_equal(gguf_open(bb_buf_str(&b), &g, &e), -BB_EINVALID);
	bb_buf_clear(&b);
	put_head(&b, 3, 1);
	put_text(&b, "k");
	put(&b, GGUF_ARRAY, 4);
	put(&b, GGUF_U64, 4);
	put(&b, UINT64_MAX / 4, 8); /* times 8 wraps */
	assert_int_equal(gguf_open(bb_buf_str(&b), &g, &e), -BB_EINVALID);
	bb_buf_clear(&b);
	put_head(&b, 3, 1);
	put(&b, UINT64_MAX, 8); /* a key longer than everything */
	bb_buf_lit(&b, "0123456789abcdef");
	assert_int_equal(gguf_open(bb_buf_str(&b), &g, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "at byte"));
	bb_buf_fini(&b);
}

/* Cut off anywhere within its metadata; each in memory of its own, so that ASan sees a read past
 * it. */
static void cut_off(void **state)
{
	for (size_t len = 0; len < 2000; len += len < 200 ? 1 : 37) {
		char *const copy = malloc(len + 1);
		struct gguf g;
		memcpy(copy, tiny, len);
		assert_int_equal(gguf_open((struct bb_str){ copy, len }, &g, NULL), -BB_EINVALID);
		free(copy);
	}
}

static void vocabulary(void **state)
{
	struct text_error e = { 0 };
	struct tokenizer *t;

	assert_int_equal(tokenizer_create_gguf((struct bb_str){ tiny, tiny_len }, &t, &e), 0);
	struct tokenizer_facts facts;
	tokenizer_facts(t, &facts);
	assert_string_equal(facts.model, "BPE");
	tokenizer_destroy(t);
}

static void refusals(void **state)
{
	static const char *const tokens[] = { "a", "\xff" };
	struct text_error e = { 0 };
	struct tokenizer *t;
	struct bb_buf b;

	bb_buf_init(&b, 4096);
	put_head(&b, 3, 0);
	assert_int_equal(tokenizer_create_gguf(bb_buf_str(&b), &t, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "no tokenizer.ggml.model"));
	bb_buf_clear(&b);
	put_head(&b, 3, 1);
	put_string(&b, "tokenizer.ggml.model", "rwkv");
	assert_int_equal(tokenizer_create_gguf(bb_buf_str(&b), &t, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "'rwkv' is not supported"));
	bb_buf_clear(&b);
	put_head(&b, 3, 2);
	put_string(&b, "tokenizer.ggml.model", "gpt2");
	put_string(&b, "tokenizer.ggml.pre", "nobody");
	assert_int_equal(tokenizer_create_gguf(bb_buf_str(&b), &t, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "'nobody' is not supported"));
	bb_buf_clear(&b);
	put_head(&b, 3, 2);
	put_string(&b, "tokenizer.ggml.model", "llama");
	put_texts(&b, "tokenizer.ggml.tokens", tokens, 2);
	assert_int_equal(tokenizer_create_gguf(bb_buf_str(&b), &t, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "GGUF: "));
	bb_buf_fini(&b);
}

static void names(void **state)
{
	assert_non_null(gguf_pre_find(BB_STR("")));
	assert_ptr_equal(gguf_pre_find(BB_STR("llama-bpe")), gguf_pre_find(BB_STR("llama3")));
	assert_ptr_not_equal(gguf_pre_find(BB_STR("qwen2")), gguf_pre_find(BB_STR("llama3")));
	assert_null(gguf_pre_find(BB_STR("llama")));
	assert_null(gguf_pre_find(BB_STR("llama3 llama-v3")));
}

static int all(void)
{
	struct tokenizer *t;
	const int rc = tokenizer_create_gguf((struct bb_str){ tiny, tiny_len }, &t, NULL);

	if (!rc)
		tokenizer_destroy(t);
	return rc;
}

static void exhausted(void **state)
{
	exhaust(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),     cmocka_unit_test(hostile),  cmocka_unit_test(cut_off),
		cmocka_unit_test(vocabulary), cmocka_unit_test(refusals), cmocka_unit_test(names),
		cmocka_unit_test(exhausted),
	};

	return cmocka_run_group_tests(tests, load_tiny, free_tiny);
}
