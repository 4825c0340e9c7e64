#include "wire/config_print.h"

#include "wire/config_number.h"
#include "wire/config_table.h"

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

static void print_value(const struct config_key *key, const void *base, struct bb_buf *out)
{
	const void *member = (const char *)base + key->offset;

	if (config_number_is_type(key->type)) {
		config_number_print(key, config_number_load(key, base), out);
	} else if (key->type == CONFIG_KEY_TEXTS) {
		print_texts(member, out);
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

static struct bb_str section_of(const struct config_key *key)
{
	struct bb_str rest = bb_str_of(key->path);
	const struct bb_str head = bb_str_cut(&rest, '.');

	return rest.len ? head : BB_STR("");
}

static struct bb_str name_of(const struct config_key *key)
{
	const struct bb_str section = section_of(key);

	return bb_str_skip(bb_str_of(key->path), section.len ? section.len + 1 : 0);
}

static bool is_own_map(const struct config_key *key)
{
	return key->type == CONFIG_KEY_MODELS || key->type == CONFIG_KEY_ENGINES;
}

/* The keys of a scope, indented; `first` stands before the very first line instead of that. */
static void print_scope(enum config_scope scope, const void *base, const char *indent,
			const char *first, struct bb_buf *out)
{
	struct bb_str open = BB_STR("");

	for (uint32_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		const struct bb_str section = section_of(key);
		if (key->scope != scope || is_own_map(key))
			continue;
		if (section.len && !bb_str_eq(section, open))
			bb_buf_printf(out, "%s%.*s:\n", indent, BB_ARG(section));
		open = section;
		bb_buf_printf(out, "%s%s%.*s: ", first ? first : indent, section.len ? "  " : "",
			      BB_ARG(name_of(key)));
		print_value(key, base, out);
		bb_buf_lit(out, "\n");
		first = NULL;
	}
}

void config_print(const struct config *c, struct bb_buf *out)
{
	print_scope(CONFIG_SCOPE_ROOT, c, "", NULL, out);
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
}
