/*
 * engine_main.c: busbar-engine, a server for one GGUF model.
 *
 * The main thread runs the event loop; the engine thread loads the model and computes. The server
 * listens before the model is loaded, so that a router can see it coming (503 on /health).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cmd/version.h"
#include "engine_api.h"
#include "engine_options.h"
#include "kv_publisher.h"
#include "os/clock.h"
#include "os/process.h"
#include "scheduler.h"

#define DRAIN_NS (5 * OS_SECOND)
#define LISTEN_BACKLOG 512
#define LAST_TURNS                                                                                 \
	8 /* of the loop, so that last messages are handled before everything is freed             \
	   */

struct engine {
	struct engine_options options;
	struct loop *loop;
	struct signal_watch signals;
	struct loop_timer drain_timer;
	struct kv_publisher *publisher;
	struct scheduler *scheduler;
	struct engine_metrics metrics;
	struct engine_api api;
	char *name;
	uint64_t begin_ns;
	int exit_code;
};

static void log_line(enum bb_log_level level, const char *event, const char *text)
{
	char when[CLOCK_ISO_SIZE];

	clock_iso(clock_wall_ns(), when);
	fprintf(stderr, "%s %-5s %s: %s\n", when, bb_log_level_name(level), event, text);
}

static int fatal(const char *what)
{
	fprintf(stderr, "busbar-engine: %s\n", what);
	return 1;
}

/* "/models/Some-Model.Q4_K_M.gguf" is served as "Some-Model.Q4_K_M". */
static char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct bb_str s = bb_str_of(slash ? slash + 1 : path);

	if (bb_str_ends(s, BB_STR(".gguf")) && s.len > 5)
		s.len -= 5;
	return bb_strndup(s.p, s.len);
}

static void on_loaded(void *user, const struct model *m, const char *why)
{
	struct engine *e = user;

	if (!m && e->api.is_draining)
		return; /* stopped while it was being loaded */
	if (!m) {
		fatal(why);
		e->exit_code = 1;
		loop_stop(e->loop);
		return;
	}
	e->api.model = m;
	engine_api_limit_bodies(&e->api);
	BB_LOG(BB_LOG_INFO, "ready",
	       "%s after %.1f s: %u tokens of KV cache in %u blocks (%.0f MiB), %u at once, %s",
	       e->name, (double)(clock_now_ns() - e->begin_ns) / (double)OS_SECOND, m->ctx_tokens,
	       m->ctx_tokens / e->options.block_size,
	       (double)m->ctx_tokens * (double)m->kv_token_bytes / 1048576.0, e->options.parallel,
	       m->embeds ? "embeddings" : "chat and completions");
}

/* Ends what has not ended by itself: its clients are told. */
static void cut(struct engine *e)
{
	scheduler_stop(e->scheduler);
	loop_stop(e->loop);
}

static void on_drain_over(struct loop_timer *t)
{
	struct engine *e = BB_CONTAINER(t, struct engine, drain_timer);

	BB_LOG(BB_LOG_WARN, "drain", "%u requests were not done in time and are cut",
	       e->api.open_count);
	cut(e);
}

static void on_idle(struct engine_api *a)
{
	struct engine *e = BB_CONTAINER(a, struct engine, api);

	cut(e);
}

static void on_signal(struct signal_watch *w, int signal_number)
{
	struct engine *e = BB_CONTAINER(w, struct engine, signals);

	if (e->api.is_draining) {
		cut(e);
		return;
	}
	BB_LOG(BB_LOG_INFO, "drain", "signal %d: %u requests may finish within %llu s",
	       signal_number, e->api.open_count, (unsigned long long)(DRAIN_NS / OS_SECOND));
	loop_timer_arm(&e->drain_timer, loop_now_ns(e->loop) + DRAIN_NS);
	engine_api_drain(&e->api);
}

static int listen_and_tell(struct engine *e)
{
	const char *why = "no reason given";
	char text[SOCK_TEXT_SIZE], message[256];
	struct sock_addr bound;
	const int fd = sock_listen(&e->options.listen, SOCK_EXCLUSIVE, LISTEN_BACKLOG, &why);

	if (fd < 0) {
		snprintf(message, sizeof(message), "--listen %s: %s", e->options.listen_text, why);
		return fatal(message);
	}
	if (sock_local_addr(fd, &bound) || engine_api_listen(&e->api, fd))
		return fatal("the HTTP server cannot be started: there is no memory");
	sock_addr_text(&bound, text);
	BB_LOG(BB_LOG_INFO, "listening", "listening on %s%s",
	       strncmp(text, "unix:", 5) == 0 ? "" : "http://", text);
	return 0;
}

static int start_publisher(struct engine *e)
{
	const char *why;
	char message[256];

	if (!e->options.kv_events_text)
		return 0;
	if (kv_publisher_create(e->loop, &e->options, &e->publisher, &why)) {
		snprintf(message, sizeof(message), "--kv-events %s: %s", e->options.kv_events_text,
			 why);
		return fatal(message);
	}
	BB_LOG(BB_LOG_INFO, "kv_events", "events on port %u, replay on port %u",
	       kv_publisher_port(e->publisher), kv_publisher_replay_port(e->publisher));
	return 0;
}

static int start(struct engine *e)
{
	const int signals[] = { SIGTERM, SIGINT };

	e->begin_ns = clock_now_ns();
	e->name = e->options.name ? bb_strndup(e->options.name, strlen(e->options.name))
				  : name_of(e->options.model_path);
	if (!e->name || loop_create(&e->loop) ||
	    signal_watch_init(e->loop, &e->signals, signals, 2, on_signal) ||
	    loop_timer_init(e->loop, &e->drain_timer, on_drain_over))
		return fatal("the event loop cannot be started");
	if (start_publisher(e))
		return 1;
	const struct scheduler_config config = {
		.loop = e->loop,
		.options = &e->options,
		.metrics = &e->metrics,
		.publisher = e->publisher,
		.user = e,
		.on_loaded = on_loaded,
	};
	if (scheduler_create(&config, &e->scheduler))
		return fatal("there is no memory");
	e->api = (struct engine_api){
		.loop = e->loop,
		.options = &e->options,
		.metrics = &e->metrics,
		.scheduler = e->scheduler,
		.publisher = e->publisher,
		.name = e->name,
		.created_s = clock_wall_ns() / OS_SECOND,
		.on_idle = on_idle,
	};
	if (listen_and_tell(e))
		return 1;
	if (scheduler_start(e->scheduler))
		return fatal("the engine thread cannot be started");
	return 0;
}

static void stop(struct engine *e)
{
	if (e->scheduler)
		scheduler_stop(e->scheduler);
	for (int i = 0; e->loop && i < LAST_TURNS; i++)
		loop_turn(e->loop, 0);
	if (e->api.server)
		httpd_destroy(e->api.server);
	/* Sequences that were cut just now may have sent a last message. */
	for (int i = 0; e->loop && i < LAST_TURNS; i++)
		loop_turn(e->loop, 0);
	scheduler_destroy(e->scheduler);
	kv_publisher_destroy(e->publisher);
	if (e->drain_timer.loop)
		loop_timer_fini(&e->drain_timer);
	if (e->signals.loop)
		signal_watch_fini(&e->signals);
	if (e->loop)
		loop_destroy(e->loop);
	bb_free(e->name);
}

int main(int argc, char **argv)
{
	static struct engine e;
	char why[MODEL_WHY_SIZE];
	const int rc = engine_options_parse(argc, argv, &e.options);

	if (rc)
		return rc == 1 ? 0 : rc;
	bb_log_set(log_line, e.options.log_level);
	if (model_check_file(e.options.model_path, why))
		return fatal(why);
	process_raise_fd_limit();
	BB_LOG(BB_LOG_INFO, "start", "busbar-engine %s with %s", busbar_version,
	       e.options.model_path);
	e.exit_code = start(&e);
	if (!e.exit_code)
		loop_run(e.loop);
	stop(&e);
	if (!e.exit_code)
		BB_LOG(BB_LOG_INFO, "stopped", "after %.1f s",
		       (double)(clock_now_ns() - e.begin_ns) / (double)OS_SECOND);
	return e.exit_code;
}
