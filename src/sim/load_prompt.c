#include "sim/load_prompt.h"

void load_prompt_init(struct load_prompt *p, const struct workload *work,
		      const struct bb_str *model)
{
	*p = (struct load_prompt){ .work = work,
				   .scale = { .words_per_token = 1 },
				   .models = model,
				   .model_count = 1,
				   .ignores_eos = true };
	sim_words_init(&p->words);
}

static bool is_answer(const struct work_span *s)
{
	return s->stream >> 63;
}

/* Which word stands at a place of a stream. */
static uint32_t word_at(uint64_t stream, uint64_t place)
{
	uint64_t x = (stream ^ 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u + place;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	x = (x ^ x >> 32) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(x >> 56);
}

_Static_assert(SIM_WORDS == 256, "word_at takes eight bits");

/* Where token `n` of a stream begins, in words: spans that meet in tokens meet in words. */
static uint64_t words_before(const struct load_prompt *p, uint64_t n)
{
	return (uint64_t)((double)n * p->scale.words_per_token);
}

static void add_words(const struct load_prompt *p, const struct work_span *s, struct bb_buf *out)
{
	const uint64_t stream = s->stream ^ p->salt * 0xa24baed4963ee407u;
	const uint64_t end = words_before(p, (uint64_t)s->from + s->count);

	for (uint64_t i = words_before(p, s->from); i < end; i++)
		bb_buf_put_str(out, p->words.text[word_at(stream, i)]);
}

static void add_answer(const struct load_prompt *p, const struct work_span *s, struct bb_buf *out)
{
	const struct bb_str real =
		p->answer ? p->answer(p->user, (uint32_t)s->stream) : (struct bb_str){ 0 };

	if (real.p)
		bb_buf_put_str(out, real);
	else
		add_words(p, s, out);
}

/*
 * One message a run of spans of one role. The template's own tokens are taken off the beginning,
 * where they come off all prompts that begin alike.
 */
static void add_messages(const struct load_prompt *p, const struct work_request *r,
			 struct bb_buf *out)
{
	uint32_t extra = p->scale.extra_tokens;
	int role = -1;

	for (uint32_t i = 0; i < r->span_count; i++) {
		struct work_span s = p->work->spans[r->span_first + i];
		if (role >= 0 && role != is_answer(&s))
			bb_buf_lit(out, "\"},");
		if (role != is_answer(&s) && is_answer(&s))
			bb_buf_lit(out, "{\"role\":\"assistant\",\"content\":\"");
		else if (role != is_answer(&s))
			bb_buf_lit(out, "{\"role\":\"user\",\"content\":\"");
		role = is_answer(&s);
		const uint32_t cut = role ? 0 : extra < s.count ? extra : s.count;
		extra -= cut;
		s.from += cut;
		s.count -= cut;
		if (role)
			add_answer(p, &s, out);
		else
			add_words(p, &s, out);
	}
	bb_buf_lit(out, "\"}");
}

int load_prompt_write(const struct load_prompt *p, uint32_t request, struct bb_buf *out)
{
	const struct work_request *const r = &p->work->requests[request];

	bb_buf_lit(out, "{\"model\":");
	bb_buf_add_json(out, p->models[r->adapter % p->model_count]);
	bb_buf_lit(out, ",\"messages\":[");
	add_messages(p, r, out);
	bb_buf_printf(out,
		      "],\"max_tokens\":%u,\"stream\":true,"
		      "\"stream_options\":{\"include_usage\":true}",
		      r->output_tokens);
	if (p->ignores_eos)
		bb_buf_lit(out, ",\"ignore_eos\":true");
	bb_buf_lit(out, "}");
	return out->err;
}
