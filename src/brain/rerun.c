#include "brain/rerun.h"

#include "base/alloc.h"
#include "base/log.h"
#include "brain/index.h"

#define ARENA_MAX ((size_t)256 << 20)
#define MADE_MAX 4096 /* decisions of one event */
#define NUMBERS_MAX (1u << 24)

struct rerun {
	struct rerun_config config;
	struct event_coder coder, made_coder;
	struct bb_arena arena;
	struct brain_event event;
	struct rerun_counts counts;
	struct brain *brain;	  /* NULL: not known yet */
	enum rerun_verdict doubt; /* RERUN_EQUAL: none */
	bool is_born;		  /* from START on: the index, too, is what it was */
	/* a checkpoint that is being read */
	bool in_checkpoint;
	struct event_start start;
	char policy[EVENT_POLICY_MAX + 1];
	struct index *index;
	enum rerun_verdict index_doubt;
	/* what the brain has decided and the journal has not said yet */
	struct brain_event *made;
	uint32_t made_first, made_count;
	bool is_short;	   /* of memory */
	uint64_t *numbers; /* of requests, by their slots */
	uint32_t number_room;
};

const char *rerun_verdict_text(enum rerun_verdict v)
{
	switch (v) {
	case RERUN_EQUAL: return "equal";
	case RERUN_DIFFERENT: return "different";
	case RERUN_BLIND: return "before a checkpoint, or after lost events";
	case RERUN_NO_INDEX: return "the checkpoint has no index";
	case RERUN_EVICTED: return "the index evicted after a checkpoint";
	case RERUN_VERDICTS: break;
	}
	BB_ASSERT(!"a verdict");
	return "";
}

int rerun_create(const struct rerun_config *config, struct rerun **out)
{
	struct rerun *r = bb_alloc_zero(1, sizeof(*r));

	if (!r)
		return -BB_ENOMEM;
	r->config = *config;
	r->made = bb_alloc(MADE_MAX * sizeof(*r->made));
	if (!r->made) {
		bb_free(r);
		return -BB_ENOMEM;
	}
	bb_arena_init(&r->arena, ARENA_MAX);
	*out = r;
	return 0;
}

static void checkpoint_drop(struct rerun *r)
{
	index_destroy(r->index);
	r->index = NULL;
	r->in_checkpoint = false;
}

static void brain_drop(struct rerun *r)
{
	brain_destroy(r->brain);
	r->brain = NULL;
	r->made_first = r->made_count = 0;
}

void rerun_destroy(struct rerun *r)
{
	if (!r)
		return;
	brain_drop(r);
	checkpoint_drop(r);
	bb_arena_fini(&r->arena);
	bb_free(r->made);
	bb_free(r->numbers);
	bb_free(r);
}

void rerun_cut(struct rerun *r)
{
	brain_drop(r);
	checkpoint_drop(r);
	r->coder = (struct event_coder){ 0 };
}

const struct rerun_counts *rerun_counts(const struct rerun *r)
{
	return &r->counts;
}

bool rerun_is_placed(const struct rerun *r)
{
	return r->coder.has_time;
}

const struct brain *rerun_brain(const struct rerun *r)
{
	return r->brain;
}

/* ---- what the brain decides ---- */

static bool on_made(void *user, struct bb_str bytes)
{
	struct rerun *r = user;

	if (r->made_first + r->made_count == MADE_MAX) {
		r->is_short = true;
		return false;
	}
	struct brain_event *e = &r->made[r->made_first + r->made_count++];
	const int rc = brain_event_read(&r->made_coder, bytes, &r->arena, e);
	BB_ASSERT(rc == 0 && e->kind == EVENT_MADE);
	if (r->config.on_made)
		r->config.on_made(r->config.user, e);
	return true;
}

static uint64_t bits_of(double d)
{
	uint64_t bits;

	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

static bool is_equal(const struct brain_event *a, const struct brain_event *b)
{
	const struct event_made *m = &a->made, *n = &b->made;

	return a->now_ns == b->now_ns && a->request.slot == b->request.slot &&
	       a->request.generation == b->request.generation && m->action == n->action &&
	       m->error == n->error && engine_id_is(m->engine, n->engine) && m->rank == n->rank &&
	       m->reason == n->reason && m->candidates == n->candidates &&
	       m->cached_tokens == n->cached_tokens && m->possible_tokens == n->possible_tokens &&
	       bits_of(m->cost) == bits_of(n->cost) &&
	       bits_of(m->next_cost) == bits_of(n->next_cost) && m->held_ns == n->held_ns &&
	       m->digest == n->digest;
}

static uint64_t *number_of(struct rerun *r, struct request_id id)
{
	if (id.generation == 0 || id.slot >= NUMBERS_MAX)
		return NULL;
	if (id.slot >= r->number_room) {
		const uint32_t room = (id.slot | 255) + 1 + r->number_room / 2;
		uint64_t *grown = bb_realloc(r->numbers, room * sizeof(*grown));
		if (!grown)
			return NULL;
		memset(grown + r->number_room, 0, (room - r->number_room) * sizeof(*grown));
		r->numbers = grown;
		r->number_room = room;
	}
	return &r->numbers[id.slot];
}

static void tell(struct rerun *r, const struct brain_event *recorded,
		 const struct brain_event *made, enum rerun_verdict verdict)
{
	const struct brain_event *either = recorded ? recorded : made;
	uint64_t *number = number_of(r, either->request);
	if (number && *number == 0)
		*number = r->counts.arrived; /* it is the one that has just arrived */
	const struct rerun_decision d = {
		.request_number = number ? *number : r->counts.arrived,
		.recorded = recorded,
		.made = made,
		.verdict = verdict,
	};

	r->counts.decisions[verdict]++;
	if (r->config.on_decision)
		r->config.on_decision(r->config.user, &d);
	if (number && either->made.action == DECISION_REJECT)
		*number = 0;
}

static void compare(struct rerun *r, const struct brain_event *recorded)
{
	const struct brain_event *made = NULL;

	if (!r->brain) {
		tell(r, recorded, NULL, RERUN_BLIND);
		return;
	}
	if (r->made_count) {
		made = &r->made[r->made_first++];
		r->made_count--;
	}
	if (r->doubt != RERUN_EQUAL)
		tell(r, recorded, made, r->doubt);
	else
		tell(r, recorded, made,
		     made && is_equal(recorded, made) ? RERUN_EQUAL : RERUN_DIFFERENT);
}

/* The journal goes on, and has not said all that the brain decided. */
static void too_many(struct rerun *r)
{
	for (; r->made_count; r->made_count--, r->made_first++)
		if (r->doubt == RERUN_EQUAL)
			tell(r, NULL, &r->made[r->made_first], RERUN_DIFFERENT);
	r->made_first = 0;
}

/* ---- beginnings ---- */

static int listen(struct rerun *r)
{
	r->made_coder = (struct event_coder){ 0 };
	r->made_first = r->made_count = 0;
	const int rc = brain_record_to(r->brain, BRAIN_RECORD_DECISIONS, on_made, r);
	if (rc)
		brain_drop(r);
	else if (r->config.watch)
		brain_watch(r->brain, r->config.watch, r->config.user);
	return rc;
}

static int begin(struct rerun *r, const struct brain_event *e)
{
	rerun_cut(r);
	const int rc = brain_of_start(&e->start, &r->brain);
	if (rc)
		return rc;
	r->coder = (struct event_coder){ true, e->now_ns };
	r->doubt = RERUN_EQUAL;
	r->is_born = true;
	r->counts.starts++;
	return listen(r);
}

static int checkpoint_begin(struct rerun *r, const struct brain_event *e)
{
	checkpoint_drop(r);
	r->in_checkpoint = true;
	if (r->brain && r->doubt == RERUN_EQUAL)
		return 0; /* to be compared */
	r->start = e->start;
	memcpy(r->policy, e->start.policy.p, e->start.policy.len);
	r->start.policy = (struct bb_str){ r->policy, e->start.policy.len };
	r->index_doubt = RERUN_EQUAL;
	return checkpoint_index(&r->start, &r->index);
}

static void checkpoint_part(struct rerun *r, const struct event_index *x)
{
	if (!r->in_checkpoint)
		return;
	if (!r->index) {
		if (r->is_born && !x->is_left_out && !brain_index_is(r->brain, &x->part))
			r->counts.states_different++;
		return;
	}
	if (x->is_left_out)
		r->index_doubt = RERUN_NO_INDEX;
	else
		index_part_put(r->index, &x->part);
}

static int checkpoint_end(struct rerun *r, const struct brain_event *e)
{
	const bool has_index = r->index != NULL;

	if (!r->in_checkpoint)
		return 0;
	r->in_checkpoint = false;
	if (!has_index) {
		if (brain_state_is(r->brain, e->state))
			r->counts.states_equal++;
		else
			r->counts.states_different++;
		return 0;
	}
	brain_drop(r);
	const int rc = brain_of_checkpoint(&r->start, r->index, e->state, &r->brain);
	r->index = NULL;
	if (rc) {
		r->brain = NULL;
		return rc;
	}
	r->doubt = r->index_doubt;
	r->is_born = false;
	r->counts.checkpoints++;
	return listen(r);
}

static void gap(struct rerun *r, enum gap_cause cause)
{
	r->counts.gaps[cause]++;
	if (cause == GAP_EVICTED) {
		if (r->index)
			r->index_doubt = RERUN_EVICTED;
		if (r->brain && !r->is_born)
			r->doubt = RERUN_EVICTED;
		return;
	}
	brain_drop(r);
	checkpoint_drop(r);
}

/* ---- events ---- */

static int happen(struct rerun *r, const struct brain_event *e)
{
	switch (e->kind) {
	case EVENT_START: return begin(r, e);
	case EVENT_CHECKPOINT: return checkpoint_begin(r, e);
	case EVENT_INDEX: checkpoint_part(r, &e->index); return 0;
	case EVENT_INDEX_OP:
		if (r->in_checkpoint && r->index)
			checkpoint_index_apply(r->index, &e->index_op);
		return 0;
	case EVENT_STATE: return checkpoint_end(r, e);
	case EVENT_GAP: gap(r, e->gap.cause); return 0;
	case EVENT_MADE: compare(r, e); return 0;
	case EVENT_ARRIVED: r->counts.arrived++; break;
	case EVENT_ENDED:
		if (number_of(r, e->request))
			*number_of(r, e->request) = 0;
		break;
	case EVENT_CONFIGURE:
	case EVENT_REPORT:
	case EVENT_KV_CHANGE:
	case EVENT_KV_MODE:
	case EVENT_RELEASED:
	case EVENT_FETCHED:
	case EVENT_FIRST_TOKEN:
	case EVENT_PROGRESS:
	case EVENT_LACKS:
	case EVENT_TICK: break;
	case EVENT_KINDS: BB_ASSERT(!"a kind of event"); break;
	}
	too_many(r);
	const int rc = r->brain ? brain_apply(r->brain, e) : 0;
	return r->is_short ? -BB_ENOMEM : rc;
}

int rerun_event(struct rerun *r, struct bb_str bytes)
{
	const struct brain_event *e = &r->event;

	if (r->arena.total)
		bb_arena_fini(&r->arena);
	const int rc = brain_event_read(&r->coder, bytes, &r->arena, &r->event);
	if (rc)
		return rc;
	if (r->counts.events++ == 0)
		r->counts.first_ns = e->now_ns;
	if (e->now_ns > r->counts.last_ns)
		r->counts.last_ns = e->now_ns;
	const uint64_t refused = bb_alloc_refused_count();
	const int done = happen(r, e);
	/* Without memory a brain goes on in another way: that says nothing about the journal. */
	return bb_alloc_refused_count() == refused ? done : -BB_ENOMEM;
}
