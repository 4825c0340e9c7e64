/*
 * Goal: the texts of models are found by every name; files that cannot be used are named; a reload
 * keeps what is the same; a lack of memory leaves nothing behind. The model is the tiny GGUF file.
 */
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "gateway/model_text.h"
#include "os/process.h"

#define TINY "tests/data/gguf-tiny/tiny.gguf"

static char why[MODEL_TEXT_WHY_SIZE];

static struct config *config_of(const char *text)
{
	struct config *c = NULL;
	struct config_errors errors;

	config_errors_init(&errors);
	assert_int_equal(config_parse(bb_str_of(text), "t.yaml", NULL, &c, &errors), 0);
	config_errors_fini(&errors);
	return c;
}

#define MODELS(template)                                                                           \
	"models:\n"                                                                                \
	"  a: {engines: [http://one:1], tokenizer: " TINY template ", aliases: [b, '*']}\n"        \
								   "  c: {engines: "               \
								   "[http://one:1]}\n"             \
								   "  d: {engines: "               \
								   "[http://one:1], "              \
								   "tokenizer: " TINY template "}" \
											       "\n"

static void names(void **state)
{
	struct config *c = config_of(MODELS(""));
	struct model_texts t;

	if (model_texts_load(c, NULL, &t, why))
		fail_msg("%s", why);
	assert_int_equal(model_texts_index(&t, BB_STR("a")), 0);
	assert_int_equal(model_texts_index(&t, BB_STR("b")), 0);
	assert_int_equal(model_texts_index(&t, BB_STR("c")), 1);
	assert_int_equal(model_texts_index(&t, BB_STR("d")), 2);
	assert_int_equal(model_texts_index(&t, BB_STR("whatever")), 0);
	assert_int_equal(model_texts_index(&t, BB_STR("")), UINT32_MAX);
	assert_non_null(t.list[0]);
	assert_null(t.list[1]);
	assert_ptr_equal(t.list[0], t.list[2]); /* one file, read once */
	assert_true(model_texts_any(&t));
	assert_non_null(t.list[0]->chat);
	assert_true(t.list[0]->facts.id_end > 256);
	model_texts_free(&t);
	model_texts_free(&t);
	config_free(c);
}

static void only_one(void **state)
{
	struct config *c = config_of("models: {m: {engines: [http://one:1]}}");
	struct model_texts t;

	assert_int_equal(model_texts_load(c, NULL, &t, why), 0);
	assert_int_equal(model_texts_index(&t, BB_STR("")), 0);
	assert_int_equal(model_texts_index(&t, BB_STR("x")), UINT32_MAX);
	assert_false(model_texts_any(&t));
	model_texts_free(&t);
	config_free(c);
}

static void a_reload_keeps_what_is_the_same(void **state)
{
	struct config *c = config_of(MODELS(""));
	struct model_texts first, second, third;
	char path[] = "/tmp/busbar-template-XXXXXX";
	const int fd = mkstemp(path);
	char text[1024];

	assert_int_equal(model_texts_load(c, NULL, &first, why), 0);
	assert_int_equal(model_texts_load(c, &first, &second, why), 0);
	assert_ptr_equal(first.list[0], second.list[0]);
	model_texts_free(&first);
	/* Another template is another text. */
	assert_int_equal(write(fd, "{{ messages }}", 14), 14);
	snprintf(text, sizeof(text),
		 "models: {a: {engines: [http://one:1], tokenizer: " TINY ", chat_template: %s}}",
		 path);
	struct config *other = config_of(text);
	assert_int_equal(model_texts_load(other, &second, &third, why), 0);
	assert_ptr_not_equal(second.list[0], third.list[0]);
	/* Its file has changed. */
	assert_int_equal(write(fd, "!", 1), 1);
	assert_int_equal(model_texts_load(other, &third, &first, why), 0);
	assert_ptr_not_equal(third.list[0], first.list[0]);
	model_texts_free(&first);
	model_texts_free(&second);
	model_texts_free(&third);
	config_free(other);
	config_free(c);
	unlink(path);
	close(fd);
}

static void expect_refused(const char *path, const char *template_path, const char *part)
{
	struct model_text *m = NULL;

	assert_int_not_equal(model_text_load(path, template_path, &m, why), 0);
	assert_null(m);
	if (bb_str_find(bb_str_of(why), bb_str_of(part)) < 0)
		fail_msg("'%s' is not in: %s", part, why);
}

static void what_cannot_be_used(void **state)
{
	expect_refused("/no/such", NULL, "/no/such cannot be read: No such file");
	expect_refused("tests", NULL, "tokenizer.json cannot be read");
	expect_refused("tests/README.md", NULL, "tests/README.md: ");
	expect_refused(TINY, "/no/such.jinja", "/no/such.jinja cannot be read");
	char path[] = "/tmp/busbar-template-XXXXXX";
	const int fd = mkstemp(path);
	assert_int_equal(write(fd, "{% if %}", 8), 8);
	expect_refused(TINY, path, "chat_template.jinja: ");
	unlink(path);
	close(fd);
	struct config *c = config_of("models: {m: {engines: [http://one:1], tokenizer: /no/such}}");
	struct model_texts t;
	assert_int_equal(model_texts_load(c, NULL, &t, why), -BB_ESYSTEM);
	assert_true(bb_str_starts(bb_str_of(why), BB_STR("models.m.tokenizer: /no/such ")));
	config_free(c);
}

/* The scratch serves more tokenizers than it has room for, and gives large buffers back. */
static void scratch(void **state)
{
	struct model_text *models[TEXT_WORKS + 2];
	struct text_work *w;
	size_t count = 0;

	assert_int_equal(text_work_create(&w), 0);
	for (int i = 0; i < TEXT_WORKS + 2; i++)
		if (model_text_load(TINY, NULL, &models[i], why))
			fail_msg("%s", why);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < TEXT_WORKS + 2; i++) {
			text_ids(w)->count = 0;
			assert_int_equal(model_text_encode(models[i], w, NULL, 0,
							   BB_STR("the cat is on the mat"), 0),
					 0);
			assert_true(text_ids(w)->count > 0);
			assert_true(count == 0 || count == text_ids(w)->count);
			count = text_ids(w)->count;
		}
	struct bb_buf big;
	bb_buf_init(&big, 4u << 20);
	for (int i = 0; i < 100000; i++)
		bb_buf_lit(&big, "word ");
	assert_int_equal(model_text_encode(models[0], w, NULL, 0, bb_buf_str(&big), 0), 0);
	text_work_trim(w);
	assert_int_equal(text_ids(w)->cap, 0);
	bb_buf_fini(&big);
	text_work_forget(w);
	for (int i = 0; i < TEXT_WORKS + 2; i++) {
		assert_int_equal(models[i]->refs, 1);
		model_text_put(models[i]);
	}
	text_work_destroy(w);
}

static void no_memory(void **state)
{
	struct config *c = config_of(MODELS(""));
	struct model_texts t;

	for (uint64_t nth = 1;; nth += 1 + nth / 8) {
		bb_alloc_fail_at(nth, BB_FAIL_FOREVER);
		const int rc = model_texts_load(c, NULL, &t, why);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (rc == 0)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
		assert_true(why[0]);
	}
	model_texts_free(&t);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(only_one),
		cmocka_unit_test(a_reload_keeps_what_is_the_same),
		cmocka_unit_test(what_cannot_be_used),
		cmocka_unit_test(scratch),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
