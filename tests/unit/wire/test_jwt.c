/*
 * Goal: only a token that is right in every respect passes: signed by a key of the set that is for
 * its algorithm, in time, from the issuer, for the audience. Each fault is told as what it is, and
 * each attack of RFC 8725 §2 is one of the rows.
 */
#include "jwt_maker.h"

#include <openssl/hmac.h>
#include <openssl/x509.h>

#include "base/alloc.h"
#include "wire/jwt.h"

#define NOW 1800000000ull
#define ACCEPTED (-1) /* no fault */

static EVP_PKEY *keys[JWT_ALG_COUNT], *stranger;
static struct jwks *set;
static const char *const headers[JWT_ALG_COUNT] = {
	"{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"r\"}",
	"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"e\"}",
	"{\"alg\":\"EdDSA\",\"kid\":\"d\"}",
};
static const char claims[] =
	"{\"iss\":\"https://id.example\",\"aud\":\"busbar\",\"sub\":\"clinic\","
	"\"exp\":1800000060,\"nbf\":1799999990,\"iat\":1799999990}";
static const struct jwt_policy policy = {
	.allowed = { true, true, true },
	.issuer = BB_STR_INIT("https://id.example"),
	.audience = BB_STR_INIT("busbar"),
	.tenant_claim = BB_STR_INIT("sub"),
	.leeway_s = 10,
};

static int setup(void **state)
{
	static const char *const kids[] = { "r", "e", "d" };
	char text[3 * MAKER_TEXT_SIZE];
	size_t len = (size_t)snprintf(text, sizeof(text), "{\"keys\":[");
	const char *why;

	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++) {
		char more[32];
		keys[a] = maker_key(a, 2048);
		snprintf(more, sizeof(more), ",\"kid\":\"%s\"", kids[a]);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", a ? "," : "",
					maker_jwk(keys[a], a, more));
	}
	snprintf(text + len, sizeof(text) - len, "]}");
	stranger = maker_key(JWT_EDDSA, 0);
	return jwks_parse(bb_str_of(text), &set, &why);
}

static int teardown(void **state)
{
	jwks_put(set);
	EVP_PKEY_free(stranger);
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++)
		EVP_PKEY_free(keys[a]);
	return 0;
}

/* The fault, or ACCEPTED. */
static int judge_at(struct bb_str token, const struct jwt_policy *p, uint64_t now_s,
		    struct jwt_claims *out)
{
	enum jwt_fault fault = JWT_FAULT_SIZE;
	const int rc = jwt_verify(token, p, set, now_s, out, &fault);

	assert_int_equal(ERR_peek_error(), 0);
	if (rc == 0)
		return ACCEPTED;
	assert_int_equal(rc, -BB_EAUTH);
	assert_non_null(jwt_fault_text(fault));
	return (int)fault;
}

static int judge(struct bb_str token)
{
	struct jwt_claims c;

	return judge_at(token, &policy, NOW, &c);
}

/* A token of the Ed25519 key with these. */
static struct bb_str signed_token(const char *header, const char *text)
{
	return maker_token(keys[JWT_EDDSA], JWT_EDDSA, header, text);
}

/* ---- what is right ---- */

static void test_accepted(void **state)
{
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++) {
		struct jwt_claims c;
		const struct bb_str token = maker_token(keys[a], a, headers[a], claims);
		assert_true(jwt_is_like(token));
		assert_int_equal(judge_at(token, &policy, NOW, &c), ACCEPTED);
		assert_string_equal(c.tenant, "clinic");
		assert_int_equal(c.tenant_len, 6);
		assert_int_equal(c.valid_until_s, 1800000070);
	}
}

static void test_is_like(void **state)
{
	static const char *const not [] = { "",	    "a",    "a.b",     "a..c",
					    ".b.c", "a.b.", "a.b.c.d", "bb-abc" };

	for (size_t i = 0; i < UNIT_COUNT(not ); i++)
		assert_false(jwt_is_like(bb_str_of(not [i])));
	assert_true(jwt_is_like(BB_STR("a.b.c")));
}

static void test_times(void **state)
{
	static const struct {
		uint64_t now_s;
		int fault;
	} rows[] = {
		{ 1800000069, ACCEPTED },	   { 1800000070, JWT_FAULT_EXPIRED },
		{ UINT64_MAX, JWT_FAULT_EXPIRED }, { 1799999980, ACCEPTED },
		{ 1799999979, JWT_FAULT_EARLY },   { 0, JWT_FAULT_EARLY },
	};
	struct jwt_claims c;

	const struct bb_str token = signed_token(headers[JWT_EDDSA], claims);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		assert_int_equal(judge_at(token, &policy, rows[i].now_s, &c), rows[i].fault);
}

/* ---- claims ---- */

static void test_claims(void **state)
{
	static const struct {
		const char *text;
		int fault;
	} rows[] = {
		/* the order of members and further ones do not matter */
		{ "{\"x\":{\"exp\":1},\"exp\":1800000001,\"aud\":[\"a\",\"busbar\"],"
		  "\"iss\":\"https://id.example\",\"y\":[1,2,{\"iss\":0}]}",
		  ACCEPTED },
		{ "{\"exp\":1.800000001e9,\"aud\":\"busbar\",\"iss\":\"https:\\/\\/id.example\"}",
		  ACCEPTED },
		{ "{\"exp\":1800000000.5,\"aud\":\"b\\u0075sbar\",\"iss\":\"https://id.example\"}",
		  ACCEPTED },
		/* times */
		{ "{\"aud\":\"busbar\",\"iss\":\"https://id.example\"}", JWT_FAULT_NO_EXPIRY },
		{ "{\"exp\":null}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":\"1800000001\"}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":true}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":-1}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1e300}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1e999}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":[1800000001]}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1799999989}", JWT_FAULT_EXPIRED },
		{ "{\"exp\":0}", JWT_FAULT_EXPIRED },
		{ "{\"exp\":1800000001,\"nbf\":\"0\"}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001,\"nbf\":1800000011}", JWT_FAULT_EARLY },
		{ "{\"exp\":1800000001,\"iat\":1800000011}", JWT_FAULT_EARLY },
		{ "{\"exp\":1800000001,\"iat\":{}}", JWT_FAULT_CLAIMS },
		/* who and for whom */
		{ "{\"exp\":1800000001,\"aud\":\"busbar\"}", JWT_FAULT_ISSUER },
		{ "{\"exp\":1800000001,\"aud\":\"busbar\",\"iss\":\"https://id.example/\"}",
		  JWT_FAULT_ISSUER },
		{ "{\"exp\":1800000001,\"aud\":\"busbar\",\"iss\":[\"https://id.example\"]}",
		  JWT_FAULT_ISSUER },
		{ "{\"exp\":1800000001,\"iss\":\"https://id.example\"}", JWT_FAULT_AUDIENCE },
		{ "{\"exp\":1800000001,\"iss\":\"https://id.example\",\"aud\":\"Busbar\"}",
		  JWT_FAULT_AUDIENCE },
		{ "{\"exp\":1800000001,\"iss\":\"https://id.example\",\"aud\":[]}",
		  JWT_FAULT_AUDIENCE },
		{ "{\"exp\":1800000001,\"iss\":\"https://id.example\",\"aud\":[[\"busbar\"]]}",
		  JWT_FAULT_AUDIENCE },
		{ "{\"exp\":1800000001,\"iss\":\"https://id.example\",\"aud\":{\"busbar\":1}}",
		  JWT_FAULT_AUDIENCE },
		/* deciding members twice, also when one is written with escapes */
		{ "{\"exp\":1800000001,\"exp\":1900000000}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1,\"\\u0065xp\":1800000001}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001,\"sub\":\"a\",\"sub\":\"b\"}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001,\"iss\":\"a\",\"iss\":\"b\"}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001,\"aud\":\"a\",\"aud\":\"b\"}", JWT_FAULT_CLAIMS },
		/* what is no object of JSON */
		{ "", JWT_FAULT_SHAPE },
		{ "7", JWT_FAULT_CLAIMS },
		{ "[]", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001} ", JWT_FAULT_ISSUER },
		{ "{\"exp\":1800000001}x", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001,}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001,\"a\":\"\xff\"}", JWT_FAULT_CLAIMS },
		{ "{\"exp\":1800000001,\"a\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}",
		  JWT_FAULT_CLAIMS },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const int fault = judge(signed_token(headers[JWT_EDDSA], rows[i].text));
		if (fault != rows[i].fault) {
			print_error("%s: %d\n", rows[i].text, fault);
			fail();
		}
	}
}

/* Without an issuer and an audience in the policy they are not looked at. */
static void test_lenient_policy(void **state)
{
	struct jwt_policy p = policy;
	struct jwt_claims c;

	p.issuer = p.audience = BB_STR("");
	p.leeway_s = 0;
	assert_int_equal(
		judge_at(signed_token(headers[JWT_EDDSA], "{\"exp\":1800000001,\"iss\":7}"), &p,
			 NOW, &c),
		ACCEPTED);
	assert_int_equal(c.valid_until_s, 1800000001);
	assert_int_equal(
		judge_at(signed_token(headers[JWT_EDDSA], "{\"exp\":1800000000}"), &p, NOW, &c),
		JWT_FAULT_EXPIRED);
	p.leeway_s = UINT64_MAX;
	assert_int_equal(judge_at(signed_token(headers[JWT_EDDSA], "{\"exp\":1}"), &p, NOW, &c),
			 ACCEPTED);
	assert_int_equal(c.valid_until_s, UINT64_MAX);
}

static void test_tenant(void **state)
{
	static const struct {
		const char *claim, *text, *tenant;
	} rows[] = {
		{ "sub", "{\"exp\":1800000001,\"sub\":\"cl\\u0069nic\"}", "clinic" },
		{ "sub", "{\"exp\":1800000001}", "" },
		{ "sub", "{\"exp\":1800000001,\"sub\":\"\"}", "" },
		{ "sub", "{\"exp\":1800000001,\"sub\":7}", "" },
		{ "sub", "{\"exp\":1800000001,\"sub\":null}", "" },
		{ "sub", "{\"exp\":1800000001,\"sub\":[\"clinic\"]}", "" },
		{ "https://a.example/tenant",
		  "{\"exp\":1800000001,\"sub\":\"x\",\"https://a.example/tenant\":\"t\"}", "t" },
		{ "iss", "{\"exp\":1800000001,\"iss\":\"me\"}", "me" },
		/* only at the top */
		{ "tenant", "{\"exp\":1800000001,\"a\":{\"tenant\":\"t\"}}", "" },
		{ "sub",
		  "{\"exp\":1800000001,\"sub\":"
		  "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}",
		  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
		{ "sub",
		  "{\"exp\":1800000001,\"sub\":"
		  "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefg\"}",
		  "" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct jwt_policy p = policy;
		struct jwt_claims c;
		p.issuer = p.audience = BB_STR("");
		p.tenant_claim = bb_str_of(rows[i].claim);
		assert_int_equal(
			judge_at(signed_token(headers[JWT_EDDSA], rows[i].text), &p, NOW, &c),
			ACCEPTED);
		assert_string_equal(c.tenant, rows[i].tenant);
		assert_int_equal(c.tenant_len, strlen(rows[i].tenant));
	}
}

/* ---- headers ---- */

static void test_headers(void **state)
{
	static const struct {
		const char *text;
		int fault;
	} rows[] = {
		{ "{\"alg\":\"EdDSA\"}", ACCEPTED }, /* the only key for it */
		{ "{\"alg\":\"EdDSA\",\"kid\":\"d\",\"typ\":\"application/at+JWT\"}", ACCEPTED },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"d\",\"typ\":\"jwt\",\"cty\":\"x\"}", ACCEPTED },
		{ "{\"alg\":\"Ed\\u0044SA\",\"kid\":\"\\u0064\"}", ACCEPTED },
		/* keys and places of keys in the token itself are nothing to go by */
		{ "{\"alg\":\"EdDSA\",\"kid\":\"d\",\"jku\":\"http://evil.example/\","
		  "\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"},\"x5c\":[\"AA\"],\"x5u\":\"http://a/\"}",
		  ACCEPTED },
		{ "{}", JWT_FAULT_HEADER },
		{ "[]", JWT_FAULT_HEADER },
		{ "{\"alg\":\"EdDSA\"", JWT_FAULT_HEADER },
		{ "{\"alg\":7}", JWT_FAULT_HEADER },
		{ "{\"alg\":[\"EdDSA\"]}", JWT_FAULT_HEADER },
		{ "{\"alg\":\"none\",\"alg\":\"EdDSA\"}", JWT_FAULT_HEADER },
		{ "{\"alg\":\"EdDSA\",\"a\\u006cg\":\"none\"}", JWT_FAULT_HEADER },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"d\",\"kid\":\"e\"}", JWT_FAULT_HEADER },
		{ "{\"alg\":\"EdDSA\",\"kid\":7}", JWT_FAULT_HEADER },
		{ "{\"alg\":\"EdDSA\",\"kid\":null}", JWT_FAULT_HEADER },
		{ "{\"alg\":\"EdDSA\",\"typ\":7}", JWT_FAULT_HEADER },
		{ "{\"alg\":\"none\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"None\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"HS256\",\"kid\":\"r\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"RS512\",\"kid\":\"r\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"PS256\",\"kid\":\"r\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"ES384\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"eddsa\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"EdDSA \"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"EdDSA\\u0000\"}", JWT_FAULT_ALGORITHM },
		{ "{\"alg\":\"EdDSA\",\"crit\":[\"exp\"],\"exp\":1}", JWT_FAULT_CRITICAL },
		{ "{\"alg\":\"EdDSA\",\"crit\":[]}", JWT_FAULT_CRITICAL },
		{ "{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":false}", JWT_FAULT_CRITICAL },
		{ "{\"alg\":\"EdDSA\",\"typ\":\"logout+jwt\"}", JWT_FAULT_TYPE },
		{ "{\"alg\":\"EdDSA\",\"typ\":\"dpop+jwt\"}", JWT_FAULT_TYPE },
		{ "{\"alg\":\"EdDSA\",\"typ\":\"\"}", JWT_FAULT_TYPE },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"x\"}", JWT_FAULT_KEY_UNKNOWN },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"\"}", JWT_FAULT_KEY_UNKNOWN },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"../../dev/null\"}", JWT_FAULT_KEY_UNKNOWN },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"r\"}", JWT_FAULT_KEY_UNFIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"d\"}", JWT_FAULT_KEY_UNFIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\"}", JWT_FAULT_SIGNATURE },
		{ "{\"alg\":\"ES256\",\"kid\":\"e\"}", JWT_FAULT_SIGNATURE },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const int fault = judge(signed_token(rows[i].text, claims));
		if (fault != rows[i].fault) {
			print_error("%s: %d\n", rows[i].text, fault);
			fail();
		}
	}
}

static void test_allowed(void **state)
{
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++)
		for (enum jwt_alg only = 0; only < JWT_ALG_COUNT; only++) {
			struct jwt_policy p = policy;
			struct jwt_claims c;
			for (enum jwt_alg b = 0; b < JWT_ALG_COUNT; b++)
				p.allowed[b] = b == only;
			assert_int_equal(
				judge_at(maker_token(keys[a], a, headers[a], claims), &p, NOW, &c),
				a == only ? ACCEPTED : JWT_FAULT_ALGORITHM);
		}
}

/* HMAC with the bytes of a public key as its secret: the oldest trick. */
static void test_key_confusion(void **state)
{
	static struct maker_text text;
	static const char *const lies[] = { "{\"alg\":\"HS256\",\"kid\":\"r\"}",
					    "{\"alg\":\"RS256\",\"kid\":\"r\"}" };
	unsigned char *der = NULL, mac[32];
	const int der_len = i2d_PUBKEY(keys[JWT_RS256], &der);

	assert_true(der_len > 0);
	for (size_t i = 0; i < UNIT_COUNT(lies); i++) {
		unsigned mac_len = 0;
		text.len = 0;
		maker_base64url(lies[i], strlen(lies[i]), &text);
		text.p[text.len++] = '.';
		maker_base64url(claims, strlen(claims), &text);
		assert_non_null(HMAC(EVP_sha256(), der, der_len, (unsigned char *)text.p, text.len,
				     mac, &mac_len));
		text.p[text.len++] = '.';
		maker_base64url(mac, mac_len, &text);
		assert_int_equal(judge((struct bb_str){ text.p, text.len }),
				 i ? JWT_FAULT_SIGNATURE : JWT_FAULT_ALGORITHM);
	}
	OPENSSL_free(der);
}

/* ---- signatures and shapes ---- */

static void test_stranger(void **state)
{
	assert_int_equal(judge(maker_token(stranger, JWT_EDDSA, headers[JWT_EDDSA], claims)),
			 JWT_FAULT_SIGNATURE);
}

/* Every single character matters: none can be changed, left out, doubled or added. */
static void test_no_other_text(void **state)
{
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a += 2) {
		const struct bb_str token = maker_token(keys[a], a, headers[a], claims);
		char *copy = malloc(token.len + 1);
		assert_int_equal(judge(token), ACCEPTED);
		for (size_t i = 0; i < token.len; i++) {
			memcpy(copy, token.p, token.len);
			copy[i] ^= 1;
			assert_int_not_equal(judge((struct bb_str){ copy, token.len }), ACCEPTED);
			copy[i] = '=';
			assert_int_not_equal(judge((struct bb_str){ copy, token.len }), ACCEPTED);
			memmove(copy + i, token.p + i + 1, token.len - i - 1);
			assert_int_not_equal(judge((struct bb_str){ copy, token.len - 1 }),
					     ACCEPTED);
			memcpy(copy, token.p, i + 1);
			memcpy(copy + i + 1, token.p + i, token.len - i);
			assert_int_not_equal(judge((struct bb_str){ copy, token.len + 1 }),
					     ACCEPTED);
		}
		free(copy);
	}
}

/* ES256: DER instead of r and s, numbers of nothing, and the curve's order are all refused. */
static void test_ecdsa_forms(void **state)
{
	static struct maker_text text;
	static const uint8_t order[32] = { 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
					   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					   0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
					   0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51 };
	uint8_t signature[2048] = { 0 };
	size_t size = sizeof(signature);

	text.len = 0;
	maker_base64url(headers[JWT_ES256], strlen(headers[JWT_ES256]), &text);
	text.p[text.len++] = '.';
	maker_base64url(claims, strlen(claims), &text);
	const size_t signed_len = text.len;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, keys[JWT_ES256]), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature, &size, (unsigned char *)text.p, text.len),
			 1);
	EVP_MD_CTX_free(ctx);
	for (int i = 0; i < 3; i++) {
		text.len = signed_len;
		text.p[text.len++] = '.';
		maker_base64url(signature, size, &text);
		assert_int_equal(judge((struct bb_str){ text.p, text.len }), JWT_FAULT_SIGNATURE);
		size = 64;
		memset(signature, 0, size);
		if (i) {
			memcpy(signature, order, 32);
			memcpy(signature + 32, order, 32);
		}
	}
}

static void test_shapes(void **state)
{
	static const char *const not [] = { "",	    "a",    ".",    "..",      "...",	   "a.b",
					    "a..c", ".b.c", "a.b.", "a.b.c.d", "a.b.c.d.e" };

	for (size_t i = 0; i < UNIT_COUNT(not ); i++)
		assert_int_equal(judge(bb_str_of(not [i])), JWT_FAULT_SHAPE);
	assert_int_equal(judge(BB_STR("a.b.c")), JWT_FAULT_HEADER);
}

static void test_size(void **state)
{
	char text[6200], header[64] = "{\"alg\":\"EdDSA\"}";
	struct bb_str token;
	size_t most = 0;

	/* Grows until the token would be too long: the last one that fits is right. */
	for (size_t fill = 5800; fill < sizeof(text) - 128; fill++) {
		snprintf(text, sizeof(text),
			 "{\"exp\":1800000001,\"iss\":\"https://id.example\",\"aud\":\"busbar\","
			 "\"x\":\"%0*d\"}",
			 (int)fill, 1);
		token = signed_token(header, text);
		if (token.len > JWT_SIZE_MAX)
			break;
		most = token.len;
		assert_int_equal(judge(token), ACCEPTED);
	}
	assert_true(most >= JWT_SIZE_MAX - 4);
	assert_true(token.len > JWT_SIZE_MAX);
	assert_int_equal(judge(token), JWT_FAULT_SIZE);
	char *dots = malloc(JWT_SIZE_MAX + 1);
	memset(dots, '.', JWT_SIZE_MAX + 1);
	assert_int_equal(judge((struct bb_str){ dots, JWT_SIZE_MAX + 1 }), JWT_FAULT_SIZE);
	assert_int_equal(judge((struct bb_str){ dots, JWT_SIZE_MAX }), JWT_FAULT_SHAPE);
	free(dots);
}

/* RFC 6750 §3: what may stand in error_description. */
static void test_texts(void **state)
{
	for (enum jwt_fault f = 0; f <= JWT_FAULT_AUDIENCE; f++)
		for (const char *p = jwt_fault_text(f); *p; p++)
			assert_true(*p >= ' ' && *p < 0x7f && *p != '"' && *p != '\\');
}

static void test_no_memory(void **state)
{
	const struct bb_str token = signed_token(headers[JWT_EDDSA], claims);
	int rc = -BB_ENOMEM;

	for (uint64_t n = 1; rc; n++) {
		struct jwt_claims c = { 0 };
		enum jwt_fault fault;
		assert_true(n < 20);
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		rc = jwt_verify(token, &policy, set, NOW, &c, &fault);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		assert_int_equal(c.tenant_len, rc ? 0 : 6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),       cmocka_unit_test(test_is_like),
		cmocka_unit_test(test_times),	       cmocka_unit_test(test_claims),
		cmocka_unit_test(test_lenient_policy), cmocka_unit_test(test_tenant),
		cmocka_unit_test(test_headers),	       cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_key_confusion),  cmocka_unit_test(test_stranger),
		cmocka_unit_test(test_no_other_text),  cmocka_unit_test(test_ecdsa_forms),
		cmocka_unit_test(test_shapes),	       cmocka_unit_test(test_size),
		cmocka_unit_test(test_texts),	       cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
