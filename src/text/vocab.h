/*
 * vocab.h: the vocabulary of a BPE model: contents, bytes, and ids by bytes.
 *
 * For: model_bpe. A token has a content, as tokenizer.json writes it, and bytes: what of a text it
 * stands for. In byte-level models each character of a content stands for one byte (the alphabet
 * of GPT-2: 256 printable characters); a content with any other character stands for no text, and
 * its bytes are only what decoding gives. In all other models the bytes are the content.
 * Threads: read by any once it is made. Memory: owns everything; nothing points into the JSON.
 * Errors: -BB_EINVALID with a message, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"

#define VOCAB_NONE UINT32_MAX

enum vocab_alphabet { VOCAB_CHARS, VOCAB_BYTES };

/* Bytes that a slot has in itself, so that most look-ups end there. */
#define VOCAB_INLINE 8

struct vocab_slot {
	uint32_t id; /* VOCAB_NONE: free */
	uint32_t len : 31;
	bool is_whole : 1; /* a word of these bytes is this token */
	union {
		uint64_t bytes; /* up to VOCAB_INLINE of them */
		struct {
			uint32_t check; /* bits of the hash that do not choose the slot */
			uint32_t at;	/* of its bytes */
		};
	};
};

struct vocab {
	enum vocab_alphabet alphabet;
	uint32_t id_end; /* ids are below */
	uint32_t count;
	uint32_t len_max;		/* bytes of the longest token that stands for text */
	char *contents, *bytes;		/* one block each, by id; the same block for VOCAB_CHARS */
	uint32_t *content_at, *byte_at; /* id_end + 1 offsets each */
	struct vocab_slot *slots;
	uint32_t mask;
};

/* `object`: the checked JSON object content → id. */
BB_MUST int vocab_init(struct vocab *v, struct bb_str object, enum vocab_alphabet alphabet,
		       struct text_error *e);
void vocab_fini(struct vocab *v);
size_t vocab_size(const struct vocab *v);

static inline struct bb_str vocab_bytes(const struct vocab *v, uint32_t id)
{
	return (struct bb_str){ v->bytes + v->byte_at[id], v->byte_at[id + 1] - v->byte_at[id] };
}

static inline uint32_t vocab_len(const struct vocab *v, uint32_t id)
{
	return v->byte_at[id + 1] - v->byte_at[id];
}

/* Empty with p == NULL for an id that is not there. */
struct bb_str vocab_content(const struct vocab *v, uint32_t id);
/* The id of the token that stands for these bytes of text, or VOCAB_NONE. */
uint32_t vocab_find(const struct vocab *v, struct bb_str bytes);
/* The same for the text as a content writes it. */
uint32_t vocab_find_text(const struct vocab *v, struct bb_str content);
/* The id of the token with this content, also one that stands for no text, or VOCAB_NONE. */
uint32_t vocab_find_content(const struct vocab *v, struct bb_str content);

/*
 * Writes the bytes that a content in the alphabet of GPT-2 stands for; out has room for
 * content.len. Returns how many, or -1: a character is outside of the alphabet.
 */
ptrdiff_t vocab_content_bytes(struct bb_str content, char *out);

/* Are n bytes the same? For short ones, where a call costs more than the bytes. */
static inline bool vocab_same(const char *p, const char *q, size_t n)
{
	uint64_t a, b, c, d;

	if (n > 16)
		return memcmp(p, q, n) == 0;
	if (n >= 8) {
		memcpy(&a, p, 8);
		memcpy(&b, q, 8);
		memcpy(&c, p + n - 8, 8);
		memcpy(&d, q + n - 8, 8);
		return ((a ^ b) | (c ^ d)) == 0;
	}
	if (n >= 4) {
		uint32_t e, f, g, h;
		memcpy(&e, p, 4);
		memcpy(&f, q, 4);
		memcpy(&g, p + n - 4, 4);
		memcpy(&h, q + n - 4, 4);
		return ((e ^ f) | (g ^ h)) == 0;
	}
	return n == 0 || (p[0] == q[0] && p[n / 2] == q[n / 2] && p[n - 1] == q[n - 1]);
}

/* Up to VOCAB_INLINE bytes as a number. */
static inline uint64_t vocab_pack(const char *p, size_t n)
{
	uint64_t all;
	uint32_t low, high;

	if (n == 8) {
		memcpy(&all, p, 8);
		return all;
	}
	if (n >= 4) {
		memcpy(&low, p, 4);
		memcpy(&high, p + n - 4, 4);
		return low | (uint64_t)high << (8 * (n - 4));
	}
	if (n == 0)
		return 0;
	return (uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << (8 * (n / 2)) |
	       (uint64_t)(uint8_t)p[n - 1] << (8 * (n - 1));
}

/* A hash of short byte strings; its upper bits are the better ones. */
static inline uint64_t vocab_hash(const char *p, size_t len)
{
	const uint64_t k0 = 0x9e3779b97f4a7c15u, k1 = 0xd6e8feb86659fd93u;
	uint64_t h = len * k1, a, b;

	while (len > 16) {
		memcpy(&a, p, 8);
		h = (h ^ a) * k0;
		h ^= h >> 32;
		p += 8;
		len -= 8;
	}
	if (len >= 8) {
		memcpy(&a, p, 8);
		memcpy(&b, p + len - 8, 8);
	} else if (len >= 4) {
		uint32_t low, high;
		memcpy(&low, p, 4);
		memcpy(&high, p + len - 4, 4);
		a = low;
		b = high;
	} else {
		a = len ? (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[len / 2] << 8 |
				    (uint8_t)p[len - 1]
			: 0;
		b = 0;
	}
	h = (h ^ a) * k0;
	h ^= h >> 29;
	h = (h ^ b) * k1;
	return h ^ h >> 32;
}

/* vocab_find, by the bytes' vocab_hash. */
uint32_t vocab_find_hashed(const struct vocab *v, struct bb_str bytes, uint64_t hash);
/* Does the token stand for text? */
bool vocab_is_text(const struct vocab *v, uint32_t id);

/* Has the bytes fetched that vocab_find_hashed will compare, once what vocab_fetch fetches is
 * there. */
static inline void vocab_fetch_bytes(const struct vocab *v, uint64_t hash)
{
	const struct vocab_slot *const s = v->slots + ((uint32_t)(hash >> 32) & v->mask);

	if (s->id != VOCAB_NONE && s->len > VOCAB_INLINE)
		__builtin_prefetch(v->bytes + s->at);
}

/* ---- words that are tokens ---- */

/* Has what vocab_find_whole will see fetched. */
static inline void vocab_fetch(const struct vocab *v, uint64_t hash)
{
	__builtin_prefetch(v->slots + ((uint32_t)(hash >> 32) & v->mask));
}

/* The token that these bytes are as a word, by their vocab_hash; VOCAB_NONE when it is not known.
 */
uint32_t vocab_find_whole(const struct vocab *v, struct bb_str bytes, uint64_t hash);
/* Says once what vocab_find_whole finds. */
typedef bool vocab_is_whole(const void *user, uint32_t id);
void vocab_mark_whole(struct vocab *v, vocab_is_whole *is_whole, const void *user);
