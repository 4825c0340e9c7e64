/*
 * tokenizer_parts.h: the inside of a tokenizer, for the files that make it up.
 *
 * For: tokenizer_*.c and token_list.c only. tokenizer_load makes one, tokenizer_encode and
 * tokenizer_words use it for text, tokenizer_decode for ids.
 * Threads: as tokenizer.h says. Memory: as tokenizer.h says. Errors: as tokenizer.h says.
 */
#pragma once

#include "text/added.h"
#include "text/decoder.h"
#include "text/normalize.h"
#include "text/origins.h"
#include "text/pieces.h"
#include "text/post_process.h"
#include "text/pretokenize.h"
#include "text/split_known.h"
#include "text/token_model.h"
#include "text/tokenizer.h"
#include "text/word_cache.h"

#define TOKENIZER_MAGIC 0x746f6b31
#define TOKENIZER_WORK_MAGIC 0x746f6b32
/* Bytes that a text may grow to on its way through the normalizer. */
#define TOKENIZER_NORMALIZED_MAX (1u << 30)

struct tokenizer {
	uint32_t magic;
	struct normalizer *normalizer;
	struct pretokenizer *pretokenizer;
	struct decoder *decoder;
	struct token_model model;
	struct added added;
	struct post_process post;
	enum split_pattern split; /* the hand-written scanner that does all of the splitting */
	bool is_cut_by_model;	  /* no pre-tokenizer, and the model says where words end */
	bool is_byte_decoder;	  /* decoding is bytes of tokens, one behind the other */
	uint8_t *kinds;		  /* enum tokenizer_kind of each id below id_end */
	uint32_t id_end;
	uint64_t fingerprint;
};

enum tokenizer_kind { KIND_MODEL, KIND_ADDED, KIND_SPECIAL };

struct tokenizer_work {
	uint32_t magic;
	const struct tokenizer *t;
	struct token_model_work model;
	struct bb_buf valid, normalized;
	struct text_origins valid_origins, normalized_origins;
	struct piece_list pieces;
	struct token_list scratch; /* ids that are only counted */
	void *cache_block;
	struct word_cache *cache; /* in the block, at a line of the processor's cache */
};

/* Room for `more` ids; the list's max is not looked at. */
BB_MUST int token_list_room(struct token_list *l, size_t more);

/* One call of tokenizer_encode or tokenizer_count. */
struct encoder {
	const struct tokenizer *t;
	struct tokenizer_work *w;
	unsigned flags;
	struct token_list *out;
	bool is_count; /* out is emptied again and again; `counted` goes on */
	uint64_t counted, max;
	const struct text_origins
		*valid;	   /* of the well-formed text in the given one; NULL: the same */
	size_t segment_at; /* of the segment in the well-formed text */
	const struct text_origin *origins; /* of the text at hand in the segment; NULL: the same */
};

/* Encodes text that the pre-tokenizer left in pieces, or that is cut by a scanner. */
BB_MUST int encoder_scan(struct encoder *e, struct bb_str text);
BB_MUST int encoder_pieces(struct encoder *e, struct bb_str text, const struct piece *pieces,
			   size_t count);
/* One id with a place in the segment's own text. */
BB_MUST int encoder_add(struct encoder *e, uint32_t id, size_t begin, size_t end);
/* After each batch: counts or checks the limit. */
BB_MUST int encoder_settle(struct encoder *e);
