#include "text/rewrite.h"

#include "text/unicode.h"
#include "wire/utf8.h"

/* Moves *at behind `count` characters; returns their bytes. */
static size_t skip(struct bb_str old, size_t *at, size_t count)
{
	const size_t begin = *at;

	for (; count && *at < old.len; count--) {
		size_t len;
		unicode_at(old.p + *at, &len);
		*at += len;
	}
	return *at - begin;
}

void rewrite_begin(struct rewrite *r, struct bb_str old, const struct text_origins *from,
		   struct bb_buf *out, struct text_origins *origins, size_t gone)
{
	*r = (struct rewrite){
		.old = old,
		.from = from ? from->at : NULL,
		.out = out,
		.origins = origins,
	};
	if (r->from)
		r->offset = skip(old, &r->next, gone);
}

static struct text_origin origin_of(const struct rewrite *r, long change)
{
	size_t at = r->offset;

	if (change > 0) {
		if (!at)
			return (struct text_origin){ 0, 0 };
		at--;
	}
	if (!r->old.len)
		return (struct text_origin){ 0, 0 };
	return r->from[at < r->old.len ? at : r->old.len - 1];
}

static void put_now(struct rewrite *r, uint32_t cp, long change)
{
	char bytes[4];
	const size_t len = utf8_encode(cp, bytes);
	const int rc = bb_buf_put(r->out, bytes, len);

	if (rc && !r->err)
		r->err = rc;
	if (!r->from)
		return;
	const int rc_origin = text_origins_add(r->origins, origin_of(r, change), len);
	if (rc_origin && !r->err)
		r->err = rc_origin;
	if (change <= 0)
		r->offset += skip(r->old, &r->next, 1 + (size_t)-change);
}

static void flush(struct rewrite *r)
{
	if (r->has_pending)
		put_now(r, r->pending_cp, r->pending_change);
	r->has_pending = false;
}

void rewrite_put(struct rewrite *r, uint32_t cp, long change)
{
	flush(r);
	r->pending_cp = cp;
	r->pending_change = change;
	r->has_pending = true;
}

void rewrite_adjust(struct rewrite *r, long delta)
{
	if (r->has_pending)
		r->pending_change += delta;
}

void rewrite_skip(struct rewrite *r)
{
	flush(r);
	if (r->from)
		r->offset += skip(r->old, &r->next, 1);
}

void rewrite_keep(struct rewrite *r, size_t begin, size_t end)
{
	if (begin == end)
		return;
	/* The last character stays open for rewrite_adjust. */
	size_t len;
	const uint32_t last = unicode_before(r->old.p + begin, r->old.p + end, &len);
	flush(r);
	if (r->from && (r->offset != begin || r->next != begin)) {
		while (begin < end) {
			rewrite_put(r, unicode_at(r->old.p + begin, &len), 0);
			begin += len;
		}
		return;
	}
	int rc = bb_buf_add(r->out, r->old.p + begin, end - len - begin);
	if (!rc && r->from)
		rc = text_origins_copy(r->origins, r->from + begin, end - len - begin);
	if (rc && !r->err)
		r->err = rc;
	if (r->from)
		r->offset = r->next = end - len;
	rewrite_put(r, last, 0);
}

int rewrite_end(struct rewrite *r)
{
	flush(r);
	return r->err;
}
