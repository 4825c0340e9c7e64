/*
 * torture_gateway.c [FIRST [COUNT]]: the n-th allocation fails, for n = FIRST, FIRST + 1, …
 *
 * Goal: without memory the gateway answers with an error or closes a connection; it never crashes,
 * never leaves a client waiting, and is as good as new once there is memory again.
 * Three rounds: the n-th allocation of a start fails; the n-th allocation fails while a mix of
 * requests, scrapes and reloads goes over a cold gateway, some of which must be refused (no key, a
 * wrong token, another's model, no budget) and never get through; all allocations from the n-th on
 * fail during that mix. After each: a plain request is answered, the gateway ends on SIGTERM, and no
 * descriptor is left. Under AddressSanitizer the exit also tells of leaks. A round ends by itself
 * when n is beyond the last allocation.
 * The engine is the simulated one, in a process of its own, so that only the gateway runs short.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "gateway/gateway.h"
#include "os/clock.h"
#include "os/process.h"
#include "sim/sim_server.h"

#define PATIENCE (10 * OS_SECOND)
#define ANSWER_MAX 262144

static uint64_t nth;
static const char *round_name = "";
static char engine_url[SOCK_TEXT_SIZE + 8];
static char log_path[64], jwks_path[64], events[64], replays[64];

#define KEY "key-of-the-tenant-0123456789abcdef"
#define POOR_KEY "key-of-the-poor-0123456789abcdef"
/* The public key of RFC 7515, A.3, and a token that it did not sign. */
#define JWKS                                                                                       \
	"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"1\","                               \
	"\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","                                   \
	"\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"
#define TOKEN                                                                                      \
	"Authorization: Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJ0In0."               \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"

/* What the log said of the gateway that runs now. */
static struct {
	char api[128], admin[128];
} told;

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "torture: %s, allocation %" PRIu64 ": %s\n", round_name, nth, what);
	kill(0, SIGKILL);
	exit(1);
}

static void sink(enum bb_log_level level, const char *event, const char *text)
{
	const char *api = strstr(text, "API on http://");
	const char *admin = strstr(text, "status on http://");

	if (getenv("TORTURE_LOG"))
		fprintf(stderr, "%s %s: %s\n", bb_log_level_name(level), event, text);
	if (api)
		snprintf(told.api, sizeof(told.api), "%s", api + 14);
	if (admin)
		snprintf(told.admin, sizeof(told.admin), "%s", admin + 17);
}

/* ---- the engine: a process of its own ---- */

static void engine_run(int tell)
{
	struct sim_config c;
	struct sim_server *s;
	struct loop *loop;
	struct sock_addr a;
	const char *why = "";
	char text[SOCK_TEXT_SIZE];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sim_config_default(&c);
	c.models[0] = BB_STR("m");
	c.model_count = 1;
	c.engine.ttft_ns = OS_MS;
	c.engine.itl_ns = 100 * OS_US;
	c.kind = SIM_LLAMACPP; /* plain answers are put together from a stream for this one */
	c.kv_events = bb_str_of(events);
	c.kv_replay = bb_str_of(replays);
	if (loop_create(&loop) || sim_server_create(&c, loop, &s, &why) ||
	    sock_addr_parse(BB_STR("127.0.0.1:0"), &a, &why))
		_exit(1);
	const int fd = sock_listen(&a, SOCK_EXCLUSIVE, 128, &why);
	if (fd < 0 || sock_local_addr(fd, &a) || sim_server_listen(s, fd))
		_exit(1);
	sock_addr_text(&a, text);
	if (fd_write_all(tell, text, strlen(text) + 1))
		_exit(1);
	close(tell);
	loop_run(loop);
}

static pid_t engine_start(void)
{
	int ends[2];
	char text[SOCK_TEXT_SIZE];

	if (pipe(ends) < 0)
		fail("no pipe");
	const pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		engine_run(ends[1]);
		_exit(0);
	}
	close(ends[1]);
	if (pid < 0 || read(ends[0], text, sizeof(text)) <= 0)
		fail("the simulated engine did not start");
	close(ends[0]);
	snprintf(engine_url, sizeof(engine_url), "http://%s", text);
	return pid;
}

/* ---- the gateway ---- */

static struct config *read_config(void)
{
	char text[2048];
	struct config *c = NULL;
	struct config_errors errors;

	const int n = snprintf(text, sizeof(text),
			       "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nthreads: 2\n"
			       "access_log: {path: %s}\nshutdown: {grace: 5s}\n"
			       "probe: {interval: 1s, metrics_interval: 1s}\n"
			       "limits: {head_size: 8KiB}\n"
			       "models: {m: {engines: [%s], aliases: [other]}}\n"
			       "engines: [{url: %s, kv_events: '%s', kv_replay: '%s'}]\n"
			       "tenants:\n"
			       " t: {key: " KEY ", models: [m], limits: {requests_per_minute: 1000000000,"
			       " tokens_per_minute: 1000000000000, concurrent: 1000}}\n"
			       " poor: {key: " POOR_KEY ", budget: 1 tokens/month}\n"
			       "auth: {jwt: {jwks: %s, issuer: i, audience: a}}\n",
			       log_path, engine_url, engine_url, events, replays, jwks_path);
	config_errors_init(&errors);
	(void)!config_parse((struct bb_str){ text, (size_t)n }, "torture.yaml", NULL, &c, &errors);
	config_errors_fini(&errors);
	return c;
}

static struct config *reload(void *user, struct bb_buf *report)
{
	struct config *c = read_config();

	if (!c)
		bb_buf_lit(report, "no memory\n");
	return c;
}

static struct gateway *gateway;
static struct thread runner;
static int run_result;
static bool has_run; /* atomic */

static void run(void *arg)
{
	run_result = gateway_run(gateway);
	__atomic_store_n(&has_run, true, __ATOMIC_RELEASE);
}

/* False: it said that it cannot start. */
static bool gateway_start(void)
{
	struct config *c = read_config();
	const struct gateway_options options = {
		.config = c,
		.identity = { "0", "torture", "torture" },
		.reload = reload,
	};

	told.api[0] = told.admin[0] = '\0';
	if (!c || gateway_create(&options, &gateway))
		return false;
	has_run = false;
	runner = (struct thread){ .name = "torture", .run = run };
	if (thread_start(&runner))
		fail("no thread");
	return true;
}

static void gateway_stop(void)
{
	if (!__atomic_load_n(&has_run, __ATOMIC_ACQUIRE))
		kill(getpid(), SIGTERM); /* blocked in all threads: the control loop reads it */
	thread_join(&runner);
	gateway_destroy(gateway);
	gateway = NULL;
}

/* ---- the client: no allocations of ours ---- */

static int dial(const char *address, uint64_t patience_ns)
{
	struct sock_addr a;
	const char *why;
	const struct timeval patience = { .tv_sec = (time_t)(patience_ns / OS_SECOND),
					  .tv_usec = (suseconds_t)(patience_ns % OS_SECOND / OS_US) };

	if (sock_addr_parse(bb_str_of(address), &a, &why))
		return -1;
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&a.storage, a.len) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void put(int fd, const char *data, size_t len)
{
	(void)!send(fd, data, len, MSG_NOSIGNAL);
}

/* Everything to the end of the connection; waiting too long for it is a failure. */
static const char *hear(int fd)
{
	static char text[ANSWER_MAX];
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
		len += (size_t)n;
	if (n < 0 && errno == EAGAIN)
		fail("a client was left without an answer and without an end");
	text[len] = '\0';
	close(fd);
	return text;
}

enum pace { PACE_ONE_PIECE, PACE_SPLIT };

static const char *ask(const char *address, enum pace pace, const char *method, const char *path,
		       const char *more, const char *body)
{
	static char text[131072];
	const int fd = dial(address, PATIENCE);

	if (fd < 0)
		return "";
	const int n = snprintf(text, sizeof(text),
			       "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s"
			       "Content-Length: %zu\r\n\r\n%s",
			       method, path, more, strlen(body), body);
	const size_t len = (size_t)n, at = pace == PACE_SPLIT ? 30 : 0;
	put(fd, text, at);
	if (at)
		usleep(1000); /* so that the head really comes in two pieces */
	put(fd, text + at, len - at);
	return hear(fd);
}

/* Does it serve? A gateway whose workers were not started listens and says nothing. */
static bool knock(void)
{
	static const char text[] = "GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
	char room[512];
	const int fd = dial(told.api, 100 * OS_MS);

	if (fd < 0)
		return false;
	put(fd, text, sizeof(text) - 1);
	const ssize_t n = recv(fd, room, sizeof(room), 0);
	close(fd);
	return n > 12 && memcmp(room, "HTTP/1.1 200", 12) == 0;
}

static bool is_status(const char *answer, int status)
{
	return strlen(answer) > 12 && strtol(answer + 9, NULL, 10) == status;
}

#define CHAT "/v1/chat/completions"
#define AS_POOR "x-api-key: " POOR_KEY "\r\nContent-Type: application/json\r\n"
#define AS_NOBODY "Content-Type: application/json\r\n"
#define JSON "x-api-key: " KEY "\r\nContent-Type: application/json\r\n"
#define SAY "\"messages\":[{\"role\":\"user\",\"content\":\"hello there\"}],\"max_tokens\":8"

/* An answer that claims to be good has to be whole. */
static void check_chat(const char *answer, const char *end)
{
	if (is_status(answer, 200) && !strstr(answer, end) && !strstr(answer, "\"error\""))
		fail("an answer with status 200 is not whole");
}

/* Who may not come in never gets an answer of an engine, however little memory there is. */
static void refused(int status, const char *fields, const char *model)
{
	char body[256];

	snprintf(body, sizeof(body), "{\"model\":\"%s\"," SAY "}", model);
	const char *answer = ask(told.api, PACE_ONE_PIECE, "POST", CHAT, fields, body);
	if (answer[0] && !is_status(answer, status) && !is_status(answer, 503) && !is_status(answer, 500)) {
		fprintf(stderr, "%.300s\n", answer);
		fail("a request that must be refused was answered otherwise");
	}
}

static void pipelined(void)
{
	static const char text[] =
		"GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n"
		"POST " CHAT " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n" JSON "\r\n"
		"64\r\n{\"model\":\"other\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hello th\"}],\"max_tokens\":9   }\r\n"
		"0\r\n\r\nGET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
	const int fd = dial(told.api, PATIENCE);

	if (fd < 0)
		return;
	put(fd, text, sizeof(text) - 1);
	(void)hear(fd);
}

/* A client that leaves in its stream. */
static void leaves(void)
{
	static const char text[] = "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: 114\r\n" JSON "\r\n"
				   "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"[[tokens=99999]] hi\"}],\"max_tokens\":5000        }";
	char room[256];
	const int fd = dial(told.api, PATIENCE);

	if (fd < 0)
		return;
	put(fd, text, sizeof(text) - 1);
	(void)!recv(fd, room, sizeof(room), 0);
	close(fd);
}

static void mix(void)
{
	static char big[100000];
	const char *api = told.api, *admin = told.admin;

	check_chat(ask(api, PACE_ONE_PIECE, "POST", CHAT, JSON, "{\"model\":\"m\"," SAY "}"), "\"usage\"");
	check_chat(ask(api, PACE_SPLIT, "POST", CHAT, JSON, "{\"model\":\"m\",\"stream\":true," SAY "}"),
		   "0\r\n\r\n");
	check_chat(ask(api, PACE_ONE_PIECE, "POST", CHAT, JSON,
		       "{\"model\":\"other\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," SAY "}"),
		   "0\r\n\r\n");
	if (!big[0]) {
		memset(big, 'b', sizeof(big) - 1);
		memcpy(big, "{\"model\":\"m\",\"input\":\"", 22);
		memcpy(big + sizeof(big) - 3, "\"}", 3);
	}
	(void)ask(api, PACE_SPLIT, "POST", "/v1/embeddings", JSON, big);
	(void)ask(api, PACE_ONE_PIECE, "POST", CHAT, JSON, "{\"model\":\"nobody\"," SAY "}");
	(void)ask(api, PACE_ONE_PIECE, "POST", CHAT, JSON, "{bad");
	(void)ask(api, PACE_ONE_PIECE, "POST", "/v1/audio/transcriptions",
		  "Content-Type: multipart/form-data; boundary=b\r\n",
		  "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n");
	(void)ask(api, PACE_ONE_PIECE, "GET", "/v1/models", "", "");
	(void)ask(api, PACE_ONE_PIECE, "GET", "/nowhere", "", "");
	refused(401, AS_NOBODY, "m");
	refused(401, "x-api-key: wrong\r\n" AS_NOBODY, "m");
	refused(401, TOKEN AS_NOBODY, "m");
	refused(429, AS_POOR, "m");
	refused(403, JSON, "nobody");
	pipelined();
	leaves();
	(void)ask(admin, PACE_ONE_PIECE, "GET", "/metrics", "", "");
	(void)ask(admin, PACE_ONE_PIECE, "GET", "/admin/status", "", "");
	(void)ask(admin, PACE_SPLIT, "POST", "/admin/reload", "", "");
	check_chat(ask(api, PACE_ONE_PIECE, "POST", CHAT, JSON, "{\"model\":\"m\"," SAY "}"), "\"usage\"");
}

/* With memory everything works; the engine may have to be found first. */
static void check_good_as_new(void)
{
	const uint64_t until_ns = clock_now_ns() + PATIENCE;

	for (;;) {
		const char *answer = ask(told.api, PACE_ONE_PIECE, "POST", CHAT, JSON,
					 "{\"model\":\"m\"," SAY "}");
		if (is_status(answer, 200) && strstr(answer, "\"usage\""))
			return;
		if (clock_now_ns() > until_ns) {
			fprintf(stderr, "%s\n", answer);
			fail("it does not serve although there is memory again");
		}
		usleep(2000);
	}
}

/* ---- rounds ---- */

static uint64_t fds_before;

static void check_descriptors(void)
{
	if (process_fd_count() != fds_before)
		fail("a descriptor was left open");
}

/* True when allocation `nth` was reached. */
static bool round_start(void)
{
	const uint64_t failed = bb_alloc_failed_count();

	bb_alloc_fail_at(nth, BB_FAIL_ONCE);
	const bool started = gateway_start();
	if (started) {
		/* Until it answers, or says that it cannot run. */
		const uint64_t until_ns = clock_now_ns() + PATIENCE;
		while (!knock() && !__atomic_load_n(&has_run, __ATOMIC_ACQUIRE)) {
			if (clock_now_ns() > until_ns)
				fail("it neither serves nor ends");
			usleep(500);
		}
		const bool reached = bb_alloc_failed_count() > failed;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (__atomic_load_n(&has_run, __ATOMIC_ACQUIRE) && (run_result == 0 || !reached))
			fail("it ended without a reason");
		gateway_stop();
	}
	const bool reached = bb_alloc_failed_count() > failed;
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	if (!started && !reached)
		fail("it does not start although there is memory");
	check_descriptors();
	return reached;
}

static bool round_requests(enum bb_alloc_fail how)
{
	if (!gateway_start())
		fail("it does not start");
	check_good_as_new();
	const uint64_t failed = bb_alloc_failed_count();
	bb_alloc_fail_at(nth, how);
	mix();
	const bool reached = bb_alloc_failed_count() > failed;
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	if (__atomic_load_n(&has_run, __ATOMIC_ACQUIRE))
		fail("it ended by itself");
	check_good_as_new();
	gateway_stop();
	check_descriptors();
	return reached;
}

static bool round_one(void)
{
	return round_requests(BB_FAIL_ONCE);
}

static bool round_all(void)
{
	return round_requests(BB_FAIL_FOREVER);
}

static void go(const char *name, bool (*round)(void), uint64_t first, uint64_t count)
{
	uint64_t done = 0;

	round_name = name;
	for (nth = first; done < count && round(); nth++)
		done++;
	printf("torture: %s: %" PRIu64 " allocations failed in turn%s\n", name, done,
	       done < count ? ", all there are" : "");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_MAX;

	setpgid(0, 0);
	snprintf(events, sizeof(events), "ipc:///tmp/busbar-torture-%d.kv", (int)getpid());
	snprintf(replays, sizeof(replays), "ipc:///tmp/busbar-torture-%d.kvr", (int)getpid());
	const pid_t engine = engine_start();
	snprintf(log_path, sizeof(log_path), "/tmp/busbar-torture-%d.log", (int)getpid());
	snprintf(jwks_path, sizeof(jwks_path), "/tmp/busbar-torture-%d.jwks", (int)getpid());
	const int jwks = open(jwks_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (jwks < 0 || fd_write_all(jwks, JWKS, sizeof(JWKS) - 1))
		fail("the file of keys cannot be written");
	close(jwks);
	bb_log_set(sink, BB_LOG_INFO);
	/* The first one leaves behind what a process has only once (signal mask, descriptors of libc). */
	round_name = "first start";
	if (!gateway_start())
		fail("it does not start");
	check_good_as_new();
	gateway_stop();
	fds_before = process_fd_count();
	go("start", round_start, first, count);
	go("requests", round_one, first, count);
	go("requests, all from there on", round_all, first, count < 60 ? count : count / 5);
	unlink(log_path);
	unlink(events + 6);
	unlink(replays + 6);
	unlink(jwks_path);
	kill(engine, SIGKILL);
	waitpid(engine, NULL, 0);
	return 0;
}
