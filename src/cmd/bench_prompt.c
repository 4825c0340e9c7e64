/*
 * bench_prompt.c: `busbar bench prompt`: what a long conversation costs the gateway: its prompt
 * rendered, tokenized and cut into blocks; the first time, and when only its last turn is new.
 */
#include "cmd/bench_prompt.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "gateway/model_text.h"
#include "os/clock.h"
#include "os/process.h"
#include "text/block_hash.h"

#define TEXT_MAX (256u << 20)
#define BODY_MAX (64u << 20)
#define CACHE_SIZE (64u << 20)
#define MESSAGE_BYTES 3000
#define MESSAGES_FIRST 8
#define BLOCK_TOKENS 16
#define ROUNDS_MAX 1000
#define TOKENS_MAX 4000000

static const char usage[] =
	"usage: busbar bench prompt --tokenizer PATH [OPTION]... FILE\n"
	"\n"
	"Makes a conversation of the text in FILE (as often as it takes) and measures on one "
	"thread what\n"
	"a request with it costs before an engine is chosen: chat template, tokens, block hashes.\n"
	"cold: nothing is known of it; warm: all but its last two messages are in the prompt "
	"cache.\n"
	"\n"
	"  --tokenizer PATH      folder with tokenizer.json and the chat template, or a GGUF file\n"
	"  --chat-template FILE  another chat template\n"
	"  --tokens N            how long the conversation is, about (128000)\n"
	"  --rounds N            of each kind; the median is told (21)\n"
	"  --json                one JSON object instead of a table\n"
	"  --help                this text\n";

enum stage { RENDER, TOKENS, HASHES, ALL, STAGES };
static const char *const stage_names[] = { "template", "tokens", "hashes", "all" };

struct bench {
	struct model_text *model;
	struct text_work *work;
	struct prompt_cache *cache;
	struct bb_buf before, body; /* requests: all but the last turn; all */
	uint64_t *hashes;
	size_t prompt_bytes, token_count, block_count;
	uint64_t rounds;
};

/* ---- the conversation ---- */

/* Whole characters of the text from *at on, which goes round. */
static struct bb_str slice(struct bb_str text, size_t *at)
{
	if (text.len - *at < MESSAGE_BYTES)
		*at = 0;
	size_t begin = *at, end = begin + MESSAGE_BYTES;
	if (end > text.len)
		end = text.len;
	while (begin < end && (text.p[begin] & 0xc0) == 0x80)
		begin++;
	while (end > begin && end < text.len && (text.p[end] & 0xc0) == 0x80)
		end--;
	*at = end;
	return (struct bb_str){ text.p + begin, end - begin };
}

static void message_add(struct bb_buf *b, size_t index, struct bb_str text)
{
	bb_buf_printf(b, "%s{\"role\":\"%s\",\"content\":", index ? "," : "",
		      index == 0  ? "system"
		      : index % 2 ? "user"
				  : "assistant");
	bb_buf_add_json(b, text);
	bb_buf_lit(b, "}");
}

static int prepare(struct bench *n, const struct bb_buf *body, struct prompt_cache *cache,
		   uint64_t ns[STAGES])
{
	const struct block_key key = { .secret = 1 };
	struct block_hasher hasher;
	struct text_error e = { "" };
	struct bb_str prompt;
	struct token_list *ids = text_ids(n->work);
	const uint64_t begin = clock_now_ns();

	int rc = model_text_render(n->model, n->work, bb_buf_str(body), TEMPLATE_AS_VLLM, &prompt,
				   &e);
	if (rc) {
		fprintf(stderr, "busbar bench prompt: the template gives no prompt: %s\n",
			e.message);
		return rc;
	}
	const uint64_t rendered = clock_now_ns();
	ids->count = 0;
	rc = model_text_encode(n->model, n->work, cache, 0, prompt, 0);
	if (!rc)
		rc = block_hasher_init(&hasher, BLOCK_OWN, BLOCK_TOKENS, &key);
	if (rc)
		return rc;
	const uint64_t encoded = clock_now_ns();
	n->block_count = n->hashes ? block_hash(&hasher, ids->ids, ids->count, n->hashes) : 0;
	const uint64_t end = clock_now_ns();
	n->prompt_bytes = prompt.len;
	n->token_count = ids->count;
	if (ns) {
		ns[RENDER] = rendered - begin;
		ns[TOKENS] = encoded - rendered;
		ns[HASHES] = end - encoded;
		ns[ALL] = end - begin;
	}
	return 0;
}

/* A few messages tell how many are needed for so many tokens; `before` lacks the last two. */
static int conversation_make(struct bench *n, struct bb_str text, uint64_t tokens)
{
	static const char head[] = "{\"model\":\"m\",\"messages\":[";
	size_t at = 0, ends[3] = { 0 };
	uint64_t wanted = MESSAGES_FIRST;

	bb_buf_lit(&n->body, head);
	for (uint64_t count = 0; count < wanted && !n->body.err;) {
		ends[0] = ends[1];
		ends[1] = ends[2];
		message_add(&n->body, count++, slice(text, &at));
		ends[2] = n->body.len;
		if (count != MESSAGES_FIRST)
			continue;
		bb_buf_lit(&n->body, "]}");
		const int rc = n->body.err ? n->body.err : prepare(n, &n->body, NULL, NULL);
		if (rc)
			return rc;
		n->body.len -= 2;
		wanted = tokens * MESSAGES_FIRST / (n->token_count + 1);
	}
	bb_buf_lit(&n->body, "]}");
	bb_buf_add(&n->before, n->body.p, ends[0]);
	bb_buf_lit(&n->before, "]}");
	return n->body.err     ? n->body.err
	       : n->before.err ? n->before.err
			       : prepare(n, &n->body, NULL, NULL);
}

/* ---- measuring ---- */

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int measure(struct bench *n, const char *kind, uint64_t median[STAGES])
{
	uint64_t ns[STAGES], *all[STAGES];
	const bool is_warm = kind[0] == 'w';
	int rc = 0;

	for (int s = 0; s < STAGES; s++) {
		all[s] = bb_alloc_zero(n->rounds, sizeof(uint64_t));
		rc |= all[s] ? 0 : -BB_ENOMEM;
	}
	for (uint64_t i = 0; i < n->rounds && !rc; i++) {
		prompt_cache_destroy(n->cache);
		n->cache = NULL;
		rc = prompt_cache_create(CACHE_SIZE, i + 1, &n->cache);
		if (!rc && is_warm)
			rc = prepare(n, &n->before, n->cache, NULL);
		if (!rc)
			rc = prepare(n, &n->body, n->cache, ns);
		for (int s = 0; s < STAGES && !rc; s++)
			all[s][i] = ns[s];
	}
	for (int s = 0; s < STAGES; s++) {
		if (!rc) {
			qsort(all[s], n->rounds, sizeof(uint64_t), by_value);
			median[s] = all[s][n->rounds / 2];
		}
		bb_free(all[s]);
	}
	return rc;
}

enum output { OUTPUT_TABLE, OUTPUT_JSON };

static void report(const struct bench *n, uint64_t ms[2][STAGES], enum output output)
{
	static const char *const kinds[] = { "cold", "warm" };

	if (output == OUTPUT_JSON) {
		printf("{\"prompt_bytes\":%zu,\"tokens\":%zu,\"blocks\":%zu", n->prompt_bytes,
		       n->token_count, n->block_count);
		for (int k = 0; k < 2; k++) {
			printf(",\"%s_ms\":{", kinds[k]);
			for (int s = 0; s < STAGES; s++)
				printf("%s\"%s\":%.4f", s ? "," : "", stage_names[s],
				       (double)ms[k][s] / 1e6);
			printf("}");
		}
		printf("}\n");
		return;
	}
	printf("%zu bytes of request, %zu of prompt, %zu tokens, %zu blocks of %d; median of "
	       "%llu\n\n",
	       n->body.len, n->prompt_bytes, n->token_count, n->block_count, BLOCK_TOKENS,
	       (unsigned long long)n->rounds);
	printf("%-6s", "ms");
	for (int s = 0; s < STAGES; s++)
		printf(" %10s", stage_names[s]);
	for (int k = 0; k < 2; k++) {
		printf("\n%-6s", kinds[k]);
		for (int s = 0; s < STAGES; s++)
			printf(" %10.3f", (double)ms[k][s] / 1e6);
	}
	printf("\n");
}

static int run(struct bench *n, struct bb_str text, uint64_t tokens, enum output output)
{
	uint64_t ms[2][STAGES] = { { 0 } };
	int rc = text_work_create(&n->work);

	if (!rc && !n->model->chat) {
		fprintf(stderr,
			"busbar bench prompt: %s has no chat template; --chat-template names one\n",
			n->model->path);
		return -BB_EINVALID;
	}
	if (!rc)
		rc = conversation_make(n, text, tokens);
	if (!rc) {
		n->hashes = bb_alloc_zero(n->token_count / BLOCK_TOKENS + 1, sizeof(uint64_t));
		rc = n->hashes ? 0 : -BB_ENOMEM;
	}
	if (!rc)
		rc = measure(n, "cold", ms[0]);
	if (!rc)
		rc = measure(n, "warm", ms[1]);
	if (!rc)
		report(n, ms, output);
	else
		fprintf(stderr, "busbar bench prompt: %s\n", bb_error_info(rc)->text);
	return rc;
}

static int bench(const char *tokenizer, const char *template_path, const char *file,
		 uint64_t tokens, uint64_t rounds, enum output output)
{
	struct bench n = { .rounds = rounds };
	char why[MODEL_TEXT_WHY_SIZE];
	char *text = NULL;
	size_t len;

	int rc = file_read(file, TEXT_MAX, &text, &len);
	if (rc || len == 0) {
		fprintf(stderr, "busbar bench prompt: %s cannot be read: %s\n", file,
			rc == -BB_ESYSTEM ? strerror(errno)
			: rc		  ? bb_error_info(rc)->text
					  : "it is empty");
		bb_free(text);
		return 1;
	}
	bb_buf_init(&n.before, BODY_MAX);
	bb_buf_init(&n.body, BODY_MAX);
	rc = model_text_load(tokenizer, template_path, &n.model, why);
	if (rc)
		fprintf(stderr, "busbar bench prompt: %s\n", why);
	else
		rc = run(&n, (struct bb_str){ text, len }, tokens, output);
	bb_buf_fini(&n.before);
	bb_buf_fini(&n.body);
	bb_free(n.hashes);
	bb_free(text);
	prompt_cache_destroy(n.cache);
	text_work_destroy(n.work);
	model_text_put(n.model);
	return rc ? 1 : 0;
}

static bool number(const char *text, uint64_t max, uint64_t *out)
{
	return bb_parse_u64(bb_str_of(text), out) == 0 && *out > 0 && *out <= max;
}

int bench_prompt(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "tokenizer", required_argument, NULL, 't' },
		{ "chat-template", required_argument, NULL, 'c' },
		{ "tokens", required_argument, NULL, 'n' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *tokenizer = NULL, *template_path = NULL;
	uint64_t tokens = 128000, rounds = 21;
	enum output output = OUTPUT_TABLE;
	bool ok = true;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 't': tokenizer = optarg; break;
		case 'c': template_path = optarg; break;
		case 'n': ok &= number(optarg, TOKENS_MAX, &tokens); break;
		case 'r': ok &= number(optarg, ROUNDS_MAX, &rounds); break;
		case 'j': output = OUTPUT_JSON; break;
		case 'h': return fputs(usage, stdout) < 0;
		default: ok = false;
		}
	}
	if (!ok || !tokenizer || optind != argc - 1) {
		fputs(usage, stderr);
		return 2;
	}
	return bench(tokenizer, template_path, argv[optind], tokens, rounds, output);
}
