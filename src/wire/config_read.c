#include "wire/config_read.h"

#include <stdarg.h>
#include <stdio.h>

#include "wire/config_number.h"
#include "wire/config_table.h"
#include "wire/spelling.h"

#define WHY_MAX 384

struct reader {
	struct config *c;
	const struct config_env *env;
	struct config_errors *errors;
	int err; /* 0 or -BB_ENOMEM; the first one stays */
};

/* The map that is being read: `base` is the struct that its scope fills. */
struct scope {
	enum config_scope kind;
	void *base;
	const char *name; /* "" or "models.chat" */
};

static void value_error(struct reader *r, const struct scope *s, const struct config_key *key,
			struct config_place place, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

static void value_error(struct reader *r, const struct scope *s, const struct config_key *key,
			struct config_place place, const char *format, ...)
{
	char why[WHY_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	config_errors_add(r->errors, place, "%s%s%s: %s", s->name, *s->name ? "." : "", key->path,
			  why);
}

static void *reader_alloc(struct reader *r, size_t count, size_t size)
{
	size_t bytes;
	void *p = NULL;

	if (!__builtin_mul_overflow(count, size, &bytes))
		p = bb_arena_alloc(&r->c->arena, bytes ? bytes : 1);
	if (!p)
		r->err = -BB_ENOMEM;
	else
		memset(p, 0, bytes);
	return p;
}

static struct bb_str reader_dup(struct reader *r, struct bb_str s)
{
	const struct bb_str copy = bb_arena_dup(&r->c->arena, s);

	if (!copy.p)
		r->err = -BB_ENOMEM;
	return copy;
}

/* ---- values ---- */

static void read_number(struct reader *r, const struct scope *s, const struct config_key *key,
			const struct yaml_item *item)
{
	struct bb_buf why;
	uint64_t value;

	bb_buf_init(&why, WHY_MAX);
	if (config_number_parse(key, item->text, &value, &why) == 0)
		config_number_store(key, s->base, value);
	else
		value_error(r, s, key, item->place, "%.*s", BB_ARG(bb_buf_str(&why)));
	bb_buf_fini(&why);
}

static void store_text(struct reader *r, const struct scope *s, const struct config_key *key,
		       struct bb_str text)
{
	const struct bb_str copy = reader_dup(r, text);

	memcpy((char *)s->base + key->offset, &copy, sizeof(copy));
}

static void read_text(struct reader *r, const struct scope *s, const struct config_key *key,
		      const struct yaml_item *item)
{
	struct bb_str text = item->text;
	const char *wrong = NULL;

	if (key->type == CONFIG_KEY_SWITCHED && bb_str_eq(text, BB_STR("off")))
		text.len = 0;
	else if (text.len || key->type == CONFIG_KEY_SWITCHED || key->flags & CONFIG_KEY_REQUIRED)
		wrong = key->check(text);
	if (wrong && key->flags & CONFIG_KEY_SECRET)
		value_error(r, s, key, item->place, "%s", wrong);
	else if (wrong)
		value_error(r, s, key, item->place, "'%.*s': %s", BB_ARG(text), wrong);
	else
		store_text(r, s, key, text);
}

static void read_policy(struct reader *r, const struct scope *s, const struct config_key *key,
			const struct yaml_item *item)
{
	const char *const *names = r->env && r->env->policies ? r->env->policies : config_policies;
	struct spelling like;

	spelling_init(&like, item->text);
	for (; *names; names++) {
		if (bb_str_eq(item->text, bb_str_of(*names))) {
			store_text(r, s, key, item->text);
			return;
		}
		spelling_offer(&like, bb_str_of(*names));
	}
	if (like.best.p)
		value_error(r, s, key, item->place, "unknown policy '%.*s' (did you mean '%.*s'?)",
			    BB_ARG(item->text), BB_ARG(like.best));
	else
		value_error(r, s, key, item->place, "unknown policy '%.*s'", BB_ARG(item->text));
}

/*
 * A text or a list of texts. Wrong ones are reported and kept, so that whoever counts them later
 * does not report a second mistake.
 */
static void read_texts(struct reader *r, const struct scope *s, const struct config_key *key,
		       const struct yaml_item *item)
{
	const bool is_list = item->kind == YAML_KIND_LIST;
	const uint32_t count = is_list ? item->count : item->kind != YAML_KIND_NULL;

	if (count < key->min || count > key->max) {
		value_error(r, s, key, item->place, "%u entries, where %u to %u are allowed", count,
			    (unsigned)key->min, (unsigned)key->max);
		return;
	}
	struct config_text *texts = reader_alloc(r, count, sizeof(*texts));
	if (!texts)
		return;
	const struct yaml_item *from = is_list ? item->first : item;
	for (uint32_t i = 0; i < count; i++, from = from->next) {
		const char *wrong = NULL;
		if (from->kind == YAML_KIND_SCALAR)
			wrong = key->check(from->text);
		else if (from->kind != YAML_KIND_BROKEN)
			value_error(r, s, key, from->place, "expects texts, not %s",
				    yaml_kind_text(from->kind));
		if (wrong)
			value_error(r, s, key, from->place, "'%.*s': %s", BB_ARG(from->text),
				    wrong);
		texts[i].text = reader_dup(r, from->text);
		texts[i].place = from->place;
	}
	const struct config_texts list = { texts, count };
	memcpy((char *)s->base + key->offset, &list, sizeof(list));
}

static void read_models(struct reader *r, const struct yaml_item *map);
static void read_engines(struct reader *r, const struct yaml_item *list);

/* The kinds of value that a key takes beside nothing. */
static bool is_kind_right(const struct config_key *key, enum yaml_kind kind)
{
	switch (key->type) {
	case CONFIG_KEY_MODELS: return kind == YAML_KIND_MAP;
	case CONFIG_KEY_ENGINES: return kind == YAML_KIND_LIST;
	case CONFIG_KEY_TEXTS: return kind == YAML_KIND_SCALAR || kind == YAML_KIND_LIST;
	case CONFIG_KEY_COUNT:
	case CONFIG_KEY_NUMBER:
	case CONFIG_KEY_DURATION:
	case CONFIG_KEY_SIZE:
	case CONFIG_KEY_CHOICE:
	case CONFIG_KEY_POLICY:
	case CONFIG_KEY_TEXT:
	case CONFIG_KEY_SWITCHED: return kind == YAML_KIND_SCALAR;
	}
	return false;
}

static const char *kind_wanted(const struct config_key *key)
{
	return is_kind_right(key, YAML_KIND_MAP)     ? "a map"
	       : !is_kind_right(key, YAML_KIND_LIST) ? "a value"
	       : key->type == CONFIG_KEY_TEXTS	     ? "a text or a list of texts"
						     : "a list";
}

static void read_key(struct reader *r, const struct scope *s, const struct config_key *key,
		     const struct yaml_item *item)
{
	const bool may_be_empty = !is_kind_right(key, YAML_KIND_SCALAR) ||
				  (key->type == CONFIG_KEY_TEXTS && key->min == 0);

	if (item->kind == YAML_KIND_BROKEN || (item->kind == YAML_KIND_NULL && may_be_empty))
		return;
	if (!is_kind_right(key, item->kind)) {
		value_error(r, s, key, item->place, "expects %s, not %s", kind_wanted(key),
			    yaml_kind_text(item->kind));
		return;
	}
	switch (key->type) {
	case CONFIG_KEY_COUNT:
	case CONFIG_KEY_NUMBER:
	case CONFIG_KEY_DURATION:
	case CONFIG_KEY_SIZE:
	case CONFIG_KEY_CHOICE: read_number(r, s, key, item); return;
	case CONFIG_KEY_POLICY: read_policy(r, s, key, item); return;
	case CONFIG_KEY_TEXT:
	case CONFIG_KEY_SWITCHED: read_text(r, s, key, item); return;
	case CONFIG_KEY_TEXTS: read_texts(r, s, key, item); return;
	case CONFIG_KEY_MODELS: read_models(r, item); return;
	case CONFIG_KEY_ENGINES: read_engines(r, item); return;
	}
}

/* ---- maps ---- */

static void unknown_key(struct reader *r, const struct scope *s, struct bb_str section,
			const struct yaml_item *item)
{
	const struct bb_str guess = config_key_guess(s->kind, section, item->key);
	char where[WHY_MAX] = "", hint[128] = "";

	if (*s->name || section.len)
		snprintf(where, sizeof(where), " in '%s%s%.*s'", s->name,
			 *s->name && section.len ? "." : "", BB_ARG(section));
	if (guess.p)
		snprintf(hint, sizeof(hint), " (did you mean '%.*s'?)", BB_ARG(guess));
	config_errors_add(r->errors, item->key_place, "unknown key '%.*s'%s%s", BB_ARG(item->key),
			  where, hint);
}

static void read_map(struct reader *r, const struct scope *s, struct bb_str section,
		     const struct yaml_item *map);

static void read_section(struct reader *r, const struct scope *s, struct bb_str path,
			 const struct yaml_item *item)
{
	if (item->kind == YAML_KIND_MAP)
		read_map(r, s, path, item);
	else if (item->kind != YAML_KIND_NULL && item->kind != YAML_KIND_BROKEN)
		config_errors_add(r->errors, item->place, "%s%s%.*s: expects a map, not %s",
				  s->name, *s->name ? "." : "", BB_ARG(path),
				  yaml_kind_text(item->kind));
}

/* Recursion goes one level for each dot in the table's paths. */
static void read_map(struct reader *r, const struct scope *s, struct bb_str section,
		     const struct yaml_item *map)
{
	char room[128];

	for (const struct yaml_item *i = map->first; i && !r->err; i = i->next) {
		const int n = snprintf(room, sizeof(room), "%.*s%s%.*s", BB_ARG(section),
				       section.len ? "." : "", BB_ARG(i->key));
		const struct bb_str path = { room, (size_t)n };
		const bool has_dot = memchr(i->key.p, '.', i->key.len);
		const bool is_known = (size_t)n < sizeof(room) && !has_dot;
		const struct config_key *key = is_known ? config_key_find(s->kind, path) : NULL;
		if (key)
			read_key(r, s, key, i);
		else if (is_known && config_key_is_section(s->kind, path))
			read_section(r, s, path, i);
		else
			unknown_key(r, s, section, i);
	}
}

static void set_defaults(struct reader *r, const struct scope *s)
{
	for (uint32_t i = 0; i < config_key_count && !r->err; i++) {
		const struct config_key *key = &config_keys[i];
		if (key->scope != s->kind || !key->initial)
			continue;
		const struct yaml_item item = { .kind = YAML_KIND_SCALAR,
						.text = bb_str_of(key->initial) };
		read_key(r, s, key, &item);
	}
}

static void read_model(struct reader *r, struct config_model *m, const struct yaml_item *item)
{
	char name[WHY_MAX];
	const char *wrong = config_check_name(item->key);

	snprintf(name, sizeof(name), "models.%.*s", BB_ARG(item->key));
	const struct scope s = { CONFIG_SCOPE_MODEL, m, name };
	if (wrong)
		config_errors_add(r->errors, item->key_place, "models: '%.*s': %s",
				  BB_ARG(item->key), wrong);
	m->name = reader_dup(r, item->key);
	m->place = item->key_place;
	set_defaults(r, &s);
	if (item->kind == YAML_KIND_MAP)
		read_map(r, &s, BB_STR(""), item);
	else if (item->kind != YAML_KIND_NULL && item->kind != YAML_KIND_BROKEN)
		config_errors_add(r->errors, item->place, "%s: expects a map, not %s", name,
				  yaml_kind_text(item->kind));
}

static void read_models(struct reader *r, const struct yaml_item *map)
{
	struct config *c = r->c;

	if (map->count > CONFIG_MODELS_MAX) {
		config_errors_add(r->errors, map->place, "models: more than %u", CONFIG_MODELS_MAX);
		return;
	}
	c->models = reader_alloc(r, map->count, sizeof(*c->models));
	c->model_count = 0;
	for (const struct yaml_item *i = map->first; i && !r->err; i = i->next)
		read_model(r, &c->models[c->model_count++], i);
}

static void read_engine(struct reader *r, struct config_engine *e, const struct yaml_item *item,
			uint32_t index)
{
	char name[32];

	snprintf(name, sizeof(name), "engines[%u]", index);
	const struct scope s = { CONFIG_SCOPE_ENGINE, e, name };
	e->place = item->place;
	set_defaults(r, &s);
	if (item->kind == YAML_KIND_SCALAR)
		read_key(r, &s, config_key_find(s.kind, BB_STR("url")), item);
	else if (item->kind == YAML_KIND_MAP)
		read_map(r, &s, BB_STR(""), item);
	else if (item->kind != YAML_KIND_BROKEN)
		config_errors_add(r->errors, item->place, "%s: expects a URL or a map, not %s",
				  name, yaml_kind_text(item->kind));
	if (item->kind == YAML_KIND_MAP && !yaml_tree_find(item, BB_STR("url")))
		config_errors_add(r->errors, item->place, "%s: needs 'url'", name);
}

static void read_engines(struct reader *r, const struct yaml_item *list)
{
	struct config *c = r->c;

	if (list->count > CONFIG_ENGINES_MAX) {
		config_errors_add(r->errors, list->place, "engines: more than %u",
				  CONFIG_ENGINES_MAX);
		return;
	}
	c->engines = reader_alloc(r, list->count, sizeof(*c->engines));
	c->engine_count = 0;
	for (const struct yaml_item *i = list->first; i && !r->err; i = i->next) {
		read_engine(r, &c->engines[c->engine_count], i, c->engine_count);
		c->engine_count++;
	}
	c->engine_cap = c->engine_count;
}

int config_read(struct config *c, const struct yaml_item *root, const struct config_env *env,
		struct config_errors *errors)
{
	struct reader r = { .c = c, .env = env, .errors = errors };
	const struct scope s = { CONFIG_SCOPE_ROOT, c, "" };

	set_defaults(&r, &s);
	if (root->kind == YAML_KIND_MAP)
		read_map(&r, &s, BB_STR(""), root);
	else if (root->kind != YAML_KIND_NULL && root->kind != YAML_KIND_BROKEN)
		config_errors_add(errors, root->place, "a configuration is a map, not %s",
				  yaml_kind_text(root->kind));
	return r.err;
}
