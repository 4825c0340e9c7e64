#include "wire/shield_table.h"

const struct shield_row shield_rows[SHIELD_ROW_COUNT] = {
#define X(id, name, action, limit, why, reference)                                                 \
	[SHIELD_ROW_##id] = { BB_STR_INIT(name), SHIELD_##action, limit, why, reference },
	SHIELD_ROWS(X)
#undef X
};

const struct shield_key shield_keys[] = {
#define X(key, place, row, check)                                                                  \
	{ BB_STR_INIT(key), SHIELD_##place, SHIELD_ROW_##row, SHIELD_##check },
	SHIELD_KEYS(X)
#undef X
};
const uint32_t shield_key_count = sizeof(shield_keys) / sizeof(shield_keys[0]);

/* How many keys stand at the top of a body; they come first. */
enum {
	TOP_COUNT = 0
#define X(key, place, row, check) +(SHIELD_##place == SHIELD_TOP)
	SHIELD_KEYS(X)
#undef X
};

uint64_t shield_bits_of(struct bb_str name)
{
	if (bb_str_eq(name, BB_STR("*")))
		return SHIELD_ALLOW_ALL;
	for (enum shield_row_id row = 0; row < SHIELD_ROW_COUNT; row++) {
		if (bb_str_eq(name, shield_rows[row].name))
			return shield_bit(row);
	}
	for (uint32_t i = 0; i < shield_key_count; i++) {
		if (bb_str_eq(name, shield_keys[i].key))
			return shield_bit(shield_keys[i].row);
	}
	return 0;
}

/* Few keys, or one with escapes, which is rare: one after the other. */
static const struct shield_key *find_slow(enum shield_place place, struct bb_str key)
{
	for (uint32_t i = 0; i < shield_key_count; i++) {
		if (shield_keys[i].place == place && json_inner_eq(key, shield_keys[i].key))
			return &shield_keys[i];
	}
	return NULL;
}

/* < 0, 0, > 0: by length, then by bytes. */
static int key_compare(struct bb_str a, struct bb_str b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return memcmp(a.p, b.p, a.len);
}

const struct shield_key *shield_key_find(enum shield_place place, const struct json_member *m)
{
	uint32_t from = 0, to = TOP_COUNT;

	if (place != SHIELD_TOP || m->key_has_escape)
		return find_slow(place, m->key);
	while (from < to) {
		const uint32_t mid = from + (to - from) / 2;
		const int order = key_compare(shield_keys[mid].key, m->key);
		if (order == 0)
			return &shield_keys[mid];
		if (order < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}
