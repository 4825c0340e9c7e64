#include "cmd/bench_index_load.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "brain/index.h"
#include "brain/kv_mirror.h"
#include "os/clock.h"
#include "wire/kv_events.h"

#define GROUPS 8u	 /* beginnings that engines have in common */
#define SHARED_CHAINS 8u /* where all engines hold the same */
#define EVENT_BLOCKS 64u /* in one event, as of a prompt of 1,024 tokens */
#define BLOCK_TOKENS 16u
#define VOCABULARY 128000u
#define BATCH_MAX ((size_t)1 << 30)

/* ---- chains ---- */

/* Block i of a chain: any number that nothing else has. */
static uint64_t block_of(uint64_t seed, uint64_t chain, uint32_t i)
{
	uint64_t z = seed + (chain << 24 | i) * 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint32_t chains_of(const struct index_load *l)
{
	return (l->blocks + l->depth - 1) / l->depth;
}

/* The last chain of an engine is shorter, so that it holds just its blocks. */
static uint32_t length_of(const struct index_load *l, uint32_t k)
{
	const uint32_t left = l->blocks - k * l->depth;

	return left < l->depth ? left : l->depth;
}

/* Chain k of an engine; its begin is that of a group, by how much is shared. */
static void make_chain(const struct index_load *l, double shared, uint32_t engine, uint32_t k,
		       uint64_t *out)
{
	const uint32_t common = (uint32_t)(shared * l->depth);
	const uint64_t group = (engine + k) % GROUPS;
	const uint64_t own = GROUPS + (uint64_t)engine * chains_of(l) + k;

	for (uint32_t i = 0; i < l->depth; i++)
		out[i] = block_of(l->seed, i < common ? group : own, i);
}

static void store_run(struct index *x, uint32_t row, const uint64_t *hashes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i += KV_CHANGE_MAX)
		index_store(x, row, INDEX_DEVICE, i, hashes + i,
			    count - i < KV_CHANGE_MAX ? count - i : KV_CHANGE_MAX, 1);
}

static int create(const struct index_load *l, struct index **out)
{
	const struct index_config config = { l->bytes_max, l->engines, l->seed };

	return index_create(&config, out);
}

static double per_s(uint64_t count, uint64_t ns)
{
	return ns ? (double)count * 1e9 / (double)ns : 0;
}

/* ---- engines that hold different prefixes ---- */

static void fill(const struct index_load *l, struct index *x, double shared, uint64_t *chain,
		 uint64_t *ns)
{
	for (uint32_t e = 0; e < l->engines; e++)
		for (uint32_t k = 0; k < chains_of(l); k++) {
			make_chain(l, shared, e, k, chain);
			const uint64_t begin = clock_thread_cpu_ns();
			store_run(x, e, chain, length_of(l, k));
			*ns += clock_thread_cpu_ns() - begin;
		}
}

static int measure_distinct(const struct index_load *l, uint64_t *chain, struct index_figures *f)
{
	struct index *x;
	struct index_stats s;
	uint64_t ns = 0, removed = 0;
	const int rc = create(l, &x);

	if (rc)
		return rc;
	fill(l, x, 0, chain, &ns);
	f->stored += 2ull * l->engines * l->blocks + l->events; /* here, and further down */
	index_stats(x, &s);
	f->store_per_s = per_s(s.stores, ns);
	f->bytes_per_entry = (double)s.bytes / (double)s.pairs;
	ns = 0;
	for (uint32_t e = 0; e < l->engines; e++)
		for (uint32_t k = 0; k < chains_of(l); k++) {
			make_chain(l, 0, e, k, chain);
			const uint32_t half = length_of(l, k) / 2;
			const uint64_t begin = clock_thread_cpu_ns();
			index_remove(x, e, INDEX_DEVICE, chain + half, length_of(l, k) - half);
			ns += clock_thread_cpu_ns() - begin;
			removed += length_of(l, k) - half;
		}
	f->remove_per_s = per_s(removed, ns);
	index_destroy(x);
	return 0;
}

/* ---- engines that hold the same, each to a depth of its own ---- */

static int measure_shared(const struct index_load *l, uint64_t *chain, struct bb_rng *rng,
			  struct index_figures *f)
{
	struct index *x;
	struct index_stats one, all;
	const int rc = create(l, &x);

	if (rc)
		return rc;
	for (uint32_t e = 0; e < l->engines; e++) {
		for (uint64_t k = 0; k < SHARED_CHAINS; k++) {
			for (uint32_t i = 0; i < l->depth; i++)
				chain[i] = block_of(l->seed, k, i);
			const uint64_t part = e ? bb_rng_below(rng, l->depth) : l->depth - 1;
			store_run(x, e, chain, (uint32_t)part + 1);
			f->stored += part + 1;
		}
		if (e == 0)
			index_stats(x, &one);
	}
	index_stats(x, &all);
	if (all.pairs > one.pairs)
		f->bytes_per_shared_entry =
			(double)(all.bytes - one.bytes) / (double)(all.pairs - one.pairs);
	index_destroy(x);
	return 0;
}

/* ---- matches ---- */

static int by_value(const void *x, const void *y)
{
	const uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

/* A prompt that begins like some engine's chain, up to a random depth or to its end. */
static void make_prompt(const struct index_load *l, struct bb_rng *rng, uint64_t *chain)
{
	const uint32_t engine = (uint32_t)bb_rng_below(rng, l->engines);
	const uint32_t k = (uint32_t)bb_rng_below(rng, chains_of(l));

	make_chain(l, l->shared, engine, k, chain);
	if (bb_rng_below(rng, 2) == 0)
		for (uint32_t i = (uint32_t)bb_rng_below(rng, l->depth); i < l->depth; i++)
			chain[i] = bb_rng_next(rng);
}

static void measure_matches(const struct index_load *l, struct index *x, uint64_t *chain,
			    struct bb_rng *rng, uint64_t *times, struct index_depth *depths,
			    struct index_figures *f)
{
	const uint32_t warm = l->matches / 10;
	double held = 0, sum = 0;

	for (uint32_t n = 0; n < warm + l->matches; n++) {
		uint32_t best = 0;
		make_prompt(l, rng, chain);
		const uint64_t begin = clock_now_ns();
		index_match(x, chain, l->depth, depths, l->engines);
		const uint64_t end = clock_now_ns();
		if (n < warm)
			continue;
		times[n - warm] = end - begin;
		sum += (double)(end - begin);
		for (uint32_t e = 0; e < l->engines; e++)
			best = depths[e].held > best ? depths[e].held : best;
		held += best;
	}
	qsort(times, l->matches, sizeof(*times), by_value);
	f->match_p50_ns = (double)times[l->matches / 2];
	f->match_p99_ns = (double)times[(uint64_t)l->matches * 99 / 100];
	f->match_p999_ns = (double)times[(uint64_t)l->matches * 999 / 1000];
	f->match_mean_ns = sum / l->matches;
	f->held_mean = held / l->matches;
}

static void measure_clears(const struct index_load *l, struct index *x, struct index_figures *f)
{
	const uint32_t engines = (l->engines + 15) / 16;
	uint64_t pairs = 0, ns = 0;
	bool more = true;

	for (uint32_t e = 0; e < engines; e++)
		pairs += index_row_pairs(x, e);
	const uint64_t begin = clock_now_ns();
	for (uint32_t e = 0; e < engines; e++)
		index_clear(x, e);
	f->clear_ns = (double)(clock_now_ns() - begin) / engines;
	while (more) {
		const uint64_t at = clock_now_ns();
		more = index_sweep(x);
		const uint64_t took = clock_now_ns() - at;
		ns += took;
		if ((double)took > f->sweep_max_ns)
			f->sweep_max_ns = (double)took;
	}
	f->sweep_ns_per_pair = pairs ? (double)ns / (double)pairs : 0;
}

static int measure_mixed(const struct index_load *l, uint64_t *chain, struct bb_rng *rng,
			 struct index_figures *f)
{
	uint64_t *const times = bb_alloc(l->matches * sizeof(*times));
	struct index_depth *const depths = bb_alloc(l->engines * sizeof(*depths));
	struct index *x = NULL;
	struct index_stats s;
	uint64_t ns = 0;
	int rc = times && depths ? create(l, &x) : -BB_ENOMEM;

	if (!rc) {
		fill(l, x, l->shared, chain, &ns);
		index_stats(x, &s);
		f->blocks = s.blocks;
		f->pairs = s.pairs;
		f->bytes = s.bytes;
		measure_matches(l, x, chain, rng, times, depths, f);
		measure_clears(l, x, f);
	}
	index_destroy(x);
	bb_free(times);
	bb_free(depths);
	return rc;
}

/* ---- mirrors ---- */

struct sink {
	struct index *index;
	uint64_t blocks;
};

static void on_change(void *user, const struct kv_change *c)
{
	struct sink *const sink = user;

	sink->blocks += c->count;
	if (sink->index && c->kind == KV_CHANGE_STORE)
		index_store(sink->index, 0, c->tier, c->depth, c->hashes, c->count, 1);
}

/* Batches of one event, one after the other; ends[] says where each ends. */
static int encode(const struct index_load *l, struct bb_rng *rng, struct bb_buf *buf, size_t *ends)
{
	uint32_t tokens[EVENT_BLOCKS * BLOCK_TOKENS];
	uint64_t hashes[EVENT_BLOCKS], parent = 0;
	struct kv_encoder e;

	for (uint32_t at = 0; at < l->events; at += EVENT_BLOCKS) {
		for (uint32_t i = 0; i < EVENT_BLOCKS; i++)
			hashes[i] = block_of(l->seed, 1, at + i);
		for (uint32_t i = 0; i < EVENT_BLOCKS * BLOCK_TOKENS; i++)
			tokens[i] = (uint32_t)bb_rng_below(rng, VOCABULARY);
		const struct kv_store s = { .hashes = hashes,
					    .hash_count = EVENT_BLOCKS,
					    .block_size = BLOCK_TOKENS,
					    .tokens = tokens,
					    .parent = parent,
					    .has_parent = at % l->depth >= EVENT_BLOCKS,
					    .medium = BB_STR("GPU") };
		kv_batch_begin(&e, buf, 1.0);
		kv_add_stored(&e, &s);
		const int rc = kv_batch_end(&e, 0);
		if (rc)
			return rc;
		parent = hashes[EVENT_BLOCKS - 1];
		*ends++ = buf->len;
	}
	return 0;
}

static int apply_all(const struct index_load *l, const struct bb_buf *buf, const size_t *ends,
		     struct index *index, double *store_per_s, struct index_figures *f)
{
	struct sink sink = { .index = index };
	const struct kv_mirror_config config = { .block_tokens = BLOCK_TOKENS,
						 .secret = l->seed,
						 .bytes_max = (size_t)1 << 30,
						 .on_change = on_change,
						 .user = &sink };
	struct kv_mirror *m;
	struct kv_mirror_stats s;
	size_t at = 0;
	int rc = kv_mirror_create(&config, &m);

	if (rc)
		return rc;
	const uint64_t begin = clock_thread_cpu_ns();
	for (uint32_t i = 0; !rc && i < l->events / EVENT_BLOCKS; at = ends[i++])
		rc = kv_mirror_apply(m, (struct bb_str){ buf->p + at, ends[i] - at }, NULL);
	*store_per_s = per_s(l->events, clock_thread_cpu_ns() - begin);
	kv_mirror_stats(m, &s);
	f->mirror_blocks = s.blocks;
	f->mirror_bytes_per_block = s.blocks ? (double)s.bytes / (double)s.blocks : 0;
	BB_ASSERT(rc || sink.blocks == l->events);
	kv_mirror_destroy(m);
	return rc;
}

static int measure_mirror(const struct index_load *l, struct bb_rng *rng, struct index_figures *f)
{
	size_t *const ends = bb_alloc((l->events / EVENT_BLOCKS + 1) * sizeof(*ends));
	struct index *x = NULL;
	struct bb_buf buf;

	bb_buf_init(&buf, BATCH_MAX);
	int rc = ends ? encode(l, rng, &buf, ends) : -BB_ENOMEM;
	if (!rc)
		rc = apply_all(l, &buf, ends, NULL, &f->mirror_store_per_s, f);
	if (!rc)
		rc = create(l, &x);
	if (!rc)
		rc = apply_all(l, &buf, ends, x, &f->mirror_index_store_per_s, f);
	index_destroy(x);
	bb_buf_fini(&buf);
	bb_free(ends);
	return rc;
}

int index_load_run(const struct index_load *load, struct index_figures *out)
{
	uint64_t *const chain = bb_alloc(load->depth * sizeof(*chain));
	struct bb_rng rng;

	if (!chain)
		return -BB_ENOMEM;
	bb_rng_seed(&rng, load->seed);
	*out = (struct index_figures){ 0 };
	int rc = measure_distinct(load, chain, out);
	if (!rc)
		rc = measure_shared(load, chain, &rng, out);
	if (!rc)
		rc = measure_mixed(load, chain, &rng, out);
	if (!rc)
		rc = measure_mirror(load, &rng, out);
	bb_free(chain);
	return rc;
}
