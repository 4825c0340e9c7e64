/*
 * sim_tokenizer.h: a published model's tokens instead of invented ones.
 *
 * For: `busbar sim serve --tokenizer`. Chats are rendered by the model's template and texts become
 * its ids, as vLLM does it, so that whoever counts and hashes tokens before the engine (a router)
 * can be tested against it. An answer's words are then those of its words that are one token each.
 * Threads: one owner. Memory: owns its scratch; tokenizer and template are the caller's.
 * Errors: -BB_EINVALID with a sentence, -BB_ELIMIT, -BB_ENOMEM.
 */
#pragma once

#include "sim/sim_text.h"
#include "text/chat_text.h"
#include "text/tokenizer.h"

struct sim_tokenizer;

/* `chat` may be NULL: chats stay in ChatML. */
BB_MUST int sim_tokenizer_create(const struct tokenizer *t, const struct chat_text *chat,
				 struct sim_tokenizer **out);
void sim_tokenizer_destroy(struct sim_tokenizer *t);
/* Words that are one token each, over and over where there are fewer. -BB_EINVALID: there are none. */
BB_MUST int sim_tokenizer_words(struct sim_tokenizer *t, struct sim_words *words);
enum sim_special { SIM_TEXT_PLAIN, SIM_TEXT_WITH_SPECIAL };
BB_MUST int sim_tokenizer_add(struct sim_tokenizer *t, struct bb_str text, enum sim_special special,
			      struct sim_tokens *out);
bool sim_tokenizer_has_chat(const struct sim_tokenizer *t);
/* The prompt of a chat-completions body, by the template; `why` is valid until the next call. */
BB_MUST int sim_tokenizer_render(struct sim_tokenizer *t, struct bb_str body, struct bb_buf *out,
				 const char **why);
