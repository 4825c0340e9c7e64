/*
 * key_text.h: API keys as text, and what is stored of them.
 *
 * For: the configuration, `busbar keys` and the gateway's authentication.
 * Forms: a key is "bb-" and 256 random bits in base 62 (43 letters and digits). What is stored is
 * "bbh1:ID:DIGEST[:EXPIRY]": the key's first 8 characters behind "bb-", to tell keys apart in
 * lists; 64 hex digits of SHA-256 over a fixed label and the key; a date as in date.h. A slow hash
 * would add nothing, since nobody can go through 2^200 keys. Keys of other origin, which people
 * write into a file in clear, have the same digest and no id.
 * Threads: pure functions. Memory: OpenSSL takes a little of its own for each digest.
 * Errors: -BB_ENOMEM; -BB_EINVALID with a sentence.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define KEY_RANDOM_SIZE 32
#define KEY_PREFIX "bb-"
#define KEY_TEXT_LEN 46 /* the prefix and 43 digits */
#define KEY_DIGEST_SIZE 32
#define KEY_ID_LEN 8
#define KEY_CLEAR_LEN_MIN 16
#define KEY_CLEAR_LEN_MAX 4096

struct key_digest {
	uint8_t bytes[KEY_DIGEST_SIZE];
};

/* What is kept of a key. */
struct key_record {
	struct key_digest digest;
	char id[KEY_ID_LEN + 1]; /* "" for a key that was given in clear */
	bool is_clear;
	uint64_t expires_s; /* Unix time from which it is refused; 0: never */
};

/* The key of 32 random bytes. */
void key_text_make(const uint8_t random[KEY_RANDOM_SIZE], char out[KEY_TEXT_LEN + 1]);
BB_MUST int key_digest_of(struct bb_str key, struct key_digest *out);
/* Takes the same time wherever they differ. */
bool key_digest_eq(const struct key_digest *a, const struct key_digest *b);
/*
 * The digest under a secret: what tables in memory hold, so that places in them cannot be chosen
 * from outside and a key that was written in clear cannot be guessed from them.
 */
BB_MUST int key_digest_seal(const uint8_t secret[KEY_DIGEST_SIZE], const struct key_digest *digest,
			    struct key_digest *out);

/* "bbh1:…" or a key in clear. `why` gets a sentence, which never holds the text. */
BB_MUST int key_record_parse(struct bb_str text, struct key_record *out, const char **why);
/* The record of a key that key_text_make made. */
BB_MUST int key_record_of(const char key[KEY_TEXT_LEN + 1], struct key_record *out);
/* "bbh1:…"; only for records that are not clear. */
void key_record_write(const struct key_record *r, struct bb_buf *out);
/* Overwrites a text that held a secret; the compiler does not leave it out. */
void key_wipe(void *p, size_t len);
