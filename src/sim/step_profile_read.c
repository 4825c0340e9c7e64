/* step_profile_read.c: a profile from a file: what was measured. */
#include <stdio.h>
#include <string.h>

#include "sim/step_profile.h"
#include "wire/json.h"

#define DEPTH_MAX 8
#define NUMBER_MAX 1e12

struct reading {
	struct step_profile p;
	char *why;
	struct bb_str key;
	double kv_tokens; /* 0: not given */
	double speed;
	bool has_prompt, has_stream;
};

static int wrong(const struct reading *r, const char *what)
{
	snprintf(r->why, STEP_WHY_SIZE, "\"%.*s\" %s", BB_ARG(r->key), what);
	return -BB_EINVALID;
}

static int read_number(const struct reading *r, struct bb_str raw, double least, double most,
		       double *out)
{
	if (json_double(raw, out) || !(*out >= least && *out <= most)) {
		char what[64];
		snprintf(what, sizeof(what), "must be a number from %g to %g", least, most);
		return wrong(r, what);
	}
	return 0;
}

static int read_u32(const struct reading *r, struct bb_str raw, uint32_t most, uint32_t *out)
{
	double value;
	const int rc = read_number(r, raw, 1, most, &value);

	if (!rc)
		*out = (uint32_t)value;
	return rc;
}

static int read_variant(struct reading *r, struct bb_str raw)
{
	static const char *const words[] = { "vllm", "sglang", "trtllm" };

	for (int i = 0; i < 3; i++)
		if (json_string_eq(raw, bb_str_of(words[i]))) {
			r->p.params.variant = (enum step_variant)i;
			return 0;
		}
	return wrong(r, "must be \"vllm\", \"sglang\" or \"trtllm\"");
}

/* [a, b, …]; numbers that do not fall where `is_rising`. */
static int read_list(const struct reading *r, struct bb_str raw, uint32_t most, bool is_rising,
		     double *out, uint32_t *count)
{
	struct json_pull j;
	struct bb_str item;
	enum json_type type;

	*count = 0;
	json_pull_init(&j, raw);
	if (!json_pull_array(&j))
		return wrong(r, "must be a list of numbers");
	while (json_pull_more(&j) && json_pull_value(&j, &item, &type)) {
		if (*count == most)
			return wrong(r, "has too many entries");
		const int rc = read_number(r, item, 0, NUMBER_MAX, &out[*count]);
		if (rc)
			return rc;
		if (is_rising && *count && out[*count] <= out[*count - 1])
			return wrong(r, "must rise from one entry to the next");
		++*count;
	}
	return *count ? 0 : wrong(r, "is empty");
}

static int read_prompt(struct reading *r, struct bb_str raw)
{
	struct step_table *const t = &r->p.params.cost.table;
	struct json_pull j;
	struct bb_str item;
	enum json_type type;

	json_pull_init(&j, raw);
	if (!json_pull_array(&j))
		return wrong(r, "must be a list of [tokens, ms]");
	t->prompt_count = 0;
	while (json_pull_more(&j) && json_pull_value(&j, &item, &type)) {
		double pair[2];
		uint32_t count;
		const uint32_t at = t->prompt_count;
		if (at == STEP_POINTS_MAX)
			return wrong(r, "has more than 32 points");
		if (read_list(r, item, 2, false, pair, &count) || count != 2)
			return wrong(r, "must be a list of [tokens, ms]");
		if (at && pair[0] <= t->prompt_tokens[at - 1])
			return wrong(r, "must have rising numbers of tokens");
		t->prompt_tokens[at] = pair[0];
		t->prompt_ms[at] = pair[1];
		t->prompt_count++;
	}
	r->has_prompt = true;
	return t->prompt_count ? 0 : wrong(r, "is empty");
}

static int read_grid(struct reading *r, struct bb_str raw)
{
	struct step_table *const t = &r->p.params.cost.table;
	struct json_pull j;
	struct bb_str row;
	enum json_type type;
	uint32_t rows = 0, count;

	json_pull_init(&j, raw);
	if (!json_pull_array(&j))
		return wrong(r, "needs \"ms\": a list of lists");
	while (json_pull_more(&j) && json_pull_value(&j, &row, &type)) {
		if (rows == t->stream_count)
			return wrong(r, "has more rows in \"ms\" than \"streams\"");
		const int rc = read_list(r, row, STEP_GRID_MAX, false, t->stream_ms[rows], &count);
		if (rc)
			return rc;
		if (count != t->kv_count)
			return wrong(r, "needs one \"ms\" for each of \"kv_tokens\" in each row");
		rows++;
	}
	return rows == t->stream_count ? 0
				       : wrong(r, "needs a row of \"ms\" for each of \"streams\"");
}

static int read_stream(struct reading *r, struct bb_str raw)
{
	struct step_table *const t = &r->p.params.cost.table;
	struct json_member streams, kv, ms;
	int rc;

	if (!json_get(raw, BB_STR("streams"), &streams) ||
	    !json_get(raw, BB_STR("kv_tokens"), &kv) || !json_get(raw, BB_STR("ms"), &ms))
		return wrong(r, "needs \"streams\", \"kv_tokens\" and \"ms\"");
	rc = read_list(r, streams.value, STEP_GRID_MAX, true, t->streams, &t->stream_count);
	if (!rc)
		rc = read_list(r, kv.value, STEP_GRID_MAX, true, t->kv_tokens, &t->kv_count);
	if (!rc)
		rc = read_grid(r, ms.value);
	r->has_stream = !rc;
	return rc;
}

static int read_member(struct reading *r, struct bb_str raw)
{
	struct step_params *const p = &r->p.params;
	const struct bb_str k = r->key;

	if (bb_str_eq(k, BB_STR("base")) || bb_str_eq(k, BB_STR("comment")))
		return 0;
	if (bb_str_eq(k, BB_STR("engine")))
		return read_variant(r, raw);
	if (bb_str_eq(k, BB_STR("block_tokens")))
		return read_u32(r, raw, STEP_BLOCK_MAX, &p->block_tokens);
	if (bb_str_eq(k, BB_STR("blocks")))
		return read_u32(r, raw, 1u << 28, &p->blocks);
	if (bb_str_eq(k, BB_STR("kv_tokens")))
		return read_number(r, raw, 1, NUMBER_MAX, &r->kv_tokens);
	if (bb_str_eq(k, BB_STR("sequences_max")))
		return read_u32(r, raw, 65536, &p->sequences_max);
	if (bb_str_eq(k, BB_STR("step_tokens")))
		return read_u32(r, raw, 1u << 24, &p->step_tokens);
	if (bb_str_eq(k, BB_STR("watermark")))
		return read_number(r, raw, 0, 0.9, &p->watermark);
	if (bb_str_eq(k, BB_STR("gpus")))
		return read_u32(r, raw, 1024, &r->p.gpus);
	if (bb_str_eq(k, BB_STR("speed")))
		return read_number(r, raw, 1e-3, 1e3, &r->speed);
	if (bb_str_eq(k, BB_STR("prompt")))
		return read_prompt(r, raw);
	if (bb_str_eq(k, BB_STR("stream")))
		return read_stream(r, raw);
	return wrong(r, "is not a member of a profile");
}

/* All durations divided by it. */
static void set_speed(struct step_cost *c, double speed)
{
	struct step_table *const t = &c->table;

	c->roofline.flops_ms *= speed;
	c->roofline.bytes_ms *= speed;
	c->roofline.step_ms /= speed;
	c->roofline.sequence_ms /= speed;
	for (int i = 0; i < 3; i++) {
		c->polynomial.prompt[i] /= speed;
		c->polynomial.stream[i] /= speed;
	}
	c->polynomial.stream_ms_min /= speed;
	for (uint32_t i = 0; i < t->prompt_count; i++)
		t->prompt_ms[i] /= speed;
	for (uint32_t i = 0; i < t->stream_count; i++)
		for (uint32_t k = 0; k < t->kv_count; k++)
			t->stream_ms[i][k] /= speed;
}

static int finish(struct reading *r)
{
	struct step_params *const p = &r->p.params;

	r->key = BB_STR("prompt");
	if (r->has_prompt != r->has_stream)
		return wrong(r, "and \"stream\" go together");
	if (r->has_prompt)
		p->cost.kind = STEP_TABLE;
	if (r->kv_tokens > 0)
		p->blocks = (uint32_t)(r->kv_tokens / p->block_tokens);
	r->key = BB_STR("step_tokens");
	if (p->step_tokens < p->sequences_max)
		return wrong(r, "must not be less than \"sequences_max\"");
	r->key = BB_STR("kv_tokens");
	if (p->blocks == 0)
		return wrong(r, "must be at least \"block_tokens\"");
	set_speed(&p->cost, r->speed);
	return 0;
}

static int read_base(struct reading *r, struct bb_str json)
{
	struct json_member base;
	char name[STEP_NAME_SIZE] = "8b";

	r->key = BB_STR("base");
	if (json_get(json, BB_STR("base"), &base)) {
		const struct bb_str inner = json_string_inner(base.value);
		if (inner.len == 0 || inner.len >= sizeof(name))
			return wrong(r, "must be the name of a profile");
		memcpy(name, inner.p, inner.len);
		name[inner.len] = 0;
	}
	const int rc = step_profile_named(bb_str_of(name), &r->p);
	if (rc == -BB_ELIMIT)
		return wrong(r, "is a model that does not fit into that GPU");
	return rc ? wrong(r, "is not the name of a profile") : 0;
}

int step_profile_read(struct bb_str json, struct step_profile *out, char why[STEP_WHY_SIZE])
{
	struct reading r = { .why = why, .speed = 1 };
	struct json_error err;
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;

	if (json_check(json, DEPTH_MAX, &err) || json_type_of(bb_str_trim(json)) != JSON_OBJECT) {
		snprintf(why, STEP_WHY_SIZE, "it is not a JSON object");
		return -BB_ESYNTAX;
	}
	int rc = read_base(&r, json);
	json_pull_init(&j, json);
	if (!rc && json_pull_object(&j))
		while (!rc && json_pull_key(&j, &r.key) && json_pull_value(&j, &raw, &type))
			rc = read_member(&r, raw);
	if (!rc)
		rc = finish(&r);
	if (!rc)
		*out = r.p;
	return rc;
}
