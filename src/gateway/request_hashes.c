/* request_hashes.c: names for the blocks of a prompt, by which the brain finds who holds them. */
#include "gateway/request_tokens.h"

#include "base/hash.h"
#include "text/block_hash.h"

/* Blocks of a prompt beyond these are not looked up: 2 million tokens. */
#define HASHES_MAX (128u << 10)
#define TEXT_MAX (8u << 20)

/*
 * Who shares a prefix with whom: a tenant's salt where its engines keep tenants apart, and the
 * adapter (LoRA) that the model's name means.
 */
static int hasher_of(const struct request *r, struct block_hasher *h)
{
	struct gateway *g = r->worker->gateway;
	const char *const salt = request_shield(r)->salt;
	char lora[BRAIN_NAME_MAX + 1] = "";

	if (__atomic_load_n(&g->has_adapters, __ATOMIC_RELAXED)) {
		gateway_lock(g);
		(void)brain_model_adapter(g->brain, r->model, lora);
		gateway_unlock(g);
	}
	const struct block_key key = {
		.secret = g->block_secret,
		.salt = request_adapter(r)->takes_cache_salt ? bb_str_of(salt) : BB_STR(""),
		.lora = bb_str_of(lora),
	};

	return block_hasher_init(h, BLOCK_OWN, BRAIN_BLOCK_TOKENS, &key);
}

static uint64_t *room_for(struct request *r, size_t blocks)
{
	return blocks ? bb_arena_alloc(&r->arena, blocks * sizeof(uint64_t)) : NULL;
}

void request_hash_tokens(struct request *r, const uint32_t *ids, size_t count)
{
	struct block_hasher h;
	const size_t most = (size_t)HASHES_MAX * BRAIN_BLOCK_TOKENS;

	if (hasher_of(r, &h))
		return;
	if (count > most)
		count = most;
	uint64_t *out = room_for(r, block_count(&h, count));
	if (!out)
		return;
	r->hash_count = (uint32_t)block_hash(&h, ids, count, out);
	r->hashes = out;
	r->hashed = HASHES_TOKENS;
}

void request_hash_text(struct request *r)
{
	struct bb_str text = r->body_facts->prompt;
	struct block_hasher h;

	if (hasher_of(r, &h))
		return;
	if (text.len > TEXT_MAX)
		text.len = TEXT_MAX;
	uint64_t *out = room_for(r, block_text_pieces(text.len));
	if (!out)
		return;
	r->hash_count = (uint32_t)block_hash_text(&h, text, out);
	r->hashes = out;
	r->hashed = HASHES_TEXT;
}

void request_hash_session(struct request *r)
{
	const uint64_t key = r->worker->gateway->block_secret;
	const struct bb_str field = http_head_get(r->x->head, BB_STR("x-session-id"));
	const struct bb_str name = field.len ? field : r->body_facts->session;

	if (!name.len)
		return;
	r->session = bb_hash(name.p, name.len, key ^ (r->tenant ? r->tenant->ledger + 1ull : 0));
	r->session += r->session == 0;
	if (r->hash_count)
		return;
	uint64_t *out = room_for(r, 1);
	if (!out)
		return;
	*out = r->session;
	r->hashes = out;
	r->hash_count = 1;
	r->hashed = HASHES_TEXT;
}
