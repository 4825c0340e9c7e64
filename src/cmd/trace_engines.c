#include "cmd/trace_engines.h"

#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "os/process.h"
#include "wire/json.h"

#define FILE_MAX ((size_t)1 << 30)
#define IDS_MAX 50000000u
#define ID_MAX 10000000u
#define REQUEST_MAX 100000u /* blocks */
#define NOBODY UINT32_MAX

/* One engine's blocks by id: a list from what was used last to what was used longest ago. */
struct cache {
	uint32_t *next, *before; /* NOBODY in both and not first: not held */
	uint8_t *is_held;
	uint32_t first, last, count, max;
};

struct world {
	struct trace_ops *out;
	uint32_t op_max, id_max;
	struct cache *caches;
	uint32_t engines, turn;
	uint32_t *request; /* ids of the one in work */
	uint32_t length;
	int rc;
};

/* ---- caches ---- */

static void take_out(struct cache *c, uint32_t id)
{
	if (c->next[id] != NOBODY)
		c->before[c->next[id]] = c->before[id];
	else
		c->last = c->before[id];
	if (c->before[id] != NOBODY)
		c->next[c->before[id]] = c->next[id];
	else
		c->first = c->next[id];
	c->is_held[id] = 0;
	c->count--;
}

static void put_first(struct cache *c, uint32_t id)
{
	c->before[id] = NOBODY;
	c->next[id] = c->first;
	if (c->first != NOBODY)
		c->before[c->first] = id;
	else
		c->last = id;
	c->first = id;
	c->is_held[id] = 1;
	c->count++;
}

static uint32_t held_of(const struct cache *c, const uint32_t *ids, uint32_t count)
{
	uint32_t n = 0;

	while (n < count && c->is_held[ids[n]])
		n++;
	return n;
}

/* ---- what is done ---- */

static void *grown(void *array, uint32_t count, uint32_t *max, size_t size)
{
	if (count < *max)
		return array;
	const uint32_t more = *max ? *max * 2 : 4096;
	void *const moved = bb_realloc(array, more * size);
	if (moved)
		*max = more;
	return moved;
}

static void add_id(struct world *w, uint32_t id)
{
	struct trace_ops *const o = w->out;
	uint32_t *const ids = grown(o->ids, o->id_count, &w->id_max, sizeof(*ids));

	if (!ids || o->id_count >= IDS_MAX) {
		w->rc = -BB_ENOMEM;
		return;
	}
	o->ids = ids;
	o->ids[o->id_count++] = id;
}

static struct trace_op *add_op(struct world *w, enum trace_kind kind, uint32_t engine)
{
	struct trace_ops *const o = w->out;
	struct trace_op *const ops = grown(o->ops, o->count, &w->op_max, sizeof(*ops));

	if (!ops) {
		w->rc = -BB_ENOMEM;
		return NULL;
	}
	o->ops = ops;
	o->ops[o->count] = (struct trace_op){ .kind = (uint8_t)kind,
					      .engine = (uint16_t)engine,
					      .first = o->id_count };
	return &o->ops[o->count++];
}

static void add_run(struct world *w, enum trace_kind kind, uint32_t engine, const uint32_t *ids,
		    uint32_t count)
{
	struct trace_op *const op = add_op(w, kind, engine);

	for (uint32_t i = 0; op && i < count; i++)
		add_id(w, ids[i]);
	if (op)
		op->count = count;
}

static uint32_t choose(struct world *w)
{
	uint32_t best = NOBODY, most = 1;

	for (uint32_t e = 0; e < w->engines; e++) {
		const uint32_t held = held_of(&w->caches[e], w->request, w->length);
		if (held > most) {
			most = held;
			best = e;
		}
	}
	return best == NOBODY ? w->turn++ % w->engines : best;
}

/* What goes out for `more` blocks; only as much as is there. */
static void make_room(struct world *w, uint32_t engine, uint32_t more)
{
	struct cache *const c = &w->caches[engine];

	if (c->count + more <= c->max)
		return;
	struct trace_op *const op = add_op(w, TRACE_REMOVE, engine);
	uint32_t n = 0;
	for (; op && !w->rc && c->count && c->count + more > c->max; n++) {
		add_id(w, c->last);
		take_out(c, c->last);
	}
	if (op)
		op->count = n;
}

static void serve(struct world *w)
{
	const uint32_t e = choose(w);
	struct cache *const c = &w->caches[e];

	add_run(w, TRACE_FIND, e, w->request, w->length);
	if (w->length > c->max)
		w->length = c->max;
	const uint32_t held = held_of(c, w->request, w->length);
	/* What it uses is not what goes. */
	for (uint32_t i = held; i > 0; i--) {
		take_out(c, w->request[i - 1]);
		put_first(c, w->request[i - 1]);
	}
	uint32_t missing = 0;
	for (uint32_t i = held; i < w->length; i++)
		missing += !c->is_held[w->request[i]];
	make_room(w, e, missing);
	if (held < w->length) {
		add_run(w, TRACE_STORE, e, w->request + held, w->length - held);
		struct trace_op *const op = &w->out->ops[w->out->count - 1];
		op->depth = held;
		op->parent = held ? w->request[held - 1] : 0;
	}
	for (uint32_t i = w->length; i > 0; i--) {
		if (c->is_held[w->request[i - 1]])
			take_out(c, w->request[i - 1]);
		put_first(c, w->request[i - 1]);
	}
}

/* ---- the file ---- */

static bool read_request(struct world *w, struct bb_str line)
{
	struct json_member m;
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	uint64_t id;

	w->length = 0;
	if (json_check(line, 8, NULL) || !json_get(line, BB_STR("hash_ids"), &m))
		return false;
	json_pull_init(&j, m.value);
	if (!json_pull_array(&j))
		return false;
	while (json_pull_more(&j)) {
		if (!json_pull_value(&j, &raw, &type) || json_u64(raw, &id) || id >= ID_MAX ||
		    w->length == REQUEST_MAX)
			return false;
		w->request[w->length++] = (uint32_t)id;
	}
	return true;
}

static int read_lines(struct world *w, struct bb_str rest)
{
	while (rest.len && !w->rc) {
		const struct bb_str line = bb_str_trim(bb_str_cut(&rest, '\n'));
		if (!line.len)
			continue;
		if (!read_request(w, line))
			return -BB_ESYNTAX;
		serve(w);
	}
	return w->rc;
}

static int create_caches(struct world *w, uint32_t blocks)
{
	w->caches = bb_alloc_zero(w->engines, sizeof(*w->caches));
	for (uint32_t e = 0; w->caches && e < w->engines; e++) {
		struct cache *const c = &w->caches[e];
		c->next = bb_alloc_zero(ID_MAX, sizeof(*c->next));
		c->before = bb_alloc_zero(ID_MAX, sizeof(*c->before));
		c->is_held = bb_alloc_zero(ID_MAX, sizeof(*c->is_held));
		c->first = c->last = NOBODY;
		c->max = blocks;
		if (!c->next || !c->before || !c->is_held)
			return -BB_ENOMEM;
	}
	w->request = bb_alloc(REQUEST_MAX * sizeof(*w->request));
	return w->caches && w->request ? 0 : -BB_ENOMEM;
}

static void free_caches(struct world *w)
{
	for (uint32_t e = 0; w->caches && e < w->engines; e++) {
		bb_free(w->caches[e].next);
		bb_free(w->caches[e].before);
		bb_free(w->caches[e].is_held);
	}
	bb_free(w->caches);
	bb_free(w->request);
}

int trace_ops_make(const char *path, uint32_t engines, uint32_t blocks, struct trace_ops *out)
{
	struct world w = { .out = out, .engines = engines };
	char *text;
	size_t len;

	*out = (struct trace_ops){ 0 };
	int rc = file_read(path, FILE_MAX, &text, &len);
	if (rc)
		return rc;
	rc = create_caches(&w, blocks);
	if (!rc)
		rc = read_lines(&w, (struct bb_str){ text, len });
	free_caches(&w);
	bb_free(text);
	if (rc)
		trace_ops_free(out);
	return rc;
}

void trace_ops_free(struct trace_ops *ops)
{
	BB_FREE(ops->ops);
	BB_FREE(ops->ids);
}
