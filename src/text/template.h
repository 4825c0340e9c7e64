/*
 * template.h: chat templates: a conversation becomes the prompt that the engine sees.
 *
 * For: the Jinja that models bring along (chat_template), rendered byte for byte as transformers
 * renders it: Jinja2's immutable sandbox with trim_blocks, lstrip_blocks, break and continue,
 * {% generation %}, and Python's ways of writing values. docs/templates.md says what is known.
 * Threads: a template is immutable; any number of threads may render it at once.
 * Memory: template_create owns all it needs; a rendering takes at most its memory_max and gives it
 * back before it returns. Templates are foreign input, so everything has a limit.
 * Errors: template_create: -BB_ESYNTAX with line and column; -BB_ELIMIT; -BB_ENOMEM.
 * template_render: -BB_EINVALID (raise_exception, whose message is given as it is, or something
 * that Python would refuse too), -BB_ELIMIT (steps, depth, memory, output), -BB_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

#define TEMPLATE_SOURCE_MAX (1u << 20) /* bytes of a template */
#define TEMPLATE_NESTING_MAX 120       /* brackets, operators and tags inside of each other */
#define TEMPLATE_CALLS_MAX 100	       /* macros that call macros, loops that call themselves */
#define TEMPLATE_DEPTH_MAX 1200 /* expressions and tags being worked on, all calls together */
/*
 * Steps are an expression, a tag, an item or 64 bytes gone through, and more for what takes more:
 * about 25 ns each, and few take 60. A rendering has as many as the first, and of the second for
 * each byte of the request: published templates need at most 1.1 a byte for long conversations.
 */
#define TEMPLATE_STEPS_BASE 4000000u
#define TEMPLATE_STEPS_PER_BYTE 4u
/* Bytes of a rendering without its output, where the caller does not say: the same way, at most …
 */
#define TEMPLATE_MEMORY_BASE (32u << 20)
#define TEMPLATE_MEMORY_PER_BYTE 32u
#define TEMPLATE_MEMORY_MAX (256u << 20)
#define TEMPLATE_RANGE_MAX 100000    /* items of a range(), as in Jinja's sandbox */
#define TEMPLATE_VALUE_DEPTH_MAX 150 /* lists in lists, when written or compared */

#define TEMPLATE_WORK_MAX (8u << 20) /* bytes that a template_work keeps */

struct template;

/*
 * Memory that one thread's renderings use again, so that long prompts do not ask the kernel for new
 * pages each time: as much as the largest needed, at most TEMPLATE_WORK_MAX.
 */
struct template_work;
struct template_work *template_work_create(void);
void template_work_destroy(struct template_work *w);

BB_MUST int template_create(struct bb_str source, struct template **out, struct text_error *e);
void template_destroy(struct template *t);

/*
 * Does the template go through the parts of a message's content? Found as vLLM finds it: a loop
 * over `content` of something that a loop over the messages gives. Templates that do not get text.
 */
enum template_content { TEMPLATE_CONTENT_STRING, TEMPLATE_CONTENT_PARTS };
enum template_content template_content(const struct template *t);

/* How messages are handed to the template. */
enum template_messages {
	/* As transformers does: as they are in the body. */
	TEMPLATE_AS_GIVEN,
	/*
	 * As vLLM does: for templates that want text, text parts are joined by newlines and no
	 * content is an empty text; for the others content is always a list of parts. Empty
	 * tool_calls go, empty arguments are {}, and reasoning has both of its names.
	 */
	TEMPLATE_AS_VLLM,
	/* As SGLang does: for templates that want text, text parts are joined by spaces. */
	TEMPLATE_AS_SGLANG,
};

/* Is the assistant's turn begun behind the messages? */
enum template_generation {
	TEMPLATE_GENERATION_DEFAULT, /* unless the body's add_generation_prompt says no */
	TEMPLATE_GENERATION_NO,
};

struct template_input {
	struct bb_str body;		    /* a chat-completions request: checked JSON */
	struct bb_str bos_token, eos_token; /* p NULL: the tokenizer has none, so it is undefined */
	struct bb_str pad_token, unk_token;
	struct bb_str special_json; /* more of them, {"name": "text"}; may be empty */
	time_t now;		    /* for strftime_now, shown in local time */
	enum template_generation generation;
	enum template_messages messages;
	size_t memory_max;	    /* 0: TEMPLATE_MEMORY_BASE and so on */
	uint64_t steps_max;	    /* 0: TEMPLATE_STEPS_BASE and so on */
	struct template_work *work; /* NULL, or the calling thread's */
	struct bb_buf *raised;	    /* NULL, or takes the whole text of raise_exception */
};

/*
 * Appends the prompt to `out`, whose `max` limits it; out is as it was when this fails. Of the body
 * it uses messages, tools, documents, add_generation_prompt, continue_final_message,
 * reasoning_effort and chat_template_kwargs (which win, but for messages). The arguments of tool
 * calls that are JSON text become values first.
 */
BB_MUST int template_render(const struct template *t, const struct template_input *in,
			    struct bb_buf *out, struct text_error *e);
