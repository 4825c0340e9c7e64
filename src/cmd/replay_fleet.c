/* replay_fleet.c: options of `busbar replay --engines`, and its workload. */
#include "cmd/replay_fleet.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "os/process.h"
#include "sim/work_make.h"
#include "sim/work_read.h"

#define REPORT_MAX (16u << 20)
#define LIMIT_MAX 20000000u
#define POLICIES_DEFAULT "lookahead,round_robin,least_requests"
/* A trace whose times are all multiples of as much has them rounded. */
#define GRAIN_NS_MIN 100000000ull

enum {
	OPT_ENGINES = 256,
	OPT_PROFILE,
	OPT_POLICY,
	OPT_RATE,
	OPT_LOAD,
	OPT_JITTER,
	OPT_LIMIT,
	OPT_SEED,
	OPT_SEEDS,
	OPT_SLO,
	OPT_SKIP,
	OPT_KV_LAG,
	OPT_NO_KV,
	OPT_METRICS_LAG,
	OPT_FAULT,
	OPT_CANCEL,
	OPT_AT_ONCE,
	OPT_REPORT,
	OPT_SPEED,
	OPT_JSON
};

static const char usage[] =
	"usage: busbar replay --engines N|SPEC [OPTION]... TRACE\n"
	"\n"
	"Plays a workload on virtual time before simulated engines, once for each policy, with "
	"the\n"
	"code that decides in the gateway. TRACE is a file (Mooncake JSON lines, Azure CSV, also\n"
	"packed with gzip; - reads standard input) or gen:NAME, a generator (`busbar sim workload\n"
	"--help` lists them).\n"
	"\n"
	"  --engines N|SPEC     so many of the profile; or e.g. 8xH100:llama-3.1-8b,\n"
	"                       2xH100x4:llama-3.1-70b (two of four GPUs each), 4xmock; several,\n"
	"                       separated by commas\n"
	"  --profile NAME|FILE  of --engines N: mock, 8b (the default), 70b, GPU:MODEL, or a file "
	"of\n"
	"                       what was measured (docs/simulator.md)\n"
	"  --policy A[,B]...    side by side; A@once: nothing waits in the gateway; A@oracle: "
	"answers'\n"
	"                       lengths are known (" POLICIES_DEFAULT ")\n"
	"  --rate X             arrivals X times as fast (also --speed X); X/s: so many a second\n"
	"  --load X             arrivals at this share of what round_robin can carry: mean TTFT\n"
	"                       below 1.5 s and mean ITL below 60 ms (100 ms of several GPUs)\n"
	"  --jitter[=TIME]      arrivals that were rounded are moved within TIME (the trace's "
	"grain)\n"
	"  --limit N            the first N requests; of a generator so many (4000)\n"
	"  --seed N             of generator, jitter and brain (1)\n"
	"  --seeds N            N seeds from there on, and 95 % confidence intervals (1)\n"
	"  --slo ttft=T,itl=T   objectives that goodput counts (ttft=2s,itl=50ms)\n"
	"  --skip SHARE         of the requests, the first, that do not count in times (0.1)\n"
	"  --kv-lag TIME        from a change in an engine's cache until it is known (10ms)\n"
	"  --no-kv-events       what engines hold is assumed from what was sent there\n"
	"  --metrics-lag TIME   age of engines' metrics when they are seen (100ms)\n"
	"  --fault KIND:ENGINE@AT+FOR[:ARG]\n"
	"                       crash, hang, slow (ARG times), lost (KV events), lie (metrics), "
	"e.g.\n"
	"                       crash:0@60s+30s; may be repeated; @0s: it starts slowly\n"
	"  --cancel SHARE       of the clients leave within 10 s (0)\n"
	"  --at-once            nothing waits in the gateway, for all policies\n"
	"  --json               the result as JSON, for programs\n"
	"  --report FILE        also as a page with plots that stands alone\n"
	"  --help               this text\n"
	"\n"
	"Exit: 0 done, 1 something failed or an invariant was broken, 2 wrong usage.\n";

/* ---- the other options ---- */

static int read_share(const char *option, const char *text, double most, double *out)
{
	if (bb_parse_double(bb_str_of(text), out) || !(*out >= 0 && *out <= most)) {
		char what[64];
		snprintf(what, sizeof(what), "must be a number from 0 to %g", most);
		return replay_fleet_wrong(option, text, what);
	}
	return 0;
}

static int read_count(const char *option, const char *text, uint64_t most, uint64_t *out)
{
	if (bb_parse_u64(bb_str_of(text), out) || *out == 0 || *out > most)
		return replay_fleet_wrong(option, text,
					  "must be a number from 1 on, and not so large");
	return 0;
}

static int read_time(const char *option, const char *text, uint64_t *out)
{
	if (bb_parse_duration_ns(bb_str_of(text), out))
		return replay_fleet_wrong(option, text, "must be a time with its unit: 10ms, 2s");
	return 0;
}

static int read_rate(struct replay_fleet *f, const char *text)
{
	struct bb_str s = bb_str_of(text);
	const bool is_absolute = bb_str_ends(s, BB_STR("/s"));
	double rate;

	if (is_absolute)
		s.len -= 2;
	if (bb_parse_double(s, &rate) || !(rate > 1e-9 && rate < 1e9))
		return replay_fleet_wrong("rate", text, "must be a number, or a number and /s");
	*(is_absolute ? &f->per_second : &f->speed) = rate;
	return 0;
}

static int read_slo(struct replay_fleet *f, const char *text)
{
	struct bb_str rest = bb_str_of(text);

	while (rest.len) {
		struct bb_str value = bb_str_cut(&rest, ',');
		const struct bb_str key = bb_str_cut(&value, '=');
		uint64_t ns;
		if (bb_parse_duration_ns(value, &ns))
			return replay_fleet_wrong("slo", text, "must be like ttft=2s,itl=50ms");
		if (bb_str_eq(key, BB_STR("ttft")))
			f->slo.ttft_ms = (double)ns / 1e6;
		else if (bb_str_eq(key, BB_STR("itl")))
			f->slo.itl_ms = (double)ns / 1e6;
		else
			return replay_fleet_wrong("slo", text, "must be like ttft=2s,itl=50ms");
	}
	return 0;
}

struct texts {
	const char *engines, *profile, *policies;
};

static int option_read(struct replay_fleet *f, int option, const char *arg, struct texts *t)
{
	uint64_t n = 0;
	int rc = 0;

	switch (option) {
	case OPT_ENGINES: t->engines = arg; break;
	case OPT_PROFILE: t->profile = arg; break;
	case OPT_POLICY: t->policies = arg; break;
	case OPT_SPEED:
	case OPT_RATE: return read_rate(f, arg);
	case OPT_LOAD: return read_share("load", arg, 10, &f->load);
	case OPT_JITTER:
		f->has_jitter = true;
		return arg ? read_time("jitter", arg, &f->jitter_ns) : 0;
	case OPT_LIMIT:
		rc = read_count("limit", arg, LIMIT_MAX, &n);
		f->limit = (uint32_t)n;
		break;
	case OPT_SEED:
		if (bb_parse_u64(bb_str_of(arg), &f->seed))
			return replay_fleet_wrong("seed", arg, "must be a number");
		break;
	case OPT_SEEDS:
		rc = read_count("seeds", arg, REPLAY_SEEDS_MAX, &n);
		f->seed_count = (uint32_t)n;
		break;
	case OPT_SLO: return read_slo(f, arg);
	case OPT_SKIP: return read_share("skip", arg, 0.9, &f->skip);
	case OPT_KV_LAG: return read_time("kv-lag", arg, &f->config.kv_lag_ns);
	case OPT_NO_KV: f->config.has_kv_events = false; break;
	case OPT_METRICS_LAG: return read_time("metrics-lag", arg, &f->config.report_lag_ns);
	case OPT_FAULT: return replay_fleet_fault(f, arg);
	case OPT_CANCEL: return read_share("cancel", arg, 1, &f->config.cancel_share);
	case OPT_AT_ONCE: f->is_at_once = true; break;
	case OPT_JSON: f->json = true; break;
	case OPT_REPORT: f->report = arg; break;
	case 'h': fputs(usage, stdout); return -1;
	default: fputs(usage, stderr); return 2;
	}
	return rc;
}

/* 0: go on; −1: done; else the exit code. */
static int options_read(int argc, char **argv, struct replay_fleet *f)
{
	static const struct option longs[] = {
		{ "engines", required_argument, NULL, OPT_ENGINES },
		{ "profile", required_argument, NULL, OPT_PROFILE },
		{ "policy", required_argument, NULL, OPT_POLICY },
		{ "rate", required_argument, NULL, OPT_RATE },
		{ "load", required_argument, NULL, OPT_LOAD },
		{ "jitter", optional_argument, NULL, OPT_JITTER },
		{ "limit", required_argument, NULL, OPT_LIMIT },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "seeds", required_argument, NULL, OPT_SEEDS },
		{ "slo", required_argument, NULL, OPT_SLO },
		{ "skip", required_argument, NULL, OPT_SKIP },
		{ "kv-lag", required_argument, NULL, OPT_KV_LAG },
		{ "no-kv-events", no_argument, NULL, OPT_NO_KV },
		{ "metrics-lag", required_argument, NULL, OPT_METRICS_LAG },
		{ "fault", required_argument, NULL, OPT_FAULT },
		{ "cancel", required_argument, NULL, OPT_CANCEL },
		{ "at-once", no_argument, NULL, OPT_AT_ONCE },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "report", required_argument, NULL, OPT_REPORT },
		{ "speed", required_argument, NULL, OPT_SPEED },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct texts t = { .engines = "8", .profile = "8b", .policies = POLICIES_DEFAULT };
	int c, rc = 0;

	/* `--engines --help` is a question, too. */
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0)
			return option_read(f, 'h', NULL, &t);
	optind = 1;
	while (!rc && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		rc = option_read(f, c, optarg, &t);
	if (rc)
		return rc;
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return 2;
	}
	f->trace = argv[optind];
	if (f->load > 0 && (f->speed > 0 || f->per_second > 0))
		return replay_fleet_wrong("load", "", "says how fast, so --rate cannot");
	rc = replay_fleet_engines(f, t.engines, t.profile);
	if (!rc)
		rc = replay_fleet_policies(f, t.policies);
	for (uint32_t i = 0; i < f->config.fault_count && !rc; i++)
		if (f->faults[i].engine >= f->engine_count)
			rc = replay_fleet_wrong("fault", "",
						"there is no engine of that number (from 0)");
	return rc;
}

/* ---- the workload ---- */

/* Of a seed: of a generator each has its own. */
int replay_fleet_work(struct replay_fleet *f, uint64_t seed, struct workload *w)
{
	const struct bb_str gen = BB_STR("gen:");
	char why[WORK_WHY_SIZE] = "";
	int rc;

	if (bb_str_starts(bb_str_of(f->trace), gen)) {
		const struct work_options o = { .requests = f->limit, .seed = seed };
		rc = work_make(bb_str_skip(bb_str_of(f->trace), gen.len), &o, w);
		snprintf(why, sizeof(why), "%s",
			 rc == -BB_EABSENT ? "there is no generator of that name"
					   : bb_error_info(rc)->text);
	} else {
		rc = work_read_file(f->trace, w, why);
		if (!rc && f->limit)
			workload_limit(w, f->limit);
	}
	if (rc) {
		fprintf(stderr, "busbar replay: %s: %s\n", f->trace, why);
		return rc == -BB_EABSENT ? 2 : 1;
	}
	const uint64_t grain_ns = f->jitter_ns			? f->jitter_ns
				  : w->grain_ns >= GRAIN_NS_MIN ? w->grain_ns
								: 0;
	if (f->has_jitter && grain_ns)
		rc = workload_jitter(w, grain_ns, seed);
	if (!rc && w->count == 0) {
		fprintf(stderr, "busbar replay: %s: there is no request in it\n", f->trace);
		rc = -BB_EINVALID;
	}
	return rc ? 1 : 0;
}

int replay_fleet(int argc, char **argv)
{
	struct replay_fleet *const f = bb_alloc_zero(1, sizeof(*f));
	struct bb_buf out;

	if (!f)
		return 1;
	f->seed = 1;
	f->seed_count = 1;
	f->skip = 0.1;
	f->slo = (struct fleet_objectives){ .ttft_ms = 2000, .itl_ms = 50 };
	f->has_progress = stderr_is_terminal();
	fleet_config_init(&f->config);
	int rc = options_read(argc, argv, f);
	if (rc) {
		bb_free(f);
		return rc < 0 ? 0 : rc;
	}
	rc = replay_fleet_run(f);
	bb_buf_init(&out, REPORT_MAX);
	if (!rc) {
		if (f->json)
			replay_fleet_json(f, &out);
		else
			replay_fleet_table(f, &out);
		if (out.err || fwrite(out.p, 1, out.len, stdout) != out.len)
			rc = 1;
	}
	bb_buf_fini(&out);
	if (!rc && f->report)
		rc = replay_fleet_html(f);
	bb_free(f);
	return rc;
}
