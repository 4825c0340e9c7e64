#include "gateway/engine_shield.h"

#include <pthread.h>
#include <stdio.h>

#include "base/log.h"
#include "os/process.h"
#include "os/sandbox.h"

static unsigned char secret[SHIELD_SECRET_LEN];
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void secret_make(void)
{
	secret_hide(secret, sizeof(secret));
	entropy_fill(secret, sizeof(secret));
}

/* The rows that a list of names allows. */
static int mask_of(const struct config_texts *names, const char *of, uint64_t *mask, char *why,
		   size_t why_size)
{
	for (uint32_t i = 0; i < names->count; i++) {
		const struct bb_str name = names->items[i].text;
		const uint64_t bits = shield_bits_of(name);
		if (!bits) {
			snprintf(why, why_size,
				 "%s: the shield knows no member '%.*s'; docs/shield.md lists them",
				 of, BB_ARG(name));
			return -BB_EINVALID;
		}
		*mask |= bits;
	}
	return 0;
}

static int policy_derive(const struct config *c, struct bb_arena *arena, struct shield_policy *p,
			 char *why, size_t why_size)
{
	const struct config_texts *const urls = &c->shield.image_urls;
	struct bb_str *const prefixes =
		bb_arena_alloc(arena, (urls->count + 1) * sizeof(*prefixes));

	*p = shield_policy_default;
	if (!prefixes)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < urls->count; i++)
		prefixes[i] = urls->items[i].text;
	p->depth_max = c->limits.json_depth;
	p->url_prefixes = prefixes;
	p->url_prefix_count = urls->count;
	return mask_of(&c->shield.allow, "shield.allow", &p->allow_mask, why, why_size);
}

static int tenant_derive(const struct config_tenant *ct, const struct shield_policy *base,
			 struct tenant_shield *t, char *why, size_t why_size)
{
	char of[128];

	t->policy = *base;
	t->salt[0] = '\0';
	snprintf(of, sizeof(of), "tenants.%.*s.allow", BB_ARG(ct->name));
	const int rc = mask_of(&ct->allow, of, &t->policy.allow_mask, why, why_size);
	if (rc || ct->shared_prefix_cache == CONFIG_ON)
		return rc;
	return shield_salt(secret, ct->name, t->salt);
}

int engine_shield_derive(const struct config *c, struct bb_arena *arena, struct engine_shield *out,
			 char *why, size_t why_size)
{
	struct engine_shield s = { .tenant_count = c->tenants.count };

	pthread_once(&secret_once, secret_make);
	int rc = policy_derive(c, arena, &s.everybody.policy, why, why_size);
	s.tenants = bb_arena_alloc(arena, (s.tenant_count + 1) * sizeof(*s.tenants));
	if (!s.tenants)
		rc = -BB_ENOMEM;
	for (uint32_t i = 0; !rc && i < s.tenant_count; i++)
		rc = tenant_derive(&c->tenants.items[i], &s.everybody.policy, &s.tenants[i], why,
				   why_size);
	if (!rc)
		*out = s;
	return rc;
}

const struct tenant_shield *engine_shield_of(const struct engine_shield *s, uint32_t tenant)
{
	BB_ASSERT(tenant == ENGINE_SHIELD_NO_TENANT || tenant < s->tenant_count);
	return tenant == ENGINE_SHIELD_NO_TENANT ? &s->everybody : &s->tenants[tenant];
}
