/*
 * Goal: keys come from a file and from a server, new ones replace old ones, whatever is wrong
 * leaves the old ones in force, and wishes of strangers do not make a flood of fetches.
 */
#include <stdlib.h>
#include <unistd.h>

#include "wire/jwt_maker.h"

#include "base/alloc.h"
#include "gateway/jwks_source.h"
#include "gateway/resolver.h"
#include "net/httpd.h"
#include "os/clock.h"

#define PATIENCE_NS (10 * OS_SECOND)

static struct loop *loop;
static struct resolver *resolver;
static struct httpd *server;
static struct sock_addr addr;
static EVP_PKEY *key;
static char keys_text[2][3 * MAKER_TEXT_SIZE]; /* two sets with one key, of different names */

/* What the server says, and what it was asked. */
static struct site {
	int status;
	struct bb_str body;
	int requests;
	char target[64], host[64];
	struct exchange *kept; /* with status 0 nothing is answered */
} site;

static void on_request(struct exchange *x)
{
	site.requests++;
	snprintf(site.target, sizeof(site.target), "%.*s", BB_ARG(x->head->target));
	snprintf(site.host, sizeof(site.host), "%.*s",
		 BB_ARG(http_head_get(x->head, BB_STR("Host"))));
	assert_str(http_head_get(x->head, BB_STR("Authorization")), "");
	if (site.status)
		exchange_reply(x, site.status, BB_STR("application/json"), BB_STR(""), site.body);
	else
		site.kept = x;
}

static void on_closed(struct exchange *x)
{
	if (site.kept == x)
		site.kept = NULL;
}

static int setup(void **state)
{
	key = maker_key(JWT_EDDSA, 0);
	for (int i = 0; i < 2; i++)
		snprintf(keys_text[i], sizeof(keys_text[i]), "{\"keys\":[%s]}",
			 maker_jwk(key, JWT_EDDSA, i ? ",\"kid\":\"b\"" : ",\"kid\":\"a\""));
	return 0;
}

static int teardown(void **state)
{
	EVP_PKEY_free(key);
	return 0;
}

static int begin(void **state)
{
	static const struct httpd_ops ops = { .on_request = on_request, .on_closed = on_closed };
	const char *why;

	site = (struct site){ .status = 200, .body = bb_str_of(keys_text[0]) };
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(resolver_create(loop, &resolver), 0);
	struct httpd_config c = { .loop = loop, .ops = &ops };
	httpd_limits_default(&c.limits);
	assert_int_equal(httpd_create(&c, &server), 0);
	/* where that name leads is where the server is, with and without IPv6 */
	assert_int_equal(sock_resolve(BB_STR("localhost"), 0, &addr, &why), 0);
	const int fd = sock_listen(&addr, SOCK_EXCLUSIVE, 16, &why);
	assert_true(fd >= 0);
	assert_int_equal(sock_local_addr(fd, &addr), 0);
	assert_int_equal(httpd_listen(server, fd), 0);
	return 0;
}

static int end(void **state)
{
	httpd_destroy(server);
	resolver_destroy(resolver);
	loop_destroy(loop);
	return 0;
}

#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		const uint64_t begun_ns = clock_now_ns();                                          \
		while (!(condition)) {                                                             \
			assert_true(clock_now_ns() - begun_ns < PATIENCE_NS);                      \
			loop_turn(loop, 20 * OS_MS);                                               \
		}                                                                                  \
	} while (0)

static void turn_for(uint64_t ns)
{
	const uint64_t end_ns = clock_now_ns() + ns;

	for (int turns = 0; turns < 10 || clock_now_ns() < end_ns; turns++)
		loop_turn(loop, 5 * OS_MS);
}

static int create(const char *where, struct jwks_source **out, char why[JWKS_SOURCE_WHY_SIZE])
{
	const struct jwks_source_config c = { loop, resolver, bb_str_of(where) };

	return jwks_source_create(&c, out, why);
}

/* The server's URL, by its name or its number. */
enum host { BY_NUMBER, BY_NAME };
static const char *url_of(enum host host, const char *rest)
{
	static char url[400];
	char text[SOCK_TEXT_SIZE];

	sock_addr_text(&addr, text);
	if (host == BY_NUMBER)
		snprintf(url, sizeof(url), "http://%s%s", text, rest);
	else
		snprintf(url, sizeof(url), "http://localhost%s%s", strrchr(text, ':'), rest);
	return url;
}

static bool has_kid(const struct jwks_source *s, const char *kid)
{
	uint32_t version;
	const struct jwks_key *k;
	char raw[16];
	struct jwks *set = jwks_ring_keys(jwks_source_ring(s), &version);

	snprintf(raw, sizeof(raw), "\"%s\"", kid);
	const bool has = set && jwks_find(set, JWT_EDDSA, bb_str_of(raw), &k) == JWKS_FOUND;
	jwks_put(set);
	return has;
}

static uint32_t version_of(const struct jwks_source *s)
{
	return jwks_ring_version(jwks_source_ring(s));
}

/* ---- files ---- */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void test_file(void **state)
{
	char path[] = "/tmp/busbar-jwks-XXXXXX", why[JWKS_SOURCE_WHY_SIZE];
	struct jwks_source *s = NULL;
	const int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(create(path, &s, why), -BB_ESYNTAX);
	assert_non_null(strstr(why, "JSON"));
	assert_null(s);
	write_file(path, keys_text[0]);
	assert_int_equal(create(path, &s, why), 0);
	assert_true(jwks_source_is(s, bb_str_of(path)));
	assert_false(jwks_source_is(s, BB_STR("/tmp/x")));
	assert_true(has_kid(s, "a"));
	assert_int_equal(version_of(s), 1);
	/* the same again changes nothing */
	assert_int_equal(jwks_source_again(s, why), 0);
	assert_int_equal(version_of(s), 1);
	write_file(path, "{\"keys\":[");
	assert_int_equal(jwks_source_again(s, why), -BB_ESYNTAX);
	assert_true(has_kid(s, "a"));
	write_file(path, keys_text[1]);
	assert_int_equal(jwks_source_again(s, why), 0);
	assert_int_equal(version_of(s), 2);
	assert_true(has_kid(s, "b") && !has_kid(s, "a"));
	/* a wish reads it again as well; what it finds there may be wrong */
	write_file(path, "7");
	jwks_ring_wish(jwks_source_ring(s));
	UNTIL(!jwks_ring_has_wish(jwks_source_ring(s)));
	assert_true(has_kid(s, "b"));
	unlink(path);
	assert_int_equal(jwks_source_again(s, why), -BB_ESYSTEM);
	assert_non_null(strstr(why, "No such file"));
	assert_true(has_kid(s, "b"));
	/* the ring lives on with whoever holds it */
	struct jwks_ring *ring = jwks_ring_get(jwks_source_ring(s));
	jwks_source_destroy(s);
	assert_int_equal(jwks_ring_version(ring), 2);
	jwks_ring_put(ring);
	jwks_source_destroy(NULL);
}

/* ---- URLs ---- */

static void test_url(void **state)
{
	char why[JWKS_SOURCE_WHY_SIZE];
	struct jwks_source *s = NULL;

	assert_int_equal(create(url_of(BY_NUMBER, "/a/keys/?p=1"), &s, why), 0);
	assert_int_equal(version_of(s), 0);
	UNTIL(version_of(s) == 1);
	assert_true(has_kid(s, "a"));
	assert_string_equal(site.target, "/a/keys/?p=1");
	assert_int_equal(strncmp(url_of(BY_NUMBER, "") + strlen("http://"), site.host, 60), 0);
	/* what is wrong leaves the old keys */
	static const struct {
		int status;
		const char *body;
	} wrong[] = {
		{ 404, "{}" }, { 302, keys_text[1] },	 { 500, keys_text[1] },
		{ 200, "" },   { 200, "{\"keys\":[]}" }, { 200, "<html>" },
	};
	for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
		site.status = wrong[i].status;
		site.body = bb_str_of(wrong[i].body);
		const int before = site.requests;
		assert_int_equal(jwks_source_again(s, why), 0);
		UNTIL(site.requests == before + 1);
		turn_for(30 * OS_MS);
		assert_int_equal(version_of(s), 1);
	}
	char *large = calloc(1, JWKS_TEXT_MAX + 2);
	memset(large, ' ', JWKS_TEXT_MAX + 1);
	site.body = bb_str_of(large);
	int before = site.requests;
	assert_int_equal(jwks_source_again(s, why), 0);
	UNTIL(site.requests == before + 1);
	turn_for(30 * OS_MS);
	free(large);
	/* the same again changes nothing, another one does */
	site.body = bb_str_of(keys_text[0]);
	before = site.requests;
	assert_int_equal(jwks_source_again(s, why), 0);
	UNTIL(site.requests == before + 1);
	turn_for(30 * OS_MS);
	assert_int_equal(version_of(s), 1);
	site.body = bb_str_of(keys_text[1]);
	assert_int_equal(jwks_source_again(s, why), 0);
	UNTIL(version_of(s) == 2);
	assert_true(has_kid(s, "b") && !has_kid(s, "a"));
	jwks_source_destroy(s);
}

static void test_wishes(void **state)
{
	char why[JWKS_SOURCE_WHY_SIZE];
	struct jwks_source *s = NULL;

	assert_int_equal(create(url_of(BY_NUMBER, ""), &s, why), 0);
	UNTIL(version_of(s) == 1);
	assert_string_equal(site.target, "/");
	assert_int_equal(site.requests, 1);
	/* the first one is granted, the next ones have to wait */
	site.body = bb_str_of(keys_text[1]);
	jwks_ring_wish(jwks_source_ring(s));
	UNTIL(version_of(s) == 2);
	assert_int_equal(site.requests, 2);
	assert_false(jwks_ring_has_wish(jwks_source_ring(s)));
	jwks_ring_wish(jwks_source_ring(s));
	turn_for(800 * OS_MS); /* several ticks of its timer */
	assert_int_equal(site.requests, 2);
	assert_true(jwks_ring_has_wish(jwks_source_ring(s)));
	jwks_source_destroy(s);
}

/* By name, and with nobody there. */
static void test_names(void **state)
{
	char why[JWKS_SOURCE_WHY_SIZE];
	struct jwks_source *s = NULL;

	assert_int_equal(create(url_of(BY_NAME, "/k"), &s, why), 0);
	UNTIL(version_of(s) == 1);
	assert_int_equal(strncmp(site.host, "localhost:", 10), 0);
	jwks_source_destroy(s);
	assert_int_equal(create("http://[::1]:1/k", &s, why), 0);
	turn_for(300 * OS_MS);
	assert_int_equal(version_of(s), 0);
	jwks_source_destroy(s);
}

static void test_bad_urls(void **state)
{
	static const char *const bad[] = {
		"http://",	 "http://:80/",	  "http://a:b/",     "http://a@b/k",
		"https://a/k#x", "http://[::1/k", "http://a:99999/",
	};

	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		char why[JWKS_SOURCE_WHY_SIZE] = "";
		struct jwks_source *s = NULL;
		assert_int_equal(create(bad[i], &s, why), -BB_EINVALID);
		assert_true(why[0]);
		assert_null(s);
	}
}

/* Destroyed while a look-up or an answer is waited for. */
static void test_in_between(void **state)
{
	char why[JWKS_SOURCE_WHY_SIZE];
	struct jwks_source *s = NULL;

	site.status = 0;
	assert_int_equal(create(url_of(BY_NUMBER, "/"), &s, why), 0);
	UNTIL(site.requests == 1);
	jwks_source_destroy(s);
	UNTIL(!site.kept);
	assert_int_equal(create(url_of(BY_NAME, "/"), &s, why), 0);
	loop_turn(loop, 0);
	jwks_source_destroy(s);
	assert_int_equal(create("https://localhost:1/", &s, why), 0);
	jwks_source_destroy(s);
}

static void test_no_memory(void **state)
{
	char why[JWKS_SOURCE_WHY_SIZE];
	struct jwks_source *s = NULL;
	int rc = -BB_ENOMEM;

	for (uint64_t n = 1; rc; n++) {
		assert_true(n < 50);
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		rc = create(url_of(BY_NAME, "/"), &s, why);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
	}
	/* a fetch that finds no memory is tried again */
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	UNTIL(bb_alloc_failed_count() > 0 || version_of(s) == 1);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(jwks_source_again(s, why), 0);
	UNTIL(version_of(s) == 1);
	jwks_source_destroy(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file),     TEST(test_url),	    TEST(test_wishes),	  TEST(test_names),
		TEST(test_bad_urls), TEST(test_in_between), TEST(test_no_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
