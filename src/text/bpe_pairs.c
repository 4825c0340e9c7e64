#include "text/bpe_pairs.h"

#include <string.h>

#include "base/alloc.h"

int bpe_pairs_init(struct bpe_pairs *p, size_t count)
{
	unsigned bits = 10, filter_bits = 13;

	while ((uint64_t)2 << bits < count * 3)
		bits++;
	while ((uint64_t)1 << filter_bits < count * 8)
		filter_bits++;
	p->shift = 64 - bits;
	p->mask = ((uint64_t)1 << bits) - 1;
	p->filter_shift = 64 - filter_bits;
	p->filter = bb_alloc_zero((size_t)1 << (filter_bits - 6), sizeof(*p->filter));
	p->keys = bb_alloc(sizeof(*p->keys) << bits);
	p->wholes = bb_alloc_zero((size_t)1 << bits, sizeof(*p->wholes));
	if (!p->filter || !p->keys || !p->wholes)
		return -BB_ENOMEM;
	memset(p->keys, 0xff, sizeof(*p->keys) << bits);
	return 0;
}

void bpe_pairs_fini(struct bpe_pairs *p)
{
	bb_free(p->filter);
	bb_free(p->keys);
	bb_free(p->wholes);
	*p = (struct bpe_pairs){ 0 };
}

bool bpe_pairs_fit(const struct bpe_pairs *p, size_t count)
{
	return count <= (p->mask + 1) / 4 * 3;
}

void bpe_pairs_put(struct bpe_pairs *p, const struct bpe_merge *m)
{
	const uint64_t key = (uint64_t)m->left << 20 | m->right, hash = bpe_pairs_hash(key);
	uint64_t i = hash >> p->shift;

	*bpe_pairs_filter(p, hash) |= bpe_pairs_bits(p, hash);
	while (p->keys[i] != UINT64_MAX && p->keys[i] >> 24 != key)
		i = (i + 1) & p->mask;
	p->keys[i] = key << 24 | m->rank;
	p->wholes[i] = m->whole;
}

size_t bpe_pairs_size(const struct bpe_pairs *p)
{
	return p->keys ? (p->mask + 1) * (sizeof(*p->keys) + sizeof(*p->wholes)) +
				 ((size_t)1 << (64 - p->filter_shift)) / 8
		       : 0;
}
