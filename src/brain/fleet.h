/*
 * fleet.h: engines, models, and which engine serves which model under which name.
 *
 * For: brain.c only. Models come from the plan and from what engines list; binding.h computes who
 * serves what anew whenever either changes (rare). Slots of engines and models never move, so
 * that ids and metrics stay valid over reloads.
 * Threads: as the brain. Memory: tables of fixed maxima; names are owned.
 * Errors: -BB_ELIMIT, -BB_ENOMEM.
 */
#pragma once

#include "base/map.h"
#include "brain/brain.h"

struct engine_model {
	char *name;
	uint64_t context_tokens;
	bool is_adapter;
};

/* What the configuration says about an engine. */
struct engine_plan {
	bool in_plan;
	bool serves_listed;
	char **only; /* serve only these names; NULL: all */
	uint32_t only_count;
};

/* What a decision reads of each engine stands together, on one cache line. */
struct engine {
	uint32_t generation; /* 0: free slot */
	enum engine_state state;
	uint32_t lane_first, lane_count; /* lane_list.h, one for each data-parallel rank; count 0: none yet */
	uint32_t dp_ranks;
	uint32_t requests; /* counted here */
	uint64_t api_mask;
	uint64_t api_lacks;
	uint64_t tokens; /* counted here */
	uint64_t pending_prefill;
	char *name;
	uint64_t state_since_ns;
	struct engine_plan plan;
	struct engine_plan next; /* while a plan is put into force: the other one */
	bool is_new;             /* claimed for the plan that is being put into force */
	struct engine_model *listed; /* what it says it serves */
	uint32_t listed_count;
	bool has_listed;             /* it has said so at least once */
	uint32_t sequences_max;
	uint64_t kv_tokens_max;
	bool has_load;
	uint32_t running, waiting;
	double kv_usage;
	uint64_t served, failed; /* counted here */
	uint32_t failed_in_row;
	uint32_t model; /* the first that is bound to it */
	uint32_t step_tokens, block_tokens, kind;
};

struct binding {
	uint32_t engine; /* slot */
	char *served_name;
	uint64_t context_tokens;
	bool is_adapter;
};

struct bindings {
	struct binding *list;
	uint32_t count;
};

/* What the configuration says about a model. */
struct model_plan {
	bool in_plan;
	char **aliases;
	uint32_t alias_count;
	char *served_name; /* NULL: find out */
	uint32_t *engines; /* slots */
	uint32_t engine_count;
};

struct model {
	char *name;
	uint64_t created_ns;
	uint64_t sequence; /* requests so far: round_robin's turn */
	uint32_t held;     /* requests that wait for an open engine */
	/* what the order of the queue is made of (hold.c): running averages */
	double sent_tokens;  /* uncached tokens of a request that was sent */
	double sent_waiting; /* work of such a request × seconds it had waited */
	double sent_work;
	double slot_share;   /* 0 … 1: of those that had to wait, for a free sequence */
	struct model_plan plan;
	struct model_plan next; /* while a plan is put into force: the other one */
	struct bindings bound;
	struct bindings rebound; /* while bindings are computed: the new ones */
};

struct fleet {
	struct engine *engines; /* engines_max */
	uint32_t engine_count;  /* slots ever used */
	uint32_t engines_max;
	struct model *models; /* models_max */
	uint32_t model_count;
	uint32_t models_max;
	uint32_t next_generation;
	struct bb_map names; /* model names and aliases → model slot */
	uint32_t catch_all;  /* model slot of the alias "*"; UINT32_MAX: none */
	bool is_stale;       /* an engine lists something else than the bindings say */
	/* One more with each change of what decides who may take a request: bindings, states,
	 * endpoints, lanes. */
	uint64_t version;
};

BB_MUST int fleet_init(struct fleet *f, uint32_t engines_max, uint32_t models_max, uint64_t hash_key);
void fleet_fini(struct fleet *f);
/* NULL when the id is stale. */
struct engine *fleet_engine(const struct fleet *f, struct engine_id id);
/* As a whole or not at all; `ids` means nothing after a failure. */
BB_MUST int fleet_apply_plan(struct fleet *f, uint64_t now_ns, const struct plan *plan,
			     struct engine_id *ids);
/* Takes over what an engine lists. 1 when that differs from before, 0 when not, or an error. */
BB_MUST int fleet_set_listed(struct engine *e, const struct report_model *models, uint32_t count);
/* The slot of a model, made if absent; UINT32_MAX when the table is full or there is no memory. */
uint32_t fleet_model_slot(struct fleet *f, struct bb_str name, uint64_t now_ns);
/* Takes back what fleet_model_slot has added since there were `count`, while nothing is bound to it. */
void fleet_models_drop(struct fleet *f, uint32_t count);
/* The model that a client's name means; an empty name the only one. NULL when there is none. */
struct model *fleet_resolve(const struct fleet *f, struct bb_str name);
void engine_set_state(struct fleet *f, struct engine *e, enum engine_state state, uint64_t now_ns);

/* Engines and models as bytes (fleet_pack.c); reading, into a fleet that has none yet. */
struct pack;
void fleet_pack(struct fleet *f, struct pack *k);
