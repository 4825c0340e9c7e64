/*
 * Goal: every path of a configuration that does not begin with a slash is seen from the folder of
 * its file, and nothing else is changed.
 */
#include "unit.h"

#include "base/alloc.h"
#include "wire/config.h"

static const char text[] =
	"listen: [unix:run/api.sock, 127.0.0.1:0, unix:/abs/api.sock]\n"
	"admin: unix:admin.sock\n"
	"access_log: {path: logs/access.log}\n"
	"keys: {file: keys.yaml}\n"
	"tls: {cert: tls/c.pem, key: ../k.pem, client_ca: /abs/ca.pem,\n"
	"      sni: [{names: [a.example.org], cert: s.pem, key: /abs/s.key}]}\n"
	"admin_tls: {cert: ac.pem, key: ak.pem}\n"
	"auth: {jwt: {jwks: jwks.json, issuer: i, audience: a}}\n"
	"tenants: {t: {}}\n"
	"models: {m: {engines: [unix:e.sock, 'https://h:1'], tokenizer: tok, chat_template: ct}}\n"
	"engines: [{url: 'https://h:1', tls: {ca: ca.pem, cert: c.pem, key: k.pem}}]\n";

static struct config *parsed(const char *yaml)
{
	struct config_errors errors;
	struct config *c = NULL;

	config_errors_init(&errors);
	const int rc = config_parse(bb_str_of(yaml), "f", NULL, &c, &errors);
	if (rc) {
		struct bb_buf report;
		bb_buf_init(&report, 65536);
		config_errors_print(&errors, "f", &report);
		fail_msg("%.*s", (int)report.len, report.p);
	}
	config_errors_fini(&errors);
	return c;
}

static void every_path(void **state)
{
	struct config *c = parsed(text);

	assert_int_equal(config_paths_from(c, BB_STR("etc/busbar/")), 0);
	assert_str(c->listen.items[0].text, "unix:etc/busbar/run/api.sock");
	assert_str(c->listen.items[1].text, "127.0.0.1:0");
	assert_str(c->listen.items[2].text, "unix:/abs/api.sock");
	assert_str(c->admin, "unix:etc/busbar/admin.sock");
	assert_str(c->access_log_path, "etc/busbar/logs/access.log");
	assert_str(c->keys_file, "etc/busbar/keys.yaml");
	assert_str(c->tls.cert, "etc/busbar/tls/c.pem");
	assert_str(c->tls.key, "etc/busbar/../k.pem");
	assert_str(c->tls.client_ca, "/abs/ca.pem");
	assert_str(c->tls.sni.items[0].cert, "etc/busbar/s.pem");
	assert_str(c->tls.sni.items[0].key, "/abs/s.key");
	assert_str(c->admin_tls.cert, "etc/busbar/ac.pem");
	assert_str(c->admin_tls.key, "etc/busbar/ak.pem");
	assert_str(c->jwt.jwks, "etc/busbar/jwks.json");
	assert_str(c->models[0].tokenizer, "etc/busbar/tok");
	assert_str(c->models[0].chat_template, "etc/busbar/ct");
	assert_int_equal(c->engine_count, 2);
	for (uint32_t i = 0; i < 2; i++) {
		const struct config_engine *e = &c->engines[i];
		assert_str(c->models[0].engine_urls.items[i].text,
			   c->engines[c->models[0].engines[i]].url.p);
		if (bb_str_starts(e->url, BB_STR("unix:"))) {
			assert_str(e->url, "unix:etc/busbar/e.sock");
			assert_int_equal(e->tls.ca.len, 0);
			continue;
		}
		assert_str(e->url, "https://h:1");
		assert_str(e->tls.ca, "etc/busbar/ca.pem");
		assert_str(e->tls.cert, "etc/busbar/c.pem");
		assert_str(e->tls.key, "etc/busbar/k.pem");
	}
	assert_int_equal(c->tls.cert.p[c->tls.cert.len], '\0'); /* they are opened as they stand */
	config_free(c);
}

static void what_is_no_path(void **state)
{
	static const char *const urls[] = { "http://h/jwks", "https://h/jwks" };

	struct config *c = parsed("access_log: {path: '-'}\nadmin: off\n");
	assert_int_equal(config_paths_from(c, BB_STR("/etc/")), 0);
	assert_str(c->access_log_path, "-");
	assert_str(c->listen.items[0].text, "127.0.0.1:8080");
	assert_int_equal(c->admin.len, 0);
	assert_int_equal(c->keys_file.len + c->tls.cert.len + c->jwt.jwks.len, 0);
	config_free(c);
	c = parsed("access_log: {path: off}\n");
	assert_int_equal(config_paths_from(c, BB_STR("/etc/")), 0);
	assert_int_equal(c->access_log_path.len, 0);
	config_free(c);
	for (size_t i = 0; i < UNIT_COUNT(urls); i++) {
		char yaml[256];
		snprintf(yaml, sizeof(yaml),
			 "auth: {jwt: {jwks: '%s', issuer: i, audience: a}}\ntenants: {t: {}}\n",
			 urls[i]);
		c = parsed(yaml);
		assert_int_equal(config_paths_from(c, BB_STR("/etc/")), 0);
		assert_str(c->jwt.jwks, urls[i]);
		config_free(c);
	}
}

/* Standard input and a file in the working folder have none. */
static void without_a_folder(void **state)
{
	struct config *c = parsed(text);

	assert_int_equal(config_paths_from(c, BB_STR("")), 0);
	assert_str(c->tls.cert, "tls/c.pem");
	assert_str(c->listen.items[0].text, "unix:run/api.sock");
	config_free(c);
}

static void without_memory(void **state)
{
	char folder[65536 + 1]; /* so that each path needs memory of its own */
	uint64_t nth = 1;

	memset(folder, 'f', sizeof(folder) - 2);
	folder[sizeof(folder) - 2] = '/';
	folder[sizeof(folder) - 1] = '\0';
	for (;; nth++) {
		struct config *c = parsed(text);
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = config_paths_from(c, bb_str_of(folder));
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		config_free(c);
		if (!rc)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
	}
	assert_true(nth > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_path),
		cmocka_unit_test(what_is_no_path),
		cmocka_unit_test(without_a_folder),
		cmocka_unit_test(without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
