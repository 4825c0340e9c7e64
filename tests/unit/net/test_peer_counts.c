/* Goal: connections are counted per address, never too few, and given back exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "net/peer_counts.h"

static struct sock_peer v4(uint32_t ip, uint16_t port)
{
	struct sock_peer p = { .family = AF_INET, .port = port };

	memcpy(p.ip, &ip, sizeof(ip));
	return p;
}

static void test_counts(void **state)
{
	struct peer_counts *c = peer_counts_create(7);
	const struct sock_peer a = v4(1, 1000), a2 = v4(1, 2000), b = v4(2, 1000);

	assert_non_null(c);
	assert_int_equal(peer_counts_add(c, &a), 1);
	assert_int_equal(peer_counts_add(c, &a2), 2); /* the port does not matter */
	assert_int_equal(peer_counts_add(c, &b), 1);
	peer_counts_remove(c, &a);
	assert_int_equal(peer_counts_add(c, &a), 2);
	peer_counts_remove(c, &a);
	peer_counts_remove(c, &a2);
	peer_counts_remove(c, &b);
	assert_int_equal(peer_counts_add(c, &a), 1);
	peer_counts_destroy(c);
}

static void test_v6_by_network(void **state)
{
	struct peer_counts *c = peer_counts_create(7);
	struct sock_peer a = { .family = AF_INET6, .ip = { 0x20, 1, 0xd, 0xb8 } }, b = a, other = a;

	b.ip[15] = 9;     /* the same /64 */
	other.ip[7] = 1;  /* another one */
	assert_int_equal(peer_counts_add(c, &a), 1);
	assert_int_equal(peer_counts_add(c, &b), 2);
	assert_int_equal(peer_counts_add(c, &other), 1);
	peer_counts_destroy(c);
}

/* 20,000 open addresses: hardly one of them is taken for two. */
static void test_collisions_are_rare(void **state)
{
	struct peer_counts *c = peer_counts_create(99);
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < 20000; i++) {
		const struct sock_peer p = v4(i * 2654435761u, 1);
		const uint32_t n = peer_counts_add(c, &p);
		assert_true(n >= 1);
		wrong += n > 1;
	}
	assert_true(wrong < 1500);
	peer_counts_destroy(c);
}

static void test_without_memory(void **state)
{
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_null(peer_counts_create(1));
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	peer_counts_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_v6_by_network),
		cmocka_unit_test(test_collisions_are_rare),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
