#include "net/peer_counts.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"

#define ROW_SIZE 65536

struct peer_counts {
	uint64_t secret;
	uint32_t rows[2][ROW_SIZE]; /* atomic */
};

struct peer_counts *peer_counts_create(uint64_t secret)
{
	struct peer_counts *c = bb_alloc_zero(1, sizeof(*c));

	if (c)
		c->secret = secret;
	return c;
}

void peer_counts_destroy(struct peer_counts *c)
{
	bb_free(c);
}

static void cells(struct peer_counts *c, const struct sock_peer *p, uint32_t *cell[2])
{
	/* Zeros fill an IPv4 address up to the same eight bytes. */
	const uint64_t hash = bb_hash(p->ip, 8, c->secret ^ p->family);

	cell[0] = &c->rows[0][hash % ROW_SIZE];
	cell[1] = &c->rows[1][hash >> 32 & (ROW_SIZE - 1)];
}

uint32_t peer_counts_add(struct peer_counts *c, const struct sock_peer *p)
{
	uint32_t *cell[2];

	cells(c, p, cell);
	const uint32_t a = __atomic_add_fetch(cell[0], 1, __ATOMIC_RELAXED);
	const uint32_t b = __atomic_add_fetch(cell[1], 1, __ATOMIC_RELAXED);
	return a < b ? a : b;
}

void peer_counts_remove(struct peer_counts *c, const struct sock_peer *p)
{
	uint32_t *cell[2];

	cells(c, p, cell);
	for (int i = 0; i < 2; i++) {
		const uint32_t before = __atomic_fetch_sub(cell[i], 1, __ATOMIC_RELAXED);
		BB_ASSERT(before > 0);
	}
}
