/*
 * Goal: the forms of addresses, URLs, names and other texts are taken and refused as documented,
 * and each engine's URL has one normal form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "wire/config_check.h"

#define LONG_64 "0123456789012345678901234567890123456789012345678901234567890123"

struct sample {
	config_check *check;
	const char *good[16];
	const char *bad[24];
};

static const struct sample samples[] = {
	{ config_check_address,
	  { "127.0.0.1:8080", "0.0.0.0:0", ":80", "localhost:1", "[::1]:65535",
	    "[::ffff:1.2.3.4]:1", "unix:/run/x", "unix:x" },
	  { "",
	    "8080",
	    "127.0.0.1",
	    "127.0.0.1:",
	    "127.0.0.1:65536",
	    "127.0.0.1:-1",
	    "256.0.0.1:1",
	    "1.2.3:1",
	    "1.2.3.4.5:1",
	    "1.2.3.4.:1",
	    ".1.2.3.4:1",
	    "example.org:80",
	    "::1:80",
	    "[::1]",
	    "[::1]80",
	    "[x]:80",
	    "[::1:80",
	    "unix:",
	    "http://a:80",
	    ":80:80",
	    "1..2.3:4" } },
	{ config_check_url,
	  { "http://a", "http://a/", "http://gpu-1.example.org:8000", "http://10.0.0.1:1/v1/x%20y",
	    "http://[::1]", "http://[::1]:8000/base", "unix:/run/engine.sock", "http://a_b:80" },
	  { "",
	    "a",
	    "a:8000",
	    "http://",
	    "http:///x",
	    "http://:80",
	    "http://a:",
	    "http://a:0",
	    "http://a:65536",
	    "http://a:b",
	    "https://",
	    "https://a:b",
	    "ftp://a",
	    "HTTP://a",
	    "http://u@a",
	    "http://a?x",
	    "http://a/#x",
	    "http://a b",
	    "http://a/\n",
	    "http://[]:80",
	    "http://[a",
	    "http://a\x80",
	    "http://a\"",
	    "unix:" } },
	{ config_check_name,
	  { "a", "meta-llama/Llama-3.1-8B", "a:b@c_d", LONG_64 LONG_64 LONG_64 LONG_64 },
	  { "", "a b", "*", "a*", "\xc3\xa9", "a\"", LONG_64 LONG_64 LONG_64 LONG_64 "0" } },
	{ config_check_alias, { "*", "a" }, { "", "**", "a*" } },
	{ config_check_origin,
	  { "*", "https://a.example", "http://localhost:3000", "http://[::1]:80",
	    "tauri://localhost" },
	  { "", "a", "https://", "://a", "https://a/", "https://a/b", "https://*.a",
	    "ht tp://a" } },
	{ config_check_headers,
	  { "", "*", "a", "authorization, content-type" },
	  { ",", "a,,b", "a b", "a, b c", "a\n", "a:b" } },
	{ config_check_path, { "a", "/a b", "-" }, { "" } },
	{ config_check_secret, { "", "sk-abc.123_=" }, { "a b", "a\r\nb: c", "\xc3\xa9", "\x7f" } },
};

static void test_forms(void **state)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		for (const char *const *s = samples[i].good; *s; s++)
			if (samples[i].check(bb_str_of(*s)))
				fail_msg("refused: '%s'", *s);
		for (const char *const *s = samples[i].bad; *s; s++)
			if (!samples[i].check(bb_str_of(*s)))
				fail_msg("taken: '%s'", *s);
	}
}

static void test_lengths(void **state)
{
	char text[5000];

	memset(text, 'a', sizeof(text));
	assert_null(config_check_path((struct bb_str){ text, 4095 }));
	assert_non_null(config_check_path((struct bb_str){ text, 4096 }));
	assert_null(config_check_secret((struct bb_str){ text, 4096 }));
	assert_non_null(config_check_secret((struct bb_str){ text, 4097 }));
	memcpy(text, "unix:", 5);
	assert_null(config_check_url((struct bb_str){ text, 5 + 107 }));
	assert_non_null(config_check_url((struct bb_str){ text, 5 + 108 }));
	memcpy(text, "http://", 7);
	assert_null(config_check_url((struct bb_str){ text, 7 + 255 }));
	assert_non_null(config_check_url((struct bb_str){ text, 7 + 256 }));
}

static void test_zero_bytes(void **state)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		if (samples[i].check != config_check_path)
			assert_non_null(samples[i].check(BB_STR("http://a\0")));
}

static void test_normal_form(void **state)
{
	static const char *const pairs[][2] = {
		{ "http://a", "http://a" },
		{ "http://a///", "http://a" },
		{ "http://A.Example:80/", "http://a.example" },
		{ "http://A:8080/V1/", "http://a:8080/V1" },
		{ "http://a:80/V1", "http://a/V1" },
		{ "http://a:800", "http://a:800" },
		{ "http://[::1]:80", "http://[::1]" },
		{ "http://[::AB]:81/x", "http://[::ab]:81/x" },
		{ "unix:/Run/X/", "unix:/Run/X/" },
	};
	char room[64];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct bb_str url = config_url_normal(bb_str_of(pairs[i][0]), room);
		assert_true(bb_str_eq(url, bb_str_of(pairs[i][1])));
		/* It is a fixed point, and still good. */
		char again[64];
		assert_true(bb_str_eq(config_url_normal(url, again), url));
		assert_null(config_check_url(url));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_zero_bytes),
		cmocka_unit_test(test_normal_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
