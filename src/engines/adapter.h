/*
 * adapter.h: what is particular to each kind of engine, in one table.
 *
 * For: the prober (what to ask, how to read the answers) and the gateway (which endpoints there
 * are, at which paths, and whether an engine stops when its client leaves). Adding a kind is one
 * file with one descriptor, a row here and in adapter.c, a test, a paragraph in docs/engines.md.
 * Threads: constant data and pure functions. Memory: static; nothing is allocated.
 * Errors: readers return -BB_ESYNTAX (not what was expected) and may then have filled in a part.
 * What an engine sends is untrusted: sizes and numbers are bounded by the readers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/template.h"
#include "wire/api.h"

/*      name      text in the configuration */
#define ENGINE_KINDS(X)                                                                            \
	X(AUTO, "auto")         /* found out by probing */                                         \
	X(VLLM, "vllm")                                                                            \
	X(SGLANG, "sglang")                                                                        \
	X(TRTLLM, "trtllm")                                                                        \
	X(LLAMACPP, "llamacpp")                                                                    \
	X(BUSBAR, "busbar")     /* busbar-engine */                                                \
	X(OPENAI, "openai")     /* any other server with an OpenAI API */
enum engine_kind {
#define X(name, text) ENGINE_KIND_##name,
	ENGINE_KINDS(X)
#undef X
	ENGINE_KIND_COUNT,
};
const char *engine_kind_name(enum engine_kind kind);
/* False when there is no such kind. */
bool engine_kind_parse(struct bb_str text, enum engine_kind *out);

/*
 * Figures that an engine tells about itself. A reader sets what it finds and leaves the rest as
 * an earlier reading left it; `has_load` is false when it begins.
 */
struct engine_figures {
	uint64_t context_tokens; /* of every model that does not say it itself; 0: unknown */
	uint64_t kv_tokens_max;  /* KV capacity; 0: unknown */
	uint32_t sequences_max;  /* running at once; 0: unknown */
	uint32_t block_tokens;   /* of its KV blocks; 0: unknown */
	uint32_t step_tokens;    /* budget of one step; 0: unknown */
	uint32_t dp_ranks;       /* data-parallel ranks; 0: unknown */
	uint32_t adapters_max;   /* LoRA adapters loaded at once; 0: unknown */
	uint64_t preemptions;    /* since its start, as far as it says */
	bool has_load;           /* those below were read */
	uint32_t running, waiting;
	uint64_t waiting_tokens; /* uncached prompt tokens of those that wait; 0: not said */
	double kv_usage;         /* 0 … 1; 0 where the engine does not say */
};

/* Something to GET, and how to read it. */
struct adapter_source {
	struct bb_str path; /* empty: none */
	int (*read)(struct bb_str body, struct engine_figures *f);
	bool drains; /* what is read is gone for others: not read where the load is not wanted */
};

/* WITH_TOKEN: a rendered chat gets the vocabulary's begin token, unless it begins with it. */
enum chat_begin { CHAT_BEGIN_AS_RENDERED, CHAT_BEGIN_WITH_TOKEN };

#define ADAPTER_SOURCES_MAX 2

struct adapter {
	const char *name; /* as in the configuration */
	enum engine_kind kind;
	/*
	 * A request without stream is stopped when its connection closes. Where not, the gateway
	 * asks for a stream and assembles the answer, so that a client that leaves frees the GPU.
	 */
	bool stops_plain;
	/* A member "cache_salt" separates prefix caches; others ignore or refuse what they do not know. */
	bool takes_cache_salt;
	/* The field X-Data-Parallel-Rank chooses one of its data-parallel ranks. */
	bool takes_rank;
	/* Asked for it, it tells its load in the head of an answer (wire/orca.h). */
	bool tells_load;
	/* A prompt that leaves no room for all of max_tokens is refused; others cut the answer. */
	bool refuses_overrun;
	enum template_messages messages; /* how it prepares messages for a chat template */
	enum chat_begin chat_begin;
	uint64_t api_mask;        /* bit n: endpoint n (enum api), unless openapi.json says more */
	bool has_openapi;         /* GET /openapi.json lists the endpoints exactly */
	struct bb_str health;     /* neither generates nor sleeps; empty: the list of models */
	bool loads_in_503;        /* 503 from `health` means "still loading", also later */
	/* Of both, in this order, the first that can be read: which one it is differs with versions. */
	struct adapter_source info[ADAPTER_SOURCES_MAX];    /* once after detection */
	struct adapter_source metrics[ADAPTER_SOURCES_MAX]; /* again and again */
	/* Paths that differ from the canonical ones of api.h; empty: the canonical one. */
	const struct bb_str *paths; /* API_COUNT of them, or NULL */
};

/* Every endpoint: for engines of which nothing is known. */
#define ADAPTER_API_ALL ((1ull << API_COUNT) - 2)
#define ADAPTER_API(name) (1ull << API_##name)

/* The adapter of a kind. `kind` is not ENGINE_KIND_AUTO. */
const struct adapter *adapter_find(enum engine_kind kind);
/* By its name in the configuration; NULL: there is none ("auto" has none). */
const struct adapter *adapter_by_name(struct bb_str name);
/* The path at which this kind of engine has an endpoint. */
struct bb_str adapter_path(const struct adapter *a, enum api api);
