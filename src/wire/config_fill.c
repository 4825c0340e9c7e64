#include "wire/config_fill.h"

#include <stdarg.h>
#include <stdio.h>

#include "wire/config_number.h"
#include "wire/config_value.h"
#include "wire/date.h"
#include "wire/spelling.h"

void config_fill_error(struct config_reader *r, const struct config_map *m,
		       const struct config_key *key, struct config_place place, const char *format,
		       ...)
{
	char why[CONFIG_WHY_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	config_errors_add(r->errors, place, "%s%s%s: %s", m->name, *m->name ? "." : "", key->path,
			  why);
}

void *config_fill_alloc(struct config_reader *r, size_t count, size_t size)
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

struct bb_str config_fill_dup(struct config_reader *r, struct bb_str s)
{
	const struct bb_str copy = bb_arena_dup(&r->c->arena, s);

	if (!copy.p)
		r->err = -BB_ENOMEM;
	return copy;
}

/* ---- values ---- */

static void read_number(struct config_reader *r, const struct config_map *m,
			const struct config_key *key, const struct yaml_item *item)
{
	struct bb_buf why;
	uint64_t value;

	bb_buf_init(&why, CONFIG_WHY_MAX);
	if (config_number_parse(key, item->text, &value, &why) == 0)
		config_number_store(key, m->base, value);
	else
		config_fill_error(r, m, key, item->place, "%.*s", BB_ARG(bb_buf_str(&why)));
	bb_buf_fini(&why);
}

static void store_text(struct config_reader *r, const struct config_map *m,
		       const struct config_key *key, struct bb_str text)
{
	const struct bb_str copy = config_fill_dup(r, text);

	memcpy((char *)m->base + key->offset, &copy, sizeof(copy));
}

static void read_text(struct config_reader *r, const struct config_map *m,
		      const struct config_key *key, const struct yaml_item *item)
{
	struct bb_str text = item->text;
	const char *wrong = NULL;

	if (key->type == CONFIG_KEY_SWITCHED && bb_str_eq(text, BB_STR("off")))
		text.len = 0;
	else if (text.len || key->type == CONFIG_KEY_SWITCHED || key->flags & CONFIG_KEY_REQUIRED)
		wrong = key->check(text);
	if (wrong && key->flags & CONFIG_KEY_SECRET)
		config_fill_error(r, m, key, item->place, "%s", wrong);
	else if (wrong)
		config_fill_error(r, m, key, item->place, "'%.*s': %s", BB_ARG(text), wrong);
	else
		store_text(r, m, key, text);
}

/* Is it a policy's name? Else a mistake. */
static bool policy_is_known(struct config_reader *r, const struct config_map *m,
			    const struct config_key *key, const struct yaml_item *item)
{
	const char *const *names = r->env && r->env->policies ? r->env->policies : config_policies;
	struct spelling like;

	spelling_init(&like, item->text);
	for (; *names; names++) {
		if (bb_str_eq(item->text, bb_str_of(*names)))
			return true;
		spelling_offer(&like, bb_str_of(*names));
	}
	if (like.best.p)
		config_fill_error(r, m, key, item->place,
				  "unknown policy '%.*s' (did you mean '%.*s'?)",
				  BB_ARG(item->text), BB_ARG(like.best));
	else
		config_fill_error(r, m, key, item->place, "unknown policy '%.*s'",
				  BB_ARG(item->text));
	return false;
}

static void read_policy(struct config_reader *r, const struct config_map *m,
			const struct config_key *key, const struct yaml_item *item)
{
	if (policy_is_known(r, m, key, item))
		store_text(r, m, key, item->text);
}

/*
 * A text or a list of texts. Wrong ones are reported and kept, so that whoever counts them later
 * does not report a second mistake.
 */
static void read_texts(struct config_reader *r, const struct config_map *m,
		       const struct config_key *key, const struct yaml_item *item)
{
	const bool is_list = item->kind == YAML_KIND_LIST;
	const uint32_t count = is_list ? item->count : item->kind != YAML_KIND_NULL;

	if (count < key->min || count > key->max) {
		config_fill_error(r, m, key, item->place, "%u entries, where %u to %u are allowed",
				  count, (unsigned)key->min, (unsigned)key->max);
		return;
	}
	struct config_text *texts = config_fill_alloc(r, count, sizeof(*texts));
	if (!texts)
		return;
	const struct yaml_item *from = is_list ? item->first : item;
	for (uint32_t i = 0; i < count; i++, from = from->next) {
		const char *wrong = NULL;
		if (from->kind == YAML_KIND_SCALAR && key->type == CONFIG_KEY_POLICIES)
			(void)policy_is_known(r, m, key, from);
		else if (from->kind == YAML_KIND_SCALAR)
			wrong = key->check(from->text);
		else if (from->kind != YAML_KIND_BROKEN)
			config_fill_error(r, m, key, from->place, "expects texts, not %s",
					  yaml_kind_text(from->kind));
		if (wrong)
			config_fill_error(r, m, key, from->place, "'%.*s': %s", BB_ARG(from->text),
					  wrong);
		texts[i].text = config_fill_dup(r, from->text);
		texts[i].place = from->place;
	}
	const struct config_texts list = { texts, count };
	memcpy((char *)m->base + key->offset, &list, sizeof(list));
}

/* ---- dates, budgets, API keys ---- */

static void read_date(struct config_reader *r, const struct config_map *m,
		      const struct config_key *key, const struct yaml_item *item)
{
	uint64_t unix_s;

	if (date_parse(item->text, &unix_s) == 0)
		memcpy((char *)m->base + key->offset, &unix_s, sizeof(unix_s));
	else
		config_fill_error(r, m, key, item->place,
				  "'%.*s' is not a date like 2026-12-31 or 2026-12-31T18:00:00Z",
				  BB_ARG(item->text));
}

static void read_budget(struct config_reader *r, const struct config_map *m,
			const struct config_key *key, const struct yaml_item *item)
{
	struct config_budget budget;
	const char *why;

	if (config_budget_parse(item->text, &budget, &why) == 0)
		memcpy((char *)m->base + key->offset, &budget, sizeof(budget));
	else
		config_fill_error(r, m, key, item->place, "'%.*s': %s", BB_ARG(item->text), why);
}

/* What is wrong with a key is said without the key. */
static void read_api_key(struct config_reader *r, const struct config_map *m,
			 const struct config_key *key, const struct yaml_item *item,
			 struct config_api_keys *into)
{
	struct config_api_key *k = &into->items[into->count];
	const char *why = NULL;

	if (item->kind != YAML_KIND_SCALAR) {
		if (item->kind != YAML_KIND_BROKEN)
			config_fill_error(r, m, key, item->place, "expects texts, not %s",
					  yaml_kind_text(item->kind));
		return;
	}
	const int rc = key_record_parse(item->text, &k->record, &why);
	/* The tree is ours and writable; only its readers see it as constant. */
	if (item->text.len)
		key_wipe((char *)item->text.p, item->text.len);
	if (rc == -BB_ENOMEM) {
		r->err = rc;
	} else if (rc) {
		config_fill_error(r, m, key, item->place, "%s", why);
	} else {
		k->place = item->place;
		into->count++;
	}
}

static void read_api_keys(struct config_reader *r, const struct config_map *m,
			  const struct config_key *key, const struct yaml_item *item)
{
	const bool is_list = item->kind == YAML_KIND_LIST;
	const uint32_t count = is_list ? item->count : item->kind != YAML_KIND_NULL;
	struct config_api_keys keys = { 0 };

	if (count > key->max) {
		config_fill_error(r, m, key, item->place, "more than %u keys", (unsigned)key->max);
		return;
	}
	keys.items = config_fill_alloc(r, count, sizeof(*keys.items));
	const struct yaml_item *from = is_list ? item->first : item;
	for (uint32_t i = 0; i < count && !r->err; i++, from = from->next)
		read_api_key(r, m, key, from, &keys);
	memcpy((char *)m->base + key->offset, &keys, sizeof(keys));
}

void config_fill(struct config_reader *r, const struct config_map *m, const struct config_key *key,
		 const struct yaml_item *item)
{
	switch (key->type) {
	case CONFIG_KEY_COUNT:
	case CONFIG_KEY_NUMBER:
	case CONFIG_KEY_DURATION:
	case CONFIG_KEY_SIZE:
	case CONFIG_KEY_CHOICE: read_number(r, m, key, item); return;
	case CONFIG_KEY_POLICY: read_policy(r, m, key, item); return;
	case CONFIG_KEY_TEXT:
	case CONFIG_KEY_SWITCHED: read_text(r, m, key, item); return;
	case CONFIG_KEY_POLICIES:
	case CONFIG_KEY_TEXTS: read_texts(r, m, key, item); return;
	case CONFIG_KEY_DATE: read_date(r, m, key, item); return;
	case CONFIG_KEY_BUDGET: read_budget(r, m, key, item); return;
	case CONFIG_KEY_KEYS: read_api_keys(r, m, key, item); return;
	case CONFIG_KEY_MODELS:
	case CONFIG_KEY_ENGINES:
	case CONFIG_KEY_TENANTS:
	case CONFIG_KEY_SNIS: BB_ASSERT(false);
	}
}
