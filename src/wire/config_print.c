#include "wire/config_print.h"

#include "wire/config_number.h"
#include "wire/config_table.h"
#include "wire/config_value.h"
#include "wire/date.h"

/* ---- values ---- */

/* Can it stand in YAML without quotes, also inside of [ ]? */
static bool is_plain(struct bb_str s)
{
	if (s.len == 0 || s.p[s.len - 1] == ':' || bb_str_eq_nocase(s, BB_STR("null")))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		const char c = s.p[i];
		const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
				     (c >= '0' && c <= '9') || c == '/';
		if (!is_word && (i == 0 || c == '\0' || !strchr("._:@-", c)))
			return false;
	}
	return true;
}

static void print_text(struct bb_str s, struct bb_buf *out)
{
	struct bb_buf doubled;

	if (s.len == 0 || is_plain(s)) {
		bb_buf_add_str(out, s.len ? s : BB_STR("\"\""));
		return;
	}
	/* A dollar is doubled, or it would start a variable when the text is read again. */
	bb_buf_init(&doubled, 2 * s.len + 1);
	for (size_t i = 0; i < s.len; i++)
		bb_buf_add(&doubled, s.p[i] == '$' ? "$$" : &s.p[i], s.p[i] == '$' ? 2 : 1);
	bb_buf_add_json(out, bb_buf_str(&doubled));
	if (doubled.err && !out->err)
		out->err = doubled.err;
	bb_buf_fini(&doubled);
}

static void print_texts(const struct config_texts *list, struct bb_buf *out)
{
	bb_buf_lit(out, "[");
	for (uint32_t i = 0; i < list->count; i++) {
		if (i)
			bb_buf_lit(out, ", ");
		print_text(list->items[i].text, out);
	}
	bb_buf_lit(out, "]");
}

/* As many as there are: how often a secret is shown is no secret. */
static void print_api_keys(const struct config_api_keys *keys, struct bb_buf *out)
{
	bb_buf_lit(out, "[");
	for (uint32_t i = 0; i < keys->count; i++)
		bb_buf_add_str(out, i ? BB_STR(", \"***\"") : BB_STR("\"***\""));
	bb_buf_lit(out, "]");
}

static void print_snis(const struct config_snis *snis, struct bb_buf *out)
{
	bb_buf_lit(out, "[");
	for (uint32_t i = 0; i < snis->count; i++) {
		const struct config_sni *sni = &snis->items[i];
		bb_buf_add_str(out, i ? BB_STR(", {names: ") : BB_STR("{names: "));
		print_texts(&sni->names, out);
		bb_buf_lit(out, ", cert: ");
		print_text(sni->cert, out);
		bb_buf_lit(out, ", key: ");
		print_text(sni->key, out);
		bb_buf_lit(out, "}");
	}
	bb_buf_lit(out, "]");
}

static void print_date(uint64_t unix_s, struct bb_buf *out)
{
	bb_buf_lit(out, "\"");
	date_write(unix_s, out);
	bb_buf_lit(out, "\"");
}

/* Nothing to print leaves the key out: there is no way to write "none". */
static bool is_unset(const struct config_key *key, const void *base)
{
	const char *member = (const char *)base + key->offset;
	struct config_budget budget;
	uint64_t unix_s;

	if (key->type == CONFIG_KEY_DATE) {
		memcpy(&unix_s, member, sizeof(unix_s));
		return unix_s == 0;
	}
	if (key->type == CONFIG_KEY_BUDGET) {
		memcpy(&budget, member, sizeof(budget));
		return budget.kind == CONFIG_BUDGET_NONE;
	}
	/* A section with nothing but its defaults would ask for what belongs to it. */
	return bb_str_starts(bb_str_of(key->path), BB_STR("auth.")) &&
	       ((const struct config *)base)->jwt.jwks.len == 0;
}

static void print_value(const struct config_key *key, const void *base, struct bb_buf *out)
{
	const void *member = (const char *)base + key->offset;

	if (config_number_is_type(key->type)) {
		config_number_print(key, config_number_load(key, base), out);
	} else if (key->type == CONFIG_KEY_TEXTS || key->type == CONFIG_KEY_POLICIES) {
		print_texts(member, out);
	} else if (key->type == CONFIG_KEY_KEYS) {
		print_api_keys(member, out);
	} else if (key->type == CONFIG_KEY_SNIS) {
		print_snis(member, out);
	} else if (key->type == CONFIG_KEY_BUDGET) {
		config_budget_print(member, out);
	} else if (key->type == CONFIG_KEY_DATE) {
		print_date(*(const uint64_t *)member, out);
	} else {
		const struct bb_str *text = member;
		if (key->flags & CONFIG_KEY_SECRET && text->len)
			bb_buf_lit(out, "\"***\"");
		else if (key->type == CONFIG_KEY_SWITCHED && text->len == 0)
			bb_buf_lit(out, "off");
		else
			print_text(*text, out);
	}
}

/* ---- maps ---- */

/* What stands before the last dot of a path: "auth.jwt" of "auth.jwt.jwks", or nothing. */
static struct bb_str section_of(const struct config_key *key)
{
	struct bb_str path = bb_str_of(key->path);

	while (path.len && path.p[path.len - 1] != '.')
		path.len--;
	if (path.len)
		path.len--;
	return path;
}

static struct bb_str name_of(const struct config_key *key)
{
	const struct bb_str section = section_of(key);

	return bb_str_skip(bb_str_of(key->path), section.len ? section.len + 1 : 0);
}

static bool is_own_map(const struct config_key *key)
{
	return key->type == CONFIG_KEY_MODELS || key->type == CONFIG_KEY_ENGINES ||
	       key->type == CONFIG_KEY_TENANTS;
}

static void print_indent(const char *indent, unsigned depth, struct bb_buf *out)
{
	bb_buf_add_str(out, bb_str_of(indent));
	for (unsigned i = 0; i < depth; i++)
		bb_buf_lit(out, "  ");
}

/* The headings that `section` has and `open` has not. Returns how deep its keys are. */
static unsigned print_sections(struct bb_str section, struct bb_str open, const char *indent,
			       struct bb_buf *out)
{
	unsigned depth = 0;
	bool is_new = false;

	while (section.len) {
		const struct bb_str name = bb_str_cut(&section, '.');
		is_new |= !bb_str_eq(name, bb_str_cut(&open, '.'));
		if (is_new) {
			print_indent(indent, depth, out);
			bb_buf_printf(out, "%.*s:\n", BB_ARG(name));
		}
		depth++;
	}
	return depth;
}

/* The keys of a scope, indented; `first` stands before the very first line instead of that. */
static void print_scope(enum config_scope scope, const void *base, const char *indent,
			const char *first, struct bb_buf *out)
{
	struct bb_str open = BB_STR("");

	for (uint32_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		if (key->scope != scope || is_own_map(key) || is_unset(key, base))
			continue;
		const struct bb_str section = section_of(key);
		const unsigned depth = print_sections(section, open, indent, out);
		open = section;
		print_indent(first ? first : indent, depth, out);
		bb_buf_printf(out, "%.*s: ", BB_ARG(name_of(key)));
		print_value(key, base, out);
		bb_buf_lit(out, "\n");
		first = NULL;
	}
}

static void print_tenants(const struct config_tenants *tenants, struct bb_buf *out)
{
	bb_buf_add_str(out, tenants->count ? BB_STR("tenants:\n") : BB_STR("tenants: {}\n"));
	for (uint32_t i = 0; i < tenants->count; i++) {
		bb_buf_lit(out, "  ");
		print_text(tenants->items[i].name, out);
		bb_buf_lit(out, ":\n");
		print_scope(CONFIG_SCOPE_TENANT, &tenants->items[i], "    ", NULL, out);
	}
}

void config_print(const struct config *c, struct bb_buf *out)
{
	print_scope(CONFIG_SCOPE_ROOT, c, "", NULL, out);
	print_tenants(&c->tenants, out);
	bb_buf_add_str(out, c->model_count ? BB_STR("models:\n") : BB_STR("models: {}\n"));
	for (uint32_t i = 0; i < c->model_count; i++) {
		bb_buf_lit(out, "  ");
		print_text(c->models[i].name, out);
		bb_buf_lit(out, ":\n");
		print_scope(CONFIG_SCOPE_MODEL, &c->models[i], "    ", NULL, out);
	}
	bb_buf_add_str(out, c->engine_count ? BB_STR("engines:\n") : BB_STR("engines: []\n"));
	for (uint32_t i = 0; i < c->engine_count; i++)
		print_scope(CONFIG_SCOPE_ENGINE, &c->engines[i], "    ", "  - ", out);
}

/* ---- documentation ---- */

static const char *type_text(enum config_key_type type)
{
	switch (type) {
#define X(name, size, text)                                                                        \
	case CONFIG_KEY_##name: return text;
		CONFIG_KEY_TYPES(X)
#undef X
	}
	return "?";
}

static void print_choices(const char *const *choices, struct bb_buf *out)
{
	bb_buf_lit(out, " One of");
	for (uint32_t i = 0; choices[i]; i++)
		bb_buf_printf(out, "%s `%s`", i ? "," : "", choices[i]);
	bb_buf_lit(out, ".");
}

static void print_range(const struct config_key *key, const char *const *policies,
			struct bb_buf *out)
{
	if (key->type == CONFIG_KEY_CHOICE) {
		print_choices(key->choices, out);
	} else if (key->type == CONFIG_KEY_POLICY) {
		print_choices(policies, out);
	} else if (key->type == CONFIG_KEY_NUMBER && key->max == UINT64_MAX) {
		return;
	} else if (config_number_is_type(key->type)) {
		bb_buf_lit(out, " From ");
		config_number_print(key, key->min, out);
		bb_buf_lit(out, " to ");
		config_number_print(key, key->max, out);
		bb_buf_add_str(out, key->flags & CONFIG_KEY_ZERO ? BB_STR(", or 0.") : BB_STR("."));
	} else if (key->type == CONFIG_KEY_POLICIES) {
		bb_buf_printf(out, " Names as in `policy`, up to %u.", (unsigned)key->max);
	} else if (key->max) {
		bb_buf_printf(out, " Up to %u.", (unsigned)key->max);
	}
}

static void print_row(const struct config_key *key, const char *prefix, const char *const *policies,
		      struct bb_buf *out)
{
	bb_buf_printf(out, "| `%s%s` | %s | ", prefix, key->path, type_text(key->type));
	if (key->flags & CONFIG_KEY_REQUIRED)
		bb_buf_lit(out, "required");
	else if (key->initial)
		bb_buf_printf(out, "`%s`", key->initial);
	else
		bb_buf_lit(out, "none");
	bb_buf_printf(out, " | %s", key->text);
	print_range(key, policies, out);
	bb_buf_lit(out, " |\n");
}

static void print_heading(const char *text, struct bb_str section, struct bb_buf *out)
{
	bb_buf_printf(out, "### %s%.*s\n\n", text, BB_ARG(section));
	bb_buf_lit(out, "| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
}

/* The keys of a scope under their sections' headings, those without a section first. */
static void print_reference(enum config_scope scope, const char *title, const char *prefix,
			    const char *const *policies, struct bb_buf *out)
{
	struct bb_str open = BB_STR("");

	print_heading(title, open, out);
	for (uint32_t i = 0; i < config_key_count; i++)
		if (config_keys[i].scope == scope &&
		    (scope != CONFIG_SCOPE_ROOT || section_of(&config_keys[i]).len == 0))
			print_row(&config_keys[i], prefix, policies, out);
	for (uint32_t i = 0; i < config_key_count && scope == CONFIG_SCOPE_ROOT; i++) {
		const struct bb_str section = section_of(&config_keys[i]);
		if (config_keys[i].scope != scope || section.len == 0)
			continue;
		if (!bb_str_eq(section, open)) {
			bb_buf_lit(out, "\n");
			print_heading("", section, out);
		}
		open = section;
		print_row(&config_keys[i], prefix, policies, out);
	}
}

void config_print_keys(const char *const *policies, struct bb_buf *out)
{
	if (!policies)
		policies = config_policies;
	print_reference(CONFIG_SCOPE_ROOT, "Top level", "", policies, out);
	bb_buf_lit(out, "\n");
	print_reference(CONFIG_SCOPE_MODEL, "models", "models.NAME.", policies, out);
	bb_buf_lit(out, "\n");
	print_reference(CONFIG_SCOPE_ENGINE, "engines", "engines[].", policies, out);
	bb_buf_lit(out, "\n");
	print_reference(CONFIG_SCOPE_TENANT, "tenants", "tenants.NAME.", policies, out);
	bb_buf_lit(out, "\n");
	print_reference(CONFIG_SCOPE_SNI, "tls.sni", "tls.sni[].", policies, out);
}
