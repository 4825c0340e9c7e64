/*
 * Goal: patterns of Oniguruma match as there, whatever PCRE2 makes of the same letters; where
 * memory must not be both written and executed the interpreter does the same and is named; what has
 * no equal is refused with a word; limits hold.
 */
#include "exhaust.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "text/regex.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* The matches with | between them. */
static int matches(const char *pattern, const char *text, char *out, size_t size)
{
	struct regex *r;
	struct regex_find f;
	size_t begin, end;
	int rc = regex_create(bb_str_of(pattern), &r, NULL);

	if (rc)
		return rc;
	rc = regex_find_init(&f, r, bb_str_of(text));
	*out = 0;
	for (bool is_first = true; !rc && (rc = regex_find_next(&f, &begin, &end)) == 1; rc = 0) {
		snprintf(out + strlen(out), size - strlen(out), "%s%.*s", is_first ? "" : "|",
			 (int)(end - begin), text + begin);
		is_first = false;
	}
	if (f.data)
		regex_find_fini(&f);
	regex_destroy(r);
	return rc;
}

static void check(const char *pattern, const char *text, const char *expected)
{
	char out[256];

	assert_int_equal(matches(pattern, text, out, sizeof(out)), 0);
	assert_string_equal(out, expected);
}

static void syntax(void **state)
{
	check("\\p{N}{1,2}+", "12345", "12345"); /* repeats: not possessive */
	check("a{2}?", "aaa", "aa|");
	check("\\h+", "xyz0af", "0af");
	check("^.", "ab\ncd\n", "a|c");
	check("(?m)a.b", "a\nb", "a\nb");
	check("\\s", "a\u180e\u3000b", "\u3000"); /* U+180E is no white space any more */
	check("\\w+", "\u24b6\u00b2-", "\u24b6\u00b2");
	check("[\\w]+", "\u24b6\u00b2-", "\u24b6");
	check("[\\p{L}&&[^\\p{Han}]]+", "ab\u4e2dc", "ab|c");
	check("\\p{L}+", "\U00010d50-", "\U00010d50"); /* of Unicode 16 */
	check("\\p{Han}", "\u3001\u4e2d", "\u4e2d");   /* without script extensions */
	check("a|b|", "ab", "a|b");
	check("(?i:'s)", "'S", "'S");
	check("{", "{", "{");
}

static void refusals(void **state)
{
	static const struct {
		const char *pattern, *said;
	} cases[] = {
		{ "(a", "a group is not closed" },
		{ "a)", "a group is closed that was not opened" },
		{ "[a", "a class is not closed" },
		{ "\\", "a backslash stands at the end" },
		{ "\\R", "not supported" },
		{ "\\1", "not supported" },
		{ "(?<n>a)", "not supported" },
		{ "[[:alpha:]]", "POSIX classes" },
		{ "\\p{Klingon}", "does not know" },
		{ "*a", "nothing to repeat" },
		{ "\\x{110000}", "malformed" },
		{ "(?<=a+)b", "lookbehind" },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct text_error e = { 0 };
		struct regex *r = NULL;
		assert_int_equal(regex_create(bb_str_of(cases[i].pattern), &r, &e), -BB_EINVALID);
		if (!strstr(e.message, cases[i].said))
			fail_msg("\"%s\" does not say \"%s\"", e.message, cases[i].said);
	}
	struct bb_buf deep;
	struct regex *r;
	bb_buf_init(&deep, 1024);
	for (int i = 0; i < 100; i++)
		bb_buf_lit(&deep, "(");
	assert_int_equal(regex_create(bb_buf_str(&deep), &r, NULL), -BB_EINVALID);
	bb_buf_fini(&deep);
}

/* A pattern that tries everything ends at its limit. */
static void limits(void **state)
{
	char text[64], out[64];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	assert_int_equal(matches("(?:a+)+(?:a+)+(?:a+)+b|(?:(?:a|aa)+)+c", text, out, sizeof(out)),
			 -BB_ELIMIT);
}

static int child_without_jit(void)
{
	char out[64];
	struct regex *r;

	if (regex_create(BB_STR("\\p{L}+"), &r, NULL) ||
	    strcmp(regex_engine(r), "PCRE2 (interpreter)") != 0)
		return 2;
	regex_destroy(r);
	return matches("\\p{L}+", "ab 1 c", out, sizeof(out)) || strcmp(out, "ab|c") != 0 ? 3 : 0;
}

/* The first test: executable memory that PCRE2 has already is used again. */
static void without_jit(void **state)
{
	int status = 0;

	fflush(NULL);
	const pid_t pid = fork();
	if (!pid) {
		if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
			_exit(77);
		_exit(child_without_jit());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* a kernel before 6.3 */
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int all(void)
{
	char out[64];
	const int rc = matches("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\bx", "ab c", out, sizeof(out));

	if (!rc)
		assert_string_equal(out, "ab| c");
	return rc;
}

static void exhausted(void **state)
{
	exhaust(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_jit), cmocka_unit_test(syntax),
		cmocka_unit_test(refusals),    cmocka_unit_test(limits),
		cmocka_unit_test(exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
