/*
 * Goal: keys have their form and all their bits, records are read as they are written and nothing
 * else is taken, digests are what SHA-256 says, and comparing them looks at every byte.
 */
#include "unit.h"

#include "wire/key_text.h"

static void test_make(void **state)
{
	uint8_t random[KEY_RANDOM_SIZE] = { 0 };
	char key[KEY_TEXT_LEN + 1], other[KEY_TEXT_LEN + 1];

	key_text_make(random, key);
	assert_string_equal(key, "bb-0000000000000000000000000000000000000000000");
	random[KEY_RANDOM_SIZE - 1] = 61;
	key_text_make(random, key);
	assert_string_equal(key, "bb-000000000000000000000000000000000000000000z");
	random[KEY_RANDOM_SIZE - 1] = 62;
	key_text_make(random, key);
	assert_string_equal(key, "bb-0000000000000000000000000000000000000000010");
	/* 2^256 - 1 in base 62, by Python. */
	memset(random, 0xff, sizeof(random));
	key_text_make(random, key);
	assert_string_equal(key, "bb-yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
	/* Each bit matters. */
	for (unsigned bit = 0; bit < 256; bit++) {
		random[bit / 8] ^= (uint8_t)(1 << bit % 8);
		key_text_make(random, other);
		assert_string_not_equal(key, other);
		assert_int_equal(strlen(other), KEY_TEXT_LEN);
		random[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void test_digest(void **state)
{
	/* printf 'busbar api key 1\0hello' | sha256sum */
	static const uint8_t wanted[8] = { 0x65, 0xa6, 0x9f, 0x16, 0x6b, 0xeb, 0xea, 0x7e };
	struct key_digest d;

	assert_int_equal(key_digest_of(BB_STR("hello"), &d), 0);
	assert_memory_equal(d.bytes, wanted, sizeof(wanted));
}

static void test_seal(void **state)
{
	uint8_t secret[KEY_DIGEST_SIZE] = { 1 };
	struct key_digest d, sealed, again;

	assert_int_equal(key_digest_of(BB_STR("hello"), &d), 0);
	assert_int_equal(key_digest_seal(secret, &d, &sealed), 0);
	assert_false(key_digest_eq(&d, &sealed));
	assert_int_equal(key_digest_seal(secret, &d, &again), 0);
	assert_true(key_digest_eq(&again, &sealed));
	secret[31] = 1;
	assert_int_equal(key_digest_seal(secret, &d, &again), 0);
	assert_false(key_digest_eq(&again, &sealed));
}

static void test_eq_looks_at_all(void **state)
{
	struct key_digest a, b;

	memset(&a, 0x5a, sizeof(a));
	for (unsigned bit = 0; bit < 256; bit++) {
		b = a;
		assert_true(key_digest_eq(&a, &b));
		b.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(key_digest_eq(&a, &b));
	}
}

static void test_record(void **state)
{
	static const uint8_t random[KEY_RANDOM_SIZE] = { 9, 8, 7 };
	char key[KEY_TEXT_LEN + 1];
	struct key_record r, again;
	struct bb_buf text;
	const char *why = NULL;

	key_text_make(random, key);
	assert_int_equal(key_record_of(key, &r), 0);
	assert_memory_equal(r.id, key + 3, KEY_ID_LEN);
	assert_false(r.is_clear);
	for (uint64_t expires_s = 0; expires_s < 2000000000; expires_s += 86400 * 1000 + 3723) {
		bb_buf_init(&text, 1000);
		r.expires_s = expires_s;
		key_record_write(&r, &text);
		assert_null(
			memmem(text.p, text.len, key + 3 + KEY_ID_LEN, 4)); /* not the key itself */
		assert_int_equal(key_record_parse(bb_buf_str(&text), &again, &why), 0);
		assert_memory_equal(&again.digest, &r.digest, sizeof(r.digest));
		assert_string_equal(again.id, r.id);
		assert_int_equal(again.expires_s, expires_s);
		assert_false(again.is_clear);
		/* Cut anywhere it is no record any more, unless the expiry goes as a whole. */
		const size_t bare = 5 + KEY_ID_LEN + 1 + 2 * KEY_DIGEST_SIZE;
		for (size_t len = 3; len < text.len; len++) {
			const bool is_record = len == bare || (expires_s && len == bare + 11);
			assert_int_equal(
				key_record_parse((struct bb_str){ text.p, len }, &again, &why),
				is_record ? 0 : -BB_EINVALID);
		}
		bb_buf_fini(&text);
	}
}

static void test_wrong_records(void **state)
{
#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	static const char *const wrong[] = {
		"bbh1:Ab12Cd3-:" DIGEST,	 "bbh1:Ab12Cd345:" DIGEST,
		"bbh1:Ab12Cd3:" DIGEST,		 "bbh2:Ab12Cd34:" DIGEST,
		"bbh1:Ab12Cd34:" DIGEST "0",	 "bbh1:Ab12Cd34:" DIGEST ":",
		"bbh1:Ab12Cd34:" DIGEST ":soon", "bbh1:Ab12Cd34:" DIGEST ":2026-02-29",
		"bbh1:Ab12Cd34" DIGEST,		 "BBH1:" /* too short for a key in clear */,
	};
	struct key_record r = { .expires_s = 77 };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const char *why = NULL;
		assert_int_equal(key_record_parse(bb_str_of(wrong[i]), &r, &why), -BB_EINVALID);
		assert_non_null(why);
		assert_null(strstr(why, "Ab12Cd3")); /* the sentence does not hold the text */
		assert_int_equal(r.expires_s, 77);
	}
}

static void test_clear(void **state)
{
	struct key_record r;
	struct key_digest d;
	const char *why = NULL;
	char text[KEY_CLEAR_LEN_MAX + 2];

	memset(text, 'k', sizeof(text));
	for (size_t len = 0; len < sizeof(text); len++) {
		const bool is_good = len >= KEY_CLEAR_LEN_MIN && len <= KEY_CLEAR_LEN_MAX;
		assert_int_equal(key_record_parse((struct bb_str){ text, len }, &r, &why),
				 is_good ? 0 : -BB_EINVALID);
	}
	assert_int_equal(key_record_parse(BB_STR("sk-of-another-gateway"), &r, &why), 0);
	assert_int_equal(key_digest_of(BB_STR("sk-of-another-gateway"), &d), 0);
	assert_true(r.is_clear && r.id[0] == '\0' && key_digest_eq(&d, &r.digest));
	assert_int_equal(key_record_parse(BB_STR("sixteen letters!"), &r, &why), -BB_EINVALID);
	assert_int_equal(key_record_parse(BB_STR("sixteen-letters\x80"), &r, &why), -BB_EINVALID);
}

static void test_wipe(void **state)
{
	char secret[] = "secret";

	key_wipe(secret, sizeof(secret));
	for (size_t i = 0; i < sizeof(secret); i++)
		assert_int_equal(secret[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_make),   cmocka_unit_test(test_digest),
		cmocka_unit_test(test_seal),   cmocka_unit_test(test_eq_looks_at_all),
		cmocka_unit_test(test_record), cmocka_unit_test(test_wrong_records),
		cmocka_unit_test(test_clear),  cmocka_unit_test(test_wipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
