#include "brain/event.h"

#include "base/log.h"

/* The most of what a reader takes; a brain's own limits are far below. */
#define ENGINES_MAX 65536
#define NAMES_MAX 65536
#define RANKS_MAX 65536
#define EVENT_BYTES_MAX ((size_t)64 << 30)
#define TOKENS_MAX UINT32_MAX /* of one prompt */

const char *brain_event_name(enum brain_event_kind kind)
{
	static const char *const names[] = {
#define X(name, text) text,
		BRAIN_EVENTS(X)
#undef X
	};

	return names[kind];
}

const char *gap_cause_text(enum gap_cause cause)
{
	switch (cause) {
	case GAP_LOST: return "events were lost: the journal could not follow";
	case GAP_MEMORY: return "memory ran out in the brain";
	case GAP_EVICTED: return "the index evicted blocks after a checkpoint";
	case GAP_CAUSES: break;
	}
	BB_ASSERT(!"a gap has a cause");
	return "";
}

static void pack_engine(struct pack *k, struct engine_id *id)
{
	pack_u32(k, &id->slot, UINT32_MAX);
	pack_u32(k, &id->generation, UINT32_MAX);
}

static void pack_request(struct pack *k, struct request_id *id)
{
	pack_u32(k, &id->slot, UINT32_MAX);
	pack_u32(k, &id->generation, UINT32_MAX);
}

static void pack_int(struct pack *k, int *v)
{
	int64_t wide = *v;

	pack_i64(k, &wide);
	if (wide < INT32_MIN || wide > INT32_MAX) {
		pack_fail(k, -BB_ESYNTAX);
		wide = 0;
	}
	*v = (int)wide;
}

static void pack_size(struct pack *k, size_t *v)
{
	uint64_t wide = *v;

	pack_u64(k, &wide);
	*v = (size_t)wide;
}

static void pack_start(struct pack *k, struct event_start *s)
{
	struct brain_limits *l = &s->limits;

	pack_fixed(k, &s->seed);
	pack_u32(k, &l->engines_max, ENGINES_MAX);
	pack_u32(k, &l->models_max, NAMES_MAX);
	pack_u32(k, &l->requests_max, 1u << 24);
	pack_u32(k, &l->held_max, 1u << 24);
	pack_u64(k, &l->held_ns_max);
	pack_size(k, &l->index_bytes);
	pack_size(k, &l->hash_bytes);
	pack_str(k, &s->policy);
	if (s->policy.len > EVENT_POLICY_MAX || l->engines_max == 0 || l->models_max == 0 ||
	    l->requests_max == 0 || l->held_max == 0 || l->index_bytes < INDEX_BYTES_MIN ||
	    l->index_bytes > EVENT_BYTES_MAX || l->hash_bytes > EVENT_BYTES_MAX)
		pack_fail(k, -BB_ESYNTAX);
}

/* A member that is added to what goes into the brain must be packed, too. */
#if defined(__LP64__)
_Static_assert(sizeof(struct brain_request) == 104, "pack_arrived");
_Static_assert(sizeof(struct engine_report) == 88, "pack_report");
_Static_assert(sizeof(struct request_result) == 40, "pack_result");
_Static_assert(sizeof(struct kv_change) == 32, "pack_change");
_Static_assert(sizeof(struct plan) == 40 && sizeof(struct plan_engine) == 32 &&
		       sizeof(struct plan_model) == 64,
	       "pack_plan");
_Static_assert(sizeof(struct brain_limits) == 40, "pack_start");
#endif

/* ---- the index ---- */

static void pack_holder(struct pack *k, struct index_holder *h)
{
	uint32_t both = h->row << 4 | h->tiers;

	pack_u32(k, &both, (INDEX_ROWS_MAX << 4) - 1);
	h->row = both >> 4;
	h->tiers = both & 0xf;
}

/* A list of the part: as it is when writing, room for it when reading. */
static uint32_t pack_list(struct pack *k, void *list, uint32_t count, uint32_t most,
			  size_t size_min, size_t size)
{
	count = pack_count(k, count, most, size_min);
	if (pack_is_reading(k)) {
		void *room = pack_room(k, count, size);
		memcpy(list, &room, sizeof(room));
		if (!room)
			return 0;
	}
	return count;
}

static void pack_sets(struct pack *k, struct index_part *p)
{
	uint32_t left = p->holder_count;

	p->set_count = pack_list(k, &p->sets, p->set_count, UINT32_MAX, 1, sizeof(*p->sets));
	for (uint32_t i = 0; i < p->set_count; i++) {
		struct index_part_set *s = &p->sets[i];
		pack_u32(k, &s->count, left); /* they stand one behind the other */
		s->first = p->holder_count - left;
		left -= s->count;
	}
}

static void pack_index(struct pack *k, struct event_index *x)
{
	struct index_part *p = &x->part;

	pack_bool(k, &x->is_left_out);
	pack_fixed(k, &p->from);
	pack_fixed(k, &p->to);
	p->holder_count = pack_list(k, &p->holders, p->holder_count, INDEX_PART_HOLDERS_MAX, 1,
				    sizeof(*p->holders));
	for (uint32_t i = 0; i < p->holder_count; i++)
		pack_holder(k, &p->holders[i]);
	pack_sets(k, p);
	p->block_count =
		pack_list(k, &p->blocks, p->block_count, UINT32_MAX, 10, sizeof(*p->blocks));
	if (p->block_count && !p->set_count)
		pack_fail(k, -BB_ESYNTAX);
	for (uint32_t i = 0; i < p->block_count && !k->err; i++) {
		pack_fixed(k, &p->blocks[i].hash);
		pack_u32(k, &p->blocks[i].depth, UINT32_MAX);
		pack_u32(k, &p->blocks[i].set, p->set_count - 1);
	}
}

/* One tier. */
static void pack_tier(struct pack *k, enum index_tier *tier)
{
	uint32_t bits = *tier;

	pack_u32(k, &bits, INDEX_PROMISED);
	if (bits == 0 || bits & (bits - 1)) {
		pack_fail(k, -BB_ESYNTAX);
		bits = INDEX_DEVICE;
	}
	*tier = (enum index_tier)bits;
}

static void pack_index_op(struct pack *k, struct event_index_op *o)
{
	o->change = pack_choice(k, o->change, INDEX_CHANGE_CLEAR + 1);
	pack_u32(k, &o->row, INDEX_ROWS_MAX - 1);
	pack_tier(k, &o->tier);
	pack_u32(k, &o->depth, UINT32_MAX);
	pack_u32(k, &o->stride, 64);
	pack_hashes(k, &o->hashes, &o->hash_count);
}

static void pack_change(struct pack *k, struct kv_change *c)
{
	c->kind = pack_choice(k, c->kind, KV_CHANGE_CLEAR + 1);
	if (c->kind == KV_CHANGE_CLEAR)
		return;
	pack_tier(k, &c->tier);
	pack_u32(k, &c->depth, UINT32_MAX);
	pack_hashes(k, &c->hashes, &c->count);
}

/* ---- the plan ---- */

static void pack_names(struct pack *k, const struct bb_str **list, uint32_t *count)
{
	*count = pack_count(k, *count, NAMES_MAX, 1);
	struct bb_str *room = pack_is_reading(k) ? pack_room(k, *count, sizeof(*room)) : NULL;

	for (uint32_t i = 0; i < *count && !k->err; i++) {
		struct bb_str one = room ? (struct bb_str){ 0 } : (*list)[i];
		pack_str(k, &one);
		if (room)
			room[i] = one;
	}
	if (pack_is_reading(k)) {
		*count = k->err ? 0 : *count;
		*list = *count ? room : NULL;
	}
}

static void pack_plan_engine(struct pack *k, struct plan_engine *e)
{
	pack_str(k, &e->name);
	pack_names(k, &e->models, &e->model_count);
	pack_bool(k, &e->serves_listed);
}

static void pack_plan_model(struct pack *k, struct plan_model *m, uint32_t engine_count)
{
	pack_str(k, &m->name);
	pack_names(k, &m->aliases, &m->alias_count);
	pack_str(k, &m->served_name);
	m->engine_count = pack_count(k, m->engine_count, ENGINES_MAX, 1);
	uint32_t *room = pack_is_reading(k) ? pack_room(k, m->engine_count, sizeof(*room)) : NULL;
	for (uint32_t i = 0; i < m->engine_count && !k->err; i++) {
		uint32_t engine = room ? 0 : m->engines[i];
		pack_u32(k, &engine, engine_count ? engine_count - 1 : 0);
		if (room)
			room[i] = engine;
	}
	if (pack_is_reading(k))
		m->engines = room;
	if (m->engine_count && !engine_count)
		pack_fail(k, -BB_ESYNTAX);
}

static void pack_plan(struct pack *k, struct plan *p)
{
	struct bb_str policy = bb_str_of(p->policy);

	p->engine_count = pack_count(k, p->engine_count, ENGINES_MAX, 3);
	struct plan_engine *engines =
		pack_is_reading(k) ? pack_room(k, p->engine_count, sizeof(*engines)) : NULL;
	for (uint32_t i = 0; i < p->engine_count && !k->err; i++) {
		struct plan_engine e = engines ? engines[i] : p->engines[i];
		pack_plan_engine(k, &e);
		if (engines)
			engines[i] = e;
	}
	p->model_count = pack_count(k, p->model_count, NAMES_MAX, 4);
	struct plan_model *models =
		pack_is_reading(k) ? pack_room(k, p->model_count, sizeof(*models)) : NULL;
	for (uint32_t i = 0; i < p->model_count && !k->err; i++) {
		struct plan_model m = models ? models[i] : p->models[i];
		pack_plan_model(k, &m, p->engine_count);
		if (models)
			models[i] = m;
	}
	pack_str(k, &policy);
	if (!pack_is_reading(k))
		return;
	p->engines = engines;
	p->models = models;
	const struct bb_str text =
		policy.len ? bb_arena_dup(k->arena, policy) : (struct bb_str){ 0 };
	if (policy.len && !text.p)
		pack_fail(k, -BB_ENOMEM);
	p->policy = text.p;
}

/* ---- engines and requests ---- */

static void pack_report(struct pack *k, struct engine_report *r)
{
	r->state = pack_choice(k, r->state, ENGINE_GONE + 1);
	pack_bool(k, &r->has_models);
	r->model_count = pack_count(k, r->model_count, NAMES_MAX, 3);
	struct report_model *room =
		pack_is_reading(k) ? pack_room(k, r->model_count, sizeof(*room)) : NULL;
	for (uint32_t i = 0; i < r->model_count && !k->err; i++) {
		struct report_model m = room ? room[i] : r->models[i];
		pack_str(k, &m.name);
		pack_u64(k, &m.context_tokens);
		pack_bool(k, &m.is_adapter);
		if (room)
			room[i] = m;
	}
	if (pack_is_reading(k))
		r->models = room;
	pack_u64(k, &r->api_mask);
	pack_u32(k, &r->sequences_max, UINT32_MAX);
	pack_u64(k, &r->kv_tokens_max);
	pack_u32(k, &r->step_tokens, UINT32_MAX);
	pack_u32(k, &r->block_tokens, UINT32_MAX);
	pack_u32(k, &r->dp_ranks, UINT32_MAX);
	pack_u32(k, &r->kind, UINT32_MAX);
	pack_bool(k, &r->has_load);
	if (r->has_load) {
		pack_u32(k, &r->running, UINT32_MAX);
		pack_u32(k, &r->waiting, UINT32_MAX);
		pack_double(k, &r->kv_usage);
	}
}

static void pack_excluded(struct pack *k, struct brain_request *r)
{
	r->exclude_count = pack_count(k, r->exclude_count, BRAIN_EXCLUDE_MAX, 2);
	struct engine_id *room = pack_is_reading(k) && r->exclude_count
					 ? pack_room(k, r->exclude_count, sizeof(*room))
					 : NULL;
	for (uint32_t i = 0; i < r->exclude_count && !k->err; i++) {
		struct engine_id id = room ? room[i] : r->exclude[i];
		pack_engine(k, &id);
		if (room)
			room[i] = id;
	}
	if (pack_is_reading(k))
		r->exclude = room;
}

static void pack_arrived(struct pack *k, struct event_arrived *a)
{
	struct brain_request *r = &a->ask;
	/* 0 is the most frequent: no limit, and no such model. */
	uint64_t output_max = r->output_tokens_max + 1;
	uint32_t model = a->model + 1;

	pack_u32(k, &model, UINT32_MAX);
	pack_u32(k, &r->api, 63);
	pack_u64(k, &r->prompt_tokens);
	pack_u64(k, &output_max);
	if (pack_is_reading(k) && r->prompt_tokens > TOKENS_MAX)
		pack_fail(k, -BB_ESYNTAX);
	a->model = model - 1;
	r->output_tokens_max = output_max - 1;
	pack_excluded(k, r);
	r->hashed = pack_choice(k, r->hashed, HASHES_TEXT + 1);
	pack_bool(k, &r->teaches);
	pack_bool(k, &r->is_blind);
	pack_bool(k, &r->can_wait);
	pack_fixed(k, &r->session);
	pack_fixed(k, &r->beginning);
	pack_hashes(k, &r->hashes, &r->hash_count);
}

static void pack_result(struct pack *k, struct request_result *r)
{
	r->outcome = pack_choice(k, r->outcome, OUTCOME_SILENT + 1);
	pack_u64(k, &r->prompt_tokens);
	pack_u64(k, &r->output_tokens);
	pack_bool(k, &r->has_cached);
	pack_u64(k, &r->cached_tokens);
}

static void pack_made(struct pack *k, struct event_made *m)
{
	m->action = pack_choice(k, m->action, DECISION_REJECT + 1);
	pack_int(k, &m->error);
	pack_engine(k, &m->engine);
	pack_u32(k, &m->rank, RANKS_MAX);
	m->reason = pack_choice(k, m->reason, REASON_COUNT);
	pack_u32(k, &m->candidates, UINT32_MAX);
	pack_u64(k, &m->cached_tokens);
	pack_u64(k, &m->possible_tokens);
	pack_double(k, &m->cost);
	pack_double(k, &m->next_cost);
	pack_u64(k, &m->held_ns);
	pack_fixed(k, &m->digest);
}

/* ---- events ---- */

static void pack_fields(struct pack *k, struct brain_event *e)
{
	switch (e->kind) {
	case EVENT_START:
	case EVENT_CHECKPOINT: pack_start(k, &e->start); break;
	case EVENT_INDEX: pack_index(k, &e->index); break;
	case EVENT_INDEX_OP: pack_index_op(k, &e->index_op); break;
	case EVENT_STATE: pack_str(k, &e->state); break;
	case EVENT_GAP:
		e->gap.cause = pack_choice(k, e->gap.cause, GAP_CAUSES);
		pack_u64(k, &e->gap.count);
		break;
	case EVENT_CONFIGURE: pack_plan(k, &e->plan); break;
	case EVENT_REPORT:
		pack_engine(k, &e->engine);
		pack_report(k, &e->report);
		break;
	case EVENT_KV_CHANGE:
		pack_engine(k, &e->engine);
		pack_u32(k, &e->rank, UINT32_MAX);
		pack_change(k, &e->change);
		break;
	case EVENT_KV_MODE:
		pack_engine(k, &e->engine);
		pack_u32(k, &e->rank, UINT32_MAX);
		e->mode = pack_choice(k, e->mode, KV_EXACT + 1);
		break;
	case EVENT_ARRIVED: pack_arrived(k, &e->arrived); break;
	case EVENT_RELEASED:
	case EVENT_FETCHED:
	case EVENT_FIRST_TOKEN: pack_request(k, &e->request); break;
	case EVENT_PROGRESS:
		pack_request(k, &e->request);
		pack_u64(k, &e->generated);
		break;
	case EVENT_ENDED:
		pack_request(k, &e->request);
		pack_result(k, &e->result);
		break;
	case EVENT_LACKS:
		pack_engine(k, &e->engine);
		pack_u32(k, &e->api, 63);
		break;
	case EVENT_TICK: break;
	case EVENT_MADE:
		pack_request(k, &e->request);
		pack_made(k, &e->made);
		break;
	case EVENT_KINDS: BB_ASSERT(!"a kind of event"); break;
	}
}

static void pack_time(struct pack *k, const struct event_coder *c, bool is_absolute,
		      uint64_t *now_ns)
{
	int64_t since = (int64_t)(*now_ns - c->now_ns);

	if (is_absolute) {
		pack_u64(k, now_ns);
		return;
	}
	pack_i64(k,
		 &since); /* threads read the clock before they come in here: it may be below 0 */
	if (pack_is_reading(k))
		*now_ns = c->now_ns + (uint64_t)since;
}

int brain_event_write(struct event_coder *c, const struct brain_event *event, struct bb_buf *out)
{
	struct brain_event e = *event; /* fields are gone through, not changed */
	struct pack k = { .way = PACK_WRITE, .out = out };
	uint8_t head = (uint8_t)(e.kind | (c->has_time ? 0 : EVENT_ABSOLUTE));

	if (bb_buf_put(out, (const char *)&head, 1))
		return out->err;
	pack_time(&k, c, !c->has_time, &e.now_ns);
	pack_fields(&k, &e);
	if (k.err)
		return k.err;
	*c = (struct event_coder){ true, event->now_ns };
	return 0;
}

int brain_event_read(struct event_coder *c, struct bb_str bytes, struct bb_arena *arena,
		     struct brain_event *out)
{
	struct pack k = { .way = PACK_READ,
			  .p = (const uint8_t *)bytes.p,
			  .end = (const uint8_t *)bytes.p + bytes.len,
			  .arena = arena };

	*out = (struct brain_event){ 0 };
	if (bytes.len == 0)
		return -BB_ESYNTAX;
	const uint8_t head = *k.p++;
	const unsigned kind = head & ~(unsigned)EVENT_ABSOLUTE;
	if (kind >= EVENT_KINDS || (!c->has_time && !(head & EVENT_ABSOLUTE)))
		return -BB_ESYNTAX;
	out->kind = (enum brain_event_kind)kind;
	pack_time(&k, c, head & EVENT_ABSOLUTE, &out->now_ns);
	pack_fields(&k, out);
	if (!k.err && k.p != k.end)
		pack_fail(&k, -BB_ESYNTAX);
	if (!k.err)
		*c = (struct event_coder){ true, out->now_ns };
	return k.err;
}
