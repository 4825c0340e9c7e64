/*
 * hold.c: late binding: requests that wait in the gateway until an engine is open for them.
 *
 * Who has fewest uncached tokens goes first, but nobody waits much longer than in the order of
 * arrival. What one order takes from a request another gives to others: the mean of waiting times,
 * weighted by the work that each request is, is the same in every order (Kleinrock's conservation
 * law). So that mean is what all would wait in the order of arrival, and it is measured. Who has
 * waited longer by a share of it is overdue and goes before all others; giant prompts, of which
 * there are few and which hold up many, may wait longer. A walk decides for one after the other;
 * who would rather wait for a busy engine than go to one that is open has its tokens counted there,
 * so that those behind it see them.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "brain/brain_core.h"
#include "brain/record_inner.h"

/* Decisions in one walk: with many engines each costs more. */
#define WALK_MAX 32
#define WALK_MAX_MANY 8
#define MANY_LANES 64

#define NS_PER_S 1e9
#define SENT_MEAN_OF 50u /* the averages are of so many requests */
#define SLOT_WORK 10.0	 /* mean requests */
#define SLOT_WEIGHT 0.02
#define OVERDUE 0.15
#define OVERDUE_MIN_S 0.2
#define GIANT 4.0 /* times the mean request: it may wait by the square longer */

int hold(struct brain *b, uint64_t now_ns, const struct model *m, const struct brain_request *r,
	 struct request_id id)
{
	struct flight *f = &b->flights[id.slot];

	if (b->held_count == b->held_max)
		return -BB_EBUSY;
	if (!b->held) {
		b->held = bb_alloc(b->held_max * sizeof(*b->held));
		if (!b->held)
			return -BB_ENOMEM;
	}
	f->held = bb_alloc_zero(1, sizeof(*f->held));
	if (!f->held)
		return -BB_ENOMEM;
	f->held->ask = *r;
	f->held->ask.model = BB_STR("");
	if (r->exclude_count)
		memcpy(f->held->exclude, r->exclude, r->exclude_count * sizeof(*r->exclude));
	f->held->ask.exclude = f->held->exclude;
	f->held->ask.hashes = f->hashes;
	f->held->ask.hash_count = f->hash_count;
	f->held->model = (uint32_t)(m - b->fleet.models);
	f->held->since_ns = now_ns;
	f->state = FLIGHT_HELD;
	b->held[b->held_count++] = id.slot;
	b->fleet.models[f->held->model].held++;
	return 0;
}

static void queue_remove(struct brain *b, uint32_t slot)
{
	for (uint32_t i = 0; i < b->held_count; i++)
		if (b->held[i] == slot) {
			b->held[i] = b->held[--b->held_count];
			b->fleet.models[b->flights[slot].held->model].held--;
			return;
		}
}

static void list_remove(struct brain *b, uint32_t slot)
{
	uint32_t before = UINT32_MAX;

	for (uint32_t i = b->released_head; i != slot; i = b->flights[i].next_free)
		before = i;
	const uint32_t next = b->flights[slot].next_free;
	if (before == UINT32_MAX)
		b->released_head = next;
	else
		b->flights[before].next_free = next;
	if (b->released_tail == slot)
		b->released_tail = before;
}

void held_forget(struct brain *b, uint32_t slot)
{
	struct flight *f = &b->flights[slot];

	if (f->state == FLIGHT_HELD)
		queue_remove(b, slot);
	else if (f->held->is_listed)
		list_remove(b, slot);
}

bool brain_released(struct brain *b, struct request_id *id, uint64_t *cookie)
{
	const uint32_t slot = b->released_head;

	if (slot == UINT32_MAX)
		return false;
	struct flight *f = &b->flights[slot];
	b->released_head = f->next_free;
	f->held->is_listed = false;
	*id = (struct request_id){ slot, f->generation };
	*cookie = f->held->ask.cookie;
	if (b->record)
		record_fetch(b, EVENT_RELEASED, *id);
	return true;
}

bool brain_request_decision(struct brain *b, struct request_id id, struct decision *out)
{
	struct flight *f = flight_get(b, id);

	if (!f || f->state != FLIGHT_RELEASED)
		return false;
	BB_ASSERT(!f->held->is_listed);
	if (b->record)
		record_fetch(b, EVENT_FETCHED, id);
	*out = f->held->decision;
	if (f->held->is_dispatched) {
		f->state = FLIGHT_SENT;
		BB_FREE(f->held);
	} else {
		flight_release(b, id.slot);
	}
	return true;
}

uint32_t brain_held(const struct brain *b)
{
	return b->held_count;
}

/* Decided: for brain_released. */
static void release(struct brain *b, uint64_t now_ns, uint32_t slot)
{
	struct flight *f = &b->flights[slot];

	queue_remove(b, slot);
	f->held->is_dispatched = f->state == FLIGHT_SENT;
	f->state = FLIGHT_RELEASED;
	f->next_free = UINT32_MAX;
	f->held->is_listed = true;
	if (b->released_head == UINT32_MAX)
		b->released_head = slot;
	else
		b->flights[b->released_tail].next_free = slot;
	b->released_tail = slot;
	if (b->record)
		record_made(b, now_ns, (struct request_id){ slot, f->generation },
			    &f->held->decision);
}

/*
 * What a request is as work for what is short: prompts to compute (the last token always is), or
 * sequences, of which each takes one.
 */
static double work_of(const struct model *m, uint64_t uncached)
{
	return (double)(uncached + 1) + m->slot_share * SLOT_WORK * m->sent_tokens;
}

void held_learn(struct model *m, uint64_t uncached, uint64_t waited_ns)
{
	const double work = work_of(m, uncached), waited_s = (double)waited_ns / NS_PER_S;
	const double weight =
		1.0 / (double)(m->sequence < SENT_MEAN_OF ? m->sequence : SENT_MEAN_OF);

	m->sent_tokens += weight * ((double)(uncached + 1) - m->sent_tokens);
	m->sent_work += weight * (work - m->sent_work);
	m->sent_waiting += weight * (work * waited_s - m->sent_waiting);
}

/* Above 1 it is overdue. */
static double lateness(const struct model *m, double work, double waited_s)
{
	if (m->sent_work <= 0)
		return 0;
	const double size = work / (GIANT * m->sent_work), usual_s = m->sent_waiting / m->sent_work;
	/* Where sequences are what is short no order gains anything: that of arrival it is. */
	const double leeway = 1 - m->slot_share;
	const double most_s = OVERDUE_MIN_S * leeway +
			      (1 + OVERDUE * leeway) * usual_s * (size > 1 ? size * size : 1);

	return waited_s / most_s;
}

/* The least goes first; the overdue ones are below zero. */
static double key_of(const struct brain *b, const struct flight *f, uint64_t now_ns)
{
	const struct held *h = f->held;
	const struct model *m = &b->fleet.models[h->model];
	const double work = work_of(m, h->ask.prompt_tokens - h->decision.cached_tokens);
	const double late = lateness(m, work, (double)(now_ns - h->since_ns) / NS_PER_S);

	return late > 1 ? -late : work;
}

/* The next of those that this walk has not looked at; UINT32_MAX: none. */
static uint32_t next_in_order(const struct brain *b, uint64_t now_ns)
{
	uint32_t best = UINT32_MAX;
	double least = 0;

	for (uint32_t i = 0; i < b->held_count; i++) {
		const struct flight *f = &b->flights[b->held[i]];
		if (f->held->visit == b->walk)
			continue;
		const double key = key_of(b, f, now_ns);
		if (best == UINT32_MAX || key < least) {
			best = b->held[i];
			least = key;
		}
	}
	return best;
}

/* Is there any engine that could take something? Else a walk is of no use. */
static bool is_any_open(const struct brain *b, uint64_t now_ns)
{
	for (uint32_t i = 0; i < b->lane_count; i++)
		if (b->promised[i] == 0 && lane_is_open(&b->lanes[i], now_ns, 0))
			return true;
	return false;
}

static void promise_tokens(struct brain *b, const struct choice *c, const struct held *h)
{
	const uint64_t uncached = h->ask.prompt_tokens - h->decision.cached_tokens;
	const uint64_t sum = b->promised[c->lane] + uncached;

	b->promised[c->lane] = sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum + (sum == 0);
}

static void look_at(struct brain *b, uint64_t now_ns, uint32_t slot)
{
	struct flight *f = &b->flights[slot];
	struct held *h = f->held;
	struct model *m = &b->fleet.models[h->model];
	const struct request_id id = { slot, f->generation };
	struct decision *d = &h->decision;
	struct choice c;

	decision_begin(b, d);
	d->held_ns = now_ns - h->since_ns;
	if (!decide(b, now_ns, m, &h->ask, &c, d)) {
		release(b, now_ns, slot);
	} else if (c.is_open) {
		dispatch(b, now_ns, m, &h->ask, &c, id, d);
		release(b, now_ns, slot);
	} else {
		m->slot_share += SLOT_WEIGHT * (lane_is_full(&b->lanes[c.lane]) - m->slot_share);
		promise_tokens(b, &c, h);
	}
}

void held_walk(struct brain *b, uint64_t now_ns)
{
	const uint32_t most = b->lane_count > MANY_LANES ? WALK_MAX_MANY : WALK_MAX;
	uint32_t slot;

	if (b->held_count == 0 || (b->policy->holds && !is_any_open(b, now_ns)))
		return;
	b->walk++;
	for (uint32_t i = 0; i < most; i++) {
		slot = next_in_order(b, now_ns);
		if (slot == UINT32_MAX)
			break;
		b->flights[slot].held->visit = b->walk;
		look_at(b, now_ns, slot);
		/* It may have closed, or waits for, the last one: nobody behind it can go. */
		if (b->policy->holds && !is_any_open(b, now_ns))
			break;
	}
	memset(b->promised, 0, b->lane_count * sizeof(*b->promised));
}

void held_expire(struct brain *b, uint64_t now_ns)
{
	for (uint32_t i = 0; i < b->held_count;) {
		const uint32_t slot = b->held[i];
		struct held *h = b->flights[slot].held;
		if (now_ns - h->since_ns < b->held_ns_max) {
			i++;
			continue;
		}
		decision_begin(b, &h->decision);
		decision_name(b, &b->fleet.models[h->model], &h->decision);
		h->decision.held_ns = now_ns - h->since_ns;
		decision_reject(&h->decision, -BB_EBUSY, RETRY_AFTER_MS);
		release(b, now_ns, slot);
	}
}
