/* Goal: Python's numbers, characters, dicts and JSON strings, apart from templates. */
#include "base/alloc.h"
#include "text/template_chars.h"
#include "text/template_lex.h"
#include "text/template_number.h"
#include "text/template_string.h"
#include "text/template_value.h"
#include "unit.h"

static struct tmem mem;

static int set_up(void **state)
{
	tmem_init(&mem, 1u << 20, 4096);
	return 0;
}

static int tear_down(void **state)
{
	tmem_fini(&mem);
	return 0;
}

static void assert_repr(double value, const char *expected)
{
	char text[NUMBER_REPR_SIZE];

	number_repr(value, text);
	assert_string_equal(text, expected);
}

static void test_floats(void **state)
{
	assert_repr(0.1, "0.1");
	assert_repr(1e-7, "1e-07");
	assert_repr(0.0001, "0.0001");
	assert_repr(0.00001, "1e-05");
	assert_repr(1e15, "1000000000000000.0");
	assert_repr(1e16, "1e+16");
	assert_repr(-1.7976931348623157e308, "-1.7976931348623157e+308");
	assert_repr(5e-324, "5e-324");
	assert_repr(-0.0, "-0.0");
	assert_repr(1.0 / 0.0, "inf");
}

static void assert_int(const char *text, int base, int64_t expected)
{
	struct tvalue v;

	assert_int_equal(number_int(&mem, bb_str_of(text), base, &v), 0);
	assert_int_equal(v.type, TV_INT);
	assert_int_equal(v.i, expected);
}

static void test_integers(void **state)
{
	struct tvalue v;

	assert_int(" -12\n", 10, -12);
	assert_int("1_000", 10, 1000);
	assert_int("0x1F", 16, 31);
	assert_int("0b101", 0, 5);
	assert_int("zz", 36, 1295);
	assert_int("-9223372036854775808", 10, INT64_MIN);
	assert_int_equal(number_int(&mem, BB_STR("9223372036854775808"), 10, &v), 0);
	assert_int_equal(v.type, TV_BIG);
	assert_str(tv_text(v), "9223372036854775808");
	static const char *const wrong[] = { "", "-", "1__0", "_1", "12a", "0x", "1.5", "019x" };
	for (size_t i = 0; i < UNIT_COUNT(wrong); i++)
		assert_int_equal(number_int(&mem, bb_str_of(wrong[i]), 10, &v), -BB_EINVALID);
	assert_int_equal(number_json(&mem, BB_STR("-1.5e3"), &v), 0);
	assert_true(v.f == -1500);
}

static void test_float_texts(void **state)
{
	double f;

	assert_int_equal(number_float(BB_STR(" 1_0.5 "), &f), 0);
	assert_true(f == 10.5);
	assert_int_equal(number_float(BB_STR("-Infinity"), &f), 0);
	assert_true(f < 0);
	assert_int_equal(number_float(BB_STR("0x1p3"), &f), -BB_EINVALID);
	assert_int_equal(number_float(BB_STR("1.5.2"), &f), -BB_EINVALID);
}

static void test_json_strings(void **state)
{
	const struct bb_str long_text = BB_STR("0123456789abcdef0123456789\\nabc\\\"def\\\\\\u00e9"
					       "\\ud83d\\ude00\\/0123456789abcdef");

	assert_str(tv_json_decode(&mem, BB_STR("a\\tb")), "a\tb");
	assert_str(tv_json_decode(&mem, long_text),
		   "0123456789abcdef0123456789\nabc\"def\\é😀/0123456789abcdef");
	assert_str(tv_json_decode(&mem, BB_STR("x\\")), "x"); /* not JSON: no crash */
	assert_str(tv_json_decode(&mem, BB_STR("x\\u12")), "x");
}

static void test_dicts(void **state)
{
	struct tdict *const d = tdict_create(&mem, 0);
	char name[16];

	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "k%d", i);
		char *const kept = tmem_alloc(&mem, sizeof(name));
		memcpy(kept, name, sizeof(name));
		assert_true(tdict_put(&mem, d, tv_str(bb_str_of(kept)), tv_int(i)));
	}
	assert_int_equal(d->count, 500);
	assert_int_equal(tdict_find_str(d, BB_STR("k499"))->i, 499);
	assert_null(tdict_find_str(d, BB_STR("k500")));
	assert_true(tdict_put(&mem, d, tv_int(1), tv_int(-1)));
	assert_int_equal(tdict_find(d, tv_float(1))->i, -1);
	assert_int_equal(tdict_find(d, tv_bool(1))->i, -1);
	assert_true(tdict_put(&mem, d, tv_bool(1), tv_int(-2)));
	assert_int_equal(d->count, 501);
	assert_false(tv_is_hashable(TV(TV_LIST)));
}

static void test_order(void **state)
{
	int order = 0;

	assert_int_equal(tv_equal(&mem, tv_int(1), tv_float(1), 0), 1);
	assert_int_equal(tv_equal(&mem, tv_lit("1"), tv_int(1), 0), 0);
	assert_int_equal(tv_equal(&mem, TV(TV_NONE), TV(TV_NONE), 0), 1);
	assert_true(tv_order(&mem, tv_lit("a"), tv_lit("ab"), 0, &order) && order < 0);
	assert_true(tv_order(&mem, tv_int(3), tv_float(2.5), 0, &order) && order > 0);
	assert_false(tv_order(&mem, tv_int(3), tv_lit("3"), 0, &order));
	assert_false(tv_order(&mem, tv_float(0.0 / 0.0), tv_int(3), 0, &order));
}

static void test_characters(void **state)
{
	struct tvalue s = tv_lit("größe 世界 🙂");
	struct bb_buf out;

	s.flags = 0;
	assert_int_equal(tv_str_len(s), 10);
	assert_int_equal(chars_offset(tv_text(s), 4), 6);
	assert_str(chars_strip_left(chars_strip_right(BB_STR("\u2003\t a b\u00a0\x1c"))), "a b");
	assert_true(chars_is_space(0x2028) && !chars_is_space(0x200b));
	assert_true(chars_is_alpha(0x4e16) && chars_is_decimal(0x664) && chars_is_digit(0xb2));
	assert_false(chars_is_printable(0xa0));
	bb_buf_init(&out, 256);
	chars_write_upper(BB_STR("straße ŉ ﬄ"), &out);
	assert_str(bb_buf_str(&out), "STRASSE ʼN FFL");
	bb_buf_clear(&out);
	chars_write_lower(BB_STR("ΟΔΟΣ Σ İ"), &out);
	assert_str(bb_buf_str(&out), "οδος σ i̇");
	bb_buf_clear(&out);
	chars_write_title(BB_STR("they're ǆ ßx"), &out);
	assert_str(bb_buf_str(&out), "They'Re ǅ Ssx");
	bb_buf_fini(&out);
}

static void assert_unescaped(struct bb_str inner, const char *expected)
{
	const char *why = NULL;
	struct bb_str out;

	assert_int_equal(string_unescape(inner, &mem, &out, &why), 0);
	assert_str(out, expected);
}

static void test_literals(void **state)
{
	const char *why = NULL;
	struct bb_str out;

	assert_unescaped(BB_STR("plain"), "plain");
	assert_unescaped(BB_STR("\\n\\t\\\\\\'\\\"\\q\\\n\\x41\\101\\u00e9\\U0001f600"),
			 "\n\t\\'\"\\qAAé😀");
	assert_int_equal(string_unescape(BB_STR("\\x4"), &mem, &out, &why), -BB_ESYNTAX);
	assert_int_equal(string_unescape(BB_STR("\\N{DASH}"), &mem, &out, &why), -BB_ESYNTAX);
	assert_non_null(why);
}

static void test_tokens(void **state)
{
	static const uint32_t expected[] = { TOKEN_DATA,    TOKEN_VARIABLE_BEGIN, TOKEN_NAME,
					     TOKEN_DOT,	    TOKEN_INTEGER,	  TOKEN_DOT,
					     TOKEN_INTEGER, TOKEN_FLOORDIV,	  TOKEN_FLOAT,
					     TOKEN_STRING,  TOKEN_VARIABLE_END,	  TOKEN_EOF };
	struct token_array tokens = { NULL, 0, 0 };
	struct text_error e;

	assert_int_equal(template_lex(BB_STR("a {{ x.0.1 // 1.5e-3 'it' }}"), &mem, &tokens, &e),
			 0);
	assert_int_equal(tokens.count, UNIT_COUNT(expected));
	for (size_t i = 0; i < tokens.count; i++)
		assert_int_equal(tokens.list[i].type, expected[i]);
	bb_free(tokens.list);
}

static void test_memory(void **state)
{
	struct tmem small;

	tmem_init(&small, 10000, 1024);
	assert_null(tmem_alloc(&small, 20000));
	assert_true(small.is_full);
	size_t total = 0;
	while (tmem_alloc(&small, 100))
		total += 100;
	assert_true(total >= 4000 && total <= 10000);
	tmem_fini(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_floats),	    cmocka_unit_test(test_integers),
		cmocka_unit_test(test_float_texts), cmocka_unit_test(test_json_strings),
		cmocka_unit_test(test_dicts),	    cmocka_unit_test(test_order),
		cmocka_unit_test(test_characters),  cmocka_unit_test(test_literals),
		cmocka_unit_test(test_tokens),	    cmocka_unit_test(test_memory),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
