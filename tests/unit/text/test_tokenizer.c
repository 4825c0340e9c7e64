/*
 * Goal: what holds for any text: decoding gives it back, spans cover it, counts and cuts agree with
 * the whole, streams with the batch, malformed bytes with U+FFFD; added tokens by their flags;
 * every failed allocation leaves nothing behind. Equality with the library is tests/system's.
 */
#include "fixture.h"
#include "wire/utf8.h"

struct kit {
	struct tokenizer *t;
	struct tokenizer_work *w;
	struct token_list ids, other;
	struct bb_buf text, out;
	struct bb_rng rng;
};

static void kit_init(struct kit *k, const char *path)
{
	k->t = fixture_load(path);
	assert_int_equal(tokenizer_work_create(k->t, &k->w), 0);
	token_list_init(&k->ids, 1 << 20, TOKEN_IDS);
	token_list_init(&k->other, 1 << 20, TOKEN_IDS);
	bb_buf_init(&k->text, 1 << 20);
	bb_buf_init(&k->out, 1 << 20);
	bb_rng_seed(&k->rng, 11);
}

static void kit_fini(struct kit *k)
{
	bb_buf_fini(&k->text);
	bb_buf_fini(&k->out);
	token_list_fini(&k->ids);
	token_list_fini(&k->other);
	tokenizer_work_destroy(k->w);
	tokenizer_destroy(k->t);
}

static void next_text(struct kit *k)
{
	bb_buf_clear(&k->text);
	fixture_text(&k->rng, &k->text);
}

static void encode(struct kit *k, struct bb_str text, unsigned flags, struct token_list *to)
{
	assert_int_equal(tokenizer_encode(k->t, k->w, text, flags, to), 0);
}

static void assert_same(const struct token_list *a, const struct token_list *b)
{
	assert_int_equal(a->count, b->count);
	if (a->count)
		assert_memory_equal(a->ids, b->ids, a->count * sizeof(*a->ids));
}

static void test_there_and_back(void **state)
{
	struct kit k;
	uint64_t count;

	kit_init(&k, FIXTURE_BYTES);
	for (int i = 0; i < 2000; i++) {
		next_text(&k);
		token_list_clear(&k.ids);
		encode(&k, bb_buf_str(&k.text), TOKENIZER_NO_ADDED, &k.ids);
		bb_buf_clear(&k.out);
		assert_int_equal(tokenizer_decode(k.t, k.ids.ids, k.ids.count, 0, &k.out), 0);
		assert_true(bb_str_eq(bb_buf_str(&k.out), bb_buf_str(&k.text)));
		assert_int_equal(
			tokenizer_count(k.t, k.w, bb_buf_str(&k.text), TOKENIZER_NO_ADDED, &count),
			0);
		assert_int_equal(count, k.ids.count);
	}
	kit_fini(&k);
}

/* With spans the ids are the same, and they cover the text without a gap. */
static void check_spans(struct kit *k, unsigned flags)
{
	struct token_list spans;
	uint32_t end = 0;

	token_list_init(&spans, 1 << 20, TOKEN_IDS_AND_SPANS);
	next_text(k);
	token_list_clear(&k->ids);
	encode(k, bb_buf_str(&k->text), flags, &k->ids);
	encode(k, bb_buf_str(&k->text), flags, &spans);
	assert_same(&k->ids, &spans);
	for (size_t i = 0; i < spans.count; i++) {
		assert_true(spans.spans[i].begin <= end &&
			    spans.spans[i].end >= spans.spans[i].begin);
		end = spans.spans[i].end > end ? spans.spans[i].end : end;
	}
	assert_int_equal(end, k->text.len);
	token_list_fini(&spans);
}

static void test_spans(void **state)
{
	static const char *const paths[] = { FIXTURE_BYTES, FIXTURE_CHARS };

	for (size_t p = 0; p < UNIT_COUNT(paths); p++) {
		struct kit k;
		kit_init(&k, paths[p]);
		for (int i = 0; i < 1000; i++)
			check_spans(&k, 0);
		kit_fini(&k);
	}
}

static void test_cuts(void **state)
{
	static const char *const paths[] = { FIXTURE_BYTES, FIXTURE_CHARS };
	uint64_t cuts = 0;

	for (size_t p = 0; p < UNIT_COUNT(paths); p++) {
		struct kit k;
		kit_init(&k, paths[p]);
		for (int i = 0; i < 1500; i++) {
			size_t at = 0, from = 0;
			next_text(&k);
			const struct bb_str text = bb_buf_str(&k.text);
			token_list_clear(&k.ids);
			token_list_clear(&k.other);
			encode(&k, text, TOKENIZER_SPECIAL, &k.ids);
			unsigned before = 0;
			while (tokenizer_cut(k.t, text, from, &at) == 0) {
				assert_true(at > from && at < text.len);
				encode(&k, (struct bb_str){ text.p + from, at - from },
				       TOKENIZER_SPECIAL | TOKENIZER_MORE | before, &k.other);
				before = TOKENIZER_CONTINUES;
				from = at;
				cuts++;
			}
			encode(&k, bb_str_skip(text, from), TOKENIZER_SPECIAL | before, &k.other);
			assert_same(&k.ids, &k.other);
		}
		kit_fini(&k);
	}
	assert_true(cuts > 1000);
}

static void check_stream(struct kit *k, unsigned flags)
{
	struct tokenizer_stream s;
	struct bb_buf streamed;

	bb_buf_clear(&k->out);
	bb_buf_init(&streamed, 1 << 20);
	assert_int_equal(tokenizer_decode(k->t, k->ids.ids, k->ids.count, flags, &k->out), 0);
	tokenizer_stream_init(&s, k->t, flags);
	for (size_t i = 0; i < k->ids.count; i++) {
		assert_int_equal(tokenizer_stream_push(&s, k->ids.ids[i], &streamed), 0);
		assert_int_equal(utf8_check(bb_buf_str(&streamed)), streamed.len);
	}
	assert_int_equal(tokenizer_stream_end(&s, &streamed), 0);
	assert_true(bb_str_eq(bb_buf_str(&streamed), bb_buf_str(&k->out)));
	tokenizer_stream_fini(&s);
	bb_buf_fini(&streamed);
}

static void test_streams(void **state)
{
	static const char *const paths[] = { FIXTURE_BYTES, FIXTURE_CHARS };
	struct tokenizer_facts facts;

	for (size_t p = 0; p < UNIT_COUNT(paths); p++) {
		struct kit k;
		kit_init(&k, paths[p]);
		tokenizer_facts(k.t, &facts);
		for (int i = 0; i < 2000; i++) {
			token_list_clear(&k.ids);
			for (int n = 0; n < 20; n++) {
				const uint32_t id =
					(uint32_t)bb_rng_below(&k.rng, facts.id_end + 3);
				assert_int_equal(token_list_add(&k.ids, &id, 1), 0);
			}
			check_stream(&k, i & 1 ? TOKENIZER_SKIP_SPECIAL : 0);
		}
		kit_fini(&k);
	}
}

static void test_malformed(void **state)
{
	struct kit k;

	kit_init(&k, FIXTURE_BYTES);
	encode(&k,
	       BB_STR("a\xff"
		      "b <|im_end|>\xe2\x96 x\xc3"),
	       0, &k.ids);
	encode(&k,
	       BB_STR("a\xef\xbf\xbd"
		      "b <|im_end|>\xef\xbf\xbd x\xef\xbf\xbd"),
	       0, &k.other);
	assert_same(&k.ids, &k.other);
	kit_fini(&k);
}

static bool has_id(const struct token_list *l, uint32_t id)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->ids[i] == id)
			return true;
	return false;
}

static void test_added(void **state)
{
	struct kit k;
	uint32_t end, mask, pad, begin;

	kit_init(&k, FIXTURE_BYTES);
	assert_true(tokenizer_id(k.t, BB_STR("<|im_end|>"), &end) &&
		    tokenizer_is_special(k.t, end));
	assert_true(tokenizer_id(k.t, BB_STR("<mask>"), &mask) && !tokenizer_is_special(k.t, mask));
	assert_true(tokenizer_id(k.t, BB_STR("<pad>"), &pad));
	assert_true(tokenizer_id(k.t, BB_STR("<|begin|>"), &begin));
	assert_false(tokenizer_id(k.t, BB_STR("<none>"), &end));
	assert_str(tokenizer_token(k.t, pad), "<pad>");
	assert_null(tokenizer_token(k.t, 99999).p);
	encode(&k, BB_STR("a<mask>"), 0, &k.ids); /* single_word */
	assert_false(has_id(&k.ids, mask));
	token_list_clear(&k.ids);
	encode(&k, BB_STR("<mask>  \t"), 0, &k.ids); /* rstrip */
	assert_int_equal(k.ids.count, 1);
	token_list_clear(&k.ids);
	encode(&k, BB_STR("  \n<pad>"), TOKENIZER_SPECIAL,
	       &k.ids); /* lstrip; the template's begin */
	assert_int_equal(k.ids.count, 2);
	assert_int_equal(k.ids.ids[0], begin);
	kit_fini(&k);
}

static void test_limits(void **state)
{
	struct kit k;
	struct token_list few;

	kit_init(&k, FIXTURE_BYTES);
	token_list_init(&few, 4, TOKEN_IDS);
	assert_int_equal(tokenizer_encode(k.t, k.w, BB_STR("a b"), 0, &few), 0);
	const size_t count = few.count;
	assert_int_equal(tokenizer_encode(k.t, k.w, BB_STR("one two three four five"), 0, &few),
			 -BB_ELIMIT);
	assert_int_equal(few.count, count);
	token_list_fini(&few);
	kit_fini(&k);
}

static void test_refused(void **state)
{
	static const struct {
		const char *json, *part;
	} cases[] = {
		{ "", "not valid JSON" },
		{ "{", "not valid JSON" },
		{ "{}", "has no 'model'" },
		{ "{\"model\":{\"type\":\"Foo\"}}", "Foo" },
		{ "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":{"
		  "\"type\":\"Bar\"}}",
		  "Bar" },
		{ "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"added_tokens\":3}",
		  "added_tokens" },
		{ "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"added_tokens\":[{"
		  "\"content\":1}]}",
		  "content" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct text_error e;
		struct tokenizer *t;
		assert_int_equal(tokenizer_create_json(bb_str_of(cases[i].json), &t, &e),
				 -BB_EINVALID);
		if (!strstr(e.message, cases[i].part))
			fail_msg("'%s' is not in: %s", cases[i].part, e.message);
	}
}

/* Everything once; the first error ends it. */
static int use_all(struct bb_str json)
{
	struct tokenizer *t;
	struct tokenizer_work *w = NULL;
	struct tokenizer_stream s;
	struct token_list ids;
	struct bb_buf out;
	int rc = tokenizer_create_json(json, &t, NULL);

	if (rc)
		return rc;
	token_list_init(&ids, 1000, TOKEN_IDS_AND_SPANS);
	bb_buf_init(&out, 10000);
	tokenizer_stream_init(&s, t, 0);
	rc = tokenizer_work_create(t, &w);
	if (!rc)
		rc = tokenizer_encode(t, w, BB_STR("the gate\xff\xc3\xa9 <tool> x"), 0, &ids);
	if (!rc)
		rc = tokenizer_decode(t, ids.ids, ids.count, 0, &out);
	for (size_t i = 0; !rc && i < ids.count; i++)
		rc = tokenizer_stream_push(&s, ids.ids[i], &out);
	if (!rc)
		rc = tokenizer_stream_end(&s, &out);
	tokenizer_stream_fini(&s);
	tokenizer_work_destroy(w);
	token_list_fini(&ids);
	bb_buf_fini(&out);
	tokenizer_destroy(t);
	return rc;
}

static void test_no_memory(void **state)
{
	static const char *const paths[] = { FIXTURE_BYTES, FIXTURE_CHARS };

	for (size_t p = 0; p < UNIT_COUNT(paths); p++) {
		const struct bb_str json = fixture_read(paths[p]);
		int rc = 1;
		for (uint64_t n = 1; rc; n++) {
			const uint64_t failed = bb_alloc_failed_count();
			bb_alloc_fail_at(n, BB_FAIL_ONCE);
			rc = use_all(json);
			bb_alloc_fail_at(0, BB_FAIL_ONCE);
			/* A table that could not be made smaller may stay as it is: rc is 0 then.
			 */
			if (bb_alloc_failed_count() == failed)
				break;
			if (rc != 0)
				assert_int_equal(rc, -BB_ENOMEM);
			rc = -BB_ENOMEM;
		}
		assert_int_equal(rc, 0);
		bb_free((char *)json.p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_spans),
		cmocka_unit_test(test_cuts),	       cmocka_unit_test(test_streams),
		cmocka_unit_test(test_malformed),      cmocka_unit_test(test_added),
		cmocka_unit_test(test_limits),	       cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
