#include "wire/variables.h"

static bool is_name_char(char c, size_t index)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
	       (index > 0 && c >= '0' && c <= '9');
}

/* Appends the value of what stands between the braces: NAME or NAME:-default. */
static const char *expand_one(struct bb_str inside, variables_get *get, void *ctx,
			      struct bb_buf *out, struct bb_str *name)
{
	char text[256];
	const char *value = NULL;
	size_t n = 0;

	while (n < inside.len && is_name_char(inside.p[n], n))
		n++;
	*name = (struct bb_str){ inside.p, n };
	const struct bb_str rest = bb_str_skip(inside, n);
	const bool has_default = bb_str_starts(rest, BB_STR(":-"));
	if (n == 0 || n >= sizeof(text) || (rest.len && !has_default))
		return "a variable is ${NAME} or ${NAME:-default}, with letters, digits and '_'";
	if (bb_str_find(rest, BB_STR("${")) >= 0)
		return "a default cannot hold another variable";
	memcpy(text, inside.p, n);
	text[n] = '\0';
	if (get)
		value = get(ctx, text);
	if (value && (*value || !has_default))
		bb_buf_add_str(out, bb_str_of(value));
	else if (has_default)
		bb_buf_add_str(out, bb_str_skip(rest, 2));
	else
		return "the environment variable is not set; ${NAME:-default} gives it a default";
	return NULL;
}

const char *variables_expand(struct bb_str s, variables_get *get, void *ctx, struct bb_buf *out,
			     struct bb_str *name)
{
	while (s.len) {
		*name = (struct bb_str){ 0 };
		const struct bb_str head = bb_str_cut(&s, '$');
		bb_buf_add_str(out, head);
		if (head.p + head.len == s.p)
			break; /* no '$' was left */
		if (bb_str_starts(s, BB_STR("$"))) {
			bb_buf_lit(out, "$");
			s = bb_str_skip(s, 1);
			continue;
		}
		const char *end = s.len && s.p[0] == '{' ? memchr(s.p, '}', s.len) : NULL;
		if (!end)
			return "a '$' alone has no meaning; write '$$' for a dollar, "
			       "${NAME} for a variable";
		const struct bb_str inside = { s.p + 1, (size_t)(end - s.p) - 1 };
		const char *wrong = expand_one(inside, get, ctx, out, name);
		if (wrong)
			return wrong;
		s = bb_str_skip(s, inside.len + 2);
	}
	return NULL;
}
