#include "engines/load_push.h"

#include "base/alloc.h"
#include "base/log.h"
#include "engines/figures.h"
#include "net/zmq_sub.h"
#include "os/clock.h"
#include "wire/load_stat.h"

#define MESSAGE_MAX 4096
#define PAUSE_NS (OS_SECOND / LOAD_PUSH_RATE)
#define MESSAGES_A_PAUSE 64

struct rank {
	struct load_push *push;
	struct zmq_sub *sub;
	struct load_stat stat;
	bool has_told;
};

struct load_push {
	struct load_push_config config;
	struct loop_timer timer;
	uint32_t messages; /* since the last telling */
	bool is_changed;
	uint32_t count;
	struct rank ranks[];
};

static void tell(struct load_push *p)
{
	struct engine_load l = {
		.has_running = true, .has_waiting = true, .has_usage = true, .has_all = true
	};
	uint64_t used = 0, all = 0;

	for (uint32_t i = 0; i < p->count; i++) {
		const struct load_stat *s = &p->ranks[i].stat;
		if (!p->ranks[i].has_told)
			return;
		if (__builtin_add_overflow(l.running, s->running, &l.running))
			l.running = UINT32_MAX;
		if (__builtin_add_overflow(l.waiting, s->waiting, &l.waiting))
			l.waiting = UINT32_MAX;
		l.waiting_tokens += figure_product(s->waiting_uncached, 1);
		used += figure_product(s->tokens, 1);
		all += figure_product(s->tokens_max, 1);
	}
	l.kv_usage = figure_share((double)used, (double)all);
	p->config.on_load(p->config.user, &l);
}

/* Whoever sends without end is read as fast as it is told. */
static void on_timer(struct loop_timer *t)
{
	struct load_push *p = BB_CONTAINER(t, struct load_push, timer);

	if (p->is_changed)
		tell(p);
	p->is_changed = false;
	if (p->messages > MESSAGES_A_PAUSE)
		for (uint32_t i = 0; i < p->count; i++)
			zmq_sub_resume(p->ranks[i].sub);
	p->messages = 0;
}

static void message_count(struct rank *r)
{
	struct load_push *p = r->push;

	if (++p->messages > MESSAGES_A_PAUSE)
		zmq_sub_pause(r->sub);
	if (!loop_timer_is_armed(&p->timer))
		loop_timer_arm(&p->timer, loop_now_ns(p->config.loop) + PAUSE_NS);
}

static void on_batch(struct zmq_sub *z, void *user, const struct zmq_batch *b)
{
	struct rank *r = user;
	struct load_stat s;

	if (BB_CHECK(load_stat_decode(b->payload, &s) == 0, "an engine's load cannot be read")) {
		r->stat = s;
		r->has_told = true;
		r->push->is_changed = true;
	}
	message_count(r);
}

static void on_odd(struct zmq_sub *z, void *user)
{
	message_count(user);
}

static void on_down(struct zmq_sub *z, void *user, int err)
{
	((struct rank *)user)->has_told = false;
}

static int rank_start(struct load_push *p, uint32_t index)
{
	static const struct zmq_sub_ops ops = { .on_batch = on_batch,
						.on_down = on_down,
						.on_odd = on_odd };
	struct rank *r = &p->ranks[index];
	const struct zmq_sub_config c = {
		.loop = p->config.loop,
		.addr = p->config.addrs[index],
		.topic_prefix = bb_str_of(p->config.topic),
		.ops = &ops,
		.user = r,
		.message_max = MESSAGE_MAX,
	};

	r->push = p;
	return zmq_sub_create(&c, &r->sub);
}

int load_push_create(const struct load_push_config *config, struct load_push **out)
{
	struct load_push *p = bb_alloc_zero(1, sizeof(*p) + config->count * sizeof(struct rank));

	if (!p)
		return -BB_ENOMEM;
	p->config = *config;
	int rc = loop_timer_init(config->loop, &p->timer, on_timer);
	if (rc) {
		bb_free(p);
		return rc;
	}
	for (; p->count < config->count && !rc; p->count++) {
		rc = rank_start(p, p->count);
		if (rc)
			break;
	}
	if (rc) {
		load_push_destroy(p);
		return rc;
	}
	p->config.addrs = NULL; /* the caller's */
	p->config.topic = NULL;
	*out = p;
	return 0;
}

void load_push_destroy(struct load_push *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->count; i++)
		zmq_sub_destroy(p->ranks[i].sub);
	loop_timer_fini(&p->timer);
	bb_free(p);
}
