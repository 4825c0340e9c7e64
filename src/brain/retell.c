/* retell.c: a brain that is told again what a journal says. */
#include "base/alloc.h"
#include "base/log.h"
#include "brain/brain_core.h"
#include "brain/record.h"
#include "brain/state.h"

static int policy_name(struct bb_str policy, char name[EVENT_POLICY_MAX + 1])
{
	if (policy.len > EVENT_POLICY_MAX)
		return -BB_EINVALID;
	memcpy(name, policy.p, policy.len);
	name[policy.len] = '\0';
	return policy_find(name) ? 0 : -BB_EINVALID;
}

int brain_of_start(const struct event_start *start, struct brain **out)
{
	char name[EVENT_POLICY_MAX + 1];
	const int rc = policy_name(start->policy, name);
	const struct brain_config c = { .seed = start->seed,
					.limits = start->limits,
					.policy = name };

	return rc ? rc : brain_create(&c, out);
}

static int apply_arrived(struct brain *b, const struct brain_event *e)
{
	const uint32_t model = e->arrived.model;
	struct decision d;

	if (model != UINT32_MAX && model >= b->fleet.model_count)
		return -BB_ESYNTAX;
	brain_arrive(b, e->now_ns, model == UINT32_MAX ? NULL : &b->fleet.models[model],
		     &e->arrived.ask, &d);
	return 0;
}

static int apply_plan(struct brain *b, const struct brain_event *e)
{
	const uint32_t count = e->plan.engine_count;
	struct engine_id *ids = bb_alloc_zero(count, sizeof(*ids));

	if (!ids)
		return -BB_ENOMEM;
	/* A plan that was refused is refused again. */
	const int rc = brain_configure(b, e->now_ns, &e->plan, ids);
	bb_free(ids);
	return rc == -BB_ENOMEM ? rc : 0;
}

static int apply_fetched(struct brain *b, const struct brain_event *e)
{
	const struct flight *f = flight_get(b, e->request);
	struct decision d;

	if (!f || f->state != FLIGHT_RELEASED || f->held->is_listed)
		return -BB_ESYNTAX;
	return brain_request_decision(b, e->request, &d) ? 0 : -BB_ESYNTAX;
}

int brain_apply(struct brain *b, const struct brain_event *e)
{
	struct request_id id;
	uint64_t cookie;

	switch (e->kind) {
	case EVENT_CONFIGURE: return apply_plan(b, e);
	case EVENT_REPORT: brain_engine_report(b, e->now_ns, e->engine, &e->report); break;
	case EVENT_KV_CHANGE: brain_kv_change(b, e->now_ns, e->engine, e->rank, &e->change); break;
	case EVENT_KV_MODE: brain_kv_mode(b, e->now_ns, e->engine, e->rank, e->mode); break;
	case EVENT_ARRIVED: return apply_arrived(b, e);
	case EVENT_RELEASED: return brain_released(b, &id, &cookie) ? 0 : -BB_ESYNTAX;
	case EVENT_FETCHED: return apply_fetched(b, e);
	case EVENT_FIRST_TOKEN: brain_first_token(b, e->now_ns, e->request); break;
	case EVENT_PROGRESS: brain_progress(b, e->now_ns, e->request, e->generated); break;
	case EVENT_ENDED: brain_request_ended(b, e->now_ns, e->request, &e->result); break;
	case EVENT_LACKS: brain_engine_lacks(b, e->engine, e->api); break;
	case EVENT_TICK: brain_tick(b, e->now_ns); break;
	case EVENT_START:
	case EVENT_CHECKPOINT:
	case EVENT_INDEX:
	case EVENT_INDEX_OP:
	case EVENT_STATE:
	case EVENT_GAP:
	case EVENT_MADE: break;
	case EVENT_KINDS: BB_ASSERT(!"a kind of event"); break;
	}
	return 0;
}

/* ---- checkpoints ---- */

int checkpoint_index(const struct event_start *start, struct index **out)
{
	const struct index_config c = {
		.bytes_max = start->limits.index_bytes,
		.rows_max = INDEX_ROWS_MAX,
		.seed = brain_index_seed(start->seed),
	};

	return index_create(&c, out);
}

void checkpoint_index_apply(struct index *x, const struct event_index_op *op)
{
	switch (op->change) {
	case INDEX_CHANGE_STORE:
		index_store(x, op->row, op->tier, op->depth, op->hashes, op->hash_count,
			    op->stride);
		break;
	case INDEX_CHANGE_REMOVE:
		index_remove(x, op->row, op->tier, op->hashes, op->hash_count);
		break;
	case INDEX_CHANGE_CLEAR: index_clear(x, op->row); break;
	}
}

int brain_of_checkpoint(const struct event_start *start, struct index *x, struct bb_str state,
			struct brain **out)
{
	struct pack k = { .way = PACK_READ,
			  .p = (const uint8_t *)state.p,
			  .end = (const uint8_t *)state.p + state.len };
	struct brain *b;
	const int rc = brain_of_start(start, &b);

	if (rc) {
		index_destroy(x);
		return rc;
	}
	index_destroy(b->index);
	b->index = x;
	state_pack(b, &k);
	if (!k.err && (k.p != k.end || !state_is_sound(b)))
		pack_fail(&k, -BB_ESYNTAX);
	if (k.err) {
		brain_destroy(b);
		return k.err;
	}
	*out = b;
	return 0;
}

bool brain_state_is(struct brain *b, struct bb_str state)
{
	struct bb_buf mine;

	bb_buf_init(&mine, RECORD_EVENT_MAX);
	struct pack k = { .way = PACK_WRITE, .out = &mine };
	state_pack(b, &k);
	const bool is_same = !k.err && bb_str_eq(bb_buf_str(&mine), state);
	bb_buf_fini(&mine);
	return is_same;
}

bool brain_index_is(struct brain *b, const struct index_part *part)
{
	return index_digest(b->index, part->from, part->to) == index_part_digest(part);
}

void brain_watch(struct brain *b, brain_watch_fn *fn, void *user)
{
	b->watch = fn;
	b->watch_user = user;
}
