/*
 * template_format.h: values as Python writes them: str(), repr(), json.dumps(), % and format().
 *
 * For: the parts of template.h. Threads: one owner of the trun. Memory: everything is appended to
 * r->out. Errors: false, with the reason in the trun.
 */
#pragma once

#include "text/template_run.h"

bool format_str(struct trun *r, struct tvalue v);
bool format_repr(struct trun *r, struct tvalue v);

struct json_style {
	struct bb_str indent; /* p NULL: all on one line */
	struct bb_str item_separator, key_separator;
	bool ensure_ascii, sort_keys;
	bool is_blank; /* the indent is of blanks alone */
};
bool format_json(struct trun *r, struct tvalue v, const struct json_style *style);
/* The same in the usual style: ", " and ": ", nothing escaped that need not be. */
bool format_json_plain(struct trun *r, struct tvalue v);

/* "..." % v */
struct tvalue format_percent(struct trun *r, struct tvalue format, struct tvalue v);
/* format.format(*list, **keywords) */
struct tvalue format_method(struct trun *r, struct tvalue format, const struct targs *args);

/* HTML: & < > " ' */
bool format_escaped(struct trun *r, struct bb_str s);

/* [[fill]align][sign][#][0][width][,][.precision][type], and what % has of it. */
struct format_spec {
	struct bb_str fill; /* one character */
	char align, sign, type, grouping;
	bool is_alternate, is_zero;
	int32_t width, precision; /* -1: not given */
};
bool format_value(struct trun *r, struct tvalue v, const struct format_spec *spec);
/* A text in the field that the spec asks for. */
bool format_field(struct trun *r, struct bb_str text, const struct format_spec *spec, char align);
