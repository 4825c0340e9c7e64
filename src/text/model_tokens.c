#include "text/model_tokens.h"

#include <string.h>

#include "base/alloc.h"

void model_tokens_init(struct model_tokens *t)
{
	*t = (struct model_tokens){ 0 };
}

void model_tokens_fini(struct model_tokens *t)
{
	bb_free(t->ids);
	*t = (struct model_tokens){ 0 };
}

static int grow(struct model_tokens *t)
{
	const size_t cap = t->cap ? 2 * t->cap : 64;
	uint32_t *const block = bb_alloc(3 * cap * sizeof(*block));

	if (!block)
		return -BB_ENOMEM;
	if (t->count) {
		memcpy(block, t->ids, t->count * sizeof(*block));
		memcpy(block + cap, t->begins, t->count * sizeof(*block));
		memcpy(block + 2 * cap, t->ends, t->count * sizeof(*block));
	}
	bb_free(t->ids);
	t->ids = block;
	t->begins = block + cap;
	t->ends = block + 2 * cap;
	t->cap = cap;
	return 0;
}

int model_tokens_add(struct model_tokens *t, uint32_t id, size_t begin, size_t end)
{
	if (t->count == t->cap && grow(t))
		return -BB_ENOMEM;
	t->ids[t->count] = id;
	t->begins[t->count] = (uint32_t)begin;
	t->ends[t->count++] = (uint32_t)end;
	return 0;
}
