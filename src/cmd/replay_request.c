#include "cmd/replay_request.h"

#include <stdio.h>

#include "base/alloc.h"

#define KEPT 64 /* decisions of one event */
#define SHOWN 16

struct shown {
	uint32_t slot, requests, cached;
	uint64_t pending;
	double cost, ttft_ms, total_ms;
	bool is_chosen;
};

struct kept {
	struct request_id request;
	uint64_t now_ns;
	uint64_t prompt_tokens;
	uint32_t candidates, count;
	struct shown rows[SHOWN]; /* the least costs */
};

struct replay_request {
	bool has_look;
	struct kept look;
	struct kept kept[KEPT];
	uint32_t next;
};

int replay_request_create(struct replay_request **out)
{
	*out = bb_alloc_zero(1, sizeof(**out));
	return *out ? 0 : -BB_ENOMEM;
}

void replay_request_destroy(struct replay_request *r)
{
	bb_free(r);
}

static void insert(struct kept *k, const struct shown *s)
{
	const bool is_full = k->count == SHOWN;
	uint32_t at = is_full ? SHOWN - 1 : k->count++;

	if (is_full && !s->is_chosen && (k->rows[at].is_chosen || k->rows[at].cost <= s->cost))
		return;
	for (; at > 0 && !k->rows[at - 1].is_chosen &&
	       (s->is_chosen || k->rows[at - 1].cost > s->cost);
	     at--)
		k->rows[at] = k->rows[at - 1];
	k->rows[at] = *s;
}

void replay_request_look(struct replay_request *r, const struct candidates *c,
			 const struct policy_input *in, const double *cost, uint32_t chosen)
{
	struct kept *k = &r->look;

	*k = (struct kept){ .prompt_tokens = in->prompt_tokens, .candidates = c->count };
	for (uint32_t i = 0; i < c->count; i++) {
		const struct shown s = { .slot = c->slot[i],
					 .requests = c->requests[i],
					 .cached = c->cached[i],
					 .pending = c->pending_prefill[i],
					 .cost = cost[i],
					 .ttft_ms = c->ttft_ms[i],
					 .total_ms = c->total_ms[i],
					 .is_chosen = i == chosen };
		insert(k, &s);
	}
	r->has_look = true;
}

void replay_request_keep(struct replay_request *r, const struct brain_event *made)
{
	struct kept *k = &r->kept[r->next++ % KEPT];

	*k = r->has_look ? r->look : (struct kept){ 0 };
	k->request = made->request;
	k->now_ns = made->now_ns;
	r->has_look = false;
}

struct wanted {
	uint32_t slot;
	const char *name;
};

static void name_find(void *user, const struct engine_view *v)
{
	struct wanted *w = user;

	if (v->id.slot == w->slot)
		w->name = v->name;
}

static void rows_print(const struct kept *k, const struct brain *b)
{
	printf("  %-40s %8s %8s %9s %12s %10s %10s\n", "ENGINE", "REQUESTS", "PENDING", "CACHED",
	       "COST", "TTFT ms", "TOTAL ms");
	for (uint32_t i = 0; i < k->count; i++) {
		const struct shown *s = &k->rows[i];
		struct wanted w = { s->slot, "?" };
		if (b)
			brain_engines_each(b, name_find, &w);
		printf("%s %-40s %8u %8llu %9u %12.6g %10.3f %10.3f\n", s->is_chosen ? "*" : " ",
		       w.name, s->requests, (unsigned long long)s->pending, s->cached, s->cost,
		       s->ttft_ms, s->total_ms);
	}
}

void replay_request_print(const struct replay_request *r, const struct brain *b,
			  const struct rerun_decision *d, const char *time)
{
	const struct brain_event *e = d->recorded ? d->recorded : d->made;
	const struct event_made *m = &e->made;

	printf("request %llu, %s: %s%s%s, reason %s, held %.3f ms; compared: %s\n",
	       (unsigned long long)d->request_number, time,
	       m->action == DECISION_DISPATCH ? "sent to an engine"
	       : m->action == DECISION_HOLD   ? "waits for an engine that is open"
					      : "refused: ",
	       m->action == DECISION_REJECT ? bb_error_info(m->error)->text : "", "",
	       decision_reason_name(m->reason), (double)m->held_ns / 1e6,
	       rerun_verdict_text(d->verdict));
	for (uint32_t i = 0; i < KEPT; i++) {
		const struct kept *k = &r->kept[i];
		if (k->candidates == 0 || k->now_ns != e->now_ns ||
		    k->request.slot != e->request.slot ||
		    k->request.generation != e->request.generation)
			continue;
		printf("  prompt of %llu tokens, %u candidates%s\n",
		       (unsigned long long)k->prompt_tokens, k->candidates,
		       k->candidates > k->count ? " (the best)" : "");
		rows_print(k, b);
		return;
	}
}
