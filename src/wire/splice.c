#include "wire/splice.h"

#include "base/buf.h"
#include "base/log.h"
#include "wire/openai.h"

/* A model's name with every byte escaped, and the fixed texts around it. */
#define TEXT_MAX 8192

int splice_add(struct splice_set *set, size_t at, size_t cut, struct bb_str text)
{
	if (set->count == SPLICES_MAX)
		return -BB_ELIMIT;
	uint32_t i = set->count;
	while (i > 0 && set->list[i - 1].at > at)
		i--;
	if (i > 0 && at < set->list[i - 1].at + set->list[i - 1].cut)
		return -BB_EINVALID;
	if (i < set->count && at + cut > set->list[i].at)
		return -BB_EINVALID;
	memmove(&set->list[i + 1], &set->list[i], (set->count - i) * sizeof(set->list[0]));
	set->list[i] = (struct splice){ at, cut, text };
	set->count++;
	return 0;
}

static uint32_t part_add(struct bb_str *parts, uint32_t count, struct bb_str part, size_t *total)
{
	if (part.len == 0)
		return count;
	parts[count] = part;
	*total += part.len;
	return count + 1;
}

uint32_t splice_iov(struct bb_str body, const struct splice_set *set,
		    struct bb_str parts[SPLICE_PARTS_MAX], size_t *total)
{
	uint32_t count = 0;
	size_t from = 0;

	*total = 0;
	for (uint32_t i = 0; i < set->count; i++) {
		const struct splice *s = &set->list[i];
		BB_ASSERT(s->at >= from && s->at <= body.len && s->cut <= body.len - s->at);
		const struct bb_str kept = { body.p + from, s->at - from };
		count = part_add(parts, count, kept, total);
		count = part_add(parts, count, s->text, total);
		from = s->at + s->cut;
	}
	return part_add(parts, count, bb_str_skip(body, from), total);
}

/* Adds a splice whose text is copied from a scratch buffer, which is emptied. */
static int add_from(struct splice_set *set, size_t at, size_t cut, struct bb_buf *text,
		    struct bb_arena *arena)
{
	int rc = text->err;

	if (!rc) {
		const struct bb_str copy = bb_arena_dup(arena, bb_buf_str(text));
		rc = copy.p ? splice_add(set, at, cut, copy) : -BB_ENOMEM;
	}
	bb_buf_clear(text);
	return rc;
}

/* Nothing was put in at the front of an empty object so far? Then the next member needs no comma.
 */
static bool is_first_member(const struct openai_request *req, const struct splice_set *set)
{
	for (uint32_t i = 0; i < set->count; i++) {
		if (set->list[i].at == req->open && set->list[i].cut == 0)
			return false;
	}
	return true;
}

/* A member at the front: before others, with a comma behind; in {} with commas between. */
static int add_member(const struct openai_request *req, struct bb_str key, struct bb_str value,
		      struct bb_arena *arena, struct splice_set *set)
{
	struct bb_buf text;

	bb_buf_init(&text, key.len * 6 + value.len + 64);
	if (req->is_empty && !is_first_member(req, set))
		bb_buf_lit(&text, ",");
	bb_buf_add_json(&text, key);
	bb_buf_lit(&text, ":");
	bb_buf_add_str(&text, value);
	if (!req->is_empty)
		bb_buf_lit(&text, ",");
	const int rc = add_from(set, req->open, 0, &text, arena);
	bb_buf_fini(&text);
	return rc;
}

int splice_add_member(const struct openai_request *req, const char *key, struct bb_str value,
		      struct bb_arena *arena, struct splice_set *set)
{
	return add_member(req, bb_str_of(key), value, arena, set);
}

static size_t offset_in(struct bb_str body, struct bb_str span)
{
	return (size_t)(span.p - body.p);
}

/* A member's value replaced, or the member put in where it is absent (raw.p is NULL). */
static int set_member(struct bb_str body, const struct openai_request *req, struct bb_str key,
		      struct bb_str raw, struct bb_str value, struct bb_arena *arena,
		      struct splice_set *set)
{
	if (!raw.p)
		return add_member(req, key, value, arena, set);
	return splice_add(set, offset_in(body, raw), raw.len, value);
}

static int splice_model(struct bb_str body, const struct openai_request *req, struct bb_str model,
			struct bb_arena *arena, struct splice_set *set)
{
	struct bb_buf text;

	if (!model.len || bb_str_eq(model, req->model))
		return 0;
	bb_buf_init(&text, TEXT_MAX);
	bb_buf_add_json(&text, model);
	const struct bb_str name =
		text.err ? (struct bb_str){ NULL, 0 } : bb_arena_dup(arena, bb_buf_str(&text));
	int rc = text.err;
	if (!rc && !name.p)
		rc = -BB_ENOMEM;
	bb_buf_fini(&text);
	return rc ? rc : set_member(body, req, BB_STR("model"), req->model_raw, name, arena, set);
}

/* Inside of the stream_options that are there: the value replaced, or the member put in first. */
static int splice_options(struct bb_str body, const struct openai_request *req,
			  struct splice_set *set)
{
	struct json_pull j;
	struct bb_str key;

	if (req->stream_usage_value.p)
		return splice_add(set, offset_in(body, req->stream_usage_value),
				  req->stream_usage_value.len, BB_STR("true"));
	json_pull_init(&j, req->stream_options);
	json_pull_object(&j);
	const size_t at = (size_t)(j.p - body.p);
	if (json_pull_key(&j, &key))
		return splice_add(set, at, 0, BB_STR("\"include_usage\":true,"));
	return splice_add(set, at, 0, BB_STR("\"include_usage\":true"));
}

int openai_request_splice(enum api api, struct bb_str body, const struct openai_request *req,
			  const struct splice_want *want, struct bb_arena *arena,
			  struct splice_set *set)
{
	const bool ask_stream = want->stream == SPLICE_STREAM_ASK && !req->stream;
	const bool has_option = api == API_CHAT || api == API_COMPLETIONS;
	int rc = splice_model(body, req, want->model, arena, set);

	if (!rc && ask_stream)
		rc = set_member(body, req, BB_STR("stream"), req->stream_raw, BB_STR("true"), arena,
				set);
	if (rc || !has_option || want->usage != SPLICE_USAGE_ASK || req->include_usage ||
	    !(req->stream || ask_stream))
		return rc;
	if (req->has_stream_options)
		return splice_options(body, req, set);
	return set_member(body, req, BB_STR("stream_options"), req->stream_options,
			  BB_STR("{\"include_usage\":true}"), arena, set);
}
