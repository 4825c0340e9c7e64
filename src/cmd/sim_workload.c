#include "cmd/sim_workload.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cmd/workload_args.h"
#include "sim/work_write.h"

#define LINE_MAX_BYTES ((size_t)256 << 20)

static const char usage[] =
	"usage: busbar sim workload NAME|FILE [OPTION]...\n"
	"\n"
	"Writes what clients would ask for, a line for each request: traffic of the kind NAME, or "
	"a\n"
	"trace (Mooncake, Azure, either packed with gzip; a journal, or a folder of them).\n"
	"\n"
	"  --format FORMAT      mooncake: timestamp, input_length, output_length, hash_ids; "
	"openai:\n"
	"                       due_ms and the body of a chat request (mooncake)\n"
	"  --out FILE           instead of standard output\n"
	"  --model NAME         in requests of the format openai (m)\n" WORKLOAD_ARGS_HELP
	"  --help               this text\n"
	"\n"
	"Kinds of traffic; lengths are means, in tokens:\n";

enum { OPTION_FORMAT = 256, OPTION_OUT, OPTION_MODEL, OPTION_HELP };

static const struct option option_table[] = {
	{ "format", required_argument, NULL, OPTION_FORMAT },
	{ "out", required_argument, NULL, OPTION_OUT },
	{ "model", required_argument, NULL, OPTION_MODEL },
	{ "help", no_argument, NULL, OPTION_HELP },
	WORKLOAD_ARGS_OPTIONS,
	{ 0 },
};

enum format { FORMAT_MOONCAKE, FORMAT_OPENAI };

struct options {
	struct workload_args work;
	enum format format;
	const char *out;
	struct bb_str model;
};

static int refuse(const char *what, const char *why)
{
	fprintf(stderr, "busbar sim workload: %s: %s\n", what, why);
	return 2;
}

static int set_format(struct options *o, struct bb_str value)
{
	if (bb_str_eq(value, BB_STR("openai")))
		o->format = FORMAT_OPENAI;
	else if (!bb_str_eq(value, BB_STR("mooncake")))
		return -BB_EINVALID;
	return 0;
}

static int take_option(struct options *o, int id, const char *value)
{
	switch (id) {
	case OPTION_FORMAT: return set_format(o, bb_str_of(value));
	case OPTION_OUT: o->out = value; return 0;
	case OPTION_MODEL: o->model = bb_str_of(value); return 0;
	default: return workload_args_take(&o->work, id, value);
	}
}

/* 0, or the exit code of the process; -1 when help was asked for and given. */
static int read_options(struct options *o, int argc, char **argv)
{
	int id, index = 0;

	optind = 1;
	while ((id = getopt_long(argc, argv, "", option_table, &index)) != -1) {
		if (id == OPTION_HELP) {
			fputs(usage, stdout);
			workload_args_print_generators();
			return -1;
		}
		if (id == '?') {
			fputs("try: busbar sim workload --help\n", stderr);
			return 2;
		}
		if (take_option(o, id, optarg))
			return refuse(option_table[index].name,
				      "the value is malformed or out of range");
	}
	if (optind == argc)
		return refuse("NAME", "which workload? (see busbar sim workload --help)");
	if (optind + 1 < argc)
		return refuse(argv[optind + 1], "unexpected; one workload at a time");
	o->work.source = argv[optind];
	return 0;
}

/* Writes all lines; errno says what went wrong with the file. */
static int write_lines(const struct options *o, const struct workload *w, FILE *file)
{
	struct work_writer writer;
	struct load_prompt prompt;
	struct bb_buf line;
	int rc = 0;

	work_writer_init(&writer, w);
	load_prompt_init(&prompt, w, &o->model);
	prompt.salt = o->work.make.seed;
	bb_buf_init(&line, LINE_MAX_BYTES);
	for (uint32_t i = 0; !rc && i < w->count; i++) {
		bb_buf_clear(&line);
		rc = o->format == FORMAT_OPENAI ? work_write_openai(&prompt, i, &line)
						: work_write_mooncake(&writer, i, &line);
		if (!rc && fwrite(line.p, 1, line.len, file) != line.len)
			rc = -BB_ESYSTEM;
	}
	if (!rc && fflush(file))
		rc = -BB_ESYSTEM;
	bb_buf_fini(&line);
	work_writer_fini(&writer);
	return rc;
}

static int write_file(const struct options *o, const struct workload *w)
{
	FILE *const file = o->out ? fopen(o->out, "w") : stdout;
	int rc = file ? write_lines(o, w, file) : -BB_ESYSTEM;
	int error = errno;

	if (file && o->out && fclose(file) && !rc) {
		error = errno;
		rc = -BB_ESYSTEM;
	}
	if (rc)
		fprintf(stderr, "busbar sim workload: %s: %s\n",
			o->out ? o->out : "standard output",
			rc == -BB_ESYSTEM ? strerror(error) : bb_error_info(rc)->text);
	return rc ? 1 : 0;
}

int sim_workload(int argc, char **argv)
{
	struct options o = { .work = { .command = "busbar sim workload" },
			     .model = BB_STR_INIT("m") };
	struct workload w;
	int rc = read_options(&o, argc, argv);

	if (!rc)
		rc = workload_args_load(&o.work, &w);
	if (rc)
		return rc < 0 ? 0 : rc;
	rc = write_file(&o, &w);
	workload_fini(&w);
	return rc;
}
