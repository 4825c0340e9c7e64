/*
 * brain.h: every decision of busbar; pure.
 *
 * For: the gateway (driven by sockets), the simulator (driven by virtual time) and tests. Events
 * go in with a time stamp, decisions come out. There is no clock, no socket, no thread, no global
 * and no random source in here but a generator seeded at creation: same events, same decisions.
 * Threads: none of its own; callers serialise (the gateway with one mutex).
 * Memory: one block of tables with the limits of struct brain_limits; names are copied.
 * Errors: -BB_ELIMIT (a table is full), -BB_ENOMEM, -BB_EINVALID (no such policy). Ids are
 * {slot, generation}: a stale one is harmless.
 * Units: times in monotonic nanoseconds, sizes in tokens.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct brain;

#define BRAIN_NAME_MAX 256 /* bytes of a model's name */

struct engine_id {
	uint32_t slot;
	uint32_t generation; /* 0: none */
};

struct request_id {
	uint32_t slot;
	uint32_t generation; /* 0: none */
};

static inline bool engine_id_is(struct engine_id a, struct engine_id b)
{
	return a.slot == b.slot && a.generation == b.generation;
}

/* Tokens in one block of the index: what every prompt is cut into (text/block_hash). */
#define BRAIN_BLOCK_TOKENS 16

struct brain_limits {
	uint32_t engines_max;  /* 1024 */
	uint32_t models_max;   /* 4096 names, real and discovered, over the life of the process */
	uint32_t requests_max; /* 1,000,000 in flight */
	uint32_t held_max;     /* 10,000 requests waiting for an engine that is open */
	uint64_t held_ns_max;  /* 60 s: longer nobody waits */
	size_t index_bytes;    /* 512 MiB */
	size_t hash_bytes;     /* 256 MiB of block hashes of requests in flight */
};

struct brain_config {
	uint64_t seed;
	struct brain_limits limits; /* zeros: the defaults */
	const char *policy;         /* NULL: the default */
};

BB_MUST int brain_create(const struct brain_config *config, struct brain **out);
void brain_destroy(struct brain *b);

/* ---- what there is: the plan, from the configuration ---- */

struct plan_engine {
	struct bb_str name;          /* its URL, unique */
	const struct bb_str *models; /* only these of what it lists; NULL: all */
	uint32_t model_count;
	bool serves_listed;          /* also models that no plan_model names (from `engines:` or --engine) */
};

struct plan_model {
	struct bb_str name;
	const struct bb_str *aliases; /* "*" catches every name that nothing else has */
	uint32_t alias_count;
	const uint32_t *engines; /* indices into plan.engines */
	uint32_t engine_count;
	struct bb_str served_name; /* name on the engines; empty: found out from what they list */
};

struct plan {
	const struct plan_engine *engines;
	uint32_t engine_count;
	const struct plan_model *models;
	uint32_t model_count;
	const char *policy; /* NULL: unchanged */
};

/*
 * Puts a plan into force as a whole or not at all. Engines that stay (same name) keep their state
 * and load; those that left take no new requests. `ids` receives one id per plan engine.
 */
BB_MUST int brain_configure(struct brain *b, uint64_t now_ns, const struct plan *plan,
			    struct engine_id *ids);

/* ---- what happens: events ---- */

#define ENGINE_STATES(X) X(STARTING, "starting") X(READY, "ready") X(DOWN, "down") X(GONE, "gone")
enum engine_state {
#define X(name, text) ENGINE_##name,
	ENGINE_STATES(X)
#undef X
};
const char *engine_state_name(enum engine_state s);

struct report_model {
	struct bb_str name;
	uint64_t context_tokens; /* 0: unknown */
	bool is_adapter;         /* LoRA: weights of its own on a model that the engine also has */
};

/* All that probing knows about an engine at present; it replaces the report before. */
struct engine_report {
	enum engine_state state;
	bool has_models;             /* `models` is meant, even when empty */
	const struct report_model *models;
	uint32_t model_count;
	uint64_t api_mask;           /* bit n: it offers endpoint n; 0: unknown, all */
	uint32_t sequences_max;      /* running at once; 0: unknown */
	uint64_t kv_tokens_max;      /* KV capacity; 0: unknown */
	uint32_t step_tokens;        /* token budget of a step; 0: unknown */
	uint32_t block_tokens;       /* of its KV blocks; 0: unknown */
	uint32_t dp_ranks;           /* data-parallel ranks that a request can name; 0 or 1: one */
	uint32_t kind;               /* of which program it is: engines of one kind share what is learned */
	bool has_load;
	uint32_t running, waiting;   /* as it says itself; late by nature */
	double kv_usage;             /* 0 … 1 */
};

/* True when the set of models that can be asked for has changed. */
bool brain_engine_report(struct brain *b, uint64_t now_ns, struct engine_id id,
			 const struct engine_report *r);

/* What an engine's rank holds in its KV cache, from its events (kv_mirror.h). */
struct kv_change;
void brain_kv_change(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		     const struct kv_change *c);
/* EXACT: its events are followed. APPROXIMATE: what was sent there is taken to be there. */
enum kv_mode { KV_APPROXIMATE, KV_EXACT };
const char *kv_mode_name(enum kv_mode mode);
/* Going over to APPROXIMATE forgets what its events have told. */
void brain_kv_mode(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		   enum kv_mode mode);

#define BRAIN_EXCLUDE_MAX 8

/* Of what the hashes of a prompt's blocks are made. */
enum prompt_hashes {
	HASHES_NONE,
	HASHES_TOKENS, /* of its exact tokens: they meet the engines' own blocks */
	HASHES_TEXT,   /* of its text, or of its session: they only meet those of other prompts */
};

struct brain_request {
	struct bb_str model;        /* as the client wrote it */
	uint32_t api;               /* bit number in api_mask */
	uint64_t prompt_tokens;     /* exact or estimated */
	uint64_t output_tokens_max; /* UINT64_MAX: not limited by the client */
	const struct engine_id *exclude; /* engines that failed this very request */
	uint32_t exclude_count;
	enum prompt_hashes hashed;
	const uint64_t *hashes;     /* of its whole blocks, or pieces of text; copied */
	uint32_t hash_count;
	uint64_t session;           /* hash of what a session is known by; 0: unknown */
	uint64_t beginning;         /* hash of the prompt's first bytes, without `hashes`; 0: unknown */
	bool teaches;               /* its times say something about the engine: it generates */
	bool is_blind;              /* it answers in one piece: its first token will not be seen */
	bool can_wait;              /* may be held until an engine is open: see DECISION_HOLD */
	uint64_t cookie;            /* comes back with brain_released */
};

/* HOLD: an engine is not open yet; the decision comes later, see brain_released. */
#define DECISION_ACTIONS(X) X(DISPATCH) X(HOLD) X(REJECT)
enum decision_action {
#define X(name) DECISION_##name,
	DECISION_ACTIONS(X)
#undef X
};

#define DECISION_REASONS(X)                                                                        \
	X(NONE, "none")         /* no choice was made */                                           \
	X(ONLY, "only")         /* one engine was left */                                          \
	X(WARM, "warm")         /* it holds most of the prompt of all */                           \
	X(LOAD, "load")         /* a warmer engine is busier */                                    \
	X(COLD, "cold")         /* none holds any of the prompt: the load decided */               \
	X(POLICY, "policy")     /* a policy that looks at neither */
enum decision_reason {
#define X(name, text) REASON_##name,
	DECISION_REASONS(X)
#undef X
	REASON_COUNT,
};
const char *decision_reason_name(enum decision_reason r);

/* Why an engine that is bound to the model could not take it. */
#define DECISION_LEFT_OUTS(X)                                                                      \
	X(NOT_READY, "not ready")                                                                  \
	X(LACKS, "lacks the endpoint")                                                             \
	X(FAILED, "failed this request")
enum decision_left_out {
#define X(name, text) LEFT_OUT_##name,
	DECISION_LEFT_OUTS(X)
#undef X
	LEFT_OUT_COUNT,
};
const char *decision_left_out_name(enum decision_left_out why);

#define DECISION_BEST_MAX 3
#define DECISION_LEFT_MAX 3

/* One of the engines that could have taken it; times in milliseconds, 0 where the policy does not predict. */
struct decision_candidate {
	struct engine_id engine;
	uint32_t rank;
	uint32_t requests;      /* in flight there */
	uint64_t pending;       /* uncached tokens waiting there for a first token */
	uint64_t cached_tokens; /* of this prompt, as far as the index is trusted */
	double cost;
	double wait_ms, prefill_ms, limit_ms, ttft_ms, total_ms;
};

struct decision {
	enum decision_action action;
	int error;                  /* REJECT: -BB_ENOMODEL, -BB_ENOENGINE, -BB_ENOENDPOINT, -BB_EBUSY */
	uint32_t retry_after_ms;    /* REJECT: 0 when trying again is of no use */
	struct request_id request;  /* DISPATCH, HOLD: to be given back with brain_request_ended */
	struct engine_id engine;
	uint32_t rank;              /* data-parallel rank, of `ranks` */
	uint32_t ranks;
	uint32_t model;             /* index for metrics; UINT32_MAX when there is no such model */
	char model_name[BRAIN_NAME_MAX + 1];  /* the gateway's name, aliases resolved */
	char served_name[BRAIN_NAME_MAX + 1]; /* the engine's name */
	uint64_t context_tokens;    /* DISPATCH: of the model at that engine; 0: unknown */
	const char *policy;
	uint32_t policy_row;        /* of policy_at */
	/* why: the numbers of the choice */
	enum decision_reason reason;
	uint64_t held_ns;           /* how long it waited for an open engine */
	uint32_t candidates;        /* lanes that were left after the filters */
	uint32_t engines;           /* engines bound to the model */
	uint32_t engine_requests;   /* in flight there, before this one */
	uint64_t engine_tokens;
	uint64_t cached_tokens;     /* of the prompt that the chosen engine is expected to hold */
	uint64_t possible_tokens;   /* the most that any of the candidates holds */
	double cost, next_cost;     /* of the chosen and of the next best (cost when there is none) */
	uint32_t best_count;
	struct decision_candidate best[DECISION_BEST_MAX]; /* the chosen one first */
	uint32_t left_out[LEFT_OUT_COUNT]; /* engines that could not take it, by why */
	uint32_t left_count;               /* the first of them: */
	struct decision_left {
		struct engine_id engine;
		enum decision_left_out why;
	} left[DECISION_LEFT_MAX];
};

/*
 * Chooses an engine and reserves its load, so that a burst sees itself. With `can_wait` and a policy
 * that holds, a request waits in here while no engine is open for it (late binding): HOLD.
 */
void brain_request_arrived(struct brain *b, uint64_t now_ns, const struct brain_request *r,
			   struct decision *out);
/* A held request whose decision has been made: its id and cookie. False: none. Ask after any event. */
bool brain_released(struct brain *b, struct request_id *id, uint64_t *cookie);
/* What was decided for it; false when it has ended meanwhile. Once. */
bool brain_request_decision(struct brain *b, struct request_id id, struct decision *out);
/* Time goes by: those that waited too long are rejected, the index is swept. Some times a second. */
void brain_tick(struct brain *b, uint64_t now_ns);
uint32_t brain_held(const struct brain *b);
/* The first token has come: its prefill is no longer pending. */
void brain_first_token(struct brain *b, uint64_t now_ns, struct request_id id);
/* So many tokens have come by now; told every so often, not for each. */
void brain_progress(struct brain *b, uint64_t now_ns, struct request_id id, uint64_t generated);

#define REQUEST_OUTCOMES(X)                                                                        \
	X(OK, "ok")              /* answered, whatever its status: 4xx is the client's */          \
	X(CANCELED, "canceled")  /* the client left */                                             \
	X(REFUSED, "refused")    /* no connection: certain that nothing was done */                \
	X(BROKEN, "broken")      /* cut, malformed or 5xx */                                       \
	X(SILENT, "silent")      /* timed out */
enum request_outcome {
#define X(name, text) OUTCOME_##name,
	REQUEST_OUTCOMES(X)
#undef X
};
const char *request_outcome_name(enum request_outcome o);

struct request_result {
	enum request_outcome outcome;
	uint64_t prompt_tokens, cached_tokens, output_tokens; /* from usage; 0 when unknown */
	bool has_cached; /* cached_tokens was reported, be it 0 */
};
void brain_request_ended(struct brain *b, uint64_t now_ns, struct request_id id,
			 const struct request_result *r);
/* An engine answered 404 for an endpoint that it was believed to have. */
void brain_engine_lacks(struct brain *b, struct engine_id id, uint32_t api);

/* ---- what it knows: views for status, metrics, /v1/models ---- */

struct engine_view {
	struct engine_id id;
	const char *name;
	enum engine_state state;
	uint64_t state_since_ns;
	uint32_t requests;        /* in flight from here */
	uint64_t tokens;          /* in flight: prompts and expected output */
	uint64_t pending_prefill; /* prompt tokens sent and not yet answered by a first token */
	uint64_t served;          /* requests ended */
	uint64_t failed;          /* of these BROKEN, REFUSED or SILENT */
	uint32_t failed_in_row;
	uint32_t model_count;
	uint32_t sequences_max;
	uint64_t kv_tokens_max;
	bool has_load;
	uint32_t running, waiting;
	double kv_usage;
	uint32_t ranks;
	enum kv_mode kv_mode;     /* of its first rank */
	bool is_silent;           /* EXACT, but it tells nothing any more */
	double trust;             /* 0 … 1: how far what the index says of it is believed */
	uint64_t index_blocks;    /* that the index has of it */
	uint64_t predicted_cached, reported_cached; /* tokens, of requests whose engine reported them */
	double ttft_factor, gap_factor; /* against others of its kind; 1: the same */
	uint32_t kind;            /* row of brain_kinds_each; UINT32_MAX: not known yet */
	uint32_t silent;          /* requests in a row that should have brought an event and did not */
};

struct model_view {
	uint32_t index;
	const char *name;
	bool is_listed;           /* belongs into /v1/models */
	uint32_t engines, engines_ready;
	uint64_t context_tokens;  /* least of its engines'; 0: unknown */
	uint64_t created_ns;      /* when it was first known */
	uint32_t held;            /* requests that wait for an engine that is open */
	const char *const *aliases;
	uint32_t alias_count;
};

/* Calls `each` for every one; names are valid during the call. */
void brain_engines_each(const struct brain *b, void (*each)(void *user, const struct engine_view *v),
			void *user);
void brain_models_each(const struct brain *b, void (*each)(void *user, const struct model_view *v),
		       void *user);
bool brain_engine_view(const struct brain *b, struct engine_id id, struct engine_view *out);
/* Name of one of a model's engines, say the n-th; NULL behind the last. For status. */
const char *brain_model_engine(const struct brain *b, uint32_t model, uint32_t n);
/* The adapter (LoRA) that a client's name means, as engines list it; false when it means none. */
bool brain_model_adapter(const struct brain *b, struct bb_str name, char out[BRAIN_NAME_MAX + 1]);
/* The model that a client means by a name or an alias; false when there is none. */
bool brain_model_named(const struct brain *b, struct bb_str name, char out[BRAIN_NAME_MAX + 1]);
/* Of its index for metrics; NULL: there is none. Names stay as long as the brain. */
const char *brain_model_name(const struct brain *b, uint32_t model);
const char *brain_policy(const struct brain *b);
/* What has been learned of engines that are alike: kinds.h, rates.h. */
struct kind_view {
	uint32_t row;
	const char *model;
	uint32_t lanes; /* that are of it */
	double base_ms, token_ms, step_ms, kv_token_ms;
	uint64_t ttft_samples, gap_samples;
};
void brain_kinds_each(const struct brain *b, void (*each)(void *user, const struct kind_view *v),
		      void *user);

/*
 * Shadows: other policies' choices, computed beside the real ones wherever there was one, and
 * counted. They change no decision. Each costs about as much again as the policy's own work.
 */
#define BRAIN_SHADOWS_MAX 4
/* Replaces them; those that stay keep their counts. -BB_EINVALID: no such policy; -BB_ELIMIT, -BB_ENOMEM. */
BB_MUST int brain_set_shadows(struct brain *b, const char *const *policies, uint32_t count);

/* Milliseconds are predictions of `lookahead`, summed over the decisions that differed. */
struct shadow_view {
	const char *policy;
	uint64_t agreed, differed;
	double ttft_ms, real_ttft_ms;
	double total_ms, real_total_ms;
};
/* The n-th; false behind the last. */
bool brain_shadow_at(const struct brain *b, uint32_t n, struct shadow_view *out);

struct index_stats;
void brain_index_stats(const struct brain *b, struct index_stats *out);
uint32_t brain_requests_in_flight(const struct brain *b);
uint32_t brain_ready_count(const struct brain *b);
