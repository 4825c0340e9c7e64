#include "wire/key_file.h"

#include <stdio.h>

#include "base/hash.h"
#include "wire/config_check.h"
#include "wire/date.h"
#include "wire/yaml_tree.h"

#define ARENA_MAX (64u << 20)
#define STORED_LEN (5 + KEY_ID_LEN + 1 + 2 * KEY_DIGEST_SIZE) /* "bbh1:ID:DIGEST" */
#define STORED_SIZE_MAX 160
#define LAYOUT "the file's layout is not understood; put the line in by hand"

static const char unresolved[] = "${not looked up here}";

/* A file that is being changed. */
struct editor {
	struct bb_str text;
	struct bb_arena arena;
	const struct yaml_item *tenants; /* NULL: there is no such key */
	const struct yaml_item *root;
};

/* Variables stand for something that is no key of this file. */
static const char *no_variable(void *ctx, const char *name)
{
	return unresolved;
}

static int editor_open(struct editor *e, struct bb_str text, struct config_errors *errors)
{
	*e = (struct editor){ .text = text };
	bb_arena_init(&e->arena, ARENA_MAX);
	int rc = yaml_tree_read(text, no_variable, NULL, &e->arena, &e->root, errors);
	if (!rc && (errors->count || errors->unlisted_count))
		rc = -BB_EINVALID;
	if (!rc)
		e->tenants = yaml_tree_find(e->root, BB_STR("tenants"));
	return rc;
}

static void editor_close(struct editor *e)
{
	bb_arena_fini(&e->arena);
}

/* ---- reading ---- */

struct reading {
	void (*each)(void *user, const struct key_file_entry *e);
	void *user;
	struct config_errors *errors;
	int rc; /* 0 or -BB_ENOMEM */
};

static void read_key(struct reading *r, struct key_file_entry *e, const struct yaml_item *item)
{
	const char *why = NULL;

	if (item->kind != YAML_KIND_SCALAR || bb_str_find(item->text, bb_str_of(unresolved)) >= 0)
		return;
	const int rc = key_record_parse(item->text, &e->record, &why);
	if (rc == -BB_EINVALID)
		config_errors_add(r->errors, item->place, "tenants.%.*s: %s", BB_ARG(e->tenant),
				  why);
	else if (rc)
		r->rc = rc;
	e->place = item->place;
	if (!rc)
		r->each(r->user, e);
}

static void read_tenant(struct reading *r, const struct yaml_item *tenant)
{
	static const struct bb_str names[] = { BB_STR_INIT("key"), BB_STR_INIT("keys") };
	const struct yaml_item *expires = yaml_tree_find(tenant, BB_STR("expires"));
	struct key_file_entry e = { .tenant = tenant->key };

	if (expires && date_parse(expires->text, &e.tenant_expires_s))
		e.tenant_expires_s = 0; /* a reload says what is wrong with it */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !r->rc; i++) {
		const struct yaml_item *keys = yaml_tree_find(tenant, names[i]);
		if (!keys)
			continue;
		read_key(r, &e, keys);
		for (const struct yaml_item *k = keys->first; k && !r->rc; k = k->next)
			read_key(r, &e, k);
	}
}

int key_file_each(struct bb_str text, void (*each)(void *user, const struct key_file_entry *e),
		  void *user, struct config_errors *errors)
{
	struct reading r = { each, user, errors, 0 };
	struct editor e;

	int rc = editor_open(&e, text, errors);
	if (!rc && e.tenants && e.tenants->kind == YAML_KIND_MAP)
		for (const struct yaml_item *t = e.tenants->first; t && !r.rc; t = t->next)
			read_tenant(&r, t);
	editor_close(&e);
	rc = rc ? rc : r.rc;
	return rc ? rc : errors->count ? -BB_EINVALID : 0;
}

/* ---- checking a change ---- */

/* A sum over all keys that does not depend on their order. */
static uint64_t weight(const struct key_file_entry *e)
{
	const uint64_t name = bb_hash(e->tenant.p, e->tenant.len, 1);
	const uint64_t key = bb_hash(e->record.digest.bytes, KEY_DIGEST_SIZE, name);

	return bb_hash(&e->record.expires_s, sizeof(e->record.expires_s), key);
}

static void add_weight(void *user, const struct key_file_entry *e)
{
	*(uint64_t *)user += weight(e);
}

static int weigh(struct bb_str text, uint64_t *sum)
{
	struct config_errors errors;

	*sum = 0;
	config_errors_init(&errors);
	const int rc = key_file_each(text, add_weight, sum, &errors);
	config_errors_fini(&errors);
	return rc;
}

/* Does the new text hold exactly what the old one did, and `more`? */
static int check(struct bb_str before, const struct bb_buf *after, uint64_t more, const char **why)
{
	uint64_t old, new;

	if (after->err)
		return after->err;
	int rc = weigh(before, &old);
	if (rc == -BB_EINVALID)
		*why = "the file has mistakes; `busbar keys list` tells them";
	if (rc)
		return rc;
	rc = weigh(bb_buf_str(after), &new);
	if (rc == -BB_ENOMEM)
		return rc;
	*why = LAYOUT;
	return rc || new != old + more ? -BB_EINVALID : 0;
}

/* ---- places in the text ---- */

static size_t line_begin(struct bb_str text, size_t at)
{
	while (at > 0 && text.p[at - 1] != '\n')
		at--;
	return at;
}

/* Behind the newline, or the end of the text. */
static size_t line_end(struct bb_str text, size_t at)
{
	while (at < text.len && text.p[at] != '\n')
		at++;
	return at < text.len ? at + 1 : at;
}

/* Bytes of the line break at `at`: those of YAML 1.1 §4.2 (CR, LF, both, NEL, LS, PS); 0: it is none. */
static size_t break_len(struct bb_str text, size_t at)
{
	static const struct bb_str breaks[] = { BB_STR_INIT("\r\n"), BB_STR_INIT("\n"),
						BB_STR_INIT("\r"), BB_STR_INIT("\xc2\x85"),
						BB_STR_INIT("\xe2\x80\xa8"),
						BB_STR_INIT("\xe2\x80\xa9") };
	const struct bb_str rest = bb_str_skip(text, at);

	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		if (bb_str_starts(rest, breaks[i]))
			return breaks[i].len;
	return 0;
}

/* Columns count characters; continuation bytes of UTF-8 are none. Never behind the text's end. */
static size_t offset_of(struct bb_str text, struct config_place place)
{
	size_t at = 0;

	for (uint32_t line = 1; line < place.line && at < text.len;) {
		const size_t len = break_len(text, at);
		line += len > 0;
		at += len ? len : 1;
	}
	for (uint32_t column = 1; column < place.column && at < text.len; column++)
		for (at++; at < text.len && (text.p[at] & 0xc0) == 0x80;)
			at++;
	return at;
}

/* The end of a scalar as it is written, its closing quote included. */
static size_t scalar_end(struct bb_str text, size_t at)
{
	const char quote = at < text.len ? text.p[at] : '\0';
	const size_t begin = at;

	if (quote == '"' || quote == '\'') {
		for (at++; at < text.len && text.p[at] != quote;)
			at++;
		return at < text.len ? at + 1 : at;
	}
	while (at < text.len && !memchr(",]}\r\n", text.p[at], 5) &&
	       !(text.p[at] == ' ' && (at + 1 == text.len || text.p[at + 1] == '#')))
		at++;
	while (at > begin && text.p[at - 1] == ' ')
		at--;
	return at;
}

/* Is the item at `at` one of a block list, with nothing but "- " before it in its line? */
static bool is_dashed(struct bb_str text, size_t at)
{
	size_t i = line_begin(text, at);

	while (i < at && text.p[i] == ' ')
		i++;
	if (i >= at || text.p[i] != '-')
		return false;
	for (i++; i < at && text.p[i] == ' ';)
		i++;
	return i == at;
}

/*
 * `out` becomes the text with what stands in [from, to) replaced. A place behind the end of the text
 * is none: what comes out then is not what was meant, and `check` refuses it.
 */
static void replace(struct bb_str text, size_t from, size_t to, struct bb_str with,
		    struct bb_buf *out)
{
	if (to > text.len)
		to = text.len;
	if (from > to)
		from = to;
	bb_buf_add(out, text.p, from);
	bb_buf_add_str(out, with);
	bb_buf_add(out, text.p + to, text.len - to);
}

/* A new line behind the one at `at`, indented. */
static void insert_lines(struct bb_str text, size_t at, struct bb_str lines, struct bb_buf *out)
{
	const size_t end = line_end(text, at);
	const bool has_newline = end == 0 || text.p[end - 1] == '\n';

	bb_buf_add(out, text.p, end);
	if (!has_newline)
		bb_buf_lit(out, "\n");
	bb_buf_add_str(out, lines);
	bb_buf_add(out, text.p + end, text.len - end);
}

/* ---- adding ---- */

static void indent_add(struct bb_buf *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bb_buf_lit(b, " ");
}

/* `keys:` with one key, as lines that begin at `indent`. */
static void keys_lines(struct bb_buf *b, size_t indent, struct bb_str stored)
{
	indent_add(b, indent);
	bb_buf_lit(b, "keys:\n");
	indent_add(b, indent + 2);
	bb_buf_printf(b, "- %.*s\n", BB_ARG(stored));
}

static void tenant_lines(struct bb_buf *b, size_t indent, struct bb_str tenant,
			 struct bb_str stored)
{
	indent_add(b, indent);
	bb_buf_printf(b, "%.*s:\n", BB_ARG(tenant));
	keys_lines(b, indent + 2, stored);
}

static char char_at(struct bb_str text, size_t at)
{
	return at < text.len ? text.p[at] : '\0';
}

/* Into the list or beside the single value that `keys` is. */
static void add_to_keys(const struct editor *e, const struct yaml_item *keys, struct bb_str stored,
			struct bb_buf *out)
{
	const struct bb_str text = e->text;
	const size_t at = offset_of(text, keys->place);
	struct bb_buf new;

	bb_buf_init(&new, 4096);
	if (keys->kind == YAML_KIND_NULL) {
		indent_add(&new, keys->key_place.column + 1);
		bb_buf_printf(&new, "- %.*s\n", BB_ARG(stored));
		insert_lines(text, offset_of(text, keys->key_place), bb_buf_str(&new), out);
	} else if (keys->kind == YAML_KIND_SCALAR) {
		const size_t end = scalar_end(text, at);
		bb_buf_printf(&new, "[%.*s, \"%.*s\"]", (int)(end - at), text.p + at,
			      BB_ARG(stored));
		replace(text, at, end, bb_buf_str(&new), out);
	} else if (keys->count == 0) {
		bb_buf_printf(&new, "\"%.*s\"", BB_ARG(stored));
		replace(text, at + 1, at + 1, bb_buf_str(&new), out);
	} else {
		const size_t last = offset_of(text, keys->last->place);
		const size_t end = scalar_end(text, last);
		if (is_dashed(text, last)) {
			const size_t begin = line_begin(text, last);
			bb_buf_printf(&new, "%.*s%.*s\n", (int)(last - begin), text.p + begin,
				      BB_ARG(stored));
			insert_lines(text, last, bb_buf_str(&new), out);
		} else {
			bb_buf_printf(&new, ", \"%.*s\"", BB_ARG(stored));
			replace(text, end, end, bb_buf_str(&new), out);
		}
	}
	bb_buf_fini(&new);
}

/* The first `keys` of a tenant that is there. */
static void add_to_tenant(const struct editor *e, const struct yaml_item *tenant,
			  struct bb_str stored, struct bb_buf *out)
{
	const size_t at = offset_of(e->text, tenant->place);
	struct bb_buf new;

	bb_buf_init(&new, 4096);
	if (tenant->kind == YAML_KIND_MAP && char_at(e->text, at) == '{') {
		bb_buf_printf(&new, "\"keys\": [\"%.*s\"]%s", BB_ARG(stored),
			      tenant->count ? ", " : "");
		replace(e->text, at + 1, at + 1, bb_buf_str(&new), out);
	} else {
		keys_lines(&new,
			   tenant->count ? tenant->first->key_place.column - 1
					 : tenant->key_place.column + 1,
			   stored);
		insert_lines(e->text, offset_of(e->text, tenant->key_place), bb_buf_str(&new), out);
	}
	bb_buf_fini(&new);
}

static void add_tenant(const struct editor *e, struct bb_str tenant, struct bb_str stored,
		       struct bb_buf *out)
{
	const struct bb_str text = e->text;
	struct bb_buf new;

	bb_buf_init(&new, 4096);
	if (!e->tenants) {
		if (text.len && text.p[text.len - 1] != '\n')
			bb_buf_lit(&new, "\n");
		bb_buf_lit(&new, "tenants:\n");
		tenant_lines(&new, 2, tenant, stored);
		replace(text, text.len, text.len, bb_buf_str(&new), out);
		bb_buf_fini(&new);
		return;
	}
	const size_t at = offset_of(text, e->tenants->place);
	if (e->tenants->kind == YAML_KIND_MAP && char_at(text, at) == '{') {
		bb_buf_printf(&new, "\"%.*s\": {\"keys\": [\"%.*s\"]}%s", BB_ARG(tenant),
			      BB_ARG(stored), e->tenants->count ? ", " : "");
		replace(text, at + 1, at + 1, bb_buf_str(&new), out);
	} else {
		tenant_lines(&new,
			     e->tenants->count ? e->tenants->first->key_place.column - 1
					       : e->tenants->key_place.column + 1,
			     tenant, stored);
		insert_lines(text, offset_of(text, e->tenants->key_place), bb_buf_str(&new), out);
	}
	bb_buf_fini(&new);
}

static bool is_map_or_none(const struct yaml_item *item)
{
	return !item || item->kind == YAML_KIND_MAP || item->kind == YAML_KIND_NULL;
}

/* To wherever the tenant has its keys. */
static int add_somewhere(const struct editor *e, struct bb_str tenant, struct bb_str stored,
			 struct bb_buf *out)
{
	const struct yaml_item *t = yaml_tree_find(e->tenants, tenant);
	const struct yaml_item *keys = yaml_tree_find(t, BB_STR("keys"));

	if (!is_map_or_none(e->root) || !is_map_or_none(e->tenants) || !is_map_or_none(t) ||
	    (keys && keys->kind == YAML_KIND_MAP))
		return -BB_EINVALID;
	if (keys)
		add_to_keys(e, keys, stored, out);
	else if (t)
		add_to_tenant(e, t, stored, out);
	else
		add_tenant(e, tenant, stored, out);
	return 0;
}

int key_file_add(struct bb_str text, struct bb_str tenant, const struct key_record *key,
		 struct bb_buf *out, const char **why)
{
	const struct key_file_entry added = { .tenant = tenant, .record = *key };
	struct config_errors errors;
	struct bb_buf stored;
	struct editor e;

	*why = config_check_tenant(tenant);
	if (*why)
		return -BB_EINVALID;
	config_errors_init(&errors);
	bb_buf_init(&stored, STORED_SIZE_MAX);
	key_record_write(key, &stored);
	int rc = stored.err ? stored.err : editor_open(&e, text, &errors);
	if (rc == -BB_EINVALID)
		*why = "the file has mistakes; `busbar keys list` tells them";
	if (!rc) {
		*why = LAYOUT;
		rc = add_somewhere(&e, tenant, bb_buf_str(&stored), out);
	}
	if (!rc)
		rc = check(text, out, weight(&added), why);
	if (stored.err == 0)
		editor_close(&e);
	bb_buf_fini(&stored);
	config_errors_fini(&errors);
	return rc;
}

/* ---- ending ---- */

struct search {
	struct bb_str id;
	struct key_file_entry found;
	char tenant[KEY_FILE_TENANT_SIZE];
	uint32_t count;
};

static void look(void *user, const struct key_file_entry *e)
{
	struct search *s = user;

	if (e->record.is_clear || !bb_str_eq(bb_str_of(e->record.id), s->id) ||
	    e->tenant.len >= sizeof(s->tenant))
		return;
	s->found = *e;
	memcpy(s->tenant, e->tenant.p, e->tenant.len);
	s->tenant[e->tenant.len] = '\0';
	s->count++;
}

/* Takes a key out of its list, or leaves an empty list where it stood alone. */
static void take_out(struct bb_str text, size_t at, struct bb_buf *out)
{
	size_t begin = at, end = scalar_end(text, at);

	if (is_dashed(text, at)) {
		replace(text, line_begin(text, at), line_end(text, at), BB_STR(""), out);
		return;
	}
	while (end < text.len && text.p[end] == ' ')
		end++;
	if (char_at(text, end) == ',') {
		for (end++; end < text.len && text.p[end] == ' ';)
			end++;
		replace(text, begin, end, BB_STR(""), out);
		return;
	}
	while (begin > 0 && text.p[begin - 1] == ' ')
		begin--;
	if (begin > 0 && text.p[begin - 1] == ',')
		replace(text, begin - 1, end, BB_STR(""), out);
	else if (begin > 0 && text.p[begin - 1] == '[')
		replace(text, begin, end, BB_STR(""), out);
	else
		replace(text, at, scalar_end(text, at), BB_STR("[]"), out);
}

static void set_expiry(struct bb_str text, size_t at, uint64_t expires_s, struct bb_buf *out)
{
	const bool is_quoted = char_at(text, at) == '"' || char_at(text, at) == '\'';
	const size_t end = scalar_end(text, at) - is_quoted;
	const size_t from = at + is_quoted + STORED_LEN;
	struct bb_buf date;

	bb_buf_init(&date, 64);
	bb_buf_lit(&date, ":");
	date_write(expires_s, &date);
	if (from <= end)
		replace(text, from, end, bb_buf_str(&date), out);
	bb_buf_fini(&date);
}

int key_file_end(struct bb_str text, struct bb_str id, uint64_t expires_s,
		 char tenant[KEY_FILE_TENANT_SIZE], struct bb_buf *out, const char **why)
{
	struct search s = { .id = id };
	struct config_errors errors;

	*why = "the file has mistakes; `busbar keys list` tells them";
	config_errors_init(&errors);
	const int rc = key_file_each(text, look, &s, &errors);
	config_errors_fini(&errors);
	if (rc)
		return rc;
	*why = s.count ? "several keys have this id" : "no key of the file has this id";
	if (s.count != 1)
		return s.count ? -BB_EEXIST : -BB_EABSENT;
	s.found.tenant = bb_str_of(s.tenant);
	const size_t at = offset_of(text, s.found.place);
	uint64_t more = -weight(&s.found);
	if (expires_s) {
		set_expiry(text, at, expires_s, out);
		s.found.record.expires_s = expires_s;
		more += weight(&s.found);
	} else {
		take_out(text, at, out);
	}
	memcpy(tenant, s.tenant, sizeof(s.tenant));
	return check(text, out, more, why);
}
