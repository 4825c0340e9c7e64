#include "gateway/token_cache.h"

#include <string.h>

#include "base/alloc.h"

#define WAYS 4 /* places in which a token may be */
#define SETS (TOKEN_CACHE_SIZE / WAYS)

struct cached {
	uint64_t used; /* the cache's tick at its last use; 0: empty */
	struct key_digest token;
	struct jwt_claims claims;
};

struct token_cache {
	uint64_t tick;
	struct cached entries[SETS][WAYS];
};

int token_cache_create(struct token_cache **out)
{
	struct token_cache *c = bb_alloc_zero(1, sizeof(*c));

	if (!c)
		return -BB_ENOMEM;
	*out = c;
	return 0;
}

void token_cache_destroy(struct token_cache *c)
{
	bb_free(c);
}

void token_cache_clear(struct token_cache *c)
{
	memset(c, 0, sizeof(*c));
}

/* The digest is under a secret, so nobody outside can aim at one set. */
static struct cached *set_of(struct token_cache *c, const struct key_digest *token)
{
	uint32_t index;

	memcpy(&index, token->bytes, sizeof(index));
	return c->entries[index % SETS];
}

const struct jwt_claims *token_cache_find(struct token_cache *c, const struct key_digest *token,
					  uint64_t now_s)
{
	struct cached *set = set_of(c, token);

	for (int i = 0; i < WAYS; i++) {
		if (!set[i].used || !key_digest_eq(&set[i].token, token))
			continue;
		if (now_s >= set[i].claims.valid_until_s) {
			set[i].used = 0;
			return NULL;
		}
		set[i].used = ++c->tick;
		return &set[i].claims;
	}
	return NULL;
}

void token_cache_put(struct token_cache *c, const struct key_digest *token,
		     const struct jwt_claims *claims)
{
	struct cached *set = set_of(c, token), *place = set;

	for (int i = 0; i < WAYS; i++) {
		if (set[i].used && key_digest_eq(&set[i].token, token)) {
			place = &set[i];
			break;
		}
		if (set[i].used < place->used)
			place = &set[i];
	}
	*place = (struct cached){ .used = ++c->tick, .token = *token, .claims = *claims };
}
