/* sim_control.c: /sim/…, by which a test steers and watches the simulated engine. */
#include "sim/sim_core.h"

#define LOG_TEXT_MAX (REQUEST_LOG_SIZE * (size_t)(REQUEST_LOG_BYTES + 16))

static void set_faults(struct exchange *x, struct sim_server *s)
{
	struct sim_faults faults = { 0 };
	const char *why;

	if (sim_faults_parse((struct bb_str){ x->body, x->body_len }, &faults, &why)) {
		exchange_reply(x, 400, BB_STR("text/plain"), BB_STR(""), bb_str_of(why));
		return;
	}
	s->config.faults = faults;
	exchange_reply(x, 200, BB_STR("application/json"), BB_STR(""), BB_STR("{}"));
}

static void show_state(struct exchange *x, struct sim_server *s)
{
	struct sim_engine_stats e;

	sim_engine_stats(s->engine, &e);
	bb_buf_clear(&s->body);
	bb_buf_printf(&s->body,
		      "{\"running\":%u,\"waiting\":%u,\"aborted\":%llu,\"finished\":%llu,"
		      "\"tokens\":%llu,\"connections\":%u,\"exchanges\":%u,\"requests\":%llu,",
		      e.running, e.waiting, (unsigned long long)s->aborted_count,
		      (unsigned long long)s->finished_count, (unsigned long long)s->token_count,
		      httpd_connection_count(s->httpd), httpd_exchange_count(s->httpd) - 1,
		      (unsigned long long)s->log.count);
	bb_buf_printf(
		&s->body,
		"\"generated\":%llu,\"preemptions\":%llu,\"prompt_tokens\":%llu,"
		"\"cached_tokens\":%llu,\"kv_blocks\":%u,\"kv_blocks_held\":%u,\"kv_blocks_named\":%u,"
		"\"kv_batches\":%llu,\"kv_port\":%u,\"kv_replay_port\":%u,\"kv_subscribers\":%u}\n",
		(unsigned long long)e.generation_tokens, (unsigned long long)e.preemptions,
		(unsigned long long)e.prompt_tokens, (unsigned long long)e.prompt_tokens_cached,
		e.blocks, e.blocks_held, e.blocks_named,
		s->events ? (unsigned long long)zmq_pub_sequence(s->events) : 0,
		s->events ? zmq_pub_port(s->events) : 0,
		s->events ? zmq_pub_replay_port(s->events) : 0,
		s->events ? zmq_pub_subscriber_count(s->events) : 0);
	sim_reply_json(x, 200, &s->body);
}

static void show_requests(struct exchange *x, struct sim_server *s)
{
	struct bb_buf text;

	bb_buf_init(&text, LOG_TEXT_MAX);
	request_log_write(&s->log, &text);
	if (text.err)
		exchange_reply(x, 500, BB_STR("text/plain"), BB_STR(""), BB_STR("out of memory"));
	else
		sim_reply_json(x, 200, &text);
	bb_buf_fini(&text);
}

static void restart_events(struct exchange *x, struct sim_server *s)
{
	if (sim_events_restart(s))
		exchange_reply(x, 500, BB_STR("text/plain"), BB_STR(""),
			       BB_STR("the publisher could not be started again\n"));
	else
		exchange_reply(x, 200, BB_STR("application/json"), BB_STR(""), BB_STR("{}"));
}

bool sim_control(struct exchange *x)
{
	struct sim_server *s = httpd_user(x->server);
	const struct bb_str path = x->head->path;

	if (!bb_str_starts(path, BB_STR("/sim/")))
		return false;
	if (bb_str_eq(path, BB_STR("/sim/fault")) && x->head->method == HTTP_POST)
		set_faults(x, s);
	else if (bb_str_eq(path, BB_STR("/sim/kv_restart")) && x->head->method == HTTP_POST)
		restart_events(x, s);
	else if (bb_str_eq(path, BB_STR("/sim/state")))
		show_state(x, s);
	else if (bb_str_eq(path, BB_STR("/sim/requests")))
		show_requests(x, s);
	else
		exchange_reply(
			x, 404, BB_STR("text/plain"), BB_STR(""),
			BB_STR("there are /sim/fault and /sim/kv_restart (POST), /sim/state and "
			       "/sim/requests\n"));
	return true;
}
