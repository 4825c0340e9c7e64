/*
 * token_text.h: from the pieces of tokens to text that may be shown.
 *
 * For: the engine thread. A stop string must never be seen by a client, even when it is spread
 * over tokens, and no half of a character may leave. So text is held back while it may still
 * become a stop string or while its last character is incomplete. Bytes that are no UTF-8 leave
 * as U+FFFD, so that answers are always valid JSON.
 * Threads: one owner. Memory: what is held back, at most TOKEN_TEXT_MAX bytes.
 * Errors: -BB_ENOMEM, -BB_ELIMIT.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"

#define TOKEN_TEXT_MAX (256 * 1024)

struct token_text {
	struct bb_buf held;
	size_t search_from; /* stop strings may begin here in `held` */
};

/* What ends a text. The strings are not empty. */
struct token_stops {
	const struct bb_str *strings;
	uint32_t count;
	enum token_stop_shown { STOP_HIDDEN, STOP_SHOWN } shown;
};

void token_text_init(struct token_text *t);
void token_text_fini(struct token_text *t);
/*
 * Takes the piece of one token and appends to `out` what may be shown now. `stops` NULL: this
 * piece cannot end the text, nor begin what ends it. Returns 1 + the index of the stop string that
 * was met (the text is complete then), 0, or an error.
 */
BB_MUST int token_text_push(struct token_text *t, const struct token_stops *stops,
			    struct bb_str piece, struct bb_buf *out);
/* The text ends: what was held back is shown. */
BB_MUST int token_text_finish(struct token_text *t, struct bb_buf *out);
/* Appends bytes as valid UTF-8, U+FFFD for what is not. */
BB_MUST int token_text_clean(struct bb_str bytes, struct bb_buf *out);
