#include "text/pieces.h"

#include "base/alloc.h"

void piece_list_init(struct piece_list *l, size_t text_max)
{
	*l = (struct piece_list){ 0 };
	bb_buf_init(&l->own, text_max);
	text_origins_init(&l->origins);
}

void piece_list_fini(struct piece_list *l)
{
	bb_buf_fini(&l->own);
	text_origins_fini(&l->origins);
	BB_FREE(l->at);
	l->count = l->cap = 0;
}

void piece_list_clear(struct piece_list *l)
{
	bb_buf_clear(&l->own);
	l->origins.count = 0;
	l->text = (struct bb_str){ 0 };
	l->count = 0;
}

int piece_list_add(struct piece_list *l, size_t begin, size_t end)
{
	if (begin == end)
		return 0;
	if (l->count == l->cap) {
		const size_t cap = l->cap ? 2 * l->cap : 64;
		struct piece *const at = bb_realloc(l->at, cap * sizeof(*at));
		if (!at)
			return -BB_ENOMEM;
		l->at = at;
		l->cap = cap;
	}
	l->at[l->count++] = (struct piece){ (uint32_t)begin, (uint32_t)end };
	return 0;
}
