#include "gateway/token_gate.h"

#include "base/alloc.h"
#include "gateway/token_cache.h"

#define NS_A_SECOND 1000000000ull

struct token_gate {
	struct token_cache *cache; /* NULL: no token has come yet */
	struct jwks_ring *ring; /* of `keys`; held, so that no other takes its place */
	struct jwks *keys;	/* NULL: not loaded */
	uint32_t version;	/* of the keys; the cache holds what they found right */
	struct jwt_claims claims; /* of the latest token */
};

int token_gate_create(struct token_gate **out)
{
	struct token_gate *g = bb_alloc_zero(1, sizeof(*g));

	if (!g)
		return -BB_ENOMEM;
	*out = g;
	return 0;
}

void token_gate_destroy(struct token_gate *g)
{
	if (!g)
		return;
	jwks_put(g->keys);
	jwks_ring_put(g->ring);
	token_cache_destroy(g->cache);
	bb_free(g);
}

static void policy_of(const struct config_jwt *c, struct jwt_policy *out)
{
	*out = (struct jwt_policy){
		.issuer = c->issuer,
		.audience = c->audience,
		.tenant_claim = c->tenant_claim,
		.leeway_s = c->leeway_ns / NS_A_SECOND,
	};
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++) {
		out->allowed[a] = c->algorithms.count == 0;
		for (uint32_t i = 0; i < c->algorithms.count; i++)
			out->allowed[a] |= bb_str_eq(c->algorithms.items[i].text, jwt_alg_name(a));
	}
}

/* Other keys: what was right before need not be right now. */
static int renew(struct token_gate *g, struct jwks_ring *ring)
{
	if (g->cache)
		token_cache_clear(g->cache);
	else if (token_cache_create(&g->cache))
		return -BB_ENOMEM;
	if (g->ring != ring) {
		jwks_ring_put(g->ring);
		g->ring = jwks_ring_get(ring);
	}
	jwks_put(g->keys);
	g->keys = jwks_ring_keys(ring, &g->version);
	return 0;
}

static enum token_outcome verify(struct token_gate *g, const struct token_rules *rules,
				 struct bb_str token, const struct key_digest *sealed,
				 uint64_t unix_s, const char **why)
{
	struct jwt_policy policy;
	enum jwt_fault fault;

	policy_of(rules->config, &policy);
	const int rc = jwt_verify(token, &policy, g->keys, unix_s, &g->claims, &fault);
	if (rc == -BB_ENOMEM)
		return TOKEN_NO_MEMORY;
	if (rc) {
		if (fault == JWT_FAULT_KEY_UNKNOWN)
			jwks_ring_wish(rules->ring);
		*why = jwt_fault_text(fault);
		return TOKEN_WRONG;
	}
	token_cache_put(g->cache, sealed, &g->claims);
	return TOKEN_RIGHT;
}

enum token_outcome token_gate_check(struct token_gate *g, const struct token_rules *rules,
				    struct bb_str token, const struct key_digest *sealed,
				    uint64_t unix_s, struct bb_str *tenant, const char **why)
{
	if ((!g->cache || g->ring != rules->ring || g->version != jwks_ring_version(rules->ring)) &&
	    renew(g, rules->ring))
		return TOKEN_NO_MEMORY;
	if (!g->keys)
		return TOKEN_NO_KEYS;
	const struct jwt_claims *known = token_cache_find(g->cache, sealed, unix_s);
	if (known) {
		g->claims = *known;
	} else {
		const enum token_outcome outcome = verify(g, rules, token, sealed, unix_s, why);
		if (outcome != TOKEN_RIGHT)
			return outcome;
	}
	*tenant = (struct bb_str){ g->claims.tenant, g->claims.tenant_len };
	return TOKEN_RIGHT;
}
