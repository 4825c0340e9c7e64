#include "sim/load_play.h"

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/process.h"
#include "sim/event_heap.h"
#include "sim/load_conn.h"

#define CONNECTING_MAX 256
#define TICK_NS (200 * OS_MS)
#define HEADERS_MAX 32768

struct play_conn {
	struct load_conn conn;
	struct load_request request;
	struct load_detail detail;
	struct bb_buf text;
	uint32_t busy_with; /* a request; WORK_NONE */
	uint64_t sent_ns;
};

/* What a request was answered, as long as prompts need it. */
struct saying {
	char *p;
	size_t len;
	uint32_t needed; /* spans of later prompts */
};

struct play {
	struct load_shared shared; /* first: a connection finds its run by it */
	const struct play_plan *plan;
	const struct workload *work;
	struct load_prompt prompt;
	struct play_record *records;
	struct play_conn *conns;
	struct bb_list closed, ready;
	struct saying *sayings;
	uint32_t *child,
		*sibling;      /* requests that follow: the first of each, the next of the same */
	struct event_heap followers; /* once it is known when they are due */
	uint32_t root_next; /* the next request that follows none */
	uint32_t *waiting;  /* a ring of requests that are due and have no connection */
	uint32_t waiting_first, waiting_count;
	uint32_t ended, in_flight, in_flight_max;
	struct bb_buf body, headers;
	struct loop_timer pacer, tick;
	struct loop_task opener;
	uint64_t begin_ns, end_ns;
	int rc;
};

static struct play *play_of(struct load_conn *c)
{
	return BB_CONTAINER(c->shared, struct play, shared);
}

static struct play_conn *conn_of(struct load_conn *c)
{
	return BB_CONTAINER(c, struct play_conn, conn);
}

/* ---- what is due ---- */

static void find_root(struct play *p)
{
	while (p->root_next < p->work->count && p->work->requests[p->root_next].after != WORK_NONE)
		p->root_next++;
}

static uint64_t root_at(const struct play *p)
{
	return p->root_next < p->work->count ? p->begin_ns + p->work->requests[p->root_next].due_ns
					     : UINT64_MAX;
}

/* The next request that is due by now; WORK_NONE. */
static uint32_t take_due(struct play *p, uint64_t now_ns, uint64_t *at_ns)
{
	const uint64_t root_ns = root_at(p);
	const uint64_t heap_ns = event_heap_next_ns(&p->followers);

	*at_ns = root_ns < heap_ns ? root_ns : heap_ns;
	if (*at_ns > now_ns)
		return WORK_NONE;
	if (heap_ns <= root_ns)
		return event_heap_take(&p->followers).index;
	const uint32_t request = p->root_next++;
	find_root(p);
	return request;
}

/* ---- the end of a request ---- */

/* Would its prompt hold an answer that never came? */
static bool is_without_answer(const struct play *p, uint32_t request)
{
	const struct work_request *const r = &p->work->requests[request];

	for (uint32_t i = 0; i < r->span_count; i++) {
		const uint64_t stream = p->work->spans[r->span_first + i].stream;
		if (!(stream >> 63))
			continue;
		const uint8_t state = p->records[(uint32_t)stream].state;
		if (state == PLAY_FAILED || state == PLAY_SKIPPED)
			return true;
	}
	return false;
}

/* Its prompt was made or never will be: answers that nobody else needs are let go. */
static void release_sayings(struct play *p, uint32_t request)
{
	const struct work_request *const r = &p->work->requests[request];

	for (uint32_t i = 0; i < r->span_count; i++) {
		const uint64_t stream = p->work->spans[r->span_first + i].stream;
		if (!(stream >> 63))
			continue;
		struct saying *const s = &p->sayings[(uint32_t)stream];
		if (--s->needed == 0)
			BB_FREE(s->p);
	}
}

static void finish(struct play *p)
{
	if (p->ended < p->work->count && !p->rc)
		return;
	p->end_ns = clock_now_ns();
	loop_stop(p->shared.loop);
}

/*
 * Those that follow a request are due from its end on. Of one that is skipped, its own followers
 * take its place in the list: a long row of them is walked and not recursed into.
 */
static void free_followers(struct play *p, uint32_t request, uint64_t now_ns)
{
	uint32_t next;

	for (uint32_t f = p->child[request]; f != WORK_NONE; f = next) {
		next = p->sibling[f];
		if (!is_without_answer(p, f)) {
			if (event_heap_put(&p->followers, now_ns + p->work->requests[f].due_ns, 0,
					   f))
				p->rc = -BB_ENOMEM;
			continue;
		}
		p->records[f].state = PLAY_SKIPPED;
		p->ended++;
		release_sayings(p, f);
		uint32_t last = p->child[f];
		while (last != WORK_NONE && p->sibling[last] != WORK_NONE)
			last = p->sibling[last];
		if (last != WORK_NONE) {
			p->sibling[last] = next;
			next = p->child[f];
		}
	}
}

static void request_end(struct play *p, uint32_t request, enum load_error error, uint64_t now_ns)
{
	struct play_record *const r = &p->records[request];

	r->state = error == LOAD_ERROR_COUNT ? PLAY_OK : PLAY_FAILED;
	r->error = (uint8_t)error;
	r->e2e_ns = now_ns - p->begin_ns - r->due_ns;
	p->ended++;
	free_followers(p, request, now_ns);
	finish(p);
}

static void keep_text(struct play *p, const struct play_conn *c, uint32_t request)
{
	struct saying *const s = &p->sayings[request];

	if (!s->needed || !c->text.len)
		return;
	s->p = bb_strndup(c->text.p, c->text.len);
	s->len = c->text.len;
	if (!s->p)
		p->rc = -BB_ENOMEM;
}

/* What was noted of the answer goes into the record. */
static void keep_detail(const struct play *p, const struct load_detail *d, struct play_record *r)
{
	r->events = d->events;
	r->prompt_tokens = d->prompt_tokens;
	r->cached_tokens = d->cached_tokens;
	r->output_tokens = d->output_tokens;
	if (!d->first_ns)
		return;
	r->ttft_ns = d->first_ns - p->begin_ns - r->due_ns;
	r->span_ns = d->last_ns - d->first_ns;
}

/* The connection's request has ended, in this way. */
static void conn_done(struct play *p, struct play_conn *c, enum load_error error)
{
	const uint32_t request = c->busy_with;

	c->busy_with = WORK_NONE;
	p->in_flight--;
	load_request_fini(&c->request);
	load_request_init(&c->request);
	keep_detail(p, &c->detail, &p->records[request]);
	if (error == LOAD_ERROR_COUNT)
		keep_text(p, c, request);
	bb_buf_fini(&c->text);
	bb_buf_init(&c->text, PLAY_SAYINGS_MAX);
	request_end(p, request, error, clock_now_ns());
}

/* What is wrong with an answer that is complete; LOAD_ERROR_COUNT: nothing. */
static enum load_error answer_error(const struct load_answer *a)
{
	if (a->is_ok)
		return LOAD_ERROR_COUNT;
	return a->status / 100 != 2 ? LOAD_ERROR_STATUS : LOAD_ERROR_INCOMPLETE;
}

/* ---- sending ---- */

static struct bb_str said(void *user, uint32_t request)
{
	const struct play *const p = user;
	const struct saying *const s = &p->sayings[request];

	return (struct bb_str){ s->p, s->len };
}

static int make_request(struct play *p, struct play_conn *c, uint32_t request)
{
	const struct work_request *const r = &p->work->requests[request];

	bb_buf_clear(&p->body);
	p->body.err = 0;
	bb_buf_clear(&p->headers);
	bb_buf_add_str(&p->headers, p->plan->headers);
	if (p->plan->key_count) {
		const struct bb_str key = p->plan->keys[r->tenant % p->plan->key_count];
		bb_buf_printf(&p->headers, "Authorization: Bearer %.*s\r\n", BB_ARG(key));
	}
	int rc = load_prompt_write(&p->prompt, request, &p->body);
	if (!rc)
		rc = p->headers.err;
	if (!rc)
		rc = load_request_build(&c->request, p->plan->host, p->plan->path,
					bb_buf_str(&p->headers), bb_buf_str(&p->body));
	c->request.has_nonce = false; /* '@' in an answer is not a place for one */
	release_sayings(p, request);
	return rc;
}

static void conn_send(struct play *p, struct play_conn *c, uint32_t request)
{
	struct play_record *const r = &p->records[request];

	c->busy_with = request;
	c->detail.text = p->sayings[request].needed ? &c->text : NULL;
	p->rc = make_request(p, c, request);
	if (p->rc) {
		c->busy_with = WORK_NONE;
		finish(p);
		return;
	}
	r->state = PLAY_SENT;
	if (++p->in_flight > p->in_flight_max)
		p->in_flight_max = p->in_flight;
	c->sent_ns = clock_now_ns();
	load_meter_time(p->shared.meter, LOAD_LAG, c->sent_ns - p->begin_ns - r->due_ns);
	load_conn_send(&c->conn, &c->request, 0, p->begin_ns + r->due_ns);
}

static uint32_t take_waiting(struct play *p)
{
	const uint32_t request = p->waiting[p->waiting_first];

	p->waiting_first = (p->waiting_first + 1) % p->work->count;
	p->waiting_count--;
	return request;
}

static void send_waiting(struct play *p)
{
	while (!p->rc && p->waiting_count && !bb_list_is_empty(&p->ready)) {
		struct load_conn *const c = BB_CONTAINER(p->ready.next, struct load_conn, link);
		bb_list_remove(&c->link);
		conn_send(p, conn_of(c), take_waiting(p));
	}
	if (p->waiting_count > p->shared.connecting_count && !bb_list_is_empty(&p->closed))
		loop_defer(p->shared.loop, &p->opener);
}

/* All that is due joins the ring and is sent, as far as there are connections. */
static void pace(struct play *p)
{
	uint64_t at_ns;
	uint32_t request;

	while ((request = take_due(p, clock_now_ns(), &at_ns)) != WORK_NONE) {
		p->records[request].due_ns = at_ns - p->begin_ns;
		p->records[request].state = PLAY_WAITING;
		p->waiting[(p->waiting_first + p->waiting_count++) % p->work->count] = request;
	}
	if (at_ns != UINT64_MAX)
		loop_timer_arm(&p->pacer, at_ns);
	send_waiting(p);
}

static void on_pace(struct loop_timer *t)
{
	pace(BB_CONTAINER(t, struct play, pacer));
}

/* ---- connections ---- */

/* A connection that cannot be made is one request's failure: the one that waits longest. */
static void connect_failed(struct play *p)
{
	if (p->waiting_count)
		request_end(p, take_waiting(p), LOAD_ERROR_CONNECT, clock_now_ns());
}

static void on_open(struct loop_task *t)
{
	struct play *const p = BB_CONTAINER(t, struct play, opener);

	while (!p->rc && p->waiting_count > p->shared.connecting_count &&
	       p->shared.connecting_count < CONNECTING_MAX && !bb_list_is_empty(&p->closed)) {
		struct load_conn *const c = BB_CONTAINER(p->closed.next, struct load_conn, link);
		if (!load_conn_open(c, &p->plan->to)) {
			connect_failed(p);
			continue;
		}
		bb_list_remove(&c->link);
	}
	pace(p); /* what follows the failed ones may be due */
}

static void on_ready(struct load_conn *c)
{
	struct play *const p = play_of(c);
	struct play_conn *const own = conn_of(c);

	bb_list_push(&p->ready, &c->link);
	if (own->busy_with != WORK_NONE)
		conn_done(p, own, answer_error(&c->answer));
	pace(p);
}

static void on_closed(struct load_conn *c)
{
	struct play *const p = play_of(c);
	struct play_conn *const own = conn_of(c);

	bb_list_remove(&c->link);
	bb_list_append(&p->closed, &c->link);
	if (own->busy_with != WORK_NONE) {
		conn_done(p, own,
			  c->error == LOAD_ERROR_COUNT ? answer_error(&c->answer) : c->error);
	} else if (c->error == LOAD_ERROR_CONNECT) {
		connect_failed(p);
	}
	loop_defer(p->shared.loop, &p->opener);
}

static void on_sent(struct load_conn *c)
{
	struct play_conn *const own = conn_of(c);

	load_request_fini(&own->request);
	load_request_init(&own->request);
}

static const struct load_conn_ops conn_ops = { .on_ready = on_ready,
					       .on_closed = on_closed,
					       .on_sent = on_sent };

static void on_tick(struct loop_timer *t)
{
	struct play *const p = BB_CONTAINER(t, struct play, tick);
	const uint64_t now_ns = clock_now_ns();

	for (uint32_t i = 0; p->plan->timeout_ns && i < p->plan->connections; i++) {
		struct play_conn *const c = &p->conns[i];
		if (c->busy_with != WORK_NONE && now_ns - c->sent_ns > p->plan->timeout_ns)
			load_conn_abort(&c->conn, LOAD_ERROR_TIMEOUT);
	}
	if (p->plan->on_progress)
		p->plan->on_progress(p->plan->user, p->ended, p->in_flight);
	loop_timer_arm(&p->tick, now_ns + TICK_NS);
}

/* ---- the run ---- */

/* Who follows whom, and how often each answer will be needed. */
static void link_requests(struct play *p)
{
	for (uint32_t i = p->work->count; i-- > 0;) {
		const struct work_request *const r = &p->work->requests[i];
		if (r->after != WORK_NONE) {
			p->sibling[i] = p->child[r->after];
			p->child[r->after] = i;
		}
		for (uint32_t k = 0; k < r->span_count; k++) {
			const uint64_t stream = p->work->spans[r->span_first + k].stream;
			if (stream >> 63)
				p->sayings[(uint32_t)stream].needed++;
		}
	}
}

static int create_conns(struct play *p)
{
	p->conns = bb_alloc_zero(p->plan->connections, sizeof(*p->conns));
	if (!p->conns)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < p->plan->connections; i++) {
		struct play_conn *const c = &p->conns[i];
		load_conn_init(&c->conn, &p->shared);
		load_request_init(&c->request);
		bb_buf_init(&c->text, PLAY_SAYINGS_MAX);
		c->conn.answer.detail = &c->detail;
		c->busy_with = WORK_NONE;
		bb_list_append(&p->closed, &c->conn.link);
	}
	return 0;
}

static int play_init(struct play *p)
{
	const size_t count = (size_t)p->work->count + 1;
	int rc = loop_create(&p->shared.loop);

	if (!rc)
		rc = loop_timer_init(p->shared.loop, &p->pacer, on_pace);
	if (!rc)
		rc = loop_timer_init(p->shared.loop, &p->tick, on_tick);
	if (rc)
		return rc;
	p->shared.ops = &conn_ops;
	p->shared.room = bb_alloc(LOAD_READ_SIZE);
	p->sayings = bb_alloc_zero(count, sizeof(*p->sayings));
	p->child = bb_alloc(count * sizeof(*p->child));
	p->sibling = bb_alloc(count * sizeof(*p->sibling));
	p->waiting = bb_alloc(count * sizeof(*p->waiting));
	if (!p->shared.room || !p->sayings || !p->child || !p->sibling || !p->waiting)
		return -BB_ENOMEM;
	memset(p->child, 0xff, count * sizeof(*p->child));
	memset(p->sibling, 0xff, count * sizeof(*p->sibling));
	link_requests(p);
	return create_conns(p);
}

static void play_fini(struct play *p)
{
	for (uint32_t i = 0; p->conns && i < p->plan->connections; i++) {
		load_conn_fini(&p->conns[i].conn);
		load_request_fini(&p->conns[i].request);
		bb_buf_fini(&p->conns[i].text);
	}
	for (uint32_t i = 0; p->sayings && i < p->work->count; i++)
		bb_free(p->sayings[i].p);
	bb_free(p->conns);
	bb_free(p->shared.room);
	bb_free(p->sayings);
	bb_free(p->child);
	bb_free(p->sibling);
	event_heap_fini(&p->followers);
	bb_free(p->waiting);
	bb_buf_fini(&p->body);
	bb_buf_fini(&p->headers);
	loop_task_cancel(&p->opener);
	loop_timer_fini(&p->pacer);
	loop_timer_fini(&p->tick);
	loop_destroy(p->shared.loop);
}

int load_play(const struct play_plan *plan, struct load_meter *meter, struct play_record *records,
	      struct play_outcome *out)
{
	struct play p = { .shared = { .meter = meter },
			  .plan = plan,
			  .work = plan->prompt->work,
			  .prompt = *plan->prompt,
			  .records = records };

	BB_ASSERT(plan->connections > 0 && p.work->count > 0);
	p.prompt.answer = said;
	p.prompt.user = &p;
	bb_list_init(&p.closed);
	bb_list_init(&p.ready);
	bb_buf_init(&p.body, LOAD_BODY_MAX);
	bb_buf_init(&p.headers, HEADERS_MAX);
	loop_task_init(&p.opener, on_open);
	event_heap_init(&p.followers);
	memset(records, 0, p.work->count * sizeof(*records));
	p.rc = play_init(&p);
	if (!p.rc) {
		const uint64_t cpu_ns = process_cpu_ns();
		meter->is_on = true;
		p.begin_ns = clock_now_ns();
		find_root(&p);
		loop_timer_arm(&p.tick, p.begin_ns + TICK_NS);
		loop_timer_arm(&p.pacer, p.begin_ns);
		loop_run(p.shared.loop);
		*out = (struct play_outcome){ .length_ns = p.end_ns - p.begin_ns,
					      .cpu_ns = process_cpu_ns() - cpu_ns,
					      .in_flight_max = p.in_flight_max };
	}
	play_fini(&p);
	return p.rc;
}
