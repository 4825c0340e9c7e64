#include "wire/sse.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

/* The first \n or \r, or `end`. */
static const char *line_end(const char *p, const char *end)
{
#if defined(__x86_64__)
	for (; end - p >= 16; p += 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)p);
		const __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')),
						  _mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));
		const unsigned mask = (unsigned)_mm_movemask_epi8(ends);
		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && *p != '\n' && *p != '\r')
		p++;
	return p;
}

/* Cuts a line off *rest, without its end. False when its end is not there, or not for sure. */
static bool next_line(struct bb_str *rest, struct bb_str *line)
{
	if (!rest->len)
		return false;
	const char *const end = rest->p + rest->len;
	const char *at = line_end(rest->p, end);
	if (at == end || (*at == '\r' && at + 1 == end))
		return false;
	*line = (struct bb_str){ rest->p, (size_t)(at - rest->p) };
	at += *at == '\r' && at[1] == '\n' ? 2 : 1;
	*rest = (struct bb_str){ at, (size_t)(end - at) };
	return true;
}

/* Splits "name: value"; one space behind the colon is not part of the value. */
static struct bb_str field_value(struct bb_str line, struct bb_str *name)
{
	const char *const colon = memchr(line.p, ':', line.len);

	if (!colon) {
		*name = line;
		return (struct bb_str){ line.p + line.len, 0 };
	}
	*name = (struct bb_str){ line.p, (size_t)(colon - line.p) };
	struct bb_str value = bb_str_skip(line, name->len + 1);
	if (value.len && value.p[0] == ' ')
		value = bb_str_skip(value, 1);
	return value;
}

static void take_line(struct sse_event *e, struct bb_str line)
{
	struct bb_str name;
	const struct bb_str value = field_value(line, &name);

	if (bb_str_eq(name, BB_STR("data"))) {
		e->is_comment = false;
		if (e->data.p)
			e->multi = true;
		else
			e->data = value;
	} else if (bb_str_eq(name, BB_STR("event"))) {
		e->is_comment = false;
		e->event = value;
	}
}

int sse_next(struct bb_str *rest, struct sse_event *out)
{
	struct bb_str left = *rest, line;
	struct sse_event e = { .is_comment = true };

	while (next_line(&left, &line)) {
		if (line.len) {
			take_line(&e, line);
			continue;
		}
		e.raw = (struct bb_str){ rest->p, rest->len - left.len };
		*rest = left;
		*out = e;
		return 1;
	}
	return 0;
}

bool sse_is_done(const struct sse_event *e)
{
	return !e->multi && bb_str_eq(e->data, BB_STR("[DONE]"));
}

int sse_data_join(const struct sse_event *e, struct bb_buf *out)
{
	struct bb_str left = e->raw, line, name;
	bool is_first = true;

	while (next_line(&left, &line)) {
		const struct bb_str value = line.len ? field_value(line, &name) : line;
		if (!line.len || !bb_str_eq(name, BB_STR("data")))
			continue;
		if (!is_first)
			bb_buf_lit(out, "\n");
		is_first = false;
		bb_buf_add_str(out, value);
	}
	return out->err;
}
