#include "text/origins.h"

#include <string.h>

#include "base/alloc.h"

void text_origins_init(struct text_origins *o)
{
	*o = (struct text_origins){ 0 };
}

void text_origins_fini(struct text_origins *o)
{
	BB_FREE(o->at);
	o->count = o->cap = 0;
}

static int reserve(struct text_origins *o, size_t more)
{
	if (more <= o->cap - o->count)
		return 0;
	size_t cap = o->cap ? o->cap : 256;
	while (cap - o->count < more)
		cap *= 2;
	struct text_origin *const at = bb_realloc(o->at, cap * sizeof(*at));
	if (!at)
		return -BB_ENOMEM;
	o->at = at;
	o->cap = cap;
	return 0;
}

int text_origins_add(struct text_origins *o, struct text_origin origin, size_t times)
{
	const int rc = reserve(o, times);

	if (rc)
		return rc;
	for (size_t i = 0; i < times; i++)
		o->at[o->count++] = origin;
	return 0;
}

int text_origins_copy(struct text_origins *o, const struct text_origin *from, size_t count)
{
	const int rc = reserve(o, count);

	if (rc)
		return rc;
	if (count)
		memcpy(o->at + o->count, from, count * sizeof(*from));
	o->count += count;
	return 0;
}

int text_origins_identity(struct text_origins *o, const char *text, size_t len, size_t at)
{
	const int rc = reserve(o, len);

	if (rc)
		return rc;
	for (size_t begin = 0; begin < len;) {
		size_t end = begin + 1;
		while (end < len && ((uint8_t)text[end] & 0xc0) == 0x80)
			end++;
		const struct text_origin origin = { (uint32_t)(at + begin), (uint32_t)(at + end) };
		for (; begin < end; begin++)
			o->at[o->count++] = origin;
	}
	return 0;
}
