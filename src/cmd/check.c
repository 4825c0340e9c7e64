/*
 * check.c: `busbar check`: is a configuration right, and what is in effect with it?
 */
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/config_file.h"
#include "gateway/gateway.h"
#include "wire/config_print.h"

#define OUTPUT_MAX (64u << 20)

static const char usage[] =
	"usage: busbar check [--print] FILE\n"
	"       busbar check --keys\n"
	"\n"
	"Reads a configuration and reports every mistake as FILE:LINE:COLUMN: error: ...\n"
	"FILE \"-\" is standard input. Variables, as ${NAME}, come from the environment.\n"
	"\n"
	"  --print   write the configuration that is in effect, with all defaults, as YAML;\n"
	"            secrets are shown as \"***\"\n"
	"  --keys    write the reference of all keys, as Markdown\n"
	"  --help    this text\n"
	"\n"
	"Exit: 0 it is right, 2 it is wrong or cannot be read, 1 anything else.\n";

static int write_out(struct bb_buf *text)
{
	const bool is_written = !text->err && fwrite(text->p, 1, text->len, stdout) == text->len &&
				fflush(stdout) == 0;

	bb_buf_fini(text);
	if (!is_written)
		fprintf(stderr, "busbar check: the output could not be written\n");
	return is_written ? 0 : 1;
}

static int print_keys(void)
{
	const char *policies[CONFIG_FILE_POLICIES_MAX + 1];
	struct bb_buf text;

	config_file_policies(policies);
	bb_buf_init(&text, OUTPUT_MAX);
	config_print_keys(policies, &text);
	return write_out(&text);
}

enum what { WHAT_SUMMARY, WHAT_CONFIG };

static int check_file(const char *path, enum what what)
{
	struct config *c = NULL;
	struct bb_buf text;

	const int rc = config_file_load(path, &c);
	if (rc)
		return rc;
	char why[MODEL_TEXT_WHY_SIZE];
	struct model_texts texts = { .count = 0 };
	/* What serve would refuse as well. */
	const bool is_bad = gateway_check_listeners(c, NULL, why, sizeof(why)) ||
			    model_texts_load(c, NULL, &texts, why);
	model_texts_free(&texts);
	if (is_bad) {
		fprintf(stderr, "%s: error: %s\n", config_file_name(path), why);
		config_free(c);
		return 2;
	}
	bb_buf_init(&text, OUTPUT_MAX);
	if (what == WHAT_CONFIG)
		config_print(c, &text);
	else
		bb_buf_printf(&text, "%s: ok (%u model%s, %u engine%s)\n", config_file_name(path),
			      c->model_count, c->model_count == 1 ? "" : "s", c->engine_count,
			      c->engine_count == 1 ? "" : "s");
	config_free(c);
	return write_out(&text);
}

static int usage_error(void)
{
	fputs(usage, stderr);
	return 2;
}

int cmd_check(int argc, char **argv)
{
	enum what what = WHAT_SUMMARY;
	const char *path = NULL;

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		const bool is_option = arg[0] == '-' && arg[1];
		if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
			return fputs(usage, stdout) < 0;
		if (strcmp(arg, "--keys") == 0)
			return print_keys();
		if (strcmp(arg, "--print") == 0)
			what = WHAT_CONFIG;
		else if (is_option || path)
			return usage_error();
		else
			path = arg;
	}
	return path ? check_file(path, what) : usage_error();
}
