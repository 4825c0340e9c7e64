#include "wire/yaml_tree.h"

#include <yaml.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/map.h"
#include "wire/key_text.h"

struct yaml_reader {
	yaml_parser_t parser;
	struct bb_str text;
	variables_get *variable;
	void *ctx;
	struct bb_arena *arena;
	struct config_errors *errors;
	struct yaml_item *root;
	struct yaml_item *open[YAML_TREE_DEPTH_MAX];
	uint32_t depth;
	uint32_t item_count;
	size_t expanded_size;
	/* In the innermost map: the key that waits for its value; p == NULL when a key comes next.
	 */
	struct bb_str key;
	struct config_place key_place;
};

const char *yaml_kind_text(enum yaml_kind kind)
{
	switch (kind) {
	case YAML_KIND_NULL: return "nothing";
	case YAML_KIND_SCALAR: return "a value";
	case YAML_KIND_LIST: return "a list";
	case YAML_KIND_MAP: return "a map";
	case YAML_KIND_BROKEN: return "a broken value";
	}
	return "?";
}

static struct config_place place_of(yaml_mark_t mark)
{
	return (struct config_place){ (uint32_t)mark.line + 1, (uint32_t)mark.column + 1 };
}

/* ---- values ---- */

/* The code point at the start of `s` and its length; 0 when the bytes are not UTF-8 (RFC 3629). */
static size_t utf8_next(struct bb_str s, uint32_t *point)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char first = (unsigned char)s.p[0];
	const size_t len = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;

	if (len > s.len || (first >= 0x80 && first < 0xc0) || first > 0xf4)
		return 0;
	*point = len == 1 ? first : first & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		const unsigned char c = (unsigned char)s.p[i];
		if ((c & 0xc0) != 0x80)
			return 0;
		*point = *point << 6 | (c & 0x3f);
	}
	const bool is_surrogate = *point >= 0xd800 && *point < 0xe000;
	return *point < least[len] || *point > 0x10ffff || is_surrogate ? 0 : len;
}

/* What is neither a control, a line break, a byte order mark nor invalid. */
static bool is_text(struct bb_str s)
{
	uint32_t point = 0;

	while (s.len) {
		const size_t len = utf8_next(s, &point);
		if (len == 0 || point < ' ' || (point >= 0x7f && point < 0xa0) || point == 0x2028 ||
		    point == 0x2029 || point == 0xfeff || (point & 0xfffe) == 0xfffe)
			return false;
		s = bb_str_skip(s, len);
	}
	return true;
}

/* The value of a scalar in the arena, or the item becomes BROKEN. */
static int scalar_value(struct yaml_reader *r, struct yaml_item *item, struct bb_str raw)
{
	struct bb_buf out;
	struct bb_str name = { 0 };
	const char *wrong = NULL;
	int rc = 0;

	bb_buf_init(&out, YAML_TREE_VALUE_MAX);
	const bool is_expanded = raw.len && memchr(raw.p, '$', raw.len);
	if (is_expanded) {
		wrong = variables_expand(raw, r->variable, r->ctx, &out, &name);
		raw = bb_buf_str(&out);
		r->expanded_size += raw.len;
	}
	if (out.err == -BB_ENOMEM) {
		rc = -BB_ENOMEM;
	} else if (!wrong && (out.err || r->expanded_size > YAML_TREE_EXPANDED_MAX)) {
		wrong = "variables make the text too long";
	} else if (!wrong && !is_text(raw)) {
		wrong = "a value is UTF-8 text without line breaks and control characters";
	}
	if (wrong && name.len && is_expanded)
		config_errors_add(r->errors, item->place, "%.*s: %s", BB_ARG(name), wrong);
	else if (wrong)
		config_errors_add(r->errors, item->place, "%s", wrong);
	if (wrong) {
		item->kind = YAML_KIND_BROKEN;
	} else if (!rc) {
		item->text = bb_arena_dup(r->arena, raw);
		rc = item->text.p ? 0 : -BB_ENOMEM;
	}
	bb_buf_fini(&out);
	return rc;
}

/* ---- events ---- */

static int refuse(struct yaml_reader *r, yaml_mark_t mark, const char *text)
{
	config_errors_add(r->errors, place_of(mark), "%s", text);
	return -BB_EINVALID;
}

/* A new item at the end of what is open. */
static int add_item(struct yaml_reader *r, const yaml_event_t *event, enum yaml_kind kind,
		    struct yaml_item **out)
{
	if (r->item_count++ == YAML_TREE_ITEMS_MAX)
		return refuse(r, event->start_mark, "there are too many values");
	struct yaml_item *item = bb_arena_alloc(r->arena, sizeof(*item));
	if (!item)
		return -BB_ENOMEM;
	*item = (struct yaml_item){ .kind = kind, .place = place_of(event->start_mark) };
	*out = item;
	if (r->depth == 0) {
		r->root = item;
		return 0;
	}
	struct yaml_item *parent = r->open[r->depth - 1];
	if (parent->kind == YAML_KIND_MAP) {
		item->key = r->key;
		item->key_place = r->key_place;
		r->key.p = NULL;
	}
	if (parent->last)
		parent->last->next = item;
	else
		parent->first = item;
	parent->last = item;
	parent->count++;
	return 0;
}

static bool is_key_next(const struct yaml_reader *r)
{
	return r->depth && r->open[r->depth - 1]->kind == YAML_KIND_MAP && !r->key.p;
}

static bool is_null(const yaml_event_t *event, struct bb_str text)
{
	return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (text.len == 0 || bb_str_eq(text, BB_STR("~")) ||
		bb_str_eq_nocase(text, BB_STR("null")));
}

static int on_scalar(struct yaml_reader *r, const yaml_event_t *event)
{
	const struct bb_str text = { (const char *)event->data.scalar.value,
				     event->data.scalar.length };
	struct yaml_item *item;

	if (event->data.scalar.anchor)
		return refuse(r, event->start_mark, "YAML anchors are not supported");
	if (event->data.scalar.tag)
		return refuse(r, event->start_mark, "YAML tags are not supported");
	if (is_key_next(r)) {
		if (text.len == 0 || !is_text(text))
			return refuse(r, event->start_mark,
				      "a key cannot be empty or hold control characters");
		r->key = bb_arena_dup(r->arena, text);
		r->key_place = place_of(event->start_mark);
		return r->key.p ? 0 : -BB_ENOMEM;
	}
	const enum yaml_kind kind = is_null(event, text) ? YAML_KIND_NULL : YAML_KIND_SCALAR;
	int rc = add_item(r, event, kind, &item);
	if (rc || kind == YAML_KIND_NULL)
		return rc;
	return scalar_value(r, item, text);
}

static int on_open(struct yaml_reader *r, const yaml_event_t *event, enum yaml_kind kind)
{
	const bool is_map = kind == YAML_KIND_MAP;
	struct yaml_item *item;

	if (is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor)
		return refuse(r, event->start_mark, "YAML anchors are not supported");
	if (is_map ? event->data.mapping_start.tag : event->data.sequence_start.tag)
		return refuse(r, event->start_mark, "YAML tags are not supported");
	if (is_key_next(r))
		return refuse(r, event->start_mark, "a key must be a plain text");
	if (r->depth == YAML_TREE_DEPTH_MAX)
		return refuse(r, event->start_mark, "maps and lists are nested too deeply");
	int rc = add_item(r, event, kind, &item);
	if (rc)
		return rc;
	r->open[r->depth++] = item;
	return 0;
}

static int find_duplicates(struct yaml_reader *r, const struct yaml_item *map)
{
	struct bb_map seen;
	int rc = 0;

	/* Keys come from the operator, so the hash needs no secret. */
	bb_map_init(&seen, 0);
	for (const struct yaml_item *i = map->first; i && !rc; i = i->next) {
		const uint32_t line = bb_map_get(&seen, i->key);
		if (line == BB_MAP_NONE)
			rc = bb_map_put(&seen, i->key, i->key_place.line);
		else
			config_errors_add(r->errors, i->key_place,
					  "key '%.*s' is given twice (first in line %u)",
					  BB_ARG(i->key), line);
	}
	bb_map_fini(&seen);
	return rc;
}

static int on_close(struct yaml_reader *r)
{
	BB_ASSERT(r->depth > 0);
	const struct yaml_item *item = r->open[--r->depth];
	return item->kind == YAML_KIND_MAP ? find_duplicates(r, item) : 0;
}

/* The line of the text at which libyaml stopped. */
static struct bb_str line_at(const struct yaml_reader *r, size_t line)
{
	struct bb_str rest = r->text, head = bb_str_cut(&rest, '\n');

	while (line-- && rest.len)
		head = bb_str_cut(&rest, '\n');
	return head;
}

static const char *syntax_hint(const struct yaml_reader *r)
{
	const char *context = r->parser.context ? r->parser.context : "";
	const struct bb_str line = line_at(r, r->parser.problem_mark.line);

	if (strstr(context, "an alias"))
		return " (put a value that starts with '*' in quotes)";
	if (line.len && memchr(line.p, '\t', line.len))
		return " (YAML is indented with spaces, not with tabs)";
	if (bb_str_find(line, BB_STR("${")) >= 0)
		return " (inside of { } and [ ] put \"${NAME}\" in quotes)";
	return "";
}

/* The place of a byte, counting bytes as columns. */
static struct config_place place_of_offset(struct bb_str text, size_t offset)
{
	struct config_place p = { 1, 1 };

	for (size_t i = 0; i < offset && i < text.len; i++) {
		p.column++;
		if (text.p[i] == '\n')
			p = (struct config_place){ p.line + 1, 1 };
	}
	return p;
}

static int syntax_error(struct yaml_reader *r)
{
	const char *problem = r->parser.problem ? r->parser.problem : "malformed";

	if (r->parser.error == YAML_MEMORY_ERROR)
		return -BB_ENOMEM;
	if (r->parser.error == YAML_READER_ERROR)
		config_errors_add(r->errors, place_of_offset(r->text, r->parser.problem_offset),
				  "the text is not plain UTF-8: %s", problem);
	else if (r->parser.context)
		config_errors_add(r->errors, place_of(r->parser.problem_mark), "YAML: %s, %s%s",
				  r->parser.context, problem, syntax_hint(r));
	else
		config_errors_add(r->errors, place_of(r->parser.problem_mark), "YAML: %s%s",
				  problem, syntax_hint(r));
	return -BB_EINVALID;
}

static int on_event(struct yaml_reader *r, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		return r->root ? refuse(r, event->start_mark, "there is a second document") : 0;
	case YAML_SCALAR_EVENT: return on_scalar(r, event);
	case YAML_SEQUENCE_START_EVENT: return on_open(r, event, YAML_KIND_LIST);
	case YAML_MAPPING_START_EVENT: return on_open(r, event, YAML_KIND_MAP);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: return on_close(r);
	case YAML_ALIAS_EVENT:
		return refuse(r, event->start_mark,
			      "YAML aliases are not supported "
			      "(put a value that starts with '*' in quotes)");
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT: return 0;
	}
	return 0;
}

static int read_events(struct yaml_reader *r)
{
	yaml_event_t event;
	yaml_event_type_t type;
	int rc;

	do {
		if (!yaml_parser_parse(&r->parser, &event))
			return syntax_error(r);
		type = event.type;
		rc = on_event(r, &event);
		yaml_event_delete(&event);
	} while (!rc && type != YAML_STREAM_END_EVENT);
	return rc;
}

/*
 * Directives (%YAML, %TAG) have no use here, and libyaml takes time with the square of their
 * number. Nothing else that a configuration needs begins a line with '%'.
 */
static int refuse_directives(struct yaml_reader *r)
{
	struct bb_str rest = r->text;

	for (uint32_t line = 1; rest.len; line++) {
		const struct bb_str head = bb_str_cut(&rest, '\n');
		if (head.len == 0 || head.p[0] != '%')
			continue;
		config_errors_add(r->errors, (struct config_place){ line, 1 },
				  "a line cannot begin with '%%': YAML directives are not "
				  "supported");
		return -BB_EINVALID;
	}
	return 0;
}

/* The text may hold keys in clear, and so do libyaml's copies of it. */
static void parser_end(yaml_parser_t *parser)
{
	if (parser->raw_buffer.start)
		key_wipe(parser->raw_buffer.start,
			 (size_t)(parser->raw_buffer.end - parser->raw_buffer.start));
	if (parser->buffer.start)
		key_wipe(parser->buffer.start, (size_t)(parser->buffer.end - parser->buffer.start));
	yaml_parser_delete(parser);
}

int yaml_tree_read(struct bb_str text, variables_get *variable, void *ctx, struct bb_arena *arena,
		   const struct yaml_item **out, struct config_errors *errors)
{
	static const struct yaml_item nothing = { .kind = YAML_KIND_NULL };
	struct yaml_reader r = {
		.text = text,
		.variable = variable,
		.ctx = ctx,
		.arena = arena,
		.errors = errors,
	};

	int rc = refuse_directives(&r);
	if (rc)
		return rc;
	if (!yaml_parser_initialize(&r.parser))
		return -BB_ENOMEM;
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	/* libyaml asserts that there is a pointer. */
	const char *input = text.p ? text.p : "";
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)input, text.len);
	rc = read_events(&r);
	parser_end(&r.parser);
	if (rc)
		return rc;
	*out = r.root ? r.root : &nothing;
	return 0;
}

const struct yaml_item *yaml_tree_find(const struct yaml_item *map, struct bb_str key)
{
	if (!map || map->kind != YAML_KIND_MAP)
		return NULL;
	for (const struct yaml_item *i = map->first; i; i = i->next)
		if (bb_str_eq(i->key, key))
			return i;
	return NULL;
}
