/* render.c: `busbar render`: the prompt that a chat template makes of a request. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cmd/cmd.h"
#include "gateway/model_files.h"
#include "os/clock.h"
#include "os/process.h"
#include "wire/json.h"

#define REQUEST_MAX (256u << 20)
#define PROMPT_MAX (512u << 20)

static const char usage_text[] =
	"usage: busbar render --tokenizer DIR|FILE [OPTION]... REQUEST.json|-\n"
	"\n"
	"Prints the prompt that a model's chat template makes of a chat-completions request, to "
	"the\n"
	"byte. Of the request it takes messages, tools, documents, add_generation_prompt,\n"
	"continue_final_message, reasoning_effort and chat_template_kwargs.\n"
	"\n"
	"  --tokenizer PATH        a published model's folder (chat_template.jinja,\n"
	"                          chat_template.json, tokenizer_config.json,\n"
	"                          special_tokens_map.json), one of its .json files, a template, or\n"
	"                          a GGUF file\n"
	"  --no-generation-prompt  do not begin the assistant's turn\n"
	"  --lines                 a request on each line; a line of JSON for each:\n"
	"                          {\"prompt\": TEXT} or {\"error\": TEXT}\n"
	"  --messages HOW          given (the default): as they are, as transformers does; vllm "
	"or\n"
	"                          sglang: as that engine hands them to the template\n"
	"  --repeat N              render each request N times and tell the microseconds of CPU\n"
	"                          time of one rendering on standard error\n"
	"  --help                  this text\n"
	"\n"
	"Exit: 0 rendered, 1 refused or failed, 2 wrong usage. With --lines a refused request is "
	"no\n"
	"failure.\n";

struct render_options {
	const char *tokenizer, *request;
	enum template_generation generation;
	enum template_messages messages;
	uint64_t repeat; /* 0: once, and nothing is told */
	bool is_batch;
};

static int usage_error(const char *what)
{
	if (what)
		fprintf(stderr, "busbar render: %s\n", what);
	fprintf(stderr, "busbar render --help tells the options\n");
	return 2;
}

/* ---- the model's files ---- */

static int load(const char *path, struct chat_text **out)
{
	struct model_files files = { .is_gguf = false };
	struct text_error e = { "" };
	char why[MODEL_FILES_WHY_SIZE];

	int rc = model_files_read(path, MODEL_FILES_CHAT, &files, why);
	if (rc) {
		fprintf(stderr, "busbar render: %s\n", why);
		return rc;
	}
	rc = model_files_chat(&files, out, &e);
	if (rc)
		fprintf(stderr, "busbar render: %s: %s\n", path,
			e.message[0] ? e.message : bb_error_info(rc)->text);
	model_files_free(&files);
	return rc;
}

/* ---- rendering ---- */

struct renderer {
	const struct render_options *o;
	const struct chat_text *chat;
	struct template_work *memory; /* NULL when there was none for it */
	struct bb_buf prompt, raised, line, work;
	struct text_error e;
};

static struct bb_str reason_of(const struct renderer *x, int rc)
{
	if (x->raised.len)
		return bb_buf_str(&x->raised);
	return bb_str_of(x->e.message[0] ? x->e.message : bb_error_info(rc)->text);
}

static int render_checked(struct renderer *x, struct bb_str body)
{
	const struct template_input in = { .body = body,
					   .now = (time_t)(clock_wall_ns() / OS_SECOND),
					   .generation = x->o->generation,
					   .messages = x->o->messages,
					   .work = x->memory,
					   .raised = &x->raised };

	bb_buf_clear(&x->prompt);
	bb_buf_clear(&x->raised);
	x->e.message[0] = '\0';
	return chat_text_render(x->chat, &in, &x->prompt, &x->e);
}

/* With --repeat a request costs what it costs a gateway: its check and its rendering. */
static int render_once(struct renderer *x, struct bb_str body)
{
	struct json_error at;

	if (json_check(body, JSON_DEPTH_MAX, &at)) {
		bb_buf_clear(&x->raised);
		text_error_set(&x->e, "the request is not JSON: %s at byte %zu", at.what,
			       at.offset);
		return -BB_ESYNTAX;
	}
	return render_checked(x, body);
}

static int render_timed(struct renderer *x, struct bb_str body)
{
	const uint64_t begin_ns = clock_thread_cpu_ns();
	int rc = 0;

	for (uint64_t i = 0; i < (x->o->repeat ? x->o->repeat : 1); i++)
		rc = render_once(x, body);
	if (x->o->repeat)
		fprintf(stderr, "%.3f\n",
			(double)(clock_thread_cpu_ns() - begin_ns) / 1e3 / (double)x->o->repeat);
	return rc;
}

/* Where a separator of lines that is no control character begins: U+0085, U+2028, U+2029. */
static size_t line_end_size(struct bb_str s)
{
	if (bb_str_starts(s, BB_STR("\xc2\x85")))
		return 2;
	return bb_str_starts(s, BB_STR("\xe2\x80\xa8")) || bb_str_starts(s, BB_STR("\xe2\x80\xa9"))
		       ? 3
		       : 0;
}

/* A line must be one line to every reader, so these are escaped too. */
static void put_string(struct bb_buf *out, struct bb_buf *work, struct bb_str text)
{
	size_t from = 0;

	bb_buf_clear(work);
	bb_buf_add_json(work, text);
	for (size_t i = 0; i < work->len; i++) {
		const unsigned char c = (unsigned char)work->p[i];
		const size_t size = c == 0xc2 || c == 0xe2
					    ? line_end_size(bb_str_skip(bb_buf_str(work), i))
					    : 0;
		if (!size)
			continue;
		bb_buf_add(out, work->p + from, i - from);
		bb_buf_add_str(out, size == 2		   ? BB_STR("\\u0085")
				    : (work->p[i + 2] & 1) ? BB_STR("\\u2029")
							   : BB_STR("\\u2028"));
		from = i + size;
	}
	bb_buf_add(out, work->p + from, work->len - from);
	if (work->err && !out->err)
		out->err = work->err;
}

static int put_line(struct renderer *x, int rc)
{
	bb_buf_clear(&x->line);
	bb_buf_add_str(&x->line, rc ? BB_STR("{\"error\": ") : BB_STR("{\"prompt\": "));
	put_string(&x->line, &x->work, rc ? reason_of(x, rc) : bb_buf_str(&x->prompt));
	bb_buf_lit(&x->line, "}\n");
	return x->line.err || fwrite(x->line.p, 1, x->line.len, stdout) != x->line.len;
}

static int render_lines(struct renderer *x, struct bb_str text)
{
	int rc = 0;

	while (text.len && !rc) {
		const struct bb_str line = bb_str_trim(bb_str_cut(&text, '\n'));
		if (line.len)
			rc = put_line(x, render_timed(x, line));
	}
	if (rc)
		fprintf(stderr, "busbar render: the output could not be written\n");
	return rc;
}

static int render_one(struct renderer *x, struct bb_str text)
{
	const int rc = render_timed(x, text);

	if (rc) {
		fprintf(stderr, "busbar render: %.*s\n", BB_ARG(reason_of(x, rc)));
		return 1;
	}
	return fwrite(x->prompt.p, 1, x->prompt.len, stdout) != x->prompt.len;
}

static int run(const struct render_options *o)
{
	struct renderer x = { .o = o };
	struct chat_text *chat = NULL;
	char *text = NULL;
	size_t len = 0;

	if (load(o->tokenizer, &chat))
		return 1;
	int rc = file_read(o->request, REQUEST_MAX, &text, &len);
	if (rc) {
		fprintf(stderr, "busbar render: %s: %s\n", o->request,
			rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
		chat_text_destroy(chat);
		return 1;
	}
	x.chat = chat;
	x.memory = template_work_create();
	bb_buf_init(&x.prompt, PROMPT_MAX);
	bb_buf_init(&x.raised, PROMPT_MAX);
	bb_buf_init(&x.line, (size_t)PROMPT_MAX * 2);
	bb_buf_init(&x.work, (size_t)PROMPT_MAX * 2);
	const struct bb_str all = { text, len };
	rc = o->is_batch ? render_lines(&x, all) : render_one(&x, all);
	if (fflush(stdout))
		rc = 1;
	bb_buf_fini(&x.prompt);
	bb_buf_fini(&x.raised);
	bb_buf_fini(&x.line);
	bb_buf_fini(&x.work);
	bb_free(text);
	template_work_destroy(x.memory);
	chat_text_destroy(chat);
	return rc;
}

/* ---- options ---- */

static int take_messages(struct render_options *o, const char *how)
{
	if (strcmp(how, "given") == 0)
		o->messages = TEMPLATE_AS_GIVEN;
	else if (strcmp(how, "vllm") == 0)
		o->messages = TEMPLATE_AS_VLLM;
	else if (strcmp(how, "sglang") == 0)
		o->messages = TEMPLATE_AS_SGLANG;
	else
		return usage_error("--messages is given, vllm or sglang");
	return 0;
}

static int take_repeat(struct render_options *o, const char *count)
{
	if (bb_parse_u64(bb_str_of(count), &o->repeat) || !o->repeat || o->repeat > 100000000)
		return usage_error("--repeat is a number from 1 to 100000000");
	return 0;
}

int cmd_render(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "tokenizer", required_argument, NULL, 't' },
		{ "no-generation-prompt", no_argument, NULL, 'n' },
		{ "lines", no_argument, NULL, 'l' },
		{ "messages", required_argument, NULL, 'm' },
		{ "repeat", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct render_options o = { 0 };
	int c, rc = 0;

	optind = 1;
	while (!rc && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 't': o.tokenizer = optarg; break;
		case 'n': o.generation = TEMPLATE_GENERATION_NO; break;
		case 'l': o.is_batch = true; break;
		case 'm': rc = take_messages(&o, optarg); break;
		case 'r': rc = take_repeat(&o, optarg); break;
		case 'h': return fputs(usage_text, stdout) < 0;
		default: return usage_error(NULL);
		}
	}
	if (rc)
		return rc;
	if (!o.tokenizer)
		return usage_error("--tokenizer is needed");
	if (argc - optind > 1)
		return usage_error("one file with the request, or -");
	if (argc == optind && !o.is_batch)
		return usage_error("the request is missing: a file, or - for standard input");
	o.request = argc == optind ? "-" : argv[optind];
	return run(&o);
}
