#include "engines/kv_discover.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engines/figures.h"
#include "net/zmq_pub.h"
#include "wire/json.h"

#define DEPTH_MAX 32

static void __attribute__((format(printf, 2, 3)))
none(struct kv_sources *s, const char *format, ...)
{
	va_list args;

	s->count = 0;
	va_start(args, format);
	vsnprintf(s->why, sizeof(s->why), format, args);
	va_end(args);
}

/* ---- addresses ---- */

static bool port_parse(struct bb_str text, uint32_t *port)
{
	uint64_t value;

	if (bb_parse_u64(text, &value) || value == 0 || value > UINT16_MAX)
		return false;
	*port = (uint32_t)value;
	return true;
}

/* The port of "tcp://HOST:PORT". What HOST is does not matter: nobody but its engine is asked. */
static bool endpoint_port(struct bb_str text, uint32_t *port)
{
	if (!bb_str_starts(text, BB_STR("tcp://")))
		return false;
	text = bb_str_skip(text, 6);
	size_t colon = text.len;
	while (colon && text.p[colon - 1] != ':')
		colon--;
	return colon >= 2 && port_parse(bb_str_skip(text, colon), port);
}

/* ---- vLLM, busbar-engine ---- */

struct raw_source {
	uint32_t port, replay_port; /* replay 0: none */
	bool is_there;
};

static bool text_member(struct bb_str object, struct bb_str key, struct bb_str *out)
{
	struct json_member m;

	if (!json_get(object, key, &m) || m.type != JSON_STRING)
		return false;
	*out = json_string_inner(m.value);
	return true;
}

/* Into a text of KV_TOPIC_MAX bytes; false when it does not fit or is no text. */
static bool topic_copy(struct bb_str object, struct bb_str key, char *out)
{
	struct json_member m;
	struct bb_buf room;

	out[0] = '\0';
	if (!json_get(object, key, &m) || m.type == JSON_NULL)
		return true;
	bb_buf_init(&room, 6 * KV_TOPIC_MAX + 16);
	const bool is_good = m.type == JSON_STRING && m.value.len <= 6 * KV_TOPIC_MAX &&
			     !json_string_decode_buf(m.value, &room) && room.len <= KV_TOPIC_MAX &&
			     (room.len == 0 || !memchr(room.p, '\0', room.len));
	if (is_good && room.len)
		memcpy(out, room.p, room.len);
	if (is_good)
		out[room.len] = '\0';
	bb_buf_fini(&room);
	return is_good;
}

/* One rank's publisher; false: `s->why` says what is wrong with it. */
static bool publisher_read(struct bb_str p, struct kv_sources *s, struct raw_source *out)
{
	struct bb_str kind, endpoint, replay;
	struct json_member m;

	if (json_get(p, BB_STR("enable_kv_cache_events"), &m) && m.type == JSON_FALSE) {
		none(s, "its KV events are switched off");
		return false;
	}
	/* Some versions name the endpoint alone. */
	if (json_get(p, BB_STR("publisher"), &m) &&
	    (!text_member(p, BB_STR("publisher"), &kind) || !bb_str_eq(kind, BB_STR("zmq")))) {
		none(s, "its KV events go nowhere: its publisher is not \"zmq\"");
		return false;
	}
	if (!text_member(p, BB_STR("endpoint"), &endpoint) ||
	    !endpoint_port(endpoint, &out->port)) {
		none(s, "its events' endpoint is not tcp://HOST:PORT: name it by kv_events");
		return false;
	}
	if (!text_member(p, BB_STR("replay_endpoint"), &replay) ||
	    !endpoint_port(replay, &out->replay_port))
		out->replay_port = 0;
	if (!topic_copy(p, BB_STR("topic"), s->topic)) {
		none(s, "its events' topic is no text of at most %d bytes", KV_TOPIC_MAX);
		return false;
	}
	out->is_there = true;
	return true;
}

/* Ranks that share a port publish at that port plus their number. */
static void source_place(const struct raw_source *raw, uint32_t rank, uint32_t add,
			 const struct sock_addr *engine, struct kv_source *out)
{
	out->live = sock_addr_at_port(engine, (uint16_t)(raw[rank].port + add));
	out->has_replay = raw[rank].replay_port && raw[rank].replay_port + add <= UINT16_MAX;
	if (out->has_replay)
		out->replay = sock_addr_at_port(engine, (uint16_t)(raw[rank].replay_port + add));
}

static void sources_place(const struct raw_source *raw, const struct sock_addr *engine,
			  struct kv_sources *s)
{
	const bool is_shared = s->count > 1 && raw[0].port == raw[1].port;

	for (uint32_t i = 0; i < s->count; i++) {
		const uint32_t add = is_shared ? i : 0;
		if (!raw[i].is_there || raw[i].port + add > UINT16_MAX) {
			none(s, "not all of its data-parallel ranks publish KV events");
			return;
		}
		source_place(raw, i, add, engine, &s->items[i]);
	}
}

/* False: there is nothing more to read, and `s->why` says why. */
static bool rank_take(struct kv_sources *s, struct raw_source *raw, uint64_t rank,
		      struct bb_str value)
{
	if (rank >= KV_RANKS_MAX) {
		none(s, "it has more than %d data-parallel ranks", KV_RANKS_MAX);
		return false;
	}
	if (!publisher_read(value, s, &raw[rank]))
		return false;
	if (s->count <= rank)
		s->count = (uint32_t)rank + 1;
	return true;
}

/* {"0": {…}, "1": {…}} */
static void map_read(struct json_pull *j, struct kv_sources *s, struct raw_source *raw)
{
	struct bb_str key, value;
	enum json_type type;
	uint64_t rank;

	while (json_pull_key(j, &key) && json_pull_value(j, &value, &type))
		if (type == JSON_OBJECT && !bb_parse_u64(key, &rank) &&
		    !rank_take(s, raw, rank, value))
			return;
}

/* [{"data_parallel_rank": 0, …}, …] */
static void list_read(struct json_pull *j, struct kv_sources *s, struct raw_source *raw)
{
	struct json_member rank;
	struct bb_str value;
	enum json_type type;
	uint64_t number;

	for (uint64_t i = 0; json_pull_more(j) && json_pull_value(j, &value, &type); i++) {
		if (!json_get(value, BB_STR("data_parallel_rank"), &rank) ||
		    json_u64(rank.value, &number))
			number = i;
		if (type == JSON_OBJECT && !rank_take(s, raw, number, value))
			return;
	}
}

int kv_discover_sources(struct bb_str body, const struct sock_addr *engine, struct kv_sources *out)
{
	struct raw_source raw[KV_RANKS_MAX] = { { 0 } };
	struct json_member list;
	struct json_pull j;

	*out = (struct kv_sources){ 0 };
	if (json_check(body, DEPTH_MAX, NULL))
		return -BB_ESYNTAX;
	none(out, "it publishes no KV events");
	json_pull_init(&j, json_get(body, BB_STR("sources"), &list) ? list.value : body);
	if (json_pull_array(&j))
		list_read(&j, out, raw);
	else if (json_pull_object(&j))
		map_read(&j, out, raw);
	else
		return -BB_ESYNTAX;
	if (out->count)
		sources_place(raw, engine, out);
	return 0;
}

/* ---- SGLang ---- */

static bool port_base_read(struct bb_str events, struct bb_str key, uint32_t ranks, uint32_t *out)
{
	const uint64_t port = figure_member(events, key);

	*out = port && port + ranks - 1 <= UINT16_MAX ? (uint32_t)port : 0;
	return *out != 0;
}

static void load_read(struct bb_str events, uint32_t ranks, const struct sock_addr *engine,
		      struct kv_sources *s)
{
	uint32_t port;

	if (!port_base_read(events, BB_STR("load_endpoint_port_base"), ranks, &port) ||
	    !topic_copy(events, BB_STR("load_topic"), s->load_topic))
		return;
	for (uint32_t i = 0; i < ranks; i++)
		s->load[i] = sock_addr_at_port(engine, (uint16_t)(port + i));
	s->load_count = ranks;
}

int kv_discover_server_info(struct bb_str body, const struct sock_addr *engine,
			    struct kv_sources *out)
{
	struct json_member events;
	struct bb_str kind;
	uint32_t port, replay_port;

	*out = (struct kv_sources){ 0 };
	if (json_check(body, DEPTH_MAX, NULL) || json_type_of(body) != JSON_OBJECT)
		return -BB_ESYNTAX;
	none(out, "it publishes no KV events");
	if (!json_get(body, BB_STR("kv_events"), &events) || events.type != JSON_OBJECT)
		return 0;
	uint64_t ranks = figure_member(events.value, BB_STR("dp_size"));
	ranks = ranks ? ranks : 1;
	if (ranks > KV_RANKS_MAX) {
		none(out, "it has more than %d data-parallel ranks", KV_RANKS_MAX);
		return 0;
	}
	load_read(events.value, (uint32_t)ranks, engine, out);
	if (!text_member(events.value, BB_STR("publisher"), &kind) ||
	    !bb_str_eq(kind, BB_STR("zmq")))
		return 0;
	if (!port_base_read(events.value, BB_STR("endpoint_port_base"), (uint32_t)ranks, &port) ||
	    !topic_copy(events.value, BB_STR("topic"), out->topic)) {
		none(out, "what it says of its KV events cannot be read");
		return 0;
	}
	(void)port_base_read(events.value, BB_STR("replay_endpoint_port_base"), (uint32_t)ranks,
			     &replay_port);
	const uint64_t block = figure_member(events.value, BB_STR("block_size"));
	out->block_tokens = block <= UINT32_MAX ? (uint32_t)block : 0;
	out->count = (uint32_t)ranks;
	for (uint32_t i = 0; i < ranks; i++) {
		out->items[i].live = sock_addr_at_port(engine, (uint16_t)(port + i));
		out->items[i].has_replay = replay_port != 0;
		if (replay_port)
			out->items[i].replay =
				sock_addr_at_port(engine, (uint16_t)(replay_port + i));
	}
	return 0;
}

/* ---- configured ---- */

/* The operator may name any host, by its number; `*` is the engine's own. */
static bool configured_addr(struct bb_str text, const struct sock_addr *engine,
			    struct sock_addr *out)
{
	const char *why;
	uint32_t port;

	if (!bb_str_starts(text, BB_STR("tcp://*:")))
		return !zmq_endpoint_parse(text, out, &why);
	if (!endpoint_port(text, &port))
		return false;
	*out = sock_addr_at_port(engine, (uint16_t)port);
	return true;
}

int kv_discover_configured(const struct kv_configured *c, const struct sock_addr *engine,
			   struct kv_sources *out)
{
	*out = (struct kv_sources){ 0 };
	if (c->count == 0 || c->count > KV_RANKS_MAX || c->topic.len > KV_TOPIC_MAX) {
		none(out, "kv_events: 1 to %d endpoints, and a topic of at most %d bytes",
		     KV_RANKS_MAX, KV_TOPIC_MAX);
		return -BB_EINVALID;
	}
	for (uint32_t i = 0; i < c->count; i++) {
		struct kv_source *s = &out->items[i];
		s->has_replay = c->replay != NULL;
		if (configured_addr(c->live[i], engine, &s->live) &&
		    (!c->replay || configured_addr(c->replay[i], engine, &s->replay)))
			continue;
		none(out, "kv_events: an endpoint is tcp://HOST:PORT with a numeric HOST or *");
		return -BB_EINVALID;
	}
	if (c->topic.len)
		memcpy(out->topic, c->topic.p, c->topic.len);
	out->count = c->count;
	return 0;
}
