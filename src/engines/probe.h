/*
 * probe.h: the inside of a prober, shared by its files.
 *
 * For: prober.c (life, lanes, reports), probe_watch.c (state), probe_study.c (figures).
 * Threads: the loop's thread. Memory: a prober owns all of it. Errors: none of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engines/model_list.h"
#include "engines/prober.h"
#include "net/fetch.h"

#define PROBE_MODELS_SIZE_MAX (1u << 20)
#define PROBE_TEXT_SIZE_MAX (4u << 20)   /* metrics, openapi.json, server info */
#define PROBE_HEALTH_SIZE_MAX (64u << 10)

/* One request at a time; between two of them the timer runs. */
struct lane {
	struct prober *prober;
	struct fetch *fetch;      /* NULL: none is under way */
	struct loop_timer timer;
	uint64_t begin_ns;        /* of the last request */
	void (*on_answer)(struct prober *p, const struct fetch_answer *a);
};

/* MODELS: what does it serve; CLUES: what is it; HEALTH: is it well; WATCH: all that is known. */
enum watch_phase { WATCH_MODELS, WATCH_CLUES, WATCH_HEALTH, WATCH_READY };
enum study_step { STUDY_INFO, STUDY_OPENAPI, STUDY_METRICS };

struct prober {
	struct prober_config config; /* its texts are the prober's own copies */
	struct httpc_pool *pool;
	const struct adapter *adapter; /* NULL: not detected yet */

	enum engine_state state;
	bool has_reported;
	bool has_answered;       /* ever: until then it is starting, not down */
	bool has_models;         /* the list was read */
	struct model_list models;
	struct engine_figures figures;
	uint64_t api_mask;

	struct lane watch;
	enum watch_phase phase;
	uint32_t clue;
	uint32_t ticks;          /* probes since it was detected */
	uint32_t failed_in_row;
	bool is_changed;         /* since the last report: models or adapter */
	bool lacks_health;       /* no such path: the list of models stands in */

	struct lane study;
	enum study_step step;
	uint32_t source;         /* index into the adapter's info or metrics */
	uint64_t loaded_ns;      /* when the load last came by itself */
	bool is_pushed;          /* it comes whenever it changes */
	uint32_t idle_readings;  /* in a row that told of nothing running */
};

/* GETs base + path; `on_answer` is called once, in any case, also from inside. */
void lane_get(struct lane *l, struct bb_str path, size_t size_max, uint64_t timeout_ns,
	      void (*on_answer)(struct prober *p, const struct fetch_answer *a));
void lane_stop(struct lane *l);
void probe_report(struct prober *p);

/* The watch lane's timer. */
void watch_tick(struct loop_timer *t);

/* Reads everything anew. */
void study_begin(struct prober *p);
/* The study lane's timer. */
void study_tick(struct loop_timer *t);
