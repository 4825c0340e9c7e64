/* candidates.c: room for the columns that policies read. */
#include "base/alloc.h"
#include "brain/policy/policy.h"

/* Every column of struct candidates. */
#define COLUMNS(X)                                                                                 \
	X(slot)                                                                                    \
	X(lane)                                                                                    \
	X(requests)                                                                                \
	X(tokens)                                                                                  \
	X(pending_prefill)                                                                         \
	X(cached)                                                                                  \
	X(promised)                                                                                \
	X(lora_ms)                                                                                 \
	X(identity)                                                                                \
	X(ttft_ms)                                                                                 \
	X(total_ms)

int candidates_create(struct candidates *c, uint32_t rows)
{
	bool is_whole = true;

	*c = (struct candidates){ 0 };
#define X(column)                                                                                  \
	c->column = bb_alloc_zero(rows, sizeof(*c->column));                                       \
	is_whole = is_whole && c->column;
	COLUMNS(X)
#undef X
	if (is_whole)
		return 0;
	candidates_destroy(c);
	return -BB_ENOMEM;
}

void candidates_destroy(struct candidates *c)
{
#define X(column) BB_FREE(c->column);
	COLUMNS(X)
#undef X
}
