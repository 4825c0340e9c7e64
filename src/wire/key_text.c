#include "wire/key_text.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "base/log.h"
#include "wire/date.h"

#define FORM "bbh1:"
#define LABEL "busbar api key 1" /* separates these digests from every other use of SHA-256 */
#define DIGITS 43

static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Long division of the 256-bit number by 62, a digit a round. */
void key_text_make(const uint8_t random[KEY_RANDOM_SIZE], char out[KEY_TEXT_LEN + 1])
{
	uint8_t number[KEY_RANDOM_SIZE];

	memcpy(number, random, sizeof(number));
	memcpy(out, KEY_PREFIX, sizeof(KEY_PREFIX) - 1);
	for (int i = DIGITS - 1; i >= 0; i--) {
		unsigned rest = 0;
		for (size_t k = 0; k < sizeof(number); k++) {
			const unsigned value = rest << 8 | number[k];
			number[k] = (uint8_t)(value / 62);
			rest = value % 62;
		}
		out[sizeof(KEY_PREFIX) - 1 + (size_t)i] = alphabet[rest];
	}
	out[KEY_TEXT_LEN] = '\0';
	key_wipe(number, sizeof(number));
}

/* Looked up in OpenSSL's providers once: each look-up costs more than a digest. */
static const EVP_MD *sha256;

static void sha256_find(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!sha256)
		sha256 = EVP_sha256();
}

/* SHA-256 over two parts. */
static int digest_two(const void *a, size_t a_len, const void *b, size_t b_len,
		      struct key_digest *out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct key_digest made;

	pthread_once(&once, sha256_find);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const bool is_done = ctx && EVP_DigestInit_ex(ctx, sha256, NULL) == 1 &&
			     EVP_DigestUpdate(ctx, a, a_len) == 1 &&
			     EVP_DigestUpdate(ctx, b, b_len) == 1 &&
			     EVP_DigestFinal_ex(ctx, made.bytes, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	if (!is_done)
		return -BB_ENOMEM;
	*out = made;
	return 0;
}

int key_digest_of(struct bb_str key, struct key_digest *out)
{
	return digest_two(LABEL, sizeof(LABEL), key.p, key.len, out);
}

int key_digest_seal(const uint8_t secret[KEY_DIGEST_SIZE], const struct key_digest *digest,
		    struct key_digest *out)
{
	/* Both parts have a fixed length, so nothing can be appended. */
	return digest_two(secret, KEY_DIGEST_SIZE, digest->bytes, KEY_DIGEST_SIZE, out);
}

bool key_digest_eq(const struct key_digest *a, const struct key_digest *b)
{
	return CRYPTO_memcmp(a->bytes, b->bytes, KEY_DIGEST_SIZE) == 0;
}

void key_wipe(void *p, size_t len)
{
	OPENSSL_cleanse(p, len);
}

/* ---- records ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool digest_read(struct bb_str hex, struct key_digest *out)
{
	if (hex.len != 2 * KEY_DIGEST_SIZE)
		return false;
	for (size_t i = 0; i < KEY_DIGEST_SIZE; i++) {
		const int high = hex_digit(hex.p[2 * i]), low = hex_digit(hex.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		out->bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool is_id(struct bb_str s)
{
	if (s.len != KEY_ID_LEN)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] == '\0' || !strchr(alphabet, s.p[i]))
			return false;
	return true;
}

static int hashed_parse(struct bb_str text, struct key_record *out, const char **why)
{
	struct key_record r = { 0 };
	struct bb_str rest = bb_str_skip(text, sizeof(FORM) - 1);
	const struct bb_str id = bb_str_cut(&rest, ':');
	const bool has_expiry = rest.len > 2 * KEY_DIGEST_SIZE;
	const struct bb_str hex = bb_str_cut(&rest, ':');

	if (!is_id(id) || !digest_read(hex, &r.digest)) {
		*why = "a stored key is bbh1:ID:DIGEST as `busbar keys create` prints it";
		return -BB_EINVALID;
	}
	if (has_expiry && date_parse(rest, &r.expires_s)) {
		*why = "a stored key's expiry is a date like 2026-12-31 or 2026-12-31T18:00:00Z";
		return -BB_EINVALID;
	}
	memcpy(r.id, id.p, KEY_ID_LEN);
	*out = r;
	return 0;
}

static int clear_parse(struct bb_str text, struct key_record *out, const char **why)
{
	struct key_record r = { .is_clear = true };

	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] <= ' ' || (unsigned char)text.p[i] >= 0x7f) {
			*why = "a key has no blanks and no letters beyond ASCII";
			return -BB_EINVALID;
		}
	if (text.len < KEY_CLEAR_LEN_MIN || text.len > KEY_CLEAR_LEN_MAX) {
		*why = "a key that is written in clear has 16 to 4096 characters; better make one "
		       "by "
		       "`busbar keys create` and write its hash";
		return -BB_EINVALID;
	}
	const int rc = key_digest_of(text, &r.digest);
	if (!rc)
		*out = r;
	return rc;
}

int key_record_parse(struct bb_str text, struct key_record *out, const char **why)
{
	if (bb_str_starts(text, BB_STR("bbh")))
		return bb_str_starts(text, BB_STR(FORM))
			       ? hashed_parse(text, out, why)
			       : (*why = "a stored key begins with bbh1:", -BB_EINVALID);
	return clear_parse(text, out, why);
}

int key_record_of(const char key[KEY_TEXT_LEN + 1], struct key_record *out)
{
	struct key_record r = { 0 };
	const int rc = key_digest_of((struct bb_str){ key, KEY_TEXT_LEN }, &r.digest);

	if (rc)
		return rc;
	memcpy(r.id, key + sizeof(KEY_PREFIX) - 1, KEY_ID_LEN);
	*out = r;
	return 0;
}

void key_record_write(const struct key_record *r, struct bb_buf *out)
{
	BB_ASSERT(!r->is_clear);
	bb_buf_printf(out, FORM "%s:", r->id);
	for (size_t i = 0; i < KEY_DIGEST_SIZE; i++)
		bb_buf_printf(out, "%02x", r->digest.bytes[i]);
	if (r->expires_s) {
		bb_buf_lit(out, ":");
		date_write(r->expires_s, out);
	}
}
