/*
 * request_tokens.h: the tokens of a request's prompt, and the requests that are about tokens alone.
 *
 * For: request.c's table of steps. Where the model has a tokenizer, prompts of chats, completions
 * and embeddings are counted exactly, before anything is reserved or chosen by their size; for the
 * rest, and for bodies over TOKENS_BODY_MAX, the estimate stays. Where a count could differ from
 * the engine's (pictures, a template that refuses), it counts as an estimate. Threads: the
 * worker's. Memory: the worker's text_work. Errors: none from counting; those of /tokenize become
 * answers.
 */
#pragma once

#include "gateway/request_steps.h"

/* A body above is not tokenized on the thread that serves others: about 10 ms of work. */
#define TOKENS_BODY_MAX (1u << 20)

/* Bytes of text that make a token where nothing better is known. */
#define TOKENS_BYTES_EACH 4

enum step request_tokens(struct request *r);
/* The kind of the engines of the request's model: of the first of them that is known, else vLLM. */
const struct adapter *request_adapter(const struct request *r);
/* The blocks of a prompt whose tokens are known, or of its text; without memory there are none. */
void request_hash_tokens(struct request *r, const uint32_t *ids, size_t count);
void request_hash_text(struct request *r);
/*
 * What its session is known by: the field x-session-id, or what the body says. Where nothing is
 * known of the prompt, that stands for its beginning: a hint that leads back to the same engine.
 */
void request_hash_session(struct request *r);
/* Answers /tokenize and /detokenize where the tokenizer is at hand; else goes on to an engine. */
enum step request_local(struct request *r);
/* The prompt with what the client wants of an answer is over the engine's context. */
bool request_fits_context(struct request *r, uint64_t context_tokens);
