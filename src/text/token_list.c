/* token_list.c: the growable list of ids of tokenizer.h. */
#include "base/alloc.h"
#include "text/tokenizer_parts.h"

#define FIRST_CAP 256

void token_list_init(struct token_list *l, size_t max, enum token_want want)
{
	*l = (struct token_list){ .max = max, .want = want };
}

void token_list_fini(struct token_list *l)
{
	bb_free(l->ids);
	bb_free(l->spans);
	*l = (struct token_list){ .max = l->max, .want = l->want };
}

void token_list_clear(struct token_list *l)
{
	l->count = 0;
}

int token_list_room(struct token_list *l, size_t more)
{
	if (more <= l->cap - l->count)
		return 0;
	size_t cap = l->cap ? l->cap * 2 : FIRST_CAP;
	if (cap < l->count + more)
		cap = l->count + more;
	uint32_t *const ids = bb_realloc(l->ids, cap * sizeof(*ids));
	if (!ids)
		return -BB_ENOMEM;
	l->ids = ids;
	if (l->want == TOKEN_IDS_AND_SPANS) {
		struct token_span *const spans = bb_realloc(l->spans, cap * sizeof(*spans));
		if (!spans)
			return -BB_ENOMEM;
		l->spans = spans;
	}
	l->cap = cap;
	return 0;
}

int token_list_reserve(struct token_list *l, size_t more)
{
	if (l->count > l->max || more > l->max - l->count)
		return -BB_ELIMIT;
	return token_list_room(l, more);
}

int token_list_add(struct token_list *l, const uint32_t *ids, size_t count)
{
	const int rc = token_list_reserve(l, count);

	if (rc || !count)
		return rc;
	memcpy(l->ids + l->count, ids, count * sizeof(*ids));
	if (l->want == TOKEN_IDS_AND_SPANS)
		memset(l->spans + l->count, 0, count * sizeof(*l->spans));
	l->count += count;
	return 0;
}
