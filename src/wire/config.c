#include "wire/config.h"

#include "base/alloc.h"
#include "wire/config_check.h"
#include "wire/config_link.h"
#include "wire/config_read.h"
#include "wire/config_tenants.h"
#include "wire/yaml_tree.h"

/* Enough for the largest text that is allowed, so that only a lack of memory can fail. */
#define CONFIG_ARENA_MAX (128u << 20)
#define TREE_ARENA_MAX (128u << 20)

static struct config *config_new(void)
{
	struct config *c = bb_alloc_zero(1, sizeof(*c));

	if (c)
		bb_arena_init(&c->arena, CONFIG_ARENA_MAX);
	return c;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	bb_arena_wipe(&c->arena);
	bb_free(c);
}

int config_parse(struct bb_str text, const char *file_name, const struct config_env *env,
		 struct config **out, struct config_errors *errors)
{
	const struct yaml_item *root;
	struct bb_arena tree;

	if (text.len > CONFIG_TEXT_MAX) {
		config_errors_add(errors, (struct config_place){ 0 }, "larger than 1 MiB");
		return -BB_EINVALID;
	}
	struct config *c = config_new();
	if (!c)
		return -BB_ENOMEM;
	bb_arena_init(&tree, TREE_ARENA_MAX);
	int rc = yaml_tree_read(text, env ? env->get : NULL, env ? env->ctx : NULL, &tree, &root,
				errors);
	if (!rc)
		rc = config_read(c, root, env, errors);
	if (!rc)
		rc = config_link(c, root, file_name, errors);
	if (!rc)
		rc = config_tenants_link(c, 0, file_name, file_name, errors);
	bb_arena_wipe(&tree);
	if (!rc && (errors->count || errors->unlisted_count))
		rc = -BB_EINVALID;
	if (rc)
		config_free(c);
	else
		*out = c;
	return rc;
}

int config_add_tenants(struct config *c, struct bb_str text, const char *file_name,
		       const char *main_name, const struct config_env *env,
		       struct config_errors *errors)
{
	const struct yaml_item *root;
	const uint32_t first = c->tenants.count;
	struct bb_arena tree;

	if (text.len > CONFIG_TEXT_MAX) {
		config_errors_add(errors, (struct config_place){ 0 }, "larger than 1 MiB");
		return -BB_EINVALID;
	}
	bb_arena_init(&tree, TREE_ARENA_MAX);
	int rc = yaml_tree_read(text, env ? env->get : NULL, env ? env->ctx : NULL, &tree, &root,
				errors);
	if (!rc)
		rc = config_read_tenants(c, root, env, errors);
	for (uint32_t i = first; i < c->tenants.count; i++)
		c->tenants.items[i].is_from_keys_file = true;
	if (!rc)
		rc = config_tenants_link(c, first, file_name, main_name, errors);
	bb_arena_wipe(&tree);
	if (!rc && (errors->count || errors->unlisted_count))
		rc = -BB_EINVALID;
	return rc;
}

struct config *config_default(void)
{
	struct config_errors errors;
	struct config *c = NULL;

	config_errors_init(&errors);
	const int rc = config_parse(BB_STR(""), "", NULL, &c, &errors);
	BB_ASSERT(rc == 0 || rc == -BB_ENOMEM);
	config_errors_fini(&errors);
	return c;
}

/* ---- engines of the command line ---- */

static int grow_engines(struct config *c)
{
	if (c->engine_count < c->engine_cap)
		return 0;
	if (c->engine_count >= CONFIG_ENGINES_MAX)
		return -BB_ELIMIT;
	const uint32_t cap = c->engine_cap < 8 ? 8 : c->engine_cap * 2;
	struct config_engine *engines = bb_arena_alloc(&c->arena, cap * sizeof(*engines));
	if (!engines)
		return -BB_ENOMEM;
	if (c->engine_count)
		memcpy(engines, c->engines, c->engine_count * sizeof(*engines));
	c->engines = engines;
	c->engine_cap = cap;
	return 0;
}

int config_add_engine(struct config *c, struct bb_str url, const char **why)
{
	*why = config_check_url(url);
	if (*why)
		return -BB_EINVALID;
	int rc = grow_engines(c);
	if (rc)
		return rc;
	struct bb_str copy = bb_arena_dup(&c->arena, url);
	if (!copy.p)
		return -BB_ENOMEM;
	copy = config_url_normal(url, (char *)copy.p);
	for (uint32_t i = 0; i < c->engine_count; i++)
		if (bb_str_eq(c->engines[i].url, copy))
			return -BB_EEXIST;
	((char *)copy.p)[copy.len] = '\0';
	c->engines[c->engine_count++] =
		(struct config_engine){ .url = copy, .is_discovered = true };
	return 0;
}

const struct config_model *config_model_find(const struct config *c, struct bb_str name)
{
	for (uint32_t i = 0; i < c->model_count; i++) {
		const struct config_model *m = &c->models[i];
		if (bb_str_eq(m->name, name))
			return m;
		for (uint32_t k = 0; k < m->aliases.count; k++)
			if (bb_str_eq(m->aliases.items[k].text, name))
				return m;
	}
	return NULL;
}
