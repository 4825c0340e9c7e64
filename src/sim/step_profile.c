#include "sim/step_profile.h"

#include <stdio.h>

/* What is reached of what is promised, one GPU and several (tensor parallel). */
#define FLOPS_SHARE 0.55
#define FLOPS_SHARE_TP 0.50
#define BYTES_SHARE 0.80
#define BYTES_SHARE_TP 0.75
#define STEP_MS 2.5
#define STEP_MS_TP 5.0
#define SEQUENCE_MS 0.01
/* Of a GPU's memory, for the engine (vLLM's default), and what of that is neither weights nor KV.
 */
#define MEMORY_SHARE 0.9
#define OVERHEAD_BYTES 2.5e9
#define BLOCK_TOKENS 64
#define SEQUENCES_MAX 256
#define STEP_TOKENS 8192

struct gpu {
	const char *name;
	double bytes;		 /* memory that a process sees */
	double bytes_s, flops_s; /* bf16, dense */
};

static const struct gpu gpus[] = {
	{ "T4", 15.6e9, 320e9, 65e12 },
	{ "L4", 23.6e9, 300e9, 121e12 },
	{ "A10", 23.7e9, 600e9, 125e12 },
	{ "A30", 25.2e9, 933e9, 165e12 },
	{ "L40S", 47.6e9, 864e9, 362e12 },
	{ "A100-40", 42.4e9, 1555e9, 312e12 },
	{ "A100", 85e9, 2039e9, 312e12 },
	{ "H100-PCIE", 85e9, 2000e9, 756e12 },
	{ "H100", 85e9, 3350e9, 989e12 },
	{ "H200", 150e9, 4800e9, 989e12 },
	{ "B200", 191e9, 7700e9, 2250e12 },
	{ "MI300X", 206e9, 5300e9, 1307e12 },
	{ "RTX4090", 25.4e9, 1008e9, 165e12 },
	{ "RTX5090", 33.7e9, 1792e9, 210e12 },
	{ "RTX-PRO-6000", 102e9, 1792e9, 468e12 },
};

struct model {
	const char *name;
	double parameters, active;  /* active: those that compute a token */
	uint32_t layers, attention; /* heads × head size */
	double kv_bytes;	    /* a token: 2 × layers × KV heads × head size × 2 */
};

static const struct model models[] = {
	{ "llama-3.2-1b", 1.24e9, 1.24e9, 16, 2048, 32768 },
	{ "llama-3.1-8b", 8.03e9, 8.03e9, 32, 4096, 131072 },
	{ "llama-3.1-70b", 70.55e9, 70.55e9, 80, 8192, 327680 },
	{ "mistral-7b", 7.25e9, 7.25e9, 32, 4096, 131072 },
	{ "qwen3-4b", 4.02e9, 4.02e9, 36, 4096, 147456 },
	{ "qwen3-8b", 8.19e9, 8.19e9, 36, 4096, 147456 },
	{ "qwen3-32b", 32.76e9, 32.76e9, 64, 8192, 262144 },
	{ "qwen3-30b-a3b", 30.53e9, 3.35e9, 48, 4096, 98304 },
	{ "phi-4", 14.66e9, 14.66e9, 40, 5120, 204800 },
};

static const char *const names[] = { "mock", "8b", "70b" };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *step_profile_name_at(uint32_t n)
{
	return n < COUNT(names) ? names[n] : NULL;
}

const char *step_gpu_name_at(uint32_t n)
{
	return n < COUNT(gpus) ? gpus[n].name : NULL;
}

const char *step_model_name_at(uint32_t n)
{
	return n < COUNT(models) ? models[n].name : NULL;
}

static const struct gpu *gpu_of(struct bb_str name)
{
	for (size_t i = 0; i < COUNT(gpus); i++)
		if (bb_str_eq_nocase(name, bb_str_of(gpus[i].name)))
			return &gpus[i];
	return NULL;
}

static const struct model *model_of(struct bb_str name)
{
	for (size_t i = 0; i < COUNT(models); i++)
		if (bb_str_eq_nocase(name, bb_str_of(models[i].name)))
			return &models[i];
	return NULL;
}

static const struct step_profile common = {
	.gpus = 1,
	.params = { .variant = STEP_VLLM,
		    .block_tokens = BLOCK_TOKENS,
		    .sequences_max = SEQUENCES_MAX,
		    .step_tokens = STEP_TOKENS },
};

static void set_roofline(struct step_profile *p, const struct gpu *g, const struct model *m,
			 uint32_t tp)
{
	struct step_roofline *r = &p->params.cost.roofline;

	p->gpus = tp;
	p->params.cost.kind = STEP_ROOFLINE;
	*r = (struct step_roofline){
		.flops_token = 2 * m->active,
		.flops_context = 4.0 * m->layers * m->attention,
		.weight_bytes = 2 * m->parameters,
		.kv_bytes = m->kv_bytes,
		.flops_ms = tp * g->flops_s * (tp > 1 ? FLOPS_SHARE_TP : FLOPS_SHARE) / 1e3,
		.bytes_ms = tp * g->bytes_s * (tp > 1 ? BYTES_SHARE_TP : BYTES_SHARE) / 1e3,
		.step_ms = tp > 1 ? STEP_MS_TP : STEP_MS,
		.sequence_ms = SEQUENCE_MS,
	};
}

static void set_mock(struct step_profile *p)
{
	p->params.cost.kind = STEP_POLYNOMIAL;
	p->params.cost.polynomial = (struct step_polynomial){
		.prompt = { 16.50142, 1.518344e-2, 4.209989e-7 },
		.stream = { 5.74, 54.01, -25.74 },
		.stream_ms_min = 1,
	};
	p->params.blocks = 16384;
	p->params.watermark = 0.01;
}

/* GPU[xTP]:MODEL */
static int set_catalogue(struct bb_str name, struct step_profile *p)
{
	struct bb_str model_name = name;
	struct bb_str gpu_name = bb_str_cut(&model_name, ':');
	const struct model *m = model_of(model_name);
	const struct gpu *g = gpu_of(gpu_name);
	uint64_t tp = 1;

	for (size_t i = gpu_name.len; !g && i-- > 1;) {
		const struct bb_str digits = { gpu_name.p + i + 1, gpu_name.len - i - 1 };
		if (gpu_name.p[i] != 'x' || bb_parse_u64(digits, &tp) || tp == 0 || tp > 64)
			continue;
		g = gpu_of((struct bb_str){ gpu_name.p, i });
	}
	if (!g || !m)
		return -BB_EABSENT;
	set_roofline(p, g, m, (uint32_t)tp);
	const double bytes =
		(double)tp * (MEMORY_SHARE * g->bytes - OVERHEAD_BYTES) - 2 * m->parameters;
	const double blocks = bytes / (m->kv_bytes * BLOCK_TOKENS);
	if (blocks < 64)
		return -BB_ELIMIT;
	p->params.blocks = (uint32_t)blocks;
	return 0;
}

int step_profile_named(struct bb_str name, struct step_profile *out)
{
	struct step_profile p = common;
	int rc = 0;

	if (bb_str_eq(name, BB_STR("mock"))) {
		set_mock(&p);
	} else if (bb_str_eq(name, BB_STR("8b"))) {
		set_roofline(&p, gpu_of(BB_STR("H100")), model_of(BB_STR("llama-3.1-8b")), 1);
		p.params.blocks = 400000 / BLOCK_TOKENS;
	} else if (bb_str_eq(name, BB_STR("70b"))) {
		set_roofline(&p, gpu_of(BB_STR("H100")), model_of(BB_STR("llama-3.1-70b")), 4);
		p.params.blocks = 410000 / BLOCK_TOKENS;
	} else {
		rc = set_catalogue(name, &p);
	}
	if (rc)
		return rc;
	snprintf(p.name, sizeof(p.name), "%.*s", BB_ARG(name));
	*out = p;
	return 0;
}
