/*
 * fuzz_jwt.c: no text makes a token or a set of keys do harm, and nobody but the key's owner makes
 * a token that passes.
 *
 * The first byte says what the rest is: 'k' a set of keys, which is asked for keys afterwards; 't'
 * a token against a fixed set: only the one token that the key's owner made may pass, and in that
 * one spelling; anything else: a header and, behind a line feed, claims, which are signed with the
 * key of the set, so that the checks behind the signature are reached.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/log.h"
#include "wire/jwt.h"

#define INPUT_MAX 16384
#define NOW 1800000000ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ed25519 with the private key of 32 bytes 'k'. */
static const char set_text[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\","
			       "\"x\":\"gyClGXfYw4yopJJ8Zw31gh5El2GUXhXp77JqFQnSMOo\"}]}";
/* {"alg":"EdDSA","kid":"a"} . {"exp":1800000100,"sub":"t"} */
static const char right_token[] =
	"eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.eyJleHAiOjE4MDAwMDAxMDAsInN1YiI6InQifQ."
	"ZO8wiJvjqKBUdueem1FMPukRuCKnDUQgJiDm8zlUVnJb6aNg8Evv8w68Oi8b"
	"k5ELt9wBMG7PIKrBnh3lWiIDDw";

static const struct jwt_policy policy = {
	.allowed = { true, true, true },
	.tenant_claim = BB_STR_INIT("sub"),
	.leeway_s = 10,
};

static struct jwks *set;
static EVP_PKEY *owner;

static void prepare(void)
{
	uint8_t seed[32];
	const char *why;

	if (set)
		return;
	memset(seed, 'k', sizeof(seed));
	owner = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
	BB_ASSERT(owner && jwks_parse(bb_str_of(set_text), &set, &why) == 0);
}

static void try_set(struct bb_str text)
{
	static const char *const kids[] = { "\"\"", "\"a\"", "\"\\u0061\"" };
	struct jwks *s = NULL;
	const char *why = NULL;

	const int rc = jwks_parse(text, &s, &why);
	BB_ASSERT(!rc == !!s && (!rc || why));
	if (rc)
		return;
	const uint32_t count = jwks_count(s);
	const uint32_t passed_over = jwks_passed_over(s, &why);
	BB_ASSERT(count > 0 && count + passed_over <= JWKS_KEYS_MAX && !passed_over == !why);
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++) {
		const struct jwks_key *k = NULL;
		for (size_t i = 0; i < sizeof(kids) / sizeof(kids[0]); i++)
			if (jwks_find(s, a, bb_str_of(kids[i]), &k) == JWKS_FOUND)
				BB_ASSERT(k->alg == a && k->has_kid && k->kid.len <= 1);
		if (jwks_find(s, a, (struct bb_str){ NULL, 0 }, &k) == JWKS_FOUND)
			BB_ASSERT(k->alg == a);
	}
	jwks_put(s);
}

static bool passes(struct bb_str token)
{
	struct jwt_claims c;
	enum jwt_fault fault = JWT_FAULT_SIZE;

	const int rc = jwt_verify(token, &policy, set, NOW, &c, &fault);
	BB_ASSERT(rc == 0 || (rc == -BB_EAUTH && jwt_fault_text(fault)));
	if (rc)
		return false;
	BB_ASSERT(jwt_is_like(token) && token.len <= JWT_SIZE_MAX);
	BB_ASSERT(c.valid_until_s > NOW && c.tenant_len <= JWT_TENANT_LEN_MAX);
	BB_ASSERT(c.tenant[c.tenant_len] == '\0');
	return true;
}

static void add_base64url(struct bb_buf *b, const uint8_t *p, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t i = 0; i < size; i += 3) {
		const size_t left = size - i < 3 ? size - i : 3;
		const uint32_t bits = (uint32_t)p[i] << 16 |
				      (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
				      (left > 2 ? p[i + 2] : 0u);
		for (size_t k = 0; k <= left; k++)
			BB_ASSERT(bb_buf_add(b, &digits[bits >> (18 - 6 * k) & 63], 1) == 0);
	}
}

static void try_signed(struct bb_str header, struct bb_str claims)
{
	struct bb_buf b;
	uint8_t signature[64];
	size_t size = sizeof(signature);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	bb_buf_init(&b, 4 * INPUT_MAX);
	add_base64url(&b, (const uint8_t *)header.p, header.len);
	BB_ASSERT(bb_buf_lit(&b, ".") == 0);
	add_base64url(&b, (const uint8_t *)claims.p, claims.len);
	BB_ASSERT(EVP_DigestSignInit(ctx, NULL, NULL, NULL, owner) == 1);
	BB_ASSERT(EVP_DigestSign(ctx, signature, &size, (const uint8_t *)b.p, b.len) == 1);
	EVP_MD_CTX_free(ctx);
	BB_ASSERT(bb_buf_lit(&b, ".") == 0);
	add_base64url(&b, signature, size);
	passes(bb_buf_str(&b));
	bb_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > INPUT_MAX)
		return 0;
	prepare();
	struct bb_str text = { (const char *)data + 1, size - 1 };
	if (data[0] == 'k') {
		try_set(text);
	} else if (data[0] == 't') {
		BB_ASSERT(passes(text) == bb_str_eq(text, bb_str_of(right_token)));
	} else {
		const struct bb_str header = bb_str_cut(&text, '\n');
		try_signed(header, text);
	}
	return 0;
}
