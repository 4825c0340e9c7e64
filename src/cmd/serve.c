/* serve.c: `busbar serve`: options and configuration, then the gateway. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "brain/policy/policy.h"
#include "cmd/cmd.h"
#include "cmd/config_file.h"
#include "cmd/confine.h"
#include "cmd/version.h"
#include "gateway/gateway.h"
#include "os/process.h"
#include "records/log_sink.h"

#define URLS_MAX 256

/* What the command line says; it wins over the file, also after a reload. */
struct serve_options {
	const char *config_path; /* NULL: none */
	const char *keys_path;	 /* NULL: what the configuration says */
	const char *listen[16];
	uint32_t listen_count;
	const char *admin;
	const char *threads;
	const char *policy;
	const char *log_level;
	const char *access_log;
	struct confinement confinement;
	bool insecure_no_keys;
	const char *engines[URLS_MAX];
	uint32_t engine_count;
};

static void usage(FILE *out)
{
	fprintf(out,
		"usage: busbar serve [-c FILE] [--engine URL]... [OPTION]...\n\n"
		"Runs the gateway. With --engine alone no file is needed: kind, models and capacity\n"
		"of each engine are found out from its URL.\n\n"
		"  -c, --config FILE     configuration (see busbar check --keys and docs/configuration.md)\n"
		"      --keys FILE       API keys, as busbar keys writes them (docs/keys.md)\n"
		"      --engine URL      http://HOST:PORT[/base] or unix:PATH; may be given several times\n"
		"      --listen ADDR     HOST:PORT, [IPv6]:PORT or unix:PATH (default 127.0.0.1:8080);\n"
		"                        may be given several times\n"
		"      --admin ADDR|off  metrics, health, status (default 127.0.0.1:8081)\n"
		"      --threads N       gateway threads (default: one per core)\n"
		"      --policy NAME     how engines are chosen (default %s):\n",
		POLICY_DEFAULT);
	for (unsigned i = 0; policy_at(i); i++)
		fprintf(out, "                          %-15s %s\n", policy_at(i)->name,
			policy_at(i)->text);
	fprintf(out,
		"      --access-log PATH one JSON line a request: a file, - (standard output) or off\n"
		"      --log-level L     error, warn, info or debug\n"
		"      --insecure-no-keys  let everybody in who can connect, also from other machines\n"
		"      --user NAME       become this user once ports and files are open\n"
		"      --no-sandbox      leave all system calls and paths open (docs/hardening.md)\n"
		"      --allow-core      core dumps and debuggers, which may show keys and prompts\n"
		"  -h, --help\n\n"
		"Signals: SIGHUP reads the configuration again, SIGUSR1 opens the access log anew,\n"
		"SIGTERM and SIGINT drain (a second one stops at once).\n"
		"API:   /v1/chat/completions /v1/completions /v1/embeddings /v1/responses /v1/messages\n"
		"       /v1/models and more (docs/api.md)\n"
		"Admin: /metrics /healthz /readyz /admin/status, POST /admin/reload\n");
}

enum { OPT_ENGINE = 256, OPT_LISTEN, OPT_ADMIN, OPT_THREADS, OPT_POLICY, OPT_LOG_LEVEL, OPT_ACCESS,
       OPT_USER, OPT_NO_SANDBOX, OPT_ALLOW_CORE, OPT_KEYS, OPT_INSECURE_NO_KEYS };

static int options_parse(int argc, char **argv, struct serve_options *o)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "keys", required_argument, NULL, OPT_KEYS },
		{ "insecure-no-keys", no_argument, NULL, OPT_INSECURE_NO_KEYS },
		{ "engine", required_argument, NULL, OPT_ENGINE },
		{ "listen", required_argument, NULL, OPT_LISTEN },
		{ "admin", required_argument, NULL, OPT_ADMIN },
		{ "threads", required_argument, NULL, OPT_THREADS },
		{ "policy", required_argument, NULL, OPT_POLICY },
		{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
		{ "access-log", required_argument, NULL, OPT_ACCESS },
		{ "user", required_argument, NULL, OPT_USER },
		{ "no-sandbox", no_argument, NULL, OPT_NO_SANDBOX },
		{ "allow-core", no_argument, NULL, OPT_ALLOW_CORE },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (c) {
		case 'c': o->config_path = optarg; break;
		case OPT_ADMIN: o->admin = optarg; break;
		case OPT_THREADS: o->threads = optarg; break;
		case OPT_POLICY: o->policy = optarg; break;
		case OPT_LOG_LEVEL: o->log_level = optarg; break;
		case OPT_ACCESS: o->access_log = optarg; break;
		case OPT_USER: o->confinement.user = optarg; break;
		case OPT_NO_SANDBOX: o->confinement.off = "--no-sandbox"; break;
		case OPT_KEYS: o->keys_path = optarg; break;
		case OPT_INSECURE_NO_KEYS: o->insecure_no_keys = true; break;
		case OPT_ALLOW_CORE: o->confinement.cores = CONFINE_CORES; break;
		case OPT_ENGINE:
			if (o->engine_count == URLS_MAX) {
				fprintf(stderr, "busbar serve: at most %d --engine options; use a file\n",
					URLS_MAX);
				return 2;
			}
			o->engines[o->engine_count++] = optarg;
			break;
		case OPT_LISTEN:
			if (o->listen_count == 16) {
				fprintf(stderr, "busbar serve: at most 16 --listen options\n");
				return 2;
			}
			o->listen[o->listen_count++] = optarg;
			break;
		case 'h':
			usage(stdout);
			return -1;
		default:
			fprintf(stderr, "busbar serve --help tells the options\n");
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "busbar serve: '%s' is not an option; engines are given by --engine URL\n",
			argv[optind]);
		return 2;
	}
	return 0;
}

static int bad_option(const char *option, const char *value, const char *what)
{
	fprintf(stderr, "busbar serve: %s %s: %s\n", option, value, what);
	return 2;
}

static struct bb_str dup_text(struct config *c, const char *text)
{
	return bb_arena_dup(&c->arena, bb_str_of(text));
}

static int apply_listen(const struct serve_options *o, struct config *c)
{
	struct sock_addr addr;
	const char *why;

	if (!o->listen_count)
		return 0;
	struct config_text *items = bb_arena_alloc(&c->arena, o->listen_count * sizeof(*items));
	if (!items)
		return 1;
	for (uint32_t i = 0; i < o->listen_count; i++) {
		if (sock_addr_parse(bb_str_of(o->listen[i]), &addr, &why))
			return bad_option("--listen", o->listen[i], why);
		items[i] = (struct config_text){ .text = dup_text(c, o->listen[i]) };
	}
	c->listen = (struct config_texts){ items, o->listen_count };
	return 0;
}

/* Puts the command line over the file. 0 or an exit code. */
static int options_apply(const struct serve_options *o, struct config *c)
{
	struct sock_addr addr;
	const char *why;
	uint64_t threads;
	int rc = apply_listen(o, c);

	if (rc)
		return rc;
	if (o->admin) {
		const bool off = strcmp(o->admin, "off") == 0;
		if (!off && sock_addr_parse(bb_str_of(o->admin), &addr, &why))
			return bad_option("--admin", o->admin, why);
		c->admin = off ? BB_STR("") : dup_text(c, o->admin);
	}
	if (o->insecure_no_keys)
		c->insecure_no_keys = CONFIG_ON;
	if (o->threads) {
		if (bb_parse_u64(bb_str_of(o->threads), &threads) || threads > GATEWAY_WORKERS_MAX)
			return bad_option("--threads", o->threads, "a number from 0 to 64 is expected");
		c->threads = (uint32_t)threads;
	}
	if (o->policy) {
		if (!policy_find(o->policy))
			return bad_option("--policy", o->policy, "there is no such policy; see --help");
		c->policy = dup_text(c, o->policy);
	}
	if (o->access_log)
		c->access_log_path = strcmp(o->access_log, "off") == 0 ? BB_STR("")
								       : dup_text(c, o->access_log);
	if (o->log_level) {
		int level = -1;
		for (int i = BB_LOG_ERROR; i <= BB_LOG_DEBUG; i++)
			if (strcmp(bb_log_level_name((enum bb_log_level)i), o->log_level) == 0)
				level = i;
		if (level < 0)
			return bad_option("--log-level", o->log_level,
					  "error, warn, info or debug is expected");
		c->log.level = (enum bb_log_level)level;
	}
	for (uint32_t i = 0; i < o->engine_count; i++) {
		const int added = config_add_engine(c, bb_str_of(o->engines[i]), &why);
		if (added && added != -BB_EEXIST)
			return bad_option("--engine", o->engines[i],
					  added == -BB_EINVALID ? why : bb_error_info(added)->text);
	}
	return 0;
}

/* What is right and yet worth a line, one log line each. */
static void tell_warnings(const struct serve_options *o, const struct config *c,
			  const char *keys_name)
{
	struct bb_buf text;

	bb_buf_init(&text, 1u << 20);
	config_warn(c, o->config_path ? config_file_name(o->config_path) : "", keys_name, &text);
	for (struct bb_str rest = bb_buf_str(&text); rest.len;) {
		const struct bb_str line = bb_str_cut(&rest, '\n');
		BB_LOG(BB_LOG_WARN, "config", "%.*s", BB_ARG(line));
	}
	bb_buf_fini(&text);
}

static struct config *reload(void *user, struct bb_buf *report)
{
	const struct serve_options *o = user;
	char keys_name[CONFIG_FILE_PATH_SIZE];
	struct config *c = NULL;

	if (!o->config_path && !o->keys_path) {
		bb_buf_lit(report, "the gateway was started without a configuration file (-c FILE); "
				   "there is nothing to read again\n");
		return NULL;
	}
	if (config_file_read(o->config_path, o->keys_path, &c, keys_name, report))
		return NULL;
	if (options_apply(o, c)) {
		bb_buf_lit(report, "an option of the command line does not fit the new file\n");
		config_free(c);
		return NULL;
	}
	tell_warnings(o, c, keys_name);
	return c;
}

/* The configuration to start with; 0 or an exit code. */
static int config_open(struct serve_options *o, struct config **out, char *keys_name)
{
	struct bb_buf report;
	struct config *c = NULL;

	bb_buf_init(&report, 1u << 20);
	int rc = config_file_exit(
		config_file_read(o->config_path, o->keys_path, &c, keys_name, &report));
	if (report.len)
		fwrite(report.p, 1, report.len, stderr);
	bb_buf_fini(&report);
	if (!rc)
		rc = options_apply(o, c);
	if (rc) {
		config_free(c);
		return rc;
	}
	/* Only for the start; the texts live as long as the first configuration does. */
	confine_settings(&o->confinement, c);
	*out = c;
	return 0;
}

static int on_started(void *user)
{
	const struct serve_options *o = user;

	return confine_process(&o->confinement);
}

/* The exit code. */
static int run(const struct gateway_options *options)
{
	struct gateway *g;
	int rc = gateway_create(options, &g);

	if (rc) {
		BB_LOG(BB_LOG_ERROR, "start", "the gateway cannot start: %s", bb_error_info(rc)->text);
		return rc == -BB_EINVALID ? 2 : 1;
	}
	rc = gateway_run(g);
	gateway_destroy(g);
	BB_LOG(BB_LOG_INFO, "stop", "bye");
	return rc ? 1 : 0;
}

int cmd_serve(int argc, char **argv)
{
	struct serve_options o = { 0 };
	char keys_name[CONFIG_FILE_PATH_SIZE];
	struct config *c = NULL;
	int rc = options_parse(argc, argv, &o);

	if (rc)
		return rc < 0 ? 0 : rc;
	process_tune_memory();
	if (confine_secrets(&o.confinement)) { /* before the first one is read */
		fprintf(stderr, "busbar serve: core dumps cannot be switched off; see --allow-core\n");
		return 1;
	}
	rc = config_open(&o, &c, keys_name);
	if (rc)
		return rc;
	log_sink_start(c->log.level, (enum log_format)c->log.format);
	BB_LOG(BB_LOG_INFO, "start", "busbar %s (%s), policy %s", busbar_version, busbar_commit,
	       c->policy.p);
	tell_warnings(&o, c, keys_name);
	if (c->engine_count == 0)
		BB_LOG(BB_LOG_WARN, "start",
		       "there is no engine: give --engine URL or models and engines in a file");
	const struct gateway_options options = {
		.config = c,
		.identity = { busbar_version, busbar_commit, busbar_variant },
		.reload = reload,
		.confine = on_started,
		.user = &o,
	};
	if (confine_paths(&o.confinement, c)) {
		config_free(c);
		return 1;
	}
	if (log_sink_queue())
		BB_LOG(BB_LOG_WARN, "log",
		       "no thread for log lines: while standard error is not read, the gateway waits");
	rc = run(&options);
	log_sink_end();
	return rc;
}
