#include "sim/work_write.h"

#include "base/alloc.h"
#include "sim/work_read.h"

#define MS_NS 1000000u

void work_writer_init(struct work_writer *w, const struct workload *work)
{
	*w = (struct work_writer){ .work = work };
	bb_map_init(&w->ids, 0);
}

void work_writer_fini(struct work_writer *w)
{
	bb_map_fini(&w->ids);
	BB_FREE(w->hashes);
}

static int make_room(struct work_writer *w, uint32_t blocks)
{
	if (blocks <= w->hashes_room)
		return 0;
	uint64_t *const hashes = bb_realloc(w->hashes, blocks * sizeof(*hashes));
	if (!hashes)
		return -BB_ENOMEM;
	w->hashes = hashes;
	w->hashes_room = blocks;
	return 0;
}

static int id_of(struct work_writer *w, const uint64_t *hash, uint32_t *id)
{
	const struct bb_str key = { (const char *)hash, sizeof(*hash) };

	*id = bb_map_get(&w->ids, key);
	if (*id != BB_MAP_NONE)
		return 0;
	*id = w->id_next++;
	return bb_map_put(&w->ids, key, *id);
}

/* The last block has a number of its own unless it is whole. */
static int add_ids(struct work_writer *w, uint32_t request, struct bb_buf *out)
{
	const uint32_t tokens = w->work->requests[request].prompt_tokens;
	const uint32_t whole = tokens / WORK_MOONCAKE_BLOCK;
	int rc = make_room(w, whole + 1);

	if (rc)
		return rc;
	work_hashes(w->work, request, 0, WORK_MOONCAKE_BLOCK, 0, w->hashes, whole);
	for (uint32_t i = 0; !rc && i < whole; i++) {
		uint32_t id;
		rc = id_of(w, &w->hashes[i], &id);
		if (!rc)
			bb_buf_printf(out, i ? ", %u" : "%u", id);
	}
	if (!rc && tokens % WORK_MOONCAKE_BLOCK)
		bb_buf_printf(out, whole ? ", %u" : "%u", w->id_next++);
	return rc;
}

static unsigned long long ms_of(uint64_t ns)
{
	return (unsigned long long)((ns + MS_NS / 2) / MS_NS);
}

int work_write_mooncake(struct work_writer *w, uint32_t request, struct bb_buf *out)
{
	const struct work_request *const r = &w->work->requests[request];

	if (r->after == WORK_NONE)
		bb_buf_printf(out, "{\"timestamp\": %llu", ms_of(r->due_ns));
	else
		bb_buf_printf(out, "{\"after\": %u, \"delay\": %llu", r->after, ms_of(r->due_ns));
	bb_buf_printf(out, ", \"input_length\": %u, \"output_length\": %u, \"hash_ids\": [",
		      r->prompt_tokens, r->output_tokens);
	const int rc = add_ids(w, request, out);
	bb_buf_printf(out, "], \"session_id\": \"%u\"", r->session);
	if (w->work->tenant_count > 1)
		bb_buf_printf(out, ", \"tenant\": %u", r->tenant);
	if (w->work->adapter_count)
		bb_buf_printf(out, ", \"adapter\": %u", r->adapter);
	bb_buf_lit(out, "}\n");
	return rc ? rc : out->err;
}

int work_write_openai(const struct load_prompt *p, uint32_t request, struct bb_buf *out)
{
	const struct work_request *const r = &p->work->requests[request];

	if (r->after == WORK_NONE)
		bb_buf_printf(out, "{\"due_ms\":%llu", ms_of(r->due_ns));
	else
		bb_buf_printf(out, "{\"after\":%u,\"delay_ms\":%llu", r->after, ms_of(r->due_ns));
	bb_buf_lit(out, ",\"body\":");
	load_prompt_write(p, request, out);
	bb_buf_lit(out, "}\n");
	return out->err;
}
