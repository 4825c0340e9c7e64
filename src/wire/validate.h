/*
 * validate.h: are the members that busbar or an engine's safety depends on of the right type and
 * size?
 *
 * For: openai.c, which hands over each member of a body in its one pass, and the insides of
 * `messages`. What is not in the table passes; numbers stay as they are written; null counts as
 * absent. Ranges are those of OpenAI's and Anthropic's descriptions of their APIs.
 * Threads: works on the caller's state. Memory: texts of refusals are static or in the arena.
 * Errors: -BB_EINVALID with a refusal.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "wire/api.h"
#include "wire/json.h"

/* Why a body is refused, and which member is to blame. */
struct refusal {
	const char *param; /* "messages[2].role"; static or in the arena */
	const char *what;  /* static or in the arena */
	const char *at;	   /* in the body */
};

/* Fills in a refusal and returns `rc`. */
int refusal_set(struct refusal *r, int rc, const char *param, const char *what, const char *at);
/* The text in the arena, or `instead` where there is no room for it. */
const char *refusal_text(struct bb_arena *arena, const char *instead, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

struct validate_scan {
	enum api api;
	struct bb_arena *arena;
	struct refusal *refusal;
	bool in_messages; /* the watched member is `messages` */
	bool has_role;	  /* of the message that is being read */
	bool has_messages;
	uint32_t element_count; /* of the member that is watched, so far */
};

/* A member at the top of the body. */
BB_MUST int validate_member(struct validate_scan *v, const struct json_member *m);
/*
 * Ahead of the value of a string, an array or an object: must its inside be watched? Whatever is
 * watched, for this or for another reason, goes to validate_inner before validate_member.
 */
bool validate_watches(struct validate_scan *v, const struct json_member *m);
BB_MUST int validate_inner(struct validate_scan *v, enum json_event event,
			   const struct json_member *m, uint32_t depth);
/* All members were there: is one missing? `at` is where the body begins. */
BB_MUST int validate_end(struct validate_scan *v, const char *at);

/* Must prompt and answer fit together, or is an answer cut where the context ends? */
enum context_rule { CONTEXT_WHOLE, CONTEXT_PARTS };
/*
 * Can a prompt of `prompt_tokens` (0: unknown) and an answer of `max_tokens` (UINT64_MAX: no limit
 * given) be in a context of `context_tokens` (0: unknown)? -BB_ECONTEXT with a sentence that has the
 * numbers.
 */
BB_MUST int validate_context(uint64_t prompt_tokens, uint64_t max_tokens, uint64_t context_tokens,
			     enum context_rule rule, struct bb_buf *message);
