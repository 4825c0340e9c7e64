#include "cmd/bench_index.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "brain/index.h"
#include "cmd/bench_index_load.h"
#include "cmd/bench_index_trace.h"

#define COMMAND "busbar bench index"

static const char usage[] =
	"usage: busbar bench index [OPTION]...\n"
	"       busbar bench index --trace FILE [--engines N] [--blocks N] [OPTION]...\n"
	"\n"
	"Measures on one thread the index of who holds which KV blocks, and the mirrors of what\n"
	"engines say. Engines hold chains of DEPTH blocks; prompts are DEPTH blocks long and all\n"
	"different: half of them go on where an engine's chain ends, half leave it before.\n"
	"\n"
	"  --engines N      (1000)\n"
	"  --blocks N       that each engine holds (10000)\n"
	"  --depth N        blocks of a chain and of a prompt (6250: 100,000 tokens)\n"
	"  --shared F       the part of a chain that begins as that of an eighth of the engines\n"
	"                   does, 0 to 1 (0.5)\n"
	"  --matches N      (20000)\n"
	"  --events N       blocks through a mirror, in events of 64 (400000)\n"
	"  --memory SIZE    the index's cap (4GiB)\n"
	"  --seed N         (1)\n"
	"  --trace FILE     a trace of requests instead, JSON lines with \"hash_ids\" "
	"(Mooncake's):\n"
	"                   each is looked up, sent where most of it is held, and stored there;\n"
	"                   16 engines of 4096 blocks of the trace if not said otherwise\n"
	"  --scale N        blocks of the index for one of the trace (1)\n"
	"  --rounds N       through the trace; the median is told (5)\n"
	"  --ops FILE       what is looked up, stored and removed is written there, for others to "
	"do\n"
	"  --json           one JSON object instead of a table\n"
	"  --help           this text\n"
	"\n"
	"store, remove  engines that have nothing in common: pairs of block and engine a second\n"
	"bytes          per pair; and for each further engine of chains that all engines hold, "
	"each\n"
	"               to a random depth\n"
	"match          one prompt for all engines at once; wall clock\n"
	"clear          one engine's; sweep: what it leaves behind, in bounded steps\n"
	"mirror         KV events of 64 blocks of 16 tokens, from bytes; alone, and into an index\n"
	"Exit: 0 done, 1 failed, 2 wrong usage.\n";

enum option_id {
	OPTION_ENGINES = 256,
	OPTION_BLOCKS,
	OPTION_DEPTH,
	OPTION_SHARED,
	OPTION_MATCHES,
	OPTION_EVENTS,
	OPTION_MEMORY,
	OPTION_SEED,
	OPTION_TRACE,
	OPTION_SCALE,
	OPTION_ROUNDS,
	OPTION_OPS,
	OPTION_JSON,
	OPTION_HELP
};

static const struct option option_table[] = {
	{ "engines", required_argument, NULL, OPTION_ENGINES },
	{ "blocks", required_argument, NULL, OPTION_BLOCKS },
	{ "depth", required_argument, NULL, OPTION_DEPTH },
	{ "shared", required_argument, NULL, OPTION_SHARED },
	{ "matches", required_argument, NULL, OPTION_MATCHES },
	{ "events", required_argument, NULL, OPTION_EVENTS },
	{ "memory", required_argument, NULL, OPTION_MEMORY },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "trace", required_argument, NULL, OPTION_TRACE },
	{ "scale", required_argument, NULL, OPTION_SCALE },
	{ "rounds", required_argument, NULL, OPTION_ROUNDS },
	{ "ops", required_argument, NULL, OPTION_OPS },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

struct options {
	struct index_load load; /* engines and blocks are 0 until they are said */
	struct trace_load trace;
	bool is_json;
};

static int number(const char *text, uint64_t min, uint64_t max, uint32_t *out)
{
	uint64_t value;

	if (bb_parse_u64(bb_str_of(text), &value) || value < min || value > max)
		return -BB_EINVALID;
	*out = (uint32_t)value;
	return 0;
}

static int fraction(const char *text, double *out)
{
	double value;

	if (bb_parse_double(bb_str_of(text), &value) || !(value >= 0 && value <= 1))
		return -BB_EINVALID;
	*out = value;
	return 0;
}

static int memory(const char *text, uint64_t *out)
{
	uint64_t value;

	if (bb_parse_size(bb_str_of(text), &value) || value < INDEX_BYTES_MIN ||
	    value > INDEX_BYTES_MAX)
		return -BB_EINVALID;
	*out = value;
	return 0;
}

static int take_option(struct options *o, int id, const char *value)
{
	switch (id) {
	case OPTION_ENGINES: return number(value, 1, INDEX_ROWS_MAX, &o->load.engines);
	case OPTION_BLOCKS: return number(value, 1, 10000000, &o->load.blocks);
	case OPTION_DEPTH: return number(value, 1, 1000000, &o->load.depth);
	case OPTION_SHARED: return fraction(value, &o->load.shared);
	case OPTION_MATCHES: return number(value, 1, 100000000, &o->load.matches);
	case OPTION_EVENTS: return number(value, 1, 10000000, &o->load.events);
	case OPTION_MEMORY: return memory(value, &o->load.bytes_max);
	case OPTION_SEED: return bb_parse_u64(bb_str_of(value), &o->load.seed);
	case OPTION_TRACE: o->trace.path = value; return 0;
	case OPTION_SCALE: return number(value, 1, 1024, &o->trace.scale);
	case OPTION_ROUNDS: return number(value, 1, 100, &o->trace.rounds);
	case OPTION_OPS: o->trace.ops_path = value; return 0;
	case OPTION_JSON: o->is_json = true; return 0;
	default: return -BB_EINVALID;
	}
}

/* 0, the exit code of the process, or -1 when help was asked for and given. */
static int read_options(struct options *o, int argc, char **argv)
{
	int id, index = 0;

	optind = 1;
	while ((id = getopt_long(argc, argv, "", option_table, &index)) != -1) {
		if (id == OPTION_HELP)
			return fputs(usage, stdout) < 0 ? 1 : -1;
		if (id != '?' && take_option(o, id, optarg))
			fprintf(stderr, COMMAND ": --%s: the value is malformed or out of range\n",
				option_table[index].name);
		else if (id != '?')
			continue;
		fputs("try: " COMMAND " --help\n", stderr);
		return 2;
	}
	if (optind == argc)
		return 0;
	fprintf(stderr, COMMAND ": %s: unexpected; options begin with --\n", argv[optind]);
	return 2;
}

static void print_json(const struct index_load *l, const struct index_figures *f)
{
	printf("{\"engines\":%u,\"blocks_per_engine\":%u,\"depth\":%u,\"shared\":%g,"
	       "\"match_ns\":{\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"mean\":%.0f},"
	       "\"held_mean\":%.0f,\"store_per_s\":%.0f,\"remove_per_s\":%.0f,"
	       "\"bytes_per_entry\":%.2f,\"bytes_per_shared_entry\":%.2f,"
	       "\"blocks\":%llu,\"pairs\":%llu,\"bytes\":%llu,"
	       "\"clear_ns\":%.0f,\"sweep_max_ns\":%.0f,\"sweep_ns_per_pair\":%.1f,"
	       "\"mirror\":{\"store_per_s\":%.0f,\"with_index_store_per_s\":%.0f,"
	       "\"bytes_per_block\":%.1f,\"blocks\":%llu},\"stored\":%llu}\n",
	       l->engines, l->blocks, l->depth, l->shared, f->match_p50_ns, f->match_p99_ns,
	       f->match_p999_ns, f->match_mean_ns, f->held_mean, f->store_per_s, f->remove_per_s,
	       f->bytes_per_entry, f->bytes_per_shared_entry, (unsigned long long)f->blocks,
	       (unsigned long long)f->pairs, (unsigned long long)f->bytes, f->clear_ns,
	       f->sweep_max_ns, f->sweep_ns_per_pair, f->mirror_store_per_s,
	       f->mirror_index_store_per_s, f->mirror_bytes_per_block,
	       (unsigned long long)f->mirror_blocks, (unsigned long long)f->stored);
}

static void print_table(const struct index_load *l, const struct index_figures *f)
{
	printf("%u engines of %u blocks, chains of %u, shared %.2f\n"
	       "store     %8.2f million a second\n"
	       "remove    %8.2f million a second\n"
	       "bytes     %8.2f a pair, %.2f for each further engine of a shared one\n"
	       "match     %8.2f us p50, %.2f p99, %.2f p99.9 (best engine: %.0f blocks)\n"
	       "          of %.2f million pairs, %.2f million blocks, %.1f MB\n"
	       "clear     %8.0f ns; sweep %.1f us a step at most, %.1f ns a pair\n"
	       "mirror    %8.2f million blocks a second, %.2f into an index, %.1f bytes a block\n",
	       l->engines, l->blocks, l->depth, l->shared, f->store_per_s / 1e6,
	       f->remove_per_s / 1e6, f->bytes_per_entry, f->bytes_per_shared_entry,
	       f->match_p50_ns / 1e3, f->match_p99_ns / 1e3, f->match_p999_ns / 1e3, f->held_mean,
	       (double)f->pairs / 1e6, (double)f->blocks / 1e6, (double)f->bytes / 1e6, f->clear_ns,
	       f->sweep_max_ns / 1e3, f->sweep_ns_per_pair, f->mirror_store_per_s / 1e6,
	       f->mirror_index_store_per_s / 1e6, f->mirror_bytes_per_block);
}

static void print_trace(const struct options *o, const struct trace_figures *f)
{
	printf(o->is_json
		       ? "{\"engines\":%u,\"blocks_per_engine\":%u,\"scale\":%u,\"requests\":%llu,"
			 "\"asked\":%llu,\"found\":%llu,\"stored\":%llu,\"removed\":%llu,"
			 "\"requests_per_s\":%.0f,\"blocks_per_s\":%.0f,\"find_ns\":{\"p50\":%.0f,"
			 "\"p99\":%.0f,\"p999\":%.0f},\"store_ns\":{\"p99\":%.0f},\"bytes\":%llu,"
			 "\"blocks\":%llu}\n"
		       : "%u engines of %u blocks of the trace, %u of the index each\n"
			 "%llu requests: %llu blocks asked for, %llu found, %llu stored, %llu "
			 "removed\n"
			 "%.0f requests a second, %.0f block operations a second\n"
			 "look-up %.0f ns p50, %.0f p99, %.0f p99.9; store %.0f p99\n"
			 "%llu bytes for %llu blocks at the end\n",
	       o->trace.engines, o->trace.blocks, o->trace.scale, (unsigned long long)f->requests,
	       (unsigned long long)f->asked, (unsigned long long)f->found,
	       (unsigned long long)f->stored, (unsigned long long)f->removed, f->requests_per_s,
	       f->blocks_per_s, f->find_p50_ns, f->find_p99_ns, f->find_p999_ns, f->store_p99_ns,
	       (unsigned long long)f->bytes, (unsigned long long)f->blocks);
}

static int run_trace(struct options *o)
{
	struct trace_figures figures;

	o->trace.engines = o->load.engines ? o->load.engines : 16;
	o->trace.blocks = o->load.blocks ? o->load.blocks : 4096;
	o->trace.bytes_max = o->load.bytes_max;
	const int rc = trace_load_run(&o->trace, &figures);
	if (!rc)
		print_trace(o, &figures);
	return rc;
}

static int run_load(struct options *o)
{
	struct index_figures figures;

	if (!o->load.engines)
		o->load.engines = 1000;
	if (!o->load.blocks)
		o->load.blocks = 10000;
	o->load.events = (o->load.events + 63) / 64 * 64;
	const int rc = index_load_run(&o->load, &figures);
	if (!rc)
		(o->is_json ? print_json : print_table)(&o->load, &figures);
	return rc;
}

int bench_index(int argc, char **argv)
{
	struct options o = { .load = { .depth = 6250,
				       .shared = 0.5,
				       .matches = 20000,
				       .events = 400000,
				       .seed = 1,
				       .bytes_max = INDEX_BYTES_MAX },
			     .trace = { .scale = 1, .rounds = 5 } };
	int rc = read_options(&o, argc, argv);

	if (rc)
		return rc < 0 ? 0 : rc;
	rc = o.trace.path ? run_trace(&o) : run_load(&o);
	if (rc) {
		fprintf(stderr, COMMAND ": %s%s%s\n", o.trace.path ? o.trace.path : "",
			o.trace.path ? ": " : "",
			rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
		return 1;
	}
	return fflush(stdout) ? 1 : 0;
}
