#include "cmd/bench_run.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/alloc.h"
#include "cmd/bench_result.h"
#include "cmd/bench_target.h"
#include "cmd/workload_args.h"
#include "os/process.h"

#define HEADERS_MAX 16384
#define CONNECTIONS_MAX 1000000u
#define KEYS_MAX 256u
#define MODELS_MAX 256u
#define FD_RESERVE 16u /* what the process has open besides connections */
#define TEXT_MAX (4u << 20)

static const char usage[] =
	"usage: busbar bench run --url [LABEL=]URL... --workload NAME|FILE --model NAME [OPTION]...\n"
	"       busbar bench URL --workload NAME|FILE --model NAME [OPTION]...\n"
	"\n"
	"Plays a workload to servers that speak OpenAI's chat API, one after the other, and says how\n"
	"long they took. A request is sent when it is due, whether or not answers come, and its times\n"
	"count from then; the next turn of a conversation follows the answer and holds its text.\n"
	"\n"
	"  --url [LABEL=]URL    http://HOST:PORT[/path]; the path is /v1/chat/completions if absent;\n"
	"                       may be repeated: results side by side\n"
	"  --workload NAME|FILE traffic of the kind NAME, or a trace (busbar sim workload --help)\n"
	WORKLOAD_ARGS_HELP
	"  --model NAME         asked for; repeated: those of the adapters\n"
	"  --key KEY            of the API; repeated: one for each tenant\n"
	"  --header 'NAME: V'   one more header field; may be repeated\n"
	"  --connections N      at the same time, at most (10000)\n"
	"  --timeout TIME       for one answer (10m)\n"
	"  --words X            words that make a token; without it two requests find it out\n"
	"  --may-stop           answers may end before their length (no \"ignore_eos\")\n"
	"  --slo ttft=T,itl=T   objectives that goodput counts (ttft=2s,itl=50ms)\n"
	"  --skip SHARE         of the requests, the first, that do not count in times (0)\n"
	"  --json               JSON instead of a table\n"
	"  --report FILE        the results as one HTML page\n"
	"  --help               this text\n"
	"\n"
	"Exit: 0 all was answered, 1 something failed, 2 wrong usage.\n";

enum {
	OPTION_URL = 256, OPTION_WORKLOAD, OPTION_MODEL, OPTION_KEY, OPTION_HEADER,
	OPTION_CONNECTIONS, OPTION_TIMEOUT, OPTION_WORDS, OPTION_MAY_STOP, OPTION_SLO, OPTION_SKIP,
	OPTION_JSON, OPTION_REPORT, OPTION_HELP,
};

static const struct option option_table[] = {
	{ "url", required_argument, NULL, OPTION_URL },
	{ "workload", required_argument, NULL, OPTION_WORKLOAD },
	{ "model", required_argument, NULL, OPTION_MODEL },
	{ "key", required_argument, NULL, OPTION_KEY },
	{ "header", required_argument, NULL, OPTION_HEADER },
	{ "connections", required_argument, NULL, OPTION_CONNECTIONS },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "words", required_argument, NULL, OPTION_WORDS },
	{ "may-stop", no_argument, NULL, OPTION_MAY_STOP },
	{ "slo", required_argument, NULL, OPTION_SLO },
	{ "skip", required_argument, NULL, OPTION_SKIP },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "report", required_argument, NULL, OPTION_REPORT },
	{ "help", no_argument, NULL, OPTION_HELP },
	WORKLOAD_ARGS_OPTIONS,
	{ 0 },
};

enum output { OUTPUT_TABLE, OUTPUT_JSON };

struct options {
	struct workload_args work;
	struct bench_target targets[BENCH_TARGETS_MAX];
	uint32_t target_count;
	struct bb_str models[MODELS_MAX], keys[KEYS_MAX];
	uint32_t model_count, key_count;
	struct bb_buf headers;
	uint32_t connections;
	uint64_t timeout_ns;
	double words, skip; /* words 0: to be found out */
	bool may_stop;
	struct play_objectives slo;
	enum output output;
	const char *report;
};

struct run {
	struct options *o;
	struct workload work;
	struct play_record *records;
	struct play_summary *summaries;
	struct load_meter *meter;
	const char *label;
	bool has_progress;
};

static int refuse(const char *what, const char *why)
{
	fprintf(stderr, "busbar bench: %s: %s\n", what, why);
	return 2;
}

/* ---- options ---- */

static int add_text(struct bb_str *list, uint32_t *count, uint32_t max, const char *value)
{
	const struct bb_str s = bb_str_of(value);

	if (!s.len || *count == max || memchr(s.p, '\n', s.len) || memchr(s.p, '\r', s.len))
		return -BB_EINVALID;
	list[(*count)++] = s;
	return 0;
}

/* ttft=2s,itl=50ms */
static int read_slo(struct options *o, struct bb_str rest)
{
	while (rest.len) {
		struct bb_str value = bb_str_cut(&rest, ',');
		const struct bb_str key = bb_str_cut(&value, '=');
		uint64_t ns;
		if (bb_parse_duration_ns(value, &ns))
			return -BB_EINVALID;
		if (bb_str_eq(key, BB_STR("ttft")))
			o->slo.ttft_ms = (double)ns / 1e6;
		else if (bb_str_eq(key, BB_STR("itl")))
			o->slo.itl_ms = (double)ns / 1e6;
		else
			return -BB_EINVALID;
	}
	return 0;
}

static int read_number(const char *value, double min, double max, double *out)
{
	double number;

	if (bb_parse_double(bb_str_of(value), &number) || !(number >= min && number <= max))
		return -BB_EINVALID;
	*out = number;
	return 0;
}

static int read_connections(const char *value, uint32_t *out)
{
	uint64_t number;

	if (bb_parse_u64(bb_str_of(value), &number) || number < 1 || number > CONNECTIONS_MAX)
		return -BB_EINVALID;
	*out = (uint32_t)number;
	return 0;
}

static int take_option(struct options *o, int id, const char *value)
{
	switch (id) {
	case OPTION_WORKLOAD: o->work.source = value; return 0;
	case OPTION_MODEL: return add_text(o->models, &o->model_count, MODELS_MAX, value);
	case OPTION_KEY: return add_text(o->keys, &o->key_count, KEYS_MAX, value);
	case OPTION_HEADER: return bench_header_add(value, &o->headers);
	case OPTION_CONNECTIONS: return read_connections(value, &o->connections);
	case OPTION_TIMEOUT: return bb_parse_duration_ns(bb_str_of(value), &o->timeout_ns);
	case OPTION_WORDS: return read_number(value, 0.05, 20, &o->words);
	case OPTION_MAY_STOP: o->may_stop = true; return 0;
	case OPTION_SLO: return read_slo(o, bb_str_of(value));
	case OPTION_SKIP: return read_number(value, 0, 0.9, &o->skip);
	case OPTION_JSON: o->output = OUTPUT_JSON; return 0;
	case OPTION_REPORT: o->report = value; return 0;
	default: return workload_args_take(&o->work, id, value);
	}
}

static int add_url(struct options *o, const char *value)
{
	const char *why = "more than 16";

	if (o->target_count < BENCH_TARGETS_MAX &&
	    bench_target_read(value, &o->targets[o->target_count], &why) == 0) {
		o->target_count++;
		return 0;
	}
	return refuse(value, why);
}

/* 0, or the exit code of the process; -1 when help was asked for and given. */
static int read_options(struct options *o, int argc, char **argv)
{
	int id, index = 0, rc = 0;

	optind = 1;
	while (!rc && (id = getopt_long(argc, argv, "", option_table, &index)) != -1) {
		if (id == OPTION_HELP) {
			fputs(usage, stdout);
			return -1;
		}
		if (id == '?') {
			fputs("try: busbar bench run --help\n", stderr);
			return 2;
		}
		if (id == OPTION_URL)
			rc = add_url(o, optarg);
		else if (take_option(o, id, optarg))
			rc = refuse(option_table[index].name,
				    "the value is malformed or out of range");
	}
	while (!rc && optind < argc)
		rc = add_url(o, argv[optind++]);
	if (rc)
		return rc;
	if (!o->target_count)
		return refuse("--url", "it is needed");
	if (!o->work.source)
		return refuse("--workload", "it is needed");
	return o->model_count ? 0 : refuse("--model", "it is needed");
}

/* ---- one server ---- */

static void on_progress(void *user, uint32_t ended, uint32_t in_flight)
{
	const struct run *const r = user;

	if (r->has_progress)
		fprintf(stderr, "\r%s: %u of %u ended, %u in flight \033[K", r->label, ended,
			r->work.count, in_flight);
}

static int play(struct run *r, const struct bench_target *t, const struct load_prompt *prompt,
		struct play_record *records, struct play_outcome *outcome)
{
	struct options *const o = r->o;
	const struct play_plan plan = { .to = t->to,
					.host = bb_str_of(t->host),
					.path = t->path,
					.headers = bb_buf_str(&o->headers),
					.keys = o->keys,
					.key_count = o->key_count,
					.prompt = prompt,
					.connections = o->connections < prompt->work->count
							       ? o->connections
							       : prompt->work->count,
					.timeout_ns = o->timeout_ns,
					.on_progress = on_progress,
					.user = r };

	memset(r->meter, 0, sizeof(*r->meter));
	return load_play(&plan, r->meter, records, outcome);
}

#define SHORT_WORDS 16u
#define LONG_WORDS 528u

/*
 * How many words make a token, and what the template adds, from two prompts of different length. A
 * server that reports no usage is taken to have a token a word.
 */
static int calibrate(struct run *r, const struct bench_target *t, struct load_prompt *prompt)
{
	struct play_record records[2];
	struct play_outcome outcome;
	struct load_prompt probe = *prompt;
	struct workload w;
	int rc = 0;

	workload_init(&w);
	for (uint32_t i = 0; !rc && i < 2; i++) {
		const struct work_request q = { .after = i ? 0 : WORK_NONE, .output_tokens = 1 };
		rc = workload_span(&w, work_own(i), 0, i ? LONG_WORDS : SHORT_WORDS);
		if (!rc)
			rc = workload_add(&w, &q);
	}
	probe.work = &w;
	probe.salt = ~prompt->salt; /* what is played must not find them in a cache */
	if (!rc)
		rc = play(r, t, &probe, records, &outcome);
	workload_fini(&w);
	if (rc)
		return rc;
	const double few = records[0].prompt_tokens, many = records[1].prompt_tokens;
	if (records[0].prompt_tokens == LOAD_UNKNOWN || records[1].prompt_tokens == LOAD_UNKNOWN ||
	    many <= few) {
		fprintf(stderr, "busbar bench: %s does not say how many tokens a prompt has: a word is "
				"taken for a token (see --words)\n",
			t->label);
		return 0;
	}
	prompt->scale.words_per_token = (LONG_WORDS - SHORT_WORDS) / (many - few);
	const double extra = few - SHORT_WORDS / prompt->scale.words_per_token;
	prompt->scale.extra_tokens = extra > 0 ? (uint32_t)(extra + 0.5) : 0;
	return 0;
}

static int run_one(struct run *r, uint32_t index)
{
	const struct options *const o = r->o;
	const struct bench_target *const t = &o->targets[index];
	struct play_outcome outcome;
	struct load_prompt prompt;

	r->label = t->label;
	load_prompt_init(&prompt, &r->work, o->models);
	prompt.model_count = o->model_count;
	prompt.salt = o->work.make.seed;
	prompt.ignores_eos = !o->may_stop;
	if (o->words > 0)
		prompt.scale.words_per_token = o->words;
	int rc = o->words > 0 ? 0 : calibrate(r, t, &prompt);
	if (!rc)
		rc = play(r, t, &prompt, r->records, &outcome);
	if (!rc)
		rc = play_summary(&r->work, r->records, &outcome, r->meter, &o->slo, o->skip,
				  &r->summaries[index]);
	if (r->has_progress)
		fputs("\r\033[K", stderr);
	if (rc)
		return rc;
	r->summaries[index].run.label = t->label;
	if (r->meter->status_last)
		fprintf(stderr, "busbar bench: %s: the last status that was no success was %d; the "
				"first such answer began: %.*s\n",
			t->label, r->meter->status_last, (int)r->meter->sample_len,
			r->meter->sample);
	return 0;
}

/* ---- what is told ---- */

static int tell(const struct run *r)
{
	const struct bench_result result = { .source = r->o->work.source,
					     .seed = r->o->work.make.seed,
					     .work = &r->work,
					     .slo = r->o->slo,
					     .summaries = r->summaries,
					     .count = r->o->target_count };
	struct bb_buf text;
	uint64_t failed = 0;

	bb_buf_init(&text, TEXT_MAX);
	if (r->o->output == OUTPUT_JSON)
		bench_result_json(&result, &text);
	else
		bench_result_table(&result, &text);
	const bool is_written = !text.err && fwrite(text.p, 1, text.len, stdout) == text.len &&
				fflush(stdout) == 0;
	bb_buf_fini(&text);
	for (uint32_t i = 0; i < result.count; i++)
		failed += r->summaries[i].run.failed;
	const int rc = r->o->report ? bench_result_report(&result, r->o->report) : 0;
	if (rc) {
		refuse(r->o->report, rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
		return 1;
	}
	return is_written && !failed ? 0 : 1;
}

/* ---- all of them ---- */

static int run_all(struct run *r)
{
	const struct options *const o = r->o;
	const uint64_t fds = process_raise_fd_limit();
	int rc = 0;

	r->records = bb_alloc(r->work.count * sizeof(*r->records));
	r->summaries = bb_alloc_zero(o->target_count, sizeof(*r->summaries));
	r->meter = bb_alloc_zero(1, sizeof(*r->meter));
	r->has_progress = stderr_is_terminal();
	if (!r->records || !r->summaries || !r->meter)
		rc = -BB_ENOMEM;
	if (fds < (uint64_t)o->connections + FD_RESERVE && fds < r->work.count)
		fprintf(stderr, "busbar bench: the limit of open files is %llu: not all %u "
				"connections can be opened\n",
			(unsigned long long)fds, o->connections);
	for (uint32_t i = 0; !rc && i < o->target_count; i++)
		rc = run_one(r, i);
	if (rc)
		fprintf(stderr, "busbar bench: %s\n",
			rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
	rc = rc ? 1 : tell(r);
	bb_free(r->records);
	bb_free(r->summaries);
	bb_free(r->meter);
	return rc;
}

int bench_run(int argc, char **argv)
{
	struct options o = { .work = { .command = "busbar bench" },
			     .connections = 10000,
			     .timeout_ns = 600 * 1000000000ull,
			     .slo = { 2000, 50 } };
	struct run r = { .o = &o };

	bb_buf_init(&o.headers, HEADERS_MAX);
	int rc = read_options(&o, argc, argv);
	if (!rc)
		rc = workload_args_load(&o.work, &r.work);
	if (!rc) {
		rc = run_all(&r);
		workload_fini(&r.work);
	}
	bb_buf_fini(&o.headers);
	return rc < 0 ? 0 : rc;
}
