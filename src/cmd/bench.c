/*
 * bench.c: `busbar bench load`: requests without end at one address, and how long they took.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/alloc.h"
#include "cmd/bench_decision.h"
#include "cmd/bench_index.h"
#include "cmd/bench_prompt.h"
#include "cmd/bench_run.h"
#include "cmd/bench_target.h"
#include "cmd/bench_tokenizer.h"
#include "cmd/cmd.h"
#include "os/clock.h"
#include "os/process.h"
#include "sim/load_report.h"

#define HEADERS_MAX 16384
#define CONNECTIONS_MAX 1000000u
#define REPORT_MAX (1u << 20)
#define FD_RESERVE 16u /* what the process has open besides connections */

static const char usage[] =
	"usage: busbar bench load --url URL [OPTION]...\n"
	"       busbar bench run --url URL --workload NAME|FILE [OPTION]...  (see its --help)\n"
	"       busbar bench tokenizer --tokenizer DIR|FILE [OPTION]... FILE  (see its --help)\n"
	"       busbar bench prompt --tokenizer DIR|FILE [OPTION]... FILE  (see its --help)\n"
	"       busbar bench decision [OPTION]...  (see its --help)\n"
	"       busbar bench index [OPTION]...  (see its --help)\n"
	"\n"
	"Sends the same request over and over, on kept-alive connections and from one thread, and\n"
	"prints how many were answered, how fast, and what went wrong.\n"
	"\n"
	"  --url URL            http://HOST:PORT[/path]; the path is /v1/chat/completions if absent\n"
	"  --body FILE          the request's body; its first 16 '@' become a fresh nonce each time\n"
	"  --size SIZE          or make a body of this size: 300, 1k (the default), 32k, 256k, 1m\n"
	"  --stream             ... that asks for a stream (--no-stream: the default)\n"
	"  --max-tokens N       ... and for so many tokens (1)\n"
	"  --model NAME         ... of this model (m)\n"
	"  --prompt TEXT        ... with this text behind the nonce; \"[[ttft=US itl=US]]\" tells\n"
	"                       `busbar sim serve` how fast to answer\n"
	"  --header 'NAME: V'   one more header field; may be repeated\n"
	"  --connections N      at the same time (1)\n"
	"  --rate N             open loop: so many requests a second, whether or not answers come;\n"
	"                       times count from when a request was due\n"
	"  --open-ramp N        open so many connections a second\n"
	"  --warmup TIME        not measured (1s)\n"
	"  --duration TIME      measured (5s)\n"
	"  --requests N         stop when so many have ended; no warm-up and no duration then, unless\n"
	"                       they are given\n"
	"  --seed N             of the nonces (the time)\n"
	"  --json               one JSON object instead of a table\n"
	"  --help               this text\n"
	"\n"
	"Exit: 0 something was answered, 1 nothing was, 2 wrong usage.\n";

enum output { OUTPUT_TABLE, OUTPUT_JSON };

struct options {
	const char *url; /* NULL: not given */
	const char *body_path;
	struct load_body_shape shape;
	struct bb_buf headers;
	struct load_plan plan;
	enum output output;
	bool has_shape, has_warmup, has_duration;
};

enum option_id {
	OPTION_URL = 256, OPTION_BODY, OPTION_SIZE, OPTION_STREAM, OPTION_NO_STREAM,
	OPTION_MAX_TOKENS, OPTION_MODEL, OPTION_PROMPT, OPTION_HEADER, OPTION_CONNECTIONS,
	OPTION_RATE, OPTION_OPEN_RAMP, OPTION_WARMUP, OPTION_DURATION, OPTION_REQUESTS,
	OPTION_SEED, OPTION_JSON, OPTION_HELP,
};

static const struct option option_table[] = {
	{ "url", required_argument, NULL, OPTION_URL },
	{ "body", required_argument, NULL, OPTION_BODY },
	{ "size", required_argument, NULL, OPTION_SIZE },
	{ "stream", no_argument, NULL, OPTION_STREAM },
	{ "no-stream", no_argument, NULL, OPTION_NO_STREAM },
	{ "max-tokens", required_argument, NULL, OPTION_MAX_TOKENS },
	{ "model", required_argument, NULL, OPTION_MODEL },
	{ "prompt", required_argument, NULL, OPTION_PROMPT },
	{ "header", required_argument, NULL, OPTION_HEADER },
	{ "connections", required_argument, NULL, OPTION_CONNECTIONS },
	{ "rate", required_argument, NULL, OPTION_RATE },
	{ "open-ramp", required_argument, NULL, OPTION_OPEN_RAMP },
	{ "warmup", required_argument, NULL, OPTION_WARMUP },
	{ "duration", required_argument, NULL, OPTION_DURATION },
	{ "requests", required_argument, NULL, OPTION_REQUESTS },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

/* ---- values ---- */

static int parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t value;

	if (bb_parse_u64(bb_str_of(text), &value) || value < min || value > max)
		return -BB_EINVALID;
	*out = (uint32_t)value;
	return 0;
}

/* "500" or "500/s" */
static int parse_rate(const char *text, double *out)
{
	struct bb_str s = bb_str_of(text);
	double value;

	if (bb_str_ends(s, BB_STR("/s")))
		s.len -= 2;
	if (bb_parse_double(s, &value) || !(value > 0 && value <= 1e7))
		return -BB_EINVALID;
	*out = value;
	return 0;
}

/* "1k", as benchmarks name their prompts; or what sizes look like elsewhere. */
static int parse_body_size(const char *text, size_t *out)
{
	struct bb_str s = bb_str_of(text);
	uint64_t value, unit = 1;

	if (bb_str_ends(s, BB_STR("k")))
		unit = 1024;
	else if (bb_str_ends(s, BB_STR("m")))
		unit = 1024 * 1024;
	s.len -= unit > 1;
	if (unit > 1 ? bb_parse_u64(s, &value) : bb_parse_size(s, &value))
		return -BB_EINVALID;
	if (value > LOAD_BODY_MAX / unit)
		return -BB_EINVALID;
	*out = (size_t)(value * unit);
	return 0;
}

static int take_shape_option(struct options *o, int id, const char *value)
{
	o->has_shape = true;
	switch (id) {
	case OPTION_SIZE: return parse_body_size(value, &o->shape.size);
	case OPTION_STREAM: o->shape.stream = LOAD_STREAM; return 0;
	case OPTION_NO_STREAM: o->shape.stream = LOAD_WHOLE; return 0;
	case OPTION_MAX_TOKENS: return parse_u32(value, 1, UINT32_MAX, &o->shape.max_tokens);
	case OPTION_MODEL: o->shape.model = bb_str_of(value); return 0;
	case OPTION_PROMPT: o->shape.prompt = bb_str_of(value); return 0;
	default: return -BB_EINVALID;
	}
}

static int take_option(struct options *o, int id, const char *value)
{
	switch (id) {
	case OPTION_URL: o->url = value; return 0;
	case OPTION_BODY: o->body_path = value; return 0;
	case OPTION_HEADER: return bench_header_add(value, &o->headers);
	case OPTION_CONNECTIONS:
		return parse_u32(value, 1, CONNECTIONS_MAX, &o->plan.connections);
	case OPTION_RATE: return parse_rate(value, &o->plan.rate);
	case OPTION_OPEN_RAMP: return parse_rate(value, &o->plan.open_rate);
	case OPTION_WARMUP:
		o->has_warmup = true;
		return bb_parse_duration_ns(bb_str_of(value), &o->plan.warmup_ns);
	case OPTION_DURATION:
		o->has_duration = true;
		return bb_parse_duration_ns(bb_str_of(value), &o->plan.duration_ns);
	case OPTION_REQUESTS: return bb_parse_u64(bb_str_of(value), &o->plan.requests_max);
	case OPTION_SEED: return bb_parse_u64(bb_str_of(value), &o->plan.seed);
	case OPTION_JSON: o->output = OUTPUT_JSON; return 0;
	default: return take_shape_option(o, id, value);
	}
}

static int refuse(const char *what, const char *why)
{
	fprintf(stderr, "busbar bench: %s: %s\n", what, why);
	return 2;
}

/* 0, or the exit code of the process; -1 when help was asked for and given. */
static int read_options(struct options *o, int argc, char **argv)
{
	int id, index = 0;

	optind = 1;
	while ((id = getopt_long(argc, argv, "", option_table, &index)) != -1) {
		if (id == OPTION_HELP)
			return fputs(usage, stdout) < 0 ? 1 : -1;
		if (id == '?') {
			fputs("try: busbar bench load --help\n", stderr);
			return 2;
		}
		if (take_option(o, id, optarg))
			return refuse(option_table[index].name, "the value is malformed or out of range");
	}
	if (optind < argc)
		return refuse(argv[optind], "unexpected; options begin with --");
	if (!o->url)
		return refuse("--url", "it is needed");
	if (o->body_path && o->has_shape)
		return refuse("--body", "the body's size, model, stream and prompt are what the file says");
	if (o->plan.requests_max && !o->has_warmup)
		o->plan.warmup_ns = 0;
	if (o->plan.requests_max && !o->has_duration)
		o->plan.duration_ns = 0;
	else if (!o->plan.duration_ns)
		return refuse("--duration", "it is more than 0");
	return 0;
}

/* ---- the request ---- */

static int read_body(const struct options *o, struct bb_buf *body)
{
	char *text;
	size_t len;

	if (!o->body_path)
		return load_body_make(body, &o->shape);
	const int rc = file_read(o->body_path, LOAD_BODY_MAX, &text, &len);
	if (rc)
		return rc;
	bb_buf_add(body, text, len);
	bb_free(text);
	return body->err;
}

static int make_request(const struct options *o, const struct bench_target *target,
			struct load_request *request)
{
	struct bb_buf body;

	bb_buf_init(&body, LOAD_BODY_MAX);
	int rc = read_body(o, &body);
	if (!rc)
		rc = load_request_build(request, bb_str_of(target->host), target->path,
					bb_buf_str(&o->headers), bb_buf_str(&body));
	bb_buf_fini(&body);
	if (rc)
		fprintf(stderr, "busbar bench: the request cannot be made: %s\n",
			rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
	return rc ? 2 : 0;
}

/* ---- the run ---- */

static int report(const struct options *o, const struct load_meter *m,
		  const struct load_outcome *outcome)
{
	struct bb_buf text;

	bb_buf_init(&text, REPORT_MAX);
	if (o->output == OUTPUT_JSON)
		load_report_json(&o->plan, m, outcome, &text);
	else
		load_report_table(&o->plan, m, outcome, &text);
	const bool is_written = !text.err && fwrite(text.p, 1, text.len, stdout) == text.len &&
				fflush(stdout) == 0;
	bb_buf_fini(&text);
	return is_written && m->ok_count + m->chunk_count > 0 ? 0 : 1;
}

static int run(struct options *o, const struct load_request *request)
{
	struct load_outcome outcome;
	const uint64_t fds = process_raise_fd_limit();
	struct load_meter *meter = bb_alloc_zero(1, sizeof(*meter));

	o->plan.request = request;
	int rc = meter ? 0 : -BB_ENOMEM;
	if (!rc && fds < (uint64_t)o->plan.connections + FD_RESERVE)
		fprintf(stderr, "busbar bench: the limit of open files is %llu: not all %u "
				"connections can be opened\n",
			(unsigned long long)fds, o->plan.connections);
	if (!rc)
		rc = load_run(&o->plan, meter, &outcome);
	if (rc)
		fprintf(stderr, "busbar bench: %s\n", bb_error_info(rc)->text);
	rc = rc ? 1 : report(o, meter, &outcome);
	bb_free(meter);
	return rc;
}

static int bench_load(int argc, char **argv)
{
	struct options o = {
		.shape = { .size = 1024, .max_tokens = 1, .model = BB_STR_INIT("m") },
		.plan = { .connections = 1, .warmup_ns = OS_SECOND, .duration_ns = 5 * OS_SECOND,
			  .seed = clock_wall_ns() },
	};
	struct bench_target target;
	struct load_request request;
	const char *why;

	bb_buf_init(&o.headers, HEADERS_MAX);
	load_request_init(&request);
	int rc = read_options(&o, argc, argv);
	if (!rc && bench_target_read(o.url, &target, &why))
		rc = refuse("--url", why);
	if (!rc) {
		o.plan.to = target.to;
		rc = make_request(&o, &target, &request);
	}
	if (!rc)
		rc = run(&o, &request);
	load_request_fini(&request);
	bb_buf_fini(&o.headers);
	return rc < 0 ? 0 : rc;
}

int cmd_bench(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "load") == 0)
		return bench_load(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "run") == 0)
		return bench_run(argc - 1, argv + 1);
	/* A URL in place of a word: `run` is meant. */
	if (argc >= 2 && (strstr(argv[1], "://") || strncmp(argv[1], "unix:", 5) == 0))
		return bench_run(argc, argv);
	if (argc >= 2 && strcmp(argv[1], "tokenizer") == 0)
		return bench_tokenizer(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "prompt") == 0)
		return bench_prompt(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "decision") == 0)
		return bench_decision(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "index") == 0)
		return bench_index(argc - 1, argv + 1);
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return fputs(usage, stdout) < 0;
	fputs(usage, stderr);
	return 2;
}
