/*
 * Goal: Unigram, WordPiece, WordLevel and SPM give the tokens they must, also where entries tie,
 * fuse or are bytes; a word of a megabyte takes no more than its share of time and memory; broken
 * models are refused by name; nothing is lost when memory runs out.
 */
#include "exhaust.h"

#include "base/buf.h"
#include "text/model_spm.h"
#include "text/model_unigram.h"
#include "text/model_wordpiece.h"

#define UNIGRAM                                                                                    \
	"{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":false,\"vocab\":[[\"<unk>\",0],"     \
	"[\"a\",0.0],[\"b\",0.0],[\"c\",0.0],[\"d\",0.0],[\"cd\",1.0],[\"ab\",2.0],"               \
	"[\"abc\",5.0],[\"abcd\",10.0]]}"
#define WORDPIECE_MODEL                                                                            \
	"{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","    \
	"\"max_input_chars_per_word\":10,\"vocab\":{\"[UNK]\":0,\"un\":1,\"##aff\":2,"             \
	"\"##able\":3,\"##a\":4}}"
#define SPM                                                                                        \
	"{\"type\":\"SPM\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"<0xC3>\",0],[\"<0xA9>\",0],"   \
	"[\"a\",-1],[\"b\",-2],[\"ab\",-5],[\"ba\",-4],[\"aba\",-6]]}"

static void expect(const struct model_tokens *t, const char *expected)
{
	char text[256] = "";

	for (size_t i = 0; i < t->count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u:%u-%u",
			 i ? " " : "", t->ids[i], t->begins[i], t->ends[i]);
	assert_string_equal(text, expected);
}

static void unigram(void **state)
{
	struct unigram *u;
	struct unigram_work w;
	struct model_tokens t;

	assert_int_equal(unigram_create(BB_STR(UNIGRAM), &u, NULL), 0);
	unigram_work_init(&w);
	model_tokens_init(&t);
	assert_int_equal(unigram_encode(u, &w, BB_STR("abcdacdxx"), &t), 0);
	expect(&t, "8:0-4 1:4-5 5:5-7 0:7-9");
	assert_int_equal(unigram_encode(u, &w, BB_STR("\u00e9\u00e9"), &t), 0);
	expect(&t, "0:0-4");
	assert_int_equal(unigram_encode(u, &w, BB_STR(""), &t), 0);
	expect(&t, "");
	assert_int_equal(unigram_id(u, BB_STR("ab")), 6);
	assert_str(unigram_token(u, 6), "ab");
	assert_null(unigram_token(u, 9).p);
	struct bb_buf word;
	bb_buf_init(&word, 1 << 21);
	for (int i = 0; i < 1 << 18; i++)
		bb_buf_lit(&word, "abcd");
	assert_int_equal(unigram_encode(u, &w, bb_buf_str(&word), &t), 0);
	assert_int_equal(t.count, 1 << 18);
	bb_buf_fini(&word);
	model_tokens_fini(&t);
	unigram_work_fini(&w);
	unigram_destroy(u);
}

static void wordpiece(void **state)
{
	struct wordpiece *m;
	struct model_tokens t;

	assert_int_equal(wordpiece_create(BB_STR(WORDPIECE_MODEL), WORDPIECE, &m, NULL), 0);
	model_tokens_init(&t);
	assert_int_equal(wordpiece_encode(m, BB_STR("unaffable"), &t), 0);
	expect(&t, "1:0-2 2:2-5 3:5-9");
	assert_int_equal(wordpiece_encode(m, BB_STR("unx"), &t), 0);
	expect(&t, "0:0-3");
	assert_int_equal(wordpiece_encode(m, BB_STR("unaaaaaaaaa"), &t), 0); /* 11 characters */
	expect(&t, "0:0-11");
	wordpiece_destroy(m);
	assert_int_equal(wordpiece_create(BB_STR("{\"unk_token\":\"?\",\"vocab\":{\"a\":0}}"),
					  WORDLEVEL, &m, NULL),
			 0);
	assert_int_equal(wordpiece_encode(m, BB_STR("a"), &t), 0);
	expect(&t, "0:0-1");
	assert_int_equal(wordpiece_encode(m, BB_STR("b"), &t), -BB_EINVALID);
	wordpiece_destroy(m);
	model_tokens_fini(&t);
}

static void spm(void **state)
{
	struct spm *s;
	struct spm_work w;
	struct model_tokens t;

	assert_int_equal(spm_create(BB_STR(SPM), &s, NULL), 0);
	spm_work_init(&w);
	model_tokens_init(&t);
	/* "ba" has the better score than "ab", so that "aba" never comes to be from the left. */
	assert_int_equal(spm_encode(s, &w, BB_STR("aba"), &t), 0);
	expect(&t, "7:0-3");
	assert_int_equal(spm_encode(s, &w, BB_STR("abb"), &t), 0);
	expect(&t, "5:0-2 4:2-3");
	assert_int_equal(spm_encode(s, &w, BB_STR("a\u00e9"), &t), 0);
	expect(&t, "3:0-1 1:1-3 2:1-3");
	assert_int_equal(spm_encode(s, &w, BB_STR("z"), &t), 0);
	expect(&t, "0:0-1");
	struct bb_buf word;
	bb_buf_init(&word, 1 << 21);
	for (int i = 0; i < 1 << 18; i++)
		bb_buf_lit(&word, "a");
	assert_int_equal(spm_encode(s, &w, bb_buf_str(&word), &t), 0);
	assert_int_equal(t.count, 1 << 18);
	bb_buf_fini(&word);
	model_tokens_fini(&t);
	spm_work_fini(&w);
	spm_destroy(s);
}

static void refusals(void **state)
{
	struct text_error e;
	struct unigram *u;
	struct wordpiece *m;

	assert_int_equal(unigram_create(BB_STR("{\"vocab\":[[\"a\"]]}"), &u, &e), -BB_EINVALID);
	assert_non_null(strstr(e.message, "entry 0 is not [text, score]"));
	assert_int_equal(unigram_create(BB_STR("{\"vocab\":[[\"a\",1]],\"unk_id\":1}"), &u, &e),
			 -BB_EINVALID);
	assert_non_null(strstr(e.message, "'unk_id' is no entry"));
	assert_int_equal(unigram_create(BB_STR("{}"), &u, &e), -BB_EINVALID);
	assert_int_equal(wordpiece_create(BB_STR("{\"vocab\":[]}"), WORDPIECE, &m, &e),
			 -BB_EINVALID);
	assert_non_null(strstr(e.message, "'vocab' must be an object"));
}

static int all(void)
{
	struct unigram *u = NULL;
	struct wordpiece *m = NULL;
	struct spm *s = NULL;
	struct unigram_work uw;
	struct spm_work sw;
	struct model_tokens t;

	unigram_work_init(&uw);
	spm_work_init(&sw);
	model_tokens_init(&t);
	int rc = unigram_create(BB_STR(UNIGRAM), &u, NULL);
	if (!rc)
		rc = wordpiece_create(BB_STR(WORDPIECE_MODEL), WORDPIECE, &m, NULL);
	if (!rc)
		rc = spm_create(BB_STR(SPM), &s, NULL);
	if (!rc)
		rc = unigram_encode(u, &uw, BB_STR("abcd"), &t);
	if (!rc)
		rc = wordpiece_encode(m, BB_STR("unable"), &t);
	if (!rc)
		rc = spm_encode(s, &sw, BB_STR("abab"), &t);
	model_tokens_fini(&t);
	unigram_work_fini(&uw);
	spm_work_fini(&sw);
	unigram_destroy(u);
	wordpiece_destroy(m);
	spm_destroy(s);
	return rc;
}

static void exhausted(void **state)
{
	exhaust(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unigram),  cmocka_unit_test(wordpiece), cmocka_unit_test(spm),
		cmocka_unit_test(refusals), cmocka_unit_test(exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
