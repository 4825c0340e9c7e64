/*
 * template_bind.h: a request becomes the variables of a template.
 *
 * For: template.c. Threads: one owner of the trun. Memory: the trun's; values point into the body.
 * Errors: -BB_EINVALID (a member of another type than the template needs), -BB_ELIMIT, -BB_ENOMEM.
 */
#pragma once

#include "text/template_run.h"

/* What continue_final_message asks for. */
struct continuation {
	bool is_wanted;
	struct tvalue text; /* the final message's, as it was */
};

/* What the engine's final message is marked with, to find its end in the prompt. */
#define CONTINUE_TAG "CONTINUE_FINAL_MESSAGE_TAG "

/* What the name can mean; its text is set. For the parser. */
void bind_name(struct tfree *f);
/* Sets r->ctx. */
BB_MUST int template_bind(struct trun *r, const struct template_input *in, struct continuation *c);
/* Cuts the prompt, which begins at `from`, behind the final message's text. */
BB_MUST int template_continue(struct trun *r, size_t from, const struct continuation *c);

/* A checked JSON text as a value. */
struct tvalue bind_json(struct trun *r, struct bb_str text);
/*
 * The members of a checked JSON object as values, those of `names` alone, each into its place of
 * `out` (TV_NONE: absent or null).
 */
bool bind_members(struct trun *r, struct bb_str text, const struct bb_str *names, uint32_t count,
		  struct tvalue *out);
/* Messages as an engine would hand them over; false: failed. (template_messages.c) */
bool bind_messages(struct trun *r, struct tvalue *messages, enum template_messages how);
