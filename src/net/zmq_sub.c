#include "net/zmq_sub.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/zmq_conn.h"
#include "os/clock.h"

#define MESSAGE_MAX ((size_t)16 << 20)
#define TOPIC_PREFIX_MAX 1024
#define BACKOFF_MIN_NS (100 * OS_MS)
#define BACKOFF_MAX_NS (5 * OS_SECOND)
#define PING_NS (15 * OS_SECOND)
#define REPLAY_TIMEOUT_NS (10 * OS_SECOND)

/* In a callback an object may be destroyed; its memory then stays until the callback's caller is
 * done. */
enum life { LIFE_IDLE, LIFE_IN_CALLBACK, LIFE_DOOMED };

struct zmq_sub {
	struct zmq_sub_config config;
	struct zmq_conn conn;
	struct loop_timer timer; /* down: the next attempt; else: the tick */
	struct bb_rng rng;	 /* jitter */
	struct bb_buf topic_prefix;
	uint64_t backoff_ns;
	uint64_t odd_count;
	enum life life;
	bool is_paused;
};

struct zmq_replay {
	struct zmq_replay_config config;
	struct zmq_conn conn;
	struct loop_timer timer;
	enum life life;
	bool is_paused;
};

static bool batch_of(const struct bb_str parts[3], struct zmq_batch *out)
{
	out->topic = parts[0];
	out->payload = parts[2];
	return zmtp_sequence_get(parts[1], &out->sequence) == 0;
}

/* ---- the subscription ---- */

static void sub_free(struct zmq_sub *s)
{
	zmq_conn_close(&s->conn);
	loop_timer_fini(&s->timer);
	bb_buf_fini(&s->topic_prefix);
	bb_free(s);
}

void zmq_sub_destroy(struct zmq_sub *s)
{
	if (!s)
		return;
	if (s->life == LIFE_IDLE)
		sub_free(s);
	else
		s->life = LIFE_DOOMED;
}

void zmq_sub_pause(struct zmq_sub *s)
{
	s->is_paused = true;
}

void zmq_sub_resume(struct zmq_sub *s)
{
	s->is_paused = false;
	zmq_conn_again(&s->conn);
}

uint64_t zmq_sub_odd_count(const struct zmq_sub *s)
{
	return s->odd_count;
}

/* Half to all of the pause, so that the subscribers of a restarted engine do not come all at once.
 */
static void sub_pause(struct zmq_sub *s)
{
	const uint64_t half_ns = s->backoff_ns / 2;

	loop_timer_arm(&s->timer,
		       loop_now_ns(s->config.loop) + half_ns + bb_rng_below(&s->rng, half_ns + 1));
	s->backoff_ns *= 2;
	if (s->backoff_ns > s->config.backoff_max_ns)
		s->backoff_ns = s->config.backoff_max_ns;
}

static void sub_down(struct zmq_sub *s, int err)
{
	if (err == -BB_ECONNECT && s->conn.session.state == ZMTP_OPEN)
		err = -BB_EUPSTREAM;
	zmq_conn_close(&s->conn);
	sub_pause(s);
	if (s->config.ops->on_down)
		s->config.ops->on_down(s, s->config.user, err);
}

static int sub_opened(struct zmq_sub *s)
{
	s->backoff_ns = s->config.backoff_min_ns;
	zmtp_add_subscribe(&s->conn.out, &s->conn.session, bb_buf_str(&s->topic_prefix));
	if (s->conn.out.err)
		return s->conn.out.err;
	if (s->config.ops->on_up)
		s->config.ops->on_up(s, s->config.user);
	return 0;
}

static void sub_message(struct zmq_sub *s, const struct zmtp_event *e)
{
	struct zmq_batch batch;

	if (e->part_count == 3 && batch_of(e->parts, &batch)) {
		s->config.ops->on_batch(s, s->config.user, &batch);
		return;
	}
	s->odd_count++;
	if (s->config.ops->on_odd)
		s->config.ops->on_odd(s, s->config.user);
}

static int sub_read(struct zmq_sub *s)
{
	struct zmtp_event e;

	while (s->life != LIFE_DOOMED && !s->is_paused) {
		int rc = zmq_conn_next(&s->conn, &e);
		if (!rc && e.kind == ZMTP_OPENED)
			rc = sub_opened(s);
		else if (!rc && e.kind == ZMTP_MESSAGE)
			sub_message(s, &e);
		if (rc)
			return rc;
		if (e.kind != ZMTP_NEED)
			continue;
		const enum io io = zmq_conn_fill(&s->conn);
		if (io != IO_DONE)
			return io == IO_AGAIN ? 0 : -BB_ECONNECT;
	}
	return 0;
}

/* `err`: what is already known to be wrong. */
static void sub_run(struct zmq_sub *s, int err)
{
	s->life = LIFE_IN_CALLBACK;
	if (!err)
		err = sub_read(s);
	if (!err && s->life != LIFE_DOOMED) {
		const enum io io = zmq_conn_flush(&s->conn);
		if (io == IO_ERROR || io == IO_EOF)
			err = -BB_ECONNECT;
	}
	if (err && s->life != LIFE_DOOMED)
		sub_down(s, err);
	if (s->life == LIFE_DOOMED)
		sub_free(s);
	else
		s->life = LIFE_IDLE;
}

static void on_sub_ready(struct zmq_conn *c, unsigned events)
{
	sub_run(BB_CONTAINER(c, struct zmq_sub, conn), 0);
}

static void sub_connect(struct zmq_sub *s)
{
	const int fd = sock_connect(&s->config.addr);
	int rc = fd < 0 ? -BB_ECONNECT
			: zmq_conn_open(&s->conn, fd, ZMTP_SUB, s->config.message_max);

	if (rc)
		sub_run(s, rc);
	else
		loop_timer_arm(&s->timer, loop_now_ns(s->config.loop) + s->config.ping_ns);
}

static void on_sub_timer(struct loop_timer *t)
{
	struct zmq_sub *s = BB_CONTAINER(t, struct zmq_sub, timer);

	if (!zmq_conn_is_open(&s->conn)) {
		sub_connect(s);
		return;
	}
	loop_timer_arm(t, loop_now_ns(s->config.loop) + s->config.ping_ns);
	if (!s->is_paused) /* nothing is read: its silence is ours */
		sub_run(s, zmq_conn_tick(&s->conn));
}

static void sub_defaults(struct zmq_sub_config *c)
{
	if (!c->message_max)
		c->message_max = MESSAGE_MAX;
	if (!c->backoff_min_ns)
		c->backoff_min_ns = BACKOFF_MIN_NS;
	if (!c->backoff_max_ns)
		c->backoff_max_ns = BACKOFF_MAX_NS;
	if (c->backoff_max_ns < c->backoff_min_ns)
		c->backoff_max_ns = c->backoff_min_ns;
	if (!c->ping_ns)
		c->ping_ns = PING_NS;
}

int zmq_sub_create(const struct zmq_sub_config *config, struct zmq_sub **out)
{
	BB_ASSERT(config->ops && config->ops->on_batch);
	if (config->topic_prefix.len > TOPIC_PREFIX_MAX)
		return -BB_EINVALID;
	struct zmq_sub *s = bb_alloc_zero(1, sizeof(*s));
	if (!s)
		return -BB_ENOMEM;
	s->config = *config;
	sub_defaults(&s->config);
	s->backoff_ns = s->config.backoff_min_ns;
	bb_rng_seed(&s->rng, loop_now_ns(config->loop) ^ (uintptr_t)s);
	zmq_conn_init(&s->conn, config->loop, on_sub_ready);
	bb_buf_init(&s->topic_prefix, TOPIC_PREFIX_MAX);
	int rc = bb_buf_add_str(&s->topic_prefix, config->topic_prefix);
	if (rc)
		goto fail_sub;
	s->config.topic_prefix = bb_buf_str(&s->topic_prefix);
	rc = loop_timer_init(config->loop, &s->timer, on_sub_timer);
	if (rc)
		goto fail_prefix;
	/* The first attempt comes from the loop as well: no callback runs before create has
	 * returned. */
	loop_timer_arm(&s->timer, loop_now_ns(config->loop));
	*out = s;
	return 0;

fail_prefix:
	bb_buf_fini(&s->topic_prefix);
fail_sub:
	bb_free(s);
	return rc;
}

/* ---- the replay ---- */

static void replay_free(struct zmq_replay *r)
{
	zmq_conn_close(&r->conn);
	loop_timer_fini(&r->timer);
	bb_free(r);
}

void zmq_replay_destroy(struct zmq_replay *r)
{
	if (!r)
		return;
	if (r->life == LIFE_IDLE)
		replay_free(r);
	else
		r->life = LIFE_DOOMED;
}

void zmq_replay_pause(struct zmq_replay *r)
{
	r->is_paused = true;
}

void zmq_replay_resume(struct zmq_replay *r)
{
	r->is_paused = false;
	zmq_conn_again(&r->conn);
}

static void replay_wait(struct zmq_replay *r)
{
	loop_timer_arm(&r->timer, loop_now_ns(r->config.loop) + r->config.timeout_ns);
}

static int replay_request(struct zmq_replay *r)
{
	char start[8];

	zmtp_sequence_put(r->config.start, start);
	zmtp_add_frame(&r->conn.out, (struct bb_str){ 0 }, ZMTP_MORE);
	zmtp_add_frame(&r->conn.out, (struct bb_str){ start, sizeof(start) }, ZMTP_LAST);
	return r->conn.out.err;
}

enum replay_step { REPLAY_GOES_ON, REPLAY_ENDED };

/* A step, or -BB_EUPSTREAM for what is no answer to a replay. */
static int replay_message(struct zmq_replay *r, const struct zmtp_event *e)
{
	struct zmq_batch batch;

	if (e->part_count != 4 || e->parts[0].len || !batch_of(e->parts + 1, &batch))
		return -BB_EUPSTREAM;
	if (batch.sequence == ZMTP_SEQUENCE_END)
		return REPLAY_ENDED;
	replay_wait(r);
	r->config.ops->on_batch(r, r->config.user, &batch);
	return REPLAY_GOES_ON;
}

static int replay_read(struct zmq_replay *r)
{
	struct zmtp_event e;

	while (r->life != LIFE_DOOMED && !r->is_paused) {
		int rc = zmq_conn_next(&r->conn, &e);
		if (!rc && e.kind == ZMTP_OPENED)
			rc = replay_request(r);
		else if (!rc && e.kind == ZMTP_MESSAGE)
			rc = replay_message(r, &e);
		if (rc)
			return rc;
		if (e.kind != ZMTP_NEED)
			continue;
		const enum io io = zmq_conn_fill(&r->conn);
		if (io == IO_AGAIN)
			return REPLAY_GOES_ON;
		if (io != IO_DONE)
			return r->conn.session.state == ZMTP_OPEN ? -BB_EUPSTREAM : -BB_ECONNECT;
	}
	return REPLAY_GOES_ON;
}

static void replay_finish(struct zmq_replay *r, int err)
{
	r->life = LIFE_IN_CALLBACK;
	zmq_conn_close(&r->conn);
	r->config.ops->on_end(r, r->config.user, err);
	replay_free(r);
}

static void on_replay_ready(struct zmq_conn *c, unsigned events)
{
	struct zmq_replay *r = BB_CONTAINER(c, struct zmq_replay, conn);

	r->life = LIFE_IN_CALLBACK;
	int rc = replay_read(r);
	if (r->life == LIFE_DOOMED) {
		replay_free(r);
		return;
	}
	r->life = LIFE_IDLE;
	if (rc == REPLAY_GOES_ON) {
		const enum io io = zmq_conn_flush(c);
		if (io == IO_ERROR || io == IO_EOF)
			rc = -BB_ECONNECT;
	}
	if (rc != REPLAY_GOES_ON)
		replay_finish(r, rc == REPLAY_ENDED ? 0 : rc);
}

static void on_replay_timer(struct loop_timer *t)
{
	struct zmq_replay *r = BB_CONTAINER(t, struct zmq_replay, timer);

	if (r->is_paused) {
		replay_wait(r);
		return;
	}
	if (zmq_conn_is_open(&r->conn)) {
		replay_finish(r, -BB_EUPTIMEOUT);
		return;
	}
	const int fd = sock_connect(&r->config.addr);
	int rc = fd < 0 ? -BB_ECONNECT
			: zmq_conn_open(&r->conn, fd, ZMTP_DEALER, r->config.message_max);
	if (rc)
		replay_finish(r, rc);
	else
		replay_wait(r);
}

int zmq_replay_create(const struct zmq_replay_config *config, struct zmq_replay **out)
{
	BB_ASSERT(config->ops && config->ops->on_batch && config->ops->on_end);
	struct zmq_replay *r = bb_alloc_zero(1, sizeof(*r));
	if (!r)
		return -BB_ENOMEM;
	r->config = *config;
	if (!r->config.message_max)
		r->config.message_max = MESSAGE_MAX;
	if (!r->config.timeout_ns)
		r->config.timeout_ns = REPLAY_TIMEOUT_NS;
	zmq_conn_init(&r->conn, config->loop, on_replay_ready);
	int rc = loop_timer_init(config->loop, &r->timer, on_replay_timer);
	if (rc) {
		bb_free(r);
		return rc;
	}
	/* It connects from the loop: no callback runs before create has returned. */
	loop_timer_arm(&r->timer, loop_now_ns(config->loop));
	*out = r;
	return 0;
}
