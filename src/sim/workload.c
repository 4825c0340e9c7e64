#include "sim/workload.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"

void workload_init(struct workload *w)
{
	*w = (struct workload){ 0 };
}

void workload_fini(struct workload *w)
{
	bb_free(w->requests);
	bb_free(w->spans);
	workload_init(w);
}

/* ---- building ---- */

/* Room for one more. On failure the array is as it was. */
static int grow(void **array, uint32_t count, uint32_t *room, uint32_t max, size_t size)
{
	if (count < *room)
		return 0;
	if (count >= max)
		return -BB_ELIMIT;
	const uint64_t wanted = *room ? (uint64_t)*room * 2 : 1024;
	const uint32_t more = wanted < max ? (uint32_t)wanted : max;
	void *const moved = bb_realloc(*array, more * size);
	if (!moved)
		return -BB_ENOMEM;
	*array = moved;
	*room = more;
	return 0;
}

int workload_span(struct workload *w, uint64_t stream, uint32_t from, uint32_t count)
{
	struct work_span *const last =
		w->span_count > w->open_span ? &w->spans[w->span_count - 1] : NULL;

	if (!count)
		return 0;
	if (count > WORK_TOKENS_MAX || from > UINT32_MAX - count)
		return -BB_ELIMIT;
	if (last && last->stream == stream && last->from + last->count == from) {
		last->count += count;
		return 0;
	}
	void *spans = w->spans;
	const int rc =
		grow(&spans, w->span_count, &w->spans_room, WORK_SPANS_MAX, sizeof(*w->spans));
	w->spans = spans;
	if (!rc)
		w->spans[w->span_count++] = (struct work_span){ stream, from, count };
	return rc;
}

int workload_turns(struct workload *w, uint32_t request)
{
	const struct work_request r = w->requests[request];
	int rc = 0;

	for (uint32_t i = 0; !rc && i < r.span_count; i++) {
		const struct work_span s = w->spans[r.span_first + i];
		rc = workload_span(w, s.stream, s.from, s.count);
	}
	return rc ? rc : workload_span(w, work_answer(request), 0, r.output_tokens);
}

uint64_t workload_open_tokens(const struct workload *w)
{
	uint64_t tokens = 0;

	for (uint32_t i = w->open_span; i < w->span_count; i++)
		tokens += w->spans[i].count;
	return tokens;
}

void workload_drop(struct workload *w)
{
	w->span_count = w->open_span;
}

int workload_add(struct workload *w, const struct work_request *r)
{
	const uint64_t tokens = workload_open_tokens(w);
	void *requests = w->requests;

	BB_ASSERT(r->after == WORK_NONE || r->after < w->count);
	if (!tokens || tokens > WORK_TOKENS_MAX || !r->output_tokens ||
	    r->output_tokens > WORK_TOKENS_MAX || r->due_ns > WORK_DUE_MAX_NS)
		return -BB_ELIMIT;
	const int rc = grow(&requests, w->count, &w->requests_room, WORK_REQUESTS_MAX,
			    sizeof(*w->requests));
	w->requests = requests;
	if (rc)
		return rc;
	struct work_request *const to = &w->requests[w->count++];
	*to = *r;
	to->prompt_tokens = (uint32_t)tokens;
	to->span_first = w->open_span;
	to->span_count = w->span_count - w->open_span;
	w->open_span = w->span_count;
	return 0;
}

/* ---- the order ---- */

struct place {
	uint64_t at_ns; /* when it would be sent if answers took no time */
	uint32_t old;
};

static int by_time(const void *x, const void *y)
{
	const struct place *const a = x, *const b = y;

	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns ? -1 : 1;
	return a->old < b->old ? -1 : a->old > b->old;
}

static int by_size(const void *x, const void *y)
{
	const uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

/* The requests are in order; `room` is for as many numbers as there are. */
static uint64_t grain_of(const struct workload *w, uint64_t *room)
{
	uint32_t steps = 0, arrivals = 0, sharing = 0, together = 0;
	uint64_t at_ns = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		const struct work_request *const r = &w->requests[i];
		if (r->after != WORK_NONE)
			continue;
		if (arrivals++ && r->due_ns != at_ns) {
			room[steps++] = r->due_ns - at_ns;
			together = 0;
		}
		at_ns = r->due_ns;
		together++;
		sharing += together == 2 ? 2 : together > 2;
	}
	if (!steps || sharing * 2ull < arrivals)
		return 0;
	qsort(room, steps, sizeof(*room), by_size);
	return room[steps / 2];
}

static void count_all(struct workload *w)
{
	uint32_t tenants = 0, sessions = 0, adapters = 0;

	w->prompt_tokens = w->output_tokens = 0;
	for (uint32_t i = 0; i < w->count; i++) {
		const struct work_request *const r = &w->requests[i];
		w->prompt_tokens += r->prompt_tokens;
		w->output_tokens += r->output_tokens;
		tenants = r->tenant >= tenants ? r->tenant + 1 : tenants;
		sessions = r->session >= sessions ? r->session + 1 : sessions;
		adapters = r->adapter > adapters ? r->adapter : adapters;
	}
	w->tenant_count = tenants;
	w->session_count = sessions;
	w->adapter_count = adapters;
}

/* Streams that are named after requests follow their new indices. */
static void rename_streams(struct workload *w, const uint32_t *now)
{
	for (uint32_t i = 0; i < w->span_count; i++) {
		const uint64_t stream = w->spans[i].stream;
		if (stream >= WORK_STREAM_MAX)
			w->spans[i].stream =
				(stream & ~(uint64_t)UINT32_MAX) | now[(uint32_t)stream];
	}
}

static void arrange(struct workload *w, const struct place *places, struct work_request *sorted,
		    uint32_t *now)
{
	for (uint32_t i = 0; i < w->count; i++)
		now[places[i].old] = i;
	for (uint32_t i = 0; i < w->count; i++) {
		sorted[i] = w->requests[places[i].old];
		if (sorted[i].after != WORK_NONE)
			sorted[i].after = now[sorted[i].after];
	}
	rename_streams(w, now);
}

int workload_seal(struct workload *w)
{
	struct place *const places = bb_alloc(((size_t)w->count + 1) * sizeof(*places));
	struct work_request *const sorted = bb_alloc(((size_t)w->count + 1) * sizeof(*sorted));
	uint32_t *const now = bb_alloc(((size_t)w->count + 1) * sizeof(*now));
	const int rc = places && sorted && now ? 0 : -BB_ENOMEM;

	workload_drop(w);
	if (!rc) {
		/* A follower is never before what it follows, since that was added earlier. */
		for (uint32_t i = 0; i < w->count; i++) {
			const struct work_request *const r = &w->requests[i];
			const uint64_t from = r->after == WORK_NONE ? 0 : places[r->after].at_ns;
			const uint64_t at =
				r->due_ns < UINT64_MAX - from ? from + r->due_ns : UINT64_MAX;
			places[i] = (struct place){ at, i };
		}
		qsort(places, w->count, sizeof(*places), by_time);
		arrange(w, places, sorted, now);
		bb_free(w->requests);
		w->requests = sorted;
		w->requests_room = w->count + 1;
		count_all(w);
		w->grain_ns = grain_of(w, (uint64_t *)places);
	} else {
		bb_free(sorted);
	}
	bb_free(places);
	bb_free(now);
	return rc;
}

/* ---- a sealed workload ---- */

int workload_jitter(struct workload *w, uint64_t grain_ns, uint64_t seed)
{
	struct bb_rng rng;

	bb_rng_seed(&rng, seed);
	for (uint32_t i = 0; grain_ns > 1 && i < w->count; i++)
		if (w->requests[i].after == WORK_NONE)
			w->requests[i].due_ns += bb_rng_below(&rng, grain_ns);
	const int rc = workload_seal(w);
	w->grain_ns = 0;
	return rc;
}

static uint64_t scaled(uint64_t ns, double factor)
{
	const double value = (double)ns * factor;

	return value < (double)WORK_DUE_MAX_NS ? (uint64_t)value : WORK_DUE_MAX_NS;
}

void workload_speed(struct workload *w, double speed)
{
	BB_ASSERT(speed > 0);
	for (uint32_t i = 0; i < w->count; i++)
		if (w->requests[i].after == WORK_NONE)
			w->requests[i].due_ns = scaled(w->requests[i].due_ns, 1 / speed);
	w->grain_ns = scaled(w->grain_ns, 1 / speed);
}

void workload_think(struct workload *w, double factor)
{
	BB_ASSERT(factor >= 0);
	for (uint32_t i = 0; i < w->count; i++)
		if (w->requests[i].after != WORK_NONE)
			w->requests[i].due_ns = scaled(w->requests[i].due_ns, factor);
}

void workload_limit(struct workload *w, uint32_t count)
{
	if (count < w->count)
		w->count = count;
	count_all(w);
}

uint64_t workload_length_ns(const struct workload *w)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < w->count; i++)
		if (w->requests[i].after == WORK_NONE && w->requests[i].due_ns > last)
			last = w->requests[i].due_ns;
	return last;
}

uint32_t workload_arrivals(const struct workload *w)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < w->count; i++)
		count += w->requests[i].after == WORK_NONE;
	return count;
}

/* ---- hashes ---- */

/* Two odd numbers with half of their bits set, so that a product spreads each bit over 128. */
#define MIX_STREAM 0xa3b195354a39b70dull
#define MIX_PLACE 0x1b03738712fad5c9ull

/* The halves of a 128-bit product, folded: as good as XXH3 for this, and 2 ns. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	const unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t chain(uint64_t hash, uint64_t stream, uint32_t from, uint32_t count)
{
	return mix(hash ^ mix(stream ^ MIX_STREAM, MIX_PLACE),
		   ((uint64_t)count << 32 | from) ^ MIX_STREAM) +
	       hash * MIX_PLACE;
}

struct hasher {
	uint64_t hash;
	uint64_t *out;
	uint32_t fill, done, max; /* tokens of the block in work; blocks done */
	uint32_t block_tokens;
	struct work_span run; /* of the block in work: tokens that are not hashed yet */
};

static void hash_run(struct hasher *h)
{
	if (h->run.count)
		h->hash = chain(h->hash, h->run.stream, h->run.from, h->run.count);
	h->run.count = 0;
}

/*
 * Cuts a span into blocks. Within a block, tokens that follow each other in their stream are hashed
 * as one run, however they were cut into spans.
 */
static void hash_span(struct hasher *h, const struct work_span *s)
{
	uint32_t from = s->from, left = s->count;

	while (left && h->done < h->max) {
		const uint32_t room = h->block_tokens - h->fill;
		const uint32_t n = left < room ? left : room;
		if (h->run.count && h->run.stream == s->stream &&
		    h->run.from + h->run.count == from) {
			h->run.count += n;
		} else {
			hash_run(h);
			h->run = (struct work_span){ s->stream, from, n };
		}
		from += n;
		left -= n;
		h->fill += n;
		if (h->fill == h->block_tokens) {
			hash_run(h);
			h->fill = 0;
			h->out[h->done++] = h->hash;
		}
	}
}

uint32_t work_hashes(const struct workload *w, uint32_t request, uint32_t answer_tokens,
		     uint32_t block_tokens, uint64_t key, uint64_t *out, uint32_t out_max)
{
	const struct work_request *const r = &w->requests[request];
	struct hasher h = { .hash = mix(key ^ MIX_PLACE, r->adapter + MIX_STREAM),
			    .out = out,
			    .max = out_max,
			    .block_tokens = block_tokens };

	BB_ASSERT(block_tokens > 0);
	for (uint32_t i = 0; i < r->span_count; i++)
		hash_span(&h, &w->spans[r->span_first + i]);
	const struct work_span answer = { work_answer(request), 0, answer_tokens };
	hash_span(&h, &answer);
	return h.done;
}
