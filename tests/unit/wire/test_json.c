/*
 * Goal: json accepts exactly RFC 8259 (checked against hand-written cases, JSONTestSuite where it
 * is present, and another parser on mutated text), hands out exact spans, and does so on every path
 * of json_run; the pull walk is safe on any bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "wire/json.h"
#include "wire/json_run.h"
#include "wire/utf8.h"

#define SUITE "../shared/fixtures/jsontestsuite/test_parsing"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A heap copy of exactly this size, so that AddressSanitizer sees one byte too many. */
static struct bb_str exact(struct bb_str s)
{
	char *p = malloc(s.len ? s.len : 1);

	assert_non_null(p);
	memcpy(p, s.len ? s.p : "", s.len);
	return (struct bb_str){ p, s.len };
}

static int check_exact(struct bb_str text)
{
	struct bb_str copy = exact(text);
	const int rc = json_check(copy, JSON_DEPTH_MAX, NULL);

	free((char *)copy.p);
	return rc;
}

static void good_texts(void **state)
{
	static const char *const texts[] = {
		"null",
		"true",
		"false",
		"0",
		"-0",
		"1",
		"-12.5e+10",
		"1E5",
		"0.1",
		"\"\"",
		"[]",
		"{}",
		" \t\r\n[ ] \n",
		"[1,2]",
		"[ 1 , 2 ]",
		"{\"a\":1}",
		"{ \"a\" : { \"b\" : [ ] } }",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"",
		"\"\\ud83d\\ude00\"",
		"\"\\uFFFF\"",
		"\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"",
		"{\"a\":1,\"a\":2}",
		"\"\x7f\"",
		"[[[[]]],{\"\":{}}]",
		"\"exactly sixteen!\"",
		"\"this one is longer than sixteen bytes\"",
	};

	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(check_exact(bb_str_of(texts[i])), 0);
}

static void bad_texts(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
	} cases[] = {
		{ "", 0 },
		{ " ", 1 },
		{ "nul", 0 },
		{ "nulll", 4 },
		{ "True", 0 },
		{ "01", 1 },
		{ "-", 1 },
		{ "+1", 0 },
		{ ".5", 0 },
		{ "1.", 2 },
		{ "1e", 2 },
		{ "1e+", 3 },
		{ "0x1", 1 },
		{ "NaN", 0 },
		{ "Infinity", 0 },
		{ "-Infinity", 1 },
		{ "\"", 1 },
		{ "\"a", 2 },
		{ "\"\n\"", 1 },
		{ "\"\\x\"", 1 },
		{ "\"\\u12g4\"", 1 },
		{ "\"\\ud800\"", 1 },
		{ "\"\\udc00\"", 1 },
		{ "\"\\ud800\\u0041\"", 1 },
		{ "\"\\ud800\\", 1 },
		{ "\"\\", 2 },
		{ "\"\xff\"", 1 },
		{ "\"\xc0\x80\"", 1 },
		{ "\"\xed\xa0\x80\"", 1 },
		{ "\"\xe2\x82\"", 1 },
		{ "[", 1 },
		{ "[1", 2 },
		{ "[1,", 3 },
		{ "[1,]", 3 },
		{ "[,1]", 1 },
		{ "[1 2]", 3 },
		{ "[1}", 2 },
		{ "{", 1 },
		{ "{\"a\"", 4 },
		{ "{\"a\":", 5 },
		{ "{\"a\":1", 6 },
		{ "{\"a\":1,}", 7 },
		{ "{a:1}", 1 },
		{ "{1:1}", 1 },
		{ "{\"a\" 1}", 5 },
		{ "{\"a\":1]", 6 },
		{ "]", 0 },
		{ "1 2", 2 },
		{ "{}x", 2 },
		{ "[]]", 2 },
		{ "\xef\xbb\xbf{}", 0 },
		{ "/**/1", 0 },
		{ "'a'", 0 },
		{ "[1]\f", 3 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct json_error err = { 0 };
		struct bb_str text = exact(bb_str_of(cases[i].text));
		if (json_check(text, JSON_DEPTH_MAX, &err) != -BB_ESYNTAX ||
		    err.offset != cases[i].offset || !err.what)
			fail_msg("%s: offset %zu", cases[i].text, err.offset);
		free((char *)text.p);
	}
	/* A NUL is a byte like others. */
	assert_int_equal(check_exact((struct bb_str){ "1\0", 2 }), -BB_ESYNTAX);
	assert_int_equal(check_exact((struct bb_str){ "\"\0\"", 3 }), -BB_ESYNTAX);
	assert_int_equal(json_check((struct bb_str){ NULL, 0 }, JSON_DEPTH_MAX, NULL), -BB_ESYNTAX);
}

static void nested(char *text, size_t depth)
{
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
}

static int count_members(void *user, const struct json_member *m)
{
	(*(int *)user)++;
	return 0;
}

static void depth_is_limited(void **state)
{
	static char text[200000];
	struct json_error err;
	int count = 0;

	nested(text, 64);
	assert_int_equal(json_check((struct bb_str){ text, 128 }, 64, NULL), 0);
	assert_int_equal(json_check((struct bb_str){ text, 128 }, 63, &err), -BB_ESYNTAX);
	assert_int_equal(err.offset, 63);
	nested(text, 65);
	assert_int_equal(json_check((struct bb_str){ text, 130 }, 1000, &err), -BB_ESYNTAX);
	assert_int_equal(err.offset, 64);
	nested(text, 100000);
	assert_int_equal(json_check((struct bb_str){ text, 200000 }, 64, NULL), -BB_ESYNTAX);
	/* An object's scan counts its own level. */
	assert_int_equal(json_scan_object(BB_STR("{\"a\":[]}"), 2, count_members, &count, NULL), 0);
	assert_int_equal(json_scan_object(BB_STR("{\"a\":[]}"), 1, count_members, &count, NULL),
			 -BB_ESYNTAX);
	assert_int_equal(json_scan_object(BB_STR("{}"), 0, count_members, &count, NULL),
			 -BB_ESYNTAX);
	assert_int_equal(json_check(BB_STR("1"), 0, NULL), 0);
}

struct seen {
	struct json_member members[8];
	int count;
	int stop_at;
};

static int see_member(void *user, const struct json_member *m)
{
	struct seen *s = user;

	assert_true(s->count < 8);
	s->members[s->count++] = *m;
	return s->count == s->stop_at ? -BB_ELIMIT : 0;
}

static void members_are_exact_spans(void **state)
{
	static const char text[] = " { \"model\" : \"a\\\"b\" ,\n\"n\":-1.5e3, "
				   "\"o\":{\"x\":[1,{}]},\"\\u0061\":[ ] ,\"t\":true,"
				   "\"f\":false,\"z\":null} ";
	static const struct {
		const char *key, *value;
		enum json_type type;
	} expected[] = {
		{ "model", "\"a\\\"b\"", JSON_STRING },
		{ "n", "-1.5e3", JSON_NUMBER },
		{ "o", "{\"x\":[1,{}]}", JSON_OBJECT },
		{ "\\u0061", "[ ]", JSON_ARRAY },
		{ "t", "true", JSON_TRUE },
		{ "f", "false", JSON_FALSE },
		{ "z", "null", JSON_NULL },
	};
	struct seen s = { .count = 0 };

	assert_int_equal(json_scan_object(BB_STR(text), 64, see_member, &s, NULL), 0);
	assert_int_equal(s.count, COUNT(expected));
	for (size_t i = 0; i < COUNT(expected); i++) {
		const struct json_member *m = &s.members[i];
		assert_true(bb_str_eq(m->key, bb_str_of(expected[i].key)));
		assert_true(bb_str_eq(m->value, bb_str_of(expected[i].value)));
		assert_int_equal(m->type, expected[i].type);
		assert_int_equal(m->key_has_escape, i == 3);
		assert_true(m->value.p > text && m->value.p < text + sizeof(text));
	}
	/* What the callback says ends the scan, even where the rest is malformed. */
	s = (struct seen){ .stop_at = 1 };
	assert_int_equal(json_scan_object(BB_STR("{\"a\":1,oops"), 64, see_member, &s, NULL),
			 -BB_ELIMIT);
	s = (struct seen){ .count = 0 };
	assert_int_equal(json_scan_object(BB_STR("[]"), 64, see_member, &s, NULL), -BB_ESYNTAX);
	assert_int_equal(json_scan_object(BB_STR("{} x"), 64, see_member, &s, NULL), -BB_ESYNTAX);
	assert_int_equal(json_scan_object(BB_STR("{ }\n"), 64, see_member, &s, NULL), 0);
	assert_int_equal(json_scan_object(BB_STR("{\"a\":1 \"b\":2}"), 64, see_member, &s, NULL),
			 -BB_ESYNTAX);
	assert_int_equal(json_scan_object(BB_STR("{\"a\":1,}"), 64, see_member, &s, NULL),
			 -BB_ESYNTAX);
}

static void each_cut_is_refused(void **state)
{
	const struct bb_str text = BB_STR("{\"id\":\"chatcmpl-\\u00e4\\ud83d\\ude00 and a longer "
					  "text to fill blocks\xc3\xa4\",\"n\":12.5,"
					  "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" "
					  "sorry\"},\"x\":null}],\"t\":true}");
	struct seen s;

	for (size_t n = 0; n < text.len; n++) {
		struct bb_str cut = exact((struct bb_str){ text.p, n });
		s = (struct seen){ .count = 0 };
		assert_int_equal(json_scan_object(cut, 64, see_member, &s, NULL), -BB_ESYNTAX);
		assert_int_equal(json_check(cut, 64, NULL), -BB_ESYNTAX);
		free((char *)cut.p);
	}
	assert_int_equal(check_exact(text), 0);
}

static int suite_file(const char *name, int counts[3])
{
	char path[512];
	static char bytes[1 << 20];

	snprintf(path, sizeof(path), "%s/%s", SUITE, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	const size_t len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	const int rc = check_exact((struct bb_str){ bytes, len });
	if ((name[0] == 'y' && rc) || (name[0] == 'n' && !rc)) {
		print_message("%s: %d\n", name, rc);
		return 1;
	}
	counts[name[0] == 'y' ? 0 : name[0] == 'n' ? 1 : 2]++;
	return 0;
}

static void json_test_suite(void **state)
{
	DIR *d = opendir(SUITE);
	int wrong = 0, counts[3] = { 0, 0, 0 };

	if (!d) {
		print_message("JSONTestSuite is not at %s\n", SUITE);
		skip();
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[1] == '_' && strchr("yni", e->d_name[0]))
			wrong += suite_file(e->d_name, counts);
	}
	closedir(d);
	assert_int_equal(wrong, 0);
	assert_true(counts[0] >= 90 && counts[1] >= 180);
}

/* What another parser says, numbers unread so that their size is no matter. */
static bool other_accepts(struct bb_str text)
{
	yyjson_doc *doc = yyjson_read(text.p, text.len, YYJSON_READ_NUMBER_AS_RAW);
	const bool ok = doc != NULL;

	yyjson_doc_free(doc);
	return ok;
}

static const char *const seeds[] = {
	"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Gr\xc3\xbc\xc3\x9f dich "
	"\xe4\xb8\xad\xe6\x96\x87 "
	"\xf0\x9f\x98\x80 and some more plain text so that blocks are "
	"full\\n\\u00e4\\ud83d\\ude00\"}],"
	"\"temperature\":0.7e-1,\"stream\":true,\"stop\":null,\"n\":[1,2,-3.5E+2,{}],\"k\":false}",
	"[[],{},[{\"a\":[0,-1,\"\\\\\\\"\"]}],\"\", 12 ,\ttrue\r\n]",
	"\"0123456789abcde\\f0123456789abcdef0123456789abcdef0123456789abcdef\xe2\x82\xac\"",
};

static void mutate(struct bb_rng *rng, char *p, size_t len)
{
	static const char odd[] = "\"\\{}[],:u0e-\x80\xed\xf4\xc0\n \x1f";

	for (uint64_t n = 1 + bb_rng_below(rng, 3); n; n--) {
		char *const at = &p[bb_rng_below(rng, len)];
		if (bb_rng_below(rng, 2))
			*at = odd[bb_rng_below(rng, sizeof(odd) - 1)];
		else
			*at = (char)bb_rng_next(rng);
	}
}

static void mutations_agree_with_other_parser(void **state)
{
	struct bb_rng rng;
	int accepted = 0, refused = 0;

	bb_rng_seed(&rng, 7);
	for (int i = 0; i < 60000; i++) {
		const struct bb_str seed = bb_str_of(seeds[i % COUNT(seeds)]);
		struct bb_str text = exact(seed);
		mutate(&rng, (char *)text.p, text.len);
		const bool other = other_accepts(text);
		int first = 1;
		for (enum json_run_path path = JSON_RUN_SCALAR; path <= JSON_RUN_AVX2; path++) {
			if (!json_run_use(path))
				continue;
			const int rc = json_check(text, JSON_DEPTH_MAX, NULL);
			if ((rc == 0) != other)
				fail_msg("path %d says %d, the other %d: %.*s", path, rc, other,
					 BB_ARG(text));
			first = rc;
		}
		accepted += first == 0;
		refused += first != 0;
		free((char *)text.p);
	}
	json_run_use(json_run_best());
	assert_true(accepted > 1000 && refused > 1000);
}

/* Random bytes of which some stop a run: all paths find the same place and the same high bytes. */
static void run_paths_agree(void **state)
{
	static const char stops[] = "\"\\{}[]\x1f\n\x80\xff";
	struct bb_rng rng;
	char bytes[300];

	bb_rng_seed(&rng, 11);
	for (int i = 0; i < 20000; i++) {
		const size_t len = bb_rng_below(&rng, sizeof(bytes) + 1);
		for (size_t k = 0; k < len; k++)
			bytes[k] = (char)('a' + bb_rng_below(&rng, 26));
		for (uint64_t n = bb_rng_below(&rng, 4); n && len; n--)
			bytes[bb_rng_below(&rng, len)] =
				stops[bb_rng_below(&rng, sizeof(stops) - 1)];
		struct bb_str s = exact((struct bb_str){ bytes, len });
		const char *const end = s.p + s.len;
		size_t plain = 0, string = 0, flat = 0;
		bool high = false;
		for (enum json_run_path path = JSON_RUN_SCALAR; path <= JSON_RUN_AVX2; path++) {
			bool h = false, h2 = false;
			if (!json_run_use(path))
				continue;
			const size_t a = json_run_plain(s.p, end, &h),
				     b = json_run_string(s.p, end);
			const size_t c = json_run_flat(s.p, end);
			if (path == JSON_RUN_SCALAR)
				plain = a, string = b, flat = c, high = h;
			assert_int_equal(a, plain);
			assert_int_equal(b, string);
			assert_int_equal(c, flat);
			assert_int_equal(h, high);
			assert_ptr_equal(json_run_plain_inline(s.p, end, &h2), s.p + plain);
			assert_int_equal(h2, high);
			assert_ptr_equal(json_run_string_inline(s.p, end), s.p + string);
		}
		/* And the scalar one stops where it should. */
		for (size_t k = 0; k < plain; k++)
			assert_true((unsigned char)s.p[k] >= 0x20 && s.p[k] != '"' &&
				    s.p[k] != '\\');
		assert_true(plain == len || (unsigned char)s.p[plain] < 0x20 || s.p[plain] == '"' ||
			    s.p[plain] == '\\');
		free((char *)s.p);
	}
	json_run_use(json_run_best());
}

static void pull_walks(void **state)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;

	json_pull_init(&j, BB_STR(" { \"a\" : [ 1 , \"x]\" , {\"q\":[]} ] , \"b\" : {\"}\":1} , "
				  "\"c\":null } "));
	assert_int_equal(json_pull_type(&j), JSON_OBJECT);
	assert_false(json_pull_array(&j));
	assert_true(json_pull_object(&j));
	assert_true(json_pull_key(&j, &key));
	assert_true(bb_str_eq(key, BB_STR("a")));
	assert_true(json_pull_array(&j));
	static const char *const elements[] = { "1", "\"x]\"", "{\"q\":[]}" };
	for (size_t i = 0; i < 3; i++) {
		assert_true(json_pull_more(&j));
		assert_true(json_pull_value(&j, &raw, &type));
		assert_true(bb_str_eq(raw, bb_str_of(elements[i])));
	}
	assert_int_equal(type, JSON_OBJECT);
	assert_false(json_pull_more(&j));
	assert_true(json_pull_key(&j, &key));
	assert_true(json_pull_value(&j, &raw, &type));
	assert_true(bb_str_eq(raw, BB_STR("{\"}\":1}")));
	assert_true(json_pull_key(&j, &key));
	assert_true(json_pull_skip(&j));
	assert_false(json_pull_key(&j, &key));
	assert_false(j.failed);
}

/* Walks over everything; returns whether it failed. Depth is bounded by the text's length. */
static bool walk(struct bb_str text, int *values)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;

	json_pull_init(&j, text);
	if (json_pull_object(&j)) {
		while (json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type))
			++*values;
	} else if (json_pull_array(&j)) {
		while (json_pull_more(&j) && json_pull_value(&j, &raw, &type))
			++*values;
	}
	return j.failed;
}

static void pull_survives_any_bytes(void **state)
{
	struct bb_rng rng;
	int values = 0, failures = 0;

	bb_rng_seed(&rng, 3);
	for (int i = 0; i < 30000; i++) {
		struct bb_str text = bb_str_of(seeds[i % COUNT(seeds)]);
		text.len = 1 + bb_rng_below(&rng, text.len);
		text = exact(text);
		mutate(&rng, (char *)text.p, text.len);
		failures += walk(text, &values);
		free((char *)text.p);
	}
	assert_true(values > 10000 && failures > 1000);
}

static void get_finds_members(void **state)
{
	struct json_member m = { .key = { NULL, 0 } };
	const struct bb_str o = BB_STR("{\"aa\":{\"b\":2},\"b\":\"x\",\"b\":3}");

	assert_true(json_get(o, BB_STR("b"), &m));
	assert_true(bb_str_eq(m.value, BB_STR("\"x\"")));
	assert_int_equal(m.type, JSON_STRING);
	assert_false(json_get(o, BB_STR("a"), &m));
	assert_false(json_get(BB_STR("[1]"), BB_STR("a"), &m));
	assert_false(json_get(BB_STR("{\"a\":"), BB_STR("a"), &m));
	assert_false(json_get(BB_STR(""), BB_STR("a"), &m));
}

static void strings_decode(void **state)
{
	static const struct {
		const char *raw, *plain;
	} cases[] = {
		{ "\"\"", "" },
		{ "\"plain\"", "plain" },
		{ "\"a\\n\\\"\\\\\\/\\b\\f\\r\\t!\"", "a\n\"\\/\b\f\r\t!" },
		{ "\"\\u0041\\u00e4\\u20ac\\ud83d\\ude00\"",
		  "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\"\\u00E4x\\uD83D\\uDE00\"", "\xc3\xa4x\xf0\x9f\x98\x80" },
	};
	struct bb_arena arena;
	struct bb_buf buf;
	struct bb_str out;

	bb_arena_init(&arena, 4096);
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct bb_str raw = bb_str_of(cases[i].raw),
				    plain = bb_str_of(cases[i].plain);
		bb_buf_init(&buf, 100);
		assert_int_equal(json_string_decode(raw, &arena, &out), 0);
		assert_true(bb_str_eq(out, plain));
		assert_int_equal(json_string_decode_buf(raw, &buf), 0);
		assert_true(bb_str_eq(bb_buf_str(&buf), plain));
		assert_true(json_string_eq(raw, plain));
		assert_false(json_string_eq(raw, BB_STR("other")));
		assert_false(json_string_eq(raw, BB_STR("a\n")));
		bb_buf_fini(&buf);
	}
	/* Without escapes nothing is copied. */
	const struct bb_str raw = BB_STR("\"plain\"");
	assert_int_equal(json_string_decode(raw, &arena, &out), 0);
	assert_ptr_equal(out.p, raw.p + 1);
	assert_int_equal(json_string_decode(BB_STR("12"), &arena, &out), -BB_EINVALID);
	assert_int_equal(json_string_decode(BB_STR("\"\\ud800\""), &arena, &out), -BB_EINVALID);
	assert_int_equal(json_string_decode(BB_STR("\"\\"), &arena, &out), -BB_EINVALID);
	bb_buf_init(&buf, 3);
	assert_int_equal(json_string_decode_buf(BB_STR("\"abcdef\""), &buf), -BB_ELIMIT);
	bb_buf_fini(&buf);
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	struct bb_arena empty;
	bb_arena_init(&empty, 4096);
	const int rc = json_string_decode(BB_STR("\"\\n\""), &empty, &out);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(rc, -BB_ENOMEM);
	bb_arena_fini(&arena);
	bb_arena_fini(&empty);
}

static void numbers_parse(void **state)
{
	uint64_t u = 7;
	double d;
	bool b;

	assert_int_equal(json_u64(BB_STR("18446744073709551615"), &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(json_u64(BB_STR("12.0"), &u), 0);
	assert_int_equal(u, 12);
	assert_int_equal(json_u64(BB_STR("1e3"), &u), 0);
	assert_int_equal(u, 1000);
	static const char *const bad[] = {
		"1.5", "-1", "1e30", "\"1\"", "null", "", "18446744073709551616"
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(json_u64(bb_str_of(bad[i]), &u), -BB_EINVALID);
	assert_int_equal(u, 1000);
	assert_int_equal(json_double(BB_STR("-2.5e1"), &d), 0);
	assert_true(d == -25.0);
	assert_int_equal(json_double(BB_STR("true"), &d), -BB_EINVALID);
	assert_int_equal(json_bool(BB_STR("true"), &b), 0);
	assert_true(b);
	assert_int_equal(json_bool(BB_STR("false"), &b), 0);
	assert_false(b);
	assert_int_equal(json_bool(BB_STR("1"), &b), -BB_EINVALID);
}

/* Where the container at p ends, byte by byte; NULL when it does not. */
static const char *container_end(const char *p, const char *end)
{
	size_t depth = 0;
	bool in_string = false;

	for (; p < end; p++) {
		if (in_string) {
			if (*p == '\\')
				p++;
			else
				in_string = *p != '"';
		} else if (*p == '"') {
			in_string = true;
		} else if (*p == '{' || *p == '[') {
			depth++;
		} else if ((*p == '}' || *p == ']') && --depth == 0) {
			return p + 1;
		}
	}
	return NULL;
}

/* Large containers are skipped in blocks, which must not see brackets and quotes otherwise. */
static void test_skip_random_containers(void **state)
{
	static const char bytes[] = "{}[]\"\"\"\\ab ,:\n";
	uint64_t seed = 7;
	char text[700];

	for (int round = 0; round < 40000; round++) {
		const size_t len = 2 + (size_t)(round % 690);
		/* Few of the special ones in some rounds, so that strings and depths get long. */
		const unsigned kinds = round % 3 ? 60 : sizeof(bytes) - 1;
		for (size_t i = 0; i < len; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			const unsigned kind = (unsigned)(seed >> 33) % kinds;
			text[i] = kind < sizeof(bytes) - 1 ? bytes[kind] : 'x';
		}
		text[0] = '[';
		char *const copy = bb_alloc(len); /* so that ASan sees its end */
		assert_non_null(copy);
		memcpy(copy, text, len);
		struct json_pull j;
		struct bb_str raw;
		enum json_type type;
		json_pull_init(&j, (struct bb_str){ copy, len });
		const char *const end = container_end(copy, copy + len);
		assert_int_equal(json_pull_value(&j, &raw, &type), end != NULL);
		if (end)
			assert_ptr_equal(raw.p + raw.len, end);
		bb_free(copy);
	}
}

/* Strings of up to 16 bytes are checked on the spot: every pair of bytes, at every place. */
static void test_short_strings_of_two_bytes(void **state)
{
	char text[40];

	for (unsigned pair = 0; pair < 65536; pair++) {
		const char a = (char)(pair >> 8), b = (char)pair;
		if (a == '"' || b == '"' || a == '\\' || b == '\\')
			continue;
		const size_t before = pair * 7 % 14;
		memset(text, ' ', sizeof(text));
		text[0] = '"';
		memset(text + 1, 'x', before);
		text[before + 1] = a;
		text[before + 2] = b;
		text[before + 3] = '"';
		const struct bb_str inner = { text + 1, before + 2 };
		const bool ok = utf8_check_scalar(inner) == inner.len && (uint8_t)a >= 0x20 &&
				(uint8_t)b >= 0x20;
		assert_int_equal(json_check((struct bb_str){ text, sizeof(text) }, 4, NULL),
				 ok ? 0 : -BB_ESYNTAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_skip_random_containers),
		cmocka_unit_test(test_short_strings_of_two_bytes),
		cmocka_unit_test(good_texts),
		cmocka_unit_test(bad_texts),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(members_are_exact_spans),
		cmocka_unit_test(each_cut_is_refused),
		cmocka_unit_test(json_test_suite),
		cmocka_unit_test(mutations_agree_with_other_parser),
		cmocka_unit_test(run_paths_agree),
		cmocka_unit_test(pull_walks),
		cmocka_unit_test(pull_survives_any_bytes),
		cmocka_unit_test(get_finds_members),
		cmocka_unit_test(strings_decode),
		cmocka_unit_test(numbers_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
