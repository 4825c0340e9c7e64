/*
 * fleet.h: engines, models, and which engine serves which model under which name.
 *
 * For: brain.c only. Models come from the plan and from what engines list; `fleet_bind` computes
 * the bindings anew whenever either changes (rare). Slots of engines and models never move, so
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
};

struct engine {
	uint32_t generation; /* 0: free slot */
	char *name;
	enum engine_state state;
	uint64_t state_since_ns;
	bool in_plan;
	bool serves_listed;
	char **only; /* plan: serve only these names; NULL: all */
	uint32_t only_count;
	struct engine_model *listed; /* what it says it serves */
	uint32_t listed_count;
	bool has_listed;             /* it has said so at least once */
	uint64_t api_mask;
	uint64_t api_lacks;
	uint32_t sequences_max;
	uint64_t kv_tokens_max;
	bool has_load;
	uint32_t running, waiting;
	double kv_usage;
	/* counted here */
	uint32_t requests;
	uint64_t tokens;
	uint64_t pending_prefill;
	uint64_t served, failed;
	uint32_t failed_in_row;
};

struct binding {
	uint32_t engine; /* slot */
	char *served_name;
	uint64_t context_tokens;
};

struct model {
	char *name;
	uint64_t created_ns;
	bool in_plan;
	uint64_t sequence; /* requests so far: round_robin's turn */
	char **aliases;
	uint32_t alias_count;
	char *served_name; /* plan; NULL: find out */
	uint32_t *plan_engines; /* slots */
	uint32_t plan_engine_count;
	struct binding *bindings;
	uint32_t binding_count;
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
};

BB_MUST int fleet_init(struct fleet *f, uint32_t engines_max, uint32_t models_max, uint64_t hash_key);
void fleet_fini(struct fleet *f);
/* NULL when the id is stale. */
struct engine *fleet_engine(const struct fleet *f, struct engine_id id);
BB_MUST int fleet_apply_plan(struct fleet *f, uint64_t now_ns, const struct plan *plan,
			     struct engine_id *ids);
/* Takes over what an engine lists. 1 when that differs from before, 0 when not, or an error. */
BB_MUST int fleet_set_listed(struct engine *e, const struct report_model *models, uint32_t count);
/* Computes bindings and names. Old ones stay in force when it fails. */
BB_MUST int fleet_bind(struct fleet *f, uint64_t now_ns);
/* The model that a client's name means; NULL when there is none. */
struct model *fleet_resolve(const struct fleet *f, struct bb_str name);
void engine_set_state(struct engine *e, enum engine_state state, uint64_t now_ns);
