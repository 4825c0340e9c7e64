#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "gateway/control.h"
#include "gateway/recording.h"
#include "gateway/request.h"
#include "gateway/worker.h"
#include "net/peer_counts.h"
#include "os/clock.h"
#include "records/journal.h"

#define BACKLOG 4096
#define ACCESS_PATIENCE_NS (2 * OS_SECOND) /* for the last records, when nobody takes them */

static uint64_t seed_of(const struct config *c)
{
	uint64_t seed = c->seed;

	if (!seed)
		entropy_fill(&seed, sizeof(seed));
	return seed;
}

/*
 * One descriptor per listening address for worker `index`: with SO_REUSEPORT its own, so that the
 * kernel spreads connections; unix sockets are shared. `fds` holds those of worker 0 at first.
 */
static int listen_for(const struct config *c, uint32_t index, struct sock_addr *addrs,
		      const int *first, int *fds)
{
	const char *why = "";

	for (uint32_t i = 0; i < c->listen.count; i++) {
		const struct bb_str text = c->listen.items[i].text;
		int rc = 0;
		if (index == 0)
			rc = sock_addr_parse(text, &addrs[i], &why);
		if (!rc)
			rc = index && addrs[i].storage.ss_family == AF_UNIX
				     ? sock_dup(first[i])
				     : sock_listen(&addrs[i], SOCK_REUSEPORT, BACKLOG, &why);
		if (rc < 0) {
			BB_LOG(BB_LOG_ERROR, "listen",
			       "cannot listen on %.*s: %s; choose another with listen: or --listen",
			       BB_ARG(text), why);
			while (i--)
				sock_close(fds[i]);
			return rc;
		}
		fds[i] = rc;
		/* Port 0: the others take what the first one got. */
		if (index == 0 && sock_local_addr(rc, &addrs[i]))
			return -BB_ESYSTEM;
	}
	return 0;
}

/* An address in use by another program must not be shared with it by SO_REUSEPORT. */
static int refuse_shared(const struct config *c)
{
	for (uint32_t i = 0; i < c->listen.count; i++) {
		struct sock_addr a;
		const char *why = "";
		if (sock_addr_parse(c->listen.items[i].text, &a, &why) ||
		    a.storage.ss_family == AF_UNIX)
			continue;
		const int fd = sock_listen(&a, SOCK_EXCLUSIVE, 1, &why);
		if (fd < 0) {
			BB_LOG(BB_LOG_ERROR, "listen",
			       "cannot listen on %.*s: %s; choose another with listen: or --listen",
			       BB_ARG(c->listen.items[i].text), why);
			return fd;
		}
		sock_close(fd);
	}
	return 0;
}

/* The first address that other machines can reach, or an empty text. */
static struct bb_str exposed_address(const struct config *c)
{
	for (uint32_t i = 0; i < c->listen.count; i++) {
		struct sock_addr a;
		const char *why;
		if (sock_addr_parse(c->listen.items[i].text, &a, &why) == 0 &&
		    !sock_addr_is_loopback(&a))
			return c->listen.items[i].text;
	}
	return BB_STR("");
}

/* A certificate of the operator's own authority is as good as a key. */
static bool knows_its_clients(const struct config *c)
{
	return config_needs_keys(c) || c->tls.client_ca.len;
}

int gateway_check_listeners(const struct config *c, const struct config *running, char *why,
			    size_t why_size)
{
	const struct bb_str address = exposed_address(running ? running : c);

	if (address.len == 0 || knows_its_clients(c) || c->insecure_no_keys == CONFIG_ON)
		return 0;
	snprintf(why, why_size,
		 "%.*s can be reached from other machines, and there are no API keys: make one by "
		 "`busbar keys create`, listen on 127.0.0.1, or let everybody in by "
		 "--insecure-no-keys",
		 BB_ARG(address));
	return -BB_EINVALID;
}

static void tell_about_keys(const struct config *c)
{
	const struct bb_str address = exposed_address(c);

	if (knows_its_clients(c))
		return;
	if (address.len)
		BB_LOG(BB_LOG_WARN, "keys",
		       "there are no API keys: anyone who reaches %.*s may use the engines",
		       BB_ARG(address));
	else
		BB_LOG(BB_LOG_INFO, "keys",
		       "there are no API keys: everybody on this machine may use the engines, and nobody else");
}

static int workers_create(struct gateway *g, struct snapshot *s)
{
	const struct config *c = s->config;
	struct sock_addr addrs[16];
	int first[16], fds[16];

	BB_ASSERT(c->listen.count <= 16);
	bb_budget_set(&g->buffers, c->limits.buffers);
	int rc = refuse_shared(c);
	for (uint32_t i = 0; i < g->worker_count && !rc; i++) {
		rc = listen_for(c, i, addrs, first, fds);
		if (rc)
			break;
		if (i == 0)
			memcpy(first, fds, sizeof(first));
		rc = worker_create(g, i, s, fds, c->listen.count, &g->workers[i]);
	}
	for (uint32_t i = 0; i < c->listen.count && !rc; i++) {
		char text[SOCK_TEXT_SIZE];
		sock_addr_text(&addrs[i], text);
		BB_LOG(BB_LOG_INFO, "listen", "API on %s%s",
		       addrs[i].storage.ss_family == AF_UNIX ? ""
		       : s->listen_tls			       ? "https://"
							       : "http://",
		       text);
	}
	if (!rc)
		tell_about_keys(c);
	return rc;
}

int gateway_create(const struct gateway_options *options, struct gateway **out)
{
	struct config *c = options->config;
	struct gateway *g = bb_alloc_zero(1, sizeof(*g));
	char why[256];
	int rc = -BB_ENOMEM;

	if (!g) {
		config_free(c);
		return rc;
	}
	pthread_mutex_init(&g->brain_lock, NULL);
	pthread_mutex_init(&g->tenants_lock, NULL);
	g->identity = options->identity;
	g->confine = options->confine;
	g->confine_user = options->user;
	g->started_ns = clock_now_ns();
	g->worker_count = c->threads ? c->threads : process_core_count();
	if (g->worker_count > GATEWAY_WORKERS_MAX)
		g->worker_count = GATEWAY_WORKERS_MAX;
	process_raise_fd_limit();
	entropy_fill(&g->block_secret, sizeof(g->block_secret));
	const struct brain_config bc = { .seed = seed_of(c),
					 .limits = { .engines_max = GATEWAY_ENGINES_MAX,
						     .held_max = c->queue.max,
						     .held_ns_max = c->queue.wait_ns,
						     .index_bytes = c->limits.index } };
	rc = gateway_check_listeners(c, NULL, why, sizeof(why));
	if (rc)
		BB_LOG(BB_LOG_ERROR, "keys", "%s", why);
	if (!rc)
		rc = brain_create(&bc, &g->brain);
	if (!rc)
		rc = recording_start(g, c);
	if (!rc)
		rc = tenants_create(&g->tenants);
	if (rc) {
		config_free(c);
		goto fail;
	}
	/* From here on the configuration belongs to the control's snapshot. */
	rc = control_create(g, options, &g->control);
	if (rc)
		goto fail;
	if (c->access_log_path.len) {
		rc = line_writer_create(c->access_log_path.p, LINE_RECORDS, &g->access);
		if (rc) {
			BB_LOG(BB_LOG_ERROR, "access_log", "%.*s cannot be opened: %s",
			       BB_ARG(c->access_log_path), bb_error_info(rc)->text);
			goto fail;
		}
	}
	rc = workers_create(g, control_snapshot(g->control));
	if (rc)
		goto fail;
	*out = g;
	return 0;

fail:
	gateway_destroy(g);
	return rc;
}

void gateway_post_released(struct gateway *g)
{
	struct request_id id;
	uint64_t cookie;

	while (brain_released(g->brain, &id, &cookie)) {
		struct request *r = (struct request *)(uintptr_t)cookie;
		r->is_posted = true; /* under the lock, and it cannot end without it */
		loop_post(r->worker->loop, &r->released);
	}
}

int gateway_run(struct gateway *g)
{
	uint32_t started = 0;
	int rc = control_start(g->control);

	if (!rc && g->confine)
		rc = g->confine(g->confine_user);
	for (; started < g->worker_count && !rc; started++)
		rc = worker_start(g->workers[started]);
	if (!rc)
		control_run(g->control);
	for (uint32_t i = 0; i < started; i++) {
		if (rc)
			worker_drain(g->workers[i], 0);
		worker_join(g->workers[i]);
	}
	return rc;
}

void gateway_destroy(struct gateway *g)
{
	if (!g)
		return;
	for (uint32_t i = 0; i < g->worker_count; i++)
		worker_destroy(g->workers[i]);
	control_destroy(g->control);
	(void)line_writer_destroy(g->access, ACCESS_PATIENCE_NS);
	peer_counts_destroy(g->peers);
	prompt_cache_destroy(g->prompts);
	journal_destroy(g->journal);
	brain_destroy(g->brain);
	tenants_destroy(g->tenants);
	pthread_mutex_destroy(&g->tenants_lock);
	pthread_mutex_destroy(&g->brain_lock);
	bb_free(g);
}
