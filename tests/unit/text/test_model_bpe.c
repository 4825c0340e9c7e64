/*
 * Goal: every way of merging gives what the plain rule gives: the lowest rank first, the leftmost
 * of equals; options of the model; files that cannot be used say why.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "text/model_bpe.h"
#include "text/unicode.h"
#include "unit.h"

/* Letters a, b and c, and tokens of them. */
static const char model[] =
	"{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"aa\":5,\"aab\":6,"
	"\"abc\":7,"
	"\"aaaa\":8,\"cab\":9,\"ba\":10,\"abcabc\":11,\"<unk>\":12},"
	"\"unk_token\":\"<unk>\",\"fuse_unk\":%s,\"ignore_merges\":%s,\"merges\":"
	"[\"b c\",[\"a\",\"a\"],\"a b\",\"aa b\",\"a bc\",\"aa aa\",\"c ab\",\"b a\",\"abc abc\"]}";

static struct bpe *make(const char *fuse, const char *ignore)
{
	char json[1024];
	struct bpe *b = NULL;
	struct text_error e;

	snprintf(json, sizeof(json), model, fuse, ignore);
	assert_int_equal(bpe_create(bb_str_of(json), VOCAB_CHARS, &b, &e), 0);
	return b;
}

static size_t merge_plainly(const struct bpe *b, const char *word, size_t len, uint32_t *ids)
{
	for (size_t i = 0; i < len; i++)
		ids[i] = vocab_find(&b->vocab, (struct bb_str){ word + i, 1 });
	for (;;) {
		uint32_t best = BPE_NO_RANK;
		size_t at = 0;
		for (size_t i = 0; i + 1 < len; i++) {
			const uint32_t rank = bpe_rank(b, ids[i], ids[i + 1]);
			if (rank < best) {
				best = rank;
				at = i;
			}
		}
		if (best == BPE_NO_RANK)
			return len;
		ids[at] = b->merge_result[best];
		memmove(ids + at + 1, ids + at + 2, (len - at - 2) * sizeof(*ids));
		len--;
	}
}

static void check_word(struct bpe *b, struct bpe_work *w, const char *word, size_t len)
{
	uint32_t expected[4096];
	size_t count;
	const size_t n = merge_plainly(b, word, len, expected);

	assert_int_equal(bpe_encode(b, w, (struct bb_str){ word, len }, &count), 0);
	assert_int_equal(count, n);
	assert_memory_equal(w->out, expected, n * sizeof(*expected));
	assert_int_equal(w->out_at[0], 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(w->out_at[i + 1] - w->out_at[i], vocab_len(&b->vocab, w->out[i]));
}

static void test_merging(void **state)
{
	struct bpe *b = make("false", "false");
	struct bpe_work w;
	struct bb_rng r;
	char word[4096];

	bpe_work_init(&w);
	bb_rng_seed(&r, 3);
	for (int round = 0; round < 3000; round++) {
		const size_t len = 1 + bb_rng_below(&r, round % 50 ? 300 : sizeof(word));
		const uint64_t letters = 1 + bb_rng_below(&r, 3);
		for (size_t i = 0; i < len; i++)
			word[i] = (char)('a' + bb_rng_below(&r, letters));
		b->merge = round & 1 ? bpe_merge_plain
				     : (bpe_has_avx2() ? bpe_merge_avx2 : bpe_merge_plain);
		check_word(b, &w, word, len);
	}
	bpe_work_fini(&w);
	bpe_destroy(b);
}

/* Strings of a and b of up to 5 letters: number `n` of 62, by length. */
static size_t letters_of(unsigned n, char *out)
{
	size_t len = 1;

	while (n >= (1u << len))
		n -= 1u << len++;
	for (size_t i = 0; i < len; i++)
		out[i] = n >> i & 1 ? 'b' : 'a';
	out[len] = '\0';
	return len;
}

/* A model whose merges come in any order, several of them giving the same token. */
static struct bpe *make_random(struct bb_rng *r)
{
	char json[16384], text[8], *p = json, *const end = json + sizeof(json);
	struct bpe *b = NULL;
	struct text_error e;

	p += snprintf(p, (size_t)(end - p), "{\"type\":\"BPE\",\"vocab\":{");
	for (unsigned i = 0; i < 62; i++) {
		letters_of(i, text);
		p += snprintf(p, (size_t)(end - p), "%s\"%s\":%u", i ? "," : "", text, i);
	}
	p += snprintf(p, (size_t)(end - p), "},\"merges\":[");
	const unsigned count = 1 + (unsigned)bb_rng_below(r, 40);
	for (unsigned i = 0; i < count; i++) {
		const size_t len = letters_of(2 + (unsigned)bb_rng_below(r, 60), text);
		const int cut = 1 + (int)bb_rng_below(r, len - 1);
		p += snprintf(p, (size_t)(end - p), "%s[\"%.*s\",\"%s\"]", i ? "," : "", cut, text,
			      text + cut);
	}
	snprintf(p, (size_t)(end - p), "]}");
	assert_int_equal(bpe_create(bb_str_of(json), VOCAB_CHARS, &b, &e), 0);
	return b;
}

/* Words of long runs, through models in which what is merged last may be what comes first. */
static void test_runs(void **state)
{
	struct bpe_work w;
	struct bb_rng r;
	char word[1500];

	bpe_work_init(&w);
	bb_rng_seed(&r, 17);
	for (int round = 0; round < 1500; round++) {
		struct bpe *const b = make_random(&r);
		const size_t len = 60 + bb_rng_below(&r, round % 10 ? 300 : sizeof(word) - 60);
		for (size_t i = 0; i < len;) {
			const char c = (char)('a' + bb_rng_below(&r, 2));
			const size_t run = 1 + bb_rng_below(&r, round & 1 ? 8 : 600);
			for (size_t end = i + run; i < end && i < len; i++)
				word[i] = c;
		}
		check_word(b, &w, word, len);
		bpe_destroy(b);
	}
	bpe_work_fini(&w);
}

static void assert_ids(struct bpe *b, const char *word, size_t n, const uint32_t *ids)
{
	struct bpe_work w;
	size_t count;

	bpe_work_init(&w);
	assert_int_equal(bpe_encode(b, &w, bb_str_of(word), &count), 0);
	assert_int_equal(count, n);
	assert_memory_equal(w.out, ids, n * sizeof(*ids));
	bpe_work_fini(&w);
}

static void test_options(void **state)
{
	struct bpe *apart = make("false", "false"), *fused = make("true", "false");
	struct bpe *whole = make("false", "true");

	assert_ids(apart, "axya", 4, (uint32_t[]){ 0, 12, 12, 0 });
	assert_ids(fused, "axya", 3, (uint32_t[]){ 0, 12, 0 });
	assert_ids(apart, "cab", 1, (uint32_t[]){ 9 });
	assert_ids(apart, "bab", 2, (uint32_t[]){ 1, 3 });
	assert_ids(apart, "ba", 1, (uint32_t[]){ 10 });
	assert_ids(apart, "aabc", 2, (uint32_t[]){ 5, 4 });
	assert_ids(whole, "aab", 1, (uint32_t[]){ 6 });
	bpe_destroy(apart);
	bpe_destroy(fused);
	bpe_destroy(whole);
}

static void test_refused(void **state)
{
	static const struct {
		const char *json, *part;
	} cases[] = {
		{ "[]", "must be an object" },
		{ "{\"vocab\":{}}", "needs 'vocab' and 'merges'" },
		{ "{\"vocab\":{\"a\":-1},\"merges\":[]}", "not a whole number" },
		{ "{\"vocab\":{\"a\":1048575},\"merges\":[]}", "not below" },
		{ "{\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}", "the same id" },
		{ "{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}", "what it makes" },
		{ "{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}", "a part is not" },
		{ "{\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}", "one space" },
		{ "{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}", "two tokens" },
		{ "{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}", "unk_token" },
		{ "{\"vocab\":{\"a\":0},\"merges\":[],\"fuse_unk\":3}", "true or false" },
	};
	struct text_error e;
	struct bpe *b;

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		assert_int_equal(bpe_create(bb_str_of(cases[i].json), VOCAB_CHARS, &b, &e),
				 -BB_EINVALID);
		if (!strstr(e.message, cases[i].part))
			fail_msg("'%s' is not in: %s", cases[i].part, e.message);
	}
}

static int setup(void **state)
{
	unicode_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merging),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
