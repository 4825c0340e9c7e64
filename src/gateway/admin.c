/* admin.c: the admin listener: metrics, health, status, reload. Loopback by default. */
#include "base/alloc.h"
#include "base/log.h"
#include "gateway/control.h"
#include "net/httpd.h"

#define TEXT_MAX (64u << 20)

struct admin {
	struct gateway *gateway;
	struct httpd *httpd;
};

static const struct bb_str json_type = BB_STR_INIT("application/json");
static const struct bb_str text_type = BB_STR_INIT("text/plain; charset=utf-8");

static void answer(struct exchange *x, int status, struct bb_str type, struct bb_str body)
{
	exchange_reply(x, status, type, BB_STR("Cache-Control: no-store\r\n"), body);
}

static void get_metrics(struct exchange *x, struct gateway *g)
{
	struct bb_buf out;

	bb_buf_init(&out, TEXT_MAX);
	exposition_write(g, &out);
	if (out.err)
		answer(x, 503, text_type, BB_STR("no memory for the metrics\n"));
	else
		answer(x, 200, BB_STR("text/plain; version=0.0.4; charset=utf-8"), bb_buf_str(&out));
	bb_buf_fini(&out);
}

static void get_status(struct exchange *x, struct gateway *g)
{
	struct bb_buf out;

	bb_buf_init(&out, TEXT_MAX);
	status_write(g, &out);
	if (out.err)
		answer(x, 503, text_type, BB_STR("no memory for the status\n"));
	else
		answer(x, 200, json_type, bb_buf_str(&out));
	bb_buf_fini(&out);
}

#define EXPLAIN_PATH BB_STR("/admin/explain/")

static void get_explain(struct exchange *x, struct gateway *g)
{
	const struct bb_str id = bb_str_skip(x->head->path, EXPLAIN_PATH.len);
	struct bb_buf out;

	bb_buf_init(&out, TEXT_MAX);
	if (!explain_write(g, id, &out))
		answer(x, 404, text_type,
		       BB_STR("no decision is kept for a request of this id: limits.explain says how many "
			      "are, and access records have the older ones\n"));
	else if (out.err)
		answer(x, 503, text_type, BB_STR("no memory for the explanation\n"));
	else
		answer(x, 200, json_type, bb_buf_str(&out));
	bb_buf_fini(&out);
}

static void get_healthz(struct exchange *x, struct gateway *g)
{
	answer(x, 200, text_type, BB_STR("ok\n"));
}

/* 200 when some engine is ready, and not while shutting down: what a load balancer asks. */
static void get_readyz(struct exchange *x, struct gateway *g)
{
	gateway_lock(g);
	const uint32_t ready = brain_ready_count(g->brain);
	gateway_unlock(g);
	if (__atomic_load_n(&g->draining, __ATOMIC_RELAXED))
		answer(x, 503, text_type, BB_STR("shutting down\n"));
	else if (ready == 0)
		answer(x, 503, text_type, BB_STR("no engine is ready\n"));
	else
		answer(x, 200, text_type, BB_STR("ok\n"));
}

static void post_reload(struct exchange *x, struct gateway *g)
{
	struct bb_buf report, out;

	bb_buf_init(&report, 1u << 20);
	bb_buf_init(&out, TEXT_MAX);
	const int rc = control_reload(g->control, &report);
	bb_buf_printf(&out, "{\"ok\":%s,\"report\":", rc ? "false" : "true");
	bb_buf_add_json(&out, bb_buf_str(&report));
	bb_buf_lit(&out, "}");
	answer(x, rc ? 422 : 200, json_type, bb_buf_str(&out));
	bb_buf_fini(&report);
	bb_buf_fini(&out);
}

struct admin_route {
	struct bb_str path;
	enum llhttp_method method;
	void (*answer)(struct exchange *x, struct gateway *g);
};

/* A path that ends in a slash stands for all that begin with it. */
static const struct admin_route routes[] = {
	{ BB_STR_INIT("/metrics"), HTTP_GET, get_metrics },
	{ BB_STR_INIT("/healthz"), HTTP_GET, get_healthz },
	{ BB_STR_INIT("/readyz"), HTTP_GET, get_readyz },
	{ BB_STR_INIT("/admin/status"), HTTP_GET, get_status },
	{ BB_STR_INIT("/admin/explain/"), HTTP_GET, get_explain },
	{ BB_STR_INIT("/admin/reload"), HTTP_POST, post_reload },
};

static bool is_route(const struct admin_route *route, struct bb_str path)
{
	return bb_str_ends(route->path, BB_STR("/"))
		       ? path.len > route->path.len && bb_str_starts(path, route->path)
		       : bb_str_eq(path, route->path);
}

static void on_request(struct exchange *x)
{
	struct admin *a = httpd_user(x->server);
	bool known = false;

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!is_route(&routes[i], x->head->path))
			continue;
		known = true;
		if (x->head->method == routes[i].method ||
		    (x->head->method == HTTP_HEAD && routes[i].method == HTTP_GET)) {
			routes[i].answer(x, a->gateway);
			return;
		}
	}
	if (known)
		answer(x, 405, text_type, BB_STR("this path takes another method\n"));
	else
		answer(x, 404, text_type,
		       BB_STR("there are /metrics /healthz /readyz /admin/status /admin/explain/ID and "
			      "POST /admin/reload here; the API is on the other listener\n"));
}

static const struct httpd_ops ops = { .on_request = on_request };

int admin_create(struct gateway *g, struct loop *loop, const struct snapshot *snapshot,
		 struct admin **out)
{
	const struct config *config = snapshot->config;
	struct sock_addr addr;
	const char *why = "";
	char text[SOCK_TEXT_SIZE];
	struct admin *a = bb_alloc_zero(1, sizeof(*a));

	if (!a)
		return -BB_ENOMEM;
	a->gateway = g;
	struct httpd_config hc = { .loop = loop, .ops = &ops, .user = a };
	httpd_limits_default(&hc.limits);
	hc.limits.body_size_max = 1u << 20;
	hc.limits.connections_max = 256;
	int rc = httpd_create(&hc, &a->httpd);
	if (rc)
		goto fail;
	httpd_set_tls(a->httpd, snapshot->admin_tls);
	rc = sock_addr_parse(config->admin, &addr, &why);
	const int fd = rc ? rc : sock_listen(&addr, SOCK_EXCLUSIVE, 128, &why);
	if (fd < 0) {
		rc = fd;
		BB_LOG(BB_LOG_ERROR, "listen",
		       "cannot listen on %.*s for the admin API: %s; choose another with admin: or --admin",
		       BB_ARG(config->admin), why);
		goto fail;
	}
	rc = httpd_listen(a->httpd, fd);
	if (rc) {
		sock_close(fd);
		goto fail;
	}
	if (sock_local_addr(fd, &addr) == 0) {
		sock_addr_text(&addr, text);
		BB_LOG(BB_LOG_INFO, "listen", "metrics, health and status on %s%s",
		       addr.storage.ss_family == AF_UNIX ? "" : snapshot->admin_tls ? "https://" : "http://",
		       text);
		if (!sock_addr_is_loopback(&addr))
			BB_LOG(BB_LOG_WARN, "listen",
			       "the admin API has no authentication: %s should be reachable by operators only",
			       text);
	}
	*out = a;
	return 0;

fail:
	admin_destroy(a);
	return rc;
}

void admin_set_tls(struct admin *a, struct tls_context *tls)
{
	httpd_set_tls(a->httpd, tls);
}

void admin_destroy(struct admin *a)
{
	if (!a)
		return;
	httpd_destroy(a->httpd);
	bb_free(a);
}
