#include "gateway/jwks_source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "gateway/resolver.h"
#include "net/fetch.h"
#include "net/tls.h"
#include "os/clock.h"
#include "os/process.h"

#define PERIOD_NS (600 * OS_SECOND)
#define AGAIN_NS (30 * OS_SECOND) /* after a failure; between fetches for unknown keys */
#define AGAIN_EMPTY_NS (5 * OS_SECOND)
#define TICK_NS (OS_SECOND / 4)
#define FETCH_TIMEOUT_NS (10 * OS_SECOND)

/* What a URL needs; all of it NULL or empty for a file. */
struct remote {
	char *host_field; /* "id.example:8443" */
	char *target;	  /* "/keys?p=1" */
	char *tls_name;
	struct tls_context *tls; /* NULL: http:// */
	struct sock_addr addr;
	struct resolve_job *job; /* NULL: the address is numeric */
	struct httpc_pool *pool; /* of the latest fetch: it cannot go while it calls back */
	struct fetch *fetch;
	bool is_resolving;
};

struct jwks_source {
	struct loop *loop;
	struct loop_timer tick;
	struct jwks_ring *ring;
	char *where;
	char *shown; /* for log lines: without a query, which may hold a secret */
	bool is_url;
	bool is_failing;
	uint64_t due_ns;    /* when it is loaded next */
	uint64_t wished_ns; /* when it was last loaded because of a wish; 0: never */
	uint64_t text_hash; /* of the set in force; 0: none */
	struct remote remote;
};

/* ---- what has come ---- */

static void log_set(const struct jwks_source *s, const struct jwks *set)
{
	const char *why;
	const uint32_t passed_over = jwks_passed_over(set, &why);

	BB_LOG(BB_LOG_INFO, "token_keys", "%s: %u keys to check tokens with", s->shown,
	       jwks_count(set));
	if (passed_over)
		BB_LOG(BB_LOG_INFO, "token_keys", "%s: %u keys cannot be used; of the first: %s",
		       s->shown, passed_over, why);
}

/* Puts a new set into force. One that is the same as before changes nothing: caches stay warm. */
static int take_text(struct jwks_source *s, struct bb_str text, const char **why)
{
	const uint64_t hash = bb_hash(text.p ? text.p : "", text.len, 0) | 1;
	struct jwks *set;

	if (hash == s->text_hash)
		return 0;
	const int rc = jwks_parse(text, &set, why);
	if (rc)
		return rc;
	s->text_hash = hash;
	log_set(s, set);
	jwks_ring_set(s->ring, set);
	return 0;
}

static void succeeded(struct jwks_source *s)
{
	if (s->is_failing)
		BB_LOG(BB_LOG_INFO, "token_keys", "%s: loaded again", s->shown);
	s->is_failing = false;
	s->due_ns = loop_now_ns(s->loop) + PERIOD_NS;
}

/* Says it once, not with each further attempt. */
static void failed(struct jwks_source *s, const char *why)
{
	if (!s->is_failing)
		BB_LOG(BB_LOG_WARN, "token_keys", "%s: %s; %s", s->shown, why,
		       s->text_hash ? "the keys from before stay in force"
				    : "tokens cannot be checked until it is loaded");
	s->is_failing = true;
	s->due_ns = loop_now_ns(s->loop) + (s->text_hash ? AGAIN_NS : AGAIN_EMPTY_NS);
}

/* ---- files ---- */

static int load_file(struct jwks_source *s, char why[JWKS_SOURCE_WHY_SIZE])
{
	char *text;
	size_t len;
	const char *what = NULL;

	int rc = file_read(s->where, JWKS_TEXT_MAX, &text, &len);
	if (rc) {
		what = rc == -BB_ESYSTEM  ? strerror(errno)
		       : rc == -BB_ELIMIT ? "it is larger than 256 KiB"
					  : bb_error_info(rc)->text;
	} else {
		rc = take_text(s, (struct bb_str){ text, len }, &what);
		bb_free(text);
	}
	if (rc)
		snprintf(why, JWKS_SOURCE_WHY_SIZE, "%s", what);
	return rc;
}

/* ---- URLs ---- */

static void on_fetched(void *user, const struct fetch_answer *a)
{
	struct jwks_source *s = user;
	const char *why;
	char text[64];

	s->remote.fetch = NULL;
	if (a->err) {
		failed(s, a->why);
	} else if (a->status != 200) {
		snprintf(text, sizeof(text), "it was answered with status %d", a->status);
		failed(s, text);
	} else if (take_text(s, a->body, &why)) {
		failed(s, why);
	} else {
		succeeded(s);
	}
}

static void fetch_begin(struct jwks_source *s)
{
	struct remote *r = &s->remote;
	struct httpc_limits limits;

	httpc_pool_destroy(r->pool);
	r->pool = NULL;
	httpc_limits_default(&limits);
	int rc = httpc_pool_create(s->loop, &r->addr, &limits, &r->pool);
	if (!rc && r->tls)
		rc = httpc_pool_set_tls(r->pool, r->tls, r->tls_name);
	const struct fetch_request request = {
		.loop = s->loop,
		.method = "GET",
		.host = bb_str_of(r->host_field),
		.target = bb_str_of(r->target),
		.headers = BB_STR("Accept: application/json, application/jwk-set+json\r\n"),
		.body_size_max = JWKS_TEXT_MAX,
		.timeout_ns = FETCH_TIMEOUT_NS,
		.user = s,
		.on_done = on_fetched,
	};
	if (!rc)
		rc = fetch_start(r->pool, &request, &r->fetch);
	if (rc)
		failed(s, bb_error_info(rc)->text);
}

static void on_resolved(void *user, const struct sock_addr *addr, const char *why)
{
	struct jwks_source *s = user;
	char text[128];

	s->remote.is_resolving = false;
	if (addr) {
		s->remote.addr = *addr;
		fetch_begin(s);
		return;
	}
	snprintf(text, sizeof(text), "its name cannot be looked up: %s", why);
	failed(s, text);
}

/* The name is looked up each time: it may lead elsewhere by now. */
static void load_url(struct jwks_source *s)
{
	struct remote *r = &s->remote;

	if (r->fetch || r->is_resolving)
		return;
	if (!r->job) {
		fetch_begin(s);
		return;
	}
	r->is_resolving = true;
	resolve_job_start(r->job);
}

/* ---- time ---- */

static void load(struct jwks_source *s)
{
	char why[JWKS_SOURCE_WHY_SIZE];

	s->due_ns = loop_now_ns(s->loop) + PERIOD_NS;
	if (s->is_url)
		load_url(s);
	else if (load_file(s, why))
		failed(s, why);
	else
		succeeded(s);
}

static void on_tick(struct loop_timer *t)
{
	struct jwks_source *s = BB_CONTAINER(t, struct jwks_source, tick);
	const uint64_t now_ns = loop_now_ns(s->loop);
	const bool is_wished =
		jwks_ring_has_wish(s->ring) && (!s->wished_ns || now_ns - s->wished_ns >= AGAIN_NS);

	if (is_wished) {
		jwks_ring_drop_wish(s->ring);
		s->wished_ns = now_ns;
	}
	if (is_wished || now_ns >= s->due_ns)
		load(s);
	loop_timer_arm(t, now_ns + TICK_NS);
}

/* ---- life ---- */

static bool is_url(struct bb_str where)
{
	return bb_str_starts(where, BB_STR("http://")) || bb_str_starts(where, BB_STR("https://"));
}

/* "https://HOST[:PORT][/PATH][?QUERY]" in its parts; `*path` is what follows the authority. */
static int split_url(const char *where, struct sock_url *url, const char **path, const char **why)
{
	const char *authority = strstr(where, "://") + 3;
	const size_t base_len = (size_t)(authority - where) + strcspn(authority, "/?#");
	const struct bb_str base = { where, base_len };

	*path = base.p + base.len;
	if (strchr(where, '#')) {
		*why = "a URL of keys has no fragment";
		return -BB_EINVALID;
	}
	if (sock_url_parse(base, url, why)) {
		*why = "its host or port is malformed";
		return -BB_EINVALID;
	}
	return 0;
}

static char *format_target(const char *path)
{
	const size_t len = strlen(path);
	char *target = bb_alloc(len + 2);

	if (target)
		snprintf(target, len + 2, "%s%s", *path == '/' ? "" : "/", path);
	return target;
}

/* As browsers write it: without the port where it is the usual one. */
static char *host_field_make(const struct sock_url *url)
{
	const bool is_v6 = memchr(url->host.p, ':', url->host.len);
	const bool is_usual = url->port == (url->tls ? 443 : 80);
	char text[300], port[16] = "";

	if (!is_usual)
		snprintf(port, sizeof(port), ":%u", url->port);
	const int len = snprintf(text, sizeof(text), is_v6 ? "[%.*s]%s" : "%.*s%s",
				 BB_ARG(url->host), port);
	return bb_strndup(text, (size_t)len);
}

static int remote_init(struct jwks_source *s, struct resolver *resolver,
		       char why[JWKS_SOURCE_WHY_SIZE])
{
	struct remote *r = &s->remote;
	struct sock_url url;
	const char *path, *what;

	if (split_url(s->where, &url, &path, &what)) {
		snprintf(why, JWKS_SOURCE_WHY_SIZE, "%s", what);
		return -BB_EINVALID;
	}
	r->host_field = host_field_make(&url);
	r->target = format_target(path);
	r->tls_name = bb_strndup(url.host.p, url.host.len);
	if (!r->host_field || !r->target || !r->tls_name)
		return -BB_ENOMEM;
	if (!resolver_is_numeric(url.host, url.port, &r->addr)) {
		r->job = resolve_job_create(resolver, url.host, url.port, on_resolved, s);
		if (!r->job)
			return -BB_ENOMEM;
	}
	if (url.tls) {
		const struct tls_client_config tls = { .ca_path = NULL };
		return tls_client_create(&tls, &r->tls, why);
	}
	if (r->job || !sock_addr_is_loopback(&r->addr))
		BB_LOG(BB_LOG_WARN, "token_keys",
		       "%s: keys that come without TLS can be forged on their way", s->shown);
	return 0;
}

_Static_assert(JWKS_SOURCE_WHY_SIZE >= TLS_REASON_SIZE, "TLS writes into it");

int jwks_source_create(const struct jwks_source_config *c, struct jwks_source **out,
		       char why[JWKS_SOURCE_WHY_SIZE])
{
	struct jwks_source *s = bb_alloc_zero(1, sizeof(*s));
	int rc = -BB_ENOMEM;

	snprintf(why, JWKS_SOURCE_WHY_SIZE, "%s", bb_error_info(rc)->text);
	if (!s)
		return rc;
	s->loop = c->loop;
	s->is_url = is_url(c->where);
	s->where = bb_strndup(c->where.p, c->where.len);
	s->shown = s->where ? bb_strndup(s->where, strcspn(s->where, s->is_url ? "?" : "")) : NULL;
	if (!s->shown)
		goto fail;
	rc = loop_timer_init(s->loop, &s->tick, on_tick);
	if (!rc)
		rc = jwks_ring_create(&s->ring);
	if (!rc)
		rc = s->is_url ? remote_init(s, c->resolver, why) : load_file(s, why);
	if (rc)
		goto fail;
	s->due_ns = loop_now_ns(s->loop) + (s->is_url ? 0 : PERIOD_NS);
	loop_timer_arm(&s->tick, loop_now_ns(s->loop));
	*out = s;
	return 0;

fail:
	jwks_source_destroy(s);
	return rc;
}

void jwks_source_destroy(struct jwks_source *s)
{
	if (!s)
		return;
	if (s->tick.loop)
		loop_timer_fini(&s->tick);
	resolve_job_cancel(s->remote.job);
	fetch_cancel(s->remote.fetch);
	httpc_pool_destroy(s->remote.pool);
	tls_context_put(s->remote.tls);
	bb_free(s->remote.host_field);
	bb_free(s->remote.target);
	bb_free(s->remote.tls_name);
	jwks_ring_put(s->ring);
	bb_free(s->where);
	bb_free(s->shown);
	bb_free(s);
}

bool jwks_source_is(const struct jwks_source *s, struct bb_str where)
{
	return bb_str_eq(bb_str_of(s->where), where);
}

int jwks_source_again(struct jwks_source *s, char why[JWKS_SOURCE_WHY_SIZE])
{
	if (!s->is_url)
		return load_file(s, why);
	s->due_ns = loop_now_ns(s->loop);
	return 0;
}

struct jwks_ring *jwks_source_ring(const struct jwks_source *s)
{
	return s->ring;
}
