#include "engines/kv_changes.h"

#include <string.h>

#include "base/log.h"

void kv_changes_init(struct kv_changes *c, kv_changes_fn *on_flush, void *user)
{
	c->on_flush = on_flush;
	c->user = user;
	c->count = c->hash_count = 0;
	c->told = 0;
}

void kv_changes_drop(struct kv_changes *c)
{
	c->count = c->hash_count = 0;
}

void kv_changes_flush(struct kv_changes *c)
{
	if (c->count)
		c->on_flush(c->user, c->list, c->count);
	kv_changes_drop(c);
}

void kv_changes_add(struct kv_changes *c, const struct kv_change *change)
{
	const uint32_t count = change->kind == KV_CHANGE_CLEAR ? 0 : change->count;

	BB_ASSERT(count <= KV_CHANGE_MAX);
	if (change->kind == KV_CHANGE_CLEAR)
		kv_changes_drop(c); /* whatever came before is void */
	if (c->count == KV_CHANGES_MAX || count > KV_CHANGES_HASHES - c->hash_count)
		kv_changes_flush(c);
	struct kv_change *copy = &c->list[c->count++];
	*copy = *change;
	copy->hashes = &c->hashes[c->hash_count];
	copy->count = count;
	if (count)
		memcpy(&c->hashes[c->hash_count], change->hashes, count * sizeof(*c->hashes));
	c->hash_count += count;
	if (change->kind == KV_CHANGE_STORE)
		c->told += count;
}
