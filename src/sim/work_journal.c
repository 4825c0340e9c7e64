/*
 * work_journal.c: reads the journals of `busbar serve` (see work_read.h).
 *
 * A request that was tried again on another engine is one. How long its answer was comes from the
 * engine's own count, else from the progress that was noted; what had not ended has as many as were
 * noted by then.
 */
#include <stdio.h>

#include "base/map.h"
#include "brain/event.h"
#include "brain/marks.h"
#include "records/journal_form.h"
#include "sim/work_trace.h"

#define EVENT_BYTES_MAX ((size_t)1 << 30)
#define STREAM_MASK (WORK_STREAM_MAX - 1)

void work_journal_init(struct work_journal *j, struct workload *w)
{
	*j = (struct work_journal){ .w = w, .arrived = WORK_NONE };
	bb_map_init(&j->running, 0);
	bb_map_init(&j->sessions, 0);
}

void work_journal_fini(struct work_journal *j)
{
	bb_map_fini(&j->running);
	bb_map_fini(&j->sessions);
}

/* ---- one event ---- */

static struct bb_str key_of(const void *p, size_t size)
{
	return (struct bb_str){ p, size };
}

/* Each hash stands for the tokens of its block, or of its piece of text. */
static int add_prompt(struct work_journal *j, const struct brain_request *ask)
{
	const uint64_t asked = ask->prompt_tokens ? ask->prompt_tokens : 1;
	const uint32_t tokens = asked < WORK_TOKENS_MAX ? (uint32_t)asked : WORK_TOKENS_MAX;
	uint32_t done = 0;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < ask->hash_count && done < tokens; i++) {
		const uint64_t end = hashes_tokens(ask->hashed, i + 1);
		const uint32_t to = end < tokens ? (uint32_t)end : tokens;
		rc = workload_span(j->w, ask->hashes[i] & STREAM_MASK, 0, to - done);
		done = to;
	}
	return rc ? rc : workload_span(j->w, work_own(j->w->count), 0, tokens - done);
}

static int take_arrived(struct work_journal *j, const struct brain_event *e)
{
	const struct brain_request *const ask = &e->arrived.ask;
	const int64_t at_ns = j->wall_ns - j->first_wall_ns + (int64_t)e->now_ns;
	struct work_request r = { .due_ns = at_ns > 0 ? (uint64_t)at_ns : 0,
				  .after = WORK_NONE,
				  .session = j->w->count,
				  .output_tokens = 1 };

	j->arrived = WORK_NONE;
	if (ask->exclude_count || e->arrived.model == UINT32_MAX)
		return 0; /* once more, or for nobody */
	int rc = 0;
	if (ask->session) {
		const struct bb_str key = key_of(&ask->session, sizeof(ask->session));
		const uint32_t known = bb_map_get(&j->sessions, key);
		if (known != BB_MAP_NONE)
			r.session = known;
		else
			rc = bb_map_put(&j->sessions, key, r.session);
	}
	if (!rc)
		rc = add_prompt(j, ask);
	if (!rc)
		rc = workload_add(j->w, &r);
	if (!rc)
		j->arrived = j->w->count - 1;
	return rc;
}

/* The decision behind an arrival says by which id the request is known from now on. */
static int take_made(struct work_journal *j, const struct brain_event *e)
{
	const uint32_t request = j->arrived;

	j->arrived = WORK_NONE;
	if (request == WORK_NONE || !e->request.generation)
		return 0;
	return bb_map_put(&j->running, key_of(&e->request, sizeof(e->request)), request);
}

static void take_tokens(struct work_journal *j, const struct brain_event *e, uint64_t tokens)
{
	const uint32_t request = bb_map_get(&j->running, key_of(&e->request, sizeof(e->request)));

	if (request == BB_MAP_NONE || tokens > WORK_TOKENS_MAX)
		return;
	uint32_t *const output = &j->w->requests[request].output_tokens;
	if (tokens > *output)
		*output = (uint32_t)tokens;
}

static int take_event(struct work_journal *j, const struct brain_event *e)
{
	if (e->kind == EVENT_ARRIVED)
		return take_arrived(j, e);
	if (e->kind == EVENT_MADE)
		return take_made(j, e);
	if (e->kind == EVENT_PROGRESS)
		take_tokens(j, e, e->generated);
	else if (e->kind == EVENT_ENDED)
		take_tokens(j, e, e->result.output_tokens);
	return 0;
}

/* ---- one file ---- */

static int wrong(const struct journal_reader *reader, const char *what, char why[WORK_WHY_SIZE])
{
	snprintf(why, WORK_WHY_SIZE, "at byte %llu: %s", (unsigned long long)reader->at, what);
	return -BB_ESYNTAX;
}

int work_journal_file(struct work_journal *j, struct bb_str bytes, char why[WORK_WHY_SIZE])
{
	struct journal_reader reader;
	struct event_coder coder = { 0 };
	struct bb_str event;
	int rc = 0;

	if (journal_open(&reader, bytes))
		return reader.is_cut_off ? 0 : wrong(&reader, reader.why, why);
	if (!j->files++)
		j->first_wall_ns = reader.head.wall_ns;
	j->wall_ns = reader.head.wall_ns;
	while (!rc) {
		struct brain_event e;
		struct bb_arena arena;
		const enum journal_step step = journal_read(&reader, &event);
		if (step == JOURNAL_BAD)
			return wrong(&reader, reader.why, why);
		if (step != JOURNAL_EVENT)
			return 0; /* also where its writer was killed: what came before counts */
		bb_arena_init(&arena, EVENT_BYTES_MAX);
		rc = brain_event_read(&coder, event, &arena, &e);
		if (rc == -BB_ESYNTAX && coder.has_time)
			rc = wrong(&reader, "an event that is malformed", why);
		else if (rc == -BB_ESYNTAX)
			rc = 0; /* its time refers to one that was lost */
		else if (!rc)
			rc = take_event(j, &e);
		bb_arena_fini(&arena);
	}
	return rc;
}
