/*
 * Goal: keys go into files of every layout that people write and out of them again, everything
 * else stays byte for byte, what is not understood is refused, and no lack of memory does harm.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "wire/config.h"
#include "wire/key_file.h"

#define DIGEST_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define DIGEST_B "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define A "bbh1:AAAAAAAA:" DIGEST_A
#define B "bbh1:BBBBBBBB:" DIGEST_B

static struct key_record record(const char *stored)
{
	struct key_record r;
	const char *why;

	assert_int_equal(key_record_parse(bb_str_of(stored), &r, &why), 0);
	return r;
}

struct layout {
	const char *before, *after;
};

/* B is added to tenant "t". */
static const struct layout added[] = {
	/* nothing there yet */
	{ "", "tenants:\n  t:\n    keys:\n      - " B "\n" },
	{ "# only a comment", "# only a comment\ntenants:\n  t:\n    keys:\n      - " B "\n" },
	{ "tenants:\n", "tenants:\n  t:\n    keys:\n      - " B "\n" },
	{ "tenants:", "tenants:\n  t:\n    keys:\n      - " B "\n" },
	{ "tenants: {}\n", "tenants: {\"t\": {\"keys\": [\"" B "\"]}}\n" },
	/* all line breaks of YAML 1.1 */
	{ "{\"tenants\": \r{\"t\": {\"keys\": []}}}\n",
	  "{\"tenants\": \r{\"t\": {\"keys\": [\"" B "\"]}}}\n" },
	{ "{\"tenants\":\r\n\xc2\x85\xe2\x80\xa8\xe2\x80\xa9 {\"t\": {\"keys\": []}}}",
	  "{\"tenants\":\r\n\xc2\x85\xe2\x80\xa8\xe2\x80\xa9 {\"t\": {\"keys\": [\"" B "\"]}}}" },
	/* other tenants */
	{ "tenants:\n    a:  # the first\n        key: " A "\n",
	  "tenants:\n    t:\n      keys:\n        - " B "\n    a:  # the first\n        key: " A
	  "\n" },
	{ "tenants: {a: {key: '" A "'}}\n",
	  "tenants: {\"t\": {\"keys\": [\"" B "\"]}, a: {key: '" A "'}}\n" },
	/* the tenant without keys */
	{ "tenants:\n  t:\n", "tenants:\n  t:\n    keys:\n      - " B "\n" },
	{ "tenants:\n  t: # nobody yet\n  a:\n",
	  "tenants:\n  t: # nobody yet\n    keys:\n      - " B "\n  a:\n" },
	{ "tenants:\n  t:\n      models: [x]\n\n# end\n",
	  "tenants:\n  t:\n      keys:\n        - " B "\n      models: [x]\n\n# end\n" },
	{ "tenants:\n  t: {models: [x]}\n",
	  "tenants:\n  t: {\"keys\": [\"" B "\"], models: [x]}\n" },
	{ "tenants:\n  t: {}\n", "tenants:\n  t: {\"keys\": [\"" B "\"]}\n" },
	/* keys in all ways */
	{ "tenants:\n  t:\n    keys:\n    models: x\n",
	  "tenants:\n  t:\n    keys:\n      - " B "\n    models: x\n" },
	{ "tenants:\n  t:\n    keys:\n      - " A "   # old\n    models: x # é\n",
	  "tenants:\n  t:\n    keys:\n      - " A "   # old\n      - " B "\n    models: x # é\n" },
	{ "tenants:\n  t:\n    keys:\n    -   \"" A "\"",
	  "tenants:\n  t:\n    keys:\n    -   \"" A "\"\n    -   " B "\n" },
	{ "tenants:\n  t:\n    keys: [" A "] # x\n",
	  "tenants:\n  t:\n    keys: [" A ", \"" B "\"] # x\n" },
	{ "tenants: {é: {}, t: {keys: ['" A "']}}\n",
	  NULL }, /* not a tenant's name, and yet a file that can be changed: see below */
	{ "tenants:\n  t:\n    keys: []\n", "tenants:\n  t:\n    keys: [\"" B "\"]\n" },
	{ "tenants:\n  t:\n    keys: " A " # one\n",
	  "tenants:\n  t:\n    keys: [" A ", \"" B "\"] # one\n" },
	{ "tenants:\n  t:\n    key: ${SECRET}\n",
	  "tenants:\n  t:\n    keys:\n      - " B "\n    key: ${SECRET}\n" },
	{ "tenants:\n  t:\n    keys: ['${SECRET}']\n",
	  "tenants:\n  t:\n    keys: ['${SECRET}', \"" B "\"]\n" },
	{ "{\"tenants\": {\"t\": {\"keys\": [\"" A "\"]}}}\n",
	  "{\"tenants\": {\"t\": {\"keys\": [\"" A "\", \"" B "\"]}}}\n" },
	/* among the keys of a whole configuration */
	{ "listen: ':80'\ntenants:\n  t:\n    keys:\n      - " A "\nlog: {level: warn}\n",
	  "listen: ':80'\ntenants:\n  t:\n    keys:\n      - " A "\n      - " B
	  "\nlog: {level: warn}\n" },
};

static void test_add(void **state)
{
	const struct key_record b = record(B);

	for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
		const char *why = NULL;
		struct bb_buf out;
		bb_buf_init(&out, 1u << 16);
		const int rc =
			key_file_add(bb_str_of(added[i].before), BB_STR("t"), &b, &out, &why);
		bb_buf_add(&out, "", 1);
		if (rc)
			print_error("%s: %s\n%s\n", added[i].before, why, out.p);
		assert_int_equal(rc, 0);
		if (added[i].after)
			assert_string_equal(out.p, added[i].after);
		else
			assert_non_null(strstr(out.p, "{é: {}, t: {keys: ['" A "', \"" B "\"]}}"));
		bb_buf_fini(&out);
	}
}

/* B is taken out. */
static const struct layout taken[] = {
	{ "tenants:\n  t:\n    keys:\n      - " B " # leaves\n    models: x\n",
	  "tenants:\n  t:\n    keys:\n    models: x\n" },
	{ "tenants:\n  t:\n    keys:\n      - " A "\n      - '" B "'\n",
	  "tenants:\n  t:\n    keys:\n      - " A "\n" },
	{ "tenants: {t: {keys: [" B "]}}", "tenants: {t: {keys: []}}" },
	{ "tenants: {t: {keys: [" A ", " B "]}}", "tenants: {t: {keys: [" A "]}}" },
	{ "tenants: {t: {keys: [ \"" B "\" , " A "]}}", "tenants: {t: {keys: [ " A "]}}" },
	{ "tenants: {t: {keys: [" A ", " B ":2026-12-31]}}", "tenants: {t: {keys: [" A "]}}" },
	{ "tenants:\n  t:\n    key: " B " # x\n", "tenants:\n  t:\n    key: [] # x\n" },
	{ "tenants: {t: {key: " B "}}", "tenants: {t: {key: []}}" },
};

/* It gets an end. */
static const struct layout ended[] = {
	{ "tenants:\n  t:\n    key: " B "\n", "tenants:\n  t:\n    key: " B ":2026-12-31\n" },
	{ "tenants:\n  t:\n    keys: ['" B "']\n",
	  "tenants:\n  t:\n    keys: ['" B ":2026-12-31']\n" },
	{ "tenants:\n  t:\n    keys:\n      - " B ":2027-01-01T00:00:01Z # x\n",
	  "tenants:\n  t:\n    keys:\n      - " B ":2026-12-31 # x\n" },
};

static void end_all(const struct layout *l, size_t count, uint64_t expires_s)
{
	for (size_t i = 0; i < count; i++) {
		char tenant[KEY_FILE_TENANT_SIZE] = "";
		const char *why = NULL;
		struct bb_buf out;
		bb_buf_init(&out, 1u << 16);
		const int rc = key_file_end(bb_str_of(l[i].before), BB_STR("BBBBBBBB"), expires_s,
					    tenant, &out, &why);
		bb_buf_add(&out, "", 1);
		if (rc)
			print_error("%s: %s\n%s\n", l[i].before, why, out.p);
		assert_int_equal(rc, 0);
		assert_string_equal(out.p, l[i].after);
		assert_string_equal(tenant, "t");
		bb_buf_fini(&out);
	}
}

static void test_end(void **state)
{
	end_all(taken, sizeof(taken) / sizeof(taken[0]), 0);
	end_all(ended, sizeof(ended) / sizeof(ended[0]), 1798675200);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} cases[] = {
		{ "tenants: {t: {key: " A "}}", -BB_EABSENT },
		{ "", -BB_EABSENT },
		{ "tenants: {t: {keys: [" B ", " B ":2026-12-31]}}", -BB_EEXIST },
		{ "tenants: {t: {key: bbh1:nonsense}}", -BB_EINVALID },
		{ "tenants: {t: {key: " B "}", -BB_EINVALID },
		/* folded over two lines */
		{ "tenants: {t: {key: \"bbh1:BBBBBBBB:\\\n   " DIGEST_B "\"}}", -BB_EINVALID },
	};
	const struct key_record b = record(B);
	char tenant[KEY_FILE_TENANT_SIZE];
	const char *why;
	struct bb_buf out;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		why = NULL;
		bb_buf_init(&out, 1u << 16);
		assert_int_equal(key_file_end(bb_str_of(cases[i].text), BB_STR("BBBBBBBB"),
					      1798675200, tenant, &out, &why),
				 cases[i].rc);
		assert_non_null(why);
		bb_buf_fini(&out);
	}
	bb_buf_init(&out, 1u << 16);
	assert_int_equal(key_file_add(BB_STR(""), BB_STR("a b"), &b, &out, &why), -BB_EINVALID);
	assert_non_null(strstr(why, "tenant"));
	static const char *const odd[] = { "[]",
					   "x",
					   "tenants: [t]",
					   "tenants: x",
					   "tenants: {t: [x]}",
					   "tenants: {t: x}",
					   "tenants: {t: {keys: {a: b}}}" };
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		bb_buf_clear(&out);
		assert_int_equal(key_file_add(bb_str_of(odd[i]), BB_STR("t"), &b, &out, &why),
				 -BB_EINVALID);
	}
	bb_buf_clear(&out);
	/* A document that has ended takes no more. */
	assert_int_equal(key_file_add(BB_STR("listen: ':1'\n...\n"), BB_STR("t"), &b, &out, &why),
			 -BB_EINVALID);
	bb_buf_fini(&out);
}

/* What comes out is a configuration, after any number of changes. */
static void test_random(void **state)
{
	struct bb_rng rng;
	struct bb_buf text, out;
	char ids[64][KEY_ID_LEN + 1];
	unsigned count = 0;

	bb_rng_seed(&rng, 7);
	bb_buf_init(&text, 1u << 20);
	bb_buf_lit(&text, "# head\ntenants:\n  t1: {limits: {concurrent: 3}}\n  # tail\n");
	for (int i = 0; i < 600; i++) {
		const char *why = NULL;
		char tenant[KEY_FILE_TENANT_SIZE];
		int rc;
		bb_buf_init(&out, 1u << 20);
		if (count < 64 && bb_rng_below(&rng, 2)) {
			uint8_t random[KEY_RANDOM_SIZE];
			char key[KEY_TEXT_LEN + 1], name[8];
			struct key_record r;
			for (size_t k = 0; k < sizeof(random); k++)
				random[k] = (uint8_t)bb_rng_next(&rng);
			key_text_make(random, key);
			assert_int_equal(key_record_of(key, &r), 0);
			snprintf(name, sizeof(name), "t%u", (unsigned)bb_rng_below(&rng, 4));
			rc = key_file_add(bb_buf_str(&text), bb_str_of(name), &r, &out, &why);
			memcpy(ids[count++], r.id, sizeof(r.id));
		} else if (count) {
			const unsigned which = (unsigned)bb_rng_below(&rng, count);
			const uint64_t end =
				bb_rng_below(&rng, 3) ? 0 : bb_rng_below(&rng, 1u << 30) + 1;
			rc = key_file_end(bb_buf_str(&text), bb_str_of(ids[which]), end, tenant,
					  &out, &why);
			if (end == 0)
				memcpy(ids[which], ids[--count], sizeof(ids[0]));
		} else {
			bb_buf_fini(&out);
			continue;
		}
		if (rc)
			print_error("%s\n%.*s\n", why, BB_ARG(bb_buf_str(&out)));
		assert_int_equal(rc, 0);
		bb_buf_fini(&text);
		text = out;
	}
	struct config_errors errors;
	struct config *c = NULL;
	uint32_t keys = 0;
	config_errors_init(&errors);
	assert_int_equal(config_parse(bb_buf_str(&text), "f", NULL, &c, &errors), 0);
	for (uint32_t i = 0; i < c->tenants.count; i++)
		keys += c->tenants.items[i].keys.count;
	assert_int_equal(keys, count);
	config_free(c);
	config_errors_fini(&errors);
	bb_buf_fini(&text);
}

static void test_no_memory(void **state)
{
	const struct key_record b = record(B);
	int rc = -BB_ENOMEM;

	for (uint64_t nth = 1; rc; nth++) {
		const char *why = NULL;
		char tenant[KEY_FILE_TENANT_SIZE];
		struct bb_buf out, again;
		bb_buf_init(&out, 1u << 16);
		bb_buf_init(&again, 1u << 16);
		const uint64_t failed = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = key_file_add(BB_STR("tenants: {t: {keys: [" A "]}}"), BB_STR("t"), &b, &out,
				  &why);
		if (!rc)
			rc = key_file_end(bb_buf_str(&out), BB_STR("BBBBBBBB"), 5, tenant, &again,
					  &why);
		const bool has_failed = bb_alloc_failed_count() != failed;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_int_equal(rc == 0, !has_failed);
		bb_buf_fini(&out);
		bb_buf_fini(&again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),	  cmocka_unit_test(test_end),
		cmocka_unit_test(test_refused),	  cmocka_unit_test(test_random),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
