#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define BUF_FIRST_SIZE 256

void bb_buf_init(struct bb_buf *b, size_t max)
{
	*b = (struct bb_buf){ .max = max };
}

void bb_buf_fini(struct bb_buf *b)
{
	BB_FREE(b->p);
	*b = (struct bb_buf){ .max = b->max };
}

void bb_buf_clear(struct bb_buf *b)
{
	b->len = 0;
	b->err = 0;
}

static int buf_fail(struct bb_buf *b, int err)
{
	if (!b->err)
		b->err = err;
	return err;
}

int bb_buf_reserve(struct bb_buf *b, size_t more)
{
	if (more <= b->cap - b->len)
		return 0;
	if (more > b->max - b->len)
		return buf_fail(b, -BB_ELIMIT);
	size_t cap = b->cap ? b->cap : BUF_FIRST_SIZE;
	while (cap < b->len + more)
		cap *= 2;
	if (cap > b->max)
		cap = b->max;
	char *p = bb_realloc(b->p, cap);
	if (!p)
		return buf_fail(b, -BB_ENOMEM);
	b->p = p;
	b->cap = cap;
	return 0;
}

int bb_buf_add(struct bb_buf *b, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	int rc = bb_buf_reserve(b, len);
	if (rc)
		return rc;
	memcpy(b->p + b->len, data, len);
	b->len += len;
	return 0;
}

int bb_buf_add_str(struct bb_buf *b, struct bb_str s)
{
	return bb_buf_add(b, s.p, s.len);
}

int bb_buf_printf(struct bb_buf *b, const char *format, ...)
{
	va_list ap, again;

	va_start(ap, format);
	va_copy(again, ap);
	char *const room = b->p ? b->p + b->len : NULL;
	int n = vsnprintf(room, b->cap - b->len, format, ap);
	va_end(ap);
	BB_ASSERT(n >= 0);
	int rc = 0;
	if ((size_t)n >= b->cap - b->len) {
		rc = bb_buf_reserve(b, (size_t)n + 1);
		if (!rc)
			vsnprintf(b->p + b->len, b->cap - b->len, format, again);
	}
	va_end(again);
	if (!rc)
		b->len += (size_t)n;
	return rc;
}

int bb_buf_add_u64(struct bb_buf *b, uint64_t value)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	return bb_buf_add(b, p, (size_t)(digits + sizeof(digits) - p));
}

int bb_buf_add_json(struct bb_buf *b, struct bb_str s)
{
	static const char hex[] = "0123456789abcdef";
	size_t from = 0;

	bb_buf_lit(b, "\"");
	if (s.len == 0) {
		bb_buf_lit(b, "\"");
		return b->err;
	}
	for (size_t i = 0; i < s.len; i++) {
		const unsigned char c = (unsigned char)s.p[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		bb_buf_add(b, s.p + from, i - from);
		from = i + 1;
		switch (c) {
		case '"': bb_buf_lit(b, "\\\""); break;
		case '\\': bb_buf_lit(b, "\\\\"); break;
		case '\n': bb_buf_lit(b, "\\n"); break;
		case '\r': bb_buf_lit(b, "\\r"); break;
		case '\t': bb_buf_lit(b, "\\t"); break;
		default: {
			const char esc[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
			bb_buf_add(b, esc, sizeof(esc));
		}
		}
	}
	bb_buf_add(b, s.p + from, s.len - from);
	bb_buf_lit(b, "\"");
	return b->err;
}

void bb_buf_consume(struct bb_buf *b, size_t n)
{
	BB_ASSERT(n <= b->len);
	if (n && n < b->len)
		memmove(b->p, b->p + n, b->len - n);
	b->len -= n;
}
