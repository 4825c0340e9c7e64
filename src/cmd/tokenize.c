/* tokenize.c: `busbar tokenize` and `busbar detokenize`: text to ids and back. */
#include <getopt.h>
#include <stdio.h>

#include "base/alloc.h"
#include "cmd/cmd.h"
#include "cmd/tokenizer_file.h"
#include "os/process.h"
#include "text/block_hash.h"
#include "wire/json.h"

/* What is read at once; one text has its own limit. */
#define INPUT_MAX ((size_t)4 << 30)
#define IDS_MAX ((size_t)TOKENIZER_TEXT_MAX + 1024)

static const char tokenize_usage[] =
	"usage: busbar tokenize --tokenizer DIR|FILE [OPTION]... [FILE|-]\n"
	"\n"
	"Prints the token ids of a text on one line, as the model's own tokenizer gives them.\n"
	"\n"
	"  --tokenizer PATH  a folder with tokenizer.json, a tokenizer.json, or a GGUF file\n"
	"  --count           print how many there are instead\n"
	"  --no-special      without the tokens that are put before and behind a text (begin, "
	"end)\n"
	"  --lines           each line of the input is a JSON string; a line of ids for each\n"
	"  --blocks N        print the hash of each whole block of N tokens instead, chained, in hex\n"
	"  --scheme NAME     own (the default, with the secret 0), dynamo, or dynamo-local: Dynamo's\n"
	"                    hashes of the single blocks, without a chain\n"
	"  --salt TEXT, --lora NAME\n"
	"                    what else goes into the hashes\n"
	"  --help            this text\n"
	"\n"
	"Without FILE, or with -, the text is standard input. What looks like a special token in "
	"it\n"
	"is one. Malformed UTF-8 counts as U+FFFD.\n"
	"Exit: 0 done, 1 failed, 2 wrong usage or a tokenizer that cannot be used.\n";

static const char detokenize_usage[] =
	"usage: busbar detokenize --tokenizer DIR|FILE [OPTION]... [FILE|-]\n"
	"\n"
	"Prints the text of token ids, which are separated by white space.\n"
	"\n"
	"  --tokenizer PATH  a folder with tokenizer.json, a tokenizer.json, or a GGUF file\n"
	"  --no-special      leave special tokens out\n"
	"  --lines           each line of the input holds ids; a JSON string for each\n"
	"  --help            this text\n"
	"\n"
	"Without FILE, or with -, the ids are standard input. Bytes that are no UTF-8 come out as\n"
	"U+FFFD. Ids that the tokenizer does not have are left out.\n"
	"Exit: 0 done, 1 failed, 2 wrong usage or a tokenizer that cannot be used.\n";

enum option_id {
	OPTION_TOKENIZER = 256,
	OPTION_COUNT,
	OPTION_NO_SPECIAL,
	OPTION_LINES,
	OPTION_BLOCKS,
	OPTION_SCHEME,
	OPTION_SALT,
	OPTION_LORA,
	OPTION_HELP
};

static const struct option tokenize_options[] = {
	{ "tokenizer", required_argument, NULL, OPTION_TOKENIZER },
	{ "count", no_argument, NULL, OPTION_COUNT },
	{ "no-special", no_argument, NULL, OPTION_NO_SPECIAL },
	{ "lines", no_argument, NULL, OPTION_LINES },
	{ "blocks", required_argument, NULL, OPTION_BLOCKS },
	{ "scheme", required_argument, NULL, OPTION_SCHEME },
	{ "salt", required_argument, NULL, OPTION_SALT },
	{ "lora", required_argument, NULL, OPTION_LORA },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

static const struct option detokenize_options[] = {
	{ "tokenizer", required_argument, NULL, OPTION_TOKENIZER },
	{ "no-special", no_argument, NULL, OPTION_NO_SPECIAL },
	{ "lines", no_argument, NULL, OPTION_LINES },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

struct job {
	const char *command; /* "busbar tokenize": begins the messages */
	const char *tokenizer_path, *input_path;
	bool is_count, has_lines;
	uint64_t block_tokens; /* 0: ids are wanted */
	bool is_local;         /* blocks without a chain */
	enum block_scheme scheme;
	struct block_key key;
	struct block_hasher hasher;
	unsigned flags;
	struct tokenizer *t;
	struct tokenizer_work *work;
	struct token_list ids;
	struct bb_buf text, out;
};

/* What is done with the whole input or with each line: the result is appended to j->out. */
typedef int on_text(struct job *j, struct bb_str text);

/* ---- the command line ---- */

static int usage_error(const char *command, const char *what)
{
	if (what)
		fprintf(stderr, "%s: %s\n", command, what);
	fprintf(stderr, "try: %s --help\n", command);
	return 2;
}

static bool read_scheme(struct job *j, const char *name)
{
	j->is_local = strcmp(name, "dynamo-local") == 0;
	j->scheme = strcmp(name, "own") == 0 ? BLOCK_OWN : BLOCK_DYNAMO;
	return j->scheme == BLOCK_OWN || j->is_local || strcmp(name, "dynamo") == 0;
}

static int prepare_blocks(struct job *j)
{
	if (j->block_tokens &&
	    (j->block_tokens > BLOCK_TOKENS_MAX ||
	     block_hasher_init(&j->hasher, j->scheme, (uint32_t)j->block_tokens, &j->key)))
		return usage_error(j->command, "--blocks is from 1 to 1024");
	return 0;
}

/* 0, the exit code of the process, or -1 when help was asked for and given. */
static int read_options(struct job *j, int argc, char **argv, const struct option *options,
			const char *usage, unsigned no_special)
{
	int id;

	optind = 1;
	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (id) {
		case OPTION_TOKENIZER: j->tokenizer_path = optarg; break;
		case OPTION_COUNT: j->is_count = true; break;
		case OPTION_NO_SPECIAL: j->flags ^= no_special; break;
		case OPTION_LINES: j->has_lines = true; break;
		case OPTION_BLOCKS:
			if (bb_parse_u64(bb_str_of(optarg), &j->block_tokens) || !j->block_tokens)
				return usage_error(j->command, "--blocks is from 1 to 1024");
			break;
		case OPTION_SCHEME:
			if (!read_scheme(j, optarg))
				return usage_error(j->command,
						   "--scheme is own, dynamo or dynamo-local");
			break;
		case OPTION_SALT: j->key.salt = bb_str_of(optarg); break;
		case OPTION_LORA: j->key.lora = bb_str_of(optarg); break;
		case OPTION_HELP: return fputs(usage, stdout) < 0 ? 1 : -1;
		default: return usage_error(j->command, NULL);
		}
	}
	if (!j->tokenizer_path)
		return usage_error(j->command, "--tokenizer is needed");
	if (argc - optind > 1)
		return usage_error(j->command, "one file at the most");
	j->input_path = optind < argc ? argv[optind] : "-";
	return prepare_blocks(j);
}

/* ---- the work ---- */

static int print_blocks(struct job *j)
{
	const size_t count = block_count(&j->hasher, j->ids.count);
	uint64_t *hashes = bb_alloc_zero(count + 1, sizeof(*hashes));

	if (!hashes)
		return -BB_ENOMEM;
	block_hash(&j->hasher, j->ids.ids, j->ids.count, hashes);
	for (size_t i = 0; i < count; i++) {
		const uint32_t *block = j->ids.ids + i * j->block_tokens;
		const uint64_t hash = j->is_local ? block_hash_local(&j->hasher, block, NULL, 0)
						  : hashes[i];
		bb_buf_printf(&j->out, "%s%016llx", i ? " " : "", (unsigned long long)hash);
	}
	bb_free(hashes);
	return j->out.err;
}

static int tokenize_text(struct job *j, struct bb_str text)
{
	uint64_t count;

	if (j->is_count) {
		const int rc = tokenizer_count(j->t, j->work, text, j->flags, &count);
		if (!rc)
			bb_buf_add_u64(&j->out, count);
		return rc;
	}
	token_list_clear(&j->ids);
	const int rc = tokenizer_encode(j->t, j->work, text, j->flags, &j->ids);
	if (!rc && j->block_tokens)
		return print_blocks(j);
	for (size_t i = 0; !rc && i < j->ids.count; i++) {
		if (i)
			bb_buf_lit(&j->out, " ");
		bb_buf_add_u64(&j->out, j->ids.ids[i]);
	}
	return rc ? rc : j->out.err;
}

static int tokenize_line(struct job *j, struct bb_str line)
{
	if (json_check(line, 1, NULL) || json_type_of(line) != JSON_STRING)
		return -BB_ESYNTAX;
	bb_buf_clear(&j->text);
	const int rc = json_string_decode_buf(line, &j->text);
	return rc ? rc : tokenize_text(j, bb_buf_str(&j->text));
}

static int tokenize_whole(struct job *j, struct bb_str text)
{
	const int rc = tokenize_text(j, text);

	bb_buf_lit(&j->out, "\n");
	return rc;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int read_ids(struct job *j, struct bb_str text)
{
	uint64_t id;

	token_list_clear(&j->ids);
	for (size_t i = 0; i < text.len;) {
		if (is_blank(text.p[i])) {
			i++;
			continue;
		}
		size_t end = i;
		while (end < text.len && !is_blank(text.p[end]))
			end++;
		if (bb_parse_u64((struct bb_str){ text.p + i, end - i }, &id) || id > UINT32_MAX)
			return -BB_ESYNTAX;
		const uint32_t one = (uint32_t)id;
		const int rc = token_list_add(&j->ids, &one, 1);
		if (rc)
			return rc;
		i = end;
	}
	return 0;
}

static int detokenize_whole(struct job *j, struct bb_str text)
{
	const int rc = read_ids(j, text);

	return rc ? rc : tokenizer_decode(j->t, j->ids.ids, j->ids.count, j->flags, &j->out);
}

static int detokenize_line(struct job *j, struct bb_str text)
{
	int rc = read_ids(j, text);

	bb_buf_clear(&j->text);
	if (!rc)
		rc = tokenizer_decode(j->t, j->ids.ids, j->ids.count, j->flags, &j->text);
	return rc ? rc : bb_buf_add_json(&j->out, bb_buf_str(&j->text));
}

/* ---- the run ---- */

static int flush(struct job *j)
{
	const bool is_written =
		fwrite(j->out.p ? j->out.p : "", 1, j->out.len, stdout) == j->out.len;

	bb_buf_clear(&j->out);
	return is_written ? 0 : tokenizer_file_failed(j->command, "standard output", -BB_ESYSTEM);
}

static int line_failed(const struct job *j, uint64_t line, int rc)
{
	const char *const what = rc == -BB_ESYNTAX ? "not what is expected there; see --help"
						   : bb_error_info(rc)->text;

	fprintf(stderr, "%s: %s:%llu: %s\n", j->command, j->input_path, (unsigned long long)line,
		what);
	return 1;
}

static int each_line(struct job *j, struct bb_str input, on_text *on_line)
{
	int rc = 0;

	for (uint64_t n = 1; !rc && input.len; n++) {
		struct bb_str line = bb_str_cut(&input, '\n');
		if (bb_str_ends(line, BB_STR("\r")))
			line.len--;
		rc = on_line(j, line);
		bb_buf_lit(&j->out, "\n");
		if (!rc)
			rc = j->out.err;
		if (rc)
			return line_failed(j, n, rc);
		if (j->out.len > 65536)
			rc = flush(j);
	}
	return rc;
}

static int run_on(struct job *j, on_text *on_whole, on_text *on_line)
{
	char *text;
	size_t len;

	int rc = file_read(j->input_path, INPUT_MAX, &text, &len);
	if (rc)
		return tokenizer_file_failed(j->command, j->input_path, rc);
	if (j->has_lines) {
		rc = each_line(j, (struct bb_str){ text, len }, on_line);
	} else {
		rc = on_whole(j, (struct bb_str){ text, len });
		if (rc == -BB_ESYNTAX) {
			fprintf(stderr, "%s: %s: ids are whole numbers\n", j->command,
				j->input_path);
			rc = 1;
		} else if (rc) {
			rc = tokenizer_file_failed(j->command, j->input_path, rc);
		}
	}
	bb_free(text);
	if (!rc)
		rc = flush(j);
	if (fflush(stdout) && !rc)
		rc = tokenizer_file_failed(j->command, "standard output", -BB_ESYSTEM);
	return rc;
}

static int run(struct job *j, on_text *on_whole, on_text *on_line)
{
	int rc = tokenizer_file_load(j->command, j->tokenizer_path, &j->t);

	if (rc)
		return rc;
	rc = tokenizer_work_create(j->t, &j->work);
	token_list_init(&j->ids, IDS_MAX, TOKEN_IDS);
	bb_buf_init(&j->text, INPUT_MAX);
	bb_buf_init(&j->out, INPUT_MAX);
	rc = rc ? tokenizer_file_failed(j->command, NULL, rc) : run_on(j, on_whole, on_line);
	bb_buf_fini(&j->text);
	bb_buf_fini(&j->out);
	token_list_fini(&j->ids);
	tokenizer_work_destroy(j->work);
	tokenizer_destroy(j->t);
	return rc;
}

int cmd_tokenize(int argc, char **argv)
{
	struct job j = { .command = "busbar tokenize", .flags = TOKENIZER_SPECIAL };
	const int rc =
		read_options(&j, argc, argv, tokenize_options, tokenize_usage, TOKENIZER_SPECIAL);

	return rc ? (rc < 0 ? 0 : rc) : run(&j, tokenize_whole, tokenize_line);
}

int cmd_detokenize(int argc, char **argv)
{
	struct job j = { .command = "busbar detokenize" };
	const int rc = read_options(&j, argc, argv, detokenize_options, detokenize_usage,
				    TOKENIZER_SKIP_SPECIAL);

	return rc ? (rc < 0 ? 0 : rc) : run(&j, detokenize_whole, detokenize_line);
}
