#include "wire/jwks_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "wire/base64url.h"
#include "wire/json.h"

#define DEPTH_MAX 16
#define EXPONENT_SIZE_MAX 8
#define P256_SIZE 32
#define ED25519_SIZE 32
#define PAIR_SIZE 64 /* r and s of ES256, or R and S of Ed25519 */
#define DER_SIZE_MAX 80

struct bb_str jwt_alg_name(enum jwt_alg alg)
{
	static const struct bb_str names[] = {
#define X(name, text) BB_STR_INIT(text),
		JWT_ALGS(X)
#undef X
	};

	return names[alg];
}

/* ---- the members of a JWK ---- */

/* Those that decide something; each may be there once. */
#define MEMBERS(X) X(kty) X(use) X(key_ops) X(alg) X(kid) X(crv) X(n) X(e) X(x) X(y) X(d) X(k)

struct jwk {
#define X(name) struct bb_str name; /* as JSON; p == NULL: absent */
	MEMBERS(X)
#undef X
};

static int on_member(void *user, const struct json_member *m)
{
	struct jwk *j = user;

#define X(name)                                                                                    \
	if (json_inner_eq(m->key, BB_STR(#name))) {                                                \
		if (j->name.p)                                                                     \
			return -BB_EINVALID;                                                       \
		j->name = m->value;                                                                \
	}
	MEMBERS(X)
#undef X
	return 0;
}

static bool is_text(struct bb_str raw, const char *text)
{
	return raw.p && json_string_eq(raw, bb_str_of(text));
}

/* RFC 7517 §4.3: where the operations are told, checking signatures must be one of them. */
static bool has_verify(struct bb_str key_ops)
{
	struct json_pull pull;
	struct bb_str op;
	enum json_type type;

	json_pull_init(&pull, key_ops);
	if (!json_pull_array(&pull))
		return false;
	while (json_pull_more(&pull) && json_pull_value(&pull, &op, &type))
		if (json_string_eq(op, BB_STR("verify")))
			return true;
	return false;
}

static const char *read_purpose(const struct jwk *j, enum jwt_alg *alg)
{
	if (is_text(j->kty, "RSA"))
		*alg = JWT_RS256;
	else if (is_text(j->kty, "EC") && is_text(j->crv, "P-256"))
		*alg = JWT_ES256;
	else if (is_text(j->kty, "OKP") && is_text(j->crv, "Ed25519"))
		*alg = JWT_EDDSA;
	else
		return "it is not of type RSA, EC P-256 or OKP Ed25519";
	if (j->d.p || j->k.p)
		return "it is a private key, which nobody may publish";
	if (j->use.p && !is_text(j->use, "sig"))
		return "its 'use' is not 'sig'";
	if (j->key_ops.p && !has_verify(j->key_ops))
		return "its 'key_ops' do not have 'verify'";
	if (j->alg.p && !json_string_eq(j->alg, jwt_alg_name(*alg)))
		return "its 'alg' is none that is known here for its type";
	return NULL;
}

/* base64url in a JSON string; escapes have no place in it. */
static bool read_bytes(struct bb_str raw, uint8_t *out, size_t size, size_t *len)
{
	return raw.p && json_type_of(raw) == JSON_STRING &&
	       base64url_decode(json_string_inner(raw), out, size, len) == 0;
}

/* ---- keys ---- */

static EVP_PKEY *pkey_from(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = params ? EVP_PKEY_CTX_new_from_name(NULL, type, NULL) : NULL;
	EVP_PKEY *pkey = NULL;

	if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		(void)!EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	return pkey;
}

static EVP_PKEY *rsa_build(BIGNUM *n, BIGNUM *e)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;

	if (bld && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY *pkey = pkey_from("RSA", params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	return pkey;
}

static EVP_PKEY *rsa_make(const struct jwk *j, const char **why)
{
	uint8_t n_bytes[JWKS_RSA_BITS_MAX / 8], e_bytes[EXPONENT_SIZE_MAX];
	size_t n_size, e_size;
	EVP_PKEY *pkey = NULL;

	if (!read_bytes(j->n, n_bytes, sizeof(n_bytes), &n_size) ||
	    !read_bytes(j->e, e_bytes, sizeof(e_bytes), &e_size)) {
		*why = "its 'n' or 'e' is missing, malformed or too long";
		return NULL;
	}
	BIGNUM *n = BN_bin2bn(n_bytes, (int)n_size, NULL);
	BIGNUM *e = BN_bin2bn(e_bytes, (int)e_size, NULL);
	if (n && e) {
		if (BN_num_bits(n) < JWKS_RSA_BITS_MIN)
			*why = "its modulus has fewer than 2048 bits";
		else if (!BN_is_odd(e) || BN_is_one(e))
			*why = "its exponent is not odd or is 1";
		else
			pkey = rsa_build(n, e);
	}
	BN_free(n);
	BN_free(e);
	return pkey;
}

static EVP_PKEY *p256_make(const struct jwk *j, const char **why)
{
	uint8_t point[1 + 2 * P256_SIZE] = { POINT_CONVERSION_UNCOMPRESSED };
	size_t x_size, y_size;

	if (!read_bytes(j->x, point + 1, P256_SIZE, &x_size) || x_size != P256_SIZE ||
	    !read_bytes(j->y, point + 1 + P256_SIZE, P256_SIZE, &y_size) || y_size != P256_SIZE) {
		*why = "its 'x' or 'y' is missing, malformed or not of 32 bytes";
		return NULL;
	}
	char group[] = "P-256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
		OSSL_PARAM_construct_end(),
	};
	return pkey_from("EC", params);
}

static EVP_PKEY *ed25519_make(const struct jwk *j, const char **why)
{
	uint8_t x[ED25519_SIZE];
	size_t size;

	if (!read_bytes(j->x, x, sizeof(x), &size) || size != ED25519_SIZE) {
		*why = "its 'x' is missing, malformed or not of 32 bytes";
		return NULL;
	}
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
}

/* Is it on its curve, is its modulus one that can be? */
static bool is_sound(EVP_PKEY *pkey)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	const bool sound = ctx && EVP_PKEY_public_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return sound;
}

static int read_kid(const struct jwk *j, struct bb_arena *arena, struct jwks_key *k,
		    const char **why)
{
	struct bb_str kid;

	if (!j->kid.p)
		return 0;
	/* No escape is longer than six times what it stands for. */
	const int rc = j->kid.len > 6 * JWKS_KID_LEN_MAX + 2
			       ? -BB_EINVALID
			       : json_string_decode(j->kid, arena, &kid);
	if (rc == -BB_ENOMEM)
		return rc;
	if (rc || kid.len > JWKS_KID_LEN_MAX) {
		*why = "its 'kid' is no text of at most 256 bytes";
		return -BB_EINVALID;
	}
	k->has_kid = true;
	k->kid = bb_arena_dup(arena, kid);
	return k->kid.p ? 0 : -BB_ENOMEM;
}

int jwks_key_make(struct bb_str object, struct bb_arena *arena, struct jwks_key *out,
		  const char **why)
{
	struct jwk j = { 0 };
	struct jwks_key k = { 0 };

	*why = "it is no object, or one of its members is there twice";
	int rc = json_scan_object(object, DEPTH_MAX, on_member, &j, NULL);
	if (rc)
		return rc == -BB_ENOMEM ? rc : -BB_EINVALID;
	*why = read_purpose(&j, &k.alg);
	if (*why)
		return -BB_EINVALID;
	rc = read_kid(&j, arena, &k, why);
	if (rc)
		return rc;
	switch (k.alg) {
	case JWT_RS256: k.pkey = rsa_make(&j, why); break;
	case JWT_ES256: k.pkey = p256_make(&j, why); break;
	case JWT_EDDSA: k.pkey = ed25519_make(&j, why); break;
	case JWT_ALG_COUNT: break;
	}
	if (!k.pkey || !is_sound(k.pkey)) {
		ERR_clear_error();
		jwks_key_fini(&k);
		if (!*why)
			*why = "its numbers make no key of its type";
		return -BB_EINVALID;
	}
	*out = k;
	return 0;
}

void jwks_key_fini(struct jwks_key *k)
{
	EVP_PKEY_free(k->pkey);
	k->pkey = NULL;
}

/* ---- signatures ---- */

/* r and s as OpenSSL wants them; the length, or 0. */
static size_t pair_to_der(const uint8_t *pair, uint8_t der[DER_SIZE_MAX])
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(pair, PAIR_SIZE / 2, NULL);
	BIGNUM *s = BN_bin2bn(pair + PAIR_SIZE / 2, PAIR_SIZE / 2, NULL);
	unsigned char *at = der;
	int len = 0;

	if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
		r = s = NULL; /* they are the signature's now */
		len = i2d_ECDSA_SIG(sig, &at); /* two numbers of 33 bytes at the most: 72 bytes */
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return len > 0 ? (size_t)len : 0;
}

static bool digest_verify(const struct jwks_key *k, EVP_MD_CTX *ctx, struct bb_str text,
			  const uint8_t *signature, size_t size)
{
	EVP_PKEY_CTX *pctx;
	const EVP_MD *md = k->alg == JWT_EDDSA ? NULL : EVP_sha256(); /* Ed25519 has its own */

	if (EVP_DigestVerifyInit(ctx, &pctx, md, NULL, k->pkey) != 1)
		return false;
	if (k->alg == JWT_RS256 && EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PADDING) != 1)
		return false;
	return EVP_DigestVerify(ctx, signature, size, (const unsigned char *)text.p, text.len) == 1;
}

int jwks_key_verify(const struct jwks_key *k, struct bb_str text, const uint8_t *signature,
		    size_t size)
{
	uint8_t der[DER_SIZE_MAX];

	if (k->alg != JWT_RS256 && size != PAIR_SIZE)
		return -BB_EAUTH;
	if (k->alg == JWT_ES256) {
		size = pair_to_der(signature, der);
		signature = der;
		if (!size)
			return -BB_ENOMEM;
	}
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!ctx)
		return -BB_ENOMEM;
	const bool is_right = digest_verify(k, ctx, text, signature, size);
	EVP_MD_CTX_free(ctx);
	if (is_right)
		return 0;
	ERR_clear_error();
	return -BB_EAUTH;
}
