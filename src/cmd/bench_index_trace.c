#include "cmd/bench_index_trace.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "brain/index.h"
#include "cmd/trace_engines.h"
#include "os/clock.h"

#define ROUNDS_MAX 101u
#define STORE_MAX 512u

/* ---- what is done, as hashes ---- */

/* Each id of the trace stands for `scale` blocks. */
static uint64_t *make_hashes(const struct trace_ops *ops, uint32_t scale)
{
	uint64_t *const out = bb_alloc(((size_t)ops->id_count * scale + 1) * sizeof(*out));

	for (size_t i = 0; out && i < ops->id_count; i++)
		for (uint32_t k = 0; k < scale; k++) {
			uint64_t z = ((uint64_t)ops->ids[i] * scale + k + 1) * 0x9e3779b97f4a7c15u;
			z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
			z = (z ^ z >> 27) * 0x94d049bb133111ebu;
			out[i * scale + k] = z ^ z >> 31;
		}
	return out;
}

struct replay {
	const struct trace_load *load;
	const struct trace_ops *ops;
	const uint64_t *hashes;
	struct index *index;
	struct index_depth *depths;
	uint64_t *find_ns, *store_ns; /* of each; NULL: not wanted */
	uint64_t found;
	uint32_t finds, stores;
};

static void do_store(const struct replay *r, const struct trace_op *op, const uint64_t *hashes,
		     uint32_t count)
{
	for (uint32_t i = 0; i < count; i += STORE_MAX)
		index_store(r->index, op->engine, INDEX_DEVICE, op->depth * r->load->scale + i,
			    hashes + i, count - i < STORE_MAX ? count - i : STORE_MAX, 1);
}

static void do_op(struct replay *r, const struct trace_op *op)
{
	const uint64_t *const hashes = r->hashes + (size_t)op->first * r->load->scale;
	const uint32_t count = op->count * r->load->scale;
	uint32_t best = 0;

	switch (op->kind) {
	case TRACE_FIND:
		index_match(r->index, hashes, count, r->depths, r->load->engines);
		for (uint32_t e = 0; e < r->load->engines; e++)
			best = r->depths[e].held > best ? r->depths[e].held : best;
		r->found += best;
		break;
	case TRACE_STORE: do_store(r, op, hashes, count); break;
	case TRACE_REMOVE: index_remove(r->index, op->engine, INDEX_DEVICE, hashes, count); break;
	}
}

static void do_timed(struct replay *r, const struct trace_op *op)
{
	const uint64_t begin = clock_now_ns();

	do_op(r, op);
	const uint64_t took = clock_now_ns() - begin;
	if (op->kind == TRACE_FIND)
		r->find_ns[r->finds++] = took;
	else if (op->kind == TRACE_STORE)
		r->store_ns[r->stores++] = took;
}

/* Once through everything, into a fresh index. Seconds of CPU time. */
static int replay(struct replay *r, double *seconds, struct index_stats *stats)
{
	const struct index_config config = { r->load->bytes_max, r->load->engines, 1 };
	const int rc = index_create(&config, &r->index);

	if (rc)
		return rc;
	r->found = r->finds = r->stores = 0;
	const uint64_t begin = clock_thread_cpu_ns();
	for (uint32_t i = 0; i < r->ops->count; i++)
		if (r->find_ns)
			do_timed(r, &r->ops->ops[i]);
		else
			do_op(r, &r->ops->ops[i]);
	*seconds = (double)(clock_thread_cpu_ns() - begin) / 1e9;
	index_stats(r->index, stats);
	index_destroy(r->index);
	return 0;
}

/* ---- figures ---- */

static int by_value(const void *x, const void *y)
{
	const uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

static double at(const uint64_t *sorted, uint32_t count, uint32_t permille)
{
	return count ? (double)sorted[(uint64_t)count * permille / 1000] : 0;
}

static int by_seconds(const void *x, const void *y)
{
	const double a = *(const double *)x, b = *(const double *)y;

	return a < b ? -1 : a > b;
}

static void count_ops(const struct trace_load *l, const struct trace_ops *ops,
		      struct trace_figures *f)
{
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct trace_op *const op = &ops->ops[i];
		f->requests += op->kind == TRACE_FIND;
		f->asked += op->kind == TRACE_FIND ? op->count * l->scale : 0;
		f->stored += op->kind == TRACE_STORE ? op->count * l->scale : 0;
		f->removed += op->kind == TRACE_REMOVE ? op->count * l->scale : 0;
	}
}

static int measure(struct replay *r, struct trace_figures *f)
{
	double seconds[ROUNDS_MAX], timed;
	struct index_stats stats;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < r->load->rounds; i++)
		rc = replay(r, &seconds[i], &stats);
	if (rc)
		return rc;
	qsort(seconds, r->load->rounds, sizeof(*seconds), by_seconds);
	const double median = seconds[r->load->rounds / 2];
	f->requests_per_s = (double)f->requests / median;
	f->blocks_per_s = (double)(f->asked + f->stored + f->removed) / median;
	f->found = r->found;
	f->bytes = stats.bytes;
	f->blocks = stats.blocks;
	r->find_ns = bb_alloc((f->requests + 1) * sizeof(*r->find_ns));
	r->store_ns = bb_alloc((r->ops->count + 1) * sizeof(*r->store_ns));
	rc = r->find_ns && r->store_ns ? replay(r, &timed, &stats) : -BB_ENOMEM;
	if (!rc) {
		qsort(r->find_ns, r->finds, sizeof(*r->find_ns), by_value);
		qsort(r->store_ns, r->stores, sizeof(*r->store_ns), by_value);
		f->find_p50_ns = at(r->find_ns, r->finds, 500);
		f->find_p99_ns = at(r->find_ns, r->finds, 990);
		f->find_p999_ns = at(r->find_ns, r->finds, 999);
		f->store_p99_ns = at(r->store_ns, r->stores, 990);
	}
	bb_free(r->find_ns);
	bb_free(r->store_ns);
	return rc;
}

/* ---- as text, for others to do the same ---- */

static int write_ops(const struct trace_ops *ops, const char *path)
{
	FILE *const out = fopen(path, "w");

	if (!out)
		return -BB_ESYSTEM;
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct trace_op *const op = &ops->ops[i];
		const uint32_t *const ids = ops->ids + op->first;
		fprintf(out, "%c %u %lld", "fsr"[op->kind], op -> engine,
			op -> kind == TRACE_STORE && op -> depth ? (long long)op -> parent : -1);
		for (uint32_t k = 0; k < op->count; k++)
			fprintf(out, " %u", ids[k]);
		fputc('\n', out);
	}
	const bool is_written = !ferror(out);
	return fclose(out) || !is_written ? -BB_ESYSTEM : 0;
}

int trace_load_run(const struct trace_load *load, struct trace_figures *out)
{
	struct trace_ops ops;
	struct replay r = { .load = load, .ops = &ops };

	*out = (struct trace_figures){ 0 };
	int rc = trace_ops_make(load->path, load->engines, load->blocks, &ops);
	if (rc)
		return rc;
	count_ops(load, &ops, out);
	if (load->ops_path)
		rc = write_ops(&ops, load->ops_path);
	r.hashes = rc ? NULL : make_hashes(&ops, load->scale);
	r.depths = bb_alloc(load->engines * sizeof(*r.depths));
	if (!rc)
		rc = r.hashes && r.depths ? measure(&r, out) : -BB_ENOMEM;
	bb_free((void *)r.hashes);
	bb_free(r.depths);
	trace_ops_free(&ops);
	return rc;
}
