/*
 * Goal: a journal of any bytes is read without a step past its end, and any events, in any order,
 * are refused or make a brain do something: no assertion fails, whatever a checkpoint says.
 */
#include <stdint.h>
#include <stdlib.h>

#include "brain/rerun.h"
#include "records/journal_form.h"

#define EVENTS_MAX 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file: what is said of places must lie within it. */
static void read_file(struct bb_str bytes)
{
	struct journal_reader r;
	struct bb_str event;
	enum journal_step s;

	if (journal_open(&r, bytes))
		return;
	while ((s = journal_read(&r, &event)) == JOURNAL_EVENT)
		if (event.p < bytes.p || event.p + event.len > bytes.p + bytes.len)
			abort();
	if (r.at > bytes.len || (s == JOURNAL_BAD) != (r.why != NULL))
		abort();
}

/* Large brains are made of a few bytes: only small ones, so that many are tried. */
static bool is_small(struct bb_str bytes)
{
	struct event_coder coder = { .has_time = true };
	struct brain_event e;
	struct bb_arena arena;

	bb_arena_init(&arena, 1u << 20);
	const int rc = brain_event_read(&coder, bytes, &arena, &e);
	bb_arena_fini(&arena);
	if (rc || (e.kind != EVENT_START && e.kind != EVENT_CHECKPOINT))
		return true;
	const struct brain_limits *l = &e.start.limits;
	return l->engines_max <= 64 && l->models_max <= 64 && l->requests_max <= 1000 &&
	       l->held_max <= 1000 && l->index_bytes <= (4u << 20);
}

static void on_decision(void *user, const struct rerun_decision *d)
{
	if (!d->recorded && !d->made)
		abort();
	++*(uint64_t *)user;
}

static void tell(struct bb_str rest)
{
	uint64_t decisions = 0, sum = 0;
	const struct rerun_config c = { .on_decision = on_decision, .user = &decisions };
	struct bb_str event;
	struct rerun *r;
	int rc = rerun_create(&c, &r);

	if (rc)
		return;
	for (int n = 0; n < EVENTS_MAX && !rc && journal_next_event(&rest, &event); n++)
		rc = is_small(event) ? rerun_event(r, event) : -BB_ELIMIT;
	for (int v = 0; v < RERUN_VERDICTS; v++)
		sum += rerun_counts(r)->decisions[v];
	if (sum != decisions)
		abort();
	rerun_destroy(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const struct bb_str rest = { (const char *)data + 1, size - 1 };
	if (data[0] & 1)
		tell(rest);
	else
		read_file(rest);
	return 0;
}
