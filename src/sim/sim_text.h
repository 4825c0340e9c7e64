/*
 * sim_text.h: the simulated model's tokens and what it answers.
 *
 * For: the simulated engine. A token is a piece of text of at most SIM_TOKEN_BYTES bytes (about
 * four in English): a space and the letters, digits or other bytes behind it; its id is a hash of
 * its bytes. The next token of an answer depends on the seed and on all tokens before it, and on
 * nothing else. So one prompt always gives one answer, and a prompt that ends in the first half of
 * an answer is continued by its second half, as a real model at temperature 0 would.
 * Threads: pure functions on caller's state. Memory: sim_tokens owns its array.
 * Errors: -BB_ELIMIT when a maximum is reached, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define SIM_TOKEN_BYTES 6

/* The length of the first token of a text that is not empty. */
size_t sim_token_len(struct bb_str text);

struct sim_tokens {
	uint32_t *ids;
	uint32_t count, cap, max;
};

void sim_tokens_init(struct sim_tokens *t, uint32_t max);
void sim_tokens_fini(struct sim_tokens *t);
BB_MUST int sim_tokens_add(struct sim_tokens *t, uint32_t id);
BB_MUST int sim_tokens_add_text(struct sim_tokens *t, struct bb_str text);

/*
 * Ids back to texts. Ids are hashes, so only texts that were learned can be told, and of two that
 * share a place only the later one.
 */
#define SIM_VOCABULARY_SIZE 65536
struct sim_vocabulary_entry {
	uint32_t id;
	uint8_t len;
	char text[SIM_TOKEN_BYTES + 1];
};
struct sim_vocabulary {
	struct sim_vocabulary_entry entries[SIM_VOCABULARY_SIZE];
};
/* Learns all words that an answer can hold. */
void sim_vocabulary_init(struct sim_vocabulary *v);
void sim_vocabulary_learn(struct sim_vocabulary *v, struct bb_str text);
/* p == NULL when it is unknown. */
struct bb_str sim_vocabulary_text(const struct sim_vocabulary *v, uint32_t id);

#define SIM_WORDS 256

/* The words that answers are made of, and their tokens. */
struct sim_words {
	struct bb_str text[SIM_WORDS];
	uint32_t id[SIM_WORDS];
};
/* Those of the invented tokens. */
void sim_words_init(struct sim_words *words);

/* Writes an answer word by word. `variant` makes the choices of one request (n > 1) differ. */
struct sim_writer {
	uint64_t state;
	uint32_t variant;
	const struct sim_words *words;
};
void sim_writer_init(struct sim_writer *w, uint64_t seed, const struct sim_words *words);
/* Returns how many of the last tokens it would have written itself: the answer that is continued.
 */
uint32_t sim_writer_read(struct sim_writer *w, const uint32_t *ids, uint32_t count);
/* The next token's text: a space and a word, nothing that JSON would escape. `id` may be NULL. */
struct bb_str sim_writer_next(struct sim_writer *w, uint32_t *id);

/* In [0, 1), always the same for the same three: embeddings and scores are made of these. */
double sim_fraction(uint64_t seed, uint64_t what, uint64_t index);

/* What a prompt asks of the simulation: "[[ttft=US itl=US tokens=N]]" in its first 4 KiB. */
struct sim_hints {
	uint64_t ttft_ns, itl_ns; /* UINT64_MAX: not said */
	uint32_t tokens;	  /* UINT32_MAX: not said */
};
void sim_hints_read(struct bb_str body, struct sim_hints *h);
