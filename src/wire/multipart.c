#include "wire/multipart.h"

#include <string.h>

#define BOUNDARY_MAX 70

/* RFC 2046, 5.1.1: bchars; a space only inside. */
static bool is_boundary(struct bb_str s)
{
	static const char marks[] = "'()+_,-./:=? ";

	if (s.len == 0 || s.len > BOUNDARY_MAX || s.p[s.len - 1] == ' ')
		return false;
	for (size_t i = 0; i < s.len; i++) {
		const char c = s.p[i], letter = (char)(c | 0x20);
		const bool is_alnum = (c >= '0' && c <= '9') || (letter >= 'a' && letter <= 'z');
		if (!is_alnum && !memchr(marks, c, sizeof(marks) - 1))
			return false;
	}
	return true;
}

struct param {
	struct bb_str name;
	struct bb_str value; /* without quotes */
};

/* The value of a parameter off the front of *rest: up to ';', or a quoted string with \ escapes. */
static bool next_value(struct bb_str *rest, struct bb_str *value)
{
	*rest = bb_str_trim(*rest);
	if (!rest->len || rest->p[0] != '"') {
		*value = bb_str_trim(bb_str_cut(rest, ';'));
		return true;
	}
	size_t i = 1;
	while (i < rest->len && rest->p[i] != '"')
		i += rest->p[i] == '\\' ? 2 : 1;
	if (i >= rest->len)
		return false;
	*value = (struct bb_str){ rest->p + 1, i - 1 };
	*rest = bb_str_trim(bb_str_skip(*rest, i + 1));
	if (rest->len && rest->p[0] != ';')
		return false;
	*rest = bb_str_skip(*rest, 1);
	return true;
}

/* 1: a parameter; 0: no more; -BB_ESYNTAX. */
static int next_param(struct bb_str *rest, struct param *p)
{
	*rest = bb_str_trim(*rest);
	while (rest->len && rest->p[0] == ';')
		*rest = bb_str_trim(bb_str_skip(*rest, 1));
	if (!rest->len)
		return 0;
	const char *const equals = memchr(rest->p, '=', rest->len);
	const char *const semicolon = memchr(rest->p, ';', rest->len);
	if (!equals || (semicolon && semicolon < equals))
		return -BB_ESYNTAX;
	p->name = bb_str_trim((struct bb_str){ rest->p, (size_t)(equals - rest->p) });
	*rest = bb_str_skip(*rest, (size_t)(equals - rest->p) + 1);
	return next_value(rest, &p->value) ? 1 : -BB_ESYNTAX;
}

bool multipart_is(struct bb_str content_type)
{
	const struct bb_str type = bb_str_trim(bb_str_cut(&content_type, ';'));

	return bb_str_eq_nocase(type, BB_STR("multipart/form-data"));
}

static int find_boundary(struct bb_str content_type, struct bb_str *boundary)
{
	struct bb_str rest = content_type;
	struct param p;
	int rc;

	if (!multipart_is(content_type))
		return -BB_ESYNTAX;
	bb_str_cut(&rest, ';');
	*boundary = (struct bb_str){ NULL, 0 };
	while ((rc = next_param(&rest, &p)) == 1) {
		if (!bb_str_eq_nocase(p.name, BB_STR("boundary")))
			continue;
		if (boundary->p)
			return -BB_ESYNTAX;
		*boundary = p.value;
	}
	return rc == 0 && is_boundary(*boundary) ? 0 : -BB_ESYNTAX;
}

/* What a part's head says. */
struct part_head {
	struct bb_str name;
	bool has_name;
	bool is_file;
	bool is_encoded;
};

static int read_disposition(struct bb_str value, struct part_head *head)
{
	struct param p;
	int rc;

	if (!bb_str_eq_nocase(bb_str_trim(bb_str_cut(&value, ';')), BB_STR("form-data")))
		return -BB_ESYNTAX;
	while ((rc = next_param(&value, &p)) == 1) {
		if (bb_str_eq_nocase(p.name, BB_STR("name"))) {
			if (head->has_name)
				return -BB_ESYNTAX;
			head->name = p.value;
			head->has_name = true;
		} else if (bb_str_eq_nocase(p.name, BB_STR("filename")) ||
			   bb_str_eq_nocase(p.name, BB_STR("filename*"))) {
			head->is_file = true;
		}
	}
	return rc;
}

static int read_head_line(struct bb_str line, struct part_head *head)
{
	const char *const colon = memchr(line.p, ':', line.len);

	if (!colon)
		return -BB_ESYNTAX;
	const struct bb_str name = bb_str_trim((struct bb_str){ line.p, (size_t)(colon - line.p) });
	const struct bb_str value = bb_str_trim(bb_str_skip(line, (size_t)(colon - line.p) + 1));
	if (bb_str_eq_nocase(name, BB_STR("content-disposition")))
		return read_disposition(value, head);
	if (bb_str_eq_nocase(name, BB_STR("content-transfer-encoding")))
		head->is_encoded = !bb_str_eq_nocase(value, BB_STR("7bit")) &&
				   !bb_str_eq_nocase(value, BB_STR("8bit")) &&
				   !bb_str_eq_nocase(value, BB_STR("binary"));
	return 0;
}

/* Reads the head at the front of *part and leaves the part's content there. */
static int read_head(struct bb_str *part, struct part_head *head)
{
	const char *const start = part->p;

	*head = (struct part_head){ .has_name = false };
	for (;;) {
		const ptrdiff_t len = bb_str_find(*part, BB_STR("\r\n"));
		if (len < 0)
			return -BB_ESYNTAX;
		if (part->p + len - start > MULTIPART_HEAD_MAX)
			return -BB_ELIMIT;
		const struct bb_str line = { part->p, (size_t)len };
		*part = bb_str_skip(*part, (size_t)len + 2);
		if (!line.len)
			return head->has_name ? 0 : -BB_ESYNTAX;
		const int rc = read_head_line(line, head);
		if (rc)
			return rc;
	}
}

/* Is a name as it stands in quotes, with \ escapes, the plain one? */
static bool name_eq(struct bb_str quoted, struct bb_str plain)
{
	size_t at = 0;

	for (size_t i = 0; i < quoted.len; i++, at++) {
		if (quoted.p[i] == '\\' && i + 1 < quoted.len)
			i++;
		if (at == plain.len || quoted.p[i] != plain.p[at])
			return false;
	}
	return at == plain.len;
}

enum after { AFTER_PART, AFTER_LAST, AFTER_NONE };

/* Behind a delimiter: "--" ends the body; spaces and CRLF start a part. Anything else is none. */
static enum after after_delimiter(struct bb_str *rest)
{
	if (bb_str_starts(*rest, BB_STR("--")))
		return AFTER_LAST;
	while (rest->len && (rest->p[0] == ' ' || rest->p[0] == '\t'))
		*rest = bb_str_skip(*rest, 1);
	if (!bb_str_starts(*rest, BB_STR("\r\n")))
		return AFTER_NONE;
	*rest = bb_str_skip(*rest, 2);
	return AFTER_PART;
}

/*
 * Cuts *rest at the next delimiter line. `mark` is CRLF "--" boundary. A part's content ends where
 * the CRLF begins. -BB_ESYNTAX when there is none.
 */
static int cut_part(struct bb_str *rest, struct bb_str mark, struct bb_str *part, enum after *after)
{
	const struct bb_str all = *rest;
	size_t from = 0;

	for (;;) {
		const struct bb_str left = bb_str_skip(all, from);
		const ptrdiff_t hit = bb_str_find(left, mark);
		if (hit < 0)
			return -BB_ESYNTAX;
		struct bb_str behind = bb_str_skip(left, (size_t)hit + mark.len);
		*after = after_delimiter(&behind);
		if (*after != AFTER_NONE) {
			*part = (struct bb_str){ all.p, from + (size_t)hit };
			*rest = behind;
			return 0;
		}
		from += (size_t)hit + 1;
	}
}

static int take_part(struct bb_str part, struct bb_str name, struct bb_str *value)
{
	struct part_head head;
	const int rc = read_head(&part, &head);

	if (rc || !name_eq(head.name, name))
		return rc;
	if (value->p || head.is_file || head.is_encoded)
		return -BB_EINVALID;
	*value = part;
	return 0;
}

/* Goes behind the first delimiter; what may stand before it does not count. */
static int find_first(struct bb_str *rest, struct bb_str mark, enum after *after)
{
	struct bb_str preamble;
	const struct bb_str no_line_end = bb_str_skip(mark, 2);

	if (bb_str_starts(*rest, no_line_end)) {
		struct bb_str behind = bb_str_skip(*rest, no_line_end.len);
		*after = after_delimiter(&behind);
		if (*after != AFTER_NONE) {
			*rest = behind;
			return 0;
		}
	}
	return cut_part(rest, mark, &preamble, after);
}

int multipart_field(struct bb_str content_type, struct bb_str body, struct bb_str name,
		    struct bb_str *value)
{
	char mark_text[4 + BOUNDARY_MAX] = "\r\n--";
	struct bb_str boundary, part, found = { NULL, 0 }, rest = body;
	enum after after;
	int rc = find_boundary(content_type, &boundary);

	if (rc)
		return rc;
	memcpy(mark_text + 4, boundary.p, boundary.len);
	const struct bb_str mark = { mark_text, 4 + boundary.len };
	rc = find_first(&rest, mark, &after);
	for (uint32_t count = 0; !rc && after == AFTER_PART; count++) {
		if (count == MULTIPART_PARTS_MAX)
			return -BB_ELIMIT;
		rc = cut_part(&rest, mark, &part, &after);
		if (!rc)
			rc = take_part(part, name, &found);
	}
	if (rc)
		return rc;
	if (!found.p)
		return -BB_EABSENT;
	*value = found;
	return 0;
}
