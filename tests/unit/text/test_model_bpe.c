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

/* A model as a list of merges, by which words are merged plainly. */
struct plain {
	uint32_t left[512], right[512], whole[512];
	uint32_t count;
};

static void take_plain(struct plain *m, const struct bpe *b, const char *left, const char *right)
{
	char whole[128];

	snprintf(whole, sizeof(whole), "%s%s", left, right);
	m->left[m->count] = vocab_find(&b->vocab, bb_str_of(left));
	m->right[m->count] = vocab_find(&b->vocab, bb_str_of(right));
	m->whole[m->count++] = vocab_find(&b->vocab, bb_str_of(whole));
}

/* The lowest rank first, the leftmost of equals; of a pair that comes twice the last rank counts.
 */
static size_t merge_plainly(const struct bpe *b, const struct plain *m, const char *word,
			    size_t len, uint32_t *ids)
{
	for (size_t i = 0; i < len; i++)
		ids[i] = vocab_find(&b->vocab, (struct bb_str){ word + i, 1 });
	for (;;) {
		uint32_t best = UINT32_MAX;
		size_t at = 0;
		for (size_t i = 0; i + 1 < len; i++) {
			uint32_t rank = m->count;
			while (rank-- > 0 &&
			       (m->left[rank] != ids[i] || m->right[rank] != ids[i + 1]))
				;
			if (rank < best) {
				best = rank;
				at = i;
			}
		}
		if (best == UINT32_MAX)
			return len;
		ids[at] = m->whole[best];
		memmove(ids + at + 1, ids + at + 2, (len - at - 2) * sizeof(*ids));
		len--;
	}
}

static void check_word(struct bpe *b, const struct plain *m, struct bpe_work *w, const char *word,
		       size_t len)
{
	uint32_t expected[4096];
	size_t count;
	const size_t n = merge_plainly(b, m, word, len, expected);

	assert_int_equal(bpe_encode(b, w, (struct bb_str){ word, len }, &count), 0);
	assert_int_equal(count, n);
	assert_memory_equal(w->out, expected, n * sizeof(*expected));
	assert_int_equal(w->out_at[0], 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(w->out_at[i + 1] - w->out_at[i], vocab_len(&b->vocab, w->out[i]));
}

static void test_merging(void **state)
{
	static const char *const merges[][2] = { { "b", "c" },	{ "a", "a" },  { "a", "b" },
						 { "aa", "b" }, { "a", "bc" }, { "aa", "aa" },
						 { "c", "ab" }, { "b", "a" },  { "abc", "abc" } };
	struct bpe *b = make("false", "false");
	struct plain m = { .count = 0 };
	struct bpe_work w;
	struct bb_rng r;
	char word[4096];

	for (size_t i = 0; i < UNIT_COUNT(merges); i++)
		take_plain(&m, b, merges[i][0], merges[i][1]);
	bpe_work_init(&w);
	bb_rng_seed(&r, 3);
	for (int round = 0; round < 3000; round++) {
		const size_t len = 1 + bb_rng_below(&r, round % 50 ? 300 : sizeof(word));
		const uint64_t letters = 1 + bb_rng_below(&r, 3);
		for (size_t i = 0; i < len; i++)
			word[i] = (char)('a' + bb_rng_below(&r, letters));
		b->merge = round & 1 ? bpe_merge_plain
				     : (bpe_has_avx2() ? bpe_merge_avx2 : bpe_merge_plain);
		check_word(b, &m, &w, word, len);
	}
	bpe_work_fini(&w);
	bpe_destroy(b);
}

/* ---- any merges ---- */

struct made {
	char tokens[512][64];
	uint32_t token_count;
	uint16_t merges[512][2]; /* tokens */
	uint32_t merge_count;
};

static uint32_t token_of(struct made *m, const char *text)
{
	for (uint32_t i = 0; i < m->token_count; i++)
		if (strcmp(m->tokens[i], text) == 0)
			return i;
	snprintf(m->tokens[m->token_count], sizeof(m->tokens[0]), "%s", text);
	return m->token_count++;
}

/*
 * Tokens that grow out of each other, then any ways to cut them in two, in an order that is that of
 * their growth, or of the lengths of tokens, or none, with some pairs twice.
 */
static void make_merges(struct made *m, struct bb_rng *r)
{
	const uint32_t letters = 1 + (uint32_t)bb_rng_below(r, 3);
	const uint32_t grown = 2 + (uint32_t)bb_rng_below(r, 24),
		       order = (uint32_t)bb_rng_below(r, 4);

	m->token_count = m->merge_count = 0;
	for (uint32_t i = 0; i < letters; i++)
		token_of(m, (char[]){ (char)('a' + i), '\0' });
	for (uint32_t i = 0; i < grown; i++) {
		char whole[128];
		const uint32_t left = (uint32_t)bb_rng_below(r, m->token_count);
		const uint32_t right = (uint32_t)bb_rng_below(r, m->token_count);
		snprintf(whole, sizeof(whole), "%s%s", m->tokens[left], m->tokens[right]);
		if (strlen(whole) > 12)
			continue;
		token_of(m, whole);
	}
	for (uint32_t i = letters; i < m->token_count; i++) {
		const char *const whole = m->tokens[i];
		for (size_t cut = 1; cut < strlen(whole) && m->merge_count < 500; cut++) {
			char left[64], right[64];
			snprintf(left, sizeof(left), "%.*s", (int)cut, whole);
			snprintf(right, sizeof(right), "%s", whole + cut);
			const uint32_t before = m->token_count;
			const uint32_t x = token_of(m, left), y = token_of(m, right);
			const bool is_there = m->token_count == before;
			m->token_count = before;
			if (!is_there || bb_rng_below(r, 8) == 0)
				continue;
			m->merges[m->merge_count][0] = (uint16_t)x;
			m->merges[m->merge_count++][1] = (uint16_t)y;
		}
	}
	if (order == 0)
		return;
	for (uint32_t i = 0; i + 1 < m->merge_count; i++) {
		/* All over, or a few places away. */
		const uint64_t far = order == 1 ? m->merge_count - i : 4;
		const uint64_t j = i + bb_rng_below(r, far);
		if (j >= m->merge_count)
			continue;
		uint16_t kept[2];
		memcpy(kept, m->merges[i], sizeof(kept));
		memcpy(m->merges[i], m->merges[j], sizeof(kept));
		memcpy(m->merges[j], kept, sizeof(kept));
	}
	if (order == 3 && m->merge_count > 2 && bb_rng_below(r, 4) == 0)
		memcpy(m->merges[m->merge_count++], m->merges[0], sizeof(m->merges[0]));
}

static struct bpe *load_merges(const struct made *m)
{
	static char json[65536];
	struct text_error e;
	struct bpe *b = NULL;

	int at = snprintf(json, sizeof(json), "{\"type\":\"BPE\",\"vocab\":{");
	for (uint32_t i = 0; i < m->token_count; i++)
		at += snprintf(json + at, sizeof(json) - (size_t)at, "%s\"%s\":%u", i ? "," : "",
			       m->tokens[i], i);
	for (uint32_t i = 0; i < 256; i++)
		at += snprintf(json + at, sizeof(json) - (size_t)at, ",\"<0x%02X>\":%u", i,
			       m->token_count + i);
	at += snprintf(json + at, sizeof(json) - (size_t)at,
		       "},\"byte_fallback\":true,\"merges\":[");
	for (uint32_t i = 0; i < m->merge_count; i++)
		at += snprintf(json + at, sizeof(json) - (size_t)at, "%s\"%s %s\"", i ? "," : "",
			       m->tokens[m->merges[i][0]], m->tokens[m->merges[i][1]]);
	at += snprintf(json + at, sizeof(json) - (size_t)at, "]}");
	assert_int_equal(bpe_create((struct bb_str){ json, (size_t)at }, VOCAB_CHARS, &b, &e), 0);
	return b;
}

/* Words for themselves give what they give together. Returns how many there are. */
static size_t check_cut(struct bpe *b, const struct plain *m, struct bpe_work *w, const char *word,
			size_t len)
{
	uint32_t expected[64];
	size_t ends[8], at = 0, begin = 0, n, done = 0, words = 0, count;
	const size_t all = merge_plainly(b, m, word, len, expected);

	assert_non_null(b->cuts);
	while ((n = bpe_cut(b->cuts, (struct bb_str){ word, len }, &at, ends, 8))) {
		for (size_t i = 0; i < n; begin = ends[i++], words++) {
			const struct bb_str part = { word + begin, ends[i] - begin };
			assert_int_equal(bpe_encode(b, w, part, &count), 0);
			assert_true(done + count <= all);
			assert_memory_equal(w->out, expected + done, count * sizeof(*expected));
			done += count;
		}
		assert_int_equal(at, begin);
	}
	assert_int_equal(begin, len);
	assert_int_equal(done, all);
	return words;
}

/* What is left out of the table of pairs makes no difference, nor where texts are cut. */
static void test_any_merges(void **state)
{
	static struct made m;
	static struct plain plain;
	struct bpe_work w;
	struct bb_rng r;
	size_t all = 0, kept = 0, cut = 0;

	bpe_work_init(&w);
	bb_rng_seed(&r, 11);
	for (int round = 0; round < UNIT_ROUNDS(4000); round++) {
		make_merges(&m, &r);
		struct bpe *const b = load_merges(&m);
		plain.count = 0;
		for (uint32_t i = 0; i < m.merge_count; i++)
			take_plain(&plain, b, m.tokens[m.merges[i][0]], m.tokens[m.merges[i][1]]);
		for (uint64_t i = 0; i <= b->pairs.mask; i++)
			kept += b->pairs.keys[i] != UINT64_MAX;
		all += m.merge_count;
		for (int i = 0; i < 40; i++) {
			char word[40];
			const size_t len = 1 + bb_rng_below(&r, sizeof(word));
			uint32_t letters = 0;
			while (letters < m.token_count && !m.tokens[letters][1])
				letters++;
			for (size_t k = 0; k < len; k++)
				word[k] = (char)('a' + bb_rng_below(&r, letters));
			check_word(b, &plain, &w, word, len);
			cut += check_cut(b, &plain, &w, word, len) - 1;
		}
		for (uint32_t i = 0; i < m.token_count; i++)
			check_word(b, &plain, &w, m.tokens[i], strlen(m.tokens[i]));
		bpe_destroy(b);
	}
	assert_true(kept < all && cut > 0);
	bpe_work_fini(&w);
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
static struct bpe *make_random(struct bb_rng *r, struct plain *plain)
{
	char lefts[40][8], rights[40][8];
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
		snprintf(lefts[i], sizeof(lefts[i]), "%.*s", cut, text);
		snprintf(rights[i], sizeof(rights[i]), "%s", text + cut);
		p += snprintf(p, (size_t)(end - p), "%s[\"%.*s\",\"%s\"]", i ? "," : "", cut, text,
			      text + cut);
	}
	snprintf(p, (size_t)(end - p), "]}");
	assert_int_equal(bpe_create(bb_str_of(json), VOCAB_CHARS, &b, &e), 0);
	plain->count = 0;
	for (unsigned i = 0; i < count; i++)
		take_plain(plain, b, lefts[i], rights[i]);
	return b;
}

/* Words of long runs, through models in which what is merged last may be what comes first. */
static void test_runs(void **state)
{
	static struct plain plain;
	struct bpe_work w;
	struct bb_rng r;
	char word[1500];

	bpe_work_init(&w);
	bb_rng_seed(&r, 17);
	for (int round = 0; round < UNIT_ROUNDS(1500); round++) {
		struct bpe *const b = make_random(&r, &plain);
		const size_t len = 60 + bb_rng_below(&r, round % 10 ? 300 : sizeof(word) - 60);
		for (size_t i = 0; i < len;) {
			const char c = (char)('a' + bb_rng_below(&r, 2));
			const size_t run = 1 + bb_rng_below(&r, round & 1 ? 8 : 600);
			for (size_t end = i + run; i < end && i < len; i++)
				word[i] = c;
		}
		check_word(b, &plain, &w, word, len);
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
		cmocka_unit_test(test_merging), cmocka_unit_test(test_any_merges),
		cmocka_unit_test(test_runs),	cmocka_unit_test(test_options),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
