#include "sim/step_cost.h"

static double roofline_ms(const struct step_roofline *r, const struct step_load *l)
{
	const double tokens = (double)l->prompt_tokens + l->streams;
	const double contexts = l->prompt_contexts + l->stream_contexts;
	const double compute =
		(tokens * r->flops_token + contexts * r->flops_context) / r->flops_ms;
	const double memory = (r->weight_bytes + l->kv_tokens * r->kv_bytes) / r->bytes_ms;

	return (compute > memory ? compute : memory) + r->step_ms +
	       r->sequence_ms * ((double)l->streams + l->prompts);
}

static double square(const double k[3], double x)
{
	return k[0] + x * (k[1] + x * k[2]);
}

static double polynomial_ms(const struct step_polynomial *p, const struct step_load *l)
{
	double ms = l->prompt_tokens ? square(p->prompt, l->prompt_tokens) : 0;

	if (l->streams) {
		const double stream_ms = square(p->stream, l->kv_share);
		ms += stream_ms > p->stream_ms_min ? stream_ms : p->stream_ms_min;
	}
	return ms;
}

/* The piece that `x` lies in, and how far along it: 0 at its first point, 1 at its second. */
static uint32_t piece(const double *points, uint32_t count, double x, double *along)
{
	uint32_t i = 0;

	while (i + 2 < count && x > points[i + 1])
		i++;
	*along = count < 2 || x <= points[i] ? 0 : (x - points[i]) / (points[i + 1] - points[i]);
	return i;
}

static double between(double a, double b, double along)
{
	return along == 0 ? a : a + (b - a) * along;
}

static double table_ms(const struct step_table *t, const struct step_load *l)
{
	double ms = 0, along, up;

	if (l->prompt_tokens) {
		const uint32_t i =
			piece(t->prompt_tokens, t->prompt_count, l->prompt_tokens, &along);
		ms = between(t->prompt_ms[i], t->prompt_ms[along == 0 ? i : i + 1], along);
	}
	if (l->streams) {
		const uint32_t i = piece(t->streams, t->stream_count, l->streams, &along);
		const uint32_t k = piece(t->kv_tokens, t->kv_count, l->stream_contexts, &up);
		const uint32_t i1 = along == 0 ? i : i + 1, k1 = up == 0 ? k : k + 1;
		ms += between(between(t->stream_ms[i][k], t->stream_ms[i1][k], along),
			      between(t->stream_ms[i][k1], t->stream_ms[i1][k1], along), up);
	}
	return ms;
}

double step_cost_ms(const struct step_cost *c, const struct step_load *l)
{
	switch (c->kind) {
	case STEP_ROOFLINE: return roofline_ms(&c->roofline, l);
	case STEP_POLYNOMIAL: return polynomial_ms(&c->polynomial, l);
	case STEP_TABLE: return table_ms(&c->table, l);
	}
	return 0;
}
