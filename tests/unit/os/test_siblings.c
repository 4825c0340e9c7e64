/*
 * Goal: the files that a log was rotated to are found, sorted, and nothing else is, whatever signs
 * its name holds; without memory there are none.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "os/siblings.h"

static char folder[] = "/tmp/busbar-siblings-XXXXXX";

static void make(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	const int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void found_is(const char *name, const char *want)
{
	struct siblings s;
	char path[128], got[512] = "";

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	siblings_find(path, &s);
	for (size_t i = 0; i < s.count; i++) {
		strncat(got, s.names[i] + strlen(folder) + 1, 100);
		strncat(got, " ", 2);
	}
	assert_string_equal(got, want);
	siblings_free(&s);
	siblings_free(&s); /* of nothing */
}

static void test_names(void **state)
{
	static const char *const names[] = { "a.log",	       "a.log.1",      "a.log.2.gz",
					     "a.log-20261124", "a.logs",       "b.log.1",
					     "x*[y]?.log",     "x*[y]?.log.1", "xzy..log.1" };

	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; i < UNIT_COUNT(names); i++)
		make(names[i]);
	found_is("a.log", "a.log.1 a.log.2.gz a.log-20261124 ");
	found_is("x*[y]?.log", "x*[y]?.log.1 ");
	found_is("none", "");
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	found_is("a.log", "");
	bb_alloc_fail_at(2, BB_FAIL_FOREVER);
	found_is("a.log", "");
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
