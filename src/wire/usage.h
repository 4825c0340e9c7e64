/*
 * usage.h: token counts as engines report them.
 *
 * For: accounting, the correction of predictions, the prefix index's trust. `usage_parse` takes a
 * usage object; a `struct usage_tap` finds it in an answer that passes by in pieces, without
 * keeping the rest.
 * Threads: one owner per tap. Memory: a tap is a fixed block of a little over 4 KiB, nothing else.
 * Errors: -BB_EABSENT, -BB_ELIMIT, -BB_ESYNTAX. A tap takes any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct usage {
	uint64_t prompt;     /* all prompt tokens, cached ones included */
	uint64_t completion; /* all generated tokens, reasoning included */
	uint64_t cached;     /* of prompt: taken from the prefix cache */
	uint64_t reasoning;  /* of completion */
	bool known;	     /* at least one count was reported */
	bool has_cached;     /* `cached` was, be it 0 */
};

/*
 * Takes OpenAI's chat form (prompt_tokens, completion_tokens, prompt_tokens_details.cached_tokens,
 * completion_tokens_details.reasoning_tokens), the Responses form (input_tokens, output_tokens,
 * *_details) and Anthropic's, whose input_tokens leaves out cache_read_input_tokens and
 * cache_creation_input_tokens: these are added here. total_tokens alone counts as prompt.
 * Counts that are no whole numbers up to 2^53 are taken as absent. -BB_ESYNTAX when it is no
 * object.
 */
BB_MUST int usage_parse(struct bb_str usage_object, struct usage *out);
/* The top-level "usage" object of a whole answer. Looks from the end, where engines put it. */
bool usage_find(struct bb_str answer, struct bb_str *object);
/* Engines report running totals, and Anthropic's stream reports them in parts: not 0 replaces. */
void usage_merge(struct usage *into, const struct usage *from);

#define USAGE_RAW_MAX 4096
#define USAGE_KEY_MAX 8

struct usage_tap {
	bool has_error; /* the answer has a top-level member "error" that is not null */
	/* The rest is the tap's own. */
	bool is_escaped;  /* the next byte of a string belongs to an escape */
	bool is_complete; /* raw holds a whole value … */
	bool is_too_long; /* … or would, were it shorter */
	uint8_t state;
	uint8_t member;	 /* what the value that passes by belongs to */
	uint8_t key_len; /* USAGE_KEY_MAX + 1: longer than any key of interest */
	char key[USAGE_KEY_MAX];
	uint64_t depth;
	size_t raw_len;
	char raw[USAGE_RAW_MAX];
};

void usage_tap_init(struct usage_tap *t);
void usage_tap_feed(struct usage_tap *t, const char *p, size_t len);
/*
 * The last top-level "usage". -BB_EABSENT when there is none, or it is null or not complete;
 * -BB_ELIMIT when it is longer than USAGE_RAW_MAX; -BB_ESYNTAX when it is no object.
 */
BB_MUST int usage_tap_end(const struct usage_tap *t, struct usage *out);
