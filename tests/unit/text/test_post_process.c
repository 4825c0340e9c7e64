/* Goal: the tokens around a text, from each type of post-processor and from several in a row. */
#include "base/alloc.h"
#include "text/post_process.h"
#include "unit.h"

#define TEMPLATE                                                                                   \
	"{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\",\"type_"     \
	"id\":0}},"                                                                                \
	"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"E\",\"type_id\":" \
	"0}}],"                                                                                    \
	"\"special_tokens\":{\"B\":{\"id\":\"B\",\"ids\":[1,2]},\"E\":{\"id\":\"E\",\"ids\":[3]}}" \
	"}"
#define BERT "{\"type\":\"BertProcessing\",\"sep\":[\"S\",9],\"cls\":[\"C\",8]}"

static void test_types(void **state)
{
	struct post_process p;

	assert_int_equal(post_process_init(&p, BB_STR("null"), NULL), 0);
	assert_int_equal(p.before_count + p.behind_count, 0);
	assert_int_equal(post_process_init(&p, BB_STR("{\"type\":\"ByteLevel\"}"), NULL), 0);
	assert_int_equal(p.before_count + p.behind_count, 0);
	assert_int_equal(post_process_init(&p, BB_STR(TEMPLATE), NULL), 0);
	assert_int_equal(p.before_count, 2);
	assert_int_equal(p.before[1], 2);
	assert_int_equal(p.behind[0], 3);
	assert_int_equal(post_process_init(&p, BB_STR(BERT), NULL), 0);
	assert_int_equal(p.before[0], 8);
	assert_int_equal(p.behind[0], 9);
}

static void test_sequence(void **state)
{
	struct post_process p;

	assert_int_equal(
		post_process_init(&p,
				  BB_STR("{\"type\":\"Sequence\",\"processors\":["
					 "{\"type\":\"ByteLevel\"}," TEMPLATE "," BERT "]}"),
				  NULL),
		0);
	assert_int_equal(p.before_count, 3);
	assert_int_equal(p.before[0], 8);
	assert_int_equal(p.before[1], 1);
	assert_int_equal(p.behind_count, 2);
	assert_int_equal(p.behind[0], 3);
	assert_int_equal(p.behind[1], 9);
}

static void test_refused(void **state)
{
	static const char *const cases[] = {
		"[]",
		"{}",
		"{\"type\":\"Foo\"}",
		"{\"type\":\"Sequence\"}",
		"{\"type\":\"BertProcessing\",\"sep\":[\"S\"],\"cls\":[\"C\",8]}",
		"{\"type\":\"TemplateProcessing\",\"single\":[]}",
		"{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}",
		/* One text of two literals. */
		("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}},"
		 "{\"Sequence\":{\"id\":\"A\"}}]}"),
		"{\"type\":\"BertProcessing\",\"sep\":[\"S\",9999999],\"cls\":[\"C\",8]}",
	};
	struct post_process p;

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct text_error e = { 0 };
		assert_int_equal(post_process_init(&p, bb_str_of(cases[i]), &e), -BB_EINVALID);
		assert_non_null(strstr(e.message, "post_processor"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
