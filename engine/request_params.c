#include "request_params.h"

#include <limits.h>
#include <math.h>

#include "base/alloc.h"

static int read_number(yyjson_val *request, const char *name, double min, double max, float *out,
		       struct api_error *e)
{
	yyjson_val *v = yyjson_obj_get(request, name);

	if (!v || yyjson_is_null(v))
		return 0;
	if (!yyjson_is_num(v))
		return api_error_bad(e, name, "%s must be a number.", name);
	const double value = yyjson_get_num(v);
	if (!(value >= min && value <= max))
		return api_error_bad(e, name, "%s must be in [%g, %g], got %g.", name, min, max,
				     value);
	*out = (float)value;
	return 0;
}

/* 1: it was there. */
static int read_integer(yyjson_val *request, const char *name, int64_t min, int64_t max,
			int64_t *out, struct api_error *e)
{
	yyjson_val *v = yyjson_obj_get(request, name);

	if (!v || yyjson_is_null(v))
		return 0;
	if (!yyjson_is_int(v) || (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX))
		return api_error_bad(e, name, "%s must be an integer.", name);
	const int64_t value = yyjson_get_sint(v);
	if (value < min || value > max)
		return api_error_bad(e, name, "%s must be in [%lld, %lld], got %lld.", name,
				     (long long)min, (long long)max, (long long)value);
	*out = value;
	return 1;
}

static int read_bool(yyjson_val *request, const char *name, bool *out, struct api_error *e)
{
	yyjson_val *v = yyjson_obj_get(request, name);

	if (!v || yyjson_is_null(v))
		return 0;
	if (!yyjson_is_bool(v))
		return api_error_bad(e, name, "%s must be true or false.", name);
	*out = yyjson_get_bool(v);
	return 0;
}

static int read_sampling(yyjson_val *r, struct request_params *p, struct api_error *e)
{
	int64_t n = 0;
	int rc = read_number(r, "temperature", 0, 100, &p->temperature, e);

	if (!rc)
		rc = read_number(r, "top_p", 0, 1, &p->top_p, e);
	if (!rc && p->top_p == 0)
		rc = api_error_bad(e, "top_p", "top_p must be in (0, 1], got 0.");
	if (!rc)
		rc = read_number(r, "min_p", 0, 1, &p->min_p, e);
	if (!rc)
		rc = read_number(r, "presence_penalty", -2, 2, &p->presence_penalty, e);
	if (!rc)
		rc = read_number(r, "frequency_penalty", -2, 2, &p->frequency_penalty, e);
	if (!rc)
		rc = read_number(r, "repetition_penalty", 0.01, 100, &p->repetition_penalty, e);
	if (rc)
		return rc;
	rc = read_integer(r, "top_k", -1, INT_MAX, &n, e);
	if (rc > 0)
		p->top_k = n > 0 ? (int32_t)n : TOP_K_OFF;
	if (rc >= 0)
		rc = read_integer(r, "seed", INT64_MIN, INT64_MAX, &n, e);
	if (rc > 0) {
		p->has_seed = true;
		p->seed = (uint64_t)n;
	}
	return rc < 0 ? rc : 0;
}

static int read_lengths(yyjson_val *r, struct request_params *p, struct api_error *e)
{
	int64_t n = 0;
	int rc = read_integer(r, "max_completion_tokens", 1, INT64_MAX, &n, e);

	if (rc == 0)
		rc = read_integer(r, "max_tokens", 1, INT64_MAX, &n, e);
	if (rc > 0) {
		p->has_max_tokens = true;
		p->max_tokens = n < INT32_MAX ? (uint32_t)n : INT32_MAX;
	}
	if (rc >= 0)
		rc = read_integer(r, "min_tokens", 0, INT32_MAX, &n, e);
	if (rc > 0)
		p->min_tokens = (uint32_t)n;
	if (rc >= 0 && p->has_max_tokens && p->min_tokens > p->max_tokens)
		rc = api_error_bad(
			e, "min_tokens",
			"min_tokens must be less than or equal to max_tokens=%u, got %u.",
			p->max_tokens, p->min_tokens);
	if (rc >= 0)
		rc = read_integer(r, "n", 1, CHOICES_MAX, &n, e);
	if (rc > 0)
		p->choice_count = (uint32_t)n;
	return rc < 0 ? rc : 0;
}

static int read_stop_strings(yyjson_val *r, struct request_params *p, struct api_error *e)
{
	yyjson_val *v = yyjson_obj_get(r, "stop"), *item;
	const bool is_array = yyjson_is_arr(v);
	const size_t count = is_array ? yyjson_arr_size(v) : v && !yyjson_is_null(v) ? 1 : 0;
	size_t used = 0;

	if (count > STOPS_MAX)
		return api_error_bad(e, "stop", "stop has %zu strings, at most %d are allowed.",
				     count, STOPS_MAX);
	if (!count)
		return 0;
	p->stop_bytes = bb_alloc(count * STOP_SIZE_MAX);
	if (!p->stop_bytes)
		return api_error_internal(e, -BB_ENOMEM);
	for (size_t i = 0; i < count; i++) {
		item = is_array ? yyjson_arr_get(v, i) : v;
		const size_t len = yyjson_get_len(item);
		if (!yyjson_is_str(item) || !len || len > STOP_SIZE_MAX)
			return api_error_bad(e, "stop",
					     "stop must be one or several strings of 1 to %d "
					     "bytes.",
					     STOP_SIZE_MAX);
		memcpy(p->stop_bytes + used, yyjson_get_str(item), len);
		p->stop_strings[i] = (struct bb_str){ p->stop_bytes + used, len };
		used += len;
	}
	p->stops.count = (uint32_t)count;
	return 0;
}

static int read_stops(yyjson_val *r, struct request_params *p, struct api_error *e)
{
	yyjson_val *ids = yyjson_obj_get(r, "stop_token_ids");
	bool shown = false;
	int rc = read_stop_strings(r, p, e);

	if (!rc)
		rc = read_bool(r, "include_stop_str_in_output", &shown, e);
	if (!rc)
		rc = read_bool(r, "ignore_eos", &p->ignores_eos, e);
	if (rc)
		return rc;
	p->stops.shown = shown ? STOP_SHOWN : STOP_HIDDEN;
	if (!ids || yyjson_is_null(ids))
		return 0;
	if (!yyjson_is_arr(ids) || yyjson_arr_size(ids) > STOP_TOKENS_MAX)
		return api_error_bad(e, "stop_token_ids",
				     "stop_token_ids must be an array of at most %d token ids.",
				     STOP_TOKENS_MAX);
	for (size_t i = 0; i < yyjson_arr_size(ids); i++) {
		yyjson_val *id = yyjson_arr_get(ids, i);
		if (!yyjson_is_uint(id) || yyjson_get_uint(id) > INT32_MAX)
			return api_error_bad(e, "stop_token_ids",
					     "stop_token_ids must be token ids.");
		p->stop_tokens[p->stop_token_count++] = (int32_t)yyjson_get_uint(id);
	}
	return 0;
}

/* Chat: `logprobs` true and `top_logprobs` N. Completions: `logprobs` N. */
static int read_logprobs(yyjson_val *r, enum request_kind kind, struct request_params *p,
			 struct api_error *e)
{
	int64_t n = 0;
	bool wanted = false;

	if (kind == REQUEST_COMPLETION) {
		const int rc = read_integer(r, "logprobs", 0, LOGPROBS_MAX, &n, e);
		if (rc > 0)
			p->logprobs = (int32_t)n;
		return rc < 0 ? rc : 0;
	}
	int rc = read_bool(r, "logprobs", &wanted, e);
	if (!rc)
		rc = read_integer(r, "top_logprobs", 0, LOGPROBS_MAX, &n, e);
	if (rc < 0)
		return rc;
	if (n > 0 && !wanted)
		return api_error_bad(e, "top_logprobs",
				     "when using `top_logprobs`, `logprobs` must be set to true.");
	if (wanted)
		p->logprobs = (int32_t)n;
	return 0;
}

static int read_stream(yyjson_val *r, struct request_params *p, struct api_error *e)
{
	yyjson_val *options = yyjson_obj_get(r, "stream_options");
	int rc = read_bool(r, "stream", &p->streams, e);

	if (!rc)
		rc = read_bool(r, "return_token_ids", &p->wants_token_ids, e);
	if (rc || !options || yyjson_is_null(options))
		return rc;
	if (!yyjson_is_obj(options))
		return api_error_bad(e, "stream_options", "stream_options must be an object.");
	if (!p->streams)
		return api_error_bad(e, "stream_options",
				     "Stream options can only be defined when `stream=True`.");
	return read_bool(options, "include_usage", &p->wants_usage, e);
}

/* What would change the answer if it were passed over in silence. */
static int refuse_unsupported(yyjson_val *r, struct api_error *e)
{
	static const char *const members[] = { "logit_bias",	     "response_format",
					       "structured_outputs", "guided_json",
					       "guided_regex",	     "guided_choice",
					       "guided_grammar",     "suffix",
					       "prompt_embeds" };
	int64_t best_of = 0;
	bool echo = false;
	int rc = read_bool(r, "echo", &echo, e);

	if (!rc && echo)
		rc = api_error_bad(e, "echo", "echo is not supported by this engine.");
	if (!rc)
		rc = read_integer(r, "best_of", 1, 1, &best_of, e);
	if (rc < 0)
		return rc;
	yyjson_val *format = yyjson_obj_get(yyjson_obj_get(r, "response_format"), "type");
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		yyjson_val *v = yyjson_obj_get(r, members[i]);
		if (!v || yyjson_is_null(v) || (yyjson_is_ctn(v) && unsafe_yyjson_get_len(v) == 0))
			continue;
		if (yyjson_equals_str(format, "text") && strcmp(members[i], "response_format") == 0)
			continue;
		return api_error_bad(e, members[i], "%s is not supported by this engine.",
				     members[i]);
	}
	return 0;
}

int request_params_parse(yyjson_val *request, enum request_kind kind, struct request_params **out,
			 struct api_error *e)
{
	struct request_params *p = bb_alloc(sizeof(*p));

	if (!p)
		return api_error_internal(e, -BB_ENOMEM);
	*p = (struct request_params){
		.holders = 1,
		.temperature = 1,
		.top_p = 1,
		.repetition_penalty = 1,
		.choice_count = 1,
		.logprobs = LOGPROBS_OFF,
	};
	p->stops.strings = p->stop_strings;
	int rc = refuse_unsupported(request, e);
	if (!rc)
		rc = read_sampling(request, p, e);
	if (!rc)
		rc = read_lengths(request, p, e);
	if (!rc)
		rc = read_stops(request, p, e);
	if (!rc)
		rc = read_logprobs(request, kind, p, e);
	if (!rc)
		rc = read_stream(request, p, e);
	if (rc) {
		request_params_put(p);
		return rc;
	}
	*out = p;
	return 0;
}

struct request_params *request_params_get(struct request_params *p)
{
	__atomic_add_fetch(&p->holders, 1, __ATOMIC_RELAXED);
	return p;
}

void request_params_put(struct request_params *p)
{
	if (!p || __atomic_sub_fetch(&p->holders, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	bb_free(p->stop_bytes);
	bb_free(p);
}
