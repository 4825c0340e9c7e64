/*
 * Goal: keys of the three known types are read and check the signatures of the RFCs' examples; keys
 * of other types, for other purposes, too weak or malformed are passed over; sets are bounded;
 * look-up never gives a key to an algorithm that it is not for.
 */
#include "jwt_maker.h"

#include "base/alloc.h"
#include "wire/base64url.h"

static EVP_PKEY *keys[JWT_ALG_COUNT];

static int make_keys(void **state)
{
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++)
		keys[a] = maker_key(a, 2048);
	return 0;
}

static int free_keys(void **state)
{
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++)
		EVP_PKEY_free(keys[a]);
	return 0;
}

static int parse(const char *text, struct jwks **out, const char **why)
{
	return jwks_parse(bb_str_of(text), out, why);
}

/* A set of one key; NULL when it was refused, with the reason. */
static struct jwks *set_of(const char *jwk, const char **why)
{
	static char text[3 * MAKER_TEXT_SIZE];
	struct jwks *s = NULL;

	snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);
	const int rc = parse(text, &s, why);
	assert_true(rc == 0 || rc == -BB_EINVALID);
	assert_true(!rc == !!s);
	return s;
}

#define NONE ((struct bb_str){ NULL, 0 })

/* ---- the examples of the RFCs ---- */

/* RFC 7515 A.2 and A.3, RFC 8037 A.2 and A.4. */
static const struct {
	enum jwt_alg alg;
	const char *jwk, *text, *signature;
} examples[] = {
	{ JWT_RS256,
	  "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_"
	  "wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-"
	  "4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_"
	  "7OMg0LOL-"
	  "bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
	  "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT"
	  "6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\","
	  "\"e\":\"AQAB\"}",
	  "eyJhbGciOiJSUzI1NiJ9."
	  "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS"
	  "9pc19yb290Ijp0cnVlfQ",
	  "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
	  "O8W2Fp5juj"
	  "Gbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
	  "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7"
	  "K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-"
	  "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np"
	  "6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw" },
	{ JWT_ES256,
	  "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
	  "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
	  "eyJhbGciOiJFUzI1NiJ9."
	  "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS"
	  "9pc19yb290Ijp0cnVlfQ",
	  "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-"
	  "Kg6NU1Q" },
	{ JWT_EDDSA,
	  "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
	  "7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
	  "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
	  "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_"
	  "MuM0KAg" },
};

static void test_examples(void **state)
{
	for (size_t i = 0; i < UNIT_COUNT(examples); i++) {
		uint8_t signature[JWKS_SIGNATURE_SIZE_MAX + 1];
		const struct jwks_key *k = NULL;
		const char *why = "";
		size_t size;
		struct jwks *s = set_of(examples[i].jwk, &why);
		assert_non_null(s);
		assert_int_equal(jwks_find(s, examples[i].alg, NONE, &k), JWKS_FOUND);
		assert_int_equal(k->alg, examples[i].alg);
		assert_int_equal(base64url_decode(bb_str_of(examples[i].signature), signature,
						  sizeof(signature), &size),
				 0);
		const struct bb_str text = bb_str_of(examples[i].text);
		assert_int_equal(jwks_key_verify(k, text, signature, size), 0);
		/* One bit anywhere, one byte less or more, another text: not right. */
		for (size_t bit = 0; bit < 8 * size; bit += 61) {
			signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(jwks_key_verify(k, text, signature, size), -BB_EAUTH);
			signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		signature[size] = 0;
		assert_int_equal(jwks_key_verify(k, text, signature, size - 1), -BB_EAUTH);
		assert_int_equal(jwks_key_verify(k, text, signature, size + 1), -BB_EAUTH);
		assert_int_equal(jwks_key_verify(k, text, signature, 0), -BB_EAUTH);
		assert_int_equal(jwks_key_verify(k, bb_str_skip(text, 1), signature, size),
				 -BB_EAUTH);
		memset(signature, 0, size);
		assert_int_equal(jwks_key_verify(k, text, signature, size), -BB_EAUTH);
		assert_int_equal(ERR_peek_error(), 0);
		jwks_put(s);
	}
}

/* ---- which keys are taken ---- */

static void assert_passed_over(const char *jwk, const char *part_of_why)
{
	const char *why = NULL;
	struct jwks *s = set_of(jwk, &why);

	assert_null(s);
	assert_non_null(why);
	if (!strstr(why, part_of_why)) {
		print_error("%s\n%s\n", jwk, why);
		fail();
	}
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_purpose(void **state)
{
	static const struct {
		const char *more, *why;
	} bad[] = {
		{ ",\"use\":\"enc\"", "'use'" },
		{ ",\"use\":1", "'use'" },
		{ ",\"key_ops\":[\"sign\"]", "'key_ops'" },
		{ ",\"key_ops\":[]", "'key_ops'" },
		{ ",\"key_ops\":\"verify\"", "'key_ops'" },
		{ ",\"alg\":\"RS512\"", "'alg'" },
		{ ",\"alg\":\"HS256\"", "'alg'" },
		{ ",\"alg\":\"none\"", "'alg'" },
		{ ",\"alg\":null", "'alg'" },
		{ ",\"d\":\"AAAA\"", "private" },
		{ ",\"k\":\"AAAA\"", "private" },
		{ ",\"kid\":7", "'kid'" },
		{ ",\"kty\":\"RSA\"", "twice" },
		{ ",\"alg\":\"RS256\",\"\\u0061lg\":\"ES256\"", "twice" },
	};
	static const char *const good[] = { "", ",\"use\":\"sig\"",
					    ",\"key_ops\":[\"sign\",\"verify\"],\"x5c\":[\"AA==\"]",
					    ",\"kid\":\"a\",\"more\":{\"n\":[1]}" };

	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++) {
		for (size_t i = 0; i < UNIT_COUNT(bad); i++)
			assert_passed_over(maker_jwk(keys[a], a, bad[i].more), bad[i].why);
		for (size_t i = 0; i < UNIT_COUNT(good); i++) {
			const char *why;
			struct jwks *s = set_of(maker_jwk(keys[a], a, good[i]), &why);
			assert_non_null(s);
			assert_int_equal(jwks_count(s), 1);
			assert_int_equal(jwks_passed_over(s, &why), 0);
			jwks_put(s);
		}
		for (enum jwt_alg b = 0; b < JWT_ALG_COUNT; b++) {
			char more[64];
			const char *why;
			snprintf(more, sizeof(more), ",\"alg\":\"%s\"", jwt_alg_name(b).p);
			struct jwks *s = set_of(maker_jwk(keys[a], a, more), &why);
			assert_int_equal(s != NULL, a == b);
			jwks_put(s);
		}
	}
}

static void test_malformed(void **state)
{
	static const struct {
		const char *jwk, *why;
	} bad[] = {
		{ "7", "no object" },
		{ "null", "no object" },
		{ "{}", "not of type" },
		{ "{\"kty\":\"oct\",\"k\":\"AAAA\"}", "not of type" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AA\",\"y\":\"AA\"}", "not of type" },
		{ "{\"kty\":\"EC\",\"x\":\"AA\",\"y\":\"AA\"}", "not of type" },
		{ "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AA\"}", "not of type" },
		{ "{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AA\"}", "not of type" },
		{ "{\"kty\":\"RSA\",\"crv\":\"P-256\"}", "'n' or 'e'" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\"}", "'n' or 'e'" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB=\"}", "'n' or 'e'" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":65537}", "'n' or 'e'" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "2048" },
		{ "{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}", "2048" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAAAAAAAAAAAQ\"}", "too long" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", "32 bytes" },
		/* not on the curve, and the point that is no point */
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
		  "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
		  "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"}",
		  "make no key" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
		  "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
		  "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
		  "make no key" },
		{ "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", "32 bytes" },
		{ "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}", "32 bytes" },
	};

	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		assert_passed_over(bad[i].jwk, bad[i].why);
}

/* An exponent of 1 would let everyone sign; one that is even makes no key; a short modulus is weak.
 */
static void test_weak_rsa(void **state)
{
	static const char *const exponents[] = { "AQ", "Ag", "", "AAAA", "AQAA" };
	char jwk[4096], n[2048];

	maker_number(keys[JWT_RS256], OSSL_PKEY_PARAM_RSA_N, 0, n, sizeof(n));
	for (size_t i = 0; i < UNIT_COUNT(exponents); i++) {
		snprintf(jwk, sizeof(jwk), "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", n,
			 exponents[i]);
		assert_passed_over(jwk, "exponent");
	}
	EVP_PKEY *weak = maker_key(JWT_RS256, 2047);
	assert_passed_over(maker_jwk(weak, JWT_RS256, ""), "2048");
	EVP_PKEY_free(weak);
	/* 8193 bits */
	char *long_n = malloc(1024 * 4 / 3 + 64);
	const size_t len = 1025 * 4 / 3 + 1;
	memset(long_n, '_', len);
	long_n[0] = 'A';
	long_n[1] = 'f';
	long_n[len - 1] = '8';
	snprintf(jwk, sizeof(jwk), "{\"kty\":\"RSA\",\"n\":\"%.*s\",\"e\":\"AQAB\"}", (int)len,
		 long_n);
	assert_passed_over(jwk, "too long");
	free(long_n);
}

/* ---- sets ---- */

static void test_sets(void **state)
{
	static const struct {
		const char *text;
		int rc;
		const char *why;
	} bad[] = {
		{ "", -BB_ESYNTAX, "JSON" },
		{ "[]", -BB_ESYNTAX, "JSON" },
		{ "{\"keys\":[}", -BB_ESYNTAX, "JSON" },
		{ "{}", -BB_EINVALID, "'keys'" },
		{ "{\"keys\":{}}", -BB_EINVALID, "'keys'" },
		{ "{\"keys\":[],\"keys\":[]}", -BB_EINVALID, "'keys'" },
		{ "{\"keys\":[],\"\\u006beys\":[]}", -BB_EINVALID, "'keys'" },
		{ "{\"keys\":[]}", -BB_EINVALID, "no keys" },
		{ "{\"keys\":[{}]} x", -BB_ESYNTAX, "JSON" },
	};

	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		struct jwks *s = NULL;
		const char *why = NULL;
		const int rc = parse(bad[i].text, &s, &why);
		if (rc != bad[i].rc) {
			print_error("%s: %d\n", bad[i].text, rc);
			fail();
		}
		assert_non_null(strstr(why, bad[i].why));
		assert_null(s);
	}
}

static void test_limits(void **state)
{
	struct jwks *s = NULL;
	const char *why;
	char *text = malloc(JWKS_TEXT_MAX + 2);
	size_t len = (size_t)snprintf(text, 64, "{\"keys\":[");

	for (int i = 0; i < JWKS_KEYS_MAX; i++) {
		char more[32];
		snprintf(more, sizeof(more), ",\"kid\":\"%d\"", i);
		len += (size_t)snprintf(text + len, JWKS_TEXT_MAX - len, "%s%s", i ? "," : "",
					maker_jwk(keys[JWT_EDDSA], JWT_EDDSA, more));
	}
	snprintf(text + len, 8, "]}");
	assert_int_equal(parse(text, &s, &why), 0);
	assert_int_equal(jwks_count(s), JWKS_KEYS_MAX);
	jwks_put(s);
	s = NULL;
	snprintf(text + len, 8, ",7]}");
	assert_int_equal(parse(text, &s, &why), -BB_ELIMIT);
	memset(text, ' ', JWKS_TEXT_MAX + 1);
	text[JWKS_TEXT_MAX + 1] = '\0';
	assert_int_equal(parse(text, &s, &why), -BB_ELIMIT);
	assert_null(s);
	free(text);
}

/* Names are compared as what they say, and one that is too long is none. */
static void test_names(void **state)
{
	const struct jwks_key *k;
	const char *why;
	char more[2200];

	struct jwks *s =
		set_of(maker_jwk(keys[JWT_EDDSA], JWT_EDDSA, ",\"kid\":\"\\u0061\\/b\""), &why);
	assert_int_equal(jwks_find(s, JWT_EDDSA, BB_STR("\"a/b\""), &k), JWKS_FOUND);
	assert_str(k->kid, "a/b");
	assert_int_equal(jwks_find(s, JWT_EDDSA, BB_STR("\"\\u0061/\\u0062\""), &k), JWKS_FOUND);
	assert_int_equal(jwks_find(s, JWT_EDDSA, BB_STR("\"A/b\""), &k), JWKS_UNKNOWN);
	assert_int_equal(jwks_find(s, JWT_EDDSA, BB_STR("\"\""), &k), JWKS_UNKNOWN);
	jwks_put(s);
	snprintf(more, sizeof(more), ",\"kid\":\"%0256d\"", 7);
	s = set_of(maker_jwk(keys[JWT_EDDSA], JWT_EDDSA, more), &why);
	assert_non_null(s);
	jwks_put(s);
	snprintf(more, sizeof(more), ",\"kid\":\"%0257d\"", 7);
	assert_passed_over(maker_jwk(keys[JWT_EDDSA], JWT_EDDSA, more), "'kid'");
	snprintf(more, sizeof(more), ",\"kid\":\"%02000d\"", 7);
	assert_passed_over(maker_jwk(keys[JWT_EDDSA], JWT_EDDSA, more), "'kid'");
}

static void test_find(void **state)
{
	const struct jwks_key *k = NULL;
	char text[16384];
	size_t len = (size_t)snprintf(text, sizeof(text), "{\"keys\":[");
	struct jwks *s = NULL;
	const char *why;
	/* two RSA keys, one of them without a name; P-256 and RSA share the name "a" */
	static const struct {
		enum jwt_alg alg;
		const char *more;
	} list[] = { { JWT_RS256, "" },
		     { JWT_RS256, ",\"kid\":\"a\"" },
		     { JWT_ES256, ",\"kid\":\"a\"" },
		     { JWT_ES256, ",\"kid\":\"a\"" },
		     { JWT_EDDSA, ",\"kid\":\"e\"" } };

	for (size_t i = 0; i < UNIT_COUNT(list); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i ? "," : "",
					maker_jwk(keys[list[i].alg], list[i].alg, list[i].more));
	snprintf(text + len, sizeof(text) - len, "]}");
	assert_int_equal(parse(text, &s, &why), 0);
	assert_int_equal(jwks_count(s), 4);
	assert_int_equal(jwks_passed_over(s, &why), 1);
	assert_non_null(strstr(why, "name"));
	assert_int_equal(jwks_find(s, JWT_RS256, NONE, &k), JWKS_AMBIGUOUS);
	assert_int_equal(jwks_find(s, JWT_EDDSA, NONE, &k), JWKS_FOUND);
	assert_int_equal(jwks_find(s, JWT_RS256, BB_STR("\"a\""), &k), JWKS_FOUND);
	assert_int_equal(k->alg, JWT_RS256);
	assert_int_equal(jwks_find(s, JWT_ES256, BB_STR("\"a\""), &k), JWKS_FOUND);
	assert_int_equal(k->alg, JWT_ES256);
	assert_int_equal(jwks_find(s, JWT_EDDSA, BB_STR("\"a\""), &k), JWKS_UNFIT);
	assert_int_equal(jwks_find(s, JWT_RS256, BB_STR("\"e\""), &k), JWKS_UNFIT);
	assert_int_equal(jwks_find(s, JWT_RS256, BB_STR("\"z\""), &k), JWKS_UNKNOWN);
	/* A second reference keeps it. */
	assert_ptr_equal(jwks_get(s), s);
	jwks_put(s);
	assert_int_equal(jwks_count(s), 4);
	jwks_put(s);
	jwks_put(NULL);
	s = set_of(maker_jwk(keys[JWT_EDDSA], JWT_EDDSA, ""), &why);
	assert_int_equal(jwks_find(s, JWT_ES256, NONE, &k), JWKS_UNFIT);
	jwks_put(s);
}

static void test_no_memory(void **state)
{
	static char text[3 * MAKER_TEXT_SIZE];
	int rc = -BB_ENOMEM;

	snprintf(text, sizeof(text), "{\"keys\":[%s]}",
		 maker_jwk(keys[JWT_EDDSA], JWT_EDDSA, ",\"kid\":\"\\u0061b\""));
	for (uint64_t n = 1; rc; n++) {
		struct jwks *s = NULL;
		const char *why = NULL;
		assert_true(n < 50);
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		rc = parse(text, &s, &why);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		assert_true(!rc == !!s);
		jwks_put(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),  cmocka_unit_test(test_purpose),
		cmocka_unit_test(test_malformed), cmocka_unit_test(test_weak_rsa),
		cmocka_unit_test(test_sets),	  cmocka_unit_test(test_limits),
		cmocka_unit_test(test_names),	  cmocka_unit_test(test_find),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
