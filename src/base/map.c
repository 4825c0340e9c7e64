#include "base/map.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"

struct bb_map_slot {
	uint64_t hash;
	char *name; /* NULL: empty */
	uint32_t len;
	uint32_t value;
};

void bb_map_init(struct bb_map *m, uint64_t hash_key)
{
	*m = (struct bb_map){ .key = hash_key };
}

void bb_map_fini(struct bb_map *m)
{
	for (uint32_t i = 0; m->slots && i <= m->mask; i++)
		bb_free(m->slots[i].name);
	BB_FREE(m->slots);
	*m = (struct bb_map){ .key = m->key };
}

static struct bb_map_slot *map_find(const struct bb_map *m, struct bb_str name, uint64_t hash)
{
	for (uint32_t i = (uint32_t)hash & m->mask;; i = (i + 1) & m->mask) {
		struct bb_map_slot *s = &m->slots[i];
		if (!s->name || (s->hash == hash && s->len == name.len &&
				 (name.len == 0 || memcmp(s->name, name.p, name.len) == 0)))
			return s;
	}
}

static int map_grow(struct bb_map *m)
{
	const uint32_t cap = m->slots ? (m->mask + 1) * 2 : 16;
	struct bb_map_slot *slots = bb_alloc_zero(cap, sizeof(*slots));

	if (!slots)
		return -BB_ENOMEM;
	for (uint32_t i = 0; m->slots && i <= m->mask; i++) {
		if (!m->slots[i].name)
			continue;
		uint32_t k = (uint32_t)m->slots[i].hash & (cap - 1);
		while (slots[k].name)
			k = (k + 1) & (cap - 1);
		slots[k] = m->slots[i];
	}
	bb_free(m->slots);
	m->slots = slots;
	m->mask = cap - 1;
	return 0;
}

int bb_map_put(struct bb_map *m, struct bb_str name, uint32_t value)
{
	BB_ASSERT(value != BB_MAP_NONE);
	if (!m->slots || m->count * 2 > m->mask) {
		int rc = map_grow(m);
		if (rc)
			return rc;
	}
	const uint64_t hash = bb_hash(name.p, name.len, m->key);
	struct bb_map_slot *s = map_find(m, name, hash);
	if (!s->name) {
		char *copy = bb_strndup(name.p ? name.p : "", name.len);
		if (!copy)
			return -BB_ENOMEM;
		*s = (struct bb_map_slot){ .hash = hash, .name = copy, .len = (uint32_t)name.len };
		m->count++;
	}
	s->value = value;
	return 0;
}

uint32_t bb_map_get(const struct bb_map *m, struct bb_str name)
{
	if (!m->slots)
		return BB_MAP_NONE;
	const struct bb_map_slot *s = map_find(m, name, bb_hash(name.p, name.len, m->key));
	return s->name ? s->value : BB_MAP_NONE;
}
