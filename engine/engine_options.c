#include "engine_options.h"

#include <getopt.h>
#include <stdio.h>

#include "cmd/version.h"
#include "net/zmq_pub.h"

enum {
	OPT_LISTEN = 256,
	OPT_CTX,
	OPT_PARALLEL,
	OPT_THREADS,
	OPT_BATCH,
	OPT_QUEUE,
	OPT_BLOCK_SIZE,
	OPT_GPU_LAYERS,
	OPT_KV_EVENTS,
	OPT_KV_REPLAY,
	OPT_KV_TOPIC,
	OPT_NAME,
	OPT_POOLING,
	OPT_LOG_LEVEL,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "ctx", required_argument, NULL, OPT_CTX },
	{ "parallel", required_argument, NULL, OPT_PARALLEL },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "batch", required_argument, NULL, OPT_BATCH },
	{ "queue", required_argument, NULL, OPT_QUEUE },
	{ "block-size", required_argument, NULL, OPT_BLOCK_SIZE },
	{ "gpu-layers", required_argument, NULL, OPT_GPU_LAYERS },
	{ "kv-events", required_argument, NULL, OPT_KV_EVENTS },
	{ "kv-replay", required_argument, NULL, OPT_KV_REPLAY },
	{ "kv-topic", required_argument, NULL, OPT_KV_TOPIC },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "pooling", required_argument, NULL, OPT_POOLING },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help_text[] =
	"usage: busbar-engine MODEL.gguf [options]\n"
	"\n"
	"Serves one GGUF model over HTTP with the OpenAI API, as vLLM does: continuous batching,\n"
	"prefix caching, metrics under vLLM's names, KV events.\n"
	"\n"
	"  --listen ADDRESS      HOST:PORT or unix:PATH (default 127.0.0.1:8000; port 0: any "
	"free)\n"
	"  --name NAME           model name that clients use (default: the file's name)\n"
	"  --ctx TOKENS          KV cache, and so the longest request (default: what the model "
	"was\n"
	"                        trained for, at most 8192 and what fits into memory)\n"
	"  --parallel N          sequences that run at once (default 8)\n"
	"  --queue N             sequences that may wait for room; more get 503 (default 256)\n"
	"  --batch TOKENS        tokens computed in one step (default 256, on a GPU 2048)\n"
	"  --threads N           CPU threads (default: the cores this process may use; fewer are\n"
	"                        faster where other programs use them, too)\n"
	"  --gpu-layers N        layers kept on the GPU, -1 is all (default: all if there is a "
	"GPU)\n"
	"  --block-size TOKENS   block of the prefix cache, 1 to 256 (default 16)\n"
	"  --kv-events ENDPOINT  publish KV events, such as tcp://*:5557\n"
	"  --kv-replay ENDPOINT  answer replay requests for them, such as tcp://*:5558\n"
	"  --kv-topic TEXT       topic of the events (default: empty)\n"
	"  --pooling KIND        serve embeddings: mean, cls, last (default: what the model says)\n"
	"  --log-level LEVEL     error, warn, info, debug (default info)\n"
	"  --version, --help\n"
	"\n"
	"SIGTERM lets running requests finish for up to five seconds. Exit codes: 0 stopped,\n"
	"1 could not start, 2 wrong usage.\n";

static int usage_error(const char *option, const char *value, const char *what)
{
	fprintf(stderr, "busbar-engine: --%s %s: %s\n", option, value, what);
	return 2;
}

static int parse_count(const char *option, const char *text, uint32_t min, uint32_t max,
		       uint32_t *out)
{
	uint64_t value;

	if (bb_parse_u64(bb_str_of(text), &value) || value < min || value > max) {
		fprintf(stderr, "busbar-engine: --%s %s: must be a number from %u to %u\n", option,
			text, min, max);
		return 2;
	}
	*out = (uint32_t)value;
	return 0;
}

static int parse_endpoint(const char *option, const char *text, struct sock_addr *out)
{
	const char *why = "not an endpoint";

	if (zmq_endpoint_parse(bb_str_of(text), out, &why))
		return usage_error(option, text, why);
	return 0;
}

static int parse_log_level(const char *text, enum bb_log_level *out)
{
	for (int level = BB_LOG_ERROR; level <= BB_LOG_DEBUG; level++)
		if (strcmp(text, bb_log_level_name((enum bb_log_level)level)) == 0) {
			*out = (enum bb_log_level)level;
			return 0;
		}
	return usage_error("log-level", text, "must be error, warn, info or debug");
}

static int parse_pooling(const char *text, enum engine_pooling *out)
{
	static const char *const names[] = { "", "none", "mean", "cls", "last" };

	for (int i = POOLING_NONE; i <= POOLING_LAST; i++)
		if (strcmp(text, names[i]) == 0) {
			*out = (enum engine_pooling)i;
			return 0;
		}
	return usage_error("pooling", text, "must be none, mean, cls or last");
}

static int parse_gpu_layers(const char *text, int32_t *out)
{
	uint32_t count;

	if (strcmp(text, "-1") == 0) {
		*out = -1;
		return 0;
	}
	const int rc = parse_count("gpu-layers", text, 0, 100000, &count);
	if (!rc)
		*out = (int32_t)count;
	return rc;
}

static int parse_one(int option, const char *value, struct engine_options *o)
{
	switch (option) {
	case OPT_LISTEN: o->listen_text = value; return 0;
	case OPT_NAME: o->name = value; return *value ? 0 : usage_error("name", "''", "is empty");
	case OPT_CTX: return parse_count("ctx", value, 16, 1u << 30, &o->ctx_tokens);
	case OPT_PARALLEL: return parse_count("parallel", value, 1, 128, &o->parallel);
	case OPT_QUEUE: return parse_count("queue", value, 0, 100000, &o->queue_max);
	case OPT_THREADS: return parse_count("threads", value, 1, 1024, &o->threads);
	case OPT_BATCH: return parse_count("batch", value, 16, 65536, &o->batch_tokens);
	case OPT_BLOCK_SIZE: return parse_count("block-size", value, 1, 256, &o->block_size);
	case OPT_GPU_LAYERS: return parse_gpu_layers(value, &o->gpu_layers);
	case OPT_POOLING: return parse_pooling(value, &o->pooling);
	case OPT_LOG_LEVEL: return parse_log_level(value, &o->log_level);
	case OPT_KV_TOPIC: o->kv_topic = value; return 0;
	case OPT_KV_EVENTS:
		o->kv_events_text = value;
		return parse_endpoint("kv-events", value, &o->kv_events);
	case OPT_KV_REPLAY:
		o->kv_replay_text = value;
		return parse_endpoint("kv-replay", value, &o->kv_replay);
	case OPT_VERSION:
		printf("busbar-engine %s (%s, %s)\n", busbar_version, busbar_commit,
		       busbar_variant);
		return 1;
	case OPT_HELP: fputs(help_text, stdout); return 1;
	default: /* getopt has said what was wrong */
		fputs("Try 'busbar-engine --help'.\n", stderr);
		return 2;
	}
}

static int check_whole(int argc, char **argv, struct engine_options *o)
{
	const char *why = "not an address";

	if (optind >= argc) {
		fputs("busbar-engine: which model? Give the path of a GGUF file.\n"
		      "Try 'busbar-engine --help'.\n",
		      stderr);
		return 2;
	}
	if (optind + 1 < argc) {
		fprintf(stderr, "busbar-engine: one model only; '%s' is too much\n",
			argv[optind + 1]);
		return 2;
	}
	o->model_path = argv[optind];
	if (sock_addr_parse(bb_str_of(o->listen_text), &o->listen, &why))
		return usage_error("listen", o->listen_text, why);
	if (o->kv_replay_text && !o->kv_events_text)
		return usage_error("kv-replay", o->kv_replay_text, "needs --kv-events as well");
	if (o->batch_tokens && o->batch_tokens < o->parallel) {
		fprintf(stderr, "busbar-engine: --batch %u: must not be less than --parallel %u\n",
			o->batch_tokens, o->parallel);
		return 2;
	}
	return 0;
}

int engine_options_parse(int argc, char **argv, struct engine_options *o)
{
	*o = (struct engine_options){
		.listen_text = "127.0.0.1:8000",
		.kv_topic = "",
		.parallel = 8,
		.queue_max = 256,
		.block_size = 16,
		.gpu_layers = -1,
		.log_level = BB_LOG_INFO,
	};
	for (;;) {
		const int option = getopt_long(argc, argv, "", long_options, NULL);
		if (option < 0)
			return check_whole(argc, argv, o);
		const int rc = parse_one(option, optarg, o);
		if (rc)
			return rc;
	}
}
