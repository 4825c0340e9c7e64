#include "brain/shares.h"

#include "base/alloc.h"
#include "base/log.h"
#include "brain/pack.h"

#define PIECE_BLOCKS 32
#define PROBES 8
#define NONE UINT32_MAX

struct share {
	uint32_t key; /* of the lane and the prefix up to the piece's end */
	uint32_t users;
	uint32_t tokens;
};

struct shares {
	struct share rows[SHARES_MAX];
};

int shares_create(struct shares **out)
{
	*out = bb_alloc_zero(1, sizeof(**out));
	return *out ? 0 : -BB_ENOMEM;
}

void shares_destroy(struct shares *s)
{
	bb_free(s);
}

/* The row of a piece, its own or a free one; NONE when there is no place. */
static uint32_t row_of(const struct shares *s, uint64_t hash, uint32_t *key)
{
	uint32_t spare = NONE;

	*key = (uint32_t)(hash >> 32);
	for (uint32_t i = 0; i < PROBES; i++) {
		const uint32_t row = ((uint32_t)hash + i) % SHARES_MAX;
		if (s->rows[row].users && s->rows[row].key == *key)
			return row;
		if (!s->rows[row].users && spare == NONE)
			spare = row;
	}
	return spare;
}

/* One piece more, of so many tokens up to the block that has this hash. */
static uint32_t take_piece(struct shares *s, uint32_t lane, uint64_t hash, uint32_t tokens,
			   struct share_refs *refs)
{
	uint32_t key;
	const uint64_t mixed = (hash ^ lane * 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd;
	const uint32_t row = row_of(s, mixed ^ mixed >> 29, &key);

	if (row == NONE) {
		refs->own_tokens += tokens;
		return tokens;
	}
	struct share *share = &s->rows[row];
	refs->slot[refs->count++] = (uint16_t)row;
	if (share->users++)
		return 0;
	share->key = key;
	share->tokens = tokens;
	return tokens;
}

uint32_t shares_take(struct shares *s, uint32_t lane, const uint64_t *hashes, uint32_t blocks,
		     uint32_t tokens, struct share_refs *refs)
{
	uint32_t taken = 0, before = 0, end = PIECE_BLOCKS;

	*refs = (struct share_refs){ .count = 0 };
	if (!blocks || !tokens)
		return 0;
	for (;;) {
		const bool is_last = end >= blocks || refs->count == SHARE_PIECES - 1;
		const uint32_t at = is_last ? blocks : end;
		const uint32_t upto = (uint32_t)((uint64_t)tokens * at / blocks);
		taken += take_piece(s, lane, hashes[at - 1], upto - before, refs);
		if (is_last)
			return taken;
		before = upto;
		end *= 2;
	}
}

uint32_t shares_give(struct shares *s, struct share_refs *refs)
{
	uint32_t given = refs->own_tokens;

	for (uint32_t i = 0; i < refs->count; i++) {
		struct share *share = &s->rows[refs->slot[i]];
		BB_ASSERT(share->users > 0);
		if (--share->users == 0)
			given += share->tokens;
	}
	*refs = (struct share_refs){ .count = 0 };
	return given;
}

static uint32_t used_count(const struct shares *s)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < SHARES_MAX; i++)
		count += s->rows[i].users > 0;
	return count;
}

static void pack_share(struct pack *k, struct share *s)
{
	pack_u32(k, &s->key, UINT32_MAX);
	pack_u32(k, &s->users, UINT32_MAX);
	pack_u32(k, &s->tokens, UINT32_MAX);
}

/* Rows without users hold nothing that is looked at. */
void shares_pack(struct shares *s, struct pack *k)
{
	const uint32_t count =
		pack_count(k, pack_is_reading(k) ? 0 : used_count(s), SHARES_MAX, 4);
	uint32_t row = 0;

	for (uint32_t i = 0; i < count && !k->err; i++) {
		while (!pack_is_reading(k) && !s->rows[row].users)
			row++;
		pack_u32(k, &row, SHARES_MAX - 1);
		pack_share(k, &s->rows[row]);
		row += !pack_is_reading(k);
	}
}

bool shares_users_are(const struct shares *s, const uint32_t users[SHARES_MAX])
{
	for (uint32_t i = 0; i < SHARES_MAX; i++)
		if (s->rows[i].users != users[i])
			return false;
	return true;
}

uint32_t shares_tokens(const struct shares *s, uint32_t slot)
{
	return s->rows[slot].tokens;
}
