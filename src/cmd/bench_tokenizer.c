#include "cmd/bench_tokenizer.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cmd/tokenizer_file.h"
#include "os/clock.h"
#include "os/process.h"

#define COMMAND "busbar bench tokenizer"
#define PASSES_MAX 1000u

static const char usage[] =
	"usage: busbar bench tokenizer --tokenizer DIR|FILE [OPTION]... FILE\n"
	"\n"
	"Measures one thread that tokenizes the text in FILE, in CPU time; medians of the passes.\n"
	"\n"
	"  --tokenizer PATH  a folder with tokenizer.json, a tokenizer.json, or a GGUF file\n"
	"  --passes N        how often (5)\n"
	"  --piece SIZE      as texts of this size (32KiB), cut at line ends; 0: the whole file\n"
	"  --json            one JSON object instead of a table\n"
	"  --help            this text\n"
	"\n"
	"cold    the first time that the text is seen: the cache of words is empty at its begin\n"
	"warm    the same text again\n"
	"count   the same, without storing ids\n"
	"decode  all ids back to text\n"
	"Exit: 0 done, 1 failed, 2 wrong usage or a tokenizer that cannot be used.\n";

enum option_id { OPTION_TOKENIZER = 256, OPTION_PASSES, OPTION_PIECE, OPTION_JSON, OPTION_HELP };

static const struct option option_table[] = {
	{ "tokenizer", required_argument, NULL, OPTION_TOKENIZER },
	{ "passes", required_argument, NULL, OPTION_PASSES },
	{ "piece", required_argument, NULL, OPTION_PIECE },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

enum measure { MEASURE_COLD, MEASURE_WARM, MEASURE_COUNT, MEASURE_DECODE, MEASURES };
static const char *const measure_names[MEASURES] = { "cold", "warm", "count", "decode" };

struct bench {
	const char *tokenizer_path, *text_path;
	uint64_t passes, piece;
	bool is_json;
	struct tokenizer *t;
	struct bb_str text;
	struct token_list ids;
	struct bb_buf decoded;
	uint64_t load_ns;
	uint64_t ns[MEASURES][PASSES_MAX];
};

static int usage_error(const char *what)
{
	if (what)
		fprintf(stderr, COMMAND ": %s\n", what);
	fputs("try: " COMMAND " --help\n", stderr);
	return 2;
}

/* 0, the exit code of the process, or -1 when help was asked for and given. */
static int read_options(struct bench *b, int argc, char **argv)
{
	int id;

	optind = 1;
	while ((id = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
		switch (id) {
		case OPTION_TOKENIZER: b->tokenizer_path = optarg; break;
		case OPTION_PASSES:
			if (bb_parse_u64(bb_str_of(optarg), &b->passes) || b->passes < 1 ||
			    b->passes > PASSES_MAX)
				return usage_error("--passes: 1 to 1000");
			break;
		case OPTION_PIECE:
			if (strcmp(optarg, "0") == 0)
				b->piece = 0;
			else if (bb_parse_size(bb_str_of(optarg), &b->piece))
				return usage_error("--piece: a size like 32KiB");
			break;
		case OPTION_JSON: b->is_json = true; break;
		case OPTION_HELP: return fputs(usage, stdout) < 0 ? 1 : -1;
		default: return usage_error(NULL);
		}
	}
	if (!b->tokenizer_path)
		return usage_error("--tokenizer is needed");
	if (argc - optind != 1)
		return usage_error("one file of text is needed");
	b->text_path = argv[optind];
	return 0;
}

/* ---- measuring ---- */

/* Cuts a piece off: up to the line end behind its size. */
static struct bb_str next_piece(const struct bench *b, struct bb_str *rest)
{
	struct bb_str piece = *rest;

	if (b->piece && b->piece < rest->len) {
		const char *const end = memchr(rest->p + b->piece, '\n', rest->len - b->piece);
		if (end)
			piece.len = (size_t)(end - rest->p) + 1;
	}
	*rest = bb_str_skip(*rest, piece.len);
	return piece;
}

static int encode_all(struct bench *b, struct tokenizer_work *w)
{
	struct bb_str rest = b->text;
	int rc = 0;

	token_list_clear(&b->ids);
	while (!rc && rest.len)
		rc = tokenizer_encode(b->t, w, next_piece(b, &rest), 0, &b->ids);
	return rc;
}

static int count_all(struct bench *b, struct tokenizer_work *w)
{
	struct bb_str rest = b->text;
	uint64_t count;
	int rc = 0;

	while (!rc && rest.len)
		rc = tokenizer_count(b->t, w, next_piece(b, &rest), 0, &count);
	return rc;
}

static int measure_pass(struct bench *b, uint64_t pass)
{
	struct tokenizer_work *w;
	uint64_t at[MEASURES + 1];

	int rc = tokenizer_work_create(b->t, &w);
	if (rc)
		return rc;
	at[0] = clock_thread_cpu_ns();
	rc = encode_all(b, w);
	at[1] = clock_thread_cpu_ns();
	if (!rc)
		rc = encode_all(b, w);
	at[2] = clock_thread_cpu_ns();
	if (!rc)
		rc = count_all(b, w);
	at[3] = clock_thread_cpu_ns();
	bb_buf_clear(&b->decoded);
	if (!rc)
		rc = tokenizer_decode(b->t, b->ids.ids, b->ids.count, 0, &b->decoded);
	at[4] = clock_thread_cpu_ns();
	for (int i = 0; i < MEASURES; i++)
		b->ns[i][pass] = at[i + 1] - at[i];
	tokenizer_work_destroy(w);
	return rc;
}

static int by_value(const void *x, const void *y)
{
	const uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

static double median_s(struct bench *b, enum measure m)
{
	qsort(b->ns[m], b->passes, sizeof(b->ns[m][0]), by_value);
	const uint64_t ns = b->ns[m][b->passes / 2];
	return (double)(ns ? ns : 1) / 1e9;
}

/* ---- the report ---- */

static int report(struct bench *b)
{
	struct tokenizer_facts facts;
	const double mb = (double)b->text.len / 1e6, tokens = (double)b->ids.count;

	tokenizer_facts(b->t, &facts);
	if (b->is_json)
		printf("{\"model\":\"%s\",\"split\":\"%s\",\"vocab\":%u,\"load_ms\":%.2f,\"memory_"
		       "mb\":%.2f,"
		       "\"bytes\":%zu,\"tokens\":%zu",
		       facts.model, facts.split, facts.vocab_count, (double)b->load_ns / 1e6,
		       (double)facts.bytes / 1e6, b->text.len, b->ids.count);
	else
		printf("model %s, split %s, vocabulary %u\nload %.1f ms, memory %.1f MB\n"
		       "text %.2f MB, %zu tokens\n%-8s %10s %14s\n",
		       facts.model, facts.split, facts.vocab_count, (double)b->load_ns / 1e6,
		       (double)facts.bytes / 1e6, mb, b->ids.count, "", "MB/s", "tokens/s");
	for (int i = 0; i < MEASURES; i++) {
		const double s = median_s(b, i);
		if (b->is_json)
			printf(",\"%s_mb_s\":%.2f,\"%s_tokens_s\":%.0f", measure_names[i], mb / s,
			       measure_names[i], tokens / s);
		else
			printf("%-8s %10.1f %14.0f\n", measure_names[i], mb / s, tokens / s);
	}
	if (b->is_json)
		puts("}");
	return fflush(stdout) ? 1 : 0;
}

static int run(struct bench *b)
{
	char *text;
	size_t len;
	const uint64_t begin = clock_thread_cpu_ns();

	int rc = tokenizer_file_load(COMMAND, b->tokenizer_path, &b->t);
	if (rc)
		return rc;
	b->load_ns = clock_thread_cpu_ns() - begin;
	rc = file_read(b->text_path, TOKENIZER_TEXT_MAX, &text, &len);
	if (rc) {
		tokenizer_destroy(b->t);
		return tokenizer_file_failed(COMMAND, b->text_path, rc);
	}
	b->text = (struct bb_str){ text, len };
	token_list_init(&b->ids, SIZE_MAX, TOKEN_IDS);
	bb_buf_init(&b->decoded, SIZE_MAX);
	for (uint64_t i = 0; !rc && i < b->passes; i++)
		rc = measure_pass(b, i);
	rc = rc ? tokenizer_file_failed(COMMAND, b->text_path, rc) : report(b);
	bb_free(text);
	token_list_fini(&b->ids);
	bb_buf_fini(&b->decoded);
	tokenizer_destroy(b->t);
	return rc;
}

int bench_tokenizer(int argc, char **argv)
{
	struct bench *const b = bb_alloc_zero(1, sizeof(*b));

	if (!b)
		return tokenizer_file_failed(COMMAND, NULL, -BB_ENOMEM);
	b->passes = 5;
	b->piece = 32768;
	int rc = read_options(b, argc, argv);
	if (!rc)
		rc = run(b);
	bb_free(b);
	return rc < 0 ? 0 : rc;
}
