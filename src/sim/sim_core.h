/*
 * sim_core.h: what the files of the simulated engine's HTTP half share. Nobody else includes it.
 *
 *   sim_server   creates it, takes requests, drives the engine model, publishes KV events
 *   sim_answer   the life of one answer: its request, the engine's events, its end
 *   sim_stream   what an answer writes, and how it goes wrong on the way
 *   sim_shape    what an answer looks like in each protocol
 *   sim_probe    health, models, metrics, properties: what is asked besides generation
 *   sim_pooling  embeddings, scores, tokens: answers that are made in one piece
 *   sim_events   KV events and load as they are published, and how they go wrong
 *   sim_control  /sim/…: faults at run time, the state, the requests that came
 *
 * Threads: the loop's. Memory: an answer lives in its server's pool from the request until the
 * client has it or has left. Errors: the answers' own.
 */
#pragma once

#include "base/arena.h"
#include "base/list.h"
#include "base/pool.h"
#include "net/httpd.h"
#include "net/zmq_pub.h"
#include "sim/request_log.h"
#include "sim/sim_metrics.h"
#include "sim/sim_request.h"
#include "sim/sim_server.h"

#define SIM_CHOICES_MAX 64
#define SIM_ID_MAX 256	    /* bytes of a request's id that are kept */
#define SIM_OUT_SIZE 131072 /* bytes of a stream that are written at once */
#define SIM_TEXT_MAX (16u << 20)

struct sim_answer;

/* One of the answers to a request (n > 1, several prompts), and where its stream stands. */
struct sim_choice {
	struct sim_answer *answer;
	uint64_t engine_id;	  /* 0: the engine has no more to do with it */
	struct sim_writer begin;  /* before the first token */
	struct sim_writer writer; /* after `sent` tokens */
	uint32_t index;
	uint32_t made; /* tokens that the engine has made */
	uint32_t sent;
	uint32_t output_count; /* that there will be */
	uint32_t prompt_tokens, cached_tokens;
	uint64_t last_ns; /* of its newest token */
	bool is_scheduled;
	bool is_over;	/* the engine has finished it */
	bool is_closed; /* its last chunk was written */
	enum sim_finish reason;
	struct bb_str prefix; /* of each chunk, in front of the token's text */
	struct bb_str suffix;
};

struct sim_shape;

/* vLLM's load report in the answer's head, as the request's head asks for it. */
enum sim_load_format { SIM_LOAD_NONE, SIM_LOAD_JSON, SIM_LOAD_TEXT };

struct sim_answer {
	struct exchange *x; /* NULL: the client left, and the engine goes on (llama.cpp) */
	struct sim_server *server;
	const struct sim_shape *shape;
	struct bb_list link;	/* in the server's answers */
	struct bb_list due;	/* in the server's list of those that have something to write */
	struct loop_task again; /* goes on writing in the next turn */
	struct bb_arena arena;
	enum api api;
	struct bb_str id;    /* "chatcmpl-…" */
	struct bb_str model; /* as JSON, with its quotes */
	struct bb_str lora;  /* empty: none */
	struct bb_str cache_salt;
	struct bb_str request_id; /* what the client called it */
	enum sim_load_format load_format;
	uint64_t created_s; /* since 1970 */
	uint64_t arrived_ns, scheduled_ns, first_ns, last_ns;
	uint32_t max_tokens; /* or SIM_ABSENT */
	uint32_t choice_count;
	uint32_t choices_per_prompt;
	uint32_t over_count;   /* choices that the engine has finished */
	uint32_t closed_count; /* choices that are written */
	uint32_t chunk_max;    /* bytes of one chunk at most */
	uint32_t event_count;  /* numbers given to events, where a protocol counts them */
	bool stream;
	bool include_usage;
	bool is_begun;	 /* the first chunk was written */
	bool is_blocked; /* until on_writable */
	bool is_dead;	 /* nothing more is written */
	struct sim_fault_draw faults;
	uint32_t fault_at; /* tokens of the first choice after which `fault` strikes; SIM_ABSENT:
			      never */
	enum sim_fault fault;
	struct sim_choice *choices;
};

struct sim_shape {
	const char *id_prefix;
	/* What stands before the first token's chunk; NULL: nothing. */
	void (*head)(struct sim_answer *a, struct bb_buf *out);
	/* What stands around a token's text. */
	void (*around)(const struct sim_answer *a, const struct sim_choice *c,
		       struct bb_buf *prefix, struct bb_buf *suffix);
	/* The number of an event and this stand in front of the prefix; p == NULL: no numbers. */
	struct bb_str numbered;
	/* The suffix of a choice's last token. */
	void (*last)(const struct sim_answer *a, const struct sim_choice *c, struct bb_buf *suffix);
	/* What ends the stream. */
	void (*tail)(struct sim_answer *a, struct bb_buf *out);
	/* The whole answer of a request that is not streamed. */
	void (*body)(struct sim_answer *a, struct bb_buf *out);
};

/* The protocol of a generating endpoint. */
const struct sim_shape *sim_shape_of(enum api api);
extern const struct sim_shape sim_shape_messages, sim_shape_responses;
/* All text of a choice, as the inside of a JSON string. */
void sim_choice_text(const struct sim_choice *c, struct bb_buf *out);
uint32_t sim_answer_prompt_tokens(const struct sim_answer *a);
uint32_t sim_answer_cached_tokens(const struct sim_answer *a);
uint32_t sim_answer_output_tokens(const struct sim_answer *a);

struct sim_server {
	struct sim_config config;
	struct loop *loop;
	struct httpd *httpd;
	struct sim_engine *engine;
	struct loop_timer timer; /* of the engine's next event */
	struct bb_list answers;
	struct bb_list due;
	struct bb_pool answer_pool;
	struct bb_rng rng; /* faults and ids */
	struct sim_words words;
	struct sim_reader reader;
	struct sim_vocabulary *vocabulary;
	struct request_log log;
	struct sim_metrics metrics;
	struct bb_buf body; /* answers are composed here */
	struct bb_buf headers;
	struct bb_buf scratch[2];
	struct zmq_pub *events; /* NULL: none are published */
	struct bb_buf batch;
	struct kv_encoder encoder;
	bool is_batch_open;
	bool has_cleared;	/* AllBlocksCleared is owed, with the next batch */
	struct bb_rng kv_rng;	/* faults of KV events, which leave the others' numbers alone */
	struct zmq_pub *load;	/* NULL: it is not pushed */
	struct loop_timer load_timer;
	struct bb_buf polled; /* TensorRT-LLM: events that nobody has taken yet, as JSON */
	uint64_t polled_id;   /* of the next one */
	uint64_t aborted_count; /* answers whose client left */
	uint64_t finished_count;
	uint64_t token_count; /* written */
	uint64_t started_s;
	char *out; /* headroom, SIM_OUT_SIZE, tailroom */
};

static inline bool sim_is(const struct sim_server *s, enum sim_kind kind)
{
	return s->config.kind == kind;
}

/* ---- sim_server ---- */
/* After each call of the engine: tells what there is, publishes, and sets the timer. */
void sim_server_settle(struct sim_server *s);
/* The model that was asked for: its index, or SIM_ABSENT; adapters count on behind the models. */
uint32_t sim_server_find_model(const struct sim_server *s, struct bb_str name);
struct bb_str sim_server_model(const struct sim_server *s, uint32_t index);
void sim_reply_json(struct exchange *x, int status, const struct bb_buf *body);
/* An error in the shape of the simulated engine. `param` may be NULL. */
void sim_reply_error(struct exchange *x, int status, const char *type, const char *param,
		     const char *message) __attribute__((nonnull(1, 3, 5)));
enum sim_load_format sim_load_format(const struct exchange *x);
/* Header lines of an answer; valid until the next call. */
struct bb_str sim_headers(struct sim_server *s, struct bb_str request_id,
			  enum sim_load_format format);
/* The request's x-request-id, or a new one. */
struct bb_str sim_request_id(struct exchange *x, char room[SIM_ID_MAX]);
/* Reads a body; answers the error itself and returns false. */
bool sim_read(struct exchange *x, enum api api, struct sim_request *out);
/*
 * Is the model known, and is every prompt with the wanted tokens short enough? Answers the error
 * itself. `*model` is the model's index.
 */
bool sim_check(struct exchange *x, const struct sim_request *r, uint32_t *model);

bool sim_offers(const struct sim_server *s, enum api api);

/* ---- the parts ---- */
void sim_generate(struct exchange *x, enum api api, const struct sim_fault_draw *faults);
void sim_answer_closed(struct exchange *x);
/* The engine forgets its choices. */
void sim_answer_drop(struct sim_answer *a);
void sim_answer_destroy(struct sim_answer *a);
/* Writes what there is. May destroy an answer whose client has left. */
void sim_answer_pump(struct sim_answer *a);
void sim_answer_again(struct loop_task *t);
void sim_answer_choose_fault(struct sim_answer *a);
struct bb_str sim_answer_headers(struct sim_answer *a);
extern const struct sim_engine_ops sim_engine_events;

/* ---- sim_events ---- */
BB_MUST int sim_events_create(struct sim_server *s, const char **why);
void sim_events_destroy(struct sim_server *s);
void sim_events_stored(struct sim_server *s, const struct sim_answer *a,
		       const struct sim_stored *stored);
void sim_events_removed(struct sim_server *s, uint64_t hash);
/* What has happened since the last call goes out as one batch. */
void sim_events_flush(struct sim_server *s);
/* The publisher begins anew at the same ports, with number 0, and knows nothing of before. */
BB_MUST int sim_events_restart(struct sim_server *s);
/* TensorRT-LLM's POST /kv_cache_events. */
void sim_events_polled(struct exchange *x, struct sim_server *s);

/* True when the path was theirs and is answered. */
enum sim_health { SIM_HEALTHY, SIM_UNHEALTHY };
bool sim_probe(struct exchange *x, enum sim_health health);
bool sim_control(struct exchange *x);
/* Embeddings, rerank, score, tokenize, detokenize, count_tokens, images, audio. */
void sim_pooling(struct exchange *x, enum api api);
