/*
 * Goal: the right tenant is found for a key wherever it stands in a head, and nobody else comes
 * in: wrong, similar, expired, several and malformed credentials; models by their patterns; tokens
 * of others; a table of very many keys; no lack of memory lets anybody in.
 */
#include "unit.h"
#include "wire/jwt_maker.h"

#include "base/alloc.h"
#include "gateway/auth.h"

#define NOON 1798675200u /* 2026-12-31 */

static const uint8_t seed[KEY_DIGEST_SIZE] = { 1, 2, 3 };
static struct token_gate *gate;
static const char *token_fault; /* of the latest question */

static int make_gate(void **state)
{
	return token_gate_create(&gate);
}

static int destroy_gate(void **state)
{
	token_gate_destroy(gate);
	return 0;
}

static struct config *parse(const char *text)
{
	struct config_errors errors;
	struct config *c = NULL;

	config_errors_init(&errors);
	assert_int_equal(config_parse(bb_str_of(text), "f", NULL, &c, &errors), 0);
	config_errors_fini(&errors);
	return c;
}

static struct auth *make(const struct config *c)
{
	struct auth *a = NULL;

	assert_int_equal(auth_create(c, seed, &a), 0);
	return a;
}

struct field {
	const char *name, *value;
};

static enum auth_outcome ask(const struct auth *a, const struct field *fields, uint64_t unix_s,
			     const struct auth_tenant **tenant)
{
	static struct http_head h;

	h.count = 0;
	for (; fields->name; fields++)
		h.headers[h.count++] =
			(struct http_header){ bb_str_of(fields->name), bb_str_of(fields->value) };
	struct auth_client client;
	const enum auth_outcome outcome = auth_check(a, &h, unix_s, gate, &client);
	assert_int_equal(outcome == AUTH_OK, client.tenant != NULL);
	assert_int_equal(outcome == AUTH_TOKEN, client.token_fault != NULL);
	token_fault = client.token_fault;
	if (client.tenant)
		*tenant = client.tenant;
	return outcome;
}

static enum auth_outcome ask_key(const struct auth *a, const char *key, uint64_t unix_s,
				 const struct auth_tenant **tenant)
{
	return ask(a, (struct field[]){ { "x-api-key", key }, { NULL, NULL } }, unix_s, tenant);
}

static const char two[] =
	"tenants:\n"
	"  a: {keys: [key-of-tenant-a-1, key-of-tenant-a-2]}\n"
	"  b: {key: key-of-tenant-b-1, models: ['llama*', chat], expires: 2026-12-31}\n"
	"  c: {}\n";

static void test_open(void **state)
{
	struct config *c = parse("insecure_no_keys: true");
	struct auth *a = (struct auth *)c;

	assert_int_equal(auth_create(c, seed, &a), 0);
	assert_null(a);
	auth_destroy(NULL);
	assert_true(auth_allows_model(NULL, BB_STR("anything")));
	config_free(c);
}

static void test_found(void **state)
{
	static const struct {
		struct field fields[4];
		enum auth_outcome outcome;
		const char *tenant;
	} cases[] = {
		{ { { "Authorization", "Bearer key-of-tenant-a-1" } }, AUTH_OK, "a" },
		{ { { "authorization", "bearer  key-of-tenant-a-2 " } }, AUTH_OK, "a" },
		{ { { "X-API-Key", "key-of-tenant-b-1" } }, AUTH_OK, "b" },
		{ { { "accept", "x" }, { "x-api-key", "key-of-tenant-b-1" } }, AUTH_OK, "b" },
		/* the same twice, wherever */
		{ { { "x-api-key", "key-of-tenant-a-1" },
		    { "authorization", "Bearer key-of-tenant-a-1" } },
		  AUTH_OK,
		  "a" },
		{ { { "x-api-key", "" }, { "authorization", "Bearer key-of-tenant-a-1" } },
		  AUTH_OK,
		  "a" },
		/* different ones, even of the same tenant */
		{ { { "x-api-key", "key-of-tenant-a-1" },
		    { "authorization", "Bearer key-of-tenant-a-2" } },
		  AUTH_AMBIGUOUS,
		  NULL },
		{ { { "authorization", "Bearer key-of-tenant-a-1" },
		    { "authorization", "Bearer key-of-tenant-b-1" } },
		  AUTH_AMBIGUOUS,
		  NULL },
		{ { { "x-api-key", "wrong" }, { "x-api-key", "key-of-tenant-a-1" } },
		  AUTH_AMBIGUOUS,
		  NULL },
		{ { { "accept", "x" } }, AUTH_MISSING, NULL },
		{ { { "x-api-key", "" } }, AUTH_MISSING, NULL },
		{ { { "api-key", "key-of-tenant-a-1" } }, AUTH_MISSING, NULL },
		{ { { "authorization", "" } }, AUTH_SCHEME, NULL },
		{ { { "authorization", "Bearer" } }, AUTH_SCHEME, NULL },
		{ { { "authorization", "Bearer " } }, AUTH_SCHEME, NULL },
		{ { { "authorization", "key-of-tenant-a-1" } }, AUTH_SCHEME, NULL },
		{ { { "authorization", "Basic key-of-tenant-a-1" } }, AUTH_SCHEME, NULL },
		{ { { "authorization", "Basic x" }, { "x-api-key", "key-of-tenant-a-1" } },
		  AUTH_SCHEME,
		  NULL },
		{ { { "x-api-key", "key-of-tenant-a-" } }, AUTH_UNKNOWN, NULL },
		{ { { "x-api-key", "key-of-tenant-a-11" } }, AUTH_UNKNOWN, NULL },
		{ { { "x-api-key", "KEY-of-tenant-a-1" } }, AUTH_UNKNOWN, NULL },
		{ { { "x-api-key", "Bearer key-of-tenant-a-1" } }, AUTH_UNKNOWN, NULL },
		{ { { "x-api-key", "x" } }, AUTH_UNKNOWN, NULL },
	};
	struct config *c = parse(two);
	struct auth *a = make(c);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct auth_tenant *t = NULL;
		assert_int_equal(ask(a, cases[i].fields, NOON - 1, &t), cases[i].outcome);
		if (cases[i].tenant)
			assert_true(bb_str_eq(t->config->name, bb_str_of(cases[i].tenant)));
		else
			assert_null(t);
	}
	auth_destroy(a);
	config_free(c);
}

/* What is stored does not open the door by itself. */
static void test_hash_is_no_key(void **state)
{
	uint8_t random[KEY_RANDOM_SIZE] = { 42 };
	char key[KEY_TEXT_LEN + 1], text[400];
	struct key_record r;
	struct bb_buf stored;

	key_text_make(random, key);
	assert_int_equal(key_record_of(key, &r), 0);
	bb_buf_init(&stored, 400);
	key_record_write(&r, &stored);
	snprintf(text, sizeof(text), "tenants: {a: {key: '%.*s'}}", BB_ARG(bb_buf_str(&stored)));
	struct config *c = parse(text);
	struct auth *a = make(c);
	const struct auth_tenant *t = NULL;
	assert_int_equal(ask_key(a, key, 0, &t), AUTH_OK);
	t = NULL;
	bb_buf_add(&stored, "", 1);
	assert_int_equal(ask_key(a, stored.p, 0, &t), AUTH_UNKNOWN);
	assert_int_equal(ask_key(a, stored.p + 14, 0, &t), AUTH_UNKNOWN); /* the digest alone */
	assert_int_equal(ask_key(a, r.id, 0, &t), AUTH_UNKNOWN);
	/* One character away, at each place. */
	for (int i = 0; i < KEY_TEXT_LEN; i++) {
		const char was = key[i];
		key[i] = was == 'x' ? 'y' : 'x';
		assert_int_equal(ask_key(a, key, 0, &t), AUTH_UNKNOWN);
		key[i] = was;
	}
	assert_null(t);
	bb_buf_fini(&stored);
	auth_destroy(a);
	config_free(c);
}

static void test_expiry(void **state)
{
#define DIGEST "ab0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	struct config *c = parse(two);
	struct auth *a = make(c);
	const struct auth_tenant *t = NULL;

	assert_int_equal(ask_key(a, "key-of-tenant-b-1", NOON - 1, &t), AUTH_OK);
	t = NULL;
	assert_int_equal(ask_key(a, "key-of-tenant-b-1", NOON, &t), AUTH_EXPIRED);
	assert_int_equal(ask_key(a, "key-of-tenant-b-1", UINT64_MAX, &t), AUTH_EXPIRED);
	assert_null(t);
	assert_int_equal(ask_key(a, "key-of-tenant-a-1", UINT64_MAX, &t), AUTH_OK);
	auth_destroy(a);
	config_free(c);

	/* A key's own end, and the tenant's: the earlier one counts. */
	static const struct {
		const char *key_end, *tenant_end;
		uint64_t ends_s;
	} cases[] = {
		{ ":2026-12-31", "", NOON },
		{ ":2026-12-31", "expires: 2027-12-31", NOON },
		{ ":2027-12-31", "expires: 2026-12-31", NOON },
		{ "", "expires: 2026-12-31", NOON },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t random[KEY_RANDOM_SIZE] = { (uint8_t)i };
		char key[KEY_TEXT_LEN + 1], text[400];
		struct key_record r;
		struct bb_buf stored;
		key_text_make(random, key);
		assert_int_equal(key_record_of(key, &r), 0);
		bb_buf_init(&stored, 200);
		key_record_write(&r, &stored);
		snprintf(text, sizeof(text), "tenants: {a: {key: '%.*s%s', %s}}",
			 BB_ARG(bb_buf_str(&stored)), cases[i].key_end, cases[i].tenant_end);
		bb_buf_fini(&stored);
		c = parse(text);
		a = make(c);
		assert_int_equal(ask_key(a, key, cases[i].ends_s - 1, &t), AUTH_OK);
		assert_int_equal(ask_key(a, key, cases[i].ends_s, &t), AUTH_EXPIRED);
		auth_destroy(a);
		config_free(c);
	}
}

static void test_models(void **state)
{
	struct config *c = parse(two);
	struct auth *a = make(c);
	const struct auth_tenant *t = NULL;

	assert_int_equal(ask_key(a, "key-of-tenant-b-1", 0, &t), AUTH_OK);
	assert_true(auth_allows_model(t, BB_STR("llama-3.1-8b")));
	assert_true(auth_allows_model(t, BB_STR("chat")));
	assert_false(auth_allows_model(t, BB_STR("chat2")));
	assert_false(auth_allows_model(t, BB_STR("LLAMA")));
	assert_false(auth_allows_model(t, BB_STR("")));
	assert_int_equal(ask_key(a, "key-of-tenant-a-1", 0, &t), AUTH_OK);
	assert_true(auth_allows_model(t, BB_STR("whatever")));
	assert_int_equal(auth_tenant_count(a), 3);
	auth_set_ledger(a, 1, 77);
	assert_int_equal(auth_tenant_at(a, 1)->ledger, 77);
	auth_destroy(a);
	config_free(c);
}

/* ---- tokens ---- */

/* A ring with the public half of `key`. */
static struct jwks_ring *make_ring(const EVP_PKEY *key)
{
	char text[3 * MAKER_TEXT_SIZE];
	struct jwks_ring *ring = NULL;
	struct jwks *set = NULL;
	const char *why;

	snprintf(text, sizeof(text), "{\"keys\":[%s]}", maker_jwk(key, JWT_EDDSA, ""));
	assert_int_equal(jwks_parse(bb_str_of(text), &set, &why), 0);
	assert_int_equal(jwks_ring_create(&ring), 0);
	jwks_ring_set(ring, set);
	return ring;
}

static const char *token_of(EVP_PKEY *key, const char *tenant, uint64_t expires_s)
{
	char claims[200];

	snprintf(claims, sizeof(claims), "{\"sub\":\"%s\",\"exp\":%llu}", tenant,
		 (unsigned long long)expires_s);
	const struct bb_str token = maker_token(key, JWT_EDDSA, "{\"alg\":\"EdDSA\"}", claims);
	((char *)token.p)[token.len] = '\0';
	return token.p;
}

static void test_tokens(void **state)
{
	struct config *c =
		parse("tenants: {a: {key: head.body.signature-1}, b: {expires: 2026-12-31}}\n"
		      "auth: {jwt: {jwks: /k.json, leeway: 0s}}");
	struct auth *a = make(c);
	const struct auth_tenant *t = NULL;
	EVP_PKEY *key = maker_key(JWT_EDDSA, 0), *stranger = maker_key(JWT_EDDSA, 0);
	struct jwks_ring *ring = make_ring(key);

	/* before tokens are taken */
	assert_int_equal(ask_key(a, token_of(key, "b", NOON + 9), 0, &t), AUTH_UNKNOWN);
	auth_accept_tokens(a, ring);
	assert_int_equal(ask_key(a, token_of(key, "b", NOON + 9), 0, &t), AUTH_OK);
	assert_true(bb_str_eq(t->config->name, BB_STR("b")));
	t = NULL;
	/* the tenant's end counts as well, also for a token that is known */
	assert_int_equal(ask_key(a, token_of(key, "b", NOON + 9), NOON, &t), AUTH_EXPIRED);
	assert_int_equal(ask_key(a, token_of(key, "a", NOON), NOON - 1, &t), AUTH_OK);
	t = NULL;
	assert_int_equal(ask_key(a, token_of(key, "a", NOON), NOON, &t), AUTH_TOKEN);
	assert_non_null(strstr(token_fault, "expired"));
	assert_int_equal(ask_key(a, token_of(stranger, "a", NOON), 0, &t), AUTH_TOKEN);
	assert_non_null(strstr(token_fault, "signature"));
	assert_int_equal(ask_key(a, token_of(key, "nobody", NOON), 0, &t), AUTH_STRANGER);
	assert_int_equal(ask_key(a, token_of(key, "", NOON), 0, &t), AUTH_STRANGER);
	assert_int_equal(ask_key(a, "a.b.c", 0, &t), AUTH_TOKEN);
	assert_int_equal(ask_key(a, "a.b", 0, &t), AUTH_UNKNOWN);
	assert_int_equal(ask_key(a, "a.b.c.d", 0, &t), AUTH_UNKNOWN);
	assert_null(t);
	/* a key may look like a token */
	assert_int_equal(ask_key(a, "head.body.signature-1", 0, &t), AUTH_OK);
	assert_true(bb_str_eq(t->config->name, BB_STR("a")));
	auth_destroy(a);
	/* before any keys have been loaded */
	struct jwks_ring *empty = NULL;
	assert_int_equal(jwks_ring_create(&empty), 0);
	a = make(c);
	auth_accept_tokens(a, empty);
	assert_int_equal(ask_key(a, token_of(key, "a", NOON), 0, &t), AUTH_NO_KEYS);
	auth_destroy(a);
	jwks_ring_put(empty);
	jwks_ring_put(ring);
	config_free(c);
	EVP_PKEY_free(key);
	EVP_PKEY_free(stranger);
}

/* ---- many, and little memory ---- */

static void test_many(void **state)
{
	struct bb_buf text;
	char key[64];

	bb_buf_init(&text, 1u << 20);
	bb_buf_lit(&text, "tenants:\n");
	for (unsigned i = 0; i < 5000; i++)
		bb_buf_printf(&text, "  t%u: {key: 0123456789-abcd-%u}\n", i, i);
	bb_buf_add(&text, "", 1);
	struct config *c = parse(text.p);
	struct auth *a = make(c);
	for (unsigned i = 0; i < 5100; i++) {
		const struct auth_tenant *t = NULL;
		snprintf(key, sizeof(key), "0123456789-abcd-%u", i);
		assert_int_equal(ask_key(a, key, 0, &t), i < 5000 ? AUTH_OK : AUTH_UNKNOWN);
		if (t) {
			snprintf(key, sizeof(key), "t%u", i);
			assert_true(bb_str_eq(t->config->name, bb_str_of(key)));
		}
	}
	auth_destroy(a);
	config_free(c);
	bb_buf_fini(&text);
}

static void test_no_memory(void **state)
{
	struct config *c = parse(two);
	struct auth *a = NULL;
	int rc = -BB_ENOMEM;

	for (uint64_t nth = 1; rc; nth++) {
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = auth_create(c, seed, &a);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
		assert_int_equal(rc == 0, a != NULL);
	}
	auth_destroy(a);
	config_free(c);
}

static void test_texts(void **state)
{
	for (int i = AUTH_MISSING; i <= AUTH_NOMEM; i++)
		assert_true(auth_outcome_text((enum auth_outcome)i)[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),	       cmocka_unit_test(test_found),
		cmocka_unit_test(test_hash_is_no_key), cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_models),	       cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_many),	       cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, make_gate, destroy_gate);
}
