/*
 * Goal: a token is checked by the rules and the keys in force: remembered while both stay, checked
 * again as soon as one of them changes; unknown keys are wished for, and nothing else is.
 */
#include "wire/jwt_maker.h"

#include "base/alloc.h"
#include "gateway/token_gate.h"

#define NOW 1800000000ull

static EVP_PKEY *first, *second;
static struct token_gate *gate;
static struct jwks_ring *ring;
static struct config_text allowed[] = { { .text = BB_STR_INIT("EdDSA") } };
static struct config_jwt config;

static int setup(void **state)
{
	first = maker_key(JWT_EDDSA, 0);
	second = maker_key(JWT_EDDSA, 0);
	return 0;
}

static int teardown(void **state)
{
	EVP_PKEY_free(first);
	EVP_PKEY_free(second);
	return 0;
}

static int begin(void **state)
{
	config = (struct config_jwt){ .tenant_claim = BB_STR("sub"), .leeway_ns = 5000000000 };
	return token_gate_create(&gate) || jwks_ring_create(&ring);
}

static int end(void **state)
{
	token_gate_destroy(gate);
	jwks_ring_put(ring);
	return 0;
}

static void hang(struct jwks_ring *r, const EVP_PKEY *key, const char *kid)
{
	char text[3 * MAKER_TEXT_SIZE], more[64];
	struct jwks *set = NULL;
	const char *why;

	snprintf(more, sizeof(more), ",\"kid\":\"%s\"", kid);
	snprintf(text, sizeof(text), "{\"keys\":[%s]}", maker_jwk(key, JWT_EDDSA, more));
	assert_int_equal(jwks_parse(bb_str_of(text), &set, &why), 0);
	jwks_ring_set(r, set);
}

/* One token with its digest. */
struct sample {
	char text[1024];
	struct key_digest sealed;
};

static void make(EVP_PKEY *key, const char *kid, const char *claims, struct sample *out)
{
	static const uint8_t secret[KEY_DIGEST_SIZE] = { 5 };
	char header[64];
	struct key_digest plain;

	snprintf(header, sizeof(header), "{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", kid);
	const struct bb_str token = maker_token(key, JWT_EDDSA, header, claims);
	snprintf(out->text, sizeof(out->text), "%.*s", BB_ARG(token));
	assert_int_equal(key_digest_of(token, &plain), 0);
	assert_int_equal(key_digest_seal(secret, &plain, &out->sealed), 0);
}

static enum token_outcome ask_at(const struct sample *s, struct jwks_ring *r, uint64_t now_s,
				 const char *tenant)
{
	const struct token_rules rules = { .config = &config, .ring = r };
	struct bb_str name = { NULL, 0 };
	const char *why = NULL;

	const enum token_outcome outcome =
		token_gate_check(gate, &rules, bb_str_of(s->text), &s->sealed, now_s, &name, &why);
	assert_int_equal(outcome == TOKEN_WRONG, why != NULL);
	if (outcome == TOKEN_RIGHT)
		assert_str(name, tenant);
	return outcome;
}

static enum token_outcome ask(const struct sample *s, const char *tenant)
{
	return ask_at(s, ring, NOW, tenant);
}

static void test_keys(void **state)
{
	struct sample a, b;

	make(first, "1", "{\"sub\":\"a\",\"exp\":1800000010}", &a);
	make(second, "2", "{\"sub\":\"b\",\"exp\":1800000010}", &b);
	assert_int_equal(jwks_ring_version(ring), 0);
	assert_int_equal(ask(&a, "a"), TOKEN_NO_KEYS);
	assert_false(jwks_ring_has_wish(ring));
	hang(ring, first, "1");
	assert_int_equal(ask(&a, "a"), TOKEN_RIGHT);
	assert_int_equal(ask(&a, "a"), TOKEN_RIGHT);
	assert_false(jwks_ring_has_wish(ring));
	assert_int_equal(ask(&b, "b"), TOKEN_WRONG);
	assert_true(jwks_ring_has_wish(ring)); /* its key may be at the source */
	jwks_ring_drop_wish(ring);
	/* Another set: what the old key has signed is right no more, remembered or not. */
	hang(ring, second, "2");
	assert_int_equal(ask(&a, "a"), TOKEN_WRONG);
	assert_int_equal(ask(&b, "b"), TOKEN_RIGHT);
	jwks_ring_drop_wish(ring);
	/* A known key whose signature is wrong is nothing to fetch keys for. */
	make(first, "2", "{\"sub\":\"b\",\"exp\":1800000010}", &a);
	assert_int_equal(ask(&a, "b"), TOKEN_WRONG);
	assert_false(jwks_ring_has_wish(ring));
}

/* With the same version, at another source. */
static void test_rings(void **state)
{
	struct jwks_ring *other = NULL;
	struct sample a;

	make(first, "1", "{\"sub\":\"a\",\"exp\":1800000010}", &a);
	assert_int_equal(jwks_ring_create(&other), 0);
	hang(ring, first, "1");
	hang(other, second, "1");
	assert_int_equal(jwks_ring_version(ring), jwks_ring_version(other));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ask_at(&a, ring, NOW, "a"), TOKEN_RIGHT);
		assert_int_equal(ask_at(&a, other, NOW, "a"), TOKEN_WRONG);
	}
	jwks_ring_put(other);
	/* The gate keeps it, so that a new one cannot stand in its place unseen. */
	assert_int_equal(ask_at(&a, ring, NOW, "a"), TOKEN_RIGHT);
}

/* That a signature is not checked again shows where there is none to check any more. */
static void test_remembered(void **state)
{
	struct sample a;

	make(first, "1", "{\"sub\":\"a\",\"exp\":1800000010}", &a);
	hang(ring, first, "1");
	assert_int_equal(ask(&a, "a"), TOKEN_RIGHT);
	a.text[strlen(a.text) - 20] ^= 1;
	assert_int_equal(ask(&a, "a"), TOKEN_RIGHT);
	a.sealed.bytes[31] ^= 1;
	assert_int_equal(ask(&a, "a"), TOKEN_WRONG);
}

static void test_time(void **state)
{
	struct sample a;

	make(first, "1", "{\"sub\":\"a\",\"exp\":1800000010}", &a);
	hang(ring, first, "1");
	assert_int_equal(ask_at(&a, ring, NOW, "a"), TOKEN_RIGHT);
	assert_int_equal(ask_at(&a, ring, NOW + 14, "a"), TOKEN_RIGHT);
	assert_int_equal(ask_at(&a, ring, NOW + 15, "a"), TOKEN_WRONG);
}

static void test_rules(void **state)
{
	struct sample a;

	make(first, "1",
	     "{\"sub\":\"a\",\"t\":\"x\",\"exp\":1800000010,\"iss\":\"i\",\"aud\":[\"u\"]}", &a);
	hang(ring, first, "1");
	config.issuer = BB_STR("i");
	config.audience = BB_STR("u");
	config.algorithms = (struct config_texts){ allowed, 1 };
	assert_int_equal(ask(&a, "a"), TOKEN_RIGHT);
	/* Other rules come with another secret: nothing is remembered for them. */
	a.sealed.bytes[0] ^= 1;
	config.tenant_claim = BB_STR("t");
	assert_int_equal(ask(&a, "x"), TOKEN_RIGHT);
	a.sealed.bytes[0] ^= 2;
	config.issuer = BB_STR("j");
	assert_int_equal(ask(&a, "x"), TOKEN_WRONG);
	config.issuer = BB_STR("");
	config.audience = BB_STR("v");
	assert_int_equal(ask(&a, "x"), TOKEN_WRONG);
	config.audience = BB_STR("");
	allowed[0].text = BB_STR("RS256");
	assert_int_equal(ask(&a, "x"), TOKEN_WRONG);
	allowed[0].text = BB_STR("EdDSA");
	assert_int_equal(ask(&a, "x"), TOKEN_RIGHT);
	a.sealed.bytes[0] ^= 4;
	config.tenant_claim = BB_STR("absent");
	assert_int_equal(ask(&a, ""), TOKEN_RIGHT);
}

static void test_no_memory(void **state)
{
	struct sample a;
	enum token_outcome outcome = TOKEN_NO_MEMORY;

	make(first, "1", "{\"sub\":\"a\",\"exp\":1800000010}", &a);
	hang(ring, first, "1");
	for (uint64_t n = 1; outcome != TOKEN_RIGHT; n++) {
		assert_true(n < 10);
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		outcome = ask(&a, "a");
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(outcome == TOKEN_RIGHT || outcome == TOKEN_NO_MEMORY);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keys), TEST(test_rings), TEST(test_remembered),
		TEST(test_time), TEST(test_rules), TEST(test_no_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
