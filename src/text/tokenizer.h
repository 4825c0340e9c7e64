/*
 * tokenizer.h: text to token ids and back, as a model's own tokenizer does it.
 *
 * For: exact counts, ids for block hashes, /tokenize and /detokenize. Reads tokenizer.json of the
 * Hugging Face `tokenizers` library and the vocabulary of GGUF files; gives the ids that the
 * library gives. What is not supported is an error at load that names it.
 * Order of encode: malformed UTF-8 → U+FFFD; added tokens that match raw text; normalizer; added
 * tokens that match normalized text; pre-tokenizer; model; post-processor.
 * Threads: a tokenizer never changes once it is made and may be used by any number of threads; a
 * tokenizer_work belongs to one thread at a time and to one tokenizer.
 * Memory: a tokenizer owns all of its tables (tokenizer_facts tells bytes); a work holds its word
 * cache (TOKENIZER_WORK_SIZE) and scratch that grows with the longest text, to at most a small
 * multiple of it.
 * Errors: -BB_EINVALID with a message for a file that cannot be used; -BB_ELIMIT beyond the limits
 * below; -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

#define TOKENIZER_FILE_MAX (256u << 20)
#define TOKENIZER_VOCAB_MAX 0xfffffu /* ids are below this */
#define TOKENIZER_TOKEN_MAX 4096	  /* bytes of one vocabulary entry */
#define TOKENIZER_ADDED_MAX 65536	  /* added tokens */
#define TOKENIZER_TEXT_MAX (256u << 20)	  /* bytes of one text */
#define TOKENIZER_WORK_SIZE (1600u << 10) /* the word cache of a work, about */

struct tokenizer;
struct tokenizer_work;

BB_MUST int tokenizer_create_json(struct bb_str json, struct tokenizer **out, struct text_error *e);
/* `file`: a whole GGUF file, or at least its header with all metadata. */
BB_MUST int tokenizer_create_gguf(struct bb_str file, struct tokenizer **out, struct text_error *e);
void tokenizer_destroy(struct tokenizer *t);

struct tokenizer_facts {
	const char *model; /* "BPE", "Unigram", "WordPiece", "WordLevel" */
	const char *split; /* the hand-written scanner, "PCRE2 (JIT)", "PCRE2 (interpreter)", … */
	uint32_t vocab_count; /* without the added tokens that are in no model vocabulary */
	uint32_t added_count;
	uint32_t id_end;      /* every id is below */
	size_t bytes;	      /* of memory held */
	uint64_t fingerprint; /* of the file's bytes: equal files, equal ids */
	bool has_post;	      /* TOKENIZER_SPECIAL makes a difference */
};
void tokenizer_facts(const struct tokenizer *t, struct tokenizer_facts *out);

BB_MUST int tokenizer_work_create(const struct tokenizer *t, struct tokenizer_work **out);
void tokenizer_work_destroy(struct tokenizer_work *w);

/* ---- ids ---- */

struct token_span {
	uint32_t begin, end; /* bytes of the text as it was given */
};

enum token_want { TOKEN_IDS, TOKEN_IDS_AND_SPANS };

struct token_list {
	uint32_t *ids;
	struct token_span *spans; /* only with TOKEN_IDS_AND_SPANS */
	size_t count, cap, max;
	enum token_want want;
};

void token_list_init(struct token_list *l, size_t max, enum token_want want);
void token_list_fini(struct token_list *l);
/* Room for `more` ids behind those that are there. -BB_ELIMIT, -BB_ENOMEM. */
BB_MUST int token_list_reserve(struct token_list *l, size_t more);
/* Appends ids; where spans are kept, theirs are empty. */
BB_MUST int token_list_add(struct token_list *l, const uint32_t *ids, size_t count);
void token_list_clear(struct token_list *l);

/* ---- text to ids ---- */

enum {
	TOKENIZER_SPECIAL = 1,	 /* with the post-processor's tokens: begin, end, [CLS] … */
	TOKENIZER_CONTINUES = 2, /* other text came before: no first word's space, no begin token */
	TOKENIZER_MORE = 4,	 /* other text follows: no end token */
	TOKENIZER_NO_ADDED = 8,	 /* what looks like an added token is plain text */
	TOKENIZER_SKIP_SPECIAL = 16, /* decode: leave out special tokens */
};

/* Appends to `out`. On failure `out` holds what it held before. */
BB_MUST int tokenizer_encode(const struct tokenizer *t, struct tokenizer_work *w,
			     struct bb_str text, unsigned flags, struct token_list *out);
/* How many ids tokenizer_encode would append. */
BB_MUST int tokenizer_count(const struct tokenizer *t, struct tokenizer_work *w, struct bb_str text,
			    unsigned flags, uint64_t *out);
/*
 * The next place behind `from` where the text may be cut: an added token begins there, such that
 * encode(text) is encode(text[:at], MORE) followed by encode(text[at:], CONTINUES). -BB_EABSENT:
 * there is none. `from` is 0 or such a place.
 */
BB_MUST int tokenizer_cut(const struct tokenizer *t, struct bb_str text, size_t from, size_t *at);

/* ---- ids to text ---- */

/* As the library decodes, clean_up_tokenization_spaces off; ids that do not exist are left out. */
BB_MUST int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count,
			     unsigned flags, struct bb_buf *out);

/* The same id by id. What is given out are whole characters; all of it is tokenizer_decode's. */
struct decoder_run;

struct tokenizer_stream {
	const struct tokenizer *t;
	unsigned flags;
	struct decoder_run *run; /* NULL until there is a token, and for byte-level decoders */
	struct bb_buf text;	 /* what the run gives out; else bytes of a character that is not whole */
};

void tokenizer_stream_init(struct tokenizer_stream *s, const struct tokenizer *t, unsigned flags);
BB_MUST int tokenizer_stream_push(struct tokenizer_stream *s, uint32_t id, struct bb_buf *out);
/* What is left: an incomplete character comes out as U+FFFD. */
BB_MUST int tokenizer_stream_end(struct tokenizer_stream *s, struct bb_buf *out);
void tokenizer_stream_fini(struct tokenizer_stream *s);

/* ---- single tokens ---- */

/* The id of a token with this content, as tokenizer.json writes it. */
bool tokenizer_id(const struct tokenizer *t, struct bb_str content, uint32_t *id);
/* The content of an id; p == NULL when there is none. Valid as long as the tokenizer. */
struct bb_str tokenizer_token(const struct tokenizer *t, uint32_t id);
/* Is it an added token marked as special? */
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);
