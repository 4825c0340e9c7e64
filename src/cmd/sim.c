/*
 * sim.c: `busbar sim`: its subcommands, and `busbar sim serve`: an engine that needs no GPU and no
 * model.
 */
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/sim_workload.h"
#include "gateway/model_files.h"
#include "os/process.h"
#include "sim/sim_server.h"

static const char usage[] =
	"usage: busbar sim serve --model NAME [OPTION]...\n"
	"       busbar sim workload NAME|FILE [OPTION]...  (see its --help)\n"
	"\n"
	"An engine that answers as vLLM does, with invented words and the timing that it is told.\n"
	"Once it is ready it prints \"listening on http://HOST:PORT\".\n"
	"\n"
	"  --listen ADDRESS      HOST:PORT or unix:PATH; port 0 is any free one (127.0.0.1:0)\n"
	"  --model NAME          a name it serves; may be given several times\n"
	"  --lora NAME           an adapter of the first model; may be given several times\n"
	"  --kind KIND           vllm, llamacpp, sglang, trtllm or openai (vllm)\n"
	"  --ttft TIME           to the first token (20ms)\n"
	"  --itl TIME            between two tokens (5ms)\n"
	"  --prefill-rate N      uncached prompt tokens a second, on top of --ttft (no limit)\n"
	"  --output-tokens N     of an answer whose request sets no limit (16)\n"
	"  --max-seqs N          requests that run at once; others wait (256)\n"
	"  --max-model-len N     tokens of one request (32768, or what the KV cache holds)\n"
	"  --kv-blocks N         blocks of KV cache (16384)\n"
	"  --block-size N        tokens of a block (16)\n"
	"  --kv-events ADDRESS   publishes KV events: tcp://HOST:PORT\n"
	"  --kv-replay ADDRESS   and replays them there\n"
	"  --kv-topic TEXT       their topic (empty)\n"
	"  --kv-form FORM        map (vLLM 0.3x) or array (up to 0.16) (map)\n"
	"  --load-push ADDRESS   publishes the load as SGLang does\n"
	"  --data-parallel-size N   data-parallel ranks that it says it has (1)\n"
	"  --embedding-size N    numbers of a vector (64)\n"
	"  --fault SPEC          NAME[:ARG][@P],... ; may be given several times\n"
	"  --tokenizer DIR|FILE  tokens and chats as this model has them (invented ones)\n"
	"  --seed N              of everything that is random (0)\n"
	"  --stamp               each token carries the time when it was written\n"
	"  --help                this text\n"
	"\n"
	"docs/simulated-engine.md explains the model, the faults and /sim/.\n";

struct options {
	struct sim_config config;
	struct bb_str listen;
	struct bb_str tokenizer; /* path; empty: none */
	bool has_model_len;
};

/* ---- options ---- */

enum value_kind { VALUE_NONE, VALUE_TEXT, VALUE_COUNT, VALUE_TIME, VALUE_RATE, VALUE_OTHER };

enum option {
	OPTION_LISTEN,
	OPTION_MODEL,
	OPTION_LORA,
	OPTION_KIND,
	OPTION_FAULT,
	OPTION_STAMP,
	OPTION_SEED,
	OPTION_TTFT,
	OPTION_ITL,
	OPTION_PREFILL_RATE,
	OPTION_OUTPUT_TOKENS,
	OPTION_MAX_SEQS,
	OPTION_MAX_MODEL_LEN,
	OPTION_KV_BLOCKS,
	OPTION_BLOCK_SIZE,
	OPTION_RANKS,
	OPTION_EMBEDDING_SIZE,
	OPTION_KV_EVENTS,
	OPTION_KV_REPLAY,
	OPTION_KV_TOPIC,
	OPTION_KV_FORM,
	OPTION_LOAD_PUSH,
	OPTION_TOKENIZER,
};

static const struct {
	struct bb_str name;
	enum option option;
	enum value_kind kind;
	uint32_t min, max; /* of a count */
} options[] = {
	{ BB_STR_INIT("--listen"), OPTION_LISTEN, VALUE_TEXT, 0, 0 },
	{ BB_STR_INIT("--model"), OPTION_MODEL, VALUE_OTHER, 0, 0 },
	{ BB_STR_INIT("--lora"), OPTION_LORA, VALUE_OTHER, 0, 0 },
	{ BB_STR_INIT("--kind"), OPTION_KIND, VALUE_OTHER, 0, 0 },
	{ BB_STR_INIT("--fault"), OPTION_FAULT, VALUE_OTHER, 0, 0 },
	{ BB_STR_INIT("--stamp"), OPTION_STAMP, VALUE_NONE, 0, 0 },
	{ BB_STR_INIT("--seed"), OPTION_SEED, VALUE_OTHER, 0, 0 },
	{ BB_STR_INIT("--ttft"), OPTION_TTFT, VALUE_TIME, 0, 0 },
	{ BB_STR_INIT("--itl"), OPTION_ITL, VALUE_TIME, 0, 0 },
	{ BB_STR_INIT("--prefill-rate"), OPTION_PREFILL_RATE, VALUE_RATE, 0, 0 },
	{ BB_STR_INIT("--output-tokens"), OPTION_OUTPUT_TOKENS, VALUE_COUNT, 0, 1u << 24 },
	{ BB_STR_INIT("--max-seqs"), OPTION_MAX_SEQS, VALUE_COUNT, 1, 1u << 20 },
	{ BB_STR_INIT("--max-model-len"), OPTION_MAX_MODEL_LEN, VALUE_COUNT, 1, 1u << 24 },
	{ BB_STR_INIT("--kv-blocks"), OPTION_KV_BLOCKS, VALUE_COUNT, 2, 1u << 24 },
	{ BB_STR_INIT("--block-size"), OPTION_BLOCK_SIZE, VALUE_COUNT, 1, 1u << 16 },
	{ BB_STR_INIT("--data-parallel-size"), OPTION_RANKS, VALUE_COUNT, 1, 64 },
	{ BB_STR_INIT("--embedding-size"), OPTION_EMBEDDING_SIZE, VALUE_COUNT, 1, 4096 },
	{ BB_STR_INIT("--kv-events"), OPTION_KV_EVENTS, VALUE_TEXT, 0, 0 },
	{ BB_STR_INIT("--kv-replay"), OPTION_KV_REPLAY, VALUE_TEXT, 0, 0 },
	{ BB_STR_INIT("--kv-topic"), OPTION_KV_TOPIC, VALUE_TEXT, 0, 0 },
	{ BB_STR_INIT("--kv-form"), OPTION_KV_FORM, VALUE_OTHER, 0, 0 },
	{ BB_STR_INIT("--load-push"), OPTION_LOAD_PUSH, VALUE_TEXT, 0, 0 },
	{ BB_STR_INIT("--tokenizer"), OPTION_TOKENIZER, VALUE_TEXT, 0, 0 },
};
#define OPTION_COUNT (sizeof(options) / sizeof(*options))

static const struct {
	struct bb_str word;
	enum sim_kind kind;
} kinds[] = {
	{ BB_STR_INIT("vllm"), SIM_VLLM },     { BB_STR_INIT("llamacpp"), SIM_LLAMACPP },
	{ BB_STR_INIT("sglang"), SIM_SGLANG }, { BB_STR_INIT("trtllm"), SIM_TRTLLM },
	{ BB_STR_INIT("openai"), SIM_OPENAI },
};

static int set_kind(struct sim_config *c, struct bb_str value)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (bb_str_eq(value, kinds[i].word)) {
			c->kind = kinds[i].kind;
			return 0;
		}
	return -BB_EINVALID;
}

/* Names stand in JSON, in labels and in messages: printable, without quotes. */
static int add_name(struct bb_str *names, uint32_t *count, struct bb_str value)
{
	if (value.len == 0 || value.len > 255 || *count == SIM_MODELS_MAX)
		return -BB_EINVALID;
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.p[i] < ' ' || value.p[i] == '"' || value.p[i] == '\\')
			return -BB_EINVALID;
	names[(*count)++] = value;
	return 0;
}

static struct bb_str *text_of(struct options *o, enum option option)
{
	if (option == OPTION_LISTEN)
		return &o->listen;
	if (option == OPTION_LOAD_PUSH)
		return &o->config.load_push;
	if (option == OPTION_TOKENIZER)
		return &o->tokenizer;
	if (option == OPTION_KV_EVENTS)
		return &o->config.kv_events;
	return option == OPTION_KV_REPLAY ? &o->config.kv_replay : &o->config.kv_topic;
}

static uint32_t *count_of(struct options *o, enum option option)
{
	struct sim_config *c = &o->config;

	if (option == OPTION_OUTPUT_TOKENS)
		return &c->output_tokens;
	if (option == OPTION_MAX_SEQS)
		return &c->engine.seqs_max;
	if (option == OPTION_KV_BLOCKS)
		return &c->engine.kv_blocks;
	if (option == OPTION_BLOCK_SIZE)
		return &c->engine.block_size;
	if (option == OPTION_RANKS)
		return &c->ranks;
	if (option == OPTION_EMBEDDING_SIZE)
		return &c->embedding_size;
	o->has_model_len = true;
	return &c->model_len_max;
}

static int set_count(struct options *o, size_t i, struct bb_str value)
{
	uint64_t number;

	if (bb_parse_u64(value, &number) || number < options[i].min || number > options[i].max)
		return -BB_EINVALID;
	*count_of(o, options[i].option) = (uint32_t)number;
	return 0;
}

static int set_option(struct options *o, size_t i, struct bb_str value, const char **why)
{
	struct sim_config *c = &o->config;

	switch (options[i].kind) {
	case VALUE_NONE: c->stamp = SIM_STAMP_TOKENS; return 0;
	case VALUE_TEXT: *text_of(o, options[i].option) = value; return 0;
	case VALUE_COUNT:
		*why = "a whole number in its range is needed";
		return set_count(o, i, value);
	case VALUE_TIME:
		*why = "a time with its unit is needed, as in 20ms";
		return bb_parse_duration_ns(value, options[i].option == OPTION_TTFT
							   ? &c->engine.ttft_ns
							   : &c->engine.itl_ns);
	case VALUE_RATE:
		*why = "a number of tokens a second is needed";
		if (bb_parse_double(value, &c->engine.prefill_tokens_per_s))
			return -BB_EINVALID;
		return c->engine.prefill_tokens_per_s >= 0 ? 0 : -BB_EINVALID;
	case VALUE_OTHER: break;
	}
	if (options[i].option == OPTION_MODEL || options[i].option == OPTION_LORA) {
		*why = "a name of at most 255 printable bytes is needed, and at most 32 of them";
		return options[i].option == OPTION_MODEL
			       ? add_name(c->models, &c->model_count, value)
			       : add_name(c->loras, &c->lora_count, value);
	}
	if (options[i].option == OPTION_FAULT)
		return sim_faults_parse(value, &c->faults, why);
	if (options[i].option == OPTION_SEED) {
		*why = "a whole number is needed";
		return bb_parse_u64(value, &c->seed);
	}
	if (options[i].option == OPTION_KV_FORM) {
		*why = "map or array is needed";
		c->kv_form = bb_str_eq(value, BB_STR("array")) ? KV_FORM_ARRAY : KV_FORM_MAP;
		return c->kv_form == KV_FORM_ARRAY || bb_str_eq(value, BB_STR("map")) ? 0
										      : -BB_EINVALID;
	}
	*why = "one of vllm, llamacpp, sglang, trtllm and openai is needed";
	return set_kind(c, value);
}

static int parse_options(int argc, char **argv, struct options *o)
{
	for (int k = 2; k < argc; k++) {
		const struct bb_str name = bb_str_of(argv[k]);
		const char *why = "";
		size_t i = 0;
		while (i < OPTION_COUNT && !bb_str_eq(name, options[i].name))
			i++;
		if (i == OPTION_COUNT) {
			fprintf(stderr, "busbar sim: unknown option %s (see busbar sim --help)\n",
				argv[k]);
			return 2;
		}
		if (options[i].kind != VALUE_NONE && ++k == argc) {
			fprintf(stderr, "busbar sim: %s needs a value\n", argv[k - 1]);
			return 2;
		}
		if (set_option(o, i, bb_str_of(argv[k]), &why)) {
			fprintf(stderr, "busbar sim: %.*s %s: %s\n", BB_ARG(name), argv[k], why);
			return 2;
		}
	}
	if (o->config.model_count == 0) {
		fprintf(stderr, "busbar sim: --model is needed (see busbar sim --help)\n");
		return 2;
	}
	/* A length that nobody asked for must not be what stops it. */
	const struct sim_engine_params *e = &o->config.engine;
	const uint64_t tokens_max = (uint64_t)(e->kv_blocks - 1) * e->block_size;
	if (!o->has_model_len && o->config.model_len_max > tokens_max)
		o->config.model_len_max = (uint32_t)tokens_max;
	return 0;
}

/* ---- running ---- */

struct run {
	struct loop *loop;
	struct signal_watch signals;
};

static void on_signal(struct signal_watch *w, int signal_number)
{
	loop_stop(w->loop);
}

static int listen_at(struct bb_str text, struct sim_server *server)
{
	struct sock_addr addr, bound;
	char name[SOCK_TEXT_SIZE];
	const char *why = "";

	if (sock_addr_parse(text, &addr, &why)) {
		fprintf(stderr, "busbar sim: --listen %.*s: %s\n", BB_ARG(text), why);
		return 2;
	}
	const int fd = sock_listen(&addr, SOCK_EXCLUSIVE, 1024, &why);
	if (fd < 0 || sock_local_addr(fd, &bound) || sim_server_listen(server, fd)) {
		fprintf(stderr, "busbar sim: cannot listen at %.*s: %s\n", BB_ARG(text), why);
		return 1;
	}
	sock_addr_text(&bound, name);
	printf("listening on %s%s\n",
	       bb_str_starts(bb_str_of(name), BB_STR("unix:")) ? "" : "http://", name);
	fflush(stdout);
	return 0;
}

static int run_server(const struct options *o)
{
	static const int signals[] = { SIGTERM, SIGINT };
	struct run run = { 0 };
	struct sim_server *server;
	const char *why = "out of memory";
	int rc = loop_create(&run.loop);

	if (rc == 0)
		rc = signal_watch_init(run.loop, &run.signals, signals, 2, on_signal);
	if (rc) {
		fprintf(stderr, "busbar sim: %s\n", bb_error_info(rc)->text);
		loop_destroy(run.loop);
		return 1;
	}
	process_raise_fd_limit();
	rc = sim_server_create(&o->config, run.loop, &server, &why);
	if (rc) {
		fprintf(stderr, "busbar sim: %s\n", why);
		rc = rc == -BB_EINVALID ? 2 : 1;
	} else {
		rc = listen_at(o->listen, server);
		if (rc == 0)
			loop_run(run.loop);
		sim_server_destroy(server);
	}
	signal_watch_fini(&run.signals);
	loop_destroy(run.loop);
	return rc;
}

/* A model's tokenizer, and its template where it has one. */
static int text_load(const char *path, struct tokenizer **tokenizer, struct chat_text **chat)
{
	struct model_files files = { 0 };
	struct text_error e = { "" };
	char why[MODEL_FILES_WHY_SIZE] = "";
	int rc = model_files_read(path, MODEL_FILES_TOKENIZER | MODEL_FILES_CHAT, &files, why);

	if (rc == 0)
		rc = model_files_tokenizer(&files, tokenizer, &e);
	if (rc == 0) {
		rc = model_files_chat(&files, chat, &e);
		if (rc == -BB_EABSENT)
			rc = 0;
	}
	model_files_free(&files);
	if (rc == 0)
		return 0;
	fprintf(stderr, "busbar sim: --tokenizer %s: %s\n", path, why[0] ? why : e.message);
	return 2;
}

int cmd_sim(int argc, char **argv)
{
	struct options o = { .listen = BB_STR("127.0.0.1:0") };

	if (argc >= 2 && bb_str_eq(bb_str_of(argv[1]), BB_STR("workload")))
		return sim_workload(argc - 1, argv + 1);
	if (argc < 2 || !bb_str_eq(bb_str_of(argv[1]), BB_STR("serve"))) {
		const bool asked = argc >= 2 && bb_str_eq(bb_str_of(argv[1]), BB_STR("--help"));
		fputs(usage, asked ? stdout : stderr);
		return asked ? 0 : 2;
	}
	for (int i = 2; i < argc; i++)
		if (bb_str_eq(bb_str_of(argv[i]), BB_STR("--help"))) {
			fputs(usage, stdout);
			return 0;
		}
	sim_config_default(&o.config);
	int rc = parse_options(argc, argv, &o);
	if (rc)
		return rc;
	struct tokenizer *tokenizer = NULL;
	struct chat_text *chat = NULL;
	if (o.tokenizer.len)
		rc = text_load(o.tokenizer.p, &tokenizer, &chat);
	o.config.tokenizer = tokenizer;
	o.config.chat = chat;
	if (rc == 0)
		rc = run_server(&o);
	chat_text_destroy(chat);
	tokenizer_destroy(tokenizer);
	return rc;
}
