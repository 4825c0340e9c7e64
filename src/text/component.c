#include "text/component.h"

#include <stdio.h>

#include "text/unicode.h"
#include "wire/json.h"

int component_wrong(const struct component *c, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return text_error_invalid(c->error, "tokenizer.json: %s: %.*s%s%s", c->room,
				  (int)(c->type.len > 64 ? 64 : c->type.len), c->type.p,
				  c->type.len ? ": " : "", text);
}

int component_unsupported(const struct component *c, const char *known)
{
	return text_error_invalid(
		c->error, "tokenizer.json: %s: type '%.*s' is not supported; busbar knows: %s",
		c->room, (int)(c->type.len > 64 ? 64 : c->type.len), c->type.p, known);
}

int component_init(struct component *c, const char *room, struct bb_str json,
		   struct text_error *error)
{
	struct json_member m;

	*c = (struct component){ room, json, BB_STR(""), error };
	if (json_type_of(json) != JSON_OBJECT)
		return component_wrong(c, "an object with a type was expected");
	if (json_get(json, BB_STR("type"), &m)) {
		if (m.type != JSON_STRING)
			return component_wrong(c, "'type' must be a string");
		c->type = json_string_inner(m.value);
	}
	return 0;
}

bool component_is(const struct component *c, const char *type)
{
	return bb_str_eq(c->type, bb_str_of(type));
}

static bool get(const struct component *c, const char *name, struct json_member *m)
{
	return json_get(c->json, bb_str_of(name), m) && m->type != JSON_NULL;
}

bool component_has(const struct component *c, const char *name)
{
	struct json_member m;

	return get(c, name, &m);
}

static int must_get(const struct component *c, const char *name, struct json_member *m)
{
	return get(c, name, m) ? 0 : component_wrong(c, "'%s' is missing", name);
}

static int decode(const struct component *c, const char *name, struct bb_str raw,
		  struct bb_arena *arena, struct bb_str *out)
{
	struct bb_str text;
	const int rc = json_string_decode(raw, arena, &text);

	if (rc == -BB_EINVALID)
		return component_wrong(c, "'%s' must be a string", name);
	if (rc)
		return rc;
	/* The text must outlive the JSON, into which it may point. */
	*out = bb_arena_dup(arena, text);
	return out->p ? 0 : -BB_ENOMEM;
}

int component_string(const struct component *c, const char *name, struct bb_arena *arena,
		     struct bb_str *out)
{
	struct json_member m;
	const int rc = must_get(c, name, &m);

	return rc ? rc : decode(c, name, m.value, arena, out);
}

int component_string_or(const struct component *c, const char *name, struct bb_arena *arena,
			struct bb_str *out)
{
	return component_has(c, name) ? component_string(c, name, arena, out) : 0;
}

int component_bool(const struct component *c, const char *name, bool *out)
{
	struct json_member m;
	const int rc = must_get(c, name, &m);

	if (rc)
		return rc;
	return json_bool(m.value, out) ? component_wrong(c, "'%s' must be true or false", name) : 0;
}

int component_bool_or(const struct component *c, const char *name, bool *out)
{
	return component_has(c, name) ? component_bool(c, name, out) : 0;
}

int component_u64(const struct component *c, const char *name, uint64_t *out)
{
	struct json_member m;
	const int rc = must_get(c, name, &m);

	if (rc)
		return rc;
	return json_u64(m.value, out) ? component_wrong(c, "'%s' must be a whole number", name) : 0;
}

int component_char(const struct component *c, const char *name, uint32_t *out)
{
	struct bb_arena arena;
	struct bb_str text;

	bb_arena_init(&arena, 4096);
	int rc = component_string(c, name, &arena, &text);
	if (!rc) {
		size_t len = 0;
		if (text.len)
			*out = unicode_at(text.p, &len);
		if (!len || len != text.len)
			rc = component_wrong(c, "'%s' must be one character", name);
	}
	bb_arena_fini(&arena);
	return rc;
}

int component_array(const struct component *c, const char *name, struct bb_str *out)
{
	struct json_member m;
	const int rc = must_get(c, name, &m);

	if (rc)
		return rc;
	if (m.type != JSON_ARRAY)
		return component_wrong(c, "'%s' must be an array", name);
	*out = m.value;
	return 0;
}

int component_pattern(const struct component *c, const char *name, struct bb_arena *arena,
		      enum component_pattern *kind, struct bb_str *out)
{
	struct json_member m, inner;
	const int rc = must_get(c, name, &m);

	if (rc)
		return rc;
	if (m.type == JSON_OBJECT && json_get(m.value, BB_STR("String"), &inner))
		*kind = COMPONENT_STRING;
	else if (m.type == JSON_OBJECT && json_get(m.value, BB_STR("Regex"), &inner))
		*kind = COMPONENT_REGEX;
	else
		return component_wrong(c, "'%s' must be {\"String\": …} or {\"Regex\": …}", name);
	return decode(c, name, inner.value, arena, out);
}
