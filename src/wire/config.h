/*
 * config.h: the configuration of a gateway, from YAML text to one immutable object.
 *
 * For: `busbar serve`, `busbar check` and every room above that reads settings. Parsing is pure:
 * text in, object or list of mistakes out; the environment is a look-up given by the caller.
 * The keys with their types, defaults, ranges and sentences stand in config_table.c.
 * Threads: building is one owner's; a finished object is never changed and may be read by any.
 * Memory: the object owns everything in it, strings included (they have a NUL behind them);
 * config_free gives all back.
 * Errors: -BB_EINVALID when there are mistakes (they are in the list), -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "wire/config_errors.h"
#include "wire/key_text.h"
#include "wire/variables.h"

#define CONFIG_TEXT_MAX (1u << 20) /* bytes of a file */
#define CONFIG_ENGINES_MAX 4096
#define CONFIG_MODELS_MAX 4096
#define CONFIG_TENANTS_MAX 16384
#define CONFIG_TENANT_KEYS_MAX 1024

enum config_log_format { CONFIG_LOG_AUTO, CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

enum config_engine_kind {
	CONFIG_ENGINE_AUTO, /* found out by probing */
	CONFIG_ENGINE_VLLM,
	CONFIG_ENGINE_SGLANG,
	CONFIG_ENGINE_TRTLLM,
	CONFIG_ENGINE_LLAMACPP,
	CONFIG_ENGINE_BUSBAR, /* busbar-engine */
	CONFIG_ENGINE_OPENAI, /* any other server with an OpenAI API */
};

/* A text with its place in the file (line 0 when it is a default). */
struct config_text {
	struct bb_str text;
	struct config_place place;
};

struct config_texts {
	const struct config_text *items;
	uint32_t count;
};

struct config_log {
	enum bb_log_level level;
	enum config_log_format format;
};

struct config_cors {
	struct config_texts origins; /* empty: CORS is off; "*" = every origin */
	struct bb_str headers;	     /* the value of access-control-allow-headers */
	uint64_t max_age_ns;
};

struct config_limits {
	uint64_t head_size;
	uint64_t url_size;
	uint64_t body_size;
	uint64_t buffers; /* bytes of all buffers together */
	uint64_t header_timeout_ns;
	uint64_t body_timeout_ns;
	uint64_t keepalive_ns;
	uint64_t write_timeout_ns;
	uint64_t sse_line;    /* bytes */
	uint64_t answer_size; /* bytes of an answer that is put together before it is sent */
	uint64_t body_rate;   /* bytes a second, on average after ten seconds; 0: none */
	uint32_t connections; /* 0: as many as the system allows */
	uint32_t connections_per_address; /* 0: no limit */
	uint32_t requests_per_connection; /* 0: no limit */
	uint32_t json_depth;
	uint64_t prompt_cache; /* bytes; 0: off */
	uint64_t index;        /* bytes: which engine holds which blocks */
	uint64_t kv_mirror;    /* bytes, for each engine whose KV events are followed */
	uint32_t explain;      /* decisions that are kept; 0: none */
};

/* Requests that wait for an engine that is open for them. */
struct config_queue {
	uint32_t max;
	uint64_t wait_ns;
};

struct config_upstream {
	uint64_t connect_timeout_ns;
	uint64_t first_byte_timeout_ns;
	uint64_t read_timeout_ns;
	uint64_t write_timeout_ns;
	uint64_t idle_timeout_ns;
	uint64_t keepalive_comment_ns; /* 0: off */
	uint32_t idle_connections;     /* of one thread to one engine */
	uint32_t retries;
};

struct config_probe {
	uint64_t interval_ns;
	uint64_t timeout_ns;
	uint64_t metrics_interval_ns;
	uint32_t unhealthy_after;
};

enum config_switch { CONFIG_OFF, CONFIG_ON };

/* The zero is the safe one. */
enum config_verify { CONFIG_VERIFY_ON, CONFIG_VERIFY_OFF };

enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };

/* A certificate for the names that clients ask for by SNI. */
struct config_sni {
	struct config_place place;
	struct config_texts names; /* "api.example.org" "*.example.org" */
	struct bb_str cert;	   /* paths of PEM files */
	struct bb_str key;
};

struct config_snis {
	struct config_sni *items;
	uint32_t count;
};

/* TLS of a listener. */
struct config_tls {
	struct bb_str cert; /* path of a PEM file; empty: no TLS */
	struct bb_str key;
	struct bb_str client_ca; /* clients must show a certificate of it; empty: they need none */
	enum config_tls_version min_version;
	struct config_snis sni;
};

/* TLS towards an engine with an https:// URL. */
struct config_engine_tls {
	struct bb_str ca;   /* path of a PEM file; empty: what the system trusts */
	struct bb_str cert; /* our own; empty: none */
	struct bb_str key;
	struct bb_str server_name; /* empty: the URL's host */
	enum config_verify verify;
};

/* Tokens of others (OpenID Connect) instead of API keys. */
struct config_jwt {
	struct bb_str jwks; /* path or URL of the public keys; empty: off */
	struct bb_str issuer;
	struct bb_str audience;
	struct bb_str tenant_claim;
	struct config_texts algorithms; /* empty: all that are known */
	uint64_t leeway_ns;
};

/* What is let through to engines although it can harm them. */
struct config_shield {
	struct config_texts image_urls; /* beginnings of URLs */
	struct config_texts allow;	/* members of requests */
};

/* ---- tenants ---- */

enum config_priority {
	CONFIG_PRIORITY_INTERACTIVE,
	CONFIG_PRIORITY_STANDARD,
	CONFIG_PRIORITY_BATCH,
};

/* A key with its place. */
struct config_api_key {
	struct key_record record;
	struct config_place place;
};

struct config_api_keys {
	struct config_api_key *items;
	uint32_t count;
};

enum config_budget_kind { CONFIG_BUDGET_NONE, CONFIG_BUDGET_TOKENS, CONFIG_BUDGET_MONEY };

/* For each calendar month, in UTC. */
struct config_budget {
	uint64_t amount;  /* tokens, or thousand-millionths of the currency's unit */
	uint32_t kind;	  /* enum config_budget_kind */
	char currency[4]; /* "EUR" */
};

struct config_tenant_limits {
	uint64_t requests_per_minute; /* each 0: no limit */
	uint64_t tokens_per_minute;
	uint64_t concurrent;
};

struct config_tenant {
	struct bb_str name;
	struct config_place place;
	bool is_from_keys_file;	    /* that is where its places are */
	struct config_api_keys key; /* both are the tenant's: two ways to write it */
	struct config_api_keys keys;
	struct config_texts models; /* patterns with "*"; empty: all */
	uint64_t expires_s;	    /* Unix time; 0: never */
	struct config_tenant_limits limits;
	struct config_budget budget;
	enum config_priority priority;
	struct config_texts allow; /* as struct config_shield */
	enum config_switch shared_prefix_cache;
	enum config_switch explain; /* headers that tell why */
};

struct config_tenants {
	struct config_tenant *items;
	uint32_t count;
};

/* What clients ask for. Names listed only in an engine's `models` are models as well. */
struct config_model {
	struct bb_str name;
	struct config_place place;
	struct config_texts aliases; /* other names; "*" catches every name that nothing else has */
	struct bb_str served_name;   /* the engine's name for it; empty: found out */
	struct bb_str tokenizer;     /* a path; empty: none */
	struct bb_str chat_template; /* a path; empty: the tokenizer's own */
	uint64_t ttft_ns;	     /* objectives; 0: none */
	uint64_t itl_ns;
	const uint32_t *engines; /* indices into config.engines, at least one, none twice */
	uint32_t engine_count;
	struct config_texts engine_urls; /* the same engines as URLs */
};

/* What engines[].kv_events says. */
enum config_kv_events {
	CONFIG_KV_AUTO, /* "auto", or nothing: the engine is asked */
	CONFIG_KV_OFF,
	CONFIG_KV_POLL, /* TensorRT-LLM's /kv_cache_events */
	CONFIG_KV_ENDPOINTS,
};

/* Each engine once, wherever it was named. */
struct config_engine {
	struct bb_str url; /* "http[s]://HOST[:PORT][/base]" or "unix:PATH", no slash at the end */
	struct config_place place;
	enum config_engine_kind kind;
	struct bb_str api_key; /* empty: none. A secret: never logged, never shown */
	struct config_engine_tls tls;
	struct config_texts kv_events; /* endpoints, one for each rank; or one of the words below */
	struct config_texts kv_replay; /* none, or as many endpoints */
	struct bb_str kv_topic;
	struct config_texts models; /* as written; config.models has them all */
	bool is_discovered; /* nothing says what it serves: it serves every model that it lists
			       itself */
};

struct config_journal {
	struct bb_str path; /* of a folder; empty: off */
	uint64_t size;	    /* of a file, bytes */
	uint32_t files;
};

struct config {
	struct config_texts listen; /* at least one */
	struct bb_str admin;	    /* empty: off */
	uint32_t threads;	    /* 0: one for each core */
	struct bb_str policy;	    /* one of config_env.policies */
	uint64_t seed;		    /* 0: from the system's entropy */
	struct config_log log;
	struct bb_str access_log_path; /* empty: off; "-": standard output */
	struct config_journal journal;
	uint64_t shutdown_grace_ns;
	struct config_cors cors;
	struct config_limits limits;
	struct config_queue queue;
	struct config_texts shadow;  /* names of policies */
	enum config_switch explain;  /* headers that tell why, where there are no tenants */
	struct config_upstream upstream;
	struct config_probe probe;
	struct config_tls tls;
	struct config_tls admin_tls;
	struct bb_str keys_file; /* empty: none */
	enum config_switch insecure_no_keys;
	struct config_jwt jwt;
	struct config_shield shield;
	struct bb_str user; /* empty: stay who we are */
	enum config_switch sandbox;
	struct config_tenants tenants;
	struct config_model *models;
	uint32_t model_count;
	struct config_engine *engines;
	uint32_t engine_count;

	uint32_t engine_cap; /* room in `engines` */
	struct bb_arena arena;
};

/* What parsing needs from outside. */
struct config_env {
	variables_get *get; /* NULL: no variable is set */
	void *ctx;
	/* Names of the routing policies, NULL at the end. NULL: config_policies. */
	const char *const *policies;
};

/* For callers that have no brain at hand. */
extern const char *const config_policies[];

/* Reads a file's text. `errors` must be initialised; `*out` is untouched on failure. */
BB_MUST int config_parse(struct bb_str text, const char *file_name, const struct config_env *env,
			 struct config **out, struct config_errors *errors);
/*
 * Adds the tenants of a second file, which `keys.file` names; only before the object is shared.
 * `main_name` is the first file's name for messages. On failure `c` must be freed.
 */
BB_MUST int config_add_tenants(struct config *c, struct bb_str text, const char *file_name,
			       const char *main_name, const struct config_env *env,
			       struct config_errors *errors);
/*
 * Paths that do not begin with a slash, also those of unix sockets, are seen from `folder` (with a
 * slash at its end; empty: the working folder). Only before the object is shared; on failure
 * (-BB_ENOMEM) it must be freed.
 */
BB_MUST int config_paths_from(struct config *c, struct bb_str folder);
/*
 * What is right and yet worth a line: keys in clear, budgets that are not watched yet. One line
 * for each with its place, as config_errors_print.
 */
void config_warn(const struct config *c, const char *main_name, const char *keys_name,
		 struct bb_buf *out);
/* Must clients say who they are? Once there are tenants, a file of keys or trusted tokens. */
bool config_needs_keys(const struct config *c);
enum config_kv_events config_engine_kv_events(const struct config_engine *e);
/* The configuration of an empty file; NULL without memory. */
struct config *config_default(void) BB_MUST;
/*
 * Adds an engine that serves every model that it lists, for `busbar serve --engine URL`; only
 * before the object is shared. -BB_EINVALID with a sentence in `why`, -BB_EEXIST when it is there
 * already, -BB_ELIMIT, -BB_ENOMEM.
 */
BB_MUST int config_add_engine(struct config *c, struct bb_str url, const char **why);
void config_free(struct config *c);

/* The model of that name or alias ("*" not considered), or NULL. Slow: for building tables. */
const struct config_model *config_model_find(const struct config *c, struct bb_str name);
