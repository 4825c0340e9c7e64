/* main.c: picks the subcommand. */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/version.h"
#include "os/sandbox.h"

struct subcommand {
	const char *name;
	const char *text;
	int (*run)(int argc, char **argv);
};

static const struct subcommand subcommands[] = {
	{ "serve", "run the gateway", cmd_serve },
	{ "status", "engines, models, load and rates of a running gateway", cmd_status },
	{ "explain", "why a request went to the engine that answered it", cmd_explain },
	{ "replay", "a journal's decisions made again, and what other policies would choose", cmd_replay },
	{ "check", "look at a configuration file without using it", cmd_check },
	{ "keys", "make, list, rotate and revoke API keys", cmd_keys },
	{ "reload", "let a running gateway read its configuration again", cmd_reload },
	{ "tokenize", "the token ids of a text", cmd_tokenize },
	{ "detokenize", "the text of token ids", cmd_detokenize },
	{ "render", "the prompt that a chat template makes of a request", cmd_render },
	{ "sim", "a simulated engine, for tests and benchmarks", cmd_sim },
	{ "bench", "load generator and other measurements", cmd_bench },
};

#define SUBCOMMAND_COUNT (sizeof(subcommands) / sizeof(subcommands[0]))

static void usage(FILE *out)
{
	fprintf(out, "busbar %s: gateway, router and scheduler for large language models\n\n"
		     "usage: busbar COMMAND [OPTION]...\n\ncommands:\n",
		busbar_version);
	for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
		fprintf(out, "  %-10s %s\n", subcommands[i].name, subcommands[i].text);
	fprintf(out, "\n`busbar COMMAND --help` tells the options of each.\n"
		     "First steps: busbar serve --engine http://127.0.0.1:8000\n");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("busbar %s (%s, %s)\n", busbar_version, busbar_commit, busbar_variant);
		if (sandbox_missing())
			printf("no filter of system calls: %s\n", sandbox_missing());
		return 0;
	}
	for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
		if (strcmp(argv[1], subcommands[i].name) == 0)
			return subcommands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "busbar: there is no command '%s'; busbar --help lists them\n", argv[1]);
	return 2;
}
