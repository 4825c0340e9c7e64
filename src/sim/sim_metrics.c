#include "sim/sim_metrics.h"

#include <stdio.h>

#include "base/log.h"

/* clang-format off */
static const double ttft_bounds[] = { 0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                      0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                      20,    40,    80,   160,  640,  2560 };
static const double itl_bounds[] = { 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                     0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80 };
static const double long_bounds[] = { 0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                      30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680 };
/* clang-format on */

#define BOUNDS(h, list)                                                                            \
	do {                                                                                       \
		(h).bounds = (list);                                                               \
		(h).bound_count = sizeof(list) / sizeof(*(list));                                  \
	} while (0)

void sim_metrics_init(struct sim_metrics *m)
{
	*m = (struct sim_metrics){ 0 };
	BOUNDS(m->ttft, ttft_bounds);
	BOUNDS(m->itl, itl_bounds);
	BOUNDS(m->e2e, long_bounds);
	BOUNDS(m->queue, long_bounds);
	BOUNDS(m->prefill, long_bounds);
	BOUNDS(m->decode, long_bounds);
}

void sim_histogram_add(struct sim_histogram *h, double value, uint32_t count)
{
	uint32_t i = 0;

	while (i < h->bound_count && value > h->bounds[i])
		i++;
	h->counts[i] += count;
	h->sum += value * count;
}

static uint64_t histogram_count(const struct sim_histogram *h)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i <= h->bound_count; i++)
		n += h->counts[i];
	return n;
}

/* ---- Prometheus text ---- */

struct family {
	struct bb_buf *out;
	const char *prefix;   /* "vllm:" */
	struct bb_str labels; /* `engine="0",model_name="m"` */
};

static void head(const struct family *f, const char *name, const char *type)
{
	bb_buf_printf(f->out, "# TYPE %s%s %s\n", f->prefix, name, type);
}

/* `more` are further labels, each with a comma in front. */
static void sample(const struct family *f, const char *name, const char *more, double value)
{
	bb_buf_printf(f->out, "%s%s{%.*s%s} %.15g\n", f->prefix, name, BB_ARG(f->labels), more,
		      value);
}

static void gauge(const struct family *f, const char *name, double value)
{
	head(f, name, "gauge");
	sample(f, name, "", value);
}

static void counter(const struct family *f, const char *name, uint64_t value)
{
	head(f, name, "counter");
	sample(f, name, "", (double)value);
}

static void histogram(const struct family *f, const char *name, const struct sim_histogram *h)
{
	uint64_t n = 0;

	head(f, name, "histogram");
	for (uint32_t i = 0; i < h->bound_count; i++) {
		n += h->counts[i];
		bb_buf_printf(f->out, "%s%s_bucket{%.*s,le=\"%.15g%s\"} %.1f\n", f->prefix, name,
			      BB_ARG(f->labels), h->bounds[i],
			      h->bounds[i] == (double)(uint64_t)h->bounds[i] ? ".0" : "",
			      (double)n);
	}
	n = histogram_count(h);
	bb_buf_printf(f->out, "%s%s_bucket{%.*s,le=\"+Inf\"} %.1f\n", f->prefix, name,
		      BB_ARG(f->labels), (double)n);
	bb_buf_printf(f->out, "%s%s_count{%.*s} %.1f\n", f->prefix, name, BB_ARG(f->labels),
		      (double)n);
	bb_buf_printf(f->out, "%s%s_sum{%.*s} %.15g\n", f->prefix, name, BB_ARG(f->labels), h->sum);
}

static double usage(const struct sim_engine_stats *s)
{
	return s->blocks ? (double)s->blocks_held / s->blocks : 0;
}

void sim_metrics_vllm(const struct sim_metrics *m, const struct sim_engine_stats *s,
		      const struct sim_metrics_info *i, struct bb_buf *out)
{
	char labels[640];
	const int len = snprintf(labels, sizeof(labels), "engine=\"0\",model_name=\"%.*s\"",
				 BB_ARG(i->model));
	const struct family f = { out, "vllm:", { labels, (size_t)len } };

	BB_ASSERT(len > 0 && (size_t)len < sizeof(labels));
	gauge(&f, "num_requests_running", s->running);
	gauge(&f, "num_requests_waiting", s->waiting);
	head(&f, "num_requests_waiting_by_reason", "gauge");
	sample(&f, "num_requests_waiting_by_reason", ",reason=\"capacity\"", s->waiting);
	sample(&f, "num_requests_waiting_by_reason", ",reason=\"deferred\"", 0);
	head(&f, "engine_sleep_state", "gauge");
	sample(&f, "engine_sleep_state", ",sleep_state=\"awake\"", 1);
	sample(&f, "engine_sleep_state", ",sleep_state=\"weights_offloaded\"", 0);
	sample(&f, "engine_sleep_state", ",sleep_state=\"discard_all\"", 0);
	gauge(&f, "kv_cache_usage_perc", usage(s));
	counter(&f, "prefix_cache_queries_total", s->prompt_tokens);
	counter(&f, "prefix_cache_hits_total", s->prompt_tokens_cached);
	counter(&f, "num_preemptions_total", s->preemptions);
	counter(&f, "prompt_tokens_total", s->prompt_tokens);
	counter(&f, "prompt_tokens_cached_total", s->prompt_tokens_cached);
	counter(&f, "generation_tokens_total", s->generation_tokens);
	head(&f, "request_success_total", "counter");
	sample(&f, "request_success_total", ",finished_reason=\"stop\"",
	       (double)s->finished[SIM_FINISH_STOP]);
	sample(&f, "request_success_total", ",finished_reason=\"length\"",
	       (double)s->finished[SIM_FINISH_LENGTH]);
	/* vLLM does not count requests whose client left: this stays 0. */
	sample(&f, "request_success_total", ",finished_reason=\"abort\"", 0);
	histogram(&f, "time_to_first_token_seconds", &m->ttft);
	histogram(&f, "inter_token_latency_seconds", &m->itl);
	histogram(&f, "e2e_request_latency_seconds", &m->e2e);
	histogram(&f, "request_queue_time_seconds", &m->queue);
	histogram(&f, "request_prefill_time_seconds", &m->prefill);
	histogram(&f, "request_decode_time_seconds", &m->decode);
	head(&f, "cache_config_info", "gauge");
	const uint32_t blocks = i->kv_blocks / i->ranks;
	for (uint32_t rank = 0; rank < i->ranks; rank++)
		bb_buf_printf(out,
			      "vllm:cache_config_info{block_size=\"%u\",cache_dtype=\"auto\","
			      "enable_prefix_caching=\"True\",engine=\"%u\",kv_cache_size_tokens="
			      "\"%llu\","
			      "num_gpu_blocks=\"%u\"} 1.0\n",
			      i->block_size, rank, (unsigned long long)blocks * i->block_size,
			      blocks);
}

void sim_metrics_sglang(const struct sim_metrics *m, const struct sim_engine_stats *s,
			const struct sim_metrics_info *i, struct bb_buf *out)
{
	char labels[640];
	const int len = snprintf(labels, sizeof(labels),
				 "engine_type=\"unified\",model_name=\"%.*s\",tp_rank=\"0\"",
				 BB_ARG(i->model));
	const struct family f = { out, "sglang:", { labels, (size_t)len } };
	const double used = (double)s->blocks_held * i->block_size;

	BB_ASSERT(len > 0 && (size_t)len < sizeof(labels));
	gauge(&f, "num_running_reqs", s->running);
	gauge(&f, "num_queue_reqs", s->waiting);
	gauge(&f, "token_usage", usage(s));
	gauge(&f, "num_used_tokens", used);
	gauge(&f, "max_total_num_tokens", (double)s->blocks * i->block_size);
	gauge(&f, "cache_hit_rate",
	      s->prompt_tokens ? (double)s->prompt_tokens_cached / (double)s->prompt_tokens : 0);
	counter(&f, "prompt_tokens_total", s->prompt_tokens);
	counter(&f, "cached_tokens_total", s->prompt_tokens_cached);
	counter(&f, "generation_tokens_total", s->generation_tokens);
	counter(&f, "num_requests_total", s->finished[0] + s->finished[1]);
	counter(&f, "num_aborted_requests_total", s->aborted);
	histogram(&f, "time_to_first_token_seconds", &m->ttft);
	histogram(&f, "inter_token_latency_seconds", &m->itl);
	histogram(&f, "e2e_request_latency_seconds", &m->e2e);
}

void sim_metrics_llamacpp(const struct sim_metrics *m, const struct sim_engine_stats *s,
			  struct bb_buf *out)
{
	const struct {
		const char *name;
		const char *type;
		double value;
	} samples[] = {
		{ "prompt_tokens_total", "counter",
		  (double)(s->prompt_tokens - s->prompt_tokens_cached) },
		{ "prompt_tokens_cached_total", "counter", (double)s->prompt_tokens_cached },
		{ "prompt_seconds_total", "counter", m->prefill.sum },
		{ "tokens_predicted_total", "counter", (double)s->generation_tokens },
		{ "tokens_predicted_seconds_total", "counter", m->decode.sum },
		{ "requests_processing", "gauge", s->running },
		{ "requests_deferred", "gauge", s->waiting },
	};

	for (size_t k = 0; k < sizeof(samples) / sizeof(*samples); k++)
		bb_buf_printf(out, "# TYPE llamacpp:%s %s\nllamacpp:%s %.15g\n", samples[k].name,
			      samples[k].type, samples[k].name, samples[k].value);
}

void sim_metrics_trtllm(const struct sim_engine_stats *s, const struct sim_metrics_info *i,
			struct bb_buf *out)
{
	bb_buf_printf(out,
		      "[{\"iter\":%llu,\"iterLatencyMS\":0.0,\"numActiveRequests\":%u,"
		      "\"numQueuedRequests\":%u,\"numCompletedRequests\":%llu,"
		      "\"maxNumActiveRequests\":%u,",
		      (unsigned long long)s->generation_tokens, s->running, s->waiting,
		      (unsigned long long)(s->finished[0] + s->finished[1]), i->seqs_max);
	bb_buf_printf(out,
		      "\"kvCacheStats\":{\"maxNumBlocks\":%u,\"freeNumBlocks\":%u,"
		      "\"usedNumBlocks\":%u,\"tokensPerBlock\":%u,\"reusedBlocks\":%llu,"
		      "\"cacheHitRate\":%.6f},",
		      s->blocks, s->blocks - s->blocks_held, s->blocks_held, i->block_size,
		      (unsigned long long)(s->prompt_tokens_cached / i->block_size),
		      s->prompt_tokens ? (double)s->prompt_tokens_cached / (double)s->prompt_tokens
				       : 0);
	bb_buf_printf(
		out,
		"\"inflightBatchingStats\":{\"numScheduledRequests\":%u,\"numGenRequests\":%u,"
		"\"numContextRequests\":0,\"numPausedRequests\":0}}]",
		s->running, s->running);
}
