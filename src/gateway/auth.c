#include "gateway/auth.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "os/sandbox.h"

#define PREFIX_SIZE 8 /* of a sealed digest: by which it is found */

struct entry {
	struct key_digest sealed;
	uint32_t tenant;
	uint64_t expires_s; /* 0: never */
};

struct auth {
	uint8_t secret[KEY_DIGEST_SIZE];
	struct auth_tenant *tenants;
	uint32_t tenant_count;
	struct entry *entries; /* one more than there are: the last matches nothing */
	uint32_t entry_count;
	struct bb_map by_prefix; /* → index of entry */
	struct bb_map by_name;	 /* → index of tenant */
	const struct config_jwt *jwt;
	struct jwks_ring *ring; /* NULL: no tokens */
};

const char *auth_outcome_text(enum auth_outcome outcome)
{
	static const char *const texts[] = {
#define X(name, text) text,
		AUTH_OUTCOMES(X)
#undef X
	};

	return texts[outcome];
}

/* ---- building ---- */

static struct bb_str prefix_of(const struct key_digest *sealed)
{
	return (struct bb_str){ (const char *)sealed->bytes, PREFIX_SIZE };
}

static int add_keys(struct auth *a, uint32_t tenant, const struct config_api_keys *keys)
{
	const uint64_t tenant_expires_s = a->tenants[tenant].config->expires_s;
	int rc = 0;

	for (uint32_t i = 0; i < keys->count && !rc; i++) {
		const struct key_record *r = &keys->items[i].record;
		struct entry *e = &a->entries[a->entry_count];
		*e = (struct entry){ .tenant = tenant, .expires_s = r->expires_s };
		if (tenant_expires_s && (!e->expires_s || tenant_expires_s < e->expires_s))
			e->expires_s = tenant_expires_s;
		rc = key_digest_seal(a->secret, &r->digest, &e->sealed);
		if (!rc && bb_map_get(&a->by_prefix, prefix_of(&e->sealed)) != BB_MAP_NONE)
			rc = -BB_EEXIST;
		if (!rc)
			rc = bb_map_put(&a->by_prefix, prefix_of(&e->sealed), a->entry_count++);
	}
	return rc;
}

static int add_tenant(struct auth *a, uint32_t index, const struct config_tenant *config)
{
	a->tenants[index] = (struct auth_tenant){ .config = config };
	int rc = bb_map_put(&a->by_name, config->name, index);
	if (!rc)
		rc = add_keys(a, index, &config->key);
	return rc ? rc : add_keys(a, index, &config->keys);
}

static uint32_t count_keys(const struct config *config)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < config->tenants.count; i++)
		count += config->tenants.items[i].key.count + config->tenants.items[i].keys.count;
	return count;
}

int auth_create(const struct config *config, const uint8_t seed[KEY_DIGEST_SIZE],
		struct auth **out)
{
	int rc = -BB_ENOMEM;

	if (!config_needs_keys(config)) {
		*out = NULL;
		return 0;
	}
	struct auth *a = bb_alloc_zero(1, sizeof(*a));
	if (!a)
		return rc;
	secret_hide(a->secret, sizeof(a->secret));
	memcpy(a->secret, seed, sizeof(a->secret));
	a->jwt = &config->jwt;
	bb_map_init(&a->by_prefix, 0); /* what stands in there is random already */
	bb_map_init(&a->by_name, 0);
	a->tenants = bb_alloc_zero(config->tenants.count + 1, sizeof(*a->tenants));
	a->entries = bb_alloc_zero(count_keys(config) + 1, sizeof(*a->entries));
	if (!a->tenants || !a->entries)
		goto fail;
	a->tenant_count = config->tenants.count;
	for (uint32_t i = 0; i < a->tenant_count; i++) {
		rc = add_tenant(a, i, &config->tenants.items[i]);
		if (rc)
			goto fail;
	}
	*out = a;
	return 0;

fail:
	auth_destroy(a);
	return rc;
}

void auth_destroy(struct auth *a)
{
	if (!a)
		return;
	bb_map_fini(&a->by_prefix);
	bb_map_fini(&a->by_name);
	bb_free(a->tenants);
	bb_free(a->entries);
	jwks_ring_put(a->ring);
	key_wipe(a->secret, sizeof(a->secret));
	bb_free(a);
}

void auth_set_ledger(struct auth *a, uint32_t tenant, uint32_t ledger)
{
	BB_ASSERT(tenant < a->tenant_count);
	a->tenants[tenant].ledger = ledger;
}

uint32_t auth_tenant_count(const struct auth *a)
{
	return a->tenant_count;
}

const struct auth_tenant *auth_tenant_at(const struct auth *a, uint32_t tenant)
{
	BB_ASSERT(tenant < a->tenant_count);
	return &a->tenants[tenant];
}

void auth_accept_tokens(struct auth *a, struct jwks_ring *ring)
{
	BB_ASSERT(!a->ring);
	a->ring = jwks_ring_get(ring);
}

/* ---- checking ---- */

/* "Bearer KEY", the word in any case (RFC 6750 §2.1, RFC 9110 §11.1). */
static bool bearer(struct bb_str value, struct bb_str *key)
{
	const struct bb_str word = bb_str_cut(&value, ' ');

	*key = bb_str_trim(value);
	return bb_str_eq_nocase(word, BB_STR("Bearer")) && key->len;
}

/* The one credential of a request, wherever it stands. */
static enum auth_outcome find_credential(const struct http_head *head, struct bb_str *out)
{
	struct bb_str found = { 0 };

	for (uint32_t i = 0; i < head->count; i++) {
		const struct http_header *f = &head->headers[i];
		struct bb_str key = f->value;
		if (bb_str_eq_nocase(f->name, BB_STR("authorization"))) {
			if (!bearer(f->value, &key))
				return AUTH_SCHEME;
		} else if (!bb_str_eq_nocase(f->name, BB_STR("x-api-key")) || !key.len) {
			continue;
		}
		if (found.p && !bb_str_eq(found, key))
			return AUTH_AMBIGUOUS;
		found = key;
	}
	*out = found;
	return found.p ? AUTH_OK : AUTH_MISSING;
}

static enum auth_outcome check_tenant(const struct auth_tenant *t, uint64_t unix_s,
				      struct auth_client *out)
{
	if (t->config->expires_s && unix_s >= t->config->expires_s)
		return AUTH_EXPIRED;
	out->tenant = t;
	return AUTH_OK;
}

static enum auth_outcome check_token(const struct auth *a, struct bb_str token,
				     const struct key_digest *sealed, uint64_t unix_s,
				     struct token_gate *gate, struct auth_client *out)
{
	const struct token_rules rules = { .config = a->jwt, .ring = a->ring };
	struct bb_str name;

	switch (token_gate_check(gate, &rules, token, sealed, unix_s, &name, &out->token_fault)) {
	case TOKEN_WRONG: return AUTH_TOKEN;
	case TOKEN_NO_KEYS: return AUTH_NO_KEYS;
	case TOKEN_NO_MEMORY: return AUTH_NOMEM;
	case TOKEN_RIGHT: break;
	}
	const uint32_t index = name.len ? bb_map_get(&a->by_name, name) : BB_MAP_NONE;
	return index == BB_MAP_NONE ? AUTH_STRANGER : check_tenant(&a->tenants[index], unix_s, out);
}

enum auth_outcome auth_check(const struct auth *a, const struct http_head *head, uint64_t unix_s,
			     struct token_gate *gate, struct auth_client *out)
{
	struct bb_str key;
	struct key_digest digest, sealed;

	*out = (struct auth_client){ 0 };
	const enum auth_outcome found = find_credential(head, &key);
	if (found != AUTH_OK)
		return found;
	if (key_digest_of(key, &digest) || key_digest_seal(a->secret, &digest, &sealed))
		return AUTH_NOMEM;
	uint32_t index = bb_map_get(&a->by_prefix, prefix_of(&sealed));
	if (index == BB_MAP_NONE)
		index = a->entry_count; /* zeros, which no key has */
	const struct entry *e = &a->entries[index];
	if (!key_digest_eq(&e->sealed, &sealed))
		return a->ring && jwt_is_like(key)
			       ? check_token(a, key, &sealed, unix_s, gate, out)
			       : AUTH_UNKNOWN;
	if (e->expires_s && unix_s >= e->expires_s)
		return AUTH_EXPIRED;
	out->tenant = &a->tenants[e->tenant];
	return AUTH_OK;
}

bool auth_allows_model(const struct auth_tenant *tenant, struct bb_str name)
{
	if (!tenant || tenant->config->models.count == 0)
		return true;
	for (uint32_t i = 0; i < tenant->config->models.count; i++)
		if (bb_str_matches(name, tenant->config->models.items[i].text))
			return true;
	return false;
}
