/*
 * Goal: tenants, keys, limits, TLS and tokens are read as written, from one file or two; a secret
 * is never printed, told or kept in clear; a lack of memory does no harm.
 */
#include "unit.h"

#include "base/alloc.h"
#include "wire/config.h"
#include "wire/config_check.h"
#include "wire/config_print.h"
#include "wire/config_value.h"

#define SECRET "correct-horse-battery"
#define HASH "bbh1:Ab12Cd34:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static const char *variable(void *ctx, const char *name)
{
	return strcmp(name, "KEY") == 0 ? SECRET : NULL;
}

static const struct config_env env = { .get = variable };

static int parse_into(const char *text, struct config **c, struct bb_buf *told)
{
	struct config_errors errors;

	config_errors_init(&errors);
	const int rc = config_parse(bb_str_of(text), "f.yaml", &env, c, &errors);
	config_errors_print(&errors, "f.yaml", told);
	config_errors_fini(&errors);
	return rc;
}

static struct config *parse(const char *text)
{
	struct config *c = NULL;
	struct bb_buf told;

	bb_buf_init(&told, 1u << 16);
	const int rc = parse_into(text, &c, &told);
	if (told.len)
		print_error("%.*s", BB_ARG(bb_buf_str(&told)));
	assert_int_equal(rc, 0);
	bb_buf_fini(&told);
	return c;
}

static bool is_text(struct bb_str s, const char *text)
{
	return bb_str_eq(s, bb_str_of(text));
}

static const char whole[] =
	"tls: {cert: a.pem, key: a.key, client_ca: ca.pem, min_version: '1.3',\n"
	"      sni: [{names: [b.example, '*.c.example'], cert: b.pem, key: b.key}]}\n"
	"admin_tls: {cert: d.pem, key: d.key}\n"
	"keys: {file: keys.yaml}\n"
	"insecure_no_keys: true\n"
	"auth: {jwt: {jwks: 'https://id.example/keys', issuer: 'https://id.example',\n"
	"             audience: busbar, tenant_claim: org, algorithms: [RS256, EdDSA], leeway: "
	"5s}}\n"
	"shield: {image_urls: ['https://img.example/'], allow: [kv_transfer_params]}\n"
	"user: nobody\n"
	"sandbox: off\n"
	"engines:\n"
	"  - {url: 'https://e:443/v/', tls: {ca: e.pem, cert: m.pem, key: m.key,\n"
	"                                    server_name: gpu.example, verify: false}}\n"
	"  - https://f:8443\n"
	"tenants:\n"
	"  clinic:\n"
	"    key: ${KEY}\n"
	"    keys: [" HASH ", '" HASH "0']\n"
	"    models: [llama*, qwen3-4b]\n"
	"    expires: 2026-12-31\n"
	"    limits: {requests_per_minute: 60, tokens_per_minute: 100000, concurrent: 8}\n"
	"    budget: 2000000 tokens/month\n"
	"    priority: interactive\n"
	"    allow: [chat_template]\n"
	"    shared_prefix_cache: true\n"
	"  shop: {budget: 12.5 EUR/month}\n"
	"  quiet:\n";

/* The one above with the second hash made right: it must differ from the first. */
static const char *text_of_whole(void)
{
	static char text[sizeof(whole)];

	memcpy(text, whole, sizeof(whole));
	char *second = strstr(text, HASH "0'");
	assert_non_null(second);
	memcpy(second, "bbh1:Zz12Cd34:", 14);
	memcpy(second + strlen(HASH) - 4, "aaaa'", 5);
	memcpy(second + strlen(HASH) + 1, " ", 1);
	return text;
}

static void check_listener(const struct config *c)
{
	assert_true(is_text(c->tls.cert, "a.pem") && is_text(c->tls.key, "a.key"));
	assert_true(is_text(c->tls.client_ca, "ca.pem"));
	assert_int_equal(c->tls.min_version, CONFIG_TLS_1_3);
	assert_int_equal(c->tls.sni.count, 1);
	assert_int_equal(c->tls.sni.items[0].names.count, 2);
	assert_true(is_text(c->tls.sni.items[0].names.items[1].text, "*.c.example"));
	assert_true(is_text(c->tls.sni.items[0].cert, "b.pem"));
	assert_true(is_text(c->tls.sni.items[0].key, "b.key"));
	assert_true(is_text(c->admin_tls.cert, "d.pem") && is_text(c->admin_tls.key, "d.key"));
	assert_true(is_text(c->engines[0].url, "https://e/v"));
	assert_true(is_text(c->engines[0].tls.ca, "e.pem"));
	assert_true(is_text(c->engines[0].tls.server_name, "gpu.example"));
	assert_int_equal(c->engines[0].tls.verify, CONFIG_VERIFY_OFF);
	assert_int_equal(c->engines[1].tls.verify, CONFIG_VERIFY_ON);
}

static void check_rest(const struct config *c)
{
	assert_true(is_text(c->keys_file, "keys.yaml"));
	assert_int_equal(c->insecure_no_keys, CONFIG_ON);
	assert_true(is_text(c->jwt.jwks, "https://id.example/keys"));
	assert_true(is_text(c->jwt.issuer, "https://id.example"));
	assert_true(is_text(c->jwt.audience, "busbar") && is_text(c->jwt.tenant_claim, "org"));
	assert_int_equal(c->jwt.algorithms.count, 2);
	assert_int_equal(c->jwt.leeway_ns, 5000000000);
	assert_true(is_text(c->shield.image_urls.items[0].text, "https://img.example/"));
	assert_true(is_text(c->shield.allow.items[0].text, "kv_transfer_params"));
	assert_true(is_text(c->user, "nobody"));
	assert_int_equal(c->sandbox, CONFIG_OFF);
	assert_true(config_needs_keys(c));
}

static void check_tenants(const struct config *c)
{
	assert_int_equal(c->tenants.count, 3);
	const struct config_tenant *t = &c->tenants.items[0];
	assert_true(is_text(t->name, "clinic"));
	assert_int_equal(t->key.count, 1);
	assert_true(t->key.items[0].record.is_clear);
	assert_int_equal(t->keys.count, 2);
	assert_false(t->keys.items[0].record.is_clear);
	assert_string_equal(t->keys.items[0].record.id, "Ab12Cd34");
	assert_int_equal(t->keys.items[0].record.digest.bytes[31], 0x1f);
	assert_int_equal(t->models.count, 2);
	assert_int_equal(t->expires_s, 1798675200); /* date -u -d 2026-12-31 +%s */
	assert_int_equal(t->limits.requests_per_minute, 60);
	assert_int_equal(t->limits.tokens_per_minute, 100000);
	assert_int_equal(t->limits.concurrent, 8);
	assert_int_equal(t->budget.kind, CONFIG_BUDGET_TOKENS);
	assert_int_equal(t->budget.amount, 2000000);
	assert_int_equal(t->priority, CONFIG_PRIORITY_INTERACTIVE);
	assert_true(is_text(t->allow.items[0].text, "chat_template"));
	assert_int_equal(t->shared_prefix_cache, CONFIG_ON);
	t = &c->tenants.items[1];
	assert_int_equal(t->budget.kind, CONFIG_BUDGET_MONEY);
	assert_int_equal(t->budget.amount, 12500000000);
	assert_string_equal(t->budget.currency, "EUR");
	assert_int_equal(t->priority, CONFIG_PRIORITY_STANDARD);
	assert_int_equal(t->shared_prefix_cache, CONFIG_OFF);
	assert_int_equal(t->limits.requests_per_minute, 0);
	assert_true(is_text(c->tenants.items[2].name, "quiet"));
}

static void test_values(void **state)
{
	struct config *c = parse(text_of_whole());

	check_listener(c);
	check_rest(c);
	check_tenants(c);
	config_free(c);
}

static void test_print_hides(void **state)
{
	struct config *c = parse(text_of_whole());
	struct bb_buf out;

	bb_buf_init(&out, 1u << 20);
	config_print(c, &out);
	config_warn(c, "f.yaml", "keys.yaml", &out);
	bb_buf_add(&out, "", 1);
	assert_int_equal(out.err, 0);
	assert_null(strstr(out.p, SECRET));
	assert_null(strstr(out.p, "bbh1"));
	assert_null(strstr(out.p, "0a0b0c"));
	assert_non_null(strstr(out.p, "    key: [\"***\"]\n    keys: [\"***\", \"***\"]\n"));
	assert_non_null(strstr(out.p, "auth:\n  jwt:\n    jwks: https://id.example/keys\n"));
	assert_non_null(strstr(out.p, "  sni: [{names: [b.example, \"*.c.example\"], cert: b.pem, "
				      "key: b.key}]\n"));
	assert_non_null(strstr(out.p, "    expires: \"2026-12-31\"\n"));
	assert_non_null(strstr(out.p, "    budget: 2000000 tokens/month\n"));
	assert_non_null(strstr(out.p, "    budget: 12.500000000 EUR/month\n"));
	assert_non_null(strstr(out.p, "f.yaml:17:10: warning: tenants.clinic: a key is written in "
				      "clear"));
	assert_non_null(strstr(out.p, "tenants.shop: a budget of money is read and not watched"));
	bb_buf_fini(&out);
	config_free(c);
}

/* What is printed is read again as the same, apart from keys. */
static void test_print_again(void **state)
{
	struct bb_buf out[2];
	struct config *c = parse(text_of_whole());

	for (uint32_t i = 0; i < c->tenants.count; i++)
		c->tenants.items[i].key.count = c->tenants.items[i].keys.count = 0;
	for (int i = 0; i < 2; i++) {
		bb_buf_init(&out[i], 1u << 20);
		config_print(c, &out[i]);
		bb_buf_add(&out[i], "", 1);
		config_free(c);
		c = parse(out[i].p);
	}
	assert_string_equal(out[0].p, out[1].p);
	config_free(c);
	bb_buf_fini(&out[0]);
	bb_buf_fini(&out[1]);
}

static int add(struct config *c, const char *text, struct bb_buf *told)
{
	struct config_errors errors;

	config_errors_init(&errors);
	const int rc = config_add_tenants(c, bb_str_of(text), "k.yaml", "f.yaml", &env, &errors);
	config_errors_print(&errors, "k.yaml", told);
	config_errors_fini(&errors);
	return rc;
}

static void test_second_file(void **state)
{
	static const struct {
		const char *text, *told;
	} wrong[] = {
		{ "tenants: {a: {}}", "k.yaml:1:11: error: tenant 'a' is given twice (first at "
				      "f.yaml:1:11)\n" },
		{ "tenants: {b: {key: " SECRET "}}",
		  "k.yaml:1:20: error: this key is given twice (first of tenant 'a')\n" },
		{ "listen: ':80'\n",
		  "k.yaml:1:1: error: unknown key 'listen': a file of keys holds "
		  "'tenants' only\n" },
		{ "[]", "k.yaml:1:1: error: a file of keys is a map, not a list\n" },
		{ "tenants: {b: {kye: x}}",
		  "k.yaml:1:15: error: unknown key 'kye' in 'tenants.b' (did you mean 'key'?)\n" },
	};
	struct bb_buf told;

	bb_buf_init(&told, 1u << 16);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct config *c = parse("tenants: {a: {key: '${KEY}'}}");
		bb_buf_clear(&told);
		assert_int_equal(add(c, wrong[i].text, &told), -BB_EINVALID);
		bb_buf_add(&told, "", 1);
		assert_string_equal(told.p, wrong[i].told);
		config_free(c);
	}
	struct config *c = parse("tenants: {a: {key: '${KEY}'}}");
	bb_buf_clear(&told);
	assert_int_equal(add(c, "# of busbar keys\n", &told), 0);
	assert_int_equal(add(c, "tenants: {b: {keys: [" HASH "]}}", &told), 0);
	assert_int_equal(c->tenants.count, 2);
	assert_false(c->tenants.items[0].is_from_keys_file);
	assert_true(c->tenants.items[1].is_from_keys_file);
	assert_int_equal(c->tenants.items[0].key.count, 1);
	config_free(c);
	bb_buf_fini(&told);
}

static void test_needs_keys(void **state)
{
	static const struct {
		const char *text;
		bool needs;
	} cases[] = {
		{ "", false },
		{ "insecure_no_keys: true", false },
		{ "keys: {file: k.yaml}", true },
		{ "tenants: {a: {}}", true },
		{ "auth: {jwt: {jwks: k.json}}", true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config *c = parse(cases[i].text);
		assert_int_equal(config_needs_keys(c), cases[i].needs);
		config_free(c);
	}
}

static void test_budgets(void **state)
{
	static const char *const wrong[] = {
		"",
		"5",
		"5 tokens",
		"5 tokens/day",
		"tokens/month",
		"5 eur/month",
		"5 EURO/month",
		"-5 EUR/month",
		"1.5 tokens/month",
		"0 EUR/month",
		"0 tokens/month",
		"5. EUR/month",
		".5 EUR/month",
		"5.0000000001 EUR/month",
		"1000000001 EUR/month",
		"1000000000000000001 tokens/month",
	};
	static const struct {
		const char *text, *printed;
		uint64_t amount;
	} right[] = {
		{ "1 tokens/month", "1 tokens/month", 1 },
		{ "0.000000001 USD/month", "0.000000001 USD/month", 1 },
		{ "7.25 EUR/month", "7.250000000 EUR/month", 7250000000 },
		{ "500 EUR/month", "500 EUR/month", 500000000000 },
	};
	struct config_budget b = { .amount = 77 };
	const char *why;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(config_budget_parse(bb_str_of(wrong[i]), &b, &why), -BB_EINVALID);
		assert_int_equal(b.amount, 77);
	}
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		struct bb_buf out;
		bb_buf_init(&out, 100);
		assert_int_equal(config_budget_parse(bb_str_of(right[i].text), &b, &why), 0);
		assert_int_equal(b.amount, right[i].amount);
		config_budget_print(&b, &out);
		assert_true(is_text(bb_buf_str(&out), right[i].printed));
		bb_buf_fini(&out);
	}
}

static void test_no_memory(void **state)
{
	int rc = -BB_ENOMEM;

	for (uint64_t nth = 1; rc == -BB_ENOMEM; nth++) {
		struct config *c = NULL;
		struct bb_buf told;
		bb_buf_init(&told, 1u << 16);
		const uint64_t failed = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = parse_into(text_of_whole(), &c, &told);
		if (!rc)
			rc = add(c, "tenants: {b: {keys: [abcdefghijklmnopq]}}", &told);
		const bool has_failed = bb_alloc_failed_count() != failed;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_int_equal(rc, has_failed ? -BB_ENOMEM : 0);
		config_free(c);
		bb_buf_fini(&told);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),	    cmocka_unit_test(test_print_hides),
		cmocka_unit_test(test_print_again), cmocka_unit_test(test_second_file),
		cmocka_unit_test(test_needs_keys),  cmocka_unit_test(test_budgets),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
