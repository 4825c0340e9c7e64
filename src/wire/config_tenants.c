#include "wire/config_tenants.h"

#include "base/map.h"

struct linker {
	struct config *c;
	uint32_t first; /* tenants before it are of the other file */
	const char *file_name, *main_name;
	struct config_errors *errors;
	struct bb_map names;   /* name → index of tenant */
	struct bb_map digests; /* digest of a key → index of tenant */
};

static int link_name(struct linker *l, uint32_t index)
{
	const struct config_tenant *t = &l->c->tenants.items[index];
	const uint32_t other = bb_map_get(&l->names, t->name);

	if (other == BB_MAP_NONE)
		return bb_map_put(&l->names, t->name, index);
	const struct config_place p = l->c->tenants.items[other].place;
	config_errors_add(l->errors, t->place, "tenant '%.*s' is given twice (first at %s:%u:%u)",
			  BB_ARG(t->name), other < l->first ? l->main_name : l->file_name, p.line,
			  p.column);
	return 0;
}

static int link_keys(struct linker *l, uint32_t index, const struct config_api_keys *keys)
{
	for (uint32_t i = 0; i < keys->count; i++) {
		const struct config_api_key *k = &keys->items[i];
		const struct bb_str digest = { (const char *)k->record.digest.bytes,
					       KEY_DIGEST_SIZE };
		const uint32_t other = bb_map_get(&l->digests, digest);
		if (other == BB_MAP_NONE) {
			const int rc = bb_map_put(&l->digests, digest, index);
			if (rc)
				return rc;
		} else if (index >= l->first) {
			config_errors_add(l->errors, k->place,
					  "this key is given twice (first of tenant '%.*s')",
					  BB_ARG(l->c->tenants.items[other].name));
		}
	}
	return 0;
}

int config_tenants_link(struct config *c, uint32_t first, const char *file_name,
			const char *main_name, struct config_errors *errors)
{
	struct linker l = { .c = c,
			    .first = first,
			    .file_name = file_name,
			    .main_name = main_name,
			    .errors = errors };
	int rc = 0;

	/* Names and digests come from the operator, so the hashes need no secret. */
	bb_map_init(&l.names, 0);
	bb_map_init(&l.digests, 0);
	for (uint32_t i = 0; i < c->tenants.count && !rc; i++) {
		const struct config_tenant *t = &c->tenants.items[i];
		rc = link_name(&l, i);
		if (!rc)
			rc = link_keys(&l, i, &t->key);
		if (!rc)
			rc = link_keys(&l, i, &t->keys);
	}
	bb_map_fini(&l.names);
	bb_map_fini(&l.digests);
	return rc;
}

/* ---- warnings ---- */

static void warn(struct bb_buf *out, const char *file, struct config_place p, const char *what,
		 struct bb_str tenant)
{
	bb_buf_printf(out, "%s:%u:%u: warning: tenants.%.*s: %s\n", file, p.line, p.column,
		      BB_ARG(tenant), what);
}

static void warn_keys(struct bb_buf *out, const char *file, const struct config_tenant *t,
		      const struct config_api_keys *keys)
{
	for (uint32_t i = 0; i < keys->count; i++)
		if (keys->items[i].record.is_clear)
			warn(out, file, keys->items[i].place,
			     "a key is written in clear; `busbar keys create` gives a hash to "
			     "write "
			     "instead",
			     t->name);
}

void config_warn(const struct config *c, const char *main_name, const char *keys_name,
		 struct bb_buf *out)
{
	for (uint32_t i = 0; i < c->tenants.count; i++) {
		const struct config_tenant *t = &c->tenants.items[i];
		const char *file = t->is_from_keys_file ? keys_name : main_name;
		warn_keys(out, file, t, &t->key);
		warn_keys(out, file, t, &t->keys);
		if (t->budget.kind == CONFIG_BUDGET_MONEY)
			warn(out, file, t->place,
			     "a budget of money is read and not watched yet; 'N tokens/month' is",
			     t->name);
		if (t->key.count + t->keys.count == 0 && c->jwt.jwks.len == 0)
			warn(out, file, t->place, "it has no key, so nobody can come in as it",
			     t->name);
	}
}

bool config_needs_keys(const struct config *c)
{
	return c->tenants.count > 0 || c->keys_file.len > 0 || c->jwt.jwks.len > 0;
}
