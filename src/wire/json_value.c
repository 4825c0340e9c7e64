/* Single values of json.h: types, numbers, strings. */
#include "wire/json.h"

#include "wire/json_escape.h"
#include "wire/utf8.h"

static const enum json_type type_by_byte[256] = {
	['f'] = JSON_FALSE,  ['t'] = JSON_TRUE,	  ['-'] = JSON_NUMBER, ['0'] = JSON_NUMBER,
	['1'] = JSON_NUMBER, ['2'] = JSON_NUMBER, ['3'] = JSON_NUMBER, ['4'] = JSON_NUMBER,
	['5'] = JSON_NUMBER, ['6'] = JSON_NUMBER, ['7'] = JSON_NUMBER, ['8'] = JSON_NUMBER,
	['9'] = JSON_NUMBER, ['"'] = JSON_STRING, ['['] = JSON_ARRAY,  ['{'] = JSON_OBJECT,
};

enum json_type json_type_of(struct bb_str raw)
{
	return raw.len ? type_by_byte[(unsigned char)raw.p[0]] : JSON_NULL;
}

static bool is_string(struct bb_str raw)
{
	return raw.len >= 2 && raw.p[0] == '"' && raw.p[raw.len - 1] == '"';
}

struct bb_str json_string_inner(struct bb_str raw)
{
	if (!is_string(raw))
		return (struct bb_str){ raw.p, 0 };
	return (struct bb_str){ raw.p + 1, raw.len - 2 };
}

/*
 * Decodes what stands at the front of *inner: a run of bytes as they are, or one escape, whose
 * bytes go to `unit`. Empty at the end; p is NULL when an escape is malformed.
 */
static struct bb_str decode_next(struct bb_str *inner, char unit[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *const end = inner->p + inner->len;
	const char *const slash = inner->len ? memchr(inner->p, '\\', inner->len) : NULL;
	const size_t plain = slash ? (size_t)(slash - inner->p) : inner->len;

	if (plain || !slash) {
		const struct bb_str run = { inner->p, plain };
		*inner = bb_str_skip(*inner, plain);
		return run;
	}
	if (inner->len < 2)
		return (struct bb_str){ NULL, 0 };
	if (inner->p[1] == 'u') {
		size_t len;
		const int32_t point = json_unicode_escape(inner->p + 2, end, &len);
		if (point < 0)
			return (struct bb_str){ NULL, 0 };
		*inner = bb_str_skip(*inner, 2 + len);
		return (struct bb_str){ unit, utf8_encode((uint32_t)point, unit) };
	}
	const char *const which = memchr(from, inner->p[1], sizeof(from) - 1);
	if (!which)
		return (struct bb_str){ NULL, 0 };
	unit[0] = to[which - from];
	*inner = bb_str_skip(*inner, 2);
	return (struct bb_str){ unit, 1 };
}

bool json_inner_eq(struct bb_str inner, struct bb_str plain)
{
	char unit[4];

	while (inner.len) {
		const struct bb_str piece = decode_next(&inner, unit);
		if (!piece.p || !bb_str_starts(plain, piece))
			return false;
		plain = bb_str_skip(plain, piece.len);
	}
	return plain.len == 0;
}

bool json_string_eq(struct bb_str raw, struct bb_str plain)
{
	return is_string(raw) && json_inner_eq(json_string_inner(raw), plain);
}

int json_string_decode(struct bb_str raw, struct bb_arena *arena, struct bb_str *out)
{
	struct bb_str inner = json_string_inner(raw);
	char unit[4];

	if (!is_string(raw))
		return -BB_EINVALID;
	if (!inner.len || !memchr(inner.p, '\\', inner.len)) {
		*out = inner;
		return 0;
	}
	/* No escape is shorter than what it stands for. */
	char *const room = bb_arena_alloc(arena, inner.len);
	size_t len = 0;
	if (!room)
		return -BB_ENOMEM;
	while (inner.len) {
		const struct bb_str piece = decode_next(&inner, unit);
		if (!piece.p)
			return -BB_EINVALID;
		memcpy(room + len, piece.p, piece.len);
		len += piece.len;
	}
	*out = (struct bb_str){ room, len };
	return 0;
}

int json_string_decode_buf(struct bb_str raw, struct bb_buf *out)
{
	struct bb_str inner = json_string_inner(raw);
	char unit[4];

	if (!is_string(raw))
		return -BB_EINVALID;
	while (inner.len) {
		const struct bb_str piece = decode_next(&inner, unit);
		if (!piece.p)
			return -BB_EINVALID;
		const int rc = bb_buf_add_str(out, piece);
		if (rc)
			return rc;
	}
	return 0;
}

int json_u64(struct bb_str raw, uint64_t *out)
{
	double value;

	if (bb_parse_u64(raw, out) == 0)
		return 0;
	if (json_type_of(raw) != JSON_NUMBER || bb_parse_double(raw, &value))
		return -BB_EINVALID;
	if (!(value >= 0 && value <= 9007199254740992.0) || value != (double)(uint64_t)value)
		return -BB_EINVALID;
	*out = (uint64_t)value;
	return 0;
}

int json_double(struct bb_str raw, double *out)
{
	if (json_type_of(raw) != JSON_NUMBER || bb_parse_double(raw, out))
		return -BB_EINVALID;
	return 0;
}

int json_bool(struct bb_str raw, bool *out)
{
	if (bb_str_eq(raw, BB_STR("true")))
		*out = true;
	else if (bb_str_eq(raw, BB_STR("false")))
		*out = false;
	else
		return -BB_EINVALID;
	return 0;
}
