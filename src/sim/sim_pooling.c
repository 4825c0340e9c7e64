/* sim_pooling.c: embeddings, scores, token counts, sounds, pictures: answered at once. */
#include "sim/sim_core.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "os/clock.h"
#include "wire/multipart.h"

#define EMBEDDING_MAX 4096

/* One grey pixel. */
#define PNG                                                                                        \
	"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJg" \
	"gg=="

static uint64_t prompt_hash(const struct sim_server *s, uint32_t prompt)
{
	const struct sim_prompt *p = &s->reader.prompts[prompt];

	return bb_hash(s->reader.tokens.ids + p->first, p->count * sizeof(uint32_t), 0);
}

static void finish_body(struct exchange *x, struct sim_server *s)
{
	if (s->body.err)
		sim_reply_error(x, 500, "InternalServerError", NULL, "the answer is too long");
	else
		sim_reply_json(x, 200, &s->body);
}

/* ---- embeddings ---- */

/* A vector of length 1 that depends on the seed and the tokens only. */
static void embed(const struct sim_server *s, uint32_t prompt, float *out, uint32_t size)
{
	const uint64_t what = prompt_hash(s, prompt);
	double square = 0;

	for (uint32_t i = 0; i < size; i++) {
		out[i] = (float)(2 * sim_fraction(s->config.seed, what, i) - 1);
		square += (double)out[i] * (double)out[i];
	}
	const double length = square > 0 ? sqrt(square) : 1;
	for (uint32_t i = 0; i < size; i++)
		out[i] = (float)(out[i] / length);
}

static void add_base64(struct bb_buf *b, const unsigned char *p, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		const size_t n = len - i < 3 ? len - i : 3;
		const uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
				   (n > 2 ? p[i + 2] : 0);
		const char four[4] = { digits[v >> 18], digits[v >> 12 & 63],
				       n > 1 ? digits[v >> 6 & 63] : '=',
				       n > 2 ? digits[v & 63] : '=' };
		bb_buf_add(b, four, 4);
	}
}

static void add_vector(struct bb_buf *b, const float *vector, uint32_t size)
{
	bb_buf_lit(b, "[");
	for (uint32_t i = 0; i < size; i++)
		bb_buf_printf(b, "%s%.9g", i ? "," : "", (double)vector[i]);
	bb_buf_lit(b, "]");
}

static void add_pooling_head(struct sim_server *s, const char *prefix, uint32_t model)
{
	bb_buf_clear(&s->body);
	bb_buf_printf(&s->body,
		      "{\"id\":\"%s-%016llx\",\"object\":\"list\",\"created\":%llu,\"model\":",
		      prefix, (unsigned long long)bb_rng_next(&s->rng),
		      (unsigned long long)(clock_wall_ns() / OS_SECOND));
	bb_buf_add_json(&s->body, sim_server_model(s, model));
}

static void reply_embeddings(struct exchange *x, struct sim_server *s, uint32_t model)
{
	const struct bb_str format = sim_json_str(s->reader.root, "encoding_format");
	yyjson_val *dimensions = yyjson_obj_get(s->reader.root, "dimensions");
	uint64_t size = s->config.embedding_size;
	float vector[EMBEDDING_MAX];
	struct bb_buf *b = &s->body;

	if (yyjson_is_uint(dimensions))
		size = yyjson_get_uint(dimensions);
	if (size == 0 || size > EMBEDDING_MAX) {
		sim_reply_error(x, 400, "BadRequestError", "dimensions",
				"dimensions must be 1 … 4096");
		return;
	}
	add_pooling_head(s, "embd", model);
	bb_buf_lit(b, ",\"data\":[");
	for (uint32_t i = 0; i < s->reader.prompt_count; i++) {
		embed(s, i, vector, (uint32_t)size);
		bb_buf_printf(b, "%s{\"index\":%u,\"object\":\"embedding\",\"embedding\":",
			      i ? "," : "", i);
		if (bb_str_eq(format, BB_STR("base64"))) {
			bb_buf_lit(b, "\"");
			add_base64(b, (const unsigned char *)vector, size * sizeof(*vector));
			bb_buf_lit(b, "\"");
		} else {
			add_vector(b, vector, (uint32_t)size);
		}
		bb_buf_lit(b, "}");
	}
	bb_buf_printf(b, "],\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}",
		      s->reader.tokens.count, s->reader.tokens.count);
	finish_body(x, s);
}

/* ---- scores ---- */

struct scored {
	double score;
	uint32_t index;
};

static int by_score(const void *a, const void *b)
{
	const struct scored *one = a, *other = b;

	if (one->score != other->score)
		return one->score > other->score ? -1 : 1;
	return one->index < other->index ? -1 : 1;
}

static void add_document(struct sim_server *s, uint32_t index)
{
	yyjson_val *documents = yyjson_obj_get(s->reader.root, "documents");
	yyjson_val *v = yyjson_is_arr(documents) ? yyjson_arr_get(documents, index) : documents;
	const struct bb_str text = yyjson_is_str(v)
					   ? (struct bb_str){ yyjson_get_str(v), yyjson_get_len(v) }
					   : sim_json_str(v, "text");

	bb_buf_lit(&s->body, "{\"text\":");
	bb_buf_add_json(&s->body, text);
	bb_buf_lit(&s->body, "}");
}

static void reply_rerank(struct exchange *x, struct sim_server *s, uint32_t model)
{
	const uint32_t count = s->reader.prompt_count;
	yyjson_val *top = yyjson_obj_get(s->reader.root, "top_n");
	uint64_t shown =
		yyjson_is_uint(top) && yyjson_get_uint(top) > 0 ? yyjson_get_uint(top) : count;
	struct scored *scored = bb_alloc_zero(count, sizeof(*scored));

	if (!scored) {
		sim_reply_error(x, 500, "InternalServerError", NULL, "out of memory");
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		scored[i] =
			(struct scored){ sim_fraction(s->config.seed, prompt_hash(s, i), 0), i };
	qsort(scored, count, sizeof(*scored), by_score);
	if (shown > count)
		shown = count;
	add_pooling_head(s, "rerank", model);
	bb_buf_printf(&s->body, ",\"usage\":{\"total_tokens\":%u},\"results\":[",
		      s->reader.tokens.count);
	for (uint32_t i = 0; i < shown; i++) {
		bb_buf_printf(&s->body, "%s{\"index\":%u,\"document\":", i ? "," : "",
			      scored[i].index);
		add_document(s, scored[i].index);
		bb_buf_printf(&s->body, ",\"relevance_score\":%.9g}", scored[i].score);
	}
	bb_buf_lit(&s->body, "]}");
	bb_free(scored);
	finish_body(x, s);
}

static void reply_score(struct exchange *x, struct sim_server *s, uint32_t model)
{
	add_pooling_head(s, "score", model);
	bb_buf_lit(&s->body, ",\"data\":[");
	for (uint32_t i = 0; i < s->reader.prompt_count; i++)
		bb_buf_printf(&s->body, "%s{\"index\":%u,\"object\":\"score\",\"score\":%.9g}",
			      i ? "," : "", i, sim_fraction(s->config.seed, prompt_hash(s, i), 0));
	bb_buf_printf(&s->body, "],\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}",
		      s->reader.tokens.count, s->reader.tokens.count);
	finish_body(x, s);
}

/* ---- tokens ---- */

/* The text of each token, in order, as JSON strings; pieces of characters may be no UTF-8. */
static void add_token_texts(struct sim_server *s)
{
	struct bb_str text = bb_buf_str(&s->reader.text);

	bb_buf_lit(&s->body, "[");
	for (bool first = true; text.len; first = false) {
		const struct bb_str token = { text.p, sim_token_len(text) };
		if (!first)
			bb_buf_lit(&s->body, ",");
		bb_buf_add_json(&s->body, token);
		text = bb_str_skip(text, token.len);
	}
	bb_buf_lit(&s->body, "]");
}

static void reply_tokenize(struct exchange *x, struct sim_server *s)
{
	const struct sim_tokens *t = &s->reader.tokens;
	struct bb_buf *b = &s->body;

	sim_vocabulary_learn(s->vocabulary, bb_buf_str(&s->reader.text));
	bb_buf_clear(b);
	if (sim_is(s, SIM_LLAMACPP))
		bb_buf_lit(b, "{\"tokens\":[");
	else
		bb_buf_printf(b, "{\"count\":%u,\"max_model_len\":%u,\"tokens\":[", t->count,
			      s->config.model_len_max);
	for (uint32_t i = 0; i < t->count; i++)
		bb_buf_printf(b, "%s%u", i ? "," : "", t->ids[i]);
	bb_buf_lit(b, "]");
	if (sim_is(s, SIM_VLLM)) {
		bb_buf_lit(b, ",\"token_strs\":");
		if (yyjson_get_bool(yyjson_obj_get(s->reader.root, "return_token_strs")))
			add_token_texts(s);
		else
			bb_buf_lit(b, "null");
	}
	bb_buf_lit(b, "}");
	finish_body(x, s);
}

static void reply_count(struct exchange *x, struct sim_server *s)
{
	bb_buf_clear(&s->body);
	bb_buf_printf(&s->body, "{\"input_tokens\":%u}", s->reader.tokens.count);
	finish_body(x, s);
}

static void reply_detokenize(struct exchange *x, struct sim_server *s)
{
	yyjson_val *tokens = yyjson_obj_get(s->reader.root, "tokens");
	struct bb_buf *text = &s->scratch[0];
	size_t i, max;
	yyjson_val *id;

	if (!yyjson_is_arr(tokens)) {
		sim_reply_error(x, 400, "BadRequestError", "tokens",
				"'tokens' must be a list of ids");
		return;
	}
	bb_buf_clear(text);
	yyjson_arr_foreach(tokens, i, max, id)
	{
		const struct bb_str known =
			sim_vocabulary_text(s->vocabulary, (uint32_t)yyjson_get_uint(id));
		bb_buf_add_str(text, known.p ? known : BB_STR("\xef\xbf\xbd"));
	}
	bb_buf_clear(&s->body);
	bb_buf_printf(&s->body, "{\"%s\":", sim_is(s, SIM_LLAMACPP) ? "content" : "prompt");
	bb_buf_add_json(&s->body, bb_buf_str(text));
	bb_buf_lit(&s->body, "}");
	finish_body(x, s);
}

/* ---- sounds and pictures ---- */

static void reply_transcription(struct exchange *x, struct sim_server *s)
{
	const struct bb_str type = http_head_get(x->head, BB_STR("content-type"));
	struct bb_str model;

	if (!multipart_is(type) || multipart_field(type, (struct bb_str){ x->body, x->body_len },
						   BB_STR("model"), &model)) {
		sim_reply_error(x, 400, "BadRequestError", "model",
				"a multipart form with a field 'model' is needed");
		return;
	}
	if (sim_server_find_model(s, model) == SIM_ABSENT) {
		sim_reply_error(x, 404, "NotFoundError", "model", "the model does not exist");
		return;
	}
	bb_buf_clear(&s->body);
	bb_buf_lit(&s->body, "{\"text\":\"heard ");
	bb_buf_printf(&s->body, "%zu bytes\",\"model\":", x->body_len);
	bb_buf_add_json(&s->body, model);
	bb_buf_lit(&s->body, ",\"usage\":{\"type\":\"duration\",\"seconds\":1}}");
	finish_body(x, s);
}

static void reply_images(struct exchange *x, struct sim_server *s, uint32_t count)
{
	if (count > SIM_CHOICES_MAX) {
		sim_reply_error(x, 400, "BadRequestError", "n", "too many pictures");
		return;
	}
	bb_buf_clear(&s->body);
	bb_buf_printf(&s->body, "{\"created\":%llu,\"data\":[",
		      (unsigned long long)(clock_wall_ns() / OS_SECOND));
	for (uint32_t i = 0; i < count; i++)
		bb_buf_printf(&s->body, "%s{\"b64_json\":\"" PNG "\"}", i ? "," : "");
	bb_buf_lit(&s->body, "]}");
	finish_body(x, s);
}

/* ---- which is which ---- */

void sim_pooling(struct exchange *x, enum api api)
{
	struct sim_server *s = httpd_user(x->server);
	struct sim_request r;
	uint32_t model;

	if (api == API_TRANSCRIPTIONS) {
		reply_transcription(x, s);
		return;
	}
	if (!sim_read(x, api, &r))
		return;
	/* How many tokens a text has may be asked of texts that are too long, too. */
	if (api == API_TOKENIZE)
		reply_tokenize(x, s);
	else if (api == API_DETOKENIZE)
		reply_detokenize(x, s);
	else if (api == API_COUNT_TOKENS)
		reply_count(x, s);
	else if (!sim_check(x, &r, &model))
		return;
	else if (api == API_EMBEDDINGS)
		reply_embeddings(x, s, model);
	else if (api == API_RERANK)
		reply_rerank(x, s, model);
	else if (api == API_SCORE)
		reply_score(x, s, model);
	else
		reply_images(x, s, r.n);
}
