#include "gateway/resolver.h"

#include <stdio.h>

#include "base/alloc.h"
#include "os/process.h"

struct resolver {
	struct loop *home;   /* where jobs belong */
	struct loop *loop;   /* of the look-up thread */
	struct thread thread;
};

struct resolve_job {
	struct loop_message message; /* travels to the thread and back */
	struct resolver *resolver;
	char *host;
	uint16_t port;
	bool under_way;
	bool is_cancelled; /* atomic */
	bool found;
	struct sock_addr addr;
	const char *why;
	resolve_done_fn *on_done;
	void *user;
};

bool resolver_is_numeric(struct bb_str host, uint16_t port, struct sock_addr *out)
{
	char text[300];
	const char *why;
	const bool v6 = host.len && memchr(host.p, ':', host.len);
	const int n = snprintf(text, sizeof(text), v6 ? "[%.*s]:%u" : "%.*s:%u", BB_ARG(host), port);

	return n > 0 && n < (int)sizeof(text) &&
	       sock_addr_parse((struct bb_str){ text, (size_t)n }, out, &why) == 0;
}

static void job_free(struct resolve_job *j)
{
	bb_free(j->host);
	bb_free(j);
}

static void on_back(struct loop_message *m)
{
	struct resolve_job *j = BB_CONTAINER(m, struct resolve_job, message);

	j->under_way = false;
	if (j->is_cancelled)
		job_free(j);
	else
		j->on_done(j->user, j->found ? &j->addr : NULL, j->why);
}

static void on_job(struct loop_message *m)
{
	struct resolve_job *j = BB_CONTAINER(m, struct resolve_job, message);

	j->found = !__atomic_load_n(&j->is_cancelled, __ATOMIC_RELAXED) &&
		   sock_resolve(bb_str_of(j->host), j->port, &j->addr, &j->why) == 0;
	j->message.run = on_back;
	loop_post(j->resolver->home, &j->message);
}

static void resolver_run(void *arg)
{
	struct resolver *r = arg;

	loop_run(r->loop);
}

int resolver_create(struct loop *loop, struct resolver **out)
{
	struct resolver *r = bb_alloc_zero(1, sizeof(*r));

	if (!r)
		return -BB_ENOMEM;
	r->home = loop;
	int rc = loop_create(&r->loop);
	if (rc)
		goto fail_free;
	r->thread = (struct thread){ .name = "busbar-resolver", .run = resolver_run, .arg = r };
	rc = thread_start(&r->thread);
	if (rc)
		goto fail_loop;
	*out = r;
	return 0;

fail_loop:
	loop_destroy(r->loop);
fail_free:
	bb_free(r);
	return rc;
}

void resolver_destroy(struct resolver *r)
{
	if (!r)
		return;
	loop_stop(r->loop);
	thread_join(&r->thread);
	loop_turn(r->loop, 0); /* jobs that it had not begun go back at once, for they are cancelled */
	loop_turn(r->home, 0); /* jobs that came back are freed */
	loop_destroy(r->loop);
	bb_free(r);
}

struct resolve_job *resolve_job_create(struct resolver *r, struct bb_str host, uint16_t port,
				       resolve_done_fn *on_done, void *user)
{
	struct resolve_job *j = bb_alloc_zero(1, sizeof(*j));

	if (!j)
		return NULL;
	j->resolver = r;
	j->port = port;
	j->on_done = on_done;
	j->user = user;
	j->host = bb_strndup(host.p, host.len);
	if (!j->host) {
		bb_free(j);
		return NULL;
	}
	return j;
}

void resolve_job_start(struct resolve_job *j)
{
	if (j->under_way)
		return;
	j->under_way = true;
	j->message.run = on_job;
	loop_post(j->resolver->loop, &j->message);
}

void resolve_job_cancel(struct resolve_job *j)
{
	if (!j)
		return;
	if (j->under_way)
		__atomic_store_n(&j->is_cancelled, true, __ATOMIC_RELAXED);
	else
		job_free(j);
}
