/*
 * Goal: whoever connects gets the certificate for the name that was asked for, by a version and a
 * protocol that we want, or is refused; whatever is written arrives, cut anywhere; what is broken
 * off does not look complete; keys of tickets do not outlive their time; and a file that cannot be
 * used is named.
 */
#include "certs.h"
#include "site.h"

#include <fcntl.h>
#include <signal.h>

#include "net/tls.h"

static struct cert ca, other_ca, server, wild, exact, expired, client, foreign;

/* ---- two ends of a connection ---- */

/* A client or server by OpenSSL alone: what others send us. */
struct raw {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
};

static int pair[2];

static void pair_open(void)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void pair_close(void)
{
	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
}

static void raw_open(struct raw *r, int fd)
{
	r->fd = fd;
	if (!r->ctx)
		r->ctx = SSL_CTX_new(TLS_client_method());
	r->ssl = SSL_new(r->ctx);
	assert_non_null(r->ssl);
	assert_int_equal(SSL_set_fd(r->ssl, fd), 1);
	SSL_set_connect_state(r->ssl);
}

static void raw_close(struct raw *r)
{
	SSL_free(r->ssl);
	SSL_CTX_free(r->ctx);
	*r = (struct raw){ 0 };
	ERR_clear_error();
}

/* One step of a raw end: 1 done, 0 waits, -1 failed. */
static int raw_step(struct raw *r)
{
	ERR_clear_error();
	const int n = SSL_do_handshake(r->ssl);
	if (n == 1)
		return 1;
	const int e = SSL_get_error(r->ssl, n);
	return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static struct tls_context *server_of(const struct tls_server_config *c)
{
	struct tls_context *t = NULL;
	char why[TLS_REASON_SIZE];

	assert_int_equal(tls_server_create(c, &t, why), 0);
	return t;
}

static struct tls_context *plain_server(void)
{
	const struct tls_identity id = { server.cert_path, server.key_path, NULL, 0 };

	return server_of(&(struct tls_server_config){ .identities = &id, .identity_count = 1 });
}

static struct tls_context *client_of(struct tls_client_config c)
{
	struct tls_context *t = NULL;
	char why[TLS_REASON_SIZE];

	assert_int_equal(tls_client_create(&c, &t, why), 0);
	return t;
}

/* Both go on until both are through or one fails; returns what became of the server's side. */
static enum io shake_raw(struct tls_session *s, struct raw *r, int *raw_result)
{
	enum io io = IO_AGAIN;
	int theirs = 0;

	for (int i = 0; i < 100 && (io == IO_AGAIN || theirs == 0); i++) {
		if (theirs == 0)
			theirs = raw_step(r);
		if (io == IO_AGAIN)
			io = tls_handshake(s);
		if (io != IO_AGAIN && theirs == 0 && i > 50)
			break;
	}
	if (raw_result)
		*raw_result = theirs;
	return io;
}

/* A raw client against a server of ours; the client's context is the caller's choice. */
static enum io meet_raw(struct tls_context *t, struct raw *r, struct tls_session **out, int *raw_result)
{
	assert_int_equal(tls_session_create(t, pair[0], NULL, out), 0);
	if (!r->ssl)
		raw_open(r, pair[1]);
	return shake_raw(*out, r, raw_result);
}

/* Two ends of ours. With TLS 1.3 a server's refusal comes after the client's handshake: by a read. */
static void meet(struct tls_context *ts, struct tls_context *tc, const char *name,
		 struct tls_session **s, struct tls_session **c, enum io result[2])
{
	char byte;
	size_t n;

	assert_int_equal(tls_session_create(ts, pair[0], NULL, s), 0);
	assert_int_equal(tls_session_create(tc, pair[1], name, c), 0);
	result[0] = result[1] = IO_AGAIN;
	for (int i = 0; i < 50; i++) {
		if (result[1] == IO_AGAIN)
			result[1] = tls_handshake(*c);
		if (result[0] == IO_AGAIN)
			result[0] = tls_handshake(*s);
	}
	if (result[1] == IO_DONE && tls_read(*c, &byte, 1, &n) == IO_ERROR)
		result[1] = IO_ERROR;
}

static void part(struct tls_session *s, struct tls_session *c)
{
	tls_session_destroy(s, TLS_GOODBYE);
	tls_session_destroy(c, TLS_GOODBYE);
}

/* ---- versions, ALPN, names ---- */

static void test_versions(void **state)
{
	static const struct {
		enum tls_minimum minimum;
		int offered; /* the newest that the client has */
		bool works;
	} cases[] = {
		{ TLS_1_2, TLS1_3_VERSION, true },  { TLS_1_2, TLS1_2_VERSION, true },
		{ TLS_1_2, TLS1_1_VERSION, false }, { TLS_1_3, TLS1_3_VERSION, true },
		{ TLS_1_3, TLS1_2_VERSION, false },
	};
	const struct tls_identity id = { server.cert_path, server.key_path, NULL, 0 };

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct raw r = { .ctx = SSL_CTX_new(TLS_client_method()) };
		struct tls_session *s;
		struct tls_context *t = server_of(&(struct tls_server_config){
			.identities = &id, .identity_count = 1, .minimum = cases[i].minimum });
		SSL_CTX_set_security_level(r.ctx, 0);
		SSL_CTX_set_min_proto_version(r.ctx, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(r.ctx, cases[i].offered);
		pair_open();
		const enum io io = meet_raw(t, &r, &s, NULL);
		assert_int_equal(io, cases[i].works ? IO_DONE : IO_ERROR);
		if (cases[i].works)
			assert_int_equal(SSL_version(r.ssl), cases[i].offered);
		tls_session_destroy(s, TLS_GOODBYE);
		raw_close(&r);
		tls_context_put(t);
		pair_close();
	}
}

/* Nothing without forward secrecy and AEAD, whatever a client asks for. */
static void test_weak_suites_are_refused(void **state)
{
	static const char *const suites[] = { "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA256",
					      "AES128-GCM-SHA256", "aNULL", "ECDHE-ECDSA-NULL-SHA" };
	struct tls_context *t = plain_server();

	for (size_t i = 0; i < UNIT_COUNT(suites); i++) {
		struct raw r = { .ctx = SSL_CTX_new(TLS_client_method()) };
		struct tls_session *s;
		SSL_CTX_set_security_level(r.ctx, 0);
		SSL_CTX_set_max_proto_version(r.ctx, TLS1_2_VERSION);
		assert_int_equal(SSL_CTX_set_cipher_list(r.ctx, suites[i]), 1);
		pair_open();
		assert_int_equal(meet_raw(t, &r, &s, NULL), IO_ERROR);
		tls_session_destroy(s, TLS_GOODBYE);
		raw_close(&r);
		pair_close();
	}
	tls_context_put(t);
}

static void test_alpn(void **state)
{
	static const struct {
		const char *offer;
		const char *chosen; /* NULL: refused */
	} cases[] = {
		{ "\x08http/1.1", "http/1.1" },
		{ "\x02h2\x08http/1.1", "http/1.1" },
		{ "\x08http/1.0\x08http/1.1", "http/1.1" },
		{ "\x08http/1.0", "http/1.0" },
		{ "", "" },
		{ "\x02h2", NULL },
		{ "\x08HTTP/1.1", NULL },
	};
	struct tls_context *t = plain_server();

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct raw r = { 0 };
		struct tls_session *s;
		const unsigned char *chosen;
		unsigned len;
		int theirs;
		pair_open();
		raw_open(&r, pair[1]);
		if (cases[i].offer[0])
			assert_int_equal(SSL_set_alpn_protos(r.ssl, (const void *)cases[i].offer,
							     (unsigned)strlen(cases[i].offer)), 0);
		const enum io io = meet_raw(t, &r, &s, &theirs);
		if (cases[i].chosen) {
			assert_int_equal(io, IO_DONE);
			SSL_get0_alpn_selected(r.ssl, &chosen, &len);
			assert_str((struct bb_str){ (const char *)chosen, len }, cases[i].chosen);
		} else {
			assert_int_equal(io, IO_ERROR);
			assert_int_equal(theirs, -1);
			assert_int_equal(ERR_GET_REASON(ERR_peek_error()),
					 SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
		}
		tls_session_destroy(s, TLS_GOODBYE);
		raw_close(&r);
		pair_close();
	}
	tls_context_put(t);
}

static void test_sni(void **state)
{
	static const struct {
		const char *asked; /* NULL: no SNI */
		const struct cert *given;
	} cases[] = {
		{ NULL, &server },	       { "unknown.test", &server },
		{ "a.wild.test", &wild },      { "A.WILD.Test", &wild },
		{ "api.wild.test", &exact },   { "API.wild.test", &exact },
		{ "a.b.wild.test", &server },  { "wild.test", &server },
		{ ".wild.test", &server },
	};
	const struct bb_str wild_names[] = { BB_STR_INIT("*.wild.test") };
	const struct bb_str exact_names[] = { BB_STR_INIT("other.test"), BB_STR_INIT("Api.wild.test") };
	const struct tls_identity ids[] = {
		{ server.cert_path, server.key_path, NULL, 0 },
		{ wild.cert_path, wild.key_path, wild_names, 1 },
		{ exact.cert_path, exact.key_path, exact_names, 2 },
	};
	struct tls_context *t = server_of(
		&(struct tls_server_config){ .identities = ids, .identity_count = 3 });

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct raw r = { 0 };
		struct tls_session *s;
		pair_open();
		raw_open(&r, pair[1]);
		if (cases[i].asked)
			assert_int_equal(SSL_set_tlsext_host_name(r.ssl, cases[i].asked), 1);
		assert_int_equal(meet_raw(t, &r, &s, NULL), IO_DONE);
		X509 *got = SSL_get0_peer_certificate(r.ssl);
		if (X509_cmp(got, cases[i].given->x509) != 0)
			fail_msg("'%s' got another certificate", cases[i].asked ? cases[i].asked : "");
		tls_session_destroy(s, TLS_GOODBYE);
		raw_close(&r);
		pair_close();
	}
	tls_context_put(t);
}

/* ---- who is at the other end ---- */

static void test_client_certificates(void **state)
{
	static const struct {
		const struct cert *shown;
		bool works;
	} cases[] = { { NULL, false }, { &foreign, false }, { &expired, false }, { &client, true } };
	const struct tls_identity id = { server.cert_path, server.key_path, NULL, 0 };
	struct tls_context *ts = server_of(&(struct tls_server_config){
		.identities = &id, .identity_count = 1, .client_ca_path = ca.cert_path });

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct tls_session *s, *c;
		enum io result[2];
		const struct cert *shown = cases[i].shown;
		struct tls_context *tc = client_of((struct tls_client_config){
			.ca_path = ca.cert_path,
			.cert_path = shown ? shown->cert_path : NULL,
			.key_path = shown ? shown->key_path : NULL });
		pair_open();
		meet(ts, tc, "localhost", &s, &c, result);
		assert_int_equal(result[0], cases[i].works ? IO_DONE : IO_ERROR);
		assert_int_equal(result[1], cases[i].works ? IO_DONE : IO_ERROR);
		if (!shown)
			assert_non_null(strstr(tls_reason(c), "certificate required"));
		part(s, c);
		tls_context_put(tc);
		pair_close();
	}
	tls_context_put(ts);
}

static void test_server_is_verified(void **state)
{
	static const struct {
		const struct cert *shown;
		const struct cert *trusted;
		const char *name;
		const char *why; /* NULL: it works */
	} cases[] = {
		{ &server, &ca, "localhost", NULL },
		{ &server, &ca, "LOCALHOST", NULL },
		{ &server, &ca, "127.0.0.1", NULL },
		{ &server, &ca, "::1", NULL },
		{ &wild, &ca, "x.wild.test", NULL },
		{ &server, &ca, "127.0.0.2", "IP address mismatch" },
		{ &server, &ca, "example.org", "hostname mismatch" },
		{ &wild, &ca, "x.y.wild.test", "hostname mismatch" },
		{ &server, &other_ca, "localhost", "unable to get local issuer certificate" },
		{ &expired, &ca, "localhost", "certificate has expired" },
		{ &other_ca, &ca, "localhost", "self-signed certificate" },
		/* Not verified: anything goes. */
		{ &expired, NULL, "example.org", NULL },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct tls_session *s, *c;
		enum io result[2];
		const struct tls_identity id = { cases[i].shown->cert_path, cases[i].shown->key_path,
						 NULL, 0 };
		struct tls_context *ts = server_of(
			&(struct tls_server_config){ .identities = &id, .identity_count = 1 });
		struct tls_context *tc = client_of((struct tls_client_config){
			.ca_path = cases[i].trusted ? cases[i].trusted->cert_path : NULL,
			.skip_verify = !cases[i].trusted });
		pair_open();
		meet(ts, tc, cases[i].name, &s, &c, result);
		assert_int_equal(result[1], cases[i].why ? IO_ERROR : IO_DONE);
		if (cases[i].why && !strstr(tls_reason(c), cases[i].why))
			fail_msg("case %zu: %s", i, tls_reason(c));
		part(s, c);
		tls_context_put(ts);
		tls_context_put(tc);
		pair_close();
	}
}

/* A server behind many names cannot be reached without SNI, verified or not. */
static void test_sni_is_sent(void **state)
{
	const struct bb_str names[] = { BB_STR_INIT("a.wild.test") };
	const struct tls_identity ids[] = {
		{ server.cert_path, server.key_path, NULL, 0 },
		{ foreign.cert_path, foreign.key_path, names, 1 },
	};
	struct tls_context *ts = server_of(
		&(struct tls_server_config){ .identities = ids, .identity_count = 2 });

	for (int verified = 0; verified < 2; verified++) {
		struct tls_session *s, *c;
		enum io result[2];
		struct tls_context *tc = client_of((struct tls_client_config){
			.ca_path = ca.cert_path, .skip_verify = !verified });
		pair_open();
		meet(ts, tc, "a.wild.test", &s, &c, result);
		/* The certificate of that name is by an authority that we do not know. */
		assert_int_equal(result[1], verified ? IO_ERROR : IO_DONE);
		part(s, c);
		tls_context_put(tc);
		pair_close();
	}
	tls_context_put(ts);
}

/* ---- tickets ---- */

static SSL_SESSION *kept_session; /* the newest that a raw client was given */

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION_free(kept_session);
	kept_session = session;
	return 1;
}

static void wait_ns(uint64_t ns)
{
	const uint64_t until = clock_now_ns() + ns;

	while (clock_now_ns() < until)
		;
}

/* A connection with the session that is kept; was it resumed? Its new tickets are taken. */
static bool resumes(struct tls_context *t, SSL_CTX *ctx)
{
	struct raw r = { .ctx = ctx };
	struct tls_session *s;
	char byte;
	size_t n;

	pair_open();
	raw_open(&r, pair[1]);
	if (kept_session)
		SSL_set_session(r.ssl, kept_session);
	assert_int_equal(meet_raw(t, &r, &s, NULL), IO_DONE);
	const bool yes = SSL_session_reused(r.ssl);
	assert_int_equal(SSL_read_ex(r.ssl, &byte, 1, &n), 0); /* takes the tickets of TLS 1.3 */
	if (SSL_version(r.ssl) == TLS1_2_VERSION) /* no callback for one that renews another */
		on_new_session(r.ssl, SSL_get1_session(r.ssl));
	tls_session_destroy(s, TLS_GOODBYE);
	SSL_shutdown(r.ssl);
	SSL_free(r.ssl);
	pair_close();
	return yes;
}

static void check_tickets(int version)
{
	const uint64_t life_ns = 20 * OS_MS;
	const struct tls_identity id = { server.cert_path, server.key_path, NULL, 0 };
	struct tls_context *t = server_of(&(struct tls_server_config){
		.identities = &id, .identity_count = 1, .ticket_life_ns = life_ns });
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_new_session);
	assert_false(resumes(t, ctx));
	assert_non_null(kept_session);
	assert_true(resumes(t, ctx));
	/* An old key is still understood, and its ticket replaced. */
	wait_ns(life_ns + OS_MS);
	SSL_SESSION *before = kept_session;
	SSL_SESSION_up_ref(before);
	assert_true(resumes(t, ctx));
	assert_true(kept_session != before);
	SSL_SESSION_free(before);
	/* Two more keys: what the first one made is too old. */
	SSL_SESSION *old = kept_session;
	SSL_SESSION_up_ref(old);
	for (int i = 0; i < 3; i++) {
		wait_ns(life_ns + OS_MS);
		assert_true(resumes(t, ctx)); /* each with the ticket of the one before */
	}
	SSL_SESSION_free(kept_session);
	kept_session = old;
	assert_false(resumes(t, ctx));
	/* And without anyone who makes it rotate, age alone ends a key. */
	wait_ns(3 * life_ns + OS_MS);
	assert_false(resumes(t, ctx));
	/* Another context has other keys: a reload ends all tickets. */
	struct tls_context *reloaded = plain_server();
	assert_false(resumes(reloaded, ctx));
	tls_context_put(reloaded);
	SSL_SESSION_free(kept_session);
	kept_session = NULL;
	SSL_CTX_free(ctx);
	tls_context_put(t);
}

static void test_tickets(void **state)
{
	check_tickets(TLS1_3_VERSION);
	check_tickets(TLS1_2_VERSION);
}

/* ---- bytes ---- */

static uint32_t seed = 12345;

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

/* Writes all of `data` in pieces of changing size and number, and reads it with changing room. */
static void carry(struct tls_session *from, struct tls_session *to, const char *data, size_t len)
{
	char *heard = malloc(len);
	size_t put = 0, got = 0, n;
	size_t offered = 0; /* after a short write at least as much must be offered again */

	assert_non_null(heard);
	while (got < len) {
		if (put < len) {
			struct iovec parts[4];
			const int count = 1 + (int)draw(4);
			size_t at = put, most = draw(4) ? 3000 : 90000;
			for (int i = 0; i < count; i++) {
				size_t k = draw((uint32_t)most);
				if (i + 1 == count && at + k - put < offered)
					k = offered - (at - put);
				if (k > len - at)
					k = len - at;
				parts[i] = (struct iovec){ (void *)(data + at), k };
				at += k;
			}
			const enum io io = count == 1 ? tls_write(from, data + put, at - put, &n)
						      : tls_writev(from, parts, count, &n);
			if (io != IO_DONE && io != IO_AGAIN)
				fail_msg("%d: %s", io, tls_reason(from));
			n = io == IO_DONE ? n : 0;
			offered = at - put - n;
			put += n;
		}
		while (got < len && draw(8)) {
			const enum io io = tls_read(to, heard + got, 1 + draw(30000) % (len - got), &n);
			if (io == IO_AGAIN)
				break;
			assert_int_equal(io, IO_DONE);
			got += n;
		}
	}
	assert_memory_equal(heard, data, len);
	free(heard);
}

static void test_bytes(void **state)
{
	const size_t len = 3 << 20;
	const int small = 4096;
	struct tls_context *ts = plain_server();
	struct tls_context *tc = client_of((struct tls_client_config){ .ca_path = ca.cert_path });
	struct tls_session *s, *c;
	enum io result[2];
	char *data = malloc(len);

	assert_non_null(data);
	for (size_t i = 0; i < len; i++)
		data[i] = (char)draw(256);
	pair_open();
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	meet(ts, tc, "localhost", &s, &c, result);
	assert_int_equal(result[0], IO_DONE);
	assert_int_equal(result[1], IO_DONE);
	carry(s, c, data, len);
	carry(c, s, data, len);
	for (size_t n = 1; n < 100; n++)
		carry(s, c, data, n);
	part(s, c);
	pair_close();
	tls_context_put(ts);
	tls_context_put(tc);
	free(data);
}

/* Small parts of one write are one record: a chunk's frame does not travel alone. */
static void test_parts_are_one_record(void **state)
{
	struct tls_context *ts = plain_server();
	struct tls_context *tc = client_of((struct tls_client_config){ .ca_path = ca.cert_path });
	struct tls_session *s, *c;
	enum io result[2];
	char heard[20000];
	static char big[20000];
	size_t n;

	pair_open();
	meet(ts, tc, "localhost", &s, &c, result);
	const struct iovec small[3] = { { (void *)"5\r\n", 3 }, { (void *)"hello", 5 },
					{ (void *)"\r\n", 2 } };
	assert_int_equal(tls_writev(s, small, 3, &n), IO_DONE);
	assert_int_equal(n, 10);
	assert_int_equal(tls_read(c, heard, sizeof(heard), &n), IO_DONE);
	assert_int_equal(n, 10);
	assert_memory_equal(heard, "5\r\nhello\r\n", 10);
	/* The kernel gave less than there was room for, and the record was all of it. */
	assert_false(tls_has_more(c));
	assert_int_equal(tls_read(c, heard, sizeof(heard), &n), IO_AGAIN);
	/* A head before a long body fills the first record. */
	const struct iovec long_body[2] = { { (void *)"head", 4 }, { big, sizeof(big) } };
	assert_int_equal(tls_writev(s, long_body, 2, &n), IO_DONE);
	assert_int_equal(n, 4 + sizeof(big));
	assert_int_equal(tls_read(c, heard, sizeof(heard), &n), IO_DONE);
	assert_int_equal(n, 16384);
	assert_true(tls_has_more(c));
	assert_int_equal(tls_read(c, heard, sizeof(heard), &n), IO_DONE);
	assert_int_equal(n, 4 + sizeof(big) - 16384);
	/* Two records that came together: the second one is not forgotten. */
	assert_int_equal(tls_write(s, "one", 3, &n), IO_DONE);
	assert_int_equal(tls_write(s, "two", 3, &n), IO_DONE);
	assert_int_equal(tls_read(c, heard, sizeof(heard), &n), IO_DONE);
	assert_int_equal(n, 3);
	assert_true(tls_has_more(c));
	assert_int_equal(tls_read(c, heard, sizeof(heard), &n), IO_DONE);
	assert_memory_equal(heard, "two", 3);
	part(s, c);
	pair_close();
	tls_context_put(ts);
	tls_context_put(tc);
}

static void test_goodbye_and_cut(void **state)
{
	static const enum tls_end ends[] = { TLS_GOODBYE, TLS_CUT };
	struct tls_context *ts = plain_server();
	struct tls_context *tc = client_of((struct tls_client_config){ .ca_path = ca.cert_path });

	for (size_t i = 0; i < UNIT_COUNT(ends); i++) {
		struct tls_session *s, *c;
		enum io result[2];
		char byte;
		size_t n;
		pair_open();
		meet(ts, tc, "localhost", &s, &c, result);
		tls_session_destroy(s, ends[i]);
		close(pair[0]);
		/* Towards engines a cut is an error: it could end an answer early. */
		assert_int_equal(tls_read(c, &byte, 1, &n), ends[i] == TLS_CUT ? IO_ERROR : IO_EOF);
		tls_session_destroy(c, TLS_CUT);
		close(pair[1]);
	}
	tls_context_put(ts);
	tls_context_put(tc);
}

static void test_key_update(void **state)
{
	struct tls_context *t = plain_server();
	struct raw r = { 0 };
	struct tls_session *s;
	char heard[16];
	size_t n;

	pair_open();
	assert_int_equal(meet_raw(t, &r, &s, NULL), IO_DONE);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(SSL_key_update(r.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(r.ssl, "ping", 4), 4);
		assert_int_equal(tls_read(s, heard, sizeof(heard), &n), IO_DONE);
		assert_memory_equal(heard, "ping", 4);
		assert_int_equal(tls_write(s, "pong", 4, &n), IO_DONE);
		assert_int_equal(SSL_read(r.ssl, heard, sizeof(heard)), 4);
	}
	tls_session_destroy(s, TLS_GOODBYE);
	raw_close(&r);
	pair_close();
	tls_context_put(t);
}

/* TLS 1.2: a client that asks for another handshake does not get one. */
static void test_renegotiation(void **state)
{
	struct tls_context *t = plain_server();
	struct raw r = { .ctx = SSL_CTX_new(TLS_client_method()) };
	struct tls_session *s;
	char heard[16];
	size_t n;

	SSL_CTX_set_max_proto_version(r.ctx, TLS1_2_VERSION);
	pair_open();
	assert_int_equal(meet_raw(t, &r, &s, NULL), IO_DONE);
	assert_int_equal(SSL_renegotiate(r.ssl), 1);
	int theirs = raw_step(&r);
	assert_int_equal(tls_read(s, heard, sizeof(heard), &n), IO_AGAIN);
	for (int i = 0; i < 10 && theirs == 0; i++)
		theirs = raw_step(&r);
	assert_int_equal(theirs, -1);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
	tls_session_destroy(s, TLS_GOODBYE);
	raw_close(&r);
	pair_close();
	tls_context_put(t);
}

static void test_what_is_not_tls(void **state)
{
	static const struct {
		const char *sent;
		bool is_http;
	} cases[] = {
		{ "GET / HTTP/1.1\r\nHost: h\r\n\r\n", true },
		{ "POST / HTTP/1.1\r\nHost: h\r\n\r\n", true },
		{ "SSH-2.0-OpenSSH_9.2\r\n", false },
		{ "\x16\x03\x01\x02\x00garbage that is no hello at all.......................", false },
		{ "\x80\x2e\x01\x03\x01", false },
	};
	struct tls_context *t = plain_server();

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct tls_session *s;
		pair_open();
		assert_int_equal(tls_session_create(t, pair[0], NULL, &s), 0);
		assert_int_equal(tls_handshake(s), IO_AGAIN);
		assert_true(write(pair[1], cases[i].sent, strlen(cases[i].sent)) > 0);
		enum io io = tls_handshake(s);
		if (io == IO_AGAIN) { /* it waits for the rest of what seems to be a record */
			assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
			io = tls_handshake(s);
			assert_int_equal(io, IO_EOF);
		} else {
			assert_int_equal(io, IO_ERROR);
		}
		assert_int_equal(tls_is_plain_http(s), cases[i].is_http);
		tls_session_destroy(s, TLS_GOODBYE);
		pair_close();
	}
	tls_context_put(t);
}

/* ---- files ---- */

static void check_refused(const char *cert, const char *key, const char *client_ca, const char *file,
			  const char *reason)
{
	const struct tls_identity id = { cert, key, NULL, 0 };
	const struct tls_server_config c = { .identities = &id, .identity_count = 1,
					     .client_ca_path = client_ca };
	struct tls_context *t = NULL;
	char why[TLS_REASON_SIZE] = "";

	assert_int_equal(tls_server_create(&c, &t, why), -BB_EINVALID);
	assert_null(t);
	if (!strstr(why, file) || !strstr(why, reason))
		fail_msg("\"%s\" does not tell of %s: %s", why, file, reason);
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_files_that_cannot_be_used(void **state)
{
	struct cert secret;
	char why[TLS_REASON_SIZE];
	struct tls_context *t = NULL;

	cert_make(&secret, &(struct cert_wish){ .name = "secret", .alt_names = "DNS:localhost",
						.issuer = &ca, .passphrase = "sesame" });
	check_refused("/nowhere/c.pem", server.key_path, NULL, "/nowhere/c.pem",
		      "No such file or directory");
	check_refused(server.cert_path, "/nowhere/k.pem", NULL, "/nowhere/k.pem",
		      "No such file or directory");
	check_refused(server.key_path, server.key_path, NULL, server.key_path, "no start line");
	check_refused(server.cert_path, server.cert_path, NULL, server.cert_path, "cannot be used");
	check_refused(server.cert_path, wild.key_path, NULL, wild.key_path, "is not that of");
	check_refused(secret.cert_path, secret.key_path, NULL, secret.key_path, "encrypted");
	check_refused(server.cert_path, server.key_path, "/nowhere/ca.pem", "/nowhere/ca.pem",
		      "No such file or directory");
	check_refused(server.cert_path, server.key_path, server.key_path, server.key_path,
		      "client CA");
	assert_int_equal(tls_client_create(&(struct tls_client_config){ .ca_path = server.key_path },
					   &t, why), -BB_EINVALID);
	assert_non_null(strstr(why, server.key_path));
	assert_int_equal(tls_client_create(&(struct tls_client_config){ .ca_path = ca.cert_path,
						.cert_path = client.cert_path,
						.key_path = foreign.key_path }, &t, why), -BB_EINVALID);
	assert_non_null(strstr(why, foreign.key_path));
	cert_drop(&secret);
}

/* ---- exhaustion ---- */

/* OpenSSL's own allocations, so that they can be made to fail as ours are. */
static void *ssl_alloc(size_t size, const char *file, int line)
{
	return size ? bb_alloc(size) : NULL;
}

static void *ssl_realloc(void *old, size_t size, const char *file, int line)
{
	if (!size) {
		bb_free(old);
		return NULL;
	}
	return bb_realloc(old, size);
}

static void ssl_free(void *old, const char *file, int line)
{
	bb_free(old);
}

/* A whole conversation; 0, or what stopped it: -BB_ENOMEM from us, -1 from OpenSSL. */
static int converse(const struct tls_server_config *config)
{
	struct tls_context *ts = NULL, *tc = NULL;
	struct tls_session *s = NULL, *c = NULL;
	enum io ours = IO_AGAIN, theirs = IO_AGAIN;
	char why[TLS_REASON_SIZE], heard[8];
	size_t n;

	int rc = tls_server_create(config, &ts, why);
	if (!rc)
		rc = tls_client_create(&(struct tls_client_config){ .ca_path = ca.cert_path }, &tc, why);
	if (!rc)
		rc = tls_session_create(ts, pair[0], NULL, &s);
	if (!rc)
		rc = tls_session_create(tc, pair[1], "localhost", &c);
	for (int i = 0; i < 20 && !rc; i++) {
		if (theirs == IO_AGAIN)
			theirs = tls_handshake(c);
		if (ours == IO_AGAIN)
			ours = tls_handshake(s);
		rc = theirs == IO_ERROR || ours == IO_ERROR || ours == IO_EOF || theirs == IO_EOF ? -1 : 0;
	}
	if (!rc && (tls_write(c, "ping", 4, &n) != IO_DONE ||
		    tls_read(s, heard, sizeof(heard), &n) != IO_DONE ||
		    tls_write(s, "pong", 4, &n) != IO_DONE ||
		    tls_read(c, heard, sizeof(heard), &n) != IO_DONE || memcmp(heard, "pong", 4) != 0))
		rc = -1;
	part(s, c);
	tls_context_put(ts);
	tls_context_put(tc);
	return rc;
}

/*
 * An allocation fails, OpenSSL's too: an error, no crash, no leak, and the next one works. Each 17th
 * is tried, all 17,000 with BUSBAR_TORTURE in the environment (a minute).
 */
static void test_no_memory(void **state)
{
	const struct bb_str names[] = { BB_STR_INIT("a.test"), BB_STR_INIT("*.b.test") };
	const struct tls_identity ids[] = {
		{ server.cert_path, server.key_path, NULL, 0 },
		{ wild.cert_path, wild.key_path, names, 2 },
	};
	const struct tls_server_config config = { .identities = ids, .identity_count = 2 };
	const uint64_t step = getenv("BUSBAR_TORTURE") ? 1 : 17;
	uint64_t nth = 1, tried = 0, survived = 0;

	for (;; nth += step, tried++) {
		pair_open();
		const uint64_t before = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = converse(&config);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		pair_close();
		const bool failed = bb_alloc_failed_count() > before;
		survived += failed && !rc;
		if (!failed) {
			assert_int_equal(rc, 0);
			break;
		}
		if (tried % 50 == 0) {
			pair_open();
			assert_int_equal(converse(&config), 0);
			pair_close();
		}
	}
	print_message("of %llu allocations %llu failed in turn, %llu were done without\n",
		      (unsigned long long)nth - 1, (unsigned long long)tried,
		      (unsigned long long)survived);
	assert_true(tried > 100 && survived < tried);
}

/* ---- the server ---- */

static struct site site;

static void serve(const struct httpd_limits *l)
{
	struct tls_context *t = plain_server();

	site_open(&site, l);
	httpd_set_tls(site.httpd, t);
	tls_context_put(t);
}

static void visit(struct raw *r)
{
	r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(r->fd >= 0);
	assert_int_equal(connect(r->fd, (const struct sockaddr *)&site.addr.storage, site.addr.len), 0);
	assert_int_equal(fcntl(r->fd, F_SETFL, O_NONBLOCK), 0);
	raw_open(r, r->fd);
	PEER_UNTIL(site.loop, raw_step(r) == 1);
}

static void leave(struct raw *r)
{
	const int fd = r->fd;

	raw_close(r);
	close(fd);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	site_close(&site);
}

/* Reads what is there behind `len`. */
static size_t hear(struct raw *r, char *text, size_t len, size_t size)
{
	size_t n;

	while (len < size - 1 && SSL_read_ex(r->ssl, text + len, size - 1 - len, &n) == 1)
		len += n;
	ERR_clear_error();
	text[len] = '\0';
	return len;
}

static void test_requests_over_tls(void **state)
{
	static const char pipelined[] =
		"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
		"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
		"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n";
	struct raw r = { 0 };
	char text[4096];
	size_t len = 0;

	serve(NULL);
	visit(&r);
	assert_int_equal(SSL_write(r.ssl, pipelined, sizeof(pipelined) - 1), sizeof(pipelined) - 1);
	PEER_UNTIL(site.loop, (len = hear(&r, text, len, sizeof(text)), strstr(text, "<POST /3>")));
	/* A byte a record, and records cut into packets by the way. */
	for (size_t i = 0; i < sizeof(pipelined) - 1; i++) {
		assert_int_equal(SSL_write(r.ssl, pipelined + i, 1), 1);
		if (i % 7 == 0)
			peers_turn(site.loop);
	}
	len = 0;
	PEER_UNTIL(site.loop, (len = hear(&r, text, len, sizeof(text)), strstr(text, "<POST /3>")));
	assert_string_equal(site.seen,
			    "GET /1 host=h []\nPOST /2 host=h [abc]\nPOST /3 host=h [xyz]\n"
			    "GET /1 host=h []\nPOST /2 host=h [abc]\nPOST /3 host=h [xyz]\n");
	/* Idle again, it holds no buffer. */
	PEER_UNTIL(site.loop, site.httpd->buffers.live_bytes == 0);
	leave(&r);
}

/* An answer that is broken off ends without close_notify; one that is whole ends with it. */
static void test_an_abort_is_seen(void **state)
{
	struct raw r = { 0 };
	char text[4096];
	size_t len = 0;

	serve(NULL);
	site.way = SITE_LATER;
	visit(&r);
	assert_true(SSL_write(r.ssl, "GET /1 HTTP/1.0\r\n\r\n", 19) == 19);
	PEER_UNTIL(site.loop, site.x);
	exchange_begin(site.x, 200, BB_STR(""), BB_STR(""), EXCHANGE_CHUNKED);
	assert_int_equal(exchange_write(site.x, BB_STR("half of it")), IO_DONE);
	PEER_UNTIL(site.loop, (len = hear(&r, text, len, sizeof(text)), strstr(text, "half of it")));
	exchange_abort(site.x);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	assert_int_equal(SSL_read_ex(r.ssl, text, sizeof(text), &len), 0);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_UNEXPECTED_EOF_WHILE_READING);
	leave(&r);

	serve(NULL);
	visit(&r);
	assert_true(SSL_write(r.ssl, "GET /1 HTTP/1.0\r\n\r\n", 19) == 19);
	len = 0;
	PEER_UNTIL(site.loop, (len = hear(&r, text, len, sizeof(text)), strstr(text, "<GET /1>")));
	PEER_UNTIL(site.loop, SSL_get_shutdown(r.ssl) & SSL_RECEIVED_SHUTDOWN ||
				      SSL_read_ex(r.ssl, text, sizeof(text), &len) == 1);
	leave(&r);
}

static void test_plain_http_is_told(void **state)
{
	struct peer p;

	serve(NULL);
	peer_connect(&p, &site.addr, 0);
	peer_say(&p, "GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n");
	PEER_UNTIL(site.loop, p.has_ended);
	assert_true(peer_has(&p, "HTTP/1.1 400 Bad Request\r\n"));
	assert_true(peer_has(&p, "Connection: close\r\n"));
	assert_true(peer_has(&p, "https://"));
	assert_int_equal(site.requests, 0);
	peer_close(&p);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	site_close(&site);
}

static void test_half_a_handshake_ends(void **state)
{
	struct httpd_limits l;
	struct peer p[3];

	httpd_limits_default(&l);
	l.head_timeout_ns = 50 * OS_MS;
	serve(&l);
	for (int i = 0; i < 3; i++)
		peer_connect(&p[i], &site.addr, 0);
	peer_send(&p[1], "\x16\x03\x01", 3);
	peer_send(&p[2], "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 3);
	PEER_UNTIL(site.loop, httpd_connection_count(site.httpd) == 0);
	for (int i = 0; i < 3; i++) {
		PEER_UNTIL(site.loop, p[i].has_ended || p[i].is_reset);
		peer_close(&p[i]);
	}
	site_close(&site);
}

/* A client that stops reading: the producer waits, and the write time-out ends it. */
static void test_a_client_that_stops_reading(void **state)
{
	static char piece[16384];
	struct httpd_limits l;
	struct raw r = { 0 };
	int writes = 0;

	httpd_limits_default(&l);
	l.write_timeout_ns = 100 * OS_MS;
	serve(&l);
	site.way = SITE_LATER;
	visit(&r);
	assert_true(SSL_write(r.ssl, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n", 28) == 28);
	PEER_UNTIL(site.loop, site.x);
	exchange_begin(site.x, 200, BB_STR(""), BB_STR(""), EXCHANGE_CHUNKED);
	while (exchange_write(site.x, (struct bb_str){ piece, sizeof(piece) }) == IO_DONE)
		assert_true(++writes < 10000);
	assert_true(writes > 0);
	assert_true(site.httpd->buffers.live_bytes <= 64 << 10);
	PEER_UNTIL(site.loop, site.gone == 1);
	leave(&r);
}

/* ---- */

static int set_up(void **state)
{
	certs_begin();
	cert_make(&ca, &(struct cert_wish){ .name = "ca" });
	cert_make(&other_ca, &(struct cert_wish){ .name = "other-ca" });
	cert_make(&server, &(struct cert_wish){ .name = "server", .issuer = &ca,
						.alt_names = "DNS:localhost,IP:127.0.0.1,IP:::1" });
	cert_make(&wild, &(struct cert_wish){ .name = "wild", .issuer = &ca,
					      .alt_names = "DNS:*.wild.test" });
	cert_make(&exact, &(struct cert_wish){ .name = "exact", .issuer = &ca,
					       .alt_names = "DNS:api.wild.test,DNS:other.test" });
	cert_make(&expired, &(struct cert_wish){ .name = "expired", .issuer = &ca,
						 .alt_names = "DNS:localhost", .days_from = -30,
						 .days_to = -1 });
	cert_make(&client, &(struct cert_wish){ .name = "client", .issuer = &ca,
						.alt_names = "DNS:client" });
	cert_make(&foreign, &(struct cert_wish){ .name = "foreign", .issuer = &other_ca,
						 .alt_names = "DNS:a.wild.test" });
	return 0;
}

static int tear_down(void **state)
{
	struct cert *all[] = { &ca, &other_ca, &server, &wild, &exact, &expired, &client, &foreign };

	for (size_t i = 0; i < UNIT_COUNT(all); i++)
		cert_drop(all[i]);
	certs_end();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_weak_suites_are_refused),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_sni),
		cmocka_unit_test(test_client_certificates),
		cmocka_unit_test(test_server_is_verified),
		cmocka_unit_test(test_sni_is_sent),
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_parts_are_one_record),
		cmocka_unit_test(test_goodbye_and_cut),
		cmocka_unit_test(test_key_update),
		cmocka_unit_test(test_renegotiation),
		cmocka_unit_test(test_what_is_not_tls),
		cmocka_unit_test(test_files_that_cannot_be_used),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_requests_over_tls),
		cmocka_unit_test(test_an_abort_is_seen),
		cmocka_unit_test(test_plain_http_is_told),
		cmocka_unit_test(test_half_a_handshake_ends),
		cmocka_unit_test(test_a_client_that_stops_reading),
	};

	/* Before OpenSSL allocates for the first time. */
	if (CRYPTO_set_mem_functions(ssl_alloc, ssl_realloc, ssl_free) != 1)
		return 1;
	signal(SIGPIPE, SIG_IGN); /* of the raw ends */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
