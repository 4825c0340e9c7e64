/* sim_events.c: KV events and load as engines publish them, and how they go wrong. */
#include "sim/sim_core.h"

#include "base/log.h"
#include "os/clock.h"
#include "wire/load_stat.h"

#define LOAD_PERIOD_NS OS_SECOND
#define POLLED_MAX ((size_t)16 << 20)

/* ---- published ---- */

static void batch_open(struct sim_server *s)
{
	if (s->is_batch_open)
		return;
	s->is_batch_open = true;
	bb_buf_clear(&s->batch);
	kv_batch_begin(&s->encoder, &s->batch, (double)clock_wall_ns() / 1e9);
	s->encoder.form = s->config.kv_form;
	if (s->has_cleared)
		kv_add_cleared(&s->encoder);
	s->has_cleared = false;
}

/* ---- polled ---- */

static bool is_polled(const struct sim_server *s)
{
	return s->config.kind == SIM_TRTLLM;
}

/* The beginning of one event. Beyond the most that is kept, events are lost with their numbers. */
static bool polled_begin(struct sim_server *s)
{
	const uint64_t id = s->polled_id++;

	if (s->polled.len > POLLED_MAX / 2)
		return false;
	bb_buf_printf(&s->polled,
		      "%s{\"event_id\":%llu,\"window_size\":%u,\"data\":", s->polled.len ? "," : "",
		      (unsigned long long)id, s->config.model_len_max);
	return true;
}

static void polled_stored(struct sim_server *s, const struct sim_stored *stored)
{
	const uint32_t size = s->config.engine.block_size;
	struct bb_buf *b = &s->polled;

	if (!polled_begin(s))
		return;
	bb_buf_lit(b, "{\"type\":\"stored\",\"parent_hash\":");
	if (stored->has_parent)
		bb_buf_add_u64(b, stored->parent);
	else
		bb_buf_lit(b, "null");
	bb_buf_lit(b, ",\"blocks\":[");
	for (uint32_t i = 0; i < stored->hash_count; i++) {
		bb_buf_printf(b, "%s{\"type\":\"stored_block\",\"block_hash\":%llu,\"tokens\":[",
			      i ? "," : "", (unsigned long long)stored->hashes[i]);
		for (uint32_t k = 0; k < size; k++)
			bb_buf_printf(b,
				      "%s{\"type\":\"unique_token\",\"token_id\":%u,"
				      "\"token_extra_id\":0}",
				      k ? "," : "", stored->tokens[i * size + k]);
		bb_buf_lit(b, "],\"cache_level\":0,\"priority\":35}");
	}
	bb_buf_lit(b, "]}}");
}

void sim_events_polled(struct exchange *x, struct sim_server *s)
{
	struct bb_buf *b = &s->body;

	bb_buf_clear(b);
	bb_buf_lit(b, "[");
	bb_buf_add_str(b, bb_buf_str(&s->polled));
	bb_buf_lit(b, "]");
	bb_buf_clear(&s->polled);
	sim_reply_json(x, 200, b);
}

/* ---- what the engine tells ---- */

void sim_events_stored(struct sim_server *s, const struct sim_answer *a,
		       const struct sim_stored *stored)
{
	if (is_polled(s))
		polled_stored(s, stored);
	if (!s->events)
		return;
	batch_open(s);
	const struct kv_store store = {
		.hashes = stored->hashes,
		.hash_count = stored->hash_count,
		.block_size = s->config.engine.block_size,
		.tokens = stored->tokens,
		.parent = stored->parent,
		.has_parent = stored->has_parent,
		.medium = BB_STR("GPU"),
		.lora_name = a->lora,
		.cache_salt = a->cache_salt,
	};
	kv_add_stored(&s->encoder, &store);
}

static bool fault_strikes(struct sim_server *s, enum sim_fault fault)
{
	const struct sim_faults *f = &s->config.faults;

	return f->mask >> fault & 1 && bb_rng_unit(&s->kv_rng) < f->probability[fault];
}

void sim_events_removed(struct sim_server *s, uint64_t hash)
{
	if (fault_strikes(s, SIM_FAULT_KV_LIE))
		return;
	if (is_polled(s) && polled_begin(s))
		bb_buf_printf(&s->polled, "{\"type\":\"removed\",\"block_hashes\":[%llu]}}",
			      (unsigned long long)hash);
	if (!s->events)
		return;
	batch_open(s);
	kv_add_removed(&s->encoder, &hash, 1, BB_STR("GPU"));
}

static int batch_send(struct sim_server *s)
{
	const struct bb_str batch = bb_buf_str(&s->batch);

	if (fault_strikes(s, SIM_FAULT_KV_GONE)) {
		zmq_pub_skip(s->events);
		return 0;
	}
	if (fault_strikes(s, SIM_FAULT_KV_LOST))
		return zmq_pub_send_lost(s->events, batch);
	if (fault_strikes(s, SIM_FAULT_KV_GARBAGE))
		return zmq_pub_send(s->events, BB_STR("\xc1\xff these are no KV events"));
	return zmq_pub_send(s->events, batch);
}

void sim_events_flush(struct sim_server *s)
{
	if (!s->is_batch_open)
		return;
	s->is_batch_open = false;
	if (kv_batch_end(&s->encoder, 0) == 0 && batch_send(s) == 0)
		return;
	BB_LOG(BB_LOG_WARN, "kv_events_lost", "a batch of KV events could not be published");
}

/* ---- load ---- */

static void load_send(struct sim_server *s)
{
	const uint64_t block = s->config.engine.block_size;
	struct sim_engine_stats e;
	struct bb_buf *b = &s->scratch[0];

	sim_engine_stats(s->engine, &e);
	const struct load_stat stat = {
		.running = e.running,
		.waiting = e.waiting,
		.tokens = e.blocks_held * block,
		.tokens_max = e.blocks * block,
		.tokens_total = e.blocks_held * block,
		.running_max = s->config.engine.seqs_max,
	};
	bb_buf_clear(b);
	load_stat_encode(b, &stat);
	if (b->err || zmq_pub_send(s->load, bb_buf_str(b)))
		BB_LOG(BB_LOG_WARN, "load_lost", "the load could not be published");
}

static void on_load_timer(struct loop_timer *t)
{
	struct sim_server *s = BB_CONTAINER(t, struct sim_server, load_timer);

	load_send(s);
	loop_timer_arm(t, loop_now_ns(s->loop) + LOAD_PERIOD_NS / 10);
}

/* ---- life ---- */

static int publisher_create(struct sim_server *s, const char **why)
{
	const struct sim_config *c = &s->config;
	struct zmq_pub_config config = { .loop = s->loop, .topic = c->kv_topic };
	struct sock_addr replay;

	if (!c->kv_events.len)
		return 0;
	int rc = zmq_endpoint_parse(c->kv_events, &config.listen, why);
	if (rc == 0 && c->kv_replay.len) {
		rc = zmq_endpoint_parse(c->kv_replay, &replay, why);
		config.replay = &replay;
	}
	return rc ? rc : zmq_pub_create(&config, &s->events, why);
}

int sim_events_create(struct sim_server *s, const char **why)
{
	struct zmq_pub_config load = { .loop = s->loop, .topic = BB_STR("load"), .batches_max = 8 };

	bb_buf_init(&s->polled, POLLED_MAX);
	int rc = publisher_create(s, why);
	if (rc || !s->config.load_push.len)
		return rc;
	rc = zmq_endpoint_parse(s->config.load_push, &load.listen, why);
	if (!rc)
		rc = zmq_pub_create(&load, &s->load, why);
	if (!rc)
		rc = loop_timer_init(s->loop, &s->load_timer, on_load_timer);
	if (!rc)
		loop_timer_arm(&s->load_timer, loop_now_ns(s->loop));
	return rc;
}

void sim_events_destroy(struct sim_server *s)
{
	if (s->loop)
		loop_timer_fini(&s->load_timer);
	zmq_pub_destroy(s->load);
	s->load = NULL;
	zmq_pub_destroy(s->events);
	s->events = NULL;
	bb_buf_fini(&s->polled);
}

int sim_events_restart(struct sim_server *s)
{
	struct zmq_pub_config config = { .loop = s->loop, .topic = s->config.kv_topic };
	struct sock_addr replay;
	const char *why;

	s->polled_id = 0;
	bb_buf_clear(&s->polled);
	s->is_batch_open = false;
	(void)!sim_engine_reset_cache(s->engine);
	if (!s->events)
		return 0;
	config.listen = *zmq_pub_addr(s->events);
	if (zmq_pub_replay_addr(s->events)) {
		replay = *zmq_pub_replay_addr(s->events);
		config.replay = &replay;
	}
	zmq_pub_destroy(s->events);
	s->events = NULL;
	return zmq_pub_create(&config, &s->events, &why);
}
