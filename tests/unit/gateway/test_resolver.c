/*
 * Goal: names are looked up on another thread and the answer comes on the loop that asked, once, or
 * not at all when the job was cancelled; numeric addresses need no look-up.
 */
#include "unit.h"

#include "base/alloc.h"
#include "gateway/resolver.h"
#include "os/clock.h"
#include "os/process.h"

struct answer {
	int count;
	bool found;
	struct sock_addr addr;
	const char *why;
	pthread_t thread;
};

static struct loop *loop;
static struct resolver *resolver;

static void on_done(void *user, const struct sock_addr *addr, const char *why)
{
	struct answer *a = user;

	a->count++;
	a->thread = pthread_self();
	a->found = addr != NULL;
	if (addr)
		a->addr = *addr;
	a->why = why;
}

static int set_up(void **state)
{
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(resolver_create(loop, &resolver), 0);
	return 0;
}

static int tear_down(void **state)
{
	resolver_destroy(resolver);
	loop_destroy(loop);
	return 0;
}

static void wait_for(const struct answer *a, int count)
{
	const uint64_t stop_ns = clock_now_ns() + 20 * OS_SECOND;

	while (a->count < count) {
		if (clock_now_ns() > stop_ns)
			fail_msg("no answer came");
		loop_turn(loop, OS_MS);
	}
}

static void test_localhost(void **state)
{
	struct answer a = { 0 };
	char text[SOCK_TEXT_SIZE];

	struct resolve_job *j = resolve_job_create(resolver, BB_STR("localhost"), 8123, on_done, &a);
	assert_non_null(j);
	assert_int_equal(a.count, 0); /* not before it is started */
	resolve_job_start(j);
	resolve_job_start(j); /* one at a time */
	wait_for(&a, 1);
	assert_true(a.found);
	assert_true(pthread_equal(a.thread, pthread_self()));
	sock_addr_text(&a.addr, text);
	assert_true(strcmp(text, "127.0.0.1:8123") == 0 || strcmp(text, "[::1]:8123") == 0);
	for (int i = 0; i < 5; i++)
		loop_turn(loop, OS_MS);
	assert_int_equal(a.count, 1);
	/* The same job again: addresses change. */
	resolve_job_start(j);
	wait_for(&a, 2);
	resolve_job_cancel(j);
}

static void test_a_name_that_is_none(void **state)
{
	struct answer a = { 0 };
	char name[300];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0'; /* too long to ask anyone for */
	struct resolve_job *j = resolve_job_create(resolver, bb_str_of(name), 80, on_done, &a);
	resolve_job_start(j);
	wait_for(&a, 1);
	assert_false(a.found);
	assert_non_null(a.why);
	assert_true(a.why[0]);
	resolve_job_cancel(j);
}

static void test_cancelled(void **state)
{
	struct answer a = { 0 };

	/* Before, during and after the look-up. */
	struct resolve_job *never = resolve_job_create(resolver, BB_STR("localhost"), 1, on_done, &a);
	resolve_job_cancel(never);
	for (int i = 0; i < 50; i++) {
		struct resolve_job *j = resolve_job_create(resolver, BB_STR("localhost"), 1, on_done, &a);
		resolve_job_start(j);
		resolve_job_cancel(j);
		if (i % 10 == 0)
			loop_turn(loop, OS_MS);
	}
	struct answer last = { 0 };
	struct resolve_job *j = resolve_job_create(resolver, BB_STR("localhost"), 1, on_done, &last);
	resolve_job_start(j);
	wait_for(&last, 1); /* those before it have come back by now */
	assert_int_equal(a.count, 0);
	resolve_job_cancel(j);
	resolve_job_cancel(NULL);
}

/* Jobs that wait or are under way when the resolver ends are given back (ASan looks). */
static void test_destroyed_while_busy(void **state)
{
	struct answer a = { 0 };

	for (int i = 0; i < 20; i++) {
		struct resolve_job *j = resolve_job_create(resolver, BB_STR("localhost"), 1, on_done, &a);
		resolve_job_start(j);
		resolve_job_cancel(j);
	}
	resolver_destroy(resolver);
	resolver = NULL;
	assert_int_equal(a.count, 0);
	loop_turn(loop, 0);
	assert_int_equal(a.count, 0);
}

static void test_numeric(void **state)
{
	static const struct {
		const char *host;
		const char *text; /* NULL: it is a name */
	} cases[] = {
		{ "127.0.0.1", "127.0.0.1:80" }, { "::1", "[::1]:80" }, { "2001:db8::7", "[2001:db8::7]:80" },
		{ "example.org", NULL },	 { "1.2.3", NULL },	{ "1.2.3.4.5", NULL },
		{ "::g", NULL },		 { "fe80::1%eth0", NULL },
	};
	struct sock_addr addr;
	char text[SOCK_TEXT_SIZE];

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		const bool is = resolver_is_numeric(bb_str_of(cases[i].host), 80, &addr);
		assert_int_equal(is, cases[i].text != NULL);
		if (!is)
			continue;
		sock_addr_text(&addr, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void test_without_memory(void **state)
{
	const uint64_t fds = process_fd_count();
	struct resolver *r = NULL;
	uint64_t nth = 1;

	for (;; nth++) {
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = resolver_create(loop, &r);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (!rc)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
		assert_int_equal(process_fd_count(), fds);
	}
	assert_true(nth > 2);
	for (uint64_t n = 1; n <= 2; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		assert_null(resolve_job_create(r, BB_STR("localhost"), 1, on_done, NULL));
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
	}
	resolver_destroy(r);
	resolver_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_localhost, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_name_that_is_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cancelled, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_destroyed_while_busy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_numeric, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
