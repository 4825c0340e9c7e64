#include "brain/bucket.h"

#include "base/log.h"

#define MINUTE_NS 60000000000ull

static int64_t capped(const struct bucket *b, int64_t level)
{
	return level < (int64_t)b->per_minute ? level : (int64_t)b->per_minute;
}

/* Time that goes backwards is taken as standing still. */
static void refill(struct bucket *b, uint64_t now_ns)
{
	if (now_ns <= b->at_ns)
		return;
	const unsigned __int128 drops =
		(unsigned __int128)(now_ns - b->at_ns) * b->per_minute + b->rest;
	const unsigned __int128 whole = drops / MINUTE_NS;
	const uint64_t missing = (uint64_t)((int64_t)b->per_minute - b->level);

	b->at_ns = now_ns;
	if (whole >= missing) {
		b->level = (int64_t)b->per_minute;
		b->rest = 0;
		return;
	}
	b->level += (int64_t)whole;
	b->rest = (uint64_t)(drops % MINUTE_NS);
}

/* Until the level is `wanted`. */
static uint64_t wait_ns(const struct bucket *b, int64_t wanted)
{
	if (b->level >= wanted)
		return 0;
	const unsigned __int128 drops =
		(unsigned __int128)(wanted - b->level) * MINUTE_NS - b->rest;
	const unsigned __int128 ns = (drops + b->per_minute - 1) / b->per_minute;
	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

void bucket_set(struct bucket *b, uint64_t now_ns, uint64_t per_minute)
{
	BB_ASSERT(per_minute <= BUCKET_RATE_MAX);
	if (b->per_minute == per_minute)
		return;
	if (b->per_minute == 0) {
		*b = (struct bucket){ per_minute, (int64_t)per_minute, 0, now_ns };
		return;
	}
	refill(b, now_ns);
	b->level += (int64_t)per_minute - (int64_t)b->per_minute;
	b->per_minute = per_minute;
	b->rest = 0;
}

uint64_t bucket_wait_ns(struct bucket *b, uint64_t now_ns, uint64_t count)
{
	if (b->per_minute == 0)
		return 0;
	BB_ASSERT(count <= b->per_minute);
	refill(b, now_ns);
	return wait_ns(b, (int64_t)count);
}

void bucket_take(struct bucket *b, uint64_t now_ns, uint64_t count)
{
	/* Debt has a floor, so that nothing an engine reports can lock a tenant out for good. */
	const int64_t floor = -(int64_t)BUCKET_RATE_MAX;

	if (b->per_minute == 0)
		return;
	refill(b, now_ns);
	b->level = count > BUCKET_RATE_MAX || b->level - (int64_t)count < floor
			   ? floor
			   : b->level - (int64_t)count;
}

void bucket_give(struct bucket *b, uint64_t now_ns, uint64_t count)
{
	if (b->per_minute == 0)
		return;
	refill(b, now_ns);
	b->level = count > BUCKET_RATE_MAX ? (int64_t)b->per_minute
					   : capped(b, b->level + (int64_t)count);
	if (b->level == (int64_t)b->per_minute)
		b->rest = 0;
}

uint64_t bucket_left(const struct bucket *b)
{
	return b->level > 0 ? (uint64_t)b->level : 0;
}

uint64_t bucket_reset_ns(const struct bucket *b)
{
	return b->per_minute ? wait_ns(b, (int64_t)b->per_minute) : 0;
}
