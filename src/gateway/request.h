/*
 * request.h: one client request from its arrival to its record.
 *
 * For: worker.c, which hands exchanges over; request.c (the steps before the answer), relay.c
 * (the answer), settle.c (accounts and record).
 * The way: scan → tokens → admit → (local answers) → decide → (held) → send → (answer) → settle; a
 * failure before anything was shown to the client leads back to decide with that engine excluded.
 * Threads: the worker's. Memory: from the worker's pool; what is variable lives in the arena and
 * is freed with the request.
 * Errors: become answers; see request_fail.
 */
#pragma once

#include "brain/tenants.h"
#include "gateway/auth.h"
#include "gateway/worker.h"
#include "wire/assemble.h"
#include "wire/chunk_twin.h"
#include "wire/openai.h"

#define REQUEST_MAGIC 0x52455155u
#define REQUEST_ARENA_MAX (1u << 20)
#define REQUEST_ID_MAX 128
#define REQUEST_NEVER UINT32_MAX /* trying again is of no use */
#define REQUEST_RETRY_S_MAX (100u * 86400)
/* Events without content that are kept back, so that a failure before the first token can be retried. */
#define REQUEST_EARLY_MAX 16384

#define REQUEST_STEPS(X) X(SCAN) X(TOKENS) X(ADMIT) X(LOCAL) X(DECIDE) X(HELD) X(SEND) X(ANSWER) X(DONE)
enum request_step {
#define X(name) REQUEST_##name,
	REQUEST_STEPS(X)
#undef X
};

enum relay_mode {
	RELAY_NONE,     /* no head of an answer yet */
	RELAY_EVENTS,   /* a stream of events to a client that asked for one */
	RELAY_ASSEMBLE, /* a stream of events that becomes one answer */
	RELAY_PLAIN,    /* bytes as they come */
	RELAY_ERROR,    /* an error answer, kept until it is whole */
};

struct request {
	uint32_t magic;
	uint8_t step;              /* enum request_step */
	uint8_t relay;             /* enum relay_mode */
	bool asked_stream : 1;     /* the client wants a stream */
	bool engine_streams : 1;   /* the engine was asked for a stream */
	bool strips_usage : 1;     /* the usage chunk is ours, not the client's */
	bool begun : 1;            /* the head of an answer went to the exchange */
	bool shown : 1;            /* the client has seen something of an engine's answer */
	bool in_brain : 1;         /* brain_request_ended is owed */
	bool has_first : 1;        /* the first token has come */
	bool has_done : 1;         /* [DONE] was passed on */
	bool has_finish : 1;       /* a finish_reason or the protocol's last event */
	bool has_error : 1;        /* the engine reported an error in its stream */
	bool fresh_conn : 1;       /* the next attempt must not reuse a connection */
	bool in_stream : 1;        /* counted as an open stream */
	bool tokens_exact : 1;     /* prompt_tokens was counted and not estimated */
	bool is_over : 1;          /* it ended while `released` was on its way */
	bool is_posted;            /* `released` is on its way; set under the brain's lock */
	uint8_t api;               /* enum api */
	uint8_t attempts;
	uint8_t exclude_count;
	int16_t status;            /* of the answer to the client; 0: none yet */
	int error;                 /* 0 or the -BB_E… that the client was told */
	uint32_t retry_after_s;    /* of an error that can be tried again; 0: one; REQUEST_NEVER */
	const struct auth_tenant *tenant; /* in the snapshot; NULL: nobody asks */
	struct tenant_hold hold;   /* reserved of the tenant's limits */
	enum request_outcome outcome;
	struct worker *worker;
	struct exchange *x;        /* NULL once it is over */
	struct snapshot *snapshot;
	struct series *series;
	struct bb_arena arena;
	struct call call;
	struct loop_timer comment; /* keep-alive comments; loop == NULL when unused */
	/* in the arena: */
	struct openai_request *body_facts; /* NULL for bodies that are no JSON */
	struct bb_str target;      /* path and query */
	struct bb_str id;          /* x-request-id */
	struct bb_str fields;      /* header lines that go to the engine */
	struct bb_str own_fields;    /* the gateway's own header lines of an answer */
	struct bb_str answer_fields; /* these, and the engine's once it has answered */
	struct bb_str content_type;
	struct bb_str model;       /* as the client wrote it */
	struct bb_str model_span;  /* where it stands in a multipart body */
	struct bb_str model_name;  /* the gateway's name for it */
	/* the choice */
	struct loop_message released; /* it waited, and the brain has decided */
	const uint64_t *hashes;    /* of the prompt's blocks; in the arena */
	uint32_t hash_count;
	uint8_t hashed;            /* enum prompt_hashes */
	uint64_t session;          /* hash of its session's name; 0: none */
	struct explanation *why;   /* NULL: nothing was decided, or no memory */
	uint64_t decided_ns;       /* the latest decision, monotonic */
	uint32_t rank, ranks;      /* of the engine's data-parallel ranks */
	struct request_id brain_id;
	struct engine_id engine;
	struct engine_id exclude[BRAIN_EXCLUDE_MAX];
	uint32_t model_index;
	uint32_t candidates;
	const struct adapter *adapter;
	/* the answer */
	struct assembler *assembler;
	struct usage_tap *tap;
	struct bb_buf early;       /* events before the first token, not yet sent */
	struct bb_buf held;        /* part of an event, or an error's body */
	struct usage usage;
	struct chunk_twin twin;
	int engine_status;
	int failure;               /* -BB_E… of the latest attempt that failed; 0: none */
	struct bb_str failure_why;
	struct bb_str error_payload; /* the engine's error object, before anything was shown */
	uint64_t answer_length;    /* of a plain answer, or EXCHANGE_CHUNKED */
	uint32_t events;           /* with content */
	uint64_t first_ns, last_ns; /* first and latest event with content, monotonic */
	uint64_t wrote_ns;         /* last write to the client */
	uint64_t kept_bytes;       /* taken of the gateway's buffers for `held` and the assembler */
	uint64_t body_bytes;       /* of the request */
	uint64_t prompt_tokens;    /* counted or estimated: tokens_exact */
	uint64_t prompt_longest;   /* of several prompts, where they were counted */
	uint64_t begin_ns;
};

extern const struct httpd_ops request_ops;
size_t request_size(void);

/* Runs steps until one waits. */
void request_run(struct request *r);
/*
 * Ends the request with an error of ours, in whatever way is still possible: an answer, an error
 * event in a stream, or by breaking the connection. `message` may be empty: the code's own.
 */
void request_fail(struct request *r, int err, struct bb_str message, const char *param);
/*
 * Takes as much of the gateway's buffers as `held`, the assembler and `more` bytes come to by now, or
 * gives back what is over. False: there is not as much, and what was taken stays as it was.
 */
bool request_keep(struct request *r, size_t more);
/* The call is over: tells the brain. */
void request_leave_engine(struct request *r, enum request_outcome outcome);
/* Tries another engine if that is still possible; false: it is not. */
bool request_retry(struct request *r, enum request_outcome outcome, enum upstream_error what);
/* The client gave its body; it is not needed any more once an answer is shown. */
void request_drop_body(struct request *r);
/* A stream at rest keeps what its end needs: who asked for what. The rest of the arena goes. */
void request_slim(struct request *r);

/* relay.c */
extern const struct call_ops relay_ops;
/* Keep-alive comments from now on. */
void relay_begin_stream(struct request *r);
/* No engine is left to try: what the last one did wrong becomes the answer. */
void relay_give_up(struct request *r);

/* request_why.c: what is said about its way. In this order: */
void request_why_decided(struct request *r, const struct decision *d);
/* The attempt at r->engine has failed. */
void request_why_failed(struct request *r, enum upstream_error what);
/* May the client be told, and is there something to tell? */
bool request_why_is_shown(const struct request *r);
/* Header lines for the client. */
void request_why_fields(const struct request *r, struct bb_buf *text);
void request_why_ended(struct request *r, uint64_t now_ns, enum status_class class);
/* The member "decision" of its record; nothing when there is none. */
void request_why_write(const struct request *r, struct bb_buf *record);
void request_why_drop(struct request *r);

/* settle.c: the exchange is over: metrics and access record. */
void request_settle(struct request *r);

/* models.c: GET /v1/models and /v1/models/{id}; returns the answer's status */
int models_answer(struct request *r, struct bb_str fields);
/* "The model `x` does not exist …" with the names of those that the tenant may use. */
void models_explain_unknown(const struct request *r, struct bb_str name, struct bb_buf *out);
