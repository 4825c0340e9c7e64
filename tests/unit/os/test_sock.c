/* Goal: addresses are read strictly and written back; sockets connect, carry, end and refuse as net expects. */
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/sock.h"

static const char *why;

static void addresses_and_their_texts(void **state)
{
	static const struct {
		const char *text, *back;
		bool loopback;
	} cases[] = {
		{ "127.0.0.1:8080", "127.0.0.1:8080", true },
		{ "localhost:1", "127.0.0.1:1", true },
		{ "127.9.9.9:65535", "127.9.9.9:65535", true },
		{ "0.0.0.0:0", "0.0.0.0:0", false },
		{ "[::1]:8080", "[::1]:8080", true },
		{ "[fe80::1]:80", "[fe80::1]:80", false },
		{ ":8080", "[::]:8080", false },
		{ "unix:/run/busbar.sock", "unix:/run/busbar.sock", true },
	};

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct sock_addr a;
		char text[SOCK_TEXT_SIZE];
		assert_int_equal(sock_addr_parse(bb_str_of(cases[i].text), &a, &why), 0);
		sock_addr_text(&a, text);
		assert_string_equal(text, cases[i].back);
		assert_int_equal(sock_addr_is_loopback(&a), cases[i].loopback);
		struct sock_addr b;
		assert_int_equal(sock_addr_parse(bb_str_of(cases[i].back), &b, &why), 0);
		assert_true(sock_addr_eq(&a, &b));
	}
}

static void malformed_addresses_are_refused(void **state)
{
	static const struct bb_str bad[] = {
		BB_STR_INIT(""), BB_STR_INIT("8080"), BB_STR_INIT("127.0.0.1"),
		BB_STR_INIT("127.0.0.1:"), BB_STR_INIT("127.0.0.1:65536"), BB_STR_INIT("127.0.0.1:-1"),
		BB_STR_INIT("127.0.0.1:80x"), BB_STR_INIT("::1:8080"), BB_STR_INIT("[::1]8080"),
		BB_STR_INIT("[::1:80"), BB_STR_INIT("[]:80"), BB_STR_INIT("example.org:80"),
		BB_STR_INIT("256.0.0.1:80"), BB_STR_INIT("unix:"), BB_STR_INIT("127.0.0.1\0x:80"),
		BB_STR_INIT("unix:/a\0b"),
	};

	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		struct sock_addr a;
		why = NULL;
		if (sock_addr_parse(bad[i], &a, &why) != -BB_EINVALID)
			fail_msg("accepted: %.*s", BB_ARG(bad[i]));
		assert_non_null(why);
	}
	char path[200] = "unix:";
	memset(path + 5, 'p', 108);
	struct sock_addr a;
	assert_int_equal(sock_addr_parse((struct bb_str){ path, 5 + 108 }, &a, &why), -BB_EINVALID);
	assert_int_equal(sock_addr_parse((struct bb_str){ path, 5 + 107 }, &a, &why), 0);
}

static void urls_in_parts(void **state)
{
	struct sock_url u;

	assert_int_equal(sock_url_parse(BB_STR("http://par1:8000"), &u, &why), 0);
	assert_str(u.host, "par1");
	assert_int_equal(u.port, 8000);
	assert_str(u.base, "");
	assert_false(u.tls);
	assert_int_equal(sock_url_parse(BB_STR("https://h/v1//"), &u, &why), 0);
	assert_int_equal(u.port, 443);
	assert_true(u.tls);
	assert_str(u.base, "/v1");
	assert_int_equal(sock_url_parse(BB_STR("http://[::1]:81/a"), &u, &why), 0);
	assert_str(u.host, "::1");
	assert_int_equal(u.port, 81);
	assert_int_equal(sock_url_parse(BB_STR("http://[::1]"), &u, &why), 0);
	assert_str(u.host, "::1");
	assert_int_equal(u.port, 80);
	assert_int_equal(sock_url_parse(BB_STR("unix:/run/e.sock"), &u, &why), 0);
	assert_str(u.unix_path, "/run/e.sock");
}

static void malformed_urls_are_refused(void **state)
{
	static const struct bb_str bad[] = {
		BB_STR_INIT(""), BB_STR_INIT("par1:8000"), BB_STR_INIT("ftp://a"), BB_STR_INIT("http://"),
		BB_STR_INIT("http:///v1"), BB_STR_INIT("http://:80"), BB_STR_INIT("http://a:b"),
		BB_STR_INIT("http://a:70000"), BB_STR_INIT("http://u:p@a"), BB_STR_INIT("http://a/?q"),
		BB_STR_INIT("http://a/#f"), BB_STR_INIT("http://a b"), BB_STR_INIT("http://a\r\nX: y"),
		BB_STR_INIT("http://a\0b"), BB_STR_INIT("http://[]"), BB_STR_INIT("http://[::1"),
		BB_STR_INIT("http://a:80]"), BB_STR_INIT("http://::1/"), BB_STR_INIT("unix:"),
		BB_STR_INIT("http://\xc3\xa9"),
	};

	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		struct sock_url u;
		if (sock_url_parse(bad[i], &u, &why) != -BB_EINVALID)
			fail_msg("accepted: %.*s", BB_ARG(bad[i]));
	}
}

static void resolving(void **state)
{
	struct sock_addr a, b;

	assert_int_equal(sock_resolve(BB_STR("127.0.0.1"), 80, &a, &why), 0);
	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:80"), &b, &why), 0);
	assert_true(sock_addr_eq(&a, &b));
	assert_int_equal(sock_resolve(BB_STR("localhost"), 80, &a, &why), 0);
	assert_true(sock_addr_is_loopback(&a));
	assert_int_equal(sock_resolve(BB_STR(""), 80, &a, &why), -BB_EINVALID);
	char longest[300];
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(sock_resolve((struct bb_str){ longest, 300 }, 80, &a, &why), -BB_EINVALID);
	assert_int_equal(sock_resolve(BB_STR("no-such-host.invalid"), 80, &a, &why), -BB_ESYSTEM);
}

static void peers_look_like_addresses(void **state)
{
	static const char *const texts[] = { "127.0.0.1:8080", "255.255.255.255:65535", "0.0.0.0:0",
					     "[::1]:8080", "[2001:db8::ff]:1" };

	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct sock_addr a;
		char text[SOCK_TEXT_SIZE];
		assert_int_equal(sock_addr_parse(bb_str_of(texts[i]), &a, &why), 0);
		const struct sock_peer p = sock_peer_of(&a);
		assert_int_equal(sock_peer_text(&p, text), strlen(texts[i]));
		assert_string_equal(text, texts[i]);
	}
	const struct sock_peer none = { 0 };
	char text[SOCK_TEXT_SIZE] = "x";
	assert_int_equal(sock_peer_text(&none, text), 0);
	assert_string_equal(text, "");
}

static void wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	assert_int_equal(poll(&p, 1, 10000), 1);
}

/* A connected pair of TCP sockets. */
static void connect_pair(int *client, int *server)
{
	struct sock_addr a, bound, peer;
	char one[SOCK_TEXT_SIZE], other[SOCK_TEXT_SIZE];

	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &a, &why), 0);
	const int listener = sock_listen(&a, SOCK_EXCLUSIVE, 16, &why);
	assert_true(listener >= 0);
	assert_int_equal(sock_local_addr(listener, &bound), 0);
	assert_true(sock_accept(listener, &peer) < 0);
	assert_int_equal(errno, EAGAIN);
	*client = sock_connect(&bound);
	assert_true(*client >= 0);
	wait_for(listener, POLLIN);
	*server = sock_accept(listener, &peer);
	assert_true(*server >= 0);
	wait_for(*client, POLLOUT);
	assert_int_equal(sock_connect_error(*client), 0);
	assert_int_equal(sock_local_addr(*client, &a), 0);
	sock_addr_text(&a, one);
	sock_addr_text(&peer, other);
	assert_string_equal(one, other);
	const struct sock_peer p = sock_peer_of(&peer);
	assert_int_equal(sock_peer_text(&p, one), strlen(other));
	assert_string_equal(one, other);
	sock_close(listener);
}

static void bytes_both_ways_and_the_end(void **state)
{
	int client, server;
	char room[64];
	size_t n = 0;

	connect_pair(&client, &server);
	assert_int_equal(sock_read(server, room, sizeof(room), &n), IO_AGAIN);
	assert_int_equal(sock_write(client, "ping", 4, &n), IO_DONE);
	assert_int_equal(n, 4);
	wait_for(server, POLLIN);
	assert_int_equal(sock_read(server, room, sizeof(room), &n), IO_DONE);
	assert_str((struct bb_str){ room, n }, "ping");
	const struct iovec parts[] = { { .iov_base = (char[]){ 'p', 'o' }, .iov_len = 2 },
				       { .iov_base = (char[]){ 'n', 'g' }, .iov_len = 2 } };
	assert_int_equal(sock_writev(server, parts, 2, &n), IO_DONE);
	assert_int_equal(n, 4);
	sock_shut_write(client);
	wait_for(server, POLLIN);
	assert_int_equal(sock_read(server, room, sizeof(room), &n), IO_EOF);
	wait_for(client, POLLIN);
	assert_int_equal(sock_read(client, room, sizeof(room), &n), IO_DONE); /* half closed: still reads */
	sock_close(client);
	sock_close(server);
}

static void a_full_socket_says_so(void **state)
{
	static char block[1 << 16];
	int client, server;
	size_t n = 0, total = 0;
	enum io io;

	connect_pair(&client, &server);
	while ((io = sock_write(client, block, sizeof(block), &n)) == IO_DONE) {
		total += n;
		assert_true(total < 1u << 30);
	}
	assert_int_equal(io, IO_AGAIN);
	const struct iovec part = { block, sizeof(block) };
	assert_int_equal(sock_writev(client, &part, 1, &n), IO_AGAIN);
	sock_close(client);
	sock_close(server);
}

static void a_hard_close_is_a_reset(void **state)
{
	int client, server;
	char c;
	size_t n;

	connect_pair(&client, &server);
	sock_close_hard(server);
	wait_for(client, POLLIN);
	assert_int_equal(sock_read(client, &c, 1, &n), IO_ERROR);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(sock_write(client, "x", 1, &n), IO_ERROR); /* and no SIGPIPE */
	sock_close(client);
}

static void nobody_listens(void **state)
{
	struct sock_addr a;

	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &a, &why), 0);
	const int fd = sock_listen(&a, SOCK_EXCLUSIVE, 1, &why);
	assert_int_equal(sock_local_addr(fd, &a), 0);
	sock_close(fd);
	const int client = sock_connect(&a);
	if (client >= 0) {
		wait_for(client, POLLOUT);
		assert_int_equal(sock_connect_error(client), ECONNREFUSED);
		sock_close(client);
	} else {
		assert_int_equal(errno, ECONNREFUSED);
	}
}

static void a_port_in_use_is_refused_unless_shared(void **state)
{
	struct sock_addr a;

	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &a, &why), 0);
	const int first = sock_listen(&a, SOCK_REUSEPORT, 1, &why);
	assert_int_equal(sock_local_addr(first, &a), 0);
	const int second = sock_listen(&a, SOCK_REUSEPORT, 1, &why);
	assert_true(second >= 0);
	why = NULL;
	assert_int_equal(sock_listen(&a, SOCK_EXCLUSIVE, 1, &why), -BB_ESYSTEM);
	assert_non_null(why);
	sock_close(first);
	sock_close(second);
}

static void a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
	char folder[] = "/tmp/busbar-sock-XXXXXX", text[64], path[48];
	struct sock_addr a, peer;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(text, sizeof(text), "unix:%s", path);
	assert_int_equal(sock_addr_parse(bb_str_of(text), &a, &why), 0);
	int fd = sock_listen(&a, SOCK_EXCLUSIVE, 4, &why);
	assert_true(fd >= 0);
	assert_int_equal(sock_listen(&a, SOCK_EXCLUSIVE, 4, &why), -BB_ESYSTEM);
	const int copy = sock_dup(fd);
	assert_true(copy >= 0 && copy != fd);
	sock_close(fd);
	const int client = sock_connect(&a); /* the copy still listens */
	assert_true(client >= 0);
	const int server = sock_accept(copy, &peer);
	assert_true(server >= 0);
	assert_true(sock_addr_is_loopback(&peer));
	sock_close(server);
	sock_close(client);
	sock_close(copy); /* the file stays */
	fd = sock_listen(&a, SOCK_EXCLUSIVE, 4, &why);
	assert_true(fd >= 0);
	sock_close(fd);
	unlink(path);
	assert_int_equal(sock_connect(&a), -BB_ESYSTEM);
	assert_int_equal(errno, ENOENT);
	rmdir(folder);
}

static void another_port(void **state)
{
	static const char *const cases[][2] = { { "10.1.2.3:80", "10.1.2.3:5557" },
						{ "[::1]:80", "[::1]:5557" },
						{ "unix:/run/x.sock", "127.0.0.1:5557" } };
	char text[SOCK_TEXT_SIZE];
	struct sock_addr a;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(sock_addr_parse(bb_str_of(cases[i][0]), &a, &why), 0);
		a = sock_addr_at_port(&a, 5557);
		sock_addr_text(&a, text);
		assert_string_equal(text, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_port),
		cmocka_unit_test(addresses_and_their_texts),
		cmocka_unit_test(malformed_addresses_are_refused),
		cmocka_unit_test(urls_in_parts),
		cmocka_unit_test(malformed_urls_are_refused),
		cmocka_unit_test(resolving),
		cmocka_unit_test(peers_look_like_addresses),
		cmocka_unit_test(bytes_both_ways_and_the_end),
		cmocka_unit_test(a_full_socket_says_so),
		cmocka_unit_test(a_hard_close_is_a_reset),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(a_port_in_use_is_refused_unless_shared),
		cmocka_unit_test(a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
