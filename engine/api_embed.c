#include <stdio.h>

#include "base/alloc.h"
#include "base/list.h"
#include "engine_api.h"
#include "prompts.h"
#include "sequence.h"

/* One request for embeddings on its way. */
struct embed_job {
	struct api_job job;
	struct engine_api *api;
	struct exchange *exchange;
	bool as_base64;
	bool is_over;
	uint32_t left; /* texts whose embedding is still to come */
	uint32_t count;
	char request_id[REQUEST_ID_MAX + 1];
	struct sequence *sequences[PROMPTS_MAX];
	struct sequence_news results[PROMPTS_MAX];
	bool has_result[PROMPTS_MAX];
};

static void job_destroy(struct embed_job *j)
{
	for (uint32_t i = 0; i < j->count; i++) {
		j->sequences[i]->owner = NULL;
		if (!j->has_result[i])
			scheduler_cancel(j->api->scheduler, j->sequences[i]);
		sequence_put(j->sequences[i]);
		sequence_news_fini(&j->results[i]);
	}
	bb_free(j);
}

static void on_job_writable(struct api_job *job)
{
}

static void on_job_closed(struct api_job *job)
{
	job_destroy(BB_CONTAINER(job, struct embed_job, job));
}

static void write_base64(struct bb_buf *out, struct bb_str bytes)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)bytes.p;

	bb_buf_lit(out, "\"");
	for (size_t i = 0; i < bytes.len; i += 3) {
		const size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
		const uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
				   (n > 2 ? p[i + 2] : 0);
		const char four[4] = { digits[v >> 18], digits[v >> 12 & 63],
				       n > 1 ? digits[v >> 6 & 63] : '=',
				       n > 2 ? digits[v & 63] : '=' };
		bb_buf_add(out, four, sizeof(four));
	}
	bb_buf_lit(out, "\"");
}

static void write_floats(struct bb_buf *out, struct bb_str bytes)
{
	bb_buf_lit(out, "[");
	for (size_t i = 0; i < bytes.len / sizeof(float); i++) {
		float value;
		memcpy(&value, bytes.p + i * sizeof(value), sizeof(value));
		bb_buf_printf(out, i ? ",%.9g" : "%.9g", (double)value);
	}
	bb_buf_lit(out, "]");
}

static void write_answer(const struct embed_job *j, struct bb_buf *out)
{
	uint64_t tokens = 0;

	bb_buf_lit(out, "{\"object\":\"list\",\"data\":[");
	for (uint32_t i = 0; i < j->count; i++) {
		const struct bb_str bytes = bb_buf_str(&j->results[i].text);
		bb_buf_printf(out,
			      i ? ",{\"object\":\"embedding\",\"index\":%u,\"embedding\":"
				: "{\"object\":\"embedding\",\"index\":%u,\"embedding\":",
			      i);
		if (j->as_base64)
			write_base64(out, bytes);
		else
			write_floats(out, bytes);
		bb_buf_lit(out, "}");
		tokens += j->sequences[i]->prompt_len;
	}
	bb_buf_lit(out, "],\"model\":");
	bb_buf_add_json(out, bb_str_of(j->api->name));
	bb_buf_printf(out,
		      ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu,"
		      "\"completion_tokens\":0}}",
		      (unsigned long long)tokens, (unsigned long long)tokens);
}

static void answer(struct embed_job *j, bool has_failed)
{
	struct bb_buf body, headers;
	struct api_error e;

	j->is_over = true;
	bb_buf_init(&body, ANSWER_SIZE_MAX);
	bb_buf_init(&headers, 1024);
	if (!has_failed)
		write_answer(j, &body);
	api_headers(j->request_id, "", &headers);
	if (has_failed || body.err || headers.err) {
		api_error_set(&e, j->api->is_draining ? 503 : 500, NULL,
			      "The engine could not make the embeddings.");
		api_exchange_error(j->api, j->exchange, j->request_id, &e);
	} else {
		exchange_reply(j->exchange, 200, BB_STR("application/json"), bb_buf_str(&headers),
			       bb_buf_str(&body));
	}
	bb_buf_fini(&body);
	bb_buf_fini(&headers);
}

static void on_progress(struct sequence *s)
{
	struct embed_job *j = s->owner;

	if (j->is_over || j->has_result[s->index])
		return;
	sequence_take(s, &j->results[s->index]);
	j->has_result[s->index] = true;
	j->left--;
	if (j->results[s->index].finish != FINISH_STOP)
		answer(j, true);
	else if (j->left == 0)
		answer(j, false);
}

static int read_format(yyjson_val *request, const struct model *m, bool *as_base64,
		       struct api_error *e)
{
	yyjson_val *format = yyjson_obj_get(request, "encoding_format");
	yyjson_val *dimensions = yyjson_obj_get(request, "dimensions");

	*as_base64 = yyjson_equals_str(format, "base64");
	if (format && !yyjson_is_null(format) && !*as_base64 && !yyjson_equals_str(format, "float"))
		return api_error_bad(e, "encoding_format",
				     "encoding_format must be \"float\" or \"base64\".");
	if (dimensions && !yyjson_is_null(dimensions) &&
	    (!yyjson_is_uint(dimensions) || yyjson_get_uint(dimensions) != m->embd_size))
		return api_error_bad(e, "dimensions",
				     "This model makes embeddings of %u dimensions only.",
				     m->embd_size);
	return 0;
}

static int check_lengths(const struct model *m, const struct prompts *prompts, struct api_error *e)
{
	for (uint32_t i = 0; i < prompts->count; i++) {
		const uint32_t n = prompts->items[i].count;
		if (n <= m->ctx_tokens)
			continue;
		api_error_bad(
			e, "input_tokens",
			"This model's maximum context length is %u tokens. However, your input "
			"contains %u tokens. Please reduce its length. (parameter=input_tokens, "
			"value=%u)",
			m->ctx_tokens, n, n);
		e->code = "context_length_exceeded";
		return -BB_EINVALID;
	}
	return 0;
}

static int job_add(struct embed_job *j, const struct prompt *p)
{
	const struct sequence_config config = {
		.loop = j->api->loop,
		.prompt = p->tokens,
		.prompt_len = p->count,
		.owner = j,
		.index = j->count,
		.on_progress = on_progress,
	};
	const int rc = sequence_create(&config, &j->sequences[j->count]);

	if (rc)
		return rc;
	sequence_news_init(&j->results[j->count++]);
	return 0;
}

static int start(struct api_request *r, const struct prompts *prompts, bool as_base64,
		 struct api_error *e)
{
	struct embed_job *j = bb_alloc_zero(1, sizeof(*j));
	int rc = 0;

	if (!j)
		return api_error_internal(e, -BB_ENOMEM);
	j->job = (struct api_job){ .on_writable = on_job_writable, .on_closed = on_job_closed };
	j->api = r->api;
	j->exchange = r->exchange;
	j->as_base64 = as_base64;
	snprintf(j->request_id, sizeof(j->request_id), "%s", r->id);
	for (uint32_t i = 0; !rc && i < prompts->count; i++)
		rc = job_add(j, &prompts->items[i]);
	j->left = j->count;
	if (!rc)
		rc = scheduler_submit(r->api->scheduler, j->sequences, j->count);
	if (rc) {
		api_error_busy(rc, e);
		job_destroy(j);
		return rc;
	}
	r->exchange->user = &j->job;
	return 0;
}

void api_embeddings(struct api_request *r)
{
	const struct model *m = r->api->model;
	struct prompts prompts = { 0 };
	struct api_error e;
	bool as_base64 = false;
	int rc = api_check_model(r, &e);

	if (!rc && !m->embeds)
		rc = api_error_bad(
			&e, "model",
			"The model does not support the Embeddings API: it "
			"generates text. Start the engine with --pooling to embed with it.");
	if (!rc)
		rc = read_format(r->body, m, &as_base64, &e);
	if (!rc)
		rc = prompts_from_member(m, r->body, "input", MODEL_BOS_AS_USUAL, &prompts, &e);
	if (!rc)
		rc = check_lengths(m, &prompts, &e);
	if (!rc)
		rc = start(r, &prompts, as_base64, &e);
	if (rc)
		api_reply_error(r, &e);
	prompts_fini(&prompts);
}
