#include "wire/load_stat.h"

#include "wire/msgpack.h"

#define TAG BB_STR("LoadStat")
#define NUMBERS 10
#define NUMBERS_NEEDED 4 /* running, waiting, tokens, tokens_max */
#define NUMBERS_MAX 64

static uint32_t cut(uint64_t value)
{
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* A count; what is nil, negative or no number counts as 0. */
static int number_read(struct msgpack_reader *r, uint64_t *out)
{
	struct msgpack_reader at = *r;
	struct msgpack_value v;
	const int rc = msgpack_skip(r);

	*out = 0;
	if (rc || msgpack_read(&at, &v))
		return rc;
	if (v.kind == MSGPACK_UINT)
		*out = v.u;
	else if (v.kind == MSGPACK_FLOAT && v.f > 0)
		*out = v.f < 1e18 ? (uint64_t)v.f : (uint64_t)1e18;
	return 0;
}

int load_stat_decode(struct bb_str payload, struct load_stat *out)
{
	struct msgpack_reader r;
	struct msgpack_value v;
	uint64_t n[NUMBERS] = { 0 }, passed;

	msgpack_reader_init(&r, payload);
	if (msgpack_read(&r, &v) || v.kind != MSGPACK_ARRAY || v.count < 1 + NUMBERS_NEEDED ||
	    v.count > 1 + NUMBERS_MAX)
		return -BB_ESYNTAX;
	const uint32_t count = v.count - 1;
	if (msgpack_read(&r, &v) || v.kind != MSGPACK_STR || !bb_str_eq(v.bytes, TAG))
		return -BB_ESYNTAX;
	for (uint32_t i = 0; i < count; i++)
		if (number_read(&r, i < NUMBERS ? &n[i] : &passed))
			return -BB_ESYNTAX;
	*out = (struct load_stat){
		.running = cut(n[0]),
		.waiting = cut(n[1]),
		.tokens = n[2],
		.tokens_max = n[3],
		.rank = cut(n[4]),
		.waiting_uncached = n[5],
		.tokens_total = n[6],
		.running_max = cut(n[7]),
		.prefill_uncached = n[8],
		.prefill_busy_us = n[9],
	};
	return 0;
}

void load_stat_encode(struct bb_buf *out, const struct load_stat *s)
{
	const uint64_t n[NUMBERS] = {
		s->running,	    s->waiting,	    s->tokens,
		s->tokens_max,	    s->rank,	    s->waiting_uncached,
		s->tokens_total,    s->running_max, s->prefill_uncached,
		s->prefill_busy_us,
	};

	msgpack_add_array(out, 1 + NUMBERS);
	msgpack_add_str(out, TAG);
	for (int i = 0; i < NUMBERS; i++)
		msgpack_add_uint(out, n[i]);
}
