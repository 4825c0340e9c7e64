/*
 * engine_double.h: a small HTTP server that plays an engine, for the tests of the prober.
 *
 * It answers by a table of paths, counts what was asked for, and may hang, be switched to another
 * table, or leave and come back at the same address.
 */
#pragma once

#include "net/httpd.h"

struct double_route {
	const char *path; /* NULL ends the table */
	int status;
	const char *body; /* NULL: never answers */
};

#define DOUBLE_PATHS_MAX 64

struct engine_double {
	struct loop *loop;
	struct httpd *server; /* NULL: it is not there */
	struct sock_addr addr;
	const struct double_route *routes;
	const char *api_key; /* when set, others get 401 */
	bool is_hanging;
	uint32_t under_way, under_way_max;
	uint32_t asked;
	struct {
		char path[64];
		uint32_t count;
	} paths[DOUBLE_PATHS_MAX];
	uint32_t path_count;
};

static void double_count(struct engine_double *d, struct bb_str path)
{
	d->asked++;
	for (uint32_t i = 0; i < d->path_count; i++) {
		if (!bb_str_eq(path, bb_str_of(d->paths[i].path)))
			continue;
		d->paths[i].count++;
		return;
	}
	assert_true(d->path_count < DOUBLE_PATHS_MAX && path.len < sizeof(d->paths[0].path));
	memcpy(d->paths[d->path_count].path, path.p, path.len);
	d->paths[d->path_count++].count = 1;
}

static uint32_t double_asked(const struct engine_double *d, const char *path)
{
	for (uint32_t i = 0; i < d->path_count; i++)
		if (strcmp(d->paths[i].path, path) == 0)
			return d->paths[i].count;
	return 0;
}

static bool double_is_allowed(const struct engine_double *d, const struct http_head *head)
{
	const struct bb_str got = http_head_get(head, BB_STR("Authorization"));

	return !d->api_key || (bb_str_starts(got, BB_STR("Bearer ")) &&
			       bb_str_eq(bb_str_skip(got, 7), bb_str_of(d->api_key)));
}

static void double_on_request(struct exchange *x)
{
	struct engine_double *d = httpd_user(x->server);
	const struct bb_str json = BB_STR("application/json");

	double_count(d, x->head->path);
	if (++d->under_way > d->under_way_max)
		d->under_way_max = d->under_way;
	if (d->is_hanging)
		return;
	if (!double_is_allowed(d, x->head)) {
		exchange_reply(x, 401, json, BB_STR(""), BB_STR("{}"));
		return;
	}
	for (const struct double_route *r = d->routes; r->path; r++) {
		if (!bb_str_eq(x->head->path, bb_str_of(r->path)))
			continue;
		if (r->body)
			exchange_reply(x, r->status, json, BB_STR(""), bb_str_of(r->body));
		return;
	}
	exchange_reply(x, 404, json, BB_STR(""), BB_STR("{\"detail\":\"Not Found\"}"));
}

static void double_on_closed(struct exchange *x)
{
	struct engine_double *d = httpd_user(x->server);

	d->under_way--;
}

static void double_arrive(struct engine_double *d)
{
	static const struct httpd_ops ops = { .on_request = double_on_request,
					      .on_closed = double_on_closed };
	struct httpd_config c = { .loop = d->loop, .ops = &ops, .user = d };
	const char *why = NULL;

	httpd_limits_default(&c.limits);
	assert_int_equal(httpd_create(&c, &d->server), 0);
	const int fd = sock_listen(&d->addr, SOCK_EXCLUSIVE, 16, &why);
	assert_true(fd >= 0);
	assert_int_equal(sock_local_addr(fd, &d->addr), 0);
	assert_int_equal(httpd_listen(d->server, fd), 0);
}

static void double_leave(struct engine_double *d)
{
	httpd_destroy(d->server);
	d->server = NULL;
}

/* At a port of the kernel's choice. */
static void double_create(struct engine_double *d, struct loop *loop,
			  const struct double_route *routes)
{
	const char *why = NULL;

	*d = (struct engine_double){ .loop = loop, .routes = routes };
	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &d->addr, &why), 0);
	double_arrive(d);
}
