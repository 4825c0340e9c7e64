#include "wire/config_read.h"

#include <stdio.h>

#include "wire/config_fill.h"

static void read_models(struct config_reader *r, const struct yaml_item *map);
static void read_engines(struct config_reader *r, const struct yaml_item *list);
static void read_tenants(struct config_reader *r, const struct yaml_item *map);
static void read_snis(struct config_reader *r, const struct config_map *m,
		      const struct config_key *key, const struct yaml_item *list);

/* The kinds of value that a key takes beside nothing. */
static bool is_kind_right(const struct config_key *key, enum yaml_kind kind)
{
	switch (key->type) {
	case CONFIG_KEY_MODELS:
	case CONFIG_KEY_TENANTS: return kind == YAML_KIND_MAP;
	case CONFIG_KEY_ENGINES:
	case CONFIG_KEY_SNIS: return kind == YAML_KIND_LIST;
	case CONFIG_KEY_KEYS:
	case CONFIG_KEY_POLICIES:
	case CONFIG_KEY_TEXTS: return kind == YAML_KIND_SCALAR || kind == YAML_KIND_LIST;
	case CONFIG_KEY_COUNT:
	case CONFIG_KEY_NUMBER:
	case CONFIG_KEY_DURATION:
	case CONFIG_KEY_SIZE:
	case CONFIG_KEY_CHOICE:
	case CONFIG_KEY_POLICY:
	case CONFIG_KEY_TEXT:
	case CONFIG_KEY_DATE:
	case CONFIG_KEY_BUDGET:
	case CONFIG_KEY_SWITCHED: return kind == YAML_KIND_SCALAR;
	}
	return false;
}

static const char *kind_wanted(const struct config_key *key)
{
	return is_kind_right(key, YAML_KIND_MAP)      ? "a map"
	       : !is_kind_right(key, YAML_KIND_LIST)  ? "a value"
	       : is_kind_right(key, YAML_KIND_SCALAR) ? "a text or a list of texts"
						      : "a list";
}

static void read_key(struct config_reader *r, const struct config_map *m,
		     const struct config_key *key, const struct yaml_item *item)
{
	const bool may_be_empty = !is_kind_right(key, YAML_KIND_SCALAR) ||
				  (is_kind_right(key, YAML_KIND_LIST) && key->min == 0);

	if (item->kind == YAML_KIND_BROKEN || (item->kind == YAML_KIND_NULL && may_be_empty))
		return;
	if (!is_kind_right(key, item->kind)) {
		config_fill_error(r, m, key, item->place, "expects %s, not %s", kind_wanted(key),
				  yaml_kind_text(item->kind));
		return;
	}
	if (key->type == CONFIG_KEY_MODELS)
		read_models(r, item);
	else if (key->type == CONFIG_KEY_ENGINES)
		read_engines(r, item);
	else if (key->type == CONFIG_KEY_TENANTS)
		read_tenants(r, item);
	else if (key->type == CONFIG_KEY_SNIS)
		read_snis(r, m, key, item);
	else
		config_fill(r, m, key, item);
}

/* ---- maps ---- */

static void unknown_key(struct config_reader *r, const struct config_map *m, struct bb_str section,
			const struct yaml_item *item)
{
	const struct bb_str guess = config_key_guess(m->kind, section, item->key);
	char where[CONFIG_WHY_MAX] = "", hint[128] = "";

	if (*m->name || section.len)
		snprintf(where, sizeof(where), " in '%s%s%.*s'", m->name,
			 *m->name && section.len ? "." : "", BB_ARG(section));
	if (guess.p)
		snprintf(hint, sizeof(hint), " (did you mean '%.*s'?)", BB_ARG(guess));
	config_errors_add(r->errors, item->key_place, "unknown key '%.*s'%s%s", BB_ARG(item->key),
			  where, hint);
}

static void read_map(struct config_reader *r, const struct config_map *m, struct bb_str section,
		     const struct yaml_item *map);

static void read_section(struct config_reader *r, const struct config_map *m, struct bb_str path,
			 const struct yaml_item *item)
{
	if (item->kind == YAML_KIND_MAP)
		read_map(r, m, path, item);
	else if (item->kind != YAML_KIND_NULL && item->kind != YAML_KIND_BROKEN)
		config_errors_add(r->errors, item->place, "%s%s%.*s: expects a map, not %s",
				  m->name, *m->name ? "." : "", BB_ARG(path),
				  yaml_kind_text(item->kind));
}

/* Recursion goes one level for each dot in the table's paths. */
static void read_map(struct config_reader *r, const struct config_map *m, struct bb_str section,
		     const struct yaml_item *map)
{
	char room[128];

	for (const struct yaml_item *i = map->first; i && !r->err; i = i->next) {
		const int n = snprintf(room, sizeof(room), "%.*s%s%.*s", BB_ARG(section),
				       section.len ? "." : "", BB_ARG(i->key));
		const struct bb_str path = { room, (size_t)n };
		const bool has_dot = memchr(i->key.p, '.', i->key.len);
		const bool is_known = (size_t)n < sizeof(room) && !has_dot;
		const struct config_key *key = is_known ? config_key_find(m->kind, path) : NULL;
		if (key)
			read_key(r, m, key, i);
		else if (is_known && config_key_is_section(m->kind, path))
			read_section(r, m, path, i);
		else
			unknown_key(r, m, section, i);
	}
}

static void set_defaults(struct config_reader *r, const struct config_map *m)
{
	for (uint32_t i = 0; i < config_key_count && !r->err; i++) {
		const struct config_key *key = &config_keys[i];
		if (key->scope != m->kind || !key->initial)
			continue;
		const struct yaml_item item = { .kind = YAML_KIND_SCALAR,
						.text = bb_str_of(key->initial) };
		read_key(r, m, key, &item);
	}
}

/* What a name of a map of maps stands for: nothing, or a map. */
static void read_named(struct config_reader *r, const struct config_map *m,
		       const struct yaml_item *item)
{
	set_defaults(r, m);
	if (item->kind == YAML_KIND_MAP)
		read_map(r, m, BB_STR(""), item);
	else if (item->kind != YAML_KIND_NULL && item->kind != YAML_KIND_BROKEN)
		config_errors_add(r->errors, item->place, "%s: expects a map, not %s", m->name,
				  yaml_kind_text(item->kind));
}

static void read_model(struct config_reader *r, struct config_model *model,
		       const struct yaml_item *item)
{
	char name[CONFIG_WHY_MAX];
	const char *wrong = config_check_name(item->key);

	snprintf(name, sizeof(name), "models.%.*s", BB_ARG(item->key));
	const struct config_map m = { CONFIG_SCOPE_MODEL, model, name };
	if (wrong)
		config_errors_add(r->errors, item->key_place, "models: '%.*s': %s",
				  BB_ARG(item->key), wrong);
	model->name = config_fill_dup(r, item->key);
	model->place = item->key_place;
	read_named(r, &m, item);
}

static void read_models(struct config_reader *r, const struct yaml_item *map)
{
	struct config *c = r->c;

	if (map->count > CONFIG_MODELS_MAX) {
		config_errors_add(r->errors, map->place, "models: more than %u", CONFIG_MODELS_MAX);
		return;
	}
	c->models = config_fill_alloc(r, map->count, sizeof(*c->models));
	c->model_count = 0;
	for (const struct yaml_item *i = map->first; i && !r->err; i = i->next)
		read_model(r, &c->models[c->model_count++], i);
}

static void read_engine(struct config_reader *r, struct config_engine *e,
			const struct yaml_item *item, uint32_t index)
{
	char name[32];

	snprintf(name, sizeof(name), "engines[%u]", index);
	const struct config_map m = { CONFIG_SCOPE_ENGINE, e, name };
	e->place = item->place;
	set_defaults(r, &m);
	if (item->kind == YAML_KIND_SCALAR)
		read_key(r, &m, config_key_find(m.kind, BB_STR("url")), item);
	else if (item->kind == YAML_KIND_MAP)
		read_map(r, &m, BB_STR(""), item);
	else if (item->kind != YAML_KIND_BROKEN)
		config_errors_add(r->errors, item->place, "%s: expects a URL or a map, not %s",
				  name, yaml_kind_text(item->kind));
	if (item->kind == YAML_KIND_MAP && !yaml_tree_find(item, BB_STR("url")))
		config_errors_add(r->errors, item->place, "%s: needs 'url'", name);
}

static void read_engines(struct config_reader *r, const struct yaml_item *list)
{
	struct config *c = r->c;

	if (list->count > CONFIG_ENGINES_MAX) {
		config_errors_add(r->errors, list->place, "engines: more than %u",
				  CONFIG_ENGINES_MAX);
		return;
	}
	c->engines = config_fill_alloc(r, list->count, sizeof(*c->engines));
	c->engine_count = 0;
	for (const struct yaml_item *i = list->first; i && !r->err; i = i->next) {
		read_engine(r, &c->engines[c->engine_count], i, c->engine_count);
		c->engine_count++;
	}
	c->engine_cap = c->engine_count;
}

static void read_tenant(struct config_reader *r, struct config_tenant *t,
			const struct yaml_item *item)
{
	char name[CONFIG_WHY_MAX];
	const char *wrong = config_check_tenant(item->key);

	snprintf(name, sizeof(name), "tenants.%.*s", BB_ARG(item->key));
	const struct config_map m = { CONFIG_SCOPE_TENANT, t, name };
	if (wrong)
		config_errors_add(r->errors, item->key_place, "tenants: '%.*s': %s",
				  BB_ARG(item->key), wrong);
	t->name = config_fill_dup(r, item->key);
	t->place = item->key_place;
	read_named(r, &m, item);
}

/* Behind those that are there already, of another file. */
static void read_tenants(struct config_reader *r, const struct yaml_item *map)
{
	struct config_tenants *t = &r->c->tenants;

	if (map->count > CONFIG_TENANTS_MAX - t->count) {
		config_errors_add(r->errors, map->place, "tenants: more than %u",
				  CONFIG_TENANTS_MAX);
		return;
	}
	struct config_tenant *items = config_fill_alloc(r, t->count + map->count, sizeof(*items));
	if (!items)
		return;
	if (t->count)
		memcpy(items, t->items, t->count * sizeof(*items));
	t->items = items;
	for (const struct yaml_item *i = map->first; i && !r->err; i = i->next)
		read_tenant(r, &t->items[t->count++], i);
}

static void read_sni(struct config_reader *r, struct config_sni *sni, const struct yaml_item *item,
		     const char *name)
{
	static const struct bb_str needed[] = { BB_STR_INIT("names"), BB_STR_INIT("cert"),
						BB_STR_INIT("key") };
	const struct config_map m = { CONFIG_SCOPE_SNI, sni, name };

	sni->place = item->place;
	if (item->kind != YAML_KIND_MAP) {
		if (item->kind != YAML_KIND_BROKEN)
			config_errors_add(r->errors, item->place, "%s: expects a map, not %s", name,
					  yaml_kind_text(item->kind));
		return;
	}
	read_map(r, &m, BB_STR(""), item);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!yaml_tree_find(item, needed[i]))
			config_errors_add(r->errors, item->place, "%s: needs '%.*s'", name,
					  BB_ARG(needed[i]));
}

static void read_snis(struct config_reader *r, const struct config_map *m,
		      const struct config_key *key, const struct yaml_item *list)
{
	struct config_snis snis = { 0 };
	char name[64];

	if (list->count > key->max) {
		config_fill_error(r, m, key, list->place, "more than %u", (unsigned)key->max);
		return;
	}
	snis.items = config_fill_alloc(r, list->count, sizeof(*snis.items));
	for (const struct yaml_item *i = list->first; i && !r->err; i = i->next) {
		snprintf(name, sizeof(name), "%s[%u]", key->path, snis.count);
		read_sni(r, &snis.items[snis.count++], i, name);
	}
	memcpy((char *)m->base + key->offset, &snis, sizeof(snis));
}

int config_read(struct config *c, const struct yaml_item *root, const struct config_env *env,
		struct config_errors *errors)
{
	struct config_reader r = { .c = c, .env = env, .errors = errors };
	const struct config_map m = { CONFIG_SCOPE_ROOT, c, "" };

	set_defaults(&r, &m);
	if (root->kind == YAML_KIND_MAP)
		read_map(&r, &m, BB_STR(""), root);
	else if (root->kind != YAML_KIND_NULL && root->kind != YAML_KIND_BROKEN)
		config_errors_add(errors, root->place, "a configuration is a map, not %s",
				  yaml_kind_text(root->kind));
	return r.err;
}

int config_read_tenants(struct config *c, const struct yaml_item *root,
			const struct config_env *env, struct config_errors *errors)
{
	struct config_reader r = { .c = c, .env = env, .errors = errors };

	if (root->kind != YAML_KIND_MAP) {
		if (root->kind != YAML_KIND_NULL && root->kind != YAML_KIND_BROKEN)
			config_errors_add(errors, root->place, "a file of keys is a map, not %s",
					  yaml_kind_text(root->kind));
		return 0;
	}
	for (const struct yaml_item *i = root->first; i && !r.err; i = i->next) {
		const struct config_map m = { CONFIG_SCOPE_ROOT, c, "" };
		if (bb_str_eq(i->key, BB_STR("tenants")))
			read_key(&r, &m, config_key_find(CONFIG_SCOPE_ROOT, i->key), i);
		else
			config_errors_add(errors, i->key_place,
					  "unknown key '%.*s': a file of keys holds 'tenants' only",
					  BB_ARG(i->key));
	}
	return r.err;
}
